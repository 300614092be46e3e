"""Everything on the pretend accelerator: the same numbers as on the CPU, nothing that CUDA would refuse, and few waits

The bounds on waiting are counts of whole calls: `waits` are times that the host waited for numbers of the device,
`moves` tensors that went from one to the other.
"""

import copy
import functools
import warnings

import captum.attr
import pretend_device
import pytest
import test_benchmark
import test_plots
import torch
from models import TwoInputs, convolutional, mlp, numbers
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from attrnb import measures, methods
from attrnb.core import ClassScore, generator_states, gradients
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.explore import explore
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI, PathFamily, PublishedGeodesicIG
from attrnb.measures import SUBSTRATES
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients

DEVICE = pretend_device.start()
pytestmark = pytest.mark.skipif(DEVICE is None, reason="this version of torch knows no devices made in Python")


def on(device, value):
    "Tensors and modules in a value, on the device"
    return pytree.tree_map_only((torch.Tensor, torch.nn.Module), lambda o: copy.deepcopy(o).to(device), value)


def tensors_of(value):
    "The tensors in whatever a function returned, by place"
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_of(v)]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors_of(v)]
    return tensors_of(vars(value)) if hasattr(value, "__dataclass_fields__") else []


# The device itself


def test_it_refuses_what_cuda_refuses():
    x, here = torch.rand(2, 3).to(DEVICE), torch.rand(2, 3)
    for wrong in (
        lambda: x + here,
        lambda: here + x,
        lambda: torch.cat([x, here]),
        lambda: x @ here.T,
        lambda: here[torch.tensor([0]).to(DEVICE)],
        lambda: here.add_(x),
        lambda: x.index_add_(0, torch.tensor([0, 1]), x),
        lambda: x.gather(1, torch.zeros(2, 1, dtype=torch.long)),
        lambda: torch.nn.functional.linear(x, here),
        lambda: torch.where(here > 0, x, x),
        lambda: torch.stack([x.sum(), here.sum()]),
        lambda: torch.randn(3, device=DEVICE, generator=torch.Generator()),
        lambda: x.normal_(generator=torch.Generator()),
    ):
        with pytest.raises(RuntimeError, match="device"):
            wrong()
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()
    with pytest.raises(TypeError):
        torch.from_numpy(x)


def test_it_takes_what_cuda_takes():
    here = torch.rand(4, 3)
    x = here.to(DEVICE)
    assert x.device == torch.device(DEVICE) and x.new_zeros(2).device == x.device and (x + 1).device == x.device
    assert_close((x * torch.tensor(2.0)).cpu(), here * 2)
    assert_close(x[torch.tensor([2, 0])].cpu(), here[[2, 0]])
    x[x > 0.5] = 0.0
    assert_close(x.cpu(), here.masked_fill(here > 0.5, 0.0))
    assert_close(x[1:, :2].T.contiguous().cpu(), here.masked_fill(here > 0.5, 0.0)[1:, :2].T)
    before = torch.get_rng_state()
    assert torch.rand(3, device=DEVICE).unique().numel() == 3 and torch.equal(torch.get_rng_state(), before)


def test_it_counts():
    x = torch.rand(4).to(DEVICE)
    for waits, moves, work in (
        (0, 0, lambda: (x * 2).sum()),
        (1, 0, lambda: x.sum().item()),
        (1, 0, lambda: bool((x > 0).all())),
        (1, 1, lambda: x.cpu()),
        (1, 1, lambda: x.tolist()),
        (1, 0, lambda: x.nonzero()),
        (1, 0, lambda: x[x > 0.5]),
        (0, 0, lambda: torch.where(x > 0.5, x, 0.0)),
        (0, 1, lambda: torch.tensor([1.0], device=DEVICE)),
        (0, 1, lambda: torch.ones(2).to(DEVICE)),
        (0, 0, lambda: x.to(DEVICE, torch.float64)),
        (0, 0, lambda: torch.arange(3, device=DEVICE)),
        (1, 0, lambda: torch.equal(x, x)),
    ):
        with pretend_device.counting() as counts:
            work()
        assert (counts.synchronisations, counts.transfers) == (waits, moves), counts
    a = x.clone().requires_grad_()
    assert_close(torch.autograd.grad((a**3).sum(), a)[0].cpu(), 3 * x.cpu() ** 2)


# Methods

X, POOL, IMAGES = (
    numbers(8, 6),
    numbers(30, 6, seed=1),
    torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0)),
)
TWO = numbers(4, 4), numbers(4, 2, 3, seed=1)
LABELS, SMOOTH, NET, PAIR = [0, 1, 2, 0, 1, 2, 0, 1], mlp(smooth=True), convolutional(), TwoInputs().eval()


def _equal_on_both(work, *values, rtol=1e-4, atol=1e-5, stays=True):
    "The counts of the work on the device, after comparing its results with those on the CPU"
    expected = tensors_of(work("cpu", *values))
    given = on(DEVICE, values)
    with pretend_device.counting() as counts:
        result = work(DEVICE, *given)
    found = tensors_of(result)
    assert len(found) == len(expected) > 0
    assert not stays or found[0].device == torch.device(DEVICE)
    for a, b in zip(found, expected, strict=True):
        assert_close(a.detach().cpu(), b.detach(), rtol=rtol, atol=atol, equal_nan=True)
    return counts


def _knn(device, net, x, pool, **settings):
    call = {k: settings.pop(k) for k in ("integral_tolerance", "return_convergence_delta") if k in settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GeodesicIGKNN(net, pool, **settings).attribute(x, target=LABELS[: len(x)], return_paths=True, **call)


def _variational(device, net, x, pool, through=False, family=None):
    method = GeodesicIGSVI(net, pool if through else None, family=family)
    return method.attribute(x, target=LABELS[: len(x)], return_paths=True)


def _published(device, net, x):
    return PublishedGeodesicIG(net).attribute(
        x, target=LABELS[: len(x)], return_paths=True, num_iterations=6, n_steps=10
    )


def _pair(kind, /, **settings):
    def work(device, net, pair):
        scale = torch.linspace(1, 2, 4).to(device)
        return kind(net).attribute(pair, target=[0, 1, 2, 0], additional_forward_args=scale, **settings)

    return work


def _of(kind, /, **settings):
    return lambda device, net, x: kind(net).attribute(x, target=LABELS[: len(x)], **settings)


# name -> (work, its tensors, most waits, most moves)
METHODS = {
    "gradients": (lambda device, net, x: gradients(net, x, LABELS, return_scores=True), (SMOOTH, X), 8, 4),
    "gradients of many chunks": (
        lambda device, net, x: gradients(net, x, 1, internal_batch_size=1),
        (SMOOTH, X),
        16,
        6,
    ),
    "integrated gradients": (_of(PathIntegratedGradients, return_convergence_delta=True), (SMOOTH, X), 16, 8),
    "trapezoid in chunks": (
        _of(PathIntegratedGradients, method="riemann_trapezoid", n_steps=8, internal_batch_size=16),
        (SMOOTH, X),
        20,
        8,
    ),
    "along corners": (
        lambda device, net, x: PathIntegratedGradients(net).attribute(
            x, target=1, path=torch.stack([x * 0, x * x, x], 1)
        ),
        (SMOOTH, X),
        18,
        8,
    ),
    "two inputs": (_pair(PathIntegratedGradients, n_steps=10), (PAIR, TWO), 18, 10),
    "convergence": (
        lambda device, net, x: PathIntegratedGradients(net).compute_convergence_delta(x, None, x, 1),
        (SMOOTH, X),
        8,
        4,
    ),
    "flux": (_of(NeFLAG, n_points=4, return_flux=True), (SMOOTH, X), 24, 12),
    "flux of vectors": (
        _of(NeFLAG, n_points=3, aggregate="vector", radius_unit="rms", internal_batch_size=8),
        (SMOOTH, X),
        36,
        12,
    ),
    "flux within": (_of(NeFLAG, n_points=2, clamp=(0.0, 1.0)), (NET, IMAGES), 24, 12),
    "flux of two inputs": (_pair(NeFLAG, n_points=3), (PAIR, TWO), 26, 14),
    "graph": (_knn, (SMOOTH, X, POOL), 150, 160),
    "graph by magnitude": (
        functools.partial(_knn, weight="w1", n_steiner=2, return_convergence_delta=True),
        (SMOOTH, X, POOL),
        160,
        170,
    ),
    "graph of the inputs": (
        lambda device, net, x: _knn(device, net, x, None, n_neighbors=4, integral_tolerance=None),
        (SMOOTH, X),
        130,
        160,
    ),
    "graph by length": (functools.partial(_knn, weight="euclidean", direct=False), (SMOOTH, X, POOL), 130, 150),
    "variational": (_variational, (SMOOTH, X, POOL), 45, 30),
    "variational through a pool": (functools.partial(_variational, through=True), (SMOOTH, X, POOL), 220, 200),
    "variational, spread": (functools.partial(_variational, family=PathFamily(n_samples=4)), (SMOOTH, X, POOL), 50, 30),
    "variational, wide": (functools.partial(_variational, family=PathFamily(n_samples=64)), (SMOOTH, X, POOL), 50, 30),
    "variational, published": (_published, (SMOOTH, X), 36, 20),
    "variational, coarse": (
        lambda device, net, x: GeodesicIGSVI(net).attribute(
            x, target=1, resolution=4, rounds=1, n_segments=4, max_iterations=2
        ),
        (mlp(432, smooth=True), IMAGES.flatten(1)),
        70,
        30,
    ),
    "equilibrium": (_of(AttributionEquilibrium), (NET, IMAGES), 10, 6),
    "equilibrium with layers": (
        _of(AttributionEquilibrium, return_layers=True, ratio=1.5, skip="equal"),
        (NET, IMAGES),
        10,
        6,
    ),
    "equilibrium, published": (
        _of(AttributionEquilibrium, published=True, internal_batch_size=1),
        (NET, IMAGES),
        14,
        6,
    ),
    "equilibrium of a probability": (
        lambda device, net, x: AttributionEquilibrium(ClassScore(net, of="probability")).attribute(x, target=1),
        (NET, IMAGES),
        14,
        6,
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same_on_the_device(name):
    work, values, most_waits, most_moves = METHODS[name]
    counts = _equal_on_both(work, *values, rtol=1e-3, atol=1e-4)
    print(name, counts.synchronisations, counts.transfers, counts.by_name)
    assert counts.synchronisations <= most_waits and counts.transfers <= most_moves, counts


def test_a_family_launches_as_much_for_many_samples_and_rows():
    "The same example once and eight times, so that all searches take as many steps"
    found = {}
    for n_samples in (4, 64):
        for rows in (1, 8):
            x = X[:1].repeat(rows, 1).to(DEVICE)
            method = GeodesicIGSVI(on(DEVICE, SMOOTH), family=PathFamily(n_samples=n_samples))
            with pretend_device.counting() as counts:
                method.attribute(x, target=1, return_paths=True)
            found[n_samples, rows] = counts
    print({key: (c.synchronisations, c.transfers, c.operations) for key, c in found.items()})
    assert max(c.synchronisations for c in found.values()) <= 50
    operations = [c.operations for c in found.values()]
    assert max(operations) <= 1.01 * min(operations)


def test_what_draws_on_the_device_is_told_of():
    net, x = mlp().to(DEVICE), numbers(3, 6).to(DEVICE)
    with pytest.warns(UserWarning, match="draws random numbers .bernoulli"):
        gradients(lambda z: net(z) + 1e-9 * torch.bernoulli(torch.full_like(z[:, :3], 0.5)), x, 1)
    state, draws = generator_states([x, "a word", 3.0]), [torch.device(DEVICE), x]
    torch.rand(2)
    assert not all(map(torch.equal, state, generator_states(draws)))
    state = generator_states(draws)
    torch.rand(2, device=DEVICE)
    assert len(state) == 2 and not torch.equal(state[1], generator_states(draws)[1])
    assert torch.equal(state[0], generator_states(draws)[0])


def test_the_chunk_decides_how_often_one_waits():
    "Waits of a gradient: for the check of what comes in and out, and for each chunk; not for each row"
    found = {}
    for rows in (8, 4, 2):
        with pretend_device.counting() as counts:
            gradients(on(DEVICE, SMOOTH), X.to(DEVICE), LABELS, internal_batch_size=rows)
        found[rows] = counts
    per_chunk = [
        (found[b].synchronisations - found[a].synchronisations) / (8 // b - 8 // a) for a, b in ((8, 4), (4, 2))
    ]
    assert max(per_chunk) <= 2, per_chunk
    per_chunk = [(found[b].transfers - found[a].transfers) / (8 // b - 8 // a) for a, b in ((8, 4), (4, 2))]
    assert max(per_chunk) <= 2, per_chunk


class Residual(torch.nn.Module):
    "Two blocks that are added to what went round them"

    def __init__(self):
        super().__init__()
        self.stem, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 3)
        self.one, self.other = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        h = self.stem(x).relu()
        h = (h + self.one(h)).relu()
        h = (h + self.other(h)).relu()
        return self.head(h.mean((2, 3)))


def test_equilibrium_waits_once_for_a_chunk_of_a_network_with_additions():
    "For all that it asks: whether gradients are finite, and which factors are zero"
    method, found = AttributionEquilibrium(on(DEVICE, Residual().eval())), {}
    for rows in (4, 2, 1):
        with pretend_device.counting() as counts:
            method.attribute(IMAGES[:1].repeat(4, 1, 1, 1).to(DEVICE), target=0, internal_batch_size=rows)
        found[rows] = counts.synchronisations
    assert found[1] - found[2] == 2 * (found[2] - found[4]) <= 2, found


# Measures

A, BALANCED = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(1)) - 0.5, [0, 1, 2]
MASKS = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(2)) < 0.3
MAPS = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(3)).double()


def _faithfulness(name, **settings):
    return lambda device, net, x, a: getattr(measures, name)(net, x, a, BALANCED, **dict(unit=4) | settings)


def _twice(name, **settings):
    return lambda device, a, b: getattr(measures, name)(a, b, **settings)


def _settings_of(name):
    return dict(score="log_probability") if name in ("log_odds", "cross_entropy_after_masking") else {}


def _explain(net):
    return lambda inputs, target=None, **settings: gradients(net, inputs, target)


MEASURES = {
    # three waits are the check of rows
    **{
        name: (_faithfulness(name, **_settings_of(name)), (NET, IMAGES, A), 11, 12)
        for name in (
            "deletion",
            "insertion",
            "difference",
            "comprehensiveness",
            "sufficiency",
            "log_odds",
            "cross_entropy_after_masking",
            "accuracy_after_masking",
        )
    },
    **{
        f"deletion, {s}": (_faithfulness("deletion", substrate=s, masking_steps=3), (NET, IMAGES, A), 8, 14)
        for s in SUBSTRATES
    },
    "faithfulness_curves": (
        _faithfulness("faithfulness_curves", ties="random", internal_batch_size=8, masking_steps=6),
        (NET, IMAGES, A),
        24,
        40,
    ),
    "unit_numbers": (lambda device, x: measures.unit_numbers(x, 5), (IMAGES,), 0, 0),
    "unit_importance": (lambda device, a: measures.unit_importance(a, 4, "channel_mean"), (A,), 4, 1),
    "substrate_of": (lambda device, x: [measures.substrate_of(x, s) for s in SUBSTRATES], (IMAGES,), 0, 4),
    "random_map": (lambda device, x: measures.random_map(x, 4), (IMAGES,), 2, 2),
    "random_floor": (
        lambda device, net, x: measures.random_floor(net, x, BALANCED, 2, unit=4, masking_steps=4),
        (NET, IMAGES),
        20,
        24,
    ),
    "greedy_order": (
        lambda device, net, x: measures.greedy_order(net, x, BALANCED, rounds=3, unit=4),
        (NET, IMAGES),
        30,
        30,
    ),
    "greedy_ceiling": (
        lambda device, net, x: measures.greedy_ceiling(net, x, BALANCED, 3, unit=6, masking_steps=4),
        (NET, IMAGES),
        30,
        40,
    ),
    "protocol_power": (
        lambda device, net, x, a: measures.protocol_power(
            net, x, a, BALANCED, n_samples=2, rounds=2, unit=6, masking_steps=3
        ),
        (NET, IMAGES, A),
        50,
        60,
    ),
    "centre_map": (lambda device, x: measures.centre_map(x), (IMAGES,), 0, 1),
    "uniform_map": (lambda device, x: measures.uniform_map(x), (IMAGES,), 0, 0),
    "linear_imputation": (
        lambda device, x, m: measures.linear_imputation(x, m[:, None], tolerance=1e-4),
        (IMAGES, MASKS),
        40,
        4,
    ),
    "class_sensitivity": (
        lambda device, a, x, m: measures.class_sensitivity(a, x, m, ~m),
        (A, IMAGES, MASKS),
        20,
        12,
    ),
    "image_grids": (lambda device, x: measures.image_grids(x, 1), (IMAGES,), 0, 0),
    "cell_masks": (lambda device, x: measures.cell_masks(3, x), (IMAGES,), 2, 2),
    "images_needed": (lambda device, a: torch.tensor(measures.images_needed(a[:, 0, 0, 0])), (A,), 6, 6),
    "pointing_game": (_twice("pointing_game", margin=1), (A, MASKS), 6, 4),
    "energy_inside": (_twice("energy_inside"), (A, MASKS), 6, 4),
    "outside_inside_ratio": (_twice("outside_inside_ratio"), (A, MASKS), 6, 4),
    "outside_inside_share": (_twice("outside_inside_share"), (A, MASKS), 6, 4),
    "intersection_over_union": (
        lambda device, a, m: [measures.intersection_over_union(a, m, t) for t in ("area", "mean", 0.5)],
        (A, MASKS),
        16,
        10,
    ),
    "completeness_error": (
        lambda device, net, x, a: measures.completeness_error(net, x, a, BALANCED, relative=True),
        (NET, IMAGES, A),
        8,
        8,
    ),
    "cancellation_gap": (
        lambda device, net, x, a: measures.cancellation_gap(net, x, a, BALANCED),
        (NET, IMAGES, A),
        8,
        8,
    ),
    "dummy_sensitivity": (_twice("dummy_sensitivity"), (MAPS, MASKS), 4, 2),
    "layer_conservation": (lambda device, a, b: measures.layer_conservation({"a": a, "b": b}), (MAPS, 2 * MAPS), 4, 2),
    "batch_independence": (
        lambda device, net, x: measures.batch_independence(_explain(net), x, BALANCED),
        (NET, IMAGES),
        40,
        40,
    ),
    "sensitivity_max": (
        lambda device, net, x: measures.sensitivity_max(_explain(net), x, BALANCED, n_samples=3),
        (NET, IMAGES),
        40,
        60,
    ),
    "infidelity": (
        lambda device, net, x, a: measures.infidelity(net, x, a, BALANCED, n_samples=5, unit=4),
        (NET, IMAGES, A),
        16,
        30,
    ),
    "rank_correlation": (_twice("rank_correlation"), (MAPS, MAPS.flip(0).contiguous()), 6, 2),
    "structural_similarity": (_twice("structural_similarity"), (MAPS, MAPS.flip(0).contiguous()), 6, 2),
    "randomisation_cascade": (
        lambda device, net, x: measures.randomisation_cascade(net, _explain(net), x, BALANCED).similarity,
        (NET, IMAGES),
        90,
        120,
    ),
    "purity": (lambda device, a: torch.tensor(measures.purity(a, torch.tensor([0, 1, 1]).to(device))), (MAPS,), 6, 4),
    "purity_area": (lambda device, p: measures.purity_area(p, [0.0, 0.5, 1.0]), (torch.rand(2, 3).double(),), 2, 3),
    "box_masks": (
        lambda device, boxes: measures.box_masks(boxes, 6, 7).float(),
        (torch.tensor([[0.0, 1.0, 4.0, 5.0], [1.0, 1.0, 2.0, 2.0]]),),
        4,
        4,
    ),
    "as_quantus": (
        lambda device, net, x: torch.from_numpy(
            methods.as_quantus(captum.attr.Saliency)(net, x.cpu().numpy(), BALANCED, device=device)
        ),
        (NET, IMAGES),
        4,
        6,
    ),
}
ON_THE_HOST = ("purity", "box_masks", "as_quantus", "purity_area", "images_needed")  # whose result is not on the device


def test_every_measure_is_here():
    told = {name for name in measures.__all__ if name[0].islower() and callable(getattr(measures, name))}
    assert told <= set(MEASURES), told - set(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_the_same_on_the_device(name):
    work, values, most_waits, most_moves = MEASURES[name]
    counts = _equal_on_both(work, *values, stays=name not in ON_THE_HOST)
    print(name, counts.synchronisations, counts.transfers, counts.by_name)
    assert counts.synchronisations <= most_waits and counts.transfers <= most_moves, counts


# Pictures, the benchmark, the explorer


@pytest.mark.parametrize("name", test_plots.NAMES)
def test_a_picture_is_the_same_from_the_device(name):
    assert test_plots.drawn(test_plots.every_picture(device=DEVICE)[name]()) == test_plots.drawn(
        test_plots.every_picture()[name]()
    )


def test_the_benchmark_is_the_same_on_the_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(test_benchmark.BenchmarkRun, "figure", test_benchmark.undrawn)
    methods = [
        "integrated_gradients(n_steps=8)",
        "neflag(n_points=2)",
        "equilibrium",
        "saliency",
        "input_x_gradient",
        "deep_lift",
        "guided_backprop",
        "grad_cam",
        "random",
        "centre",
        "uniform",
    ]
    wanted = dict(
        methods=methods,
        measures=[m for m in test_benchmark.MEASURES if m != "dummy_sensitivity"],
        masking_steps=4,
        data=test_benchmark.Squares(3),
    )
    model = convolutional()
    model[2].inplace = model[5].inplace = False  # DeepLift
    expected = test_benchmark.small("cpu", model=model, **wanted)
    with pretend_device.counting() as counts:
        run = test_benchmark.small("device", model=model, device=DEVICE, **wanted)
    print("benchmark", counts.synchronisations, counts.transfers, counts.by_name)
    assert run.manifest["device"] == DEVICE and next(model.parameters()).device.type == "cpu"
    assert not run.failures and not expected.failures and run.methods == expected.methods
    for a, b in zip(run.rows, expected.rows, strict=True):
        assert a["errors"] == b["errors"] and a["gradient_evaluations"] == b["gradient_evaluations"]
        known = {name: value for name, value in b["values"].items() if value is not None}
        assert {name for name, value in a["values"].items() if value is not None} == set(known)
        for name, value in known.items():  # a number, or the numbers of a vector
            assert a["values"][name] == pytest.approx(value, rel=1e-3, abs=1e-4), (a["method"], name)
    for method in run.methods:
        for example, map_ in expected.attributions(method).items():
            assert_close(run.attributions(method)[example], map_, rtol=1e-3, atol=1e-4)


def test_the_explorer_is_the_same_on_the_device():
    model, x = convolutional(), IMAGES
    found = {}
    for device in ("cpu", DEVICE):
        explorer = explore(
            on(device, model),
            x,
            methods={
                "flux": (NeFLAG, dict(n_points=2)),
                "balance": AttributionEquilibrium,
                "path": (PathIntegratedGradients, dict(n_steps=8)),
            },
        )
        try:
            for name in ("flux", "balance", "path"):
                explorer.panels[0].method = name
                explorer.wait()
                assert explorer.panels[0].state == "done", explorer.panels[0].error
                found[device, name] = explorer.panels[0].result
        finally:
            explorer.close()
    for name in ("flux", "balance", "path"):
        assert_close(found[DEVICE, name].attribution, found["cpu", name].attribution, rtol=1e-3, atol=1e-4)
        assert found[DEVICE, name].score == pytest.approx(found["cpu", name].score, rel=1e-4)


# The program that counts waits by chunk


def test_at_most_one_wait_for_a_chunk(tmp_path, monkeypatch):
    from test_experiments import ROOT, program, rows_of

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = [
        "integrated_gradients", "neflag", "geodesic_versions", "equilibrium", "saliency", "deletion", "log_odds",
        "sensitivity_max", "infidelity",
    ]  # fmt: skip
    program("waits", ROOT / "benchmarks").main(["--only", *names, "--out", str(tmp_path / "waits.csv")])
    rows = rows_of(tmp_path / "waits.csv")
    assert {row["name"] for row in rows} == set(names)
    recorded = {(r["name"], r["case"]): r for r in rows_of(ROOT / "nbs" / "tutorials" / "waits.csv")}
    for row in rows:
        told = recorded[row["name"], row["case"]]
        assert row["passes"] == told["passes"], row
        if row["waits_per_chunk"]:
            assert float(row["waits_per_chunk"]) <= 1, row
        assert int(row["waits"]) <= int(told["waits"]), (row, told)
