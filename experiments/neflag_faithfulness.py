"""The runs behind nbs/tutorials/neflag_faithfulness.ipynb: deletion and insertion of NeFLAG and its rivals.

    python experiments/neflag_faithfulness.py main shapes
    python experiments/neflag_faithfulness.py main squeezenet1_0 --weights FILE --photographs FOLDER
    python experiments/neflag_faithfulness.py settings mobilenet_v2 --weights FILE --mean 0.5 --std 0.5 \\
        --photographs FOLDER

Killed at any moment, the same line goes on from its run folder, RUNS/neflag_faithfulness/PART/NETWORK-UNITS. The rows
go to nbs/tutorials/neflag_faithfulness.csv, one per image, map, unit, substrate and number of steps, in the place of
those of the same. The three parts:

    power     random order, gradient squared and integrated gradients over units and substrates (12 images, 16 steps)
    main      all maps, both substrates (40 images, 32 steps)
    settings  NeFLAG over radius, points, search steps and aggregate (the images with even number; we ran
              --images 24)
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import torch
from captum.attr import GradientShap, NoiseTunnel, Saliency
from programs import faster, put_rows, stop_at_failures
from torch.utils.data import TensorDataset

from attrnb.benchmark import benchmark
from attrnb.core import gradients
from attrnb.measures import Measure, faithfulness_curves
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.photographs import PhotographFolder, load_model
from attrnb.samples import shape_images

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "neflag_faithfulness.csv"
BASELINES = 10  # of expected gradients: the first other images
KEYS = "part", "network", "image", "map", "unit", "substrate", "steps"


def maps_of(part, pixels):
    "Label -> method, as the benchmark takes it"
    kept = {}

    def number(x):
        "Which image it is: its draws follow from that"
        return next(i for i, image in enumerate(pixels) if torch.equal(image, x[0]))

    def once(make):
        "What a function makes of an image is made once, for the first map that asks, and kept until the next image"

        def attribute(model, x, target):
            if kept.get(make, (None,))[0] != number(x):
                kept[make] = number(x), make(model, x, target)
            return kept[make][1]

        return attribute

    def magnitude(make):
        return lambda *given: make(*given).abs()

    def random_order(draw):
        def attribute(model, x, target):
            generator = torch.Generator().manual_seed(1000 * number(x) + draw)
            return torch.randn(1, *x.shape[2:], generator=generator)

        return attribute

    def noise_tunnel(kind):
        def attribute(model, x, target):
            torch.manual_seed(number(x))
            settings = dict(nt_samples=20, nt_samples_batch_size=5, stdevs=0.05, abs=False)
            return NoiseTunnel(Saliency(model)).attribute(x, nt_type=kind, target=target, **settings)

        return attribute

    @once
    def integrated(model, x, target):
        return PathIntegratedGradients(model).attribute(x, target=target, n_steps=50, internal_batch_size=8)

    @once
    def expected(model, x, target):
        index = number(x)
        torch.manual_seed(index)
        np.random.seed(index)
        others = pixels[[k for k in range(len(pixels)) if k != index][:BASELINES]]
        return sum(GradientShap(model).attribute(x, baselines=others, n_samples=5, target=target) for _ in range(4)) / 4

    @once
    def walk(model, x, target):
        "The maps of 1, 9 and 10 starts"
        starts = torch.randn(20, *x.shape[1:], generator=torch.Generator().manual_seed(number(x)))
        settings = dict(target=target, internal_batch_size=8)
        return [NeFLAG(model).attribute(x, n_points=len(d), directions=d, **settings) for d in starts.split((1, 9, 10))]

    def of_walk(*shares):
        "NeFLAG-1, -10 and -20 from one walk: the starts of few points are the first of many"
        return lambda *given: sum(n * a for n, a in zip(shares, walk(*given), strict=False)) / sum(shares)

    def neflag(**settings):
        return "neflag", dict(seed=0) | settings

    smooth = once(noise_tunnel("smoothgrad"))
    common = {
        "random order 0": random_order(0),
        "random order 1": random_order(1),
        "gradient squared": lambda model, x, target: gradients(model, x, target=target) ** 2,
        "IntegratedGradients": integrated,
    }
    main = {
        "|IntegratedGradients|": magnitude(integrated),
        "GradientShap": expected,
        "|GradientShap|": magnitude(expected),
        "SmoothGrad": smooth,
        "|SmoothGrad|": magnitude(smooth),
        "SmoothGrad squared": noise_tunnel("smoothgrad_sq"),
        "NeFLAG-1": of_walk(1),
        "NeFLAG-10": of_walk(1, 9),
        "NeFLAG-20": of_walk(1, 9, 10),
        "NeFLAG-20 vector": neflag(aggregate="vector"),
        "NeFLAG-20 rms": neflag(radius_unit="rms"),
        "NeFLAG-20 vector rms": neflag(radius_unit="rms", aggregate="vector"),
    }
    tried = [(r, 10, 20, "feature") for r in (0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 12.0)]
    tried += [(r, 10, *other) for r in (0.1, 2.0) for other in ((0, "feature"), (20, "vector"))]
    tried += [(2.0, n, 20, "feature") for n in (1, 40)]
    settings = {
        f"NeFLAG radius={r:g} n={n} m={m} {aggregate}": neflag(
            radius=r, n_points=n, search_steps=m, aggregate=aggregate
        )
        for r, n, m, aggregate in tried
    }
    return common | dict(power={}, main=main, settings=settings)[part]


def marks(case, **settings):
    "The difference curve at 0, 0.1, ..., 1"
    curves = case.curves(**settings)
    places, fractions = np.linspace(0, 1, 11), curves.fractions.cpu()
    return torch.tensor(np.stack([np.interp(places, fractions, curve) for curve in curves.difference.cpu()]))


def measures_of(part, units):
    "Label -> measure; the label is column, unit and substrate"
    about = dict(shared=("masking_steps", "substrate", "unit", "sign"), settings=[faithfulness_curves])
    columns = dict(deletion="deletion", insertion="insertion")
    columns |= dict(curve=Measure(marks, "higher", **about)) if part == "main" else {}
    return {
        f"{column} {unit} {substrate}": (measure, dict(unit=unit, substrate=substrate))
        for unit, substrate, (column, measure) in product(units, ("black", "blurred"), columns.items())
    }


def rows_of(run, part, network, units, steps):
    "A row per image, map, unit and substrate, as they are stored"
    for r, unit, substrate in product(run.rows, units, ("black", "blurred")):
        values = {c: r["values"].get(f"{c} {unit} {substrate}") for c in ("deletion", "insertion", "curve")}
        row = dict(part=part, network=network, image=r["example"], map=r["method"], unit=unit, substrate=substrate)
        row |= dict(steps=steps, deletion=f"{values['deletion']:.5f}", insertion=f"{values['insertion']:.5f}")
        row |= dict(gradients=f"{r['gradient_evaluations'] or 0:g}", seconds=f"{r['seconds']:.2f}")
        yield row | dict(curve=" ".join(f"{m:.3f}" for m in values["curve"] or ()))


def main(given=None):
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
    parser.add_argument("--runs", default="runs", help="where the run folders are kept")
    parser.add_argument("--out", default=str(RESULTS))
    words = parser.parse_args(given)
    part, network, power = words.part, words.network, words.part == "power"
    n, steps = words.images or (12 if power else 40), words.steps or (16 if power else 32)
    enough = max(n, BASELINES + 1)  # so that the baselines are the same however many images are explained
    units = (words.unit,) if words.unit else (1, 8, 16) if power else (8 if network == "shapes" else 16,)
    loaded = load_model(network, weights=words.weights, mean=words.mean, std=words.std, device=words.device)
    model = faster(loaded.model) if words.device == "cpu" else loaded.model
    if network == "shapes":
        pixels = shape_images(enough, seed=424_242).images
    else:
        photographs = PhotographFolder(words.photographs, loaded.preprocess)
        pixels = torch.stack([photographs[i][0] for i in range(min(enough, len(photographs)))])
    pixels = pixels.to(words.device)
    numbers = list(range(0, min(n, len(pixels)), 2 if part == "settings" else 1))
    images = TensorDataset(pixels[numbers])
    images.names = numbers
    run = benchmark(
        model,
        images,
        maps_of(part, pixels),
        measures_of(part, units),
        Path(words.runs) / "neflag_faithfulness" / part / f"{network}-{'-'.join(map(str, units))}",
        target="predicted",
        masking_steps=steps,
        batch_size=1,
        internal_batch_size=8,
        keep=None,
        retry_failed=True,
    )
    stop_at_failures(run)
    put_rows(Path(words.out), list(rows_of(run, part, network, units, steps)), KEYS)


if __name__ == "__main__":
    main()
