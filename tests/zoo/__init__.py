"""The zoo: networks of many kinds with random weights, each with two examples and a question about it.

`ENTRIES` is name -> Entry; `Entry.make()` builds a Case, always the same one. Nothing is downloaded. What is measured
of them is in experiments/what_runs.py, and the tables are on the page tutorials/what_runs.ipynb.
"""

from . import own, pictures, texts
from .cases import Case, Entry, numbers

ENTRIES: dict[str, Entry] = {e.name: e for e in (*pictures.entries(), *texts.entries(), *own.entries())}

__all__ = ["ENTRIES", "Case", "Entry", "numbers"]
