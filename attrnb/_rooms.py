"""Written by hand, as every __init__.py: what the wings and the front door need, without torch."""

import inspect
import itertools
import linecache
import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any


def names_behind(wing: str, **moved: str) -> Callable[[str], Any]:
    """The `__getattr__` of a wing, for names that its rooms hold without offering them: they could be imported from
    the wing when it was one file, and still can. Looks into the rooms that are loaded; nothing is imported but the
    modules of names that moved out of the wing (name="module"). The wing offers what its rooms offer.
    """
    rooms = [key for key in sys.modules if key.startswith(wing + ".")]
    vars(sys.modules[wing])["__all__"] = [n for room in rooms for n in getattr(sys.modules[room], "__all__", ())]
    for room in rooms:
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
    if isinstance(thing, type):
        head, comments = "Fields", _comments_of_fields(thing)
    else:
        head, comments = "Parameters", _comments_of_parameters(thing)
    blocks = [inspect.cleandoc(thing.__doc__)] if thing.__doc__ else []
    result = comments.pop("return", None)
    if comments:
        blocks.append("\n".join([f"{head}:", *(f"    {name}: {comment}" for name, comment in comments.items())]))
    if result:
        blocks.append(f"Returns: {result}")
    thing.__doc__ = "\n\n".join(blocks) or None


# fastcore's docments finds comments too, but parses a file anew for every function: too slow for an import. Lines are
# enough, since the formatter gives a parameter that has a comment a line of its own.


def _comments_of_parameters(function: FunctionType) -> dict[str, str]:
    "The comments of the lines between a function's name and its body, and of those that it delegates to"
    code = inspect.unwrap(function).__code__
    lines = itertools.islice(linecache.getlines(code.co_filename), code.co_firstlineno - 1, None)
    head = next((line for line in lines if line.lstrip().startswith("def ")), "")
    margin = head[: -len(head.lstrip())] + "    "
    comments = _comments(lines if head.rstrip().endswith("(") else [head.lstrip()], margin)
    if delegate := getattr(function, "__delwrap__", None):
        names = inspect.signature(function).parameters
        comments = {k: v for k, v in _comments_of_parameters(delegate).items() if k in names} | comments
    return comments


def _comments_of_fields(dataclass: type) -> dict[str, str]:
    lines = iter(linecache.getlines(sys.modules[dataclass.__module__].__file__))
    any(line.startswith((f"class {dataclass.__name__}:", f"class {dataclass.__name__}(")) for line in lines)
    return {k: v for k, v in _comments(lines, "    ").items() if k in dataclass.__dataclass_fields__}


def _comments(lines: Iterable[str], margin: str) -> dict[str, str]:
    "Name -> the comment behind it or above it, of the lines that begin at a margin, until one begins before it"
    comments, above = {}, []
    for line in lines:
        code, _, behind = line.partition("  # ")
        if not line.startswith(margin) and line.strip():
            comments["return"] = behind.strip()
            break
        name = re.match(r"\*{0,2}(\w+)", code[len(margin) :])
        if line.startswith(margin + "#"):
            above.append(line.strip(" #\n"))
        elif name:
            comments[name[1]], above = behind.strip() or " ".join(above), []
    return {name: comment for name, comment in comments.items() if comment}


def show_doc_renderer(sym: object, **how) -> object:
    "nbdev's renderer, which pyproject.toml names: on the site, comments stand in the signature and not below it again"
    from nbdev.showdoc import BasicMarkdownRenderer

    renderer = BasicMarkdownRenderer(sym, **how)
    renderer.docs = re.split(r"(?:^|\n\n)(?:Parameters:\n|Fields:\n|Returns: )", renderer.docs or "")[0]
    return renderer


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
