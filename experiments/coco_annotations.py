"""Annotations of COCO photographs for `attrnb bench`: one class of an ImageNet network per photograph, and its mask.

    python experiments/coco_annotations.py FOLDER annotations.json --network mobilenet_v2 --smallest 0.005

FOLDER holds images/, semantic_masks/ (PNG files of category numbers, and classes.yaml) and
imagenet_predictions.json, which lists per photograph the classes among a network's best five that mean a COCO
category present in it: {photograph: {network: [[class, category], ...]}}. A photograph is taken when there is such a
class and its category's mask covers the smallest share of the photograph that is asked for; the target is the first
such class, so the network sees the object that the mask shows.
"""

import argparse
import json
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image


def annotations(folder: Path, network: str, beside: Path, smallest: float) -> dict:
    "Photograph -> label, mask (relative to `beside`) and the number of its category in the mask"
    lines = (folder / "semantic_masks" / "classes.yaml").read_text(encoding="utf-8")
    numbers = {name.strip(): int(number) for number, name in re.findall(r"^\s+(\d+):\s*(.+)$", lines, flags=re.M)}
    predictions = json.loads((folder / "imagenet_predictions.json").read_text(encoding="utf-8"))
    result = {}
    for photograph, by_network in sorted(predictions.items()):
        mask = folder / "semantic_masks" / Path(photograph).with_suffix(".png")
        if not mask.is_file():
            continue
        values = np.asarray(Image.open(mask))
        for label, category in by_network.get(network) or []:
            if category in numbers and (values == numbers[category]).mean() >= smallest > 0:
                result[photograph] = dict(label=label, mask=os.path.relpath(mask, beside), mask_value=numbers[category])
                break
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the photographs with masks and predictions")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--network", default="mobilenet_v2", help="whose predictions choose the class")
    parser.add_argument(
        "--smallest", type=float, default=0.005, help="least share of the photograph that the mask must cover, above 0"
    )
    words = parser.parse_args()
    found = annotations(words.folder, words.network, words.out.resolve().parent, words.smallest)
    words.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} photographs: {words.out}")
