"The `attrnb` command as a user runs it"

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision
from matplotlib.cbook import get_sample_data
from PIL import Image

from attrnb.cli import OURS, choose_device, explain, find_class, main
from attrnb.samples import sample_model, shape_images


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))


def put_into_the_cache(name, seed=0):
    "Random weights, in the place and the format of those that torchvision downloads"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.get_model(name, weights=None)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # one batch sets the statistics, and the outputs have a spread
        with torch.no_grad():
            network.train()(torch.rand(8, 3, 64, 64))
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    path = Path(os.environ["TORCH_HOME"], "hub", "checkpoints", Path(url).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return path, network.eval()


@pytest.fixture
def no_network(monkeypatch):
    "A download fails the test, however well it is excused"
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    yield
    assert not tried


@pytest.fixture(scope="module")
def random_squeezenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(torchvision.models.squeezenet1_0(weights=None).state_dict(), path)
    return str(path)


def bench(*words, out="run", **options):
    "The exit code of `attrnb bench`, without progress bars; option=value stands for --option=value"
    options = [f"--{name}={value}" for name, value in dict(options, out=out).items()]
    return main(["bench", *words, *options, "--quiet"])


@pytest.fixture
def photo():
    Image.effect_noise((320, 256), 80).convert("RGB").save("photo.jpg")
    return "photo.jpg"


def test_without_arguments_in_a_process_of_its_own_with_the_network_cut(tmp_path):
    blocked = (
        "import socket\ndef refuse(*a, **k): raise OSError('no network')\nsocket.socket.connect = refuse\nfrom"
        " attrnb.cli import main\nraise SystemExit(main(['explain']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "attrnb-explain.png").stat().st_size > 10_000
    for method in OURS:
        assert method in done.stdout
    assert "inside evidence: of the positive map" in done.stdout and "Traceback" not in done.stderr


QUICK = ["--method", "neflag(n_points=2)", "--quiet", "--device", "cpu"]


def test_without_cached_weights_nothing_is_downloaded_and_that_is_said(no_network, capsys):
    assert main(["explain", "--images", "1", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "Matplotlib's photograph was left out" in said and "--weights FILE" in said
    assert [p.name for p in Path().glob("*.png")] == ["attrnb-explain.png"]


def test_with_cached_weights_the_photograph_of_matplotlib_is_added(no_network, capsys):
    put_into_the_cache("squeezenet1_0")  # 1,248,424 parameters
    _, network = put_into_the_cache("squeezenet1_1")  # 1,235,496: the smaller one is taken
    found = explain(images=1, method="saliency, centre", device="cpu", quiet=True)
    said = capsys.readouterr().out
    assert (
        "with squeezenet1_1, whose weights are in torchvision's cache" in said and "grace_hopper.jpg: predicted" in said
    )
    assert Path("attrnb-explain.png").exists() and Path("attrnb-explain-photograph.png").exists()
    assert found.images.shape == (1, 3, 96, 96) and list(found.photograph.attributions) == ["saliency", "centre"]
    preset = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.transforms()
    photograph = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
    with torch.no_grad():
        assert found.photograph.targets == network(preset(photograph)[None]).argmax(1).tolist()


@pytest.mark.parametrize("words", [["--target", "star"], ["--model", "shapes"]])
def test_who_asks_for_the_embedded_network_gets_no_photograph(words, no_network, capsys):
    put_into_the_cache("squeezenet1_1")
    assert main(["explain", "--images", "1", *words, *QUICK]) == 0
    assert "hotograph" not in capsys.readouterr().out


def test_a_cached_file_that_is_damaged_is_told_of_after_the_embedded_images(no_network, capsys):
    path, _ = put_into_the_cache("squeezenet1_1")
    path.write_bytes(b"not weights")
    assert main(["explain", "--images", "1", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "Matplotlib's photograph was left out" in said and "delete it" in said


def test_resnet50_is_preferred(no_network, capsys):
    put_into_the_cache("squeezenet1_1")
    put_into_the_cache("resnet50")
    assert main(["explain", "--images", "1", "--method", "saliency", "--quiet", "--device", "cpu"]) == 0
    assert "with resnet50, whose weights" in capsys.readouterr().out


def test_a_model_without_a_photograph_takes_that_of_matplotlib(no_network, random_squeezenet, capsys):
    assert main(["explain", "--model", "squeezenet1_0", *QUICK]) == 2
    refused = capsys.readouterr().err
    assert "nothing is downloaded unasked" in refused and "photo.jpg --model squeezenet1_0" in refused
    assert main(["explain", "--model", "squeezenet1_0", "--weights", random_squeezenet, *QUICK]) == 0
    said = capsys.readouterr().out
    assert "grace_hopper.jpg: predicted" in said and "image 0" not in said
    assert Path("grace_hopper-attrnb.png").exists()
    put_into_the_cache("squeezenet1_0")
    assert main(["explain", "--model", "squeezenet1_0", "--target", "bow tie", *QUICK]) == 0
    assert "bow tie" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "efficientnet_b0", "densenet121"])
def test_torchvisions_own_files_and_normalisation(name, photo, no_network, capsys):
    "`attrnb explain photo.jpg --model NAME` from a file of torchvision's own name, with the mean, size and cut of it"
    _, network = put_into_the_cache(name, seed=1)
    found = explain(photo, name, method="saliency", score="logit", device="cpu", quiet=True)
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    mean, std = (torch.tensor(o)[:, None, None] for o in (transform.mean, transform.std))
    expected = transform(Image.open(photo))
    assert found.images.shape[1:] == expected.shape
    torch.testing.assert_close((found.images[0] - mean) / std, expected, atol=1e-5, rtol=0)
    with torch.no_grad():
        logits = network(expected[None])[0]
    assert logits.max() - logits[found.targets[0]] < 1e-3 * logits.std()
    pixels = found.images.clone().requires_grad_()
    network((pixels - mean) / std)[0, found.targets[0]].backward()
    torch.testing.assert_close(
        found.attributions["saliency"], pixels.grad.abs(), rtol=0, atol=1e-3 * pixels.grad.max().item()
    )


def test_photograph_with_a_state_file(photo, random_squeezenet, capsys):
    code = main(
        [
            "explain",
            photo,
            "--model",
            "squeezenet1_0",
            "--weights",
            random_squeezenet,
            "--target",
            "golden retriever",
            "--method",
            "neflag",
            "--device",
            "cpu",
            "--score",
            "logit",
            "--out",
            "here",
        ]
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "golden retriever" in printed.out and "neflag" in printed.out and "integrated" not in printed.out
    assert Path("here.png").exists()


def test_one_method_and_the_number_of_images(capsys):
    assert main(["explain", "--images", "2", "--method", "integrated-gradients", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "image 1" in out and "image 2" not in out and "neflag" not in out


@pytest.mark.parametrize(
    "words, contains",
    [
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
        (["--method", "saliency", "--internal-batch-size", "-1"], "at least 1"),
        (["--method", "neflag(n_pointz=3)"], "n_points"),
        (["--method", "neflag(n_points=0)"], "n_points"),
        (["--method", ""], "no method"),
        (["--method", "grad_cam(layer='nowhere')"], "nowhere"),
        (["--out", "figure.txt"], ".png"),
        (["--out", "."], "folder"),
        (["--out", "/dev/null"], "can't be written"),
        (["--out", "a\0b.png"], "can't be written"),
        (["photo.jpg", "--out", "photo.jpg"], "would be overwritten"),
        (["photo.jpg", "--out", "./photo.jpg"], "would be overwritten"),
        (
            ["photo.jpg", "--model", "resnet18", "--weights", "weights.png", "--out", "weights.png"],
            "would be overwritten",
        ),
        (["--seed", "0.5"], "0.5"),
    ],
)
def test_wrong_calls_are_one_line_and_exit_code_2(words, contains, photo, capsys):
    Path("broken.jpg").write_bytes(b"not a picture")
    Path("weights.png").write_bytes(b"weights")
    before = Path("photo.jpg").read_bytes()
    try:
        code = main(["explain", *words])
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2 and Path("photo.jpg").read_bytes() == before and Path("weights.png").read_bytes() == b"weights"
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


@pytest.mark.parametrize(
    "name, file, options",
    [
        ("squeezenet1_0", "squeezenet1_0-deepcompression.pth", []),
        ("mobilenet_v2", "mobilenet_v2-tf2ptq-bnstats.pth", ["--mean", "0.5", "--std", "0.5"]),
    ],
)
def test_real_weights_on_a_real_photograph(real_data, name, file, options, capsys):
    annotations = json.loads((real_data / "imagenet_val100" / "annotations.json").read_text())
    picture = sorted(annotations)[1]
    code = main(
        [
            "explain",
            str(real_data / "imagenet_val100" / "images" / picture),
            "--model",
            name,
            "--weights",
            str(real_data / "weights" / file),
            "--method",
            "neflag",
            *options,
        ]
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert Path(f"{Path(picture).stem}-attrnb.png").exists()


def test_bench_on_photographs_goes_on_where_it_was(photo, random_squeezenet, capsys):
    Path("photos").mkdir()
    Path(photo).rename("photos/a.jpg")
    Path("photos/b.jpg").write_bytes(b"not a picture")
    Path("boxes.json").write_text(
        json.dumps({name: dict(label=207, boxes=[[20, 20, 120, 120]]) for name in ("a.jpg", "b.jpg")})
    )
    given = dict(model="squeezenet1_0", weights=random_squeezenet, annotations="boxes.json", device="cpu")
    given |= dict(methods="saliency, grad-cam, random", measures="deletion(masking_steps=2), energy_inside")
    given |= dict(keep="float16", reference="random")
    assert bench("photos", **given) == 0
    first = capsys.readouterr().out
    assert (
        "| grad_cam" in first
        and "energy_inside" in first
        and "Difference to random" in first
        and "1 of 2 images could not be used" in first
    )
    times = {p: p.stat().st_mtime_ns for p in Path("run/results").iterdir()}
    assert bench("photos", **given) == 0
    assert capsys.readouterr().out == first
    assert {p: p.stat().st_mtime_ns for p in Path("run/results").iterdir()} == times
    assert bench("photos", **given, score="logit") == 2
    errors = capsys.readouterr().err
    assert "another configuration" in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "words, contains",
    [
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
        (["--methods", "neflag(n_pointz=3)"], "did you mean n_points"),
        (["--methods", "saliency", "--measures", "deletion(masking_steps=0)"], "steps"),
        (["--methods", "saliency", "--substrate", "white"], "substrate"),
        (["--methods", "saliency", "--unit", "0"], "unit"),
        (["--methods", "saliency", "--unit", "half"], "unit"),
        (["--methods", "saliency", "--measures", "energy_inside", "--unit", "nan"], "unit"),
        (["--methods", "saliency", "--images", "99999999999"], "don't fit into memory"),
        (["--methods", "saliency", "--reference", ""], "reference"),
        (["--methods", ""], "no method"),
        (["--methods", "saliency", "--annotations", "boxes.json"], "needs the photographs"),
        (["--methods", "saliency", "--internal-batch-size", "0"], "internal_batch_size"),
        (["--methods", "saliency", "--out", "."], "isn't empty"),
        (
            ["photos", "--model", "squeezenet1_0", "--out", "photos/run", "--weights", "WEIGHTS"],
            "lies in the folder of photographs",
        ),
        (
            ["photos", "--model", "squeezenet1_0", "--weights", "WEIGHTS", "--annotations", "misspelt.json"],
            "did you mean 'label'",
        ),
    ],
)
def test_wrong_bench_calls_are_one_line_and_exit_code_2(words, contains, photo, capsys, random_squeezenet):
    Path("photos").mkdir()
    Path("photos/a.jpg").write_bytes(Path(photo).read_bytes())
    Path("misspelt.json").write_text('{"a.jpg": {"lable": 3}}')
    before = sorted(p.as_posix() for p in Path().rglob("*"))
    try:
        code = main(["bench", *(random_squeezenet if w == "WEIGHTS" else w for w in words), "--quiet"])
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2 and contains in errors and "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("attrnb")]) == 1
    assert sorted(p.as_posix() for p in Path().rglob("*")) == before


def test_a_method_without_any_result_is_exit_code_1(capsys, monkeypatch):
    import attrnb.benchmark

    broken = attrnb.benchmark.Method(lambda model, x, target: 1 / 0)
    monkeypatch.setitem(attrnb.benchmark.METHODS, "broken", broken)
    assert bench(images=2, measures="energy_inside", methods="saliency,broken") == 1
    printed = capsys.readouterr()
    assert "broken failed on 2 examples: ZeroDivisionError" in printed.out and printed.err.splitlines() == [
        "attrnb: no result at all: broken; the reasons stand below the table"
    ]
    assert bench(images=2, measures="energy_inside", methods="saliency", out="other") == 0


@pytest.mark.parametrize("damage", ["{}", "[]", "{"])
def test_damaged_run_folders_are_one_line(damage, capsys):
    small = dict(images=2, methods="saliency", measures="energy_inside")
    assert bench(**small) == 0
    Path("run/manifest.json").write_text(damage)
    capsys.readouterr()
    assert bench(**small) == 2
    errors = capsys.readouterr().err
    assert "manifest.json" in errors and len(errors.splitlines()) == 1


def test_completeness_is_measured_from_the_own_baseline():
    rows = explain(
        images=2,
        method="integrated_gradients(n_steps=200), integrated_gradients(baselines=0.5, n_steps=200), saliency",
        quiet=True,
    ).rows
    assert (
        rows[0]["completeness_error"] < 0.01
        and rows[1]["completeness_error"] < 0.01
        and rows[2]["completeness_error"] is None
    )


def test_scores_of_the_command_line(capsys):
    for score in ("output", "sigmoid", "log_sigmoid", "margin"):
        assert main(["explain", "--images", "1", "--method", "saliency", "--score", score, "--quiet"]) == 0
    assert bench(images=2, methods="saliency", measures="insertion(masking_steps=2)", score="sigmoid") == 0


def test_a_contrast_of_the_command_line():
    methods = "equilibrium, equilibrium(contrast='next'), equilibrium(contrast=2)"
    run = explain(images=2, method=methods, score="logit", quiet=True, out="b.png")
    alone, against, second = run.attributions.values()
    assert not torch.allclose(alone, against) and not torch.allclose(against, second)
    assert [row["method"] for row in run.rows][1:] == ["equilibrium(contrast='next')", "equilibrium(contrast=2)"]


def test_a_full_disk_leaves_the_old_figure(monkeypatch, capsys):
    assert main(["explain", "--images", "1", "--method", "saliency", "--out", "a.png", "--quiet"]) == 0
    before = Path("a.png").read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["explain", "--images", "2", "--method", "saliency", "--out", "a.png", "--quiet"]) == 2
    assert "No space left on device; nothing was written" in capsys.readouterr().err
    assert Path("a.png").read_bytes() == before and os.listdir() == ["a.png"]


def test_formats_of_the_figure(capsys):
    for name, start in (("a.pdf", b"%PDF"), ("a.JPG", b"\xff\xd8"), ("a.svg", b"<?xml")):
        assert main(["explain", "--images", "1", "--method", "saliency", "--out", name, "--quiet"]) == 0
        assert Path(name).read_bytes().startswith(start)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_without_arrows(encoding, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with contextlib.redirect_stdout(output):
        assert bench(images=2, methods="saliency", measures="insertion(masking_steps=2)") == 0
    output.flush()
    printed = output.buffer.getvalue().decode(encoding)
    assert ("insertion(masking_steps=2) ↑" if encoding == "utf-8" else "insertion(masking_steps=2) ^") in printed
    assert "↑" in Path("run/table.md").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not possible there")
def test_escape_sequences_in_file_names_do_not_reach_the_terminal(photo, random_squeezenet, capsys):
    name = "a\x1b[31mred\x07\u202egpj.jpg"
    Path(photo).rename(name)
    words = ["--model", "squeezenet1_0", "--weights", random_squeezenet, "--method", "saliency", "--quiet"]
    assert main(["explain", name, *words]) == 0
    assert main(["explain", name + "\x1b[2J", *words]) == 2
    Path("photos").mkdir()
    Path("photos", name).write_bytes(b"no picture")
    Path(name).rename(Path("photos/b.jpg"))
    assert bench("photos", *words[:4], methods="saliency", measures="insertion(masking_steps=2)") == 0
    printed = capsys.readouterr()
    assert "\\x1b[31mred" in printed.out + printed.err
    assert not {"\x1b", "\x07", "\u202e"} & set(printed.out + printed.err)


@pytest.mark.parametrize("port", ["-5", "65536", "99999", "many"])
def test_ports_that_there_are_not(port, capsys):
    try:
        code = main(["explore", f"--port={port}", "--no-browser"])
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert (
        code == 2 and "port" in errors and len([line for line in errors.splitlines() if line.startswith("attrnb")]) == 1
    )


def test_a_port_in_use(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert main(["explore", "--port", str(other.getsockname()[1]), "--no-browser"]) == 2
    errors = capsys.readouterr().err
    assert "is in use by another program" in errors and len(errors.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="another signal there")
def test_ctrl_c_ends_a_benchmark_which_goes_on_later(tmp_path):
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from attrnb.cli import main;"
        " print('up', flush=True); sys.exit(main(sys.argv[1:]))"
    )
    words = [
        "bench",
        "--images",
        "40",
        "--methods",
        "saliency,neflag(n_points=4)",
        "--measures",
        "deletion",
        "--out",
        "run",
        "--quiet",
        "--batch-size",
        "1",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )
    assert process.stdout.readline().strip() == "up"
    while not list(Path("run/results").glob("*.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.splitlines()[-1] == "attrnb: interrupted"
    assert not list(Path("run").rglob("*.tmp")) and Path("run/manifest.json").exists()


def test_devices_that_are_none():
    with pytest.raises(TypeError, match="name of a torch device"):
        choose_device(None)
    for name in ("meta", "cuda:99", ""):
        with pytest.raises(ValueError, match="can't be used here"):
            choose_device(name)


def test_explore_hands_over_to_the_explorer(photo, monkeypatch, capsys):
    import attrnb.explore

    given = {}
    monkeypatch.setattr(attrnb.explore, "serve", lambda *words, **options: given.update(words=words, **options))
    assert main(["explore", photo, "--model", "resnet18", "--mean", "0.5", "--port", "8899", "--no-browser"]) == 0
    assert given == dict(
        words=([photo], "resnet18", None, None), mean=0.5, std=None, port=8899, open_browser=False, application="auto"
    )


def test_any_method_of_the_benchmark_can_be_explained(capsys):
    assert main(["explain", "--images", "1", "--method", "grad-cam,neflag(n_points=2)", "--quiet"]) == 0
    assert "neflag(n_points=2)" in capsys.readouterr().out


def test_settings_keep_their_case(capsys):
    assert main(["explain", "--images", "1", "--method", "Saliency(abs=False), Grad-CAM", "--quiet"]) == 0
    assert "saliency(abs=False)" in capsys.readouterr().out
    assert bench(images=2, methods="saliency(abs=False)", measures="Energy-Inside") == 0
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


@pytest.mark.parametrize("command", ["explain", "bench"])
def test_as_many_rows_at_once_as_fit(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [command, "--images", "1", "--quiet", "--internal-batch-size", "auto"]
    words += ["--method", "saliency"] if command == "explain" else ["--methods", "saliency", "--measures", "insertion"]
    assert main(words) == 0
    with pytest.raises(SystemExit):
        main([command, "--internal-batch-size", "lots"])
    assert "'lots' is neither a whole number nor auto" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "or auto: as many as fit" in said
    assert command != "bench" or "python benchmarks/all.py" in said


def test_seconds_and_gradients_are_per_image(capsys, monkeypatch):
    # a second between every two looks at the clock
    monkeypatch.setattr("attrnb.cli.time.perf_counter", iter(range(99)).__next__)
    rows = [explain(images=n, method="integrated_gradients(n_steps=7)", quiet=True).rows[0] for n in (1, 4)]
    assert [r["gradient_evaluations"] for r in rows] == [7, 7]
    assert [r["seconds"] for r in rows] == [1, 0.25]
    assert "gradients of one image" in capsys.readouterr().out


def test_the_reference_may_be_typed_as_the_methods(capsys):
    assert (
        bench(methods="Input-X-Gradient,Saliency", measures="energy_inside", reference="Input-X-Gradient", images=2)
        == 0
    )
    assert "Difference to input_x_gradient" in capsys.readouterr().out


def test_the_table_and_the_targets_are_those_of_the_images():
    found = explain(method="integrated_gradients(n_steps=3)", images=4, seed=5, quiet=True)
    model, images = sample_model(), shape_images(4, seed=5 + 1_000_003).images
    assert torch.equal(found.images, images)
    probability = model(images).softmax(1).detach()
    assert found.targets == probability.argmax(1).tolist()
    change = (probability - model(images * 0).softmax(1).detach())[torch.arange(4), found.targets]
    errors = (found.attributions["integrated_gradients(n_steps=3)"].flatten(1).sum(1) - change).abs()
    assert errors.std() > 0 and found.rows[0]["completeness_error"] == pytest.approx(errors.mean().item(), rel=1e-3)


def test_the_command_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "attrnb.cli", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("attrnb "), done.stderr


def test_nothing_is_kept_when_nothing_is_asked_for():
    small = dict(methods="centre", measures="energy_inside", images=2, device="cpu")
    assert bench(**small, out="without", keep="none") == bench(**small, out="with") == 0
    assert [len(list(Path(folder, "attributions").glob("*.safetensors"))) for folder in ("without", "with")] == [0, 1]
