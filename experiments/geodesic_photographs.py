"""The photographs of nbs/tutorials/geodesic_images.ipynb: path methods on ImageNet networks, by the paper's measures.

    python experiments/geodesic_photographs.py squeezenet1_0 --weights FILE --photographs FOLDER
    python experiments/geodesic_photographs.py mobilenet_v2 --weights FILE --mean 0.5 --std 0.5 --photographs FOLDER

Rows go to nbs/tutorials/geodesic_photographs.csv; what is there already is not made again. The first 24 pictures
by name are explained, the next 30 are the pool. The searches are cut short for a CPU, see `methods`.
"""

import argparse
import csv
import sys
from pathlib import Path

import torch
from torch.fx.experimental.optimization import fuse

from attrnb.core import ClassScore, CountingForward
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI, PublishedGeodesicIG
from attrnb.paths import PathIntegratedGradients, no_cancellation_gap
from attrnb.photographs import load_image, load_model

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "geodesic_photographs.csv"
MEASURES = [
    "comprehensiveness",
    "log_odds",
    "patch_comprehensiveness",
    "patch_log_odds",
    "gap",
    "completeness",
    "length",
]
FIELDS = ["network", "image", "method", *MEASURES, "gradients"]
FRACTIONS = [0.01, 0.02, 0.05, *(round(0.05 * k, 2) for k in range(2, 14))]
PATCH = 16


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


def areas(model, x, target, attribution, patch=None):
    "Areas under comprehensiveness and minus log-odds over the fractions of features (or patches) set to zero"
    importance = (
        attribution if patch is None else torch.nn.functional.avg_pool2d(attribution.sum(1, keepdim=True), patch)
    )
    order = importance.flatten(1).argsort(dim=1, descending=True)
    kept = torch.ones(len(FRACTIONS), order.shape[1])
    for row, fraction in zip(kept, FRACTIONS):
        row[order[0, : round(fraction * order.shape[1])]] = 0
    kept = kept.view(-1, *importance.shape[1:])
    if patch is not None:
        kept = kept.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    masked = x * kept
    with torch.no_grad():
        whole = model(x).log_softmax(1)[0, target]
        rest = torch.cat([model(part).log_softmax(1)[:, target] for part in masked.split(5)])
    fractions = torch.tensor(FRACTIONS)
    return torch.trapezoid(whole.exp() - rest.exp(), fractions).item(), torch.trapezoid(whole - rest, fractions).item()


def methods(forward, pool):
    "Name -> function of input and target that returns attributions and paths"
    settings = dict(internal_batch_size=8)
    knn = GeodesicIGKNN(forward, pool, n_neighbors=5)
    relaxed, published = GeodesicIGSVI(forward), PublishedGeodesicIG(forward)
    return {
        "integrated gradients": lambda x, t: (PathIntegratedGradients(forward).attribute(x, 0, t, **settings), None),
        "guided integrated gradients": lambda x, t: (guided_path(forward, x, torch.zeros_like(x), t), None),
        "kNN": lambda x, t: knn.attribute(x, 0, t, n_steps=3, integral_tolerance=None, return_paths=True, **settings),
        "variational": lambda x, t: relaxed.attribute(
            x, 0, t, n_segments=4, rounds=0, max_iterations=6, integral_tolerance=1e-2, return_paths=True, **settings
        ),
        "published, 5 iterations": lambda x, t: published.attribute(
            x, 0, t, beta=0.1, num_iterations=5, learning_rate=0.01, return_paths=True, **settings
        ),
        "random": lambda x, t: (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)), None),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--photographs", required=True)
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--out", default=str(RESULTS))
    options = parser.parse_args()
    loaded = load_model(options.network, weights=options.weights, mean=options.mean, std=options.std)
    model = fuse(loaded.model).eval().to(memory_format=torch.channels_last)
    files = sorted(p for p in Path(options.photographs).iterdir() if p.suffix.lower() in (".jpeg", ".jpg", ".png"))
    pixels = torch.stack([loaded.preprocess(load_image(f)) for f in files[: options.images + 30]])
    images, pool = pixels[: options.images], pixels[options.images :]
    counting = CountingForward(ClassScore(model, of="log_probability"))
    ways = methods(counting, pool)
    out = Path(options.out)
    done = set()
    if out.exists():
        with out.open(newline="") as f:
            done = {(r["network"], int(r["image"]), r["method"]) for r in csv.DictReader(f)}
    for index in range(len(images)):
        missing = [name for name in ways if (options.network, index, name) not in done]
        if not missing:
            continue
        x, rows = images[index : index + 1], []
        with torch.no_grad():
            target = int(model(x).argmax())
            change = (model(x).log_softmax(1) - model(torch.zeros_like(x)).log_softmax(1))[0, target]
        size = change.abs().item()
        for name in missing:
            counting.reset()
            attribution, paths = ways[name](x, target)
            comprehensiveness, log_odds = areas(model, x, target, attribution)
            patch_comprehensiveness, patch_log_odds = areas(model, x, target, attribution, PATCH)
            row = dict(
                comprehensiveness=comprehensiveness,
                log_odds=log_odds,
                patch_comprehensiveness=patch_comprehensiveness,
                patch_log_odds=patch_log_odds,
                gap=no_cancellation_gap(attribution, change[None]).item() / size,
                completeness=abs(attribution.sum().item() - change.item()) / size,
                length=float("nan") if paths is None else paths.length.item() / size,
            )
            rows.append(
                dict(network=options.network, image=index, method=name, gradients=counting.gradient_rows)
                | {k: f"{v:.5g}" for k, v in row.items()}
            )
        new = not out.exists()
        with out.open("a", newline="") as f:
            writer = csv.DictWriter(f, FIELDS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(rows)
        print(f"{options.network}: image {index + 1} of {len(images)}", file=sys.stderr)


if __name__ == "__main__":
    main()
