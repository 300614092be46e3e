"Where the rooms of the house are: modules, the notebooks they are made from, and the floors they stand on"

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(
    p for p in (ROOT / "nbs").rglob("*.ipynb") if not any(part[0] in "._" for part in p.relative_to(ROOT).parts)
)

# From the ground up: a wing imports from wings before it only, a room of a wing from rooms before it only
# (in the order of their notebooks).
FLOORS = (
    "_rooms",
    "core",
    "statistics",
    "samples",
    "photographs",
    "plots",
    "paths",
    "neflag",
    "geodesic",
    "equilibrium",
    "measures",
    "methods",
    "text",
    "testing",
    "benchmark",
    "explore",
    "cli",
)


def sources(path: Path) -> list[str]:
    "The code cells of a notebook"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def module_of(path: Path) -> str | None:
    "The dotted name, below attrnb, of the module that a notebook makes; None for a page that makes none"
    for source in sources(path):
        if found := re.search(r"^#\|\s*default_exp ([\w.]+)", source, flags=re.M):
            return found.group(1)
    return None


def rooms() -> dict[str, Path]:
    "Dotted name below attrnb -> notebook, floor by floor, in reading order"
    found = {module_of(p): p for p in NOTEBOOKS}
    found.pop(None, None)
    return dict(sorted(found.items(), key=lambda item: (FLOORS.index(item[0].split(".")[0]), item[1])))


def module_file(name: str) -> Path:
    "The file of a room"
    return ROOT / "attrnb" / (name.replace(".", "/") + ".py")


def is_exported(source: str) -> bool:
    "Whether a cell becomes part of the module"
    return bool(re.search(r"^#\|\s*export[is]?\b", source, flags=re.M))


def lines_of(source: str) -> int:
    "Lines of a cell without its directives"
    return len([line for line in source.strip().splitlines() if not line.startswith("#|")])


def runs_something(source: str) -> bool:
    "Whether a cell does more than import and show documentation"
    code = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    return any(
        not isinstance(statement, (ast.Import, ast.ImportFrom))
        and not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Call)
            and getattr(statement.value.func, "id", "") == "show_doc"
        )
        for statement in ast.parse(code).body
    )


def longest_stretch(path: Path) -> int:
    "The most exported lines of a notebook with nothing run between"
    longest = stretch = 0
    for source in sources(path):
        if is_exported(source):
            stretch += lines_of(source)
        elif runs_something(source):
            stretch = 0
        longest = max(longest, stretch)
    return longest
