"""The programs in benchmarks/, in small: counts and equality, never times

What they found in large stands beside the pages, in nbs/tutorials: speed.csv, speed_equilibrium.csv, waits.csv and
scale.csv.
"""

import csv

import pytest
import torch
from house import ROOT
from test_experiments import program, rows_of

from attrnb.measures import MEASURES
from attrnb.methods import METHODS

FOLDER, TABLES = ROOT / "benchmarks", ROOT / "nbs" / "tutorials"


@pytest.fixture
def benchmarks(monkeypatch):
    "A program of the folder as a module"
    monkeypatch.syspath_prepend(str(FOLDER))
    return lambda name: program(name, FOLDER)


def test_every_method_and_measure_is_measured_against_its_floor_and_captum(benchmarks, tmp_path):
    benchmarks("speed").main(["--tiny", "--out", str(tmp_path / "speed.csv")])
    rows = {(r["part"], r["name"], r["case"]): r for r in rows_of(tmp_path / "speed.csv")}
    assert {name for part, name, _ in rows if part == "method"} == {*METHODS, "geodesic_knn"}
    assert {name for part, name, _ in rows if part == "measure"} == set(MEASURES)
    for key, row in rows.items():
        if key[0] in ("method", "measure"):
            assert float(row["chunk_error"]) < 1e-4, key
            assert bool(row["ratio"]) != (row["note"] == "no pass through the network"), key
        if row["peer"]:
            assert float(row["peer_error"]) < 1e-5, key
    assert sum(bool(row["peer"]) for row in rows.values()) == 7
    counted = {key: (int(row["rows"]), int(row["gradient_rows"])) for key, row in rows.items() if row["rows"]}
    assert counted["method", "integrated_gradients", "image"][1] == 2 * 16  # examples times steps
    assert counted["method", "neflag", "table"][1] == 2 * 4 * 8  # steps, points, examples
    assert counted["method", "saliency", "image"] == (2, 2)
    assert counted["measure", "deletion", "image"] == (33, 0)  # 2 orders, 8 steps, 2 images, and one of the shape
    growth = {name: r["case"] for (part, name, _), r in rows.items() if part == "growth"}
    assert set(growth) == {"integrated_gradients", "neflag", "equilibrium", "geodesic_knn"}


def test_equilibrium_is_measured_against_a_pass_and_its_gradient(benchmarks, tmp_path):
    benchmarks("equilibrium").main(["--tiny", "--out", str(tmp_path / "found.csv")])
    (row,) = rows_of(tmp_path / "found.csv")
    assert float(row["chunk_error"]) < 1e-5 and float(row["bytes"]) > 0 < float(row["ratio"])
    assert 2.9 < float(row["forward"]) < 3.7 and 2.7 < float(row["backward"]) < 3  # two images, one more to probe
    for row in rows_of(TABLES / "speed_equilibrium.csv"):
        assert float(row["times"]) < 3.3 and float(row["chunk_error"]) < 1e-5


def test_a_stopped_measurement_of_speed_goes_on_behind_its_rows(benchmarks, tmp_path, monkeypatch):
    speed, names, out = benchmarks("speed"), ["saliency", "deletion", "energy_inside"], tmp_path / "speed.csv"
    words, measured, asked = ["--tiny", "--only", *names, "--out", str(out)], speed.measured, []

    def dying(job, *given):
        asked.append(job.name)
        if asked == ["saliency", "deletion"]:
            raise KeyboardInterrupt
        return measured(job, *given)

    monkeypatch.setattr(speed, "measured", dying)
    with pytest.raises(KeyboardInterrupt):
        speed.main(words)
    assert not out.exists() and [r["name"] for r in rows_of(tmp_path / "speed.partial.csv")] == ["saliency"]
    speed.main(words)
    assert asked == ["saliency", "deletion", "deletion", "energy_inside"]
    assert [r["name"] for r in rows_of(out)] == names and [p.name for p in tmp_path.iterdir()] == ["speed.csv"]


def test_small_networks_are_measured_against_their_gradients(benchmarks, tmp_path):
    benchmarks("small").main(["--tiny", "--out", str(tmp_path / "small.csv")])
    rows = rows_of(tmp_path / "small.csv")
    assert [(row["method"], row["network"]) for row in rows if row["network"] == "10-16-3"] == [
        ("PathIntegratedGradients", "10-16-3"), ("NeFLAG", "10-16-3")
    ]  # fmt: skip
    for row in rows:  # 4 examples: 200 steps, both ends and the row alone; 20 points, two steps and the row alone
        assert int(row["rows"]) == {"PathIntegratedGradients": 4 * 200 + 8 + 1, "NeFLAG": 2 * 4 * 20 + 1}[row["method"]]
        assert row["ratio"] and row["version"] == "now"


def test_a_command_that_needs_no_torch_loads_few_modules(benchmarks, tmp_path):
    rows = {row["name"]: row for row in benchmarks("speed").start(0, tmp_path)}
    assert rows["import attrnb"]["note"] == rows["attrnb --version"]["note"] == "no torch"
    assert int(rows["import attrnb"]["calls"]) <= 12 and int(rows["attrnb --version"]["calls"]) <= 260


def test_intervals_and_slopes(benchmarks):
    cases, speed = benchmarks("cases"), benchmarks("speed")
    assert cases.median_and_interval([3, 1, 2]) == (2, 1, 3)
    assert cases.median_and_interval(range(1, 10)) == (5, 2, 8)  # with 96 %: the second and the eighth of nine
    assert cases.median_and_interval([1, 2, 3, 4]) == (2.5, 1, 4)
    assert speed.slope([2, 4, 8], [5, 20, 80]) == pytest.approx(2)
    assert speed.most_bytes(lambda: torch.ones(1000) + torch.ones(1000)) == 3 * 4000
    assert speed.most_bytes(lambda: [torch.ones(1000).sum() for _ in range(5)]) < 2 * 4000 + 100


def test_the_floor_is_the_same_rows_in_the_same_chunks(benchmarks):
    cases = benchmarks("cases")
    for job in cases.jobs(batch=2, side=12, rows=8):
        if job.name in ("integrated_gradients", "neflag", "deletion", "sensitivity_max", "occlusion"):
            with cases.passes(job.network) as found:
                job.run(3)
            with cases.passes(job.network) as again:
                cases.bare(job.network, found, job.inputs)()
            assert found and again == found, job.name


def test_the_program_for_a_gpu_runs_dry(benchmarks, tmp_path, capsys):
    gpu, names = benchmarks("gpu"), ["integrated_gradients", "equilibrium", "deletion", "pointing_game"]
    assert gpu.main(["--device", "cpu", "--tiny", "--only", *names, "--out", str(tmp_path / "gpu.csv")]) == 0
    rows = rows_of(tmp_path / "gpu.csv")
    assert [r["name"] for r in rows] == ["integrated_gradients", "equilibrium", "integrated_gradients", *names[2:]]
    assert all(float(r["error32"]) <= 1e-4 and float(r["error64"]) <= 1e-9 for r in rows)
    assert all(0 <= float(r["error_bfloat16"]) < 1 for r in rows)
    wrong = dict(rows[0], error32="2e-4", error64="nan", afterwards="wrong")
    assert len(gpu.missed([wrong, *rows[1:]])) == 3
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit):
            gpu.main(["--tiny"])
        assert "no GPU is at hand" in capsys.readouterr().err


def test_one_of_several_processes_is_killed_and_the_table_is_that_of_one(benchmarks, tmp_path):
    words = ["--images", "9", "--processes", "2", "--block", "1", "--out", str(tmp_path / "scale.csv")]
    benchmarks("scale").main(words)
    one, several = rows_of(tmp_path / "scale.csv")
    assert one["processes"] == "1" and several["processes"] == "2"
    assert several["killed"] == "1" and int(several["restarts"]) >= 1 and several["blocks_again"] == "0"
    assert several["same_table"] == several["same_values"] == "True"
    assert float(several["gradients"]) == float(one["gradients"]) == 9 * 5
    assert int(several["blocks"]) == 18


def test_what_a_process_holds_is_counted(benchmarks, tmp_path):
    words = ["--held", "--images", "8", "40", "--block", "2", "--out", str(tmp_path / "held.csv")]
    benchmarks("scale").main(words)
    rows = rows_of(tmp_path / "held.csv")
    assert [(r["images"], r["process"]) for r in rows] == [(n, p) for n in ("8", "40") for p in ("merging", "working")]
    assert all(0 < int(r["plan"]) < int(r["held"]) < int(r["most"]) for r in rows)


def test_what_a_process_holds_does_not_grow_with_the_pictures(benchmarks, tmp_path):
    words = ["--held", "--images", "1000", "3000", "--block", "250", "--out", str(tmp_path / "held.csv")]
    benchmarks("scale").main(words)
    found = {(r["process"], r["images"]): r for r in rows_of(tmp_path / "held.csv")}
    for process in ("working", "merging"):  # 461 and 789 bytes for each further picture before; buffers fill here, too
        few, many = found[process, "1000"], found[process, "3000"]
        assert int(many["held"]) - int(few["held"]) < 2000 * 150, process
        assert int(many["most"]) - int(few["most"]) < 2000 * 200, process


def test_one_command_runs_all_programs(benchmarks, tmp_path, monkeypatch, capfd):
    every = benchmarks("all")
    programs = {path.name for path in FOLDER.glob("*.py") if "def main(" in path.read_text()} - {"all.py"}
    assert {program for program, *_ in every.PROGRAMS.values()} == programs
    stored = {path.stem for path in TABLES.parent.glob("*/*.csv")}
    assert set(every.PROGRAMS) - stored == {"gpu"}  # whose table has a card's name
    monkeypatch.setattr(every, "PROGRAMS", {name: every.PROGRAMS[name] for name in ("scale_memory", "waits")})
    monkeypatch.setitem(every.PROGRAMS, "scale_memory", ("nowhere.py", "", ""))
    assert every.main(["--tiny", "--out", str(tmp_path / "tables")]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "failed: scale_memory"
    assert {r["name"] for r in rows_of(tmp_path / "tables" / "waits.csv")} == {"saliency", "deletion"}
    with pytest.raises(SystemExit):
        every.main(["--tiny"])
    monkeypatch.setattr(every, "has_gpu", lambda: False)
    monkeypatch.setattr(every, "PROGRAMS", {"gpu": ("nowhere.py", "", "")})
    assert every.main(["--out", str(tmp_path)]) == 0 and "left out" in capfd.readouterr().out


def test_peers_are_measured_where_they_are_installed(benchmarks, tmp_path):
    peers = benchmarks("peers")
    peers.main(["--tiny", "--out", str(tmp_path / "peers.csv")])
    rows = rows_of(tmp_path / "peers.csv")
    assert {r["peer"] for r in rows} == set(peers.PEERS)
    for row in rows:
        assert row["note"] or float(row["error"]) < 1e-5, row


def test_a_later_attempt_of_torchrun_meets_in_a_place_of_its_own(monkeypatch):
    from datetime import timedelta

    from attrnb.benchmark.team import _meet

    distributed, told = torch.distributed, []
    monkeypatch.setattr(distributed, "init_process_group", lambda *given, **how: told.append(how.get("store")))
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(distributed.HashStore(), 0, 2)]))
    for count, shared in (("0", "True"), ("2", "False"), ("2", "True")):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", shared)
        _meet(timedelta(seconds=5))
    assert told[:2] == [None, None]
    told[2].set("address", "here")
    assert told[2].underlying_store.check(["attempt-2/address"])


def test_the_tables_beside_the_pages_are_those_of_the_programs(benchmarks):
    for name in ("speed", "waits", "scale", "peers"):
        with open(TABLES / f"{name}.csv", newline="", encoding="utf-8") as file:
            assert next(csv.reader(file)) == list(benchmarks(name).COLUMNS)
    assert list(rows_of(TABLES / "scale_memory.csv")[0]) == benchmarks("scale").HELD
    known = {r["name"] for r in rows_of(TABLES / "waits.csv")}
    assert known == {*METHODS, *MEASURES, "geodesic_knn"}
