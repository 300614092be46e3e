"Properties of the geodesic methods across models, dtypes, batches, chunk sizes and bad input, and the numbers of the original program"
import importlib.util
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from attrnb.core import ClassScore, CountingForward, TargetScore
from attrnb.geodesic import (
    GeodesicIGKNN,
    GeodesicIGSVI,
    NeighbourGraph,
    _bridges,
    edge_integrals,
    minimise_batch,
    nearest_points,
    neighbour_graph,
    sine_basis,
)
from attrnb.paths import PathIntegratedGradients
from attrnb.samples import half_moons, half_moons_model, sample_model, shape_images

BASELINE = torch.tensor([[-.5, -.5]])


def network(features=2, classes=3, activation=nn.Softplus, seed=0, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, 12), activation(), nn.Linear(12, classes)).to(dtype).eval()


def cloud(n, features=2, seed=0, dtype=torch.float64):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def moons():
    points, labels = half_moons(300, noise=.15, seed=2)
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
        pairs = torch.stack([torch.arange(len(nodes))[:, None].expand_as(indices), indices], 2).reshape(-1, 2).sort(1).values
        return pairs[pairs[:, 0] != pairs[:, 1]].unique(dim=0)

    nodes = torch.cat([fitted, *others])
    edges = edges_of(nodes)
    if n_steiner:
        length = (nodes[edges[:, 0]] - nodes[edges[:, 1]]).norm(dim=1)
        number = (n_steiner * length / length.max()).floor().long().tolist()
        new = [nodes[u] + (j + 1) / (n + 1) * (nodes[v] - nodes[u]) for (u, v), n in zip(edges.tolist(), number) for j in range(n)]
        nodes = torch.cat([nodes, torch.stack(new)])
        edges = edges_of(nodes)
    inner = edges[(edges < len(fitted)).all(1)].numpy()
    n, label = connected_components(csr_array((np.ones(len(inner)), inner.T), shape=(len(fitted),) * 2), directed=False)
    if n > 1:
        edges = torch.cat([edges, torch.from_numpy(_bridges(fitted, label, n)).sort(1).values])
    return NeighbourGraph(nodes, edges.numpy(), 0, 1, np.arange(len(nodes)))


ORACLES = ["relu/knn5", "relu/knn15", "relu/enh15", "relu/knn3_disconnected_steps5", "relu/knn5_trapezoid", "softplus/knn5", "softplus/knn15",
           "relu/pool500_knn5_class0_first60", "relu/steiner3_knn5_class0_first60"]


@pytest.mark.parametrize("key", ORACLES)
@pytest.mark.filterwarnings("ignore:the .* nearest neighbours leave")
def test_knn_equals_program(program, key):
    data, expected = program.L("data.pt"), program.L("knn.pt")[key]
    kind, k = key.split("/")[0], expected["kwargs"]["n_neighbors"]
    model, X, predicted, baseline = program.model(kind), data["X"], data[f"pred_{kind}"], data["baseline"]
    index = expected.get("index", torch.arange(len(X)))
    x = X[index]
    settings_ = dict(n_steps=expected["kwargs"]["n_steps"], method=expected["kwargs"].get("method", "gausslegendre"), tolerance=None)
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
    assert program.pearson(found, expected["attr"]) > .99999
    assert_close(found.to(expected["attr"]), expected["attr"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["relu", "softplus"])
def test_published_variational_equals_program(program, kind):
    data, oracle = program.L("data.pt"), program.L("svi.pt")
    model, x, predicted = program.model(kind), data["X"][:100], data[f"pred_{kind}"][:100]
    for iterations in (0, 1000):
        expected, found = oracle[f"{kind}/it{iterations}"], torch.zeros(100, 2)
        for c in (0, 1):
            mine = predicted == c
            found[mine] = GeodesicIGSVI(model).attribute(x[mine], data["baseline"], c, published=True, beta=.1, num_iterations=iterations)
        if iterations == 0:
            assert_close(found, expected["attr"].float(), atol=1e-5, rtol=1e-5)
        else:
            assert program.pearson(found, expected["attr"]) > .98


def test_variational_path_lengths(program):
    data = program.L("data.pt")
    model, X, predicted, baseline = program.model("softplus"), data["X"], data["pred_softplus"], data["baseline"]
    length = torch.zeros(len(X))
    for c in (0, 1):
        mine = predicted == c
        length[mine] = GeodesicIGKNN(model, n_neighbors=15, direct=False).attribute(X[mine], baseline, c, return_paths=True)[1].length
    x, target = X[:100], predicted[:100]
    counting = CountingForward(model)
    _, delta, path = GeodesicIGSVI(counting).attribute(x, baseline, target, return_convergence_delta=True, return_paths=True)
    _, straight = GeodesicIGSVI(model).attribute(x, baseline, target, rounds=0, max_iterations=0, return_paths=True)
    assert path.length.mean() < 1.15 * length[:100].mean()
    assert counting.gradient_rows == path.gradient_evaluations <= 100 * 2295  # a tenth of what the published procedure took on these
    assert (path.length <= straight.length * (1 + 1e-4)).all()
    assert (delta.abs() <= 1e-3 * path.change.abs().clamp(min=.01)).all()


# --- graph

@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 10), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_nearest_points(n, features, k, seed):
    points, queries = cloud(n, features, seed), cloud(5, features, seed + 1)
    indices, distances = nearest_points(points, queries, k)
    exact = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist").sort(1)
    assert_close(distances, exact.values[:, :k], atol=1e-9, rtol=1e-9)
    assert_close((queries[:, None] - points[indices]).norm(dim=2), distances, atol=1e-9, rtol=1e-9)


@given(st.integers(1, 6), st.integers(2, 8), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_graph_is_connected_and_simple(islands, k, seed):
    points = torch.cat([cloud(10, 3, seed + i) * .1 + 10 * i for i in range(islands)])
    points = torch.cat([points, points[:3]])
    graph = neighbour_graph(points, k)
    assert len(graph) == 10 * islands
    assert len(np.unique(graph.edges, axis=0)) == len(graph.edges) and (graph.edges[:, 0] < graph.edges[:, 1]).all()
    n, _ = connected_components(csr_array((np.ones(len(graph.edges)), graph.edges.T), shape=(len(graph),) * 2), directed=False)
    assert n == 1 and graph.components >= islands and (graph.bridges > 0) == (graph.components > 1)


def test_many_components_get_a_tree():
    graph = neighbour_graph(torch.cat([cloud(2, 2, i) * .01 + 5 * i for i in range(40)]), 2)
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


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complete_and_bounded(name, dtype):
    net, pool = network(dtype=dtype), cloud(80, dtype=dtype)
    x = cloud(6, seed=1, dtype=dtype)
    A, delta, path = METHODS[name](net, pool).attribute(x, -.5, [0, 1, 2, 0, 1, 2], return_convergence_delta=True, return_paths=True)
    assert A.dtype == dtype and A.shape == x.shape
    assert (delta.abs() <= 1e-3 * path.change.abs().clamp(min=.01)).all()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6
    assert (A.abs().sum(1) <= path.w1 + tolerance).all() and (path.w1 <= path.length + tolerance).all()
    for c, end in zip(path.coordinates, x):
        assert_close(c[-1], end)
        assert_close(c[0], torch.full_like(end, -.5))


@pytest.mark.parametrize("name", METHODS)
def test_batch_equals_examples_and_chunks(name):
    net, pool, x = network(), cloud(60), cloud(5, seed=1)
    baselines, targets = cloud(5, seed=2), [0, 1, 2, 1, 0]
    together = METHODS[name](net, pool).attribute(x, baselines, targets)
    alone = torch.cat([METHODS[name](net, pool).attribute(x[i:i + 1], baselines[i:i + 1], targets[i]) for i in range(5)])
    assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert_close(METHODS[name](net, pool).attribute(x, baselines, targets, internal_batch_size=7), together, atol=1e-4, rtol=1e-4)
    assert torch.equal(METHODS[name](net, pool).attribute(x, baselines, targets), together)


@pytest.mark.parametrize("name", METHODS)
def test_linear_and_dummy(name):
    weights = torch.tensor([2., -1., 0.], dtype=torch.float64)
    x, pool = cloud(4, 3, 1), cloud(40, 3)
    A = METHODS[name](lambda y: y @ weights, pool).attribute(x)
    assert_close(A, weights * x, atol=1e-8, rtol=1e-8)
    assert (A[:, 2] == 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_tuples_and_arguments(name):
    net = network(5, 1)

    def forward(a, b, factor):
        return factor * net(torch.cat([a.flatten(1), b], 1))[:, 0]

    a, b, factor = cloud(12, 1, 1).reshape(3, 2, 2), cloud(3, 1, 2), torch.tensor([1., 2., 3.], dtype=torch.float64)
    pool = (cloud(40, 4).reshape(40, 2, 2), cloud(40, 1, 3))
    method = METHODS[name](forward, pool)
    found = method.attribute((a, b), None, None, factor)
    assert [f.shape for f in found] == [a.shape, b.shape]
    alone = [METHODS[name](forward, pool).attribute((a[i:i + 1], b[i:i + 1]), None, None, factor[i:i + 1]) for i in range(3)]
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


@pytest.mark.parametrize("name", [*METHODS, "published", "stochastic"])
def test_leaves_model_and_randomness_alone(name):
    net, pool = network(), cloud(20)
    method = METHODS.get(name, METHODS["svi"])(net, pool)
    extra = dict(published=dict(published=True, num_iterations=3), stochastic=dict(stochastic=True, n_samples=2)).get(name, {})
    before, seed, numpy_state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state(), np.random.get_state()[1].copy()
    first = method.attribute(pool[:2] + .1, 0, 1, **extra)
    assert torch.equal(method.attribute(pool[:2] + .1, 0, 1, **extra), first)
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
    assert_close(scaled.attribute(x, 0, 1, 2.) / 2, scaled.attribute(x, 0, 1, 1.))


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
    one = GeodesicIGKNN(model, points).attribute(x, BASELINE, target, tolerance=None, return_paths=True)
    seven = GeodesicIGKNN(lambda y: 8 * model(y) + 3, points).attribute(x, BASELINE, target, tolerance=None, return_paths=True)
    assert all(torch.equal(a, b) for a, b in zip(one[1].nodes, seven[1].nodes))
    assert_close(8 * one[0], seven[0], atol=1e-4, rtol=1e-4)


def test_euclidean_weights_with_a_direct_edge_warn():
    net, pool, x = network(), cloud(60), cloud(5, seed=1)
    with pytest.warns(UserWarning, match="Enhanced IG"):
        straight = GeodesicIGKNN(net, pool, weight="euclidean")
    A, path = straight.attribute(x, -.5, 1, return_paths=True)
    assert path.hops.tolist() == [1] * 5
    assert_close(A, PathIntegratedGradients(net).attribute(x, -.5, 1, n_steps=200), atol=1e-4, rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for settings_ in (dict(weight="euclidean", direct=False), dict(weight="w1"), dict()):
            GeodesicIGKNN(net, pool, **settings_)


def test_bridges_are_reported():
    net, pool = network(), torch.cat([cloud(20) * .1, cloud(20, seed=1) * .1 + 5])
    with pytest.warns(UserWarning, match="2 separate components"):
        _, path = GeodesicIGKNN(net, pool, n_neighbors=6, direct=False).attribute(pool[-1:], pool[:1], 1, return_paths=True)
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
    for other in (TensorDataset(pool, labels), TensorDataset(pool), DataLoader(TensorDataset(pool, labels), batch_size=7), DataLoader(pool, batch_size=40), list(pool)):
        assert_close(GeodesicIGKNN(net, other).attribute(x, 0, 1), expected)
    for bad, error, text in ((torch.zeros(0, 2), ValueError, "empty"), (cloud(4, 3), ValueError, "must agree"), (3, TypeError, "Dataset"),
                             (pool * torch.nan, ValueError, "NaN"), ([], ValueError, "empty"), (pool.long(), TypeError, "float")):
        with pytest.raises(error, match=text):
            GeodesicIGKNN(net, bad).attribute(x, 0, 1)


def test_images():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(144, 2)).double().eval()
    x = cloud(2, 192).reshape(2, 3, 8, 8)
    for method in (GeodesicIGKNN(net, cloud(20, 192, 3).reshape(20, 3, 8, 8)), GeodesicIGSVI(net)):
        A, delta = method.attribute(x, 0, [0, 1], return_convergence_delta=True)
        assert A.shape == x.shape and delta.abs().max() < 1e-4
    coarse, path = GeodesicIGSVI(net).attribute(x, 0, [0, 1], resolution=4, n_modes=3, rounds=0, return_paths=True)
    bend = path.coordinates[0] - torch.linspace(0, 1, 13, dtype=torch.float64)[:, None, None, None] * x[0]
    assert torch.linalg.matrix_rank(bend.reshape(13, -1)) <= 3
    assert coarse.shape == x.shape


@pytest.mark.parametrize("i", [0, 1])
def test_relaxation_shortens_paths_of_images(i):
    "A ReLU network's line integrals are never exact; that must not turn a much shorter path away"
    x, net = shape_images(2, seed=11).images[i:i + 1], sample_model()
    settings_ = dict(target=net(x).argmax(1), n_steps=4, rounds=0, integral_tolerance=1e-2, return_convergence_delta=True, return_paths=True)
    method = GeodesicIGSVI(ClassScore(net, of="log_probability"))
    _, _, straight = method.attribute(x, 0, max_iterations=0, **settings_)
    _, delta, path = method.attribute(x, 0, max_iterations=6, **settings_)
    assert path.length < .4 * straight.length and path.gap < .5 * straight.gap
    assert delta.abs() <= .01 * path.change.abs().maximum(.1 * path.length) + 1e-4
    assert path.gradient_evaluations < 500


def test_first_step_is_short_enough_for_steep_functions():
    "Of 0.5 |z|^2 times 10^4, from far away and with a reach that is far too long: progress within three values"
    evaluations = []
    def function(z, rows):
        evaluations.append(len(rows))
        return 5e3 * z.square().sum(1), 1e4 * z
    start = torch.full((1, 50), 3., dtype=torch.float64)
    _, value = minimise_batch(function, start, torch.tensor([1e12], dtype=torch.float64), 2, 0.)
    assert value < .3 * 5e3 * start.square().sum() and len(evaluations) <= 3


def test_constructor_errors():
    net = network()
    for bad in (dict(weight="length"), dict(n_neighbors=1), dict(n_steiner=-1)):
        with pytest.raises(ValueError):
            GeodesicIGKNN(net, cloud(5), **bad)
    with pytest.raises(TypeError):
        GeodesicIGKNN(5)
    with pytest.raises(ValueError, match="no path reaches"):
        graph = NeighbourGraph(torch.tensor([[0., 0.], [9., 9.]], dtype=torch.float64), np.empty((0, 2), dtype=np.int64), 0, 2, np.arange(2))
        GeodesicIGKNN(net, graph, n_neighbors=1, direct=False).attribute(torch.full((1, 2), 8., dtype=torch.float64), 0, 1)


# --- variational

def test_never_longer_than_its_start(moons):
    model, points, labels = moons
    x, target = points[:20], labels[:20]
    corners = torch.cat([BASELINE.expand(20, 1, 2), points[20:80].reshape(20, 3, 2), x[:, None]], 1)
    for start in ("straight", corners):
        begin = GeodesicIGSVI(model).attribute(x, BASELINE, target, start=start, rounds=0, max_iterations=0, return_paths=True)[1]
        end = GeodesicIGSVI(model).attribute(x, BASELINE, target, start=start, return_paths=True)[1]
        assert (end.length <= begin.length * (1 + 1e-4)).all()


def test_spread_grows_with_temperature(moons):
    model, points, labels = moons
    spreads = [GeodesicIGSVI(model).attribute(points[:4], BASELINE, labels[:4], stochastic=True, temperature=t, return_paths=True)[1].spread.mean() for t in (.01, .1)]
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

    z, value = minimise_batch(bowl, torch.zeros(5, 4, dtype=torch.float64), torch.ones(5, dtype=torch.float64), 100, 1e-14)
    assert_close(z, center, atol=1e-4, rtol=0)


def test_variational_errors():
    net, x = network(), cloud(2)
    for bad in (dict(start="graph"), dict(start="bent"), dict(start=torch.zeros(2, 3, 5)), dict(n_steps=1), dict(rounds=-1), dict(spread=0.), dict(method="simpson")):
        with pytest.raises(ValueError):
            GeodesicIGSVI(net).attribute(x, 0, 1, **bad)
