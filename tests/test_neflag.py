"NeFLAG: closed forms, axioms, batching, and wrong calls"

import math
import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from models import TwoInputs, convolutional, mlp, numbers, seeded
from torch.testing import assert_close

from attrnb.core import ClassScore, CountingForward
from attrnb.methods.apply import run_method
from attrnb.methods.registry import method_of
from attrnb.methods.scored import ScoredModel
from attrnb.neflag import NeFLAG


@settings(max_examples=30, deadline=None)
@given(
    features=st.integers(1, 30),
    batch=st.integers(1, 4),
    n_points=st.integers(1, 6),
    m=st.integers(1, 5),
    seed=st.integers(0, 1000),
    radius=st.floats(1e-3, 10),
    unit=st.sampled_from(["l2", "rms"]),
    double=st.booleans(),
    chunk=st.integers(1, 50),
)
def test_linear_score_in_closed_form(features, batch, n_points, m, seed, radius, unit, double, chunk):
    dtype = torch.float64 if double else torch.float32
    w = numbers(features, seed=seed + 1, dtype=dtype)
    length = radius * (math.sqrt(features) if unit == "rms" else 1)
    x = numbers(batch, features, seed=seed, dtype=dtype)
    settings = dict(
        n_points=n_points, search_steps=m, radius=radius, radius_unit=unit, seed=seed, internal_batch_size=chunk
    )
    feature = NeFLAG(lambda y: y @ w).attribute(x, **settings)
    vector = NeFLAG(lambda y: y @ w).attribute(x, aggregate="vector", **settings)
    tolerance = 1e-10 if double else 1e-5
    assert_close(
        feature, (length * w**2 / w.norm()).expand(batch, features), rtol=tolerance, atol=tolerance * length * 1e-3
    )
    assert_close(vector, w.expand(batch, features), rtol=tolerance, atol=tolerance * 1e-2)


def test_quadratic_maximum_goes_to_the_steepest_direction():
    H = torch.diag(torch.tensor([-9.0, -2.0, -1.0], dtype=torch.float64))
    attribution, found = NeFLAG(lambda y: 0.5 * ((y @ H) * y).sum(1)).attribute(
        torch.zeros(1, 3, dtype=torch.float64), n_points=50, radius=0.5, return_flux=True
    )
    assert bool(found.negative.all()) and (found.steps == 1).all()
    assert attribution[0].argmax() == 0
    u = found.points[0] / 0.5
    assert_close(attribution[0], (-0.25 * (u @ H) * u).mean(0))


def test_unsearched_mean_is_the_surface_integral():
    H = torch.diag(torch.tensor([-4.0, -2.0, -1.0], dtype=torch.float64))
    attribution = NeFLAG(lambda y: 0.5 * ((y @ H) * y).sum(1)).attribute(
        torch.zeros(1, 3, dtype=torch.float64), n_points=20_000, search_steps=0, radius=0.3
    )
    assert_close(attribution[0], -0.09 * H.diagonal() / 3, rtol=0.03, atol=0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), features=st.integers(2, 6))
def test_small_sphere_with_one_step_sees_curvature_along_the_gradient(seed, features):
    def draw(*shape, k):
        return numbers(*shape, seed=seed + k, dtype=torch.float64)

    M, bias, x, u = draw(8, features, k=0), draw(8, k=1), draw(1, features, k=2), draw(200, features, k=3)

    def f(y):
        return (y @ M.T + bias).tanh().sum(1) + 3 * y[:, 0]

    g = torch.func.grad(lambda q: f(q[None])[0])(x[0])
    Hg = torch.func.hessian(lambda q: f(q[None])[0])(x[0]) @ g
    assume(g.norm() > 0.5)
    errors = []
    for radius in (1e-2, 1e-3):  # opposite starts, whose odd terms cancel
        A = (
            NeFLAG(f).attribute(x, n_points=400, directions=torch.cat([u, -u]), search_steps=1, radius=radius)[0]
            / radius
        )
        errors.append((A - g**2 / g.norm() + radius * g * Hg / g.norm() ** 2).abs().max().item())
    assert errors[1] < errors[0] / 20 + 1e-9  # a first-order error would give 10


@pytest.mark.parametrize("aggregate", ["feature", "vector"])
def test_dummy_feature_is_exactly_zero(aggregate):
    net = mlp(5)
    attribution = NeFLAG(lambda y: net(y[:, :5])).attribute(numbers(4, 7), target=1, aggregate=aggregate)
    assert attribution[:, 5:].abs().max() == 0 and attribution[:, :5].abs().max() > 0


def test_positive_scaling_is_exact_for_powers_of_two_and_close_otherwise():
    net, x = mlp(smooth=True), numbers(3, 6)
    one = NeFLAG(net).attribute(x, target=0)
    assert torch.equal(NeFLAG(lambda y: 8 * net(y) + 3).attribute(x, target=0), 8 * one)
    assert_close(NeFLAG(lambda y: 3.3 * net(y)).attribute(x, target=0), 3.3 * one, rtol=1e-4, atol=1e-8)


def test_permutation():
    net, x, order = mlp(smooth=True).double(), numbers(2, 6, dtype=torch.float64), torch.tensor([5, 2, 0, 1, 4, 3])
    starts = numbers(7, 6, seed=2, dtype=torch.float64)
    plain = NeFLAG(net).attribute(x, target=0, n_points=7, directions=starts)
    permuted = NeFLAG(lambda y: net(y[:, order.argsort()])).attribute(
        x[:, order], target=0, n_points=7, directions=starts[:, order]
    )
    assert_close(permuted, plain[:, order])


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 5),
    n_points=st.integers(1, 5),
    chunk=st.integers(1, 30),
    seed=st.integers(0, 50),
    aggregate=st.sampled_from(["feature", "vector"]),
    m=st.integers(0, 4),
)
def test_same_seed_same_map_on_any_chunk_and_batch(batch, n_points, chunk, seed, aggregate, m):
    net = CountingForward(mlp(seed=seed % 4).double())
    x, target = numbers(batch, 6, seed=seed, dtype=torch.float64), [i % 3 for i in range(batch)]
    settings = dict(n_points=n_points, seed=seed, aggregate=aggregate, search_steps=m, radius=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, found = NeFLAG(net).attribute(x, target=target, return_flux=True, **settings)
        assert found.gradient_evaluations == net.gradient_rows == int((found.steps + 1).sum())
        net.reset()
        chunked = NeFLAG(net).attribute(x, target=target, internal_batch_size=chunk, **settings)
        assert net.largest_batch <= chunk
        assert net.gradient_rows == found.gradient_evaluations
        assert net.calls == -(-net.gradient_rows // chunk) or net.calls <= -(-net.gradient_rows // chunk) + m + 1
        single = torch.cat([NeFLAG(net).attribute(x[i : i + 1], target=t, **settings) for i, t in enumerate(target)])
    assert_close(chunked, whole)
    assert_close(single, whole)


def test_more_points_keep_the_first_ones():
    net, x = mlp(), numbers(2, 6)
    _, few = NeFLAG(net).attribute(x, target=0, n_points=3, return_flux=True)
    _, many = NeFLAG(net).attribute(x, target=0, n_points=8, return_flux=True)
    assert_close(many.points[:, :3], few.points)


def test_flux_points_explain_the_attribution():
    net, x = mlp(smooth=True).double(), numbers(3, 6, dtype=torch.float64)
    attribution, found = NeFLAG(net).attribute(x, target=[0, 1, 2], n_points=4, radius=0.3, return_flux=True)
    assert found.points.shape == (3, 4, 6) and found.flux.shape == (3, 4) and found.hits.tolist() == [4, 4, 4]
    assert_close(attribution.sum(1), -0.3 * found.flux.mean(1))
    assert_close((found.points - x[:, None]).norm(dim=2), torch.full((3, 4), 0.3, dtype=torch.float64))


def test_tuple_of_inputs():
    model = seeded(TwoInputs).double()
    a, b, scale = (
        numbers(3, 4, dtype=torch.float64),
        numbers(3, 2, 3, dtype=torch.float64),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
    )
    (part_a, part_b), found = NeFLAG(model).attribute((a, b), 1, scale, n_points=5, return_flux=True)
    flat = NeFLAG(lambda y, s: model(y[:, :4], y[:, 4:].reshape(-1, 2, 3), s)).attribute(
        torch.cat([a, b.flatten(1)], 1), 1, scale, n_points=5
    )
    assert_close(torch.cat([part_a, part_b.flatten(1)], 1), flat)
    assert found.points[0].shape == (3, 5, 4) and found.points[1].shape == (3, 5, 2, 3)


def test_minimum_gives_zeros_and_one_warning():
    x = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    with pytest.warns(UserWarning) as caught:
        attribution = NeFLAG(lambda y: (y**2).sum(1)).attribute(x)
    ours = [w for w in caught if "negative flux" in str(w.message)]
    assert len(ours) == 1 and "[0, 2]" in str(ours[0].message)
    assert attribution[[0, 2]].abs().max() == 0 and attribution[1].abs().max() > 0


@pytest.mark.parametrize("of", ["probability", "log_probability"])
def test_saturation_is_named_in_the_warning_and_the_logit_helps(of):
    def network(x):
        return torch.stack([x.sum(1) * 1e4, -x.sum(1) * 1e4], 1)

    with pytest.warns(UserWarning, match="saturated probability; explain the logit"):
        attribution = NeFLAG(ClassScore(network, of=of)).attribute(torch.ones(1, 4), target=0)
    assert attribution.abs().max() == 0
    assert NeFLAG(ClassScore(network)).attribute(torch.ones(1, 4), target=0).min() > 0


@pytest.mark.parametrize("cap", [5, 6, 19, 20])
@pytest.mark.parametrize("chunk", [None, 7])
def test_points_that_go_to_and_fro_end_early_where_the_cap_would_find_them(cap, chunk):
    def score(y, noise=0.0):
        "A valley at 0 that is steeper on one side; points near it go to and fro, others find their place at once"
        return (torch.where(y > 0, y, -2 * y) * (1 + noise * torch.rand_like(y))).sum(1)

    x = torch.tensor([[0.02, -0.01], [1.0, 1.0], [0.0, 0.01]], dtype=torch.float64)
    settings = dict(n_points=6, return_flux=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, early = NeFLAG(score).attribute(x, search_steps=cap, internal_batch_size=chunk, **settings)
        # a score that differs by less than matters from gradient to gradient never shows the same place twice
        _, late = NeFLAG(lambda y: score(y, 1e-4)).attribute(x, search_steps=cap, **settings)
    assert (early.steps == late.steps).all() and early.steps.max() == cap and (early.negative == late.negative).all()
    assert_close(early.flux, late.flux, rtol=1e-3, atol=1e-3)
    assert_close(early.points, late.points, rtol=1e-3, atol=1e-3)
    assert late.gradient_evaluations == 2 * 6 * (cap + 1) + 6 * 2
    assert early.gradient_evaluations <= 2 * 6 * 6 + 6 * 2


def test_clamp_keeps_points_in_range():
    net, x = convolutional(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    _, found = NeFLAG(net).attribute(
        x, target=0, n_points=3, radius=0.2, radius_unit="rms", clamp=(0, 1), return_flux=True
    )
    assert found.points.min() >= 0 and found.points.max() <= 1
    assert ((found.points - x[:, None]).flatten(2).norm(dim=2) <= 0.2 * math.sqrt(192) * (1 + 1e-5)).all()


@pytest.mark.parametrize(
    "settings, error, words",
    [
        (dict(radius=0), ValueError, "radius"),
        (dict(radius=-1), ValueError, "radius"),
        (dict(radius=float("nan")), ValueError, "radius"),
        (dict(radius=float("inf")), ValueError, "radius"),
        (dict(n_points=0), ValueError, "at least 1"),
        (dict(n_points=2.5), TypeError, "int"),
        (dict(search_steps=-1), ValueError, "at least 0"),
        (dict(radius_unit="linf"), ValueError, "rms"),
        (dict(aggregate="sum"), ValueError, "vector"),
        (dict(closed_form=1), TypeError, "closed_form must be True or False"),
        (dict(closed_form="closed"), TypeError, "closed_form must be True or False"),
        (dict(clamp=(1, 0)), ValueError, "clamp"),
        (dict(clamp=(0, 0.1)), ValueError, "inside"),
        (dict(directions=torch.zeros(3, 6)), ValueError, "(20, 6)"),
        (dict(seed="a"), TypeError, "seed"),
        (dict(radius="0.1"), TypeError, "radius"),
        (dict(radius=None), TypeError, "radius"),
        (dict(radius=True), TypeError, "radius"),
        (dict(clamp=1), TypeError, "two numbers"),
        (dict(clamp=(0, 1, 2)), TypeError, "two numbers"),
        (dict(clamp="ab"), TypeError, "two numbers"),
        (dict(clamp=(torch.zeros(2), torch.ones(2))), TypeError, "clamp"),
        (dict(clamp=(float("nan"), 2)), ValueError, "clamp"),
        (dict(clamp=(0, None)), TypeError, "clamp"),
        (dict(n_points=2, directions=torch.eye(6)[:2] * 0), ValueError, "directions [0, 1] are zero"),
        (dict(n_points=2, directions="up"), TypeError, "directions"),
        (
            dict(n_points=2, directions=torch.stack([torch.ones(6), torch.zeros(6)])),
            ValueError,
            "directions [1] are zero",
        ),
        (dict(n_points=1, directions=torch.full((1, 6), float("nan"))), ValueError, "directions"),
        (dict(n_points=1, directions=[[0.0] * 6]), ValueError, "directions [0]"),
        (dict(search_steps=1.0), TypeError, "search_steps"),
        (dict(seed=1.5), TypeError, "seed"),
        (dict(seed=2**70), ValueError, "seed"),
    ],
)
def test_wrong_settings(settings, error, words):
    with pytest.raises(error) as caught:
        NeFLAG(mlp()).attribute(torch.ones(2, 6), target=0, **settings)
    assert words in str(caught.value)


def test_gradient_that_is_not_finite_is_reported():
    with pytest.raises(ValueError, match="(gradient|score).*example"):
        NeFLAG(lambda y: (y - 1).clamp(max=0).sqrt().sum(1)).attribute(torch.zeros(1, 3))


def test_breast_cancer_table():
    datasets = pytest.importorskip("sklearn.datasets")
    data = datasets.load_breast_cancer()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    y = torch.tensor(data.target)
    net = mlp(30, 2)
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    net.eval()
    assert (net(x).argmax(1) == y).float().mean() > 0.95
    attribution = NeFLAG(net).attribute(x[:50], target=y[:50])
    assert attribution.shape == (50, 30) and torch.isfinite(attribution).all() and (attribution.sum(1) > 0).all()


def test_directions_as_a_list_of_numbers():
    net, x = mlp(), numbers(2, 6)
    given = NeFLAG(net).attribute(x, target=0, n_points=2, directions=[[1.0, 0, 0, 0, 0, 0], [0.0, 2, 0, 0, 0, 0]])
    assert torch.equal(given, NeFLAG(net).attribute(x, target=0, n_points=2, directions=torch.eye(6)[:2]))


@pytest.mark.parametrize("dtype, told", [(torch.bfloat16, True), (torch.float32, False)])
def test_points_that_round_back_are_said(dtype, told):
    "0.1 spread over 3 x 32 x 32 pixels is 0.002 each, less than bfloat16 can add to 0.7"
    net, x = convolutional().to(dtype), torch.full((2, 3, 32, 32), 0.7, dtype=dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        NeFLAG(net).attribute(x, target=0, n_points=2)
    rounded = [str(w.message) for w in caught if "round back" in str(w.message)]
    assert len(rounded) == told and all("bfloat16" in m and "2 of 2 examples (0, 1)" in m for m in rounded)


def test_points_that_round_back_far_from_zero_are_said():
    with pytest.warns(UserWarning, match="round back"):
        NeFLAG(lambda y: y.sum(1)).attribute(torch.full((1, 100), 1e7))


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_a_class_that_is_ruled_out_is_said(chunk):
    def sure(x):
        return torch.stack([10 + x[:, 0], x[:, 1], x.sum(1)], 1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        NeFLAG(sure).attribute(numbers(5, 6), target=[0, 0, 1, 0, 2], n_points=3, internal_batch_size=chunk)
    assert ["2 of 5 examples (2, 4)" in str(w.message) for w in caught] == [True]


def test_attributions_that_overflow_are_refused():
    with pytest.raises(ValueError, match="attribution.* NaN or infinity"):
        NeFLAG(lambda y: 300 * (200 * y).sin().sum(1)).attribute(torch.ones(1, 4, dtype=torch.float16), radius=10.0)


def test_in_place_operations_on_the_input():
    net, x = torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(4, 2)).eval(), numbers(3, 4)
    before = x.clone()
    attribution = NeFLAG(net).attribute(x, target=1)
    assert torch.equal(x, before)
    assert_close(attribution, NeFLAG(torch.nn.Sequential(torch.nn.ReLU(), net[1])).attribute(x, target=1))


def test_a_clamped_point_counts_with_the_way_that_is_left():
    x, weights = torch.ones(1, 4), torch.tensor([1.0, -1.0, 2.0, -2.0])
    way = (x - 0.1 * weights / weights.norm()).clamp(0, 1) - x  # nothing is left above 1
    found = NeFLAG(lambda x: x @ weights).attribute(x, n_points=3, radius=0.1, clamp=(0.0, 1.0))
    assert_close(found, -weights * way)
    assert found[0, 1] == found[0, 3] == 0


def kappa(d):
    return math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)


@settings(max_examples=20, deadline=None)
@given(
    features=st.integers(1, 40),
    batch=st.integers(1, 4),
    n_points=st.integers(1, 5),
    seed=st.integers(0, 1000),
    radius=st.floats(1e-3, 10),
    unit=st.sampled_from(["l2", "rms"]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    chunk=st.integers(1, 20),
)
def test_closed_form_is_exact_for_a_linear_score(features, batch, n_points, seed, radius, unit, dtype, chunk):
    w, x = numbers(features, seed=seed + 1, dtype=dtype), numbers(batch, features, seed=seed, dtype=dtype)
    length = radius * (math.sqrt(features) if unit == "rms" else 1)
    settings = dict(n_points=n_points, radius=radius, radius_unit=unit, seed=seed, internal_batch_size=chunk)
    settings |= dict(closed_form=True)
    feature, found = NeFLAG(lambda y: y @ w).attribute(x, return_flux=True, **settings)
    vector = NeFLAG(lambda y: y @ w).attribute(x, aggregate="vector", **settings)
    expected = length * kappa(features) / 2 * w**2 / w.norm()
    close = dict(rtol=1e-10, atol=1e-14) if dtype == torch.float64 else dict(rtol=2e-4, atol=2e-6 * length)
    assert feature.dtype == vector.dtype == dtype
    assert_close(feature, expected.expand(batch, features), **close)
    assert_close(vector, (w / (2 * features)).expand(batch, features), rtol=1e-4, atol=1e-6)
    assert found.gradient_evaluations == batch * n_points and (found.steps == 0).all()


@pytest.mark.parametrize("aggregate", ["feature", "vector"])
def test_closed_form_by_hand_alone_and_in_a_batch(aggregate):
    "One gradient per point, at the places where the starts are"
    net, x, target = CountingForward(mlp(smooth=True).double()), numbers(3, 6, dtype=torch.float64), [0, 1, 2]
    starts = numbers(4, 6, seed=2, dtype=torch.float64)
    settings = dict(n_points=4, directions=starts, radius=0.7, closed_form=True, aggregate=aggregate)
    together, found = NeFLAG(net).attribute(x, target=target, return_flux=True, **settings)
    assert net.gradient_rows == found.gradient_evaluations == 12 and found.hits.tolist() == [4, 4, 4]
    u = starts / starts.norm(dim=1, keepdim=True)
    for i, t in enumerate(target):
        F = torch.stack([torch.func.grad(lambda y, t=t: net(y[None])[0, t])(x[i] + 0.7 * v) for v in u])
        size = F.norm(dim=1, keepdim=True)
        expected = (0.7 * kappa(6) / 2 * F**2 / size if aggregate == "feature" else F / 12).mean(0)
        assert_close(together[i], expected)
        assert_close(found.flux[i], -kappa(6) / 2 * size[:, 0])
        assert_close(found.points[i], x[i] + 0.7 * u)
        alone = NeFLAG(net).attribute(x[i : i + 1], target=t, **settings)
        assert_close(alone[0], together[i])
    if aggregate == "feature":
        assert_close(together.sum(1), -0.7 * found.flux.mean(1))


def test_the_surface_integral_comes_near_the_closed_form_in_many_dimensions():
    "Networks of a given width: the two sums differ by a curvature that falls with the square root of the dimension"
    apart = {}
    for d in (16, 64, 256):
        W, b = numbers(8, d, seed=3, dtype=torch.float64) / math.sqrt(d), numbers(8, seed=5, dtype=torch.float64)

        def f(y, W=W, b=b):
            return torch.nn.functional.softplus(y @ W.T + b, beta=3).sum(1)

        x, u = torch.zeros(1, d, dtype=torch.float64), numbers(4000, d, seed=7, dtype=torch.float64)
        settings = dict(n_points=8000, directions=torch.cat([u, -u]), radius=1.0)
        integral = NeFLAG(f).attribute(x, search_steps=0, **settings)
        closed = NeFLAG(f).attribute(x, closed_form=True, **settings)
        g = torch.func.grad(lambda y, f=f: f(y[None])[0])(x[0])
        on = (3 * b).sigmoid()
        tau = ((3 * on * (1 - on)) @ W.square().sum(1) / (math.sqrt(d) * g.norm())).item()
        normal, tail = math.exp(-(tau**2) / 2), 0.5 * math.erfc(tau / math.sqrt(2))
        apart[d] = 1 - (integral.sum() / closed.sum()).item()
        assert abs(apart[d] - (1 - normal + math.sqrt(2 * math.pi) * tau * tail)) < 0.04
    assert apart[16] > 1.5 * apart[64] > 2.2 * apart[256] > 0


def test_closed_form_of_images_and_of_two_inputs_in_half_precision():
    net, x = convolutional(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = NeFLAG(net).attribute(x, target=0, closed_form=True, radius=5.0)
    for dtype, tolerance in ((torch.bfloat16, 0.15), (torch.float16, 0.03)):
        coarse = NeFLAG(convolutional().to(dtype)).attribute(x.to(dtype), target=0, closed_form=True, radius=5.0)
        assert coarse.dtype == dtype
        assert_close(coarse.float(), exact, rtol=tolerance, atol=tolerance * exact.max().item())
    model, a, b = seeded(TwoInputs).double(), numbers(3, 4).double(), numbers(3, 2, 3).double()
    scale = torch.ones(3, dtype=torch.float64)
    one, two = NeFLAG(model).attribute((a, b), 1, scale, closed_form=True)
    flat = NeFLAG(lambda y, s: model(y[:, :4], y[:, 4:].reshape(-1, 2, 3), s)).attribute(
        torch.cat([a, b.flatten(1)], 1), 1, scale, closed_form=True
    )
    assert_close(torch.cat([one, two.flatten(1)], 1), flat)


def test_closed_form_where_the_gradient_is_zero():
    with pytest.warns(UserWarning, match="gradient is zero"):
        attribution, found = NeFLAG(lambda y: (y * 0).sum(1)).attribute(
            torch.ones(2, 3), closed_form=True, return_flux=True
        )
    assert attribution.abs().max() == 0 and found.hits.tolist() == [0, 0]


def test_closed_form_by_name():
    "As the benchmark and the command line write it"
    net, x = convolutional(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    method = method_of("neflag(closed_form=True, n_points=3)")
    found = run_method(method, ScoredModel(net, "logit"), x, torch.tensor([0, 1]))
    assert_close(found, NeFLAG(net).attribute(x, target=torch.tensor([0, 1]), closed_form=True, n_points=3))
