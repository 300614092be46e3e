"""The photographs of nbs/tutorials/compare_methods.ipynb: three methods of attrnb, six of Captum, integrated gradients
from the blurred image, and the floors, on ImageNet networks.

    python experiments/coco_annotations.py COCO_FOLDER coco_squeezenet1_0.json --network squeezenet1_0
    python experiments/compare_methods.py squeezenet1_0 --weights FILE --photographs FOLDER --annotations FILE \\
        --coco COCO_FOLDER --coco-annotations coco_squeezenet1_0.json --runs RUNS
    (the same for mobilenet_v2, with --mean 0.5 --std 0.5)
    python experiments/compare_methods.py --collect --runs RUNS

Run folders per network under RUNS: `faithfulness` (40 photographs, the predicted class, 32 steps of 16-pixel
patches), `magnitude` (the same, with integrated gradients ranked by magnitude), `boxes` (100 photographs, the labelled
class) and `masks` (100 COCO photographs). Killed at any moment, the same line goes on. `--collect` writes the CSV files
beside the page: a row that is there already, of the same network, photograph and method, is replaced, the others stay,
and the order of rows doesn't hang on what was run first; of a run that isn't finished, the mean curves are left out.
So a few methods can be added, from run folders of their own:

    python experiments/compare_methods.py squeezenet1_0 --methods random,activity --runs OTHER_RUNS ...
    python experiments/compare_methods.py --collect --runs OTHER_RUNS

`--full` takes all photographs and 224 steps, for a GPU.
"""

import argparse
from pathlib import Path

import torch
from programs import read_rows, write_rows

from attrnb.benchmark import BenchmarkRun, benchmark
from attrnb.measures import substrate_of
from attrnb.methods import Method
from attrnb.paths import PathIntegratedGradients
from attrnb.photographs import load_model
from attrnb.plots import mean_interval

HERE = Path(__file__).resolve().parents[1] / "nbs" / "tutorials"


def blurred(inputs):
    "The image that a part comes from when the blurred image is the substrate, as a baseline"
    return dict(baselines=substrate_of(inputs, "blurred"))


FROM_BLURRED = "integrated_gradients_blurred"
METHODS = {
    "integrated_gradients": dict(n_steps=20),
    FROM_BLURRED: Method(
        PathIntegratedGradients, FROM_BLURRED, complete=True, settings=dict(n_steps=20), from_inputs=blurred
    ),
    "neflag": dict(n_points=10),
    "geodesic": dict(n_segments=3, max_iterations=2, integral_tolerance=0.05, max_gradients=None),
    "equilibrium": {},
    "saliency": {},
    "input_x_gradient": {},
    "gradient_shap": dict(n_samples=5),
    "deep_lift": {},
    "guided_backprop": {},
    "grad_cam": {},
    "random": {},
    "centre": {},
    "uniform": {},
    "activity": {},
    "equilibrium_activity": {},
}
LOCALISATION = [
    "pointing_game",
    "energy_inside",
    "outside_inside_ratio",
    "intersection_over_union",
    "completeness_error",
]
PATCH = 16
PARTS = ("faithfulness", "magnitude", "boxes", "masks")
AREAS, CURVES = ["deletion", "insertion", "difference"], ["deletion_curve", "insertion_curve"]
KEYS = {
    "compare_faithfulness.csv": ("network", "image", "method"),
    "compare_localisation.csv": ("network", "truth", "image", "method"),
    "compare_curves.csv": ("network", "method", "curve", "step"),
}
BY_MAGNITUDE = ", by magnitude"


def run(words):
    network = load_model(words.network, weights=words.weights, mean=words.mean, std=words.std)
    network.model.to(words.device, memory_format=torch.channels_last)
    steps = words.steps or (224 if words.full else 32)

    def some(n):
        return words.images or (None if words.full else n)

    common = dict(internal_batch_size=256 if words.full else 8, keep=None, show_progress=words.progress)
    ranked = dict(annotations=words.annotations, images=some(40), target="predicted", masking_steps=steps, unit=PATCH)
    chosen = {m: METHODS[m] for m in words.methods or METHODS}
    by_size = {m: chosen[m] for m in ("integrated_gradients", FROM_BLURRED) if m in chosen}
    folder = Path(words.runs) / words.network
    for part in words.parts or PARTS:
        if part == "faithfulness":
            benchmark(network, words.photographs, chosen, AREAS + CURVES, folder / part, **ranked, **common)
        elif part == "magnitude" and by_size:
            benchmark(network, words.photographs, by_size, AREAS, folder / part, sign="magnitude", **ranked, **common)
        elif part in ("boxes", "masks"):
            data = (words.photographs, f"{words.coco}/images")[part == "masks"]
            annotated = (words.annotations, words.coco_annotations)[part == "masks"]
            located = dict(annotations=annotated, images=some(100), target="label")
            benchmark(network, data, chosen, LOCALISATION, folder / part, **located, **common)


def place(row):
    "Where a row stands in its table: by network and kind of photographs, number of the photograph, method, and step"
    method = row["method"].removesuffix(BY_MAGNITUDE)
    known = list(METHODS).index(method) if method in METHODS else len(METHODS)
    which = method != row["method"], known, method
    inner = (int(row["image"]), *which) if "image" in row else (*which, row["curve"], int(row["step"]))
    return row["network"], row.get("truth", ""), inner


def collect(words):
    """One row per network, photograph and method, for curves and for localisation; and the mean curves with their
    intervals. Rows of the tables that no run folder has stay.
    """
    tables = {name: [] for name in KEYS}
    for path in sorted(Path(words.runs).glob("*/*/manifest.json")):
        finished, network, part = BenchmarkRun(path.parent), path.parent.parent.name, path.parent.name
        for r in finished.rows:
            ranked = part in ("faithfulness", "magnitude")
            row = dict(network=network) | ({} if ranked else dict(truth=part))
            row |= dict(image=r["index"], method=r["method"] + (BY_MAGNITUDE if part == "magnitude" else ""))
            row |= {m: "" if r["values"][m] is None else f"{r['values'][m]:.4g}" for m in finished.scalars} | dict(
                gradients=f"{r['gradient_evaluations']:g}"
            )
            tables["compare_faithfulness.csv" if ranked else "compare_localisation.csv"].append(row)
        whole = part == "faithfulness" and not finished.missing  # other curves would be means of fewer photographs
        for method in finished.methods if whole else []:
            for m in finished.vectors:
                curves = torch.tensor(list(finished.values(method, m).values()), dtype=torch.float64)
                for step, values in enumerate(curves.unbind(1) if len(curves) else ()):
                    mean, low, high = (f"{float(v):.4g}" for v in mean_interval(values))
                    row = dict(network=network, method=method, curve=m.removesuffix("_curve"), step=step)
                    tables["compare_curves.csv"].append(row | dict(mean=mean, low=low, high=high))
    for name, found in tables.items():
        if not found:
            continue
        path, keys = Path(words.out) / name, KEYS[name]
        content = read_rows(path, keys) | {tuple(str(row[k]) for k in keys): row for row in found}
        write_rows(path, sorted(content.values(), key=place), list(found[0]))
        print(f"{name}: {len(found)} rows of {len(content)}")


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?")
    parser.add_argument("--runs", required=True, help="where the run folders are kept")
    for name in ("weights", "photographs", "annotations", "coco", "coco-annotations"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--methods", type=lambda text: text.split(","), help="some of them, joined by commas")
    parser.add_argument("--parts", type=lambda text: text.split(","), help="some of the run folders, joined by commas")
    parser.add_argument("--full", action="store_true", help="all photographs, 224 steps")
    parser.add_argument("--images", type=int, help="photographs of each run; default 40 and 100")
    parser.add_argument("--steps", type=int, help="steps of the curves; default 32")
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--collect", action="store_true", help="write the CSV files from the run folders")
    parser.add_argument("--out", default=str(HERE))
    words = parser.parse_args(given)
    collect(words) if words.collect else run(words)


if __name__ == "__main__":
    main()
