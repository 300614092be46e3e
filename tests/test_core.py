"Scores, targets, gradients in chunks, and the promise that the model is left as it was found"
import functools
import inspect
import warnings

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from hypothesis import given, settings, strategies as st
from models import TwoInputs, convolutional, mlp, numbers, seeded
from torch import nn
from torch.testing import assert_close

from attrnb.core import (
    ClassScore, CountingForward, TargetScore, bootstrap_interval, check_baselines, check_inputs, gradients, modules_of,
    normal_noise, random_generator, select_target, whole_number,
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
    assert_close(ClassScore(nn.Linear(6, 1), "probability")(numbers(2, 6)).detach().max(), torch.tensor(.5), atol=.5, rtol=0)
    assert_close(ClassScore(lambda x: x[:, 0], "log_probability")(numbers(3, 2)), nn.functional.logsigmoid(numbers(3, 2)[:, 0]))


output = numbers(4, 3, 5, seed=9)


@pytest.mark.parametrize("target, expected", [
    ((1, 2), output[:, 1, 2]),
    ([(0, 0), (2, 4), (1, 1), (0, 3)], torch.stack([output[0, 0, 0], output[1, 2, 4], output[2, 1, 1], output[3, 0, 3]])),
    (lambda out: out.sum((1, 2)), output.sum((1, 2))),
])
def test_targets_of_two_dimensional_outputs(target, expected):
    assert_close(select_target(output, target), expected)


@pytest.mark.parametrize("target", [1, -1, torch.tensor(1), torch.tensor([1]), np.int64(1), (1,), [1, 1, 1, 1], torch.tensor([1, 1, 1, 1]), np.array([1] * 4), [(1,)] * 4, [torch.tensor(1)] * 4])
def test_targets_of_class_outputs(target):
    classes = output[:, 0]
    expected = classes[:, -1] if isinstance(target, int) and target == -1 else classes[:, 1]
    assert_close(select_target(classes, target), expected)


@pytest.mark.parametrize("target, error, words", [
    (5, ValueError, "out of range for an output of shape (4, 5)"), (-6, ValueError, "valid are -5 to 4"), (1.0, TypeError, "not understood"), ("cat", TypeError, "not understood"),
    (True, TypeError, "not understood"), (torch.tensor([1., 2., 3., 4.]), TypeError, "float32"), (torch.tensor([True] * 4), TypeError, "bool"),
    ([0, 1], ValueError, "2 targets for 4 examples"), (torch.zeros(4, 2, dtype=torch.long), ValueError, "(4, 2)"),
    (None, ValueError, "returns 5 numbers per row (shape (4, 5) for the 4 rows of one pass): say which"), ((0, 1), ValueError, "needs 1"), ([(0,), (0, 1), (0,), (0,)], ValueError, "different lengths"),
    (lambda out: out, ValueError, "one number per row"), (lambda out: 3, ValueError, "one number per row"),
])
def test_wrong_targets(target, error, words):
    with pytest.raises(error) as caught:
        select_target(output[:, 0], target)
    assert words in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inputs, error, words", [
    (torch.full((2, 6), float("nan")), ValueError, "NaN or infinity in examples [0, 1]"),
    (torch.full((2, 6), float("inf")), ValueError, "NaN or infinity"),
    (torch.zeros(2, 6, dtype=torch.long), TypeError, "int64"), (torch.zeros(2, 6, dtype=torch.bool), TypeError, "bool"),
    (torch.zeros(0, 6), ValueError, "empty batch"), (torch.tensor(1.), ValueError, "first dimension must be the batch"),
    (np.zeros((2, 6)), TypeError, "ndarray"), ((), ValueError, "empty tuple"), ((torch.zeros(2, 6), torch.zeros(3, 6)), ValueError, "different batch sizes"),
])
def test_wrong_inputs(method, inputs, error, words):
    with pytest.raises(error) as caught:
        method(mlp()).attribute(inputs, target=0)
    assert words in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("forward, error, words", [
    (lambda x: mlp()(x).sum(), ValueError, "one number for the whole batch"), (lambda x: [mlp()(x)], TypeError, "list"),
    (lambda x: mlp()(x.detach()).detach(), ValueError, "differentiable"), (lambda x: mlp()(x)[:1], ValueError, "one row per example"),
    (lambda x: mlp()(x) * float("nan"), ValueError, "NaN or infinity"),
])
def test_wrong_forward_functions(method, forward, error, words):
    with pytest.raises(error) as caught:
        method(forward).attribute(numbers(3, 6), target=0)
    assert words in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_forward_must_be_callable(method):
    with pytest.raises(TypeError, match="callable"):
        method("resnet")


@pytest.mark.parametrize("baseline, error", [
    (torch.zeros(3, 6), ValueError), (torch.zeros(2, 5), ValueError), ("black", TypeError), ((0, 0), ValueError), (True, TypeError), (torch.full((1, 6), float("nan")), ValueError),
])
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
    assert_close(gradients(net, x, target=[0, 3, 1]), Saliency(net).attribute(x, target=torch.tensor([0, 3, 1]), abs=False))


def test_additional_arguments_follow_their_examples():
    model = seeded(TwoInputs)
    a, b, scale = numbers(3, 4), numbers(3, 2, 3), torch.tensor([1., -2., 3.])
    whole = gradients(model, (a, b), 1, scale)
    for chunk in (1, 2):
        for one, part in zip(whole, gradients(model, (a, b), 1, scale, internal_batch_size=chunk)):
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
        [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()], [p.grad for p in net.parameters()],
        {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state(), sum(len(m._forward_hooks) + len(m._backward_hooks) for m in net.modules()),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: ClassScore(n), lambda n: (lambda x: n(x)), lambda n: functools.partial(n), lambda n: n.forward])
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
    assert all(a is b for a, b in zip(before[2], after[2]))
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
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_inside_no_grad_and_inference_mode(method, context):
    net = mlp()
    x = numbers(2, 6)
    expected = method(net).attribute(x, target=1)
    with context():
        assert_close(method(net).attribute(x.clone(), target=1), expected)


@pytest.mark.parametrize("method", METHODS)
def test_captum_conventions(method):
    assert hasattr(method.attribute, "__wrapped__")
    names = list(inspect.signature(method.attribute).parameters)
    captum = [n for n in inspect.signature(IntegratedGradients.attribute).parameters if n in names]
    assert [n for n in names if n in captum] == captum
    net, x = mlp(), numbers(2, 6)
    torch.manual_seed(0)
    smooth = NoiseTunnel(method(net)).attribute(x, nt_samples=4, nt_samples_batch_size=2, stdevs=.01, target=1)
    assert smooth.shape == x.shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_in_dtype_out(method, dtype):
    net = mlp().to(dtype)
    x = numbers(3, 6, dtype=dtype)
    attribution = method(net).attribute(x, target=2)
    assert attribution.dtype == dtype and attribution.shape == x.shape and attribution.device == x.device


@pytest.mark.parametrize("method", METHODS)
def test_batch_is_its_examples(method):
    net, x, target = convolutional().double(), numbers(4, 3, 8, 8, dtype=torch.float64), [0, 1, 2, 3]
    whole = method(net).attribute(x, target=target)
    assert_close(whole, torch.cat([method(net).attribute(x[i:i + 1], target=t) for i, t in enumerate(target)]))
    for chunk in (1, 3, 7):
        counting = CountingForward(net)
        assert_close(method(counting).attribute(x, target=target, internal_batch_size=chunk), whole)
        assert counting.largest_batch <= chunk


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunk", [0, -1, 2.5, True])
def test_wrong_chunk_sizes(method, chunk):
    with pytest.raises((ValueError, TypeError), match="internal_batch_size"):
        method(mlp()).attribute(numbers(2, 6), target=0, internal_batch_size=chunk)


@pytest.mark.parametrize("method", METHODS)
def test_target_forms_agree(method):
    net, x = mlp(), numbers(3, 6)
    expected = method(net).attribute(x, target=2)
    for target in ([2, 2, 2], torch.tensor([2, 2, 2]), torch.tensor(2), np.array([2, 2, 2]), lambda out: out[:, 2], (2,)):
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
    single, double = normal_noise((100,), 3, torch.empty(0)), normal_noise((100,), 3, torch.empty(0, dtype=torch.float64))
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


def test_bootstrap_interval_refuses_too_little():
    for values, level in ((torch.ones(1), .95), (torch.ones(5), 1.)):
        with pytest.raises(ValueError):
            bootstrap_interval(values, level)
    assert bootstrap_interval(torch.ones(5)) == (1., 1., 1.)
    with pytest.raises(ValueError, match="draws"):
        bootstrap_interval(torch.ones(5), draws=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(0, 5), st.floats(.5, .99))
def test_the_bootstrap_interval_is_that_of_a_plain_loop_and_of_each_column(n, seed, level):
    values = numbers(n, 2, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(n, (200, n), generator=generator)
    means = torch.stack([torch.stack([values[i] for i in drawn]).double().mean(0) for drawn in index])
    mean, low, high = bootstrap_interval(values, level, draws=200, seed=seed)
    assert_close(mean, values.double().mean(0))
    assert_close(low, means.quantile((1 - level) / 2, dim=0))
    assert_close(high, means.quantile((1 + level) / 2, dim=0))
    assert_close(bootstrap_interval(values[:, 1, 2], level, draws=200, seed=seed), (mean[1, 2].item(), low[1, 2].item(), high[1, 2].item()))


@pytest.mark.parametrize("value, error, text", [
    (2., TypeError, "n must be an int, got float 2.0"), (True, TypeError, "bool"), ("3", TypeError, "str"), (None, TypeError, "NoneType"),
    (0, ValueError, "n is 0; it must be at least 1"), (np.int64(-2), ValueError, "at least 1"),
])
def test_whole_number_refuses(value, error, text):
    with pytest.raises(error, match=text):
        whole_number(value, "n")


def test_whole_number_takes_the_integers_of_numpy():
    assert type(whole_number(np.int32(7), "n")) is int and whole_number(0, "n", least=0) == 0
