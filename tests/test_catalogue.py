"""Bad and odd input, one row each: a right answer, or TypeError or ValueError that says what was given and what
is accepted.

The rows are in tests/catalogue/, grouped by what they are given to; how a row is judged stands in its __init__.py.
"""

import os
import shutil
import tempfile

import matplotlib.pyplot
import pytest
import torch
from catalogue import explorer, functions, measures, methods, pictures, runs

ROWS = [row for table in (methods, functions, measures, pictures, runs, explorer) for row in table.rows]


@pytest.fixture(scope="module", autouse=True)
def one_thread(tmp_path_factory):
    """Small tensors are faster on one thread; the run folder that rows damage copies of, and the explorer whose
    traits they set, are made once
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["ATTRNB_CATALOGUE_TMP"] = str(tmp_path_factory.mktemp("catalogue"))
    yield
    explorer.close_shared()
    del os.environ["ATTRNB_CATALOGUE_TMP"]
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def in_an_empty_folder():
    before, folder = os.getcwd(), tempfile.mkdtemp()
    os.chdir(folder)
    yield
    os.chdir(before)
    shutil.rmtree(folder)


def parameters():
    for row in ROWS:
        marks = pytest.mark.xfail(strict=True, reason=row.excuse) if row.excuse else ()
        yield pytest.param(row, id=row.id.replace("\0", "NUL"), marks=marks)


@pytest.mark.parametrize("row", parameters())
def test_row(row):
    outcome, said = row.judge()
    assert outcome == "ok", f"{outcome}: {said}"
    assert not matplotlib.pyplot.get_fignums()


def test_the_table():
    "Ids are unique, every public module has its rows, and hardly any is known to be wrong"
    ids = [row.id for row in ROWS]
    assert len(ids) == len(set(ids)), {i for i in ids if ids.count(i) > 1}
    assert len(ROWS) >= 400
    assert {row.module for row in ROWS} == {
        "core",
        "samples",
        "plots",
        "paths",
        "neflag",
        "geodesic",
        "equilibrium",
        "measures",
        "benchmark",
        "explore",
        "cli",
    }
    assert sum(bool(row.excuse) for row in ROWS) <= len(ROWS) // 100
