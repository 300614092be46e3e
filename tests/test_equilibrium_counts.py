"""What a call of Attribution Equilibrium runs and holds: products counted, bytes counted, nothing timed"""

import importlib
import sys
from collections import Counter

import pytest
import torch
import torchvision
from house import ROOT
from models import numbers, seeded
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from attrnb.core import without_probe
from attrnb.equilibrium import AttributionEquilibrium, equilibrium_rule
from attrnb.equilibrium.modules import _Functions
from attrnb.equilibrium.operations import rearrange
from attrnb.equilibrium.tape import Tape

aten = torch.ops.aten


class Products(TorchDispatchMode):
    "Rows that pass each convolution, forward and backward, by the shape of its weight; calls of other operators"

    def __init__(self):
        super().__init__()
        self.forward, self.backward, self.calls, self.multiplications = {}, {}, Counter(), Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result, kind = operation(*args, **(kwargs or {})), operation._overloadpacket
        self.calls[kind] += 1
        if kind is aten.convolution:
            self.forward.setdefault(tuple(args[1].shape), []).append(len(args[0]))
            self.multiplications[kind] += result.numel() * args[1][0].numel()
        if kind is aten.convolution_backward:
            assert args[-1][1] is False  # no gradient of a weight
            self.backward.setdefault(tuple(args[2].shape), []).append(len(args[0]))
            self.multiplications[kind] += args[0].numel() * args[2][0].numel()
        return result


@pytest.fixture
def speed(monkeypatch):
    "benchmarks/speed.py, which counts the bytes that a call holds"
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "speed", raising=False)
    return importlib.import_module("speed")


def plain(net, x):
    "A pass and the gradient of its input"
    z = x.clone().requires_grad_()
    return torch.autograd.grad(net(z)[:, 0].sum(), z)[0]


def layers():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2), nn.ReLU(),
        nn.Conv2d(24, 70, 1), nn.ReLU(),
        nn.Conv2d(70, 20, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 3),
    ).eval()  # fmt: skip


def test_two_forward_and_three_transposed_products_for_a_hidden_layer():
    net, x, n = seeded(layers), numbers(5, 3, 16, 16), 5
    method = AttributionEquilibrium(net)
    with Products() as found:
        method.attribute(x, target=0)
    first, *hidden = (tuple(m.weight.shape) for m in net if isinstance(m, nn.Conv2d))
    assert found.forward[first] == [1, n, n, 1, 1]  # probe; recorded; again; twice a picture of ones
    assert found.backward == {(8, 6, 3, 3): [n]} | {shape: [3 * n] for shape in hidden}  # both signs side by side
    for shape in hidden:
        few = shape[1] * shape[2] * shape[3] < 64
        assert found.forward[shape] == [1, n, (3 if few else 2) * n]
        assert found.forward.get((shape[0], 1, *shape[2:]), []) == ([] if few else [1])  # of ones
    assert found.calls[aten.max_pool2d_with_indices] == 2  # probe and recording
    assert found.calls[aten.max_pool2d_with_indices_backward] == 1


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_three_times_the_products_of_a_pass_and_its_gradient(name):
    net = seeded(lambda: getattr(torchvision.models, name)(weights=None).eval())
    x = numbers(4, 3, 64, 64)
    with Products() as floor:
        plain(net, x)
    with Products() as ours, without_probe():
        AttributionEquilibrium(net).attribute(x, target=0)
    assert ours.multiplications.total() < 3.02 * floor.multiplications.total()
    assert ours.multiplications.total() > 2.5 * floor.multiplications.total()  # nothing went uncounted
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    beside = sum(len(b) for name, b in net.named_modules() if name.endswith("downsample")) // 2
    assert sum(map(len, ours.backward.values())) == len(convolutions) - beside  # one call for each on the way


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_no_more_memory_than_a_pass_and_its_gradient(name, speed):
    net, x = seeded(lambda: getattr(torchvision.models, name)(weights=None).eval()), numbers(8, 3, 96, 96)
    with speed.LiveBytes() as floor:
        plain(net, x)
    method = AttributionEquilibrium(net)
    with speed.LiveBytes() as together:
        method.attribute(x, target=0, internal_batch_size=8)
    assert together.most < 1.01 * floor.most
    with speed.LiveBytes() as pairs:
        method.attribute(x, target=0, internal_batch_size=2)
    assert pairs.most < 0.5 * floor.most  # the sizes of one layer's weights among them


@pytest.mark.parametrize("thin", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.6, 0.98, 1.0])
def test_a_product_had_by_subtraction_keeps_its_digits(thin, share):
    generator = torch.Generator().manual_seed(int(100 * share))
    X = torch.rand(6, 40, 12, 12, generator=generator)
    X[torch.rand(X.shape, generator=generator) > share] *= -1
    X[3], X[4, :, :6] = X[3].abs(), -X[4, :, :6].abs()  # everything active, and half a picture with nothing
    X[3, 5, 4, 4] = -1.0  # but for one neuron
    W, R = torch.rand(10, 40, 3, 3, generator=generator), torch.randn(6, 10, 12, 12, generator=generator)
    W[:, 5] *= 1e-4

    def tools(W):
        like = torch.empty(1, dtype=W.dtype)
        geometry = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
        return (
            lambda x: F.conv2d(x, W, padding=1),
            lambda s: aten.convolution_backward(
                s, like.expand(len(s), 40, 12, 12), W, None, *geometry, [True, False, False]
            )[0],
        )

    exact = equilibrium_rule(X.double(), R.double(), *tools(W.double()), 2.0, thin)
    whole = F.conv2d(torch.ones(1, 1, 12, 12), W.sum(1, keepdim=True), padding=1)
    full = equilibrium_rule(X, R, *tools(W), 2.0, thin)
    fewer = equilibrium_rule(X, R, *tools(W), 2.0, thin, rows=True, whole=whole)
    for a, e in zip(fewer, exact):
        assert_close(a.double(), e, rtol=1e-5, atol=2e-6 * e.abs().max().item())
    assert_close(fewer, full, rtol=1e-5, atol=2e-6 * full.abs().max().item())


@pytest.mark.parametrize("kind", [nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d])
@pytest.mark.parametrize("how", [dict(), dict(stride=1, padding=1), dict(ceil_mode=True), dict(dilation=2)])
def test_a_maximum_is_sent_back_to_where_the_recorded_run_found_it(kind, how):
    d = int(kind.__name__[7])
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[d - 1]
    net = seeded(
        lambda: nn.Sequential(
            convolution(2, 4, 3), nn.ReLU(), kind(3, **how), convolution(4, 5, 1), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1) if d == 1 else nn.Identity(), nn.Flatten(), nn.LazyLinear(2),
        ).eval()
    )  # fmt: skip
    x = numbers(2, 2, *(10,) * d)
    net(x)
    method = AttributionEquilibrium(net)
    again = {operation: rearrange for operation in (aten.max_pool2d_with_indices, aten.max_pool3d_with_indices)}
    assert_close(method.attribute(x, target=0), method.attribute(x, target=0, rules=again), rtol=0, atol=0)


class Spoils(nn.Module):
    "Writes over the places that a maximum found"

    def __init__(self, spoils: bool):
        super().__init__()
        self.spoils, self.a, self.b, self.head = spoils, nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        h, places = F.max_pool2d(self.a(x).relu(), 2, return_indices=True)
        if self.spoils:
            places.zero_()
        return self.head(self.b(h).relu().mean((2, 3)))


def test_places_that_a_model_writes_over_are_kept():
    x = numbers(2, 3, 8, 8)
    found = [AttributionEquilibrium(seeded(lambda s=s: Spoils(s).eval())).attribute(x, target=0) for s in (False, True)]
    assert_close(*found, rtol=0, atol=0)
    assert found[0].abs().sum() > 0


class Summands(nn.Module):
    "A map of classes that is the sum of two start layers"

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Conv2d(8, 4, 3)
        self.one, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        h = self.stem(x).relu()
        return self.one(self.left(h)) + self.other(self.right(h))


def test_a_start_layer_among_summands_is_kept_in_a_second_run():
    net, x = seeded(lambda: Summands().eval()), numbers(3, 3, 10, 10)
    found = {}
    for layer in (None, ["one", "other"]):
        with Products() as counted:
            found[str(layer)] = AttributionEquilibrium(net, layer=layer).attribute(x, target=(1, 2, 2))
        assert counted.forward[8, 3, 3, 3][: 3 if layer is None else 2] == ([1, 3, 3] if layer is None else [1, 3])
    assert_close(*found.values(), rtol=0, atol=0)
    assert found["None"].abs().sum() > 0


def test_the_benchmark_counts_what_is_made_and_no_views_of_weights(speed):
    weight = torch.ones(1000)
    assert speed.most_bytes(lambda: weight.detach()[:10].view(2, 5)) == 0
    assert speed.most_bytes(lambda: (weight + 1).sum()) == 4004


def counted(monkeypatch, place, name, about):
    "How often a method of a class is called, by what `about` says of the call"
    found, plain = Counter(), getattr(place, name)

    def counts(*args, **kwargs):
        found[about(*args)] += 1
        return plain(*args, **kwargs)

    monkeypatch.setattr(place, name, counts)
    return found


def test_what_the_recording_asks_of_tensors_is_no_call_of_the_users_code(monkeypatch):
    net, x = seeded(layers), numbers(2, 3, 16, 16)
    kinds = {module.__qualname__ for module in (torch.Tensor.stride, torch.Tensor.untyped_storage)}
    found = counted(monkeypatch, _Functions, "__torch_function__", lambda self, function, *rest: function)
    AttributionEquilibrium(net).attribute(x, target=0)
    assert found[F.relu] == 5 and found[torch.conv2d] == 5
    assert not kinds & {getattr(function, "__qualname__", "") for function in found} and found.total() < 20


def test_the_value_of_an_argument_is_looked_for_once(monkeypatch):
    net, x = seeded(layers), numbers(2, 3, 16, 16)
    found = counted(monkeypatch, Tape, "value_of", lambda *_: "looked for")
    with Products() as made, without_probe():
        AttributionEquilibrium(net).attribute(x, target=0)
    assert made.calls[aten.relu] == 5
    assert 40 < found.total() < 75
