"The tables that these programs write beside the pages"

import csv
from collections.abc import Sequence
from pathlib import Path


def write_table(path: Path, columns: Sequence[str], rows: Sequence[dict]):
    "A CSV file of the rows; what a row doesn't have stays empty"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict]:
    "The rows of such a file, as words"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
