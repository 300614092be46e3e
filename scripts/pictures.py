"""Make the site's small pictures in nbs/images: explain.png, logo.svg, favicon.png and social.png.

    python scripts/pictures.py

explain.png is what `attrnb explain --images 3` draws, with the methods' names as the pages write them. The logo is a
bull's-eye on a grid, red for and blue against, in the colours of all heat maps here. The picture for links
(social.png, 1200 x 630) shows the first two rows of explain.png.
"""

import math
import tempfile
from pathlib import Path

from matplotlib import colormaps, colors
from PIL import Image, ImageDraw, ImageFont

from attrnb.cli import explain
from attrnb.methods import METHODS
from attrnb.plots import compare
from attrnb.samples import shape_images

IMAGES = Path(__file__).resolve().parents[1] / "nbs" / "images"
CELLS, SIZE = 9, 64


def explained(images: int = 3, seed: int = 0):
    "The figure of `attrnb explain`, with the methods' names"
    with tempfile.TemporaryDirectory() as folder:
        found = explain(images=images, seed=seed, out=f"{folder}/explain.png", quiet=True)
    maps = {METHODS[name].title: attribution for name, attribution in found.attributions.items()}
    evidence = shape_images(images, seed=seed + 1_000_003).evidence  # as in explain
    return compare(found.images, maps, titles=[found.categories[t] for t in found.targets], outlines=evidence)


def squares():
    "Corner, side and colour of every square of the logo, in units of its width"
    middle, side = (CELLS - 1) / 2, 1 / CELLS
    for row in range(CELLS):
        for column in range(CELLS):
            r = math.hypot(row - middle, column - middle)
            if r > CELLS / 2 + 0.1:
                continue
            value = 0.95 if r < 0.8 else -0.75 if r < 2 else 0.8 if r < 3.3 else -0.35
            yield column * side, row * side, side, colors.to_hex(colormaps["RdBu_r"]((value + 1) / 2))


def logo() -> str:
    "The logo as SVG"
    gap = SIZE * 0.006
    parts = [
        f'<rect x="{x * SIZE + gap:.2f}" y="{y * SIZE + gap:.2f}" width="{s * SIZE - 2 * gap:.2f}"'
        f' height="{s * SIZE - 2 * gap:.2f}" rx="1" fill="{c}"/>'
        for x, y, s, c in squares()
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}"'
        ' role="img" aria-label="attrnb">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def logo_pixels(size: int) -> Image.Image:
    "The logo as pixels, on nothing"
    scale = 4
    picture = Image.new("RGBA", (size * scale, size * scale))
    draw = ImageDraw.Draw(picture)
    for x, y, s, c in squares():
        corner, end = [v * size * scale for v in (x, y)], [v * size * scale - 2 for v in (x + s, y + s)]
        draw.rounded_rectangle([*corner, *end], radius=size * scale / 60, fill=c)
    return picture.resize((size, size), Image.LANCZOS)


def social() -> Image.Image:
    "The picture that stands beside a link"
    picture = Image.new("RGB", (1200, 630), "white")
    figure = Image.open(IMAGES / "explain.png").convert("RGB")
    # two of the three rows, in their own size: enlarged pixels stay sharp
    figure = figure.crop((0, 0, figure.width, round(0.669 * figure.height)))
    picture.paste(figure, ((1200 - figure.width) // 2, 630 - figure.height - 6))
    mark = logo_pixels(110)
    picture.paste(mark, (40, 24), mark)
    draw = ImageDraw.Draw(picture)
    draw.text((175, 12), "attrnb", fill="#222222", font=ImageFont.load_default(size=72))
    draw.text(
        (178, 100),
        "What made the network say that? Feature attribution for PyTorch",
        fill="#555555",
        font=ImageFont.load_default(size=31),
    )
    return picture


if __name__ == "__main__":
    explained().savefig(IMAGES / "explain.png", dpi=120)
    (IMAGES / "logo.svg").write_text(logo(), encoding="utf-8")
    logo_pixels(64).save(IMAGES / "favicon.png", optimize=True)
    social().save(IMAGES / "social.png", optimize=True)
