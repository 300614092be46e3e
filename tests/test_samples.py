"Pictures with known evidence, the embedded network, half-moons, and loading of models and photographs"
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.testing import assert_close

from attrnb.samples import (SHAPE_CLASSES, LoadedModel, Normalize, ShapesNet, find_class, half_moons, half_moons_model, load_image,
    load_model, sample_model, shape_images, train_shapes_network)


@pytest.fixture(scope="module")
def pictures(): return shape_images(60)

@pytest.fixture(scope="module")
def mobilenet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchvision.models.mobilenet_v3_small().eval()

@pytest.fixture(autouse=True)
def random_state_untouched():
    before, array = torch.get_rng_state(), np.random.get_state()[1].copy()
    yield
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == array).all()


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
    assert (data.evidence.sum((1, 2)) > 2*data.marker.sum((1, 2))).all()

@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 70), more=st.integers(0, 70))
def test_more_pictures_begin_with_the_same(seed, n, more):
    few, many = shape_images(n, seed=seed), shape_images(n + more, seed=seed)[:n]
    assert_close(few.images, many.images)
    assert (few.evidence != many.evidence).float().mean() < 1e-4   # rounding may move a pixel on the edge

def test_same_seed_same_pictures(pictures):
    again = shape_images(60)
    assert all(torch.equal(getattr(again, o), getattr(pictures, o)) for o in pictures.__dataclass_fields__)
    assert not torch.equal(shape_images(60, seed=1).images, pictures.images)

def test_marker_is_whole_and_central(pictures):
    sizes = pictures.marker.sum((1, 2))
    assert sizes.max() - sizes.min() < 12
    assert not pictures.evidence[:, [0, -1]].any() and not pictures.evidence[:, :, [0, -1]].any()
    y, x = torch.meshgrid(torch.arange(96.), torch.arange(96.), indexing="ij")
    def centre(mask): return torch.stack([(mask*o).sum((1, 2))/mask.sum((1, 2)) for o in (x, y)], 1)
    assert (centre(pictures.marker) - centre(pictures.evidence)).norm(dim=1).max() < 1.5

def test_indexing(pictures):
    assert len(pictures) == 60 and len(pictures[5:9]) == 4
    assert torch.equal(pictures[-1].images, pictures.images[59])
    assert pictures[7].targets == 1 and pictures[7].marker.shape == (96, 96)
    chosen = pictures[torch.tensor([3, 40])]
    assert torch.equal(chosen.evidence, pictures.evidence[[3, 40]])
    assert sum(1 for _ in pictures) == 60
    with pytest.raises(IndexError): pictures[60]

@pytest.mark.parametrize("arguments, words", [(dict(n=0), "at least 1"), (dict(n=-3), "at least 1"), (dict(n=1, size=40), "at least 48")])
def test_impossible_pictures(arguments, words):
    with pytest.raises(ValueError, match=words): shape_images(**arguments)


# network

def test_sample_model():
    model, data = sample_model(), shape_images(300, seed=123)
    assert not model.training
    with torch.no_grad():
        logits = model(data.images)
        traced = torch.fx.symbolic_trace(model)(data.images[:8])
    assert (logits.argmax(1) == data.targets).float().mean() >= .96
    assert_close(traced, logits[:8])
    assert sum(o.numel()*o.element_size() for o in model.state_dict().values()) < 480_000

def test_sample_model_is_new_each_time():
    first, second = sample_model(), sample_model()
    with torch.no_grad(): first.classifier.weight.zero_()
    assert second.classifier.weight.abs().sum() > 0

def test_sample_model_without_data(monkeypatch, tmp_path):
    monkeypatch.setattr("attrnb.samples.files", lambda name: tmp_path)
    with pytest.raises(FileNotFoundError, match="train_shapes_network"): sample_model()

def test_plain_layers():
    with torch.random.fork_rng(devices=[]): network = ShapesNet()
    kinds = {type(o).__name__ for o in network.modules() if not list(o.children())}
    assert kinds == {"Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "AdaptiveAvgPool2d", "Linear"}

def test_training_repeats_and_learns():
    def run(**settings):   # with the local loss at full weight: where it fades, the sum falls without any learning
        losses = []
        model = train_shapes_network(steps=30, batch_size=16, pool=96, scaffold=1e6, show_progress=False, on_step=lambda step, loss: losses.append(loss), **settings)
        return model, torch.tensor(losses)
    def fall(losses): return losses[-5:].mean()/losses[:5].mean()
    (model, losses), (_, again), (_, still) = run(), run(), run(learning_rate=1e-9)
    assert not model.training and len(losses) == 30
    assert fall(losses) < .95 < fall(still)
    assert_close(losses, again, rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize("name", ["steps", "batch_size", "pool"])
def test_impossible_training(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"): train_shapes_network(**{name: 0})


# half-moons

@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 200), noise=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_half_moons(n, noise, seed):
    points, labels = half_moons(n, noise=noise, seed=seed)
    assert points.shape == (n, 2) and points.dtype == torch.float32
    assert labels.shape == (n,) and labels.dtype == torch.int64 and labels.sum() == n - n//2
    assert torch.equal(half_moons(n, noise=noise, seed=seed)[0], points)

def test_half_moons_without_noise_lie_on_two_circles():
    points, labels = half_moons(200, noise=0)
    centre = torch.tensor([[0., 0.], [1., .5]])[labels]
    assert_close((points - centre).norm(dim=1), torch.ones(200))

@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_half_moons_model(activation):
    model = half_moons_model(*half_moons(), activation=activation)
    points, labels = half_moons(seed=5)
    assert model(points).shape == (1000, 2) and not model.training
    assert (model(points).argmax(1) == labels).float().mean() > .97
    again = half_moons_model(*half_moons(), activation=activation)
    assert_close(model(points), again(points))

def test_impossible_half_moons():
    points, labels = half_moons(20)
    with pytest.raises(ValueError, match="at least 2"): half_moons(1)
    with pytest.raises(ValueError, match="at least 0"): half_moons(10, noise=-.1)
    with pytest.raises(ValueError, match="softplus"): half_moons_model(points, labels, activation="gelu")
    with pytest.raises(ValueError, match="points must have shape"): half_moons_model(points[0], labels)
    with pytest.raises(ValueError, match="labels must have shape"): half_moons_model(points, labels[1:])


# models

def photograph(width=300, height=260):
    pixels = np.random.default_rng(0).integers(0, 256, (height//20, width//20, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)

def save_bare(state, path): torch.save(state, path.with_suffix(".pth")); return path.with_suffix(".pth")
def save_safetensors(state, path): safetensors.torch.save_file(state, path.with_suffix(".safetensors")); return path.with_suffix(".safetensors")
def save_wrapped(state, path): return save_bare(dict(state_dict=state, epoch=1), path)
def save_model_key(state, path): return save_bare(dict(model=state), path)
def save_prefixed(state, path): return save_bare({f"module.{key}": o for key, o in state.items()}, path)
def save_both(state, path): return save_wrapped({f"module.{key}": o for key, o in state.items()}, path)

@pytest.mark.parametrize("save", [save_bare, save_safetensors, save_wrapped, save_model_key, save_prefixed, save_both])
def test_state_files(save, mobilenet, tmp_path):
    loaded = load_model("mobilenet_v3_small", weights=save(mobilenet.state_dict(), tmp_path/"weights"))
    assert isinstance(loaded, LoadedModel) and loaded.name == "mobilenet_v3_small" and not loaded.model.training
    assert len(loaded.categories) == 1000 and loaded.categories[0] == "tench"
    preset = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT.transforms()
    pixels = loaded.preprocess(photograph())
    assert pixels.shape == (3, 224, 224) and pixels.dtype == torch.float32 and 0 <= pixels.min() and pixels.max() <= 1
    with torch.no_grad(): assert_close(loaded.model(pixels[None]), mobilenet(preset(photograph())[None]), rtol=1e-4, atol=1e-5)

def test_own_normalisation_and_categories(tmp_path):
    with torch.random.fork_rng(devices=[]): network = torchvision.models.squeezenet1_0(num_classes=3).eval()
    path = save_bare(network.state_dict(), tmp_path/"weights")
    loaded = load_model("squeezenet1_0", weights=str(path), categories=["a", "b", "c"], mean=[.5]*3, std=.25)
    assert loaded.categories == ["a", "b", "c"]
    pixels = loaded.preprocess(photograph())[None]
    with torch.no_grad(): assert_close(loaded.model(pixels), network((pixels - .5)/.25))

@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_auxiliary_heads_are_cut_off(name, tmp_path):
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.get_model(name, weights=None, init_weights=False, transform_input=True).eval()
    loaded = load_model(name, weights=save_bare(network.state_dict(), tmp_path/"weights"))
    pixels = loaded.preprocess(photograph())[None]
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    with torch.no_grad(): logits, expected = loaded.model(pixels), network(preset(photograph())[None])
    assert logits.shape == (1, 1000)
    assert_close(logits, expected, rtol=1e-4, atol=1e-4)

def test_old_names_of_densenet(tmp_path):
    with torch.random.fork_rng(devices=[]): network = torchvision.models.densenet121().eval()
    state = network.state_dict()
    old = {}
    for key, value in state.items():
        for part in ("norm", "relu", "conv"): key = key.replace(f"{part}1.", f"{part}.1.").replace(f"{part}2.", f"{part}.2.") if "denselayer" in key else key
        old[key] = value
    assert old.keys() != state.keys()
    loaded = load_model("densenet121", weights=save_bare(old, tmp_path/"weights"))
    assert_close(loaded.model.network.state_dict(), state)

def test_shapes_through_the_same_door(pictures):
    loaded = load_model("shapes")
    assert loaded.categories == list(SHAPE_CLASSES) and loaded.preprocess(photograph()).shape == (3, 96, 96)
    with torch.no_grad(): assert_close(loaded.model(pictures.images), sample_model()(pictures.images))

def test_shapes_from_a_file(pictures, tmp_path):
    model = sample_model()
    loaded = load_model("shapes", weights=save_safetensors(model.state_dict(), tmp_path/"weights"))
    with torch.no_grad(): assert_close(loaded.model(pictures.images), model(pictures.images))

def test_normalize():
    layer, pixels = Normalize([.1, .2, .3], [.5, .25, 1]), shape_images(2).images
    assert_close(layer(pixels), torchvision.transforms.functional.normalize(pixels, [.1, .2, .3], [.5, .25, 1]))
    assert "mean" in repr(layer)
    assert layer(pixels.double()).dtype == torch.float64 and layer(pixels.half()).dtype == torch.float32

@pytest.mark.parametrize("name, near", [("resnet_50", "resnet50"), ("ResNet18", "resnet18"), ("shape", "shapes"), ("qqqqqq", "list_models")])
def test_unknown_name(name, near):
    with pytest.raises(ValueError, match=near): load_model(name)

def test_file_that_does_not_fit(mobilenet, tmp_path):
    path = save_bare(mobilenet.state_dict(), tmp_path/"weights")
    with pytest.raises(ValueError, match="does not fit resnet18; missing .*conv1.weight.*unexpected"): load_model("resnet18", weights=path)
    with pytest.raises(ValueError, match="classifier.3.*instead of"): load_model("mobilenet_v3_small", weights=path, categories=["a", "b"])

def test_files_that_are_no_state(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file"): load_model("resnet18", weights=tmp_path/"nowhere.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path/name).write_text("no weights")
        with pytest.raises(ValueError, match="cannot be read"): load_model("resnet18", weights=tmp_path/name)
    for content in ([1, 2], {}, {"epoch": 3}, torch.zeros(3)):
        torch.save(content, tmp_path/"other.pth")
        with pytest.raises(ValueError, match="not a dictionary of tensors"): load_model("resnet18", weights=tmp_path/"other.pth")

def test_code_in_a_file_is_not_run(tmp_path):
    torch.save(Path("code"), tmp_path/"pickle.pth")
    with pytest.raises(ValueError, match="cannot be read"): load_model("resnet18", weights=tmp_path/"pickle.pth")

@pytest.mark.parametrize("error", [URLError("no network"), OSError("disk full"), RuntimeError("invalid hash value")])
def test_download_that_fails(error, monkeypatch):
    def fail(*args, **kwargs): raise error
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(OSError, match=r"https://.*weights=FILE"): load_model("squeezenet1_0")

def test_wrong_number_of_categories():
    with pytest.raises(ValueError, match="6 classes, got 2"): load_model("shapes", categories=["a", "b"])


# photographs

@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_modes(mode, tmp_path):
    path = tmp_path/("picture.jpg" if mode == "CMYK" else "picture.png")
    (photograph().convert("I").point(lambda o: o*256).convert(mode) if mode == "I;16" else photograph().convert(mode)).save(path)
    image = load_image(path)
    assert image.mode == "RGB" and image.size == (300, 260)
    if mode in ("L", "LA", "I;16"):
        grey = np.asarray(photograph().convert("L"), dtype=int)
        assert abs(np.asarray(image, dtype=int) - grey[..., None]).max() <= 1

def test_transparent_pixels_are_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path/"clear.png")
    Image.new("RGB", (4, 4), "red").convert("P").save(tmp_path/"palette.png", transparency=0)
    assert load_image(tmp_path/"clear.png").getpixel((0, 0)) == (255, 255, 255)
    assert load_image(tmp_path/"palette.png").mode == "RGB"

@pytest.mark.parametrize("orientation, corner", [(1, (0, 0)), (3, (39, 19)), (6, (19, 0)), (8, (0, 39))])
def test_orientation(orientation, corner, tmp_path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:6, :6] = 255   # white upper left corner as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path/"lying.jpg", exif=exif, quality=95)
    image = load_image(str(tmp_path/"lying.jpg"))
    assert image.size == ((40, 20) if orientation < 5 else (20, 40))
    assert min(image.getpixel(corner)) > 200

def test_pictures_that_are_none(tmp_path):
    (tmp_path/"text.jpg").write_text("no picture")
    Image.new("RGB", (64, 64), "red").save(tmp_path/"whole.png")
    (tmp_path/"cut.png").write_bytes((tmp_path/"whole.png").read_bytes()[:60])
    with pytest.raises(FileNotFoundError, match="no picture at"): load_image(tmp_path/"nowhere.png")
    with pytest.raises(ValueError, match="not a file"): load_image(tmp_path)
    with pytest.raises(ValueError, match="no picture that is read here"): load_image(tmp_path/"text.jpg")
    with pytest.raises(ValueError, match="damaged"): load_image(tmp_path/"cut.png")


@pytest.mark.parametrize("number", ["3", "-1", "40"])
def test_class_numbers_end_with_the_classes(number):
    assert find_class("2", ["a", "b", "c"]) == 2
    with pytest.raises(ValueError, match="classes 0 to 2"): find_class(number, ["a", "b", "c"])
