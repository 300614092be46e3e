"Scores, targets, gradients in chunks, and the promise that the model is left as it was found"

import copy
import dataclasses
import functools
import inspect
import pickle
import re
import subprocess
import sys
import types
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TwoInputs, convolutional, mlp, numbers, seeded
from torch import nn
from torch.testing import assert_close

from attrnb.core import (
    ClassScore,
    CountingForward,
    TargetScore,
    check_baselines,
    check_inputs,
    class_scores,
    generator_states,
    gradients,
    keywords,
    leave_as_found,
    modules_of,
    normal_noise,
    per_example,
    points_along,
    random_generator,
    read_tensor,
    real_number,
    select_target,
    shared,
    whole_number,
    without_probe,
)
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients

METHODS = [PathIntegratedGradients, NeFLAG]


@pytest.mark.parametrize("of", ["logit", "probability", "log_probability"])
def test_class_score_matches_torch(of):
    net, x = mlp(), numbers(5, 6)
    expected = {"logit": net(x), "probability": net(x).softmax(1), "log_probability": net(x).log_softmax(1)}[of]
    assert_close(ClassScore(net, of)(x), expected)


def test_class_score_of_segmentation_and_single_column():
    dense = nn.Conv2d(3, 5, 1)
    x = numbers(2, 3, 4, 4)
    assert_close(ClassScore(dense, "probability", dim=1)(x).sum(1), torch.ones(2, 4, 4))
    column = nn.Linear(6, 1)
    assert_close(ClassScore(column, "probability")(numbers(2, 6)), column(numbers(2, 6)).sigmoid())
    assert_close(
        ClassScore(lambda x: x[:, 0], "log_probability")(numbers(3, 2)), nn.functional.logsigmoid(numbers(3, 2)[:, 0])
    )


output = numbers(4, 3, 5, seed=9)


@pytest.mark.parametrize(
    "target, expected",
    [
        ((1, 2), output[:, 1, 2]),
        (
            [(0, 0), (2, 4), (1, 1), (0, 3)],
            torch.stack([output[0, 0, 0], output[1, 2, 4], output[2, 1, 1], output[3, 0, 3]]),
        ),
        (lambda out: out.sum((1, 2)), output.sum((1, 2))),
    ],
)
def test_targets_of_two_dimensional_outputs(target, expected):
    assert_close(select_target(output, target), expected)


@pytest.mark.parametrize(
    "target",
    [
        1,
        -1,
        torch.tensor(1),
        torch.tensor([1]),
        np.int64(1),
        (1,),
        [1, 1, 1, 1],
        torch.tensor([1, 1, 1, 1]),
        np.array([1] * 4),
        [(1,)] * 4,
        [torch.tensor(1)] * 4,
    ],
)
def test_targets_of_class_outputs(target):
    classes = output[:, 0]
    expected = classes[:, -1] if isinstance(target, int) and target == -1 else classes[:, 1]
    assert_close(select_target(classes, target), expected)


@pytest.mark.parametrize(
    "target, error, words",
    [
        (5, ValueError, "out of range for an output of shape (4, 5)"),
        (-6, ValueError, "valid are -5 to 4"),
        (1.0, TypeError, "not understood"),
        ("cat", TypeError, "not understood"),
        (True, TypeError, "not understood"),
        (torch.tensor([1.0, 2.0, 3.0, 4.0]), TypeError, "float32"),
        (torch.tensor([True] * 4), TypeError, "bool"),
        ([0, 1], ValueError, "2 targets for 4 examples"),
        (torch.zeros(4, 2, dtype=torch.long), ValueError, "(4, 2)"),
        (None, ValueError, "returns 5 numbers per row (shape (4, 5) for the 4 rows of one pass): say which"),
        ((0, 1), ValueError, "needs 1"),
        ([(0,), (0, 1), (0,), (0,)], ValueError, "different lengths"),
        (lambda out: out, ValueError, "one number per row"),
        (lambda out: 3, ValueError, "one number per row"),
    ],
)
def test_wrong_targets(target, error, words):
    with pytest.raises(error) as caught:
        select_target(output[:, 0], target)
    assert words in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "inputs, error, words",
    [
        (torch.full((2, 6), float("nan")), ValueError, "NaN or infinity in examples [0, 1]"),
        (torch.full((2, 6), float("inf")), ValueError, "NaN or infinity"),
        (torch.zeros(2, 6, dtype=torch.long), TypeError, "int64"),
        (torch.zeros(2, 6, dtype=torch.bool), TypeError, "bool"),
        (torch.zeros(0, 6), ValueError, "empty batch"),
        (torch.tensor(1.0), ValueError, "first dimension must be the batch"),
        (np.zeros((2, 6)), TypeError, "ndarray"),
        ((), ValueError, "empty tuple"),
        ((torch.zeros(2, 6), torch.zeros(3, 6)), ValueError, "different batch sizes"),
    ],
)
def test_wrong_inputs(method, inputs, error, words):
    with pytest.raises(error) as caught:
        method(mlp()).attribute(inputs, target=0)
    assert words in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "forward, error, words",
    [
        (lambda x: mlp()(x).sum(), ValueError, "one number for the whole batch"),
        (lambda x: [mlp()(x), x], TypeError, "list"),
        (lambda x: mlp()(x.detach()).detach(), ValueError, "differentiable"),
        (lambda x: mlp()(x)[:1], ValueError, "one row per example"),
        (lambda x: mlp()(x) * float("nan"), ValueError, "NaN or infinity"),
    ],
)
def test_wrong_forward_functions(method, forward, error, words):
    with pytest.raises(error) as caught:
        method(forward).attribute(numbers(3, 6), target=0)
    assert words in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_forward_must_be_callable(method):
    with pytest.raises(TypeError, match="callable"):
        method("resnet")


@pytest.mark.parametrize(
    "baseline, error",
    [
        (torch.zeros(3, 6), ValueError),
        (torch.zeros(2, 5), ValueError),
        ("black", TypeError),
        ((0, 0), ValueError),
        (True, TypeError),
        (torch.full((1, 6), float("nan")), ValueError),
    ],
)
def test_wrong_baselines(baseline, error):
    with pytest.raises(error):
        PathIntegratedGradients(mlp()).attribute(numbers(2, 6), baselines=baseline, target=0)


def test_baseline_error_shows_both_shapes():
    with pytest.raises(ValueError, match=r"\(3, 6\).*\(2, 6\).*\(1, 6\)"):
        check_baselines(torch.zeros(3, 6), check_inputs(numbers(2, 6))[0])


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), chunk=st.integers(1, 25), seed=st.integers(0, 5), double=st.booleans())
def test_gradients_do_not_depend_on_chunks(rows, chunk, seed, double):
    dtype = torch.float64 if double else torch.float32
    net = CountingForward(mlp(seed=seed).to(dtype))
    x, target = numbers(rows, 6, seed=seed, dtype=dtype), [i % 3 for i in range(rows)]
    whole = gradients(net, x, target=target)
    net.reset()
    assert_close(gradients(net, x, target=target, internal_batch_size=chunk), whole)
    assert net.largest_batch <= chunk and net.gradient_rows == rows
    assert whole.dtype == dtype


def test_gradients_match_captum_saliency():
    net, x = convolutional(), numbers(3, 3, 8, 8)
    assert_close(
        gradients(net, x, target=[0, 3, 1]), Saliency(net).attribute(x, target=torch.tensor([0, 3, 1]), abs=False)
    )


def test_additional_arguments_follow_their_examples():
    model = seeded(TwoInputs)
    a, b, scale = numbers(3, 4), numbers(3, 2, 3), torch.tensor([1.0, -2.0, 3.0])
    whole = gradients(model, (a, b), 1, scale)
    for chunk in (1, 2):
        for one, part in zip(whole, gradients(model, (a, b), 1, scale, internal_batch_size=chunk), strict=True):
            assert_close(one, part)
    points = (a.repeat(2, 1), b.repeat(2, 1, 1))
    again = gradients(model, points, 1, scale, examples=torch.arange(6) % 3, internal_batch_size=4)
    assert_close(again[0][3:], whole[0])


def test_arguments_without_a_batch_are_passed_unchanged():
    table = numbers(7, 6)
    seen = []

    def forward(x, table, word):
        seen.append((table.shape, word))
        return x @ table.T

    gradients(forward, numbers(3, 6), 0, (table, "word"), internal_batch_size=2)
    assert seen == [((7, 6), "word")] * 3  # two chunks, and the first one's last row alone


def snapshot(net):
    return (
        [m.training for m in net.modules()],
        [p.requires_grad for p in net.parameters()],
        [p.grad for p in net.parameters()],
        {k: v.clone() for k, v in net.state_dict().items()},
        torch.get_rng_state(),
        sum(len(m._forward_hooks) + len(m._backward_hooks) for m in net.modules()),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda n: n,
        lambda n: ClassScore(n),
        lambda n: lambda x: n(x),
        lambda n: functools.partial(n),
        lambda n: n.forward,
    ],
)
def test_model_is_left_as_found(method, wrap):
    net = convolutional()
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[0].bias.grad = torch.ones(8)
    before = snapshot(net)
    x = numbers(2, 3, 8, 8).requires_grad_()
    with pytest.warns(UserWarning, match="training mode"):
        first = method(wrap(net)).attribute(x, target=0)
    after = snapshot(net)
    assert before[0] == after[0] and before[1] == after[1] and before[5] == after[5]
    assert all(a is b for a, b in zip(before[2], after[2], strict=True))
    assert all(torch.equal(before[3][k], after[3][k]) for k in before[3])
    assert torch.equal(before[4], after[4])
    assert x.grad is None and not first.requires_grad
    net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(method(wrap(net)).attribute(x, target=0), first)


def test_model_is_left_as_found_after_an_error():
    net = convolutional()
    net.train()
    with pytest.raises(ValueError), pytest.warns(UserWarning):
        PathIntegratedGradients(net).attribute(numbers(2, 3, 8, 8), target=99)
    assert net.training and net[0].training


@pytest.mark.parametrize("method", METHODS)
def test_captum_conventions(method):
    assert hasattr(method.attribute, "__wrapped__")
    names = list(inspect.signature(method.attribute).parameters)
    captum = [n for n in inspect.signature(IntegratedGradients.attribute).parameters if n in names]
    assert [n for n in names if n in captum] == captum
    net, x = mlp(), numbers(2, 6)
    torch.manual_seed(0)
    smooth = NoiseTunnel(method(net)).attribute(x, nt_samples=4, nt_samples_batch_size=2, stdevs=0.01, target=1)
    assert smooth.shape == x.shape


@pytest.mark.parametrize("method", METHODS)
def test_batch_is_its_examples(method):
    net, x, target = convolutional().double(), numbers(4, 3, 8, 8, dtype=torch.float64), [0, 1, 2, 3]
    whole = method(net).attribute(x, target=target)
    assert_close(whole, torch.cat([method(net).attribute(x[i : i + 1], target=t) for i, t in enumerate(target)]))
    for chunk in (1, 3, 7):
        counting = CountingForward(net)
        assert_close(method(counting).attribute(x, target=target, internal_batch_size=chunk), whole)
        assert counting.largest_batch <= chunk


@pytest.mark.parametrize("method", METHODS)
def test_auto_is_what_none_is(method):
    counting, x, target = CountingForward(mlp()), numbers(4, 6), [0, 1, 2, 0]
    rows = []
    for size in (None, "auto"):
        rows.append((method(counting).attribute(x, target=target, internal_batch_size=size), counting.largest_batch))
    assert torch.equal(rows[0][0], rows[1][0]) and rows[0][1] == rows[1][1]
    with pytest.raises(TypeError, match="internal_batch_size"):
        method(mlp()).attribute(x, target=target, internal_batch_size="much")


class Sizes(nn.Module):
    "A network that notes how many rows it is given, and has no room for more than some"

    def __init__(
        self, network, most=10**9, error="DefaultCPUAllocator: can't allocate memory: you tried", kind=RuntimeError
    ):
        super().__init__()
        self.network, self.most, self.error, self.sizes = network, most, kind(error), []
        self.eval()

    def forward(self, rows):
        self.sizes.append(len(rows))
        if len(rows) > self.most:
            raise self.error
        return self.network(rows)


def wide(neurons):
    return seeded(lambda: nn.Sequential(nn.Linear(3, neurons), nn.ReLU(), nn.Linear(neurons, 2)).eval())


def test_rows_that_make_much_go_in_small_pieces():
    x, pieces = numbers(1, 3), {}
    for neurons in (50_000, 25_000, 10):
        net = Sizes(wide(neurons))
        found = PathIntegratedGradients(net).attribute(x, target=0, n_steps=200)
        pieces[neurons], net.sizes = net.sizes, []
        rows = PathIntegratedGradients(net).attribute(x, target=0, n_steps=200, internal_batch_size=200)
        assert_close(found, rows)
        assert sum(pieces[neurons]) == sum(net.sizes), "no row is run for the count alone"
    # what is counted; pieces of three vectors of the layer that hold 32 MiB; the row that is looked at; both ends
    most = 2**25 // (3 * 4 * 50_000)
    assert pieces[50_000] == [4, 49, 49, 49, 49, 1, 2] and 49 <= most < 66
    assert pieces[25_000] == [4, 98, 98, 1, 2] and pieces[10] == [4, 196, 1, 2]


def test_sizes_belong_to_a_call_its_model_and_its_thread():
    nets, x = {neurons: Sizes(wide(neurons)) for neurons in (50_000, 25_000)}, numbers(1, 3)
    methods = {neurons: PathIntegratedGradients(net) for neurons, net in nets.items()}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda method: method.attribute(x, target=0, n_steps=200), methods.values()))
    assert [max(net.sizes) for net in nets.values()] == [49, 98]
    changed = nets[25_000]
    changed.network, changed.sizes = nets[50_000].network, []
    methods[25_000].attribute(x, target=0, n_steps=200)
    assert max(changed.sizes) == 49


def test_counting_draws_nothing_and_follows_the_probes():
    net, x, states = mlp(), numbers(4, 6), []

    def draws(rows):
        return net(rows) + 0 * torch.rand(len(rows), 1)

    for size in (10_000, "auto"):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            PathIntegratedGradients(draws).attribute(x, target=0, internal_batch_size=size)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    counted = Sizes(net)
    with without_probe():  # a model may need a fixed number of rows
        PathIntegratedGradients(counted).attribute(x, target=0)
    assert counted.sizes == [200, 8]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_error_of_the_model_comes_out_at_any_pass(at):
    net, calls = mlp(), []

    def fails(rows):
        calls.append(len(rows))
        if len(calls) >= at:
            raise IndexError("of the model")
        return net(rows)

    with pytest.raises((IndexError, ValueError), match="of the model"):
        gradients(fails, numbers(20, 6), 0)
        PathIntegratedGradients(fails).attribute(numbers(1, 6), target=0)


def test_an_error_at_few_rows_comes_out_although_all_together_run():
    net = mlp()

    def fails(rows):
        if len(rows) == 4:
            raise IndexError("of the model")
        return net(rows)

    with pytest.raises((IndexError, ValueError), match="of the model"):
        gradients(fails, numbers(20, 6), 0)


_MEMORY = """
import resource, warnings, torch
from torch import nn
from attrnb.paths import PathIntegratedGradients
wide = nn.Sequential(nn.Linear(3, 100_000), nn.ReLU(), nn.Linear(100_000, 2)).eval()
method, x = PathIntegratedGradients(wide), torch.ones(1, 3)
method.attribute(x, target=0, n_steps=4, internal_batch_size=2)
before = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (before + 150 * 2**20,) * 2)
method.attribute(x, target=0, n_steps=200, internal_batch_size=200)
warnings.filterwarnings("error", message="memory ran out")
method.attribute(x, target=0, n_steps=200)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's limit of the address space")
def test_a_wide_layer_stays_under_150_megabytes():
    run = subprocess.run([sys.executable, "-c", _MEMORY], check=True, capture_output=True, text=True)
    # all 200 rows at once don't fit, and parts of them do; as many as fit are found without an attempt
    assert re.search("memory ran out with 200 rows at once; it goes on with (100|50|25)\\.", run.stderr)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        (MemoryError, ""),
    ],
)
def test_rows_are_halved_when_memory_runs_out(kind, words):
    x, net = numbers(4, 6), Sizes(mlp(), 60, words, kind)
    expected = PathIntegratedGradients(net.network).attribute(x, target=0)
    with pytest.warns(UserWarning, match="memory ran out with 196 rows at once; it goes on with 49"):
        found = PathIntegratedGradients(net).attribute(x, target=0)
    assert_close(found, expected)
    assert net.sizes == [4, 196, 98, 49, 49, 49, 49, 1, 8]
    net.sizes.clear()
    with pytest.warns(UserWarning, match="it goes on with 50"):  # a size that is given is a bound
        assert_close(PathIntegratedGradients(net).attribute(x, target=0, internal_batch_size=100), expected)
    assert net.sizes == [100, 50, 50, 1, 50, 50, 8]
    net.most, net.sizes = 0, []
    with pytest.raises(kind), warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing goes on
        gradients(net, x, 0)
    assert net.sizes == [4, 2, 1]


def test_other_errors_are_not_taken_for_memory():
    net = Sizes(mlp(), 5, "shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        gradients(net, numbers(6, 6), 0)
    assert net.sizes == [6]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunk", [0, -1, 2.5, True])
def test_wrong_chunk_sizes(method, chunk):
    with pytest.raises((ValueError, TypeError), match="internal_batch_size"):
        method(mlp()).attribute(numbers(2, 6), target=0, internal_batch_size=chunk)


@pytest.mark.parametrize("method", METHODS)
def test_target_forms_agree(method):
    net, x = mlp(), numbers(3, 6)
    expected = method(net).attribute(x, target=2)
    for target in (
        [2, 2, 2],
        torch.tensor([2, 2, 2]),
        torch.tensor(2),
        np.array([2, 2, 2]),
        lambda out: out[:, 2],
        (2,),
    ):
        assert_close(method(net).attribute(x, target=target), expected)


def test_modules_of_finds_wrapped_models():
    net = mlp()
    assert modules_of(ClassScore(CountingForward(net))) == [net]
    assert modules_of(lambda x: x) == []


def test_recurrent_layers_are_explained():
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    attribution = PathIntegratedGradients(seeded(Sequence)).attribute(numbers(2, 5, 4), target=1)
    assert attribution.shape == (2, 5, 4)


def test_noise_is_repeatable_in_every_precision():
    state = torch.get_rng_state()
    single, double = (
        normal_noise((100,), 3, torch.empty(0)),
        normal_noise((100,), 3, torch.empty(0, dtype=torch.float64)),
    )
    assert_close(single, double.float())
    assert torch.equal(state, torch.get_rng_state())
    generator = random_generator(5)
    assert not torch.equal(normal_noise((3,), generator, single), normal_noise((3,), generator, single))
    assert not torch.equal(normal_noise((3,), None, single), normal_noise((3,), None, single))


def test_scores_in_chunks():
    net, x = mlp(), numbers(7, 6)
    score = TargetScore(net, (x,), [0, 1, 2, 0, 1, 2, 0], internal_batch_size=3)
    assert_close(score.scores((x,)), net(x)[torch.arange(7), torch.tensor([0, 1, 2, 0, 1, 2, 0])].detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_cuda_agrees_with_cpu(method):
    net, x = convolutional().double(), numbers(2, 3, 8, 8, dtype=torch.float64)
    expected = method(net).attribute(x, target=1)
    result = method(net.cuda()).attribute(x.cuda(), target=1)
    assert result.is_cuda
    assert_close(result.cpu(), expected)


def test_gradients_that_are_not_finite_are_refused_though_the_score_is():
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    with pytest.raises(
        ValueError, match=r"gradient with respect to input 0 holds NaN or infinity in examples \[0, 2\]"
    ):
        gradients(lambda x: x.abs().sqrt().sum(1), x)


@pytest.mark.parametrize(
    "value, error, text",
    [
        (2.0, TypeError, "n must be an int, got float 2.0"),
        (True, TypeError, "bool"),
        ("3", TypeError, "str"),
        (None, TypeError, "NoneType"),
        (0, ValueError, "n is 0; it must be at least 1"),
        (np.int64(-2), ValueError, "at least 1"),
    ],
)
def test_whole_number_refuses(value, error, text):
    with pytest.raises(error, match=text):
        whole_number(value, "n")


def test_whole_number_takes_the_integers_of_numpy():
    assert type(whole_number(np.int32(7), "n")) is int and whole_number(0, "n", least=0) == 0


@contextmanager
def told(words=None):
    "One warning with these words, beside that of an incomplete sum at most; or none of the library's own"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    own = [w for w in caught if issubclass(w.category, UserWarning) and w.filename == __file__]
    if words is None:
        assert not own, [str(w.message) for w in own]
    else:
        about = [w for w in own if words in str(w.message)]
        others = [str(w.message) for w in own if w not in about and "where the score changes by" not in str(w.message)]
        assert len(about) == 1 and not others, [str(w.message) for w in own]


# Roles of further arguments: with n examples, each form of argument gives what the caller's own call with
# these arguments gives


def _mean(x, mean):
    return (x - mean).tanh().sum((1, 2)) * x[:, 0, 0]


def _mask(x, mask):
    return ((x @ x.mT).masked_fill(mask, -1e9).softmax(-1) @ x).square().sum((1, 2))


def _edges(x, edges):
    return x.index_add(1, edges[1], x[:, edges[0]]).tanh().sum((1, 2))


def _weight(x, weight):
    return (x.sin() @ weight).sum((1, 2))


def _scale(x, scale):
    return x.cos().sum((1, 2)) * scale


def _padding(x, padding):
    return (x.tanh() * padding[:, :, None]).sum((1, 2))


def _label(x, label):
    return x.exp().sum(2).gather(1, label[:, None])[:, 0]


def _pairs(x, other):
    return torch.stack([(a * b).sin().sum() for a, b in zip(x, other, strict=True)])


def _table(x, table):
    return (x * table["scale"][:, None, None] * table["mean"]).sin().sum((1, 2))


ROLES = {
    "mean": (_mean, lambda n: numbers(n, 1), True),
    "mask": (_mask, lambda n: torch.ones(n, n).triu(1).bool(), True),
    "edges": (_edges, lambda n: torch.arange(n)[:, None].expand(n, 5).remainder(3).clone(), True),
    "weight": (_weight, lambda n: numbers(n, 2), True),
    "scale": (_scale, lambda n: numbers(n), False),
    "padding": (_padding, lambda n: (numbers(n, n) > 0).float(), False),
    "label": (_label, lambda n: torch.arange(n), False),
    "pairs": (_pairs, lambda n: numbers(n, n, n), False),
    "table": (_table, lambda n: {"scale": numbers(n), "mean": numbers(1, n, seed=3)}, False),
}


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("name", ROLES)
def test_further_arguments_have_the_role_of_the_callers_own_call(name, chunk, n):
    forward, make, _ = ROLES[name]
    x, argument = numbers(n, n, n, seed=7), make(n)
    whole = x.clone().requires_grad_()
    expected = torch.autograd.grad(forward(whole, argument).sum(), whole)[0]
    assert_close(gradients(forward, x, None, (argument,), internal_batch_size=chunk), expected)
    points, examples = x.repeat(2, 1, 1), torch.arange(2 * n) % n
    score = TargetScore(forward, (x,), None, (argument,), chunk)
    assert_close(score.scores((points,), examples), forward(x, argument).repeat(2))
    by_name = {
        "_mean": "mean",
        "_mask": "mask",
        "_edges": "edges",
        "_weight": "weight",
        "_scale": "scale",
        "_padding": "padding",
        "_label": "label",
        "_pairs": "other",
        "_table": "table",
    }
    named = keywords(**{by_name[forward.__name__]: argument})
    assert_close(gradients(forward, x, None, named, internal_batch_size=chunk), expected)


@pytest.mark.parametrize("name", [name for name in ROLES if name != "table"])
def test_a_marked_argument_is_not_probed(name):
    forward, make, is_shared = ROLES[name]
    x, argument = numbers(4, 4, 4), make(4)
    whole = x.clone().requires_grad_()
    expected = torch.autograd.grad(forward(whole, argument).sum(), whole)[0]
    counting = CountingForward(forward)
    assert_close(gradients(counting, x, None, (shared if is_shared else per_example)(argument)), expected)
    assert counting.rows == 4 + 1  # the check of the last row


def test_two_arguments_of_different_roles_and_their_price():
    def forward(x, mean, scale, deviation):
        return ((x - mean) / deviation).tanh().sum(1) * scale

    mean, scale, deviation = numbers(3), numbers(3, seed=1), numbers(3, seed=2).abs() + 1
    x = numbers(3, 3, seed=5)
    whole = x.clone().requires_grad_()
    expected = torch.autograd.grad(forward(whole, mean, scale, deviation).sum(), whole)[0]
    counting = CountingForward(forward)
    try:
        assert_close(gradients(counting, x, None, (mean, scale, deviation)), expected)
    except ValueError as refusal:
        assert "Mark them" in str(refusal)
    assert counting.rows <= 3 + 1 + 5
    assert_close(gradients(forward, x, None, (shared(mean), per_example(scale), shared(deviation))), expected)


def test_what_cannot_be_told_is_refused_and_marks_are_checked():
    def fixed(x, a):
        if len(x) != 3:
            raise RuntimeError("three rows only")
        return (x * a).sum(1)

    with pytest.raises(ValueError, match="Mark them: per_example"):
        TargetScore(
            lambda x, a, b: fixed(x, a) + fixed(x, b), (numbers(3, 2),), None, (numbers(3, 2), numbers(3, 1))
        ).scores((numbers(3, 2),))
    with pytest.raises(ValueError, match="2 entries for 3 examples"):
        gradients(fixed, numbers(3, 2), None, per_example(numbers(2, 2)))
    with pytest.raises(TypeError, match="single number"):
        per_example(torch.tensor(1.0))
    with without_probe():
        assert_close(gradients(fixed, numbers(3, 2), None, numbers(3, 2)), numbers(3, 2))


def test_lists_follow_their_examples_when_marked():
    def forward(x, words):
        return x.sum(1) * torch.tensor([float(len(w)) for w in words])

    assert_close(
        gradients(forward, torch.ones(3, 2), None, per_example(["a", "bb", "ccc"]), internal_batch_size=1),
        torch.tensor([[1.0, 1], [2, 2], [3, 3]]),
    )


def test_gradients_of_fewer_points_than_examples():
    x, weight, examples = numbers(3, 1).abs() + 0.1, torch.tensor([[1.0], [2.0], [30.0]]), torch.tensor([0, 1, 1])
    assert_close(
        gradients(lambda z, w: (z * w) ** 2, x, None, (weight,), examples=examples), 2 * x * weight[examples] ** 2
    )
    assert_close(
        gradients(
            lambda z, w: (z * w).square() @ torch.ones(1, 2), x, [0, 1, 0], (weight,), examples=torch.tensor([1, 2, 2])
        ),
        2 * x * weight[[1, 2, 2]] ** 2,
    )


# Models are found because they run, wherever they are held


class _Slots:
    __slots__ = ("network",)

    def __init__(self, network):
        self.network = network

    def predict(self, x):
        return self.network(x)


class _Plain:
    def __init__(self, network):
        self.parts = {"networks": [network]}

    def predict(self, x):
        return self.parts["networks"][0](x)

    __call__ = predict


class _OwnCode(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def encode(self, x):
        return nn.functional.dropout(self.network(x), 0.5, self.training)


HOLDERS = {
    "module": lambda n: n,
    "forward": lambda n: n.forward,
    "lambda": lambda n: lambda x: n(x),
    "list": lambda n: lambda x, models=[n]: models[0](x),
    "dict": lambda n: lambda x, models={"a": n}: models["a"](x),
    "tuple": lambda n: lambda x: (n,)[0](x),
    "keyword default": lambda n: lambda x, *, net=n: net(x),
    "slots": lambda n: _Slots(n).predict,
    "plain object": lambda n: _Plain(n),
    "bound method": lambda n: _Plain(n).predict,
    "namespace": lambda n: lambda x, s=types.SimpleNamespace(n=n): s.n(x),  # noqa: B008
    "partial": lambda n: functools.partial(lambda net, x: net(x), n),
    "weak reference": lambda n: lambda x, r=weakref.ref(n): r()(x),  # noqa: B008
    "comprehension": lambda n: lambda x: sum(m(x) for m in [n]),
    "layers": lambda n: lambda x: functools.reduce(lambda h, layer: layer(h), n, x),
    "class attribute": lambda n: type("Holder", (), {"net": n, "predict": lambda self, x: self.net(x)})().predict,
    "method of a module": lambda n: _OwnCode(n).encode,
    "lambda of a method": lambda n: lambda x, m=_OwnCode(n): m.encode(x),  # noqa: B008
    "seven wrappers": lambda n: functools.reduce(lambda f, _: lambda x: f(x), range(7), n),
    "functional_call": lambda n: lambda x: torch.func.functional_call(n, dict(n.named_parameters()), (x,)),
    "class score": lambda n: ClassScore(lambda x: [n][0](x)),
    "dataclass": lambda n: lambda x, d=dataclasses.make_dataclass("D", ["net"])(n): d.net(x),  # noqa: B008
    "counting": lambda n: CountingForward(n),
    "vmap": lambda n: lambda x: torch.vmap(lambda row: n[3](n[2](torch.relu(n[0](row)))))(x),
    "checkpoint": lambda n: lambda x: torch.utils.checkpoint.checkpoint(n, x, use_reentrant=False),
    "compiled": lambda n: torch.compile(n, backend="eager"),
    "DataParallel": nn.DataParallel,
}


def _dropping():
    return seeded(lambda: nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3)))


@pytest.mark.parametrize("name", HOLDERS)
def test_a_model_in_training_mode_is_found_wherever_it_is_held(name):
    if name == "vmap":
        net = seeded(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)))
    else:
        net = _dropping()
    x = numbers(4, 6)
    expected = PathIntegratedGradients(copy.deepcopy(net)).attribute(x, target=1)
    net.train()
    before = snapshot(net)
    with told("training mode"):
        assert_close(PathIntegratedGradients(HOLDERS[name](net)).attribute(x, target=1), expected)
    after = snapshot(net)
    assert (
        before[0] == after[0]
        and before[5] == after[5]
        and all(torch.equal(before[3][k], after[3][k]) for k in before[3])
    )
    assert not nn.modules.module._global_forward_pre_hooks


model = nn.Linear(6, 3).train()  # a global of that name must not be taken for an object's own `model`


class _Estimator:
    def __init__(self):
        self.model = seeded(lambda: nn.Linear(6, 3))

    def predict(self, x):
        return self.model(x)


def test_an_unrelated_global_is_left_alone():
    own = _Estimator()
    assert modules_of(own.predict) == [own.model]
    with told():
        PathIntegratedGradients(own.predict).attribute(numbers(2, 6), target=0)
    assert model.training


def test_modules_made_in_inference_mode_and_their_tensors_are_left():
    with torch.inference_mode():
        net = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).eval()
    weight, mean = net[0].weight, net[1].running_mean
    ordinary = copy.deepcopy(_ordinary(net))
    assert_close(
        PathIntegratedGradients(net).attribute(numbers(2, 6), target=0),
        PathIntegratedGradients(ordinary).attribute(numbers(2, 6), target=0),
    )
    assert net[0].weight is weight and net[1].running_mean is mean and weight.is_inference()


def _ordinary(net):
    made = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).eval()
    made.load_state_dict({k: v.clone() for k, v in net.state_dict().items()})
    return made


# A function is a function, a row is a row


def test_batch_statistics_are_refused_and_nodes_as_rows():
    nodes, edges, lin = (
        numbers(6, 4),
        torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]]),
        seeded(lambda: nn.Linear(4, 3)),
    )
    for method in METHODS:
        with pytest.raises(ValueError, match="influence each other"):
            method(lambda x: lin(x - x.mean(0))).attribute(nodes, target=1)
        with pytest.raises(ValueError, match="can't be scored alone"):
            method(lambda x, e: lin(x.index_add(0, e[1], x[e[0]]).tanh())).attribute(
                nodes, target=1, additional_forward_args=(edges,)
            )
    with pytest.raises(ValueError, match="influence each other"):
        TargetScore(lambda x: lin(x - x.mean(0)), (nodes,), 1).scores((nodes,))


class _Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        y = self.head((x + self.level).tanh())
        self.level = self.level + 0.1
        self.seen += len(x)
        return y


@pytest.mark.parametrize("method", METHODS)
def test_a_forward_function_with_a_memory_is_told_of_and_put_back(method):
    net = seeded(_Remembers)
    level, seen = net.level, net.seen
    with told("is no function"):
        method(net).attribute(numbers(3, 6), target=1)
    assert net.level is level and net.seen is seen and net.level == 0 and net.seen == 0


@pytest.mark.parametrize("rows", [1, 4])
def test_dropout_that_stays_on_is_told_of(rows):
    net = mlp()
    with told("is no function"):
        PathIntegratedGradients(lambda x: net(nn.functional.dropout(x, 0.5))).attribute(numbers(rows, 6), target=1)


INNOCENT = {
    "float32": lambda: (mlp(), numbers(3, 6)),
    "bfloat16": lambda: (mlp().bfloat16(), numbers(3, 6, dtype=torch.bfloat16)),
    "half": lambda: (mlp().half(), numbers(3, 6, dtype=torch.float16)),
    "convolutional": lambda: (convolutional(), numbers(3, 3, 8, 8)),
    "bidirectional": lambda: (
        (lambda lstm: lambda x: lstm(x)[0].sum(1)[:, :3])(
            seeded(lambda: nn.LSTM(4, 5, batch_first=True, bidirectional=True))
        ),
        numbers(3, 7, 4),
    ),
    "attention": lambda: (
        seeded(
            lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(20, 3))
        ),
        numbers(3, 5, 4),
    ),
    "tiny scores": lambda: ((lambda net: lambda x: 1e-20 * net(x))(mlp()), numbers(3, 6)),
    "constant": lambda: (lambda x: x * 0, numbers(3, 6)),
    "autocast": lambda: ((lambda net: lambda x: torch.autocast("cpu", torch.bfloat16)(net)(x))(mlp()), numbers(3, 6)),
}


@pytest.mark.parametrize("name", INNOCENT)
def test_innocent_models_pass_at_the_price_of_one_row(name):
    forward, x = INNOCENT[name]()
    score = TargetScore(forward, (x,), 1)
    with leave_as_found(forward), told():
        score.gradient((x,), torch.arange(3))
        score.scores((x,))
    assert score.probe_rows == 1


def test_the_probe_can_be_switched_off():
    counting = CountingForward(mlp())
    with without_probe():
        gradients(counting, numbers(3, 6), 1)
    assert counting.rows == 3
    gradients(counting, numbers(3, 6), 1)
    assert counting.rows == 3 + 4


# Dependence

FROZEN = {
    "detach": lambda net: lambda x: net(x.detach()),
    "ignored": lambda net: lambda x: net(torch.ones(len(x), 6)),
    "argmax": lambda net: lambda x: net(x).argmax(1, keepdim=True).float(),
    "numpy": lambda net: lambda x: torch.as_tensor(net(x).detach().numpy()),
    "no_grad backbone": lambda net: lambda x: net[2](_without_gradient(net[0], x)),
    "rounded integers": lambda net: lambda x: net(x.long().float()),
}


def _without_gradient(layer, x):
    with torch.no_grad():
        return layer(x).relu()


@pytest.mark.parametrize("name", FROZEN)
@pytest.mark.parametrize("method", METHODS)
def test_a_score_without_a_path_to_the_inputs_is_refused(method, name):
    with pytest.raises(ValueError, match="doesn't depend on the inputs"):
        method(FROZEN[name](mlp())).attribute(numbers(3, 6), target=0)


def test_one_of_several_inputs_unused_is_told_of_once():
    net = mlp()
    with told("doesn't depend on input 1 of 2"):
        a, b = PathIntegratedGradients(lambda x, y: net(x)).attribute(
            (numbers(3, 6), numbers(3, 2)), target=0, internal_batch_size=10
        )
    assert not b.any() and a.any()


# What outputs mean


def test_sigmoids_and_class_dimensions():
    outputs = numbers(2, 7, 4)
    assert_close(class_scores(outputs, "sigmoid"), outputs.sigmoid())
    assert_close(class_scores(outputs, "log_sigmoid"), nn.functional.logsigmoid(outputs))
    assert_close(class_scores(outputs, "probability", -1), outputs.softmax(-1))
    assert_close(class_scores(outputs, "log_probability", 1), outputs.log_softmax(1))
    assert class_scores(outputs, "logit") is outputs
    for wrong in (0, 3, -3):
        with pytest.raises(ValueError, match="dim is"):
            class_scores(outputs, "probability", wrong)
    for strange in ("1", True, 1.0):
        with pytest.raises(TypeError, match="dim must be an int"):
            ClassScore(abs, "probability", strange)
    for of in ("probability", "log_probability"):
        with pytest.raises(ValueError, match="which dimension holds the classes"):
            class_scores(outputs, of)


@pytest.mark.parametrize("dim, shape", [(None, (5, 6)), (1, (5, 4, 3)), (-1, (5, 3, 4)), (2, (5, 3, 4, 2))])
def test_the_margin_is_that_of_a_plain_loop(dim, shape):
    outputs, classes = numbers(*shape).double(), 1 if dim is None else dim % len(shape)
    lines = outputs.movedim(classes, -1).reshape(-1, shape[classes])
    expected = [[line[c] - max(v for k, v in enumerate(line) if k != c) for c in range(len(line))] for line in lines]
    expected = torch.tensor(expected, dtype=torch.float64).reshape(outputs.movedim(classes, -1).shape)
    assert_close(class_scores(outputs, "margin", dim), expected.movedim(-1, classes))
    assert_close(class_scores(outputs.log_softmax(classes), "margin", dim), expected.movedim(-1, classes))
    assert torch.autograd.gradcheck(lambda z: class_scores(z, "margin", dim), outputs.requires_grad_())


def test_the_margin_of_equal_logits_ties_and_single_examples():
    logits = torch.tensor([[1.0, 1.0, 0.0], [2.0, -1.0, 2.0]])
    assert_close(class_scores(logits, "margin"), torch.tensor([[0.0, 0.0, -1.0], [0.0, -3.0, 0.0]]))
    net, x = mlp(), numbers(4, 6)
    method = PathIntegratedGradients(ClassScore(net, "margin"))
    whole = method.attribute(x, target=[0, 1, 2, 0])
    assert_close(whole, torch.cat([method.attribute(x[k : k + 1], target=[0, 1, 2, 0][k]) for k in range(4)]))
    total = ClassScore(net, "margin")(x) - ClassScore(net, "margin")(0 * x)
    assert_close(whole.sum(1), total[range(4), [0, 1, 2, 0]], atol=2e-2, rtol=2e-2)


def test_the_margin_needs_classes_and_logits():
    net, x = mlp(), numbers(4, 6)
    for single in (lambda x: net(x)[:, 0], lambda x: net(x)[:, :1]):
        with pytest.raises(ValueError, match="needs another class"):
            ClassScore(single, "margin")(x)
    with pytest.raises(ValueError, match="dim=1 for"):
        class_scores(numbers(2, 3, 4), "margin")
    with pytest.raises(ValueError, match="probabilities already, and of='margin' would take them for logits"):
        ClassScore(lambda x: net(x).softmax(1), "margin")(x)
    region = ClassScore(lambda x: x, "margin", dim=1, places=torch.tensor([True, False]))
    pairs = numbers(2, 3, 2)
    assert_close(region(pairs), class_scores(pairs[..., 0], "margin"))


@pytest.mark.parametrize("of", ["probability", "log_probability", "sigmoid"])
def test_outputs_that_are_probabilities_already(of):
    net, x = mlp(), numbers(4, 6)
    with pytest.raises(ValueError, match="probabilities already"):
        ClassScore(lambda x: net(x).softmax(1), of)(x)
    with pytest.raises(ValueError, match="probabilities already"):
        class_scores(net(x).softmax(1), of)
    with told("stay there for inputs a hundred times"):
        ClassScore(lambda x: net(x).sigmoid(), of)(x)
    with told("stay there"):
        ClassScore(lambda x: net(x)[:, :1].sigmoid(), of)(x)
    with told():
        ClassScore(lambda x: 0.5 + 0.05 * net(x), of)(x)  # logits that happen to lie there
        ClassScore(net, of)(x)
        if of != "sigmoid":
            ClassScore(lambda x: net(x).log_softmax(1), of)(x)
    if of == "sigmoid":
        with pytest.raises(ValueError, match="log-probabilities already"):
            ClassScore(lambda x: net(x).log_softmax(1), of)(x)
        with told("lie below 0"):
            ClassScore(lambda x: nn.functional.logsigmoid(net(x)), of)(x)
    with told("lie below 0"):
        ClassScore(lambda x: nn.functional.logsigmoid(net(x)[:, :1]), "probability")(x)
    for seed in range(20):
        # outputs that happen to lie in the interval, of a network that looks at the direction only
        with told():
            ClassScore(seeded(lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 2)), seed), "sigmoid")(
                numbers(1, 6, seed=seed)
            )


def test_a_class_score_is_a_module_that_can_be_kept():
    score = ClassScore(mlp(), "probability")
    assert isinstance(score, nn.Module) and not score.training
    assert_close(pickle.loads(pickle.dumps(score))(numbers(2, 6)), score(numbers(2, 6)))
    assert repr(copy.deepcopy(score)) == "ClassScore(Sequential, of='probability')"
    with pytest.raises(TypeError, match="returned dict; it must return one tensor"):
        ClassScore(lambda x: {"logits": x.tolist()}, "probability")(numbers(2, 6))


# Words


def test_errors_of_the_model_pass_with_a_note():
    net = mlp()
    with pytest.raises(RuntimeError) as caught:
        PathIntegratedGradients(net).attribute(numbers(2, 5), target=0)
    if hasattr(caught.value, "__notes__"):
        (note,) = caught.value.__notes__
        assert "PathIntegratedGradients.attribute" in note and "(100, 5) torch.float32" in note


def test_in_place_models_leave_the_callers_tensors():
    net, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 2)).eval(), numbers(3, 6)
    before = x.clone()
    for method in METHODS:
        a = method(net).attribute(x, target=1)
        assert_close(a, method(nn.Sequential(nn.ReLU(), net[1])).attribute(x, target=1))
    PathIntegratedGradients(net).compute_convergence_delta(torch.zeros_like(x), None, x, 1)
    TargetScore(net, (x,), 1, internal_batch_size=1).scores((x,))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: torch.zeros(2, 6, dtype=torch.complex64), "view_as_real"),
        (lambda: torch.eye(6).to_sparse(), "to_dense"),
        (lambda: torch.eye(6).to_sparse_csr(), "to_dense"),
        (lambda: torch.empty(2, 6, device="meta"), "meta device"),
        (lambda: torch.zeros(2, 6).to(torch.float8_e4m3fn), "t.float()"),
        (lambda: torch.quantize_per_tensor(torch.zeros(2, 6), 0.1, 0, torch.quint8), "dequantize"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), "nested"),
        (lambda: torch.zeros(2, 6).to_mkldnn(), "to_dense"),
    ],
)
def test_strange_tensors_are_refused_by_name(make, words):
    with pytest.raises(TypeError) as caught:
        check_inputs(make())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "value, error",
    [
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
        ([1], TypeError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (-1, ValueError),
        (2, ValueError),
        (0, ValueError),
        (1j, TypeError),
    ],
)
def test_real_number_refuses(value, error):
    with pytest.raises(error, match="share"):
        real_number(value, "share", 0, 1, open_low=True)


def test_real_number_and_read_tensor_take_what_people_have():
    assert (
        real_number(np.float32(0.5), "share", 0, 1) == 0.5
        and real_number(None, "share", or_none=True) is None
        and real_number(1, "share", 0, 1) == 1.0
    )
    assert read_tensor(np.arange(3), "a").tolist() == [0, 1, 2] and read_tensor([torch.ones(2)] * 2, "a").shape == (
        2,
        2,
    )
    for strange in (None, "map", object(), [[1], [1, 2]], {"a": 1}):
        with pytest.raises(TypeError, match="a "):
            read_tensor(strange, "a")


def test_rows_that_are_all_the_same_are_not_what_is_looked_at():
    net, x = mlp(), numbers(4, 6)
    forward = lambda x: net(x - x.mean(0))  # noqa: E731
    score = TargetScore(forward, (x,), 1)
    score.scores((torch.ones(4, 6),))
    with pytest.raises(ValueError, match="influence each other"):
        score.scores((x,))


def test_deep_lift_is_complete_for_a_sigmoid_of_each_label():
    from captum.attr import DeepLift

    net, x = mlp(), numbers(3, 6)
    for score in (ClassScore(net, "sigmoid"), ClassScore(mlp(classes=1), "probability")):
        total = DeepLift(score).attribute(x, torch.zeros_like(x), target=0).sum(1)
        assert_close(total, (score(x) - score(torch.zeros_like(x)))[:, 0], rtol=1e-4, atol=1e-5)


def _by_extremes(x):
    return x / x.abs().max()


def _min_max(x):
    return (x - x.min()) / (x.max() - x.min())


@pytest.mark.parametrize("scaled", [_by_extremes, _min_max])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_scaling_by_the_extremes_of_the_batch_is_noticed(scaled, n):
    net, x = mlp(), numbers(n, 6).abs()
    with pytest.raises(ValueError, match="influence each other"):
        PathIntegratedGradients(lambda z: net(scaled(z))).attribute(x, target=1)


def _rarely(x, net):
    from torchvision.ops import stochastic_depth

    return net(x) + stochastic_depth(net(2 * x), 0.1, "row", True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "draw",
    [
        lambda net: lambda x: _rarely(x, net),
        lambda net: lambda x: net(nn.functional.dropout(x, 0.01)),
        lambda net: lambda x: net(x + 1e-9 * torch.randn_like(x)),
        lambda net: lambda x: net(x) * (torch.rand(()) > -1),
    ],
)
def test_rare_draws_are_told_of(method, draw):
    net = mlp()
    for seed in range(4):
        torch.manual_seed(seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            method(draw(net)).attribute(numbers(3, 6), target=1)
        assert any("is no function" in str(w.message) for w in caught), seed


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [False, True])
def test_attention_draws_with_its_dropout_only(method, training):
    "Torch marks attention as an operation that may draw random numbers"
    layer = seeded(lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.3, batch_first=True, norm_first=True))

    def attend(x):
        q, k, v = layer.self_attn.in_proj_weight.chunk(3)
        heads = [(layer.norm1(x) @ w.T).unflatten(-1, (2, 4)).transpose(1, 2) for w in (q, k, v)]
        found = nn.functional.scaled_dot_product_attention(*heads, dropout_p=0.3 if training else 0.0)
        return layer(x + found.transpose(1, 2).flatten(2)).mean(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        method(attend).attribute(numbers(2, 5, 8), target=1)
    assert any("is no function" in str(w.message) for w in caught) == training


def test_a_generator_that_can_not_be_seen_may_have_drawn(monkeypatch):
    monkeypatch.setattr(torch, "get_device_module", lambda device: torch)
    there = [torch.device("xla:0")]
    monkeypatch.setattr(torch, "get_rng_state", lambda *device: 1 / 0 if device else torch.zeros(1))
    with pytest.raises(ZeroDivisionError):  # an error that isn't the device's is no answer
        generator_states(there)
    monkeypatch.setattr(torch, "get_device_module", lambda device: object())
    assert not all(map(torch.equal, generator_states(there), generator_states(there)))
    assert all(map(torch.equal, generator_states([]), generator_states([])))


def test_a_draw_from_a_generator_of_its_own_is_told_of():
    net, own = mlp(), torch.Generator()
    with pytest.warns(UserWarning, match="is no function"):
        PathIntegratedGradients(lambda x: net(x) + 1e-9 * torch.rand(3, generator=own)).attribute(
            numbers(3, 6), target=1
        )


def test_a_thread_that_trains_the_model_being_explained_is_warned_and_keeps_its_buffers():
    import threading

    net = _dropping().train()
    x, entered, trained = numbers(8, 6), threading.Event(), threading.Event()

    def forward(z):
        out = net(z)
        entered.set()
        trained.wait(10)
        return out

    def explain():
        PathIntegratedGradients(forward).attribute(x, target=1, n_steps=2)

    worker = threading.Thread(target=explain)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        worker.start()
        assert entered.wait(20)
        net(x)
        net[1].num_batches_tracked += 5
        trained.set()
        worker.join(20)
    assert any("another thread explains this model" in str(w.message) for w in caught)
    assert net.training and net[1].num_batches_tracked == 5


def test_gradients_that_foreign_code_accumulates_are_put_back(tmp_path):
    from attrnb.benchmark import benchmark
    from attrnb.measures import batch_independence

    net, x = convolutional(classes=3), numbers(2, 3, 8, 8).abs().clamp(max=1)

    def saliency(model, inputs, target):
        inputs = inputs.clone().requires_grad_()
        model(inputs).gather(1, torch.as_tensor(target).reshape(-1, 1)).sum().backward()
        return inputs.grad

    benchmark(
        net,
        [(i, 0) for i in x],
        {"saliency": saliency},
        ["deletion"],
        tmp_path / "run",
        masking_steps=2,
        show_progress=False,
    )
    batch_independence(lambda inputs, target: saliency(net, inputs, target), x, torch.tensor([0, 1]))
    assert all(p.grad is None for p in net.parameters())


def test_points_along_a_path_are_evenly_spread():
    bent = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    assert_close(points_along(bent, 5), torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]))


@pytest.mark.parametrize("rows", [3, 40])
def test_a_role_that_cannot_be_told_is_refused_every_time(rows):
    "Also where rows are counted first, and the whole is tried again when they fail"

    def so_many_only(x, a, b):
        if len(x) != rows:
            raise RuntimeError(f"{rows} rows, please")
        return (x * a).sum(1) + b

    x, further = torch.randn(rows, 2), (torch.ones(rows, 2), torch.ones(rows))
    score = TargetScore(so_many_only, (x,), None, further)
    for _ in range(2):
        with pytest.raises(ValueError, match="can't be told"):
            score.gradient((x,), torch.arange(rows))
    for method in (PathIntegratedGradients, NeFLAG):
        with pytest.raises(ValueError, match="can't be told"):
            method(so_many_only).attribute(x, additional_forward_args=further)
