"Models that run only while nobody watches what they do, and rows that are NaN when they are alone"

import pytest
import torch
from models import mlp, numbers
from torch import nn
from torch.testing import assert_close

from attrnb.core import LayerScore, TargetScore, gradients, heard_warnings, without_probe
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI
from attrnb.methods import attribute
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients

NET, X = mlp(smooth=True), numbers(5, 6)


class Chooses(nn.Module):
    "The network, whose inputs come by way of torch.cond"

    def __init__(self):
        super().__init__()
        self.net = NET

    def forward(self, x):
        return self.net(torch.cond(torch.tensor(True), lambda x: x.clone(), lambda x: 2 * x, (x,)))


def compiled_as_one():
    "A function that holds a compiled one, which refuses what can't be made one graph"
    torch.compiler.reset()
    inner = torch.compile(lambda x: NET(x) * 1.0, backend="eager", fullgraph=True)
    return lambda x: inner(x)


def without_modules():
    "The same, with nothing inside that could be told to be a model"
    torch.compiler.reset()
    first, last = (NET[k].weight.detach().clone() for k in (0, 2))
    inner = torch.compile(lambda x: (x @ first.T).tanh() @ last.T, backend="eager", fullgraph=True)
    return lambda x: inner(x)


class Holds(nn.Module):
    "A module that holds a compiled function"

    def __init__(self):
        super().__init__()
        self.net, self.inner = NET, compiled_as_one()

    def forward(self, x):
        return self.inner(x)


MODELS = {
    "cond": lambda: Chooses().eval(),
    "closure": compiled_as_one,
    "function": without_modules,
    "module": lambda: Holds().eval(),
}
LITTLE = dict(target=1, n_segments=2, rounds=0, max_iterations=1, integral_tolerance=None)
WAYS = {
    "gradients": lambda f, x: gradients(f, x, 1),
    "scores": lambda f, x: TargetScore(f, (x,), 1).scores((x,))[:, None],
    "integrated gradients": lambda f, x: PathIntegratedGradients(f).attribute(x, target=1, n_steps=8),
    "neflag": lambda f, x: NeFLAG(f).attribute(x, target=1),
    "search": lambda f, x: GeodesicIGSVI(f).attribute(x, **LITTLE),
    "graph": lambda f, x: GeodesicIGKNN(f, numbers(6, 6, seed=3), n_neighbors=2).attribute(
        x, target=1, integral_tolerance=None
    ),
}


@pytest.fixture(scope="module")
def expected():
    "Of the networks as they are: what each way finds, and how many warnings it gives"
    first, last = NET[0].weight, NET[2].weight
    found = {}

    def of(name, way, rows):
        key = name == "function", way, rows
        if key not in found:
            plain = (lambda x: (x @ first.T).tanh() @ last.T) if name == "function" else NET
            with heard_warnings() as told:
                found[key] = WAYS[way](plain, numbers(rows, 6)), len(told)
        return found[key]

    return of


@pytest.mark.parametrize("way, rows", [(way, 5) for way in WAYS] + [("gradients", 40), ("scores", 40)])
@pytest.mark.parametrize("name", MODELS)
def test_what_cannot_be_watched_is_explained_all_the_same(name, way, rows, expected):
    "Of forty rows the first ones are counted, which is a watch, too"
    model = MODELS[name]()
    with heard_warnings() as told:
        found = WAYS[way](model, numbers(rows, 6))
    values, n_told = expected(name, way, rows)
    assert_close(found, values, atol=2e-3 if way == "search" else 1e-5, rtol=1e-3)
    assert not any("alone" in message or "no function" in message for message in told)
    assert len(told) <= n_told, told


@pytest.mark.parametrize("name", ["closure", "module"])
def test_it_is_not_compiled_anew_for_every_call(name):
    "PyTorch's limit is eight; a hook that comes and goes is a reason to compile"
    model, method = MODELS[name](), PathIntegratedGradients
    found = [method(model).attribute(X, target=1, n_steps=8) for _ in range(12)]
    assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize("name", ["guided_backprop", "deep_lift", "saliency", "occlusion"])
def test_captums_methods_run_with_torch_cond(name):
    found = attribute(name, MODELS["cond"](), X, 1)
    assert_close(found.attributions, attribute(name, NET, X, 1).attributions)


def test_a_layer_before_and_behind_what_is_compiled():
    inner = torch.compile(nn.Sequential(nn.Linear(6, 6), nn.Softplus()), backend="eager")
    net = nn.Sequential(nn.Linear(6, 6), inner, nn.Linear(6, 3)).eval()
    for k in (0, 2):
        assert LayerScore(net, net[k]) is not None
        found, delta = PathIntegratedGradients(net, layer=net[k]).attribute(X, target=1, return_convergence_delta=True)
        assert torch.isfinite(found).all() and delta.abs().max() < 1e-3


def test_equilibrium_records_what_is_compiled_and_says_why_it_cannot_record_cond():
    model = Holds().eval()
    expected = AttributionEquilibrium(NET).attribute(X, target=1)
    assert_close(AttributionEquilibrium(model).attribute(X, target=1), expected, atol=1e-6, rtol=1e-5)
    assert_close(model(X), NET(X))  # compiled again, as it was
    with pytest.raises(NotImplementedError, match="'cond', which runs functions out of sight.*if and else"):
        AttributionEquilibrium(Chooses().eval()).attribute(X, target=1)


def test_equilibrium_counts_what_many_examples_need_where_nobody_may_watch():
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
    torch.compiler.reset()
    inner = torch.compile(lambda x: 2 * x.relu(), backend="eager", fullgraph=True)

    class Pictures(nn.Module):
        def __init__(self, middle):
            super().__init__()
            self.convolution, self.linear, self.middle = convolution, linear, middle

        def forward(self, x):
            return self.linear(self.middle(self.convolution(x)).mean((2, 3)))

    x = torch.rand(40, 1, 8, 8)
    plain, compiled = (
        AttributionEquilibrium(Pictures(f).eval()).attribute(x, target=1) for f in (lambda x: 2 * x.relu(), inner)
    )
    assert_close(compiled, plain)


def fixed_size(x):
    if len(x) < 5:
        raise RuntimeError("the batch has to have five rows")
    return NET(x)


def test_what_truly_cannot_be_scored_alone_keeps_its_refusal():
    with pytest.raises(ValueError, match="can't be scored alone.*the batch has to have five rows"):
        gradients(fixed_size, X, 1)
    with without_probe():
        assert_close(gradients(fixed_size, X, 1), gradients(NET, X, 1))


class Standardised(nn.Module):
    "Divided by the deviation over the rows, which one row doesn't have"

    def __init__(self, unbiased=True):
        super().__init__()
        self.net, self.unbiased = NET, unbiased

    def forward(self, x):
        y = self.net(x)
        return (y - y.mean(0)) / y.std(0, correction=int(self.unbiased))


@pytest.mark.parametrize("way", WAYS)
def test_a_row_that_is_nan_when_it_is_alone_is_refused(way):
    with pytest.raises(ValueError, match="a row alone gives NaN.*among .* rows.*statistic over the rows"):
        WAYS[way](Standardised().eval(), X)


def test_rows_that_make_each_other_nan_are_refused():
    def worst(x):
        y = NET(x)
        return y * torch.nan if len(y) > 1 else y

    with pytest.raises(ValueError, match="rows influence each other.*nan among 5 rows"):
        TargetScore(worst, (X,), 1).scores((X,))


def test_nan_or_infinity_that_is_the_models_own_is_no_influence():
    "A class that is masked has the score -inf, and an output that nobody asks for may be NaN"

    def masked(x):
        return torch.cat([NET(x), torch.full((len(x), 1), -torch.inf)], 1)

    assert TargetScore(masked, (X,), 3).scores((X,)).isinf().all()
    assert_close(gradients(masked, X, 1), gradients(NET, X, 1))
    argument = torch.ones(6)  # its role is found by comparing outputs, which hold -inf
    assert_close(gradients(lambda x, a: masked(x * a), X, 1, (argument,)), gradients(NET, X, 1))


def test_equilibrium_notices_a_first_row_that_is_nan_alone():
    with pytest.raises(ValueError, match="a row alone gives NaN"):
        AttributionEquilibrium(Standardised().eval()).attribute(X, target=1)
