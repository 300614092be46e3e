"""Memory is bounded by what a network holds, not by its inputs: also where paths are moved, layers begin, examples are
recorded; and where it runs out, all of them go on with fewer rows
"""

import sys
import warnings
from pathlib import Path

import pytest
import torch
from models import mlp, numbers, seeded
from torch import nn
from torch.testing import assert_close

from attrnb.core import CountingForward
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.geodesic import GeodesicIGSVI, PublishedGeodesicIG
from attrnb.measures import MEASURES, Case
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import speed  # noqa: E402


class Limited(nn.Module):
    "Has no memory for more rows than `most`"

    def __init__(self, net, most):
        super().__init__()
        self.net, self.most = net, most
        self.eval()

    def forward(self, x):
        if len(x) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return self.net(x)


def memory_warnings(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    return found, [str(w.message) for w in caught if "memory ran out" in str(w.message)]


def short_svi(model):
    return lambda x: GeodesicIGSVI(model).attribute(
        x[:4], target=0, n_segments=6, rounds=1, n_points=3, max_iterations=1, integral_tolerance=None
    )


def few_steps(model):
    return lambda x: PublishedGeodesicIG(model).attribute(x[:4], target=0, n_steps=12, num_iterations=1)


@pytest.mark.parametrize("method", [short_svi, few_steps])
@pytest.mark.filterwarnings("ignore:the attributions don't add up", "ignore:.*score can't be differentiated twice")
def test_second_derivatives_of_a_wide_layer_are_bounded(method):
    wide = seeded(lambda: nn.Sequential(nn.Linear(3, 50_000), nn.Tanh(), nn.Linear(50_000, 2)))
    assert speed.most_bytes(lambda: method(wide)(numbers(4, 3))) < 45e6


@pytest.mark.parametrize("method", [PathIntegratedGradients, NeFLAG])
@pytest.mark.filterwarnings("ignore:the attributions don't add up", "ignore:no negative flux")
def test_activations_behind_a_wide_layer_are_bounded(method):
    wide = seeded(
        lambda: nn.Sequential(nn.Linear(3, 50_000), nn.Tanh(), nn.Linear(50_000, 4), nn.Tanh(), nn.Linear(4, 2))
    )
    assert speed.most_bytes(lambda: method(wide, layer="3").attribute(numbers(200, 3), target=1)) < 45e6


def test_examples_are_recorded_in_pieces_by_what_one_of_them_makes():
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv1d(1, 4096, 1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4096, 2)
        )
    )
    seen = []
    net[0].register_forward_hook(lambda module, given, output: seen.append(len(output)))
    x = numbers(300, 1, 16)
    found = AttributionEquilibrium(net).attribute(x, target=0)
    assert 4 < max(seen) < 300
    assert_close(found[:20], AttributionEquilibrium(net).attribute(x[:20], target=0))


@pytest.mark.parametrize("most", [1, 7, 19])
@pytest.mark.parametrize("method", [PathIntegratedGradients, NeFLAG])
def test_a_layer_is_explained_where_memory_runs_out(method, most):
    net, x = mlp(smooth=True), numbers(20, 6)
    right = method(net, layer=net[0]).attribute(x, target=1)
    found, said = memory_warnings(lambda: method(Limited(net, most), layer=net[0]).attribute(x, target=1))
    assert_close(found, right, rtol=1e-4, atol=1e-6)
    assert said


@pytest.mark.parametrize("most", [1, 7])
def test_the_published_program_goes_on_where_memory_runs_out(most):
    net, x = mlp(smooth=True), numbers(3, 6)

    def explain(model):
        return PublishedGeodesicIG(model).attribute(x, target=1, n_steps=8, num_iterations=5)

    found, said = memory_warnings(lambda: explain(Limited(net, most)))
    assert_close(found, explain(net), rtol=1e-4, atol=1e-6)
    assert said


@pytest.mark.parametrize("most", [1, 7])
def test_classes_are_looked_up_where_memory_runs_out(most):
    net, x = mlp(features=16), numbers(20, 1, 4, 4)
    masks = torch.zeros(20, 4, 4, dtype=torch.bool)
    masks[:, :2] = True

    def measured(model, rows=None):
        case = Case(
            lambda images: model(images.flatten(1)),
            x,
            x,
            [0] * 20,
            masks,
            explain=lambda images, targets, seeds: images * torch.tensor(targets).view(-1, 1, 1, 1),
            internal_batch_size=rows,
        )
        return MEASURES["class_sensitivity"].values(case)

    found, said = memory_warnings(lambda: measured(Limited(net, most)))
    assert torch.equal(found, measured(net, 3)) and len(said) == 1


def test_one_warning_says_from_how_many_rows_to_how_many():
    net, x = mlp(smooth=True), numbers(20, 6)
    counted = CountingForward(Limited(net, 7))
    found, said = memory_warnings(lambda: NeFLAG(counted).attribute(x, target=1))
    assert_close(found, NeFLAG(net).attribute(x, target=1), rtol=1e-4, atol=1e-6)
    assert len(said) == 1 and "it goes on with 7." in said[0]
