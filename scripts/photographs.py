"""Make the figures of real photographs that stand on other pages: nbs/images/photograph-*.jpg.

    ATTRNB_REAL_DATA=FOLDER python scripts/photographs.py [NAME ...]

The pictures come with Matplotlib (public domain) and scikit-image (CC0). The network is MobileNet v2 with the state
file in FOLDER/weights that nbs/tutorials/photographs.ipynb names, or with torchvision's own weights where those are
cached; nothing is downloaded. The captions on the pages tell what the first of these shows. "home" also reads the
probabilities that the page of photographs keeps, and stops if those that it finds are others.
"""

import csv
import io
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import skimage
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

from attrnb.methods import attribute_by_name
from attrnb.photographs import cached_weights, find_class, load_image, load_model
from attrnb.plots import compare, heatmap

IMAGES = Path(__file__).resolve().parents[1] / "nbs" / "images"
MOST = 120_000  # bytes of a figure
METHODS = {  # title -> name and settings, as on the page
    "IG": ("integrated_gradients", dict(n_steps=20)),
    "IG, blurred": ("integrated_gradients", dict(baselines="blurred", n_steps=20)),
    "saliency": ("saliency", {}),
    "Grad-CAM": ("grad_cam", {}),
    "NeFLAG": ("neflag", dict(n_points=10)),
    "geodesic": ("geodesic", dict(n_segments=3, max_iterations=2)),
    "equilibrium": ("equilibrium", {}),
    "activity": ("activity", {}),
    "input x gradient": ("input_x_gradient", {}),
    "Gradient SHAP": ("gradient_shap", {}),
    "DeepLift": ("deep_lift", {}),
    "guided backprop.": ("guided_backprop", {}),
    "occlusion": ("occlusion", dict(sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16))),
    "centre": ("centre", {}),
}
THREE = [("cat", None), ("coffee", None), ("Hopper", None)]
FIGURES = {  # name -> rows (picture, class; None for the predicted one), and columns
    "get-started": ([("cat", None)], ["IG", "NeFLAG", "geodesic", "equilibrium"]),
    "neflag": ([("cat", None), ("Hopper", None)], ["saliency", "IG", "NeFLAG"]),
    "geodesic": ([("coffee", None)], ["IG", "geodesic", "IG, blurred"]),
    "equilibrium": (
        [("Hopper", "mortarboard"), ("Hopper", "military uniform")],
        ["activity", "Grad-CAM", "equilibrium"],
    ),
    "gallery-ours": (THREE, ["NeFLAG", "geodesic", "equilibrium"]),
    "gallery-gradients": (THREE, ["IG", "saliency", "input x gradient", "Gradient SHAP"]),
    "gallery-layers": (THREE, ["DeepLift", "guided backprop."]),
    "gallery-places": (THREE, ["Grad-CAM", "occlusion", "activity", "centre"]),
}
UNSIGNED = ("saliency", "activity", "centre")
BOXES = {"cap": (0, 62, 55, 165), "face": (62, 160, 70, 155)}  # top, bottom, left, right; those of the page


def network():
    "MobileNet v2 with weights that are at hand"
    given = Path(os.environ.get("ATTRNB_REAL_DATA", "nowhere"), "weights", "mobilenet_v2-tf2ptq-bnstats.pth")
    if given.is_file():
        return load_model("mobilenet_v2", weights=given, mean=0.5, std=0.5)
    if cached_weights("mobilenet_v2"):
        return load_model("mobilenet_v2")
    raise SystemExit('no weights at hand: set ATTRNB_REAL_DATA, or call load_model("mobilenet_v2") once')


def pictures() -> dict[str, Path]:
    "Where the packages keep their pictures"
    data = Path(skimage.__file__).parent / "data"
    return {
        "Hopper": Path(get_sample_data("grace_hopper.jpg", asfileobj=False)),
        "cat": data / "chelsea.png",
        "coffee": data / "coffee.png",
    }


def figure(loaded, rows, columns, size):
    "The comparison of one page"
    files = pictures()
    x = torch.cat([loaded.preprocess(load_image(files[name]))[None] for name, _ in rows])
    with torch.no_grad():
        predicted = loaded.model(x).argmax(1).tolist()
    targets = [
        k if name is None else find_class(name, loaded.categories) for (_, name), k in zip(rows, predicted, strict=True)
    ]
    maps = {}
    for column in columns:
        name, settings = METHODS[column]
        maps[column] = attribute_by_name(name, loaded.model, x, targets, **settings)[0].sum(1, keepdim=True)
    signs = {name: "magnitude" for name in UNSIGNED if name in columns}
    return compare(x, maps, sign=signs, titles=[loaded.categories[k] for k in targets], size=size)


def kept_probability(box: str) -> float:
    "What the page of photographs keeps: the officer's *mortarboard* with a box in the background's blue"
    with (IMAGES.parent / "tutorials" / "photographs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "covered"]
    chosen = [r for r in rows if r["picture"] == "the background's blue" and r["method"] == box]
    return next(float(row["value"]) for row in chosen if row["class"] == "mortarboard")


def home(loaded):
    "The officer: where two maps point, and what the network says without it"
    x = loaded.preprocess(load_image(pictures()["Hopper"]))[None]
    target = find_class("mortarboard", loaded.categories)
    panels = [("IMAGE", x)]
    for column in ("equilibrium", "NeFLAG"):
        name, settings = METHODS[column]
        panels.append((column, attribute_by_name(name, loaded.model, x, [target], **settings)[0]))
    blue = x[:, :, 40:60, 195:215].mean((2, 3), keepdim=True)
    for box, (top, bottom, left, right) in BOXES.items():
        hidden = x.clone()
        hidden[:, :, top:bottom, left:right] = blue
        panels.append((f"{box} covered", hidden))
    drawing, axes = plt.subplots(1, len(panels), figsize=(10.5, 2.5), layout="constrained")
    for ax, (title, values) in zip(axes, panels, strict=True):
        if title in METHODS:
            heatmap(values, colorbar=False, ax=ax)
            ax.set_title(f"{title}'s map", fontsize=10)
            continue
        with torch.no_grad():
            probability = loaded.model(values).softmax(1)[0, target].item()
        if title != "IMAGE" and abs(probability - kept_probability(title.split()[0])) > 1e-3:
            raise SystemExit(f"{title}: {probability:.3f}, the page of photographs has another number")
        ax.imshow(values[0].permute(1, 2, 0))
        ax.set_title(f"{title}: {probability:.2f}".replace("IMAGE", "mortarboard"), fontsize=10)
        ax.set_axis_off()
    return drawing


def main(names):
    loaded = network()
    for name in names or ["home", *FIGURES]:
        drawn = io.BytesIO()
        size = 1.45 if name.startswith("gallery") else 2.1
        made = home(loaded) if name == "home" else figure(loaded, *FIGURES[name], size)
        made.savefig(drawn, format="png", dpi=100)
        path = IMAGES / f"photograph-{name}.jpg"
        Image.open(drawn).convert("RGB").save(path, quality=82, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)
        if path.stat().st_size > MOST:
            raise SystemExit(f"{path.name} has more than {MOST / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
