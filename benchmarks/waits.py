"""How often the host waits for the device, and what is copied, by chunk: on the pretend accelerator of the tests.

    python benchmarks/waits.py       # needs no GPU; writes nbs/tutorials/waits.csv

Each method and measure is called twice, the second time with smaller chunks; what the second call waits and copies
more, divided by its further passes, is what a chunk costs. Where a call makes as many passes whatever the chunk, all
waits of the call stand beside its passes.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "tests")]

import pretend_device  # noqa: E402
from cases import Job, jobs, passes  # noqa: E402
from tables import write_table  # noqa: E402

COLUMNS = "part name case passes waits moves more_passes waits_per_chunk moves_per_chunk waits_by".split()


def counted(job: Job, chunk: int | None) -> tuple[int, int, int, dict]:
    "Passes through the network, waits, copies, and which operations waited"
    with passes(job.network) as found, pretend_device.counting() as counts:
        job.run(chunk)
    return len(found), counts.synchronisations, counts.transfers, dict(counts.by_name)


def row_of(job: Job) -> dict:
    "The row of one method or measure"
    job.run(None)  # what is kept from call to call is there
    larger, smaller = counted(job, 4), counted(job, 2)
    row = dict(part=job.part, name=job.name, case=job.case)
    row |= dict(zip(("passes", "waits", "moves"), larger, strict=False))
    row["more_passes"] = more = smaller[0] - larger[0]
    if more > 0:
        row["waits_per_chunk"], row["moves_per_chunk"] = (f"{(smaller[k] - larger[k]) / more:.2f}" for k in (1, 2))
        gained = {name: smaller[3][name] - larger[3].get(name, 0) for name in smaller[3]}
        by = sorted((name for name, n in gained.items() if n > 0), key=gained.get, reverse=True)
    else:
        by = sorted(larger[3], key=larger[3].get, reverse=True)
    return row | dict(waits_by=" ".join(name.replace(" ", "_") for name in by[:3]))


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="names of methods and measures")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "nbs" / "tutorials" / "waits.csv")
    words = parser.parse_args(given)
    device = pretend_device.start()
    if device is None:
        parser.error("this version of torch knows no devices made in Python")
    rows = []
    for job in jobs(batch=4, side=12, rows=8, device=device):
        if words.only is None or job.name in words.only:
            rows.append(row_of(job))
            print(*(rows[-1].get(k, "") for k in COLUMNS), flush=True)
    write_table(words.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
