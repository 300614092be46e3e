"""The runs behind the forms of NeFLAG in nbs/tutorials/neflag_faithfulness.ipynb: what is chosen, and what it is worth.

    python experiments/neflag_forms.py choose mobilenet_v2=FILE squeezenet1_0=FILE --photographs TRAINING_FOLDER
    python experiments/neflag_forms.py confirm mobilenet_v2=FILE squeezenet1_0=FILE --photographs FOLDER
    python experiments/neflag_forms.py floors shapes shapes:1 --substrates black blurred

A row per part, network, photograph and map, written as soon as it is there; killed at any moment, the same line goes on
after the last row. Every draw follows from the number of the photograph, so that a run that was stopped gives the
same rows. The three parts, all with 16x16 patches (of the embedded network 8x8, or single pixels):

    choose   NeFLAG over radius, closed form and explained score: 12 training photographs, every 20th; 8 steps
    confirm  what was chosen, the forms beside it, and the floors: 24 photographs that had no part in choosing NeFLAG's
             radius (odd numbers, and from 24 on); 32 steps
    floors   the floors alone, and integrated gradients from the blurred image, for other images; 32 steps
"""

import argparse
import time
from functools import partial
from itertools import product
from pathlib import Path

import torch
from programs import faster, read_rows, write_rows

from attrnb.core import ClassScore, gradients
from attrnb.measures import faithfulness_curves, substrate_of
from attrnb.methods.floors import activity_floor_map, centre_floor_map, uniform_floor_map
from attrnb.methods.scored import ScoredModel
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.photographs import PhotographFolder, load_model
from attrnb.samples import shape_images

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "neflag_forms.csv"
KEYS = "part", "network", "image", "map", "unit", "substrate", "steps"
COLUMNS = *KEYS, "deletion", "insertion", "radius", "seconds"
LADDER = 0.05, 0.1, 0.2
# Chosen on the training photographs (part choose: the highest mean over both networks of all forms, of the closed forms
# of the probability, and of the tolerances), before any photograph of the confirmation was looked at
MARGIN_RADIUS, CLOSED_RADIUS, TOLERANCE = 0.05, 0.1, 0.3
NORMALISED_BY_HALVES = "mobilenet_v2"  # its weights were trained on pixels from -1 to 1


margin = partial(ClassScore, of="margin")  # the logits, each less the largest of the others: a contrast


def outflow(case, radius, pairs=2):
    "Mean flux through the sphere, on opposite places, so that the slope cancels: the same directions at every radius"
    x, generator = case["x"], torch.Generator().manual_seed(case["number"])
    u = torch.randn(pairs, x[0].numel(), generator=generator)
    u = (u / u.norm(dim=1, keepdim=True)).view(pairs, *x.shape[1:])
    u = torch.cat([u, -u])
    F = gradients(case["model"], x + radius * u, target=case["target"], internal_batch_size=8)
    return (F * u).flatten(1).sum(1).mean().item()


def agreed_radius(case, tolerances):
    """For each tolerance the largest radius of the ladder on which the two sides of the divergence theorem agree, or
    its first: what leaves through the sphere, and what its inside makes. The inside is measured by the theorem again:
    the mean divergence in the ball of half the radius, from the flux through its surface. (By second derivatives it
    can't be: a ReLU network has its curvature in the kinks, where there are none.)
    """
    found = dict.fromkeys(tolerances, LADDER[0])
    per_radius = {r: outflow(case, r) / r for r in (LADDER[0] / 2, *LADDER)}
    for radius in LADDER:
        whole, half = per_radius[radius], per_radius[radius / 2]
        apart = abs(whole - half) / max(abs(whole) + abs(half), 1e-30)
        found |= {t: radius for t in tolerances if apart <= t}
    return found


def neflag(score="probability", **settings):
    "NeFLAG of the probability or the margin; the starts follow from the number of the image"

    def attribute(case):
        forward = margin(case["network"]) if score == "margin" else case["model"]
        given = dict(seed=case["number"], internal_batch_size=8) | settings
        return NeFLAG(forward).attribute(case["x"], target=case["target"], **given)

    return attribute


def integrated_from_blurred(case):
    "Kept, since it is ranked by sign and by magnitude"
    if "integrated" not in case:
        settings = dict(target=case["target"], baselines=substrate_of(case["x"], "blurred"), n_steps=25)
        case["integrated"] = PathIntegratedGradients(case["model"]).attribute(
            case["x"], internal_batch_size=8, **settings
        )
    return case["integrated"]


def random_order(draw, case):
    "As in neflag_faithfulness.py, which has the first two draws"
    generator = torch.Generator().manual_seed(1000 * case["number"] + draw)
    return torch.randn(1, *case["x"].shape[2:], generator=generator)


def saliency(case):
    return gradients(case["model"], case["x"], target=case["target"])


def rounds_of(part):
    """Rounds of maps, label -> function of a case; all rank by magnitude, but the last. A round goes over all images
    before the next begins, so that a run that is stopped has whole columns.
    """
    closed, probe = dict(closed_form=True, radius_unit="rms"), (0.025, 0.05, 0.1)
    choice = {
        **{f"NeFLAG-2 radius={r:g}": neflag(n_points=2, radius=r) for r in LADDER},
        **{f"closed form-5 rms={r:g}": neflag(n_points=5, radius=r, **closed) for r in probe},
        "NeFLAG-2 margin": neflag("margin", n_points=2),
        "closed form-5 margin rms=0.05": neflag("margin", n_points=5, radius=0.05, **closed),
        "gradient squared": lambda case: saliency(case) ** 2,
    }
    best = {
        "closed form-20 margin rms=0.05": neflag("margin", radius=MARGIN_RADIUS, **closed),
        "closed form-20 rms=0.1": neflag(radius=CLOSED_RADIUS, **closed),
        "NeFLAG-2 vector": neflag(n_points=2, aggregate="vector"),
    }
    floors = {
        "activity": lambda case: activity_floor_map(ScoredModel(case["plain"]), case["x"], case["target"]),
        "centre": lambda case: centre_floor_map(None, case["x"], None),
        "uniform": lambda case: uniform_floor_map(None, case["x"], None),
    }
    drawn = {"random order 2": partial(random_order, 2)}
    blurred = {
        "|IntegratedGradients from blurred|": integrated_from_blurred,
        "IntegratedGradients from blurred": integrated_from_blurred,
    }
    others = {
        "NeFLAG-2 radius=0.1": neflag(n_points=2),
        "NeFLAG-2 margin": neflag("margin", n_points=2),
        "closed form-4 radius=0.1": neflag(n_points=4, closed_form=True),
        "saliency": saliency,
    }
    return dict(choose=[choice], confirm=[best | floors, blurred | drawn, others], floors=[floors | drawn | blurred])[
        part
    ]


def of_agreed_radius(case, tolerances):
    "Label, radius and function of NeFLAG at the radius on which the two sides agree"
    for tolerance, radius in agreed_radius(case, tolerances).items():
        yield f"NeFLAG-2 agreed={tolerance:g}", f"{radius:g}", neflag(n_points=2, radius=radius)


def measured(case, attribution, sign, unit, substrate, steps):
    "Deletion and insertion as they are stored; equal units go in an order of the photograph's own"
    settings = dict(unit=unit, substrate=substrate, masking_steps=steps, sign=sign, seed=case["number"])
    curves = faithfulness_curves(
        case["model"], case["x"], attribution, case["target"], internal_batch_size=8, **settings
    )
    return dict(deletion=f"{curves.deletion_score.item():.5f}", insertion=f"{curves.insertion_score.item():.5f}")


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["choose", "confirm", "floors"])
    parser.add_argument("networks", nargs="+", help="NAME=FILE of torchvision networks; shapes, or shapes:1 for pixels")
    parser.add_argument("--photographs", help="folder of pictures, taken in order of their names")
    parser.add_argument("--images", type=int, help="number of the last photograph, plus one; default 240 or 40")
    parser.add_argument("--steps", type=int, help="steps of the curves; default 8 for choose, 32 otherwise")
    parser.add_argument("--substrates", nargs="+", default=["blurred"])
    parser.add_argument("--out", default=str(RESULTS))
    words = parser.parse_args(given)
    out, part, steps = Path(words.out), words.part, words.steps or (8 if words.part == "choose" else 32)
    numbers = (
        range(0, words.images or 240, 20) if part == "choose" else range(words.images or 36 + 4 * (part == "floors"))
    )
    if part == "confirm":  # the others have chosen NeFLAG's radius
        numbers = [i for i in numbers if i % 2 or i >= 24]
    networks = [read_network(word, words.photographs, numbers[-1] + 1) for word in words.networks]
    tolerances = dict(choose=(0.1, 0.3, 0.5), confirm=(TOLERANCE,), floors=())[part]
    for k, maps in enumerate(rounds_of(part)):
        for number, (name, unit, plain, network, images) in product(numbers, networks):
            about = dict(part=part, network=name, image=number, unit=unit, steps=steps)
            case = of_image(plain, network, images, number)
            add_rows(out, about, case, maps, tolerances if k == 2 * (part == "confirm") else (), words.substrates)


def add_rows(out, about, case, maps, tolerances, substrates):
    "The rows that are missing of a network and an image, each written when it is there"
    rows = read_rows(out, KEYS)

    def keys(label):
        return {s: tuple(str((about | dict(map=label, substrate=s))[k]) for k in KEYS) for s in substrates}

    def missing(label):
        return {s: key for s, key in keys(label).items() if key not in rows}

    todo = [(label, "", make) for label, make in maps.items()]
    if any(missing(f"NeFLAG-2 agreed={t:g}") for t in tolerances):
        todo += of_agreed_radius(case, tolerances)
    for label, radius, make in todo:
        attribution, seconds = None, ""
        for substrate, key in missing(label).items():
            row = about | dict(map=label, substrate=substrate, radius=radius)
            if (at_radius := keys(f"NeFLAG-2 radius={radius}")[substrate]) in rows:  # the same map
                row = rows[at_radius] | row
            else:
                if attribution is None:
                    start = time.process_time()
                    attribution, seconds = make(case), f"{time.process_time() - start:.2f}"
                sign = "signed" if label == "IntegratedGradients from blurred" else "magnitude"
                row |= measured(case, attribution, sign, about["unit"], substrate, about["steps"])
                row |= dict(seconds=seconds)
            rows[key] = {c: row[c] for c in COLUMNS}
            write_rows(out, rows.values(), COLUMNS)


def read_network(word, photographs, count):
    "Name, unit, network as it is and made faster, and images"
    name, _, weights = word.partition("=")
    if name.startswith("shapes"):
        unit = int(name.partition(":")[2] or 8)
        network = load_model("shapes").model
        return "shapes", unit, network, faster(network), shape_images(max(count, 2), seed=424_242).images
    scale = dict(mean=0.5, std=0.5) if name == NORMALISED_BY_HALVES else {}
    loaded = load_model(name, weights=weights, **scale)
    return name, 16, loaded.model, faster(loaded.model), PhotographFolder(photographs, loaded.preprocess)


def of_image(plain, network, images, number):
    "What a map is made of: the network, its probability, the image, the class that is predicted for it"
    model, x = ClassScore(network, of="probability"), images[number]
    x = (x[0] if isinstance(x, tuple) else x)[None]
    with torch.no_grad():
        target = int(network(x).argmax(1))
    return dict(plain=plain, network=network, model=model, x=x, target=target, number=number)


if __name__ == "__main__":
    main()
