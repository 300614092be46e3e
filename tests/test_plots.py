"""Pictures: every function for batches, dtypes, zeros, NaN, given axes, and wrong calls; and what is drawn is what
was given
"""

import ast
import base64
import html.parser
import io
import itertools
import json
import re
import warnings
from types import SimpleNamespace

import matplotlib.axes
import matplotlib.figure
import numpy as np
import pytest
import torch
from house import NOTEBOOKS, ROOT, sources
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image
from torch import nn
from torch.testing import assert_close

from attrnb import plots
from attrnb.methods import METHODS
from attrnb.plots import (
    AttributionFigure,
    compare,
    compare_curves,
    curve_band,
    curves,
    feature_bars,
    flux_points,
    heatmap,
    image_array,
    live,
    markdown_table,
    mean_interval,
    overlay,
    path_landscape,
    pixel_map,
    relevance_balance,
    vector_field,
    volume_slice,
)

DTYPES = [torch.float64, torch.bfloat16]


def bumps(p):
    return (-(p[:, 0] ** 2) - p[:, 1] ** 2).exp()


def some_curves(batch=3, points=9, dtype=torch.float32):
    generator = torch.Generator().manual_seed(batch)
    x = torch.linspace(0, 1, points, dtype=torch.float64)
    return SimpleNamespace(
        fractions=x,
        deletion=torch.rand(batch, points, generator=generator).to(dtype),
        insertion=torch.rand(batch, points, generator=generator).to(dtype),
    )


def every_picture(batch=2, dtype=torch.float32, device="cpu", value=None, ax=None):
    """Name -> a call that draws with each function; `value` replaces all numbers; `ax` is given on where one panel
    is drawn
    """
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        made = torch.rand(shape, generator=generator) if value is None else torch.full(shape, value)
        return made.to(device, dtype).requires_grad_()

    images = torch.rand(batch, 3, 6, 7, generator=generator).to(device, dtype)
    found = dict(
        fractions=torch.linspace(0, 1, 5, device=device), deletion=numbers(batch, 5), insertion=numbers(batch, 5)
    )
    places = torch.rand(batch, 2, generator=generator).to(device, dtype)
    return {
        "heatmap": lambda: heatmap(numbers(batch, 3, 6, 7), ax=ax),
        "magnitude": lambda: heatmap(numbers(batch, 3, 6, 7), "magnitude", shared_scale=True, ax=ax),
        "overlay": lambda: overlay(images, numbers(batch, 3, 6, 7), ax=ax),
        "compare": lambda: compare(images, {"a": numbers(batch, 3, 6, 7)}, outlines=torch.zeros(batch, 6, 7)),
        "curve_band": lambda: curve_band(torch.linspace(0, 1, 5, device=device), numbers(batch, 5), ax=ax),
        "curves": lambda: curves(found, floor=found, at=0.4, ax=ax),
        "difference": lambda: curves(found, "difference", average=batch == 1, ax=ax),
        "compare_curves": lambda: compare_curves({"a": found, "b": found}, floor=found, ax=ax),
        "path_landscape": lambda: path_landscape(bumps, numbers(batch, 4, 2), resolution=12, ax=ax),
        "steepness": lambda: path_landscape(
            bumps, {"straight": numbers(batch, 4, 2)}, show="steepness", resolution=12, scatter=places, ax=ax
        ),
        "grid": lambda: path_landscape(numbers(4, 5), places[:, None], limits=(0, 1, 0, 1), ax=ax),
        "vector_field": lambda: vector_field(bumps, places, 0.3, ax=ax),
        "flux": lambda: vector_field(bumps, places, 0.3, points=numbers(batch, 6, 2), flux=numbers(batch, 6), ax=ax),
        "flux_points": lambda: flux_points(images, numbers(batch, 5, 3, 6, 7), numbers(batch, 5), ax=ax),
        "relevance_balance": lambda: relevance_balance(
            {"a": numbers(batch, 3, 4, 4), "b": (numbers(batch), -numbers(batch))}, average=batch > 1, ax=ax
        ),
        "feature_bars": lambda: feature_bars(numbers(batch, 11), values=numbers(batch, 11), ax=ax),
    }


NAMES = list(every_picture())


def drawn(fig):
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=25)
    return buffer.getvalue()


# --- maps
# ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.booleans(), st.booleans())
@settings(max_examples=12, deadline=None)
def test_a_shared_scale_is_shared(batch, overlaid, shared_scale):
    generator = torch.Generator().manual_seed(batch)
    images, maps = torch.rand(batch, 3, 5, 6, generator=generator), torch.rand(batch, 5, 6, generator=generator) - 0.5
    fig = compare(images, {"one": maps, "ten": 10 * maps}, overlaid=overlaid, shared_scale=shared_scale)
    ends = torch.tensor([ax.images[-1].get_clim()[1] for ax in fig.axes]).view(batch, 3)[:, 1:]
    assert_close(ends[:, 1] / ends[:, 0], torch.full((batch,), 1.0 if shared_scale else 10.0))


def test_an_overlay_is_as_opaque_as_asked_where_it_is_strongest():
    values = torch.linspace(0, 1, 30).view(1, 5, 6)
    for opacity in (0.3, 1.0):
        shown = overlay(torch.rand(1, 3, 5, 6), values, "magnitude", 100.0, opacity).axes[0].images[1].get_alpha()
        assert_close(shown, opacity * values[0].double().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shared_scale", [False, True])
def test_heat_maps_share_a_scale_when_asked(shared_scale):
    one = torch.linspace(-1, 1, 30).view(1, 1, 5, 6)
    ends = [
        ax.images[0].get_clim()
        for ax in heatmap(torch.cat([one, 10 * one]), "signed", 100.0, shared_scale=shared_scale, colorbar=False).axes
    ]
    assert ends[1] == pytest.approx((-10, 10)) and ends[0] == pytest.approx((-10, 10) if shared_scale else (-1, 1))


def test_an_overlay_may_be_given_the_end_of_its_scale():
    images, maps = torch.rand(2, 3, 5, 6), torch.rand(2, 5, 6)
    assert [ax.images[1].get_clim() for ax in overlay(images, maps, "magnitude", limit=7.0).axes] == [(0, 7)] * 2
    with pytest.raises(ValueError, match="limit is 0"):
        overlay(images, maps, limit=0.0)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (3, 5, 6)])
def test_every_image_has_its_own_map(batch, shape):
    images, maps = torch.rand(batch, 3, 5, 6), torch.rand(batch, *shape) - 0.4
    expected = maps if maps.ndim == 3 else maps.sum(1)
    for fig in (overlay(images, maps), compare(images, {"m": maps})):
        shown = [ax.images[-1].get_array() for ax in fig.axes if ax.images[-1].get_array().ndim == 2]
        assert_close(np.stack(shown), expected.double().numpy())


def test_a_batch_of_maps_is_one_whatever_its_number():
    assert [len(heatmap(torch.rand(n, 8, 8), colorbar=False).axes) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert len(heatmap(torch.rand(3, 1, 8, 8), colorbar=False).axes) == 3
    assert len(heatmap(torch.rand(3, 8, 8)[None], colorbar=False).axes) == 1


@pytest.mark.parametrize(
    "values, sign, extend",
    [
        ([9.0, 0.0], "signed", "max"),
        ([-9.0, 0.0], "signed", "min"),
        ([9.0, -9.0], "signed", "both"),
        ([0.0, 0.0], "signed", "neither"),
        ([9.0, 0.0], "magnitude", "max"),
        ([0.0, 0.0], "magnitude", "neither"),
        ([float("nan"), 0.0], "signed", "neither"),
    ],
)
def test_arrows_stand_where_the_scale_is_exceeded(values, sign, extend):
    a_map = torch.ones(40, 40)
    a_map[0, :2] = torch.tensor(values)
    assert heatmap(a_map, sign).axes[0].images[0].colorbar.extend == extend


def test_the_scale_can_be_fixed():
    maps = torch.rand(2, 5, 6) - 0.5
    assert [ax.images[0].get_clim() for ax in heatmap(maps, limit=2.0, colorbar=False).axes] == [(-2, 2)] * 2
    fig = compare(torch.rand(2, 3, 5, 6), {"a": maps, "b": 9 * maps}, sign={"b": "magnitude"}, limit=3)
    assert [ax.images[-1].get_clim() for ax in fig.axes if ax.images[-1].get_array().ndim == 2] == [(-3, 3), (0, 3)] * 2
    assert heatmap(maps[0], limit=0.1).axes[0].images[0].colorbar.extend == "both"


def test_pictures_of_nothing():
    "Zeros, one outlier, tiny numbers and NaN have a scale that shows them"
    outlier = torch.randn(1, 1, 50, 50, generator=torch.Generator().manual_seed(0)) * 1e-3
    outlier[0, 0, 0, 0] = 1e6
    assert plots.color_limit(pixel_map(outlier)) < 0.01
    assert 0 < plots.color_limit(pixel_map(torch.rand(1, 1, 8, 8) * 1e-30)) < 1e-29
    assert plots.color_limit(pixel_map(torch.zeros(1, 3, 8, 8))) == 1
    assert "64 NaN" in heatmap(torch.full((1, 1, 8, 8), float("nan"))).axes[0].texts[0].get_text()
    compare(torch.rand(2, 1, 8, 8), {"a": torch.zeros(2, 1, 8, 8)}, outlines=torch.zeros(2, 8, 8))


# --- what a picture may be
# -----------------------------------------------------------------------------------------

RAMP = torch.linspace(0, 1, 3 * 4 * 5).reshape(1, 3, 4, 5)
BYTES = (RAMP * 255).round().to(torch.uint8)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISED = (RAMP - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.mark.parametrize(
    "given, atol",
    [
        (RAMP, 1e-7),
        (RAMP.half(), 1e-3),
        (RAMP.numpy(), 1e-7),
        (RAMP.tolist(), 1e-7),
        (BYTES, 2e-3),
        (BYTES.numpy(), 2e-3),
        (BYTES.int(), 2e-3),
        ((RAMP * 65535).round().numpy().astype(np.uint16), 1e-5),
        (Image.fromarray(BYTES[0].permute(1, 2, 0).numpy()), 2e-3),
        ([Image.fromarray(BYTES[0].permute(1, 2, 0).numpy())], 2e-3),
        (RAMP * 1.005, 6e-3),
        (RAMP[0], 1e-7),
    ],
    ids=[
        "float",
        "half",
        "array",
        "list",
        "bytes",
        "array of bytes",
        "int",
        "16 bits",
        "PIL",
        "list of PIL",
        "rounding",
        "one",
    ],
)
def test_a_picture_is_read_on_its_scale(given, atol):
    assert_close(torch.from_numpy(image_array(given)), RAMP.permute(0, 2, 3, 1).double(), atol=atol, rtol=0)


def test_bytes_are_no_white_picture():
    x = (torch.rand(1, 3, 16, 16) * 255).to(torch.uint8)
    assert (image_array(x) == 1).mean() < 0.05
    fig = compare(x, {"a": torch.rand(1, 3, 16, 16)})
    assert_close(fig.axes[0].images[0].get_array(), x[0].permute(1, 2, 0).double().numpy() / 255)


@pytest.mark.parametrize(
    "numbers",
    [dict(mean=MEAN, std=STD), dict(mean=torch.tensor(MEAN), std=np.array(STD)), dict(mean=list(MEAN), std=list(STD))],
)
def test_a_normalisation_is_undone(numbers):
    a_map = torch.rand(1, 4, 5)
    assert_close(image_array(NORMALISED, **numbers), RAMP.permute(0, 2, 3, 1).double().numpy(), atol=1e-6, rtol=0)
    assert_close(
        overlay(NORMALISED, a_map, **numbers).axes[0].images[0].get_array(),
        overlay(RAMP, a_map).axes[0].images[0].get_array(),
        atol=1e-6,
        rtol=0,
    )
    assert_close(
        compare(NORMALISED, {"a": a_map}, **numbers).axes[0].images[0].get_array(),
        RAMP[0].permute(1, 2, 0).double().numpy(),
        atol=1e-6,
        rtol=0,
    )


def test_numbers_beyond_the_scale_are_stretched_or_cut_off_when_asked():
    two = torch.stack([RAMP[0], 4 * RAMP[0] - 1])
    stretched, cut = image_array(two, outside="stretch"), image_array(two, outside="clip")
    for one in (stretched[0], stretched[1], cut[0]):
        assert_close(one, RAMP[0].permute(1, 2, 0).double().numpy(), atol=1e-6, rtol=0)
    assert_close(cut[1], two[1].clamp(0, 1).permute(1, 2, 0).double().numpy())
    assert_close(image_array(torch.full((1, 1, 2, 2), 7.0), outside="stretch"), np.zeros((1, 2, 2, 3)))


def test_bytes_that_look_like_a_mask_are_announced_at_the_callers_line():
    mask = torch.eye(4, dtype=torch.uint8)
    with pytest.warns(UserWarning, match="images.bool()") as said:
        image_array(mask)
    assert len(said) == 1 and said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_array(mask.bool()).max() == image_array(mask.long()).max() == 1
        image_array(torch.zeros(4, 4, dtype=torch.uint8))


@pytest.mark.parametrize(
    "images, settings, error, text",
    [
        (NORMALISED, {}, ValueError, "mean= and std="),
        (RAMP * 255, {}, ValueError, "images / 255"),
        (NORMALISED, dict(mean=MEAN), ValueError, "after mean and std are undone"),
        (NORMALISED, dict(mean=MEAN, std=(1, 2)), ValueError, "3 channels"),
        (NORMALISED, dict(mean=MEAN, std=0.0), ValueError, "above zero"),
        (BYTES, dict(mean=MEAN, std=STD), ValueError, "normalised images are floats"),
        (torch.full((1, 1, 2, 2), 300), {}, ValueError, "from 300 to 300"),
        (torch.full((1, 1, 2, 2), -5, dtype=torch.int8), {}, ValueError, "from -5"),
        (RAMP.log(), {}, ValueError, "NaN or infinite"),
        (RAMP + 0j, {}, TypeError, "complex"),
        (RAMP, dict(outside="warn"), ValueError, "'stretch'"),
        (RAMP.permute(0, 2, 3, 1), {}, ValueError, "permute(0, 3, 1, 2)"),
        (RAMP[0].permute(1, 2, 0), {}, ValueError, "permute(2, 0, 1)"),
        (RAMP[:, :2], {}, ValueError, "3 or 1"),
        (RAMP[:0], {}, ValueError, "nothing to draw"),
        (RAMP[:, :, None], {}, ValueError, "volume_slice"),
        ([Image.new("L", (3, 4)), Image.new("L", (4, 3))], {}, ValueError, "different sizes"),
        (Image.new("F", (3, 4)), {}, ValueError, "to_rgb"),
        ("photo.jpg", {}, TypeError, "images must be"),
        (None, {}, TypeError, "images must be"),
    ],
)
def test_what_is_no_picture(images, settings, error, text):
    with pytest.raises(error) as e:
        image_array(images, **settings)
    assert text in str(e.value), str(e.value)


MAPS = {
    "heatmap": heatmap,
    "overlay": lambda m: overlay(torch.rand(64, 1, 64, 3), m),
    "compare": lambda m: compare(torch.rand(2, 3, 64, 64), {"a": m}),
    "pixel_map": pixel_map,
    "outlines": lambda m: compare(torch.rand(1, 3, 8, 8), {"a": torch.zeros(1, 8, 8)}, outlines=m),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(
    "given, error, text",
    [
        (torch.rand(64, 64, 3), ValueError, "permute(2, 0, 1)"),
        (torch.rand(64, 64, 1), ValueError, "permute(2, 0, 1)"),
        (torch.rand(2, 64, 64, 3), ValueError, "permute(0, 3, 1, 2)"),
        (torch.rand(2, 1, 5, 6, 7), ValueError, "volume_slice"),
        (torch.rand(8, 8) + 1j, TypeError, "complex"),
        (torch.zeros(2, 3, 0, 4), ValueError, "nothing to draw"),
        (torch.zeros(7), ValueError, "(7,)"),
        ((torch.rand(2, 8, 8), torch.rand(2, 8, 8)), TypeError, "one by one"),
        ("abc", TypeError, "must be"),
        (None, TypeError, "must be"),
        (torch.eye(8).to_sparse(), TypeError, "dense"),
        (torch.zeros(8, 8, device="meta"), TypeError, "meta"),
    ],
    ids=[
        "channels last",
        "one channel last",
        "batch with channels last",
        "volumes",
        "complex",
        "no pixels",
        "one dimension",
        "tuple",
        "text",
        "None",
        "sparse",
        "meta",
    ],
)
def test_maps_mean_the_same_everywhere(name, given, error, text):
    if name == "outlines":
        if given is None:
            return
        text = (
            {ValueError: "outlines have shape", TypeError: "outlines"}[error]
            if not isinstance(given, tuple)
            else "outlines"
        )
        error = (TypeError, ValueError)
    with pytest.raises(error) as e:
        MAPS[name](given)
    assert text in str(e.value), str(e.value)


def test_channels_of_one_picture_need_their_batch_dimension():
    picture = torch.rand(3, 5, 6)
    for call in (lambda m: overlay(picture, m), lambda m: compare(picture, {"a": m})):
        with pytest.raises(ValueError, match=r"\[None\], three grey pictures images\[:, None\]"):
            call(picture)
        assert_close(call(picture[None]).axes[-1].images[-1].get_array(), picture.sum(0).double().numpy())


@pytest.mark.parametrize("axis", [2, 3, 4, -1])
def test_a_slice_of_a_volume_is_a_picture(axis):
    scan = torch.rand(2, 1, 4, 5, 6)
    for at in (0, 1, -1, np.int64(2)):
        assert_close(volume_slice(scan, at, axis), scan.select(axis, at))
    assert_close(volume_slice(scan, axis=axis), scan.select(axis, scan.shape[axis] // 2))
    overlay(volume_slice(scan, 1, axis), volume_slice(scan, 1, axis) - 0.5)


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ((torch.rand(4, 5, 6),), ValueError, "volume[None, None]"),
        ((torch.rand(1, 1, 4, 5, 6), 4), ValueError, "from 0 to 3"),
        ((torch.rand(1, 1, 4, 5, 6), -5), ValueError, "at is -5"),
        ((torch.rand(1, 1, 4, 5, 6), 1.5), TypeError, "at must be an int"),
        ((torch.rand(1, 1, 4, 5, 6), 0, 1), ValueError, "axis is 1"),
        (("scan",), TypeError, "volumes"),
    ],
)
def test_wrong_slices(arguments, error, text):
    with pytest.raises(error) as e:
        volume_slice(*arguments)
    assert text in str(e.value)


@pytest.mark.parametrize(
    "outlines",
    [
        torch.zeros(2, 6, 6),
        torch.zeros(1, 5, 6),
        torch.zeros(5, 6),
        torch.zeros(2, 3, 5, 6),
        torch.full((2, 5, 6), float("nan")),
    ],
)
def test_outlines_fit_the_images(outlines):
    with pytest.raises(ValueError, match="outlines"):
        compare(torch.rand(2, 3, 5, 6), {"a": torch.rand(2, 5, 6)}, outlines=outlines)


def test_outlines_of_every_form_are_drawn():
    mask = torch.zeros(1, 5, 6)
    mask[:, 1:3, 2:4] = 1
    drawn_lines = [
        len(compare(torch.rand(1, 3, 5, 6), {"a": mask}, outlines=o).axes[0].collections)
        for o in (mask, mask[0], mask[:, None], mask.bool(), 255 * mask)
    ]
    assert drawn_lines == [1] * 5


# --- all of them
# ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_is_drawn_without_a_warning(name, dtype):
    fig = every_picture(dtype=dtype)[name]()
    assert isinstance(fig, matplotlib.figure.Figure) and len(drawn(fig)) > 300


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_zeros_are_drawn(name, batch):
    drawn(every_picture(batch, value=0.0)[name]())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [n for n in NAMES if n != "compare"])
def test_given_axes_are_drawn_on(name):
    fig = AttributionFigure(layout="constrained")
    ax = fig.subplots()
    assert every_picture(1, ax=ax)[name]() is fig
    assert ax.has_data()
    drawn(fig)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in NAMES
        if n
        not in (
            "compare",
            "curve_band",
            "curves",
            "compare_curves",
            "path_landscape",
            "steepness",
            "grid",
            "relevance_balance",
        )
    ],
)
def test_one_axes_does_not_fit_a_batch(name):
    with pytest.raises(ValueError, match="one ax for 2 panels"):
        every_picture(2, ax=AttributionFigure().subplots())[name]()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_is_refused_or_marked(name, value):
    if name in ("heatmap", "magnitude", "overlay", "compare", "grid"):
        fig = every_picture(value=value)[name]()
        assert any("NaN or infinite" in text.get_text() for ax in fig.axes for text in ax.texts)
        drawn(fig)
    elif name == "vector_field":  # has no other numbers than the score's
        with pytest.raises(ValueError, match="NaN"):
            vector_field(bumps, torch.full((1, 2), value), 0.1)
    else:
        with pytest.raises(ValueError, match="NaN or infinite"):
            every_picture(value=value)[name]()


def test_nothing_is_left_in_pyplot():
    import matplotlib.pyplot

    before = matplotlib.pyplot.get_fignums()
    for call in every_picture(1).values():
        call()
    assert matplotlib.pyplot.get_fignums() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", NAMES)
def test_tensors_on_a_gpu_are_drawn(name):
    drawn(every_picture(device="cuda")[name]())


@pytest.mark.parametrize("name", [n for n in NAMES if n != "grid"])  # a landscape alone needs no path
def test_a_batch_of_nothing_is_an_error(name):
    with pytest.raises(ValueError):
        every_picture(0)[name]()


# --- means and curves
# ----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 5), st.floats(0.5, 0.99))
def test_the_interval_holds_the_mean_and_grows_with_the_level(batch, points, level):
    values = torch.randn(batch, points, generator=torch.Generator().manual_seed(batch))
    mean, low, high = mean_interval(values, level)
    assert_close(mean, values.double().mean(0).numpy())
    wider = mean_interval(values, (1 + level) / 2)
    assert (low <= high).all() and (wider[1] <= low + 1e-12).all() and (wider[2] >= high - 1e-12).all()
    if batch > 4:
        assert (low <= mean).all() and (mean <= high).all()


def test_areas_are_those_of_the_measures():
    from attrnb.measures import FaithfulnessCurves

    one = some_curves(4)
    found = FaithfulnessCurves(one.fractions, one.deletion, one.insertion)
    texts = [
        t.get_text() for t in curves(found, ("deletion", "insertion", "difference")).axes[0].get_legend().get_texts()
    ]
    for text, kind in zip(texts, ("deletion", "insertion", "difference")):
        assert text.startswith(f"{kind} {getattr(found, kind + '_score').mean():.2f} [")
    line = curves(found, "difference").axes[0].lines[0]
    assert_close(line.get_ydata(), found.difference.double().mean(0).numpy())


def test_a_difference_needs_the_whole_curves():
    found = some_curves(3)
    half = SimpleNamespace(fractions=found.fractions / 2, deletion=found.deletion, insertion=found.insertion)
    for call in (lambda: curves(half, "difference"), lambda: compare_curves({"a": half})):
        with pytest.raises(ValueError, match="from 0 to 1"):
            call()
    shaded = [len(curves(one, average=False).axes[0].collections) for one in (found, half)]
    assert shaded[0] == shaded[1] + 1  # the area between curves that stop early is no score


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 99))
def test_the_difference_of_uneven_fractions_keeps_the_areas(steps, seed):
    x = torch.tensor([0, *steps]).cumsum(0).double() / sum(steps)
    generator = torch.Generator().manual_seed(seed)
    found = dict(
        fractions=x,
        deletion=torch.rand(2, len(x), generator=generator),
        insertion=torch.rand(2, len(x), generator=generator),
    )
    q, read = plots._read_curves(found, ["deletion", "insertion", "difference"])
    area = {kind: np.trapezoid(values, q, axis=1) for kind, values in read.items()}
    assert_close(area["difference"], area["insertion"] - area["deletion"])
    for kind in ("deletion", "insertion"):
        assert_close(area[kind], torch.trapezoid(found[kind].double(), x, dim=1).numpy())
    back = np.interp(1 - q, x.numpy(), found["insertion"][0].double().numpy()) - np.interp(
        q, x.numpy(), found["deletion"][0].double().numpy()
    )
    assert_close(read["difference"][0], back)


def test_one_panel_per_example_and_a_marked_fraction():
    found = some_curves(3)
    fig = curves(found, average=False, at=0.5, titles=["a", "b", "c"])
    assert [ax.get_title() for ax in fig.axes] == ["a", "b", "c"]
    dots = [line for line in fig.axes[1].lines if line.get_marker() == "o"]
    assert_close(
        [float(np.ravel(d.get_ydata())[0]) for d in dots], [found.deletion[1, 4].item(), found.insertion[1, 4].item()]
    )
    assert not curves(found, average=False).axes[0].lines[0].get_label().count("[")


@pytest.mark.parametrize(
    "found, kinds, error, text",
    [
        (some_curves(), ("deletion", "area"), ValueError, "choose some of"),
        (some_curves(), (), ValueError, "choose some of"),
        (torch.zeros(3), "deletion", TypeError, "fractions"),
        (
            dict(fractions=torch.zeros(4), deletion=torch.zeros(2, 5)),
            "deletion",
            ValueError,
            "(points,) and (batch, points)",
        ),
        (dict(fractions=torch.zeros(4), deletion=torch.zeros(2, 4)), "difference", ValueError, "no insertion"),
    ],
)
def test_wrong_curves(found, kinds, error, text):
    with pytest.raises(error) as e:
        curves(found, kinds)
    assert text in str(e.value)


def test_wrong_fraction_and_level():
    with pytest.raises(ValueError, match="at is 1.5"):
        curves(some_curves(), at=1.5)
    with pytest.raises(ValueError, match="level is 1"):
        mean_interval(torch.zeros(2, 2), 1.0)


# --- paths and flux
# ------------------------------------------------------------------------------------------------


def test_a_landscape_runs_along_its_axes(monkeypatch):
    contourf, drawn = matplotlib.axes.Axes.contourf, []

    def noted(ax, x, y, z, **settings):
        drawn.append((x, y, np.asarray(z)))
        return contourf(ax, x, y, z, **settings)

    monkeypatch.setattr(matplotlib.axes.Axes, "contourf", noted)
    path_landscape(lambda p: p[:, 0] + 10 * p[:, 1], torch.rand(1, 3, 2), limits=(0, 1, 2, 4), resolution=5)
    ((x, y, z),) = drawn
    assert (x[0], x[-1], y[0], y[-1]) == (0, 1, 2, 4)
    assert_close(z, x[None] + 10 * y[:, None], rtol=1e-5, atol=1e-5)


def test_the_landscape_is_the_score_of_the_target():
    model = nn.Linear(2, 3).eval()
    paths = [torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.2, 0.3], [1.0, 0.0]])]
    seen = []

    def forward(p):
        seen.append(p.shape)
        return model(p)

    fig = path_landscape(forward, {"straight": paths[0], "bent": [paths[1]]}, target=2, resolution=7)
    assert 49 <= sum(s[0] for s in seen) <= 51  # a grid of 7 x 7, and the rows of the probe
    lines = [line for line in fig.axes[0].lines if line.get_label() in ("straight", "bent")]
    assert_close(lines[1].get_xydata(), paths[1].double().numpy())
    assert lines[0].get_linestyle() == "--" and lines[1].get_linestyle() == "-"
    assert all(p.grad is None for p in model.parameters())


def test_the_first_row_of_a_grid_is_at_the_bottom():
    low, high = torch.zeros(6, 8), torch.zeros(6, 8)
    low[0], high[-1] = 1, 1
    fig = AttributionFigure(figsize=(6, 2), dpi=60)
    for ax, values in zip(fig.subplots(1, 2), (low, high)):
        path_landscape(values, [], limits=(0, 1, 0, 1), ax=ax)
        ax.set_axis_off()
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    for ax, bright_at in zip(fig.axes, ("bottom", "top")):
        box = ax.get_window_extent()
        part = pixels[::-1][int(box.y0) + 2 : int(box.y1) - 2, int(box.x0) + 2 : int(box.x1) - 2]
        assert (part[:3].mean() > part[-3:].mean()) == (bright_at == "bottom")


def test_wrong_landscapes():
    for call, text in (
        (lambda: path_landscape(bumps, torch.zeros(2, 3)), "two features"),
        (lambda: path_landscape(bumps, []), "limits"),
        (lambda: path_landscape(torch.zeros(3, 3), torch.zeros(2, 2)), "limits"),
        (lambda: path_landscape(torch.zeros(3), [], limits=(0, 1, 0, 1)), "(rows, columns)"),
        (lambda: path_landscape(bumps, [], limits=(1, 0, 0, 1)), "left < right"),
        (lambda: path_landscape(bumps, [], limits=(0, 1, 0, 1), show="height"), "'steepness'"),
        (lambda: path_landscape(bumps, torch.tensor([[0.0, 0.0], [float("nan"), 1.0]])), "NaN"),
        (lambda: vector_field(bumps, torch.zeros(3), 0.1), "(2,)"),
        (lambda: vector_field(bumps, torch.zeros(1, 2), -1), "radius is"),
        (lambda: vector_field(bumps, torch.zeros(1, 2), float("nan")), "radius is"),
        (lambda: vector_field(bumps, torch.zeros(2, 2), 1, points=torch.zeros(1, 3, 2)), "(batch, n, 2)"),
        (lambda: flux_points(torch.zeros(2, 3), torch.zeros(2, 4, 3), torch.zeros(2, 5)), "(batch, n)"),
    ):
        with pytest.raises(ValueError) as e:
            call()
        assert text in str(e.value), str(e.value)


def test_the_flux_is_gradient_times_normal():
    w = torch.tensor([3.0, 4.0])
    fig = vector_field(lambda p: p @ w, torch.tensor([[0.5, 0.5]]), 0.2)
    flux = fig.axes[0].collections[-1].get_array()
    assert_close(float(flux.max()), 5.0, atol=0.02, rtol=0)
    assert_close(float(flux.mean()), 0.0, atol=1e-5, rtol=0)


def test_every_centre_has_its_own_target():
    def two(p):
        return torch.stack([p[:, 0], -p[:, 0]], 1)

    fig = vector_field(two, torch.zeros(2, 2), 1.0, target=[0, 1])
    first, second = (fig.axes[i].collections[-1].get_array() for i in (0, 1))
    assert_close(np.asarray(first), -np.asarray(second))
    assert first.max() > 0.9


def test_points_of_neflag_are_drawn_as_found():
    from attrnb.neflag import NeFLAG

    net = nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 2)).eval()
    x = torch.rand(2, 6)
    _, found = NeFLAG(net).attribute(x, target=1, radius=0.2, n_points=7, return_flux=True)
    fig = flux_points(x, found.points, found.flux)
    for i in range(2):
        dots = fig.axes[i].collections[0]
        assert_close(np.asarray(dots.get_array()), found.flux[i].double().numpy())
        assert (np.linalg.norm(dots.get_offsets(), axis=1) <= 1 + 1e-6).all()


# --- layers and bars
# -----------------------------------------------------------------------------------------------


def test_bars_are_the_masses_of_equilibrium():
    from attrnb.equilibrium import AttributionEquilibrium
    from attrnb.samples import sample_model, shape_images

    samples = shape_images(2, seed=1)
    _, layers = AttributionEquilibrium(sample_model()).attribute(
        samples.images, target=samples.targets, return_layers=True
    )
    fig = relevance_balance(layers)
    ax = fig.axes[0]
    widths = [bar.get_width() for bar in ax.patches]
    n = len(layers)
    assert_close(widths[:n], [layer.positive.mean().item() for layer in layers.values()], atol=1e-5, rtol=1e-4)
    assert_close(widths[n:], [-layer.negative.mean().item() for layer in layers.values()], atol=1e-5, rtol=1e-4)
    relevances = {name: layer.relevance for name, layer in layers.items()}
    again = relevance_balance(relevances, average=False)
    assert len(again.axes) == 2 and again.axes[0].get_ylim()[0] > again.axes[0].get_ylim()[1]


def test_many_layers_stay_legible():
    fig = relevance_balance({f"layer {k}": torch.ones(1, 2) for k in range(300)})
    assert len(fig.axes[0].get_yticks()) <= 40 and fig.get_figheight() < 10


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.booleans())
def test_bars_with_the_rest_are_the_whole_attribution(features, k, rest):
    a = torch.randn(features, generator=torch.Generator().manual_seed(features))
    ax = feature_bars(a, k=k, rest=rest).axes[0]
    widths = [bar.get_width() for bar in ax.patches]
    assert len(widths) == min(k, features) + (rest and k < features)
    shown = widths[: min(k, features)]
    assert [abs(w) for w in shown] == sorted((abs(w) for w in shown), reverse=True)
    if rest or k >= features:
        assert_close(sum(widths), a.double().sum().item())


def test_wrong_bars():
    for call, text in (
        (lambda: feature_bars(torch.zeros(2, 3), ["a"]), "one per feature"),
        (lambda: feature_bars(torch.zeros(2, 3, 4)), "heatmap"),
        (lambda: feature_bars(torch.zeros(3), k=0), "at least 1"),
        (lambda: feature_bars(torch.zeros(3), values=torch.zeros(4)), "must agree"),
        (lambda: relevance_balance({"a": (torch.tensor([-1.0]), torch.tensor([1.0]))}), "not below zero"),
        (lambda: relevance_balance({}), "layers is empty"),
    ):
        with pytest.raises(ValueError) as e:
            call()
        assert text in str(e.value), str(e.value)


def test_colours_of_roles_differ_also_in_grey():
    """Positive against negative is red against blue of like lightness on purpose; curves of one figure differ in
    lightness or line style
    """
    assert len(set(plots.ROLE_COLORS.values())) >= 8
    fig = curves(some_curves())
    styles = [line.get_linestyle() for line in fig.axes[0].lines[:2]]
    assert styles[0] != styles[1]


def test_every_method_has_a_look_of_its_own():
    for name, method in METHODS.items():
        assert plots.method_look(name) == plots.method_look(method.title)
        assert plots.method_look(name)["color"] == plots.METHOD_COLORS[name]
        if method.group == "floor":
            red, green, blue = to_rgb(plots.METHOD_COLORS[name])
            assert red == green == blue and plots.method_look(name)["ls"] != "-"
    assert len(set(plots.METHOD_COLORS.values())) == len(plots.METHOD_COLORS)
    assert plots.method_look("no such method")["color"] not in plots.METHOD_COLORS.values()


def seen_colors(color: str, confusion: np.ndarray) -> np.ndarray:
    "A colour in CIE L*a*b*, as an eye with this confusion of linear red, green and blue sees it"
    linear = np.array([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)])
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(confusion @ linear, 1e-4, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(
    "confusion",
    [  # Machado, Oliveira and Fernandes 2009, severity 1
        pytest.param(np.eye(3), id="none"),
        pytest.param(
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
            id="protanopia",
        ),
        pytest.param(
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
            id="deuteranopia",
        ),
        pytest.param(
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
            id="tritanopia",
        ),
    ],
)
def test_every_eye_tells_the_methods_apart(confusion):
    "Lines of one style differ by 15 units or more, where 2 can be seen side by side; others by 5"
    looks = {name: plots.method_look(name) for name in plots.METHOD_COLORS}
    seen = {name: seen_colors(look["color"], np.array(confusion)) for name, look in looks.items()}
    for one, other in itertools.combinations(looks, 2):
        least = 15 if looks[one]["ls"] == looks[other]["ls"] else 5
        assert np.linalg.norm(seen[one] - seen[other]) >= least, (one, other)


def own_palettes(source: str) -> list[str]:
    "Keys of dictionaries that are names or titles of methods and whose values hold a colour written out"
    unknown, found = plots.method_look("no such method"), []
    written = re.compile(r"#[0-9a-fA-F]{3,8}|0?\.\d+|C\d\S*|tab:\w+")
    for node in ast.walk(ast.parse(source)):
        for key, value in zip(node.keys, node.values) if isinstance(node, ast.Dict) else ():
            texts = [n.value for n in ast.walk(value) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and any(map(written.fullmatch, texts)):
                if plots.method_look(key.value.split(",")[0]) != unknown:
                    found.append(key.value)
    return found


def test_no_page_has_a_palette_of_its_own():
    assert len(own_palettes('a = {"neflag": "#0072b2", "IG, blurred": ("#e69f00", "--"), "Grad-CAM": "C3-"}')) == 3
    assert not own_palettes('a = {"neflag": "images", "mine": "#0072b2", "lrp": METHOD_COLORS["lrp"]}')
    found = {}
    for page in NOTEBOOKS:
        if page.name != "10_maps.ipynb":
            cells = [re.sub(r"^\s*[%!].*", "pass", source, flags=re.M) for source in sources(page)]
            found[page.name] = [key for source in cells for key in own_palettes(source)]
    for script in [*ROOT.glob("scripts/*.py"), *ROOT.glob("experiments/**/*.py")]:
        found[script.name] = own_palettes(script.read_text(encoding="utf-8"))
    assert len(found) > 100 and not {name: keys for name, keys in found.items() if keys}


def test_old_words_still_work():
    with pytest.warns(DeprecationWarning, match="kind of heatmap.* is now called sign"):
        fig = heatmap(-A_MAP, kind="magnitude")
    assert fig.axes[0].images[0].get_clim()[0] == 0
    with pytest.warns(DeprecationWarning, match="draws of mean_interval"):
        mean_interval(torch.rand(3, 4), draws=10)


# --- arguments
# -----------------------------------------------------------------------------------------------------

A_MAP, PICTURES = torch.rand(2, 3, 6, 7), torch.rand(2, 3, 6, 7)
CALLS = {
    "heatmap": lambda **k: heatmap(A_MAP, **k),
    "overlay": lambda **k: overlay(PICTURES, A_MAP, **k),
    "compare": lambda **k: compare(PICTURES, {"a": A_MAP}, **k),
    "mean_interval": lambda **k: mean_interval(torch.rand(3, 4), **k),
    "curve_band": lambda **k: curve_band(torch.arange(4), torch.rand(2, 4), **k),
    "curves": lambda **k: curves(some_curves(), **k),
    "compare_curves": lambda **k: compare_curves({"a": some_curves()}, **k),
    "path_landscape": lambda **k: path_landscape(bumps, torch.rand(1, 3, 2), **k),
    "vector_field": lambda radius=0.3, **k: vector_field(bumps, torch.rand(2, 2), radius, **k),
    "flux_points": lambda **k: flux_points(torch.rand(2, 4), torch.rand(2, 5, 4), torch.rand(2, 5), **k),
    "relevance_balance": lambda layers={"a": torch.rand(2, 3)}, **k: relevance_balance(layers, **k),
    "feature_bars": lambda **k: feature_bars(torch.rand(2, 5), **k),
    "live": lambda **k: live(**dict(dict(frames=some_frames(2), description="k", alt="x"), **k)),
    "color_limit": lambda **k: plots.color_limit(**dict(dict(values=np.ones(3)), **k)),
}
WRONG = {
    "percentile": (
        [0, -1, 101, float("nan")],
        ["x", None, True, [1]],
        ["heatmap", "overlay", "compare", "flux_points", "color_limit"],
    ),
    "size": (
        [0, -1, 10**9, float("nan")],
        ["x", None],
        [
            "heatmap",
            "overlay",
            "compare",
            "curves",
            "compare_curves",
            "path_landscape",
            "vector_field",
            "flux_points",
            "relevance_balance",
            "feature_bars",
        ],
    ),
    "columns": (
        [0, -1],
        [1.5, "x", None],
        ["heatmap", "overlay", "curves", "vector_field", "flux_points", "relevance_balance", "feature_bars"],
    ),
    "limit": ([0, -1, float("inf")], ["x", [1]], ["heatmap", "overlay", "compare"]),
    "opacity": ([-0.1, 2, float("nan")], ["x", None], ["overlay"]),
    "level": (
        [0, 1, float("nan")],
        ["x", None],
        ["mean_interval", "curve_band", "curves", "compare_curves", "relevance_balance"],
    ),
    "n_resamples": ([0], [1.5, None], ["mean_interval"]),
    "titles": (
        [["a", "b", "c"], "one"],
        [5],
        ["heatmap", "overlay", "compare", "vector_field", "flux_points", "feature_bars"],
    ),
    "ax": (
        [],
        ["x", 1],
        [
            "heatmap",
            "overlay",
            "curves",
            "compare_curves",
            "path_landscape",
            "vector_field",
            "flux_points",
            "relevance_balance",
            "feature_bars",
        ],
    ),
    "sign": (["x"], [5], ["compare"]),
    "outlines": ([], ["x", 1j], ["compare"]),
    "shared_scale": ([], ["x", None, 1], ["heatmap", "compare"]),
    "overlaid": ([], ["x", None], ["compare"]),
    "colorbar": ([], ["no", None], ["heatmap", "vector_field", "flux_points"]),
    "average": ([], ["x", None], ["curves", "relevance_balance"]),
    "rest": ([], ["x"], ["feature_bars"]),
    "role": (["nocolour", 7], [], ["curve_band"]),
    "style": (["@@", 7], [], ["curve_band"]),
    "at": ([-1, 2, float("nan")], ["x"], ["curves"]),
    "kinds": (["x", []], [5, [5]], ["curves"]),
    "floor": ([], ["x", 5], ["curves", "compare_curves"]),
    "resolution": ([0, 1, -3], [1.5, "x", None], ["path_landscape"]),
    "feature_names": (["x", ["a"], ["a", "b", "c"], 5], [], ["path_landscape", "vector_field"]),
    "limits": ([(1, 0, 0, 1), (0, 1)], ["x", 5, (0, 1, 0, "x")], ["path_landscape", "vector_field"]),
    "scatter": ([torch.rand(3)], ["x"], ["path_landscape"]),
    "show": (["x"], [], ["path_landscape"]),
    "radius": ([0, -1, float("inf")], ["x", None], ["vector_field"]),
    "arrows": ([0, 1], [1.5, None], ["vector_field"]),
    "points": ([torch.rand(3, 3, 2)], ["x"], ["vector_field"]),
    "flux": ([torch.rand(10), torch.rand(2, 9)], ["x"], ["vector_field"]),
    "layers": ([{}, {"a": (1, 2, 3)}], [[torch.rand(2)], None, {"a": None}], ["relevance_balance"]),
    "names": ([["a"]], ["abcde", 5], ["feature_bars"]),
    "k": ([0], [1.5, "x"], ["feature_bars"]),
    "values": ([], ["x"], ["feature_bars", "color_limit"]),
    "frames": (
        [{}, {"a": b"<svg/>"}, {"a": PICTURES}, {"a": Image.new("F", (3, 3))}],
        [[1], None, {"a": "b.jpg"}],
        ["live"],
    ),
    "start": ([9, -9], [1.5, "x", None], ["live"]),
    "quality": ([0, 200], ["x", 7.5], ["live"]),
    "max_kilobytes": ([0, float("nan")], ["x"], ["live"]),
    "description": ([], [5, None], ["live"]),
    "alt": ([], [5], ["live"]),
}
ROWS = [
    (function, name, value, error)
    for name, (values, kinds, functions) in WRONG.items()
    for function in functions
    for error, some in ((ValueError, values), (TypeError, kinds))
    for value in some
]


@pytest.mark.parametrize("function, name, value, error", ROWS, ids=[f"{f}-{n}-{str(v)[:12]}" for f, n, v, _ in ROWS])
def test_a_wrong_argument_is_named(function, name, value, error):
    "Refused before anything is drawn, by this module, in words that name the argument or say what is accepted"
    with pytest.raises(error) as e:
        CALLS[function](**{name: value})
    where = e.traceback[-1].path
    assert "attrnb" in where.parts, f"from below: {e.value}"
    assert name.rstrip("s") in str(e.value) or any(
        word in str(e.value) for word in ("accepted", "choose", "give", "must")
    ), str(e.value)


def test_a_cut_file_is_no_frame():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, format="png")
    with pytest.raises(ValueError, match="no whole JPEG or PNG"):
        live({"a": buffer.getvalue()[:900]}, "k", "x")


# --- the picture with a slider
# -------------------------------------------------------------------------------------


class Parts(html.parser.HTMLParser):
    "Tags with their attributes; every tag that needs closing must be closed"

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


def some_frames(n=4, size=8):
    return {f'<{k}> & "k"': torch.rand(3, size, size, generator=torch.Generator().manual_seed(k)) for k in range(n)}


def test_the_slider_is_self_contained_and_labelled():
    shown = live(some_frames(), 'what "it" is', "a <picture>", start=2)
    parts = Parts(shown._repr_html_())
    assert {tag for tag, _ in parts.tags} == {"div", "label", "span", "input", "output", "img"}
    assert all(a["src"].startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for a in parts.all("img"))
    assert not any(
        "http" in value or "//" in value for tag, attrs in parts.tags for key, value in attrs.items() if key != "src"
    )
    assert not any("id" in attrs for _, attrs in parts.tags), "an id would be there twice when a cell is copied"
    (slider,) = parts.all("input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "3", "2")
    assert slider["aria-valuetext"] == '<2> & "k"'
    assert slider["data-lm-suppress-shortcuts"] == "true", "JupyterLab would take the arrow keys"
    assert [a["data-label"] for a in parts.all("img")] == list(some_frames())
    assert [("display:block" in a["style"]) for a in parts.all("img")] == [False, False, True, False]
    assert all(a["alt"].startswith('a <picture>; what "it" is: <') for a in parts.all("img"))


def test_the_first_picture_stands_for_it_elsewhere():
    shown = live(some_frames(), "k", "noise", start=-1)
    bundle = shown._repr_mimebundle_()
    picture = bundle["image/jpeg" if "image/jpeg" in bundle else "image/png"]
    assert base64.b64decode(picture) == shown.frames[3]
    assert Image.open(io.BytesIO(shown.frames[3])).size == (8, 8)
    assert bundle["text/plain"].startswith("noise; k: <0>")
    json.dumps(bundle)
    assert "4 frames" in repr(shown)


def test_the_smaller_format_is_taken():
    generator = torch.Generator().manual_seed(0)
    noise, lines = torch.rand(3, 64, 64, generator=generator), torch.ones(3, 64, 64)
    lines[:, ::9] = 0
    assert set(live({"a": noise, "b": lines}, "k", "x")._repr_mimebundle_()) == {
        "text/html",
        "image/jpeg",
        "text/plain",
    }
    assert set(live({"a": noise, "b": lines}, "k", "x", start=1)._repr_mimebundle_()) == {
        "text/html",
        "image/png",
        "text/plain",
    }


def test_the_same_frames_give_the_same_page():
    assert live(some_frames(), "k", "noise")._repr_html_() == live(some_frames(), "k", "noise")._repr_html_()


def test_frames_of_every_kind():
    picture = Image.fromarray(np.zeros((80, 80, 3), np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, format="jpeg")
    figure = AttributionFigure(figsize=(1, 1), dpi=80)
    shown = live(
        {
            "figure": figure,
            "pil": picture,
            "bytes": buffer.getvalue(),
            "grey": torch.zeros(1, 80, 80),
            "array": np.zeros((80, 80)),
        },
        "kind",
        "black",
    )
    assert shown.size == (80, 80) and len(shown.frames) == 5


def test_wrong_frames():
    for error, text, call in (
        (ValueError, "frames is empty", lambda: live({}, "a", "b")),
        (ValueError, "start is 4", lambda: live(some_frames(), "a", "b", start=4)),
        (ValueError, "different sizes", lambda: live({**some_frames(), "x": torch.zeros(3, 9, 8)}, "a", "b")),
        (ValueError, "fewer or smaller", lambda: live(some_frames(4, 64), "a", "b", max_kilobytes=5)),
        (TypeError, "accepted: a Figure", lambda: live({"a": "b.jpg"}, "a", "b")),
    ):
        with pytest.raises(error, match=text):
            call()


def test_a_table_in_markdown_has_its_cells_and_numbers_to_the_right():
    table = markdown_table(["a|b", "number", "word"], [["x", "+1.5 [0, 3]", "no"], ["y|", "-", 2]], "title")
    title, empty, *lines = table.split("\n")
    cells = [[cell.strip() for cell in line.replace("\\|", "/")[1:-1].split("|")] for line in lines]
    assert (title, empty, len({len(line) for line in lines})) == ("**title**", "", 1)
    assert cells[0] + cells[2] + cells[3] == ["a/b", "number", "word", "x", "+1.5 [0, 3]", "no", "y/", "-", "2"]
    assert [cell.endswith(":") for cell in cells[1]] == [False, True, False]
    assert table._repr_markdown_() == repr(table) == table and isinstance(table, str)
    with pytest.raises(ValueError, match="2 columns, a row 3"):
        markdown_table(["a", "b"], [[1, 2], [1, 2, 3]])
