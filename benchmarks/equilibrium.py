"""Attribution Equilibrium on ResNets against a pass and its gradient: time, multiplications of convolutions, memory.

    python benchmarks/equilibrium.py             # some minutes; writes nbs/tutorials/speed_equilibrium.csv
    python benchmarks/equilibrium.py --tiny --out x.csv    # in small, as the tests run it: counts and equality count

Weights are random. Call and floor alternate; a ratio is that of one round, and the table has the median over rounds
with an interval. Seconds are those of the process, one thread. Multiplications are counted at the operators, in parts
of those of one pass; the floor has one forward and one backward. Bytes are the most that tensors made in the call held,
in the chunks that the method chooses, and with all images in one.
"""

import argparse
import sys
from pathlib import Path

import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

from cases import error_between, median_and_interval, numbers, seconds  # noqa: E402
from speed import most_bytes  # noqa: E402
from tables import write_table  # noqa: E402

from attrnb.equilibrium import AttributionEquilibrium  # noqa: E402

COLUMNS = "network images side forward backward times ratio low high rounds bytes bytes_together chunk_error".split()
CASES = [("resnet18", 4, 128), ("resnet18", 8, 128), ("resnet50", 4, 128), ("resnet50", 8, 128)]
CASES += [("resnet18", 32, 224), ("resnet50", 8, 224)]
OUT = HERE.parents[1] / "nbs" / "tutorials" / "speed_equilibrium.csv"


class Multiplications(TorchDispatchMode):
    "Multiplications of the convolutions in the body, forward and backward"

    def __init__(self):
        super().__init__()
        self.forward = self.backward = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result, kind = operation(*args, **(kwargs or {})), operation._overloadpacket
        if kind is torch.ops.aten.convolution:
            self.forward += result.numel() * args[1][0].numel()
        if kind is torch.ops.aten.convolution_backward:
            self.backward += sum(args[-1][:2]) * args[0].numel() * args[2][0].numel()
        return result


def multiplications(call) -> tuple[int, int]:
    "Of a call, forward and backward"
    with Multiplications() as found:
        call()
    return found.forward, found.backward


def measured(name: str, images: int, side: int, rounds: int) -> dict:
    "The row of a network"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = getattr(torchvision.models, name)(weights=None).eval()
    x, method = numbers(images, 3, side, side), AttributionEquilibrium(net)

    def floor():
        z = x.clone().requires_grad_()
        return torch.autograd.grad(net(z)[:, 0].sum(), z)

    def ours(chunk=None):
        return method.attribute(x, target=0, internal_batch_size=chunk)

    (one, other), (forward, backward) = multiplications(floor), multiplications(ours)
    row = dict(network=name, images=images, side=side, forward=f"{forward / one:.2f}", backward=f"{backward / one:.2f}")
    row["times"] = f"{(forward + backward) / (one + other):.2f}"
    row["chunk_error"] = f"{error_between(ours((images + 1) // 2), ours()):.1e}"
    bytes_of_floor = most_bytes(floor)
    row["bytes"] = f"{most_bytes(ours) / bytes_of_floor:.2f}"
    row["bytes_together"] = f"{most_bytes(lambda: ours(images)) / bytes_of_floor:.3f}"
    taken = [[seconds(call) for call in (floor, ours)] for _ in range(rounds)]
    told = median_and_interval([b / a for a, b in taken])
    return row | dict(zip(("ratio", "low", "high"), (f"{v:.3f}" for v in told), strict=True)) | dict(rounds=rounds)


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small images, one round: counts and equality")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=OUT)
    words = parser.parse_args(given)
    torch.set_num_threads(1)
    rows = []
    for case in [("resnet18", 2, 64)] if words.tiny else CASES:
        rows.append(measured(*case, 1 if words.tiny else words.rounds))
        print(*rows[-1].values(), flush=True)
        write_table(words.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
