"""Ideas that looked good on few images, repeated on fresh ones, for nbs/tutorials/what_works.ipynb.

    python experiments/trials.py shapes
    python experiments/trials.py pairs
    python experiments/trials.py mobilenet_v2 --weights FILE --mean 0.5 --std 0.5 --photographs TRAINING_PHOTOGRAPHS
    python experiments/trials.py mobilenet_v2 --weights FILE --mean 0.5 --std 0.5 --photographs PHOTOGRAPHS --confirm

What is tried was set before these images were looked at:

    noisy centres     NeFLAG round each of several noisy copies of the image, mean
    several radii     mean of NeFLAG at the radii 0.03, 0.1, 0.3 and 1
    coarse sphere     NeFLAG on a sphere of coarse images: constant on squares as large as the patches
    positive weights  Attribution Equilibrium whose hidden convolutions pass relevance by their positive weights only

`shapes`: 24 embedded images, single black pixels, 16 steps, the map as it is and averaged over 4x4 pixels. `pairs`: 24
embedded pictures with two marked shapes, the share of the positive relevance on the shape that is asked for, less its
share when the other is asked for. A network's name: 20 photographs, patches of 16 pixels on black and on the blurred
image, 32 steps. A trial whose whole interval over NeFLAG is above zero on black and on blur there is confirmed once, on
the blurred image, with `--confirm`: on 24 of the photographs of neflag_faithfulness.py, those that had no part in
choosing NeFLAG's radius (odd numbers, and from 24 on). That was noisy centres alone.

Killed at any moment, the same line goes on: an image is one step, and its numbers depend on nothing else. Rows go to
nbs/tutorials/trials.csv.
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from programs import faster, put_rows, read_rows
from torch.nn.functional import interpolate

from attrnb.core import ClassScore, CountingForward, gradients, heard_warnings
from attrnb.equilibrium import AttributionEquilibrium, convolution_share
from attrnb.measures import class_sensitivity, difference
from attrnb.neflag import NeFLAG
from attrnb.photographs import PhotographFolder, load_model
from attrnb.samples import sample_model, shape_images

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "trials.csv"
KEYS = "part", "image", "trial", "measure"
RADII = 0.03, 0.1, 0.3, 1.0
CONFIRMED = "noisy centres"  # of the trials on training photographs, before a photograph of --confirm was looked at


def noisy_copies(x, copies, deviation, seed):
    "Copies (copies, channels, height, width) of one image with normal noise"
    noise = torch.randn(copies, *x.shape[1:], generator=torch.Generator().manual_seed(seed))
    return x + deviation * noise


def on_a_coarse_sphere(score, x, target, cell):
    "NeFLAG where the point moves over the sphere of images that are constant on squares, the map spread over each"
    sides = [side // cell for side in x.shape[2:]]

    def moved(z):
        return score(x + interpolate(z, scale_factor=cell) / cell)  # divided, so that lengths stay what they are

    small = NeFLAG(moved).attribute(torch.zeros(1, 3, *sides), target=target, n_points=1)
    return interpolate(small, scale_factor=cell) / cell**2


def flux_maps(score, x, target, seed, cell, copies, deviation, only=None):
    "Name, map and gradients of the trials with NeFLAG, of the map of today and of its rival"
    counting = CountingForward(score)
    method, centres = NeFLAG(counting), noisy_copies(x, copies, deviation, seed)

    def one(point, **settings):
        return method.attribute(point, target=target, n_points=1, seed=seed, **settings)

    ways = {
        "NeFLAG": lambda: one(x),
        "noisy centres": lambda: sum(one(centre[None]) for centre in centres) / copies,
        "several radii": lambda: sum(one(x, radius=radius) for radius in RADII) / len(RADII),
        "coarse sphere": lambda: on_a_coarse_sphere(counting, x, target, cell),
        "SmoothGrad squared": lambda: gradients(counting, centres, target=target).square().mean(0, keepdim=True),
    }
    for name, way in ways.items():
        if name != (only or name):
            continue
        counting.reset()
        yield name, way(), counting.gradient_rows


def rows_of_curves(part, image, model, x, target, protocols, **settings):
    "Rows of one image: every trial by every protocol"
    score = ClassScore(model, of="probability")
    for name, attribution, spent in flux_maps(score, x, target, image, **settings):
        for measure, protocol in protocols.items():
            value = difference(model, x, attribution, target, score="probability", **protocol).item()
            yield dict(part=part, image=image, trial=name, measure=measure, value=f"{value:.5g}", gradients=spent)


def shapes(words):
    "(number, function that makes its rows) of the embedded images"
    model, samples = sample_model(), shape_images(words.images or 24, seed=770_001)
    black = dict(unit=1, substrate="black", masking_steps=words.steps or 16)
    protocols = {"pixels, black": black, "pixels, black, averaged over 4x4": black | dict(smooth=4)}
    with torch.no_grad():
        predicted = model(samples.images).argmax(1).tolist()
    settings = dict(protocols=protocols, cell=4, copies=10, deviation=0.2)
    for i, target in enumerate(predicted):
        x = samples.images[i : i + 1]
        yield i, lambda i=i, x=x, target=target: rows_of_curves("shapes", i, model, x, target, **settings)


def photographs(words):
    "(number, function that makes its rows) of the photographs"
    loaded = load_model(words.network, weights=words.weights, mean=words.mean, std=words.std)
    loaded = replace(loaded, model=faster(loaded.model))
    folder, n = PhotographFolder(words.photographs, loaded.preprocess), words.images or 20
    patches = dict(unit=16, masking_steps=words.steps or 32, internal_batch_size=8)
    substrates, only = (["blurred"], CONFIRMED) if words.confirm else (["black", "blurred"], None)
    protocols = {f"patches, {s}": patches | dict(substrate=s) for s in substrates}
    settings = dict(protocols=protocols, cell=16, copies=6, deviation=0.05, only=only)

    def rows(i):
        x = folder[i][0][None]
        with torch.no_grad():
            target = loaded.model(x).argmax(1).item()
        return rows_of_curves(part_of(words), i, loaded.model, x, target, **settings)

    spread = [k * len(folder) // n for k in range(n)]  # over the classes, which the file names begin with
    unseen = [i for i in range(len(folder)) if i % 2 or i >= 24]
    for i in unseen[: words.images or 24] if words.confirm else spread:
        yield i, lambda i=i: rows(i)


def by_positive_weights(call, relevance):
    "The rule of a convolution with its negative weights left out, above the pixels"
    weight = call.args[1]
    return convolution_share(call, relevance, weight if call.is_first else weight.clamp(min=0))


def pairs(words):
    "(number, function that makes its rows) of pictures with two marked shapes of different classes"
    network, (under, over) = sample_model(), [shape_images(120, seed=seed) for seed in (770_002, 770_003)]
    over = over[torch.arange(120).roll(1)]  # the classes come in turn
    fits = ~(under.evidence & over.evidence).flatten(1).any(1) & (under.targets != over.targets)
    explain = AttributionEquilibrium(network)
    rules = {"Attribution Equilibrium": {}, "positive weights": {torch.ops.aten.convolution: by_positive_weights}}

    def rows(i):
        one, other = under[i : i + 1], over[i : i + 1]
        x = torch.where(other.evidence[:, None], other.images, one.images)
        for name, rule in rules.items():
            maps = [explain.attribute(x, target=part.targets, rules=rule) for part in (one, other)]
            value = class_sensitivity(*maps, one.evidence, other.evidence).item()
            yield dict(part="pairs", image=i, trial=name, measure="class", value=f"{value:.5g}", gradients=1)

    for i in islice(fits.nonzero().flatten().tolist(), words.images or 24):
        yield i, lambda i=i: rows(i)


def part_of(words):
    "What the rows are filed under"
    return words.network + (", confirmed" if words.confirm else "")


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="shapes, pairs, or a network of torchvision")
    parser.add_argument("--weights")
    parser.add_argument("--photographs")
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--images", type=int, help="default 24, of photographs 20")
    parser.add_argument("--steps", type=int, help="of the curves; default 16, of photographs 32")
    parser.add_argument("--confirm", action="store_true", help="what was chosen, on other photographs")
    parser.add_argument("--out", default=str(RESULTS))
    words = parser.parse_args(given)
    table = Path(words.out)
    done = {(part, image) for part, image, *_ in read_rows(table, KEYS)}
    for i, rows in dict(shapes=shapes, pairs=pairs).get(words.network, photographs)(words):
        if (part_of(words), str(i)) not in done:
            with heard_warnings():
                put_rows(table, list(rows()), KEYS)


if __name__ == "__main__":
    main()
