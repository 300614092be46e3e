"""The budget of gradients of the variational path, what Ctrl-C leaves, and what a bar tells: counts, no times"""

import pytest
import torch
import torchvision
from models import mlp, numbers
from torch import nn
from torch.testing import assert_close

from attrnb import geodesic
from attrnb.core import ClassScore, heard_warnings
from attrnb.geodesic import GeodesicIGSVI, GeodesicIGVersions, PathFamily, PathSearch, PublishedGeodesicIG
from attrnb.geodesic import path as path_room
from attrnb.samples import half_moons, half_moons_model

TABLE, X = mlp(smooth=True), numbers(4, 6)
SEARCHED = PathSearch(return_if_interrupted=True)
LONG = dict(rounds=0, max_iterations=60, relaxation_tolerance=0.0, integral_tolerance=None)  # one long relaxation


def photograph_net():
    "A small network for pictures of 224 pixels"
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 7, 4), nn.Softplus(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 5)
    return nn.Sequential(*layers).eval()


PHOTOGRAPHS = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


class Once(torch.autograd.Function):
    "The identity, differentiable once"

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g


class Counted(nn.Module):
    "A model that counts the rows whose first gradient is taken, and may be interrupted at one of its calls"

    def __init__(self, model, stop=()):
        super().__init__()
        self.model, self.stop, self.rows, self.calls = model, stop, 0, 0

    def forward(self, x):
        self.calls += 1
        if self.calls in self.stop:
            raise KeyboardInterrupt
        output = self.model(x)
        if output.requires_grad and x.requires_grad:
            output.register_hook(lambda g: setattr(self, "rows", self.rows + len(g)))
        return output


def explained(model, x=X, search=PathSearch(), family=None, **settings):
    "The model that counted, attributions, paths and what was said"
    counted = Counted(model).eval() if not isinstance(model, Counted) else model
    method = GeodesicIGSVI(counted, search=search, family=family)
    with heard_warnings() as told:
        found, paths = method.attribute(x, target=1, return_paths=True, **settings)
    return counted, found, paths, told


@pytest.fixture(scope="module")
def free():
    "Without a limit"
    return explained(TABLE)


@pytest.mark.parametrize("x", [PHOTOGRAPHS[:1], PHOTOGRAPHS])
def test_a_photograph_takes_at_most_three_hundred_gradients_by_default(x):
    counted, _, paths, told = explained(photograph_net(), x)
    _, _, straight, _ = explained(photograph_net(), x, rounds=0, max_iterations=0)
    assert counted.rows == paths.gradient_evaluations <= 300 * len(x)
    assert paths.unfinished.all() and (paths.length < straight.length).all()
    assert sum("the budget of 300 gradients per example ended the search" in message for message in told) == 1


@pytest.mark.parametrize("limit", [48, 60, 300, 1200, 3000])
@pytest.mark.parametrize("way", ["exact", "differences"])
def test_a_budget_is_never_overdrawn(limit, way, free):
    model = TABLE if way == "exact" else nn.Sequential(Rough(), TABLE)
    counted, found, paths, told = explained(model, max_gradients=limit)
    straight = explained(TABLE, rounds=0, max_iterations=0)[2]
    assert counted.rows == paths.gradient_evaluations <= limit * len(X)
    assert (paths.length <= straight.length * (1 + 1e-3)).all()
    assert paths.unfinished.all() and any(f"the budget of {limit} gradients" in message for message in told)
    assert_close(found.sum(1), paths.change, atol=1e-3, rtol=0.05)
    if limit == 3000 and way == "exact":
        assert_close(paths.length, free[2].length, rtol=0.01, atol=0)


class Rough(nn.Module):
    def forward(self, x):
        return Once.apply(x)


@pytest.mark.parametrize("limit", [60, 300, 1200])
def test_each_example_has_a_budget_of_its_own(limit):
    x, model = X.double(), mlp(smooth=True).double()
    _, together, paths, _ = explained(model, x, max_gradients=limit)
    for i in range(len(x)):
        counted, alone, path, _ = explained(model, x[i : i + 1], max_gradients=limit)
        assert counted.rows <= limit
        assert_close(alone[0], together[i], atol=1e-6, rtol=1e-4)
        assert path.unfinished[0] == paths.unfinished[i]


def test_small_inputs_and_the_published_procedure_have_no_limit(free):
    counted, found, paths, told = explained(TABLE, max_gradients=None)
    assert torch.equal(found, free[1]) and counted.rows == free[0].rows > 300 * len(X)
    assert not paths.unfinished.any() and not any("budget" in message for message in told)
    for method in (PublishedGeodesicIG, GeodesicIGVersions):
        assert "max_gradients" not in method.attribute.__annotations__


def test_a_budget_that_is_large_enough_changes_nothing():
    "But for the tolerance, to which the candidates' integrals are resolved without a budget"
    settings = dict(integral_tolerance=None)
    _, found, paths, told = explained(TABLE, max_gradients=100_000, **settings)
    _, expected, free, _ = explained(TABLE, max_gradients=None, **settings)
    assert not paths.unfinished.any() and not any("budget" in message for message in told)
    assert_close(paths.length, free.length, rtol=1e-3, atol=0)
    assert paths.gradient_evaluations <= free.gradient_evaluations + 4 * len(X)  # the look at the slopes


@pytest.mark.parametrize("wrong, error", [(0, ValueError), (47, ValueError), (1.5, TypeError), ("many", TypeError)])
def test_wrong_budgets(wrong, error):
    with pytest.raises(error, match="max_gradients"):
        GeodesicIGSVI(TABLE).attribute(X, target=1, max_gradients=wrong)


@pytest.mark.parametrize("limit, fitted", [(1000, False), (8000, True)])
def test_a_family_within_a_budget(limit, fitted):
    counted, _, paths, told = explained(TABLE, family=PathFamily(n_samples=4), max_gradients=limit)
    assert counted.rows == paths.gradient_evaluations <= limit * len(X)
    assert (paths.spread is not None) == fitted
    assert any("There is no spread" in message for message in told) != fitted


def test_what_there_is_at_ctrl_c_is_returned():
    whole = explained(Counted(TABLE))
    straight = explained(TABLE, rounds=0, max_iterations=0)[2]
    calls, lengths = whole[0].calls, []
    for k in range(12, calls, max(1, calls // 12)):
        model = Counted(TABLE, stop={k}).train()  # a mode that has to be left as it was
        try:
            _, found, paths, told = explained(model, search=SEARCHED)
            assert all(m.training for m in model.modules())
        finally:
            TABLE.eval()
        assert (paths.length <= straight.length * (1 + 1e-4)).all() and torch.isfinite(found).all()
        assert_close(found.sum(1), paths.change, atol=2e-3, rtol=0.02)
        assert paths.unfinished.any() == any("Ctrl-C ended the search" in message for message in told)
        assert model.calls < calls + 8 and all(p.grad is None for p in model.parameters())
        assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
        lengths.append(paths.length.sum().item())
    assert lengths[0] > lengths[-1] and lengths[-1] <= 1.001 * whole[2].length.sum()


def test_a_relaxation_that_is_interrupted_leaves_what_it_has():
    "Relaxed only, so that all there is comes from the middle of a relaxation"
    straight = explained(TABLE, **LONG | dict(max_iterations=0))[2]
    whole = explained(Counted(TABLE), **LONG)
    assert whole[0].calls > 30
    _, _, paths, _ = explained(Counted(TABLE, stop={20}), search=SEARCHED, **LONG)
    assert (paths.length < straight.length).all() and paths.unfinished.all()


def test_ctrl_c_ends_the_call_unless_it_was_asked_for():
    model = Counted(TABLE, stop={20}).eval()
    with pytest.raises(KeyboardInterrupt) as stopped:
        GeodesicIGSVI(model).attribute(X, target=1)
    assert any(
        "return_if_interrupted" in note for note in getattr(stopped.value, "__notes__", ["return_if_interrupted"])
    )
    assert model.calls == 20
    twice = Counted(TABLE, stop={20, 21})  # the second one goes through, whatever was asked for
    with pytest.raises(KeyboardInterrupt):
        explained(twice, search=SEARCHED, **LONG)
    with pytest.raises(KeyboardInterrupt):  # nothing is there yet
        explained(Counted(TABLE, stop={1}), search=SEARCHED)


def test_a_benchmark_stops_at_ctrl_c():
    from attrnb.methods import attribute

    with pytest.raises(KeyboardInterrupt):
        attribute("geodesic", Counted(TABLE, stop={8}).eval(), X, 1)


@pytest.mark.parametrize("limit", [300, None])
def test_the_bar_counts_gradients(limit, monkeypatch):
    bars = []

    class Bar(geodesic.path.tqdm):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            bars.append(self)

    monkeypatch.setattr(geodesic.path, "tqdm", Bar)
    _, _, paths, _ = explained(TABLE, max_gradients=limit, show_progress=True)
    (bar,) = bars
    assert bar.n == paths.gradient_evaluations
    assert bar.total == 300 * len(X) if limit else bar.total > 0.5 * bar.n


class Wrong(torch.autograd.Function):
    "tanh, whose second derivative is wrong and says nothing"

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0].detach().tanh() ** 2)


@pytest.mark.parametrize("limit", [170, 200])
def test_looking_twice_whether_autograd_is_right_is_paid(limit):
    counted, _, paths, _ = explained(lambda x: TABLE(Wrong.apply(3 * x)), X[:1], max_gradients=limit, rounds=0)
    assert counted.rows == paths.gradient_evaluations <= limit


def test_rows_that_a_family_cannot_use_are_the_searchs():
    counted, _, paths, _ = explained(TABLE, X[:1], max_gradients=300, family=PathFamily())
    _, _, alone, _ = explained(TABLE, X[:1], max_gradients=300)
    assert paths.spread is None and counted.rows <= 300
    assert_close(paths.length, alone.length)


def test_the_first_example_pays_for_the_look(monkeypatch):
    "The others are charged what they took, and none more than it has"
    budgets, made = [], path_room._budget_of
    monkeypatch.setattr(path_room, "_budget_of", lambda *given: budgets.append(made(*given)) or budgets[-1])
    counted, *_ = explained(lambda x: TABLE(Wrong.apply(3 * x)), X[:3], max_gradients=260, rounds=0)
    (budget,) = budgets
    assert counted.rows == int(budget.spent.sum()) and int(budget.spent.max()) <= 260
    assert budget.spent[0] > budget.spent[1] == budget.spent[2]


def test_a_larger_budget_is_never_less_for_the_search():
    lengths = []
    for limit in (400, 431, 432, 500, 648, 1000, 1200, 1500):
        counted, _, paths, _ = explained(TABLE, X[:1], max_gradients=limit)
        assert counted.rows <= limit
        lengths.append(float(paths.length))
    assert all(later <= 1.001 * before for before, later in zip(lengths, lengths[1:], strict=False)), lengths


def test_what_is_too_little_for_a_whole_cloud_buys_a_smaller_one():
    "Across a ridge a thousand gradients were left unspent, and the paths six times as long as the change"
    points, labels = half_moons(600, noise=0.15, seed=2)
    moons = half_moons_model(points, labels, seed=2, activation="softplus")
    method, x = GeodesicIGSVI(ClassScore(moons, of="log_probability")), points[:12]
    longer, taken = [], []
    for limit in (400, 1000):
        with heard_warnings():
            how = dict(max_gradients=limit, return_paths=True)
            _, paths = method.attribute(x, torch.tensor([[-0.5, -0.5]]), moons(x).argmax(1), **how)
        longer.append(float(paths.length.sum() / paths.change.abs().sum()))
        taken.append(paths.gradient_evaluations / len(x))
    assert longer[0] > 3 and longer[1] < 1.5 and taken[0] <= 400 and taken[1] <= 1000, (longer, taken)


def test_a_deep_network_keeps_a_small_budget_and_stops_at_ctrl_c():
    "ResNet-50 with 32 pixels, which did not end in five minutes before there were budgets; 224: benchmarks/budget.py"
    torch.manual_seed(0)
    net, x = torchvision.models.resnet50(weights=None, num_classes=10).eval(), PHOTOGRAPHS[:1, :, :32, :32]
    how = dict(max_gradients=100, n_segments=4)
    counted, found, paths, told = explained(net, x, **how)
    assert counted.rows == paths.gradient_evaluations <= 100 and paths.unfinished.all()
    assert_close(found.sum((1, 2, 3)), paths.change, rtol=1e-3, atol=1e-4)
    assert any("the budget of 100 gradients per example" in message for message in told)
    stopped, found, paths, told = explained(Counted(net, stop={counted.calls - 1}).eval(), x, SEARCHED, **how)
    assert stopped.rows <= counted.rows and any("Ctrl-C ended" in message for message in told)
    assert_close(found.sum((1, 2, 3)), paths.change, rtol=1e-3, atol=1e-4)
