"""How a row of the catalogue of bad and odd input is judged.

A row is (id, call, expected). `expected` is one or more of the outcomes below; the row is `ok` when one of them fits.
It is `ugly` when the call ends in an error from below, `silent` when a value comes back that none of them accepts.
"""

import dis
import numbers
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import numpy as np
import torch

import attrnb

PACKAGE = str(Path(attrnb.__file__).parent)


@dataclass
class Outcome:
    "What a call came to"

    value: object = None
    error: BaseException | None = None
    warnings: list[str] = field(default_factory=list)

    def __str__(self):
        if self.error is None:
            told = f" | warned: {self.warnings}" if self.warnings else ""
            return " ".join(f"returned {self.value!r}"[:300].split()) + told[:300]
        frame = last_frame(self.error)
        where = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
        notes = "".join(f" | note: {n}" for n in getattr(self.error, "__notes__", ()))
        return f"{where} {type(self.error).__name__}: " + " ".join(str(self.error).split())[:300] + notes[:300]


def last_frame(error):
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    return frame


def raised_here(error) -> bool:
    "Whether a `raise` statement of the package made the error (and not an operation that failed in one of its lines)"
    frame = last_frame(error)
    code = frame.tb_frame.f_code
    if not code.co_filename.startswith(PACKAGE):
        return False
    return any(i.offset == frame.tb_lasti and i.opname == "RAISE_VARARGS" for i in dis.get_instructions(code))


def finite(value) -> bool:
    "Whether no NaN and no infinity is in a value: tensors, arrays, numbers, and what holds them"
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value.detach()).all())
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
    if isinstance(value, numbers.Number):
        return bool(np.isfinite(value))
    if isinstance(value, Mapping):
        return all(map(finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(finite, value))
    return all(finite(getattr(value, f.name)) for f in fields(value)) if is_dataclass(value) else True


class Expected:
    def __init__(self, fits, says):
        self.fits, self.says = fits, says

    def __or__(self, other):
        return Expected(lambda o: self.fits(o) or other.fits(o), f"{self.says}, or {other.says}")

    def __and__(self, other):
        return Expected(lambda o: self.fits(o) and other.fits(o), f"{self.says}, and {other.says}")


def _has(text, words):
    return all(re.search(word, text, re.IGNORECASE) for word in words)


def _names(error):
    return " or ".join(e.__name__ for e in (error if isinstance(error, tuple) else (error,)))


def refused(*words, error=(TypeError, ValueError)) -> Expected:
    "An error in the package's own words, which name what was given (regular expressions)"
    return Expected(
        lambda o: isinstance(o.error, error) and raised_here(o.error) and _has(" ".join(str(o.error).split()), words),
        f"{_names(error)} raised by attrnb, saying {words}",
    )


def unreadable(*words) -> Expected:
    "A file that isn't there or can't be read: the package's own words, or the system's with the file's name"
    return Expected(
        lambda o: (
            isinstance(o.error, (OSError, ValueError, TypeError))
            and (raised_here(o.error) or getattr(o.error, "filename", None))
            and _has(str(o.error), words)
        ),
        f"OSError or ValueError saying {words}",
    )


def unknown_argument(*words) -> Expected:
    "Python's own complaint about a call that doesn't fit the signature"
    return Expected(
        lambda o: isinstance(o.error, TypeError) and "argument" in str(o.error) and _has(str(o.error), words),
        f"TypeError about an argument {words}",
    )


def passed_on(error, *note) -> Expected:
    "The model's own error, unchanged, with one note: which method called it with rows of which shape and dtype"

    def fits(o):
        notes = [n for n in getattr(o.error, "__notes__", ()) if _has(n, note)]
        return isinstance(o.error, error) and not raised_here(o.error) and len(notes) == 1

    return Expected(fits, f"the model's {_names(error)} with one note saying {note}")


def right(check=lambda value: True) -> Expected:
    "A value that passes the check, finite throughout"
    return Expected(lambda o: o.error is None and finite(o.value) and bool(check(o.value)), "a right value")


def warned(*words) -> Expected:
    "A value that comes with a warning in the package's own words"
    return Expected(lambda o: o.error is None and any(_has(w, words) for w in o.warnings), f"a warning saying {words}")


def drawn(check=lambda value: True) -> Expected:
    "A value that passes the check, whatever numbers it holds"
    return Expected(lambda o: o.error is None and bool(check(o.value)), "a right value")


@dataclass(frozen=True)
class Row:
    id: str
    call: object
    expected: Expected
    module: str
    excuse: str = ""  # why the row is known to be wrong; such a row must be wrong

    def judge(self) -> tuple[str, str]:
        "ok, ugly or silent, and what came back"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                outcome = Outcome(self.call())
            except Exception as error:
                outcome = Outcome(error=error)
        outcome.warnings = [" ".join(str(w.message).split()) for w in said if issubclass(w.category, UserWarning)]
        if self.expected.fits(outcome):
            return "ok", ""
        return "silent" if outcome.error is None else "ugly", f"{outcome}\n    expected: {self.expected.says}"


class Table(list):
    "Rows of one module"

    def __init__(self, module):
        super().__init__()
        self.module = module

    def add(self, id, call, expected, module=None, excuse=""):
        self.append(Row(id, call, expected, module or self.module, excuse))

    def settings(self, id, call, name, values, module=None, words=None, **odd):
        """One row per value of one setting, all refused by the setting's name; `odd` holds values that have another
        outcome
        """
        for label, value in values.items():
            expected = odd.pop(label, None) or refused(words or name)
            if expected is not SKIP:
                self.add(f"{id}.{name}.{label}", lambda value=value: call(**{name: value}), expected, module)
        assert not odd, odd


SKIP = object()
NAN, INF = float("nan"), float("inf")
# values that no setting of the kind accepts
WHOLE = dict(none=None, zero=0, negative=-1, half=1.5, text="3", boolean=True, nan=NAN, list=[3], tensor=torch.ones(2))
REAL = dict(none=None, text="0.1", boolean=True, nan=NAN, inf=INF, list=[0.1], tensor=torch.ones(2), complex=1j)
POSITIVE = REAL | dict(zero=0.0, negative=-1.0)
SHARE = REAL | dict(negative=-0.1, above=1.5)
CHOICE = dict(none=None, unknown="no such thing", number=5, list=["a"], empty="")
SEED = dict(text="a", half=1.5, list=[1], tensor=torch.ones(2), huge=2**70, boolean=True)
