"""Make the figures of real photographs that stand on other pages: nbs/images/photograph-*.jpg.

    ATTRNB_REAL_DATA=FOLDER python scripts/photographs.py

The pictures come with Matplotlib (public domain) and scikit-image (CC0). The network is MobileNet v2 with the state
file in FOLDER/weights that nbs/tutorials/photographs.ipynb names, or with torchvision's own weights where those are
cached; nothing is downloaded. The captions on the pages tell what the first of these shows.
"""

import io
import os
from pathlib import Path

import skimage
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

from attrnb.methods import attribute_by_name
from attrnb.photographs import cached_weights, find_class, load_image, load_model
from attrnb.plots import compare

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
}
FIGURES = {  # name -> rows (picture, class; None for the predicted one), and columns
    "get-started": ([("cat", None)], ["IG", "NeFLAG", "geodesic", "equilibrium"]),
    "neflag": ([("cat", None), ("Hopper", None)], ["saliency", "IG", "NeFLAG"]),
    "geodesic": ([("coffee", None)], ["IG", "geodesic", "IG, blurred"]),
    "equilibrium": (
        [("Hopper", "mortarboard"), ("Hopper", "military uniform")],
        ["activity", "Grad-CAM", "equilibrium"],
    ),
}


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


def figure(loaded, rows, columns):
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
    unsigned = dict.fromkeys(("saliency", "activity"), "magnitude")
    signs = {name: kind for name, kind in unsigned.items() if name in columns}
    return compare(x, maps, sign=signs, titles=[loaded.categories[k] for k in targets], size=2.1)


def main():
    loaded = network()
    for name, (rows, columns) in FIGURES.items():
        drawn = io.BytesIO()
        figure(loaded, rows, columns).savefig(drawn, format="png", dpi=100)
        path = IMAGES / f"photograph-{name}.jpg"
        Image.open(drawn).convert("RGB").save(path, quality=82, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)
        if path.stat().st_size > MOST:
            raise SystemExit(f"{path.name} has more than {MOST / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
