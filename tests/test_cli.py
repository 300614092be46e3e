"The `attrnb` command as a user runs it"
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from attrnb.cli import OURS, explain, find_class, main


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def random_squeezenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(torchvision.models.squeezenet1_0(weights=None).state_dict(), path)
    return str(path)


@pytest.fixture
def photo():
    Image.effect_noise((320, 256), 80).convert("RGB").save("photo.jpg")
    return "photo.jpg"


def test_without_arguments_in_a_process_of_its_own_with_the_network_cut(tmp_path):
    blocked = "import socket\ndef refuse(*a, **k): raise OSError('no network')\nsocket.socket.connect = refuse\nfrom attrnb.cli import main\nraise SystemExit(main(['explain']))"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"MPLBACKEND": "Agg"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "attrnb-explain.png").stat().st_size > 10_000
    for method in OURS:
        assert method in done.stdout
    assert "positive share inside evidence" in done.stdout and "Traceback" not in done.stderr


def test_photograph_with_a_state_file(photo, random_squeezenet, capsys):
    code = main(["explain", photo, "--model", "squeezenet1_0", "--weights", random_squeezenet, "--target", "golden retriever", "--method", "neflag", "--device", "cpu", "--score", "logit", "--out", "here"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "golden retriever" in printed.out and "neflag" in printed.out and "integrated" not in printed.out
    assert Path("here.png").exists()


def test_one_method_and_the_number_of_images(capsys):
    assert main(["explain", "--images", "2", "--method", "integrated-gradients", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "image 1" in out and "image 2" not in out and "neflag" not in out


@pytest.mark.parametrize("words, contains", [
    (["nothing.jpg"], "nothing.jpg"),
    (["broken.jpg"], "broken.jpg"),
    (["photo.jpg", "--model", "resnet5000"], "resnet"),
    (["photo.jpg", "--model", "squeezenet1_0", "--weights", "nowhere.pth"], "nowhere.pth"),
    (["photo.jpg", "--model", "resnet18", "--weights", "broken.jpg"], "broken.jpg"),
    (["--target", "zebra"], "zebra"),
    (["--target", "6"], "out of range"),
    (["--method", "magic"], "integrated_gradients"),
    (["--device", "quantum"], "quantum"),
    (["--images", "0"], "0"),
    (["--out", "no/such/folder/figure.png"], "no/such/folder"),
    (["--internal-batch-size", "0"], "at least 1"),
    (["--images", "many"], "many"),
])
def test_wrong_calls_are_one_line_and_exit_code_2(words, contains, photo, capsys):
    Path("broken.jpg").write_bytes(b"not a picture")
    try:
        code = main(["explain", *words])
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2
    assert contains in errors and "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("attrnb")]) == 1


def test_weights_that_can_not_be_downloaded(photo, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert main(["explain", photo, "--model", "resnet18"]) == 2
    errors = capsys.readouterr().err
    assert "weights" in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize("name, file, options", [
    ("squeezenet1_0", "squeezenet1_0-deepcompression.pth", []),
    ("mobilenet_v2", "mobilenet_v2-tf2ptq-bnstats.pth", ["--mean", "0.5", "--std", "0.5"]),
])
def test_real_weights_on_a_real_photograph(real_data, name, file, options, capsys):
    annotations = json.loads((real_data / "imagenet_val100" / "annotations.json").read_text())
    picture = sorted(annotations)[1]
    code = main(["explain", str(real_data / "imagenet_val100" / "images" / picture), "--model", name, "--weights", str(real_data / "weights" / file), "--method", "neflag", *options])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert Path(f"{Path(picture).stem}-attrnb.png").exists()


def test_bench_on_photographs_goes_on_where_it_was(photo, random_squeezenet, capsys):
    Path("photos").mkdir()
    Path(photo).rename("photos/a.jpg")
    Path("photos/b.jpg").write_bytes(b"not a picture")
    Path("boxes.json").write_text(json.dumps({name: dict(label=207, boxes=[[20, 20, 120, 120]]) for name in ("a.jpg", "b.jpg")}))
    words = ["bench", "photos", "--model", "squeezenet1_0", "--weights", random_squeezenet, "--annotations", "boxes.json", "--device", "cpu", "--out", "run", "--quiet"]
    words += ["--methods", "saliency, grad-cam, random", "--measures", "deletion(steps=2), energy_inside", "--keep", "float16", "--reference", "random"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "| grad_cam" in first and "energy_inside" in first and "Difference to random" in first and "1 of 2 images could not be used" in first
    times = {p: p.stat().st_mtime_ns for p in Path("run/results").iterdir()}
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert {p: p.stat().st_mtime_ns for p in Path("run/results").iterdir()} == times
    assert main([*words, "--score", "logit"]) == 2
    errors = capsys.readouterr().err
    assert "another configuration" in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize("words, contains", [
    (["nowhere"], "nowhere"),
    (["--model", "resnet18"], "needs photographs"),
    (["--methods", "magic"], "magic"),
    (["--methods", "saliency("], "can't be read"),
    (["--measures", "beauty"], "beauty"),
    (["--methods", "saliency", "--reference", "neflag"], "neflag"),
    (["--methods", "saliency", "--target", "zebra"], "zebra"),
    (["--methods", "saliency", "--steps", "0"], "steps"),
    (["--methods", "saliency", "--out", "photo.jpg"], "photo.jpg"),
    (["--device", "quantum"], "quantum"),
    (["--keep", "int8"], "float16"),
])
def test_wrong_bench_calls_are_one_line_and_exit_code_2(words, contains, photo, capsys):
    try:
        code = main(["bench", *words, "--quiet"])
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2 and contains in errors and "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("attrnb")]) == 1


def test_explore_hands_over_to_the_explorer(photo, monkeypatch, capsys):
    import attrnb.explore

    given = {}
    monkeypatch.setattr(attrnb.explore, "serve", lambda *words, **options: given.update(words=words, **options))
    assert main(["explore", photo, "--model", "resnet18", "--mean", "0.5", "--port", "8899", "--no-browser"]) == 0
    assert given == dict(words=([photo], "resnet18", None, None), mean=.5, std=None, port=8899, open_browser=False, application="auto")


def test_any_method_of_the_benchmark_can_be_explained(capsys):
    assert main(["explain", "--images", "1", "--method", "grad-cam,neflag(n_points=2)", "--quiet"]) == 0
    assert "neflag(n_points=2)" in capsys.readouterr().out


def test_settings_keep_their_case(capsys):
    assert main(["explain", "--images", "1", "--method", "Saliency(abs=False), Grad-CAM", "--quiet"]) == 0
    assert "saliency(abs=False)" in capsys.readouterr().out
    assert main(["bench", "--images", "2", "--methods", "saliency(abs=False)", "--measures", "Energy-Inside", "--out", "run", "--quiet"]) == 0
    assert main(["explain", "--images", "1", "--method", "grad_cam(layer='Mixed_7c')", "--quiet"]) == 2
    assert "Mixed_7c" in capsys.readouterr().err


def test_classes_that_differ_in_their_capital_or_not_at_all():
    imagenet = ["Cardigan", "cardigan", "crane", "tabby", "crane", "tiger cat"]
    assert [find_class(t, imagenet) for t in ("cardigan", "Cardigan", "TABBY", "tiger", "4")] == [1, 0, 3, 5, 4]
    with pytest.raises(ValueError, match=r"fits 2 classes: Cardigan \(0\), cardigan \(1\)"):
        find_class("CARDIGAN", imagenet)
    with pytest.raises(ValueError, match=r"crane \(2\), crane \(4\); give the number"):
        find_class("crane", imagenet)
    for strange in ("\u00b2", "--5", "-1", "999"):
        with pytest.raises(ValueError, match="no class|out of range"):
            find_class(strange, imagenet)


def test_seconds_and_gradients_are_per_image(capsys, monkeypatch):
    monkeypatch.setattr("attrnb.cli.time.perf_counter", iter(range(99)).__next__)  # a second between every two looks at the clock
    rows = [explain(images=n, method="integrated_gradients(n_steps=7)", quiet=True).rows[0] for n in (1, 4)]
    assert [r["gradient_evaluations"] for r in rows] == [7, 7]
    assert [r["seconds"] for r in rows] == [1, .25]
    assert "gradients per image" in capsys.readouterr().out


def test_the_reference_may_be_typed_as_the_methods(tmp_path, capsys):
    assert main(["bench", "--methods", "Input-X-Gradient,Saliency", "--measures", "energy_inside", "--reference", "Input-X-Gradient", "--images", "2", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert "Difference to input_x_gradient" in capsys.readouterr().out
