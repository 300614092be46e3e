"""Many images, several processes, one of them killed: the table of one process, and what a process holds in memory.

    python benchmarks/scale.py                             # 1,000 and 10,000 pictures, four processes
    python benchmarks/scale.py --images 50 100 --out x.csv # in small, as the tests run it
    python benchmarks/scale.py --held                      # what of a run is in memory; writes scale_memory.csv

For each number of pictures a folder of small PNG files is made. One process explains them, and then `torchrun` starts
several on a folder of their own; when a part of the blocks is finished, one of these is killed (SIGKILL), and torchrun
starts them again. The merged table must be, letter for letter, that of the single process, and no finished block may be
done again. A row of the CSV file tells one run: passes, blocks, bytes, and by how much memory grew in the processes (of
the first one, which merges, for itself).

`--held` counts the bytes that Python has given out (tracemalloc; not those of tensors, whose blocks have one size), of
two processes of four that come back to a run of which their quarters are missing: the first, which merges, and the
second. For the count the methods are two floors, since what a method computes is not what is asked.
"""

import argparse
import dataclasses
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

from tables import read_table, write_table  # noqa: E402

SIDE, CLASSES, PART = 16, 6, 500
METHODS = ["saliency", "integrated_gradients(n_steps=4)"]
MEASURES = ["deletion", "energy_inside"]
CHEAP = dict(methods=["centre", "uniform"], measures=["energy_inside"])
COLUMNS = (
    "images processes killed restarts blocks blocks_again same_table same_values gradients forward_rows "
    "result_bytes seconds memory_before memory_growth memory_growth_merging"
).split()
HELD = "images process plan held most version".split()


def make_pictures(folder: Path, n: int) -> Path:
    "A folder of small pictures with labels and boxes; the file of annotations"
    import numpy as np
    from PIL import Image

    (folder / "photos").mkdir(parents=True, exist_ok=True)
    entries = {}
    for first in range(0, n, PART):
        draw = np.random.default_rng(first)
        for i in range(first, min(first + PART, n)):
            pixels = draw.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            x, y, label = int(draw.integers(0, SIDE - 6)), int(draw.integers(0, SIDE - 6)), int(draw.integers(CLASSES))
            pixels[y : y + 6, x : x + 6, label % 3] = 140 + 20 * label
            name = f"{i // 1000:03d}/{i:06d}.png"
            (folder / "photos" / name).parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / "photos" / name)
            entries[name] = dict(label=label, boxes=[[x, y, x + 5, y + 5]])
    (folder / "boxes.json").write_text(json.dumps(entries))
    return folder / "boxes.json"


def tiny_network():
    "Two convolutions with random weights, always the same ones"
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 12, 3, 2), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, CLASSES)).eval()


def highest() -> int:
    "Bytes of this process at its highest"
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def the_call(pictures: Path, block: int) -> dict:
    "What every process is asked for"
    from torchvision.transforms.functional import pil_to_tensor

    return dict(
        data=pictures / "photos",
        methods=METHODS,
        measures=MEASURES,
        annotations=pictures / "boxes.json",
        preprocess=lambda picture: pil_to_tensor(picture) / 255,
        masking_steps=4,
        unit=4,
        batch_size=block,
        keep=None,
        show_progress=False,
    )


def work(pictures: Path, run: Path, block: int):
    "What each process does; it leaves a note of its memory beside the run folder"
    import torch

    from attrnb.benchmark import benchmark
    from attrnb.methods import attribute, read_methods

    torch.set_num_threads(1)
    rank, network = int(os.environ.get("RANK", 0)), tiny_network()
    notes = run.parent / f"{run.name}-processes"
    notes.mkdir(exist_ok=True)
    note = notes / f"{rank}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}.json"
    x = torch.rand(block, 3, SIDE, SIDE)
    (method,) = read_methods(METHODS[1]).values()
    attribute(method, network, x, [0] * block)  # what a block loads is loaded
    before = highest()
    note.write_text(json.dumps(dict(pid=os.getpid(), before=before)))
    benchmark(network, folder=run, **the_call(pictures, block))
    note.write_text(json.dumps(dict(pid=os.getpid(), before=before, peak=highest())))


@dataclasses.dataclass
class Seat:
    "One process of several, which are not there"

    rank: int
    size: int
    local_rank: int = 0

    def agree(self, action):
        if self.rank == 0:
            action()

    def wait(self):
        "For nobody"


def held_by(pictures: Path, run: Path, block: int, seat: Seat) -> tuple[int, int, int]:
    "Bytes of the plan, bytes held when the run is over (its result among them), and the most at a time"
    from attrnb.benchmark.plan import Plan, read_plan
    from attrnb.benchmark.run import _run
    from attrnb.benchmark.trial import try_plan

    tracemalloc.start()
    call = the_call(pictures, block) | CHEAP
    plan = try_plan(read_plan(Plan(tiny_network(), folder=run, team=seat, **call)))
    gc.collect()
    of_plan = tracemalloc.get_traced_memory()[0]
    result = _run(plan)
    gc.collect()
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.missing == 0
    return of_plan, held, most


def held(folder: Path, n: int, block: int) -> list[dict]:
    "Two rows: of four processes the first, which merges, and the second, each of which finds its quarter missing"
    from attrnb.benchmark import benchmark

    rows, pictures, run = [], folder / str(n), folder / f"run-{n}"
    make_pictures(pictures, n)
    benchmark(tiny_network(), folder=run, **the_call(pictures, block) | CHEAP)
    for process, seat in dict(merging=Seat(0, 4), working=Seat(1, 4)).items():
        for first in range(block * seat.rank, n, block * seat.size):
            for path in (run / "results").glob(f"{first:06d}-*.json"):
                path.unlink()
        found = held_by(pictures, run, block, seat)
        rows.append(dict(images=n, process=process) | dict(zip(HELD[2:5], found, strict=True)))
    return rows


def results_of(run: Path) -> dict[str, tuple[int, str]]:
    "File of a finished block -> when it was written, and a digest of what it says"
    files = [p for p in (run / "results").glob("*.json") if p.name[0] != "."] if (run / "results").is_dir() else []
    return {p.name: (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}


def kill_one(run: Path, blocks: int, done: dict):
    "When a third of the blocks is there, kill the process of rank 1 and note what was finished"
    notes = run.parent / f"{run.name}-processes"
    while not done.get("over"):
        if len(results_of(run)) >= max(1, blocks // 3) and (notes / "1-0.json").exists():
            os.kill(json.loads((notes / "1-0.json").read_text())["pid"], signal.SIGKILL)
            time.sleep(1)
            done["finished"] = results_of(run)
            return
        time.sleep(0.02)


def values_of(run: Path) -> list[tuple]:
    "All results but the seconds"
    rows = [row for p in sorted((run / "results").glob("*.json")) for row in json.loads(p.read_text())]
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    return sorted(json.dumps(row, sort_keys=True) for row in kept)


def measure(folder: Path, n: int, processes: int, block: int) -> list[dict]:
    "The rows of one number of pictures: one process, and several of which one is killed"
    make_pictures(folder, n)
    blocks = -(-n // block) * len(METHODS)
    environment = os.environ | dict(OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join(map(str, [HERE.parents[1]])))
    rows, single = [], folder / "single"
    for size, run in ((1, single), (processes, folder / "team")):
        words = [str(HERE), "--work", str(folder), str(run), "--block", str(block)]
        start, done = time.perf_counter(), {}
        if size > 1:
            launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(size), "--max-restarts", "2"]
            words = ["-m", *launcher, *words]
            killer = threading.Thread(target=kill_one, args=(run, blocks, done))
            killer.start()
        ended = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
        if size > 1:
            done["over"] = True
            killer.join()
        if ended.returncode:
            raise SystemExit(ended.stderr[-3000:])
        rows.append(row_of(run, single, size, done, time.perf_counter() - start) | dict(images=n, blocks=blocks))
    return rows


def row_of(run: Path, single: Path, size: int, done: dict, seconds: float) -> dict:
    "What one run was"
    found, notes = results_of(run), (run.parent / f"{run.name}-processes").glob("*.json")
    told = [(p.stem, json.loads(p.read_text())) for p in notes]
    restarts = max(int(name.split("-")[1]) for name, _ in told)
    ended = {name.split("-")[0]: note for name, note in told if name.endswith(f"-{restarts}")}
    rows = [row for p in (run / "results").glob("*.json") for row in json.loads(p.read_text())]
    return dict(
        processes=size,
        killed=int("finished" in done),
        restarts=restarts,
        blocks_again=sum(found[name] != there for name, there in done.get("finished", {}).items()),
        same_table=(run / "table.md").read_text() == (single / "table.md").read_text(),
        same_values=values_of(run) == values_of(single),
        gradients=round(sum(row["gradient_evaluations"] or 0 for row in rows)),
        forward_rows=round(sum(row["forward_rows"] or 0 for row in rows)),
        result_bytes=sum(p.stat().st_size for p in (run / "results").glob("*.json")),
        seconds=round(seconds, 1),
        memory_before=max(note["before"] for note in ended.values()),
        memory_growth=max((n["peak"] - n["before"] for rank, n in ended.items() if rank != "0"), default=""),
        memory_growth_merging=ended["0"]["peak"] - ended["0"]["before"],
    )


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", help="numbers of pictures; default 1000 and 10000")
    parser.add_argument("--held", action="store_true", help="count what is in memory; three numbers of pictures")
    parser.add_argument("--version", default="now", help="a word for the table of what is held")
    parser.add_argument("--processes", type=int, default=4, help="under torchrun")
    parser.add_argument("--block", type=int, default=50, help="pictures of one method that are stored together")
    parser.add_argument("--out", type=Path, help="default nbs/tutorials/scale.csv, or scale_memory.csv")
    parser.add_argument("--work", type=Path, nargs=2, help=argparse.SUPPRESS)  # what torchrun starts
    words = parser.parse_args(given)
    if words.work:
        return work(*words.work, words.block)
    rows, tables = [], HERE.parents[1] / "nbs" / "tutorials"
    if words.held:
        import torch

        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            held(Path(folder), words.block, words.block)  # what a run loads is loaded
            for n in words.images or [2000, 10_000, 20_000]:
                rows += held(Path(folder), n, words.block)
                print(rows[-2], rows[-1], sep="\n", flush=True)
        out = words.out or tables / "scale_memory.csv"
        older = [r for r in read_table(out) if r["version"] != words.version] if out.exists() else []
        return write_table(out, HELD, older + [row | dict(version=words.version) for row in rows])
    for n in words.images or [1000, 10_000]:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder), n, words.processes, words.block)
        print(rows[-2], rows[-1], sep="\n", flush=True)
        write_table(words.out or tables / "scale.csv", COLUMNS, rows)


if __name__ == "__main__":
    main()
