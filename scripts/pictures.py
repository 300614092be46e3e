"""Make the site's small pictures in nbs/images: logo.svg, favicon.png and social.png.

    python scripts/pictures.py

The logo is a bull's-eye on a grid, red for and blue against, in the colours of all heat maps here. The picture for
links (social.png, 1200 x 630) is made from explain.png, which `attrnb explain --images 3 --out nbs/images/explain.png`
writes.
"""
import math
from pathlib import Path

from matplotlib import colormaps, colors
from PIL import Image, ImageDraw, ImageFont

IMAGES = Path(__file__).resolve().parents[1] / "nbs" / "images"
CELLS, SIZE = 9, 64


def squares():
    "Corner, side and colour of every square of the logo, in units of its width"
    middle, side = (CELLS - 1) / 2, 1 / CELLS
    for row in range(CELLS):
        for column in range(CELLS):
            r = math.hypot(row - middle, column - middle)
            if r > CELLS / 2 + .1:
                continue
            value = .95 if r < .8 else -.75 if r < 2 else .8 if r < 3.3 else -.35
            yield column * side, row * side, side, colors.to_hex(colormaps["RdBu_r"]((value + 1) / 2))


def logo() -> str:
    "The logo as SVG"
    gap = SIZE * .006
    parts = [f'<rect x="{x * SIZE + gap:.2f}" y="{y * SIZE + gap:.2f}" width="{s * SIZE - 2 * gap:.2f}" height="{s * SIZE - 2 * gap:.2f}" rx="1" fill="{c}"/>' for x, y, s, c in squares()]
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="attrnb">\n' + "\n".join(parts) + "\n</svg>\n"


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
    width = 1140
    figure = figure.resize((width, round(figure.height * width / figure.width)), Image.LANCZOS)
    figure = figure.crop((0, 0, width, min(figure.height, 440)))
    picture.paste(figure, (30, 630 - figure.height - 12))
    mark = logo_pixels(110)
    picture.paste(mark, (40, 30), mark)
    draw = ImageDraw.Draw(picture)
    draw.text((175, 18), "attrnb", fill="#222222", font=ImageFont.load_default(size=72))
    draw.text((178, 106), "What made the network say that? Feature attribution for PyTorch", fill="#555555", font=ImageFont.load_default(size=31))
    return picture


if __name__ == "__main__":
    (IMAGES / "logo.svg").write_text(logo(), encoding="utf-8")
    logo_pixels(64).save(IMAGES / "favicon.png", optimize=True)
    social().quantize(128).save(IMAGES / "social.png", optimize=True)
