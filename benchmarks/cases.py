"What speed.py, waits.py and gpu.py measure: methods and measures as calls, their passes, and those passes alone"

import math
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attrnb.core import ClassScore
from attrnb.geodesic import GeodesicIGKNN
from attrnb.measures import MEASURES, Case
from attrnb.methods import METHODS, attribute

CLASSES = 4
SETTINGS = dict(
    integrated_gradients=dict(n_steps=16),
    captum_integrated_gradients=dict(n_steps=16),
    neflag=dict(n_points=4),
    gradient_shap=dict(n_samples=4),
)


@dataclass(frozen=True)
class Job:
    "One method or measure on one network"

    part: str  # method or measure
    name: str
    case: str  # the network and the inputs
    network: nn.Module
    inputs: Tensor
    run: Callable[[int | None], Tensor]  # rows at once -> what it computes
    rivals: dict[str, Callable[[], Tensor]] = field(default_factory=dict)  # peers that compute the same


def network(kind: str) -> nn.Module:
    "A network with random weights, always the same: table (10 features) or image"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "table":
            layers = [nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, CLASSES)]
        else:
            layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            layers += [nn.Linear(16, CLASSES)]
        return nn.Sequential(*layers).eval()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    "Normal numbers, the same on every device"
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def jobs(batch: int, side: int, rows: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[Job]:
    "Every method and measure on images of a side, those of the tables on rows besides"

    def here(value):
        return value.to(device=device, dtype=dtype)

    image, table = here(network("image")), here(network("table"))
    x, features = here(numbers(batch, 3, side, side)), here(numbers(rows, 10))
    found = [_method(name, "image", image, x) for name in METHODS]
    found += [_method(name, "table", table, features) for name in ("integrated_gradients", "neflag")]
    pool = here(numbers(4 * rows, 10, seed=1))
    knn = GeodesicIGKNN(table, pool)
    few = features[: min(rows, 4)]
    found.append(Job("method", "geodesic_knn", "table", table, few, _quiet(lambda n: _knn(knn, few, n))))
    return found + [_measure(name, image, x) for name in MEASURES]


def _quiet(work: Callable) -> Callable:
    "Without warnings about numbers that are too few for more than speed"
    import warnings

    def run(chunk=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work(chunk)

    return run


def _knn(method: GeodesicIGKNN, x: Tensor, chunk: int | None) -> Tensor:
    return method.attribute(x, target=0, integral_tolerance=None, internal_batch_size=chunk)


def _method(name: str, case: str, net: nn.Module, x: Tensor) -> Job:
    "A method of the registry, explaining the network's own numbers"
    targets = [i % CLASSES for i in range(len(x))]

    def run(chunk):
        how = dict(score="output", settings=SETTINGS.get(name, {}), internal_batch_size=chunk)
        return attribute(name, net, x, targets, **how).attributions

    return Job("method", name, case, net, x, _quiet(run), _captum(name, net, x, targets))


def _captum(name: str, net: nn.Module, x: Tensor, targets: list[int]) -> dict[str, Callable[[], Tensor]]:
    "Captum's own call of the same method, where it has one that draws nothing"
    import captum.attr

    kinds = dict(
        integrated_gradients="IntegratedGradients",
        captum_integrated_gradients="IntegratedGradients",
        saliency="Saliency",
        input_x_gradient="InputXGradient",
        deep_lift="DeepLift",
        guided_backprop="GuidedBackprop",
    )
    if name not in kinds:
        return {}
    method, settings = getattr(captum.attr, kinds[name])(net), SETTINGS.get(name, {})
    wanted = torch.tensor(targets, device=x.device)

    def captum_does(_=None):
        return method.attribute(x.detach().clone().requires_grad_(), target=wanted, **settings).detach()

    return {"Captum": _quiet(captum_does)}


def _measure(name: str, net: nn.Module, x: Tensor) -> Job:
    "A measure of the registry, of the saliency of the network's outputs"
    targets = [i % CLASSES for i in range(len(x))]
    masks = torch.zeros(len(x), *x.shape[2:], dtype=torch.bool)
    masks[:, 2 : x.shape[2] // 2, 2 : x.shape[3] // 2] = True
    maps = numbers(*x.shape, seed=2).to(x)
    score = ClassScore(net, of="probability")
    settings = dict(dummies=masks[:1].to(x.device)) if "dummies" in MEASURES[name].needs else {}
    if "masking_steps" in MEASURES[name].shared:
        settings |= dict(masking_steps=8)
    if "unit" in MEASURES[name].shared:
        settings |= dict(unit=2)

    def explain(inputs, targets, seeds):
        return attribute("saliency", net, inputs, targets, score="output").attributions

    def run(chunk):
        case = Case(score, x, maps, targets, masks.to(x.device), list(range(len(x))))
        case.internal_batch_size, case.explain, case.method = chunk, explain, METHODS["integrated_gradients"]
        return MEASURES[name].compute(case, **settings)

    return Job("measure", name, "image", net, x, _quiet(run))


# The passes of a call, and those passes alone


@contextmanager
def passes(net: nn.Module):
    "The shapes of what passes the network in the body, and whether a gradient is taken of it"
    found = []

    def note(module, given):
        (x,) = given[:1]
        found.append((tuple(x.shape), torch.is_grad_enabled() and x.requires_grad))

    handle = net.register_forward_pre_hook(note)
    try:
        yield found
    finally:
        handle.remove()


def passes_of(job: Job, chunk: int | None = None) -> list[tuple[tuple[int, ...], bool]]:
    "The passes of one call; of Equilibrium, which runs the modules one by one, a pass and its gradient"
    with passes(job.network) as found:
        job.run(chunk)
    if job.name == "equilibrium":
        return [(tuple(job.inputs.shape), True)]
    return found


def bare(net: nn.Module, found: Sequence[tuple[tuple[int, ...], bool]], like: Tensor) -> Callable[[], None]:
    "The floor: the same rows in the same chunks, with a gradient where the call took one, and nothing else"
    points = {shape: torch.zeros(shape, dtype=like.dtype, device=like.device) for shape, _ in found}

    def run(_=None):
        for shape, with_gradient in found:
            if with_gradient:
                x = points[shape].detach().requires_grad_()
                torch.autograd.grad(net(x)[:, 0].sum(), x)
            else:
                with torch.no_grad():
                    net(points[shape])

    return run


def wait(device: torch.device | str):
    "Until the device has done what it was given"
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: torch.device | str = "cpu", least: float = 0.0) -> float:
    "Seconds of a call; on a CPU those of this process. Short calls are repeated until `least` seconds are over"
    clock = time.process_time if torch.device(device).type == "cpu" else time.perf_counter
    n = 0
    wait(device)
    start = clock()
    while n == 0 or clock() - start < least:
        call()
        n += 1
        wait(device)
    return (clock() - start) / n


def median_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    "The median, and the order statistics that hold it with at least 95 %, where there are six values or more"
    values, n = sorted(values), len(values)
    k, below = 0, 0.5**n
    while below + math.comb(n, k + 1) * 0.5**n <= 0.025:
        k += 1
        below += math.comb(n, k) * 0.5**n
    middle = (values[(n - 1) // 2] + values[n // 2]) / 2
    return middle, values[k], values[n - 1 - k]


def error_between(a: Tensor, b: Tensor) -> float:
    "The largest difference in parts of the largest number; infinite where only one has a number"
    a, b = (t.detach().cpu().double().flatten() for t in (a, b))
    if a.shape != b.shape or (a.isfinite() != b.isfinite()).any():
        return math.inf
    a, b = a[a.isfinite()], b[b.isfinite()]
    if not len(a):
        return 0.0
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()
