"""Written by hand, as every __init__.py: what the wings and the front door need, without torch."""

import ast
import inspect
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from itertools import takewhile
from types import FunctionType, ModuleType
from typing import Any

from fastcore.docments import docments


def names_behind(wing: str, **moved: str) -> Callable[[str], Any]:
    """The `__getattr__` of a wing, for names that its rooms hold without offering them: they could be imported from
    the wing when it was one file, and still can. Looks into the rooms that are loaded; nothing is imported but the
    modules of names that moved out of the wing (name="module").
    """
    for room in [key for key in sys.modules if key.startswith(wing + ".")]:
        tell_parameters(room)

    def look(name: str):
        if name in moved:
            return getattr(import_module(moved[name]), name)
        if not name.startswith("__"):
            for module in [m for key, m in list(sys.modules.items()) if key.startswith(wing + ".")]:
                if name in vars(module):
                    return vars(module)[name]
        raise AttributeError(f"module {wing!r} has no attribute {name!r}")

    return look


def tell_parameters(room: str) -> None:
    """Append the comments beside parameters to the docstrings of all that a room offers: help(), Shift-Tab and editors
    look there. In a notebook, which is no room yet, nothing happens.
    """
    module = sys.modules[room]
    for thing in [vars(module)[name] for name in getattr(module, "__all__", ())]:
        if getattr(thing, "__module__", None) != room:
            continue
        if inspect.isfunction(thing) or "__dataclass_fields__" in getattr(thing, "__dict__", {}):
            _append_comments(thing)
        for name, member in vars(thing).items() if isinstance(thing, type) else ():
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and (name == "__init__" or name[0] != "_"):
                _append_comments(function)


def _append_comments(thing: type | FunctionType) -> None:
    "Extend the docstring of a function by its parameters and result, of a dataclass by its fields"
    lines, definitions = _definitions(thing.__module__)
    head = "Fields" if isinstance(thing, type) else "Parameters"
    node = definitions.get(thing.__name__ if head == "Fields" else inspect.unwrap(thing).__code__.co_firstlineno)
    if node is None:  # made by dataclass, not written
        return
    found = docments(thing) if hasattr(thing, "__delwrap__") else _comments(node, lines)
    comments = {name: " ".join(comment.split()) for name, comment in found.items() if comment}
    blocks = [inspect.cleandoc(thing.__doc__)] if thing.__doc__ else []
    result = comments.pop("return", None)
    if comments:
        blocks.append("\n".join([f"{head}:", *(f"    {name}: {comment}" for name, comment in comments.items())]))
    if result:
        blocks.append(f"Returns: {result}")
    thing.__doc__ = "\n\n".join(blocks) or None


@cache
def _definitions(room: str) -> tuple[list[str], dict[int | str, ast.AST]]:
    "The lines of a room; its functions by the number of their first line, and its classes by name"
    lines, nodes = inspect.findsource(sys.modules[room])[0], {}
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.FunctionDef):
            nodes[min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])] = node
        elif isinstance(node, ast.ClassDef):
            nodes[node.name] = node
    return lines, nodes


def _comments(node: ast.FunctionDef | ast.ClassDef, lines: list[str]) -> dict[str, str]:
    """The comments of a function's parameters and result, or of a dataclass's fields. fastcore's docments finds
    them too, but reads the file anew for every function and class: too slow for an import.
    """
    if isinstance(node, ast.ClassDef):
        places = {field.lineno: field.target.id for field in node.body if isinstance(field, ast.AnnAssign)}
    else:
        arguments = [*node.args.posonlyargs, *node.args.args, node.args.vararg, *node.args.kwonlyargs, node.args.kwarg]
        places = {argument.lineno: argument.arg for argument in arguments if argument}
        places |= {node.returns.lineno: "return"} if node.returns else {}
    comments = {}
    for number, name in places.items():
        above = takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[: number - 1]))
        behind = re.search(r"  # (.*)", lines[number - 1])
        comments[name] = behind[1] if behind else " ".join(reversed([line.strip(" #\n") for line in above]))
    return comments


class CallableWing(ModuleType):
    "A wing called as the function whose name it has: `explore(...)` and `explore.Explorer` are both right"

    def __call__(self, *arguments, **keywords):
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **keywords)

    def __reduce__(self):
        return import_module, (self.__name__,)


def make_callable(wing: str) -> None:
    "Let a wing be called as its main function, with its signature and its help"
    module = sys.modules[wing]
    main = getattr(module, wing.rpartition(".")[2])
    module.__class__, module.__wrapped__ = CallableWing, main
    module.__doc__ = f"{main.__name__}{inspect.signature(main)}\n\n{main.__doc__}\n\nThe module: {module.__doc__}"
