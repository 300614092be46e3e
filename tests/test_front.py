"The front door: names handed on lazily, commands that need no torch, help with every parameter"

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest
from house import ROOT

import attrnb


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    run("""
import time
start = time.process_time()
import attrnb
assert time.process_time() - start < 0.1
import sys
assert not {"torch", "numpy", "captum"} & set(sys.modules), "a package of weight was imported"
assert attrnb.__version__ and "NeFLAG" in dir(attrnb) and "torch" not in sys.modules
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
