"""Written by hand, as every __init__.py: hands the names of a wing's rooms on."""

import importlib
import sys
from collections.abc import Callable


def names_behind(wing: str, **moved: str) -> Callable[[str], object]:
    """The `__getattr__` of a wing, for names that its rooms hold without offering them: they could be imported from
    the wing when it was one file, and still can. Looks into the rooms that are loaded; nothing is imported but the
    modules of names that moved out of the wing (name="module").
    """

    def look(name: str):
        if name in moved:
            return getattr(importlib.import_module(moved[name]), name)
        if not name.startswith("__"):
            for module in [m for key, m in list(sys.modules.items()) if key.startswith(wing + ".")]:
                if name in vars(module):
                    return vars(module)[name]
        raise AttributeError(f"module {wing!r} has no attribute {name!r}")

    return look
