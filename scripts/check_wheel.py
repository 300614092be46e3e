"""What `python -m build` made holds the package, all of it and nothing else.

python scripts/check_wheel.py FOLDER [--version 1.2.3]
"""

import argparse
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def complaints(wheel: Path, archive: Path) -> list[str]:
    "What is wrong with a wheel and a source distribution, in words"
    inside = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(archive) as packed:
        source = {name.partition("/")[2] for name in packed.getnames()}
    files = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "attrnb").rglob("*")
        if p.is_file() and p.suffix in (".py", ".typed", ".safetensors")
    }
    found = [f"the wheel lacks {name}" for name in sorted(files - inside)]
    found += [f"the source distribution lacks {name}" for name in sorted(files - source)]
    foreign = sorted(name for name in inside - files if ".dist-info/" not in name)
    return found + [f"the wheel holds {name}, which is no part of the package" for name in foreign]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the wheel and the source distribution lie")
    parser.add_argument("--version", help="that they must have")
    given = parser.parse_args()
    (wheel,), (archive,) = given.folder.glob("*.whl"), given.folder.glob("*.tar.gz")
    found = complaints(wheel, archive)
    if given.version and f"-{given.version}-" not in wheel.name:
        found.append(f"{wheel.name} is not of version {given.version}")
    if found:
        sys.exit("\n".join(found))
    print(f"{wheel.name}: {len(zipfile.ZipFile(wheel).namelist())} files, {wheel.stat().st_size / 1e3:.0f} kB")
