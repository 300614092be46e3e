"The table of planted faults stays true: every text is where it should be, and the outcome is in CONTRIBUTING.md"

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _script():
    spec = importlib.util.spec_from_file_location("plant_faults", ROOT / "scripts/plant_faults.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


planted = _script()


def _is_there(test):
    file, _, name = test.partition("::")
    return (ROOT / file).is_file() and (not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda f: f.id)
def test_a_fault_can_be_planted(fault):
    assert planted.occurrences(fault) == (
        1,
        1,
    ), "the text must stand once in the module, and once in the exported cells of its notebook"
    module = (ROOT / f"attrnb/{fault.module}.py").read_text(encoding="utf-8")
    compile(module.replace(fault.old, fault.new), fault.id, "exec")
    assert fault.new != fault.old and fault.what and all(_is_there(t) for t in fault.selection)


def test_there_are_enough_in_every_module():
    modules = {p.stem for p in (ROOT / "attrnb").glob("*.py") if not p.name.startswith("_")}
    assert modules == set(planted.NOTEBOOKS)
    assert len(planted.FAULTS) >= 60 and len({f.id for f in planted.FAULTS}) == len(planted.FAULTS)
    assert all(sum(f.module == m for f in planted.FAULTS) >= 5 for m in modules)


def test_the_outcome_is_told():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split(planted.BEGIN)[1].split(planted.END)[0]
    told = dict(re.findall(r"^\| `([\w-]+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE))
    assert list(told) == [f.id for f in planted.FAULTS], "run scripts/plant_faults.py --write"
    assert sum(by != "**survives**" for by in told.values()) >= 0.95 * len(told)


def test_planting_changes_the_copy_only(tmp_path):
    fault = planted.FAULTS[0]
    before = (ROOT / f"attrnb/{fault.module}.py").read_bytes()
    planted.copy_repository(tmp_path)
    planted.plant(fault, tmp_path)
    assert planted.occurrences(fault, tmp_path) == (0, 0) and planted.occurrences(fault) == (1, 1)
    assert (ROOT / f"attrnb/{fault.module}.py").read_bytes() == before
    planted.put_back(tmp_path, fault.module)
    assert (tmp_path / f"attrnb/{fault.module}.py").read_bytes() == before
