"Pictures: every function for batches, dtypes, zeros, NaN, given axes, and wrong calls; and what is drawn is what was given"
import base64
import html.parser
import io
import json
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pytest
import torch
from attrnb import plots
from attrnb.plots import (
    AttributionFigure,
    compare,
    compare_curves,
    curve_band,
    curves,
    feature_bars,
    flux_points,
    heatmap,
    live,
    mean_interval,
    overlay,
    path_landscape,
    relevance_balance,
    vector_field,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn
from torch.testing import assert_close

DTYPES = [torch.float64, torch.bfloat16]


def bumps(p):
    return (-(p[:, 0] ** 2) - p[:, 1] ** 2).exp()


def some_curves(batch=3, points=9, dtype=torch.float32):
    generator = torch.Generator().manual_seed(batch)
    x = torch.linspace(0, 1, points, dtype=torch.float64)
    return SimpleNamespace(
        fractions=x, deletion=torch.rand(batch, points, generator=generator).to(dtype), insertion=torch.rand(batch, points, generator=generator).to(dtype)
    )


def every_picture(batch=2, dtype=torch.float32, device="cpu", value=None, ax=None):
    "Name -> a call that draws with each function; `value` replaces all numbers; `ax` is given on where one panel is drawn"
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        made = torch.rand(shape, generator=generator) if value is None else torch.full(shape, value)
        return made.to(device, dtype).requires_grad_()

    images = torch.rand(batch, 3, 6, 7, generator=generator).to(device, dtype)
    found = dict(fractions=torch.linspace(0, 1, 5, device=device), deletion=numbers(batch, 5), insertion=numbers(batch, 5))
    places = torch.rand(batch, 2, generator=generator).to(device, dtype)
    return {
        "heatmap": lambda: heatmap(numbers(batch, 3, 6, 7), ax=ax),
        "magnitude": lambda: heatmap(numbers(batch, 3, 6, 7), "magnitude", shared_scale=True, ax=ax),
        "overlay": lambda: overlay(images, numbers(batch, 3, 6, 7), ax=ax),
        "compare": lambda: compare(images, {"a": numbers(batch, 3, 6, 7)}, outlines=torch.zeros(batch, 6, 7)),
        "curve_band": lambda: curve_band(torch.linspace(0, 1, 5, device=device), numbers(batch, 5), ax=ax),
        "curves": lambda: curves(found, floor=found, at=.4, ax=ax),
        "difference": lambda: curves(found, "difference", average=batch == 1, ax=ax),
        "compare_curves": lambda: compare_curves({"a": found, "b": found}, floor=found, ax=ax),
        "path_landscape": lambda: path_landscape(bumps, numbers(batch, 4, 2), resolution=12, ax=ax),
        "steepness": lambda: path_landscape(bumps, {"straight": numbers(batch, 4, 2)}, show="steepness", resolution=12, scatter=places, ax=ax),
        "grid": lambda: path_landscape(numbers(4, 5), places[:, None], limits=(0, 1, 0, 1), ax=ax),
        "vector_field": lambda: vector_field(bumps, places, .3, ax=ax),
        "flux": lambda: vector_field(bumps, places, .3, points=numbers(batch, 6, 2), flux=numbers(batch, 6), ax=ax),
        "flux_points": lambda: flux_points(images, numbers(batch, 5, 3, 6, 7), numbers(batch, 5), ax=ax),
        "relevance_balance": lambda: relevance_balance({"a": numbers(batch, 3, 4, 4), "b": (numbers(batch), -numbers(batch))}, average=batch > 1, ax=ax),
        "feature_bars": lambda: feature_bars(numbers(batch, 11), values=numbers(batch, 11), ax=ax),
    }


NAMES = list(every_picture())


def drawn(fig):
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=25)
    return buffer.getvalue()


# --- maps ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.booleans(), st.booleans())
@settings(max_examples=12, deadline=None)
def test_a_shared_scale_is_shared(batch, overlaid, shared_scale):
    generator = torch.Generator().manual_seed(batch)
    images, maps = torch.rand(batch, 3, 5, 6, generator=generator), torch.rand(batch, 5, 6, generator=generator) - .5
    fig = compare(images, {"one": maps, "ten": 10 * maps}, overlaid=overlaid, shared_scale=shared_scale)
    ends = torch.tensor([ax.images[-1].get_clim()[1] for ax in fig.axes]).view(batch, 3)[:, 1:]
    assert_close(ends[:, 1] / ends[:, 0], torch.full((batch,), 1. if shared_scale else 10.))


def test_an_overlay_may_be_given_the_end_of_its_scale():
    images, maps = torch.rand(2, 3, 5, 6), torch.rand(2, 5, 6)
    assert [ax.images[1].get_clim() for ax in overlay(images, maps, "magnitude", limit=7.).axes] == [(0, 7)] * 2
    with pytest.raises(ValueError, match="limit is 0"):
        overlay(images, maps, limit=0.)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (3, 5, 6)])
def test_every_image_has_its_own_map(batch, shape):
    images, maps = torch.rand(batch, 3, 5, 6), torch.rand(batch, *shape) - .4
    expected = maps if maps.ndim == 3 else maps.sum(1)
    for fig in (overlay(images, maps), compare(images, {"m": maps})):
        shown = [ax.images[-1].get_array() for ax in fig.axes if ax.images[-1].get_array().ndim == 2]
        assert_close(np.stack(shown), expected.double().numpy())


def test_a_batch_of_maps_is_one_whatever_its_number():
    assert [len(heatmap(torch.rand(n, 8, 8), colorbar=False).axes) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert len(heatmap(torch.rand(3, 1, 8, 8), colorbar=False).axes) == 3
    assert len(heatmap(torch.rand(3, 8, 8)[None], colorbar=False).axes) == 1


@pytest.mark.parametrize("values, kind, extend", [
    ([9., 0.], "signed", "max"), ([-9., 0.], "signed", "min"), ([9., -9.], "signed", "both"), ([0., 0.], "signed", "neither"),
    ([9., 0.], "magnitude", "max"), ([0., 0.], "magnitude", "neither"), ([float("nan"), 0.], "signed", "neither"),
])
def test_arrows_stand_where_the_scale_is_exceeded(values, kind, extend):
    a_map = torch.ones(40, 40)
    a_map[0, :2] = torch.tensor(values)
    assert heatmap(a_map, kind).axes[0].images[0].colorbar.extend == extend


# --- all of them ---------------------------------------------------------------------------------------------------


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
    drawn(every_picture(batch, value=0.)[name]())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [n for n in NAMES if n != "compare"])
def test_given_axes_are_drawn_on(name):
    fig = AttributionFigure(layout="constrained")
    ax = fig.subplots()
    assert every_picture(1, ax=ax)[name]() is fig
    assert ax.has_data()
    drawn(fig)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("compare", "curve_band", "curves", "compare_curves", "path_landscape", "steepness", "grid", "relevance_balance")])
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
            vector_field(bumps, torch.full((1, 2), value), .1)
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


# --- means and curves ----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 5), st.floats(.5, .99))
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
    texts = [t.get_text() for t in curves(found, ("deletion", "insertion", "difference")).axes[0].get_legend().get_texts()]
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
    found = dict(fractions=x, deletion=torch.rand(2, len(x), generator=generator), insertion=torch.rand(2, len(x), generator=generator))
    q, read = plots._read_curves(found, ["deletion", "insertion", "difference"])
    area = {kind: plots._area(q, values) for kind, values in read.items()}
    assert_close(area["difference"], area["insertion"] - area["deletion"])
    for kind in ("deletion", "insertion"):
        assert_close(area[kind], torch.trapezoid(found[kind].double(), x, dim=1).numpy())
    back = np.interp(1 - q, x.numpy(), found["insertion"][0].double().numpy()) - np.interp(q, x.numpy(), found["deletion"][0].double().numpy())
    assert_close(read["difference"][0], back)


def test_one_panel_per_example_and_a_marked_fraction():
    found = some_curves(3)
    fig = curves(found, average=False, at=.5, titles=["a", "b", "c"])
    assert [ax.get_title() for ax in fig.axes] == ["a", "b", "c"]
    dots = [line for line in fig.axes[1].lines if line.get_marker() == "o"]
    assert_close([float(np.ravel(d.get_ydata())[0]) for d in dots], [found.deletion[1, 4].item(), found.insertion[1, 4].item()])
    assert not curves(found, average=False).axes[0].lines[0].get_label().count("[")


@pytest.mark.parametrize(
    "found, kinds, error, text",
    [
        (some_curves(), ("deletion", "area"), ValueError, "choose some of"),
        (some_curves(), (), ValueError, "choose some of"),
        (torch.zeros(3), "deletion", TypeError, "fractions"),
        (dict(fractions=torch.zeros(4), deletion=torch.zeros(2, 5)), "deletion", ValueError, "(points,) and (batch, points)"),
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
    with pytest.raises(ValueError, match="level is 1.0"):
        mean_interval(torch.zeros(2, 2), 1.)


# --- paths and flux ------------------------------------------------------------------------------------------------


def test_the_landscape_is_the_score_of_the_target():
    model = nn.Linear(2, 3).eval()
    paths = [torch.tensor([[0., 0.], [1., 1.]]), torch.tensor([[0., 1.], [.2, .3], [1., 0.]])]
    seen = []

    def forward(p):
        seen.append(p.shape)
        return model(p)

    fig = path_landscape(forward, {"straight": paths[0], "bent": [paths[1]]}, target=2, resolution=7)
    assert sum(s[0] for s in seen) == 49
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
        part = pixels[::-1][int(box.y0) + 2:int(box.y1) - 2, int(box.x0) + 2:int(box.x1) - 2]
        assert (part[:3].mean() > part[-3:].mean()) == (bright_at == "bottom")


def test_wrong_landscapes():
    for call, text in (
        (lambda: path_landscape(bumps, torch.zeros(2, 3)), "two features"),
        (lambda: path_landscape(bumps, []), "limits"),
        (lambda: path_landscape(torch.zeros(3, 3), torch.zeros(2, 2)), "limits"),
        (lambda: path_landscape(torch.zeros(3), [], limits=(0, 1, 0, 1)), "(rows, columns)"),
        (lambda: path_landscape(bumps, [], limits=(1, 0, 0, 1)), "left < right"),
        (lambda: path_landscape(bumps, [], limits=(0, 1, 0, 1), show="height"), "'steepness'"),
        (lambda: path_landscape(bumps, torch.tensor([[0., 0.], [float("nan"), 1.]])), "NaN"),
        (lambda: vector_field(bumps, torch.zeros(3), .1), "(2,)"),
        (lambda: vector_field(bumps, torch.zeros(1, 2), -1), "radius is"),
        (lambda: vector_field(bumps, torch.zeros(1, 2), float("nan")), "radius is"),
        (lambda: vector_field(bumps, torch.zeros(2, 2), 1, points=torch.zeros(1, 3, 2)), "(batch, n, 2)"),
        (lambda: flux_points(torch.zeros(2, 3), torch.zeros(2, 4, 3), torch.zeros(2, 5)), "(batch, n)"),
    ):
        with pytest.raises(ValueError) as e:
            call()
        assert text in str(e.value), str(e.value)


def test_the_flux_is_gradient_times_normal():
    w = torch.tensor([3., 4.])
    fig = vector_field(lambda p: p @ w, torch.tensor([[.5, .5]]), .2)
    flux = fig.axes[0].collections[-1].get_array()
    assert_close(float(flux.max()), 5., atol=.02, rtol=0)
    assert_close(float(flux.mean()), 0., atol=1e-5, rtol=0)


def test_every_centre_has_its_own_target():
    def two(p):
        return torch.stack([p[:, 0], -p[:, 0]], 1)

    fig = vector_field(two, torch.zeros(2, 2), 1., target=[0, 1])
    first, second = (fig.axes[i].collections[-1].get_array() for i in (0, 1))
    assert_close(np.asarray(first), -np.asarray(second))
    assert first.max() > .9


def test_points_of_neflag_are_drawn_as_found():
    from attrnb.neflag import NeFLAG

    net = nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 2)).eval()
    x = torch.rand(2, 6)
    _, found = NeFLAG(net).attribute(x, target=1, radius=.2, n_points=7, return_flux=True)
    fig = flux_points(x, found.points, found.flux)
    for i in range(2):
        dots = fig.axes[i].collections[0]
        assert_close(np.asarray(dots.get_array()), found.flux[i].double().numpy())
        assert (np.linalg.norm(dots.get_offsets(), axis=1) <= 1 + 1e-6).all()


# --- layers and bars -----------------------------------------------------------------------------------------------


def test_bars_are_the_masses_of_equilibrium():
    from attrnb.equilibrium import AttributionEquilibrium
    from attrnb.samples import sample_model, shape_images

    samples = shape_images(2, seed=1)
    _, layers = AttributionEquilibrium(sample_model()).attribute(samples.images, target=samples.targets, return_layers=True)
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
    shown = widths[:min(k, features)]
    assert [abs(w) for w in shown] == sorted((abs(w) for w in shown), reverse=True)
    if rest or k >= features:
        assert_close(sum(widths), a.double().sum().item())


def test_wrong_bars():
    for call, text in (
        (lambda: feature_bars(torch.zeros(2, 3), ["a"]), "one per feature"),
        (lambda: feature_bars(torch.zeros(2, 3, 4)), "heatmap"),
        (lambda: feature_bars(torch.zeros(3), k=0), "at least 1"),
        (lambda: feature_bars(torch.zeros(3), values=torch.zeros(4)), "must agree"),
        (lambda: relevance_balance({"a": (torch.tensor([-1.]), torch.tensor([1.]))}), "not below zero"),
        (lambda: relevance_balance({}), "at least one layer"),
    ):
        with pytest.raises(ValueError) as e:
            call()
        assert text in str(e.value), str(e.value)


def test_colours_of_roles_differ_also_in_grey():
    "Positive against negative is red against blue of like lightness on purpose; curves of one figure differ in lightness or line style"
    assert len(set(plots.ROLE_COLORS.values())) >= 8
    fig = curves(some_curves())
    styles = [line.get_linestyle() for line in fig.axes[0].lines[:2]]
    assert styles[0] != styles[1]


# --- the picture with a slider -------------------------------------------------------------------------------------


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
    assert not any("http" in value or "//" in value for tag, attrs in parts.tags for key, value in attrs.items() if key != "src")
    assert not any("id" in attrs for _, attrs in parts.tags), "an id would be there twice when a cell is copied"
    slider, = parts.all("input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "3", "2")
    assert slider["aria-valuetext"] == '<2> & "k"'
    assert slider["data-lm-suppress-shortcuts"] == "true", "JupyterLab would take the arrow keys"
    assert [a["data-label"] for a in parts.all("img")] == list(some_frames())
    assert [("display:block" in a["style"]) for a in parts.all("img")] == [False, False, True, False]
    assert all(a["alt"].startswith('a <picture>; what "it" is: <') for a in parts.all("img"))


def test_the_first_picture_stands_for_it_elsewhere():
    from PIL import Image

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
    assert set(live({"a": noise, "b": lines}, "k", "x")._repr_mimebundle_()) == {"text/html", "image/jpeg", "text/plain"}
    assert set(live({"a": noise, "b": lines}, "k", "x", start=1)._repr_mimebundle_()) == {"text/html", "image/png", "text/plain"}


def test_the_same_frames_give_the_same_page():
    assert live(some_frames(), "k", "noise")._repr_html_() == live(some_frames(), "k", "noise")._repr_html_()


def test_frames_of_every_kind():
    from PIL import Image

    picture = Image.fromarray(np.zeros((80, 80, 3), np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, format="jpeg")
    figure = AttributionFigure(figsize=(1, 1), dpi=80)
    shown = live({"figure": figure, "pil": picture, "bytes": buffer.getvalue(), "grey": torch.zeros(1, 80, 80), "array": np.zeros((80, 80))}, "kind", "black")
    assert shown.size == (80, 80) and len(shown.frames) == 5


def test_wrong_frames():
    for error, text, call in (
        (ValueError, "at least one picture", lambda: live({}, "a", "b")),
        (ValueError, "start is 4", lambda: live(some_frames(), "a", "b", start=4)),
        (ValueError, "different sizes", lambda: live({**some_frames(), "x": torch.zeros(3, 9, 8)}, "a", "b")),
        (ValueError, "fewer or smaller", lambda: live(some_frames(4, 64), "a", "b", max_kilobytes=5)),
        (TypeError, "accepted: a Figure", lambda: live({"a": "b.jpg"}, "a", "b")),
    ):
        with pytest.raises(error, match=text):
            call()
