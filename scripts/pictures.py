"""Make the site's small pictures in nbs/images: explain.png, logo.svg, favicon.png, social.png and found-*.jpg.

    python scripts/pictures.py

explain.png is what `attrnb explain --images 3` draws, with the methods' names as the pages write them. The logo is a
bull's-eye on a grid, red for and blue against, in the colours of all heat maps here. The picture for links
(social.png, 1200 x 630) shows the first two rows of explain.png. The three of the home page's box (found-*.jpg) are
checked where they are drawn: what their captions say is asserted.
"""

import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib import colormaps, colors
from PIL import Image, ImageDraw, ImageFont

from attrnb.cli import explain
from attrnb.equilibrium import AttributionEquilibrium, convolution_share
from attrnb.measures import class_sensitivity
from attrnb.methods import METHODS, attribute
from attrnb.plots import ROLE_COLORS, compare
from attrnb.samples import SHAPE_CLASSES, sample_model, shape_images

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


def theorem() -> plt.Figure:
    "f = y1 y2: the curve that the published theorem names, and a path on which nothing cancels"
    points = torch.linspace(0, 2.3, 200)
    across, up = torch.meshgrid(points, points, indexing="xy")
    figure, ax = plt.subplots(figsize=(3.6, 3.2))
    ax.contourf(across, up, across * up, levels=12, cmap="viridis", alpha=0.55)
    level = torch.linspace(1, 2, 2001, dtype=torch.float64)
    curve = torch.stack([level, 2 / level])
    corners = torch.tensor([[1, 1, 2, 2], [2, 0, 0, 1]], dtype=torch.float64)
    gaps = []
    for path in (curve, corners):
        middle, step = (path[:, 1:] + path[:, :-1]) / 2, path.diff(dim=1)
        shares = (middle.flip(0) * step).sum(1)  # the gradient of y1 y2 is (y2, y1)
        gaps.append((shares.abs().sum() - shares.sum().abs()).item())
    assert abs(gaps[0] - 4 * math.log(2)) < 1e-3 and gaps[1] == 0
    ax.plot(*curve, color=ROLE_COLORS["path"], lw=2.5, label=f"the theorem's: {gaps[0]:.2f} cancels")
    ax.plot(*corners, color="#0072b2", lw=2.5, ls="--", label=f"another: {gaps[1]:.0f} cancels")
    ax.set(xlabel="first feature", ylabel="second feature", xlim=(0, 2.3), ylim=(-0.15, 2.9), xticks=(0, 1, 2))
    ax.set_yticks((0, 1, 2))
    ax.legend(loc="upper center", fontsize=9, frameon=False)
    return figure


def weights() -> plt.Figure:
    "Attribution Equilibrium's map of an image, and that with all ones in place of the inner weights"
    model, samples = sample_model(), shape_images(3, seed=3)
    target, method = model(samples.images).argmax(1), AttributionEquilibrium(model)

    def without(call, relevance):
        weight = call.args[1]
        return convolution_share(call, relevance, weight if call.is_first else torch.ones_like(weight))

    right = method.attribute(samples.images, target=target)
    blind = method.attribute(samples.images, target=target, rules={torch.ops.aten.convolution: without})
    alike = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(right, blind, strict=True)]
    assert min(alike) > 0.97, alike
    return compare(samples.images[:1], {"its weights": right[:1], "all weights 1": blind[:1]})


def two_objects() -> plt.Figure:
    "One picture with two marked shapes, asked about each: a method that goes where it is asked, and one that stays"
    network, pool = sample_model(), [shape_images(60, seed=seed) for seed in (21, 22)]
    under, over = pool[0], pool[1][torch.arange(60).roll(1)]
    apart = (~(under.evidence & over.evidence).flatten(1).any(1)).nonzero().flatten()[:24]
    under, over = under[apart], over[apart]
    pairs = torch.where(over.evidence[:, None], over.images, under.images)
    maps = {}
    for name in ("equilibrium", "neflag"):
        both = [attribute(name, network, pairs, part.targets, "logit").attributions for part in (under, over)]
        maps[name] = both, class_sensitivity(*both, under.evidence, over.evidence)
    assert maps["equilibrium"][1].mean() > 0.7 and maps["neflag"][1].mean() < 0, {
        n: m[1].mean() for n, m in maps.items()
    }
    # the picture in which both are nearest to their means
    far = sum((sensitivity - sensitivity.mean()).abs() for _, sensitivity in maps.values())
    k = int(far.argmin())
    shown = {METHODS[name].title: torch.stack([m[k] for m in both]) for name, (both, _) in maps.items()}
    asked = [f"{SHAPE_CLASSES[part.targets[k]]}?" for part in (under, over)]
    outlines = torch.stack([under.evidence[k], over.evidence[k]])
    return compare(pairs[k : k + 1].repeat(2, 1, 1, 1), shown, titles=asked, outlines=outlines)


FOUND = dict(theorem=theorem, weights=weights, classes=two_objects)


def save_found(name: str):
    "A picture of the home page's box"
    figure = FOUND[name]()
    figure.savefig(
        IMAGES / f"found-{name}.jpg", dpi=130, bbox_inches="tight", pil_kwargs=dict(quality=85, optimize=True)
    )


if __name__ == "__main__":
    for name in FOUND:
        save_found(name)
    explained().savefig(IMAGES / "explain.png", dpi=120)
    (IMAGES / "logo.svg").write_text(logo(), encoding="utf-8")
    logo_pixels(64).save(IMAGES / "favicon.png", optimize=True)
    social().save(IMAGES / "social.png", optimize=True)
