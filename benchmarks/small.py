"""Integrated gradients and NeFLAG on small networks for tables, against the gradients of the same rows.

    python benchmarks/small.py                       # writes nbs/tutorials/small.csv
    python benchmarks/small.py --beside FOLDER       # in turn with the attrnb in another folder, "before" in the table

On networks this small what a method adds to its passes is most of what there is. Every round is a process of its own,
in which call and bare gradients alternate; a ratio is the median of one process, and the table has the median over
rounds and their range. Seconds are those of the process, one thread. Operations are those that PyTorch dispatches, of
one call and of its bare gradients.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

COLUMNS = "version method network passes rows operations bare_operations ratio low high rounds".split()
NETWORKS = ((10, 64, 64, 3), (10, 64, 4), (10, 16, 3))


def operations(call) -> int:
    "How many operations of PyTorch a call dispatches"
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            self.found += 1
            return operation(*args, **(kwargs or {}))

    with Count() as count:
        call()
    return count.found


def measure(batch: int, alternations: int, least: float) -> list[dict]:
    "Ratios of this process, with the attrnb that it finds"
    import warnings

    import torch
    from cases import bare, numbers, passes, seconds

    from attrnb.neflag import NeFLAG
    from attrnb.paths import PathIntegratedGradients

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    x, targets, rows = numbers(batch, 10), [i % 3 for i in range(batch)], []
    for sizes in NETWORKS:
        torch.manual_seed(0)
        layers = [
            part for pair in zip(sizes, sizes[1:], strict=False) for part in (torch.nn.Linear(*pair), torch.nn.ReLU())
        ]
        net = torch.nn.Sequential(*layers[:-1]).eval()
        for kind, settings in ((PathIntegratedGradients, dict(n_steps=200)), (NeFLAG, dict(n_points=20))):

            def run(method=kind(net), settings=settings):
                return method.attribute(x, target=targets, **settings)

            with passes(net) as found:
                run()
            floor, ratios = bare(net, found, x), []
            for _ in range(alternations):
                ratios.append(seconds(run, least=least) / seconds(floor, least=least))
            row = dict(method=kind.__name__, network="-".join(map(str, sizes)), passes=len(found))
            row |= dict(operations=operations(run), bare_operations=operations(floor))
            rows.append(row | dict(rows=sum(shape[0] for shape, _ in found), ratio=statistics.median(ratios)))
    return rows


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--tiny", action="store_true", help="few rows, one round: that it runs")
    parser.add_argument("--beside", type=Path, help="a folder with another version of attrnb")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "nbs" / "tutorials" / "small.csv")
    words = parser.parse_args(given)
    sizes = (4, 1, 0.0) if words.tiny else (256, 7, 0.05)
    if words.child:
        print(json.dumps(measure(*sizes)))
        return
    from tables import write_table

    folders = ({"before": words.beside} if words.beside else {}) | {"now": HERE.parents[1]}
    found: dict[tuple, list[dict]] = {}
    for _ in range(1 if words.tiny else words.rounds):
        for version, folder in folders.items():
            command = [sys.executable, str(HERE), "--child", *(["--tiny"] if words.tiny else [])]
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(folder)}
            )
            for row in json.loads(done.stdout):
                found.setdefault((version, row["method"], row["network"]), []).append(row)
    table = []
    for (version, _, _), rows in found.items():
        ratios = [row["ratio"] for row in rows]
        told = dict(zip(("ratio", "low", "high"), (statistics.median(ratios), min(ratios), max(ratios)), strict=True))
        table.append(rows[0] | dict(version=version, rounds=len(rows)) | {k: f"{v:.2f}" for k, v in told.items()})
        print(*(table[-1][k] for k in COLUMNS), flush=True)
    write_table(words.out, COLUMNS, table)


if __name__ == "__main__":
    main()
