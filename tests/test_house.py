"The house is in order: metadata, notebooks, README, and imports without side effects"

import ast
import configparser
import json
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml
from house import (
    FLOORS,
    NOTEBOOKS,
    ROOT,
    is_exported,
    lines_of,
    longest_stretch,
    module_file,
    rooms,
    sources,
)

ROOMS = rooms()
every_room = pytest.mark.parametrize("name", ROOMS)


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


def test_every_module_is_made_from_a_notebook():
    there = {
        p.relative_to(ROOT / "attrnb").with_suffix("").as_posix().replace("/", ".")
        for p in (ROOT / "attrnb").rglob("*.py")
        if p.name not in ("__init__.py", "__main__.py", "_modidx.py")
    }
    assert there == set(ROOMS)


@every_room
def test_room_imports_only_from_below(name):
    position = list(ROOMS).index(name)
    for node in ast.walk(ast.parse(module_file(name).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        assert not any(a.name == "*" for a in node.names), f"import * in {name}"
        package = ["attrnb", *name.split(".")][: -node.level] if node.level else []
        module = ".".join([*package, *filter(None, [node.module])])
        if not module.startswith("attrnb."):
            continue
        used = module.removeprefix("attrnb.")
        if used in ROOMS:
            assert list(ROOMS).index(used) < position, f"{name} imports {module}"
        else:  # a wing
            assert FLOORS.index(used) < FLOORS.index(name.split(".")[0]), f"{name} imports {module}"


# Rooms of a size to live in


MOST_LINES, MOST_IN_A_CELL, MOST_BETWEEN_RUNS = 450, 60, 120


@every_room
def test_a_room_is_of_a_size_to_live_in(name):
    assert len(module_file(name).read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    longest = max((s for s in sources(ROOMS[name]) if is_exported(s)), key=lines_of)
    assert lines_of(longest) <= MOST_IN_A_CELL, longest
    assert longest_stretch(ROOMS[name]) <= MOST_BETWEEN_RUNS, "lines of code on end with nothing run between"


def test_every_public_parameter_is_explained():
    import importlib
    import inspect

    from fastcore.docments import docments

    silent = []
    for room in ROOMS:
        module = importlib.import_module(f"attrnb.{room}")
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
            assert inspect.getdoc(thing), f"{room}.{name} has no docstring"
            for f in functions:
                f = inspect.unwrap(f)
                named = {
                    p
                    for p, q in inspect.signature(f).parameters.items()
                    if q.kind not in (q.VAR_POSITIONAL, q.VAR_KEYWORD)
                }
                comments = {p: c for p, c in docments(f, returns=False).items() if p in named}
                silent += [
                    f"{room}.{name}.{f.__name__}({p})"
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
import captum.attr, scipy.sparse, scipy.special, torchvision
filters, random_state = list(warnings.filters), random.getstate()
import importlib, pkgutil, attrnb
for m in pkgutil.walk_packages(attrnb.__path__, 'attrnb.'):
    importlib.import_module(m.name)
assert numpy.get_printoptions() == options
assert torch.equal(torch.get_rng_state(), state) and random.getstate() == random_state
assert [f for f in warnings.filters if f not in filters] == []
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_metadata_is_said_once():
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
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
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (ROOT / picture.removeprefix(f"{readme.PICTURES}/")).is_file(), picture
    assert not re.findall(r"\]\((?!https://)[^)]*\)", text), "a link that a package index can't follow"


def test_citation_has_the_version_of_the_package():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["version"] == version("attrnb")
    about = (ROOT / "nbs" / "about.ipynb").read_text(encoding="utf-8")
    assert cited["title"] in about and cited["repository-code"] in about and cited["authors"][0]["name"] in about


def test_workflows_and_forms_are_read_by_yaml():
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict), file
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        assert {"name", "description", "body"} <= set(yaml.safe_load(form.read_text(encoding="utf-8"))), form


def test_what_is_built_is_the_package(tmp_path):
    "A fast stand-in for the wheel: what setup.py would put into it"
    listed = subprocess.run(
        [
            sys.executable,
            "setup.py",
            "--quiet",
            "build",
            "--build-base",
            str(tmp_path),
            "--build-lib",
            f"{tmp_path}/lib",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0 and "ignored" not in listed.stderr, listed.stderr
    built = {p.relative_to(tmp_path / "lib").as_posix() for p in (tmp_path / "lib").rglob("*") if p.is_file()}
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "attrnb").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert built == there and "attrnb/py.typed" in built
