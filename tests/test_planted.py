"The table of planted faults stays true: every text is where it should be, and the outcome is in CONTRIBUTING.md"

import importlib.util
import re
import sys
from collections import Counter

import pytest
from house import ROOT, module_file, rooms


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


def _module_of(fault):
    modules, _ = planted.wing_files(fault.module)
    return next(p for p in modules if fault.old in p.read_text(encoding="utf-8"))


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda f: f.id)
def test_a_fault_can_be_planted(fault):
    assert planted.occurrences(fault) == (
        1,
        1,
    ), "the text must stand once in the module, and once in the exported cells of its notebook"
    compile(_module_of(fault).read_text(encoding="utf-8").replace(fault.old, fault.new), fault.id, "exec")
    assert fault.new != fault.old and fault.what and all(_is_there(t) for t in fault.selection)


def test_there_are_enough_in_every_module():
    lines = Counter()
    for name in [room for room in rooms() if room != "_rooms"]:
        lines[name.split(".")[0]] += len(module_file(name).read_text(encoding="utf-8").splitlines())
    assert set(lines) == {f.module for f in planted.FAULTS}
    assert len(planted.FAULTS) >= 60 and len({f.id for f in planted.FAULTS}) == len(planted.FAULTS)
    for wing, n in lines.items():
        assert sum(f.module == wing for f in planted.FAULTS) >= (5 if n > 200 else 2), wing


def test_the_outcome_is_told():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split(planted.BEGIN)[1].split(planted.END)[0]
    told = dict(re.findall(r"^\| `([\w-]+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE))
    assert list(told) == [f.id for f in planted.FAULTS], "run scripts/plant_faults.py --write"
    assert sum(by != "**survives**" for by in told.values()) >= 0.95 * len(told)


def test_planting_changes_the_copy_only(tmp_path):
    fault = planted.FAULTS[0]
    module = _module_of(fault)
    before, copy = module.read_bytes(), tmp_path / module.relative_to(ROOT)
    planted.copy_repository(tmp_path)
    planted.plant(fault, tmp_path)
    assert planted.occurrences(fault, tmp_path) == (0, 0) and planted.occurrences(fault) == (1, 1)
    assert module.read_bytes() == before
    planted.put_back(tmp_path, fault.module)
    assert copy.read_bytes() == before
