"Integrated gradients against Captum, along polylines, and in bounded memory"

import inspect
import math
import warnings

import pytest
import torch
from captum.attr import IntegratedGradients
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TwoInputs, convolutional, mlp, numbers, seeded, value_and_warnings
from scipy.special import roots_legendre
from torch import nn
from torch.testing import assert_close

from attrnb.core import ClassScore, CountingForward
from attrnb.paths import (
    QUADRATURE_METHODS,
    PathIntegratedGradients,
    no_cancellation_gap,
    quadrature,
    warn_if_incomplete,
)


@pytest.mark.parametrize("method", [m for m in QUADRATURE_METHODS if m != "riemann_trapezoid"])
@pytest.mark.parametrize("n_steps", [2, 5, 50, 128])
def test_straight_path_equals_captum(method, n_steps):
    net, x, target = mlp(), numbers(4, 6), torch.tensor([0, 1, 2, 1])
    for baselines in (None, 0.5, numbers(1, 6, seed=3), numbers(4, 6, seed=4)):
        theirs, their_delta = IntegratedGradients(net).attribute(
            x, baselines=baselines, target=target, n_steps=n_steps, method=method, return_convergence_delta=True
        )
        ours, our_delta = PathIntegratedGradients(net).attribute(
            x, baselines=baselines, target=target, n_steps=n_steps, method=method, return_convergence_delta=True
        )
        assert_close(ours, theirs, atol=2e-6, rtol=1e-4)
        assert_close(our_delta, their_delta.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_steps", [2, 10, 50])
def test_trapezoid_is_right_where_captum_is_low(n_steps):
    def linear(x):
        return x @ torch.arange(1.0, 7.0)

    x = numbers(3, 6)
    ours = PathIntegratedGradients(linear).attribute(x, n_steps=n_steps, method="riemann_trapezoid")
    assert_close(ours, x * torch.arange(1.0, 7.0))
    theirs = IntegratedGradients(linear).attribute(x, n_steps=n_steps, method="riemann_trapezoid")
    assert_close(theirs * n_steps / (n_steps - 1), ours)


def test_double_precision_is_complete_to_sixteen_digits():
    net = mlp(smooth=True).double()
    x = numbers(3, 6, dtype=torch.float64)
    ours, delta = PathIntegratedGradients(net).attribute(x, target=1, n_steps=60, return_convergence_delta=True)
    assert_close(ours, IntegratedGradients(net).attribute(x, target=1, n_steps=60), atol=1e-6, rtol=1e-6)
    assert delta.abs().max() < 1e-13


def test_tuples_and_additional_arguments_equal_captum():
    model = seeded(TwoInputs)
    inputs, scale = (numbers(3, 4), numbers(3, 2, 3)), torch.tensor([1.0, -2.0, 0.5])
    for baselines in (None, (0, numbers(1, 2, 3, seed=5)), (numbers(3, 4, seed=6), 0.1)):
        ours = PathIntegratedGradients(model).attribute(inputs, baselines, 1, scale, n_steps=20, internal_batch_size=7)
        theirs = IntegratedGradients(model).attribute(inputs, baselines, 1, scale, n_steps=20)
        assert isinstance(ours, tuple)
        for a, b in zip(ours, theirs, strict=True):
            assert_close(a, b, atol=2e-6, rtol=1e-4)


def test_convolutional_network_equals_captum():
    net, x = convolutional(), numbers(2, 3, 12, 12)
    assert_close(
        PathIntegratedGradients(net).attribute(x, target=[0, 3], n_steps=16),
        IntegratedGradients(net).attribute(x, target=torch.tensor([0, 3]), n_steps=16),
        atol=1e-6,
        rtol=1e-4,
    )


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 9),
    n_steps=st.integers(1, 12),
    chunk=st.integers(1, 40),
    points=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_any_polyline_is_complete_and_bounded(batch, n_steps, chunk, points, seed):
    net = CountingForward(mlp(smooth=True, seed=seed % 3).double())
    path = numbers(batch, points, 6, seed=seed, dtype=torch.float64) * 0.3
    coarse = PathIntegratedGradients(net).attribute(
        path[:, -1], path=path, target=0, n_steps=n_steps, internal_batch_size=chunk
    )
    assert net.largest_batch <= chunk
    per_segment = -(-n_steps // (points - 1))
    assert net.gradient_rows == batch * per_segment * (points - 1)
    assert_close(coarse, PathIntegratedGradients(net).attribute(path[:, -1], path=path, target=0, n_steps=n_steps))
    fine, delta = PathIntegratedGradients(net).attribute(
        path[:, -1], path=path, target=0, n_steps=20 * (points - 1), return_convergence_delta=True
    )
    assert delta.abs().max() < 1e-9
    change = (net(path[:, -1]) - net(path[:, 0]))[:, 0].detach()
    assert (no_cancellation_gap(fine, change) > -1e-9).all()


def test_inserting_a_corner_on_the_way_changes_nothing():
    net = mlp(smooth=True).double()
    x = numbers(2, 6, dtype=torch.float64)
    path = torch.stack([0 * x, 0.3 * x, x], 1)
    assert_close(
        PathIntegratedGradients(net).attribute(x, path=path, target=0, n_steps=60),
        PathIntegratedGradients(net).attribute(x, target=0, n_steps=60),
        atol=1e-10,
        rtol=1e-8,
    )


def test_arguments_by_position_are_those_of_captum():
    net, x = mlp(), numbers(2, 6)
    ours, theirs = PathIntegratedGradients(net), IntegratedGradients(net)
    for offered in ((None, 1, None, 20), (0.5, [0, 2], None, 7, "riemann_right", 3)):
        assert_close(ours.attribute(x, *offered), theirs.attribute(x, *offered), atol=2e-6, rtol=1e-4)
    captum = [n for n in inspect.signature(IntegratedGradients.attribute).parameters]
    assert [n for n in inspect.signature(PathIntegratedGradients.attribute).parameters][: len(captum)] == captum
    assert (
        inspect.signature(PathIntegratedGradients.attribute).parameters["path"].kind is inspect.Parameter.KEYWORD_ONLY
    )


def test_a_path_without_a_batch_of_one_is_named():
    with pytest.raises(ValueError) as caught:
        PathIntegratedGradients(mlp()).attribute(torch.ones(1, 6), path=torch.zeros(3, 6), target=0)
    assert "accepted: (1, points, 6); add a batch dimension: path[None]" in str(caught.value)
    with pytest.raises(ValueError) as caught:
        PathIntegratedGradients(mlp()).attribute(torch.ones(2, 6), path=torch.zeros(2, 3, 5), target=0)
    assert "path[None]" not in str(caught.value)


def test_path_of_a_tuple():
    model = seeded(TwoInputs).double()
    a, b = numbers(2, 4, dtype=torch.float64), numbers(2, 2, 3, dtype=torch.float64)
    paths = (torch.stack([0 * a, a, a], 1), torch.stack([0 * b, 0 * b, b], 1))
    parts, delta = PathIntegratedGradients(model).attribute(
        (a, b), path=paths, target=1, n_steps=80, return_convergence_delta=True
    )
    assert [p.shape for p in parts] == [a.shape, b.shape] and delta.abs().max() < 1e-10


@pytest.mark.parametrize(
    "path, words",
    [
        (torch.zeros(2, 3, 5), "shape"),
        (torch.zeros(2, 1, 6), "at least 2"),
        (torch.zeros(3, 2, 6), "shape"),
        (torch.zeros(2, 3, 6), "doesn't end at the input"),
        ("straight", "str"),
        (torch.zeros(3, 6), "accepted: (2 or 1, points, 6); add a batch dimension: path[None]"),
        (torch.zeros(2, 3, 5), "accepted: (2 or 1, points, 6)"),
    ],
)
def test_wrong_paths(path, words):
    with pytest.raises(ValueError) as caught:
        PathIntegratedGradients(mlp()).attribute(torch.ones(2, 6), path=path, target=0)
    assert words in str(caught.value)


def test_path_and_baseline_must_agree():
    x = torch.ones(2, 6)
    path = torch.stack([0 * x, x], 1)
    PathIntegratedGradients(mlp()).attribute(x, baselines=0, path=path, target=0)
    with pytest.raises(ValueError, match="doesn't start at the baseline"):
        PathIntegratedGradients(mlp()).attribute(x, baselines=1, path=path, target=0)


@pytest.mark.parametrize(
    "steps, method, error",
    [
        (0, "gausslegendre", ValueError),
        (1, "riemann_trapezoid", ValueError),
        (2.5, "gausslegendre", TypeError),
        (5, "simpson", ValueError),
    ],
)
def test_wrong_quadrature(steps, method, error):
    with pytest.raises(error):
        quadrature(steps, method)
    with pytest.raises(error):
        PathIntegratedGradients(mlp()).attribute(torch.ones(2, 6), target=0, n_steps=steps, method=method)


def test_cached_nodes_can_not_be_spoilt():
    nodes, _ = quadrature(4)
    nodes.zero_()
    assert quadrature(4)[0].min() > 0


def test_baseline_equal_to_input_gives_zero():
    x = numbers(2, 6)
    attribution, delta = PathIntegratedGradients(mlp()).attribute(
        x, baselines=x, target=0, return_convergence_delta=True
    )
    assert attribution.abs().max() == 0 and delta.abs().max() == 0


def test_convergence_delta_of_other_attributions():
    net, x = mlp(), numbers(3, 6)
    method = PathIntegratedGradients(net)
    attribution, delta = method.attribute(x, target=1, return_convergence_delta=True)
    assert_close(method.compute_convergence_delta(attribution, None, x, target=1), delta)


def test_no_cancellation_gap_checks_its_input():
    with pytest.raises(ValueError, match="one number per example"):
        no_cancellation_gap(torch.zeros(3, 2), torch.zeros(2))


# --- what a call says by itself


def step(x):
    "Climbs by one within 0.01, in the middle of the way"
    return (400 * (x.sum(1) - 2.9)).sigmoid()


def test_an_incomplete_sum_is_one_warning_with_the_examples_and_the_cure():
    x = torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [2.0, 2.0, 2.0]])
    (attribution, delta), messages = value_and_warnings(
        lambda: PathIntegratedGradients(step).attribute(x, n_steps=7, return_convergence_delta=True)
    )
    assert (delta.abs() > 0.05).tolist() == [True, False, True]
    assert len(messages) == 2 and "zero everywhere for 1 of 3 examples (1)" in messages[1]
    assert (
        "2 of 3 examples (0, 2)" in messages[0]
        and "Raise n_steps, now 7" in messages[0]
        and "score changes by 1 " in messages[0]
    )
    _, messages = value_and_warnings(lambda: PathIntegratedGradients(step).attribute(x[[0, 2]], n_steps=2000))
    assert messages == []


@pytest.mark.parametrize(
    "missing, complete",
    [(0.04, True), (0.06, False), (-0.04, True), (-0.06, False), (math.nan, False), (math.inf, False)],
)
def test_complete_within_five_per_cent(missing, complete):
    attribution, end, start = torch.tensor([[0.5, 0.5 + missing]]), torch.tensor([3.0]), torch.tensor([2.0])
    found, messages = value_and_warnings(lambda: warn_if_incomplete((attribution,), end, start, "Mend it."))
    assert found.tolist() == [complete] and len(messages) == 1 - complete and all("Mend it." in m for m in messages)


def test_cancelling_attributions_are_measured_by_their_size():
    "A change of 0.001 between attributions of 10 and -10 may be missed by two per cent of 20, not by more"
    start, end = torch.zeros(2), torch.full((2,), 0.001)
    attributions = torch.tensor([[10.0, -9.61], [10.0, -9.59]])
    assert value_and_warnings(lambda: warn_if_incomplete((attributions,), end, start, ""))[0].tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rounding_is_no_incompleteness(dtype):
    net = mlp(smooth=True).to(dtype)
    _, messages = value_and_warnings(
        lambda: PathIntegratedGradients(lambda x: net(x) + 100).attribute(
            numbers(4, 6, dtype=dtype), target=[0, 1, 2, 1]
        )
    )
    assert messages == []


def test_infinite_change_is_said():
    _, messages = value_and_warnings(
        lambda: PathIntegratedGradients(lambda x: x.sum(1).log()).attribute(torch.ones(1, 3))
    )
    assert len(messages) == 1 and "inf" in messages[0]


def test_looking_costs_two_forward_rows_per_example_and_the_probe():
    net = CountingForward(mlp())
    PathIntegratedGradients(net).attribute(numbers(5, 6), target=0, n_steps=10, internal_batch_size=20)
    assert net.gradient_rows == 50 and 10 <= net.rows - net.gradient_rows <= 12


def test_the_ends_pass_together_and_after_the_gradients_need_no_count():
    net, rows = mlp(), []
    net.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    PathIntegratedGradients(net).attribute(numbers(20, 6), target=0, n_steps=10)
    assert rows == [4, 196, 1, 40]  # the rows that are counted, all others, one alone, inputs and baselines


def test_zero_maps_are_said():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [-1.0, -2.0]])
    attribution, messages = value_and_warnings(
        lambda: PathIntegratedGradients(lambda y: y.clamp(min=0).sum(1)).attribute(x)
    )
    assert (attribution == 0).all(1).tolist() == [True, False, True]
    assert len(messages) == 1 and "zero everywhere for 2 of 3 examples (0, 2)" in messages[0]


def sure(x):
    "Logits of three classes; the first one leads by ten"
    return torch.stack([10 + x[:, 0], x[:, 1], -5 + x.sum(1)], 1)


@pytest.mark.parametrize("of", ["logit", "probability", "log_probability"])
@pytest.mark.parametrize("wrap", [lambda f: f, CountingForward])
def test_a_class_that_is_ruled_out_is_said(of, wrap):
    method, x = PathIntegratedGradients(wrap(ClassScore(sure, of=of))), 0.1 * numbers(4, 2)
    _, messages = value_and_warnings(lambda: method.attribute(x, target=[0, 1, 0, 2], n_steps=300))
    assert len(messages) == 1 and "below 1 % for 2 of 4 examples (1, 3)" in messages[0]
    assert value_and_warnings(lambda: method.attribute(x, target=0, n_steps=300))[1] == []
    assert value_and_warnings(lambda: method.attribute(x, target=-3, n_steps=300))[1] == []
    assert value_and_warnings(lambda: method.attribute(x, target=lambda output: output[:, 1], n_steps=300))[1] == []


def test_a_target_that_is_merely_not_the_first_is_not_said():
    x = 0.1 * numbers(4, 2)
    assert value_and_warnings(lambda: PathIntegratedGradients(lambda y: sure(y) / 4).attribute(x, target=1))[1] == []
    assert (
        value_and_warnings(lambda: PathIntegratedGradients(lambda y: y.sum(1, keepdim=True)).attribute(x, target=0))[1]
        == []
    )
    dense = PathIntegratedGradients(lambda y: torch.stack([sure(y)] * 2, 2))
    assert value_and_warnings(lambda: dense.attribute(x, target=(1, 0)))[1] == []


def test_targets_of_chunks_are_those_of_their_examples():
    x = 0.1 * numbers(7, 2)
    _, messages = value_and_warnings(
        lambda: PathIntegratedGradients(sure).attribute(x, target=[0, 0, 0, 0, 0, 1, 0], internal_batch_size=3)
    )
    assert len(messages) == 1 and "1 of 7 examples (5)" in messages[0]


# --- numbers that aren't finite, and settings that can't work


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number_that_is_not_finite_gets_in_or_out(bad):
    net, x = mlp(), numbers(2, 6)
    method = PathIntegratedGradients(net)
    path = torch.stack([torch.zeros(2, 6), torch.full((2, 6), bad), x], 1)
    for call in (
        lambda: method.attribute(x, baselines=bad, target=0),
        lambda: method.attribute(x, baselines=torch.full((1, 6), bad), target=0),
        lambda: method.attribute(x, path=path, target=0),
        lambda: method.attribute(torch.full((2, 6), bad), target=0),
    ):
        with pytest.raises(ValueError):
            call()


def test_attributions_that_overflow_are_refused():
    x = torch.full((1, 2), 300.0, dtype=torch.float16)
    with pytest.raises(ValueError, match="attribution.* NaN or infinity"):
        PathIntegratedGradients(lambda y: 400 * (y[:, 0] - y[:, 1])).attribute(x)


@pytest.mark.parametrize("n", [5, 800, 5000])
def test_gauss_nodes_are_those_of_scipy(n):
    nodes, weights = roots_legendre(n)
    ours = quadrature(n)
    assert_close(ours[0], torch.from_numpy((1 + nodes) / 2))
    assert_close(ours[1], torch.from_numpy(weights / 2))


@pytest.mark.parametrize("n", [5001, 10_007, 100_000])
def test_very_many_nodes_are_panels(n):
    nodes, weights = quadrature(n)
    assert len(nodes) == len(weights) == n and nodes.min() > 0 and nodes.max() < 1 and (nodes.diff() > 0).all()
    assert_close(weights.sum(), torch.ones((), dtype=torch.float64))
    for degree in (1, 2, 9, 40):
        assert_close((weights * nodes**degree).sum().item(), 1 / (degree + 1))


def test_a_hundred_thousand_steps():
    attribution, delta = PathIntegratedGradients(step).attribute(
        torch.ones(1, 3), n_steps=100_000, internal_batch_size=20_000, return_convergence_delta=True
    )
    assert delta.abs() < 1e-4


@pytest.mark.parametrize("method", [["gausslegendre"], None, 3])
def test_a_rule_is_a_word(method):
    with pytest.raises(TypeError, match="method"):
        quadrature(3, method)
    with pytest.raises(TypeError, match="method"):
        PathIntegratedGradients(mlp()).attribute(numbers(1, 6), target=0, method=method)


@pytest.mark.parametrize(
    "attributions, change, error",
    [
        (1.0, torch.zeros(1), ValueError),
        (None, torch.zeros(1), TypeError),
        ("map", torch.zeros(1), TypeError),
        ((), torch.zeros(1), ValueError),
        (torch.full((1, 2), math.nan), torch.zeros(1), ValueError),
        (torch.zeros(1, 2), torch.full((1,), math.nan), ValueError),
        (torch.zeros(2, 2), torch.zeros(1), ValueError),
    ],
)
def test_no_cancellation_gap_refuses(attributions, change, error):
    with pytest.raises(error):
        no_cancellation_gap(attributions, change)


def test_in_place_operations_on_the_input():
    net, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)).eval(), numbers(3, 4)
    before, plain = x.clone(), nn.Sequential(nn.ReLU(), net[1])
    method = PathIntegratedGradients(net)
    attribution = method.attribute(x, target=1)
    method.compute_convergence_delta(attribution, None, x, 1)
    assert torch.equal(x, before)
    assert_close(attribution, PathIntegratedGradients(plain).attribute(x, target=1))


def test_regressor_that_squeezes():
    net = seeded(lambda: nn.Linear(4, 1))
    attribution, delta = PathIntegratedGradients(lambda z: net(z).squeeze()).attribute(
        numbers(1, 4), return_convergence_delta=True
    )
    assert_close(attribution, numbers(1, 4) * net.weight.detach())
    assert delta.abs().max() < 1e-5


def test_model_made_in_inference_mode():
    with torch.inference_mode():
        net = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)))
    plain = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)))
    assert_close(
        PathIntegratedGradients(net).attribute(numbers(5, 4), target=1),
        PathIntegratedGradients(plain).attribute(numbers(5, 4), target=1),
    )


def test_ordinary_networks_at_the_default_number_of_nodes_are_complete():
    from models import mlp, numbers

    named = 0
    for seed in range(10):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            PathIntegratedGradients(mlp(10, 5, seed=seed)).attribute(numbers(32, 10, seed=seed), target=0)
        named += sum("add up" in str(w.message) for w in caught)
    assert named <= 2, named


def test_the_predicted_class_of_equal_probabilities_is_not_unlikely():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PathIntegratedGradients(lambda x: torch.stack([x.sum(1)] * 1000, 1)).attribute(torch.rand(3, 4), target=999)
