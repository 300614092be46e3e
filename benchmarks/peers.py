"""What time_interpret and Quantus compute, too: in which time, with how many rows, with how much memory.

    pip install time_interpret==0.3.0 quantus==0.6.0
    python benchmarks/peers.py                       # two minutes on a free core; writes nbs/tutorials/peers.csv
    python benchmarks/peers.py --tiny --out x.csv    # in small: counts and equality count

Captum is compared in speed.py. Ours and theirs alternate; a ratio is that of one round, and the table has the median
over rounds with an interval. Seconds are those of the process, one thread. Rows are those that passed the network, in
brackets in the page those with a gradient. Memory is the most that tensors held at one time, and the most that Python
and NumPy held, added. `error` is the largest difference in parts of the largest number, where both compute the same.
"""

import argparse
import importlib.util
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from cases import CLASSES, error_between, median_and_interval, network, numbers, passes, seconds
from speed import most_bytes
from tables import read_table, write_table
from torch import Tensor, nn

from attrnb import measures
from attrnb.geodesic import GeodesicIGKNN

HERE = Path(__file__).resolve()
COLUMNS = (
    "peer version name sizes rounds ratio low high rows gradient_rows peer_rows peer_gradient_rows bytes peer_bytes "
    "error note"
).split()
PEERS = {"time_interpret": "tint", "Quantus": "quantus"}


@dataclass(frozen=True)
class Pair:
    "The same thing here and there"

    peer: str
    name: str
    sizes: str
    network: nn.Module
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]
    note: str = ""  # what differs; then no equality is asked for


def of_time_interpret(batch: int, side: int, pool: int) -> list[Pair]:
    "Its measures of the top fraction, which are means over the batch, and its geodesic method"
    import tint.metrics as theirs
    from tint.attr import GeodesicIntegratedGradients

    net, x, maps = network("image"), numbers(batch, 3, side, side), numbers(batch, 3, side, side, seed=2)
    targets = torch.arange(batch) % CLASSES
    settings = dict(fraction=0.2, unit="element", substrate="black", sign="signed")

    def pair(name: str, there: str, score: str) -> Pair:
        def ours():
            return getattr(measures, name)(net, x, maps, targets, score=score, **settings).mean()

        def peers():
            return torch.tensor(getattr(theirs, there)(net, x, maps, target=targets, topk=0.2))

        return Pair("time_interpret", there, f"{batch} x 3 x {side} x {side}", net, ours, peers)

    found = [pair(name, name, "probability") for name in ("comprehensiveness", "sufficiency")]
    found += [pair("log_odds", "log_odds", "log_probability")]
    found += [pair("cross_entropy_after_masking", "cross_entropy", "log_probability")]
    table = nn.Sequential(nn.Linear(10, 64), nn.Softplus(), nn.Linear(64, CLASSES)).eval()
    points, few = numbers(pool, 10, seed=1), numbers(8, 10)
    ends = torch.zeros_like(few)

    def geodesic_there():
        method = GeodesicIntegratedGradients(table, data=points, n_neighbors=15)
        return method.attribute(few, baselines=ends.clone(), target=0, n_steps=5, internal_batch_size=20_000)

    def geodesic_here():
        method = GeodesicIGKNN(table, points, n_neighbors=15)
        return method.attribute(few, ends, 0, n_steps=5, integral_tolerance=None)

    note = "its paths may pass through other examples of the call, and never go straight; ours the other way round"
    sizes = f"8 x 10, pool of {pool}"
    return [*found, Pair("time_interpret", "geodesic paths", sizes, table, geodesic_here, geodesic_there, note)]


def of_quantus(batch: int, side: int) -> list[Pair]:
    "Faithfulness, localisation and sensitivity, of arrays"
    import quantus

    net, maps = network("image"), numbers(batch, 3, side, side, seed=2)
    x, targets = numbers(batch, 3, side, side), torch.arange(batch) % CLASSES
    masks = torch.zeros(batch, side, side, dtype=torch.bool)
    masks[:, 2 : side // 2, 2 : side // 2] = True
    positive, sizes = maps.abs().sum(1), f"{batch} x 3 x {side} x {side}"
    quiet = dict(disable_warnings=True, display_progressbar=False)
    data = dict(model=net, x_batch=x.numpy(), y_batch=targets.numpy(), channel_first=True, device="cpu")
    step = side  # it must divide the pixels, and is of numbers

    def flipping():
        kind = quantus.PixelFlipping(features_in_step=step, normalise=False, return_auc_per_sample=False, **quiet)
        return torch.tensor(np.array(kind(a_batch=maps.numpy(), softmax=True, **data)))

    def curve():
        settings = dict(measures.PRESETS["Quantus PixelFlipping"], masking_steps=3 * side, curves="deletion")
        settings = {k: v for k, v in settings.items() if k not in ("area", "start")}
        return measures.faithfulness_curves(net, x, maps, targets, **settings).deletion[:, 1:]

    def mass():
        kind = quantus.RelevanceMassAccuracy(normalise=False, **quiet)
        return torch.tensor(kind(a_batch=positive[:, None].numpy(), s_batch=masks[:, None].numpy(), **data))

    def game():
        kind = quantus.PointingGame(normalise=False, **quiet)
        found = kind(a_batch=positive[:, None].numpy(), s_batch=masks[:, None].numpy(), **data)
        return torch.tensor([float(hit) for hit in found])

    def explain(inputs, target, model=net):
        with torch.enable_grad():
            z = inputs.clone().requires_grad_()
            return torch.autograd.grad(model(z).gather(1, torch.as_tensor(target)[:, None]).sum(), z)[0]

    def gradient(model, inputs, targets, **_):
        return explain(torch.as_tensor(inputs), torch.as_tensor(targets), model).numpy()

    def sensitivity():
        kind = quantus.MaxSensitivity(nr_samples=10, lower_bound=0.02, normalise=False, **quiet)
        return torch.tensor(kind(explain_func=gradient, a_batch=None, **data))

    def sensitivity_here():
        return measures.sensitivity_max(explain, x, targets, n_samples=10, radius=0.02)

    drawn = "both draw: other numbers. Ours is the largest of ten draws, theirs too"
    return [
        Pair("Quantus", "PixelFlipping", sizes, net, curve, flipping),
        Pair("Quantus", "RelevanceMassAccuracy", sizes, net, lambda: measures.energy_inside(positive, masks), mass),
        Pair("Quantus", "PointingGame", sizes, net, lambda: measures.pointing_game(positive, masks), game),
        Pair("Quantus", "MaxSensitivity", sizes, net, sensitivity_here, sensitivity, drawn),
    ]


def memory(call: Callable) -> int:
    "The most bytes of tensors, and the most of Python and NumPy"
    tensors = most_bytes(call)
    tracemalloc.start()
    call()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return tensors + held


def measured(pair: Pair, rounds: int, least: float) -> dict:
    "The row of one pair"
    row = dict(peer=pair.peer, version=version(pair.peer), name=pair.name, sizes=pair.sizes, rounds=rounds)
    results = {}
    for prefix, call in (("", pair.ours), ("peer_", pair.theirs)):
        with passes(pair.network) as found:
            results[prefix] = call()
        row[f"{prefix}rows"] = sum(shape[0] for shape, _ in found)
        row[f"{prefix}gradient_rows"] = sum(shape[0] for shape, gradient in found if gradient)
        row[f"{prefix}bytes"] = memory(call)
    row["note"] = pair.note
    if not pair.note:
        row["error"] = f"{error_between(results[''], results['peer_']):.1e}"
    taken = [(seconds(pair.ours, least=least), seconds(pair.theirs, least=least)) for _ in range(rounds)]
    told = median_and_interval([a / b for a, b in taken])
    return row | dict(zip(("ratio", "low", "high"), (f"{v:.4f}" for v in told), strict=True))


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small inputs and one round: counts and equality")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", nargs="+", help="names of what is compared; other rows of the table stay")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "nbs" / "tutorials" / "peers.csv")
    words = parser.parse_args(given)
    torch.set_num_threads(1)
    rounds, least = (1, 0.0) if words.tiny else (words.rounds, 0.05)
    makers = dict(
        time_interpret=lambda: of_time_interpret(*((2, 10, 40) if words.tiny else (8, 20, 300))),
        Quantus=lambda: of_quantus(*((2, 8) if words.tiny else (8, 20))),
    )
    there = read_table(words.out) if words.only and words.out.exists() else []
    rows = [row for row in there if row["name"] not in words.only]
    for peer, make in makers.items():
        if importlib.util.find_spec(PEERS[peer]) is None:
            rows.append(dict(peer=peer, note="not installed"))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for pair in make():
                if words.only is None or pair.name in words.only:
                    rows.append(measured(pair, rounds, least))
                    print({k: v for k, v in rows[-1].items() if k != "note"}, flush=True)
    write_table(words.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
