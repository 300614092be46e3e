"What the programs of this folder share: a network made faster, the end of a run with failures, tables of rows"

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from attrnb.benchmark import BenchmarkRun


def faster(model: nn.Module) -> nn.Module:
    "The same function, faster on a CPU: batch normalisation folded into convolutions, channels last"
    return fuse(model).eval().to(memory_format=torch.channels_last)


def stop_at_failures(run: BenchmarkRun):
    "SystemExit where maps failed"
    if run.failures:
        raise SystemExit(f"{len(run.failures)} maps failed, see {run.folder}/table.md; the same line tries them again")


def read_rows(path: Path, keys: Sequence[str]) -> dict[tuple[str, ...], dict]:
    "The rows of a CSV file by their keys; none where there is no file"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(row[k] for k in keys): row for row in csv.DictReader(file)}


def write_rows(path: Path, rows: Iterable[dict], columns: Sequence[str]):
    "A CSV file, all of it or, when killed, as it was"
    new = path.with_suffix(".new")
    with new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    new.replace(path)


def put_rows(path: Path, rows: Sequence[dict], keys: Sequence[str]):
    "Rows in the place of those with the same keys, the others as they are"
    table = read_rows(path, keys) | {tuple(str(row[k]) for k in keys): row for row in rows}
    write_rows(path, table.values(), list(rows[0]))
