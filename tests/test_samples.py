"Pictures with known evidence, the embedded network, and half-moons"

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from attrnb.samples import (
    SHAPE_CLASSES,
    ShapesNet,
    half_moons,
    half_moons_model,
    load_model,
    mark_model,
    plant_marks,
    sample_model,
    shape_images,
    train_shapes_network,
)

pytestmark = pytest.mark.usefixtures("random_state_untouched")


@pytest.fixture(scope="module")
def pictures():
    return shape_images(60)


# pictures


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 20), seed=st.integers(0, 2**40), size=st.integers(48, 128))
def test_pictures_of_any_size(n, seed, size):
    data = shape_images(n, seed=seed, size=size)
    assert data.images.shape == (n, 3, size, size) and data.images.dtype == torch.float32
    assert 0 <= data.images.min() and data.images.max() <= 1
    assert data.targets.tolist() == [i % len(SHAPE_CLASSES) for i in range(n)]
    for mask in (data.evidence, data.distractors, data.marker):
        assert mask.shape == (n, size, size) and mask.dtype == torch.bool and mask.any((1, 2)).all()
    assert not (data.marker & ~data.evidence).any()
    assert not (data.evidence & data.distractors).any()
    assert (data.evidence.sum((1, 2)) > 2 * data.marker.sum((1, 2))).all()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 70), more=st.integers(0, 70))
def test_more_pictures_begin_with_the_same(seed, n, more):
    few, many = shape_images(n, seed=seed), shape_images(n + more, seed=seed)[:n]
    assert_close(few.images, many.images)
    assert (few.evidence != many.evidence).float().mean() < 1e-4  # rounding may move a pixel on the edge


def test_same_seed_same_pictures(pictures):
    again = shape_images(60)
    assert all(torch.equal(getattr(again, o), getattr(pictures, o)) for o in pictures.__dataclass_fields__)
    assert not torch.equal(shape_images(60, seed=1).images, pictures.images)


def test_marker_is_whole_and_central(pictures):
    sizes = pictures.marker.sum((1, 2))
    assert sizes.max() - sizes.min() < 12
    assert not pictures.evidence[:, [0, -1]].any() and not pictures.evidence[:, :, [0, -1]].any()
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")

    def centre(mask):
        return torch.stack([(mask * o).sum((1, 2)) / mask.sum((1, 2)) for o in (x, y)], 1)

    assert (centre(pictures.marker) - centre(pictures.evidence)).norm(dim=1).max() < 1.5


def test_indexing(pictures):
    assert len(pictures) == 60 and len(pictures[5:9]) == 4
    assert torch.equal(pictures[-1].images, pictures.images[59])
    assert pictures[7].targets == 1 and pictures[7].marker.shape == (96, 96)
    chosen = pictures[torch.tensor([3, 40])]
    assert torch.equal(chosen.evidence, pictures.evidence[[3, 40]])
    assert sum(1 for _ in pictures) == 60
    with pytest.raises(IndexError):
        pictures[60]


@pytest.mark.parametrize(
    "arguments, words", [(dict(n=0), "at least 1"), (dict(n=-3), "at least 1"), (dict(n=1, size=40), "at least 48")]
)
def test_impossible_pictures(arguments, words):
    with pytest.raises(ValueError, match=words):
        shape_images(**arguments)


# network


def test_sample_model():
    model, data = sample_model(), shape_images(300, seed=123)
    assert not model.training
    with torch.no_grad():
        logits = model(data.images)
        traced = torch.fx.symbolic_trace(model)(data.images[:8])
    assert (logits.argmax(1) == data.targets).float().mean() >= 0.96
    assert_close(traced, logits[:8])
    assert sum(o.numel() * o.element_size() for o in model.state_dict().values()) < 480_000


def test_sample_model_is_new_each_time():
    first, second = sample_model(), sample_model()
    with torch.no_grad():
        first.classifier.weight.zero_()
    assert second.classifier.weight.abs().sum() > 0


def test_sample_model_without_data(monkeypatch, tmp_path):
    monkeypatch.setattr("attrnb.samples.network.files", lambda name: tmp_path)
    with pytest.raises(FileNotFoundError, match="train_shapes_network"):
        sample_model()


def test_plain_layers():
    with torch.random.fork_rng(devices=[]):
        network = ShapesNet()
    kinds = {type(o).__name__ for o in network.modules() if not list(o.children())}
    assert kinds == {"Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "AdaptiveAvgPool2d", "Linear"}


def test_training_repeats_and_learns():
    # with the local loss at full weight: where it fades, the sum falls without any learning
    def run(**settings):
        losses = []
        model = train_shapes_network(
            steps=30,
            batch_size=16,
            pool=96,
            scaffold=1e6,
            show_progress=False,
            on_step=lambda step, loss: losses.append(loss),
            **settings,
        )
        return model, torch.tensor(losses)

    def fall(losses):
        return losses[-5:].mean() / losses[:5].mean()

    (model, losses), (_, again), (_, still) = run(), run(), run(learning_rate=1e-9)
    assert not model.training and len(losses) == 30
    assert fall(losses) < 0.95 < fall(still)
    assert_close(losses, again, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["steps", "batch_size", "pool"])
def test_impossible_training(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        train_shapes_network(**{name: 0})


def test_models_are_made_beside_other_work():
    "The numbers that the main thread draws while models are made in another are those that it draws alone"

    def draw(n):
        torch.manual_seed(7)
        return torch.stack([torch.rand(()) for _ in range(n)])

    def make():
        while not done.is_set():
            sample_model()
            half_moons_model(*half_moons(20), epochs=1)

    with torch.random.fork_rng(devices=[]):
        alone, done = draw(4000), threading.Event()
        worker = threading.Thread(target=make)
        worker.start()
        beside = draw(4000)
        done.set()
        worker.join()
    assert torch.equal(alone, beside)


def test_the_default_device_is_not_asked(pictures):
    "The meta device stands for one whose tensors and generators don't mix with the CPU's"
    with torch.device("meta"):
        images, model, points, loaded = shape_images(2).images, sample_model(), half_moons(10)[0], load_model("shapes")
    assert torch.equal(images, pictures.images[:2]) and torch.equal(points, half_moons(10)[0])
    with torch.no_grad():
        assert_close(loaded.model(images), model(images))


# half-moons


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 200), noise=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_half_moons(n, noise, seed):
    points, labels = half_moons(n, noise=noise, seed=seed)
    assert points.shape == (n, 2) and points.dtype == torch.float32
    assert labels.shape == (n,) and labels.dtype == torch.int64 and labels.sum() == n - n // 2
    assert torch.equal(half_moons(n, noise=noise, seed=seed)[0], points)


def test_half_moons_without_noise_lie_on_two_circles():
    points, labels = half_moons(200, noise=0)
    centre = torch.tensor([[0.0, 0.0], [1.0, 0.5]])[labels]
    assert_close((points - centre).norm(dim=1), torch.ones(200))


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_half_moons_model(activation):
    model = half_moons_model(*half_moons(), activation=activation)
    points, labels = half_moons(seed=5)
    assert model(points).shape == (1000, 2) and not model.training
    assert (model(points).argmax(1) == labels).float().mean() > 0.97
    again = half_moons_model(*half_moons(), activation=activation)
    assert_close(model(points), again(points))


def test_impossible_half_moons():
    points, labels = half_moons(20)
    with pytest.raises(ValueError, match="at least 2"):
        half_moons(1)
    with pytest.raises(ValueError, match="at least 0"):
        half_moons(10, noise=-0.1)
    with pytest.raises(ValueError, match="softplus"):
        half_moons_model(points, labels, activation="gelu")
    with pytest.raises(ValueError, match="points must have shape"):
        half_moons_model(points[0], labels)
    with pytest.raises(ValueError, match="labels must have shape"):
        half_moons_model(points, labels[1:])


# what is no number


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: shape_images(2.0), TypeError, "n must be an int"),
        (lambda: shape_images(2, seed="x"), TypeError, "seed must be an int"),
        (lambda: shape_images(2, seed=None), TypeError, "seed must be an int"),
        (lambda: shape_images(2, seed=2**70), ValueError, "must be at most"),
        (lambda: shape_images(2, seed=-(2**70)), ValueError, "seed is"),
        (lambda: shape_images(2, size=96.0), TypeError, "size must be an int"),
        (lambda: ShapesNet(classes=0), ValueError, "classes is 0"),
        (lambda: ShapesNet(widths=(1, 2)), ValueError, "four numbers"),
        (lambda: ShapesNet(widths=(1, 2, 3, 0.5)), TypeError, "a width"),
        (lambda: half_moons(10.0), TypeError, "n must be an int"),
        (lambda: half_moons(10, noise=float("nan")), ValueError, "noise is nan"),
        (lambda: half_moons(10, noise="x"), TypeError, "noise must be"),
        (lambda: half_moons(10, seed=0.5), TypeError, "seed must be"),
        (lambda: half_moons_model(*half_moons(10), epochs=1.5), TypeError, "epochs must be"),
        (lambda: half_moons_model(*half_moons(10), hidden=0), ValueError, "hidden is 0"),
        (lambda: half_moons_model([[0, 1]], [1]), TypeError, "points must be a tensor"),
        (lambda: half_moons_model(torch.zeros(3, 2) / 0, torch.zeros(3, dtype=torch.long)), ValueError, "NaN"),
        (lambda: half_moons_model(torch.zeros(3, 2), torch.tensor([0, 1, 2])), ValueError, "0 or 1"),
        (lambda: half_moons_model(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)), ValueError, "at least one"),
        (lambda: train_shapes_network(steps=1.5), TypeError, "steps must be"),
        (lambda: train_shapes_network(learning_rate=float("nan")), ValueError, "learning_rate is nan"),
        (lambda: train_shapes_network(erase=2), ValueError, "erase is 2"),
        (lambda: train_shapes_network(scaffold=-1), ValueError, "scaffold is -1"),
    ],
)
def test_arguments_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_numbers_of_numpy_are_numbers():
    assert torch.equal(shape_images(np.int64(2), seed=np.int32(3)).images, shape_images(2, seed=3).images)


# marks


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 6), seed=st.integers(0, 2**40), side=st.integers(4, 20), height=st.integers(20, 30))
def test_a_mark_is_where_it_is_said_to_be_and_gives_the_class(n, seed, side, height):
    images = torch.full((n, 3, height, 24), 0.25)
    marked = plant_marks(images, seed=seed, side=side)
    for image, target, mask in zip(marked.images, marked.targets.tolist(), marked.evidence):
        rows, columns = (torch.nonzero(mask.any(d)).flatten() for d in (1, 0))
        assert len(rows) == len(columns) == side and mask.sum() == side**2
        for i in range(height):
            for j in range(24):
                place = (i, j)[target]
                expected = float(place % 4 < 2) if mask[i, j] else 0.25
                assert image[:, i, j].tolist() == [expected] * 3
    assert torch.equal(plant_marks(images[:1], seed=seed, side=side).images, marked.images[:1])


def test_marks_lie_everywhere_and_classes_are_drawn():
    marked = plant_marks(torch.zeros(2000, 1, 20, 20), seed=1, side=4)
    assert 0.45 < marked.targets.double().mean() < 0.55
    corners = torch.stack([marked.evidence[:, i, j].double().mean() for i in (0, 19) for j in (0, 19)])
    assert (corners > 0.0005).all()  # one place of 289 each
    for wrong in (torch.tensor([2]), torch.zeros(3)):
        with pytest.raises(ValueError, match="zeros and ones"):
            plant_marks(torch.zeros(1, 1, 20, 20), targets=wrong)


def test_the_network_follows_the_mark(pictures):
    network = mark_model(steps=25)
    assert not network.training and all(p.requires_grad for p in network.parameters())
    for seed in (1, 2):
        marked = plant_marks(pictures.images[:40], seed=seed)
        turned = plant_marks(pictures.images[:40], seed=seed, targets=1 - marked.targets)
        assert (network(marked.images).argmax(1) == marked.targets).double().mean() > 0.9
        assert (network(turned.images).argmax(1) == turned.targets).double().mean() > 0.9
    again = mark_model(steps=2).classifier.weight
    assert torch.equal(again, mark_model(steps=2).classifier.weight)
    assert not torch.equal(again, mark_model(steps=2, seed=1).classifier.weight)
