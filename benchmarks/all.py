"""All programs of this folder, one after the other: the one command for every table of speed, weight and scale.

    python benchmarks/all.py                         # half an hour or more; writes the tables beside the pages
    python benchmarks/all.py --tiny --out FOLDER     # in small, as the tests run it
    python benchmarks/all.py --only speed waits      # some of them

Each runs in a process of its own, so one that fails doesn't stop the next; the exit code is then 1, and the last line
names it. What it prints goes through. Each program has further words of its own, see `python benchmarks/NAME.py -h`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# table -> program, its words, its words in small
PROGRAMS = {
    "speed": ("speed.py", "", "--tiny"),  # methods and measures against their passes and Captum
    "small": ("small.py", "", "--tiny"),  # small networks for tables
    "speed_equilibrium": ("equilibrium.py", "", "--tiny"),  # Attribution Equilibrium on ResNets
    "budget": ("budget.py", "", "--side 32"),  # gradients of the variational path on a ResNet-50
    "peers": ("peers.py", "", "--tiny"),  # time_interpret and Quantus, where they are installed
    "waits": ("waits.py", "", "--only saliency deletion"),  # what an accelerator waits for
    "scale": ("scale.py", "", "--images 9 --processes 2 --block 1"),  # many pictures, a process that is killed
    "scale_memory": ("scale.py", "--held", "--held --images 8 40 --block 2"),  # what a process holds
    "gpu": ("gpu.py", "", "--device cpu --tiny --only saliency deletion"),  # needs a GPU, but not in small
}


def has_gpu() -> bool:
    "Whether torch sees one"
    import torch

    return torch.cuda.is_available()


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small inputs, one round: counts and equality")
    parser.add_argument("--only", nargs="+", choices=list(PROGRAMS), metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--out", type=Path, help="folder of the tables, needed with --tiny; default: beside the pages")
    words = parser.parse_args(given)
    if words.tiny and words.out is None:
        parser.error("--tiny needs --out FOLDER: the tables beside the pages are not overwritten by small ones")
    failed = []
    if words.out:
        words.out.mkdir(parents=True, exist_ok=True)
    for name in words.only or PROGRAMS:
        program, full, small = PROGRAMS[name]
        if name == "gpu" and not words.tiny and not has_gpu():
            print("gpu: no GPU is at hand, left out", flush=True)
            continue
        out = ["--out", str(words.out / f"{name}.csv")] if words.out else []
        command = [program, *(small if words.tiny else full).split(), *out]
        print(f"{name}: python benchmarks/{' '.join(command)}", flush=True)
        if subprocess.run([sys.executable, str(HERE / program), *command[1:]]).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "tables written", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
