"""The photographs of nbs/tutorials/geodesic_images.ipynb: path methods on ImageNet networks, by the paper's measures.

    python experiments/geodesic_photographs.py squeezenet1_0 --weights FILE --photographs FOLDER
    python experiments/geodesic_photographs.py mobilenet_v2 --weights FILE --mean 0.5 --std 0.5 --photographs FOLDER

The first 24 pictures by name are explained, the next 30 are the pool. The searches are cut short for a CPU, see
`methods`. Killed at any moment, the same line goes on from its run folder, RUNS/geodesic_photographs/NETWORK. The rows
go to nbs/tutorials/geodesic_photographs.csv, in the place of those of the same network, image and method.

With `--part choose` or `--part confirm` the same networks by the protocol that has power: the difference of insertion
and deletion of patches of 16 pixels, ranked by magnitude, against the blurred picture; beside four floors. Every
`--every`-th picture is explained, at `--size` pixels. Rows go to nbs/tutorials/geodesic_versions.csv. As we ran it:

    python experiments/geodesic_photographs.py NETWORK --part choose --photographs TRAINING --images 12 --every 20 ...
    python experiments/geodesic_photographs.py NETWORK --part confirm --photographs VALIDATION --images 24 --every 4 ...

(of the last line the rows that are in the table; for want of computing time `--only` left out the others, and the
variational path and the published procedure were stopped after the first 13 pictures of squeezenet1_0)

Chosen on the training pictures, before the others were looked at: conformal edges, the default of GeodesicIGVersions.
W1 finds nearly the same paths (gap 0.41 and 0.56 of the straight path's, conformal 0.40 and 0.57), Fisher hardly better
ones than the straight path (0.97 and 0.84). `--only` names the methods of one call, which then has its own `--runs`.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from programs import faster, put_rows, stop_at_failures
from torch.utils.data import Subset
from torchvision.transforms.functional import resize

from attrnb.benchmark import benchmark
from attrnb.core import unflatten_features
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI, GeodesicIGVersions, GeodesicPaths, PublishedGeodesicIG
from attrnb.measures import Measure, random_map, substrate_of
from attrnb.paths import PathIntegratedGradients
from attrnb.photographs import PhotographFolder, load_model

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "geodesic_photographs.csv"
POWERED = RESULTS.with_name("geodesic_versions.csv")
FRACTIONS = [0.01, 0.02, 0.05, *(round(0.05 * k, 2) for k in range(2, 14))]
PATCH = 16
KEYS = "network", "image", "method"
SEARCH = 33 * 3  # gradients of a search through versions: edges and nodes on each
# how both parts run: the log-probability of the predicted class, one photograph at a time
EACH = dict(target="predicted", score="log_probability", batch_size=1, internal_batch_size=8)
EACH |= dict(keep=None, retry_failed=True)


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
    relaxed = dict(n_segments=4, rounds=0, max_iterations=6, integral_tolerance=1e-2, max_gradients=None)
    published = dict(beta=0.1, num_iterations=5, learning_rate=0.01)
    return {
        "integrated gradients": "integrated_gradients",
        "guided integrated gradients": lambda model, x, t: guided_path(model, x, torch.zeros_like(x), int(t)),
        "kNN": (searched, dict(what=through(pool), n_steps=3, integral_tolerance=None)),
        "variational": (searched, dict(what=GeodesicIGSVI) | relaxed),
        "published, 5 iterations": (searched, dict(what=PublishedGeodesicIG) | published),
        "random": lambda model, x, t: torch.rand(x.shape, generator=torch.Generator().manual_seed(0)),
    }


class SharedVersions(GeodesicIGVersions):
    "Edges with conformal and with W1 weights from the same gradients, which are kept from one call to the next"

    kept = {}

    def _costs(self, sweep, owner, points, scores, edges):
        if self.weight == "conformal" or not torch.equal(self.kept.get("points", points[:0]), points):
            found = sweep(points, edges, owner, keep_attributions=False)
            self.kept.update(points=points, conformal=found.length, w1=found.w1)
        return self.kept[self.weight].double().clamp(min=1e-300)


class FisherVersions(GeodesicIGVersions):
    """Edges as long as in the Fisher metric of all classes, J^T (diag p - p p^T) J, that FRInGe (Martino and
    Tschiatschek 2026) takes: along a step the standard deviation, over the classes, of what it changes in the logits.
    Read from differences of logits between `pieces` of every edge, without a gradient. The metric is damped: pixels
    count with `damping` of what the edges have in logits. That it be smooth in space is the versions' part.
    """

    pieces, damping = 4, 0.1

    def _costs(self, sweep, owner, points, scores, edges):
        score, (start, end) = sweep.score, points[edges].unbind(1)
        places = torch.stack([torch.lerp(start, end, k / self.pieces) for k in range(self.pieces + 1)], 1)
        rows, logits = places.flatten(0, 1), []
        for s in score.chunks(len(rows)):
            with torch.no_grad():
                logits.append(score.forward(*unflatten_features(rows[s], score.inputs)))
        logits = torch.cat(logits).double().view(len(edges), self.pieces + 1, -1)
        step, p = logits.diff(dim=1), ((logits[:, 1:] + logits[:, :-1]) / 2).softmax(2)
        variance = (p * step.square()).sum(2) - (p * step).sum(2).square()
        pixels = (end - start).double().square().sum(1) / self.pieces**2
        scale = self.damping**2 * variance.sum() / pixels.sum() / self.pieces
        return (variance + scale * pixels[:, None]).clamp(min=0).sqrt().sum(1).clamp(min=1e-300)


def from_blurred(model, x, target):
    "Integrated gradients from what the protocol removes to"
    return PathIntegratedGradients(model).attribute(x, substrate_of(x, "blurred"), target, internal_batch_size=8)


def powered_methods():
    "Label -> method, as the benchmark takes it"
    versions = dict(conformal=SharedVersions, w1=weighted("w1"), Fisher=FisherVersions)
    relaxed = methods(torch.zeros(2, 3, 1, 1))
    straight = dict(what=without_versions, n_steps=50, search_steps=1)
    found = {"integrated gradients": (searched, straight), "integrated gradients from blurred": from_blurred}
    found |= {f"versions, {name}": (searched, dict(what=what)) for name, what in versions.items()}
    found["variational"] = relaxed["variational"]
    as_in_fringe = dict(what=PublishedGeodesicIG, beta=1.0, num_iterations=10, learning_rate=0.01, n_steps=10)
    found["published, 10 points, 10 iterations"] = searched, as_in_fringe
    found |= {f"random {k}": in_order_of_chance(k) for k in range(3)}
    return found | {name: name for name in ("centre", "uniform", "activity")}


def in_order_of_chance(draw):
    "A random order of the patches, another for every picture, which tells it by the sum of its pixels"

    def attribute(model, x, target):
        return random_map(x, PATCH, seed=1000 * draw + int(x.double().abs().sum()) % 1000)

    return attribute


def without_versions(model):
    "Integrated gradients, with the length of their path"
    return GeodesicIGVersions(model, widths=(), levels=())


def weighted(weight):
    "Versions whose edges have other weights"
    return lambda model: SharedVersions(model, weight=weight)


def of_path(name):
    "The measure of a searched path, over the change of the score; NaN without a search"

    def value(case):
        return torch.tensor(
            [
                float(getattr(p, name) / p.change.abs()) if isinstance(p, GeodesicPaths) else math.nan
                for p in case.findings
            ]
        )

    return Measure(value, needs=("findings",))


def powered_measures():
    "Label -> measure: the difference by the protocol that has power, and what the paths say of themselves"
    common = dict(unit=PATCH, substrate="blurred", sign="magnitude", score="probability", masking_steps=16)
    axiom = dict(baselines=0.0, relative=True)
    return dict(
        difference=("difference", common),
        gap=("cancellation_gap", axiom),
        completeness=("completeness_error", axiom),
        length=of_path("length"),
        w1=of_path("w1"),
    )


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


def powered(words, loaded):
    "The parts by the protocol that has power"

    def prepared(picture):
        return resize(loaded.preprocess(picture), [words.size, words.size], antialias=True)

    photographs = PhotographFolder(words.photographs, prepared)
    numbers = range(0, len(photographs), words.every)[: words.images]
    images = Subset(photographs, numbers)
    images.names = [photographs.names[i] for i in numbers]
    chosen = {k: m for k, m in powered_methods().items() if words.only is None or k in words.only}
    run = benchmark(
        loaded.model,
        images,
        chosen,
        powered_measures(),
        Path(words.runs) / "geodesic_versions" / words.part / f"{words.network}-{words.size}",
        **EACH,
    )
    stop_at_failures(run)
    put_rows(Path(words.out or POWERED), list(powered_rows(run, words, numbers)), ("part", *KEYS, "size"))


def powered_rows(run, words, numbers):
    "A row per picture and method, as they are stored"
    for r in run.rows:
        row = dict(part=words.part, network=words.network, size=words.size, image=numbers[r["index"]])
        row |= dict(method=r["method"]) | {m: number(m, r["values"][m]) for m in run.measures}
        gradients = (r["gradient_evaluations"] or 0) + SEARCH * (r["method"] == "versions, w1")  # which it was spared
        yield row | dict(gradients=f"{gradients:g}", seconds=f"{r['seconds']:.2f}")


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--photographs", required=True)
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--part", choices=["paper", "choose", "confirm"], default="paper")
    parser.add_argument("--every", type=int, default=1, help="which pictures, by name: the first, then every so many")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures; the paper's part has 224 pixels")
    parser.add_argument("--only", nargs="*", help="labels of methods; default all")
    parser.add_argument("--runs", default="runs", help="where the run folders are kept")
    parser.add_argument("--out")
    words = parser.parse_args(given)
    loaded = load_model(words.network, weights=words.weights, mean=words.mean, std=words.std)
    loaded = replace(loaded, model=faster(loaded.model))
    if words.part != "paper":
        return powered(words, loaded)
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
        **EACH,
    )
    stop_at_failures(run)
    put_rows(
        Path(words.out or RESULTS),
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
