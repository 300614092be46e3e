"""The photographs of nbs/tutorials/geodesic_images.ipynb: path methods on ImageNet networks, by the paper's measures.

    python experiments/geodesic_photographs.py squeezenet1_0 --weights FILE --photographs FOLDER
    python experiments/geodesic_photographs.py mobilenet_v2 --weights FILE --mean 0.5 --std 0.5 --photographs FOLDER

The first 24 pictures by name are explained, the next 30 are the pool. The searches are cut short for a CPU, see
`methods`. Killed at any moment, the same line goes on from its run folder, RUNS/geodesic_photographs/NETWORK. The rows
go to nbs/tutorials/geodesic_photographs.csv, in the place of those of the same network, image and method.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from programs import faster, put_rows, stop_at_failures

from attrnb.benchmark import benchmark
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI, GeodesicPaths, PublishedGeodesicIG
from attrnb.measures import Measure
from attrnb.photographs import PhotographFolder, load_model

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "geodesic_photographs.csv"
FRACTIONS = [0.01, 0.02, 0.05, *(round(0.05 * k, 2) for k in range(2, 14))]
PATCH = 16
KEYS = "network", "image", "method"


def guided_path(forward, x, baseline, target, steps=32, fraction=0.1):
    """Guided Integrated Gradients (Kapishnikov et al. 2021, algorithm 1): the features with the smallest gradients
    move first
    """
    point, attribution = baseline.clone(), torch.zeros_like(x)
    whole = (x - baseline).abs().sum()
    for step in range(1, steps + 1):
        leaf = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(forward(leaf)[0, target], leaf)
        remaining = whole * (1 - step / steps)
        while (left := (x - point).abs().sum()) - remaining > 1e-5 * whole:
            moving = (x - point).abs() > 0
            size = gradient.abs().masked_fill(~moving, float("inf"))
            bound = size[moving].kthvalue(max(int(fraction * moving.sum()), 1)).values
            chosen = size <= bound
            share = ((left - remaining) / (x - point)[chosen].abs().sum()).clamp(max=1)
            new = torch.where(chosen, x if share == 1 else torch.lerp(point, x, share), point)
            attribution += (new - point) * gradient
            point = new
    return attribution


def searched(model, inputs, target, *, what, **settings):
    "Attributions of a method that searches a path, built anew for every image, and the path"
    return what(model).attribute(inputs, 0, target, return_paths=True, internal_batch_size=8, **settings)


def through(pool):
    "kNN through a pool of images"
    return lambda model: GeodesicIGKNN(model, pool, n_neighbors=5)


def methods(pool):
    "Label -> method, as the benchmark takes it"
    relaxed = dict(n_segments=4, rounds=0, max_iterations=6, integral_tolerance=1e-2)
    published = dict(beta=0.1, num_iterations=5, learning_rate=0.01)
    return {
        "integrated gradients": "integrated_gradients",
        "guided integrated gradients": lambda model, x, t: guided_path(model, x, torch.zeros_like(x), int(t)),
        "kNN": (searched, dict(what=through(pool), n_steps=3, integral_tolerance=None)),
        "variational": (searched, dict(what=GeodesicIGSVI) | relaxed),
        "published, 5 iterations": (searched, dict(what=PublishedGeodesicIG) | published),
        "random": lambda model, x, t: torch.rand(x.shape, generator=torch.Generator().manual_seed(0)),
    }


def length(case):
    "Length of the searched path over the change of the score; NaN without a search"
    return torch.tensor(
        [float(p.length / p.change.abs()) if isinstance(p, GeodesicPaths) else math.nan for p in case.findings]
    )


def measures(shape):
    "Label -> measure: losses at each of FRACTIONS, of elements and of patches, whose areas are the paper's; and axioms"
    table = {}
    for prefix, unit, n in (("", "element", math.prod(shape)), ("patch_", PATCH, math.prod(shape[1:]) // PATCH**2)):
        common = dict(unit=unit, fraction=[round(f * n) / n for f in FRACTIONS])
        table[f"{prefix}comprehensiveness"] = "comprehensiveness", dict(common, score="probability")
        table[f"{prefix}log_odds"] = "log_odds", common
    axiom = dict(baselines=0.0, relative=True)
    return table | dict(
        gap=("cancellation_gap", axiom),
        completeness=("completeness_error", axiom),
        length=Measure(length, needs=("findings",)),
    )


def number(name, value):
    "A value as it is stored: the area under losses, five digits"
    if isinstance(value, list):
        value = np.trapezoid(value, FRACTIONS) * (-1 if name.endswith("log_odds") else 1)
    return f"{math.nan if value is None else value:.5g}"


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--photographs", required=True)
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--runs", default="runs", help="where the run folders are kept")
    parser.add_argument("--out", default=str(RESULTS))
    words = parser.parse_args(given)
    loaded = load_model(words.network, weights=words.weights, mean=words.mean, std=words.std)
    loaded = replace(loaded, model=faster(loaded.model))
    photographs = PhotographFolder(words.photographs, loaded.preprocess)
    n = min(words.images, len(photographs))
    pool = torch.stack([photographs[i][0] for i in range(n, min(n + 30, len(photographs)))])
    run = benchmark(
        loaded,
        photographs,
        methods(pool),
        measures(pool[0].shape),
        Path(words.runs) / "geodesic_photographs" / words.network,
        images=n,
        target="predicted",
        score="log_probability",
        batch_size=1,
        internal_batch_size=8,
        keep=None,
        retry_failed=True,
    )
    stop_at_failures(run)
    put_rows(
        Path(words.out),
        [
            dict(network=words.network, image=r["index"], method=r["method"])
            | {m: number(m, r["values"][m]) for m in run.measures}
            | dict(gradients=f"{r['gradient_evaluations'] or 0:g}")
            for r in run.rows
        ],
        KEYS,
    )


if __name__ == "__main__":
    main()
