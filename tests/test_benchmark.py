"The benchmark: runs that survive, never mix, and say the same however they are cut up"

import contextlib
import copy
import csv
import dataclasses
import errno
import functools
import inspect
import io
import itertools
import json
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import captum.attr
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Corners, convolutional, seeded
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
from attrnb.benchmark.plan import Plan
from attrnb.core import ClassScore
from attrnb.core.records import IN_MEMORY, Stored, Texts, json_members
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.measures import HIGHER_IS_BETTER, box_masks, energy_inside, faithfulness_curves, random_map
from attrnb.paths import PathIntegratedGradients
from attrnb.plots import AttributionFigure
from attrnb.samples import load_model, shape_images
from attrnb.statistics import bootstrap_interval


def undrawn(self, reference=None):
    "In place of the figure, which is drawn in a test of its own"
    return AttributionFigure((0.1, 0.1))


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
            self.masks[i, 2 + i % 8 : 8 + i % 8, 4:10] = True
        self.images += 0.5 * self.masks[:, None]
        self.with_masks = masks

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return (
            (self.images[index], index % 4, self.masks[index]) if self.with_masks else (self.images[index], index % 4)
        )


DRAW = BenchmarkRun.figure
SMALL = dict(
    methods=["saliency", "neflag(n_points=2)", "gradient_shap(n_samples=3)", "random"],
    masking_steps=4,
    batch_size=2,
    show_progress=False,
)


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
    memory = (
        tempfile.TemporaryDirectory(dir="/dev/shm")
        if os.access("/dev/shm", os.W_OK)
        else contextlib.nullcontext(tmp_path)
    )
    with memory as folder:  # killing tells the same there, and a busy disk takes no time
        monkeypatch.chdir(folder)
        kill_twenty_times()
        monkeypatch.chdir(tmp_path)


def kill_twenty_times():
    whole = small("whole", Squares(10))
    zygote = subprocess.Popen(
        [sys.executable, "-c", ZYGOTE.format(paths=sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

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
                time.sleep(moments.uniform(0, 0.4) * duration)
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
                assert without_seconds((folder / "table.csv").read_text()) == without_seconds(
                    Path("whole/table.csv").read_text()
                )
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
    script.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\nimport torch; torch.set_num_threads(1)\nfrom test_benchmark import"
        " small\nrun = small('two')\nassert run.missing == 0"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    two = BenchmarkRun("two")
    assert two.manifest["processes"] == 2
    assert values_of(two) == values_of(one)
    assert Path("two/table.md").read_text() == Path("one/table.md").read_text()
    assert without_seconds(two.csv()) == without_seconds(one.csv())
    refused = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "--no-python",
            "attrnb",
            "bench",
            "--images",
            "2",
            "--methods",
            "saliency",
            "--out",
            "two",
            "--quiet",
        ],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
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


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_without(monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def refuses(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuses)
    assert small().missing == small().missing == 0


def test_write_atomically_keeps_the_old_file_when_it_fails(monkeypatch):
    write_atomically("a.txt", b"old")

    def fails(*paths):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="a.txt: Input/output error"):
        write_atomically("a.txt", b"new")
    assert Path("a.txt").read_bytes() == b"old" and os.listdir() == ["a.txt"]


# One configuration


def test_the_arguments_are_the_fields_of_the_plan():
    arguments = {name: p.default for name, p in inspect.signature(benchmark).parameters.items()}
    fields = {f.name: f.default for f in dataclasses.fields(Plan)}
    assert arguments.items() <= fields.items()
    assert fields.keys() - arguments.keys() == {"team", "names", "about_model", "unseen"}
    plan = Plan()
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seed = 1


def test_shares_done_in_any_order_and_twice_make_the_run_of_one_process():
    whole = small("whole")
    for k in (2, 0, 2, 1):
        left = Path("run/results/.000000-x.json.1-2.tmp")
        part = small(share=(k, 3))
        assert not list(Path("run").glob("table*")) and part.missing == 4 * 6 - len(part.rows)
        if k == 0:  # another share may be writing: nothing is swept away
            left.write_text("half")
    assert left.exists() and part.missing == 0
    before = {p.name: p.stat().st_mtime_ns for p in Path("run/results").glob("*.json")}
    merged = small()
    assert not left.exists()
    assert before == {p.name: p.stat().st_mtime_ns for p in Path("run/results").glob("*.json")}
    assert merged.table() == whole.table() and values_of(merged) == values_of(whole)
    for wrong in ((3, 3), (0, 0), (-1, 2), 3, "1/2", (0.0, 2)):
        with pytest.raises((TypeError, ValueError), match="share"):
            small("never", share=wrong)
    assert not Path("never").exists()
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        small(share=(0, 2), seed=1)


def test_what_a_process_holds_does_not_grow_by_the_rows(tmp_path):
    import gc
    import tracemalloc

    settings = dict(methods=["centre"], measures=["energy_inside"], keep=None, batch_size=10)

    def held(n):
        "Bytes that one of two shares holds at its end and at most, when the other share is there already"
        data, folder = Squares(n), f"{n}"
        small(folder, data, share=(0, 2), **settings)
        gc.collect()
        tracemalloc.start()
        run = small(folder, data, share=(1, 2), **settings)
        gc.collect()
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert run.missing == 0
        return now, most

    held(20)  # what a run loads is loaded
    (few, _), (many, most) = held(40), held(240)
    assert (many - few) / 200 < 250, "a result as a dictionary takes two thousand bytes"
    assert most < 2_000_000


def test_a_run_of_an_earlier_format_is_not_gone_on_with():
    small()
    path = Path("run/manifest.json")
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
    before = path.read_text()
    with pytest.raises(ValueError, match="is of format 1"):
        small()
    assert path.read_text() == before and len(BenchmarkRun("run").rows) == 24


def test_old_words_work_for_a_version():
    with pytest.warns(DeprecationWarning, match="masking_steps"):
        old = benchmark(methods=["saliency"], folder="old", images=2, steps=2, show_progress=False)
    assert old.manifest["configuration"]["measures"]["deletion"]["settings"]["masking_steps"] == 2
    with pytest.warns(
        DeprecationWarning, match="tolerance of measure 'pointing_game.tolerance=2.' is now called margin"
    ):
        run = small("margin", methods=["centre"], measures=["pointing_game(tolerance=2)"], images=2)
    described = run.manifest["configuration"]["measures"]["pointing_game(tolerance=2)"]
    assert described["settings"] == {"margin": 2}


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(score="logit"), 'score: "probability" there, "logit" now'),
        (dict(seed=3), "seed: 0 there, 3 now"),
        (dict(masking_steps=5), "steps: 4 there, 5 now"),
        (dict(measures=["deletion"]), "measures.insertion"),
        (dict(target="predicted"), "target"),
        (dict(keep="float16"), "keep"),
        (dict(data=Squares(5)), "data.examples: 6 there, 5 now"),
        (
            dict(
                data=[Squares(6)[i][:2] if i == 3 else Squares(6)[i] for i in range(6)],
                measures=list(module.DEFAULT_MEASURES),
            ),
            "data.sha256",
        ),
        (dict(model=convolutional(seed=1)), "model.weights_sha256"),
        (dict(methods={"saliency": ("neflag", {})}), "methods.saliency.method"),
        (dict(methods={"neflag(n_points=2)": ("neflag", dict(n_points=3))}), "n_points: 2 there, 3 now"),
    ],
)
def test_another_configuration_is_refused(changes, said):
    small()
    kept = Path("run/manifest.json").read_bytes()
    with pytest.raises(ValueError, match="another configuration") as caught:
        small(**changes)
    assert said in str(caught.value)
    assert Path("run/manifest.json").read_bytes() == kept


def test_numbers_of_numpy_are_numbers():
    run = small(masking_steps=np.int64(4), batch_size=np.int64(2), methods={"neflag": dict(n_points=np.int64(2))})
    assert not run.failures
    with pytest.raises(ValueError, match="steps: 4 there, 5 now"):
        small(masking_steps=np.int64(5), methods={"neflag": dict(n_points=np.int64(2))})
    with pytest.raises(ValueError, match="n_points: 2 there, 3 now"):
        small(methods={"neflag": dict(n_points=np.int64(3))})


def test_another_version_is_refused(monkeypatch):
    small()
    monkeypatch.setattr("attrnb.benchmark.plan._versions", lambda: dict(attrnb="99"))
    with pytest.raises(ValueError, match='versions.attrnb.* there, "99" now'):
        small()


def test_what_the_manifest_holds():
    run = small()
    kept = run.manifest["configuration"]
    assert kept["model"] == dict(
        name="Sequential", weights_sha256=weights_hash(convolutional()), code_sha256=module._code_of(convolutional())
    )
    assert set(kept["versions"]) == {"attrnb", "torch", "torchvision", "captum", "numpy"}
    assert kept["seed"] == 0 and kept["methods"]["neflag(n_points=2)"] == {
        "method": "neflag",
        "settings": {"n_points": 2},
        "kind": "attrnb",
    }
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
    monkeypatch.setattr(
        "attrnb.measures.registry.faithfulness_curves",
        lambda *a, **k: calls.append(k) or faithfulness_curves(*a, **k),
    )
    small(methods=["saliency"], measures=["deletion", "insertion", "difference", "insertion(unit=4)"])
    assert len(calls) == (3 + 1) * 2, "three blocks and the stand-in, two settings"


# Values


def test_values_are_those_of_the_measures():
    data, model = Squares(), convolutional()
    run = small(data=data, model=model, methods=["saliency", "centre", "uniform"], score="logit")
    x, targets = data.images, [i % 4 for i in range(6)]
    a, cost = attribute_by_name("saliency", model, x, targets, score="logit")
    assert cost == dict(rows=6, gradient_rows=6)
    assert_close(torch.stack(list(run.attributions("saliency").values())), a)
    curves = faithfulness_curves(model, x, a, targets, masking_steps=4)
    assert_close(
        list(run.values("saliency", "deletion").values()), curves.deletion_score.tolist(), rtol=1e-5, atol=1e-6
    )
    assert_close(
        list(run.values("saliency", "difference").values()), curves.difference_score.tolist(), rtol=1e-5, atol=1e-6
    )
    area = data.masks.flatten(1).double().mean(1).tolist()
    assert_close(list(run.values("uniform", "energy_inside").values()), area)
    assert_close(list(run.values("uniform", "pointing_game").values()), area)


def test_every_method_and_measure_by_name_and_the_model_is_left_alone():
    model = convolutional().train()
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    chosen = {name: name for name in MEASURES}
    chosen |= {"dummy_sensitivity": ("dummy_sensitivity", dict(dummies=torch.ones(Squares(2)[0][0].shape[1:]) > 0))}
    chosen |= {
        "sensitivity_max": ("sensitivity_max", dict(n_samples=2)),
        "infidelity": ("infidelity", dict(n_samples=2)),
    }
    run = small(model=model, data=Squares(2), methods=list(METHODS), measures=chosen, keep="float16")
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert run.missing == 0 and not run.failures, run.failures[0]["error"] if run.failures else ""
    for method in METHODS:
        for measure in MEASURES:
            n = len(run.values(method, measure))
            if measure in ("completeness_error", "cancellation_gap"):
                assert n == (2 if METHODS[method].complete else 0)
            elif measure != "outside_inside_ratio":
                assert n == 2, (method, measure)
        assert {m.dtype for m in run.attributions(method).values()} == {torch.float16}
    assert max(run.values("integrated_gradients", "completeness_error").values()) < 1e-3
    assert set(DEFAULT_METHODS) <= set(METHODS) and set(module.DEFAULT_MEASURES) <= set(MEASURES)


def test_intervals_are_paired():
    run = small(
        methods={"a": lambda model, x, t: x, "b": lambda model, x, t: 3 * x},
        measures={"size": lambda case: case.attributions.flatten(1).mean(1)},
    )
    rows = {r["method"]: r for r in run.summary("a")}
    assert_close(rows["b"]["mean"], 3 * rows["a"]["mean"])
    a, b = run.values("a", "size"), run.values("b", "size")
    assert_close(rows["b"]["difference"], sum(b[e] - a[e] for e in a) / 6)
    assert rows["b"]["difference_low"] > 0 and rows["a"]["difference"] is None
    assert "**+" in run.table("a") and "**-" in run.table("b")
    with pytest.raises(ValueError, match="choose from a, b"):
        run.table("c")


def test_a_floor_is_beaten_where_the_paired_interval_excludes_it():
    def bright(x):
        return (x.mean(1, keepdim=True) > 0.5).float()

    run = small(
        data=Squares(12),
        target="label",
        methods={
            "centre": None,
            "uniform": None,
            "mask": lambda model, x, target: bright(x),
            "upside down": lambda model, x, target: x.mean(1, keepdim=True).neg().exp(),
            "by luck": lambda model, x, t: torch.where((t == 0).view(-1, 1, 1, 1), bright(x), 1 - 0.3 * bright(x)),
        },
        measures=["energy_inside", "outside_inside_ratio"],
    )
    beaten = run.floors_beaten()
    assert list(beaten) == ["mask", "upside down", "by luck"]
    summary = {r["method"]: r["difference"] for r in run.summary("uniform") if r["measure"] == "energy_inside"}
    assert summary["by luck"] > 0 and "uniform" not in beaten["by luck"]["energy_inside"]
    for measure, sign in (("energy_inside", 1), ("outside_inside_ratio", -1)):
        for method, floor in itertools.product(beaten, ("centre", "uniform")):
            one, other = run.values(method, measure), run.values(floor, measure)
            gains = torch.tensor([sign * (one[e] - other[e]) for e in one], dtype=torch.float64)
            assert (floor in beaten[method][measure]) == (bootstrap_interval(gains)[1] > 0)
    assert beaten["mask"]["energy_inside"] == ["centre", "uniform"]
    assert beaten["upside down"]["energy_inside"] == []
    table = run.table()
    assert "Floors beaten (centre, uniform)" in table and "| upside down |" in table.split("Floors beaten")[1]


def test_cells_say_on_how_many_examples_they_stand():
    odd = dict(
        compute=lambda case: torch.where(case.attributions.flatten(1).sum(1) > 5, 1.0, math.nan), better="higher"
    )
    data = Squares()
    run = small(
        data=data,
        methods={"image": lambda model, x, t: x / x.sum((1, 2, 3), keepdim=True) * (3 + 3 * (t % 2)).view(-1, 1, 1, 1)},
        measures={"half": Measure(**odd)},
        target="label",
    )
    assert "1.000 [1.000, 1.000] (3)" in run.table()


def test_the_table_has_five_columns_and_a_hundred_characters_and_loses_no_measure():
    def numbered(k):
        return Measure(lambda case: case.attributions.flatten(1).sum(1) + k, better="higher")

    names = [f"measure {k} {'with a long name' * (k % 2)}" for k in range(9)]
    run = small(methods=["saliency", "centre"], measures={name: numbered(k) for k, name in enumerate(names)})
    table = run.table()
    assert type(table)._repr_markdown_(table) == table == repr(table)
    means, rest = table.split("Examples, and the mean cost")
    for line in table.split("\n- ")[0].splitlines():
        assert len(line) <= 100 and line.count("|") <= 6, line
    heads = [cell.strip() for line in means.splitlines() if line.startswith("| method") for cell in line.split("|")]
    assert [head for head in heads if head not in ("", "method")] == [f"{name} ↑" for name in names]
    for name in names:
        assert f"{run.summary()[0]['mean']:.3f}" in means and f"{name} ↑" in rest.split("Floors beaten")[0]
    assert "on the same 6 examples" in rest


def test_a_random_floor_is_the_mean_of_three_draws():
    run = small(methods=["random"], measures=["energy_inside"], images=3, seed=5)
    (first,) = [v for e, v in run.values("random", "energy_inside").items() if e == "000000"]
    x, mask, name = *Squares()[0][::2], "000000"
    draws = [random_map(x[None], seed=example_seed(5, name) + k).float() for k in range(3)]
    expected = torch.stack([energy_inside(d, mask[None])[0] for d in draws]).mean().item()
    assert first == pytest.approx(expected, abs=1e-12)
    assert first != pytest.approx(energy_inside(draws[0], mask[None]).item(), abs=1e-6)


def test_one_example_has_no_interval():
    run = small(images=1)
    assert run.summary()[0]["low"] is None
    assert "[" not in run.table().split("\n\n")[1]
    DRAW(run)


def test_csv_is_tidy():
    run = small()
    rows = list(csv.DictReader(io.StringIO(Path("run/table.csv").read_text())))
    assert len(rows) == 6 * 4 * len(run.measures)
    assert list(rows[0]) == [
        "example",
        "target",
        "method",
        "measure",
        "position",
        "value",
        "seconds",
        "gradient_evaluations",
        "forward_rows",
        "error",
    ]
    shap = [r for r in rows if r["method"].startswith("gradient_shap")]
    assert {r["gradient_evaluations"] for r in shap} == {"3"} and all(float(r["seconds"]) > 0 for r in shap)


def test_a_measure_may_give_several_numbers_per_example():
    fractions = "comprehensiveness(fraction=(0.3, 0.6), unit=4)"
    run = small(measures=["deletion", "deletion_curve", fractions], batch_size=3)
    assert run.scalars == ["deletion"] and run.vectors == ["deletion_curve", fractions]
    curves, areas = run.values("saliency", "deletion_curve"), run.values("saliency", "deletion")
    assert all(len(curve) == 5 for curve in curves.values())
    for example, curve in curves.items():
        area = sum(curve) / 4 - (curve[0] + curve[-1]) / 8
        assert area == pytest.approx(areas[example], abs=1e-6)
    rows = [r for r in csv.DictReader(io.StringIO(run.csv())) if (r["method"], r["measure"]) == ("saliency", fractions)]
    found = [[float(r["value"]) for r in rows if r["example"] == e] for e in curves]
    assert found == list(run.values("saliency", fractions).values())
    assert [r["position"] for r in rows[:3]] == ["0", "1", "0"]
    assert "deletion_curve has several numbers per example, see table.csv" in run.table()
    assert {r["measure"] for r in run.summary()} == {"deletion"}
    before = Path("run/table.csv").read_bytes()
    assert small(measures=["deletion", "deletion_curve", fractions], batch_size=3).missing == 0
    assert Path("run/table.csv").read_bytes() == before
    DRAW(small("vectors", measures=["deletion_curve"], images=2))


def test_numbers_of_a_row_that_are_not_finite_are_empty():
    def half(case):
        return torch.tensor([[1.0, float("nan")]]).repeat(len(case.inputs), 1)

    run = small(images=2, methods=["centre"], measures={"half": half, "none": lambda case: half(case)[:, 1:]})
    assert list(run.values("centre", "half").values()) == [[1.0, None]] * 2 and not run.values("centre", "none")
    assert run.rows[0]["errors"] == {"none": "not defined here"}


def test_measures_at_a_fraction_share_their_rows_in_a_run():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.rows = convolutional(), 0

        def forward(self, x):
            self.rows += len(x)
            return self.network(x)

    def rows(name, *measures):
        model = Counting()
        small(name, model=model, methods=["centre"], measures=list(measures), batch_size=6, retry_failed=True)
        return model.rows

    five = ["comprehensiveness", "sufficiency", "log_odds", "cross_entropy_after_masking", "accuracy_after_masking"]
    one = rows("none", "energy_inside")  # of the check before the run, the stand-in apart
    assert rows("one", *five) - one == 6 * 3 + 1
    assert rows("three", *(f"{name}(fraction=(.2, .4, .6))" for name in five)) - one == 6 * 7 + 1
    assert rows("single", "comprehensiveness") - one == 6 * 2 + 1


def test_measures_that_explain_again_or_draw_do_not_depend_on_the_batch():
    wanted = dict(methods=["saliency", "neflag(n_points=2)"], measures=["sensitivity_max(n_samples=2)", "infidelity"])
    runs = [small(f"{size}", batch_size=size, **wanted) for size in (1, 4)]
    for method in runs[0].methods:
        for measure in runs[0].measures:
            one, four = (list(run.values(method, measure).values()) for run in runs)
            assert len(one) == 6 and one == pytest.approx(four, rel=1e-3, abs=1e-6)


def test_figure_has_a_panel_per_measure_and_a_point_per_method():
    run = small(images=2, measures=["deletion", "insertion", "energy_inside", "insertion(unit=4)"])
    assert Path("run/figure.png").read_bytes().startswith(b"\x89PNG")
    panels = [ax for ax in DRAW(run, "random").axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == [
        "deletion\nlower is better",
        "insertion\nhigher is better",
        "energy inside\nhigher is better",
        "insertion(unit=4)\nhigher is better",
    ]
    assert all(len(ax.containers) == 4 for ax in panels)
    assert [label.get_text() for label in panels[0].get_yticklabels()] == run.methods


# What fails


class Reused(nn.Module):
    "Uses one activation twice, which Captum's DeepLift refuses"

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu, self.last = (
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(4, 4, 3),
            nn.ReLU(),
            nn.Linear(4, 4),
        )

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
    assert {r["example"]: r["error"] for r in run.failures} == {
        "000002": "RuntimeError: not class 2",
        "000003": "the attribution holds NaN or infinity",
    }
    assert {
        r["error"]
        for r in csv.DictReader(io.StringIO(run.csv()))
        if r["example"] == "000003" and r["method"] == "centre"
    } == {""}
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
        methods={
            "number": lambda model, x, t: 3,
            "shape": lambda model, x, t: x[:, :, :5, :5],
            "good": lambda model, x, t: x,
        },
        measures={
            "batch mean": lambda case: case.attributions.mean(),
            "undefined": lambda case: torch.full((len(case.inputs),), torch.nan),
            "raises": lambda case: 1 / 0,
        },
    )
    assert {r["method"] for r in run.failures} == {"number", "shape"}
    errors = next(r["errors"] for r in run.rows if r["method"] == "good")
    assert (
        "one number each" in errors["batch mean"]
        and errors["undefined"] == "not defined here"
        and "ZeroDivisionError" in errors["raises"]
    )
    assert "raises has no value for 6 examples" in run.table()


@pytest.mark.parametrize("fill", [0.0, 1.0, -1.0])
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
    assert errors["000000"] == {"energy_inside": "no mask"} and errors["000001"] == {
        "energy_inside": "the mask is empty"
    }
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


@pytest.mark.parametrize(
    "changes, error, said",
    [
        (dict(methods=["salience"]), ValueError, "did you mean saliency"),
        (dict(methods=[]), ValueError, "no method"),
        (dict(methods={"a": 3}), TypeError, "a method must be"),
        (dict(measures=["delition"]), ValueError, "did you mean deletion"),
        (dict(score="loss"), ValueError, "logit"),
        (dict(masking_steps=0), ValueError, "masking_steps"),
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
    ],
)
def test_wrong_calls_say_what_is_accepted(changes, error, said):
    with pytest.raises(error, match=said):
        small(**changes)
    assert not Path("run/manifest.json").exists()


class Counting(nn.Module):
    "Counts the images it is given"

    def __init__(self):
        super().__init__()
        self.inner, self.seen = convolutional(), []

    def forward(self, x):
        self.seen.append(len(x))
        return self.inner(x)


@pytest.mark.parametrize(
    "changes, error, said",
    [
        (dict(methods=["neflag(points=3)"]), ValueError, "did you mean n_points"),
        (dict(methods=["neflag(n_points=0)"]), ValueError, "n_points"),
        (dict(methods=["integrated_gradients(method='simpson')"]), ValueError, "simpson"),
        (dict(methods=["saliency(abs=False, colour=3)"]), ValueError, "'colour'; it takes abs"),
        (dict(methods=["random(seed=3)"]), ValueError, "takes no setting 'seed'"),
        (dict(methods=["occlusion(sliding_window_shapes=(3, 99, 99))"]), ValueError, "occlusion"),
        (dict(methods=["grad_cam(layer='nowhere')"]), ValueError, "no module named 'nowhere'"),
        (dict(methods=["uniform(width=3)"]), ValueError, "it takes"),
        (dict(methods={"own": lambda model, x: x}), ValueError, "can't be called as function"),
        (dict(methods={"own": (lambda model, x, t: x, dict(power=2))}), ValueError, "power"),
        (dict(methods={"own": (captum.attr.Saliency(convolutional()), dict(absolute=True))}), ValueError, "absolute"),
        (
            dict(
                methods={
                    "own": Method(lambda model, inputs, target, n=3: inputs),
                    "other": (Method(lambda model, inputs, target, n=3: inputs), dict(m=3)),
                }
            ),
            ValueError,
            "'m'; it takes n",
        ),
        (dict(methods=3), TypeError, "a method must be a name"),
        (dict(methods=None), TypeError, "a method must be a name"),
        (dict(methods=[3]), TypeError, "a method must be a name"),
        (dict(methods={3: "saliency"}), TypeError, "label of a method"),
        (dict(measures=3), TypeError, "measures must be names"),
        (dict(measures=["deletion(masking_steps=0)"]), ValueError, "steps"),
        (dict(measures=["deletion(masking_stepz=4)"]), ValueError, "did you mean masking_steps"),
        (dict(measures=["pointing_game(margin='a')"]), ValueError, "pointing_game"),
        (dict(measures={"own": lambda: 3}), ValueError, "can't be called as function"),
        (dict(measures={"own": 3}), TypeError, "a measure must be"),
        (dict(measures=["energy_inside"], data=Squares(6, masks=False)), ValueError, "no example has a mask"),
        (dict(substrate="wite"), ValueError, "substrate"),
        (dict(substrate=float("nan")), ValueError, "nan|NaN|finite"),
        (dict(unit=0), ValueError, "unit"),
        (dict(unit=float("nan"), measures=["energy_inside"]), ValueError, "unit"),
        (dict(sign="abs", measures=["energy_inside"]), ValueError, "sign"),
        (dict(sign="abs"), ValueError, "sign"),
        (dict(target=1.5), TypeError, "class number"),
        (dict(target=True), TypeError, "class number"),
        (dict(target=-1), ValueError, "counted from 0"),
        (dict(target=4), ValueError, "classes 0 to 3"),
        (dict(target=[0, 1, 2, 3, 4, 0]), ValueError, "target 4 is out of range"),
        (dict(target=[0, 1, 2, 3, 1.5, 0]), TypeError, "target of example 4"),
        (dict(target=torch.zeros(6, 2)), TypeError, "class number"),
        (dict(target="label", data=[(Squares(1)[0][0],)] * 3), ValueError, "has no label"),
        (dict(seed="a"), TypeError, "seed"),
        (dict(seed=1.5), TypeError, "seed"),
        (dict(seed=2**70), ValueError, "it must be at most"),
        (dict(score=None), ValueError, "score=None is not known"),
        (dict(reference=["saliency"]), ValueError, "reference"),
        (dict(retry_failed="no"), TypeError, "True or False"),
        (dict(measures=["dummy_sensitivity"]), ValueError, "'dummy_sensitivity' needs dummies"),
        (dict(methods=["grad_cam(layer=3)"]), TypeError, "a module's name"),
        (dict(methods={"grad_cam": dict(layer=convolutional()[0])}), ValueError, "no module of this model"),
        (dict(methods=["gradient_shap(n_samples=0)"]), ValueError, "n_samples=0"),
        (dict(internal_batch_size=0), ValueError, "internal_batch_size"),
        (dict(device="abacus"), ValueError, "abacus"),
        (dict(device="meta"), ValueError, "meta"),
        (dict(device=3), TypeError, "device"),
        (dict(dtype="float32"), TypeError, "dtype"),
        (dict(annotations="boxes.json"), ValueError, "annotations belong to a folder"),
        (dict(model=convolutional().to("meta")), ValueError, "meta device"),
        (dict(model=lambda x: x), ValueError, "logits"),
        (dict(model=lambda x: dict(out=x, aux=x)), ValueError, "returned dict with 2 tensors"),
        (dict(model=nn.Sequential(convolutional(), nn.Softmax(1))), ValueError, "score='output'"),
        (dict(model=nn.Sequential(convolutional(), nn.Sigmoid())), ValueError, "score='output'"),
        (dict(model=lambda x: convolutional()(x) * torch.nan), ValueError, "NaN or infinity"),
        (dict(model=lambda x: 1 / 0), ValueError, "ZeroDivisionError"),
        (dict(data=[(torch.zeros(3, 16, 16, dtype=torch.uint8), 0)] * 3), TypeError, r"image.float\(\) / 255"),
        (dict(data=[(np.zeros((3, 16, 16)), 0)] * 3), TypeError, "ndarray"),
        (dict(data=[Image.new("RGB", (16, 16))] * 3), TypeError, "transform"),
        (dict(data=[dict(image=1)] * 3), TypeError, "dict"),
        (dict(data={"a": 1}), ValueError, "not one of 1 examples"),
        (dict(folder=None), TypeError, "folder"),
        (dict(folder=3), TypeError, "folder"),
        (dict(folder="a\0b"), ValueError, "no path"),
    ],
)
def test_refused_before_it_runs(changes, error, said):
    model = Counting()
    with pytest.raises(error, match=said) as caught:
        small(**dict(model=model) | changes)
    assert "\n" not in str(caught.value) and type(caught.value) in (ValueError, TypeError)
    assert sum(model.seen) <= 4, "the first example, alone, again and far away"
    assert not os.path.exists("run")


def test_the_look_at_the_start_is_at_the_first_example_only():
    model = Counting()
    small(model=model, methods=["centre"], measures=["energy_inside"])
    assert sum(model.seen) <= 6 + 4


@pytest.mark.parametrize(
    "name, text", [("RANK", "abc"), ("WORLD_SIZE", "two"), ("LOCAL_RANK", "x"), ("WORLD_SIZE", "2"), ("RANK", "-1")]
)
def test_an_environment_that_torchrun_did_not_make(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match=name):
        small()


def returns_inputs(model, inputs, target):
    return inputs


@pytest.mark.parametrize(
    "given, error",
    [
        (dict(what=3), TypeError),
        (dict(what=returns_inputs, group="mine"), ValueError),
        (dict(what=returns_inputs, score="loss"), ValueError),
        (dict(what=returns_inputs, settings=3), TypeError),
    ],
)
def test_recipes_that_can_not_be_used(given, error):
    with pytest.raises(error):
        Method(**given)


@pytest.mark.parametrize(
    "given, error",
    [
        (dict(compute=3), TypeError),
        (dict(compute=len, better="up"), ValueError),
        (dict(compute=len, shared=("colour",)), ValueError),
    ],
)
def test_measures_that_can_not_be_used(given, error):
    with pytest.raises(error):
        Measure(**given)


@pytest.mark.parametrize(
    "call, error, said",
    [
        (dict(name="saliency", targets=1.5), TypeError, "class number"),
        (dict(name="saliency", targets=[0]), ValueError, "1 targets for 2"),
        (dict(name="saliency", score="x"), ValueError, "logit"),
        (dict(name=3), TypeError, "string"),
        (dict(name="saliency", inputs=[1]), TypeError, "inputs must be a tensor"),
        (dict(name="saliency", model=3), TypeError, "model must be"),
        (dict(name="saliency", targets=None), TypeError, "targets"),
        (dict(name="neflag", n_pointz=1), ValueError, "n_points"),
        (dict(name="saliency", seed=0.5), TypeError, "seed"),
    ],
)
def test_wrong_calls_of_one_method(call, error, said):
    call = dict(model=convolutional(), inputs=Squares(2).images, targets=0) | call
    with pytest.raises(error, match=said):
        attribute_by_name(call.pop("name"), call.pop("model"), call.pop("inputs"), call.pop("targets"), **call)


def test_one_class_for_all_and_numbers_of_numpy():
    x, model = Squares(2).images, convolutional()
    want = attribute_by_name("saliency", model, x, [3, 3])[0]
    for targets in (3, np.int64(3), torch.tensor(3), np.array([3, 3]), torch.tensor([3, 3])):
        assert torch.equal(attribute_by_name("saliency", model, x, targets)[0], want)


def test_a_model_of_probabilities_is_measured_as_it_is():
    model = convolutional()
    logits, outputs = (
        small("logits", model=model),
        small("outputs", model=nn.Sequential(model, nn.Softmax(1)).eval(), score="output"),
    )
    for method in logits.methods:
        for measure in logits.measures:
            assert_close(outputs.values(method, measure), logits.values(method, measure), rtol=1e-4, atol=1e-5)
    assert_close([r["probability"] for r in outputs.rows], [r["probability"] for r in logits.rows])


def test_scores_of_labels_that_do_not_exclude_each_other():
    model = convolutional()
    run = small(model=model, score="sigmoid", methods=["saliency"], measures=["insertion"])
    x, targets = Squares().images, [i % 4 for i in range(6)]
    assert_close([r["probability"] for r in run.rows], [model(x)[i, t].sigmoid().item() for i, t in enumerate(targets)])
    a = attribute_by_name("saliency", nn.Sequential(model, nn.Sigmoid()), x, targets, score="output")[0]
    assert_close(torch.stack(list(run.attributions("saliency").values())), a)


# One failed example


class FailsForOne(nn.Module):
    "Raises for dark images, and gives NaN for bright ones"

    def __init__(self):
        super().__init__()
        self.inner = convolutional()

    def forward(self, x):
        if (x.amax((1, 2, 3)) < 0.01).any():
            raise RuntimeError("too dark")
        return torch.where(x.amax((1, 2, 3))[:, None] > 5, torch.nan, self.inner(x))


def test_nan_scores_and_a_model_that_raises_are_one_failed_example_each():
    data = [Squares(6)[i] for i in range(6)]
    data[1], data[4] = (data[1][0] * 0, *data[1][1:]), (data[4][0] * 9, *data[4][1:])
    run = small(data=data, model=FailsForOne(), methods=["saliency", "centre"])
    assert run.missing == 0 and {r["example"] for r in run.failures} == {"000001", "000004"} and len(run.failures) == 4
    errors = {r["example"]: r["error"] for r in run.failures}
    assert (
        errors["000001"] == "scores: RuntimeError: too dark"
        and errors["000004"] == "scores: ValueError: the model's outputs hold NaN or infinity"
    )
    whole = small("whole", model=FailsForOne(), methods=["saliency", "centre"])
    for example in ("000000", "000002", "000003", "000005"):
        assert_close(run.attributions("saliency")[example], whole.attributions("saliency")[example])


def test_attributions_of_different_shapes_in_one_block():
    def odd(model, inputs, targets):
        return (
            inputs
            if (targets == 0).all()
            else (
                inputs.mean(1, keepdim=True)
                if (targets == 1).all()
                else inputs.mean(1)
                if (targets == 2).all()
                else inputs[0]
            )
        )

    run = small(methods={"odd": odd}, batch_size=4)
    assert {r["example"]: bool(r["error"]) for r in run.rows} == {f"{i:06d}": i % 4 == 3 for i in range(6)}
    assert [m.ndim for m in run.attributions("odd").values()] == [3, 3, 2, 3, 3]


@pytest.mark.parametrize(
    "result",
    [
        lambda x: x.to_sparse(),
        lambda x: x.to(torch.complex64),
        lambda x: x[:, :2],
        lambda x: x[..., None],
        lambda x: None,
        lambda x: (),
    ],
)
def test_results_that_are_no_attributions_are_reasons(result):
    run = small(methods={"odd": lambda model, x, t: result(x), "centre": None})
    assert {r["method"] for r in run.failures} == {"odd"} and run.without_results == ["odd"]


def test_labels_that_are_no_classes_are_one_failed_example():
    data = [Squares(6)[i] for i in range(6)]
    data[1], data[2], data[3] = (data[1][0], 1.5), (data[2][0], torch.tensor(2)), (data[3][0], np.int64(3))
    run = small(data=data, methods=["centre"])
    assert [r["target"] for r in run.rows] == [0, None, 2, 3, 0, 1]
    assert "class number" in run.failures[0]["error"]


@pytest.mark.parametrize(
    "mask, said",
    [
        (torch.full((16, 16), torch.nan), "NaN"),
        ("cat.png", "the mask is str"),
        (torch.ones(2, 16, 16), "the mask is (2, 16, 16)"),
        (torch.ones(()), "the mask is ()"),
    ],
)
def test_masks_that_are_none_are_one_failed_example(mask, said):
    data = [Squares(3)[i] for i in range(3)]
    data[1] = (*data[1][:2], mask)
    run = small(data=data, methods=["centre"])
    assert [r["example"] for r in run.failures] == ["000001"] and said in run.failures[0]["error"]


@pytest.mark.parametrize(
    "data, error, said",
    [
        ([], ValueError, "leaves nothing to do"),
        (np.zeros((4, 3, 16, 16)), TypeError, "ndarray"),
        (torch.utils.data.DataLoader(Squares()), TypeError, "data must be"),
        (iter([1]), TypeError, "data must be"),
    ],
)
def test_data_that_can_not_be_used(data, error, said):
    with pytest.raises(error, match=said):
        benchmark(convolutional(), data, folder="run", **SMALL)


def test_a_tensor_is_a_dataset():
    run = benchmark(convolutional(), Squares().images, folder="run", **SMALL | dict(methods=["saliency"]))
    assert len(run.values("saliency", "deletion")) == 6


def test_names_of_a_dataset():
    class Named(Squares):
        names = ["cat", "dog"]

    data = Named()
    assert small("classes", data=data, methods=["centre"]).manifest["examples"] == [f"{i:06d}" for i in range(6)]
    data.names = ["a.jpg", "b.jpg", "a.jpg", "a.jpg (2)", "a.jpg", "b.jpg"]
    run = small("equal", data=data, methods=["centre"])
    assert run.manifest["examples"] == ["a.jpg", "b.jpg", "a.jpg (3)", "a.jpg (2)", "a.jpg (4)", "b.jpg (2)"]
    assert run.summary()[0]["examples"] == 6
    assert small("fewer", data=data, methods=["centre"], images=3).manifest["examples"] == [
        "a.jpg",
        "b.jpg",
        "a.jpg (3)",
    ]


# What a method has to do with the model


def test_a_method_that_never_calls_the_model_is_said_below_the_table():
    model = convolutional()
    chosen = {
        "here": captum.attr.Saliency(model),
        "elsewhere": captum.attr.Saliency(convolutional(seed=1)),
        "edges": lambda model, x, t: x,
        "ours": "saliency",
        "centre": None,
    }
    table = small(model=model, methods=chosen).table()
    assert [m for m in chosen if f"- {m} was not seen to use the model" in table] == ["elsewhere", "edges"]


def test_captum_goes_where_ours_go():
    model = convolutional()
    ours = {"ig": PathIntegratedGradients(model), "eq": AttributionEquilibrium(model)}
    tunnels = {f"{k} smooth": (captum.attr.NoiseTunnel(v), dict(nt_samples=2, stdevs=0.0)) for k, v in ours.items()}
    chosen = {"by name": "deep_lift", "of a ClassScore": captum.attr.DeepLift(ClassScore(model))} | ours | tunnels
    run = small(model=model, methods=chosen, measures=["energy_inside"], score="logit")
    assert not run.failures
    for a, b in (("by name", "of a ClassScore"), ("ig", "ig smooth"), ("eq", "eq smooth")):
        assert_close(run.attributions(a), run.attributions(b), rtol=1e-4, atol=1e-6)


def test_completeness_is_measured_from_the_methods_own_baseline():
    model = convolutional()
    methods = [
        "integrated_gradients(n_steps=200)",
        "integrated_gradients(baselines=0.5, n_steps=200)",
        "deep_lift(baselines=0.5)",
        "saliency",
    ]
    methods = parse_names(",".join(methods)) | {
        "tensor": ("integrated_gradients", dict(baselines=torch.full((1, 3, 16, 16), 0.25), n_steps=200))
    }
    methods["tensor"] = ("integrated_gradients", dict(baselines=torch.full((1, 3, 16, 16), 0.25), n_steps=200))
    run = small(model=model, methods=methods, measures=["completeness_error"], score="logit")
    for method in ("integrated_gradients(n_steps=200)", "integrated_gradients(baselines=0.5, n_steps=200)"):
        assert (
            len(run.values(method, "completeness_error")) == 6
            and max(run.values(method, "completeness_error").values()) < 1e-3
        )
    assert len(run.values("deep_lift(baselines=0.5)", "completeness_error")) == 6
    assert run.values("saliency", "completeness_error") == {}
    assert (
        run.values("tensor", "completeness_error") == {}
        or max(run.values("tensor", "completeness_error").values()) < 1e-3
    )


def test_completeness_is_not_defined_for_another_score():
    other = Method(PathIntegratedGradients, complete=True, score="logit")
    run = small(methods={"logit": other}, measures=["completeness_error"])
    assert run.values("logit", "completeness_error") == {}


def test_the_constant_map_does_not_know_where_the_evidence_is():
    data = [(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(i)), 0) for i in range(12)]
    how = dict(
        model=Corners(), data=data, methods=["uniform"], measures=["deletion"], unit=4, masking_steps=16, score="logit"
    )
    first, second = (small(f"corner{t}", target=t, **how).summary()[0]["mean"] for t in (0, 1))
    assert abs(first - second) < 0.6 and 1.9 < first < 3.1, (first, second)  # by position 0.2 and 4.9


# Other people's files


def test_a_folder_of_something_else_is_refused_and_left_as_it_is():
    os.makedirs("thesis/results")
    for name in (".notes.tmp", "table.csv", "figure.png", "results/old.json", "results/.draft.tmp"):
        Path("thesis", name).write_text(name)
    before = {p: p.read_bytes() for p in Path("thesis").rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="no run folder and isn't empty"):
        small("thesis")
    for manifest in ("{}", '{"name": "a web page", "icons": []}', "not json", "[]"):
        Path("thesis/manifest.json").write_text(manifest)
        with pytest.raises(ValueError, match="manifest.json"):
            small("thesis")
        assert Path("thesis/manifest.json").read_text() == manifest
        os.remove("thesis/manifest.json")
    assert {p: p.read_bytes() for p in Path("thesis").rglob("*") if p.is_file()} == before


def test_a_lock_of_somebody_else_is_not_emptied():
    os.makedirs("run")
    Path("run/.lock").write_text("mine")
    small()
    assert Path("run/.lock").read_text() == "mine"


def test_only_own_temporary_files_are_swept():
    small()
    own = [
        "run/.table.md.123.tmp",
        "run/results/.000004-saliency-8516.json.99-1.tmp",
        "run/attributions/.000004-saliency-8516.safetensors.99.tmp",
    ]
    for name in [*own, "run/.notes.tmp", "run/results/.x.tmp"]:
        Path(name).write_text("half")
    small()
    assert [p.as_posix() for p in sorted(Path("run").rglob("*.tmp"))] == ["run/.notes.tmp", "run/results/.x.tmp"]


def test_an_interrupt_while_writing_leaves_the_old_file_and_nothing_else(monkeypatch):
    write_atomically("a.txt", b"old")

    def interrupted(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically("a.txt", b"new")
    assert Path("a.txt").read_bytes() == b"old" and os.listdir() == ["a.txt"]


def test_files_that_can_not_be_replaced():
    os.makedirs("folder")
    with pytest.raises(OSError, match="can't write folder: Is a directory"):
        write_atomically("folder", b"")
    with pytest.raises(TypeError, match="encode text first"):
        write_atomically("a.txt", "text")
    if os.path.exists("/dev/null"):
        with pytest.raises(OSError, match="Not a regular file"):
            write_atomically("/dev/null", b"x")
    Path("real.txt").write_text("old")
    os.symlink("real.txt", "link.txt")
    write_atomically("link.txt", b"new")
    assert Path("real.txt").read_text() == "new" and Path("link.txt").is_symlink()
    write_atomically("n" * 250, b"x")
    assert Path("n" * 250).read_bytes() == b"x"


# Damaged run folders


def damage_manifest(text):
    Path("run/manifest.json").write_text(text)


def damage_rows(change):
    path = sorted(Path("run/results").glob("*.json"))[0]
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(change(rows)))


def shard(k=0):
    return sorted(Path("run/attributions").glob("*saliency*.safetensors"))[k]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "null",
        '{"configuration": null}',
        '{"configuration": {}}',
        "{",
        '{"format": 1, "configuration": {"methods": {"a": {}}, "measures": {}}}',
    ],
)
def test_a_damaged_manifest_is_one_clear_line(text):
    small()
    damage_manifest(text)
    for action in (small, lambda: BenchmarkRun("run")):
        with pytest.raises(ValueError, match="manifest.json.*choose another folder") as caught:
            action()
        assert "\n" not in str(caught.value)


def test_a_manifest_without_examples():
    small()
    manifest = json.loads(Path("run/manifest.json").read_text())
    for wrong in ({k: v for k, v in manifest.items() if k != "examples"}, manifest | dict(examples=[1, 2])):
        damage_manifest(json.dumps(wrong))
        with pytest.raises(ValueError, match="not the manifest of a run"):
            BenchmarkRun("run")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: {},
        lambda rows: [1],
        lambda rows: [{k: v for k, v in r.items() if k != "values"} for r in rows],
        lambda rows: [r | dict(index=99) for r in rows],
        lambda rows: [r | dict(index="0") for r in rows],
        lambda rows: [r | dict(example="other") for r in rows],
        lambda rows: [r | dict(values={}) for r in rows],
        lambda rows: [r | dict(errors=None) for r in rows],
        lambda rows: [r | dict(values={k: "a" for k in r["values"]}) for r in rows],
        lambda rows: [r | dict(seconds=None) for r in rows],
    ],
)
def test_damaged_results_are_one_clear_line_and_are_done_again_when_removed(change):
    whole = small()
    damage_rows(change)
    for action in (small, lambda: BenchmarkRun("run")):
        with pytest.raises(ValueError, match="results.*remove it to have that part done again") as caught:
            action()
        assert "\n" not in str(caught.value)
    os.remove(sorted(Path("run/results").glob("*.json"))[0])
    assert values_of(small()) == values_of(whole)


class Trap:
    "Leaves a file when it is unpickled"

    def __reduce__(self):
        return open, ("sprung.txt", "w")


@pytest.mark.parametrize(
    "content",
    [
        lambda old: old[: len(old) // 2],
        lambda old: b"text",
        lambda old: b"",
        lambda old: pickle.dumps(Trap()),
        lambda old: old + b"more",
        lambda old: safetensors.torch.save({"zero": torch.zeros(1)}),
        lambda old: safetensors.torch.save({"99": torch.zeros(3, 16, 16)}),
        lambda old: safetensors.torch.save({"-1": torch.zeros(3, 16, 16)}),
    ],
)
def test_damaged_shards_are_one_clear_line_and_nothing_in_them_is_run(content):
    run = small()
    shard().write_bytes(content(shard().read_bytes()))
    with pytest.raises(ValueError, match="safetensors.*remove it and results/") as caught:
        run.attributions("saliency")
    assert "\n" not in str(caught.value) and not os.path.exists("sprung.txt")


def test_pickles_anywhere_in_a_run_folder_are_never_loaded():
    small()
    for path in list(Path("run").rglob("*.json")) + list(Path("run").rglob("*.safetensors")):
        path.with_name(f"{path.stem}.pkl").write_bytes(pickle.dumps(Trap()))
        path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError):
        BenchmarkRun("run")
    with pytest.raises(ValueError):
        small()
    assert not os.path.exists("sprung.txt")


def test_deleted_shards_are_said():
    run = small()
    os.remove(shard())
    with pytest.raises(
        ValueError, match="attributions of 2 examples by saliency are gone.*remove their files in results"
    ):
        run.attributions("saliency")
    os.remove(Path("run/results", f"{module._unit_name(0, 'saliency')}.json"))
    assert len(small().attributions("saliency")) == 6
    with pytest.raises(ValueError, match="keep=None"):
        small("none", keep=None).attributions("saliency")


def test_a_damaged_shard_is_said_when_failures_are_done_again():
    broken = [True]

    def repaired(model, inputs, targets):
        if broken[0] and (targets == 0).any():
            raise RuntimeError("out of order")
        return inputs

    small(methods={"repaired": repaired})
    broken[0] = False
    path = sorted(Path("run/attributions").iterdir())[0]
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="remove it and results/"):
        small(methods={"repaired": repaired}, retry_failed=True)


# What can be seen has changed


def strong(power):
    return lambda model, inputs, targets: inputs * power


FACTOR = 1


def reads_a_global(model, inputs, targets):
    return inputs * FACTOR


class Powers:
    def __init__(self, power):
        self.power = power

    def attribute(self, inputs, target):
        return inputs * self.power


@pytest.mark.parametrize(
    "change",
    [
        lambda k: dict(methods={"m": strong(k)}),
        lambda k: dict(methods={"m": functools.partial(lambda model, x, t, power: x * power, power=k)}),
        lambda k: dict(methods={"m": Powers(k)}),
        lambda k: dict(methods={"m": Powers(torch.tensor(float(k)))}),
        lambda k: dict(methods={"m": captum.attr.Saliency(convolutional(seed=k))}),
        lambda k: dict(methods={"m": captum.attr.Saliency(lambda x, net=convolutional(seed=k): net(x))}),
        lambda k: dict(methods={"m": captum.attr.NoiseTunnel(captum.attr.Saliency(convolutional(seed=k)))}),
        lambda k: dict(methods={"m": lambda model, x, t, models=[convolutional(seed=k)]: x}),
        lambda k: dict(measures={"m": lambda case, factor=k: torch.full((len(case.inputs),), float(factor))}),
        lambda k: dict(
            data=[(x, t, m) if i != 5 else (x * k, t, m) for i, (x, t, m) in enumerate(Squares()[i] for i in range(6))]
        ),
        lambda k: dict(
            model=torch.ao.quantization.quantize_dynamic(convolutional(seed=k), {nn.Linear}), methods=["centre"]
        ),
        lambda k: dict(model=(lambda net: lambda x: net(x))(convolutional(seed=k)), methods=["centre"]),
        lambda k: dict(
            model=(lambda net: net.register_forward_hook(lambda m, a, out, k=k: out * k) and net)(convolutional()),
            methods=["centre"],
        ),
    ],
)
def test_a_run_is_not_gone_on_with_when_what_can_be_seen_has_changed(change):
    same = dict(methods=["centre"], measures=["energy_inside"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small(**same | change(1))
        small(**same | change(1))
        with pytest.raises(ValueError, match="another configuration"):
            small(**same | change(2))


def test_globals_that_a_method_reads(monkeypatch):
    same = dict(methods={"m": reads_a_global}, measures=["energy_inside"])
    small(**same)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 2)
    with pytest.raises(ValueError, match="FACTOR: 1 there, 2 now"):
        small(**same)


def test_what_can_not_be_looked_into_is_said_in_the_manifest():
    notes = []
    run = small(
        methods={"noted": lambda model, x, t: notes.append(len(x)) or x},
        data=[Squares()[i % 6] for i in range(70)],
        measures=["energy_inside"],
        batch_size=35,
    )
    said = run.manifest["not_checked"]
    assert any("noted.notes" in s and s.startswith("NOT checked") for s in said)
    assert any("items of the dataset other than 0, 10, 20" in s for s in said)
    assert small("all").manifest["not_checked"] == []


def test_an_example_that_was_not_looked_at_and_has_changed():
    data = [Squares()[i % 6] for i in range(70)]
    small(data=data, methods=["centre"], measures=["energy_inside"], batch_size=35)
    data[3] = (data[3][0] * 0.5, *data[3][1:])
    with pytest.raises(ValueError, match="000003 is not what it was"):
        small(data=data, methods=["centre", "uniform"], measures=["energy_inside"], batch_size=35)


@pytest.mark.parametrize(
    "make",
    [
        lambda k: SparseBuffer(k),
        lambda k: torch.ao.quantization.quantize_dynamic(
            seeded(lambda: nn.Sequential(nn.Linear(3, 2)), k), {nn.Linear}
        ),
        lambda k: nn.ParameterDict({"a": nn.Parameter(torch.full((), float(k)))}),
        lambda k: seeded(lambda: nn.Linear(2, 2, dtype=torch.bfloat16), k),
    ],
)
def test_hash_of_unusual_weights(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert weights_hash(make(1)) == weights_hash(make(1)) != weights_hash(make(2))


class SparseBuffer(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("a", (torch.eye(3) * value).to_sparse())


def test_hash_of_things_without_weights():
    with pytest.raises(ValueError, match="meta device"):
        weights_hash(nn.Linear(2, 2, device="meta"))
    with pytest.raises(TypeError, match="module"):
        weights_hash(3)


# Words of others


def test_names_reach_tables_as_words():
    data = Squares(2)
    data.names = ["<img src=x onerror=alert(1)>|\x1b[31mred", '=HYPERLINK("http://x")']
    run = small(
        data=data,
        methods={
            "[a](http://b)": lambda model, x, t: 1 / 0,
            "@sum": lambda model, x, t: x,
            "$x$": lambda model, x, t: x,
        },
    )
    table = Path("run/table.md").read_text()
    assert "\x1b" not in table and "<img" not in table and "[a](" not in table
    rows = list(csv.DictReader(io.StringIO(Path("run/table.csv").read_text())))
    assert {r["example"] for r in rows} == {data.names[0], "'" + data.names[1]} and "'@sum" in {
        r["method"] for r in rows
    }
    assert not any(
        v[:1] in "=+@" for r in rows for k, v in r.items() if v and k in ("example", "method", "measure", "error")
    )
    DRAW(run)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_file_names_that_are_no_valid_text():
    os.makedirs(b"photos")
    Image.effect_noise((120, 120), 60).convert("RGB").save("a.png")
    os.rename(b"a.png", b"photos/caf\xe9.png")
    run = benchmark(
        load_model("shapes"), "photos", ["centre"], ["deletion"], "run", masking_steps=2, show_progress=False
    )
    assert not run.failures
    again = benchmark(
        load_model("shapes"), "photos", ["centre"], ["deletion"], "run", masking_steps=2, show_progress=False
    )
    assert values_of(again) == values_of(run)


def test_the_levels_and_labels_of_tables():
    run = small(methods=["centre"], measures=["energy_inside"])
    for level in (0, 1, 2.0, "a", None):
        with pytest.raises(ValueError, match="level"):
            run.summary(level=level)
    for wrong in (3, None, ["centre"]):
        with pytest.raises(TypeError, match="string"):
            run.values(wrong, "energy_inside")


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
    run = small(
        data=data,
        model=lambda x: model(x),
        methods=["saliency", "integrated_gradients", "equilibrium"],
        dtype=torch.float64,
        keep="float64",
    )
    assert "energy_inside" not in run.measures and len(run.values("saliency", "deletion")) == 6
    assert run.attributions("saliency")["000000"].dtype == torch.float64
    assert not run.failures and (run.attributions("equilibrium")["000000"] != 0).any(), "recorded through the function"
    assert run.rows[0]["target"] == run.rows[0]["predicted"]


def test_margins_and_contrasts_are_benchmarked(tmp_path):
    methods = {
        "alone": ("equilibrium", {}),
        "against the next": ("equilibrium", dict(contrast="next")),
        "margin": "integrated_gradients",
    }
    measures = ["deletion(masking_steps=4)", "log_odds", "comprehensiveness"]
    run = benchmark(None, None, methods, measures, tmp_path, images=2, score="margin", masking_steps=4)
    assert not run.failures
    for row in run.rows:
        assert all(math.isfinite(value) for value in row["values"].values())
    again = benchmark(None, None, methods, measures, tmp_path / "b", images=2, score="logit", masking_steps=4)
    other = again.attributions("against the next")
    assert run.attributions("alone").keys() == other.keys() and len(other) == 2
    for name, a in run.attributions("alone").items():  # the margin is the contrast with the next class
        assert_close(torch.as_tensor(a), torch.as_tensor(other[name]), rtol=1e-3, atol=1e-5)


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
    Path("photos/cut.jpg").write_bytes(whole[: len(whole) // 3])
    Path("photos/notes.txt").write_text("not looked at")
    entries = {
        n: dict(label=i, boxes_xyxy=[[20 * i, 30, 20 * i + 49, 89]])
        for i, n in enumerate(("a.jpg", "sub/b.png", "c.JPEG"))
    }
    Path("boxes.json").write_text(
        json.dumps(entries | {"bad.jpg": dict(label=0), "cut.jpg": dict(label=0), "gone.jpg": dict(label=0)})
    )
    return "photos"


def test_corrupt_images_are_reported_and_counted_and_the_rest_goes_on(photographs):
    run = benchmark(
        load_model("shapes"),
        photographs,
        ["saliency", "centre"],
        folder="run",
        annotations="boxes.json",
        masking_steps=4,
        show_progress=False,
    )
    assert run.missing == 0
    assert {r["example"] for r in run.failures} == {"bad.jpg", "cut.jpg", "gone.jpg"} and len(run.failures) == 6
    table = run.table()
    assert "3 of 6 images could not be used" in table
    for name in ("bad.jpg", "cut.jpg", "gone.jpg"):
        assert name in table
    assert set(run.values("saliency", "energy_inside")) == {"a.jpg", "sub/b.png", "c.JPEG"}
    spent = table.split("mean cost of one.\n\n")[1].splitlines()
    assert [cell.strip() for cell in spent[2].split("|")[1:4]] == ["saliency", "3", "3"]


def test_boxes_polygons_and_masks_go_the_way_of_the_photograph(photographs):
    model = load_model("shapes")
    boxes = PhotographFolder(photographs, model.preprocess, "boxes.json")
    index = boxes.names.index("sub/b.png")
    image, label, mask = boxes[index]
    assert label == 1 and image.shape == (3, 96, 96) and mask.shape == (96, 96)
    scale, left = 96 / 120, (160 * 96 / 120 - 96) / 2
    by_hand = box_masks([[[20 * scale - left, 30 * scale, 70 * scale - left, 90 * scale]]], 96, 96)[0]
    assert (mask == by_hand).double().mean() > 0.98
    os.makedirs("masks")
    values = Image.new("L", (160, 120), 7)
    values.paste(3, (20, 30, 70, 90))
    values.save("masks/b.png")
    for entry in (
        dict(mask="masks/b.png", mask_value=3),
        dict(mask="masks/b.png", mask_value=[3, 4]),
        dict(polygons=[[20, 30, 69, 30, 69, 89, 20, 89]]),
    ):
        Path("other.json").write_text(json.dumps({"sub/b.png": entry}))
        assert (PhotographFolder(photographs, model.preprocess, "other.json")[0][2] == mask).double().mean() > 0.99
    assert PhotographFolder(photographs, model.preprocess, {"sub/b.png": dict(mask="../masks/b.png")})[0][2].all()
    assert PhotographFolder(photographs, model.preprocess)[0][1:] == (None, None)


def test_photographs_without_annotations_explain_the_predicted_class(photographs):
    for name in ("bad.jpg", "cut.jpg"):
        os.remove(f"photos/{name}")
    run = benchmark(load_model("shapes"), photographs, ["saliency"], folder="run", masking_steps=4, show_progress=False)
    assert run.measures == ["deletion", "insertion", "difference"]
    assert all(r["target"] == r["predicted"] for r in run.rows) and not run.failures


def test_a_changed_photograph_is_another_configuration(photographs):
    same = dict(
        methods=["centre"], measures=["energy_inside"], folder="run", annotations="boxes.json", show_progress=False
    )
    benchmark(load_model("shapes"), photographs, **same)
    Image.new("RGB", (160, 120)).save("photos/a.jpg")
    with pytest.raises(ValueError, match="data.sha256"):
        benchmark(load_model("shapes"), photographs, **same)


def test_another_preprocess_is_another_configuration(photographs):
    same = dict(
        methods=["centre"], measures=["energy_inside"], folder="run", annotations="boxes.json", show_progress=False
    )
    loaded = load_model("shapes")
    benchmark(loaded, photographs, **same)
    benchmark(loaded, photographs, **same)

    def smaller(picture):
        return nn.functional.avg_pool2d(loaded.preprocess(picture), 2)

    def darker(picture):
        return loaded.preprocess(picture) / 2

    for preprocess in (smaller, darker):
        with pytest.raises(ValueError, match="data.sha256"):
            benchmark(loaded, photographs, preprocess=preprocess, **same)


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "not JSON"),
        ("[1]", "must map"),
        ('{"a.jpg": 3}', "must map"),
        ('{"a.jpg": {"lable": 3}}', "did you mean 'label'"),
        ('{"a.jpg": {"bbox": [[0, 0, 1, 1]]}}', "did you mean 'boxes'"),
        ('{"a.jpg": {"Label": 3}}', "did you mean 'label'"),
        ('{"a.jpg": {"boxes": [0, 0, 1, 1]}}', "is needed"),
        ('{"a.jpg": {"boxes": [[0, 0, 1]]}}', "is needed"),
        ('{"a.jpg": {"boxes": [[9, 0, 1, 1]]}}', "ends before it begins"),
        ('{"a.jpg": {"polygons": [[0, 0, 1, 1]]}}', "three corners"),
        ('{"a.jpg": {"label": "cat"}}', "class number"),
        ('{"a.jpg": {"label": 1.5}}', "class number"),
        ('{"a.jpg": {"mask_value": 3}}', "no mask"),
        ('{"a.jpg": {"mask": 3}}', "name of an image file"),
        ('{"a.jpg": {"polygon": []}}', "did you mean 'polygons'"),
        ('{"a.jpg": {"boxes": [[0, 0, NaN, 1]]}}', "is needed"),
    ],
)
def test_annotations_that_can_not_be_used(photographs, text, said):
    Path("wrong.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        PhotographFolder(photographs, load_model("shapes").preprocess, "wrong.json")
    with pytest.raises(FileNotFoundError, match="no.json"):
        PhotographFolder(photographs, load_model("shapes").preprocess, "no.json")
    os.makedirs("empty")
    with pytest.raises(ValueError, match="no photographs"):
        PhotographFolder("empty", load_model("shapes").preprocess)


def test_keys_of_others_are_not_read(photographs):
    folder = PhotographFolder(
        photographs, load_model("shapes").preprocess, {"a.jpg": dict(label=1, size=[160, 120], source="web")}
    )
    assert folder[0][1] == 1


def test_a_mask_in_a_format_that_is_run_is_refused(photographs):
    Path("mask.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    run = benchmark(
        load_model("shapes"),
        photographs,
        ["centre"],
        folder="run",
        annotations={"a.jpg": dict(label=1, mask="../mask.png"), "sub/b.png": dict(label=1)},
        masking_steps=2,
        show_progress=False,
    )
    assert [r["example"] for r in run.failures] == ["a.jpg"] and "cannot identify image" in run.failures[0]["error"]


def test_a_run_folder_among_the_photographs_is_refused(photographs):
    with pytest.raises(ValueError, match="lies in the folder of photographs"):
        benchmark(load_model("shapes"), photographs, ["centre"], folder=f"{photographs}/run", show_progress=False)
    assert not os.path.exists(f"{photographs}/run")


def test_measures_of_the_object_need_annotations(photographs):
    with pytest.raises(ValueError, match="give annotations"):
        benchmark(load_model("shapes"), photographs, ["centre"], ["energy_inside"], folder="run", show_progress=False)


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


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda n: n not in ("if", "is", "in", "or", "as", "and", "not", "for", "def", "del", "try")
)
numbers = (
    st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.text("ab-,() ", max_size=4)
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(names, st.dictionaries(names, numbers, max_size=3)), min_size=1, max_size=4))
def test_names_with_settings_are_read_as_written(entries):
    import keyword

    if any(keyword.iskeyword(n) for name, given_ in entries for n in (name, *given_)):
        return
    text = ", ".join(
        name + (f"({', '.join(f'{k}={v!r}' for k, v in given_.items())})" if given_ else "") for name, given_ in entries
    )
    assert list(parse_names(text).values()) == list({f"{n}{s}": (n, s) for n, s in entries}.values())


def test_only_names_are_made_small_and_lose_their_hyphens():
    read = parse_names("""Grad-CAM(layer='Mixed-7c.It\\'s-A'), SALIENCY(abs=False)""")
    assert read == {
        """grad_cam(layer="Mixed-7c.It's-A")""": ("grad_cam", dict(layer="Mixed-7c.It's-A")),
        "saliency(abs=False)": ("saliency", dict(abs=False)),
    }


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


def test_what_goes_by_a_name_of_ones_own_is_compared_by_its_code(monkeypatch):
    from attrnb.methods import METHODS

    def file(power):
        monkeypatch.setitem(MEASURES, "mine", Measure(lambda case: case.attributions.flatten(1).mean(1) ** power))
        monkeypatch.setitem(METHODS, "my_own", Method(lambda model, inputs, target: inputs**power, "my_own"))

    def again(methods, measures):
        return small("+".join(methods + measures), methods=methods, measures=measures)

    for methods, measures in ((["my_own"], ["insertion"]), (["saliency"], ["mine"])):
        file(1)
        first = again(methods, measures)
        assert first.missing == 0 and values_of(again(methods, measures)) == values_of(first)
        file(2)
        with pytest.raises(ValueError, match="power: 1 there, 2 now"):
            again(methods, measures)


def test_a_method_that_draws_is_called_with_one_example():
    rows = []

    def draw(model, inputs, target, seed):
        rows.append((len(inputs), seed))
        return torch.rand(inputs.shape)

    drawn = Method(draw)
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
        "twice": twice,
        "blind": lambda model, inputs, targets: inputs,
        "here": captum.attr.Saliency(model),
        "wrapped": captum.attr.Saliency(ClassScore(model)),
        "elsewhere": captum.attr.Saliency(elsewhere),
        "own": lambda model, inputs, target: captum.attr.Saliency(model).attribute(inputs, target=target),
        "centre": None,
    }
    run = small(model=model, methods=chosen, measures=["energy_inside"])
    cost = {r["method"]: (r["gradient_evaluations"], r["forward_rows"]) for r in run.rows}
    assert not run.failures
    assert cost == {
        "twice": (1, 2),
        "blind": (None, None),
        "here": (1, 1),
        "wrapped": (1, 1),
        "elsewhere": (None, None),
        "own": (1, 1),
        "centre": (0, 0),
    }
    assert not model._forward_pre_hooks
    lines = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[-3:-1]]
        for line in run.table().split("mean cost of one.\n\n")[1].splitlines()[2:9]
    }
    assert (
        lines["twice"] == ["1", "2"]
        and lines["blind"] == lines["elsewhere"] == ["-", "-"]
        and lines["centre"] == ["0", "0"]
    )
    written = {
        r["method"]: (r["gradient_evaluations"], r["forward_rows"]) for r in csv.DictReader(io.StringIO(run.csv()))
    }
    assert written["blind"] == ("", "") and written["twice"] == ("1", "2")
    DRAW(run)


def test_a_class_is_a_method_and_so_is_any_spelling():
    run = small(methods={"class": captum.attr.Saliency, "pair": (captum.attr.Saliency, {}), "Saliency": None})
    assert not run.failures
    for label in ("pair", "Saliency"):
        assert run.values(label, "deletion") == run.values("class", "deletion")


def test_internal_batch_size_goes_to_recipes_that_take_it():
    given = []

    def takes(model, inputs, target, internal_batch_size=None):
        given.append(internal_batch_size)
        return inputs

    def another(model, inputs, target, **settings):
        given.append(settings)
        return inputs

    run = small(
        internal_batch_size=2,
        batch_size=6,
        methods={"plain": returns_inputs, "takes": takes, "settings": another, "saliency": None},
    )
    assert not run.failures and given == [2, {}]


def test_embedded_images_are_the_default():
    run = benchmark(methods=["saliency", "random"], measures=["energy_inside"], images=6, show_progress=False)
    assert run.folder == Path("attrnb-bench") and run.manifest["examples"][0] == "shapes-0000"
    same = benchmark(
        None, shape_images(6, seed=1_000_003), ["saliency", "random"], ["energy_inside"], "other", show_progress=False
    )
    assert same.values("saliency", "energy_inside") == run.values("saliency", "energy_inside")
    assert sum(run.values("saliency", "energy_inside").values()) > 2 * sum(
        run.values("random", "energy_inside").values()
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda():
    cpu = small("cpu", methods=["saliency", "equilibrium", "neflag(n_points=2)", "random"])
    model = convolutional()
    cuda = small(
        "cuda", model=model, methods=["saliency", "equilibrium", "neflag(n_points=2)", "random"], device="cuda"
    )
    assert next(model.parameters()).device.type == "cpu" and cuda.manifest["device"].startswith("cuda")
    for method in cpu.methods:
        a, b = cpu.attributions(method), cuda.attributions(method)
        for example in a:
            assert_close(a[example], b[example], rtol=1e-2, atol=1e-4)


def test_the_table_knows_which_way_is_better():
    higher = """insertion difference insertion_curve difference_curve comprehensiveness cross_entropy_after_masking
        pointing_game energy_inside intersection_over_union class_sensitivity""".split()
    lower = """deletion deletion_curve sufficiency log_odds accuracy_after_masking outside_inside_ratio
        outside_inside_share
        completeness_error cancellation_gap dummy_sensitivity sensitivity_max infidelity""".split()
    assert {name: True for name in higher} | {name: False for name in lower} == HIGHER_IS_BETTER
    assert all((measure.better == "higher") == HIGHER_IS_BETTER[name] for name, measure in MEASURES.items())


def test_class_sensitivity_in_a_run_equals_plain_loops():
    "The share inside when the class is asked for, less that share when another is, with both maps made by hand"
    model, data = convolutional(), Squares(5)
    measures = {"next": "class_sensitivity", "fixed": ("class_sensitivity", dict(other=2))}
    chosen = ["saliency", "input_x_gradient", "random", "centre", "activity"]
    run = small(model=model, data=data, methods=chosen, measures=measures, target="label", score="logit")
    for floor in ("random", "centre", "activity"):  # which know no class
        assert set(run.values(floor, "next").values()) == {0.0}
    for method, label in itertools.product(("saliency", "input_x_gradient"), measures):
        expected = []
        for i in range(5):
            x, asked, inside = data[i]
            logits = model(x[None])[0].tolist()
            others = [k for k in range(len(logits)) if k != asked]
            other = 2 if label == "fixed" else max(others, key=logits.__getitem__)
            shares = []
            for target in (asked, other):
                leaf = x[None].clone().requires_grad_()
                (slope,) = torch.autograd.grad(model(leaf)[0, target], leaf)
                each = (slope.abs() if method == "saliency" else slope * x)[0].double()
                sums = {True: 0.0, False: 0.0}
                for row, column in itertools.product(range(16), range(16)):
                    sums[bool(inside[row, column])] += max(each[:, row, column].sum().item(), 0.0)
                shares.append(sums[True] / (sums[True] + sums[False]))
            expected.append(math.nan if asked == other else shares[0] - shares[1])
        values = {r["index"]: r["values"][label] for r in run.rows if r["method"] == method}
        found = [math.nan if values[i] is None else values[i] for i in range(5)]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.isnan(expected).sum() == (label == "fixed") and np.nanmax(np.abs(expected)) > 0.01


def test_a_measure_that_takes_single_examples_sees_their_masks():
    def one_at_a_time(case):
        if len(case.inputs) > 1:
            raise ValueError("one at a time")
        return energy_inside(case.attributions, case.masks)

    run = small(
        methods=["saliency"], measures={"together": "energy_inside", "alone": Measure(one_at_a_time, masks=True)}
    )
    assert len(set(run.values("saliency", "together").values())) > 1
    assert run.values("saliency", "alone") == pytest.approx(run.values("saliency", "together"))


def test_the_global_generators_are_left_as_they_were():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    attribute_by_name("gradient_shap", convolutional(), Squares(2).images, [0, 1], seed=3)
    assert (
        torch.equal(torch.get_rng_state(), states[0])
        and random.getstate() == states[1]
        and np.random.get_state()[1].tolist() == states[2]
    )


def test_rows_are_a_list_like_any_other():
    run = small(measures=["insertion", "pointing_game"])
    rows = run.rows
    assert type(rows) is list and {type(row) for row in rows} == {dict} and len(rows) == 6 * 4
    assert json.loads(json.dumps(rows)) == rows == BenchmarkRun("run").rows == list(run.each_row())
    assert pickle.loads(pickle.dumps(rows)) == copy.deepcopy(rows) == rows[:5] + rows[5:] == rows
    rows.sort(key=lambda row: row["seconds"])  # one's own: the tables don't change with it
    rows.pop()
    assert run.missing == 0 and run.table() == BenchmarkRun("run").table()
    assert json.loads(json.dumps(run.manifest)) == run.manifest
    assert pickle.loads(pickle.dumps(run)).values("saliency", "insertion") == run.values("saliency", "insertion")


class Curves(Measure):
    "Three numbers of an example"

    def __init__(self):
        super().__init__(lambda case: torch.stack([case.attributions.flatten(1).amax(1) * k for k in (1, 2, 3)], 1))


def test_a_run_that_is_too_large_for_memory_is_the_same_run(monkeypatch):
    "Names, results and lists go into temporary files beyond so many bytes; here beyond none"
    given = dict(measures={"insertion": None, "curve": Curves()}, data=Squares())
    first = small("memory", **given)
    for module_ in ("attrnb.core.records", "attrnb.benchmark.rows"):
        monkeypatch.setattr(f"{module_}.IN_MEMORY", 1)
    files, made = [], tempfile.TemporaryFile
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **how: files.append(made(**how)) or files[-1])
    second = small("files", **given)
    assert len(files) >= 4 and isinstance(second._rows.table, np.memmap)  # names, their ends, lists, results
    assert second.table() == first.table() and second.vectors == ["curve"]
    untimed = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.rows] for run in (first, second)]
    assert untimed[0] == untimed[1]
    for name in sorted(os.listdir("files/results"))[::2]:
        os.remove(f"files/results/{name}")
    assert small("files", **given).table() == first.table()


def test_where_temporary_files_have_no_room_all_stays_in_memory(monkeypatch):
    tried = []

    def full(**how):
        tried.append(how)
        raise OSError(errno.ENOSPC, "No space left on device")

    first = small("memory")
    for module_ in ("attrnb.core.records", "attrnb.benchmark.rows"):
        monkeypatch.setattr(f"{module_}.IN_MEMORY", 1)
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert small("full").table() == first.table() and tried


def test_a_write_that_breaks_off_leaves_what_was_there(monkeypatch):
    class Short:
        "A file that takes a part, and then has no room"

        def __init__(self, file):
            self.file, self.left = file, 3 * IN_MEMORY

        def write(self, data):
            if not self.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            n = self.file.write(data[: min(len(data), self.left, 1000)])
            self.left -= n
            return n

        def __getattr__(self, name):
            return getattr(self.file, name)

    made = tempfile.TemporaryFile
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **how: Short(made(**how)))
    stored, pieces = Stored(), [bytes([k]) * 999 for k in range(250)] * 2
    places = [stored.append(piece) for piece in pieces]
    assert not stored.room and 0 < stored.written < sum(map(len, pieces))
    assert [stored.read(place, 999) for place in places] == pieces


def test_many_annotations_are_read_one_at_a_time(photographs):
    entries = {f"{7 * k % 5000:04d}.jpg": dict(label=k, boxes=[[0, 0, k, 1.5]]) for k in range(5000)}
    text = json.dumps(entries)[:-1] + ', "0007.jpg": {"label": null}, "é.jpg": {}}'  # a name again: the last counts
    Path("many.json").write_text(text, encoding="utf-8")
    opened = PhotographFolder(photographs, load_model("shapes").preprocess, "many.json")
    expected = json.loads(text)
    assert isinstance(opened._names, Texts) and len(opened) == 5001 and opened.entry(7) == {"label": None}
    assert [opened._names[k] for k in range(len(opened))] == sorted(expected)
    assert [opened.entry(k) for k in range(0, 5001, 7)] == [expected[name] for name in sorted(expected)[::7]]
    assert pickle.loads(pickle.dumps(opened._names)) == copy.deepcopy(opened._names) == sorted(expected)
    opened.names = opened.names[:3]
    assert len(opened) == 3 and opened.entry(1) == expected["0001.jpg"]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.floats(allow_nan=False) | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
    ),
    st.sampled_from([None, 0, 3]),
)
def test_json_in_pieces_is_json(tmp_path_factory, data, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(data, indent=indent), encoding="utf-8")
    assert dict(json_members(path)) == json.loads(path.read_text(encoding="utf-8"))
