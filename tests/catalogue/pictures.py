"Pictures: the plots, the samples, pictures and weights from files"

import functools
import io
import os
import struct
from pathlib import Path

import matplotlib.figure
import numpy as np
import safetensors.torch
import torch
from models import mlp, numbers, seeded
from PIL import Image
from torch import nn

from attrnb import plots as p
from attrnb import samples as s
from attrnb.measures import faithfulness_curves

from . import (
    CHOICE,
    INF,
    NAN,
    POSITIVE,
    REAL,
    SEED,
    SHARE,
    SKIP,
    WHOLE,
    Outcome,
    Table,
    drawn,
    refused,
    right,
    unreadable,
    warned,
)

rows = Table("plots")
a = numbers(2, 3, 12, 12)
pixels = numbers(2, 3, 12, 12).abs().clamp(0, 1)
MAPS = dict(
    none=None,
    text="map",
    number=1.0,
    dict={},
    object=object(),
    tuple=(a, a),
    list_of_text=["a"],
    texts=np.array(["a", "b"]),
    complex=a + 0j,
    sparse=a.to_sparse(),
    meta=a.to("meta"),
    nested=torch.nested.nested_tensor([a[0], a[1]]),
    empty=a[:0],
    zero_height=a[:, :, :0],
    zero_d=torch.tensor(1.0),
    one_d=a[0, 0, 0],
    five_d=a[None],
    float8=a.to(torch.float8_e4m3fn),
    quantised=torch.quantize_per_tensor(a, 0.1, 0, torch.quint8),
    channels_last=a.permute(0, 2, 3, 1),
    picture=Image.new("RGB", (8, 8)),
)


def figures(v):
    return isinstance(v, (matplotlib.figure.Figure, np.ndarray))


ALSO_RIGHT = {"float8", "sparse", "tuple", "picture"}
for name, f in dict(
    pixel_map=p.pixel_map,
    heatmap=p.heatmap,
    overlay=lambda v: p.overlay(pixels, v),
    compare=lambda v: p.compare(pixels, {"a": v}),
    image_array=p.image_array,
    overlay_images=lambda v: p.overlay(v, a),
    compare_images=lambda v: p.compare(v, {"a": a}),
).items():
    thing = "image|pixel|picture|frame" if "image" in name else "attribution|map"
    for kind, given in MAPS.items():
        accepted = drawn(figures) if kind in ALSO_RIGHT and not (kind == "tuple") else refused(thing)
        rows.add(f"{name}.{kind}", lambda f=f, given=given: f(given), refused(thing) | accepted)
    rows.add(f"{name}.nan", lambda f=f: f(a * NAN), drawn(figures) | refused(thing))
    rows.add(f"{name}.integers", lambda f=f: f((pixels * 255).long()), drawn(figures) | refused(thing))
    rows.add(f"{name}.array", lambda f=f: f(pixels.numpy()), drawn(figures))
    rows.add(f"{name}.requires_grad", lambda f=f: f(pixels.clone().requires_grad_()), drawn(figures))
rows.add("pixel_map.right", lambda: p.pixel_map(a), right(lambda v: np.allclose(v, a.sum(1).double().numpy())))
rows.add(
    "image_array.bytes",
    lambda: p.image_array((pixels * 255).byte()),
    right(lambda v: np.allclose(v, (pixels * 255).byte().permute(0, 2, 3, 1).double().numpy() / 255)),
)
rows.add(
    "image_array.normalised",
    lambda: p.image_array((pixels - 0.45) / 0.225),
    refused(r"\[0, 1\]|0 to 1|mean") | warned("0|1"),
)
rows.add("image_array.to_255", lambda: p.image_array(pixels * 255), refused(r"\[0, 1\]|0 to 1|255") | warned("0|255"))
for n in (1, 2, 3, 4, 5):
    rows.add(
        f"heatmap.{n}_maps",
        lambda n=n: len(p.heatmap(torch.rand(n, 8, 8), colorbar=False).axes),
        right(lambda v, n=n: v == n),
    )
rows.add(
    "heatmap.one_map_channels_last",
    lambda: len(p.heatmap(torch.rand(64, 64, 3), colorbar=False).axes),
    right(lambda v: v == 1) | refused("permute|channels"),
)
rows.add(
    "heatmap.one_channel_last",
    lambda: len(p.heatmap(torch.rand(64, 64, 1), colorbar=False).axes),
    right(lambda v: v == 1) | refused("permute|channels"),
)

heat = functools.partial(p.heatmap, a, colorbar=False)
over = functools.partial(p.overlay, pixels, a)
comp = functools.partial(p.compare, pixels, {"a": a})
for id, f in dict(heatmap=heat, overlay=over, compare=comp).items():
    rows.settings(id, f, "sign", CHOICE | dict(empty=""))
    rows.settings(id, f, "percentile", POSITIVE | dict(above=101.0))
    rows.settings(id, f, "size", POSITIVE | dict(huge=1e7, text="2"))
    rows.settings(id, f, "titles", dict(number=5, too_few=["a"], too_many=["a"] * 5, dict={}), words="title|label")
for id, f in dict(heatmap=heat, overlay=over).items():
    rows.settings(id, f, "columns", WHOLE)
    rows.settings(
        id, f, "ax", dict(text="axes", number=5, figure=matplotlib.figure.Figure()), words=r"\bax\b|axes|Axes"
    )
rows.settings("overlay", over, "opacity", SHARE)
rows.settings("overlay", over, "limit", {k: v for k, v in POSITIVE.items() if k != "none"})
rows.settings(
    "compare",
    lambda **k: p.compare(pixels, **k),
    "attributions",
    dict(
        tensor=a,
        none=None,
        empty={},
        text="a",
        list=[a],
        none_value={"a": None},
        text_value={"a": "b"},
        wrong_batch={"a": a[:1]},
        number=5,
    ),
    words="attribution|map",
)
rows.settings(
    "compare",
    comp,
    "outlines",
    dict(
        text="a",
        number=1.0,
        wrong_side=torch.zeros(2, 5, 5),
        four_d=torch.zeros(2, 3, 12, 12),
        wrong_batch=torch.zeros(1, 12, 12),
        nan=torch.full((2, 12, 12), NAN),
        dict={},
    ),
    words="outline|mask",
    nan=refused("outline") | drawn(),
    wrong_batch=refused("outline") | drawn(),
)
rows.add("compare.sign.of_unknown_method", lambda: comp(sign={"b": "signed"}), refused("sign|b") | drawn())
rows.settings("color_limit", lambda **k: p.color_limit(a.numpy(), **k), "percentile", POSITIVE | dict(above=101.0))
for kind, given in dict(
    none=None, text="a", dict={}, list_of_text=["a"], complex=a.numpy() + 0j, object=object()
).items():
    rows.add(f"color_limit.values.{kind}", lambda given=given: p.color_limit(given), refused("values|attribution"))

for kind, given in dict(none=None, number=1.0, list=["neflag"], object=object()).items():
    rows.add(f"method_look.name.{kind}", lambda given=given: p.method_look(given), refused("name|title"))

band = functools.partial(p.curve_band, torch.linspace(0, 1, 5), numbers(4, 5))
rows.settings("curve_band", band, "role", dict(unknown="nocolour", number=5, none=None, list=["a"]), words="role|colo")
rows.settings("curve_band", band, "style", dict(unknown="@@", number=5, list=["a"]))
rows.settings("curve_band", band, "level", SHARE | dict(zero=0.0, one=1.0))
for kind, given in dict(
    none=None,
    text="a",
    wrong_length=numbers(4, 6),
    one_d=numbers(5),
    empty=numbers(0, 5),
    nan=numbers(4, 5) * NAN,
    complex=numbers(4, 5) + 0j,
    sparse=numbers(4, 5).to_sparse(),
).items():
    rows.add(
        f"curve_band.values.{kind}",
        lambda given=given: p.curve_band(torch.linspace(0, 1, 5), given),
        refused("value|curve") | (right() if kind == "sparse" else drawn() if kind in ("one_d",) else refused("value")),
    )
    if kind not in ("wrong_length", "one_d"):
        rows.add(
            f"mean_interval.values.{kind}",
            lambda given=given: p.mean_interval(given),
            refused("value") | (right() if kind == "sparse" else refused("value")),
        )
rows.settings(
    "mean_interval", lambda **k: p.mean_interval(numbers(4, 5), **k), "level", SHARE | dict(zero=0.0, one=1.0)
)
rows.settings("mean_interval", lambda **k: p.mean_interval(numbers(4, 5), **k), "n_resamples", WHOLE)
network = seeded(
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
)
found = faithfulness_curves(network, pixels, a, 1, masking_steps=4)
one_curve = faithfulness_curves(network, pixels, a, 1, masking_steps=4, curves="deletion")
for kind, given in dict(none=None, text="a", number=5, dict={}, tensor=a, list=[1]).items():
    rows.add(f"curves.found.{kind}", lambda given=given: p.curves(given), refused("curve|found|FaithfulnessCurves"))
    rows.add(
        f"compare_curves.found.{kind}",
        lambda given=given: p.compare_curves(given),
        refused("curve|found|mapping|Mapping"),
    )
    if kind != "dict":
        rows.add(
            f"compare_curves.inside.{kind}",
            lambda given=given: p.compare_curves({"a": given}),
            refused("curve|found|FaithfulnessCurves"),
        )
rows.settings(
    "curves",
    lambda **k: p.curves(found, **k),
    "kinds",
    dict(unknown=["no such"], text="deletion", number=5, none=None, empty=[]),
    words="kind|curve",
    text=refused("kind") | drawn(),
)
rows.add("curves.not_asked_for", lambda: p.curves(one_curve), refused("insertion"))
rows.add("compare_curves.not_asked_for", lambda: p.compare_curves({"a": one_curve}), refused("insertion|curves"))
rows.settings("compare_curves", lambda **k: p.compare_curves({"a": found}, **k), "kind", CHOICE, words="kind|curve")
for id, f in dict(
    curves=functools.partial(p.curves, found), compare_curves=functools.partial(p.compare_curves, {"a": found})
).items():
    rows.settings(id, f, "level", SHARE | dict(zero=0.0, one=1.0))
    rows.settings(
        id,
        f,
        "floor",
        dict(
            text="a",
            number=5.0,
            nan=NAN,
            dict={},
            wrong_batch=faithfulness_curves(network, pixels[:1], a[:1], 1, masking_steps=4),
        ),
        words="floor|curve",
        wrong_batch=refused("floor") | drawn(),
        number=refused("floor|curve") | drawn(),
    )
    rows.settings(id, f, "size", POSITIVE)
rows.settings("curves", functools.partial(p.curves, found), "at", SHARE | dict(none=NAN), none=SKIP)
rows.settings("curves", functools.partial(p.curves, found), "columns", WHOLE)

plane = mlp(2, 3, smooth=True)
path = torch.stack([torch.zeros(3, 2), numbers(3, 2)], 1)
land = functools.partial(p.path_landscape, plane, path, target=1, resolution=6)
rows.settings("path_landscape", land, "resolution", WHOLE | dict(one=1), one=refused("resolution") | drawn())
rows.settings("path_landscape", land, "show", CHOICE)
rows.settings(
    "path_landscape",
    land,
    "limits",
    dict(
        text="a",
        three=(0, 1, 0),
        reversed=(1, 0, 0, 1),
        nan=(0, NAN, 0, 1),
        inf=(0, INF, 0, 1),
        number=5,
        texts=("a",) * 4,
        none_inside=(None,) * 4,
        dict={},
    ),
)
rows.settings(
    "path_landscape",
    land,
    "scatter",
    dict(text="a", number=1.0, wrong_width=numbers(3, 3), nan=numbers(3, 2) * NAN, dict={}, one_d=numbers(2)),
    one_d=refused("scatter") | drawn(),
    nan=refused("scatter") | drawn(),
)
rows.settings(
    "path_landscape",
    land,
    "feature_names",
    dict(one=["a"], number=5, none=None, three=["a", "b", "c"], text="ab"),
    text=refused("feature_names") | drawn(),
)
rows.settings("path_landscape", land, "size", POSITIVE)
rows.settings(
    "path_landscape",
    lambda **k: p.path_landscape(plane, target=1, resolution=6, **k),
    "paths",
    dict(
        none=None,
        text="a",
        number=1.0,
        wrong_width=numbers(3, 2, 3),
        nan=path * NAN,
        one_d=numbers(2),
        empty=[],
        list_of_text=["a"],
        dict_of_text={"a": "b"},
        complex=path + 0j,
        sparse=path.to_sparse(),
    ),
    words="path",
    empty=refused("path|limits"),
    sparse=refused("path") | drawn(),
)
for kind, given in dict(
    none=None, text="a", number=5.0, three_d=numbers(2, 2, 2), nan=numbers(4, 4) * NAN, empty=numbers(0, 4)
).items():
    rows.add(
        f"path_landscape.score.{kind}",
        lambda given=given: p.path_landscape(given, path, limits=(0, 1, 0, 1)),
        refused("score|value|grid") | (drawn() if kind == "nan" else refused("score")),
    )
rows.add("path_landscape.grid_without_limits", lambda: p.path_landscape(numbers(4, 4), path), refused("limits"))
rows.add("path_landscape.no_target", lambda: p.path_landscape(plane, path, resolution=6), refused("target"))
field = functools.partial(p.vector_field, plane, numbers(2, 2), target=1, arrows=4)
rows.settings("vector_field", functools.partial(field), "radius", POSITIVE)
rows.settings(
    "vector_field", functools.partial(field, radius=0.5), "arrows", WHOLE | dict(one=1), one=refused("arrows") | drawn()
)
rows.settings(
    "vector_field",
    functools.partial(field, radius=0.5),
    "points",
    dict(text="a", wrong_width=numbers(2, 5, 3), nan=numbers(2, 5, 2) * NAN, number=1.0, wrong_batch=numbers(3, 5, 2)),
    words="points|flux",
)
rows.settings(
    "vector_field",
    functools.partial(field, radius=0.5, points=numbers(2, 5, 2)),
    "flux",
    dict(text="a", wrong_shape=numbers(2, 4), nan=numbers(2, 5) * NAN, number=1.0),
    words="flux",
)
rows.settings(
    "vector_field",
    functools.partial(field, radius=0.5),
    "limits",
    dict(text="a", three=(0, 1, 0), reversed=(1, 0, 0, 1), nan=(0, NAN, 0, 1)),
)
for kind, given in dict(
    none=None, text="a", wrong_width=numbers(2, 3), nan=numbers(2, 2) * NAN, number=1.0, empty=numbers(0, 2)
).items():
    rows.add(
        f"vector_field.center.{kind}",
        lambda given=given: p.vector_field(plane, given, 0.5, target=1, arrows=4),
        refused("cent"),
    )
    rows.add(
        f"flux_points.center.{kind}",
        lambda given=given: p.flux_points(given, numbers(2, 5, 2), numbers(2, 5)),
        refused("cent|points|shape") | (drawn() if kind == "wrong_width" else refused("cent")),
    )
for kind, given in dict(
    none=None,
    text="a",
    tuple=(numbers(2, 5, 2), numbers(2, 5, 2)),
    number=1.0,
    nan=numbers(2, 5, 2) * NAN,
    wrong=numbers(2, 5, 3),
    empty=numbers(2, 0, 2),
).items():
    rows.add(
        f"flux_points.points.{kind}",
        lambda given=given: p.flux_points(numbers(2, 2), given, numbers(2, 5)),
        refused("point|cent|flux"),
    )
for kind, given in dict(none=None, text="a", wrong=numbers(2, 4), nan=numbers(2, 5) * NAN, number=1.0).items():
    rows.add(
        f"flux_points.flux.{kind}",
        lambda given=given: p.flux_points(numbers(2, 2), numbers(2, 5, 2), given),
        refused("flux"),
    )
for kind, given in dict(
    list=[a],
    none=None,
    empty={},
    text="a",
    number=5,
    text_inside={"a": "b"},
    none_inside={"a": None},
    tensor=a,
    nan={"a": a * NAN},
).items():
    rows.add(
        f"relevance_balance.{kind}",
        lambda given=given: p.relevance_balance(given),
        refused("layer|relevance") | (drawn() if kind == "nan" else refused("layer")),
    )
bars = numbers(2, 6)
for kind, given in dict(
    none=None,
    text="a",
    empty=bars[:0],
    nan=bars * NAN,
    three_d=a,
    complex=bars + 0j,
    number=1.0,
    dict={},
    no_features=bars[:, :0],
).items():
    rows.add(
        f"feature_bars.attributions.{kind}",
        lambda given=given: p.feature_bars(given),
        refused("attribution|feature|batch"),
    )
rows.settings(
    "feature_bars", functools.partial(p.feature_bars, bars), "names", dict(number=5, too_few=["a"], text="a", dict={})
)
rows.settings(
    "feature_bars",
    functools.partial(p.feature_bars, bars),
    "values",
    dict(number=5, text="a", wrong=numbers(2, 5), nan=bars * NAN, dict={}),
    nan=refused("values") | drawn(),
)
rows.settings("feature_bars", functools.partial(p.feature_bars, bars), "k", WHOLE, words=r"\bk\b")


def png(size=(8, 8), format="PNG", mode="RGB"):
    kept = io.BytesIO()
    Image.new(mode, size).save(kept, format)
    return kept.getvalue()


def show(frames, **k):
    return p.live(frames, "step", "a picture", **k)


for kind, given in dict(
    svg=b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    truncated=png()[:40],
    no_picture=b"hello",
    empty=b"",
    none=None,
    number=5,
    text="photo.png",
    list=[1],
    gif_bytes=png(format="GIF"),
    wrong_shape=numbers(5, 8, 8),
    nan=numbers(3, 8, 8) * NAN,
    complex=numbers(3, 8, 8) + 0j,
    batch=numbers(2, 3, 8, 8),
    outside=numbers(3, 8, 8) * 99,
).items():
    rows.add(
        f"live.frame.{kind}",
        lambda given=given: show({"a": given}),
        refused("") | (drawn() if kind in ("gif_bytes",) else warned("0|1|255") if kind == "outside" else refused("")),
    )
for kind, given in dict(
    list=[png()], none=None, empty={}, text="a", number=5, different_sizes={"a": png(), "b": png((9, 8))}
).items():
    rows.add(f"live.frames.{kind}", lambda given=given: show(given), refused("frame"))
rows.add("live.right", lambda: show({"a": png(), "b": png()}), drawn(lambda v: "img" in v._repr_html_()))
rows.settings(
    "live",
    lambda **k: show({"a": png(), "b": png()}, **k),
    "start",
    dict(half=0.5, text="a", too_large=2, none=None, boolean=True, nan=NAN),
    boolean=refused("start") | drawn(),
)
rows.settings(
    "live",
    lambda **k: show({"a": numbers(3, 8, 8).abs().clamp(0, 1)}, **k),
    "quality",
    WHOLE | dict(high=96, two_hundred=200),
)
rows.settings(
    "live", lambda **k: show({"a": png()}, **k), "max_kilobytes", POSITIVE, inf=refused("max_kilobytes") | drawn()
)
rows.settings(
    "live", lambda **k: p.live({"a": png()}, alt="a", **k), "description", dict(none=None, number=5, list=["a"])
)
rows.settings("live", lambda **k: p.live({"a": png()}, "a", **k), "alt", dict(none=None, number=5, list=["a"]))

# ---------------------------------------------------------------------------- samples
rows.module = "samples"
rows.settings("shape_images", lambda **k: s.shape_images(**({"n": 1, "size": 48} | k)), "n", WHOLE)
rows.settings("shape_images", lambda **k: s.shape_images(1, size=48, **k), "seed", SEED | dict(none=None))
rows.settings("shape_images", lambda **k: s.shape_images(1, **k), "size", WHOLE)
rows.add(
    "shape_images.size.huge",
    lambda: s.shape_images(1, size=10**7),
    refused("size"),
    excuse="as large as memory allows: torch says that it can't be allocated",
)
rows.settings("half_moons", lambda **k: s.half_moons(**k), "n", WHOLE)
rows.settings(
    "half_moons", lambda **k: s.half_moons(9, **k), "noise", {k: v for k, v in POSITIVE.items() if k != "zero"}
)
rows.settings(
    "half_moons", lambda **k: s.half_moons(9, **k), "seed", SEED | dict(none=None), none=refused("seed") | right()
)
moons = s.half_moons(20)


def fit(points=moons[0], labels=moons[1], **k):
    return s.half_moons_model(points, labels, **(dict(epochs=1) | k))


for kind, given in dict(
    none=None,
    text="a",
    wrong_width=numbers(20, 3),
    nan=moons[0] * NAN,
    empty=moons[0][:0],
    integers=moons[0].long(),
    too_few=moons[0][:5],
).items():
    rows.add(
        f"half_moons_model.points.{kind}",
        lambda given=given: fit(points=given),
        refused("point|label") | (drawn() if kind in ("wrong_width", "integers") else refused("point")),
    )
for kind, given in dict(
    none=None,
    text="a",
    twos=moons[1] * 2,
    negative=-moons[1],
    floats=moons[1].float(),
    too_few=moons[1][:5],
    column=moons[1][:, None],
).items():
    rows.add(f"half_moons_model.labels.{kind}", lambda given=given: fit(labels=given), refused("label"))
for name in ("hidden", "epochs"):
    rows.settings("half_moons_model", fit, name, {k: v for k, v in WHOLE.items() if (name, k) != ("epochs", "zero")})
rows.settings("half_moons_model", fit, "activation", CHOICE)
rows.settings("half_moons_model", fit, "seed", SEED | dict(none=None), none=refused("seed") | drawn())


def train(**k):
    return s.train_shapes_network(**(dict(steps=1, batch_size=2, pool=2, show_progress=False) | k))


for name in ("steps", "batch_size", "pool"):
    rows.settings("train_shapes_network", train, name, WHOLE)
rows.settings("train_shapes_network", train, "learning_rate", POSITIVE)
rows.settings("train_shapes_network", train, "scaffold", REAL | dict(negative=-0.1))
rows.settings("train_shapes_network", train, "erase", SHARE)
rows.settings("train_shapes_network", train, "seed", SEED | dict(none=None))
rows.settings("train_shapes_network", train, "on_step", dict(number=5, text="a"))
rows.settings(
    "ShapesNet",
    s.ShapesNet,
    "widths",
    words="width",
    values=dict(
        none=None,
        text="a",
        empty=(),
        number=5,
        three=(1, 2, 3),
        zero=(0, 1, 1, 1),
        half=(1.5, 2, 2, 2),
        negative=(-1, 1, 1, 1),
    ),
)
rows.settings("ShapesNet", s.ShapesNet, "classes", WHOLE)
N3 = [0.5, 0.5, 0.5]
for name, other in dict(mean="std", std="mean").items():

    def make(name=name, other=other, **k):
        return s.Normalize(**({other: N3} | k))(pixels)

    rows.settings(
        "Normalize",
        make,
        name,
        dict(
            text="abc",
            number=0.5,
            none=None,
            texts=["a"] * 3,
            nan=[NAN] * 3,
            inf=[INF] * 3,
            two=[0.5, 0.5],
            empty=[],
            none_inside=[None] * 3,
            nested=[N3],
            boolean=True,
            complex=[1j] * 3,
        ),
        words=f"{name}|channel",
        number=right(),
    )

    def load(**k):
        return s.load_model("shapes", **k)

    rows.settings(
        "load_model",
        load,
        name,
        dict(
            text="a",
            two=[0.5, 0.5],
            none_inside=[None] * 3,
            nan=NAN,
            inf=INF,
            to_255=[123.0, 117.0, 104.0],
            empty=[],
            dict={},
            boolean=True,
            texts=["a"] * 3,
        ),
        to_255=refused(name, "255") | (warned("255") if name else None),
    )
rows.add("Normalize.std.zero", lambda: s.Normalize(N3, [0, 1, 1]), refused("std"))
rows.add("Normalize.std.negative", lambda: s.Normalize(N3, [-1.0, 1, 1]), refused("std"))
rows.add("load_model.std.zero", lambda: s.load_model("shapes", mean=0.5, std=0), refused("std"))
rows.settings(
    "load_model",
    lambda **k: s.load_model(**k),
    "name",
    dict(none=None, number=5, unknown="resnet5000", empty="", list=["shapes"], detector="fasterrcnn_resnet50_fpn"),
    words="model|name",
)
rows.settings(
    "load_model",
    lambda **k: s.load_model("shapes", **k),
    "device",
    dict(unknown="quantum", number=3.5, none=None, cuda="cuda", meta="meta", list=["cpu"]),
    none=refused("device") | drawn(),
    cuda=refused("cuda|device") | drawn(),
)
rows.settings(
    "load_model",
    lambda **k: s.load_model("shapes", **k),
    "categories",
    dict(
        text="abcdef",
        number=5,
        too_few=["a"],
        numbers=[1, 2, 3, 4, 5, 6],
        none_inside=[None] * 6,
        twice=["a"] * 6,
        empty=[],
    ),
    words="categor",
    twice=refused("categor") | drawn(),
    numbers=refused("categor") | drawn(),
    text=refused("categor"),
)
state = s.sample_model().state_dict()


def broken(how):
    changed = {k: v.clone() for k, v in state.items()}
    how(changed)
    return changed


def saved(what, name="w.pth"):
    torch.save(what, name) if not name.endswith("safetensors") else safetensors.torch.save_file(what, name)
    return s.load_model("shapes", weights=name)


first = next(k for k, v in state.items() if v.is_floating_point())


class Dangerous:
    def __reduce__(self):
        return (Path("ran").touch, ())


def of_a_file(content, name="w.pth"):
    Path(name).write_bytes(content)
    return s.load_model("shapes", weights=name)


WEIGHTS = dict(
    int=lambda: s.load_model("shapes", weights=5),
    list=lambda: s.load_model("shapes", weights=["w.pth"]),
    bytes=lambda: s.load_model("shapes", weights=b"w.pth"),
    missing=lambda: s.load_model("shapes", weights="nowhere.pth"),
    folder=lambda: s.load_model("shapes", weights="."),
    empty=lambda: of_a_file(b""),
    text=lambda: of_a_file(b"hello"),
    picture=lambda: of_a_file(png()),
    truncated=lambda: (torch.save(state, "t.pth"), of_a_file(Path("t.pth").read_bytes()[:500]))[1],
    html=lambda: of_a_file(b"<html>404</html>"),
    zip=lambda: of_a_file(b"PK\x03\x04" + bytes(50)),
    safetensors_text=lambda: of_a_file(b"hello", "w.safetensors"),
    safetensors_empty=lambda: of_a_file(b"", "w.safetensors"),
    safetensors_header=lambda: of_a_file(struct.pack("<Q", 2**40) + b"{}", "w.safetensors"),
    tensor=lambda: saved(torch.ones(3)),
    number=lambda: saved(5),
    list_saved=lambda: saved([1, 2]),
    empty_dict=lambda: saved({}),
    module=lambda: saved(s.sample_model()),
    dangerous=lambda: saved({"a": Dangerous()}),
    texts=lambda: saved({k: "a" for k in state}),
    missing_one=lambda: saved(broken(lambda d: d.pop(first))),
    one_more=lambda: saved(broken(lambda d: d.update(more=torch.ones(1)))),
    other_shape=lambda: saved(broken(lambda d: d.update({first: torch.ones(2)}))),
    complex=lambda: saved(broken(lambda d: d.update({first: d[first] + 0j}))),
    one_nan=lambda: saved(broken(lambda d: d[first].view(-1)[:1].fill_(NAN))),
    inf=lambda: saved(broken(lambda d: d[first].view(-1)[:1].fill_(INF))),
    sparse=lambda: saved(broken(lambda d: d.update({first: d[first].to_sparse()}))),
    nested_dict=lambda: saved({"state_dict": {"model": 5}}),
    integers=lambda: saved(broken(lambda d: d.update({first: d[first].long()}))),
    optimiser=lambda: saved(torch.optim.Adam(s.sample_model().parameters()).state_dict()),
    null_byte=lambda: s.load_model("shapes", weights="a\0b"),
)
for kind, call in WEIGHTS.items():
    words = dict(
        int="weights|path|int", list="weights|path|list", bytes="weights|path|bytes", null_byte="weights|null|nul"
    ).get(kind, r"w\.pth|w\.safetensors|nowhere|fit|\.|folder|directory")
    rows.add(
        f"load_model.weights.{kind}",
        call,
        unreadable(words) | (drawn() if kind in ("integers", "sparse") else refused(words)),
    )
rows.add(
    "load_model.weights.dangerous_did_nothing",
    lambda: [Outcome(error=_error(WEIGHTS["dangerous"])), Path("ran").exists()][1],
    right(lambda v: v is False),
)


def _error(call):
    try:
        call()
    except Exception as error:
        return error


rows.add(
    "load_model.weights.right",
    lambda: saved(state),
    drawn(lambda v: torch.equal(v.model(pixels), s.sample_model()(pixels))),
)
rows.add(
    "load_model.weights.safetensors",
    lambda: saved({k: v.contiguous() for k, v in state.items()}, "w.safetensors"),
    drawn(lambda v: torch.equal(v.model(pixels), s.sample_model()(pixels))),
)
loaded = s.load_model("shapes")
for kind, given in dict(
    none=None,
    array=np.zeros((8, 8, 3)),
    tensor=pixels[0],
    text="a.jpg",
    number=5,
    extreme_ratio=Image.new("RGB", (1, 60000)),
    extreme_width=Image.new("RGB", (60000, 1)),
).items():
    rows.add(
        f"load_model.preprocess.{kind}",
        lambda given=given: loaded.preprocess(given),
        refused("picture|image|PIL|side|large"),
    )
rows.add(
    "load_model.preprocess.right",
    lambda: loaded.preprocess(Image.new("RGB", (100, 120))),
    right(lambda v: v.shape == (3, 96, 96)),
)
names = ["cat", "dog", "catfish"]
for kind, given in dict(
    none=None,
    number=5,
    list=["cat"],
    unknown="zebra",
    empty="",
    out_of_range="3",
    negative="-1",
    huge="9" * 99,
    float="1.5",
    several="c",
    boolean=True,
    blank="  ",
).items():
    rows.add(f"find_class.text.{kind}", lambda given=given: s.find_class(given, names), refused("class|text|str"))
for kind, given in dict(none=None, numbers=[1, 2], text="abc", empty=[], none_inside=[None]).items():
    rows.add(f"find_class.categories.{kind}", lambda given=given: s.find_class("cat", given), refused("categor|class"))
rows.add(
    "find_class.right", lambda: (s.find_class("cat", names), s.find_class("1", names)), right(lambda v: v == (0, 1))
)


def picture(content, name="photo.jpg"):
    Path(name).write_bytes(content)
    return s.load_image(name)


def bomb():
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0) + b"\0\0\0\0"


def unreadable_file():
    Path("locked.jpg").write_bytes(png())
    os.chmod("locked.jpg", 0)
    try:
        return s.load_image("locked.jpg")
    finally:
        os.chmod("locked.jpg", 0o600)


FILES = dict(
    none=lambda: s.load_image(None),
    int=lambda: s.load_image(5),
    bytes_name=lambda: s.load_image(b"photo.jpg"),
    list=lambda: s.load_image(["photo.jpg"]),
    missing=lambda: s.load_image("nowhere.jpg"),
    folder=lambda: s.load_image("."),
    empty_name=lambda: s.load_image(""),
    null_byte=lambda: s.load_image("a\0b.jpg"),
    empty=lambda: picture(b""),
    text=lambda: picture(b"hello"),
    truncated=lambda: picture(png((300, 300))[:100]),
    postscript=lambda: picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"),
    pdf=lambda: picture(b"%PDF-1.4\n"),
    svg=lambda: picture(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    bomb=lambda: picture(bomb()),
    html=lambda: picture(b"<html></html>"),
    weights=lambda: picture(b"PK\x03\x04"),
    array=lambda: s.load_image(np.zeros((4, 4, 3))),
    picture=lambda: s.load_image(Image.new("RGB", (4, 4))),
    long_name=lambda: s.load_image("a" * 5000),
    wmf=lambda: picture(b"\xd7\xcd\xc6\x9a" + bytes(60)),
    fits=lambda: picture(b"SIMPLE  =                    T" + b" " * 2850),
    eps_binary=lambda: picture(b"\xc5\xd0\xd3\xc6" + bytes(60)),
)
for kind, call in FILES.items():
    words = (
        "path|str|photo|picture|NoneType|int|list|bytes"
        if kind in ("none", "int", "bytes_name", "list", "array", "picture")
        else r"photo|nowhere|\.|null|nul|aaa|name"
    )
    rows.add(f"load_image.{kind}", call, unreadable(words))
if os.geteuid():
    rows.add("load_image.unreadable", unreadable_file, unreadable("locked"))


def ramp(kind):
    line = np.linspace(0, 1, 64)[None].repeat(64, 0)
    made = dict(
        float=line.astype(np.float32),
        int32=(line * 65535).astype(np.int32),
        int16=(line * 65535).astype(np.uint16),
        byte=(line * 255).astype(np.uint8),
        float_to_255=(line * 255).astype(np.float32),
    )[kind]
    Image.fromarray(made).save("ramp.tif")
    return np.asarray(s.load_image("ramp.tif")).mean() / 255


for kind in ("float", "int32", "int16", "byte", "float_to_255"):
    rows.add(
        f"load_image.tiff.{kind}",
        lambda kind=kind: ramp(kind),
        right(lambda v: abs(v - 0.5) < 0.03)
        | (refused("white|range") if kind in ("float_to_255", "int32") else refused("no such")),
    )
for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"):

    def of_mode(mode=mode):
        (
            Image.new(mode, (8, 6)).save("m.tif" if mode not in ("HSV",) else "m.tif")
            if mode != "HSV"
            else Image.new("RGB", (8, 6)).save("m.tif")
        )
        return s.load_image("m.tif")

    rows.add(
        f"load_image.mode.{mode}",
        of_mode,
        drawn(lambda v: v.mode == "RGB" and v.size == (8, 6)) | refused("constant|one value|range|white"),
    )
