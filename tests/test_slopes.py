"Second derivatives that don't exist: differences against exact ones, the way that is taken, and models that need it"

import warnings

import pytest
import torch
from models import mlp, numbers, seeded, value_and_warnings
from torch import nn
from torch.autograd.function import once_differentiable
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from attrnb.core import ClassScore, CountingForward, TargetScore, per_example
from attrnb.geodesic import WAYS, GeodesicIGSVI, PathFamily, PublishedGeodesicIG, path_energy
from attrnb.geodesic.slopes import _best_steps, _gradients, _Slopes, _slopes_of
from attrnb.testing import CLAUSES, check_method

EXACT, PLAIN, ROUGH = WAYS
SHORT = dict(n_segments=4, rounds=1, max_iterations=4, n_points=8)


class Once(torch.autograd.Function):
    "tanh, with a backward pass that can't be differentiated"

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.tanh())
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0] ** 2)


class Detached(Once):
    "tanh, with a backward pass whose derivative is another"

    @staticmethod
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0].detach() ** 2)


class Right(Once):
    "tanh, with a backward pass whose derivative is right"

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0].tanh() ** 2)


class Numpy(Once):
    "tanh, computed outside of PyTorch in the backward pass"

    @staticmethod
    def backward(ctx, g):
        return g * torch.from_numpy(1 - ctx.saved_tensors[0].detach().numpy() ** 2)


class Own(nn.Module):
    "Two layers with an operation between"

    def __init__(self, operation, features=6):
        super().__init__()
        self.first, self.last, self.operation = nn.Linear(features, 8), nn.Linear(8, 3), operation

    def forward(self, x):
        return self.last(self.operation(self.first(x)))


def smooth(seed=0, dtype=torch.float64, features=6):
    return seeded(
        lambda: nn.Sequential(nn.Linear(features, 16), nn.Softplus(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)),
        seed,
    ).to(dtype)


def exact_product(f, points, along):
    at = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(f(at).sum(), at, create_graph=True)
    return torch.autograd.grad((slope * along).sum(), at)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steep", [0.1, 1, 30, 1000])
@pytest.mark.parametrize("away", [0, 20])
def test_differences_against_the_exact_product(dtype, steep, away):
    "Whatever the scale on which the score bends, and wherever the inputs are"
    net, x = smooth(dtype=dtype), numbers(6, 6, dtype=dtype)
    rounding = torch.finfo(dtype).eps * (10 + (1 + away) * steep)  # of gradients, and of places where they are taken
    bound = 20 * 0.5 * (3 * rounding) ** (2 / 3)
    if bound > 0.5:
        return  # the inputs' own rounding is a part of what the score bends on

    def forward(y):
        return net((steep * (y - away)).sin())

    path = torch.stack([0.1 * x, x], 1) + away
    score, every = TargetScore(forward, (path[:, 1],)), torch.arange(6)
    step, stated, points, product = _best_steps(score, path, every)
    rows = points.flatten(0, 1)
    slope = _gradients(score, rows, every.repeat_interleave(3))
    right = exact_product(forward, rows, slope).reshape(product.shape)
    off = (product - right).flatten(1).norm(dim=1) / right.flatten(1).norm(dim=1)
    assert off.max() < bound
    assert (off < 3 * stated + 1e-9).all()  # what is stated is not less than what is found
    for i in range(6):  # rounding may choose the neighbouring step
        one, error, _, alone = _best_steps(score, path[i : i + 1], every[i : i + 1])
        assert 1 / 9 < one.item() / step[i].item() < 9
        assert (alone[0] - product[i]).norm() <= (3 * (error[0] + stated[i]) + 1e-9) * product[i].norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_energy_by_differences_is_the_exact_one(dtype):
    net, path = smooth(dtype=dtype), numbers(3, 5, 6, dtype=dtype)
    score, every = TargetScore(net, (path[:, 0],)), torch.arange(3)
    energy, pull = path_energy(score, path, every)
    rough = TargetScore(lambda y: Once.apply(torch.atanh(0.01 * net(y))) * 100, (path[:, 0],))
    rough_energy, rough_pull = path_energy(rough, path, every)
    assert (_slopes_of(score).way, _slopes_of(rough).way) == (0, 2)
    assert_close(rough_energy, energy, rtol=1e-4, atol=0)
    bound = 1e-2 if dtype == torch.float32 else 1e-6
    assert (rough_pull - pull).norm() < bound * pull.norm()
    for limit in (4, 7):
        chunked = TargetScore(rough.forward, (path[:, 0],), internal_batch_size=limit)
        assert_close(path_energy(chunked, path, every)[1], rough_pull, rtol=1e-3, atol=1e-4 * float(pull.abs().max()))
    for i in range(3):
        one = TargetScore(rough.forward, (path[i : i + 1, 0],))
        alone = path_energy(one, path[i : i + 1], every[:1])[1]
        assert_close(alone[0], rough_pull[i], rtol=1e-3, atol=1e-4 * float(pull.abs().max()))


def test_every_example_has_a_step_of_its_own():
    "One bends within a length that another passes without a turn"
    net, path = smooth(), numbers(2, 5, 6, dtype=torch.float64)
    path[1] *= 1e-3
    fast, every = torch.tensor([1.0, 1e3]), torch.arange(2)

    def forward(y, fast):
        return net((fast[:, None] * y).sin())

    pulls = []
    for wrapped in (forward, lambda y, fast: forward(Once.apply(torch.atanh(0.01 * y)) * 100, fast)):
        score = TargetScore(wrapped, (path[:, 0],), None, per_example(fast))
        pulls.append(path_energy(score, path, every)[1])
    for exact, rough in zip(*pulls, strict=True):
        assert (rough - exact).norm() < 1e-5 * exact.norm()


def relaxed(forward, x, target=1, **how):
    "Attributions, largest error of their sum, and the way that second derivatives were taken"
    found, delta, paths = GeodesicIGSVI(forward).attribute(
        x, 0.1, target, return_convergence_delta=True, return_paths=True, **SHORT | how
    )
    return found, delta.abs().max(), paths


@pytest.mark.parametrize(
    "operation, way",
    [
        (torch.tanh, EXACT),
        (Right.apply, EXACT),
        (Once.apply, ROUGH),
        (Detached.apply, ROUGH),
        (Numpy.apply, ROUGH),
        (nn.functional.hardsigmoid, ROUGH),
        (nn.functional.hardswish, EXACT),
        (nn.functional.relu, EXACT),
    ],
)
def test_the_way_that_is_taken(operation, way):
    net, x = seeded(lambda: Own(operation)).double(), numbers(3, 6, dtype=torch.float64)
    counting = CountingForward(net)
    found, delta, paths = relaxed(counting, x)
    assert paths.second_derivatives == way and delta < 1e-3 * found.abs().max()
    assert counting.gradient_rows == paths.gradient_evaluations
    assert (paths.difference_error is None) == (way != ROUGH)
    alone = [relaxed(net, x[i : i + 1])[0] for i in range(3)]
    assert_close(torch.cat(alone), found, atol=1e-3 * float(found.abs().max()), rtol=0)
    if operation in (Once.apply, Detached.apply, Numpy.apply, Right.apply):
        right, _, exact = relaxed(seeded(lambda: Own(torch.tanh)).double(), x)
        assert_close(found, right, atol=1e-4 * float(right.abs().max()), rtol=0)
        assert_close(paths.length, exact.length, rtol=1e-4, atol=0)


class Sampled(nn.Module):
    "An image read between its pixels"

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(9, 3)
        grid = torch.stack(torch.meshgrid(*[torch.linspace(-0.7, 0.6, 3)] * 2, indexing="ij"), -1)
        self.register_buffer("grid", grid[None])

    def forward(self, x):
        image = nn.functional.grid_sample(x.tanh(), self.grid.expand(len(x), -1, -1, -1), align_corners=False)
        return self.last(image.flatten(1)).tanh()


class Unpooled(nn.Module):
    "Maxima are taken and put back"

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(32, 3)

    def forward(self, x):
        z, places = nn.functional.max_pool2d(self.conv(x).tanh(), 2, return_indices=True)
        return self.last(nn.functional.max_unpool2d(z, places, 2).flatten(1)).tanh()


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.last = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.heads(x, x, x, need_weights=False)[0].mean(1))


class Saving(nn.Module):
    "Computed anew in the backward pass"

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return checkpoint(self.net, x, use_reentrant=False)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.last = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.lstm(x)[0][:, -1])


def encoder():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(12, 3))


MODELS = {
    "grid_sample": (Sampled, (1, 4, 4)),
    "max_unpool": (Unpooled, (1, 4, 4)),
    "multi-head attention": (Heads, (3, 4)),
    "transformer encoder": (encoder, (3, 4)),
    "checkpoint": (lambda: Saving(mlp(smooth=True)), (6,)),
    "compiled": (lambda: torch.compile(mlp(smooth=True), backend="aot_eager"), (6,)),
    "scripted": (lambda: torch.jit.script(mlp(smooth=True)), (6,)),
    "traced": (lambda: torch.jit.trace(mlp(smooth=True), torch.zeros(1, 6)), (6,)),
    "LSTM": (Recurrent, (3, 4)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_models_that_needed_second_derivatives_run(name):
    make, shape = MODELS[name]
    torch.compiler.reset()  # after many compilations in one process a model runs as it is, with second derivatives
    net, x = seeded(make), numbers(2, *shape)
    found, delta, paths = relaxed(ClassScore(net, of="log_probability"), x)
    assert found.shape == x.shape and found.isfinite().all()
    assert name == "max_unpool" or delta < 1e-2 * found.abs().sum()  # which jumps
    assert paths.second_derivatives in (dict(compiled=[ROUGH]) | {"transformer encoder": [PLAIN]}).get(name, WAYS)
    straight = GeodesicIGSVI(ClassScore(net, of="log_probability")).attribute(
        x, 0.1, 1, return_paths=True, rounds=0, max_iterations=0
    )[1]
    assert straight.second_derivatives is None
    assert name == "max_unpool" or (paths.length <= straight.length * 1.0001).all()


def test_families_and_the_published_program_take_differences():
    net, x = seeded(lambda: Own(Once.apply)).double(), numbers(2, 6, dtype=torch.float64)
    same = seeded(lambda: Own(torch.tanh)).double()
    for make, how in (
        (lambda f: GeodesicIGSVI(f, family=PathFamily(n_samples=2)), SHORT),
        (PublishedGeodesicIG, dict(num_iterations=20)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, paths = make(net).attribute(x, 0.1, 1, return_paths=True, **how)
            right = make(same).attribute(x, 0.1, 1, **how)
        assert_close(found, right, atol=1e-3 * float(right.abs().max()), rtol=0)
        counting = CountingForward(net)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluations = make(counting).attribute(x, 0.1, 1, return_paths=True, **how)[1].gradient_evaluations
        assert counting.gradient_rows == evaluations == paths.gradient_evaluations
        assert paths.second_derivatives == ROUGH and paths.difference_error.shape == (2,)


def test_differences_keep_the_contract():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = seeded(
                lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
            )

        def forward(self, x):
            return self.layers(Once.apply(x))

    found = check_method(
        GeodesicIGSVI,
        numbers(3, 4),
        Model(),
        without=["pickling"],  # the class of this test can't be
        rtol=2e-2,
        row_limits=(4, 30),
        rounds=1,
        max_iterations=4,
        n_points=8,
    )
    assert found == [name for name in CLAUSES if name != "pickling"]


def test_errors_of_the_model_and_missing_memory_are_no_missing_derivative():
    class Failing(nn.Module):
        def forward(self, x):
            if x.requires_grad and len(x) > 7:
                raise ArithmeticError("the model failed")
            return x.square().sum(1)

    path = numbers(2, 5, 6)
    with pytest.raises(ArithmeticError, match="the model failed"):
        path_energy(TargetScore(Failing(), (path[:, 0],)), path, torch.arange(2))

    class Large(Once):
        @staticmethod
        def backward(ctx, g):
            if torch.is_grad_enabled():  # for the graph of the second derivative
                raise torch.OutOfMemoryError("no memory")
            return g * (1 - ctx.saved_tensors[0] ** 2)

    with pytest.raises(torch.OutOfMemoryError):
        path_energy(TargetScore(lambda y: Large.apply(y).sum(1), (path[:, 0],)), path, torch.arange(2))

    class Broken(Once):
        @staticmethod
        def backward(ctx, g):
            raise ArithmeticError("the backward pass failed")

    with pytest.raises(ArithmeticError, match="the backward pass failed"):
        path_energy(TargetScore(lambda y: Broken.apply(y).sum(1), (path[:, 0],)), path, torch.arange(2))


def test_what_works_is_tried_once_in_a_call():
    path, tried = numbers(2, 5, 6), []

    class Watched(Once):
        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            tried.append(torch.is_grad_enabled())
            return g * (1 - ctx.saved_tensors[0] ** 2)

    score = TargetScore(lambda y: Watched.apply(y).sum(1), (path[:, 0],), internal_batch_size=8)
    path_energy(score, path, torch.arange(2))
    rows, first = score.gradient_evaluations, 2 * 8 + 2 * 45 + 3 * 32
    assert rows == first
    path_energy(score, path, torch.arange(2))
    assert score.gradient_evaluations == first + 3 * 32


def test_rough_differences_are_said_once():
    net = seeded(lambda: Own(Once.apply)).bfloat16()
    (_, _, paths), said = value_and_warnings(lambda: relaxed(net, numbers(3, 6).bfloat16()))
    rough = [text for text in said if "differences of gradients" in text]
    assert paths.second_derivatives == ROUGH
    assert len(rough) == (paths.difference_error.nan_to_num(0).max() > 0.5)
    steps = _Slopes()
    assert steps.told() == {}

    def kinks(y):  # of a width that no step sees
        return Once.apply((1e4 * y).sin().relu()).sum(1) + y.sum(1)

    (_, _, paths), said = value_and_warnings(lambda: relaxed(kinks, numbers(3, 6), None))
    assert sum("depend on their step" in text for text in said) == 1
    assert paths.difference_error.max() > 0.5


def test_transformers_of_the_libraries_run():
    timm = pytest.importorskip("timm")
    transformers = pytest.importorskip("transformers")
    vit = seeded(lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3))
    shape = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    bert = seeded(
        lambda: transformers.BertForSequenceClassification(
            transformers.BertConfig(**shape, vocab_size=50, max_position_embeddings=16, num_labels=3)
        )
    )
    for forward, x in (
        (vit, numbers(2, 3, 32, 32)),
        (lambda z: bert(inputs_embeds=z).logits, numbers(2, 7, 16)),
    ):
        found, delta, paths = relaxed(forward, x, rounds=0, max_iterations=2)
        assert paths.second_derivatives == PLAIN and found.shape == x.shape and delta < 1e-2 * found.abs().sum()


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory"])
def test_segments_are_halved_when_memory_runs_out(words):
    net, path, sizes = seeded(lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))), numbers(2, 7, 3), []

    def small(rows):
        sizes.append(len(rows))
        if len(rows) > 20:
            raise RuntimeError(words)
        return net(rows)

    expected = path_energy(TargetScore(net, (path[:, -1],), 0), path, torch.arange(2))
    with pytest.warns(UserWarning, match="memory ran out with 44 rows at once; it goes on with 12"):
        found = path_energy(TargetScore(small, (path[:, -1],), 0), path, torch.arange(2))
    assert_close(found, expected)
    assert sizes[:5] == [4, 1, 44, 24, 12]
