"""The class test of nbs/tutorials/class_evidence.ipynb: pictures with two objects, each of whose classes is asked for.

    python experiments/class_evidence.py choice squeezenet1_0 --weights FILE --photographs FOLDER --annotations FILE
    python experiments/class_evidence.py grids squeezenet1_0 --weights FILE --photographs FOLDER --annotations FILE
    python experiments/class_evidence.py coco squeezenet1_0 --weights FILE --coco COCO_FOLDER
    (the same for mobilenet_v2, with --mean 0.5 --std 0.5)

`choice` and `grids` lay two photographs of similar classes side by side; settings are chosen on the first (CHOSEN below
was written before the other two ran), and the second and `coco`, photographs that show two objects, confirm. A row has
one pair and one method: class sensitivity D, the share of positive relevance on the object that is asked for (mean of
the two questions), how often the largest value lies on the right object of the two, and gradients per map. The rows go
to nbs/tutorials/class_evidence.csv, in the place of those with the same names; killed at any moment, the same line goes
on. Methods with many gradients are run on the first pairs only (--points, --searched).
"""

import argparse
import itertools
import json
import re
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from programs import faster, put_rows, read_rows
from torchvision.transforms.v2 import functional as pictures

from attrnb.core import ClassScore
from attrnb.geodesic import PublishedGeodesicIG
from attrnb.measures import class_sensitivity, energy_inside
from attrnb.methods import attribute
from attrnb.photographs import load_image, load_model

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "class_evidence.csv"
KEYS, BLOCK = ("part", "network", "pair", "method"), 4
CELL, SIZE, SMALLEST = 112, 160, 0.04  # sides of a cell and of a COCO photograph, least share of it that an object has
# family -> method with the largest mean of D over both networks on `choice`, before the other parts ran; of the path
# searches, which are too slow to choose among, the score that was best for integrated gradients
CHOSEN = {
    "equilibrium": "equilibrium, ratio 1",
    "equilibrium that is told the other class": "equilibrium, contrast other object",
    "NeFLAG": "NeFLAG, logit",
    "integrated gradients": "from blurred, logit",
    "geodesic": "geodesic, logit",
    "Grad-CAM": "Grad-CAM, margin",
}


def published_geodesic(model, inputs, target, **settings):
    "Attributions of the published program, whose paths start in black"
    return PublishedGeodesicIG(model).attribute(inputs, 0, target, internal_batch_size=8, **settings)


# label -> method, settings, score; of the network as it is
CHEAP = {
    "equilibrium, logit": ("equilibrium", {}, "logit"),
    "equilibrium, published": ("equilibrium", dict(published=True), "logit"),
    "equilibrium, contrast next": ("equilibrium", dict(contrast="next"), "logit"),
    "equilibrium, contrast other object": ("equilibrium", dict(contrast="other"), "logit"),
    "equilibrium, log-probability": ("equilibrium", {}, "log_probability"),
    "equilibrium, ratio 1": ("equilibrium", dict(ratio=1.0), "logit"),
    "equilibrium, skip equal": ("equilibrium", dict(skip="equal"), "logit"),
    "Grad-CAM, logit": ("grad_cam", {}, "logit"),
    "Grad-CAM, margin": ("grad_cam", {}, "margin"),
    "saliency, logit": ("saliency", {}, "logit"),
    "random": ("random", {}, "logit"),
    "centre": ("centre", {}, "logit"),
    "uniform": ("uniform", {}, "logit"),
    "activity": ("activity", {}, "logit"),
    "equilibrium of activity": ("equilibrium_activity", {}, "logit"),
}
POINTS = {  # many gradients; of the network with normalisation folded in, which is the same function
    "NeFLAG, logit": ("neflag", dict(n_points=5), "logit"),
    "NeFLAG, margin": ("neflag", dict(n_points=5), "margin"),
    "NeFLAG vectors, logit": ("neflag", dict(n_points=5, aggregate="vector"), "logit"),
    "integrated gradients, logit": ("integrated_gradients", dict(n_steps=8), "logit"),
    "integrated gradients, margin": ("integrated_gradients", dict(n_steps=8), "margin"),
    "from blurred, logit": ("integrated_gradients", dict(n_steps=8, baselines="blurred"), "logit"),
    "from blurred, margin": ("integrated_gradients", dict(n_steps=8, baselines="blurred"), "margin"),
}
RELAXED = dict(n_segments=2, rounds=0, max_iterations=1, integral_tolerance=0.1, max_gradients=None)
SEARCHED = {  # the searches are cut short
    "geodesic, logit": ("geodesic", RELAXED, "logit"),
    "geodesic, margin": ("geodesic", RELAXED, "margin"),
    "geodesic, published": (
        published_geodesic,
        dict(beta=0.1, num_iterations=2, learning_rate=0.01, n_steps=6),
        "logit",
    ),
}
FLOORS = "random", "centre", "uniform", "activity", "equilibrium of activity"
GROUPS = dict(cheap=CHEAP, points=POINTS, searched=SEARCHED)


def maps_of(label, network, folded, x, classes):
    "Maps (pairs, 2, ...) of pictures for both classes (pairs, 2), and gradients per map; a floor isn't told the class"
    method, settings, score = (CHEAP | POINTS | SEARCHED)[label]
    if settings.get("contrast") == "other":
        settings = settings | dict(contrast=classes.flip(1).flatten().tolist())
    model = ClassScore(network if label in CHEAP else folded, score)  # Grad-CAM takes what it is given for logits
    questions, classes = (1, classes[:, :1]) if label in FLOORS else (2, classes)
    size = {} if method == published_geodesic else dict(internal_batch_size=8)
    inputs = x.repeat_interleave(questions, 0)
    found = attribute(method, model, inputs, classes.flatten().tolist(), "output", 0, settings, **size)
    maps = found.attributions.unflatten(0, (len(x), questions)).expand(-1, 2, -1, -1, -1)
    return maps, (found.gradient_rows or 0) / len(inputs)


def row_of(label, maps, first, second):
    "What a method's maps of one picture are worth"
    objects = torch.stack([first, second])
    values = [[float(m.sum(0)[o].max()) for o in objects] for m in maps]
    right = [(1 + np.sign(values[k][k] - values[k][1 - k])) / 2 for k in (0, 1)]
    return dict(
        method=label,
        sensitivity=f"{class_sensitivity(maps[:1], maps[1:], first[None], second[None]).item():.5g}",
        energy=f"{energy_inside(maps, objects).mean().item():.5g}",
        right=f"{np.mean(right):.4g}",
    )


def cell(path):
    "A photograph, cut to a square cell"
    picture = pictures.resize(load_image(path), [round(CELL * 256 / 224)])
    return pictures.to_dtype(pictures.to_image(pictures.center_crop(picture, [CELL])), torch.float32, scale=True)


def grids(network, folder, annotations):
    """Two photographs side by side, neighbours in the order of classes (two birds, two dogs), both among those whose
    class is among the network's best five; in an order drawn once
    """
    labels = {n: a["label"] if isinstance(a, dict) else a for n, a in json.loads(annotations.read_text()).items()}
    seen = {}
    for name, label in sorted(labels.items(), key=lambda one: (one[1], one[0])):
        picture = cell(next(folder.rglob(name)))
        with torch.no_grad():
            if label in network(picture[None])[0].topk(5).indices:
                seen.setdefault(label, picture)
    known, left = sorted(seen), torch.zeros(CELL, 2 * CELL, dtype=torch.bool)
    left[:, :CELL] = True
    for k in torch.randperm(len(known) // 2, generator=torch.Generator().manual_seed(0)).tolist():
        both = known[2 * k : 2 * k + 2]
        yield torch.cat([seen[label] for label in both], 2), torch.tensor(both), left, ~left


def two_objects(network, folder):
    "COCO photographs with two things of ImageNet classes, no persons; the classes are the network's best of each"
    lines = (folder / "semantic_masks" / "classes.yaml").read_text(encoding="utf-8")
    numbers = {name.strip(): int(number) for number, name in re.findall(r"^\s+(\d+):\s*(.+)$", lines, flags=re.M)}
    classes = json.loads((folder / "coco_to_imagenet.json").read_text(encoding="utf-8"))
    things = [name for name in numbers if classes.get(name) and name != "person"]
    for path in sorted((folder / "semantic_masks").rglob("*.png")):
        values = np.asarray(Image.open(path).resize((SIZE, SIZE), Image.Resampling.NEAREST))
        sizes = sorted(((values == numbers[t]).mean(), t) for t in things)[-2:]
        if sizes[0][0] < SMALLEST:
            continue
        photograph = folder / "images" / path.relative_to(folder / "semantic_masks").with_suffix(".jpg")
        picture = load_image(photograph).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        x = pictures.to_dtype(pictures.to_image(picture), torch.float32, scale=True)
        with torch.no_grad():
            logits = network(x[None])[0]
        best = [max(classes[t], key=lambda k, z=logits: float(z[k])) for _, t in sizes]
        yield x, torch.tensor(best), *(torch.from_numpy(values == numbers[t]) for _, t in sizes)


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("choice", "grids", "coco"))
    parser.add_argument("network")
    parser.add_argument("--weights")
    for name in ("photographs", "annotations", "coco"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    for group, n in dict(cheap=24, points=16, searched=4).items():
        parser.add_argument(f"--{group}", type=int, default=n, help=f"pairs for {', '.join(GROUPS[group])}")
    parser.add_argument("--out", type=Path, default=RESULTS)
    words = parser.parse_args(given)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of classes that aren't predicted, and of maps that are empty
    loaded = load_model(words.network, weights=words.weights, mean=words.mean, std=words.std)
    network, folded = loaded.model.eval(), faster(loaded.model)
    found = two_objects(network, words.coco) if words.coco else grids(network, words.photographs, words.annotations)
    pairs = list(itertools.islice(found, max(getattr(words, group) for group in GROUPS)))
    print(f"{len(pairs)} pairs", flush=True)
    for group, labels in GROUPS.items():
        for label, start in itertools.product(labels, range(0, min(getattr(words, group), len(pairs)), BLOCK)):
            key = dict(part=words.part, network=words.network)
            numbers = range(start, min(start + BLOCK, getattr(words, group), len(pairs)))
            have = read_rows(words.out, KEYS)
            if all((*key.values(), str(k), label) in have for k in numbers):
                continue
            x, classes = (torch.stack([pairs[k][i] for k in numbers]) for i in (0, 1))
            maps, gradients = maps_of(label, network, folded, x, classes)
            rows = [dict(key, pair=k) | row_of(label, m, *pairs[k][2:]) for k, m in zip(numbers, maps, strict=True)]
            put_rows(words.out, [row | dict(gradients=f"{gradients:.4g}") for row in rows], KEYS)


if __name__ == "__main__":
    main()
