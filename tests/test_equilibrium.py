"""Attribution Equilibrium: the published program's outputs, a slow implementation of its own, the law, torchvision's
families, and wrong calls
"""

import copy
import importlib.util
import math
import pickle
import re
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import NoiseTunnel
from hypothesis import given, settings
from hypothesis import strategies as st
from models import convolutional, numbers, seeded
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from attrnb import equilibrium
from attrnb.core import ClassScore, keywords, per_example, without_probe
from attrnb.equilibrium import RULES, AttributionEquilibrium, equilibrium_rule, expected_gap, register_rule
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.samples import ShapesNet

pytestmark = [
    pytest.mark.filterwarnings("ignore:the attribution of .* zero everywhere"),
    pytest.mark.filterwarnings("ignore:the published program"),
]


def close(a, b, tolerance=1e-5):
    "Equal relative to the largest value"
    assert a.isfinite().all()
    assert_close(a, b, rtol=0, atol=tolerance * b.abs().max().item())


# the published program


@pytest.mark.parametrize(
    "name", ["tinyvgg", "tinyvgg_bn", "tinyresnet", "tinyresnet_basic", "tinydense", "tinyinception", "alexnet"]
)
def test_published_outputs(oracles, name):
    folder = oracles / "equilibrium"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("equilibrium_oracle", folder / "compare.py")
        compare = importlib.util.module_from_spec(spec)
        with warnings.catch_warnings():
            spec.loader.exec_module(compare)
        data, model = compare.load(name)
    finally:
        sys.path.remove(str(folder))
    method = AttributionEquilibrium(model, data["layer"])
    for ratio, reference in data["att"].items():
        mine = method.attribute(data["x"], target=data["target"], ratio=float(ratio), published=True)
        close(mine, reference, 1e-4)
        assert torch.corrcoef(torch.stack([mine.flatten(), reference.flatten()]))[0, 1] > 0.99999


# a slow implementation with matrices, one example at a time


def slow_rule(X, R, W, ratio, thin):
    size, x = W.abs(), X.clamp(min=0)
    result = torch.zeros_like(X)
    up, down = R.clamp(min=0).sum(), -R.clamp(max=0).sum()
    for j in range(len(R)):
        plus = R[j] / up if R[j] > 0 else 0.0
        minus = R[j] / down if R[j] < 0 else 0.0
        for part, pull in ((x, (1 if thin else ratio) * plus + minus), ((X > 0).to(X), plus), ((X <= 0).to(X), minus)):
            share = size[j] * part
            if share.sum() > 0:
                result += pull * share / share.sum()
    if not thin and up > 0:
        shared = torch.zeros_like(X)
        for j in range(len(R)):
            share = size[j] * x
            if share.sum() > 0:
                shared += (ratio * max(R[j], 0) / up + min(R[j], 0) / (down or 1)) * share / share.sum()
        if (shared != 0).any():
            result -= (shared != 0).to(X) / (shared != 0).sum()
    return result


def slow_pixels(X, R, W):
    result, low, high = torch.zeros_like(X), X.min(), X.max()
    for j in range(len(R)):
        share = W[j].clamp(min=0) * (X - low) + W[j].clamp(max=0) * (X - high)
        if share.sum() > 0:
            result += R[j] * share / share.sum()
    return result


ratios = st.floats(0, 3).map(lambda r: round(r, 6))  # none so small that a product with it underflows
geometries = st.fixed_dictionaries(
    dict(
        kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
        dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        groups=st.sampled_from([1, 2, 4]),
        padding_mode=st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]),
    )
)


@settings(max_examples=15, deadline=None)
@given(geometry=geometries, ratio=ratios, seed=st.integers(0, 1000))
def test_any_convolution_against_matrices(geometry, ratio, seed):
    first = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), seed).double()
    hidden = seeded(lambda: nn.Conv2d(4, 4, **geometry), seed + 1).double()
    head = seeded(
        lambda: nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), seed + 2
    ).double()
    net = nn.Sequential(first, hidden, head).eval()
    x = numbers(2, 3, 6, 5, seed=seed)
    mine = AttributionEquilibrium(net, layer="1").attribute(x.double(), target=1, ratio=ratio)
    for image, attribution in zip(x.double(), mine):
        X = first(image[None]).detach()
        A = hidden(X).detach().requires_grad_()
        R = A * torch.autograd.grad(head(A)[0, 1], A)[0].mean((2, 3), keepdim=True)
        matrix = torch.func.jacrev(lambda v: hidden(v.view_as(X)).flatten())(X.flatten()).detach()
        # a reflected copy shares its matrix entry with its original, so signs may cancel there
        if geometry["padding_mode"] == "zeros":
            R = slow_rule(X.flatten(), R.detach().flatten(), matrix, ratio, geometry["kernel_size"] == (1, 1)).view_as(
                X
            )
            matrix = torch.func.jacrev(lambda v: first[0](v.view(1, 3, 6, 5)).flatten())(image.flatten()).detach()
            close(attribution, slow_pixels(image.flatten(), R.flatten(), matrix).view_as(image), 1e-8)
        else:
            assert attribution.isfinite().all()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize("kernel", [3, (1, 3), (4, 2)])
def test_paddings_by_name_equal_explicit_ones(padding, kernel):
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            nn.Conv2d(4, 4, kernel, padding=padding),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2),
        )
    )
    x = numbers(2, 3, 9, 9)
    mine = AttributionEquilibrium(net, layer="5").attribute(x, target=0)
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    # one more zero on one side, which no integer says; the kernel enlarged by zeros does
    if padding == "same" and height % 2 == 0:
        explicit = nn.Conv2d(4, 4, (5, 3), padding=(2, 1))
        with torch.no_grad():
            explicit.weight.zero_()
            explicit.weight[:, :, 1:, 1:] = net[2].weight
            explicit.bias.copy_(net[2].bias)
        return close(
            AttributionEquilibrium(nn.Sequential(*net[:2], explicit, *net[3:]).eval(), layer="5").attribute(
                x, target=0
            ),
            mine,
        )
    pads = {"same": ((height - 1) // 2, (width - 1) // 2), "valid": 0, 1: 1}[padding]
    explicit = nn.Conv2d(4, 4, kernel, padding=pads)
    explicit.load_state_dict(net[2].state_dict())
    close(
        AttributionEquilibrium(nn.Sequential(*net[:2], explicit, *net[3:]).eval(), layer="5").attribute(x, target=0),
        mine,
    )


# the law


def plain_net(widths, batch_norm, pool):
    layers, before = [], 3
    for k, width in enumerate(widths):
        layers += (
            [nn.Conv2d(before, width, 3, padding=1)]
            + ([nn.BatchNorm2d(width)] if batch_norm else [])
            + [nn.ReLU(inplace=True)]
        )
        layers += [nn.MaxPool2d(2)] if pool and k == 0 else []
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 4))


class Block(nn.Module):
    def __init__(self, width, shortcut):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = nn.Conv2d(width, width, 1) if shortcut else nn.Identity()

    def forward(self, x):
        y = self.body(x)
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


def residual_net(widths, batch_norm, pool):
    width = widths[0]
    blocks = [Block(width, k % 2 == 0) for k in range(len(widths))]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        *([nn.MaxPool2d(2)] if pool else []),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 4),
    )


@settings(max_examples=20, deadline=None)
@given(
    make=st.sampled_from([plain_net, residual_net]),
    widths=st.lists(st.integers(2, 12), min_size=2, max_size=4),
    batch_norm=st.booleans(),
    pool=st.booleans(),
    ratio=ratios,
    seed=st.integers(0, 10_000),
    skip=st.sampled_from(["main", "equal"]),
)
def test_law_at_every_hidden_convolution(make, widths, batch_norm, pool, ratio, seed, skip):
    net = seeded(lambda: make(widths, batch_norm, pool), seed)
    attribution, layers = AttributionEquilibrium(net).attribute(
        numbers(2, 3, 12, 12, seed=seed), target=seed % 4, ratio=ratio, skip=skip, return_layers=True
    )
    assert attribution.isfinite().all()
    hidden = [found for found in layers.values() if found.passed_gap is not None]
    assert len(hidden) >= 1
    for found in hidden:
        assert_close(found.passed_gap, found.expected_gap, rtol=0, atol=1e-4)
    for found in layers.values():
        assert_close(found.gap, found.relevance.flatten(1).sum(1), rtol=1e-4, atol=1e-4)


@settings(max_examples=8, deadline=None)
@given(make=st.sampled_from([plain_net, residual_net]), ratio=st.floats(1, 2), seed=st.integers(0, 10_000))
def test_simple_law_where_nothing_is_missing(make, ratio, seed):
    net = seeded(lambda: make([24, 24, 24], False, False), seed)
    _, layers = AttributionEquilibrium(net).attribute(
        numbers(2, 3, 10, 10, seed=seed), target=0, ratio=ratio, return_layers=True
    )
    for found in layers.values():
        if (
            found.passed_gap is not None
            and found.operation == "Conv2d"
            and bool((found.expected_gap - (ratio - 2)).abs().max() < 1e-6)
        ):
            assert_close(found.passed_gap, torch.full((2,), ratio - 2), rtol=0, atol=1e-4)
    gaps = torch.stack([found.passed_gap - (ratio - 2) for found in layers.values() if found.passed_gap is not None])
    assert (gaps.abs() < 1e-4).float().mean() > 0.5  # the rule, not the exception


@settings(max_examples=50, deadline=None)
@given(
    inputs=st.integers(1, 8),
    outputs=st.integers(1, 8),
    ratio=ratios,
    thin=st.booleans(),
    seed=st.integers(0, 10_000),
    sign=st.sampled_from([-1, 0, 1]),
)
def test_rule_and_gap_of_one_layer(inputs, outputs, ratio, thin, seed, sign):
    X, R, W = (
        numbers(2, inputs, seed=seed, dtype=torch.float64),
        numbers(2, outputs, seed=seed + 1, dtype=torch.float64),
        numbers(outputs, inputs, seed=seed + 2, dtype=torch.float64),
    )
    R = R if sign == 0 else sign * R.abs()
    tools = (X, R, lambda x: x @ W.abs().T, lambda s: s @ W.abs(), ratio, thin)
    before = X.clone(), R.clone()
    result = equilibrium_rule(*tools)
    assert_close((X, R), before, rtol=0, atol=0)
    assert_close(result.sum(1), expected_gap(*tools), rtol=0, atol=1e-9)
    assert_close(result, torch.stack([slow_rule(x, r, W, ratio, thin) for x, r in zip(X, R)]), rtol=0, atol=1e-9)


# families


FAMILIES = {
    "vgg11": "features_19",
    "vgg11_bn": "features_27",
    "alexnet": "features_12",
    "resnet18": "layer4_1_relu_1",
    "resnext50_32x4d": "layer4_2_relu_2",
    "wide_resnet50_2": "layer4_2_relu_2",
    "densenet121": "features_norm5",
    "inception_v3": "cat_14",
    "googlenet": "cat_8",
    "squeezenet1_0": "cat_7",
    "mobilenet_v2": "features_18_2",
    "mobilenet_v3_small": "features_12_2",
    "efficientnet_b0": "features_8_2",
    "mnasnet0_5": "layers_16",
    "shufflenet_v2_x0_5": "conv5_2",
    "regnet_y_400mf": "trunk_output_block4_block4_5_activation",
    "convnext_tiny": "add_17",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision_family(name):
    settings = dict(init_weights=False) if name in ("inception_v3", "googlenet") else {}
    model = seeded(lambda: getattr(torchvision.models, name)(weights=None, **settings), 1)
    size = 80 if name == "inception_v3" else 64
    method = AttributionEquilibrium(model)
    x = numbers(1, 3, size, size)
    with torch.no_grad():
        target = model(x).argmax(1)  # not a class whose logit a ReLU cut off (SqueezeNet)
    attribution, layers = method.attribute(x, target=target, return_layers=True)
    assert attribution.shape == (1, 3, size, size) and attribution.isfinite().all()
    assert method.trace().start.name == FAMILIES[name]
    for found in layers.values():
        if found.passed_gap is not None:
            assert_close(found.passed_gap, found.expected_gap, rtol=0, atol=1e-4)
    assert (attribution != 0).any()


def test_published_and_default_differ_where_they_should():
    x = numbers(1, 3, 40, 40)
    for make, same in (
        (lambda: plain_net([6, 6], True, True), True),
        (lambda: torchvision.models.squeezenet1_1(weights=None), False),
        (lambda: torchvision.models.DenseNet(4, (2, 3), 8, 2, num_classes=4), False),
    ):
        model = seeded(make, 1)
        a, b = (AttributionEquilibrium(model).attribute(x, target=2, published=o) for o in (False, True))
        assert torch.equal(a, b) == same
    model = seeded(lambda: residual_net([6, 6], True, True), 1)
    assert_close(
        *(AttributionEquilibrium(model).attribute(x, target=2, published=o) * (1 if o else 2) for o in (False, True))
    )


# what must not matter


@pytest.mark.parametrize(
    "make", [lambda: plain_net([8, 8], True, True), lambda: residual_net([8, 8], True, True), ShapesNet]
)
def test_batch_equals_single_images_and_chunks(make):
    model = seeded(make)
    x, target = numbers(5, 3, 32, 32), [0, 1, 2, 3, 1]
    method = AttributionEquilibrium(model)
    together = method.attribute(x, target=target)
    close(torch.cat([method.attribute(x[i : i + 1], target=t) for i, t in enumerate(target)]), together)
    for size in (1, 2, 3, 100):
        close(method.attribute(x, target=target, internal_batch_size=size), together)
    parts, layers = method.attribute(x, target=target, internal_batch_size=2, return_layers=True)
    close(parts, together)
    assert all(len(found.gap) == 5 for found in layers.values())
    close(layers["input_1" if "input_1" in layers else "x" if "x" in layers else "input"].relevance, together)


class Narrow(nn.Module):
    "A network that has no room for more than two images, and notes how many it is given"

    def __init__(self, network):
        super().__init__()
        self.network, self.sizes = network, []
        self.eval()

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(x)


def test_images_are_recorded_again_in_halves_when_memory_runs_out():
    model, x, target = convolutional(), numbers(7, 3, 32, 32), [0, 1, 2, 0, 1, 2, 0]
    expected, layers = AttributionEquilibrium(model).attribute(x, target=target, return_layers=True)
    method = AttributionEquilibrium(Narrow(model))
    with pytest.warns(UserWarning, match="memory ran out with 7 rows at once; it goes on with 2"):
        found, again = method.attribute(x, target=target, return_layers=True)
    close(found, expected)
    assert (
        [len(layer.gap) for layer in again.values()]
        == [len(layer.gap) for layer in layers.values()]
        == [7] * len(layers)
    )


def test_model_is_left_as_it_was():
    model = convolutional()
    model[1].train()
    state, x = copy.deepcopy(model.state_dict()), numbers(2, 3, 16, 16)
    calls = []
    handle = model[2].register_forward_hook(lambda *_: calls.append(1))
    with pytest.warns(UserWarning, match="training mode"):
        AttributionEquilibrium(model).attribute(x, target=0)
    handle.remove()
    assert calls and model[1].training and model[2].inplace and not model[0].training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(not m._forward_hooks and not m._backward_hooks for m in model.modules())


def test_in_place_functional_and_reused_forms_agree():
    class Forms(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.a, self.b, self.c, self.kind = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 3), kind
            self.relu, self.pool = nn.ReLU(inplace=kind == "modules"), nn.MaxPool2d(2)

        def forward(self, x):
            if self.kind == "modules":  # one ReLU used three times
                h = self.pool(self.relu(self.a(x)))
                h = h + self.relu(self.b(h))
                h = self.relu(self.b(h))
                return self.c(h.mean((2, 3)))
            if self.kind == "functions":
                h = F.max_pool2d(F.relu(F.conv2d(x, self.a.weight, self.a.bias), True), 2)
                h = torch.add(h, torch.relu_(F.conv2d(h, self.b.weight, self.b.bias, padding=1)))
                h = F.relu(F.conv2d(h, self.b.weight, self.b.bias, padding=1), inplace=True)
                return F.linear(torch.flatten(F.adaptive_avg_pool2d(h, 1), 1), self.c.weight, self.c.bias)
            h = self.a(x)
            h.relu_()
            h = self.pool(h)
            h = h.add(self.b(h).relu())
            h = self.b(h)
            torch.relu_(h)
            return self.c(h.mean(dim=[2, 3]))

    nets = [seeded(lambda: Forms(kind), 3) for kind in ("modules", "functions", "methods")]
    x = numbers(2, 3, 14, 14)
    first, *others = [AttributionEquilibrium(net).attribute(x, target=1) for net in nets]
    for other in others:
        close(other, first)
    layers = AttributionEquilibrium(nets[0]).attribute(x, target=1, return_layers=True)[1]
    assert sum(found.operation == "ReLU" for found in layers.values()) == 3


def test_signs_of_hidden_weights_do_not_matter_below_the_start():
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )
    )
    X, R = F.relu(numbers(2, 6, 8, 8)), numbers(2, 6, 6, 6, seed=1)
    W = net[2].weight.detach()
    results = [
        equilibrium_rule(
            X, R, lambda x: F.conv2d(x, w.abs()), lambda s: torch.nn.grad.conv2d_input(X.shape, w.abs(), s)
        )
        for w in (W, -W)
    ]
    assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_callers_gradient_mode(around):
    model, x = convolutional(), numbers(2, 3, 16, 16)
    expected = AttributionEquilibrium(model).attribute(x, target=0)
    with around():
        result = AttributionEquilibrium(model).attribute(x * 1, target=0)
    assert_close(result.clone(), expected)
    assert not result.requires_grad


def test_precisions_and_devices():
    model, x = convolutional(), numbers(3, 3, 24, 24)
    single = AttributionEquilibrium(model).attribute(x, target=0)
    double = AttributionEquilibrium(copy.deepcopy(model).double()).attribute(x.double(), target=0)
    assert double.dtype == torch.float64
    close(single.double(), double, 1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (
            torch.corrcoef(
                torch.stack([AttributionEquilibrium(model).attribute(x, target=0).flatten(), single.flatten()])
            )[0, 1]
            > 0.95
        )
    half = AttributionEquilibrium(copy.deepcopy(model).bfloat16()).attribute(x.bfloat16(), target=0)
    assert half.dtype == torch.bfloat16 and half.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees_with_cpu():
    model, x = seeded(lambda: residual_net([16, 16], True, True)), numbers(3, 3, 32, 32)
    expected = AttributionEquilibrium(model).attribute(x, target=0)
    result = AttributionEquilibrium(copy.deepcopy(model).cuda()).attribute(x.cuda(), target=0)
    assert result.is_cuda
    close(result.cpu(), expected, 1e-2)


# forms of the call


def test_further_arguments_and_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.d, self.c = (
                nn.Conv2d(3, 6, 3),
                nn.Conv2d(1, 6, 3),
                nn.Conv2d(12, 8, 3),
                nn.Linear(8, 3),
            )

        def forward(self, x, y, scale=None, twice=False):
            h = torch.cat([self.a(x).relu(), self.b(y).relu()], dim=1)
            out = self.c(self.d(h).relu().mean((2, 3)))
            out = out * 2 if twice else out
            return out if scale is None else out * scale[:, None]

    model, x, y = seeded(Two), numbers(3, 3, 10, 10), numbers(3, 1, 10, 10, seed=1)
    method = AttributionEquilibrium(model)
    a, b = method.attribute((x, y), target=[0, 1, 2])
    assert a.shape == x.shape and b.shape == y.shape
    scaled = method.attribute(
        (x, y), target=[0, 1, 2], additional_forward_args=(torch.tensor([1.0, 2.0, 5.0]), True), internal_batch_size=2
    )
    for mine, expected in zip(scaled, (a, b)):
        close(mine, expected)  # a factor on the score changes nothing
    assert_close(a.sum((1, 2, 3)) + b.sum((1, 2, 3)), torch.zeros(3), rtol=0, atol=0.9)


def test_layer_by_name_module_and_node():
    model, x = seeded(ShapesNet), numbers(2, 3, 48, 48)
    default = AttributionEquilibrium(model).attribute(x, target=0)
    for layer in ("features.7", model.features, "features.7.2", model.features[7][2], "features_7_2", "features"):
        assert_close(AttributionEquilibrium(model, layer).attribute(x, target=0), default)
    lower, layers = AttributionEquilibrium(model, "features.4").attribute(x, target=0, return_layers=True)
    assert next(iter(layers)).startswith("features.4") and not torch.equal(lower, default)


def test_other_scores_and_target_forms():
    model, x = seeded(ShapesNet), numbers(2, 3, 48, 48)
    logit = AttributionEquilibrium(model)
    assert_close(logit.attribute(x, target=torch.tensor([1, 2])), logit.attribute(x, target=[1, 2]))
    assert not torch.equal(
        AttributionEquilibrium(ClassScore(model, of="probability")).attribute(x, target=1), logit.attribute(x, target=1)
    )


class ByName(nn.Module):
    "Takes signals by name; returns several outputs, one of which goes round all feature maps"

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv1d(3, 5, 3, padding=1), nn.Conv1d(5, 6, 3, padding=1), nn.Conv1d(6, 4, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, gain=None, mask=None, signals=None):
        x = signals if gain is None else signals + gain
        h = self.b(self.a(x).relu()).relu()
        h = h if mask is None else h * mask[:, None]
        return {"steps": self.c(h), "classes": self.head(h.mean(2)), "mean": x.mean((1, 2))}


class ByPlace(nn.Module):
    "A wrapper by hand: signals first, one output"

    def __init__(self, net, output="classes"):
        super().__init__()
        self.net, self.output = net, output

    def forward(self, signals, gain=None, mask=None):
        return self.net(gain, mask, signals=signals)[self.output]


def test_inputs_by_the_names_of_a_class_score():
    net, x, gain = seeded(ByName), numbers(2, 3, 12), numbers(2, 3, 12, seed=1)
    mask, wrapped = (numbers(2, 12, seed=2) > 0).float(), AttributionEquilibrium(ByPlace(net).eval())

    def named(*names, **settings):
        return AttributionEquilibrium(ClassScore(net, input_names=names, output="classes", **settings))

    plain, masked = (wrapped.attribute(x, target=1, additional_forward_args=(None, m)) for m in (None, mask))
    assert not torch.allclose(plain, masked)
    method = named("signals")
    close(method.attribute(x, target=1), plain)
    assert [v.name for v in method.trace().inputs] == ["signals"]
    close(method.attribute(x, target=1, additional_forward_args=keywords(mask=mask)), masked)
    close(named("signals", "mask").attribute(x, target=1, additional_forward_args=mask, internal_batch_size=1), masked)
    likely = AttributionEquilibrium(ClassScore(ByPlace(net).eval(), of="probability")).attribute(x, target=1)
    close(named("signals", of="probability").attribute(x, target=1), likely)
    expected = wrapped.attribute((x, gain), target=1)
    for found in (named("signals", "gain").attribute((x, gain), target=1), method.attribute((x, gain), target=1)):
        for mine, other in zip(found, expected, strict=True):
            close(mine, other)
    with pytest.raises(TypeError, match="given by place, as one of input_names, and by name"):
        method.attribute(x, target=1, additional_forward_args=keywords(signals=x))
    with pytest.raises(TypeError, match="unexpected keyword argument 'pictures'"):
        named("pictures").attribute(x, target=1)


def test_a_region_of_a_class_score():
    net, x, region = seeded(ByName), numbers(2, 3, 12), torch.arange(12) > 7
    regions = torch.stack([region, ~region])
    for of in ("logit", "probability"):
        scored = AttributionEquilibrium(ClassScore(ByPlace(net, "steps").eval(), of, dim=1))
        expected = scored.attribute(x, target=lambda scores: scores[:, 1, 8:].mean(1))
        whole = ClassScore(net, of, dim=1, input_names="signals", output="steps", places=region)
        close(AttributionEquilibrium(whole).attribute(x, target=1), expected)
        each = ClassScore(net, of, dim=1, input_names="signals", output="steps")
        found = AttributionEquilibrium(each).attribute(x, target=1, additional_forward_args=keywords(places=regions))
        close(found[:1], expected[:1])
        assert not torch.allclose(found[1:], expected[1:])
        other = scored.attribute(x[1:], target=lambda scores: scores[:, 1, :8].mean(1))
        close(found[1:], other)


# one class against another


@pytest.mark.parametrize("of", ["logit", "log_probability", "probability"])
@pytest.mark.parametrize("published", [False, True])
def test_a_contrast_is_the_difference_of_two_scores(of, published):
    net, x, target = seeded(ShapesNet), numbers(4, 3, 24, 24), [0, 3, 5, 1]
    method = AttributionEquilibrium(ClassScore(net, of))
    for contrast in (2, [4, 1, 0, -1], torch.tensor([1, 2, 3, 4])):
        others = [contrast] * 4 if isinstance(contrast, int) else [int(k) for k in contrast]
        found = method.attribute(x, target=target, contrast=contrast, internal_batch_size=3, published=published)
        for k in range(4):
            one = method.attribute(x[k : k + 1], target=target[k], contrast=others[k], published=published)
            close(found[k : k + 1], one)
            difference = method.attribute(
                x[k : k + 1], target=lambda z, k=k: z[:, target[k]] - z[:, others[k]], published=published
            )
            close(one, difference)
            assert not torch.allclose(one, method.attribute(x[k : k + 1], target=target[k], published=published))
    assert_close(
        method.attribute(x, target=target, contrast=lambda z: z[:, 2]), method.attribute(x, target=target, contrast=2)
    )


def test_the_next_class_is_the_strongest_other_one_at_each_input():
    net, x = seeded(ShapesNet), numbers(4, 3, 24, 24)
    order = net(x).argsort(1, descending=True)
    method = AttributionEquilibrium(net)
    next_of_best = method.attribute(x, target=order[:, 0], contrast="next")
    close(next_of_best, method.attribute(x, target=order[:, 0], contrast=order[:, 1]))
    close(next_of_best, AttributionEquilibrium(ClassScore(net, "margin")).attribute(x, target=order[:, 0]))
    close(
        method.attribute(x, target=order[:, 3] - 6, contrast="next"),
        method.attribute(x, target=order[:, 3], contrast=order[:, 0]),
    )


def test_a_contrast_of_tokens_steps_and_regions():
    net, x, region = seeded(ByName), numbers(2, 3, 12), torch.arange(12) > 7
    each = ClassScore(ByPlace(net, "steps").eval(), dim=1)
    steps = each(x).detach()
    method = AttributionEquilibrium(each)
    at_step = method.attribute(x, target=(1, 5), contrast="next")
    others = [max((0, 2), key=lambda c, k=k: float(steps[k, c, 5])) for k in (0, 1)]
    close(at_step, method.attribute(x, target=(1, 5), contrast=[(c, 5) for c in others]))
    whole = AttributionEquilibrium(ClassScore(net, dim=1, input_names="signals", output="steps", places=region))
    expected = method.attribute(x, target=lambda z: z[:, 1, 8:].mean(1) - z[:, 0, 8:].mean(1))
    close(whole.attribute(x, target=1, contrast=0), expected)
    with pytest.raises(ValueError, match="which dimension holds the classes"):
        AttributionEquilibrium(ByPlace(net, "steps").eval()).attribute(x, target=(1, 5), contrast="next")


def test_contrasts_that_leave_nothing_are_refused():
    net, x = seeded(ShapesNet), numbers(2, 3, 24, 24)
    method = AttributionEquilibrium(net)
    for contrast, error, words in (
        (1, ValueError, "target itself for example 0"),
        ([0, -5], ValueError, "target itself for example 1"),
        (6, ValueError, "out of range"),
        ([0], ValueError, "contrast: 1 targets for 2 examples"),
        (0.5, TypeError, "contrast: target 0.5"),
        ("rest", ValueError, "give 'next' or a class"),
    ):
        with pytest.raises(error, match=words):
            method.attribute(x, target=1, contrast=contrast)
    one = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 1)))
    for target, words in ((0, "another class"), (None, "target=None")):
        with pytest.raises(ValueError, match=words):
            AttributionEquilibrium(one).attribute(numbers(2, 3, 8, 8), target=target, contrast="next")
    with pytest.raises(ValueError, match="the target is a function"):
        method.attribute(x, target=lambda z: z[:, 0], contrast="next")


def test_what_a_model_returns_beside_the_output_that_is_read_goes_round_nothing():
    net, x = seeded(ByName), numbers(2, 3, 12)
    method = AttributionEquilibrium(ClassScore(net, output="classes", input_names="signals"))
    method.attribute(x, target=1)
    assert [v.name for v in method.trace().outputs] == ["head"]
    with pytest.raises(ValueError, match="no feature map|goes round"):
        AttributionEquilibrium(ClassScore(net, output="mean", input_names="signals")).attribute(x)


def test_the_difference_to_the_score_is_that_of_the_score_that_was_given():
    net, x = seeded(ShapesNet), numbers(2, 3, 48, 48)
    method, score = AttributionEquilibrium(ClassScore(net, "probability")), ClassScore(net, "probability")
    a = method.attribute(x, target=1)
    with pytest.warns(UserWarning, match="isn't complete"):
        delta = method.compute_convergence_delta(a, torch.zeros_like(x), x, target=1)
    with torch.no_grad():
        change = (score(x) - score(torch.zeros_like(x)))[:, 1]
    assert_close(delta, a.sum((1, 2, 3)) - change, rtol=1e-4, atol=1e-5)


class LastState(nn.Module):
    "A classifier of the last state of an LSTM, whatever runs it"

    def __init__(self, read):
        super().__init__()
        self.recurrent, self.head, self.read = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 4), read

    def forward(self, x, lengths=None):
        return self.head(self.read(self.recurrent, x, lengths))


def of_packed(recurrent, x, lengths):
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return recurrent(packed)[1][0][-1]


def test_the_last_state_of_an_lstm_is_explained_alike_alone_and_in_a_batch():
    x = numbers(3, 9, 3).double()
    for read in (
        lambda recurrent, x, _: recurrent(x)[1][0][-1],
        lambda recurrent, x, _: recurrent(x)[0][:, -1],
        lambda recurrent, x, _: recurrent(x)[0].transpose(0, 1)[-1],
    ):
        method = AttributionEquilibrium(seeded(lambda read=read: LastState(read)).double())
        whole = method.attribute(x, target=[0, 1, 2])
        for k in range(3):
            assert_close(method.attribute(x[k : k + 1], target=k), whole[k : k + 1], rtol=1e-6, atol=1e-9)
        assert whole.abs().amax((1, 2)).min() > 1e-3


def test_packed_sequences_are_explained_as_what_is_in_them():
    x, lengths = numbers(3, 9, 3).double(), torch.tensor([9, 6, 7])
    packed = AttributionEquilibrium(seeded(lambda: LastState(of_packed)).double())
    plain = AttributionEquilibrium(seeded(lambda: LastState(lambda recurrent, x, _: recurrent(x)[1][0][-1])).double())
    found = packed.attribute(x, target=1, additional_forward_args=per_example(lengths))
    for k, length in enumerate(lengths.tolist()):
        assert_close(found[k : k + 1, :length], plain.attribute(x[k : k + 1, :length], target=1), rtol=1e-6, atol=1e-9)
        assert not found[k, length:].any()


def test_layers_of_chunks_are_joined_where_their_examples_are():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 4)

        def forward(self, x):
            h = self.b(torch.tanh(self.a(x.transpose(0, 1)))).relu()
            return self.head(h.mean(0))

    x, method = numbers(5, 7, 3).double(), AttributionEquilibrium(seeded(TimeFirst).double())
    whole, layers = method.attribute(x, target=1, return_layers=True)
    for size in (1, 2, 3):
        parts, joined = method.attribute(x, target=1, return_layers=True, internal_batch_size=size)
        assert_close(parts, whole, rtol=1e-6, atol=1e-9)
        assert {"x", "transpose", "a", "tanh", "b", "relu"} <= set(joined)
        for name in set(joined) & set(layers):
            layer = joined[name]
            assert layer.relevance.shape == layers[name].relevance.shape, name
            for field in ("relevance", "positive", "negative", "gap"):
                assert_close(getattr(layer, field), getattr(layers[name], field), rtol=1e-6, atol=1e-9)
            assert_close(layer.of_example(3), layers[name].of_example(3), rtol=1e-6, atol=1e-9)
    assert any(layer.relevance.shape[:2] == (7, 5) for layer in layers.values())  # time first
    alone = method.attribute(x[:1], target=1, return_layers=True)[1]
    for name in ("x", "transpose", "a", "tanh", "b", "relu"):
        assert_close(layers[name].of_example(0), alone[name].of_example(0), rtol=1e-6, atol=1e-9)
    ours, theirs = (dict(zip(found, found.as_steps(x[:1], None).notes, strict=True)) for found in (layers, alone))
    assert ours["a"] == theirs["a"] and "(7, 6)" in ours["a"]


def test_under_a_noise_tunnel():
    assert NoiseTunnel(AttributionEquilibrium(convolutional())).attribute(
        numbers(1, 3, 16, 16), nt_samples=3, target=0
    ).shape == (1, 3, 16, 16)


# one-signed and empty maps


@pytest.mark.parametrize("sign", [1, -1])
def test_one_signed_initial_maps(sign):
    net = seeded(lambda: plain_net([6, 6, 6], False, True))
    with torch.no_grad():
        net[-1].weight.copy_(sign * net[-1].weight.abs())
    x = numbers(3, 3, 12, 12)
    attribution, layers = AttributionEquilibrium(net).attribute(x, target=0, return_layers=True)
    assert attribution.isfinite().all() and (attribution != 0).any()
    start = next(iter(layers.values()))
    assert (start.negative if sign > 0 else start.positive).abs().max() == 0


def test_vanishing_gradient_warns_and_names_the_images():
    net = seeded(lambda: plain_net([4, 4], False, False))
    with torch.no_grad():
        net[-1].weight.zero_()
    with pytest.warns(UserWarning, match=r"2 of 2 examples \(0, 1\) is zero everywhere"):
        assert AttributionEquilibrium(net).attribute(numbers(2, 3, 8, 8), target=0).abs().max() == 0


# rules of one's own, and wrong calls


class Doubling(nn.Module):
    def forward(self, x):
        return torch.fft.ifft(2 * torch.fft.fft(x)).real


def test_own_rules():
    net, x = (
        nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            Doubling(),
            nn.Conv2d(4, 4, 3),
            nn.ReLU(),
            nn.Flatten(2),
            nn.Flatten(),
            nn.Linear(4 * 36, 2),
        ).eval(),
        numbers(2, 3, 10, 10),
    )
    with pytest.raises(NotImplementedError, match="(?s)view_as_real.*module '2'.*register_rule"):
        AttributionEquilibrium(net).attribute(x, target=0)
    expected = AttributionEquilibrium(nn.Sequential(*net[:2], *net[3:]).eval()).attribute(x, target=0)
    once = AttributionEquilibrium(net).attribute(x, target=0, rules={Doubling: lambda call, relevance: relevance})
    method = AttributionEquilibrium(net)
    try:

        @register_rule(Doubling)
        def doubling(call, relevance):
            assert isinstance(call.module, Doubling)
            return relevance

        filed = method.attribute(x, target=0)
    finally:
        RULES.pop(Doubling, None)
    assert_close(once, filed)
    assert once.shape == expected.shape


def test_missing_rule_names_node_type_and_cure():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            h = torch.linalg.inv(self.a(x) + 9 * torch.eye(6))
            return self.c(self.b(h).relu().mean((2, 3)))

    with pytest.raises(
        NotImplementedError,
        match=r"(?s)node 'linalg_inv' is torch.ops.aten.linalg_inv_ex called by torch.linalg.inv at File"
        r".*test_equilibrium.py.*in forward.*linalg.inv.*@register_rule\(torch.linalg.inv\)",
    ):
        AttributionEquilibrium(Functional().eval()).attribute(numbers(1, 3, 8, 8), target=0)


class Branching(nn.Module):
    "Decides by a value"

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Assigning(nn.Module):
    "Writes through a view of what it was given, and through a view of that"

    def forward(self, x):
        x = x * 1
        x[:, 0] = 0
        x.flatten(2)[:, 1:3, ::2] *= 2
        return x


class AssigningPlainly(nn.Module):
    def forward(self, x):
        factor = torch.ones(x.shape[1:])
        factor[0] = 0
        factor.flatten(1)[1:3, ::2] = 2
        return x * factor


def between_convolutions(module):
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            module,
            nn.Conv2d(4, 5, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 2),
        )
    )


def test_decisions_by_values_and_writes_through_views_are_followed():
    x, nothing = numbers(1, 3, 10, 10), between_convolutions(nn.Identity())
    plain = AttributionEquilibrium(nothing).attribute(x, target=1)
    # everything behind the first ReLU is positive
    close(AttributionEquilibrium(between_convolutions(Branching())).attribute(x, target=1), plain)
    written, multiplied = (
        AttributionEquilibrium(between_convolutions(m)).attribute(x, target=1, return_layers=True)
        for m in (Assigning(), AssigningPlainly())
    )
    assert not torch.allclose(written[0], plain)
    # what was overwritten by a constant has no relevance to pass on; a product with 0 passes it
    inside = [found[1]["1"].relevance for found in (written, multiplied)]
    assert inside[0][:, 0].abs().max() == 0
    close(inside[0][:, 1:], inside[1][:, 1:])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AttributionEquilibrium(lambda x: x), "must be a torch.nn.Module"),
        (
            lambda: AttributionEquilibrium(convolutional(), layer="body").attribute(numbers(1, 3, 16, 16), target=0),
            "known|among those",
        ),
        (
            lambda: AttributionEquilibrium(convolutional(), layer=nn.ReLU()).attribute(numbers(1, 3, 16, 16), target=0),
            "not called by the model",
        ),
        (
            lambda: AttributionEquilibrium(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()).attribute(
                numbers(1, 3, 4, 4), target=0
            ),
            "layer='name'",
        ),
        (
            lambda: AttributionEquilibrium(convolutional(), layer="9").attribute(numbers(1, 3, 16, 16), target=0),
            "feature map",
        ),
        (lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=9), "out of range"),
        (lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16) * math.nan, target=0), "NaN"),
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=0, ratio=math.inf),
            "ratio",
        ),
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=0, skip="none"),
            "skip",
        ),
        (lambda: register_rule(), "register_rule"),
        (lambda: register_rule(3), "register_rule"),
    ],
)
def test_wrong_calls(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_registry_is_whole():
    assert all(callable(rule.function) for rule in equilibrium.RULES.values())
    aten = torch.ops.aten
    assert {aten.convolution, aten.addmm, aten.relu, aten.cat, aten.native_layer_norm} <= set(RULES)
    assert set(equilibrium.MODES) == {"published", "share"}


# all evidence: every way to the output passes a start layer


def tower(channels=3, width=8, seed=0):
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        seed,
    )


def contributions(model, layer, x, target):
    "Sum of the sizes of a layer's initial contributions, per example, by hooks"
    seen = {}
    hook = model.get_submodule(layer).register_forward_hook(lambda m, i, o: seen.update(A=o) or o.retain_grad())
    model(x)[:, target].sum().backward()
    hook.remove()
    A = seen["A"]
    return (A * A.grad.mean((2, 3), keepdim=True)).abs().sum((1, 2, 3)).detach()


class Ensemble(nn.Module):
    "The mean of two networks, weighed"

    def __init__(self, weights=(0.5, 0.5)):
        super().__init__()
        self.a, self.b = (nn.Sequential(tower(seed=k), seeded(lambda: nn.Linear(8, 3), k)) for k in (1, 2))
        self.weights = weights

    def forward(self, x):
        return self.weights[0] * self.a(x) + self.weights[1] * self.b(x)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1), (1.0, 0.0)])
def test_an_ensemble_is_explained_by_all_its_networks(weights):
    net, x = Ensemble(weights).eval(), numbers(3, 3, 14, 14)
    method = AttributionEquilibrium(net)
    mixed, layers = method.attribute(x, target=1, return_layers=True)
    assert [s.name for s in method.trace().starts] == ["a_0_3", "b_0_3"]
    sizes = torch.stack([w * contributions(part, "0.3", x, 1) for w, part in zip(weights, (net.a, net.b))])
    shares = (sizes / sizes.sum(0))[:, :, None, None, None]
    close(
        mixed, sum(s * AttributionEquilibrium(part).attribute(x, target=1) for s, part in zip(shares, (net.a, net.b)))
    )
    for found in layers.values():
        if found.passed_gap is not None:
            assert_close(found.passed_gap, found.expected_gap, rtol=0, atol=1e-4)
        assert_close(found.gap, found.relevance.flatten(1).sum(1), rtol=1e-4, atol=1e-4)
    assert list(layers)[0].startswith("b") and list(layers)[-1] == "x"


class TwoTowers(nn.Module):
    "Left and right half of one picture, or two pictures"

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = tower(seed=1), tower(seed=2), seeded(lambda: nn.Linear(16, 3), 3)

    def forward(self, x, y=None):
        x, y = x.chunk(2, 3) if y is None else (x, y)
        return self.head(torch.cat([self.left(x), self.right(y)], 1))


def test_two_towers_for_two_halves_and_for_two_pictures():
    net, x = TwoTowers().eval(), numbers(2, 3, 12, 24)
    whole = AttributionEquilibrium(net).attribute(x, target=1)
    left, right = AttributionEquilibrium(net).attribute(tuple(x.chunk(2, 3)), target=1)
    close(whole, torch.cat([left, right], 3))
    assert left.abs().sum() > 0.1 and right.abs().sum() > 0.1
    # the law: a mixture of maps in equilibrium is in equilibrium
    assert_close(whole.sum((1, 2, 3)), torch.zeros(2), rtol=0, atol=0.3)
    swapped = AttributionEquilibrium(net).attribute((x[..., :12], x[..., 12:]), target=1, internal_batch_size=1)
    close(swapped[1], right)


def test_the_law_holds_for_a_mixture_of_starts():
    net, x = seeded(lambda: Ensemble((0.3, 0.7))), numbers(2, 3, 16, 16)
    for ratio in (1.0, 2.0):
        _, layers = AttributionEquilibrium(net).attribute(x, target=0, ratio=ratio, return_layers=True)
        gaps = [found.passed_gap for name, found in layers.items() if found.passed_gap is not None]
        assert len(gaps) == 2 and torch.allclose(sum(gaps), torch.full((2,), ratio - 2), atol=1e-4)


class Scales(nn.Module):
    "A head that also looks at an earlier map: a skip path round the last one"

    def __init__(self):
        super().__init__()
        self.low, self.high = (
            seeded(lambda: nn.Sequential(nn.Conv2d(c, 6, 3, padding=1), nn.ReLU()), c) for c in (3, 6)
        )
        self.head = seeded(lambda: nn.Linear(12, 3), 5)

    def forward(self, x):
        low = self.low(x)
        high = self.high(F.max_pool2d(low, 2))
        return self.head(torch.cat([low.mean((2, 3)), high.mean((2, 3))], 1))


def test_a_skip_path_round_the_last_map_starts_too():
    net, x = Scales().eval(), numbers(2, 3, 12, 12)
    method = AttributionEquilibrium(net)
    mixed = method.attribute(x, target=2)
    assert [s.name for s in method.trace().starts] == ["low_1", "high_1"]
    logits, low, high = net(x)[:, 2], contributions_of_scales(net, x, 0), contributions_of_scales(net, x, 1)
    # together the starts hold the whole logit
    assert_close(low.sum((1, 2, 3)) + high.sum((1, 2, 3)) + net.head.bias[2], logits, rtol=1e-4, atol=1e-5)
    shares = torch.stack([low.abs().sum((1, 2, 3)), high.abs().sum((1, 2, 3))])
    shares = (shares / shares.sum(0))[:, :, None, None, None]
    with pytest.warns(UserWarning, match="goes round the start layer"):
        single = [AttributionEquilibrium(net, layer).attribute(x, target=2) for layer in ("low", "high")]
    one = AttributionEquilibrium(net, ["low", "high"]).attribute(x, target=2)
    assert_close(one, mixed)
    close(mixed - shares[1] * single[1], shares[0] * AttributionEquilibrium(Low(net)).attribute(x, target=2), 1e-4)


class Low(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return F.linear(self.net.low(x).mean((2, 3)), self.net.head.weight[:, :6])


def contributions_of_scales(net, x, which):
    low = net.low(x)
    h = (low, net.high(F.max_pool2d(low, 2)))[which].detach()
    return h * (net.head.weight[2, 6 * which : 6 * which + 6] / h[0, 0].numel())[:, None, None].detach()


class ImageAndTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.table, self.head = (
            tower(),
            seeded(lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU())),
            seeded(lambda: nn.Linear(16, 3), 2),
        )

    def forward(self, x, t):
        return self.head(torch.cat([self.image(x), self.table(t)], 1))


class ColourBeside(nn.Module):
    "A feature of the pixels themselves, beside the pooling"

    def __init__(self):
        super().__init__()
        self.image, self.head = tower(), seeded(lambda: nn.Linear(11, 3))

    def forward(self, x):
        return self.head(torch.cat([self.image(x), x.mean((2, 3))], 1))


def test_evidence_without_a_feature_map_is_refused_by_name():
    net, x, t = ImageAndTable().eval(), numbers(2, 3, 12, 12), numbers(2, 5)
    with pytest.raises(
        ValueError,
        match=(
            r"node 'table_1' \(ReLU, module 'table.1'\), which goes round the start layer"
            r" 'image_3'.*additional_forward_args.*layer="
        ),
    ):
        AttributionEquilibrium(net).attribute((x, t), target=1)
    with pytest.raises(ValueError, match="node 'mean' .*goes round"):
        AttributionEquilibrium(ColourBeside().eval()).attribute(x, target=1)
    alone = AttributionEquilibrium(net).attribute(x, target=1, additional_forward_args=(t,))
    with pytest.warns(UserWarning, match="node 'table_1'.*goes round") as said:
        image, table = AttributionEquilibrium(net, layer="image.3").attribute((x, t), target=1)
    assert len(said) == 1 and not table.any()
    close(image, alone)


class SizesAndMasks(nn.Module):
    "The input's size and a comparison reach the head; neither carries evidence with a gradient"

    def __init__(self):
        super().__init__()
        self.image, self.head = tower(), seeded(lambda: nn.Linear(8, 3))

    def forward(self, x):
        return self.head(self.image(x)) * (x > 0).any(3).any(2).any(1)[:, None] + x.shape[2]


def test_sizes_and_masks_do_not_go_round():
    assert AttributionEquilibrium(SizesAndMasks().eval()).attribute(numbers(2, 3, 12, 12), target=0).any()


# dense outputs


class Segmenter(nn.Module):
    def __init__(self, kind="bilinear"):
        super().__init__()
        self.a, self.b, self.c = (
            seeded(lambda: nn.Conv2d(*how), k)
            for k, how in enumerate(((3, 16, 3, 2, 1), (16, 16, 3, 1, 1), (16, 4, 1)))
        )
        self.kind = kind

    def forward(self, x):
        y = self.c(torch.relu(self.b(torch.relu(self.a(x)))))
        if self.kind == "two heads":
            return F.interpolate(y, size=x.shape[2:]) + F.interpolate(self.c(torch.relu(self.a(x))), scale_factor=2)
        y = y if self.kind == "plain" else F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        if self.kind == "sigmoid":
            return y.sigmoid()
        if self.kind == "flat":
            return y.flatten(2)
        if self.kind == "pixel":
            return torch.stack([y[:, 1, 2, 2], y[:, 1, 29, 29]], 1)
        if self.kind == "region":
            return torch.cat([y[:, 1:2, :4, :4].mean((2, 3)), y[:, 1:2, 28:, 28:].mean((2, 3))], 1)
        if self.kind == "mask":
            mask = torch.zeros(2, 1, 32, 32)
            mask[0, :, :4, :4] = mask[1, :, 28:, 28:] = 1
            return torch.cat([(y[:, 1:2] * m).mean((2, 3)) for m in mask], 1)
        return y


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("bilinear", (1, 2, 2), (1, 29, 29)),
        ("plain", (1, 1, 1), (1, 14, 14)),
        ("sigmoid", (1, 2, 2), (1, 29, 29)),
        ("two heads", (1, 2, 2), (1, 29, 29)),
        ("flat", (1, 66), (1, 957)),
        ("pixel", 0, 1),
        ("region", 0, 1),
        ("mask", 0, 1),
    ],
)
def test_the_position_asked_for_counts(kind, one, other):
    net, x = Segmenter(kind).eval(), numbers(1, 3, 32, 32).abs()
    method = AttributionEquilibrium(net)
    first, second = (method.attribute(x, target=t) for t in (one, other))

    def near(m):
        return m[..., :12, :12].abs().sum() / m.abs().sum()

    assert near(first) > 0.99 and near(second) < 0.01, (near(first), near(second))


def test_a_dense_start_is_gradient_times_activation():
    net, x = Segmenter().eval(), numbers(1, 3, 32, 32).abs()
    method = AttributionEquilibrium(net)
    _, layers = method.attribute(x, target=(1, 2, 2), return_layers=True)
    h = torch.relu(net.b(torch.relu(net.a(x)))).detach().requires_grad_()
    y = F.interpolate(net.c(h), size=(32, 32), mode="bilinear", align_corners=False)[0, 1, 2, 2]
    raw = h * torch.autograd.grad(y, h)[0]
    close(next(iter(layers.values())).relevance, (raw / raw.sum().abs()).detach())
    assert method.trace().start.name == "relu_1"
    assert_close(raw.sum() + net.c.bias[1], y)  # complete up to the bias, as with pooling


def test_torchvision_segmenters():
    class Out(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)["out"]

    x = numbers(1, 3, 64, 64)
    for make, starts in (
        (torchvision.models.segmentation.lraspp_mobilenet_v3_large, 2),
        (torchvision.models.segmentation.fcn_resnet50, 1),
    ):
        method = AttributionEquilibrium(
            Out(seeded(lambda: make(weights=None, weights_backbone=None, num_classes=3))).eval()
        )
        maps = [method.attribute(x, target=(1, p, p)) for p in (2, 61)]
        assert not torch.allclose(*maps) and all(m.any() for m in maps) and len(method.trace().starts) == starts


class Branches(nn.Module):
    """A U-Net, a detector with heads on two scales, a siamese pair and a picture modulated by a table, in one class
    of small layers
    """

    def __init__(self, kind):
        super().__init__()

        def make(a, b, stride, k):
            return seeded(lambda: nn.Conv2d(a, b, 3, stride, 1), k)

        self.a, self.b, self.c, self.o, self.h = (
            make(3, 8, 1, 0),
            make(8, 8, 2, 1),
            make(16, 8, 1, 2),
            make(8, 4, 1, 3),
            seeded(lambda: nn.Linear(8, 2)),
        )
        self.table, self.kind = seeded(lambda: nn.Linear(4, 8)), kind

    def forward(self, x, other=None):
        a = torch.relu(self.a(x))
        b = torch.relu(self.b(a))
        if self.kind == "unet":
            return (
                self.o(torch.relu(self.c(torch.cat([F.interpolate(b, scale_factor=2), a], 1))))
                .log_softmax(1)
                .permute(0, 2, 3, 1)
            )
        if self.kind == "detector":
            return torch.cat([self.o(m).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) for m in (a, b)], 1)
        if self.kind == "siamese":
            return self.h((b.mean((2, 3)) - torch.relu(self.b(torch.relu(self.a(other)))).mean((2, 3))).abs())
        return self.h(torch.relu(self.b(a * self.table(other)[..., None, None])).mean((2, 3)))


def near_the_corner(m):
    return (m[..., :8, :8].abs().sum() / m.abs().sum()).item()


def test_a_unet_is_asked_for_pixels():
    net, x = Branches("unet").eval(), numbers(1, 3, 16, 16).abs()
    for layer in (None, "c"):
        one, other = (
            near_the_corner(AttributionEquilibrium(net, layer).attribute(x, target=(p, p, 1))) for p in (2, 13)
        )
        assert one > 0.95 and other < 0.05
    with pytest.warns(UserWarning, match="goes round the start layer 'b', and gets no relevance"):
        AttributionEquilibrium(net, "b").attribute(x, target=(2, 2, 1))


def test_a_detector_is_asked_for_boxes_of_both_scales():
    net, x = Branches("detector").eval(), numbers(1, 3, 16, 16).abs()
    method = AttributionEquilibrium(net)
    shares = [near_the_corner(method.attribute(x, target=(box, 1))) for box in (0, 255, 256, 256 + 63)]
    assert (
        len(method.trace().starts) == 2
        and shares[0] > 0.99
        and shares[2] > 0.99
        and shares[1] < 0.01
        and shares[3] < 0.01
    ), shares


def test_siamese_pictures_both_get_relevance():
    net, x, y = Branches("siamese").eval(), numbers(2, 3, 12, 12), numbers(2, 3, 12, 12, seed=1)
    method = AttributionEquilibrium(net)
    a, b = method.attribute((x, y), target=0)
    c, d = method.attribute((y, x), target=0)
    assert len(method.trace().starts) == 2 and a.any() and b.any()
    close(c, b)
    close(d, a)


def test_an_input_that_only_modulates_is_announced():
    net = Branches("film").eval()
    with pytest.warns(UserWarning, match="no relevance arrives at input 1, its attribution is zero: .*gate") as said:
        image, table = AttributionEquilibrium(net).attribute((numbers(2, 3, 12, 12), numbers(2, 4)), target=0)
    assert len(said) == 1 and image.any() and not table.any()


def test_arguments_by_name_only():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain_net([6, 6], False, False)

        def forward(self, x, *, mask, options):
            return self.net(x * mask * options["gain"])

    net, x = seeded(Named), numbers(3, 3, 10, 10)
    method, mask = AttributionEquilibrium(net), (numbers(3, 1, 10, 10, seed=1) > 0).float()
    found = method.attribute(x, target=1, additional_forward_args=keywords(mask=mask, options={"gain": 2.0}))
    close(found, AttributionEquilibrium(net.net).attribute(2 * x * mask, target=1))
    single = method.attribute(x[1:2], target=1, additional_forward_args=keywords(mask=mask[1:2], options={"gain": 2.0}))
    close(single, found[1:2])


# zeros are announced


def test_relevance_that_dies_in_a_branch_is_announced():
    net = seeded(lambda: residual_net([6, 6], False, False))
    with torch.no_grad():
        for p in net[-4].body[-2].parameters():
            p.zero_()
        net[-4].body[-1].weight.zero_()  # a fresh residual branch that adds nothing yet

    def losing(call, relevance):
        return relevance * 0

    x = numbers(3, 3, 12, 12)
    with pytest.warns(
        UserWarning, match=r"3 of 3 examples \(0, 1, 2\) is zero everywhere: the relevance ends on the way down \(3\)"
    ) as said:
        AttributionEquilibrium(net).attribute(x, target=0, rules={nn.BatchNorm2d: losing})
    assert len(said) == 1


def test_some_zero_examples_are_counted():
    net = seeded(lambda: plain_net([6, 6], False, False))
    with torch.no_grad():
        for m in net:
            if isinstance(m, nn.Conv2d):
                m.bias.zero_()
    x = numbers(3, 3, 10, 10)
    x[1] = 0
    with pytest.warns(UserWarning, match=r"1 of 3 examples \(1\) is zero everywhere") as said:
        result = AttributionEquilibrium(net).attribute(x, target=0, internal_batch_size=1)
    assert len(said) == 1 and result[0].any() and not result[1].any()


def test_a_wrong_number_of_inputs_is_refused_and_an_unused_one_announced():
    x = numbers(2, 3, 16, 16)
    with pytest.raises(TypeError, match="2 inputs and 0 further arguments: too many positional"):
        AttributionEquilibrium(convolutional()).attribute((x, x), target=0)
    with pytest.raises(TypeError, match="missing a required argument: 't'"):
        AttributionEquilibrium(ImageAndTable().eval()).attribute(x, target=0)

    class Ignoring(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = convolutional()

        def forward(self, x, y):
            return self.net(x)

    with pytest.warns(UserWarning, match="no relevance arrives at input 1.*doesn't use it") as said:
        AttributionEquilibrium(Ignoring().eval()).attribute((x, x), target=0)
    assert len(said) == 1


# other threads


def test_other_threads_may_call_and_trace_at_the_same_time():
    before, stop, wrong, calls = (nn.Module.__call__, nn.Module.__getattr__, math.sqrt), threading.Event(), [], []
    other, x = (
        seeded(lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.BatchNorm1d(2), nn.Linear(2, 1))),
        torch.ones(1, 2),
    )
    expected = other(x).detach()

    def serve():
        while not stop.is_set():
            try:
                if not torch.equal(other(x), expected) or nn.Module.__call__ is not before[0]:
                    wrong.append("another number")
            except Exception as e:
                wrong.append(repr(e))
            calls.append(1)

    def trace(results):
        try:
            for _ in range(3):
                method = AttributionEquilibrium(net)
                method.attribute(picture, target=1)
                results.append([record.name for record in method.trace().records])
        except Exception as e:
            wrong.append(repr(e))

    net, picture = seeded(lambda: torchvision.models.resnet18(weights=None)), numbers(1, 3, 32, 32)
    server, results = threading.Thread(target=serve), [[], [], []]
    server.start()
    try:
        trace(results[0])  # one at a time, then two
        threads = [threading.Thread(target=trace, args=(r,)) for r in results[1:]]
        [t.start() for t in threads]
        [t.join() for t in threads]
    finally:
        stop.set()
        server.join()
    assert not wrong, wrong[:3]
    assert len(calls) > 20 and all(len(r) == 3 for r in results)
    assert len({str(g) for r in results for g in r}) == 1
    assert (nn.Module.__call__, nn.Module.__getattr__, math.sqrt) == before
    assert nn.Linear(2, 2)(x).shape == (1, 2)


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("not today")


def test_nothing_of_a_failed_recording_stays():
    from torch.nn.modules import module

    before = nn.Module.__call__, nn.Module.__getattr__
    net = nn.Sequential(nn.Conv2d(3, 4, 3), Failing()).eval()
    names = set(net.__dict__)
    with without_probe(), pytest.raises(RuntimeError, match="not today"):
        AttributionEquilibrium(net).attribute(numbers(1, 3, 8, 8), target=0)
    assert (nn.Module.__call__, nn.Module.__getattr__) == before and set(net.__dict__) == names
    assert not module._global_forward_hooks and not module._global_forward_pre_hooks
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    assert torch._C._len_torch_function_stack() == 0


def test_two_threads_explain_one_model_by_one_object():
    model, x = seeded(ShapesNet), numbers(4, 3, 48, 48)
    expected, found = [AttributionEquilibrium(model).attribute(x[k : k + 1], target=k) for k in range(4)], {}
    method = AttributionEquilibrium(model)

    def explain(k):
        found[k] = [method.attribute(x[k : k + 1], target=k) for _ in range(3)]

    threads = [threading.Thread(target=explain, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(torch.equal(m, expected[k]) for k in range(4) for m in found[k])


# the function that was given


NORMS = {
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
    "old weight_norm": nn.utils.weight_norm,
    "old spectral_norm": nn.utils.spectral_norm,
}


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1, 2)])
def test_parametrised_layers_count_as_what_they_are(norm, which):
    layers = [seeded(lambda: nn.Conv2d(a, 8, 3, padding=1), a) for a in (3, 8, 8)]

    def build(convs):
        return nn.Sequential(
            convs[0],
            nn.ReLU(),
            convs[1],
            nn.ReLU(),
            convs[2],
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            seeded(lambda: nn.Linear(8, 3), 9),
        ).eval()

    net = build([NORMS[norm](copy.deepcopy(c)) if k in which else copy.deepcopy(c) for k, c in enumerate(layers)])
    x = numbers(2, 3, 10, 10)
    with torch.no_grad():
        net(x)
        plain = build([nn.Conv2d(c.in_channels, 8, 3, padding=1) for c in layers])
        for a, b in zip(plain, net):
            if isinstance(a, nn.Conv2d):
                a.weight.copy_(b.weight)
                a.bias.copy_(b.bias)
    assert_close(plain(x), net(x))
    close(
        AttributionEquilibrium(net).attribute(x, target=1), AttributionEquilibrium(plain).attribute(x, target=1), 1e-4
    )


def test_quantisation_aware_layers_count_as_convolutions():
    net = seeded(lambda: plain_net([6, 6], False, False))
    qat = copy.deepcopy(net).train()
    qat.qconfig = torch.ao.quantization.QConfig(activation=nn.Identity, weight=nn.Identity)
    qat = torch.ao.quantization.prepare_qat(qat).eval()
    assert type(qat[2]).__module__.startswith("torch.ao")
    x = numbers(2, 3, 10, 10)
    close(AttributionEquilibrium(qat).attribute(x, target=1), AttributionEquilibrium(net).attribute(x, target=1))


class Own(nn.Conv2d):
    "A convolution of the user's, with standardised weights"

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, w, self.bias, padding=1)


def test_own_convolutions_with_and_without_parametrisation():
    nets = [
        nn.Sequential(
            seeded(lambda: Own(3, 6, 3), 1),
            nn.ReLU(),
            seeded(lambda: Own(6, 6, 3), 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            seeded(lambda: nn.Linear(6, 2)),
        ).eval()
        for _ in "ab"
    ]
    nn.utils.parametrizations.weight_norm(nets[1][2])
    x = numbers(2, 3, 8, 8)
    close(*(AttributionEquilibrium(net).attribute(x, target=1) for net in nets), 1e-4)


def test_hooks_of_the_model_itself_are_seen():
    plain = seeded(lambda: plain_net([6, 6], False, False))
    hooked, x = copy.deepcopy(plain), numbers(2, 3, 10, 10)
    hooked.register_forward_pre_hook(lambda m, a: (5 * (1 - a[0]),))
    inner = AttributionEquilibrium(plain).attribute(5 * (1 - x), target=1)
    close(AttributionEquilibrium(hooked).attribute(x, target=1), inner)
    turned = copy.deepcopy(plain)
    turned.register_forward_hook(lambda m, a, out: out.flip(1))
    close(AttributionEquilibrium(turned).attribute(x, target=0), AttributionEquilibrium(plain).attribute(x, target=3))


class Scaled(nn.Module):
    def __init__(self, flag=False):
        super().__init__()
        self.net, self.flag, self.sizes = plain_net([6, 6], False, False), flag, [1.0]
        self.register_buffer("shift", torch.zeros(1))

    def forward(self, x, weights=None, how=None):
        x = (x if weights is None else x * float(weights[1000])) + (self.shift * 2).item() * x
        x = x if how is None else x * how.factor
        return self.net((1 - x if self.flag else x) * self.sizes[0])


def test_further_arguments_are_told_apart_by_value():
    net, x = seeded(Scaled), numbers(1, 3, 10, 10)
    one = np.ones(2000, dtype="float32")
    other = one.copy()
    other[1000] = -3
    method = AttributionEquilibrium(net)
    maps = [method.attribute(x, target=1, additional_forward_args=(w,)) for w in (one, other, one)]
    assert torch.equal(maps[0], maps[2])
    close(maps[1], AttributionEquilibrium(net).attribute(x, target=1, additional_forward_args=(other,)))
    close(maps[1], -3 * AttributionEquilibrium(net.net).attribute(-3 * x, target=1) / -3)
    assert not torch.allclose(maps[0], maps[1])
    how = type("How", (), dict(factor=1.0))()
    before = method.attribute(x, target=1, additional_forward_args=(None, how))
    how.factor = -3.0
    close(method.attribute(x, target=1, additional_forward_args=(None, how)), maps[1])
    close(before, maps[0])


@pytest.mark.parametrize("change", ["flag", "list", "buffer", "layer", "hook", "weights", "forward"])
def test_a_model_that_changed_is_traced_anew(change):
    net, x = seeded(Scaled), numbers(2, 3, 10, 10)
    method = AttributionEquilibrium(net)
    before = method.attribute(x, target=1)
    if change == "flag":
        net.flag = True
    elif change == "list":
        net.sizes[0] = -2.0
    elif change == "buffer":
        net.shift += -1
    elif change == "layer":
        net.net[2] = nn.Tanh()
    elif change == "hook":
        net.register_forward_pre_hook(lambda m, a: (-a[0], *a[1:]))
    elif change == "forward":
        forward = net.forward
        net.forward = lambda x: forward(-x)
    else:
        with torch.no_grad():
            [p.mul_(-1) for p in net.parameters()]
    after = method.attribute(x, target=1)
    assert not torch.allclose(before, after)
    close(after, AttributionEquilibrium(net).attribute(x, target=1))


SWITCH = {"sign": 1.0}


class Global(nn.Module):
    "A number outside the model decides"

    def __init__(self):
        super().__init__()
        self.net = plain_net([6, 6], False, False)

    def forward(self, x):
        return self.net(x * SWITCH["sign"])


def test_the_model_is_asked_at_every_call():
    net, x = seeded(Global), numbers(2, 3, 10, 10)
    method = AttributionEquilibrium(net)
    try:
        before = method.attribute(x, target=1)
        SWITCH["sign"] = -1.0
        after = method.attribute(x, target=1)
    finally:
        SWITCH["sign"] = 1.0
    assert not torch.allclose(before, after)
    close(after, AttributionEquilibrium(net.net).attribute(-x, target=1))


class Remembering(nn.Module):
    "Computes something else while it is recorded"

    def __init__(self):
        super().__init__()
        self.net = plain_net([6, 6], False, False)

    def forward(self, x):
        return self.net(x if torch._C._len_torch_dispatch_stack() == 0 else -x)


def test_a_model_that_notices_the_recording_is_refused():
    net, x = seeded(Remembering), numbers(2, 3, 10, 10)
    with pytest.raises(ValueError, match="Remembering gives another output while it is recorded"):
        AttributionEquilibrium(net).attribute(x[:1], target=1)
    with without_probe():
        AttributionEquilibrium(net).attribute(x, target=1)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain_net([6, 6], False, False)

    def forward(self, x):
        return F.dropout(self.net[:4](x), 0.5).mean((2, 3)) @ self.net[-1].weight.T


def test_random_models_are_announced():
    with pytest.warns(UserWarning, match="changes from call to call"):
        AttributionEquilibrium(seeded(Noisy)).attribute(
            numbers(2, 3, 10, 10), target=1, rules={torch.matmul: lambda call, r: (r @ call.args[1].T, None)}
        )


def test_rows_that_influence_each_other_are_refused():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain_net([6, 6], False, False)

        def forward(self, x):
            return self.net(x - x.mean(0, keepdim=True))

    with pytest.raises(ValueError):
        AttributionEquilibrium(seeded(Centred)).attribute(numbers(3, 3, 10, 10), target=1)


def test_the_price_is_one_row_of_the_model_and_one_gradient_per_image():
    model, x = convolutional(), numbers(4, 3, 16, 16)
    rows = []
    model.register_forward_pre_hook(lambda m, a: rows.append(len(a[0])) if isinstance(a[0], torch.Tensor) else None)
    method = AttributionEquilibrium(model)
    method.attribute(x, target=0)
    method.attribute(x, target=0)
    assert rows == [1, 4, 1, 4]
    with without_probe():
        method.attribute(x, target=0)
    assert rows == [1, 4, 1, 4, 4]


# models in wrappers, lists and odd states


class Listed(nn.Module):
    "Its layers stand in a plain list, unregistered"

    def __init__(self):
        super().__init__()
        self.layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()]
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean((2, 3)))


def test_layers_in_a_plain_list():
    net, x = seeded(Listed), numbers(2, 3, 12, 12)
    for layer in net.layers:
        layer.eval()
    plain = nn.Sequential(*net.layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.head).eval()
    result, layers = AttributionEquilibrium(net).attribute(x, target=1, return_layers=True)
    close(result, AttributionEquilibrium(plain).attribute(x, target=1))
    assert "layers.3" in layers


@pytest.mark.filterwarnings("ignore")
def test_wrappers_are_looked_into_or_named():
    net, x = convolutional(), numbers(2, 3, 16, 16)
    expected = AttributionEquilibrium(net).attribute(x, target=1)
    for model in (
        torch.compile(net, backend="eager"),
        nn.DataParallel(net),
        nn.DataParallel(torch.compile(net, backend="eager")),
    ):
        assert torch.equal(AttributionEquilibrium(model).attribute(x, target=1), expected)
    inside = nn.Sequential(torch.compile(net[:6], backend="eager"), *net[6:])
    close(AttributionEquilibrium(inside).attribute(x, target=1), expected)
    for model in (torch.jit.trace(net, x), torch.jit.script(net), torch.jit.freeze(torch.jit.script(net))):
        close(AttributionEquilibrium(model).attribute(x, target=1), expected)
    compiled_in_place = copy.deepcopy(net)
    compiled_in_place.compile(backend="eager")
    assert torch.equal(AttributionEquilibrium(compiled_in_place).attribute(x, target=1), expected)


def test_lazy_models_are_refused_until_they_have_run():
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)).eval()
    with pytest.raises(ValueError, match=r"lazy layers without weights yet \(0.weight, .*run it once"):
        AttributionEquilibrium(net)
    net(numbers(1, 3, 8, 8))
    assert AttributionEquilibrium(net).attribute(numbers(1, 3, 8, 8), target=1).shape == (1, 3, 8, 8)


def test_pickled_and_copied():
    model, x = seeded(ShapesNet), numbers(2, 3, 48, 48)
    for method in (
        AttributionEquilibrium(model),
        AttributionEquilibrium(ClassScore(model, of="probability")),
        AttributionEquilibrium(model, layer=model.features[4]),
    ):
        expected = method.attribute(x, target=1)
        for other in (pickle.loads(pickle.dumps(method)), copy.deepcopy(method), copy.copy(method)):
            assert torch.equal(other.attribute(x, target=1), expected)


# advice that runs


@pytest.mark.parametrize(
    "operation",
    [
        "torch.fft.fft(h).real",
        "torch.cumprod(h, 1)",
        "h.cumprod(1)",
        "torch.linalg.inv(h + 9 * torch.eye(h.shape[-1]))",
        "torch.special.entr(h.abs() + 1)",
        "torch.lerp(h, h + 1, h)",
        "h.renorm(2, 1, 1.0)",
    ],
)
def test_advice_in_the_missing_rule_runs_as_printed(operation):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.LazyConv2d(4, 3), nn.Linear(4, 2)
            self.f = eval(f"lambda h: {operation}", dict(torch=torch, F=F))

        def forward(self, x):
            return self.head(torch.relu(self.b(self.f(self.a(x)))).mean((2, 3)))

    net, x = Net().eval(), numbers(1, 3, 9, 9)
    net(x)
    rules, printed = dict(RULES), []
    try:
        for _ in range(5):
            try:
                AttributionEquilibrium(net).attribute(x, target=1)
                break
            except NotImplementedError as e:
                printed.append(re.search(r"@register_rule\((.*?)\) above", str(e))[1])
                rule = register_rule(eval(printed[-1], dict(torch=torch, nn=nn)))
                rule(lambda call, r: tuple(torch.zeros_like(x) for x in call.inputs))
        else:
            raise AssertionError(printed)
        assert printed
    finally:
        RULES.clear()
        RULES.update(rules)


def test_the_place_of_a_missing_rule_is_in_the_users_file():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            mixed = torch.cumprod(self.a(x), 1)
            return self.head(self.b(mixed).relu().mean((2, 3)))

    with pytest.raises(
        NotImplementedError, match=r'torch.cumprod at File ".*test_equilibrium.py", line \d+, in forward'
    ):
        AttributionEquilibrium(Net().eval()).attribute(numbers(1, 3, 9, 9), target=0)


@pytest.mark.parametrize("published", [False, True])
def test_parts_of_one_operation_put_together_again(published):
    class Net(nn.Module):
        def __init__(self, together):
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)
            self.together = together

        def forward(self, x):
            h = self.a(x).relu()
            return self.head(self.b(self.together(h)).relu().mean((2, 3)))

    x, found = numbers(2, 3, 9, 9), []
    for together in (
        lambda h: torch.cat(h.chunk(2, 1), 1),
        lambda h: torch.cat(tensors=h.split([1, 3], 1), dim=1),
        lambda h: torch.cat([h.chunk(2, 1)[0], h.chunk(2, 1)[1]], 1),
    ):
        net = seeded(lambda together=together: Net(together))
        found.append(AttributionEquilibrium(net).attribute(x, target=1, published=published))
    assert_close(found[:2], [found[2]] * 2)


def test_the_old_word_for_the_published_program_is_told_of():
    x, method = numbers(1, 3, 16, 16), AttributionEquilibrium(convolutional())
    with pytest.warns(DeprecationWarning, match="official of attribute.* is now called published"):
        old = method.attribute(x, target=1, official=True)
    assert torch.equal(old, method.attribute(x, target=1, published=True))


def test_grey_pictures_repeated_into_three_channels():
    net, x = convolutional(), numbers(2, 1, 16, 16)

    class Grey(nn.Module):
        def __init__(self, how):
            super().__init__()
            self.net, self.how = net, how

        def forward(self, x):
            return self.net(self.how(x))

    three = AttributionEquilibrium(net).attribute(x.repeat(1, 3, 1, 1), target=1).sum(1, keepdim=True)
    for how in (
        lambda x: x.repeat(1, 3, 1, 1),
        lambda x: x.expand(-1, 3, -1, -1),
        lambda x: torch.cat([x, x, x], 1),
        lambda x: torch.tile(x, (1, 3, 1, 1)),
        lambda x: x.repeat_interleave(3, 1),
    ):
        close(AttributionEquilibrium(Grey(how).eval()).attribute(x, target=1), three)


# what is announced, and what is refused in words


def test_the_published_variant_says_where_it_is_not_complete():
    net, x = seeded(lambda: torchvision.models.squeezenet1_1(weights=None), 1), numbers(1, 3, 40, 40)
    with pytest.warns(UserWarning, match=r"deletes relevance at \d+ nodes, most at 'cat"):
        AttributionEquilibrium(net).attribute(x, target=2, published=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=2, published=True)
    with pytest.warns(UserWarning, match="isn't complete"):
        AttributionEquilibrium(convolutional()).compute_convergence_delta(
            torch.zeros(1, 3, 16, 16), None, numbers(1, 3, 16, 16), 0
        )


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=0, rules="relu"),
            "rules must be a dict",
        ),
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(
                numbers(1, 3, 16, 16), target=0, rules={nn.ReLU: 3}
            ),
            "rules must be a dict",
        ),
        (lambda: AttributionEquilibrium(convolutional(), layer=3), "layer must be the name"),
        (lambda: AttributionEquilibrium(convolutional(), layer=[]), "layer must be the name"),
        (
            lambda: AttributionEquilibrium(convolutional(), layer=["5", "nowhere"]).attribute(
                numbers(1, 3, 16, 16), target=0
            ),
            "'nowhere' is not called",
        ),
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=0, ratio="2"),
            "ratio must be a number",
        ),
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=0, ratio=math.nan),
            "ratio",
        ),
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16).to_sparse(), target=0),
            "layout",
        ),
        (
            lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=2**70),
            "out of range",
        ),
        (lambda: AttributionEquilibrium(Complex().eval()).attribute(numbers(1, 3, 16, 16), target=0), "complex"),
    ],
)
def test_more_wrong_calls(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = convolutional()

    def forward(self, x):
        return torch.complex(self.net(x), self.net(x))


def test_one_relu_shared_in_place_or_a_function():
    class Net(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.a, self.b, self.c, self.head, self.act = (
                nn.Conv2d(3, 6, 3),
                nn.Conv2d(6, 6, 3),
                nn.Conv2d(6, 6, 3),
                nn.Linear(6, 3),
                act,
            )

        def forward(self, x):
            return self.head(self.act(self.c(self.act(self.b(self.act(self.a(x)))))).mean((2, 3)))

    x = numbers(2, 3, 12, 12)
    for method in (PathIntegratedGradients, NeFLAG, AttributionEquilibrium):
        first, *others = [
            method(seeded(lambda: Net(act))).attribute(x, target=1)
            for act in (nn.ReLU(), nn.ReLU(inplace=True), torch.relu)
        ]
        for other in others:
            assert_close(other, first, rtol=0, atol=1e-7)


def test_memory_layouts_agree():
    net, x = convolutional(), numbers(2, 3, 16, 16)
    expected = AttributionEquilibrium(net).attribute(x, target=1)
    for same in (x.to(memory_format=torch.channels_last), x.mT.contiguous().mT):
        close(AttributionEquilibrium(net).attribute(same, target=1), expected)


def test_average_pooling_passes_nothing_to_negative_inputs():
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.AvgPool2d(2),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        )
    )
    x = numbers(2, 3, 8, 8)
    _, layers = AttributionEquilibrium(net).attribute(x, target=1, return_layers=True)
    before, relevance = net[0](x).detach(), layers["0"].relevance
    # its window has something positive
    beside = nn.functional.interpolate(nn.functional.max_pool2d(before, 2), scale_factor=2) > 0
    assert ((before < 0) & beside).any() and relevance.abs().max() > 0
    assert relevance[(before < 0) & beside].abs().max() < 1e-5 * relevance.abs().max()


class _Pointwise(nn.Module):
    "Two convolutions with a 1x1 layer between them: a convolution, or a linear layer of the last dimension"

    def __init__(self, linear):
        super().__init__()
        self.first, self.between, self.last = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Linear(4, 6) if linear else nn.Conv2d(4, 6, 1),
            nn.Conv2d(6, 5, 3, padding=1),
        )
        self.head, self.linear = nn.Linear(5, 3), linear

    def forward(self, x):
        x = self.first(x).relu()
        x = self.between(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.linear else self.between(x)
        return self.head(self.last(x.relu()).relu().mean((2, 3)))


def test_a_linear_layer_is_a_convolution_of_one_pixel():
    convolution, linear = (seeded(lambda kind=kind: _Pointwise(kind)) for kind in (False, True))
    state = convolution.state_dict()
    linear.load_state_dict(state | {"between.weight": state["between.weight"].flatten(1)})
    x = numbers(2, 3, 8, 8)
    assert_close(linear(x), convolution(x))
    expected = AttributionEquilibrium(convolution).attribute(x, target=1)
    assert_close(
        AttributionEquilibrium(linear).attribute(x, target=1),
        expected,
        rtol=1e-4,
        atol=1e-6 * expected.abs().max().item(),
    )


class OfABox(nn.Module):
    "Scores of what lies in one box, as the second stage of a detector reads them"

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(72, 2)

    def forward(self, x):
        boxes = [torch.tensor([[2.0, 2.0, 8.0, 8.0]])] * len(x)
        return self.head(torchvision.ops.roi_align(self.body(x), boxes, 3).flatten(1))


def test_the_score_of_a_box_is_explained_by_what_the_box_sees():
    model, x = seeded(OfABox), numbers(2, 3, 16, 16)
    equilibrium_of = AttributionEquilibrium(model)
    a = equilibrium_of.attribute(x, target=1)
    assert (a[:, :, 12:] == 0).all() and (a[:, :, :, 12:] == 0).all()
    assert a[:, :, 2:8, 2:8].abs().sum() > 0.5 * a.abs().sum()
    assert_close(torch.cat([equilibrium_of.attribute(one[None], target=1) for one in x]), a)


class Beginning(nn.Module):
    "A residual network whose branches end in a gain, or in a gated convolution of the weight `gain`"

    def __init__(self, how: str, gain: float = 0.0):
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 4)
        self.last, self.norm, self.how = nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6), how
        self.gain = nn.Parameter(torch.full((6, 1, 1), gain))
        nn.init.constant_(self.norm.weight, gain)
        with torch.no_grad():
            self.last.weight *= gain

    def forward(self, x):
        x = self.stem(x).relu()
        branch = self.body(x).relu()
        if self.how == "without":
            return self.head(x.relu().mean((2, 3)))
        if self.how == "product":
            return self.head(torch.addcmul(x, branch, self.gain).relu().mean((2, 3)))
        gated = self.last(branch) * branch.mean((2, 3), keepdim=True).sigmoid()
        y = {"gain": lambda: branch * self.gain, "norm": lambda: self.norm(branch), "gated": lambda: 2 * gated}
        return self.head((y[self.how]() + x).relu().mean((2, 3)))


@pytest.mark.parametrize("how", ["gain", "norm", "gated", "product"])
def test_a_branch_that_begins_at_zero_is_none(how):
    x = numbers(2, 3, 8, 8)
    without, silent, faint = (
        AttributionEquilibrium(seeded(lambda h=h, g=g: Beginning(h, g).eval())).attribute(x, target=1)
        for h, g in (("without", 0.0), (how, 0.0), (how, 1e-3))
    )
    assert_close(silent, without)
    assert (faint - without).abs().max() > 0.1 * without.abs().max()  # the deeper branch


def test_a_mass_that_is_rounding_counts_as_none():
    X, size, R = numbers(1, 7), numbers(6, 7, seed=1).abs(), numbers(1, 6, seed=2).abs()
    for noise, expected in ((0.0, 2.0), (-1e-7, 2.0), (-1e-2, 0.0)):  # of one sign the sum is 2, of both it is 0
        R[0, 0] = noise
        share = equilibrium_rule(X, R, lambda v: v @ size.T, lambda s: s @ size, thin=True)
        assert abs(share.sum().item() - expected) < 1e-5


class Amplifies(nn.Module):
    "Rounding, here of the size that the number of rows makes, is amplified until it is seen; or rows are counted"

    def __init__(self, counts: bool):
        super().__init__()
        self.counts, self.body, self.head = counts, nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        if self.counts:
            return self.head((self.body(x) / len(x)).relu().mean((2, 3)))
        h = self.body(x).sigmoid() * (1 - 1e-7 * len(x))
        for _ in range(24):
            h = 3.9 * h * (1 - h)
        return self.head(h.relu().mean((2, 3)))


def test_rounding_is_no_influence_of_other_examples():
    x = numbers(2, 3, 5, 5)
    with pytest.warns(UserWarning, match="rounding moves the model's output visibly"):
        AttributionEquilibrium(seeded(lambda: Amplifies(False))).attribute(x, target=1)
    with pytest.raises(ValueError, match="depends on the other examples|rows influence each other"):
        AttributionEquilibrium(seeded(lambda: Amplifies(True))).attribute(x, target=1)
