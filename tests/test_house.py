"The house is in order: metadata, notebooks, README, and imports without side effects"

import ast
import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(
    p for p in (ROOT / "nbs").rglob("*.ipynb") if not any(part[0] in "._" for part in p.relative_to(ROOT).parts)
)
MODULES = sorted(p for p in (ROOT / "attrnb").glob("*.py") if p.name[0] != "_")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_small_clean_and_ran_to_the_end(path):
    assert path.stat().st_size < 3_000_000
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        assert source.strip(), "an empty cell"
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error", source
            text = "".join(output.get("text", "")) + "".join(output.get("data", {}).get("text/plain", ""))
            assert not re.search(r"/(home|root|tmp|work|Users)/", text), (
                f"a path of the author's machine in the output of:\n{source}"
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_module_imports_only_lower_numbers(path):
    order = {re.sub(r"^\d+_", "", p.stem): p.stem[:2] for p in (ROOT / "nbs").glob("[0-9]*_*.ipynb")}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not any(a.name == "*" for a in node.names), f"import * in {path.name}"
            module = f"attrnb.{node.module}" if node.level else node.module
            if module.startswith("attrnb."):
                assert order[module.split(".")[1]] < order[path.stem], f"{path.name} imports {module}"


def test_every_public_parameter_is_explained():
    import importlib
    import inspect

    from fastcore.docments import docments

    silent = []
    for path in MODULES:
        module = importlib.import_module(f"attrnb.{path.stem}")
        for name in module.__all__:
            thing = getattr(module, name)
            if name.startswith("_") or not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            functions = [thing]
            if inspect.isclass(thing):
                functions = [
                    f
                    for n, f in vars(thing).items()
                    if inspect.isfunction(f)
                    and f.__module__ == thing.__module__
                    and (n == "__init__" or not n.startswith("_"))
                ]
                if hasattr(thing, "__dataclass_fields__"):
                    functions = [f for f in functions if f.__name__ != "__init__"]
            assert inspect.getdoc(thing), f"{path.stem}.{name} has no docstring"
            for f in functions:
                f = inspect.unwrap(f)
                named = {
                    p
                    for p, q in inspect.signature(f).parameters.items()
                    if q.kind not in (q.VAR_POSITIONAL, q.VAR_KEYWORD)
                }
                comments = {p: c for p, c in docments(f, returns=False).items() if p in named}
                silent += [
                    f"{path.stem}.{name}.{f.__name__}({p})"
                    for p, c in comments.items()
                    if p not in ("self", "cls")
                    and not c
                    and not (
                        inspect.isclass(thing)
                        and issubclass(thing, __import__("torch").nn.Module)
                        and f.__name__ == "forward"
                    )
                ]
    assert not silent, silent


def test_import_has_no_side_effects():
    code = """
import random, warnings, numpy, torch
filters, options, state = list(warnings.filters), numpy.get_printoptions(), torch.get_rng_state()
import captum.attr, sklearn.neighbors, torchvision
filters, random_state = list(warnings.filters), random.getstate()
import importlib, pkgutil, attrnb
for m in pkgutil.iter_modules(attrnb.__path__):
    importlib.import_module('attrnb.' + m.name)
assert numpy.get_printoptions() == options and torch.equal(torch.get_rng_state(), state) and random.getstate() == random_state
assert [f for f in warnings.filters if f not in filters] == []
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_metadata_is_said_once():
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    from importlib.metadata import version

    import attrnb

    assert attrnb.__version__ == version("attrnb") == ini["DEFAULT"]["version"]
    assert f"## {ini['DEFAULT']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_readme_follows_the_index(readme):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == readme.readme()
    assert readme.set_up_commands(text) == {
        "main": "pip install -e . && attrnb explain",
        "tests": "pip install -e '.[dev]' && pytest",
    }
    for picture in re.findall(r"!\[[^\]]*\]\((?!http)([^)]+)\)", text):
        assert (ROOT / picture).exists(), picture
