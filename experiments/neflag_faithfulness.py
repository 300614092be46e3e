"""The runs behind nbs/tutorials/neflag_faithfulness.ipynb: deletion and insertion of NeFLAG and its rivals.

    python experiments/neflag_faithfulness.py main shapes
    python experiments/neflag_faithfulness.py main squeezenet1_0 --weights FILE --photographs FOLDER
    python experiments/neflag_faithfulness.py settings mobilenet_v2 --weights FILE --mean 0.5 --std 0.5 \\
        --photographs FOLDER

Rows go to nbs/tutorials/neflag_faithfulness.csv, one per image, map, unit and substrate; rows already there are not
made again, so a run that was stopped goes on where it was. The three parts:

    power     random order, gradient squared and integrated gradients over units and substrates (12 images, 16 steps)
    main      all maps, both substrates (40 images, 32 steps)
    settings  NeFLAG over radius, points, search steps and aggregate (the images with even number; we ran
              --images 24)
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from captum.attr import GradientShap, NoiseTunnel, Saliency
from torch.fx.experimental.optimization import fuse

from attrnb.core import ClassScore, CountingForward, gradients
from attrnb.measures import faithfulness_curves
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.photographs import load_image, load_model
from attrnb.samples import shape_images

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "neflag_faithfulness.csv"
FIELDS = [
    "part",
    "network",
    "image",
    "map",
    "unit",
    "substrate",
    "steps",
    "deletion",
    "insertion",
    "gradients",
    "seconds",
    "curve",
]


def maps_of(part, forward, x, target, others, index):
    "Yield (name of the map, function that makes it, rank); functions that share work share a cache"
    cache = {}

    def once(name, make):
        if name not in cache:
            cache[name] = make()
        return cache[name]

    def noise_tunnel(kind):
        torch.manual_seed(index)
        return NoiseTunnel(Saliency(forward)).attribute(
            x, nt_type=kind, nt_samples=20, nt_samples_batch_size=5, stdevs=0.05, target=target, abs=False
        )

    def expected_gradients():
        torch.manual_seed(index)
        np.random.seed(index)
        total = [GradientShap(forward).attribute(x, baselines=others, n_samples=5, target=target) for _ in range(4)]
        return sum(total) / 4

    def neflag(**settings):
        return NeFLAG(forward).attribute(x, target=target, internal_batch_size=8, **settings)

    def points(n):
        "NeFLAG-1, -10 and -20 from one walk: the starts of few points are the first of many"
        parts = once(
            "points",
            lambda: [
                neflag(n_points=k, directions=d) for k, d in zip((1, 9, 10), once("starts", starts).split((1, 9, 10)))
            ],
        )
        return {1: parts[0], 10: (parts[0] + 9 * parts[1]) / 10, 20: (parts[0] + 9 * parts[1] + 10 * parts[2]) / 20}[n]

    def starts():
        return torch.randn(20, *x.shape[1:], generator=torch.Generator().manual_seed(index))

    def gradient():
        return once("gradient", lambda: gradients(forward, x, target=target))

    def integrated():
        return once(
            "ig",
            lambda: PathIntegratedGradients(forward).attribute(x, target=target, n_steps=50, internal_batch_size=8),
        )

    def shap():
        return once("shap", expected_gradients)

    for draw in range(2):
        yield (
            f"random order {draw}",
            lambda draw=draw: torch.randn(
                x.shape[0], *x.shape[2:], generator=torch.Generator().manual_seed(1000 * index + draw)
            ),
            "signed",
        )
    yield "gradient squared", lambda: gradient() ** 2, "signed"
    yield "IntegratedGradients", integrated, "signed"
    if part == "power":
        return
    if part == "main":
        yield "|IntegratedGradients|", integrated, "magnitude"
        yield "GradientShap", shap, "signed"
        yield "|GradientShap|", shap, "magnitude"
        yield "SmoothGrad", lambda: once("sg", lambda: noise_tunnel("smoothgrad")), "signed"
        yield "|SmoothGrad|", lambda: once("sg", lambda: noise_tunnel("smoothgrad")), "magnitude"
        yield "SmoothGrad squared", lambda: noise_tunnel("smoothgrad_sq"), "signed"
        for n in (1, 10, 20):
            yield f"NeFLAG-{n}", lambda n=n: points(n), "signed"
        yield "NeFLAG-20 vector", lambda: neflag(aggregate="vector"), "signed"
        yield "NeFLAG-20 rms", lambda: neflag(radius_unit="rms"), "signed"
        yield "NeFLAG-20 vector rms", lambda: neflag(radius_unit="rms", aggregate="vector"), "signed"
        return
    for radius in (0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 12.0):
        yield (
            f"NeFLAG radius={radius:g} n=10 m=20 feature",
            lambda radius=radius: neflag(n_points=10, radius=radius),
            "signed",
        )
    for radius in (0.1, 2.0):
        yield (
            f"NeFLAG radius={radius:g} n=10 m=0 feature",
            lambda radius=radius: neflag(n_points=10, radius=radius, search_steps=0),
            "signed",
        )
        yield (
            f"NeFLAG radius={radius:g} n=10 m=20 vector",
            lambda radius=radius: neflag(n_points=10, radius=radius, aggregate="vector"),
            "signed",
        )
    for n in (1, 40):
        yield f"NeFLAG radius=2 n={n} m=20 feature", lambda n=n: neflag(n_points=n, radius=2.0), "signed"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["power", "main", "settings"])
    parser.add_argument("network", help="shapes, or a torchvision model name")
    parser.add_argument("--weights", help="state file of the network")
    parser.add_argument("--photographs", help="folder of pictures, taken in order of their names")
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--images", type=int, help="number of images; default 12 for power, 40 otherwise")
    parser.add_argument("--steps", type=int, help="steps of the curves; default 16 for power, 32 otherwise")
    parser.add_argument(
        "--unit",
        type=int,
        help="side of the patches in pixels; default 8 for shapes, 16 otherwise (power: 1, 8 and 16)",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default=str(RESULTS))
    options = parser.parse_args()
    part, network = options.part, options.network
    count = options.images or (12 if part == "power" else 40)
    steps = options.steps or (16 if part == "power" else 32)
    count = max(count, 2)  # expected gradients take the other images as baselines
    loaded = load_model(network, weights=options.weights, mean=options.mean, std=options.std, device=options.device)
    model = loaded.model
    # the same function, faster: batch normalisation folded into convolutions, channels last
    if options.device == "cpu":
        model = fuse(model).eval().to(memory_format=torch.channels_last)
    if network == "shapes":
        pixels = shape_images(count, seed=424_242).images
    else:
        files = sorted(p for p in Path(options.photographs).iterdir() if p.suffix.lower() in (".jpeg", ".jpg", ".png"))[
            :count
        ]
        pixels = torch.stack([loaded.preprocess(load_image(f)) for f in files])
    pixels = pixels.to(options.device)
    patch = 8 if network == "shapes" else 16
    units = (options.unit,) if options.unit else (1, 8, 16) if part == "power" else (patch,)
    out = Path(options.out)
    done = set()
    if out.exists():
        with open(out, newline="") as f:
            done = {
                (r["part"], r["network"], int(r["image"]), r["map"], int(r["unit"]), r["substrate"], int(r["steps"]))
                for r in csv.DictReader(f)
            }
    with open(out, "a", newline="") as f:
        writer = csv.DictWriter(f, FIELDS)
        if not done:
            writer.writeheader()
        for index in range(count):
            if part == "settings" and index % 2:
                continue
            x = pixels[index : index + 1]
            others = pixels[[k for k in range(len(pixels)) if k != index][:10]]
            forward = CountingForward(ClassScore(model, of="probability"))
            with torch.no_grad():
                target = int(forward(x).argmax())
            for name, make, rank in maps_of(part, forward, x, target, others, index):
                wanted = [
                    (u, s)
                    for u in units
                    for s in ("black", "blurred")
                    if (part, network, index, name, u, s, steps) not in done
                ]
                if not wanted:
                    continue
                forward.reset()
                start = time.perf_counter()
                attribution = make()
                seconds, spent = time.perf_counter() - start, forward.gradient_rows
                for unit, substrate in wanted:
                    c = faithfulness_curves(
                        forward,
                        x,
                        attribution,
                        target,
                        unit=unit,
                        sign=rank,
                        substrate=substrate,
                        masking_steps=steps,
                        internal_batch_size=8,
                    )
                    marks = np.interp(np.linspace(0, 1, 11), c.fractions.cpu(), c.difference[0].double().cpu())
                    writer.writerow(
                        dict(
                            part=part,
                            network=network,
                            image=index,
                            map=name,
                            unit=unit,
                            substrate=substrate,
                            steps=steps,
                            deletion=f"{c.deletion_score.item():.5f}",
                            insertion=f"{c.insertion_score.item():.5f}",
                            gradients=spent,
                            seconds=f"{seconds:.2f}",
                            curve=" ".join(f"{m:.3f}" for m in marks) if part == "main" else "",
                        )
                    )
            f.flush()
            print(f"{part} {network}: image {index + 1} of {count}", file=sys.stderr)


if __name__ == "__main__":
    main()
