"""What an edge of the neighbour graph should cost: the rows behind nbs/geodesic/50_knn.ipynb and tutorials/half_moons.

    python experiments/edge_weights.py choose
    python experiments/edge_weights.py confirm

Half-moons with noise 0.3, 0.5 and 0.65, perceptrons with softplus and ReLU, trained on 300, 600 or 2,000 points, which
are the pool; 200 others are explained: the log-probability of the predicted class from (-0.5, -0.5). Three networks a
cell to choose (seeds 1 to 3), five fresh ones to confirm (seeds 101 to 105). The first chose nothing: W1 had the
smaller gap in 27 of 54. One row per network, written when it is done; what is there is skipped, so that the same line
goes on where it stopped. Gaps and lengths are sums over the 200 inputs in units of the sum of |change|; `low` and
`high` are the 95 % interval of the paired difference of the two gaps, over inputs.
"""

import argparse
from itertools import product
from pathlib import Path

import torch
from programs import put_rows, read_rows

from attrnb.core import ClassScore, heard_warnings
from attrnb.geodesic import GeodesicIGKNN
from attrnb.measures import purity
from attrnb.paths import PathIntegratedGradients, no_cancellation_gap
from attrnb.samples import half_moons, half_moons_model
from attrnb.statistics import bootstrap_interval

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "geodesic" / "edge_weights.csv"
KEYS = "stage", "pool", "activation", "noise", "seed"
POOLS = 300, 600, 2000
SEEDS = dict(choose=(1, 2, 3), confirm=(101, 102, 103, 104, 105))
BASELINE = torch.tensor([[-0.5, -0.5]])


def measured(pool, activation, noise, seed, queries=200, epochs=500):
    "The columns of one network"
    points, labels = half_moons(pool + queries, noise=noise, seed=seed)
    model = half_moons_model(points[:pool], labels[:pool], seed=seed, activation=activation, epochs=epochs)
    score, x = ClassScore(model, of="log_probability"), points[pool:]
    with torch.no_grad():
        predicted = model(x).argmax(1)
        change = (score(x) - score(BASELINE)).gather(1, predicted[:, None])[:, 0]
    total, row = change.abs().sum(), {}

    def enter(name, A):
        row[f"gap_{name}"] = (no_cancellation_gap(A, change).sum() / total).item()
        row[f"purity_{name}"] = purity(A.abs().sum(1), predicted)
        return no_cancellation_gap(A, change)

    enter("straight", PathIntegratedGradients(score).attribute(x, BASELINE, predicted, n_steps=200))
    gaps = {}
    for weight in ("conformal", "w1"):
        with heard_warnings():
            knn = GeodesicIGKNN(score, points[:pool], weight=weight)
            A, paths = knn.attribute(x, BASELINE, predicted, return_paths=True)
        gaps[weight] = enter(weight, A)
        row[f"length_{weight}"] = (paths.length.sum() / total).item()
        row[f"w1_{weight}"] = (paths.w1.sum() / total).item()
        row[f"gradients_{weight}"] = paths.gradient_evaluations
    _, low, high = bootstrap_interval((gaps["w1"] - gaps["conformal"]) / change.abs().mean())
    return {k: f"{v:.5g}" for k, v in row.items()} | dict(low=f"{low:.5g}", high=f"{high:.5g}")


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=list(SEEDS))
    parser.add_argument("--seeds", type=int, help="how many networks per cell; default all")
    parser.add_argument("--out", default=str(RESULTS))
    words = parser.parse_args(given)
    out, seeds = Path(words.out), SEEDS[words.stage][: words.seeds]
    for pool, seed, activation, noise in product(POOLS, seeds, ("softplus", "relu"), (0.3, 0.5, 0.65)):
        key = words.stage, str(pool), activation, str(noise), str(seed)
        if key in read_rows(out, KEYS):
            continue
        put_rows(out, [dict(zip(KEYS, key, strict=True)) | measured(pool, activation, noise, seed)], KEYS)


if __name__ == "__main__":
    main()
