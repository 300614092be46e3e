"The front door: names handed on lazily, commands that need no torch, help with every parameter"

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest
from house import ROOT, rooms

import attrnb


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    run("""
import sys
before = set(sys.modules)
import attrnb
assert len(set(sys.modules) - before) <= 12
assert not {"torch", "numpy", "captum"} & set(sys.modules), "a package of weight was imported"
assert attrnb.__version__ and "NeFLAG" in dir(attrnb) and "torch" not in sys.modules
""")


def test_commands_need_no_torch_to_answer():
    run("""
import contextlib, io, sys
from attrnb.cli import main
for words, code in [
    (["--version"], 0), (["--help"], 0),
    (["explain", "--help"], 0), (["bench", "--help"], 0), (["explore", "--help"], 0),
    (["fly"], 2), (["explain", "--colour"], 2), (["bench", "--score", "loss"], 2), (["explore", "--port", "many"], 2),
]:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main(words)
    except SystemExit as stop:
        assert stop.code == code, words
    else:
        raise AssertionError(words)
assert not {"torch", "numpy", "matplotlib"} & set(sys.modules)
""")


def test_a_first_picture_needs_neither_torchvision_nor_the_compiler(tmp_path):
    "Both take seconds: torchvision is for pictures of one's own, PyTorch's compiler for who compiles"
    run(f"""
import contextlib, io, os, sys
os.environ["TORCH_HOME"] = {str(tmp_path)!r}
from attrnb.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["explain", "--quiet", "--images", "1", "--out", {str(tmp_path / "first.png")!r}])
assert "torch" in sys.modules and os.path.getsize({str(tmp_path / "first.png")!r})
assert not {{"torchvision", "torch._dynamo"}} & set(sys.modules)
assert len(sys.modules) < 2800, len(sys.modules)
""")


def test_type_checkers_see_what_is_handed_on():
    tree = ast.parse((ROOT / "attrnb" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [(node.module, a) for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert all(a.name == a.asname for _, a in imports)  # how a stub says that a name is handed on
    seen = {a.name: room for room, a in imports}
    assert seen == attrnb._HOME
    assert attrnb.__all__ == sorted(seen) and set(attrnb.__all__) <= set(dir(attrnb))


def test_every_name_is_the_one_of_its_room():
    for name, room in attrnb._HOME.items():
        thing = getattr(attrnb, name)
        home = getattr(import_module(f"attrnb.{room}"), name)
        assert thing is home or (inspect.ismodule(thing) and getattr(thing, name) is home), name
    with pytest.raises(AttributeError, match="NeFLAGG"):
        attrnb.__getattr__("NeFLAGG")
    with pytest.raises(ImportError, match="_nothing"):
        from attrnb import _nothing  # noqa: F401


def test_rooms_can_be_had_by_a_dot():
    run("import attrnb; attrnb.neflag.NeFLAG; import sys; assert 'attrnb.explore' not in sys.modules")


def offered():
    "Every public function and method, and every dataclass, of every room"
    for room in rooms():
        module = __import__(f"attrnb.{room}", fromlist=["_"])
        for thing in (getattr(module, name) for name in module.__all__):
            for member in [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]:
                named = getattr(member, "__name__", "_")
                if getattr(member, "__module__", "") == module.__name__ and (named == "__init__" or named[0] != "_"):
                    if inspect.isfunction(member) or hasattr(member, "__dataclass_fields__"):
                        yield room, member


def test_help_tells_every_parameter():
    from fastcore.docments import docments

    silent = []
    for room, member in offered():
        try:
            comments = docments(inspect.unwrap(member), returns=False)
        except OSError:  # a method that dataclass made
            continue
        said = member.__doc__ or ""
        silent += [
            f"{room}.{member.__qualname__}({name})"
            for name, comment in comments.items()
            if comment and f"    {name}: {' '.join(comment.split())}" not in said
        ]
    assert not silent, silent


def test_a_page_tells_a_comment_once():
    from nbdev.showdoc import show_doc

    from attrnb.core import class_scores

    assert class_scores.__doc__.count("one of SCORES") == str(show_doc(class_scores)).count("one of SCORES") == 1


@pytest.mark.parametrize("name", ["attrnb.core", "attrnb.neflag", "attrnb.explore"])
def test_a_module_loaded_again_tells_its_parameters_once(name):
    run(f"""
import importlib, inspect
module = importlib.import_module("{name}")
def told():
    things = [getattr(module, n) for n in module.__all__]
    parts = [m for t in things for m in (t, *(vars(t).values() if inspect.isclass(t) else ()))]
    return [getattr(part, "__doc__", None) for part in parts]
before = told()
assert any("Parameters:" in str(doc) for doc in before)
for _ in range(2):
    importlib.reload(module)
    assert told() == before
""")


def test_the_cost_of_help_is_small():
    run("""
import time, torch, torchvision, captum.attr, matplotlib.pyplot
import attrnb._rooms as rooms
tell, spent, start = rooms.tell_parameters, [], time.process_time()
def timed(room):
    before = time.process_time()
    tell(room)
    spent.append(time.process_time() - before)
rooms.tell_parameters = timed
import importlib, pkgutil, attrnb
for m in pkgutil.walk_packages(attrnb.__path__, "attrnb."):
    importlib.import_module(m.name)
assert len(spent) > 10 and sum(spent) < 0.1, sum(spent)
""")


def test_a_wing_offers_what_its_rooms_offer():
    names = {}
    exec("from attrnb.core import *", names)
    assert {"gradients", "TargetScore", "SCORES"} < set(names) and not {"whole_number", "checks", "torch"} & set(names)


ORDERS = [
    "from attrnb import explore; import attrnb.explore",
    "import attrnb.explore; from attrnb import explore",
    "from attrnb.explore import Explorer; from attrnb import explore",
    "import attrnb; explore = attrnb.explore",
    "from attrnb.explore import explore",
    "import attrnb.cli; from attrnb import *",
    "import attrnb.explore as explore",
]


def test_two_wings_are_called_as_functions_whatever_was_imported_before():
    run(f"""
import inspect, pickle, pydoc, sys
import captum.attr, matplotlib.pyplot, torchvision
for order in {ORDERS}:
    for name in [name for name in sys.modules if name.partition(".")[0] == "attrnb"]:
        del sys.modules[name]
    names = {{}}
    exec(order, names)
    explore = names["explore"]
    import attrnb.explore, attrnb.benchmark
    assert inspect.isclass(attrnb.explore.Explorer) and inspect.isfunction(attrnb.explore.explore)
    main = attrnb.explore.explore
    assert callable(explore) and inspect.signature(explore) == inspect.signature(main), order
    assert explore is main or explore is attrnb.explore
    assert pickle.loads(pickle.dumps(explore)) is explore
    for part in (explore, attrnb.benchmark):
        assert "Parameters:" in pydoc.render_doc(part) and "methods" in inspect.getdoc(part)
    try:
        explore(3)
    except TypeError as error:
        assert "explore()" in str(error), error
    else:
        raise AssertionError("the function was not called")
""")
