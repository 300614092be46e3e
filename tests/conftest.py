"Optional data beside the repository: real weights and pictures, and outputs of the methods' original programs"
import os
from pathlib import Path

import pytest


def _folder(variable: str, name: str):
    folder = Path(os.environ.get(variable) or Path(__file__).parents[2] / "shared" / name)
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    return _folder("ATTRNB_REAL_DATA", "real") or pytest.skip("no real weights and pictures at hand (ATTRNB_REAL_DATA)")


@pytest.fixture(scope="session")
def oracles() -> Path:
    return _folder("ATTRNB_ORACLES", "oracles") or pytest.skip("no outputs of the original programs at hand (ATTRNB_ORACLES)")
