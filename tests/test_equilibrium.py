"Attribution Equilibrium: the published program's outputs, a slow implementation of its own, the law, torchvision's families, and wrong calls"
import copy
import importlib.util
import math
import sys
import warnings

import pytest
import torch
import torchvision
from captum.attr import NoiseTunnel
from hypothesis import given, settings, strategies as st
from models import convolutional, numbers, seeded
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from attrnb import equilibrium
from attrnb.core import ClassScore
from attrnb.equilibrium import RULES, AttributionEquilibrium, equilibrium_rule, expected_gap, register_rule
from attrnb.samples import ShapesNet

pytestmark = pytest.mark.filterwarnings("ignore:the initial contribution map")


def close(a, b, tolerance=1e-5):
    "Equal relative to the largest value"
    assert a.isfinite().all()
    assert_close(a, b, rtol=0, atol=tolerance * b.abs().max().item())


# the published program


@pytest.mark.parametrize("name", ["tinyvgg", "tinyvgg_bn", "tinyresnet", "tinyresnet_basic", "tinydense", "tinyinception", "alexnet"])
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
        mine = method.attribute(data["x"], target=data["target"], ratio=float(ratio), official=True)
        close(mine, reference, 1e-4)
        assert torch.corrcoef(torch.stack([mine.flatten(), reference.flatten()]))[0, 1] > .99999


# a slow implementation with matrices, one example at a time


def slow_rule(X, R, W, ratio, thin):
    size, x = W.abs(), X.clamp(min=0)
    result = torch.zeros_like(X)
    up, down = R.clamp(min=0).sum(), -R.clamp(max=0).sum()
    for j in range(len(R)):
        plus = R[j] / up if R[j] > 0 else 0.
        minus = R[j] / down if R[j] < 0 else 0.
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
geometries = st.fixed_dictionaries(dict(
    kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 1), st.integers(0, 1)), dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)), groups=st.sampled_from([1, 2, 4]),
    padding_mode=st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]),
))


@settings(max_examples=15, deadline=None)
@given(geometry=geometries, ratio=ratios, seed=st.integers(0, 1000))
def test_any_convolution_against_matrices(geometry, ratio, seed):
    first = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), seed).double()
    hidden = seeded(lambda: nn.Conv2d(4, 4, **geometry), seed + 1).double()
    head = seeded(lambda: nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), seed + 2).double()
    net = nn.Sequential(first, hidden, head).eval()
    x = numbers(2, 3, 6, 5, seed=seed)
    mine = AttributionEquilibrium(net, layer="1").attribute(x.double(), target=1, ratio=ratio)
    for image, attribution in zip(x.double(), mine):
        X = first(image[None]).detach()
        A = hidden(X).detach().requires_grad_()
        R = A * torch.autograd.grad(head(A)[0, 1], A)[0].mean((2, 3), keepdim=True)
        matrix = torch.func.jacrev(lambda v: hidden(v.view_as(X)).flatten())(X.flatten()).detach()
        if geometry["padding_mode"] == "zeros":  # a reflected copy shares its matrix entry with its original, so signs may cancel there
            R = slow_rule(X.flatten(), R.detach().flatten(), matrix, ratio, geometry["kernel_size"] == (1, 1)).view_as(X)
            matrix = torch.func.jacrev(lambda v: first[0](v.view(1, 3, 6, 5)).flatten())(image.flatten()).detach()
            close(attribution, slow_pixels(image.flatten(), R.flatten(), matrix).view_as(image), 1e-8)
        else:
            assert attribution.isfinite().all()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize("kernel", [3, (1, 3), (4, 2)])
def test_paddings_by_name_equal_explicit_ones(padding, kernel):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, kernel, padding=padding), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    x = numbers(2, 3, 9, 9)
    mine = AttributionEquilibrium(net, layer="5").attribute(x, target=0)
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding == "same" and height % 2 == 0:  # one more zero on one side, which no integer says; the kernel enlarged by zeros does
        explicit = nn.Conv2d(4, 4, (5, 3), padding=(2, 1))
        with torch.no_grad():
            explicit.weight.zero_()
            explicit.weight[:, :, 1:, 1:] = net[2].weight
            explicit.bias.copy_(net[2].bias)
        return close(AttributionEquilibrium(nn.Sequential(*net[:2], explicit, *net[3:]).eval(), layer="5").attribute(x, target=0), mine)
    pads = {"same": ((height - 1) // 2, (width - 1) // 2), "valid": 0, 1: 1}[padding]
    explicit = nn.Conv2d(4, 4, kernel, padding=pads)
    explicit.load_state_dict(net[2].state_dict())
    close(AttributionEquilibrium(nn.Sequential(*net[:2], explicit, *net[3:]).eval(), layer="5").attribute(x, target=0), mine)


# the law


def plain_net(widths, batch_norm, pool):
    layers, before = [], 3
    for k, width in enumerate(widths):
        layers += [nn.Conv2d(before, width, 3, padding=1)] + ([nn.BatchNorm2d(width)] if batch_norm else []) + [nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if pool and k == 0 else []
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 4))


class Block(nn.Module):
    def __init__(self, width, shortcut):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.shortcut = nn.Conv2d(width, width, 1) if shortcut else nn.Identity()

    def forward(self, x):
        y = self.body(x)
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


def residual_net(widths, batch_norm, pool):
    width = widths[0]
    blocks = [Block(width, k % 2 == 0) for k in range(len(widths))]
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if pool else []), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


@settings(max_examples=20, deadline=None)
@given(
    make=st.sampled_from([plain_net, residual_net]), widths=st.lists(st.integers(2, 12), min_size=2, max_size=4), batch_norm=st.booleans(), pool=st.booleans(),
    ratio=ratios, seed=st.integers(0, 10_000), skip=st.sampled_from(["main", "equal"]),
)
def test_law_at_every_hidden_convolution(make, widths, batch_norm, pool, ratio, seed, skip):
    net = seeded(lambda: make(widths, batch_norm, pool), seed)
    attribution, layers = AttributionEquilibrium(net).attribute(numbers(2, 3, 12, 12, seed=seed), target=seed % 4, ratio=ratio, skip=skip, return_layers=True)
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
    _, layers = AttributionEquilibrium(net).attribute(numbers(2, 3, 10, 10, seed=seed), target=0, ratio=ratio, return_layers=True)
    for found in layers.values():
        if found.passed_gap is not None and found.operation == "Conv2d" and bool((found.expected_gap - (ratio - 2)).abs().max() < 1e-6):
            assert_close(found.passed_gap, torch.full((2,), ratio - 2), rtol=0, atol=1e-4)
    gaps = torch.stack([found.passed_gap - (ratio - 2) for found in layers.values() if found.passed_gap is not None])
    assert (gaps.abs() < 1e-4).float().mean() > .5  # the rule, not the exception


@settings(max_examples=50, deadline=None)
@given(inputs=st.integers(1, 8), outputs=st.integers(1, 8), ratio=ratios, thin=st.booleans(), seed=st.integers(0, 10_000), sign=st.sampled_from([-1, 0, 1]))
def test_rule_and_gap_of_one_layer(inputs, outputs, ratio, thin, seed, sign):
    X, R, W = numbers(2, inputs, seed=seed, dtype=torch.float64), numbers(2, outputs, seed=seed + 1, dtype=torch.float64), numbers(outputs, inputs, seed=seed + 2, dtype=torch.float64)
    R = R if sign == 0 else sign * R.abs()
    tools = (X, R, lambda x: x @ W.abs().T, lambda s: s @ W.abs(), ratio, thin)
    before = X.clone(), R.clone()
    result = equilibrium_rule(*tools)
    assert_close((X, R), before, rtol=0, atol=0)
    assert_close(result.sum(1), expected_gap(*tools), rtol=0, atol=1e-9)
    assert_close(result, torch.stack([slow_rule(x, r, W, ratio, thin) for x, r in zip(X, R)]), rtol=0, atol=1e-9)


# families


FAMILIES = {
    "vgg11": "features_19", "vgg11_bn": "features_27", "alexnet": "features_12", "resnet18": "layer4_1_relu_1", "resnext50_32x4d": "layer4_2_relu_2",
    "wide_resnet50_2": "layer4_2_relu_2", "densenet121": "features_norm5", "inception_v3": "cat_14", "googlenet": "cat_8", "squeezenet1_0": "cat_7",
    "mobilenet_v2": "features_18_2", "mobilenet_v3_small": "features_12_2", "efficientnet_b0": "features_8_2", "mnasnet0_5": "layers_16",
    "shufflenet_v2_x0_5": "conv5_2", "regnet_y_400mf": "trunk_output_block4_block4_5_activation", "convnext_tiny": "add_17",
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


def test_official_and_default_differ_where_they_should():
    x = numbers(1, 3, 40, 40)
    for make, same in (
        (lambda: plain_net([6, 6], True, True), True), (lambda: torchvision.models.squeezenet1_1(weights=None), False),
        (lambda: torchvision.models.DenseNet(4, (2, 3), 8, 2, num_classes=4), False),
    ):
        model = seeded(make, 1)
        a, b = (AttributionEquilibrium(model).attribute(x, target=2, official=o) for o in (False, True))
        assert torch.equal(a, b) == same
    model = seeded(lambda: residual_net([6, 6], True, True), 1)
    assert_close(*(AttributionEquilibrium(model).attribute(x, target=2, official=o) * (1 if o else 2) for o in (False, True)))


# what must not matter


@pytest.mark.parametrize("make", [lambda: plain_net([8, 8], True, True), lambda: residual_net([8, 8], True, True), ShapesNet])
def test_batch_equals_single_images_and_chunks(make):
    model = seeded(make)
    x, target = numbers(5, 3, 32, 32), [0, 1, 2, 3, 1]
    method = AttributionEquilibrium(model)
    together = method.attribute(x, target=target)
    close(torch.cat([method.attribute(x[i:i + 1], target=t) for i, t in enumerate(target)]), together)
    for size in (1, 2, 3, 100):
        close(method.attribute(x, target=target, internal_batch_size=size), together)
    parts, layers = method.attribute(x, target=target, internal_batch_size=2, return_layers=True)
    close(parts, together)
    assert all(len(found.gap) == 5 for found in layers.values())
    close(layers["input_1" if "input_1" in layers else "x" if "x" in layers else "input"].relevance, together)


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
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)))
    X, R = F.relu(numbers(2, 6, 8, 8)), numbers(2, 6, 6, 6, seed=1)
    W = net[2].weight.detach()
    results = [equilibrium_rule(X, R, lambda x: F.conv2d(x, w.abs()), lambda s: torch.nn.grad.conv2d_input(X.shape, w.abs(), s)) for w in (W, -W)]
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
        assert torch.corrcoef(torch.stack([AttributionEquilibrium(model).attribute(x, target=0).flatten(), single.flatten()]))[0, 1] > .95
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
            self.a, self.b, self.d, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(1, 6, 3), nn.Conv2d(12, 8, 3), nn.Linear(8, 3)

        def forward(self, x, y, scale=None, twice=False):
            h = torch.cat([self.a(x).relu(), self.b(y).relu()], dim=1)
            out = self.c(self.d(h).relu().mean((2, 3)))
            out = out * 2 if twice else out
            return out if scale is None else out * scale[:, None]

    model, x, y = seeded(Two), numbers(3, 3, 10, 10), numbers(3, 1, 10, 10, seed=1)
    method = AttributionEquilibrium(model)
    a, b = method.attribute((x, y), target=[0, 1, 2])
    assert a.shape == x.shape and b.shape == y.shape
    scaled = method.attribute((x, y), target=[0, 1, 2], additional_forward_args=(torch.tensor([1., 2., 5.]), True), internal_batch_size=2)
    for mine, expected in zip(scaled, (a, b)):
        close(mine, expected)  # a factor on the score changes nothing
    assert_close(a.sum((1, 2, 3)) + b.sum((1, 2, 3)), torch.zeros(3), rtol=0, atol=.9)


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
    assert not torch.equal(AttributionEquilibrium(ClassScore(model, of="probability")).attribute(x, target=1), logit.attribute(x, target=1))


def test_under_a_noise_tunnel():
    assert NoiseTunnel(AttributionEquilibrium(convolutional())).attribute(numbers(1, 3, 16, 16), nt_samples=3, target=0).shape == (1, 3, 16, 16)


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
    with pytest.warns(UserWarning, match=r"examples \[0, 1\]"):
        assert AttributionEquilibrium(net).attribute(numbers(2, 3, 8, 8), target=0).abs().max() == 0


# rules of one's own, and wrong calls


class Doubling(nn.Module):
    def forward(self, x):
        return torch.fft.ifft(2 * torch.fft.fft(x)).real


def test_own_rules():
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Doubling(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(2), nn.Flatten(), nn.Linear(4 * 36, 2)).eval(), numbers(2, 3, 10, 10)
    with pytest.raises(NotImplementedError, match="(?s)getattr.*register_rule"):
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
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(NotImplementedError, match=r"(?s)node '_2' is a torch.nn.*ConvTranspose2d \(module '2'\).*@register_rule\(torch.nn"):
        AttributionEquilibrium(net, layer="3").attribute(numbers(1, 3, 8, 8), target=0)

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            h = torch.cumsum(self.a(x).relu(), 1)
            return self.c(self.b(h).relu().mean((2, 3)))

    with pytest.raises(NotImplementedError, match=r"(?s)cumsum.*test_equilibrium.py.*in forward.*cumsum"):
        AttributionEquilibrium(Functional().eval()).attribute(numbers(1, 3, 8, 8), target=0)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Assigning(nn.Module):
    def forward(self, x):
        x = x * 1
        x[:, 0] = 0
        return x


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AttributionEquilibrium(lambda x: x), "must be a torch.nn.Module"),
        (lambda: AttributionEquilibrium(nn.Sequential(nn.Conv2d(3, 4, 3), Branching()).eval()), r"module '1' \(Branching\)"),
        (lambda: AttributionEquilibrium(nn.Sequential(nn.Conv2d(3, 4, 3), Assigning()).eval()), "item assignment"),
        (lambda: AttributionEquilibrium(convolutional(), layer="body"), "known|among those"),
        (lambda: AttributionEquilibrium(convolutional(), layer=nn.ReLU()), "not called by the model"),
        (lambda: AttributionEquilibrium(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()).attribute(numbers(1, 3, 4, 4), target=0), "layer='name'"),
        (lambda: AttributionEquilibrium(convolutional(), layer="9").attribute(numbers(1, 3, 16, 16), target=0), "feature map"),
        (lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=9), "out of range"),
        (lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16) * math.nan, target=0), "NaN"),
        (lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=0, ratio=math.inf), "ratio"),
        (lambda: AttributionEquilibrium(convolutional()).attribute(numbers(1, 3, 16, 16), target=0, skip="none"), "skip"),
        (lambda: register_rule(), "register_rule"),
        (lambda: register_rule(3), "register_rule"),
    ],
)
def test_wrong_calls(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_registry_is_whole():
    assert all(callable(rule.function) for rule in equilibrium.RULES.values())
    assert {nn.Conv2d, F.conv2d, nn.ReLU, F.relu, "relu", torch.cat} <= set(RULES)
