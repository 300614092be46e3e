"""Properties of the geodesic methods across models, dtypes, batches, chunk sizes and bad input, and the numbers of
the original program
"""

import importlib.util
import inspect
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import convolutional, value_and_warnings
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends
from torch.testing import assert_close
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from attrnb import geodesic
from attrnb.core import ClassScore, CountingForward, TargetScore, per_example, shared
from attrnb.geodesic import (
    EDGE_WEIGHTS,
    LEVELS,
    WIDTHS,
    GeodesicIGKNN,
    GeodesicIGSVI,
    GeodesicIGVersions,
    NeighbourGraph,
    PathFamily,
    PathSearch,
    PublishedGeodesicIG,
    _bridges,
    edge_integrals,
    image_versions,
    minimise_batch,
    nearest_points,
    neighbour_graph,
    path_energy,
    sine_basis,
)
from attrnb.geodesic.slopes import _plain_attention
from attrnb.paths import PathIntegratedGradients
from attrnb.samples import half_moons, half_moons_model, sample_model, shape_images

BASELINE = torch.tensor([[-0.5, -0.5]])


def network(features=2, classes=3, activation=nn.Softplus, seed=0, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, 12), activation(), nn.Linear(12, classes)).to(dtype).eval()


def cloud(n, features=2, seed=0, dtype=torch.float64):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def moons():
    points, labels = half_moons(300, noise=0.15, seed=2)
    model = half_moons_model(points, labels, seed=2, activation="softplus")
    return nn.Sequential(model, nn.LogSoftmax(1)).eval(), points, labels


# --- the original program's numbers


@pytest.fixture(scope="module")
def program(oracles):
    folder = oracles / "geodesic"
    spec = importlib.util.spec_from_file_location("compare", folder / "compare.py")
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    return compare


def graph_of_program(fitted, others, k, n_steiner=0):
    "Inputs, baselines and Steiner points as nodes that are connected to the fitted points only"

    def edges_of(nodes):
        indices, _ = nearest_points(fitted, nodes, k)
        pairs = (
            torch.stack([torch.arange(len(nodes))[:, None].expand_as(indices), indices], 2)
            .reshape(-1, 2)
            .sort(1)
            .values
        )
        return pairs[pairs[:, 0] != pairs[:, 1]].unique(dim=0)

    nodes = torch.cat([fitted, *others])
    edges = edges_of(nodes)
    if n_steiner:
        length = (nodes[edges[:, 0]] - nodes[edges[:, 1]]).norm(dim=1)
        number = (n_steiner * length / length.max()).floor().long().tolist()
        new = [
            nodes[u] + (j + 1) / (n + 1) * (nodes[v] - nodes[u])
            for (u, v), n in zip(edges.tolist(), number, strict=True)
            for j in range(n)
        ]
        nodes = torch.cat([nodes, torch.stack(new)])
        edges = edges_of(nodes)
    inner = edges[(edges < len(fitted)).all(1)].numpy()
    n, label = connected_components(csr_array((np.ones(len(inner)), inner.T), shape=(len(fitted),) * 2), directed=False)
    if n > 1:
        edges = torch.cat([edges, torch.from_numpy(_bridges(fitted, label, n)).sort(1).values])
    return NeighbourGraph(nodes, edges.numpy(), 0, 1, np.arange(len(nodes)))


ORACLES = [
    "relu/knn5",
    "relu/knn15",
    "relu/enh15",
    "relu/knn3_disconnected_steps5",
    "relu/knn5_trapezoid",
    "softplus/knn5",
    "softplus/knn15",
    "relu/pool500_knn5_class0_first60",
    "relu/steiner3_knn5_class0_first60",
]


@pytest.mark.parametrize("key", ORACLES)
@pytest.mark.filterwarnings("ignore:the .* nearest neighbours leave")
def test_knn_equals_program(program, key):
    data, expected = program.L("data.pt"), program.L("knn.pt")[key]
    kind, k = key.split("/")[0], expected["kwargs"]["n_neighbors"]
    model, X, predicted, baseline = program.model(kind), data["X"], data[f"pred_{kind}"], data["baseline"]
    index = expected.get("index", torch.arange(len(X)))
    x = X[index]
    settings_ = dict(
        n_steps=expected["kwargs"]["n_steps"],
        method=expected["kwargs"].get("method", "gausslegendre"),
        integral_tolerance=None,
    )
    weight = "euclidean" if "enh" in key else "conformal"
    found = torch.zeros_like(x)
    for c in (0, 1):
        mine = predicted[index] == c
        if not mine.any():
            continue
        pool = None
        if "pool500" in key:
            pool = graph_of_program(data["train_subset"], [x, baseline], k)
        elif "steiner" in key:
            pool = graph_of_program(x, [baseline], k, 3)
        method = GeodesicIGKNN(model, pool, n_neighbors=k if pool is None else 1, weight=weight, direct=False)
        found[mine] = method.attribute(x[mine], baseline, c, **settings_)
    if "trapezoid" in key:
        found = found * 10 / 11  # Captum's weights add up to 10/11
    assert program.pearson(found, expected["attr"]) > 0.99999
    assert_close(found.to(expected["attr"]), expected["attr"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["relu", "softplus"])
def test_published_variational_equals_program(program, kind):
    data, oracle = program.L("data.pt"), program.L("svi.pt")
    model, x, predicted = program.model(kind), data["X"][:100], data[f"pred_{kind}"][:100]
    for iterations in (0, 1000):
        expected, found = oracle[f"{kind}/it{iterations}"], torch.zeros(100, 2)
        for c in (0, 1):
            mine = predicted == c
            found[mine] = PublishedGeodesicIG(model).attribute(
                x[mine], data["baseline"], c, beta=0.1, num_iterations=iterations
            )
        if iterations == 0:
            assert_close(found, expected["attr"].float(), atol=1e-5, rtol=1e-5)
        else:
            assert program.pearson(found, expected["attr"]) > 0.98


def test_variational_path_lengths(program):
    data = program.L("data.pt")
    model, X, predicted, baseline = program.model("softplus"), data["X"], data["pred_softplus"], data["baseline"]
    length = torch.zeros(len(X))
    for c in (0, 1):
        mine = predicted == c
        length[mine] = (
            GeodesicIGKNN(model, n_neighbors=15, direct=False)
            .attribute(X[mine], baseline, c, return_paths=True)[1]
            .length
        )
    x, target = X[:100], predicted[:100]
    counting = CountingForward(model)
    _, delta, path = GeodesicIGSVI(counting).attribute(
        x, baseline, target, return_convergence_delta=True, return_paths=True
    )
    _, straight = GeodesicIGSVI(model).attribute(x, baseline, target, rounds=0, max_iterations=0, return_paths=True)
    assert path.length.mean() < 1.15 * length[:100].mean()
    # a tenth of what the published procedure took on these
    assert counting.gradient_rows == path.gradient_evaluations <= 100 * 2295
    assert (path.length <= straight.length * (1 + 1e-4)).all()
    assert (delta.abs() <= 1e-3 * path.change.abs().clamp(min=0.01)).all()


# --- graph


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 10), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_nearest_points(n, features, k, seed):
    points, queries = cloud(n, features, seed), cloud(5, features, seed + 1)
    indices, distances = nearest_points(points, queries, k)
    exact = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist").sort(1)
    assert_close(distances, exact.values[:, :k], atol=1e-9, rtol=1e-9)
    assert_close((queries[:, None] - points[indices]).norm(dim=2), distances, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [1, 2, 16, 17])
def test_nearest_points_with_ties_and_duplicates(features, dtype):
    "Whole numbers, many of them equal and equally far: each neighbour once, at the distances of brute force"
    points = cloud(200, features, dtype=dtype).round()
    points = torch.cat([points, points[:50]])
    queries = torch.cat([points[:40], points[:40] + 0.5])
    indices, distances = nearest_points(points, queries, 9)
    exact = torch.cdist(queries.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert_close(distances, exact.sort(1).values[:, :9], atol=1e-9, rtol=1e-9)
    assert_close(exact.gather(1, indices), distances, atol=1e-9, rtol=1e-9)
    assert indices.dtype == torch.int64 and all(len(row.unique()) == 9 for row in indices)


@given(st.integers(1, 6), st.integers(2, 8), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_graph_is_connected_and_simple(islands, k, seed):
    points = torch.cat([cloud(10, 3, seed + i) * 0.1 + 10 * i for i in range(islands)])
    points = torch.cat([points, points[:3]])
    graph = neighbour_graph(points, k)
    assert len(graph) == 10 * islands
    assert len(np.unique(graph.edges, axis=0)) == len(graph.edges) and (graph.edges[:, 0] < graph.edges[:, 1]).all()
    n, _ = connected_components(
        csr_array((np.ones(len(graph.edges)), graph.edges.T), shape=(len(graph),) * 2), directed=False
    )
    assert n == 1 and graph.components >= islands and (graph.bridges > 0) == (graph.components > 1)


def test_many_components_get_a_tree():
    graph = neighbour_graph(torch.cat([cloud(2, 2, i) * 0.01 + 5 * i for i in range(40)]), 2)
    assert (graph.components, graph.bridges) == (40, 39)


# --- both methods


@given(st.integers(0, 1000), st.sampled_from([nn.Softplus, nn.Tanh, nn.ReLU]))
@settings(max_examples=25, deadline=None)
def test_sandwich(seed, activation):
    net, corners = network(4, 1, activation, seed), 2 * cloud(4, 4, seed)
    found = edge_integrals(TargetScore(net, (corners,)), corners, torch.tensor([[0, 1], [1, 2], [2, 3]]), n_steps=200)
    total, change = found.attributions.sum(0).abs().sum(), (net(corners[-1:]) - net(corners[:1])).abs()
    slack = 5e-2 if activation is nn.ReLU else 1e-6
    assert change.item() - slack <= total.item() <= found.w1.sum().item() + 1e-9 <= found.length.sum().item() + 2e-9


METHODS = {
    "knn": lambda f, pool: GeodesicIGKNN(f, pool),
    "w1": lambda f, pool: GeodesicIGKNN(f, pool, weight="w1"),
    "euclidean": lambda f, pool: GeodesicIGKNN(f, pool, weight="euclidean", n_steiner=2, direct=False),
    "svi": lambda f, pool: GeodesicIGSVI(f),
    "svi with pool": lambda f, pool: GeodesicIGSVI(f, pool),
}
MORE = METHODS | {
    "family": lambda f, pool: GeodesicIGSVI(f, family=PathFamily(n_samples=2)),
    "published": lambda f, pool: PublishedGeodesicIG(f),
}
SHORT = {"published": dict(num_iterations=3)}  # settings of the call


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complete_and_bounded(name, dtype):
    net, pool = network(dtype=dtype), cloud(80, dtype=dtype)
    x = cloud(6, seed=1, dtype=dtype)
    A, delta, path = METHODS[name](net, pool).attribute(
        x, -0.5, [0, 1, 2, 0, 1, 2], return_convergence_delta=True, return_paths=True
    )
    assert A.dtype == dtype and A.shape == x.shape
    assert (delta.abs() <= 1e-3 * path.change.abs().clamp(min=0.01)).all()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6
    assert (A.abs().sum(1) <= path.w1 + tolerance).all() and (path.w1 <= path.length + tolerance).all()
    for c, end in zip(path.coordinates, x, strict=True):
        assert_close(c[-1], end)
        assert_close(c[0], torch.full_like(end, -0.5))


@pytest.mark.parametrize("name", METHODS)
def test_batch_equals_examples_and_chunks(name):
    net, pool, x = network(), cloud(60), cloud(5, seed=1)
    baselines, targets = cloud(5, seed=2), [0, 1, 2, 1, 0]
    together = METHODS[name](net, pool).attribute(x, baselines, targets)
    alone = torch.cat(
        [METHODS[name](net, pool).attribute(x[i : i + 1], baselines[i : i + 1], targets[i]) for i in range(5)]
    )
    assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert_close(
        METHODS[name](net, pool).attribute(x, baselines, targets, internal_batch_size=7), together, atol=1e-4, rtol=1e-4
    )
    assert torch.equal(METHODS[name](net, pool).attribute(x, baselines, targets), together)


@pytest.mark.parametrize("name", METHODS)
def test_linear_and_dummy(name):
    weights = torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64)
    x, pool = cloud(4, 3, 1), cloud(40, 3)
    A = METHODS[name](lambda y: y @ weights, pool).attribute(x)
    assert_close(A, weights * x, atol=1e-8, rtol=1e-8)
    assert (A[:, 2] == 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_tuples_and_arguments(name):
    net = network(5, 1)

    def forward(a, b, factor):
        return factor * net(torch.cat([a.flatten(1), b], 1))[:, 0]

    a, b, factor = cloud(12, 1, 1).reshape(3, 2, 2), cloud(3, 1, 2), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    pool = (cloud(40, 4).reshape(40, 2, 2), cloud(40, 1, 3))
    method = METHODS[name](forward, pool)
    found = method.attribute((a, b), None, None, factor)
    assert [f.shape for f in found] == [a.shape, b.shape]
    alone = [
        METHODS[name](forward, pool).attribute((a[i : i + 1], b[i : i + 1]), None, None, factor[i : i + 1])
        for i in range(3)
    ]
    for k in range(2):
        assert_close(found[k], torch.cat([s[k] for s in alone]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_trivial_cases(name):
    net, pool = network(), cloud(30)
    x = torch.cat([cloud(1, seed=4), torch.zeros(1, 2, dtype=torch.float64)])
    A, path = METHODS[name](net, pool).attribute(x, 0, 1, return_paths=True)
    assert (A[1] == 0).all() and (A[0] != 0).any() and path.length[1] == 0
    assert (METHODS[name](lambda y: 0 * y.sum(1), pool).attribute(x) == 0).all()
    with pytest.raises(ValueError, match="NaN"):
        METHODS[name](net, pool).attribute(x * torch.nan, 0, 1)
    with pytest.raises((ValueError, TypeError)):
        METHODS[name](net, pool).attribute(x, torch.zeros(1, 3), 1)
    with pytest.raises(ValueError, match="out of range"):
        METHODS[name](net, pool).attribute(x, 0, 7)


@pytest.mark.parametrize("name", MORE)
@pytest.mark.filterwarnings("ignore:the attributions don't:UserWarning")
def test_leaves_model_and_randomness_alone(name):
    net, pool = network(), cloud(20)
    method, extra = MORE[name](net, pool), SHORT.get(name, {})
    before, seed, numpy_state = (
        {k: v.clone() for k, v in net.state_dict().items()},
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
    )
    first = method.attribute(pool[:2] + 0.1, 0, 1, **extra)
    assert torch.equal(method.attribute(pool[:2] + 0.1, 0, 1, **extra), first)
    assert torch.equal(torch.get_rng_state(), seed) and (np.random.get_state()[1] == numpy_state).all()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters()) and not net.training


# --- kNN


def test_fitted_object_keeps_gradients(moons):
    model, points, _ = moons
    counting = CountingForward(model)
    knn = GeodesicIGKNN(counting, points)
    knn.attribute(points[:20], BASELINE, 1)
    first = counting.gradient_rows
    counting.reset()
    again = knn.attribute(points[20:40], BASELINE, 1)
    assert counting.gradient_rows < first / 2
    assert_close(again, GeodesicIGKNN(model, points).attribute(points[20:40], BASELINE, 1), atol=1e-5, rtol=1e-4)


def test_changed_model_is_noticed():
    net, pool, x = network(), cloud(50), cloud(3, seed=1)
    knn = GeodesicIGKNN(net, pool)
    knn.attribute(x, 0, 1)
    with torch.no_grad():
        net[0].weight.mul_(-1.5)
    assert_close(knn.attribute(x, 0, 1), GeodesicIGKNN(net, pool).attribute(x, 0, 1))
    scaled = GeodesicIGKNN(lambda y, c: c * net(y), pool)
    assert_close(scaled.attribute(x, 0, 1, 2.0) / 2, scaled.attribute(x, 0, 1, 1.0))


def test_direct_edge_is_an_upper_bound(moons):
    model, points, labels = moons
    x, target = points[:30], labels[:30]
    _, path = GeodesicIGKNN(model, points[::20]).attribute(x, BASELINE, target, return_paths=True)
    _, straight = GeodesicIGKNN(model, points[:1]).attribute(x, BASELINE, target, return_paths=True)
    one = GeodesicIGSVI(model).attribute(x, BASELINE, target, rounds=0, max_iterations=0, return_paths=True)[1]
    assert (path.length <= one.length * 1.05 + 1e-3).all()
    assert (straight.length <= one.length * 1.05 + 1e-3).all()


@pytest.mark.filterwarnings("ignore:the .* nearest neighbours leave")
def test_scale_invariance_of_paths(moons):
    model, points, labels = moons
    x, target = points[:10], labels[:10]
    one = GeodesicIGKNN(model, points).attribute(x, BASELINE, target, integral_tolerance=None, return_paths=True)
    seven = GeodesicIGKNN(lambda y: 8 * model(y) + 3, points).attribute(
        x, BASELINE, target, integral_tolerance=None, return_paths=True
    )
    assert all(torch.equal(a, b) for a, b in zip(one[1].nodes, seven[1].nodes, strict=True))
    assert_close(8 * one[0], seven[0], atol=1e-4, rtol=1e-4)


def test_euclidean_weights_with_a_direct_edge_warn():
    net, pool, x = network(), cloud(60), cloud(5, seed=1)
    with pytest.warns(UserWarning, match="Enhanced IG"):
        straight = GeodesicIGKNN(net, pool, weight="euclidean")
    A, path = straight.attribute(x, -0.5, 1, return_paths=True)
    assert path.hops.tolist() == [1] * 5
    assert_close(A, PathIntegratedGradients(net).attribute(x, -0.5, 1, n_steps=200), atol=1e-4, rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for settings_ in (dict(weight="euclidean", direct=False), dict(weight="w1"), dict()):
            GeodesicIGKNN(net, pool, **settings_)


def test_bridges_are_reported():
    net, pool = network(), torch.cat([cloud(20) * 0.1, cloud(20, seed=1) * 0.1 + 5])
    with pytest.warns(UserWarning, match="2 separate components"):
        _, path = GeodesicIGKNN(net, pool, n_neighbors=6, direct=False).attribute(
            pool[-1:], pool[:1], 1, return_paths=True
        )
    assert path.bridges.tolist() == [1]
    assert path.nodes[0][0] == -1 and path.nodes[0][-1] == -2


@pytest.mark.parametrize("pool", [None, cloud(1), torch.cat([cloud(8)] * 3), cloud(2) * 0])
def test_small_and_repeated_pools(pool):
    net, x = network(), cloud(3, seed=1)
    A, delta = GeodesicIGKNN(net, pool).attribute(x, 0, 1, return_convergence_delta=True)
    assert torch.isfinite(A).all() and delta.abs().max() < 1e-5


def test_pool_forms():
    net, pool, x = network(), cloud(40), cloud(3, seed=1)
    expected = GeodesicIGKNN(net, pool).attribute(x, 0, 1)
    labels = torch.zeros(40)
    for other in (
        TensorDataset(pool, labels),
        TensorDataset(pool),
        DataLoader(TensorDataset(pool, labels), batch_size=7),
        DataLoader(pool, batch_size=40),
        list(pool),
    ):
        assert_close(GeodesicIGKNN(net, other).attribute(x, 0, 1), expected)
    for bad, error, text in (
        (torch.zeros(0, 2), ValueError, "empty"),
        (cloud(4, 3), ValueError, "must agree"),
        (3, TypeError, "Dataset"),
        (pool * torch.nan, ValueError, "NaN"),
        ([], ValueError, "empty"),
        (pool.long(), TypeError, "float"),
    ):
        with pytest.raises(error, match=text):
            GeodesicIGKNN(net, bad).attribute(x, 0, 1)


def test_images():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(144, 2)).double().eval()
    x = cloud(2, 192).reshape(2, 3, 8, 8)
    for method in (GeodesicIGKNN(net, cloud(20, 192, 3).reshape(20, 3, 8, 8)), GeodesicIGSVI(net)):
        A, delta = method.attribute(x, 0, [0, 1], return_convergence_delta=True)
        assert A.shape == x.shape and delta.abs().max() < 1e-4
    few = GeodesicIGSVI(net, search=PathSearch(n_modes=3))
    coarse, path = few.attribute(x, 0, [0, 1], resolution=4, rounds=0, return_paths=True)
    bend = path.coordinates[0] - torch.linspace(0, 1, 13, dtype=torch.float64)[:, None, None, None] * x[0]
    assert torch.linalg.matrix_rank(bend.reshape(13, -1)) <= 3
    assert coarse.shape == x.shape


@pytest.mark.parametrize("i", [0, 1])
def test_relaxation_shortens_paths_of_images(i):
    "A ReLU network's line integrals are never exact; that must not turn a much shorter path away"
    x, net = shape_images(2, seed=11).images[i : i + 1], sample_model()
    settings_ = dict(
        target=net(x).argmax(1),
        n_segments=4,
        rounds=0,
        integral_tolerance=1e-2,
        return_convergence_delta=True,
        return_paths=True,
    )
    method = GeodesicIGSVI(ClassScore(net, of="log_probability"))
    _, _, straight = method.attribute(x, 0, max_iterations=0, **settings_)
    _, delta, path = method.attribute(x, 0, max_iterations=6, **settings_)
    assert path.length < 0.4 * straight.length and path.gap < 0.5 * straight.gap
    assert delta.abs() <= 0.01 * path.change.abs().maximum(0.1 * path.length) + 1e-4
    assert path.gradient_evaluations < 500


def test_first_step_is_short_enough_for_steep_functions():
    "Of 0.5 |z|^2 times 10^4, from far away and with a reach that is far too long: progress within three values"
    evaluations = []

    def function(z, rows):
        evaluations.append(len(rows))
        return 5e3 * z.square().sum(1), 1e4 * z

    start = torch.full((1, 50), 3.0, dtype=torch.float64)
    _, value = minimise_batch(function, start, torch.tensor([1e12], dtype=torch.float64), 2, 0.0)
    assert value < 0.3 * 5e3 * start.square().sum() and len(evaluations) <= 3


def test_constructor_errors():
    net = network()
    for bad in (dict(weight="length"), dict(n_neighbors=1), dict(n_steiner=-1)):
        with pytest.raises(ValueError):
            GeodesicIGKNN(net, cloud(5), **bad)
    with pytest.raises(TypeError):
        GeodesicIGKNN(5)
    with pytest.raises(ValueError, match="no path reaches"):
        graph = NeighbourGraph(
            torch.tensor([[0.0, 0.0], [9.0, 9.0]], dtype=torch.float64),
            np.empty((0, 2), dtype=np.int64),
            0,
            2,
            np.arange(2),
        )
        GeodesicIGKNN(net, graph, n_neighbors=1, direct=False).attribute(
            torch.full((1, 2), 8.0, dtype=torch.float64), 0, 1
        )


# --- variational


def test_never_longer_than_its_start(moons):
    model, points, labels = moons
    x, target = points[:20], labels[:20]
    corners = torch.cat([BASELINE.expand(20, 1, 2), points[20:80].reshape(20, 3, 2), x[:, None]], 1)
    for start in ("straight", corners):
        begin = GeodesicIGSVI(model).attribute(
            x, BASELINE, target, start=start, rounds=0, max_iterations=0, return_paths=True
        )[1]
        end = GeodesicIGSVI(model).attribute(x, BASELINE, target, start=start, return_paths=True)[1]
        assert (end.length <= begin.length * (1 + 1e-4)).all()


def test_spread_grows_with_temperature(moons):
    model, points, labels = moons
    spreads = [
        GeodesicIGSVI(model, family=PathFamily(temperature=t))
        .attribute(points[:4], BASELINE, labels[:4], return_paths=True)[1]
        .spread.mean()
        for t in (0.01, 0.1)
    ]
    assert 0 < spreads[0] < spreads[1]


@given(st.integers(2, 30))
@settings(max_examples=10, deadline=None)
def test_sine_basis(n):
    phi = sine_basis(n)
    steps = torch.cat([phi[:1], phi.diff(dim=0), -phi[-1:]])
    assert_close(steps.T @ steps, torch.eye(n - 1, dtype=torch.float64))


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_minimise_batch(seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(5, 4, 4, generator=generator, dtype=torch.float64)
    matrix, center = root @ root.mT + torch.eye(4), torch.randn(5, 4, generator=generator, dtype=torch.float64)

    def bowl(z, rows):
        offset = z - center[rows]
        pull = (matrix[rows] @ offset[..., None])[..., 0]
        return 1 + (offset * pull).sum(1) / 2, pull

    z, value = minimise_batch(
        bowl, torch.zeros(5, 4, dtype=torch.float64), torch.ones(5, dtype=torch.float64), 100, 1e-14
    )
    assert_close(z, center, atol=1e-4, rtol=0)


def test_variational_errors():
    net, x = network(), cloud(2)
    for bad in (
        dict(start="graph"),
        dict(start="bent"),
        dict(start=torch.zeros(2, 3, 5)),
        dict(n_segments=1),
        dict(rounds=-1),
        dict(method="simpson"),
    ):
        with pytest.raises(ValueError):
            GeodesicIGSVI(net).attribute(x, 0, 1, **bad)


# --- kept fits hang on what the score does


def tanh_net():
    "Two features, three classes, curved; float32 as it is mostly used"
    net = network(activation=nn.Tanh, dtype=torch.float32)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(3)
    return net


class Holder:
    "A model in a plain object, with a temperature"

    def __init__(self, net):
        self.net, self.temperature, self.which = net, 1.0, 1

    def predict(self, x):
        return self.net(x) / self.temperature


def by_data(net, holder, argument):
    for p in net.parameters():
        p.data.mul_(1.5)


def by_vector(net, holder, argument):
    vector = nn.utils.parameters_to_vector(net.parameters())
    nn.utils.vector_to_parameters(2 * vector, net.parameters())


def by_training(net, holder, argument):
    points, step = (
        torch.randn(80, 2, generator=torch.Generator().manual_seed(5)),
        torch.optim.SGD(net.parameters(), 0.5),
    )
    for _ in range(20):
        step.zero_grad()
        nn.functional.cross_entropy(net(points), (points[:, 0] > 0).long()).backward()
        step.step()


def by_replaced_parameter(net, holder, argument):
    net[0].weight = nn.Parameter(-net[0].weight.detach())


def by_assigned_state(net, holder, argument):
    net.load_state_dict({k: 1.5 * v for k, v in net.state_dict().items()}, assign=True)


def by_parametrisation(net, holder, argument):
    nn.utils.parametrizations.weight_norm(net[0])
    with torch.no_grad():
        net[0].parametrizations.weight.original0.mul_(2)


def by_forward_hook(net, holder, argument):
    net[0].register_forward_hook(lambda module, inputs, output: 2 * output)


def by_backward_hook(net, holder, argument):
    net[1].register_full_backward_hook(lambda module, inputs, outputs: tuple(3 * g for g in inputs))


def by_other_activation(net, holder, argument):
    net[1] = nn.Softplus()


def by_temperature(net, holder, argument):
    holder.temperature = 0.3


def by_closure_of_the_target(net, holder, argument):
    holder.which = 2


def by_argument_in_place(net, holder, argument):
    argument["shift"].mul_(-4)


def by_number_in_a_dict(net, holder, argument):
    argument["factor"] = 5.0


def by_pool_in_place(net, holder, argument):
    argument["pool"].mul_(0.5)


ROUTES = [
    by_data,
    by_vector,
    by_training,
    by_replaced_parameter,
    by_assigned_state,
    by_parametrisation,
    by_forward_hook,
    by_backward_hook,
    by_other_activation,
    by_temperature,
    by_closure_of_the_target,
    by_argument_in_place,
    by_number_in_a_dict,
    by_pool_in_place,
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda f: f.__name__)
@pytest.mark.filterwarnings("ignore:the (target|attributions):UserWarning", "ignore:no path through:UserWarning")
def test_no_fit_outlives_its_score(route):
    net, holder = tanh_net(), Holder(None)
    holder.net = net
    argument = {"shift": torch.full((1, 3), 0.5), "factor": 1.0, "pool": cloud(80, dtype=torch.float32)}

    def forward(x, offered):
        return offered["factor"] * holder.predict(x) + (offered["shift"] * x.sum(1, keepdim=True)).sin()

    x, start = cloud(6, seed=1, dtype=torch.float32), torch.full((1, 2), -2.0)

    def target(output):
        return output[:, holder.which]

    kept = GeodesicIGKNN(forward, argument["pool"])
    before = kept.attribute(x, start, target, (argument,))
    assert_close(kept.attribute(x, start, target, (argument,)), before)
    route(net, holder, argument)
    after = GeodesicIGKNN(forward, argument["pool"]).attribute(x, start, target, (argument,))
    assert (after - before).abs().max() > 0.05 * after.abs().max(), "the route changes nothing"
    assert_close(kept.attribute(x, start, target, (argument,)), after, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        dict(pool=cloud(60, seed=7)),
        dict(n_neighbors=4),
        dict(weight="w1"),
        dict(n_steiner=3),
        dict(direct=False),
        dict(pool=None),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:(no path through|the .* nearest neighbours leave):UserWarning")
def test_settings_may_be_changed(change):
    net, x = network(activation=nn.Tanh), 2 * cloud(5, seed=1)
    method = GeodesicIGKNN(net, cloud(50))
    method.attribute(x, -2, 1)
    settings_ = dict(pool=method.pool) | change
    for name, value in change.items():
        setattr(method, name, value)
    assert torch.equal(method.attribute(x, -2, 1), GeodesicIGKNN(net, **settings_).attribute(x, -2, 1))
    method.weight = "length"
    with pytest.raises(ValueError, match="length"):
        method.attribute(x, -2, 1)


def test_changed_graph_is_noticed():
    net, x, graph = network(activation=nn.Tanh), cloud(4, seed=1), neighbour_graph(cloud(40), 5)
    method = GeodesicIGKNN(net, graph)
    method.attribute(x, 0, 1)
    graph.points.mul_(1.5)
    assert torch.equal(method.attribute(x, 0, 1), GeodesicIGKNN(net, graph).attribute(x, 0, 1))
    graph.edges = graph.edges[:60]
    assert torch.equal(method.attribute(x, 0, 1), GeodesicIGKNN(net, graph).attribute(x, 0, 1))


def test_variational_pool_and_forward_may_be_changed():
    net, other, x = network(), network(seed=3), cloud(3, seed=1)
    method = GeodesicIGSVI(net, cloud(40))
    method.attribute(x, -0.5, 1)
    method.pool, method.forward_func = cloud(40, seed=9), other
    assert_close(method.attribute(x, -0.5, 1), GeodesicIGSVI(other, cloud(40, seed=9)).attribute(x, -0.5, 1))
    method.pool = None
    assert method.knn is None
    assert_close(method.attribute(x, -0.5, 1), GeodesicIGSVI(other).attribute(x, -0.5, 1))


def test_only_the_last_fits_are_kept():
    net, pool, x = network(), cloud(30), cloud(2, seed=1)
    method = GeodesicIGKNN(net, pool)
    for _ in range(12):
        method.attribute(x, 0, 1)
        with torch.no_grad():
            net[0].weight.mul_(1.001)
    assert len(method._fitted) == 1
    for k in range(12):
        method.attribute(x, 0, lambda output, k=k: output[:, 0] * (k + 1))
    assert len(method._fitted) <= 8
    wide, targets = network(classes=20), list(range(20))
    method, counting = GeodesicIGKNN(counting := CountingForward(wide), pool), counting
    method.attribute(cloud(20, seed=2), 0, targets)
    counting.reset()
    method.attribute(cloud(20, seed=2), 0, targets)
    new_edges = 20 * 31 * 75
    assert len(method._fitted) == 20 and counting.gradient_rows < new_edges, "a call's targets stay for the next call"


def test_arguments_are_kept_by_value():
    net, pool, x = network(), cloud(30), cloud(3, seed=1)
    counting = CountingForward(lambda y, factor, how: factor * net(y) ** how["power"])
    method = GeodesicIGKNN(counting, pool)
    first = method.attribute(x, 0, 1, (torch.tensor(2.0), {"power": 1}))
    rows = counting.gradient_rows
    counting.reset()
    assert_close(method.attribute(x, 0, 1, (torch.tensor(2.0), {"power": 1})), first)
    assert counting.gradient_rows < rows / 2
    assert_close(method.attribute(x, 0, 1, (torch.tensor(4.0), {"power": 1})), 2 * first)


def test_price_of_looking_is_a_row_per_point_and_four_gradients():
    counting, x = CountingForward(network()), cloud(3, seed=1)
    method = GeodesicIGKNN(counting, cloud(30))
    method.attribute(x, 0, 1)

    def forward_rows():
        return counting.rows - counting.gradient_rows

    counting.reset()
    _, paths = method.attribute(x, 0, 1, return_paths=True)
    again, gradients_again = forward_rows(), counting.gradient_rows
    counting.reset()
    _, fresh = GeodesicIGKNN(counting, cloud(30)).attribute(x, 0, 1, return_paths=True)
    assert again == forward_rows() and 34 <= again <= 36
    assert gradients_again == paths.gradient_evaluations < fresh.gradient_evaluations


def test_two_threads_of_one_object():
    net, pool, x = network(activation=nn.Tanh), cloud(60), cloud(8, seed=1)
    shared = GeodesicIGKNN(net, pool)
    expected = [GeodesicIGKNN(net, pool).attribute(x, -1, k) for k in range(3)]
    with ThreadPoolExecutor(4) as threads:
        for k, found in [(k, threads.submit(shared.attribute, x, -1, k)) for k in [0, 1, 2] * 4]:
            assert_close(found.result(), expected[k])


# --- incomplete is said


def slope_of(steepness):
    return lambda x: (steepness * (x.sum(1) - 0.37)).sigmoid()


@pytest.mark.parametrize("steepness", [40, 400, 4000, 40_000])
@pytest.mark.parametrize(
    "make", [lambda f: GeodesicIGKNN(f, cloud(20, 4).abs()), GeodesicIGSVI], ids=["graph", "relaxed"]
)
def test_steep_scores_are_resolved(steepness, make):
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2
    (attribution, delta, paths), messages = value_and_warnings(
        lambda: make(slope_of(steepness)).attribute(x, return_convergence_delta=True, return_paths=True)
    )
    assert delta.abs().max() < 0.01 and not [m for m in messages if "add up" in m]
    assert (attribution > 0).all() and paths.gradient_evaluations < 200_000


def test_a_jump_is_given_up_and_said():
    "No number of nodes sees a jump; the path that crosses it can't be complete"

    def jump(x):
        return (x[:, 0] > 0.3).to(x) + 0.01 * x.sum(1)

    x = torch.rand(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    (_, delta), messages = value_and_warnings(
        lambda: GeodesicIGKNN(jump, cloud(20)).attribute(x, return_convergence_delta=True)
    )
    assert (delta.abs() > 0.9).all()
    told = [m for m in messages if "add up" in m]
    assert len(told) == 1 and "3 of 3 examples (0, 1, 2)" in told[0] and "steeper than its edges can be cut" in told[0]


def test_without_a_tolerance_the_cure_is_a_tolerance():
    _, messages = value_and_warnings(
        lambda: GeodesicIGKNN(slope_of(400), cloud(20, 4).abs()).attribute(
            torch.ones(2, 4, dtype=torch.float64), integral_tolerance=None
        )
    )
    assert ["Give an integral_tolerance, now None" in m for m in messages] == [True]
    _, messages = value_and_warnings(
        lambda: GeodesicIGSVI(slope_of(400)).attribute(
            torch.ones(2, 4, dtype=torch.float64), rounds=0, max_iterations=0, integral_tolerance=None
        )
    )
    assert ["Give an integral_tolerance" in m for m in messages] == [True]


def test_the_published_variant_says_that_it_is_incomplete():
    (_, delta), messages = value_and_warnings(
        lambda: PublishedGeodesicIG(network()).attribute(
            cloud(3), -0.5, 1, num_iterations=3, return_convergence_delta=True
        )
    )
    assert delta.abs().max() > 0.05 and ["published sum is not a line integral" in m for m in messages] == [True]


def test_zero_maps_are_said():
    for method in (GeodesicIGKNN(network(), cloud(20)), GeodesicIGSVI(network())):
        attribution, messages = value_and_warnings(
            lambda method=method: method.attribute(torch.zeros(1, 2, dtype=torch.float64), 0, 1)
        )
        assert (attribution == 0).all() and ["zero everywhere for 1 of 1 example (0)" in m for m in messages] == [True]


def ring(x):
    "A ridge across the straight way from (-1, 0) to (1, 0), open at the side"
    return (-20 * x[:, 0] ** 2).exp() * (1 + 2 * x[:, 1]).clamp(min=0) + x[:, 0]


def test_a_path_that_stays_straight_is_said():
    x, start = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([[-1.0, 0.0]], dtype=torch.float64)
    far = cloud(20) * 0.1 + torch.tensor([0.0, 30.0])
    (attribution, paths), messages = value_and_warnings(
        lambda: GeodesicIGKNN(lambda y: ring(y) + y[:, 1] ** 2, far).attribute(x, start, return_paths=True)
    )
    assert paths.hops.tolist() == [1] and len(messages) == 0, "nothing cancels on one feature's way"

    def crossing(y):
        return 3 * y[:, 0] - 2 * y[:, 1]

    _, messages = value_and_warnings(
        lambda: GeodesicIGKNN(crossing).attribute(torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    )
    assert (
        len(messages) == 1
        and "1 of 1 example (0)" in messages[0]
        and "magnitudes of 5 for a change of 1" in messages[0]
        and "the inputs of this call" in messages[0]
    )
    _, messages = value_and_warnings(
        lambda: GeodesicIGSVI(crossing).attribute(torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    )
    assert len(messages) == 1 and "found no path shorter than the one it started with" in messages[0]
    _, messages = value_and_warnings(
        lambda: GeodesicIGSVI(crossing).attribute(
            torch.tensor([[1.0, 1.0]], dtype=torch.float64), rounds=0, max_iterations=0
        )
    )
    assert messages == [], "nothing was asked for"


@pytest.mark.parametrize(
    "make",
    [lambda f: GeodesicIGKNN(f, cloud(20)), GeodesicIGSVI, lambda f: GeodesicIGSVI(f, cloud(20))],
    ids=["graph", "relaxed", "through a pool"],
)
def test_a_class_that_is_ruled_out_is_said(make):
    def sure(x):
        return torch.stack([10 + x[:, 0], x[:, 1].sin(), x.sum(1).cos()], 1)

    _, messages = value_and_warnings(
        lambda: make(sure).attribute(cloud(4, seed=1), 0, [0, 1, 0, 2], internal_batch_size=8)
    )
    told = [m for m in messages if "below 1 %" in m]
    assert len(told) == 1 and "2 of 4 examples (1, 3)" in told[0]


# --- pools as people have them


def batches(items, n=4, **settings_):
    return DataLoader(items, batch_size=n, **settings_)


@pytest.mark.filterwarnings("ignore:no path through:UserWarning")
def test_pools_of_dicts():
    net, pool, x = network(), cloud(20), cloud(3, seed=1)
    expected = GeodesicIGKNN(net, pool).attribute(x, 0, 1)
    rows = [{"features": row, "label": k, "weight": torch.ones(3)} for k, row in enumerate(pool)]
    for offered in (
        rows,
        batches(rows),
        {"features": pool, "label": torch.arange(20)},
        batches([{"features": row.numpy()} for row in pool]),
    ):
        assert torch.equal(GeodesicIGKNN(net, offered).attribute(x, 0, 1), expected)
        assert torch.equal(GeodesicIGKNN(net, offered, pool_key="features").attribute(x, 0, 1), expected)
        assert torch.equal(
            GeodesicIGSVI(net, offered, pool_key="features").attribute(x, 0, 1),
            GeodesicIGSVI(net, pool).attribute(x, 0, 1),
        )
    twins = [{"left": row, "right": -row} for row in pool]
    with pytest.raises(ValueError, match="'left', 'right'.*pool_key='left'"):
        GeodesicIGKNN(net, twins).attribute(x, 0, 1)
    assert torch.equal(GeodesicIGKNN(net, batches(twins), pool_key="left").attribute(x, 0, 1), expected)
    with pytest.raises(ValueError, match="there are 'left', 'right'"):
        GeodesicIGKNN(net, twins, pool_key="x").attribute(x, 0, 1)
    with pytest.raises(ValueError, match="'text'"):
        GeodesicIGKNN(net, [{"text": "a"}]).attribute(x, 0, 1)
    with pytest.raises(TypeError, match="pool_key"):
        GeodesicIGKNN(net, pool, pool_key="x").attribute(x, 0, 1)


@pytest.mark.filterwarnings("ignore:no path through:UserWarning")
def test_pools_of_dicts_for_two_inputs():
    net, x = network(5), (cloud(2, 2), cloud(2, 3, 1))

    def forward(a, b):
        return net(torch.cat([a, b], 1))

    pool = (cloud(20, 2, 2), cloud(20, 3, 3))
    rows = [{"b": b, "a": a} for a, b in zip(*pool, strict=True)]
    expected = GeodesicIGKNN(forward, pool).attribute(x, None, 1)
    for offered, key in ((rows, None), (batches(rows), None), (rows, ("a", "b"))):
        for ours, wanted in zip(
            GeodesicIGKNN(forward, offered, pool_key=key).attribute(x, None, 1), expected, strict=True
        ):
            assert torch.equal(ours, wanted)


@pytest.mark.filterwarnings("ignore:no path through:UserWarning")
def test_pools_of_batches():
    net, pool, x = network(), cloud(20), cloud(3, seed=1)
    expected = GeodesicIGKNN(net, pool).attribute(x, 0, 1)
    for offered in (
        list(pool.split(7)),
        [(b, torch.zeros(len(b))) for b in pool.split(7)],
        pool.tolist(),
        list(pool.numpy()),
        batches(pool.split(7), n=None),
    ):
        assert torch.equal(GeodesicIGKNN(net, offered).attribute(x, 0, 1), expected)


def test_strange_pools_are_refused_in_words():
    net, x = network(), cloud(2)
    for bad, error, text in (
        ("points", TypeError, "Dataset"),
        (b"ab", TypeError, "Dataset"),
        (["a", "b"], TypeError, "pool item 0"),
        ([None], TypeError, "pool item 0"),
        ({}, ValueError, "pool"),
        ([cloud(3, 4), cloud(4, 4)], ValueError, "must agree"),
        ([cloud(3, 2), cloud(4, 5)], ValueError, "must agree"),
        ((cloud(4), cloud(4)), ValueError, "must agree"),
        (5.0, TypeError, "Dataset"),
        (iter([1]), TypeError, "Dataset"),
    ):
        for method in (GeodesicIGKNN(net, bad), GeodesicIGSVI(net, bad)):
            with pytest.raises(error, match=text):
                method.attribute(x, 0, 1)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(cloud(20))


@pytest.mark.parametrize(
    "loader",
    [
        lambda data: batches(data, shuffle=True),
        lambda data: batches(data, shuffle=True, drop_last=True),
        lambda data: batches(data, sampler=RandomSampler(data)),
        lambda data: batches(data, sampler=SubsetRandomSampler(range(20))),
        lambda data: batches(Stream()),
        lambda data: DataLoader(data, batch_size=None, shuffle=True),
        lambda data: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 3, False)),
    ],
    ids=["shuffled", "last dropped", "random", "subset", "stream", "one by one", "own batches"],
)
@pytest.mark.filterwarnings("ignore:no path through:UserWarning")
def test_reading_a_loader_draws_no_global_number(loader):
    data, net, x = list(cloud(20)), network(), cloud(3, seed=1)
    loader = loader(data)
    if loader.batch_size is None and loader.batch_sampler is None:
        loader = DataLoader(list(cloud(20).split(4)), batch_size=None, shuffle=True)
    state = torch.get_rng_state()
    found, paths = GeodesicIGKNN(net, loader).attribute(x, 0, 1, return_paths=True)
    assert torch.equal(torch.get_rng_state(), state)
    expected, wanted = GeodesicIGKNN(net, cloud(20)).attribute(x, 0, 1, return_paths=True)
    assert torch.equal(found, expected) and all(
        torch.equal(a, b) for a, b in zip(paths.nodes, wanted.nodes, strict=True)
    )


def test_a_weighted_sampler_is_respected():
    sampler = WeightedRandomSampler([1.0] * 5 + [0.0] * 15, 40)
    state, method = torch.get_rng_state(), GeodesicIGKNN(network(), batches(list(cloud(20)), sampler=sampler))
    method.attribute(cloud(2, seed=1), 0, 1)
    assert torch.equal(torch.get_rng_state(), state) and len(method.graph) == 5


# --- contexts, kernels, seeds


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
@pytest.mark.filterwarnings("ignore:(no path through|the attributions don't):UserWarning")
def test_inside_other_contexts(name, context):
    net, extra = network(), SHORT.get(name, {})
    expected = MORE[name](net, cloud(30)).attribute(cloud(3, seed=1), -0.5, 1, **extra)
    with context():
        kept = MORE[name](net, cloud(30))
        found = kept.attribute(cloud(3, seed=1), -0.5, 1, **extra)
        energy, _ = path_energy(
            TargetScore(net, (cloud(2),), 1),
            torch.stack([cloud(2), cloud(2, seed=1), cloud(2, seed=2)], 1),
            torch.arange(2),
        )
    assert_close(found, expected)
    assert_close(kept.attribute(cloud(3, seed=1), -0.5, 1, **extra), expected)
    assert energy.shape == (2,)


def test_few_dimensions_of_the_cloud():
    "One dimension is the straight path's own: the search walks along it"
    paths = GeodesicIGSVI(network(), search=PathSearch(dimensions=1)).attribute(
        cloud(3, seed=1), -0.5, 1, max_iterations=0, return_paths=True
    )[1]
    for corners in paths.coordinates:
        assert torch.linalg.matrix_rank(corners - corners[0], rtol=1e-6) == 1


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return self.out(nn.functional.scaled_dot_product_attention(x, x, x).mean(1))


ATTENTIVE = {
    "kernel": Attention,
    "encoder": lambda: nn.Sequential(
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(36, 3)
    ),
    "multi-head": lambda: type(
        "Heads",
        (nn.Module,),
        dict(
            __init__=lambda s: (
                nn.Module.__init__(s),
                setattr(s, "heads", nn.MultiheadAttention(4, 2, batch_first=True)),
            )[0],
            forward=lambda s, x: s.heads(x, x, x, need_weights=False)[0].mean(1),
        ),
    )(),
}


RELAXED = {  # settings of the call
    "svi": dict(rounds=1, max_iterations=2),
    "family": dict(rounds=1, max_iterations=2),
    "published": dict(num_iterations=3),
}


@pytest.mark.parametrize("name", ATTENTIVE)
@pytest.mark.parametrize("kind", RELAXED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_attention_is_relaxed(name, kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ATTENTIVE[name]().eval()
    x, choice = cloud(2, 36, dtype=torch.float32).reshape(2, 9, 4), _cur_sdpa_kernel_backends()
    attribution, delta = MORE[kind](net, None).attribute(x, 0.1, 1, return_convergence_delta=True, **RELAXED[kind])
    assert attribution.shape == x.shape and attribution.abs().max() > 0
    assert kind == "published" or delta.abs().max() < 0.01
    assert _cur_sdpa_kernel_backends() == choice


def test_the_choice_of_the_kernel_is_put_back_whatever_the_order():
    choice = _cur_sdpa_kernel_backends()
    first, second = ExitStack(), ExitStack()
    first.enter_context(_plain_attention)
    second.enter_context(_plain_attention)
    first.close()
    assert _cur_sdpa_kernel_backends() == [SDPBackend.MATH]
    second.close()
    assert _cur_sdpa_kernel_backends() == choice
    with pytest.raises(KeyError), _plain_attention:
        raise KeyError
    assert _cur_sdpa_kernel_backends() == choice


@pytest.mark.parametrize("kind", RELAXED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_seeds(kind):
    method, x = MORE[kind](network(activation=nn.Tanh), None), cloud(2, seed=1)

    def run(seed):
        return method.attribute(x, -2, 1, seed=seed, **RELAXED[kind])

    state = torch.get_rng_state()
    for seed in (5, np.int32(5), np.int64(5)):
        assert torch.equal(run(seed), run(5))

    def generator():
        return torch.Generator().manual_seed(3)

    assert torch.equal(run(generator()), run(generator()))
    assert run(None).shape == run(-1).shape == run(2**64 - 1).shape == x.shape
    assert torch.equal(torch.get_rng_state(), state)
    for seed, error in (
        (1.5, TypeError),
        ("a", TypeError),
        (True, TypeError),
        (torch.tensor(3), TypeError),
        (2**70, ValueError),
    ):
        with pytest.raises(error, match="seed"):
            run(seed)


# --- settings that can't work


@pytest.mark.parametrize(
    "settings_, error",
    [
        (dict(n_neighbors=2.5), TypeError),
        (dict(n_neighbors=5.0), TypeError),
        (dict(n_neighbors="5"), TypeError),
        (dict(n_neighbors=None), TypeError),
        (dict(n_neighbors=True), TypeError),
        (dict(n_steiner=1.5), TypeError),
        (dict(n_steiner=math.nan), TypeError),
        (dict(n_steiner="2"), TypeError),
        (dict(weight=["w1"]), ValueError),
        (dict(weight=None), ValueError),
    ],
)
def test_wrong_settings_of_the_graph(settings_, error):
    for make in (GeodesicIGKNN, GeodesicIGSVI) if "n_neighbors" in settings_ else (GeodesicIGKNN,):
        with pytest.raises(error):
            make(network(), cloud(5), **settings_)


@pytest.mark.parametrize(
    "settings_, error",
    [
        (dict(integral_tolerance=math.nan), ValueError),
        (dict(integral_tolerance=-1), ValueError),
        (dict(integral_tolerance="small"), TypeError),
        (dict(n_steps=2.0), TypeError),
        (dict(method=["gausslegendre"]), TypeError),
        (dict(baselines=math.nan), ValueError),
        (dict(baselines=math.inf), ValueError),
        (dict(baselines=-math.inf), ValueError),
    ],
)
def test_wrong_calls_of_the_graph(settings_, error):
    with pytest.raises(error):
        GeodesicIGKNN(network(), cloud(5)).attribute(cloud(2), **{"target": 1, **settings_})


@pytest.mark.parametrize(
    "what, settings_, error",
    [
        (PathSearch, dict(spread="0.5"), TypeError),
        (PathSearch, dict(spread=None), TypeError),
        (PathSearch, dict(spread=math.nan), ValueError),
        (PathSearch, dict(spread=0.0), ValueError),
        (PathSearch, dict(dimensions=0), ValueError),
        (PathSearch, dict(n_modes="3"), TypeError),
        (PathSearch, dict(n_modes=0), ValueError),
        (PathSearch, dict(least_steepness="0"), TypeError),
        (PathSearch, dict(least_steepness=None), TypeError),
        (PathSearch, dict(least_steepness=-1), ValueError),
        (PathSearch, dict(least_steepness=math.nan), ValueError),
        (PathSearch, dict(slack="0"), TypeError),
        (PathSearch, dict(slack=None), TypeError),
        (PathSearch, dict(slack=-0.1), ValueError),
        (PathFamily, dict(temperature=0), ValueError),
        (PathFamily, dict(prior_scale=math.inf), ValueError),
        (PathFamily, dict(n_samples=0), ValueError),
        (PublishedGeodesicIG, dict(num_iterations=2.0), TypeError),
        (PublishedGeodesicIG, dict(num_iterations=-1), ValueError),
        (PublishedGeodesicIG, dict(learning_rate=math.nan), ValueError),
        (PublishedGeodesicIG, dict(learning_rate=-1), ValueError),
        (PublishedGeodesicIG, dict(beta=math.nan), ValueError),
        (PublishedGeodesicIG, dict(n_steps=1), ValueError),
        (GeodesicIGSVI, dict(resolution=0), ValueError),
        (GeodesicIGSVI, dict(resolution=-1), ValueError),
        (GeodesicIGSVI, dict(resolution="4"), TypeError),
        (GeodesicIGSVI, dict(max_iterations=2.0), TypeError),
        (GeodesicIGSVI, dict(max_iterations=None), TypeError),
        (GeodesicIGSVI, dict(max_iterations=-1), ValueError),
        (GeodesicIGSVI, dict(relaxation_tolerance="0"), TypeError),
        (GeodesicIGSVI, dict(relaxation_tolerance=math.nan), ValueError),
        (GeodesicIGSVI, dict(integral_tolerance="0"), TypeError),
        (GeodesicIGSVI, dict(integral_tolerance=math.nan), ValueError),
        (GeodesicIGSVI, dict(start=[1, 2]), ValueError),
        (GeodesicIGSVI, dict(start=[None]), TypeError),
        (GeodesicIGSVI, dict(start=torch.full((1, 3, 2), math.nan)), ValueError),
        (GeodesicIGSVI, dict(n_segments=2.5), TypeError),
        (GeodesicIGSVI, dict(n_points=1.0), TypeError),
        (GeodesicIGSVI, dict(baselines=math.nan), ValueError),
        (GeodesicIGSVI, dict(baselines=math.inf), ValueError),
        (GeodesicIGSVI, dict(method=["gausslegendre"]), TypeError),
    ],
)
def test_wrong_calls_of_the_relaxation(what, settings_, error):
    name = next(iter(settings_))
    with pytest.raises(error) as caught:
        if hasattr(what, "attribute"):
            what(network()).attribute(cloud(2), **{"target": 1, **settings_})
        else:
            what(**settings_)
    assert name.removesuffix("s") in str(caught.value)


def test_more_modes_than_segments_are_refused():
    with pytest.raises(ValueError, match="n_modes is 12 and n_segments 12"):
        GeodesicIGSVI(network(), search=PathSearch(n_modes=12)).attribute(cloud(2), target=1)


FORMER = {  # settings of version 0.1 -> the method that has them now, and its settings of the call
    "search": (
        dict(n_steps=7, tolerance=1e-4, floor=0.1, spread=0.3, dimensions=1, n_modes=3, slack=0.2),
        lambda f: GeodesicIGSVI(f, search=PathSearch(0.3, 1, 3, 0.1, 0.2)),
        dict(n_segments=7, relaxation_tolerance=1e-4),
    ),
    "family": (
        dict(stochastic=True, temperature=0.2, prior_scale=0.7, n_samples=5),
        lambda f: GeodesicIGSVI(f, family=PathFamily(0.2, 0.7, 5)),
        {},
    ),
    "published": (
        dict(published=True, n_steps=20, beta=0.1, num_iterations=10, learning_rate=0.01, seed=3),
        PublishedGeodesicIG,
        dict(n_steps=20, beta=0.1, num_iterations=10, learning_rate=0.01, seed=3),
    ),
}


@pytest.mark.parametrize("name", FORMER)
@pytest.mark.filterwarnings("ignore:(the attributions don't|the search found):UserWarning")
def test_former_settings_are_understood_for_a_version(name):
    old, make, new = FORMER[name]
    net, x, settings_ = network(), cloud(4, seed=1), dict(return_convergence_delta=True, return_paths=True)
    method = GeodesicIGSVI(net)
    with pytest.warns(DeprecationWarning, match="next version"):
        was, delta, paths = method.attribute(x, -0.5, 1, **old, **settings_)
    now, new_delta, new_paths = make(net).attribute(x, -0.5, 1, **new, **settings_)
    assert torch.equal(was, now) and torch.equal(delta, new_delta) and torch.equal(paths.length, new_paths.length)
    assert (paths.spread is None) == (name != "family") and (method.search, method.family) == (PathSearch(), None)
    assert not {"floor", "stochastic", "published", "n_steps"} & set(inspect.signature(method.attribute).parameters)
    assert len(inspect.signature(method.attribute).parameters) <= 19


def test_former_tolerance_of_the_graph():
    net, pool, x = network(), cloud(30), cloud(3, seed=1)
    with pytest.warns(DeprecationWarning, match="integral_tolerance"):
        was = GeodesicIGKNN(net, pool).attribute(x, 0, 1, tolerance=1e-2)
    assert torch.equal(was, GeodesicIGKNN(net, pool).attribute(x, 0, 1, integral_tolerance=1e-2))


NAN = torch.full((3, 2), math.nan)


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: neighbour_graph(cloud(0)), ValueError),
        (lambda: neighbour_graph(torch.ones(3)), ValueError),
        (lambda: neighbour_graph(torch.ones(3, 2, 2)), ValueError),
        (lambda: neighbour_graph([[1.0, 2.0]]), TypeError),
        (lambda: neighbour_graph(torch.ones(3, 20) * math.nan), ValueError),
        (lambda: neighbour_graph(NAN), ValueError),
        (lambda: neighbour_graph(cloud(5), 2.5), TypeError),
        (lambda: neighbour_graph(cloud(5), "3"), TypeError),
        (lambda: neighbour_graph(cloud(5), 3, 1.5), TypeError),
        (lambda: neighbour_graph(cloud(5), 3, "1"), TypeError),
        (lambda: neighbour_graph(cloud(5).long()), TypeError),
        (lambda: neighbour_graph(torch.ones(3, 0)), ValueError),
        (lambda: nearest_points(cloud(5), cloud(2), 0), ValueError),
        (lambda: nearest_points(cloud(5), NAN, 2), ValueError),
        (lambda: nearest_points(cloud(5), cloud(2, 3), 2), ValueError),
        (lambda: nearest_points(cloud(5, 20), torch.full((2, 20), math.nan), 2), ValueError),
        (lambda: nearest_points(cloud(5), cloud(2), 2.0), TypeError),
        (lambda: sine_basis(4.0), TypeError),
        (lambda: sine_basis("4"), TypeError),
        (lambda: sine_basis(4, 2.5), TypeError),
        (lambda: path_energy(TargetScore(network(), (cloud(1),), 1), cloud(1)[None], torch.arange(1)), ValueError),
        (lambda: path_energy(TargetScore(network(), (cloud(1),), 1), cloud(3), torch.arange(1)), ValueError),
        (lambda: path_energy(TargetScore(network(), (cloud(1),), 1), cloud(3)[None], torch.arange(2)), ValueError),
        (lambda: edge_integrals(TargetScore(network(), (cloud(1),), 1), cloud(3), torch.tensor([0, 1])), ValueError),
        (lambda: edge_integrals(TargetScore(network(), (cloud(1),), 1), NAN, torch.tensor([[0, 1]])), ValueError),
    ],
)
def test_wrong_calls_of_the_parts(call, error):
    with pytest.raises(error):
        call()


def test_points_that_require_grad():
    assert len(neighbour_graph(cloud(20).requires_grad_(), 3)) == 20


def test_energy_of_a_score_that_ignores_the_path_is_refused():
    weights, path = torch.ones(2, dtype=torch.float64, requires_grad=True), torch.stack([cloud(1), cloud(1, seed=1)], 1)
    for forward in (
        lambda x: x.detach() @ weights,
        lambda x: torch.ones(len(x)) * weights.sum(),
        lambda x: x.detach().sum(1),
    ):
        with pytest.raises(ValueError, match="doesn't depend on the inputs"):
            path_energy(TargetScore(forward, (cloud(1),)), path, torch.arange(1))


def test_energy_of_rows_that_influence_each_other_is_refused():
    path = torch.stack([cloud(2), cloud(2, seed=1)], 1)
    with pytest.raises(ValueError, match="rows influence each other"):
        path_energy(TargetScore(lambda x: (x - 3 * x.mean(0)).sin().sum(1), (cloud(2),)), path, torch.arange(2))


@pytest.mark.parametrize("make", [lambda f: GeodesicIGKNN(f, cloud(20, 4)), GeodesicIGSVI])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_in_place_operations_and_squeezed_outputs(make):
    net, x = network(4, 1), cloud(1, 4, 1)
    before = x.clone()

    def rude(y):
        return net(y.mul_(2)).squeeze()

    found = make(rude).attribute(x)
    assert torch.equal(x, before)
    assert_close(found, make(lambda y: net(2 * y)[:, 0]).attribute(x), atol=1e-4, rtol=1e-4)


def test_shared_tensors_among_the_arguments_do_not_split_the_search():
    net, mean, x, pool = network(3, 2), torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64), cloud(3, 3, 1), cloud(30, 3)
    expected = GeodesicIGKNN(lambda y: net(y - mean), pool).attribute(x, 0, 1)
    for offered in (mean, shared(mean)):
        assert_close(GeodesicIGKNN(lambda y, m: net(y - m), pool).attribute(x, 0, 1, offered), expected)
    factor = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    alone = torch.cat(
        [GeodesicIGKNN(lambda y, k=k: k * net(y), pool).attribute(x[i : i + 1], 0, 1) for i, k in enumerate(factor)]
    )
    assert_close(GeodesicIGKNN(lambda y, k: k[:, None] * net(y), pool).attribute(x, 0, 1, per_example(factor)), alone)


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t,
        lambda t: list(t),
        lambda t: t.numpy(),
        lambda t: torch.utils.data.TensorDataset(t),
        lambda t: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(t), 16),
        lambda t: {"x": t},
        lambda t: (t,),
        lambda t: [(row, 0) for row in t],
    ],
)
def test_a_pool_in_memory_that_was_changed_in_place_is_noticed(make):
    from models import mlp, numbers

    net, points, x = mlp(4, 3), numbers(40, 4), numbers(5, 4, seed=3)
    method = GeodesicIGKNN(net, make(points), n_neighbors=4, direct=False)
    first = method.attribute(x, target=1)
    points.mul_(-0.5)
    again = method.attribute(x, target=1)
    assert_close(again, GeodesicIGKNN(net, make(points), n_neighbors=4, direct=False).attribute(x, target=1))
    assert (first - again).abs().max() > 1e-3


def test_steiner_points_lie_evenly_inside_the_edges():
    graph = neighbour_graph(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), 2, 3)
    assert_close(graph.points, torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]))


def test_the_energy_of_a_linear_score_in_closed_form():
    weights, path = (
        torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64),
        torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_(),
    )
    expected = 4 * (path[:, 1:] - path[:, :-1]).square().sum((1, 2)) * weights.square().sum()
    (pull,) = torch.autograd.grad(expected.sum(), path)
    score = TargetScore(lambda x: x @ weights + 0 * x.square().sum(1), (path[:, 0].detach(),))
    energy, gradient = path_energy(score, path.detach(), torch.arange(2))
    assert_close(energy, expected.detach())
    assert_close(gradient, pull)


def test_no_step_of_the_search_goes_uphill():
    start = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]

    def hills(z, rows):
        z = z.detach().requires_grad_()
        value = (2 - (3 * z).cos() + 0.05 * z.square()).sum(1)
        return value.detach(), torch.autograd.grad(value.sum(), z)[0]

    first, _ = hills(start, None)
    for iterations in (1, 2, 5, 30):
        _, value = minimise_batch(hills, start, torch.full((41,), 9.0, dtype=torch.float64), iterations)
        assert (value <= first + 1e-12).all()


def test_the_spread_is_that_around_its_own_mean(monkeypatch):
    class Bends:
        start = torch.zeros(1, 3, 3)

        def paths(self, z, which):
            return z

    def integrals(value, rows):
        return geodesic.EdgeIntegrals(None, None, None, torch.full((rows, 3), value))

    zeros, found = torch.zeros(1, 2, 3), iter([integrals(0.0, 1), integrals(5.0, 3)])
    monkeypatch.setattr(geodesic.family, "_fit_family", lambda *arguments, **how: (zeros, zeros))
    monkeypatch.setattr(geodesic.family, "_path_integrals", lambda *arguments: next(found))
    sweep = geodesic.integrals._Sweep(TargetScore(lambda x: x.sum(1), (torch.zeros(1, 3),)))
    *_, spread = geodesic.family._sampled(sweep, Bends(), PathFamily(n_samples=3), 0)
    assert_close(spread, torch.zeros(1, 3))


@pytest.mark.filterwarnings("ignore:the attributions don't add up")
def test_the_published_energy_seeks_steep_places():
    def middle(beta):
        found = PublishedGeodesicIG(lambda x: x.square().sum(1)).attribute(
            torch.tensor([[1.0, 0.0]]),
            beta=beta,
            num_iterations=30,
            learning_rate=0.02,
            n_steps=11,
            return_paths=True,
        )
        return found[1].coordinates[0][5, 0].item()

    assert middle(50.0) > middle(0.0) + 0.1


def versions_by_loops(image, start, widths=WIDTHS, levels=LEVELS):
    "The versions of one image (channels, height, width): light moved in a thousand small steps, then mixed"

    def spread(x, sigma, steps=1000):
        for _ in range(steps if sigma else 0):
            for axis in (1, 2):
                flow = x.diff(dim=axis) * sigma**2 / 2 / steps
                none = torch.zeros_like(x.narrow(axis, 0, 1))
                x = x + torch.cat([flow, none], axis) - torch.cat([none, flow], axis)
        return x

    found = [start]
    for level in (*levels, 1.0):
        for width in (*widths, 0.0):
            found.append((1 - level) * start + level * spread(image, width * min(image.shape[1:])))
    return torch.stack(found)


def test_versions_are_what_diffusion_and_dimming_make_of_the_image():
    x = torch.rand(2, 3, 14, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    start = torch.rand(2, 3, 14, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found, edges = image_versions(x, start)
    for i in range(2):
        assert_close(found[i], versions_by_loops(x[i], start[i]), atol=1e-3, rtol=1e-3)
    places = {0: (-1, None)} | {1 + 4 * level + width: (level, width) for level in range(3) for width in range(4)}
    right = {
        (a, b)
        for a, (level, width) in places.items()
        for b, (then, beside) in places.items()
        if (a, b) != (0, 0)
        and ((a == 0 and then == 0) or (a and a < b and then - level in (0, 1) and abs(beside - width) <= 1))
        or (a and b and a < b and then - level == 1 and beside - width == -1)
    }
    assert {tuple(e) for e in edges.tolist()} == right and len(edges) == 33
    assert image_versions(x.float())[0].dtype == torch.float32
    assert torch.equal(image_versions(x.half())[0][:, -1], x.half())


def test_paths_through_versions_keep_to_their_own_picture():
    "In a batch with a flat picture, whose versions cost nothing, and with other targets, baselines and arguments"
    net = convolutional().double()
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x[1] = 0.5
    start = torch.stack([torch.full_like(x[0], v) for v in (0.0, 0.0, 0.1, 0.3)])
    scale, targets = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64), [0, 1, 2, 1]

    def score(y, factor):
        return net(y) * factor[:, None]

    for weight in ("conformal", "w1", "euclidean"):
        method = GeodesicIGVersions(score, weight=weight)
        A, delta, found = method.attribute(
            x, start, targets, scale, return_convergence_delta=True, return_paths=True, integral_tolerance=1e-4
        )
        own = image_versions(x, start)[0]
        for i in range(4):
            alone, one = method.attribute(
                x[i : i + 1], start[i : i + 1], targets[i], scale[i : i + 1], return_paths=True, integral_tolerance=1e-4
            )
            assert_close(A[i : i + 1], alone, atol=1e-9, rtol=1e-6)
            assert torch.equal(found.nodes[i], one.nodes[0]) and torch.equal(found.coordinates[i], one.coordinates[0])
            numbers = [0, *found.nodes[i][1:-1].tolist(), 12]
            assert torch.equal(found.coordinates[i], own[i][numbers])
        assert (delta.abs() <= 1e-3 * found.length).all() and found.hops.tolist() == [len(k) - 1 for k in found.nodes]
        if weight == "euclidean":  # the straight path, by the sharp versions
            assert all(k.tolist() == [-1, 4, 8, -2] for k in found.nodes)
            assert_close(
                A, PathIntegratedGradients(score).attribute(x, start, targets, scale, n_steps=300), atol=1e-4, rtol=1e-3
            )


def test_no_way_through_versions_is_longer_than_the_straight_one():
    net, x = sample_model(), shape_images(3, seed=4).images
    targets = net(x).argmax(1)
    settings = dict(n_steps=3, return_paths=True)
    shortest = {w: GeodesicIGVersions(net, weight=w).attribute(x, 0, targets, **settings)[1] for w in EDGE_WEIGHTS}
    for weight, name in (("conformal", "length"), ("w1", "w1")):
        mine = getattr(shortest[weight], name)
        for other in shortest.values():
            assert (mine <= getattr(other, name) * (1 + 1e-5)).all()
    assert (shortest["conformal"].length < 0.999 * shortest["euclidean"].length).any()


def test_versions_refuse_what_is_no_image():
    method = GeodesicIGVersions(sample_model())
    for wrong in (torch.rand(2, 5), torch.rand(3, 8, 8), torch.rand(1, 3, 4, 4, 4)):
        with pytest.raises(ValueError, match="versions are of images"):
            method.attribute(wrong, target=0)
    for strange in (dict(widths=(0.0,)), dict(levels=(1.0,)), dict(levels=(-0.5,)), dict(widths=(float("nan"),))):
        with pytest.raises(ValueError, match="a (width|level)"):
            GeodesicIGVersions(sample_model(), **strange).attribute(shape_images(1).images, target=0)
    with pytest.raises(ValueError, match="conformal"):
        GeodesicIGVersions(sample_model(), weight="length")
