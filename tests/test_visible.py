"""What a reader has who copies a page from the top: its visible cells, and nothing else"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from house import NOTEBOOKS, ROOT

from conftest import is_visible, visible_copy

# two short pages; `pytest nbs --visible` runs them all
SAMPLE = "nbs/measures/10_units.ipynb nbs/core/10_messages.ipynb".split()


def code(path: Path) -> str:
    "The visible cells of a page, one after the other; lines for the notebook and the shell left out"
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    shown = ["".join(c["source"]) for c in cells if is_visible("".join(c["source"]))]
    lines = "\n".join(s for s in shown if "#| eval: false" not in s).splitlines()
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in lines) + "\n"


def undefined(folder: Path, pages: dict[str, str]) -> list[str]:
    "Names that the code of pages uses and doesn't define, as ruff sees it"
    for name, source in pages.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "concise"]
    found = subprocess.run([*command, "--config", 'builtins = ["display"]', folder], capture_output=True, text=True)
    assert found.returncode in (0, 1), found.stderr
    return [line for line in found.stdout.splitlines() if "F821" in line or "invalid-syntax" in line]


def test_every_name_that_a_page_uses_is_made_by_its_visible_cells(tmp_path):
    pages = {"-".join(p.relative_to(ROOT).with_suffix("").parts): code(p) for p in NOTEBOOKS}
    assert len(pages) > 100
    assert not undefined(tmp_path, pages)


def test_a_name_out_of_a_hidden_cell_is_found(tmp_path):
    found = undefined(tmp_path, dict(one="import math\nmath.pi\nlost()\n", two="found = 1\nfound\n"))
    assert len(found) == 1 and "one.py" in found[0] and "lost" in found[0]


def test_what_is_visible():
    shown = "a = 1", "#| exports\na = 1", "#| exporti\n#| code-fold: true\na = 1", "#| slow\na = 1"
    hidden = "#| export\na = 1", "#| hide\na = 1", "#| exporti\na = 1", "#| include: false\na = 1"
    assert all(map(is_visible, shown)) and not any(map(is_visible, hidden))


def test_the_site_hides_the_same_cells():
    from fastcore.nbio import dict2nb, mk_cell
    from nbdev.process import NBProcessor

    from attrnb._rooms import hide_exported

    sources = "#| export\na = 1", "#| hide\na = 1", "#| exporti\na = 1", "#| exports\na = 1", "b = 1"
    page = NBProcessor(nb=dict2nb(dict(cells=[mk_cell(s) for s in sources], metadata={})), procs=[hide_exported])
    page.process()
    assert len(page.nb.cells) == sum(map(is_visible, sources)) == 2


@pytest.mark.parametrize("page", SAMPLE)
def test_a_copied_page_runs(page):
    copy = visible_copy(ROOT / page)
    try:
        run = "import sys; from nbdev.test import test_nb; from pathlib import Path"
        run += "\nok, _ = test_nb(Path(sys.argv[1]), basepath=Path(sys.argv[2])); sys.exit(not ok)"
        done = subprocess.run([sys.executable, "-c", run, copy, ROOT], capture_output=True, text=True, cwd=ROOT)
    finally:
        copy.unlink()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
