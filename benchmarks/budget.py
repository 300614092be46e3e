"""What one picture of 224 pixels on a ResNet-50 takes with the default budget of gradients, a smaller one and Ctrl-C.

    python benchmarks/budget.py      # minutes on a CPU; writes nbs/geodesic/budget.csv
    python benchmarks/budget.py --side 32 --out small.csv

The network has random weights (seed 0) and the picture is noise (seed 1): what is counted is rows, not what is found.
"""

import argparse
from pathlib import Path

import torch
import torchvision
from tables import write_table

from attrnb.core import heard_warnings
from attrnb.geodesic import GeodesicIGSVI, PathSearch

OUT = Path(__file__).resolve().parents[1] / "nbs" / "geodesic" / "budget.csv"
COLUMNS = "call gradients told rows calls delta change length".split()
CALLS = {  # name -> at which call of the model Ctrl-C comes, settings
    "straight": (None, dict(rounds=0, max_iterations=0, max_gradients=300)),
    "default": (None, dict(max_gradients=300)),
    "max_gradients=60": (None, dict(max_gradients=60)),
    "Ctrl-C at call 20": (20, dict(max_gradients=300)),
}


class Counted(torch.nn.Module):
    "A model that counts its calls, rows and the rows that are differentiated, and is interrupted at one call"

    def __init__(self, model: torch.nn.Module, stop: int | None):
        super().__init__()
        self.model, self.stop, self.calls, self.rows, self.gradients = model, stop, 0, 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls, self.rows = self.calls + 1, self.rows + len(x)
        if self.calls == self.stop:
            raise KeyboardInterrupt
        output = self.model(x)
        if output.requires_grad and x.requires_grad:
            output.register_hook(lambda g: setattr(self, "gradients", self.gradients + len(g)))
        return output


def row_of(name: str, side: int) -> dict:
    "One call, in numbers"
    stop, settings = CALLS[name]
    torch.manual_seed(0)
    counted = Counted(torchvision.models.resnet50(weights=None), stop).eval()
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    method = GeodesicIGSVI(counted, search=PathSearch(return_if_interrupted=True))
    with heard_warnings():
        found = method.attribute(x, target=1, return_convergence_delta=True, return_paths=True, **settings)
    _, delta, paths = found
    numbers = (float(t) for t in (delta, paths.change, paths.length))
    values = name, counted.gradients, paths.gradient_evaluations, counted.rows, counted.calls, *numbers
    return dict(zip(COLUMNS, values, strict=True))


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224, help="of the picture, in pixels")
    parser.add_argument("--out", type=Path, default=OUT)
    words = parser.parse_args(given)
    torch.set_num_threads(1)
    write_table(words.out, COLUMNS, [row_of(name, words.side) for name in CALLS])


if __name__ == "__main__":
    main()
