"Photographs, files of weights, and models that take pixels between 0 and 1"

import configparser
import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch.testing import assert_close

from attrnb.photographs import LoadedModel, Normalize, find_class, load_image, load_model, to_rgb
from attrnb.samples import (
    SHAPE_CLASSES,
    sample_model,
    shape_images,
)

pytestmark = pytest.mark.usefixtures("random_state_untouched")


@pytest.fixture(scope="module")
def pictures():
    return shape_images(60)


@pytest.fixture(scope="module")
def mobilenet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchvision.models.mobilenet_v3_small().eval()


# models


def photograph(width=300, height=260):
    pixels = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def save_bare(state, path):
    torch.save(state, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def save_safetensors(state, path):
    safetensors.torch.save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def save_wrapped(state, path):
    return save_bare(dict(state_dict=state, epoch=1), path)


def save_model_key(state, path):
    return save_bare(dict(model=state), path)


def save_prefixed(state, path):
    return save_bare({f"module.{key}": o for key, o in state.items()}, path)


def save_both(state, path):
    return save_wrapped({f"module.{key}": o for key, o in state.items()}, path)


@pytest.mark.parametrize("save", [save_bare, save_safetensors, save_wrapped, save_model_key, save_prefixed, save_both])
def test_state_files(save, mobilenet, tmp_path):
    loaded = load_model("mobilenet_v3_small", weights=save(mobilenet.state_dict(), tmp_path / "weights"))
    assert isinstance(loaded, LoadedModel) and loaded.name == "mobilenet_v3_small" and not loaded.model.training
    assert len(loaded.categories) == 1000 and loaded.categories[0] == "tench"
    preset = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT.transforms()
    pixels = loaded.preprocess(photograph())
    assert pixels.shape == (3, 224, 224) and pixels.dtype == torch.float32 and 0 <= pixels.min() and pixels.max() <= 1
    with torch.no_grad():
        assert_close(loaded.model(pixels[None]), mobilenet(preset(photograph())[None]), rtol=1e-4, atol=1e-5)


def test_own_normalisation_and_categories(tmp_path):
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.squeezenet1_0(num_classes=3).eval()
    path = save_bare(network.state_dict(), tmp_path / "weights")
    loaded = load_model("squeezenet1_0", weights=str(path), categories=["a", "b", "c"], mean=[0.5] * 3, std=0.25)
    assert loaded.categories == ["a", "b", "c"]
    pixels = loaded.preprocess(photograph())[None]
    with torch.no_grad():
        assert_close(loaded.model(pixels), network((pixels - 0.5) / 0.25))


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_auxiliary_heads_are_cut_off(name, tmp_path):
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.get_model(name, weights=None, init_weights=False, transform_input=True).eval()
    loaded = load_model(name, weights=save_bare(network.state_dict(), tmp_path / "weights"))
    pixels = loaded.preprocess(photograph())[None]
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    with torch.no_grad():
        logits, expected = loaded.model(pixels), network(preset(photograph())[None])
    assert logits.shape == (1, 1000)
    assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_old_names_of_densenet(tmp_path):
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.densenet121().eval()
    state = network.state_dict()
    old = {}
    for key, value in state.items():
        for part in ("norm", "relu", "conv"):
            key = (
                key.replace(f"{part}1.", f"{part}.1.").replace(f"{part}2.", f"{part}.2.")
                if "denselayer" in key
                else key
            )
        old[key] = value
    assert old.keys() != state.keys()
    loaded = load_model("densenet121", weights=save_bare(old, tmp_path / "weights"))
    assert_close(loaded.model.network.state_dict(), state)


def test_shapes_through_the_same_door(pictures):
    loaded = load_model("shapes")
    assert loaded.categories == list(SHAPE_CLASSES) and loaded.preprocess(photograph()).shape == (3, 96, 96)
    with torch.no_grad():
        assert_close(loaded.model(pictures.images), sample_model()(pictures.images))


def test_shapes_from_a_file(pictures, tmp_path):
    model = sample_model()
    loaded = load_model("shapes", weights=save_safetensors(model.state_dict(), tmp_path / "weights"))
    with torch.no_grad():
        assert_close(loaded.model(pictures.images), model(pictures.images))


def test_normalize():
    layer, pixels = Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 1]), shape_images(2).images
    assert_close(layer(pixels), torchvision.transforms.functional.normalize(pixels, [0.1, 0.2, 0.3], [0.5, 0.25, 1]))
    assert "mean" in repr(layer)
    assert layer(pixels.double()).dtype == torch.float64 and layer(pixels.half()).dtype == torch.float32


@pytest.mark.parametrize(
    "name, near", [("resnet_50", "resnet50"), ("ResNet18", "resnet18"), ("shape", "shapes"), ("qqqqqq", "list_models")]
)
def test_unknown_name(name, near):
    with pytest.raises(ValueError, match=near):
        load_model(name)


def test_file_that_does_not_fit(mobilenet, tmp_path):
    path = save_bare(mobilenet.state_dict(), tmp_path / "weights")
    with pytest.raises(ValueError, match="does not fit resnet18; missing .*conv1.weight.*unexpected"):
        load_model("resnet18", weights=path)
    with pytest.raises(ValueError, match="classifier.3.*instead of"):
        load_model("mobilenet_v3_small", weights=path, categories=["a", "b"])


def test_files_that_are_no_state(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load_model("resnet18", weights=tmp_path / "nowhere.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(ValueError, match="cannot be read"):
            load_model("resnet18", weights=tmp_path / name)
    for content in ([1, 2], {}, {"epoch": 3}, torch.zeros(3)):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match="not a dictionary of tensors"):
            load_model("resnet18", weights=tmp_path / "other.pth")


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save(Path("code"), tmp_path / "pickle.pth")
    with pytest.raises(ValueError, match="cannot be read"):
        load_model("resnet18", weights=tmp_path / "pickle.pth")


@pytest.mark.parametrize("error", [URLError("no network"), OSError("disk full"), RuntimeError("invalid hash value")])
def test_download_that_fails(error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(OSError, match=r"https://.*weights=FILE"):
        load_model("squeezenet1_0")


def test_wrong_number_of_categories():
    with pytest.raises(ValueError, match="6 classes, got 2"):
        load_model("shapes", categories=["a", "b"])


@pytest.mark.parametrize(
    "mean, std, error, text",
    [
        ([0.5] * 3, [0.5] * 2, ValueError, "3 numbers and std 2"),
        ([0.5] * 3, 0, ValueError, "above zero"),
        (0.5, -1, ValueError, "above zero"),
        (float("nan"), 1, ValueError, "mean is nan"),
        ("imagenet", 1, TypeError, "mean must be a number"),
        ([0.5, None, 0.5], 1, TypeError, "a number of mean"),
        ([], 1, ValueError, "mean is empty"),
        (0.5, True, TypeError, "std must be a number"),
        (0.5, float("inf"), ValueError, "std is inf"),
    ],
)
def test_wrong_normalisation(mean, std, error, text):
    with pytest.raises(error, match=text):
        Normalize(mean, std)


def test_normalize_takes_one_number():
    pixels = shape_images(2).images
    assert_close(Normalize(0.5, [0.25, 0.5, 1])(pixels), Normalize([0.5] * 3, [0.25, 0.5, 1])(pixels))
    assert_close(
        Normalize(torch.tensor([0.1, 0.2, 0.3]), np.array(0.5))(pixels), Normalize([0.1, 0.2, 0.3], [0.5] * 3)(pixels)
    )


@pytest.mark.parametrize(
    "settings, error, text",
    [
        (dict(mean=[123.7, 116.8, 103.9]), ValueError, "divide them by 255"),
        (dict(std=58.4), ValueError, "divide them by 255"),
        (dict(mean=-1), ValueError, "in .0, 1"),
        (dict(std=0), ValueError, "above zero"),
        (dict(mean=[0.5, 0.5]), ValueError, "mean has 2 numbers"),
        (dict(mean="x"), TypeError, "mean must be"),
        (dict(mean=[0.5, 0.5, float("nan")]), ValueError, "nan"),
        (dict(device="gpu"), ValueError, "'cuda'"),
        (dict(device=7), TypeError, "device must be"),
        (dict(device="meta"), ValueError, "no numbers"),
        (dict(categories="abcdef"), TypeError, "list of names"),
        (dict(categories=range(6)), TypeError, "must be names"),
        (dict(categories=[]), ValueError, "empty"),
        (dict(weights=3), TypeError, "weights must be"),
        (dict(weights=b"x.pth"), TypeError, "weights must be"),
        (dict(name=None), ValueError, "None"),
        (dict(name=3), ValueError, "3"),
    ],
)
def test_wrong_arguments_of_load_model(settings, error, text):
    with pytest.raises(error, match=text):
        load_model(**dict(dict(name="shapes"), **settings))


def test_a_device_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ValueError, match="can't be moved to cuda"):
        load_model("shapes", device="cuda")


def broken(state, change):
    state = {key: o.clone() for key, o in state.items()}
    state["classifier.weight"] = change(state["classifier.weight"])
    return state


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore:TypedStorage", "ignore:Validating sparse")
@pytest.mark.parametrize(
    "change, text",
    [
        (
            lambda w: w.index_fill(0, torch.tensor(2), float("nan")),
            "classifier.weight holds 56 NaN or infinite numbers of 336",
        ),
        (lambda w: w / 0, "NaN or infinite"),
        (lambda w: w + 0j, "complex"),
        (lambda w: (9 * w).round().to(torch.int8), "torch.int8"),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.quint8), "sparse, quantised"),
        (lambda w: w.to_sparse(), "sparse, quantised"),
    ],
)
def test_numbers_that_are_no_weights(change, text, tmp_path):
    torch.save(broken(sample_model().state_dict(), change), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=text):
        load_model("shapes", weights=tmp_path / "weights.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(dtype, pictures, tmp_path):
    torch.save(
        {key: o.to(dtype) if o.is_floating_point() else o for key, o in sample_model().state_dict().items()},
        tmp_path / "weights.pth",
    )
    loaded = load_model("shapes", weights=tmp_path / "weights.pth")
    with torch.no_grad():
        assert_close(loaded.model(pictures.images[:6]), sample_model()(pictures.images[:6]), atol=0.5, rtol=0.1)


def test_negative_variances(tmp_path):
    state = sample_model().state_dict()
    state["features.0.1.running_var"][3] = -1
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="running_var holds negative variances"):
        load_model("shapes", weights=tmp_path / "weights.pth")


def test_safetensors_under_another_name(pictures, tmp_path):
    path = save_safetensors(sample_model().state_dict(), tmp_path / "weights").rename(tmp_path / "weights.pth")
    with torch.no_grad():
        assert_close(load_model("shapes", weights=path).model(pictures.images), sample_model()(pictures.images))


class Runs:
    "A pickle that would make a folder when it is read"

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors", "weights"])
def test_a_program_in_the_weights_is_not_run(name, tmp_path):
    torch.save({"classifier.weight": Runs(tmp_path / "made")}, tmp_path / name)
    with pytest.raises(ValueError, match="cannot be read"):
        load_model("shapes", weights=tmp_path / name)
    assert not (tmp_path / "made").exists()


def cached(tmp_path, monkeypatch, state):
    "torch's cache of downloads with this state in the place of squeezenet1_0's"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = (
        tmp_path / "hub" / "checkpoints" / Path(torchvision.models.get_model_weights("squeezenet1_0").DEFAULT.url).name
    )
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    return path


def test_default_weights_go_torchvisions_own_way(tmp_path, monkeypatch):
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.squeezenet1_0().eval()
    cached(tmp_path, monkeypatch, network.state_dict())
    loaded, preset = (
        load_model("squeezenet1_0"),
        torchvision.models.get_model_weights("squeezenet1_0").DEFAULT.transforms(),
    )
    with torch.no_grad():
        assert_close(loaded.model(loaded.preprocess(photograph())[None]), network(preset(photograph())[None]))


def test_a_program_in_the_cache_is_not_run(tmp_path, monkeypatch):
    path = cached(tmp_path, monkeypatch, {"features.0.weight": Runs(tmp_path / "made")})
    with pytest.raises(ValueError, match="delete it"):
        load_model("squeezenet1_0")
    assert not (tmp_path / "made").exists()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises((ValueError, OSError)):
        load_model("squeezenet1_0")


def test_versions_that_safe_reading_rests_on():
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(Path(__file__).parents[1] / "settings.ini")
    least = dict(o.split(">=") for o in settings["DEFAULT"]["requirements"].split())

    def version(name):
        return tuple(map(int, least[name].split(".")))

    assert version("torch") >= (
        2,
        10,
    ), "weights_only=True was got round before 2.6 (CVE-2025-32434) and 2.10 (CVE-2026-24747)"
    assert version("pillow") >= (12, 3), "CVE-2024-28219 and others; 10.1 has what load_image uses"


@pytest.mark.parametrize(
    "text, categories, error, words",
    [
        (None, ["a"], TypeError, "got NoneType"),
        (True, ["a"], TypeError, "got bool"),
        (1.5, ["a"], TypeError, "got float"),
        ("a", [1, 2], TypeError, "must be names"),
        ("a", "abc", TypeError, "list of names"),
        ("a", [], ValueError, "empty"),
        (2, ["a"], ValueError, "out of range"),
        (-1, ["a"], ValueError, "out of range"),
    ],
)
def test_wrong_classes(text, categories, error, words):
    with pytest.raises(error, match=words):
        find_class(text, categories)


def test_a_class_by_its_number():
    assert [find_class(o, ["a", "b"]) for o in (1, "1", np.int64(1), " b ")] == [1] * 4


# photographs


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_modes(mode, tmp_path):
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    (
        photograph().convert("I").point(lambda o: o * 256).convert(mode)
        if mode == "I;16"
        else photograph().convert(mode)
    ).save(path)
    image = load_image(path)
    assert image.mode == "RGB" and image.size == (300, 260)
    if mode in ("L", "LA", "I;16"):
        grey = np.asarray(photograph().convert("L"), dtype=int)
        assert abs(np.asarray(image, dtype=int) - grey[..., None]).max() <= 1


def test_transparent_pixels_are_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (4, 4), "red").convert("P").save(tmp_path / "palette.png", transparency=0)
    assert load_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    assert load_image(tmp_path / "palette.png").mode == "RGB"


@pytest.mark.parametrize("orientation, corner", [(1, (0, 0)), (3, (39, 19)), (6, (19, 0)), (8, (0, 39))])
def test_orientation(orientation, corner, tmp_path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:6, :6] = 255  # white upper left corner as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "lying.jpg", exif=exif, quality=95)
    image = load_image(str(tmp_path / "lying.jpg"))
    assert image.size == ((40, 20) if orientation < 5 else (20, 40))
    assert min(image.getpixel(corner)) > 200


def test_pictures_that_are_none(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    with pytest.raises(FileNotFoundError, match="no picture at"):
        load_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="not a file"):
        load_image(tmp_path)
    with pytest.raises(ValueError, match="no picture that is read here"):
        load_image(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match="damaged"):
        load_image(tmp_path / "cut.png")


@pytest.mark.parametrize("number", ["3", "-1", "40"])
def test_class_numbers_end_with_the_classes(number):
    assert find_class("2", ["a", "b", "c"]) == 2
    with pytest.raises(ValueError, match="classes 0 to 2"):
        find_class(number, ["a", "b", "c"])


RAMP = np.linspace(0, 1, 64)[None].repeat(64, 0)


def ramp_as(dtype, high, low=0):
    return Image.fromarray(
        (RAMP * (high - low) + low if np.dtype(dtype).kind == "f" else np.rint(RAMP * (high - low) + low)).astype(dtype)
    )


@pytest.mark.parametrize(
    "picture, suffix, ends",
    [
        (ramp_as(np.uint8, 255), "png", {}),
        (ramp_as(np.uint8, 255), "tif", {}),
        (ramp_as(np.uint16, 65535), "png", {}),
        (ramp_as(np.uint16, 65535), "tif", {}),
        (ramp_as(np.float32, 1), "tif", {}),
        (ramp_as(np.int32, 65535), "tif", dict(white=65535)),
        (ramp_as(np.int32, 4095), "tif", dict(white=4095)),
        (ramp_as(np.float32, 255), "tif", dict(white=255)),
        (ramp_as(np.float32, 1000, -1000), "tif", dict(black=-1000, white=1000)),
        (ramp_as(np.uint16, 4095), "png", dict(white=4095)),
        (ramp_as(np.uint8, 100), "png", dict(white=100)),
        (ramp_as(np.uint16, 65535), "pgm", {}),
    ],
    ids=str,
)
def test_a_ramp_stays_a_ramp(picture, suffix, ends, tmp_path):
    picture.save(tmp_path / f"ramp.{suffix}")
    for image in (load_image(tmp_path / f"ramp.{suffix}", **ends), to_rgb(picture, **ends)):
        assert image.mode == "RGB"
        assert (
            abs(np.asarray(image) / 255 - RAMP[..., None]).max() < 1.01 / 255
            if picture.mode != "L" or not ends
            else abs(np.asarray(image) / 255 - RAMP[..., None]).max() < 0.01
        )


@pytest.mark.parametrize(
    "picture, text",
    [
        (ramp_as(np.int32, 65535), "32-bit whole numbers from 0 to 65535.*white=65535"),
        (ramp_as(np.int32, 200), "white=255"),
        (ramp_as(np.int32, 5, -5), "white=5, and black=-5"),
        (ramp_as(np.float32, 255), "floating-point numbers from 0 to 255.*white=255"),
        (ramp_as(np.float32, 3, -2), "white=3, and black=-2"),
        (Image.fromarray(np.full((4, 4), np.nan, np.float32)), "NaN"),
    ],
    ids=str,
)
def test_white_is_not_guessed(picture, text, tmp_path):
    picture.save(tmp_path / "scan.tif")
    with pytest.raises(ValueError, match=rf"scan.tif.*{text}"):
        load_image(tmp_path / "scan.tif")


def test_twelve_bits_in_sixteen_are_announced(tmp_path):
    ramp_as(np.uint16, 4095).save(tmp_path / "scan.png")
    with pytest.warns(UserWarning, match="white=4095") as said:
        load_image(tmp_path / "scan.png")
    assert len(said) == 1 and said[0].filename == __file__


@pytest.mark.parametrize("picture", [ramp_as(np.uint16, 65535), ramp_as(np.float32, 1)], ids=["16 bits", "floats"])
def test_a_tiff_whose_zero_is_white(picture, tmp_path):
    picture.save(tmp_path / "negative.tif", tiffinfo={262: 0})
    assert abs(np.asarray(load_image(tmp_path / "negative.tif"))[..., 0] / 255 - (1 - RAMP)).max() < 1.01 / 255


@pytest.mark.parametrize(
    "settings, error, text",
    [
        (dict(black=3), ValueError, "needs white"),
        (dict(white=0), ValueError, "two different"),
        (dict(white="x"), TypeError, "white must be"),
        (dict(white=float("nan")), ValueError, "white is nan"),
    ],
)
def test_wrong_ends_of_the_scale(settings, error, text):
    with pytest.raises(error, match=text):
        to_rgb(Image.new("L", (3, 3)), **settings)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_every_orientation(suffix, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph(60, 40).save(tmp_path / f"turned.{suffix}", exif=exif)
    with Image.open(tmp_path / f"turned.{suffix}") as file:
        expected = ImageOps.exif_transpose(file).convert("RGB")
    assert np.array_equal(np.asarray(load_image(tmp_path / f"turned.{suffix}")), np.asarray(expected))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
WMF = (
    b"\xd7\xcd\xc6\x9a\x00\x00"
    + b"\x00" * 8
    + b"\x60\x00"
    + b"\x00" * 4
    + b"\x00\x00\x01\x00\t\x00\x00\x03"
    + b"\x00" * 40
)


@pytest.mark.parametrize(
    "content",
    [
        POSTSCRIPT,
        b"\xc5\xd0\xd3\xc6" + b"\x1e\x00\x00\x00" + bytes(22) + POSTSCRIPT,
        WMF,
        b"%PDF-1.4\n",
        b"<svg/>",
        b"/* XPM */",
        b"",
    ],
    ids=["eps", "eps with preview", "wmf", "pdf", "svg", "xpm", "empty"],
)
@pytest.mark.parametrize("suffix", ["jpg", "eps"])
def test_no_other_program_is_started(content, suffix, tmp_path, monkeypatch):
    "A stand-in for Ghostscript, first on the path, would leave a file"
    stand_in = tmp_path / "gs"
    stand_in.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / f"photo.{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match="no picture that is read here; it must be one of JPEG, PNG"):
        load_image(tmp_path / f"photo.{suffix}")
    assert not (tmp_path / "started").exists()


def test_the_size_is_looked_at_before_decoding(tmp_path, monkeypatch):
    Image.new("1", (20_000, 4_600)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 50_000
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("it was decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ValueError, match="92 million pixels"):
        load_image(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="max_pixels"):
        load_image(tmp_path / "bomb.png", max_pixels=10**6)


def test_larger_than_pillow_opens(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="too large for Pillow"):
        load_image(tmp_path / "bomb.png", max_pixels=10**9)


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_extreme_proportions_ask_for_no_memory(size, tmp_path):
    Image.new("L", size).save(tmp_path / "line.png")
    with pytest.raises(ValueError, match="image.crop"):
        load_model("shapes").preprocess(load_image(tmp_path / "line.png"))


def test_a_panorama_is_prepared():
    assert load_model("shapes").preprocess(photograph(3000, 100)).shape == (3, 96, 96)


@pytest.mark.parametrize("given", [np.zeros((96, 96, 3), np.uint8), torch.zeros(3, 96, 96), "photo.jpg", None])
def test_preparation_takes_pictures(given):
    with pytest.raises(TypeError, match="load_image"):
        load_model("shapes").preprocess(given)


def test_preparation_reads_every_mode():
    prepare = load_model("shapes").preprocess
    assert abs(prepare(ramp_as(np.float32, 1)).mean() - 0.5) < 0.01
    assert prepare(Image.new("RGBA", (96, 96), (255, 0, 0, 0))).min() == 1
    with pytest.raises(ValueError, match="white=65535"):
        prepare(ramp_as(np.int32, 65535))
    with pytest.raises(ValueError, match="nothing in it"):
        prepare(Image.new("L", (0, 5)))


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_more_than_one_picture_in_a_file(suffix, tmp_path):
    first, second = (Image.new("L", (8, 8), o) for o in (50, 200))
    first.save(tmp_path / f"stack.{suffix}", save_all=True, append_images=[second])
    with pytest.warns(UserWarning, match="holds 2 pictures; the first is read") as said:
        image = load_image(tmp_path / f"stack.{suffix}")
    assert image.getpixel((0, 0)) == (50, 50, 50) and said[0].filename == __file__


@settings(max_examples=60, deadline=None)
@given(
    suffix=st.sampled_from(["jpg", "png", "tif", "webp", "gif", "bmp", "ppm"]),
    cut=st.floats(0, 1),
    place=st.floats(0, 1),
    byte=st.integers(0, 255),
)
def test_damaged_files(suffix, cut, place, byte, tmp_path_factory):
    "A file that was cut and has one byte changed gives a picture or one ValueError"
    path = tmp_path_factory.mktemp("damaged") / f"photo.{suffix}"
    photograph(60, 40).save(path)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] = byte
    path.write_bytes(content[: int(cut * len(content))])
    try:
        assert load_image(path).mode == "RGB"
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("path", [None, 3, b"photo.jpg", ["photo.jpg"]])
def test_what_is_no_path(path):
    with pytest.raises(TypeError, match="path must be a str or a Path"):
        load_image(path)
