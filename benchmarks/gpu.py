"""The whole table on a GPU: the same numbers as on the CPU, throughput, and what happens when memory runs out.

    python benchmarks/gpu.py                                   # needs a GPU; writes gpu.csv with the card's name
    python benchmarks/gpu.py --device cpu --tiny --out x.csv   # the dry run of the tests

A row for each method and measure: its error against the CPU in float32 (at most 1e-4 of the largest number) and float64
(1e-9), the error of a network in bfloat16 against float32, the time against that of its passes alone, rows a second,
the most memory it took, and what it did when the memory that was left was too small: `finished`, or the error's name,
and whether the same call works afterwards. The last lines of the output name what missed its bound; the exit code is
then 1.
"""

import argparse
import contextlib
import platform
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

from cases import Job, bare, error_between, jobs, median_and_interval, passes_of, seconds  # noqa: E402
from tables import write_table  # noqa: E402

COLUMNS = (
    "part name case rows gradient_rows error32 error64 error_bfloat16 ratio low high rows_per_second peak_bytes "
    "without_memory afterwards card"
).split()
MOST_ERROR = dict(error32=1e-4, error64=1e-9)
# what draws on the device draws other numbers there; only its cost is compared
DRAWS_ON_THE_DEVICE = {"gradient_shap"}


def card_of(device: torch.device) -> str:
    "The name of the device"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() + " CPU"


@contextlib.contextmanager
def little_memory(device: torch.device, left: int):
    "On a GPU, all but some bytes are taken meanwhile; elsewhere nothing is done"
    if device.type != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    taken = torch.empty(max(0, free - left), dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del taken
        torch.cuda.empty_cache()


def out_of_memory(job: Job, device: torch.device, expected: torch.Tensor) -> tuple[str, str]:
    "What a call did without memory, and whether the same call is right afterwards"
    if device.type != "cuda":
        return "not tried on a CPU", "not tried on a CPU"
    try:
        with little_memory(device, 1 << 20):
            job.run(None)
        said = "finished"
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        said = type(error).__name__
    return said, "right" if error_between(job.run(None), expected) < 1e-4 else "wrong"


def bfloat16_error(job: Job, device: torch.device, sizes: dict) -> str:
    "Of a network and inputs in bfloat16, against float32; the error's name where it is refused"
    try:
        (half,) = [j for j in jobs(**sizes, device=str(device), dtype=torch.bfloat16) if _key(j) == _key(job)]
        return f"{error_between(half.run(None).float(), job.run(None)):.1e}"
    except Exception as error:
        return type(error).__name__


def _key(job: Job) -> tuple[str, str, str]:
    return job.part, job.name, job.case


def measured(job: Job, host: Job, both64: tuple[Job, Job], device: torch.device, sizes: dict, rounds: int) -> dict:
    "The row of one method or measure"
    found, result = passes_of(job), job.run(None)
    rows = sum(shape[0] for shape, _ in found)
    row = dict(part=job.part, name=job.name, case=job.case, rows=rows, card=card_of(device))
    row["gradient_rows"] = sum(shape[0] for shape, gradient in found if gradient)
    if job.name not in DRAWS_ON_THE_DEVICE:
        row["error32"] = f"{error_between(result, host.run(None)):.1e}"
        row["error64"] = f"{error_between(both64[0].run(None), both64[1].run(None)):.1e}"
        row["error_bfloat16"] = bfloat16_error(job, device, sizes)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job.run(None)
        row["peak_bytes"] = torch.cuda.max_memory_allocated(device) - before
    if found:
        floor, taken = bare(job.network, found, job.inputs), []
        for call in (floor, job.run):
            call(None)  # kernels are chosen
        for _ in range(rounds):
            taken.append((seconds(lambda: job.run(None), device), seconds(floor, device)))
        told = median_and_interval([a / b for a, b in taken])
        row |= dict(zip(("ratio", "low", "high"), (f"{v:.3f}" for v in told), strict=True))
        row["rows_per_second"] = f"{rows / median_and_interval([a for a, _ in taken])[0]:.4g}"
    row["without_memory"], row["afterwards"] = out_of_memory(job, device, result)
    return row


def missed(rows: list[dict]) -> list[str]:
    "What is beyond its bound, in words"
    found = []
    for row in rows:
        for name, most in MOST_ERROR.items():
            if name in row and not float(row[name]) <= most:
                found.append(f"{row['part']} {row['name']} ({row['case']}): {name} {row[name]}, at most {most:g}")
        if row["afterwards"] == "wrong":
            found.append(f"{row['part']} {row['name']}: wrong after a call without memory")
    return found


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small inputs and one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", help="names of methods and measures")
    parser.add_argument("--out", type=Path, default=Path("gpu.csv"))
    words = parser.parse_args(given)
    device = torch.device(words.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU is at hand; the dry run is: --device cpu --tiny")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 is meant
    sizes = dict(batch=2, side=12, rows=8) if words.tiny else dict(batch=32, side=224, rows=4096)
    small = dict(sizes, batch=2, rows=min(64, sizes["rows"]), side=min(32, sizes["side"]))  # for the CPU's part
    double = [jobs(**small, device=where, dtype=torch.float64) for where in (words.device, "cpu")]
    groups = [jobs(**small, device=where) for where in (words.device, "cpu")]
    rows = []
    for job, equal, host, *both64 in zip(jobs(**sizes, device=words.device), *groups, *double, strict=True):
        if words.only is None or job.name in words.only:
            row = measured(equal, host, tuple(both64), device, small, 1)
            if not words.tiny:  # the errors are those of small inputs, costs those of large ones
                errors = {k: v for k, v in row.items() if k.startswith("error")}
                row = measured(job, job, (job, job), device, small, words.rounds) | errors
            rows.append(row)
            print(*(row.get(k, "") for k in COLUMNS[:-1]), flush=True)
            write_table(words.out, COLUMNS, rows)
    for line in missed(rows):
        print(line)
    return int(bool(missed(rows)))


if __name__ == "__main__":
    raise SystemExit(main())
