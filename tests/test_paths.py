"Integrated gradients against Captum, along polylines, and in bounded memory"
import inspect

import pytest
import torch
from captum.attr import IntegratedGradients
from hypothesis import given, settings, strategies as st
from models import TwoInputs, convolutional, mlp, numbers, seeded
from torch.testing import assert_close

from attrnb.core import CountingForward
from attrnb.paths import QUADRATURE_METHODS, PathIntegratedGradients, no_cancellation_gap, quadrature


@pytest.mark.parametrize("method", [m for m in QUADRATURE_METHODS if m != "riemann_trapezoid"])
@pytest.mark.parametrize("n_steps", [2, 5, 50, 128])
def test_straight_path_equals_captum(method, n_steps):
    net, x, target = mlp(), numbers(4, 6), torch.tensor([0, 1, 2, 1])
    for baselines in (None, .5, numbers(1, 6, seed=3), numbers(4, 6, seed=4)):
        theirs, their_delta = IntegratedGradients(net).attribute(x, baselines=baselines, target=target, n_steps=n_steps, method=method, return_convergence_delta=True)
        ours, our_delta = PathIntegratedGradients(net).attribute(x, baselines=baselines, target=target, n_steps=n_steps, method=method, return_convergence_delta=True)
        assert_close(ours, theirs, atol=2e-6, rtol=1e-4)
        assert_close(our_delta, their_delta.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_steps", [2, 10, 50])
def test_trapezoid_is_right_where_captum_is_low(n_steps):
    def linear(x): return x @ torch.arange(1., 7.)
    x = numbers(3, 6)
    ours = PathIntegratedGradients(linear).attribute(x, n_steps=n_steps, method="riemann_trapezoid")
    assert_close(ours, x * torch.arange(1., 7.))
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
    inputs, scale = (numbers(3, 4), numbers(3, 2, 3)), torch.tensor([1., -2., .5])
    for baselines in (None, (0, numbers(1, 2, 3, seed=5)), (numbers(3, 4, seed=6), .1)):
        ours = PathIntegratedGradients(model).attribute(inputs, baselines, 1, scale, n_steps=20, internal_batch_size=7)
        theirs = IntegratedGradients(model).attribute(inputs, baselines, 1, scale, n_steps=20)
        assert isinstance(ours, tuple)
        for a, b in zip(ours, theirs):
            assert_close(a, b, atol=2e-6, rtol=1e-4)


def test_convolutional_network_equals_captum():
    net, x = convolutional(), numbers(2, 3, 12, 12)
    assert_close(PathIntegratedGradients(net).attribute(x, target=[0, 3], n_steps=16), IntegratedGradients(net).attribute(x, target=torch.tensor([0, 3]), n_steps=16), atol=1e-6, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 9), n_steps=st.integers(1, 12), chunk=st.integers(1, 40), points=st.integers(2, 5), seed=st.integers(0, 99))
def test_any_polyline_is_complete_and_bounded(batch, n_steps, chunk, points, seed):
    net = CountingForward(mlp(smooth=True, seed=seed % 3).double())
    path = numbers(batch, points, 6, seed=seed, dtype=torch.float64) * .3
    coarse = PathIntegratedGradients(net).attribute(path[:, -1], path=path, target=0, n_steps=n_steps, internal_batch_size=chunk)
    assert net.largest_batch <= chunk
    per_segment = -(-n_steps // (points - 1))
    assert net.gradient_rows == batch * per_segment * (points - 1)
    assert_close(coarse, PathIntegratedGradients(net).attribute(path[:, -1], path=path, target=0, n_steps=n_steps))
    fine, delta = PathIntegratedGradients(net).attribute(path[:, -1], path=path, target=0, n_steps=20 * (points - 1), return_convergence_delta=True)
    assert delta.abs().max() < 1e-9
    change = (net(path[:, -1]) - net(path[:, 0]))[:, 0].detach()
    assert (no_cancellation_gap(fine, change) > -1e-9).all()


def test_inserting_a_corner_on_the_way_changes_nothing():
    net = mlp(smooth=True).double()
    x = numbers(2, 6, dtype=torch.float64)
    path = torch.stack([0 * x, .3 * x, x], 1)
    assert_close(PathIntegratedGradients(net).attribute(x, path=path, target=0, n_steps=60), PathIntegratedGradients(net).attribute(x, target=0, n_steps=60), atol=1e-10, rtol=1e-8)


def test_arguments_by_position_are_those_of_captum():
    net, x = mlp(), numbers(2, 6)
    ours, theirs = PathIntegratedGradients(net), IntegratedGradients(net)
    for given in ((None, 1, None, 20), (.5, [0, 2], None, 7, "riemann_right", 3)):
        assert_close(ours.attribute(x, *given), theirs.attribute(x, *given), atol=2e-6, rtol=1e-4)
    captum = [n for n in inspect.signature(IntegratedGradients.attribute).parameters]
    assert [n for n in inspect.signature(PathIntegratedGradients.attribute).parameters][:len(captum)] == captum
    assert inspect.signature(PathIntegratedGradients.attribute).parameters["path"].kind is inspect.Parameter.KEYWORD_ONLY


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
    parts, delta = PathIntegratedGradients(model).attribute((a, b), path=paths, target=1, n_steps=80, return_convergence_delta=True)
    assert [p.shape for p in parts] == [a.shape, b.shape] and delta.abs().max() < 1e-10


@pytest.mark.parametrize("path, words", [
    (torch.zeros(2, 3, 5), "shape"), (torch.zeros(2, 1, 6), "at least 2"), (torch.zeros(3, 2, 6), "shape"), (torch.zeros(2, 3, 6), "doesn't end at the input"), ("straight", "str"),
    (torch.zeros(3, 6), "accepted: (2 or 1, points, 6); add a batch dimension: path[None]"), (torch.zeros(2, 3, 5), "accepted: (2 or 1, points, 6)"),
])
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


@pytest.mark.parametrize("steps, method, error", [(0, "gausslegendre", ValueError), (1, "riemann_trapezoid", ValueError), (2.5, "gausslegendre", TypeError), (5, "simpson", ValueError)])
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
    attribution, delta = PathIntegratedGradients(mlp()).attribute(x, baselines=x, target=0, return_convergence_delta=True)
    assert attribution.abs().max() == 0 and delta.abs().max() == 0


def test_convergence_delta_of_other_attributions():
    net, x = mlp(), numbers(3, 6)
    method = PathIntegratedGradients(net)
    attribution, delta = method.attribute(x, target=1, return_convergence_delta=True)
    assert_close(method.compute_convergence_delta(attribution, None, x, target=1), delta)


def test_no_cancellation_gap_checks_its_input():
    with pytest.raises(ValueError, match="one number per example"):
        no_cancellation_gap(torch.zeros(3, 2), torch.zeros(2))
