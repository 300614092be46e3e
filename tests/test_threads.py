"""Several threads: every method beside itself, on its own model and on a shared one, and beside a training loop

What is done at the same time must be bit for bit what is done alone, and leave model and process as they were.
"""

import contextlib
import copy
import random
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from models import numbers, seeded
from torch import nn
from torch._dynamo import eval_frame as dynamo
from torch.nn.attention import _cur_sdpa_kernel_backends

from attrnb import measures
from attrnb.core import ClassScore, gradients
from attrnb.core.model_state import uncompiled
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.equilibrium.method import _exact
from attrnb.explore import explore
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI
from attrnb.geodesic.slopes import _plain_attention
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients


def of_the_process():
    "Settings that threads share"
    cudnn = torch.backends.cudnn
    return {
        "compiler": dynamo._stance.stance,
        "attention": _cur_sdpa_kernel_backends(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "dtype": torch.get_default_dtype(),
    }


@pytest.fixture(autouse=True)
def many_switches():
    "Threads give way to each other as often as they can; what belongs to the process is as it was afterwards"
    interval, threads, found = sys.getswitchinterval(), torch.get_num_threads(), of_the_process()
    sys.setswitchinterval(1e-5)
    torch.set_num_threads(1)
    with warnings.catch_warnings():  # once, since it isn't made for threads
        warnings.simplefilter("ignore")
        yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(threads)
    assert of_the_process() == found


def network(seed=0):
    "A small network with everything that training mode changes"

    def make():
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(6, 3),
        )

    made = seeded(make, seed)
    with torch.no_grad():
        for k, b in enumerate(m for m in made if isinstance(m, nn.BatchNorm2d)):
            b.running_mean.copy_(numbers(6, seed=k) / 4)
            b.running_var.copy_(0.5 + numbers(6, seed=k + 9).abs())
    made[0].weight.requires_grad_(False)
    return made


X, TARGETS = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(3)), [0, 1, 2]
A, MASKS = numbers(3, 3, 8, 8, seed=4), torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(5)) < 0.4
POOL = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(6))


def _explained(net):
    return lambda inputs, target=None: gradients(net, inputs, target)


def _measure(name, *before, **settings):
    return lambda net: getattr(measures, name)(net, X, *before, TARGETS, **settings)


METHODS = {
    "gradients": lambda net: gradients(net, X, TARGETS, internal_batch_size=1),
    "integrated gradients": (
        lambda net: PathIntegratedGradients(ClassScore(net, of="probability")).attribute(
            X, target=TARGETS, n_steps=6, internal_batch_size=9
        )
    ),
    "flux": lambda net: NeFLAG(net).attribute(X, target=TARGETS, n_points=3, internal_batch_size=4),
    "graph": (
        lambda net: GeodesicIGKNN(net, POOL, n_neighbors=3).attribute(
            X, target=TARGETS, n_steps=2, integral_tolerance=None
        )
    ),
    "variational": (
        lambda net: GeodesicIGSVI(net).attribute(
            X, target=TARGETS, n_segments=3, rounds=1, n_points=6, max_iterations=2, integral_tolerance=None
        )
    ),
    "equilibrium": lambda net: AttributionEquilibrium(net).attribute(X, target=TARGETS, internal_batch_size=2),
}
MEASURES = {
    **{
        name: _measure(name, A, unit=2)
        for name in (
            "deletion",
            "insertion",
            "difference",
            "comprehensiveness",
            "sufficiency",
            "accuracy_after_masking",
            "infidelity",
        )
    },
    **{
        name: _measure(name, A, unit=2, score="log_probability", ties="random")
        for name in ("log_odds", "cross_entropy_after_masking")
    },
    **{name: _measure(name, A) for name in ("completeness_error", "cancellation_gap")},
    "random_floor": _measure("random_floor", unit=4, masking_steps=3),
    "greedy_ceiling": _measure("greedy_ceiling", unit=4, masking_steps=3, rounds=2),
    "substrate_of": lambda net: measures.substrate_of(X, "noise"),
    "random_map": lambda net: measures.random_map(X, 4),
    "pointing_game": lambda net: measures.pointing_game(A, MASKS),
    "sensitivity_max": lambda net: measures.sensitivity_max(_explained(net), X, TARGETS, n_samples=2),
    "batch_independence": lambda net: measures.batch_independence(_explained(net), X, TARGETS),
    "randomisation_cascade": lambda net: measures.randomisation_cascade(net, _explained(net), X, TARGETS).similarity,
}
CHANGES_WEIGHTS = {"randomisation_cascade"}  # a model of one's own for each thread


def at_once(*works, times=4):
    "Results of the works, each done several times in a thread of its own, all starting together: [work][time]"
    start, found, errors = threading.Barrier(len(works)), [[] for _ in works], []

    def run(k):
        try:
            start.wait(30)
            for _ in range(times):
                found[k].append(works[k]())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    assert [len(f) for f in found] == [times] * len(works)
    return found


@contextlib.contextmanager
def beside(work):
    "The work done over and over in another thread while the body runs"
    stop, begun, done, errors = threading.Event(), threading.Event(), [], []

    def run():
        try:
            while not stop.is_set():
                begun.set()
                work()
                done.append(1)
        except BaseException as error:
            errors.append(error)
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        begun.wait(30)
        yield done
    finally:
        stop.set()
        thread.join(60)
    if errors:
        raise errors[0]


def state_of(net):
    "Everything of a model that an explanation might change"
    return dict(
        modes=[m.training for m in net.modules()],
        numbers=[t.clone() for t in net.state_dict().values()],
        requires_grad=[p.requires_grad for p in net.parameters()],
        grads=[p.grad for p in net.parameters()],
        hooks=[len(d) for m in net.modules() for name, d in vars(m).items() if "_hooks" in name],
        classes=[type(m) for m in net.modules()],
    )


def assert_same_state(net, before):
    now = state_of(net)
    assert all(map(torch.equal, now.pop("numbers"), before["numbers"]))
    assert now == {k: v for k, v in before.items() if k != "numbers"}


def assert_all_equal(results, expected):
    wrong = sum(not torch.equal(r, expected) for r in results)
    assert not wrong, f"{wrong} of {len(results)} results differ"


EVERYTHING = METHODS | MEASURES


@pytest.mark.parametrize("name", EVERYTHING)
def test_two_threads_with_models_of_their_own(name):
    work, nets = EVERYTHING[name], [network(0), network(1)]
    expected, before = [work(n) for n in nets], [state_of(n) for n in nets]
    for results, alone, net, state in zip(
        at_once(*(lambda n=n: work(n) for n in nets)), expected, nets, before, strict=True
    ):
        assert_all_equal(results, alone)
        assert_same_state(net, state)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", [name for name in EVERYTHING if name not in CHANGES_WEIGHTS])
def test_two_threads_with_one_model(name, training):
    work, net = EVERYTHING[name], network()
    expected = work(net)
    net.train(training)
    net[3].eval()  # one part differs from the rest
    before = state_of(net)
    for results in at_once(lambda: work(net), lambda: work(net), times=6):
        assert_all_equal(results, expected)
    assert_same_state(net, before)


def test_two_different_methods_with_one_model_in_training_mode():
    net = network()
    expected = {name: work(net) for name, work in METHODS.items()}
    net.train()
    before, names = state_of(net), list(METHODS)
    for first, second in zip(names, names[1:] + names[:1], strict=True):
        pair = first, second
        both = at_once(*(lambda name=name: METHODS[name](net) for name in pair))
        for name, results in zip(pair, both, strict=True):
            assert_all_equal(results, expected[name])
        assert_same_state(net, before)


def test_the_one_who_leaves_first_leaves_the_other_in_peace():
    "A short call that ends within a long one neither switches the model back nor forgets how it was"
    net = network()
    short, long = METHODS["gradients"], METHODS["variational"]
    expected = short(net), long(net)
    net.train()
    before = state_of(net)
    with beside(lambda: short(net)) as done:
        results = [long(net) for _ in range(4)]
    assert done
    assert_all_equal(results, expected[1])
    assert_same_state(net, before)


def test_an_error_in_one_thread_leaves_the_other_in_peace():
    net = network().train()
    before, quiet = state_of(net), copy.deepcopy(net).eval()
    expected = METHODS["flux"](quiet)

    def failing():
        with contextlib.suppress(ValueError):
            gradients(lambda x: net(x) * float("nan"), X, 0)

    failed, results = at_once(failing, lambda: METHODS["flux"](net), times=5)
    assert_all_equal(results, expected)
    assert_same_state(net, before)


# Random numbers


def _drawn(n=60):
    "Numbers from all three global generators, slowly"
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    found = []
    for _ in range(n):
        found += [torch.rand(1).item(), np.random.rand(), random.random()]
        time.sleep(0.0004)
    return found


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_global_generators_are_left_alone(name):
    work, net = EVERYTHING[name], network()
    alone = _drawn()
    with beside(lambda: work(net)):
        same = _drawn() == alone
    assert same, "other numbers were drawn in the main thread"
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = work(net)
    assert (
        torch.equal(torch.get_rng_state(), states[0])
        and random.getstate() == states[1]
        and np.random.get_state()[1].tolist() == states[2]
    )
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    assert torch.equal(work(net), first)


# A training loop


def trained(steps=25):
    "A model trained with dropout and batch statistics, and its losses"
    torch.manual_seed(2)
    net = network(7).train()
    net[0].weight.requires_grad_(True)
    optimiser, losses = torch.optim.Adam(net.parameters(), 0.01), []
    for _ in range(steps):
        x = torch.rand(6, 3, 8, 8)
        loss = nn.functional.cross_entropy(net(x), torch.randint(3, (6,)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return [*losses, *(t.double().sum().item() for t in net.state_dict().values())]


@pytest.mark.parametrize("name", METHODS)
def test_a_training_loop_beside_a_method(name):
    alone, net = trained(), network()
    expected, results = METHODS[name](net), []
    with beside(lambda: results.append(METHODS[name](net))):
        same = trained() == alone
    assert same, "the other model was trained differently"
    assert_all_equal(results, expected)


def test_a_training_loop_beside_the_explorer():
    alone = trained()
    explorer = explore(network(), X, methods={"flux": (NeFLAG, dict(n_points=4)), "balance": AttributionEquilibrium})
    try:
        explorer.debounce = 0.0
        for k in range(4):
            explorer.index = k % 3
            explorer.panels[0].method = ("flux", "balance")[k % 2]
            same = trained() == alone
            assert same, "the other model was trained differently"
        explorer.wait()
        assert explorer.panels[0].state == "done", explorer.panels[0].error
    finally:
        explorer.close()


# Tracing


def test_tracing_in_threads_leaves_modules_as_they_were():
    before = {name: getattr(nn.Module, name) for name in ("__call__", "__getattr__", "forward", "__setattr__")}
    other, called = seeded(lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))), []
    one = torch.ones(1, 2)
    expected = other(one)
    nets = [network(k) for k in range(2)]
    with beside(lambda: called.append(other(one))):
        at_once(*(lambda n=n: AttributionEquilibrium(n) for n in nets), times=6)
    assert called
    assert_all_equal(called, expected)
    assert {name: getattr(nn.Module, name) for name in before} == before
    assert_all_equal([other(one)], expected)


# Settings of the process


@pytest.mark.parametrize(
    "setting", [uncompiled, lambda: _plain_attention, lambda: _exact], ids=["compiler", "attention", "cudnn"]
)
def test_a_setting_of_the_process_is_put_back_when_two_overlap(setting):
    "The one who came first leaves first: the other found what the first had set, which must not stay"
    before, first_is_in, second_is_in, inside = of_the_process(), threading.Event(), threading.Event(), []

    def first():
        with setting():
            first_is_in.set()
            second_is_in.wait()

    def second():
        first_is_in.wait()
        with setting():
            inside.append(of_the_process())
            second_is_in.set()
            threads[0].join()
            inside.append(of_the_process())

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    threads[1].join()
    assert inside[0] == inside[1] != before
    assert of_the_process() == before


def test_what_the_compiler_made_is_compiled_again_after_threads():
    net = network().eval()
    at_once(*(lambda: AttributionEquilibrium(net).attribute(X, TARGETS) for _ in range(2)), times=6)
    seen = []
    torch.compiler.reset()
    compiled = torch.compile(lambda x: 2 * x, backend=lambda graph, _: seen.append(graph) or graph.forward)
    compiled(torch.ones(2))
    assert seen
