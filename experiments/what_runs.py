"""The tables of nbs/tutorials/what_runs.ipynb: every network of tests/zoo with every method of attrnb, one row each.

    python experiments/what_runs.py                        # what isn't in the file yet; once killed, it goes on
    python experiments/what_runs.py --again refused error  # and the rows with such an outcome once more
    python experiments/what_runs.py --only timm/ --methods equilibrium --fresh

Each network has a process of its own; a row that takes more than `--limit` seconds of the processor is a timeout. Needs
timm and transformers; nothing is downloaded. A row holds:

outcome       runs; refused (attrnb itself says why); error (something else is raised); timeout; wrong (NaN, shape)
alone         how far the second example's attribution is from the same one explained alone, as a share of the largest
alone_double  the same in double precision, where it is more than a thousandth in single
completeness  sum of the attributions minus change of the score, as a share of the sum of their sizes; paths only
left          what wasn't left as found: parameters, modes, hooks, gradients, random numbers, inputs; empty if nothing
ratio         processor time over that of one forward pass of the two examples
rows          rows that the model saw for an example, on average; with_gradient: those of them that were differentiated
said          of refusals, errors and warnings the words
"""

import argparse
import csv
import linecache
import os
import random
import re
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from programs import read_rows, write_rows
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from zoo import ENTRIES, Case, Entry  # noqa: E402

import attrnb  # noqa: E402
from attrnb.core import ClassScore  # noqa: E402
from attrnb.equilibrium import AttributionEquilibrium  # noqa: E402
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI  # noqa: E402
from attrnb.neflag import NeFLAG  # noqa: E402
from attrnb.paths import PathIntegratedGradients  # noqa: E402

TABLE = ROOT / "nbs" / "tutorials" / "what_runs.csv"


def through_a_pool(case: Case) -> GeodesicIGKNN:
    "Geodesics through a few points that are like the inputs"
    generator = torch.Generator().manual_seed(0)
    pool = tuple(
        0.5 * x[:1] + 0.3 * x.float().std() * torch.randn(4, *x.shape[1:], generator=generator).to(x)
        if x.is_floating_point()
        else x.repeat(2, *[1] * (x.ndim - 1))
        for x in case.inputs
    )
    return GeodesicIGKNN(case.model, pool if len(pool) > 1 else pool[0], n_neighbors=3)


METHODS = {  # name: how it is made of a case, and the settings of `attribute`; few points, since many models are tried
    "paths": (lambda case: PathIntegratedGradients(case.model), dict(n_steps=8)),
    "neflag": (lambda case: NeFLAG(case.model), dict(n_points=1, search_steps=3)),
    "graph": (through_a_pool, dict(n_steps=2, integral_tolerance=None)),
    "variational": (
        lambda case: GeodesicIGSVI(case.model),
        dict(n_segments=2, rounds=0, max_iterations=2, integral_tolerance=None),
    ),
    "equilibrium": (lambda case: AttributionEquilibrium(case.model), {}),
}
FEWER = {  # of networks of real size, from torchvision and timm
    "paths": dict(n_steps=4),
    "neflag": dict(search_steps=1),
    "graph": dict(n_steps=1),
    "variational": dict(max_iterations=1),
}
COMPLETE = ("paths", "graph", "variational")
ROUNDING = 1e-3  # as `alone`


@dataclass
class Row:
    name: str
    source: str
    family: str
    method: str
    outcome: str = ""
    alone: str = ""
    alone_double: str = ""
    completeness: str = ""
    left: str = ""
    ratio: str = ""
    rows: str = ""
    with_gradient: str = ""
    said: str = ""


class OutOfTime(BaseException):
    pass


def out_of_time(*_):
    raise OutOfTime


# the model is left as found


def state(case: Case) -> dict[str, object]:
    "All that a method could have changed, cheap to compare"

    def seen(t: Tensor | None):
        if t is None or nn.parameter.is_lazy(t):
            return None
        return (
            t.detach().double().nan_to_num().sum().item() if not t.is_quantized and not t.is_complex() else t._version
        )

    root = case.model if isinstance(case.model, nn.Module) else nn.ModuleList()
    modules, parameters = list(root.modules()), list(root.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "parameters": [seen(p) for p in parameters],
        "buffers": [seen(b) for b in root.buffers()],
        "modes": [getattr(m, "training", None) for m in modules],
        "hooks": [len(getattr(m, h, ())) for m in modules for h in hooks],
        "requires_grad": [p.requires_grad for p in parameters],
        "gradients": [seen(p.grad) for p in parameters],
        "modules": [id(m) for m in modules[1:]],
        "inputs": [(seen(x), x.requires_grad) for x in case.inputs],
        "random numbers": (
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            hash(random.getstate()),
        ),
        "gradient mode": torch.is_grad_enabled(),
    }


class Counting:
    "Counts the rows that a module sees, while the body runs"

    def __init__(self, model):
        self.model = model.model if isinstance(model, ClassScore) else model
        self.rows = self.with_gradient = 0

    def see(self, module, given, named, out):
        given = (*given, *named.values()) if module is self.model else ()
        tensors = [x for x in given if isinstance(x, Tensor) and x.ndim]
        if tensors and not torch.compiler.is_compiling():
            self.rows += len(tensors[0])
            self.with_gradient += len(tensors[0]) * (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))

    def __enter__(self):
        compiled = hasattr(self.model, "_orig_mod")
        self.hook = (
            None
            if compiled or not isinstance(self.model, nn.Module)
            else register_module_forward_hook(self.see, with_kwargs=True)
        )
        return self

    def __exit__(self, *_):
        if self.hook is not None:
            self.hook.remove()


# one row


def refuses(error: BaseException) -> bool:
    "Whether attrnb raised this itself, by a `raise` of its own"
    last = traceback.extract_tb(error.__traceback__)[-1]
    inside = last.filename.startswith(os.path.dirname(attrnb.__file__) + os.sep)
    return inside and linecache.getline(last.filename, last.lineno).strip().startswith("raise ")


def place(error: BaseException) -> str:
    "Where an error was raised, and where attrnb was then"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(os.path.dirname(attrnb.__file__) + os.sep)]
    inside = [f for f in ours if f.name != "_run"]  # which hands a call to the model and says nothing itself
    return " in ".join(dict.fromkeys(f"{Path(f.filename).name}:{f.name}" for f in (frames[-1], *inside[-1:])))


def short(said: str) -> str:
    "Words in which files are named by the last two parts of their paths, as on any machine"
    return re.sub(r'(?<=")(/|[A-Z]:)[^"]*?([^/\\"]+[/\\][^/\\"]+)(?=")', r"\2", said)


def attribute(case: Case, source: str, method: str, inputs, extra, **more):
    make, settings = METHODS[method]
    settings = settings | FEWER.get(method, {}) if source in ("torchvision", "timm") else settings
    return make(case).attribute(
        inputs if len(inputs) > 1 else inputs[0],
        target=case.target,
        additional_forward_args=extra,
        **settings,
        **more,
    )


def of_example(thing, i: int):
    "Further arguments of one example"
    from attrnb.core import keywords, per_example

    kind = type(thing).__name__
    if kind == "_Keywords":
        return keywords(**{k: of_example(v, i) for k, v in thing.values.items()})
    if kind == "_Marked" and thing.per_example:
        return per_example(thing.value[i : i + 1])
    return thing


def gap(found, right) -> float:
    "The largest difference as a share of the largest number"
    largest = max(r.double().abs().max().item() for r in right)
    apart = max((f.double() - r.double()).abs().max().item() for f, r in zip(found, right, strict=True))
    return apart / largest if largest else float(apart > 0)


def forward_seconds(case: Case) -> float:
    "Processor time of one forward pass of the two examples, the shortest of three"
    from attrnb.core import leave_as_found

    seconds = []
    with warnings.catch_warnings(), leave_as_found(case.model, warn=False), torch.no_grad():
        warnings.simplefilter("ignore")
        for _ in range(3):
            start = time.process_time()
            case.run()
            seconds.append(time.process_time() - start)
    return max(min(seconds), 1e-6)  # a clock that didn't move


def measure(entry: Entry, case: Case, method: str, forward: float, limit: float) -> Row:
    "One network explained by one method"
    row = Row(entry.name, entry.source, entry.family, method)
    before = state(case)
    signal.signal(signal.SIGPROF, out_of_time)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        with warnings.catch_warnings(record=True) as caught, Counting(case.model) as count:
            warnings.simplefilter("always")
            more = dict(return_convergence_delta=True) if method in COMPLETE else {}
            start = time.process_time()
            found = attribute(case, entry.source, method, case.inputs, case.extra, **more)
            row.ratio = f"{(time.process_time() - start) / forward:.0f}"
            row.rows, row.with_gradient = (
                f"{n / len(case.inputs[0]):.0f}" if count.hook else "" for n in (count.rows, count.with_gradient)
            )
            row.said = " | ".join(dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning))
        row.outcome = look_at(row, case, method, found)
    except OutOfTime:
        row.outcome = "timeout"
    except Exception as error:
        row.outcome = "refused" if refuses(error) else "error"
        row.said = f"{type(error).__name__}: {error}" + ("" if row.outcome == "refused" else f" [{place(error)}]")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    after = state(case)
    row.left = ", ".join(name for name in before if before[name] != after[name])
    row.said = " ".join(short(row.said).split())[:600]
    return row


def alone(case: Case, source: str, method: str, parts=None) -> float:
    "How far the second example's attribution, among `parts` if given, is from that of the example alone"

    def explained(inputs, extra):
        found = attribute(case, source, method, inputs, extra)
        return found if isinstance(found, tuple) else (found,)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = explained(tuple(x[1:2] for x in case.inputs), of_example(case.extra, 1))
        parts = explained(case.inputs, case.extra) if parts is None else parts
    return gap([a[1:2] for a in parts], right)


def look_at(row: Row, case: Case, method: str, found) -> str:
    "Fill the row with what is to be known of attributions; the outcome"
    found, delta = found if method in COMPLETE else (found, None)
    parts = found if isinstance(found, tuple) else (found,)
    right = len(parts) == len(case.inputs) and all(
        a.shape == x.shape and a.dtype == x.dtype and a.isfinite().all() for a, x in zip(parts, case.inputs)
    )
    if not right:
        return "wrong"
    if delta is not None:
        size = sum(a.double().abs().flatten(1).sum(1) for a in parts)
        row.completeness = f"{(delta.double() / size.clamp(min=1e-300)).abs().max().item():.1e}"
    row.alone = f"{alone(case, row.source, method, parts):.1e}"
    if float(row.alone) > ROUNDING and all(x.dtype == torch.float32 for x in case.inputs):
        row.alone_double = f"{alone(ENTRIES[row.name].make().double(), row.source, method):.1e}"
    return "runs"


def rows_of(entry: Entry, methods: list[str], limit: float):
    "The rows of a network, one by one"
    case = entry.make()
    forward = forward_seconds(case)
    for method in methods:
        yield measure(entry, case, method, forward, limit)


# the file


def read(path: Path) -> dict[tuple[str, ...], dict]:
    return read_rows(path, ("name", "method"))


def write(path: Path, rows: dict[tuple[str, ...], dict]):
    "In the order of the zoo"
    order = [(e, m) for e in ENTRIES for m in METHODS]
    write_rows(path, [rows[key] for key in order if key in rows], [f.name for f in fields(Row)])


def in_turn() -> dict[str, Entry]:
    "The zoo in the order in which it is run: small networks first, and one of every family before the second of any"
    counts, turns = Counter(), {}
    for entry in sorted(ENTRIES.values(), key=lambda e: e.millions):
        counts[entry.source, entry.family] += 1
        turns[entry.name] = entry.millions > 0, counts[entry.source, entry.family], entry.millions
    return {name: ENTRIES[name] for name in sorted(ENTRIES, key=turns.get)}


def in_a_process(entry: Entry, methods: list[str], limit: float) -> list[dict]:
    "The rows of a network from a process of its own; those that it didn't come to are timeouts"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        torch.set_num_threads(1)
        try:
            with os.fdopen(writer, "w", encoding="utf-8") as file:
                for row in rows_of(entry, methods, limit):
                    csv.writer(file).writerow(asdict(row).values())
                    file.flush()
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    names = [f.name for f in fields(Row)]
    with os.fdopen(reader, newline="", encoding="utf-8") as file:
        found = [dict(zip(names, line, strict=True)) for line in csv.reader(file)]
    os.waitpid(child, 0)
    return found


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of names")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--again", nargs="*", default=[], help="outcomes that are tried once more")
    parser.add_argument("--fresh", action="store_true", help="all that is named once more")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of the processor per row")
    parser.add_argument("--out", type=Path, default=TABLE)
    words = parser.parse_args(words)
    import timm  # noqa: F401  (paid once, not once a process)
    import transformers

    transformers.logging.set_verbosity_error()
    for name in ("own/gru", "transformers/bert"):  # what is imported on the way, too
        list(rows_of(ENTRIES[name], list(METHODS), words.limit))
    for name, entry in in_turn().items():
        rows = read(words.out)
        wanted = [
            m for m in words.methods if words.fresh or (name, m) not in rows or rows[name, m]["outcome"] in words.again
        ]
        if not wanted or not name.startswith(tuple(words.only)):
            continue
        found = {(r["name"], r["method"]): r for r in in_a_process(entry, wanted, words.limit)}
        write(words.out, read(words.out) | found)
        print(name, *(f"{m}:{found[name, m]['outcome'] if (name, m) in found else 'died'}" for m in wanted), flush=True)


if __name__ == "__main__":
    main()
