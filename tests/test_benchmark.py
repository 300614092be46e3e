"The benchmark: runs that survive, never mix, and say the same however they are cut up"
import contextlib
import csv
import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from models import convolutional, seeded
from PIL import Image
from torch import nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

import attrnb.benchmark as module
from attrnb.benchmark import (
    DEFAULT_METHODS,
    MEASURES,
    METHODS,
    BenchmarkRun,
    Case,
    Measure,
    Method,
    PhotographFolder,
    attribute_by_name,
    benchmark,
    example_seed,
    last_feature_map,
    parse_names,
    weights_hash,
    write_atomically,
)
from attrnb.core import ClassScore
from attrnb.measures import box_masks, faithfulness_curves
from attrnb.plots import AttributionFigure
from attrnb.samples import load_model, shape_images


def undrawn(self, reference=None):
    "In place of the figure, which is drawn in a test of its own"
    return AttributionFigure((.1, .1))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(BenchmarkRun, "figure", undrawn)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Squares(torch.utils.data.Dataset):
    "Noise with a bright square, whose mask is known"

    def __init__(self, n=6, masks=True):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.rand(n, 3, 16, 16, generator=generator) / 2
        self.masks = torch.zeros(n, 16, 16, dtype=torch.bool)
        for i in range(n):
            self.masks[i, 2 + i % 8:8 + i % 8, 4:10] = True
        self.images += .5 * self.masks[:, None]
        self.with_masks = masks

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return (self.images[index], index % 4, self.masks[index]) if self.with_masks else (self.images[index], index % 4)


DRAW = BenchmarkRun.figure
SMALL = dict(methods=["saliency", "neflag(n_points=2)", "gradient_shap(n_samples=3)", "random"], steps=4, batch_size=2, show_progress=False)


def small(folder="run", data=None, model=None, **changes):
    return benchmark(model or convolutional(), data or Squares(), folder=folder, **SMALL | changes)


def values_of(run):
    return [(r["example"], r["method"], r["target"], r["values"], r["errors"], r["error"]) for r in run.rows]


def without_seconds(text):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(io.StringIO(text))]


# Survival


ZYGOTE = """
import os, sys, traceback
sys.path[:0] = {paths!r}
import torch
import test_benchmark
test_benchmark.BenchmarkRun.figure = test_benchmark.undrawn
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            torch.set_num_threads(1)
            test_benchmark.small(line.strip(), test_benchmark.Squares(10))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(pid, flush=True)
    sys.stdin.readline()  # until then an ended process keeps its number
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_kill_9_at_twenty_random_moments_changes_nothing(tmp_path, monkeypatch):
    memory = tempfile.TemporaryDirectory(dir="/dev/shm") if os.access("/dev/shm", os.W_OK) else contextlib.nullcontext(tmp_path)
    with memory as folder:  # killing tells the same there, and a busy disk takes no time
        monkeypatch.chdir(folder)
        kill_twenty_times()
        monkeypatch.chdir(tmp_path)


def kill_twenty_times():
    whole = small("whole", Squares(10))
    zygote = subprocess.Popen([sys.executable, "-c", ZYGOTE.format(paths=sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(folder):
        zygote.stdin.write(f"{folder}\n")
        zygote.stdin.flush()
        return int(zygote.stdout.readline())

    def end():
        zygote.stdin.write("\n")
        zygote.stdin.flush()
        return int(zygote.stdout.readline())

    try:
        start("timed")
        began = time.perf_counter()
        assert end() == 0
        duration = time.perf_counter() - began
        moments, kills, runs, finished = random.Random(7), 0, 0, {}
        while kills < 20 or finished:
            folder = Path(f"killed{runs}")
            pid = start(folder)
            if kills < 20:
                time.sleep(moments.uniform(0, .4) * duration)
                os.kill(pid, signal.SIGKILL)
            status = end()
            results = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("results/*.json")}
            assert finished.items() <= results.items(), "a finished example was done again or lost"
            for _, text in results.values():
                json.loads(text)
            if os.WIFSIGNALED(status):
                kills += 1
                finished = results
                assert (folder / "manifest.json").exists() or not results
                if not results:
                    finished = {}
            else:
                assert status == 0
                run = BenchmarkRun(folder)
                assert run.missing == 0 and values_of(run) == values_of(whole)
                assert (folder / "table.md").read_text() == Path("whole/table.md").read_text()
                assert without_seconds((folder / "table.csv").read_text()) == without_seconds(Path("whole/table.csv").read_text())
                for method in run.methods:
                    assert_close(run.attributions(method), whole.attributions(method), rtol=0, atol=0)
                assert not list(folder.rglob("*.tmp"))
                runs, finished = runs + 1, {}
    finally:
        zygote.stdin.close()
        zygote.wait()
    assert kills == 20


def test_two_processes_give_the_table_of_one(tmp_path):
    one = small("one")
    script = tmp_path / "two.py"
    script.write_text(f"import sys; sys.path[:0] = {sys.path!r}\nimport torch; torch.set_num_threads(1)\nfrom test_benchmark import small\nrun = small('two')\nassert run.missing == 0")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    two = BenchmarkRun("two")
    assert two.manifest["processes"] == 2
    assert values_of(two) == values_of(one)
    assert Path("two/table.md").read_text() == Path("one/table.md").read_text()
    assert without_seconds(two.csv()) == without_seconds(one.csv())
    refused = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", "attrnb", "bench", "--images", "2", "--methods", "saliency", "--out", "two", "--quiet"],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert refused.returncode != 0
    assert refused.stderr.count("another configuration") >= 2, "both ranks are told"


def test_going_on_repeats_nothing_and_methods_can_be_added():
    calls = []

    def counted(model, inputs, targets):
        calls.append(len(inputs))
        return inputs

    first = small(methods={"counted": counted, "saliency": None})
    assert sum(calls) == 6
    again = small(methods={"saliency": None, "counted": counted, "centre": None})
    assert sum(calls) == 6
    assert again.methods == ["counted", "saliency", "centre"] and again.missing == 0
    assert [r for r in values_of(again) if r[1] != "centre"] == values_of(first)


def test_full_disk(monkeypatch):
    whole, sync, left = small("whole"), os.fsync, [9]

    def full(file):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return sync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="can't write .*No space left on device.*finished is kept") as caught:
        small()
    assert caught.value.errno == errno.ENOSPC and "\n" not in str(caught.value)
    monkeypatch.setattr(os, "fsync", sync)
    assert not list(Path("run").rglob("*.tmp"))
    begun = BenchmarkRun("run")
    assert 0 < begun.missing < 24
    assert "not finished" in begun.table()
    assert values_of(small()) == values_of(whole)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_file_that_stops_growing():
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="can't write run.*File too large"):
            small()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert small().missing == 0


def test_folders_that_can_not_be_written(tmp_path):
    Path("file").write_text("in the way")
    with pytest.raises(OSError, match="can't write file"):
        small("file/run")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(OSError, match="can't write"):
            small(locked / "run")


def test_a_run_in_use_is_refused():
    fcntl = pytest.importorskip("fcntl")
    small()
    with open("run/.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another benchmark is running"):
            small()
    small()


def test_write_atomically_keeps_the_old_file_when_it_fails(monkeypatch):
    write_atomically("a.txt", b"old")

    def fails(*paths):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="a.txt: Input/output error"):
        write_atomically("a.txt", b"new")
    assert Path("a.txt").read_bytes() == b"old" and os.listdir() == ["a.txt"]


# One configuration


@pytest.mark.parametrize("changes, said", [
    (dict(score="logit"), 'score: "probability" there, "logit" now'),
    (dict(seed=3), "seed: 0 there, 3 now"),
    (dict(steps=5), "steps: 4 there, 5 now"),
    (dict(measures=["deletion"]), "measures.insertion"),
    (dict(target="predicted"), "target"),
    (dict(keep="float16"), "keep"),
    (dict(data=Squares(5)), "data.examples: 6 there, 5 now"),
    (dict(data=Squares(6, masks=False), measures=list(module.DEFAULT_MEASURES)), "data.sha256"),
    (dict(model=convolutional(seed=1)), "model.weights_sha256"),
    (dict(methods={"saliency": ("neflag", {})}), "methods.saliency.method"),
    (dict(methods={"neflag(n_points=2)": ("neflag", dict(n_points=3))}), "n_points: 2 there, 3 now"),
])
def test_another_configuration_is_refused(changes, said):
    small()
    kept = Path("run/manifest.json").read_bytes()
    with pytest.raises(ValueError, match="another configuration") as caught:
        small(**changes)
    assert said in str(caught.value)
    assert Path("run/manifest.json").read_bytes() == kept


def test_numbers_of_numpy_are_numbers():
    run = small(steps=np.int64(4), batch_size=np.int64(2), methods={"neflag": dict(n_points=np.int64(2))})
    assert not run.failures
    with pytest.raises(ValueError, match="steps: 4 there, 5 now"):
        small(steps=np.int64(5), methods={"neflag": dict(n_points=np.int64(2))})
    with pytest.raises(ValueError, match="n_points: 2 there, 3 now"):
        small(methods={"neflag": dict(n_points=np.int64(3))})


def test_another_version_is_refused(monkeypatch):
    small()
    monkeypatch.setattr(module, "_versions", lambda: dict(attrnb="99"))
    with pytest.raises(ValueError, match='versions.attrnb.* there, "99" now'):
        small()


def test_what_the_manifest_holds():
    run = small()
    kept = run.manifest["configuration"]
    assert kept["model"] == dict(name="Sequential", weights_sha256=weights_hash(convolutional()))
    assert set(kept["versions"]) == {"attrnb", "torch", "torchvision", "captum", "numpy"}
    assert kept["seed"] == 0 and kept["methods"]["neflag(n_points=2)"] == {"method": "neflag", "settings": {"n_points": 2}, "kind": "attrnb"}
    assert run.manifest["examples"] == [f"{i:06d}" for i in range(6)]


def test_hash_of_weights_sees_every_value():
    a, b = convolutional(), convolutional()
    assert weights_hash(a) == weights_hash(b)
    with torch.no_grad():
        b[1].running_mean[3] += 1e-6
    assert weights_hash(a) != weights_hash(b)


# The same however it is cut up


def test_batches_order_and_number_of_examples_do_not_matter():
    base = small("base", measures=["difference", "energy_inside"])
    alone = small("alone", measures=["difference", "energy_inside"], batch_size=1)
    turned = small("turned", measures=["difference", "energy_inside"], methods=SMALL["methods"][::-1], batch_size=4)
    fewer = small("fewer", measures=["difference", "energy_inside"], images=3)
    for other in (alone, turned, fewer):
        for method in base.methods:
            a, b = base.attributions(method), other.attributions(method)
            for example in b:
                assert_close(a[example], b[example], rtol=1e-4, atol=1e-7)
            for measure in ("difference", "energy_inside"):
                mine, theirs = base.values(method, measure), other.values(method, measure)
                assert_close([mine[e] for e in theirs], list(theirs.values()), rtol=1e-3, atol=1e-4)


def test_seeds_belong_to_examples():
    run, other = small("a", methods=["random"]), small("b", methods=["random"], seed=1)
    maps = list(run.attributions("random").values())
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], other.attributions("random")["000000"])
    assert len({example_seed(s, n) for s in range(20) for n in "abcdefgh"}) == 160
    assert all(0 <= example_seed(s, "x") < 2**63 for s in range(50))


def test_curves_are_evaluated_once(monkeypatch):
    calls = []
    monkeypatch.setattr(module, "faithfulness_curves", lambda *a, **k: calls.append(k) or faithfulness_curves(*a, **k))
    small(methods=["saliency"], measures=["deletion", "insertion", "difference", "insertion(unit=4)"])
    assert len(calls) == 3 * 2, "three blocks, two settings"


# Values


def test_values_are_those_of_the_measures():
    data, model = Squares(), convolutional()
    run = small(data=data, model=model, methods=["saliency", "centre", "uniform"], score="logit")
    x, targets = data.images, [i % 4 for i in range(6)]
    a, cost = attribute_by_name("saliency", model, x, targets, score="logit")
    assert cost == dict(rows=6, gradient_rows=6)
    assert_close(torch.stack(list(run.attributions("saliency").values())), a)
    curves = faithfulness_curves(model, x, a, targets, steps=4)
    assert_close(list(run.values("saliency", "deletion").values()), curves.deletion_score.tolist(), rtol=1e-5, atol=1e-6)
    assert_close(list(run.values("saliency", "difference").values()), curves.difference_score.tolist(), rtol=1e-5, atol=1e-6)
    area = data.masks.flatten(1).double().mean(1).tolist()
    assert_close(list(run.values("uniform", "energy_inside").values()), area)
    assert_close(list(run.values("uniform", "pointing_game").values()), area)


def test_every_method_and_measure_by_name_and_the_model_is_left_alone():
    model = convolutional().train()
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    run = small(model=model, data=Squares(2), methods=list(METHODS), measures=list(MEASURES), keep="float16")
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert run.missing == 0 and not run.failures, run.failures[0]["error"] if run.failures else ""
    for method in METHODS:
        for measure in MEASURES:
            n = len(run.values(method, measure))
            if measure == "completeness_error":
                assert n == (2 if METHODS[method].complete else 0)
            elif measure != "outside_inside_ratio":
                assert n == 2, (method, measure)
        assert {m.dtype for m in run.attributions(method).values()} == {torch.float16}
    assert max(run.values("integrated_gradients", "completeness_error").values()) < 1e-3
    assert set(DEFAULT_METHODS) <= set(METHODS) and set(module.DEFAULT_MEASURES) <= set(MEASURES)


def test_intervals_are_paired():
    run = small(methods={"a": lambda model, x, t: x, "b": lambda model, x, t: 3 * x}, measures={"size": lambda case: case.attributions.flatten(1).mean(1)})
    rows = {r["method"]: r for r in run.summary("a")}
    assert_close(rows["b"]["mean"], 3 * rows["a"]["mean"])
    a, b = run.values("a", "size"), run.values("b", "size")
    assert_close(rows["b"]["difference"], sum(b[e] - a[e] for e in a) / 6)
    assert rows["b"]["difference_low"] > 0 and rows["a"]["difference"] is None
    assert "**+" in run.table("a") and "**-" in run.table("b")
    with pytest.raises(ValueError, match="choose from a, b"):
        run.table("c")


def test_one_example_has_no_interval():
    run = small(images=1)
    assert run.summary()[0]["low"] is None
    assert "[" not in run.table().splitlines()[4]
    DRAW(run)


def test_csv_is_tidy():
    run = small()
    rows = list(csv.DictReader(io.StringIO(Path("run/table.csv").read_text())))
    assert len(rows) == 6 * 4 * len(run.measures)
    assert list(rows[0]) == ["example", "target", "method", "measure", "value", "seconds", "gradient_evaluations", "forward_rows", "error"]
    shap = [r for r in rows if r["method"].startswith("gradient_shap")]
    assert {r["gradient_evaluations"] for r in shap} == {"3"} and all(float(r["seconds"]) > 0 for r in shap)


def test_figure_has_a_panel_per_measure_and_a_point_per_method():
    run = small(images=2, measures=["deletion", "insertion", "energy_inside", "insertion(unit=4)"])
    assert Path("run/figure.png").read_bytes().startswith(b"\x89PNG")
    panels = [ax for ax in DRAW(run, "random").axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == ["deletion\nlower is better", "insertion\nhigher is better", "energy inside\nhigher is better", "insertion(unit=4)\nhigher is better"]
    assert all(len(ax.containers) == 4 for ax in panels)
    assert [label.get_text() for label in panels[0].get_yticklabels()] == run.methods


# What fails


class Reused(nn.Module):
    "Uses one activation twice, which Captum's DeepLift refuses"

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Linear(4, 4)

    def forward(self, x):
        return self.last(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))


def test_deep_lift_on_a_reused_module_is_a_line_of_the_table():
    run = small(model=seeded(Reused), methods=["saliency", "deep_lift"])
    assert [r["method"] for r in run.failures] == ["deep_lift"] * 6
    assert "deep_lift failed on 6 examples" in run.table()
    assert len(run.values("saliency", "deletion")) == 6 and run.values("deep_lift", "deletion") == {}
    assert run.summary()[len(run.methods) - 1]["mean"] is None


def sometimes(model, inputs, targets):
    if (targets == 2).any():
        raise RuntimeError("not class 2")
    result = inputs.clone()
    result[targets == 3] = torch.nan
    return result


def test_failures_are_of_one_example():
    run = small(methods={"sometimes": sometimes, "centre": None}, batch_size=4)
    assert {r["example"]: r["error"] for r in run.failures} == {"000002": "RuntimeError: not class 2", "000003": "the attribution holds NaN or infinity"}
    assert {r["error"] for r in csv.DictReader(io.StringIO(run.csv())) if r["example"] == "000003" and r["method"] == "centre"} == {""}
    assert len(run.values("sometimes", "deletion")) == 4


def test_retry_failed_does_again_what_failed_and_only_that():
    broken, calls = [True], []

    class Repaired:
        def attribute(self, inputs, target):
            calls.append(len(inputs))
            if broken[0] and (target == 1).any():
                raise RuntimeError("out of order")
            return inputs

    thing = Repaired()
    assert len(small(methods={"thing": thing}).failures) == 2
    broken[0] = False
    calls.clear()
    assert len(small(methods={"thing": thing}).failures) == 2 and calls == []
    run = small(methods={"thing": thing}, retry_failed=True, batch_size=6)
    assert run.failures == [] and sum(calls) == 2 and len(run.attributions("thing")) == 6 and run.missing == 0


def test_wrong_results_of_methods_and_measures():
    run = small(
        methods={"number": lambda model, x, t: 3, "shape": lambda model, x, t: x[:, :, :5, :5], "good": lambda model, x, t: x},
        measures={"batch mean": lambda case: case.attributions.mean(), "undefined": lambda case: torch.full((len(case.inputs),), torch.nan), "raises": lambda case: 1 / 0},
    )
    assert {r["method"] for r in run.failures} == {"number", "shape"}
    errors = next(r["errors"] for r in run.rows if r["method"] == "good")
    assert "one number each" in errors["batch mean"] and errors["undefined"] == "not defined here" and "ZeroDivisionError" in errors["raises"]
    assert "raises has no value for 6 examples" in run.table()


@pytest.mark.parametrize("fill", [0., 1., -1.])
def test_constant_maps_have_defined_values(fill):
    run = small(methods={"constant": lambda model, x, t: torch.full_like(x, fill)})
    assert all(len(run.values("constant", m)) == 6 for m in run.measures)


def test_examples_without_mask_with_an_empty_one_and_with_one_of_the_wrong_size():
    class Gaps(Squares):
        def __getitem__(self, index):
            image, label, mask = super().__getitem__(index)
            return image, label, {0: None, 1: torch.zeros_like(mask), 2: mask[:5]}.get(index, mask)

    run = small(data=Gaps(), methods=["saliency"], measures=["deletion", "energy_inside"])
    errors = {r["example"]: r["errors"] for r in run.rows}
    assert errors["000000"] == {"energy_inside": "no mask"} and errors["000001"] == {"energy_inside": "the mask is empty"}
    assert "mask is (5, 16)" in run.failures[0]["error"] and len(run.failures) == 1
    assert len(run.values("saliency", "energy_inside")) == 3 and len(run.values("saliency", "deletion")) == 5


def test_labels_out_of_range_and_images_that_hold_nan():
    class Odd(Squares):
        def __getitem__(self, index):
            image, label, mask = super().__getitem__(index)
            return (image * torch.nan if index == 1 else image), (9 if index == 0 else label), mask

    run = small(data=Odd(), methods=["saliency"])
    assert ["out of range" in r["error"] or "NaN" in r["error"] for r in run.failures] == [True, True]
    assert "out of range; the model has classes 0 to 3" in run.failures[0]["error"]


@pytest.mark.parametrize("changes, error, said", [
    (dict(methods=["salience"]), ValueError, "did you mean saliency"),
    (dict(methods=[]), ValueError, "no method"),
    (dict(methods={"a": 3}), TypeError, "a method must be"),
    (dict(measures=["delition"]), ValueError, "did you mean deletion"),
    (dict(score="loss"), ValueError, "logit"),
    (dict(steps=0), ValueError, "steps"),
    (dict(batch_size=0), ValueError, "batch_size"),
    (dict(images=0), ValueError, "images"),
    (dict(keep="int8"), ValueError, "float16"),
    (dict(reference="lrp"), ValueError, "reference"),
    (dict(target="truth"), ValueError, "predicted"),
    (dict(target=[1, 2]), ValueError, "2 targets for 6"),
    (dict(dtype=torch.float64), ValueError, "float32"),
    (dict(data=3), TypeError, "data must be"),
    (dict(model="resnet"), TypeError, "model must be"),
    (dict(data="nowhere"), ValueError, "preprocess"),
])
def test_wrong_calls_say_what_is_accepted(changes, error, said):
    with pytest.raises(error, match=said):
        small(**changes)
    assert not Path("run/manifest.json").exists()


def test_a_bad_setting_is_reported_for_every_example():
    run = small(methods=["neflag(points=3)", "saliency"])
    assert "points" in run.failures[0]["error"] and len(run.failures) == 6


# Data


def test_targets():
    model, data = convolutional(), Squares()
    predicted = model(data.images).argmax(1).tolist()

    def targets(**changes):
        return [r["target"] for r in small(str(changes), data, model, methods=["centre"], **changes).rows]

    assert targets() == [0, 1, 2, 3, 0, 1]
    assert targets(target="predicted") == predicted
    assert targets(target=2) == [2] * 6
    assert targets(target=torch.arange(6) % 3) == [0, 1, 2, 0, 1, 2]


def test_tensor_datasets_functions_and_float64():
    data, model = TensorDataset(Squares().images.double()), convolutional().double()
    run = small(data=data, model=lambda x: model(x), methods=["saliency", "integrated_gradients", "equilibrium"], dtype=torch.float64, keep="float64")
    assert "energy_inside" not in run.measures and len(run.values("saliency", "deletion")) == 6
    assert run.attributions("saliency")["000000"].dtype == torch.float64
    assert {r["method"] for r in run.failures} == {"equilibrium"}, "it needs a module to trace"
    assert run.rows[0]["target"] == run.rows[0]["predicted"]


def test_images_of_different_sizes_share_a_block():
    sizes = [(16, 16), (16, 20), (16, 16), (24, 16)]
    data = [(torch.rand(3, *s, generator=torch.Generator().manual_seed(i)), i) for i, s in enumerate(sizes)]
    run = small(data=data, methods=["saliency", "random"], batch_size=4)
    assert not run.failures and [tuple(m.shape[1:]) for m in run.attributions("saliency").values()] == sizes


@pytest.fixture
def photographs():
    os.makedirs("photos/sub")
    for i, name in enumerate(("a.jpg", "sub/b.png", "c.JPEG")):
        picture = Image.effect_noise((160, 120), 60).convert("RGB")
        picture.paste((255, 0, 0), (20 * i, 30, 20 * i + 50, 90))
        picture.save(f"photos/{name}", quality=95)
    Path("photos/bad.jpg").write_bytes(b"not a picture")
    whole = Path("photos/a.jpg").read_bytes()
    Path("photos/cut.jpg").write_bytes(whole[:len(whole) // 3])
    Path("photos/notes.txt").write_text("not looked at")
    entries = {n: dict(label=i, boxes_xyxy=[[20 * i, 30, 20 * i + 49, 89]]) for i, n in enumerate(("a.jpg", "sub/b.png", "c.JPEG"))}
    Path("boxes.json").write_text(json.dumps(entries | {"bad.jpg": dict(label=0), "cut.jpg": dict(label=0), "gone.jpg": dict(label=0)}))
    return "photos"


def test_corrupt_images_are_reported_and_counted_and_the_rest_goes_on(photographs):
    run = benchmark(load_model("shapes"), photographs, ["saliency", "centre"], folder="run", annotations="boxes.json", steps=4, show_progress=False)
    assert run.missing == 0
    assert {r["example"] for r in run.failures} == {"bad.jpg", "cut.jpg", "gone.jpg"} and len(run.failures) == 6
    table = run.table()
    assert "3 of 6 images could not be used" in table
    for name in ("bad.jpg", "cut.jpg", "gone.jpg"):
        assert name in table
    assert set(run.values("saliency", "energy_inside")) == {"a.jpg", "sub/b.png", "c.JPEG"}
    assert [cell.strip() for cell in table.splitlines()[4].split("|")[1:4]] == ["saliency", "3", "3"]


def test_boxes_polygons_and_masks_go_the_way_of_the_photograph(photographs):
    model = load_model("shapes")
    boxes = PhotographFolder(photographs, model.preprocess, "boxes.json")
    index = boxes.names.index("sub/b.png")
    image, label, mask = boxes[index]
    assert label == 1 and image.shape == (3, 96, 96) and mask.shape == (96, 96)
    scale, left = 96 / 120, (160 * 96 / 120 - 96) / 2
    by_hand = box_masks([[[20 * scale - left, 30 * scale, 70 * scale - left, 90 * scale]]], 96, 96)[0]
    assert (mask == by_hand).double().mean() > .98
    os.makedirs("masks")
    values = Image.new("L", (160, 120), 7)
    values.paste(3, (20, 30, 70, 90))
    values.save("masks/b.png")
    for entry in (dict(mask="masks/b.png", mask_value=3), dict(mask="masks/b.png", mask_value=[3, 4]), dict(polygons=[[20, 30, 69, 30, 69, 89, 20, 89]])):
        Path("other.json").write_text(json.dumps({"sub/b.png": entry}))
        assert (PhotographFolder(photographs, model.preprocess, "other.json")[0][2] == mask).double().mean() > .99
    assert PhotographFolder(photographs, model.preprocess, {"sub/b.png": dict(mask="../masks/b.png")})[0][2].all()
    assert PhotographFolder(photographs, model.preprocess)[0][1:] == (None, None)


def test_photographs_without_annotations_explain_the_predicted_class(photographs):
    for name in ("bad.jpg", "cut.jpg"):
        os.remove(f"photos/{name}")
    run = benchmark(load_model("shapes"), photographs, ["saliency"], folder="run", steps=4, show_progress=False)
    assert run.measures == ["deletion", "insertion", "difference"]
    assert all(r["target"] == r["predicted"] for r in run.rows) and not run.failures


def test_a_changed_photograph_is_another_configuration(photographs):
    same = dict(methods=["centre"], measures=["energy_inside"], folder="run", annotations="boxes.json", show_progress=False)
    benchmark(load_model("shapes"), photographs, **same)
    Image.new("RGB", (160, 120)).save("photos/a.jpg")
    with pytest.raises(ValueError, match="data.sha256"):
        benchmark(load_model("shapes"), photographs, **same)


def test_another_preprocess_is_another_configuration(photographs):
    same = dict(methods=["centre"], measures=["energy_inside"], folder="run", annotations="boxes.json", show_progress=False)
    loaded = load_model("shapes")
    benchmark(loaded, photographs, **same)
    benchmark(loaded, photographs, **same)
    smaller = lambda picture: nn.functional.avg_pool2d(loaded.preprocess(picture), 2)
    darker = lambda picture: loaded.preprocess(picture) / 2
    for preprocess in (smaller, darker):
        with pytest.raises(ValueError, match="data.sha256"):
            benchmark(loaded, photographs, preprocess=preprocess, **same)


@pytest.mark.parametrize("text, said", [("{", "not JSON"), ("[1]", "must map"), ('{"a.jpg": 3}', "must map")])
def test_annotations_that_can_not_be_used(photographs, text, said):
    Path("wrong.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        PhotographFolder(photographs, load_model("shapes").preprocess, "wrong.json")
    with pytest.raises(FileNotFoundError, match="no.json"):
        PhotographFolder(photographs, load_model("shapes").preprocess, "no.json")
    os.makedirs("empty")
    with pytest.raises(ValueError, match="no photographs"):
        PhotographFolder("empty", load_model("shapes").preprocess)


def test_folders_that_hold_no_run():
    with pytest.raises(ValueError, match="holds no run"):
        BenchmarkRun("nowhere")
    small()
    next(Path("run/results").iterdir()).write_text("{")
    with pytest.raises(ValueError, match="remove it"):
        BenchmarkRun("run")
    os.remove("run/manifest.json")
    with pytest.raises(ValueError, match="no manifest"):
        small()


# Names


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda n: n not in ("if", "is", "in", "or", "as", "and", "not", "for", "def", "del", "try"))
numbers = st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text("ab-,() ", max_size=4)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(names, st.dictionaries(names, numbers, max_size=3)), min_size=1, max_size=4))
def test_names_with_settings_are_read_as_written(entries):
    import keyword

    if any(keyword.iskeyword(n) for name, given_ in entries for n in (name, *given_)):
        return
    text = ", ".join(name + (f"({', '.join(f'{k}={v!r}' for k, v in given_.items())})" if given_ else "") for name, given_ in entries)
    assert list(parse_names(text).values()) == list({f"{n}{s}": (n, s) for n, s in entries}.values())


def test_only_names_are_made_small_and_lose_their_hyphens():
    read = parse_names("""Grad-CAM(layer='Mixed-7c.It\\'s-A'), SALIENCY(abs=False)""")
    assert read == {"""grad_cam(layer="Mixed-7c.It's-A")""": ("grad_cam", dict(layer="Mixed-7c.It's-A")), "saliency(abs=False)": ("saliency", dict(abs=False))}


def test_last_feature_map():
    model = convolutional()
    assert last_feature_map(model, torch.rand(1, 3, 16, 16)) is model[5]
    with pytest.raises(ValueError, match="feature map"):
        last_feature_map(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2))


def test_a_measure_of_ones_own_is_given_the_case():
    seen = []

    def look(case: Case):
        seen.append(case)
        return torch.ones(len(case.inputs))

    small(methods=["saliency"], measures={"look": look, "located": Measure(look, masks=True)}, batch_size=3)
    assert [c.masks is None for c in seen] == [True, False, True, False]
    assert seen[0].inputs.shape == seen[0].attributions.shape == (3, 3, 16, 16) and seen[0].targets == [0, 1, 2]
    assert seen[0].forward(seen[0].inputs).sum(1).allclose(torch.ones(3)) and len(set(seen[0].seeds)) == 3


def test_a_method_that_draws_is_called_with_one_example():
    rows = []
    drawn = Method(lambda scored: lambda x, targets, seed: rows.append((len(x), seed)) or torch.rand(x.shape), random=True)
    a, b = small("a", methods={"drawn": drawn}), small("b", methods={"drawn": drawn}, batch_size=6)
    assert {n for n, _ in rows} == {1} and len({s for _, s in rows}) == 6
    assert_close(a.attributions("drawn"), b.attributions("drawn"), rtol=0, atol=0)


def test_rows_of_ones_own_methods_are_counted_where_they_are_seen():
    model = convolutional()
    elsewhere = convolutional()

    def twice(model, inputs, targets):
        with torch.no_grad():
            model(inputs)
        x = inputs.detach().requires_grad_()
        return torch.autograd.grad(model(x).sum(), x)[0]

    chosen = {
        "twice": twice, "blind": lambda model, inputs, targets: inputs, "here": captum.attr.Saliency(model), "wrapped": captum.attr.Saliency(ClassScore(model)),
        "elsewhere": captum.attr.Saliency(elsewhere), "own": Method(lambda scored: lambda x, targets, seed: captum.attr.Saliency(scored).attribute(x, target=torch.tensor(targets))),
        "centre": None,
    }
    run = small(model=model, methods=chosen, measures=["energy_inside"])
    cost = {r["method"]: (r["gradient_evaluations"], r["forward_rows"]) for r in run.rows}
    assert not run.failures
    assert cost == {"twice": (1, 2), "blind": (None, None), "here": (1, 1), "wrapped": (1, 1), "elsewhere": (None, None), "own": (1, 1), "centre": (0, 0)}
    assert not model._forward_pre_hooks
    lines = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[-3:-1]] for line in run.table().splitlines()[4:11]}
    assert lines["twice"] == ["1", "2"] and lines["blind"] == lines["elsewhere"] == ["-", "-"] and lines["centre"] == ["0", "0"]
    written = {r["method"]: (r["gradient_evaluations"], r["forward_rows"]) for r in csv.DictReader(io.StringIO(run.csv()))}
    assert written["blind"] == ("", "") and written["twice"] == ("1", "2")
    DRAW(run)


def test_internal_batch_size_goes_to_recipes_that_take_it():
    given = []

    def takes(scored, internal_batch_size=None):
        given.append(internal_batch_size)
        return lambda x, targets, seed: x

    run = small(internal_batch_size=2, methods={
        "plain": Method(lambda scored: lambda x, targets, seed: x), "takes": Method(takes), "settings": Method(lambda scored, **settings: given.append(settings) or (lambda x, targets, seed: x)),
        "function": lambda model, x, targets: x, "saliency": None,
    })
    assert not run.failures and given == [2, dict(internal_batch_size=2)]


def test_embedded_images_are_the_default():
    run = benchmark(methods=["saliency", "random"], measures=["energy_inside"], images=6, show_progress=False)
    assert run.folder == Path("attrnb-bench") and run.manifest["examples"][0] == "shapes-0000"
    same = benchmark(None, shape_images(6, seed=1_000_003), ["saliency", "random"], ["energy_inside"], "other", show_progress=False)
    assert same.values("saliency", "energy_inside") == run.values("saliency", "energy_inside")
    assert sum(run.values("saliency", "energy_inside").values()) > 2 * sum(run.values("random", "energy_inside").values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda():
    cpu = small("cpu", methods=["saliency", "equilibrium", "neflag(n_points=2)", "random"])
    model = convolutional()
    cuda = small("cuda", model=model, methods=["saliency", "equilibrium", "neflag(n_points=2)", "random"], device="cuda")
    assert next(model.parameters()).device.type == "cpu" and cuda.manifest["device"].startswith("cuda")
    for method in cpu.methods:
        a, b = cpu.attributions(method), cuda.attributions(method)
        for example in a:
            assert_close(a[example], b[example], rtol=1e-2, atol=1e-4)
