"Every measure against plain loops, across units, substrates, dtypes and chunks, and what happens to wrong calls"

import copy
import functools
import itertools
import math
import random

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from models import Corners, TwoInputs, convolutional, mlp, numbers, seeded
from scipy.ndimage import convolve, gaussian_filter
from scipy.stats import spearmanr
from torch import nn
from torch.testing import assert_close

from attrnb.core import ClassScore, CountingForward, per_example, shared, without_probe
from attrnb.measures import (
    HIGHER_IS_BETTER,
    PRESETS,
    GridNetwork,
    ProtocolPower,
    TopFraction,
    accuracy_after_masking,
    as_quantus,
    batch_independence,
    box_masks,
    cancellation_gap,
    cell_masks,
    centre_map,
    class_sensitivity,
    completeness_error,
    comprehensiveness,
    cross_entropy_after_masking,
    deletion,
    difference,
    dummy_sensitivity,
    energy_inside,
    faithfulness_curves,
    greedy_ceiling,
    greedy_order,
    image_grids,
    images_needed,
    infidelity,
    insertion,
    intersection_over_union,
    layer_conservation,
    linear_imputation,
    log_odds,
    outside_inside_ratio,
    outside_inside_share,
    pointing_game,
    protocol_power,
    purity,
    purity_area,
    random_floor,
    random_map,
    randomisation_cascade,
    rank_correlation,
    sensitivity_max,
    structural_similarity,
    substrate_of,
    sufficiency,
    uniform_map,
    unit_importance,
    unit_numbers,
)
from attrnb.paths import PathIntegratedGradients

FAITHFULNESS = [
    deletion,
    insertion,
    difference,
    comprehensiveness,
    sufficiency,
    log_odds,
    cross_entropy_after_masking,
    accuracy_after_masking,
]
LOCALISATION = [pointing_game, energy_inside, outside_inside_ratio, outside_inside_share, intersection_over_union]


def network(*shape):
    "A curved function of inputs of this shape with three classes, in float64"
    first, second = (
        numbers(math.prod(shape), 5, seed=1, dtype=torch.float64),
        numbers(5, 3, seed=2, dtype=torch.float64),
    )
    return lambda x: (x.flatten(1).double() @ first).tanh() @ second


# The slow, obvious way


def slow_units(shape, unit):
    "Unit of every position of one example (channels, H, W), as a dictionary"
    positions = np.ndindex(*shape)
    if unit == "element":
        return {p: k for k, p in enumerate(positions)}
    if isinstance(unit, torch.Tensor):
        return {p: int(unit[p[1:]]) for p in positions}
    across = -(-shape[2] // unit)
    return {(c, i, j): (i // unit) * across + j // unit for c, i, j in positions}


def slow_order(attribution, unit_of, rank):
    "Units, the most important first, ties by number"
    size = {}
    for (c, i, j), u in unit_of.items():
        a = attribution[c, i, j].item()
        if rank == "magnitude":
            a = abs(a)
        if rank == "channel_mean":
            a = attribution[:, i, j].mean().item()
        size[u] = size.get(u, 0) + a
    return sorted(size, key=lambda u: (-size[u], u))


def slow_score(forward, image, substrate, unit_of, chosen, inserting, target):
    masked = image.clone()
    for p, u in unit_of.items():
        if (u in chosen) != inserting:
            masked[p] = substrate[p]
    return forward(masked[None])[0, target].item()


def slow_curve(forward, x, a, target, unit, rank, substrate, steps, until, inserting):
    curves = []
    for image, attribution, empty, t in zip(x, a, substrate, target):
        unit_of = slow_units(tuple(image.shape), unit)
        order = slow_order(attribution, unit_of, rank)
        curves.append(
            [
                slow_score(
                    forward, image, empty, unit_of, order[: round(k * (len(order) * until) / steps)], inserting, t
                )
                for k in range(steps + 1)
            ]
        )
    return torch.tensor(curves, dtype=torch.float64)


@st.composite
def problems(draw):
    batch, channels, height, width = (draw(st.integers(1, n)) for n in (3, 3, 5, 6))
    seed = draw(st.integers(0, 999))
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64)
    a = 6.0 * torch.randint(-3, 4, x.shape, generator=generator)  # few values: many ties, exact sums
    own = torch.randint(0, 4, (height, width), generator=generator)
    own = torch.unique(own, return_inverse=True)[1]
    unit = draw(st.sampled_from([1, 2, 3, "element", own]))
    target = torch.randint(0, 3, (batch,), generator=generator).tolist()
    return x, a, unit, target


@settings(max_examples=60, deadline=None)
@given(
    problem=problems(),
    rank=st.sampled_from(["signed", "magnitude", "channel_mean"]),
    steps=st.integers(1, 7),
    until=st.sampled_from([1.0, 0.5, 0.3]),
    substrate=st.sampled_from(["black", "mean", "minimum", "noise", "inverted", 0.3]),
    chunk=st.sampled_from([None, 1, 3, 50]),
)
def test_curves_equal_plain_loops(problem, rank, steps, until, substrate, chunk):
    x, a, unit, target = problem
    forward, empty = network(*x.shape[1:]), substrate_of(x, substrate)
    slow = [
        slow_curve(forward, x, a, target, unit, rank, empty, steps, until, inserting) for inserting in (False, True)
    ]
    units = max(slow_units(tuple(x.shape[1:]), unit).values()) + 1
    assume(round(units * until) > 0)
    common = dict(
        unit=unit,
        sign=rank,
        masking_steps=steps,
        until=until,
        substrate=substrate,
        internal_batch_size=chunk,
        ties="position",
    )
    curves = faithfulness_curves(forward, x, a, target, **common)
    assert_close(curves.deletion, slow[0])
    assert_close(curves.insertion, slow[1])
    found = [measure(forward, x, a, target, area="mean", **common) for measure in (deletion, insertion, difference)]
    assert_close(found, [slow[0].mean(1), slow[1].mean(1), (slow[1] - slow[0]).mean(1)])
    if until == 1:
        q = np.array([round(k * units / steps) for k in range(steps + 1)]) / units
        assert_close(deletion(forward, x, a, target, **common).numpy(), np.trapezoid(slow[0].numpy(), q, axis=1))


@pytest.mark.parametrize("of", ["output", "logit", "probability"])
@pytest.mark.parametrize("fraction", [0.3, (0.2, 0.5, 1.0)])
@pytest.mark.parametrize("chunk", [None, 1, 2, 7])
def test_measures_at_a_fraction_share_their_rows(of, fraction, chunk):
    model = nn.Sequential(convolutional(), nn.Softmax(1)).eval() if of == "output" else convolutional()
    x, a = numbers(3, 3, 8, 8), numbers(3, 3, 8, 8, seed=1)
    settings = dict(fraction=fraction, unit=2, internal_batch_size=chunk, substrate="noise")
    counting = CountingForward(model)
    top = TopFraction(ClassScore(counting, of=of), x, a, [0, 1, 0], **settings)
    assert counting.rows == 0
    for measure in (comprehensiveness, accuracy_after_masking, sufficiency, log_odds, cross_entropy_after_masking):
        score = {}
        if of == "output" and measure in (log_odds, cross_entropy_after_masking):
            with pytest.raises(ValueError, match="exponentials don't add up to 1"):
                top.read(measure)
            continue
        alone = measure(ClassScore(model, of=of), x, a, [0, 1, 0], **settings, **score)
        assert_close(top.read(measure, **score), alone, atol=1e-6, rtol=1e-4)
    fractions = 1 if fraction == 0.3 else 3
    assert counting.rows - 1 == 3 * (1 + 2 * fractions)
    assert top.outputs("whole").shape == (3, 1, 4) and top.outputs("kept").shape == (3, fractions, 4)
    assert_close(top.outputs("whole")[:, 0], model(x))


def test_old_words_are_taken_for_a_version():
    net, x, a = convolutional(), numbers(2, 3, 8, 8), numbers(2, 3, 8, 8, seed=1)
    old, new = dict(steps=3, rank="magnitude"), dict(masking_steps=3, sign="magnitude")
    for measure in (faithfulness_curves, deletion, insertion, difference):
        with pytest.warns(DeprecationWarning, match=f"steps of {measure.__name__}"):
            found = measure(net, x, a, 1, **old)
        if measure is not faithfulness_curves:
            assert torch.equal(found, measure(net, x, a, 1, **new))
    for measure in (comprehensiveness, sufficiency, accuracy_after_masking):
        with pytest.warns(DeprecationWarning, match="now called sign"):
            found = measure(net, x, a, 1, rank="magnitude")
        assert torch.equal(found, measure(net, x, a, 1, sign="magnitude"))
    with pytest.warns(DeprecationWarning, match="now called n_samples"):
        floor = random_floor(net, x, 1, draws=2, **old)
    assert torch.equal(floor, random_floor(net, x, 1, n_samples=2, **new))
    partial = functools.partial(deletion, **old)
    assert torch.equal(
        random_floor(net, x, 1, measure=partial), random_floor(net, x, 1, measure="deletion", masking_steps=3)
    )
    with pytest.warns(DeprecationWarning, match="now called n_samples"):
        infidelity(net, x, a, 1, samples=2)
    with pytest.warns(DeprecationWarning, match="now called margin"):
        pointing_game(a, a[:, 0] > 0, tolerance=1)


def test_rows_of_any_function_are_shared_and_read_as_it_says():
    forward, x, a = convolutional(), numbers(2, 3, 8, 8), numbers(2, 3, 8, 8, seed=1)
    top = TopFraction(forward, x, a, 1, fraction=0.4)
    for score in (None, "probability", "sigmoid"):
        expected = comprehensiveness(forward, x, a, 1, fraction=0.4, score=score)
        assert_close(top.read(comprehensiveness, score=score), expected)
    assert_close(top.read(log_odds, score="probability"), log_odds(forward, x, a, 1, fraction=0.4, score="probability"))
    with pytest.raises(ValueError, match="choose one of 'whole', 'removed', 'kept'"):
        top.outputs("all")


@settings(max_examples=40, deadline=None)
@given(
    problem=problems(),
    rank=st.sampled_from(["signed", "magnitude"]),
    fraction=st.floats(0, 1),
    chunk=st.sampled_from([None, 1, 4]),
)
def test_top_fraction_equals_plain_loops(problem, rank, fraction, chunk):
    x, a, unit, target = problem
    units = max(slow_units(tuple(x.shape[1:]), unit).values()) + 1
    assume(fraction == 0 or int(fraction * units + 1e-9) > 0)
    forward = network(*x.shape[1:])
    log_p = ClassScore(forward, of="log_probability")
    expected = {m: [] for m in FAITHFULNESS[3:]}
    for image, attribution, t in zip(x, a, target):
        unit_of = slow_units(tuple(image.shape), unit)
        order = slow_order(attribution, unit_of, rank)
        top = order[: int(fraction * len(order) + 1e-9)]
        black = torch.zeros_like(image)
        without = slow_score(forward, image, black, unit_of, top, False, t)
        alone = slow_score(forward, image, black, unit_of, top, True, t)
        log_without = slow_score(log_p, image, black, unit_of, top, False, t)
        expected[comprehensiveness].append(forward(image[None])[0, t].item() - without)
        expected[sufficiency].append(forward(image[None])[0, t].item() - alone)
        expected[log_odds].append(log_without - log_p(image[None])[0, t].item())
        expected[cross_entropy_after_masking].append(-log_without)
        others = [slow_score(forward, image, black, unit_of, top, False, c) for c in range(3)]
        expected[accuracy_after_masking].append((others[t] == max(others)) / others.count(max(others)))
    for measure, values in expected.items():
        score = dict(score="log_probability") if measure in (log_odds, cross_entropy_after_masking) else {}
        score["ties"] = "position"
        found = measure(
            forward, x, a, target, fraction=fraction, unit=unit, sign=rank, internal_batch_size=chunk, **score
        )
        assert_close(found, torch.tensor(values, dtype=torch.float64), msg=measure.__name__)
        several = measure(forward, x, a, target, fraction=[fraction, 0.0, 1.0], unit=unit, sign=rank, **score)
        assert several.shape == (len(x), 3)
        assert_close(several[:, 0], found)


# Units, ranks and shapes


def test_segments_may_differ_between_examples():
    x, a = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.rand(2, 3, 4, 4)
    segments = torch.stack([torch.arange(16).view(4, 4) // 8, torch.arange(16).view(4, 4)]) * 3 + 5
    forward = network(3, 4, 4)
    together = faithfulness_curves(forward, x, a, 1, unit=segments, masking_steps=2)
    assert together.fractions.shape == (2, 3)
    for i in range(2):
        alone = faithfulness_curves(forward, x[i : i + 1], a[i : i + 1], 1, unit=segments[i], masking_steps=2)
        assert_close(together.deletion[i], alone.deletion[0])
        assert_close(together.difference_score[i], alone.difference_score[0])
    assert_close(unit_importance(a, segments)[0, :2].sum(), a[0].double().sum())
    with pytest.raises(ValueError, match="different numbers of units"):
        deletion(forward, x, a, 1, unit=segments, masking_steps=None)


def test_maps_without_channels_and_tables_and_sequences():
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    forward, maps = network(3, 6, 6), torch.rand(2, 6, 6)
    expected = deletion(forward, x, maps[:, None].expand(-1, 3, -1, -1), 0)
    assert_close(deletion(forward, x, maps, 0), expected)
    assert_close(deletion(forward, x, maps[:, None], 0), expected)
    assert_close(deletion(forward, x, maps.numpy(), 0), expected)
    table, net = torch.rand(4, 6), mlp()
    a = torch.rand(4, 6)
    assert_close(
        deletion(net, table, a, 0, unit=1, masking_steps=6), deletion(net, table, a, 0, unit="element", masking_steps=6)
    )
    groups = torch.tensor([0, 0, 1, 1, 2, 2])
    assert deletion(net, table, a, 0, unit=groups, masking_steps=3).shape == (4,)
    sequence = torch.rand(2, 5, 3, dtype=torch.float64)
    steps = torch.arange(5)[:, None].expand(5, 3)  # all channels of a time step together
    assert difference(network(5, 3), sequence, torch.rand(2, 5, 3), 0, unit=steps, masking_steps=5).shape == (2,)
    volume = torch.rand(1, 1, 3, 3, 3, dtype=torch.float64)
    assert difference(network(1, 3, 3, 3), volume, volume, 0, unit="element", masking_steps=4).shape == (1,)
    with pytest.raises(ValueError, match="patches need"):
        deletion(net, table, a, 0, unit=2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_dtype_gives_float64(dtype):
    net = convolutional().to(dtype)
    x, a = numbers(2, 3, 12, 12, dtype=dtype), numbers(2, 3, 12, 12, dtype=dtype, seed=1)
    for measure in FAITHFULNESS:
        found = measure(net, x, a, [0, 1], unit=4, score="log_probability")
        assert found.dtype == torch.float64 and found.shape == (2,) and torch.isfinite(found).all()
        reference = measure(convolutional(), x.float(), a.float(), [0, 1], unit=4, score="log_probability")
        if measure is not accuracy_after_masking:
            assert_close(found, reference, atol=0.05, rtol=0.05)


def test_integer_maps_and_no_grad_and_inference_tensors():
    net, x = mlp(), torch.rand(3, 6)
    a = torch.tensor([[5, 4, 3, 2, 1, 0]] * 3)
    expected = deletion(net, x, a.float(), 0, masking_steps=6)
    with torch.inference_mode():
        assert_close(deletion(net, x.clone(), a, 0, masking_steps=6), expected)
    assert not deletion(net, x.clone().requires_grad_(), a.float().requires_grad_(), 0).requires_grad


def test_batch_equals_each_alone_and_additional_arguments_follow():
    model = seeded(TwoInputs)
    x, other, scale = numbers(4, 4), numbers(4, 2, 3, seed=1), torch.tensor([1.0, -2.0, 0.5, 3.0])
    a = numbers(4, 4, seed=2)
    a[0], a[1, :2] = 1.0, 3.0  # ties are broken alike
    for measure in (deletion, insertion, difference, comprehensiveness, sufficiency):
        half = dict(fraction=0.5) if measure in (comprehensiveness, sufficiency) else {}
        together = measure(model, x, a, [0, 1, 2, 0], (other, scale), **half)
        alone = [
            measure(model, x[i : i + 1], a[i : i + 1], [0, 1, 2, 0][i], (other[i : i + 1], scale[i : i + 1]), **half)
            for i in range(4)
        ]
        assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-5)


def test_counted_rows_are_those_of_the_definition():
    counting, x, a = CountingForward(mlp()), torch.rand(5, 6), torch.rand(5, 6)
    for measure, rows in ((deletion, 9), (insertion, 9), (difference, 16)):
        counting.reset()
        measure(counting, x, a, 0, masking_steps=8, internal_batch_size=7)
        # and one to see whether rows are independent
        assert counting.rows == 5 * rows + 1 and counting.largest_batch <= 7 and counting.gradient_rows == 0
        counting.reset()
        with without_probe():
            measure(counting, x, a, 0, masking_steps=8)
        assert counting.rows == 5 * rows
    for measure, rows in (
        (comprehensiveness, 3),
        (sufficiency, 3),
        (log_odds, 3),
        (cross_entropy_after_masking, 2),
        (accuracy_after_masking, 2),
    ):
        counting.reset()
        measure(
            counting,
            x,
            a,
            0,
            fraction=(0.2, 0.5),
            **({} if measure not in (log_odds, cross_entropy_after_masking) else dict(score="log_probability")),
        )
        assert counting.rows == 5 * rows + 1


def test_model_is_left_as_found():
    net, x = convolutional().train(), numbers(2, 3, 12, 12)
    state = torch.get_rng_state()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.warns(UserWarning, match="training mode"):
        deletion(net, x, x, 0, unit=4, substrate="noise", ties="random")
    assert (
        net.training
        and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
        and torch.equal(torch.get_rng_state(), state)
    )


# Ties, constant maps, wrong calls


def test_ties_by_position_or_by_lot():
    # the first row of pixels matters
    x, forward = torch.rand(400, 1, 4, 4, dtype=torch.float64), lambda x: x[:, 0, 0]

    def target(out):
        return out.sum(1)

    constant = torch.zeros(400, 4, 4)
    by_position = deletion(forward, x, constant, target, masking_steps=16, ties="position")
    assert_close(
        by_position, deletion(forward, x, -torch.arange(16.0).view(1, 4, 4).expand(400, 4, 4), target, masking_steps=16)
    )
    by_lot = [deletion(forward, x, constant, target, masking_steps=16, seed=s).mean().item() for s in (0, 0, 1)]
    assert by_lot[0] == by_lot[1] != by_lot[2]
    floor = random_floor(forward, x, target, measure="deletion", masking_steps=16).mean().item()
    assert abs(by_lot[0] - floor) < 0.05 * floor
    negative = deletion(forward, x, constant - 1, target, masking_steps=16, ties="position")
    assert_close(negative, by_position)


def test_scores_of_curves_that_were_not_asked_for():
    net, x = mlp(), numbers(2, 6)
    both, early = (
        faithfulness_curves(net, x, x, 0, masking_steps=3),
        faithfulness_curves(net, x, x, 0, masking_steps=3, until=0.5),
    )
    assert_close(both.difference, both.insertion.flip(1) - both.deletion)
    with pytest.raises(ValueError, match="until=1"):
        _ = early.difference
    assert_close(early.difference_score, difference(net, x, x, 0, masking_steps=3, until=0.5))
    for asked, other in (("deletion", "insertion"), ("insertion", "deletion")):
        one = faithfulness_curves(net, x, x, 0, masking_steps=3, curves=asked)
        assert_close(getattr(one, f"{asked}_score"), getattr(both, f"{asked}_score"))
        for missing in (f"{other}_score", "difference_score"):
            with pytest.raises(ValueError, match=f"the {other} curve was not asked for"):
                getattr(one, missing)
        with pytest.raises(ValueError, match="both"):
            _ = one.difference


@pytest.mark.parametrize("height, width", [(40, 30), (4, 7)])
def test_blur_of_rise_is_its_programs(height, width):
    x = numbers(2, 3, height, width).double()
    single = np.zeros((11, 11))
    single[5, 5] = 1
    kernel = gaussian_filter(single, 5)
    expected = np.stack([[convolve(channel, kernel, mode="constant") for channel in image] for image in x.numpy()])
    assert_close(substrate_of(x, "blurred_rise").numpy(), expected)
    assert abs(kernel[5, 5] / kernel[0, 0] - 1.14) < 0.01


def test_samek_removes_a_hundred_regions():
    preset = {k: v for k, v in PRESETS["Samek"].items() if k != "area"}
    net, x = (
        CountingForward(lambda x: x.mean((1, 2, 3))[:, None] * torch.ones(2)),
        torch.rand(1, 1, 227, 227, generator=torch.Generator().manual_seed(0)),
    )
    curves = faithfulness_curves(net, x, x, 0, curves="deletion", **preset)
    assert_close(curves.fractions * 26**2, torch.arange(101).double())


def test_reselect_follows_the_largest_score():
    net, x, a = mlp(), numbers(3, 6), numbers(3, 6, seed=1)
    curves = faithfulness_curves(net, x, a, masking_steps=6, reselect=True)
    each = torch.stack([faithfulness_curves(net, x, a, c, masking_steps=6).deletion for c in range(3)])
    assert_close(curves.deletion, each.amax(0))


@pytest.mark.parametrize("measure", FAITHFULNESS, ids=lambda m: m.__name__)
def test_wrong_calls_say_what_is_wrong(measure):
    net, x = convolutional(), numbers(2, 3, 12, 12)
    a = x.clone()
    a[1, 0, 0, 0] = float("nan")

    def call(*args, **kw):
        return measure(net, *args, score="log_probability", **kw)

    with pytest.raises(ValueError, match=r"NaN or infinity in example \[1\]"):
        call(x, a, 0)
    with pytest.raises(ValueError, match="NaN"):
        call(a, x, 0)
    with pytest.raises(ValueError, match="don't belong"):
        call(x, x[:, :, :6], 0)
    with pytest.raises(ValueError, match="don't belong"):
        call(x, x[:1], 0)
    with pytest.raises(TypeError, match="tuple"):
        call((x, x), (x, x), 0)
    with pytest.raises(TypeError, match="tuple"):
        call(x, (x,), 0)
    with pytest.raises(ValueError, match="out of range"):
        call(x, x, 4)
    with pytest.raises(ValueError, match="3 targets for 2"):
        call(x, x, [0, 1, 2])
    for wrong in (0, -1, 2.5, True, "patch", (2, 2), (1, 0, 2)):
        with pytest.raises(ValueError, match="unit"):
            call(x, x, 0, unit=wrong)
    with pytest.raises(ValueError, match="sign"):
        call(x, x, 0, sign="absolute")
    with pytest.raises(ValueError, match="ties"):
        call(x, x, 0, ties="first")
    with pytest.raises(ValueError, match="substrate"):
        call(x, x, 0, substrate="white")
    with pytest.raises(ValueError, match="baseline 0 has shape"):
        call(x, x, 0, substrate=torch.zeros(3, 12, 12))
    with pytest.raises(TypeError):
        call(x, x, 0, step=3)
    with pytest.raises(ValueError, match="internal_batch_size"):
        call(x, x, 0, internal_batch_size=0)


@pytest.mark.parametrize(
    "measure", [m for m in FAITHFULNESS if m is not accuracy_after_masking], ids=lambda m: m.__name__
)
def test_scores_that_are_not_finite_are_reported(measure):
    net, x = convolutional(), numbers(3, 3, 12, 12)
    x[1] += 10

    def broken(z):
        return net(z).log_softmax(1) * torch.where(z.flatten(1).amax(1) > 5, float("nan"), 1.0)[:, None]

    with pytest.raises(ValueError, match="NaN|log-probabilities"):
        measure(broken, x, x, 0, unit=4)


def test_wrong_curve_and_fraction_arguments():
    net, x = mlp(), numbers(2, 6)
    for wrong in (
        dict(masking_steps=0),
        dict(masking_steps=2.0),
        dict(masking_steps=True),
        dict(until=0),
        dict(until=1.5),
        dict(area="auc"),
        dict(score="softmax"),
    ):
        with pytest.raises((TypeError, ValueError)):
            deletion(net, x, x, 0, **wrong)
    for wrong in (-0.1, 1.1, [], float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            comprehensiveness(net, x, x, 0, fraction=wrong)
    with pytest.raises(ValueError, match="curves"):
        faithfulness_curves(net, x, x, 0, curves="all")
    with pytest.raises(ValueError, match="rule"):
        accuracy_after_masking(net, x, x, 0, rule="top5")


def test_log_measures_insist_on_log_probabilities():
    net, x = mlp(), numbers(3, 6)
    expected = log_odds(net, x, x, 0, score="log_probability")
    assert_close(log_odds(ClassScore(net, of="log_probability"), x, x, 0), expected)
    assert_close(log_odds(ClassScore(net, of="probability"), x, x, 0), expected)
    assert_close(log_odds(lambda z: net(z).log_softmax(1), x, x, 0), expected)
    assert_close(log_odds(net, x, x, 0, score="probability"), expected)
    for forward in (net, lambda z: net(z).softmax(1)):
        with pytest.raises(ValueError, match="log-probabilities"):
            log_odds(forward, x, x, 0)
    with pytest.raises(ValueError, match="logit"):
        log_odds(net, x, x, 0, score="logit")

    def yes_no(z):
        return net(z)[:, :1]

    assert log_odds(yes_no, x, x, 0, score="log_probability").shape == (3,)
    assert set(accuracy_after_masking(yes_no, x, x, 0, rule="half", score="probability").tolist()) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="rule='half'"):
        accuracy_after_masking(yes_no, x, x, 0)


# Floors, ceilings, presets


def test_random_orders_are_fair_for_units_of_any_size():
    x = torch.zeros(4000, 1, 3, 3)  # patches of 4, 2, 2 and 1 pixels
    first = unit_importance(random_map(x, 2), 2).argmax(1).bincount() / 4000
    assert (first - 0.25).abs().max() < 0.03
    assert torch.equal(random_map(x, 2, seed=3), random_map(x, 2, seed=3))


@pytest.mark.parametrize("measure", FAITHFULNESS, ids=lambda m: m.__name__)
def test_floor_measure_and_ceiling_of_every_measure(measure):
    net, x = convolutional(), numbers(2, 3, 12, 12)
    a = Saliency(net).attribute(x, target=1)
    power = protocol_power(
        net, x, a, 1, measure=measure.__name__, n_samples=2, rounds=3, unit=4, score="log_probability"
    )
    assert (
        power.value.shape == power.ceiling.shape == (2,)
        and power.floor.shape == (2, 2)
        and power.measure == measure.__name__
    )
    assert measure.__name__ in str(power)
    assert_close(power.value, measure(net, x, a, 1, unit=4, score="log_probability"))
    if measure is not accuracy_after_masking:
        assert (power.range.mean() > 0) == HIGHER_IS_BETTER[measure.__name__]
    assert_close(random_floor(net, x, 1, 2, measure=measure, unit=4, score="log_probability"), power.floor)
    assert_close(greedy_ceiling(net, x, 1, 3, measure=measure, unit=4, score="log_probability"), power.ceiling)


@pytest.mark.parametrize("measure", [difference, insertion, sufficiency], ids=lambda m: m.__name__)
def test_a_partial_is_its_function_with_settings(measure):
    net, x = convolutional(), numbers(2, 3, 12, 12)
    a, own = Saliency(net).attribute(x, target=1), dict(unit=4, score="probability", substrate="mean")
    whole = protocol_power(net, x, a, 1, measure=measure, n_samples=2, rounds=2, **own)
    power = protocol_power(net, x, a, 1, measure=functools.partial(measure, **own), n_samples=2, rounds=2)
    assert power.measure == measure.__name__
    for mine, theirs in zip((power.value, power.floor, power.ceiling), (whole.value, whole.floor, whole.ceiling)):
        assert_close(mine, theirs)


def test_greedy_order_is_optimal_for_a_sum_and_counts_its_rows():
    weights = numbers(8, dtype=torch.float64)
    forward = CountingForward(lambda x: x @ weights)
    x = torch.ones(3, 8, dtype=torch.float64)
    for towards in ("deletion", "insertion"):
        for rounds, rows in ((8, 36), (1, 8), (3, 8 + 5 + 2), (20, 36)):
            forward.reset()
            order = greedy_order(forward, x, towards=towards, rounds=rounds, unit="element")
            assert order.argsort(1, descending=True).tolist() == [weights.argsort(descending=True).tolist()] * 3
            assert forward.rows == 3 * rows + 1
    segments = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 0, 0, 0, 1], [0, 1, 2, 3, 4, 5, 6, 7]])
    order = greedy_order(forward, x, rounds=20, unit=segments)
    best = unit_importance(weights.expand(3, 8), segments)
    assert (
        unit_importance(order, segments).argsort(1, descending=True)[2].tolist()
        == best.argsort(1, descending=True)[2].tolist()
    )
    for wrong in (dict(rounds=0), dict(towards="both")):
        with pytest.raises(ValueError):
            greedy_order(forward, x, unit="element", **wrong)
    with pytest.raises(ValueError, match="measure"):
        random_floor(forward, x, measure="roar")
    with pytest.raises(ValueError, match="n_samples"):
        random_floor(forward, x, n_samples=0)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings_of_deletion(name):
    net, x = convolutional(), torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for measure in (deletion, insertion, difference):
        assert torch.isfinite(measure(net, x, x, 0, **PRESETS[name])).all()


# Localisation


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    seed=st.integers(0, 999),
    tolerance=st.sampled_from([0, 1, 1.5, 2, 2.3, 3, 20]),
    few=st.booleans(),
)
def test_localisation_equals_plain_loops(batch, height, width, seed, tolerance, few):
    generator = torch.Generator().manual_seed(seed)
    a = (
        torch.randint(-2, 3, (batch, 2, height, width), generator=generator).double()
        if few
        else torch.randn(batch, 2, height, width, generator=generator).double()
    )
    masks = torch.rand(batch, height, width, generator=generator) < 0.4
    masks[:, torch.randint(height, (1,), generator=generator), torch.randint(width, (1,), generator=generator)] = True
    hits, energies, ratios, shares = [], [], [], []
    overlaps = {rule: [] for rule in ("area", "mean", 0.3)}
    for m, inside in zip(a.sum(1).numpy(), masks.numpy()):
        places = [p for p in np.ndindex(height, width)]
        on = [p for p in places if inside[p]]
        top = [p for p in places if m[p] == m.max()]
        hits.append(np.mean([min((p[0] - s[0]) ** 2 + (p[1] - s[1]) ** 2 for s in on) <= tolerance**2 for p in top]))
        positive = np.maximum(m, 0) if (m > 0).any() else np.ones_like(m)
        energies.append(positive[inside].sum() / positive.sum())
        outside_mean = positive[~inside].mean() if (~inside).any() else float("nan")
        ratios.append(
            outside_mean / positive[inside].mean()
            if positive[inside].mean() > 0
            else float("inf")
            if outside_mean > 0
            else float("nan")
        )
        shares.append(outside_mean / (outside_mean + positive[inside].mean()))
        for rule, limit in (("mean", positive.mean()), (0.3, 0.3 * positive.max())):
            chosen = positive >= limit
            overlaps[rule].append((chosen & inside).sum() / (chosen | inside).sum())
        ordered = sorted(m.ravel(), reverse=True)
        last = ordered[len(on) - 1]
        share = (len(on) - (m > last).sum()) / (m == last).sum()
        common = sum((m[p] > last) + share * (m[p] == last) for p in on)
        overlaps["area"].append(common / (2 * len(on) - common))

    def exact(found, expected):
        return assert_close(found.numpy(), np.array(expected, dtype=float), equal_nan=True)

    exact(pointing_game(a, masks, tolerance), hits)
    exact(energy_inside(a, masks), energies)
    exact(outside_inside_ratio(a, masks), ratios)
    exact(outside_inside_share(a, masks), shares)
    for rule, expected in overlaps.items():
        exact(intersection_over_union(a, masks, rule), expected)


@pytest.mark.parametrize("measure", LOCALISATION, ids=lambda m: m.__name__)
def test_localisation_of_odd_maps_and_masks(measure):
    a, masks = numbers(3, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:, 2:4, 3:6] = True
    expected = measure(a, masks)
    assert expected.dtype == torch.float64 and expected.shape == (3,)
    for same in (masks[:, None], masks.float(), masks.int(), masks.numpy()):
        assert_close(measure(a, same), expected)
    assert_close(measure(a.half().float().bfloat16(), masks), expected, atol=0.2, rtol=0.2)
    chance = {
        "pointing_game": 6 / 64,
        "energy_inside": 6 / 64,
        "outside_inside_ratio": 1.0,
        "outside_inside_share": 0.5,
        "intersection_over_union": None,
    }[measure.__name__]
    for silent in (torch.zeros(3, 8, 8), torch.ones(3, 8, 8), uniform_map(a)):
        found = measure(silent, masks)
        assert torch.isfinite(found).all() and (chance is None or torch.allclose(found, torch.full_like(found, chance)))
    assert torch.isfinite(measure(-a.abs(), masks)).all()
    empty = masks.clone()
    empty[1] = False
    with pytest.raises(ValueError, match=r"example\(s\) \[1\] is empty"):
        measure(a, empty)
    with pytest.raises(ValueError, match="must agree"):
        measure(a, masks[:, :4])
    with pytest.raises(ValueError, match="must agree"):
        measure(a, masks[:2])
    with pytest.raises(ValueError, match="masks > 0"):
        measure(a, masks * 255)
    with pytest.raises(ValueError, match="NaN"):
        measure(a / 0, masks)
    with pytest.raises(ValueError, match="accepted"):
        measure(a[0, 0], masks)
    with pytest.raises(TypeError, match="tuple"):
        measure((a,), masks)
    if measure in (outside_inside_ratio, outside_inside_share):
        with pytest.warns(UserWarning, match=r"\[0, 1, 2\] covers everything"):
            assert measure(a, masks | True).isnan().all()
    else:
        assert torch.isfinite(measure(a, masks | True)).all()


def test_a_total_miss_is_the_worst_and_not_undefined():
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[:, :2] = True
    maps = torch.stack([~masks[0], masks[1]]).float()
    assert outside_inside_ratio(maps, masks).tolist() == [float("inf"), 0.0]
    assert outside_inside_share(maps, masks).tolist() == [1.0, 0.0]
    a = numbers(20, 4, 4, seed=3)
    ratio, share = (f(a, masks[:1].expand(20, 4, 4)) for f in (outside_inside_ratio, outside_inside_share))
    some = ratio.isfinite()
    assert_close(share[some], (ratio / (1 + ratio))[some])
    assert (share[~some] == 1).all()


def test_baseline_maps_and_boxes():
    x = torch.rand(2, 3, 10, 14)
    centre = centre_map(x)
    assert centre.shape == uniform_map(x).shape == (2, 1, 10, 14) and centre.dtype == x.dtype
    assert centre[0, 0].argmax() in (4 * 14 + 6, 4 * 14 + 7, 5 * 14 + 6, 5 * 14 + 7)
    assert_close(centre, centre.flip(2, 3))
    middle = box_masks([[6, 4, 7, 5]] * 2, 10, 14)
    assert_close(pointing_game(centre, middle), torch.full((2,), 0.25).double())
    for wrong in (dict(width=0), dict(width=-1)):
        with pytest.raises(ValueError, match="width"):
            centre_map(x, **wrong)
    for f in (centre_map, uniform_map):
        with pytest.raises(ValueError):
            f(torch.rand(2, 5))
    assert box_masks([[-5, -5, 3, 3], [8, 8, 99, 99]], 10, 10).sum((1, 2)).tolist() == [9, 4]
    for wrong in ([[3, 3, 3, 5]], [[0, 0, float("nan"), 1]], [[1, 2, 3]], [[]]):
        with pytest.raises(ValueError, match="box"):
            box_masks(wrong, 10, 10)
    for wrong in (0, 1.2, "otsu", True):
        with pytest.raises((TypeError, ValueError), match="threshold"):
            intersection_over_union(x, torch.ones(2, 10, 14), wrong)
    for wrong in (-1, float("inf"), "15"):
        with pytest.raises((TypeError, ValueError), match="margin"):
            pointing_game(x, torch.ones(2, 10, 14), wrong)


# Axioms


def test_axioms_of_integrated_gradients():
    net, x, target = mlp(smooth=True).double(), numbers(4, 6, dtype=torch.float64), [0, 1, 2, 1]
    a = IntegratedGradients(net).attribute(x, target=torch.tensor(target), n_steps=60)
    assert completeness_error(net, x, a, target).max() < 1e-6
    with torch.no_grad():
        change = (net(x) - net(torch.full_like(x, 0.5))).gather(1, torch.tensor(target)[:, None])[:, 0]
    assert_close(completeness_error(net, x, a, target, baselines=0.5), (a.sum(1) - change).abs())
    assert_close(cancellation_gap(net, x, a, target, baselines=0.5, relative=True), a.abs().sum(1) / change.abs() - 1)
    with pytest.raises(ValueError, match="baseline"):
        completeness_error(net, x, a, target, baselines=torch.zeros(5, 6))


def test_dummies_and_conservation():
    a = torch.tensor([[1.0, -3.0, 0.0], [0.0, 2.0, 2.0]])
    assert_close(
        dummy_sensitivity(a, torch.tensor([[True, False, True], [False, False, True]])),
        torch.tensor([0.25, 0.5]).double(),
    )
    for wrong, error in (
        (torch.tensor([1, 0, 0]), TypeError),
        (torch.zeros(3, dtype=torch.bool), ValueError),
        (torch.ones(2, dtype=torch.bool), ValueError),
    ):
        with pytest.raises(error):
            dummy_sensitivity(a, wrong)
    layers = [torch.tensor([1.0, 2.0]), torch.tensor([[0.5, 0.4], [1.0, 1.0]]), torch.full((2, 1, 2, 2), 0.25)]
    assert_close(
        layer_conservation(layers, per_layer=True),
        torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 0.5]]).double(),
        atol=1e-7,
        rtol=0,
    )
    assert_close(
        layer_conservation(dict(enumerate(layers)), expected=2.0), torch.tensor([0.55, 0.5]).double(), atol=1e-7, rtol=0
    )
    for wrong in ({}, [torch.ones(2), torch.ones(3)], [torch.zeros(2), torch.ones(2)], [torch.tensor([float("nan")])]):
        with pytest.raises(ValueError):
            layer_conservation(wrong)


def test_batch_independence_finds_what_mixes():
    net, x = convolutional(), numbers(3, 3, 12, 12)
    assert batch_independence(Saliency(net).attribute, x, [0, 1, 2]).max() < 1e-5
    assert batch_independence(Saliency(net).attribute, x, torch.tensor([0, 1, 2])).max() < 1e-5
    assert (
        batch_independence(IntegratedGradients(net).attribute, x, 1, n_steps=4, baselines=torch.zeros_like(x)).max()
        < 1e-5
    )
    assert batch_independence(lambda z, target: z * z.abs().amax(), x, 0).max() > 0.01
    with pytest.raises(ValueError, match="one example"):
        batch_independence(Saliency(net).attribute, x[:1], 0)


# Robustness


def test_sensitivity_and_infidelity_are_seeded_and_bounded():
    net, x = mlp(smooth=True), numbers(3, 6)
    method = IntegratedGradients(net)
    state = torch.get_rng_state()
    found = [sensitivity_max(method.attribute, x, [0, 1, 2], seed=s, n_samples=6) for s in (0, 0, 1)]
    assert_close(found[0], found[1])
    assert not torch.equal(found[0], found[2]) and found[0].shape == (3,) and found[0].dtype == torch.float64
    assert_close(sensitivity_max(lambda z: z * 0 + 1, x), torch.zeros(3).double())
    a = method.attribute(x, target=1)
    settings = dict(unit="element", n_samples=30)
    assert_close(
        infidelity(net, x, a, 1, **settings, internal_batch_size=6),
        infidelity(net, x, a, 1, **settings),
        atol=1e-5,
        rtol=1e-4,
    )
    assert_close(
        sensitivity_max(method.attribute, x, 1, n_samples=7, internal_batch_size=6),
        sensitivity_max(method.attribute, x, 1, n_samples=7),
        atol=1e-5,
        rtol=1e-4,
    )
    assert infidelity(net, x, a, 1, **settings).mean() < infidelity(net, x, -a, 1, **settings).mean()
    image, conv = numbers(2, 3, 12, 12), convolutional()
    maps = numbers(2, 12, 12, seed=3)
    spread = maps[:, None].expand(-1, 3, -1, -1) / 3
    assert_close(
        infidelity(conv, image, maps, [0, 1], unit=4),
        infidelity(conv, image, spread, [0, 1], unit=4),
        atol=1e-6,
        rtol=1e-4,
    )
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="share"):
        infidelity(net, x, a, 1, share=1.0)


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(1, 4), size=st.integers(2, 40), levels=st.integers(2, 50), seed=st.integers(0, 999))
def test_rank_correlation_equals_scipy(batch, size, levels, seed):
    a, b = torch.randint(0, levels, (2, batch, size), generator=torch.Generator().manual_seed(seed)).double()
    expected = [
        0.0 if len(set(p.tolist())) == 1 or len(set(q.tolist())) == 1 else spearmanr(p, q)[0] for p, q in zip(a, b)
    ]
    assert_close(rank_correlation(a, b).numpy(), np.array(expected))


def test_structural_similarity_against_loops():
    a, b = numbers(1, 10, 9).abs(), numbers(1, 10, 9, seed=1).abs()
    p, q = ((m / m.max())[0].double().numpy() for m in (a, b))
    values = []
    for i in range(4):
        for j in range(3):
            u, v = p[i : i + 7, j : j + 7].ravel(), q[i : i + 7, j : j + 7].ravel()
            c = np.cov(u, v)
            values.append(
                (2 * u.mean() * v.mean() + 1e-4)
                * (2 * c[0, 1] + 9e-4)
                / ((u.mean() ** 2 + v.mean() ** 2 + 1e-4) * (c[0, 0] + c[1, 1] + 9e-4))
            )
    assert_close(structural_similarity(a, b).item(), float(np.mean(values)))
    with pytest.raises(ValueError, match="window"):
        structural_similarity(a, b, 8)


def test_cascade_goes_from_the_top_and_restores_every_bit():
    net, x = convolutional(), numbers(2, 3, 12, 12)
    before = {k: (v.clone(), v.data_ptr()) for k, v in net.state_dict(keep_vars=True).items()}

    def unchanged():
        return all(
            torch.equal(v, before[k][0]) and v.data_ptr() == before[k][1]
            for k, v in net.state_dict(keep_vars=True).items()
        )

    for weights in ("normal", "shuffle"):
        for cumulative in (True, False):
            cascade = randomisation_cascade(
                net,
                Saliency(net).attribute,
                x,
                [0, 1],
                weights=weights,
                cumulative=cumulative,
                return_attributions=True,
            )
            assert (
                cascade.layers == ["9", "4", "1", "0"]
                and cascade.similarity.shape == (4, 2)
                and cascade.attributions.shape == (5, 2, 3, 12, 12)
            )
            assert unchanged()
    again = [randomisation_cascade(net, Saliency(net).attribute, x, 0, seed=s).similarity for s in (3, 3, 4)]
    assert_close(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    calls = []

    def fails(inputs, target=None):
        calls.append(1)
        net(inputs)
        net[0].weight.data.add_(0)
        if len(calls) == 3:
            raise RuntimeError("stop")
        return inputs

    with pytest.raises(RuntimeError, match="stop"):
        randomisation_cascade(net, fails, x)
    assert unchanged()
    assert_close(
        randomisation_cascade(
            net, lambda z: z + 0 * net(z).sum(), x, similarity=lambda a, b: (a - b).abs().flatten(1).sum(1)
        ).similarity,
        torch.zeros(4, 2),
    )
    chosen = randomisation_cascade(net, Saliency(net).attribute, x, 0, layers=["4"])
    assert chosen.layers == ["4"]
    for wrong, match in (
        (dict(layers=["head"]), "head"),
        (dict(weights="zeros"), "weights"),
        (dict(similarity="mse"), "similarity"),
    ):
        with pytest.raises(ValueError, match=match):
            randomisation_cascade(net, Saliency(net).attribute, x, 0, **wrong)
    with pytest.raises(ValueError, match="no parameters"):
        randomisation_cascade(nn.ReLU(), lambda z: z, x)
    with pytest.raises(TypeError, match="Module"):
        randomisation_cascade(lambda z: z, lambda z: z, x)


# Purity, intervals


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 40), seed=st.integers(0, 999))
def test_purity_equals_plain_loops(n, seed):
    a, predicted = numbers(n, 2, seed=seed), torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(seed))
    smallest = sorted(range(n), key=lambda i: a[i].abs().sum().item())[: n // 2]
    assert purity(a, predicted) == pytest.approx(np.mean([predicted[i].item() for i in smallest]))
    assert purity(a.abs().sum(1), predicted) == purity(a, predicted)


def test_purity_refuses_what_it_cannot_use():
    for a, predicted in (
        (torch.ones(1, 2), torch.ones(1)),
        (torch.ones(3, 2), torch.ones(2)),
        (torch.ones(3), torch.tensor([0, 1, 2])),
        (torch.full((3,), float("nan")), torch.ones(3)),
    ):
        with pytest.raises(ValueError):
            purity(a, predicted)
    assert_close(purity_area(torch.tensor([[1.0, 0.5], [0.0, 1.0]]), [0.1, 0.3]), torch.tensor([0.15, 0.1]).double())
    for purities, levels in (([1.0, 1.0], [0.3, 0.1]), ([1.0], [0.1]), ([1.0, 1.0, 1.0], [0.1, 0.2])):
        with pytest.raises(ValueError):
            purity_area(purities, levels)


# Quantus


def test_as_quantus_without_quantus():
    net, x = convolutional(), numbers(2, 3, 12, 12)
    plain = Saliency(net).attribute(x, target=torch.tensor([0, 1])).numpy()
    found = as_quantus(Saliency)(model=net, inputs=x.numpy(), targets=np.array([0, 1]), device="cpu")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, plain)
    np.testing.assert_array_equal(
        as_quantus(lambda model: Saliency(model), abs=True)(net, x, torch.tensor([0, 1])), plain
    )
    assert as_quantus(lambda model, inputs, target: inputs[:, 0, ::2, ::2])(net, x.numpy(), None).shape == (
        2,
        1,
        12,
        12,
    )
    assert (as_quantus(Saliency, abs=True)(net, x.numpy(), [0, 1], abs=False) < 0).any()
    for wrong in (Saliency(net), 3, None):
        with pytest.raises(TypeError):
            as_quantus(wrong)
    np.testing.assert_array_equal(as_quantus("Saliency")(net, x, [0, 1]), plain)  # by name, in any spelling
    with pytest.raises(ValueError, match="did you mean saliency"):
        as_quantus("Salience")
    with pytest.raises(TypeError, match="one tensor"):
        as_quantus(lambda model, inputs, target: (inputs,))(net, x.numpy(), None)


def test_quantus_calls_our_function_and_gets_equal_values():
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    net = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)))
    x = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1).detach()
    a = Saliency(net).attribute(x.clone(), target=y).detach()

    def flipping(**kw):
        return quantus.PixelFlipping(disable_warnings=True, **kw)

    theirs = torch.tensor(
        np.array(flipping(features_in_step=1)(net, x.numpy(), y.numpy(), a.numpy(), device="cpu", softmax=True)),
        dtype=torch.float64,
    )
    preset = {k: v for k, v in PRESETS["Quantus PixelFlipping"].items() if k not in ("area", "start")}
    assert_close(
        faithfulness_curves(net, x, a, y, curves="deletion", **preset).deletion[:, 1:], theirs, atol=1e-4, rtol=0
    )
    assert_close(
        deletion(net, x, a, y, **PRESETS["Quantus PixelFlipping"]),
        torch.trapezoid(theirs, dx=1),
        atol=1e-4 * 128,
        rtol=0,
    )
    through = flipping(features_in_step=4)(
        net, x.numpy(), y.numpy(), None, explain_func=as_quantus(Saliency), device="cpu", softmax=True
    )
    direct = flipping(features_in_step=4)(net, x.numpy(), y.numpy(), a.numpy(), device="cpu", softmax=True)
    np.testing.assert_allclose(np.array(through), np.array(direct), atol=1e-6)
    assert_close(
        faithfulness_curves(net, x, a, y, curves="deletion", **preset | {"masking_steps": 32}).deletion[:, 1:],
        torch.tensor(np.array(direct), dtype=torch.float64),
        atol=1e-4,
        rtol=0,
    )


# Devices


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu_and_stays_there():
    net, x = convolutional(), numbers(3, 3, 12, 12)
    a, masks = numbers(3, 3, 12, 12, seed=1), torch.rand(3, 12, 12) < 0.3
    expected = {m: m(net, x, a, [0, 1, 2], unit=4, score="log_probability") for m in FAITHFULNESS}
    local = {m: m(a, masks) for m in LOCALISATION}
    floor = random_floor(net, x, [0, 1, 2], unit=4)
    net = net.cuda()
    for m, values in expected.items():
        found = m(net, x.cuda(), a.cuda(), [0, 1, 2], unit=4, score="log_probability")
        assert found.is_cuda
        assert_close(found.cpu(), values, atol=1e-4, rtol=1e-3)
    for m, values in local.items():
        assert_close(m(a.cuda(), masks).cpu(), values)
    assert_close(random_floor(net, x.cuda(), [0, 1, 2], unit=4).cpu(), floor, atol=1e-4, rtol=1e-3)
    assert randomisation_cascade(net, Saliency(net).attribute, x.cuda(), 0).similarity.shape == (4, 3)
    assert unit_numbers(x.cuda(), 4).is_cuda


def test_curve_counts_round_in_double_precision():
    from attrnb.measures import _curve_counts

    for units, until, steps in ((18, 0.3, 6), (50176, 0.7, 224), (196, 0.3, 32)):
        counts, _ = _curve_counts(torch.tensor([units]), steps, until)
        assert counts.flatten().tolist() == [round(k * (units * until) / steps) for k in range(steps + 1)]


# Ties


@pytest.mark.parametrize("level", [0.0, -1.0, 3.0])
@pytest.mark.parametrize("measure", [deletion, insertion], ids=lambda m: m.__name__)
def test_a_constant_map_is_worth_a_random_order_wherever_the_evidence_lies(measure, level):
    net, x, how = (
        Corners().eval(),
        torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        dict(unit=8, masking_steps=16),
    )
    with pytest.warns(UserWarning, match="same in every unit") as said:
        found = [measure(net, x, torch.full((32, 32, 32), level), t, **how).mean().item() for t in (0, 1)]
    floor = [random_floor(net, x, t, n_samples=8, measure=measure, **how).mean().item() for t in (0, 1)]
    assert max(abs(f - c) for f, c in zip(found, floor)) < 0.8
    assert len(said) == 2 and said[0].filename == __file__


def test_lots_hang_on_the_example_alone():
    net, x = network(1, 4, 4), torch.rand(6, 1, 4, 4, dtype=torch.float64)
    a = torch.randint(0, 3, x.shape, generator=torch.Generator().manual_seed(0)).double()  # many ties
    together = faithfulness_curves(net, x, a, 1, masking_steps=16)
    assert (together.tied > 4).all() and together.tied.shape == (6,) and together.order.shape == (6, 16)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert_close(faithfulness_curves(net, x[order], a[order], 1, masking_steps=16).deletion, together.deletion[order])
    for i in range(6):
        assert_close(
            faithfulness_curves(net, x[i : i + 1], a[i : i + 1], 1, masking_steps=16, internal_batch_size=3).insertion[
                0
            ],
            together.insertion[i],
        )
    assert (together.order.sort(1).values == torch.arange(16)).all()
    ranked = unit_importance(a).gather(1, together.order.long())
    assert (ranked.diff(dim=1) <= 0).all()
    assert len({tuple(o) for o in faithfulness_curves(net, x, a * 0, 1).order.tolist()}) == 6
    assert torch.equal(faithfulness_curves(net, x, a * 0, 1).order, faithfulness_curves(net, x, a * 0 - 5, 1).order)
    assert not torch.equal(
        faithfulness_curves(net, x, a * 0, 1, seed=1).order, faithfulness_curves(net, x, a * 0, 1).order
    )


def test_maps_without_ties_have_one_order():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x, a = numbers(3, 6, dtype=dtype), torch.rand(3, 6)
        curves = [
            faithfulness_curves(lambda z: z.double().tanh(), x, a, 0, ties=ties, seed=seed)
            for ties in ("position", "random")
            for seed in (0, 7)
        ]
        assert all(torch.equal(c.deletion, curves[0].deletion) and (c.tied == 0).all() for c in curves)


def test_lots_are_fair():
    x, _first = torch.rand(6000, 5, dtype=torch.float64), []
    with pytest.warns(UserWarning, match="by lot"):
        order = faithfulness_curves(lambda z: z, x, x * 0, 0, masking_steps=1).order.long()
    for place in range(5):
        share = order[:, place].bincount(minlength=5) / 6000
        assert (share - 0.2).abs().max() < 0.025
    with pytest.warns(UserWarning, match="their position"):
        faithfulness_curves(lambda z: z, x, x * 0, 0, masking_steps=1, ties="position")


def test_only_constant_maps_of_several_units_are_announced(recwarn):
    x = torch.rand(3, 6)
    a = torch.zeros(3, 6)
    a[:, 2] = 1
    deletion(mlp(), x, a, 0)
    deletion(mlp(), x, a * 0, 0, unit=torch.zeros(6, dtype=torch.int64))
    assert not [w for w in recwarn if "every unit" in str(w.message)]
    a[1] = 4
    deletion(mlp(), x, a, 0)
    assert [str(w.message).count("[1]") for w in recwarn if "every unit" in str(w.message)] == [1]


def test_purity_shares_ties():
    for classes in ([1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]):
        assert purity(torch.ones(4, 3), torch.tensor(classes)) == 0.5
    # one below, three tied for the other place of the half: 1 + one third of their classes
    assert purity(torch.tensor([1.0, 2.0, 2.0, 2.0, 9.0]), torch.tensor([1, 1, 0, 0, 1])) == pytest.approx(
        (1 + 1 / 3) / 2
    )
    assert purity(torch.zeros(3), torch.tensor([True, True, True])) == 1.0


# Volumes and series


def slow_box(shape, sides):
    "Unit of every position (without the batch) by hand"
    blocks, of = [1 if s == -1 else -(-n // s) for n, s in zip(shape, sides)], {}
    for p in np.ndindex(*shape):
        u = 0
        for k, s, b in zip(p, sides, blocks):
            u = u * b + (0 if s == -1 else k // s)
        of[p] = u
    return of


@pytest.mark.parametrize(
    "shape, unit, sides",
    [
        ((2, 3, 4, 5), 2, (-1, 2, 2, 2)),
        ((1, 4, 4, 4), 1, (-1, 1, 1, 1)),
        ((2, 2, 3, 4), (-1, 1, 2, -1), (-1, 1, 2, -1)),
        ((2, 3, 3), (1, 2, -1), (1, 2, -1)),
        ((3, 8), (-1, 2), (-1, 2)),
        ((8, 3), (4, -1), (4, -1)),
        ((3, 8), (-1, -1), (-1, -1)),
        ((6,), (2,), (2,)),
        ((1, 2, 2, 2, 3), 2, (-1, 2, 2, 2, 2)),
    ],
)
def test_units_of_any_number_of_dimensions(shape, unit, sides):
    forward, x = network(*shape), torch.rand(2, *shape, dtype=torch.float64)
    a, of = (
        torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        slow_box(shape, sides),
    )
    number = unit_numbers(x, unit).expand(1, *shape)
    assert all(number[(0, *p)].item() == u for p, u in of.items())
    importance = torch.zeros(2, max(of.values()) + 1, dtype=torch.float64)
    for p, u in of.items():
        importance[:, u] += a[(slice(None), *p)]
    assert_close(unit_importance(a, unit), importance)
    order, n = importance.argsort(1, descending=True), importance.shape[1]
    curve = torch.zeros(2, n + 1, dtype=torch.float64)
    for i in range(2):
        for k in range(n + 1):
            gone, masked = set(order[i, :k].tolist()), x[i].clone()
            for p, u in of.items():
                if u in gone:
                    masked[p] = 0
            curve[i, k] = forward(masked[None])[0, 1]
    curves = faithfulness_curves(forward, x, a, 1, unit=unit, masking_steps=n, internal_batch_size=3)
    assert_close(curves.deletion, curve)
    noise = random_map(x, unit)
    assert unit_importance(noise.expand_as(x) if noise.ndim == 3 else noise, unit).shape == (2, n)
    assert random_floor(forward, x, 1, 2, unit=unit).shape == (2, 2)
    assert greedy_ceiling(forward, x, 1, rounds=n, unit=unit, measure="deletion", masking_steps=n).shape == (2,)
    assert infidelity(forward, x, a, 1, unit=unit, n_samples=2).shape == (2,)


def test_maps_with_one_channel_belong_to_volumes_and_series():
    volume, forward = torch.rand(2, 3, 4, 4, 4, dtype=torch.float64), network(3, 4, 4, 4)
    maps = torch.rand(2, 4, 4, 4)
    expected = deletion(forward, volume, maps[:, None].expand(-1, 3, -1, -1, -1), 0, unit=2)
    assert_close(deletion(forward, volume, maps, 0, unit=2), expected)
    assert_close(deletion(forward, volume, maps[:, None], 0, unit=2), expected)
    series, steps = torch.rand(2, 3, 8, dtype=torch.float64), torch.rand(2, 1, 8)
    forward = network(3, 8)
    expected = deletion(forward, series, steps.expand(-1, 3, -1), 0, unit=(-1, 1))
    assert_close(deletion(forward, series, steps, 0, unit=(-1, 1)), expected)
    assert_close(deletion(forward, series, steps, 0, unit=torch.arange(8)), expected)
    assert_close(deletion(forward, series, steps, 0, unit=torch.arange(8).expand(2, 3, 8)), expected)
    with pytest.raises(ValueError, match="don't belong"):
        deletion(forward, series, steps[:, 0], 0, unit=(-1, 1))
    for wrong in ((1,), (1, 2, 3), (0, 1), (2.0, 1), (True, 1), ("a", 1)):
        with pytest.raises(ValueError, match="one per dimension"):
            deletion(forward, series, series, 0, unit=wrong)
    with pytest.raises(ValueError, match="needs images"):
        deletion(network(3, 4, 4, 4), volume, volume, 0, substrate="blurred")
    assert substrate_of(volume, "mean")[0, 0].unique().numel() == 1


@settings(max_examples=25, deadline=None)
@given(
    sides=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    seed=st.integers(0, 999),
    tolerance=st.sampled_from([0, 1, 1.5, 1.8, 2, 5]),
)
def test_localisation_in_any_number_of_dimensions(sides, seed, tolerance):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(-2, 3, (2, 2, *sides), generator=generator).double()
    masks = torch.rand(2, *sides, generator=generator) < 0.4
    masks.flatten(1)[:, 0] = True
    for channels in (masks, masks[:, None]):
        hits, energies = pointing_game(a, channels, tolerance), energy_inside(a, channels)
        for i in range(2):
            m, on = a[i].sum(0).numpy(), [p for p in np.ndindex(*sides) if masks[(i, *p)]]
            top = [p for p in np.ndindex(*sides) if m[p] == m.max()]
            assert hits[i].item() == pytest.approx(
                np.mean([min(sum((u - v) ** 2 for u, v in zip(p, s)) for s in on) <= tolerance**2 for p in top])
            )
            positive = np.maximum(m, 0) if (m > 0).any() else np.ones_like(m)
            assert energies[i].item() == pytest.approx(positive[masks[i].numpy()].sum() / positive.sum())
    assert torch.isfinite(intersection_over_union(a, masks)).all()


def test_volumes_without_channels_and_masks_with_channels_are_refused():
    a = torch.rand(2, 3, 4, 4)
    for masks in (torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4), torch.ones(2, 4)):
        with pytest.raises(ValueError, match="must agree"):
            energy_inside(a, masks)
    assert energy_inside(a[:, None], torch.ones(2, 3, 4, 4)).tolist() == pytest.approx([1.0, 1.0])
    assert (
        centre_map(torch.rand(2, 1, 4, 6, 8)).shape == uniform_map(torch.rand(2, 1, 4, 6, 8)).shape == (2, 1, 4, 6, 8)
    )


def test_reference_maps_of_integer_images_are_those_of_float_images():
    image = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    assert_close(centre_map(image), centre_map(image.float()))
    assert_close(uniform_map(image), torch.ones(2, 1, 8, 9))
    assert centre_map(image.double()).dtype == torch.float64 and centre_map(image)[0, 0, 4, 4] > 0.9


# What the outputs mean


@pytest.mark.parametrize("measure", FAITHFULNESS, ids=lambda m: m.__name__)
def test_outputs_that_are_probabilities_already(measure):
    net = nn.Linear(6, 4)
    with torch.no_grad():
        net.weight.copy_(6 * torch.eye(4, 6))
    x, t = torch.tensor([[1.0, 0, 0, 0, 0.3, 0.2], [0, 1, 0, 0, 0.1, 0.4], [0, 0, 1, 0, 0.2, 0.1]]), [0, 1, 2]
    model = nn.Sequential(net, nn.Softmax(1)).eval()
    log = measure in (log_odds, cross_entropy_after_masking)
    of = "log_probability" if log else "probability"
    right = measure(net, x, x, t, unit="element", score=of)
    with pytest.raises(ValueError, match="probabilities already"):
        measure(model, x, x, t, unit="element", score=of)
    if log:
        with pytest.raises(ValueError, match="log"):
            measure(model, x, x, t, unit="element", score="output")
        assert_close(measure(lambda z: model(z).log(), x, x, t, unit="element"), right, atol=1e-4, rtol=1e-4)
    else:
        assert_close(measure(model, x, x, t, unit="element", score="output"), right, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "measure", FAITHFULNESS + [completeness_error, cancellation_gap, infidelity], ids=lambda m: m.__name__
)
@pytest.mark.parametrize("score", ["probable", "softmax", "", 1, True, ["logit"]])
def test_unknown_scores_are_refused(measure, score):
    with pytest.raises(ValueError, match="score"):
        measure(mlp(), numbers(2, 6), numbers(2, 6), 0, score=score)


def test_labels_that_dont_exclude_each_other():
    net, x = mlp(), numbers(3, 6)

    def one(z):
        return net(z)[:, :1]

    assert_close(deletion(net, x, x, 0, score="sigmoid"), deletion(lambda z: net(z).sigmoid(), x, x, 0))
    assert_close(log_odds(net, x, x, 0, score="sigmoid"), log_odds(one, x, x, 0, score="log_probability"))
    assert_close(log_odds(ClassScore(net, of="sigmoid"), x, x, 0), log_odds(net, x, x, 0, score="log_sigmoid"))


def test_the_dimension_of_the_classes_is_said():
    weight = numbers(5, 4, seed=3)

    def tagger(z):
        return z @ weight  # (rows, steps, 5) to (rows, steps, 4)

    x, how = torch.rand(2, 7, 5), dict(unit=(1, -1), fraction=0.5)

    def log(z):
        return tagger(z).log_softmax(-1)

    right = log_odds(log, x, x, (3, 1), **how)
    assert_close(log_odds(ClassScore(tagger, of="logit", dim=-1), x, x, (3, 1), **how), right, atol=1e-5, rtol=1e-4)
    assert_close(
        log_odds(ClassScore(tagger, dim=-1), x, x, (3, 1), score="log_probability", **how), right, atol=1e-5, rtol=1e-4
    )
    for measure in (deletion, comprehensiveness, log_odds):
        with pytest.raises(ValueError, match="which dimension"):
            measure(
                tagger,
                x,
                x,
                (3, 1),
                score="log_probability",
                unit=(1, -1),
                **(dict(fraction=0.5) if measure is not deletion else {}),
            )
    with pytest.raises(ValueError, match="which dimension"):
        accuracy_after_masking(tagger, x, x, (3, 1), **how)
    found = accuracy_after_masking(tagger, x, x, (3, 1), dim=-1, **how)
    at_step = accuracy_after_masking(lambda z: tagger(z)[:, 3], x, x, 1, **how)
    assert_close(found, at_step)
    assert_close(accuracy_after_masking(tagger, x, x, (3, 1), dim=2, score="probability", **how), found)
    assert_close(accuracy_after_masking(ClassScore(tagger, dim=-1), x, x, (3, 1), **how), found)
    for wrong, error in ((0, ValueError), (3, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="dim"):
            accuracy_after_masking(tagger, x, x, (3, 1), dim=wrong, **how)
    with pytest.raises(ValueError, match="reselect"):
        deletion(tagger, x, x, reselect=True)


def test_classes_that_are_never_predicted_may_be_minus_infinity():
    net, x = mlp(), numbers(3, 6)

    def masked(z):
        return torch.cat([net(z), torch.full((len(z), 1), -math.inf)], 1)

    assert_close(accuracy_after_masking(masked, x, x, 0), accuracy_after_masking(net, x, x, 0))
    assert accuracy_after_masking(masked, x, x, 3).tolist() == [0.0, 0.0, 0.0]


# Numbers that would be none


@pytest.mark.parametrize(
    "measure", FAITHFULNESS + [completeness_error, cancellation_gap, infidelity], ids=lambda m: m.__name__
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_measure_passes_on_scores_that_are_not_finite(measure, value):
    with pytest.raises(ValueError, match=r"NaN|infinity|log-probabilities"):
        measure(lambda z: z[:, :2] * value, torch.rand(4, 6) + 0.1, torch.rand(4, 6), 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_measure_passes_on_attributions_that_are_not_finite(value):
    net, x = mlp(), numbers(3, 6)

    def broken(z, target=None):
        return z * torch.where(torch.arange(len(z)) == len(z) - 1, value, 1.0)[:, None] + 0 * net(z).sum()

    for call in (
        lambda: sensitivity_max(broken, x),
        lambda: batch_independence(broken, x),
        lambda: randomisation_cascade(net, broken, x),
    ):
        with pytest.raises(ValueError, match="NaN or infinity"):
            call()
    a = x.clone()
    a[1, 2] = value
    for call in (
        lambda: completeness_error(net, x, a, 0),
        lambda: cancellation_gap(net, x, a, 0),
        lambda: infidelity(net, x, a, 0),
        lambda: purity(a, torch.ones(3)),
        lambda: dummy_sensitivity(a, torch.ones(6, dtype=torch.bool)),
        lambda: rank_correlation(a, x),
        lambda: layer_conservation([a, x]),
        lambda: unit_importance(a),
    ):
        with pytest.raises(ValueError, match="NaN or infinity in example"):
            call()


def test_relative_to_no_change(recwarn):
    net, x = nn.Linear(6, 1, bias=False).eval(), numbers(3, 6)
    a = torch.zeros(3, 6)
    a[1, 0] = 2
    for measure in (completeness_error, cancellation_gap):
        assert measure(net, x, 0 * a, baselines=x, relative=True).tolist() == [0.0, 0.0, 0.0]
        assert not recwarn.list
        with pytest.warns(UserWarning, match=r"\[1\] doesn't change"):
            assert measure(net, x, a, baselines=x, relative=True).tolist() == [0.0, math.inf, 0.0]
        assert measure(net, x, a, baselines=x).tolist() == [0.0, 2.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(units=st.integers(1, 20), steps=st.integers(1, 25), seed=st.integers(0, 99))
def test_the_area_of_the_difference_curve_is_the_difference_score(units, steps, seed):
    x, a = torch.ones(2, units, dtype=torch.float64), numbers(2, units, seed=seed, dtype=torch.float64)
    curves = faithfulness_curves(network(units), x, a, 1, masking_steps=steps)
    assert curves.difference.shape == (2, steps + 1)
    assert_close(torch.trapezoid(curves.difference, curves.fractions, dim=1), curves.difference_score)
    assert_close(curves.difference[:, [0, -1]], torch.zeros(2, 2, dtype=torch.float64))
    q = (units * curves.fractions).round().long()
    exact = faithfulness_curves(network(units), x, a, 1, masking_steps=units)
    symmetric = (q + q.flip(0)) == units
    assert_close(curves.difference[:, symmetric], (exact.insertion[:, units - q] - exact.deletion[:, q])[:, symmetric])


def test_what_removes_nothing_is_refused():
    net, x = mlp(), numbers(2, 6)
    for measure in (comprehensiveness, sufficiency, accuracy_after_masking):
        with pytest.raises(ValueError, match="less than one unit.*0.167"):
            measure(net, x, x, 0, fraction=0.1)
        with pytest.raises(ValueError, match="less than one unit"):
            measure(net, x, x, 0, fraction=(0, 0.1))
        with pytest.warns(UserWarning, match="less than one unit"):
            assert measure(net, x, x, 0, fraction=(0.1, 0.5)).shape == (2, 2)
        assert measure(net, x, x, 0, fraction=0.0).shape == (2,)
    with pytest.raises(ValueError, match="less than half a unit"):
        deletion(net, x, x, 0, until=0.05)
    for area in ("trapezoid", "steps"):
        for measure in (deletion, insertion, difference):
            with pytest.raises(ValueError, match="no area"):
                measure(net, x, x, 0, masking_steps=1, start=False, area=area)
    assert_close(
        deletion(net, x, x, 0, masking_steps=1, start=False, area="mean"), net(torch.zeros(2, 6))[:, 0].double()
    )


def test_wrong_areas_are_refused_before_any_forward_pass():
    counting = CountingForward(mlp())
    for wrong in (
        dict(area="auc"),
        dict(masking_steps=1, start=False),
        dict(masking_steps="8"),
        dict(until="all"),
        dict(ties="first"),
        dict(sign="abs"),
        dict(curves="both"),
    ):
        with pytest.raises((TypeError, ValueError)):
            deletion(counting, numbers(2, 6), numbers(2, 6), 0, **wrong)
    assert counting.rows == 0


def test_protocol_power_prints_no_nan():
    net, x = mlp(), numbers(3, 6)
    one = protocol_power(net, x, x, 0, n_samples=1, rounds=2)
    assert "nan" not in str(one) and "one draw" in str(one) and math.isnan(one.spread)
    flat = protocol_power(lambda z: z[:, :1] * 0 + 1, x, x, 0, n_samples=2, rounds=2)
    assert "nan" not in str(flat) and "tells nothing" in str(flat) and math.isnan(flat.share)
    for name in ("pointing_game", "infidelity", "purity", 3, None if False else ["deletion"]):
        with pytest.raises(ValueError, match="measure"):
            protocol_power(net, x, x, 0, measure=name)


# Methods as arguments


def test_every_form_of_target():
    x, near = numbers(2, 7, 4).abs(), dict(atol=1e-5, rtol=1e-4)
    method = IntegratedGradients(lambda z: z.cumsum(1) ** 2)
    forms = [[(3, 1), (5, 2)], (3, 1), lambda out: out[:, 3, 1]]
    for form in forms[:2]:
        found = sensitivity_max(method.attribute, x, form, n_samples=3)
        assert found.shape == (2,) and torch.isfinite(found).all()
        assert_close(found, sensitivity_max(method.attribute, x, form, n_samples=3, internal_batch_size=2), **near)
        assert batch_independence(method.attribute, x, form).max() < 1e-5
    each = torch.cat(
        [sensitivity_max(method.attribute, x[i : i + 1], t, n_samples=1, radius=0.0) for i, t in enumerate(forms[0])]
    )
    assert_close(each, torch.zeros(2).double())
    flat, y = IntegratedGradients(lambda z: z**2), numbers(3, 4).abs()
    right = sensitivity_max(flat.attribute, y, torch.tensor([1, 2, 0]))
    for form in (
        [1, 2, 0],
        np.array([1, 2, 0]),
        np.array([1, 2, 0], dtype=np.int32),
        torch.tensor([1, 2, 0], dtype=torch.int32),
        [(1,), (2,), (0,)],
        [np.int64(1), 2, 0],
    ):
        assert_close(sensitivity_max(flat.attribute, y, form), right, **near)
        assert batch_independence(flat.attribute, y, form).max() < 1e-5
    for form in (np.int64(1), torch.tensor(1), torch.tensor([1])):
        assert_close(sensitivity_max(flat.attribute, y, form), sensitivity_max(flat.attribute, y, 1), **near)
        assert batch_independence(flat.attribute, y, form).max() < 1e-5
    ours = PathIntegratedGradients(lambda z: z.cumsum(1) ** 2)
    assert_close(sensitivity_max(ours.attribute, x, forms[2]), sensitivity_max(ours.attribute, x, (3, 1)), **near)
    assert batch_independence(ours.attribute, x, forms[2]).max() < 1e-5
    for wrong in ([1, 2], "1", 1.5, [[1], [2, 3], [0]], torch.zeros(3)):
        for call in (
            lambda: sensitivity_max(flat.attribute, y, wrong),
            lambda: batch_independence(flat.attribute, y, wrong),
        ):
            with pytest.raises((TypeError, ValueError), match="target"):
                call()


def test_sensitivity_is_the_largest_change_over_the_same_draws_in_any_chunks():
    x, target = numbers(3, 6), [0, 1, 2]
    method = IntegratedGradients(mlp(smooth=True))
    whole = sensitivity_max(method.attribute, x, target, n_samples=5)
    for size in (1, 3, 6, 100):
        assert_close(
            sensitivity_max(method.attribute, x, target, n_samples=5, internal_batch_size=size),
            whole,
            atol=1e-5,
            rtol=1e-4,
        )
    assert_close(
        sensitivity_max(method.attribute, x, target, n_samples=5, baselines=torch.zeros(3, 6)),
        whole,
        atol=1e-5,
        rtol=1e-4,
    )
    calls, generator, original = (
        [],
        torch.Generator().manual_seed(0),
        method.attribute(x, target=torch.tensor(target)).detach(),
    )
    for _ in range(5):
        noise = 0.02 * (2 * torch.rand(x.shape, generator=generator, dtype=torch.float64).float() - 1)
        calls.append(
            (method.attribute(x + noise, target=torch.tensor(target)).detach() - original).norm(dim=1)
            / original.norm(dim=1)
        )
    assert_close(whole.float(), torch.stack(calls).amax(0), atol=1e-5, rtol=1e-4)


def test_further_arguments_of_methods_follow_or_are_shared():
    x, scale = numbers(3, 4), torch.tensor([1.0, 2.0, 3.0])
    own = PathIntegratedGradients(lambda z, s: (z**2).sum(1) * s)
    assert batch_independence(own.attribute, x, additional_forward_args=(scale,)).max() < 1e-5
    assert batch_independence(own.attribute, x, additional_forward_args=(per_example(scale),)).max() < 1e-5
    assert (
        batch_independence(
            IntegratedGradients(lambda z, s: (z**2).sum(1) * s).attribute, x, additional_forward_args=(scale,)
        ).max()
        < 1e-5
    )

    # m has as many rows as there are examples, and belongs to the call
    def rows(z, m):
        return (z @ m.T).pow(2).sum(1)

    m = numbers(3, 4, seed=2)
    assert (
        batch_independence(PathIntegratedGradients(rows).attribute, x, additional_forward_args=(shared(m),)).max()
        < 1e-5
    )
    assert (
        sensitivity_max(
            PathIntegratedGradients(rows).attribute, x, additional_forward_args=(shared(m),), n_samples=2
        ).max()
        < 1
    )
    right = sensitivity_max(lambda z: PathIntegratedGradients(lambda y: rows(y, m)).attribute(z), x, n_samples=2)
    assert_close(
        sensitivity_max(PathIntegratedGradients(rows).attribute, x, additional_forward_args=(shared(m),), n_samples=2),
        right,
        atol=1e-5,
        rtol=1e-4,
    )
    assert_close(
        sensitivity_max(own.attribute, x, additional_forward_args=(scale,), n_samples=2),
        sensitivity_max(
            lambda z: 2 * z * torch.tensor([1.0, 2.0, 3.0]).repeat(len(z) // 3)[:, None] * z / 2,
            x,
            n_samples=2,
            internal_batch_size=3,
        ),
        atol=1e-5,
        rtol=1e-3,
    )


def test_shared_arguments_of_measures():
    x, a, m = numbers(3, 4).abs(), numbers(3, 4, seed=1), numbers(3, 4, seed=2)

    def rows(z, m):
        return (z @ m.T).pow(2).sum(1)

    for measure in (deletion, insertion, difference, completeness_error, cancellation_gap, infidelity):
        assert_close(measure(rows, x, a, None, (shared(m),)), measure(lambda z: rows(z, m), x, a), atol=1e-5, rtol=1e-4)
        assert_close(
            measure(lambda z, s: z.sum(1) * s, x, a, None, (per_example(m[:, 0]),)),
            measure(lambda z, s: z.sum(1) * s, x, a, None, m[:, 0]),
            atol=1e-6,
            rtol=1e-5,
        )


def test_rows_that_influence_each_other_are_refused():
    def mixing(z):
        return (z - z.mean(0)).tanh()

    x, a = numbers(4, 6), numbers(4, 6, seed=1)
    for measure in (deletion, insertion, comprehensiveness, completeness_error, infidelity):
        with pytest.raises(ValueError, match="influence each other"):
            measure(mixing, x, a, 0)


def test_models_that_write_into_their_inputs_leave_the_callers_alone():
    net, x, a = (
        seeded(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3))).eval(),
        numbers(3, 6),
        numbers(3, 6, seed=1),
    )
    plain, before = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 3))).eval(), x.clone()
    for measure in (*FAITHFULNESS, completeness_error, cancellation_gap, infidelity):
        log = dict(score="log_probability") if measure in (log_odds, cross_entropy_after_masking) else {}
        assert_close(measure(net, x, a, 0, **log), measure(plain, x, a, 0, **log))
    greedy_order(net, x, 0, unit="element")

    def writes(z, target=None):
        return z.mul_(2)

    sensitivity_max(writes, x)
    batch_independence(writes, x)
    randomisation_cascade(net, lambda z, target=None: net(z)[:, :1] * z.mul_(1), x)
    assert torch.equal(x, before)


def test_a_cascade_of_another_network_is_refused():
    net, x = convolutional(), numbers(2, 3, 12, 12)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for method in (
        Saliency(copy.deepcopy(net)).attribute,
        lambda z, target: z,
        Saliency(nn.Sequential(copy.deepcopy(net))).attribute,
    ):
        with pytest.raises(ValueError, match="never calls this model"):
            randomisation_cascade(net, method, x, 0)
    for inside in (
        Saliency(nn.Sequential(net, nn.Identity())),
        Saliency(lambda z: net(z)),
        Saliency(ClassScore(net, of="probability")),
    ):
        assert randomisation_cascade(net, inside.attribute, x, 0).similarity.shape == (4, 2)

    # looks at the weights without calling the model
    def weights(z, target=None):
        return z * net[9].weight.sum() + z.roll(1, 3) * net[9].weight.std()

    assert randomisation_cascade(net, weights, x).similarity.shape == (4, 2)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_the_models_hooks_and_a_thread_beside():
    net, x = convolutional(), numbers(2, 3, 12, 12)
    randomisation_cascade(net, Saliency(net).attribute, x, 0)
    assert (
        not any(m._forward_pre_hooks for m in net.modules()) and not torch.nn.modules.module._global_forward_pre_hooks
    )


def test_global_random_numbers_are_not_touched():
    net, x, a = convolutional(), numbers(2, 3, 12, 12), numbers(2, 3, 12, 12, seed=1)
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for measure in FAITHFULNESS:
        measure(net, x, a * 0, 0, substrate="noise", score="log_probability")
    protocol_power(net, x, a, 0, rounds=2, unit=4)
    infidelity(net, x, a, 0)
    sensitivity_max(Saliency(net).attribute, x, 0, n_samples=2)
    randomisation_cascade(net, Saliency(net).attribute, x, 0)
    assert (
        torch.equal(torch.get_rng_state(), states[0])
        and np.random.get_state()[1].tolist() == states[1]
        and random.getstate() == states[2]
    )


# A table of bad input: what is refused, and which word says so

X, A, M, NET = numbers(2, 6), numbers(2, 6, seed=1), numbers(2, 3, 12, 12), lambda z: z[:, :2] * 3
INSIDE = torch.ones(2, 12, 12, dtype=torch.bool)
STRANGE = {
    "None": None,
    "str": "map",
    "dict": {},
    "object": object(),
    "sparse": A.to_sparse(),
    "meta": A.to("meta"),
    "complex": A.to(torch.complex64),
    "quantised": torch.quantize_per_tensor(A, 0.1, 0, torch.qint8),
    "nested": torch.nested.nested_tensor([A[0], A[1]]),
}
FORWARD = [*FAITHFULNESS, completeness_error, cancellation_gap, infidelity]
OF_MAPS = {
    "pointing_game": lambda v: pointing_game(v, INSIDE),
    "energy_inside": lambda v: energy_inside(v, INSIDE),
    "outside_inside_ratio": lambda v: outside_inside_ratio(v, INSIDE),
    "outside_inside_share": lambda v: outside_inside_share(v, INSIDE),
    "intersection_over_union": lambda v: intersection_over_union(v, INSIDE),
    "masks": lambda v: energy_inside(M, v),
    "unit_importance": unit_importance,
    "rank first": lambda v: rank_correlation(v, A),
    "rank second": lambda v: rank_correlation(A, v),
    "structural": lambda v: structural_similarity(v, M),
    "dummies": lambda v: dummy_sensitivity(A, v),
    "dummy map": lambda v: dummy_sensitivity(v, torch.ones(6, dtype=torch.bool)),
    "layers": lambda v: layer_conservation([v]),
    "purity": lambda v: purity(v, torch.ones(2)),
    "predicted": lambda v: purity(A, v),
    "purities": lambda v: purity_area(v, [0.0, 1.0]),
    "levels": lambda v: purity_area([0.0, 1.0], v),
    "boxes": lambda v: box_masks([v, v], 4, 4),
    "random_map": random_map,
    "unit_numbers": unit_numbers,
    "substrate_of": substrate_of,
    "centre_map": centre_map,
    "uniform_map": uniform_map,
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("measure", FORWARD, ids=lambda m: m.__name__)
def test_strange_attributions(measure, kind):
    with pytest.raises(TypeError, match="attributions|map|tensor"):
        measure(
            NET,
            X,
            STRANGE[kind],
            0,
            **(dict(score="log_probability") if measure in (log_odds, cross_entropy_after_masking) else {}),
        )


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("name", OF_MAPS)
def test_strange_maps(name, kind):
    with pytest.raises((TypeError, ValueError)) as caught:
        OF_MAPS[name](STRANGE[kind])
    assert "attrnb" in str(caught.traceback[-1].path)


ROWS = {
    "model tuple": (lambda m: m(lambda z: (NET(z), z), X, A, 0), FORWARD, TypeError, "returned tuple"),
    "model None": (lambda m: m(lambda z: None, X, A, 0), FORWARD, TypeError, "returned NoneType"),
    "model scalar": (lambda m: m(lambda z: NET(z).sum(), X, A, 0), FORWARD, ValueError, "rows"),
    "model not callable": (lambda m: m(3, X, A, 0), FORWARD, TypeError, "callable"),
    "inputs list": (lambda m: m(NET, X.tolist(), A, 0), FORWARD, TypeError, "Tensor"),
    "inputs integer": (lambda m: m(NET, X.long(), A, 0), FORWARD, TypeError, "int64"),
    "inputs complex": (lambda m: m(NET, X.to(torch.complex64), A, 0), FORWARD, TypeError, "complex"),
    "inputs empty": (lambda m: m(NET, X[:0], A[:0], 0), FORWARD, ValueError, "empty"),
    "inputs without numbers": (lambda m: m(NET, X[:, :0], A[:, :0], 0), FORWARD, ValueError, "0"),
    "attributions of another size": (lambda m: m(NET, X, A[:, :3], 0), FORWARD, ValueError, "don't belong"),
    "attributions list": (lambda m: m(NET, X, A.tolist(), 0), FORWARD, TypeError, "list"),
    "internal_batch_size str": (
        lambda m: m(NET, X, A, 0, internal_batch_size="4"),
        FORWARD,
        TypeError,
        "internal_batch_size",
    ),
    "internal_batch_size float": (
        lambda m: m(NET, X, A, 0, internal_batch_size=2.0),
        FORWARD,
        TypeError,
        "internal_batch_size",
    ),
    "internal_batch_size 0": (
        lambda m: m(NET, X, A, 0, internal_batch_size=0),
        FORWARD,
        ValueError,
        "internal_batch_size",
    ),
    "seed 2**70": (
        lambda m: m(NET, X, A * 0, 0, seed=2**70),
        [deletion, comprehensiveness, infidelity],
        ValueError,
        "seed",
    ),
    "seed str": (lambda m: m(NET, X, A, 0, seed="0"), [deletion, comprehensiveness, infidelity], TypeError, "seed"),
    "substrate nan": (
        lambda m: m(NET, X, A, 0, substrate=math.nan),
        [deletion, comprehensiveness, infidelity],
        ValueError,
        "substrate",
    ),
    "substrate inf": (
        lambda m: m(NET, X, A, 0, substrate=-math.inf),
        [deletion, comprehensiveness, infidelity],
        ValueError,
        "substrate",
    ),
    "substrate None": (
        lambda m: m(NET, X, A, 0, substrate=None),
        [deletion, comprehensiveness, infidelity],
        TypeError,
        "substrate",
    ),
    "substrate list": (
        lambda m: m(NET, X, A, 0, substrate=[0.0, 1.0]),
        [deletion, comprehensiveness, infidelity],
        TypeError,
        "substrate",
    ),
    "baselines nan": (
        lambda m: m(NET, X, A, 0, baselines=math.nan),
        [completeness_error, cancellation_gap],
        ValueError,
        "baseline",
    ),
    "baselines str": (
        lambda m: m(NET, X, A, 0, baselines="black"),
        [completeness_error, cancellation_gap],
        TypeError,
        "baseline",
    ),
    "fraction None": (lambda m: m(NET, X, A, 0, fraction=None), FAITHFULNESS[3:], TypeError, "fraction"),
    "fraction bool": (lambda m: m(NET, X, A, 0, fraction=True), FAITHFULNESS[3:], TypeError, "fraction"),
    "fraction str": (lambda m: m(NET, X, A, 0, fraction=".2"), FAITHFULNESS[3:], TypeError, "fraction"),
    "fraction bools": (lambda m: m(NET, X, A, 0, fraction=[True, False]), FAITHFULNESS[3:], TypeError, "fraction"),
    "fraction nan": (lambda m: m(NET, X, A, 0, fraction=[0.5, math.nan]), FAITHFULNESS[3:], ValueError, "fraction"),
    "steps None of units": (
        lambda m: m(NET, X, A, 0, unit=torch.tensor([[0] * 6, [0, 1] * 3]), masking_steps=None),
        FAITHFULNESS[:3],
        ValueError,
        "different numbers",
    ),
    "until bool": (lambda m: m(NET, X, A, 0, until=True), FAITHFULNESS[:3], TypeError, "until"),
    "until None": (lambda m: m(NET, X, A, 0, until=None), FAITHFULNESS[:3], TypeError, "until"),
    "unit float tensor": (lambda m: m(NET, X, A, 0, unit=torch.rand(6)), FAITHFULNESS, TypeError, "integers"),
    "unit None": (lambda m: m(NET, X, A, 0, unit=None), FAITHFULNESS, ValueError, "unit"),
    "share None": (lambda m: m(NET, X, A, 0, share=None), [infidelity], TypeError, "share"),
    "share nan": (lambda m: m(NET, X, A, 0, share=math.nan), [infidelity], ValueError, "share"),
    "samples 0": (lambda m: m(NET, X, A, 0, n_samples=0), [infidelity], ValueError, "samples"),
    "samples -1": (lambda m: m(NET, X, A, 0, n_samples=-1), [infidelity], ValueError, "samples"),
    "samples float": (lambda m: m(NET, X, A, 0, n_samples=2.0), [infidelity], TypeError, "samples"),
    "samples str": (lambda m: m(NET, X, A, 0, n_samples="2"), [infidelity], TypeError, "samples"),
}


@pytest.mark.parametrize(
    "row, measure",
    [(r, m) for r, (_, measures, _, _) in ROWS.items() for m in measures],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_bad_calls_of_measures(row, measure):
    call, _, error, words = ROWS[row]
    log = measure in (log_odds, cross_entropy_after_masking)
    with pytest.raises(error, match=words):
        call(functools.partial(measure, score="log_probability") if log else measure)


OTHERS = {
    "random_map empty": (lambda: random_map(X[:0]), ValueError, "at least one"),
    "random_map seed": (lambda: random_map(X, seed=1.5), TypeError, "seed"),
    "unit_numbers list": (lambda: unit_numbers(X.tolist()), TypeError, "Tensor"),
    "substrate_of numpy": (lambda: substrate_of(X.numpy()), TypeError, "Tensor"),
    "substrate_of integer": (lambda: substrate_of(X.long()), TypeError, "int64"),
    "box_masks dict": (lambda: box_masks({"a": [0, 0, 1, 1]}, 4, 4), TypeError, "boxes"),
    "box_masks None": (lambda: box_masks(None, 4, 4), TypeError, "boxes"),
    "box_masks none": (lambda: box_masks([], 4, 4), TypeError, "boxes"),
    "box_masks None example": (lambda: box_masks([None], 4, 4), TypeError, "boxes of an example"),
    "box_masks strings": (lambda: box_masks(["box"], 4, 4), TypeError, "boxes of an example"),
    "box_masks height 0": (lambda: box_masks([[0, 0, 1, 1]], 0, 4), ValueError, "height"),
    "box_masks height float": (lambda: box_masks([[0, 0, 1, 1]], 4.0, 4), TypeError, "height"),
    "box_masks width None": (lambda: box_masks([[0, 0, 1, 1]], 4, None), TypeError, "width"),
    "centre_map width": (lambda: centre_map(M, width="wide"), TypeError, "width"),
    "centre_map width nan": (lambda: centre_map(M, width=math.nan), ValueError, "width"),
    "uniform_map list": (lambda: uniform_map([1]), TypeError, "Tensor"),
    "tolerance None": (lambda: pointing_game(M, INSIDE, None), TypeError, "margin"),
    "threshold nan": (lambda: intersection_over_union(M, INSIDE, math.nan), ValueError, "threshold"),
    "threshold None": (lambda: intersection_over_union(M, INSIDE, None), TypeError, "threshold"),
    "layers str": (lambda: layer_conservation("relu"), TypeError, "layers"),
    "layers None": (lambda: layer_conservation(None), TypeError, "layers"),
    "expected shape": (lambda: layer_conservation([A, A], expected=torch.ones(3)), ValueError, "expected"),
    "expected str": (lambda: layer_conservation([A, A], expected="one"), TypeError, "expected"),
    "expected nan": (lambda: layer_conservation([A, A], expected=math.nan), ValueError, "expected"),
    "purities nan": (lambda: purity_area([1.0, math.nan], [0.0, 1.0]), ValueError, "NaN"),
    "levels nan": (lambda: purity_area([1.0, 1.0], [0.0, math.nan]), ValueError, "rising"),
    "window float": (lambda: structural_similarity(M, M, 7.0), TypeError, "window"),
    "window str": (lambda: structural_similarity(M, M, "7"), TypeError, "window"),
    "structural volume": (lambda: structural_similarity(M[:, None], M[:, None]), ValueError, "accepted"),
    "rank tuple": (lambda: rank_correlation((A, A, A), A), ValueError, "shapes differ"),
    "batch_independence not callable": (lambda: batch_independence(3, X), TypeError, "function"),
    "batch_independence None": (lambda: batch_independence(lambda z, target: None, X), TypeError, "returned NoneType"),
    "batch_independence tuple": (lambda: batch_independence(lambda z, target: (z,), X), TypeError, "returned tuple"),
    "batch_independence wrong batch": (
        lambda: batch_independence(lambda z, target: z[:1], X),
        ValueError,
        "one map per example",
    ),
    "sensitivity not callable": (lambda: sensitivity_max(3, X), TypeError, "function"),
    "sensitivity None": (lambda: sensitivity_max(lambda z: None, X), TypeError, "returned NoneType"),
    "sensitivity wrong batch": (lambda: sensitivity_max(lambda z: z.sum(), X), ValueError, "one map per example"),
    "radius str": (lambda: sensitivity_max(lambda z: z, X, radius="big"), TypeError, "radius"),
    "radius None": (lambda: sensitivity_max(lambda z: z, X, radius=None), TypeError, "radius"),
    "radius nan": (lambda: sensitivity_max(lambda z: z, X, radius=math.nan), ValueError, "radius"),
    "radius negative": (lambda: sensitivity_max(lambda z: z, X, radius=-1), ValueError, "radius"),
    "samples 0": (lambda: sensitivity_max(lambda z: z, X, n_samples=0), ValueError, "samples"),
    "samples -1": (lambda: sensitivity_max(lambda z: z, X, n_samples=-1), ValueError, "samples"),
    "samples None": (lambda: sensitivity_max(lambda z: z, X, n_samples=None), TypeError, "samples"),
    "sensitivity internal_batch_size": (
        lambda: sensitivity_max(lambda z: z, X, internal_batch_size="4"),
        TypeError,
        "internal_batch_size",
    ),
    "greedy rounds": (lambda: greedy_order(NET, X, 0, unit=1, rounds=1.5), TypeError, "rounds"),
    "floor draws": (lambda: random_floor(NET, X, 0, n_samples=None), TypeError, "n_samples"),
    "cascade no layers": (
        lambda: randomisation_cascade(SMALL, Saliency(SMALL).attribute, X, 0, layers=[]),
        ValueError,
        "empty",
    ),
    "cascade layer str": (
        lambda: randomisation_cascade(SMALL, Saliency(SMALL).attribute, X, 0, layers="0"),
        TypeError,
        "list",
    ),
    "cascade without parameters": (
        lambda: randomisation_cascade(SMALL, Saliency(SMALL).attribute, X, 0, layers=["1"]),
        ValueError,
        "no parameters",
    ),
    "cascade tuple": (lambda: randomisation_cascade(SMALL, lambda z, target: (z,), X, 0), TypeError, "returned tuple"),
    "cascade not callable": (lambda: randomisation_cascade(SMALL, None, X, 0), TypeError, "function"),
    "cascade scalar": (
        lambda: randomisation_cascade(SMALL, Saliency(SMALL).attribute, X, 0, similarity=lambda a, b: 1.0),
        TypeError,
        "similarity",
    ),
    "cascade wrong shape": (
        lambda: randomisation_cascade(SMALL, Saliency(SMALL).attribute, X, 0, similarity=lambda a, b: a),
        TypeError,
        "similarity",
    ),
    "cascade list": (
        lambda: randomisation_cascade(SMALL, Saliency(SMALL).attribute, X.tolist(), 0),
        TypeError,
        "Tensor",
    ),
    "cascade lazy": (
        lambda: randomisation_cascade(nn.Sequential(nn.LazyLinear(2)), lambda z: z, X),
        ValueError,
        "lazy",
    ),
}
SMALL = seeded(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))).eval()


@pytest.mark.parametrize("row", OTHERS)
def test_other_bad_calls(row):
    call, error, words = OTHERS[row]
    with pytest.raises(error, match=words):
        call()


def test_integer_parameters_stay():
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 3)))
    net[0].register_parameter("steps", nn.Parameter(torch.tensor([3]), requires_grad=False))
    assert randomisation_cascade(net, Saliency(net).attribute, X, 0).similarity.shape == (1, 2)
    assert net[0].steps.tolist() == [3]


def test_the_greedy_search_for_insertion_ranks_last_what_is_missed_least():
    def score(x):  # either of the first two will do
        return 2 * x[:, :2].amax(1) + 1.5 * x[:, 2]

    orders = {
        towards: (
            greedy_order(score, torch.ones(1, 3), towards=towards, rounds=3, unit="element")[0]
            .argsort(descending=True)
            .tolist()
        )
        for towards in ("deletion", "insertion")
    }
    assert orders == {"deletion": [2, 0, 1], "insertion": [1, 2, 0]}


def test_the_share_of_the_way_is_a_ratio_of_means():
    power = ProtocolPower(torch.tensor([1.0, 3.0]), torch.tensor([[0.0, 1.0]]), torch.tensor([2.0, 4.0]), "difference")
    assert power.share == pytest.approx(1.5 / 2.5)


def test_a_fraction_of_a_hundred_units_is_that_many():
    x = torch.ones(1, 100)
    for fraction in (0.07, 0.14, 0.28, 0.29, 0.55, 0.57, 0.58):  # 0.29 * 100 < 29
        assert comprehensiveness(
            lambda x: x.sum(1), x, torch.arange(100.0)[None], fraction=fraction, unit="element"
        ).item() == pytest.approx(100 * fraction)


def test_classes_that_tie_share_the_prediction():
    x = torch.ones(2, 4)
    assert accuracy_after_masking(
        lambda x: torch.zeros(len(x), 5), x, torch.arange(8.0).view(2, 4), 1, fraction=0.5, unit="element"
    ).tolist() == pytest.approx([0.2, 0.2])


def test_gradients_are_faithful_to_a_linear_score_whatever_the_substrate():
    x, weights = numbers(2, 6), numbers(6, seed=1)
    for substrate in ("black", 0.7, numbers(1, 6, seed=2)):
        found = infidelity(
            lambda x: x @ weights, x, weights.expand(2, -1), substrate=substrate, unit="element", contributions=False
        )
        assert_close(found, torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_the_noise_substrate_has_its_seed():
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(substrate_of(x, "noise", 1), substrate_of(x, "noise", 1))
    assert not torch.equal(substrate_of(x, "noise", 1), substrate_of(x, "noise", 2))


def test_every_draw_of_the_floor_is_another_order():
    values = random_floor(
        convolutional(),
        torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0)),
        1,
        4,
        unit=3,
        masking_steps=6,
    )
    assert len(values[:, 0].unique()) == len(values[:, 1].unique()) == 4


# Grain and filling


def slow_box_mean(a, side):
    "The mean of the pixels of (H, W) around each, as far as they are there"
    height, width = a.shape
    result = torch.zeros_like(a)
    for i, j in itertools.product(range(height), range(width)):
        rows = [r for r in range(i - (side - 1) // 2, i + side // 2 + 1) if 0 <= r < height]
        columns = [c for c in range(j - (side - 1) // 2, j + side // 2 + 1) if 0 <= c < width]
        result[i, j] = sum(a[r, c].item() for r in rows for c in columns) / (len(rows) * len(columns))
    return result


@pytest.mark.parametrize("side", [1, 2, 3, 5])
@pytest.mark.parametrize("sign", ["signed", "magnitude", "channel_mean"])
@pytest.mark.parametrize("unit", [1, 2, "element"])
def test_smoothing_is_of_the_map_that_ranks(side, sign, unit):
    x, a = numbers(2, 3, 5, 6), numbers(2, 3, 5, 6, seed=1) - 0.5
    one = {"signed": a, "magnitude": a.abs(), "channel_mean": a.mean(1, keepdim=True).expand_as(a)}[sign]
    slow = torch.stack([torch.stack([slow_box_mean(channel, side) for channel in image]) for image in one])
    forward, common = network(3, 5, 6), dict(unit=unit, masking_steps=4, ties="position")
    for measure in (deletion, insertion, difference):
        found = measure(forward, x, a, 1, sign=sign, smooth=side, **common)
        assert_close(found, measure(forward, x, slow, 1, **common), msg=f"{measure}")
    at = dict(unit=unit, fraction=0.4, ties="position")
    found = comprehensiveness(forward, x, a, 1, sign=sign, smooth=side, **at)
    assert_close(found, comprehensiveness(forward, x, slow, 1, **at))


def test_the_ceiling_is_not_smoothed_and_the_floor_is():
    x, forward = numbers(2, 3, 6, 6), network(3, 6, 6)
    common = dict(unit=1, masking_steps=6)
    assert torch.equal(greedy_ceiling(forward, x, 1, 3, smooth=3, **common), greedy_ceiling(forward, x, 1, 3, **common))
    rough, smooth = random_floor(forward, x, 1, 2, **common), random_floor(forward, x, 1, 2, smooth=3, **common)
    assert not torch.equal(rough, smooth)
    noise = random_map(x, 1, generator := torch.Generator().manual_seed(0)), random_map(x, 1, generator)
    assert_close(smooth, torch.stack([difference(forward, x, n, 1, smooth=3, **common) for n in noise]))


def slow_imputation(image, kept):
    "Gauss-Seidel on the equations of the missing pixels of (channels, H, W)"
    image = image.clone()
    image[~kept] = 0.5
    channels, height, width = image.shape
    for _ in range(400):
        for c, i, j in (~kept).nonzero().tolist():
            near = [
                (image[c, i + di, j + dj].item(), 1 / 6 if 0 in (di, dj) else 1 / 12)
                for di, dj in itertools.product((-1, 0, 1), repeat=2)
                if (di, dj) != (0, 0) and 0 <= i + di < height and 0 <= j + dj < width
            ]
            image[c, i, j] = sum(value * weight for value, weight in near) / sum(weight for _, weight in near)
    return image


def test_imputation_solves_the_equations_of_road():
    x = numbers(2, 2, 5, 6, dtype=torch.float64)
    kept = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(2)) < 0.3
    found = linear_imputation(x, kept, noise=0, tolerance=1e-11)
    assert_close(found, torch.stack([slow_imputation(*pair) for pair in zip(x, kept.expand_as(x))]), atol=1e-7, rtol=0)


@pytest.mark.parametrize("unit", [1, 2, "element"])
@pytest.mark.parametrize("chunk", [None, 3])
def test_imputed_curves_equal_plain_loops(unit, chunk):
    x, a, forward = numbers(2, 2, 4, 6), numbers(2, 2, 4, 6, seed=1), network(2, 4, 6)
    steps = 3
    curves = faithfulness_curves(
        forward, x, a, [0, 2], substrate="noisy_linear", unit=unit, masking_steps=steps, internal_batch_size=chunk
    )
    for k, (image, map_, target) in enumerate(zip(x, a, [0, 2])):
        unit_of = slow_units(tuple(image.shape), unit)
        order = slow_order(map_, unit_of, "signed")
        for step, inserting in itertools.product(range(steps + 1), (False, True)):
            gone = set(order[: round(step * len(order) / steps)])
            kept = torch.zeros(image.shape, dtype=torch.bool)
            for p, u in unit_of.items():
                kept[p] = (u in gone) == inserting
            masked = linear_imputation(image[None], kept[None])
            score = forward(masked)[0, target].double()
            assert_close((curves.insertion if inserting else curves.deletion)[k, step], score, atol=1e-6, rtol=0)


def test_a_greedy_search_on_imputed_images():
    x, forward = numbers(1, 1, 3, 3), network(1, 3, 3)
    order = greedy_order(forward, x, 1, unit=1, rounds=9, substrate="noisy_linear").flatten().argsort(descending=True)
    kept = torch.ones(9, dtype=torch.bool)
    for taken in order[:-1].tolist():
        rest = kept.nonzero().flatten().tolist()
        fall = {}
        for u in rest:
            without = kept.clone()
            without[u] = False
            fall[u] = -forward(linear_imputation(x, without.view(1, 1, 3, 3)))[0, 1].item()
        assert fall[taken] >= max(fall.values()) - 1e-9
        kept[taken] = False
    with pytest.raises(ValueError, match="needs images"):
        deletion(lambda rows: rows, numbers(2, 3), numbers(2, 3), 1, substrate="noisy_linear")


def test_images_needed_is_the_size_of_a_study():
    d = numbers(12) - 0.2
    z = 1.6448536269514722 + 1.2815515655446004
    assert images_needed(d, power=0.9, level=0.9) == max(2, math.ceil((z * d.std().item() / d.mean().item()) ** 2))
    assert images_needed(-d) == images_needed(d) == images_needed(7 * d)
    for wrong in (dict(power=1.0), dict(level=0)):
        with pytest.raises(ValueError, match="power|level"):
            images_needed(d, **wrong)


# The class counts


def test_class_sensitivity_equals_plain_loops():
    maps, others = numbers(3, 2, 5, 6), numbers(3, 2, 5, 6, seed=1)
    first, second = numbers(3, 5, 6, seed=2) > 0.3, numbers(3, 5, 6, seed=3) > 0.3
    found = class_sensitivity(maps, others, first, second)
    for b in range(3):
        shares = []
        for a in (maps[b], others[b]):
            on = [0.0, 0.0]
            for i, j in itertools.product(range(5), range(6)):
                value = max(sum(a[c, i, j].item() for c in range(2)), 0)
                if first[b, i, j] != second[b, i, j]:
                    on[0 if first[b, i, j] else 1] += value
            shares.append(on[0] / sum(on) if sum(on) else 0.5)
        assert found[b].item() == pytest.approx(shares[0] - shares[1], abs=1e-6)
    assert_close(class_sensitivity(others, maps, second, first), found)
    assert class_sensitivity(maps, maps, first, second).abs().max() == 0
    assert class_sensitivity(7 * maps, others / 3, first, second).tolist() == pytest.approx(found.tolist())
    with pytest.raises(ValueError, match="empty"):
        class_sensitivity(maps, others, first, second & False)


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_grids_are_laid_and_asked_cell_by_cell(cells):
    images, side = numbers(2 * cells**2, 2, 4, 6), cells**2
    grids = image_grids(images, cells)
    for grid, cell, i, j in itertools.product(range(2), range(side), range(4), range(6)):
        row, column = 4 * (cell // cells) + i, 6 * (cell % cells) + j
        assert torch.equal(grids[grid, :, row, column], images[grid * side + cell, :, i, j])
    for cell in range(side):
        mask = torch.zeros(2, 4 * cells, 6 * cells, dtype=torch.bool)
        mask[:, 4 * (cell // cells) :, 6 * (cell % cells) :] = True
        mask[:, 4 * (cell // cells + 1) :], mask[:, :, 6 * (cell % cells + 1) :] = False, False
        assert torch.equal(cell_masks(cell, grids, cells), mask)
    with pytest.raises(ValueError, match="give .grids"):
        image_grids(images[1:], cells + 1)


@pytest.mark.parametrize("setting", ["GridPG", "DiPart", "DiFull"])
def test_a_grid_network_keeps_its_cells_apart(setting):
    features = seeded(lambda: nn.Conv2d(2, 3, 3, padding=1))
    head = seeded(lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)))
    images = numbers(4, 2, 6, 6)
    grid = image_grids(images)
    found = GridNetwork(features, head, 2, setting)(grid)
    whole = features(grid)
    expected = {
        "GridPG": head(whole),
        "DiFull": torch.cat([head(features(image[None])) for image in images], 1),
        "DiPart": torch.cat(
            [head(whole[:, :, i : i + 6, j : j + 6]) for i, j in itertools.product((0, 6), repeat=2)], 1
        ),
    }[setting]
    assert_close(found, expected)
    reach = {"GridPG": 12, "DiPart": 7, "DiFull": 6}[setting]  # from the left upper corner
    x = grid.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(GridNetwork(features, head, 2, setting)(x)[0, 1], x)
    used = gradient[0].abs().sum(0) > 0
    assert used[:reach, :reach].all() and not used[reach:].any() and not used[:, reach:].any()
    with pytest.raises(ValueError, match="GridPG"):
        GridNetwork(features, head, 2, "Full")
