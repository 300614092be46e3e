"""Every method and measure against its floor and its peers, in ratios of one run.

    python benchmarks/speed.py                       # a quarter of an hour; writes nbs/tutorials/speed.csv
    python benchmarks/speed.py --tiny --out x.csv    # in small, as the tests run it: counts and equality count

The floor of a call are the rows that it passes through the network, in the same chunks, with a gradient where it takes
one, and nothing else. Call, floor and peers alternate; a ratio is that of one round, and the table has the median over
rounds with an interval. Seconds are those of the process, one thread. Two results are compared in the same run: that in
other chunks, and the peer's. `growth` rows have the exponent of the time when one size is doubled again and again.

Each row goes to a file beside the table as soon as it is there (speed.partial.csv); a run that was stopped goes on
behind it, and the table takes its place at the end. Remove that file to begin anew. peers.py has time_interpret and
Quantus.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

from cases import (  # noqa: E402
    Job,
    bare,
    error_between,
    jobs,
    median_and_interval,
    network,
    numbers,
    passes_of,
    seconds,
)
from tables import read_table, write_table  # noqa: E402

from attrnb.equilibrium import AttributionEquilibrium  # noqa: E402
from attrnb.geodesic import GeodesicIGKNN  # noqa: E402
from attrnb.neflag import NeFLAG  # noqa: E402
from attrnb.paths import PathIntegratedGradients  # noqa: E402

COLUMNS = (
    "part name case calls rows gradient_rows ratio low high rounds bytes_ratio chunk_error "
    "peer peer_ratio peer_low peer_high peer_error exponent sizes note"
).split()


class LiveBytes(TorchDispatchMode):
    "The most bytes that tensors made in the body held at one time"

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        given = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        self.known.update(t.untyped_storage() for t in given)  # a view of a weight isn't new
        result = operation(*args, **(kwargs or {}))
        for t in pytree.tree_leaves(result):
            if isinstance(t, torch.Tensor):
                held = t.untyped_storage()
                if held not in self.known:
                    self.known.add(held)
                    self.now += held.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(held, self._freed, held.nbytes())
        return result

    def _freed(self, n: int):
        self.now -= n


def most_bytes(call) -> int:
    "The most bytes of a call"
    with LiveBytes() as counted:
        call()
    return counted.most


def measured(job: Job, rounds: int, least: float) -> dict:
    "The row of one method or measure"
    job.run(None)  # what is kept from call to call is there
    found = passes_of(job)
    result, rows = job.run(None), sum(shape[0] for shape, _ in found)
    row = dict(part=job.part, name=job.name, case=job.case, calls=len(found), rows=rows)
    row["gradient_rows"] = sum(shape[0] for shape, gradient in found if gradient)
    smaller = max((shape[0] for shape, _ in found), default=2) // 2 or 1
    row["chunk_error"] = f"{error_between(job.run(smaller), result):.1e}"
    floor = bare(job.network, found, job.inputs) if found else None
    calls = dict(ours=lambda: job.run(None)) | ({} if floor is None else dict(floor=floor)) | job.rivals
    taken = {label: [] for label in calls}
    for _ in range(rounds):
        for label, call in calls.items():
            taken[label].append(seconds(call, least=least))
    if floor is None:
        row["note"] = "no pass through the network"
    else:
        ratios = [a / b for a, b in zip(taken["ours"], taken["floor"], strict=True)]
        row |= dict(zip(("ratio", "low", "high"), (f"{v:.3f}" for v in median_and_interval(ratios)), strict=True))
        row |= dict(rounds=rounds, bytes_ratio=f"{most_bytes(calls['ours']) / max(1, most_bytes(floor)):.2f}")
    for peer in job.rivals:
        ratios = [a / b for a, b in zip(taken["ours"], taken[peer], strict=True)]
        names = ("peer_ratio", "peer_low", "peer_high")
        row |= dict(zip(names, (f"{v:.3f}" for v in median_and_interval(ratios)), strict=True))
        row |= dict(peer=peer, peer_error=f"{error_between(result, job.rivals[peer]()):.1e}", rounds=rounds)
    return row


# Growth


def _straight(batch=16, steps=16, side=16, **_):
    net = network("image")
    method, x = PathIntegratedGradients(net), numbers(batch, 3, side, side)
    return lambda: method.attribute(x, target=0, n_steps=steps)


def _flux(batch=16, points=4, side=16, **_):
    method, x = NeFLAG(network("image")), numbers(batch, 3, side, side)
    return lambda: method.attribute(x, target=0, n_points=points)


def _balance(batch=16, side=16):
    method, x = AttributionEquilibrium(network("image")), numbers(batch, 3, side, side)
    return lambda: method.attribute(x, target=0)


def _graph(pool=1000, features=10):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(features, 64), torch.nn.Softplus(), torch.nn.Linear(64, 4)).eval()
    points, x = numbers(pool, features, seed=1), numbers(2, features)
    # made anew in each call: a second call of the same one finds its graph
    return lambda: GeodesicIGKNN(net, points).attribute(x, target=0, n_steps=2, integral_tolerance=None)


GROWTH = [
    ("integrated_gradients", "batch", _straight, (16, 32, 64, 128)),
    ("integrated_gradients", "steps", _straight, (16, 32, 64, 128)),
    ("integrated_gradients", "side", _straight, (16, 32, 64)),
    ("neflag", "batch", _flux, (8, 16, 32)),
    ("neflag", "points", _flux, (4, 8, 16)),
    ("neflag", "side", _flux, (16, 32)),
    ("equilibrium", "batch", _balance, (32, 64, 128, 256)),
    ("equilibrium", "side", _balance, (32, 64, 128)),
    ("geodesic_knn", "pool", _graph, (2500, 5000, 10_000, 20_000)),
    ("geodesic_knn", "features", _graph, (8, 16, 32, 64)),
]


def slope(sizes, values) -> float:
    "Of the straight line through the logarithms"
    a, b = ([math.log(v) for v in column] for column in (sizes, values))
    middle, height = sum(a) / len(a), sum(b) / len(b)
    return sum((p - middle) * (q - height) for p, q in zip(a, b, strict=True)) / sum((p - middle) ** 2 for p in a)


def growth(tiny: bool, rounds: int, done: Collection[tuple] = ()) -> Iterator[dict]:
    "A row per method and size, but for those that are done"
    import warnings

    for name, what, make, sizes in GROWTH:
        if ("growth", name, what) in done:
            continue
        sizes = sizes[:2] if tiny and what != "pool" else (100, 200) if tiny else sizes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calls = [make(**{what: size}) for size in sizes]
            taken = [[seconds(call) for call in calls] for _ in range(rounds)]
        middle, low, high = median_and_interval([slope(sizes, one) for one in taken])
        row = dict(part="growth", name=name, case=what, exponent=f"{middle:.2f}", low=f"{low:.2f}", high=f"{high:.2f}")
        yield row | dict(rounds=rounds, sizes=" ".join(map(str, sizes)))


# Start

_BARE_START = """
import torch, captum.attr
from attrnb.samples import sample_model
torch.set_num_threads(1)
net, x = sample_model().eval(), torch.rand({chunk}, 3, 96, 96)
for _ in range({rows} // {chunk}):
    z = x.clone().requires_grad_()
    torch.autograd.grad(net(z)[:, 0].sum(), z)
"""


def child_seconds(words: list[str]) -> float:
    "Seconds of a process of its own"
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


_MODULES = """
import contextlib, io, sys
before = set(sys.modules)
try:
    with contextlib.redirect_stdout(io.StringIO()):
        {code}
except SystemExit:
    pass
print(len(set(sys.modules) - before), "torch" in sys.modules)
"""


def start(rounds: int, folder: Path) -> list[dict]:
    "Modules that a command loads, and `attrnb explain` up to its picture against imports and gradients alone"
    rows = []
    for name, code in {
        "import attrnb": "import attrnb",
        "attrnb --version": "import attrnb.cli; attrnb.cli.main(['--version'])",
    }.items():
        words = [sys.executable, "-c", _MODULES.format(code=code)]
        loaded, torch_too = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        note = "torch loaded" if torch_too == "True" else "no torch"
        rows.append(dict(part="start", name=name, calls=loaded, note=note))
    if rounds:
        from attrnb.cli import explain

        done = explain(out=str(folder / "first.png"), images=4, quiet=True)
        gradients = int(sum((row["gradient_evaluations"] or 0) * 4 for row in done.rows))
        ratios = []
        for k in range(rounds):
            ours = child_seconds(["-m", "attrnb.cli", "explain", "--quiet", "--out", str(folder / f"{k}.png")])
            ratios.append(ours / child_seconds(["-c", _BARE_START.format(rows=gradients, chunk=32)]))
        row = dict(part="start", name="attrnb explain", rows=gradients, gradient_rows=gradients, rounds=rounds)
        told = (f"{v:.3f}" for v in median_and_interval(ratios))
        rows.append(row | dict(zip(("ratio", "low", "high"), told, strict=True)))
    return rows


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small inputs, one round: counts and equality")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", nargs="+", help="names of methods and measures; growth and start are left out then")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "nbs" / "tutorials" / "speed.csv")
    words = parser.parse_args(given)
    torch.set_num_threads(1)
    rounds, least = (1, 0.0) if words.tiny else (words.rounds, 0.05)
    sizes = dict(batch=2, side=12, rows=8) if words.tiny else dict(batch=8, side=32, rows=256)
    partial = words.out.with_suffix(".partial.csv")
    rows = read_table(partial) if partial.exists() else []
    done = {(row["part"], row["name"], row["case"]) for row in rows}

    def keep(row: dict):
        rows.append(row)
        print(*(row.get(k, "") for k in ("part", "name", "case", "ratio", "peer_ratio", "exponent")), flush=True)
        write_table(partial, COLUMNS, rows)

    for job in jobs(**sizes):
        if (words.only is None or job.name in words.only) and (job.part, job.name, job.case) not in done:
            keep(measured(job, rounds, least))
    if words.only is None:
        for row in growth(words.tiny, min(rounds, 3), done):
            keep(row)
        with tempfile.TemporaryDirectory() as folder:
            for row in start(0 if words.tiny else min(rounds, 3), Path(folder)):
                keep(row)
    write_table(partial, COLUMNS, rows)
    partial.replace(words.out)


if __name__ == "__main__":
    main()
