"The public functions of core, paths, geodesic and equilibrium"

import dataclasses

import numpy as np
import torch
from models import mlp, numbers
from torch import nn

from attrnb.core import (
    CountingForward,
    FeatureAttribution,
    TargetScore,
    bootstrap_interval,
    check_baselines,
    check_inputs,
    chunk_slices,
    class_scores,
    flatten_features,
    gradients,
    leave_as_found,
    modules_of,
    normal_noise,
    random_generator,
    select_target,
    sum_features,
    unflatten_features,
    whole_number,
)
from attrnb.equilibrium import Recording, initial_relevance, register_rule
from attrnb.geodesic import (
    GeodesicIGKNN,
    edge_integrals,
    minimise_batch,
    nearest_points,
    neighbour_graph,
    path_energy,
    sine_basis,
)
from attrnb.paths import PathIntegratedGradients, line_integral, no_cancellation_gap, quadrature

from . import CHOICE, INF, NAN, REAL, SEED, SHARE, SKIP, WHOLE, Table, drawn, refused, right

rows = Table("core")
x, net = numbers(3, 4), mlp(4, 3, smooth=True)
logits = numbers(3, 5)
# what is given in place of one tensor, for every function that takes one
TENSORS = dict(
    none=None,
    text="a",
    number=1.5,
    list=["a"],
    dict={},
    object=object(),
    sparse=x.to_sparse(),
    meta=x.to("meta"),
    nested=torch.nested.nested_tensor([x[0], x[1]]),
    complex=x + 0j,
    float8=x.to(torch.float8_e4m3fn),
    quantised=torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
)
NOT_FINITE = dict(nan=x * NAN, inf=x + INF)


def things(id, call, name, module=None, words=None, more=None, but=(), also=None):
    "Rows of `call` with every thing in place of the tensor `name`; those in `but` may also be right"
    for kind, thing in (TENSORS | (more or {})).items():
        expected = refused(words or name) | (also or right()) if kind in but else refused(words or name)
        rows.add(f"{id}.{name}.{kind}", lambda thing=thing: call(thing), expected, module)


# ---------------------------------------------------------------------------- core
things(
    "class_scores",
    lambda z: class_scores(z, "probability"),
    "logits",
    words="logits|output|returned|forward function|complex|sparse|meta|nested|float8|quant|tensor",
    but=("sparse",),
)
rows.settings("class_scores", lambda **k: class_scores(logits, **k), "of", CHOICE)
for kind, z in dict(
    probabilities=logits.softmax(1),
    sequence=numbers(2, 3, 4),
    integers=torch.ones(2, 3).long(),
    zero_d=torch.tensor(1.0),
).items():
    rows.add(
        f"class_scores.{kind}",
        lambda z=z: class_scores(z, "probability"),
        refused("output|dim|int64|number|shape|float")
        | (right() if kind == "zero_d" else refused("output|dim|int64|float")),
    )
rows.add(
    "class_scores.one_column",
    lambda: class_scores(logits[:, :1], "probability"),
    right(lambda v: torch.allclose(v, logits[:, :1].sigmoid())),
)
rows.add(
    "class_scores.one_dimension",
    lambda: class_scores(logits[:, 0], "log_probability"),
    right(lambda v: torch.allclose(v, nn.functional.logsigmoid(logits[:, 0]))),
)

things(
    "check_inputs",
    check_inputs,
    "inputs",
    more=NOT_FINITE
    | dict(integers=x.long(), boolean=x > 0, zero_d=torch.tensor(1.0), empty=x[:0], no_features=x[:, :0]),
)
rows.add("check_inputs.right", lambda: check_inputs(x), right(lambda v: v[0][0] is x and v[1] is False))
things(
    "check_baselines",
    lambda b: check_baselines(b, (x,)),
    "baseline",
    more=NOT_FINITE | dict(nan_number=NAN, inf_number=INF, huge=1e300, boolean=True, wrong=x[:2], empty=()),
    but=("none", "number", "float8"),
)
rows.add(
    "check_baselines.right",
    lambda: check_baselines(0.5, (x,))[0],
    right(lambda v: v.shape == x.shape and (v == 0.5).all()),
)
things(
    "select_target",
    lambda y: select_target(y, 1),
    "output",
    words="return|output|forward function|sparse|meta|nested|float8|quant|complex|tensor",
    but=("meta", "nested", "complex", "float8", "quantised"),
    also=drawn(),
)
for kind, (target, rows_given) in dict(
    more_rows=(1, 5),
    huge=(2**70, 3),
    text=("a", 3),
    out_of_range=(9, 3),
    none=(None, 3),
    per_row=([1, 2], 3),
    dict=({}, 3),
).items():
    rows.add(
        f"select_target.{kind}",
        lambda target=target, n=rows_given: select_target(logits, target, n),
        refused("target|rows"),
    )
rows.settings(
    "select_target", lambda **k: select_target(logits, 1, **k), "rows", dict(text="3", half=1.5, negative=-1, list=[3])
)
for kind, thing in dict(none=None, number=5, text="a").items():
    rows.add(
        f"modules_of.{kind}",
        lambda thing=thing: modules_of(thing),
        refused("callable|forward") | right(lambda v: v == []),
    )

    def inside(thing=thing):
        with leave_as_found(thing):
            return 1

    rows.add(f"leave_as_found.{kind}", inside, refused("callable|forward") | right())
rows.settings("random_generator", lambda **k: random_generator(**k), "seed", SEED)
rows.add(
    "random_generator.numpy",
    lambda: torch.rand(3, generator=random_generator(np.int64(3))),
    right(lambda v: torch.equal(v, torch.rand(3, generator=random_generator(3)))),
)
for kind, seed in dict(negative=-1, none=None, generator=torch.Generator()).items():
    rows.add(
        f"random_generator.{kind}",
        lambda seed=seed: torch.rand(3, generator=random_generator(seed)),
        right() | refused("seed") if kind == "negative" else right(),
    )
rows.settings(
    "normal_noise",
    lambda **k: normal_noise(seed=0, like=x, **k),
    "shape",
    dict(none=None, number=3, text="3", negative=(-1,), half=(1.5,), none_inside=(None,)),
    number=refused("shape") | right(),
)
things(
    "normal_noise",
    lambda z: normal_noise((2,), 0, z),
    "like",
    words="like|tensor|sparse|meta|nested|complex|float8|quant",
    but=("sparse", "meta", "nested", "complex", "float8", "quantised", "number"),
    also=drawn(),
)
rows.settings("whole_number", lambda **k: whole_number(name="it", **k), "value", WHOLE, words="it")
rows.add("whole_number.numpy", lambda: whole_number(np.int64(3), "it"), right(lambda v: v == 3 and type(v) is int))
rows.settings(
    "chunk_slices",
    lambda **k: chunk_slices(internal_batch_size=2, inputs=(x,), **k),
    "n_rows",
    dict(text="3", half=1.5, none=None, negative=-1, list=[1]),
    negative=refused("n_rows") | right(lambda v: v == []),
)
rows.settings(
    "chunk_slices",
    lambda **k: chunk_slices(5, inputs=(x,), **k),
    "internal_batch_size",
    {k: v for k, v in WHOLE.items() if k != "none"},
)
rows.add(
    "chunk_slices.right",
    lambda: chunk_slices(5, 2, (x,)),
    right(lambda v: v == [slice(0, 2), slice(2, 4), slice(4, 5)]),
)
things("gradients", lambda z: gradients(net, z, 1), "inputs", more=NOT_FINITE)
rows.settings(
    "gradients",
    lambda **k: gradients(net, x, 1, **k),
    "examples",
    dict(
        list=[0, 1, 2],
        text="all",
        number=1,
        too_few=torch.tensor([0, 1]),
        negative=torch.tensor([-1, -1, -1]),
        one_negative=torch.tensor([0, -1, 1]),
        floats=torch.ones(3),
        boolean=torch.ones(3).bool(),
        two_d=torch.zeros(3, 1).long(),
        array=np.array([0, 1, 2]),
    ),
    array=refused("examples") | right(),
    list=refused("examples") | right(),
)
rows.add(
    "gradients.examples",
    lambda: gradients(net, x, [1, 2], examples=torch.tensor([0, 1, 1])),
    right(lambda v: torch.allclose(v, gradients(net, x, [1, 2, 2]))),
)
weight = torch.tensor([[1.0], [2.0], [30.0]])
rows.add(
    "gradients.examples_of_fewer_points",
    lambda: gradients(lambda z, w: (z * w) ** 2, x[:, :1], None, (weight,), examples=torch.tensor([0, 1, 1])),
    right(lambda v: torch.allclose(v, 2 * x[:, :1] * weight[[0, 1, 1]] ** 2))
    | refused("examples|per_example|shared|argument"),
)
for kind, f in dict(none=None, text="a", number=5).items():
    rows.add(f"FeatureAttribution.{kind}", lambda f=f: FeatureAttribution(f), refused("callable"))
    rows.add(f"TargetScore.{kind}", lambda f=f: TargetScore(f, (x,), 1), refused("callable"))
    rows.add(f"CountingForward.{kind}", lambda f=f: CountingForward(f), refused("callable"))
    rows.add(f"gradients.forward.{kind}", lambda f=f: gradients(f, x, 1), refused("callable"))
base = PathIntegratedGradients(net)
a = base.attribute(x, target=1)


def delta(found):
    return base.compute_convergence_delta(found, None, x, 1)


things(
    "compute_convergence_delta",
    delta,
    "attributions",
    but=("float8", "sparse"),
    more=NOT_FINITE | dict(wrong_batch=x[:2], two_for_one=(a, a), empty=(), wrong_width=a[:, :3], integers=a.long()),
    words="attribution",
)
rows.add("compute_convergence_delta.right", lambda: delta(a), right(lambda v: v.abs().max() < 1e-4))
rows.add(
    "compute_convergence_delta.keeps_its_input",
    lambda: (
        lambda z: (
            PathIntegratedGradients(nn.Sequential(nn.ReLU(inplace=True), net)).compute_convergence_delta(
                0 * z, None, z, 1
            ),
            z,
        )
    )(x.clone()),
    right(lambda v: torch.equal(v[1], x)),
)
rows.settings(
    "sum_features",
    lambda **k: sum_features(**k),
    "parts",
    dict(
        empty=(),
        none=None,
        text="a",
        number=1.0,
        list_of_text=["a"],
        batches_differ=(x, x[:2]),
        zero_d=(torch.tensor(1.0),),
    ),
    words="tensor|parts|empty|batch",
)
things(
    "bootstrap_interval",
    bootstrap_interval,
    "values",
    more=NOT_FINITE | dict(one=x[:1], empty=x[:0], zero_d=torch.tensor(1.0), boolean=x > 0, texts=["a", "b"]),
    but=("boolean", "sparse", "float8"),
    words="value",
)
rows.add(
    "bootstrap_interval.list",
    lambda: bootstrap_interval([1.0, 2.0, 3.0]),
    right(lambda v: abs(v[0] - 2) < 1e-12) | refused("values"),
)
rows.settings(
    "bootstrap_interval", lambda **k: bootstrap_interval(x[:, 0], **k), "level", SHARE | dict(zero=0.0, one=1.0)
)
rows.settings("bootstrap_interval", lambda **k: bootstrap_interval(x[:, 0], **k), "n_resamples", WHOLE)
rows.settings("bootstrap_interval", lambda **k: bootstrap_interval(x[:, 0], **k), "seed", SEED)
for kind, thing in dict(none=None, text="a", tensor=x, list_of_text=["a"], empty=(), number=1.0).items():
    rows.add(
        f"flatten_features.{kind}",
        lambda thing=thing: flatten_features(thing),
        refused("tensor") | (right() if kind == "tensor" else refused("tensors")),
        "core",
    )
rows.add(
    "unflatten_features.other_width",
    lambda: unflatten_features(x, (torch.zeros(3, 5),)),
    refused("features|5|4", error=(ValueError, TypeError, RuntimeError)),
)

# ---------------------------------------------------------------------------- paths
rows.settings("quadrature", quadrature, "n_steps", WHOLE | dict(huge=10**30), "paths")
rows.settings("quadrature", lambda **k: quadrature(4, **k), "method", CHOICE | dict(dict={}, tuple=("a",)), "paths")
rows.add(
    "quadrature.method.one_trapezoid", lambda: quadrature(1, "riemann_trapezoid"), refused("riemann_trapezoid"), "paths"
)
rows.add("quadrature.two_thousand", lambda: quadrature(2000), right(lambda v: abs(v[1].sum() - 1) < 1e-10), "paths")
score = TargetScore(net, (x,), 1)
corners = torch.stack([0 * x, x], 1)
for kind, path in dict(
    one_point=(corners[:, :1],),
    empty=(corners[:, :0],),
    nan=(corners * NAN,),
    none=None,
    text=("a",),
    tensor=corners[:, 0],
    list_of_none=[None],
    two_for_one=(corners, corners),
).items():
    rows.add(
        f"line_integral.path.{kind}",
        lambda path=path: line_integral(score, path, 4),
        refused("path|corner|point|NaN"),
        "paths",
    )
things(
    "line_integral.first",
    lambda z: line_integral(score, (z,), 4),
    "path",
    "paths",
    more=dict(
        complex=corners + 0j,
        sparse=corners.to_sparse(),
        meta=corners.to("meta"),
        inf=corners + INF,
        integers=corners.long(),
        one_for_all=corners[:1],
        too_many=torch.cat([corners, corners]),
        wrong_width=corners[..., :3],
    ),
)
rows.add(
    "line_integral.right",
    lambda: line_integral(score, (corners,), 8)[0],
    right(lambda v: torch.allclose(v, base.attribute(x, target=1, n_steps=8), atol=1e-6)),
    "paths",
)
rows.settings(
    "line_integral",
    lambda **k: line_integral(score, (corners,), **k),
    "n_nodes",
    WHOLE,
    "paths",
    words="n_nodes|n_steps",
)
change = torch.ones(3)
things(
    "no_cancellation_gap",
    lambda z: no_cancellation_gap(z, change),
    "attributions",
    "paths",
    more=NOT_FINITE | dict(empty=()),
    but=("float8", "sparse"),
    words="attribution",
)
things(
    "no_cancellation_gap",
    lambda z: no_cancellation_gap(a, z),
    "change",
    "paths",
    more=dict(nan=change * NAN, wrong_batch=change[:2], column=change[:, None]),
    but=("float8", "sparse"),
)

# ---------------------------------------------------------------------------- geodesic
things(
    "neighbour_graph",
    lambda z: neighbour_graph(z, 2),
    "points",
    "geodesic",
    more=NOT_FINITE
    | dict(
        empty=x[:0],
        one_d=x[0],
        three_d=x[None],
        integers=x.long(),
        wide_nan=torch.full((5, 20), NAN),
        no_features=x[:, :0],
    ),
    but=("integers", "float8"),
)
rows.add(
    "neighbour_graph.requires_grad", lambda: neighbour_graph(x.clone().requires_grad_(), 2).points, right(), "geodesic"
)
rows.settings(
    "neighbour_graph",
    lambda **k: neighbour_graph(x, **k),
    "n_neighbors",
    WHOLE | dict(one=1, whole_float=2.0),
    "geodesic",
)
rows.settings(
    "neighbour_graph",
    lambda **k: neighbour_graph(x, 2, **k),
    "n_steiner",
    {k: v for k, v in WHOLE.items() if k != "zero"},
    "geodesic",
)
things(
    "nearest_points",
    lambda z: nearest_points(z, x, 2),
    "points",
    "geodesic",
    more=NOT_FINITE | dict(empty=x[:0], one_d=x[0], wrong_width=x[:, :3]),
    but=("float8",),
    words="points|queries|features",
)
things(
    "nearest_points",
    lambda z: nearest_points(x, z, 2),
    "queries",
    "geodesic",
    more=NOT_FINITE | dict(one_d=x[0], wrong_width=x[:, :3]),
    but=("float8",),
    words="points|queries|features",
)
rows.add(
    "nearest_points.queries.wide_nan",
    lambda: nearest_points(torch.rand(5, 20), torch.full((2, 20), NAN), 2),
    refused("queries", "NaN"),
    "geodesic",
)
rows.settings("nearest_points", lambda **k: nearest_points(x, x, **k), "k", WHOLE, "geodesic", words=r"\bk\b")
rows.settings("sine_basis", sine_basis, "n_segments", WHOLE | dict(one=1), "geodesic")
rows.settings(
    "sine_basis",
    lambda **k: sine_basis(4, **k),
    "n_modes",
    {k: v for k, v in (WHOLE | dict(many=4)).items() if k != "none"},
    "geodesic",
    words="n_modes|modes",
)
rows.add("sine_basis.right", lambda: sine_basis(4), right(lambda v: v.shape == (3, 3)), "geodesic")
for kind, path in dict(one_corner=x[:, None], two_d=x, nan=corners * NAN, none=None, text="a").items():
    rows.add(
        f"path_energy.{kind}",
        lambda path=path: path_energy(score, path, torch.arange(3)),
        refused("path|corner|NaN"),
        "geodesic",
    )
things(
    "path_energy",
    lambda z: path_energy(score, z, torch.arange(3)),
    "path",
    "geodesic",
    more=dict(
        complex=corners + 0j,
        sparse=corners.to_sparse(),
        meta=corners.to("meta"),
        integers=corners.long(),
        empty=corners[:0],
    ),
)
EXAMPLES = dict(none=None, text="a", half=1.5, boolean=True, out_of_range=3, negative=-1)
for kind, example in (EXAMPLES | dict(number=0, floats=torch.zeros(3), far=torch.tensor([0, 1, 3]))).items():
    rows.add(
        f"path_energy.example.{kind}",
        lambda example=example: path_energy(score, corners, example),
        refused("example"),
        "geodesic",
    )
for kind, example in (EXAMPLES | dict(too_many=torch.zeros(3).long())).items():
    rows.add(
        f"edge_integrals.example.{kind}",
        lambda example=example: edge_integrals(score, x, torch.tensor([[0, 1], [1, 2]]), example),
        refused("example"),
        "geodesic",
    )
rows.settings(
    "path_energy", lambda **k: path_energy(score, corners, torch.arange(3), **k), "n_nodes", WHOLE, "geodesic"
)
rows.settings(
    "path_energy",
    lambda **k: path_energy(score, corners, torch.arange(3), **k),
    "least_steepness",
    REAL | dict(negative=-1.0, negatives=-torch.ones(3), nans=torch.ones(3) * NAN),
    "geodesic",
)
for kind, edges in dict(
    out_of_range=torch.tensor([[0, 9]]),
    negative=torch.tensor([[0, -9]]),
    floats=torch.ones(1, 2),
    one_column=torch.tensor([[0]]),
    none=None,
    text="a",
    list=[[0, 1]],
).items():
    rows.add(
        f"edge_integrals.edges.{kind}",
        lambda edges=edges: edge_integrals(score, x, edges),
        refused("edges") | (right() if kind == "list" else refused("edges")),
        "geodesic",
    )
rows.settings(
    "edge_integrals", lambda **k: edge_integrals(score, x, torch.tensor([[0, 1]]), **k), "n_steps", WHOLE, "geodesic"
)


def square(z, r):
    return (z.square().sum(1) + 1, 2 * z)


rows.settings(
    "minimise_batch",
    lambda **k: minimise_batch(square, x, torch.ones(3), **k),
    "max_iterations",
    {k: v for k, v in WHOLE.items() if k != "zero"},
    "geodesic",
)
rows.settings(
    "minimise_batch",
    lambda **k: minimise_batch(square, x, torch.ones(3), **k),
    "relaxation_tolerance",
    REAL | dict(negative=-1.0),
    "geodesic",
    inf=SKIP,
)
rows.settings(
    "minimise_batch",
    lambda **k: minimise_batch(square, x, torch.ones(3), **k),
    "history",
    {k: v for k, v in WHOLE.items() if k != "zero"},
    "geodesic",
)
things(
    "minimise_batch",
    lambda z: minimise_batch(square, z, torch.ones(3)),
    "start",
    "geodesic",
    more=NOT_FINITE | dict(one_d=x[:, 0], integers=x.long(), two_rows=x[:2]),
)
for kind, reach in dict(
    none=None, number=1.0, text="a", nan=torch.ones(3) * NAN, two=torch.ones(2), column=torch.ones(3, 1)
).items():
    rows.add(
        f"minimise_batch.reach.{kind}",
        lambda reach=reach: minimise_batch(square, x, reach),
        refused("reach"),
        "geodesic",
    )
for kind, function in dict(
    none=None,
    text="a",
    one_tensor=lambda z, r: z.square().sum(1),
    gradient_summed=lambda z, r: (z.sum(1), z.sum(1)),
    nan=lambda z, r: (z.sum(1) * NAN, z),
    whole=lambda z, r: (z.sum(), z),
).items():
    rows.add(
        f"minimise_batch.function.{kind}",
        lambda function=function: minimise_batch(function, x, torch.ones(3)),
        refused("function"),
        "geodesic",
    )
rows.add(
    "minimise_batch.history.zero",
    lambda: minimise_batch(square, x, torch.ones(3), history=0)[1],
    right(lambda v: (v <= square(x, None)[0]).all()),
    "geodesic",
)
for kind, wrong in dict(
    out_of_range=dict(edges=np.array([[0, 9]])),
    negative=dict(edges=np.array([[0, -1]])),
    floats=dict(edges=np.ones((1, 2))),
).items():
    rows.add(
        f"knn.graph.edges.{kind}",
        lambda wrong=wrong: GeodesicIGKNN(net, dataclasses.replace(neighbour_graph(x, 2), **wrong)).attribute(
            x, target=1
        ),
        refused("edges"),
        "geodesic",
    )
rows.add(
    "minimise_batch.right",
    lambda: minimise_batch(square, x, torch.ones(3))[1],
    right(lambda v: (v - 1).max() < 1e-3),
    "geodesic",
)

# ---------------------------------------------------------------------------- equilibrium
image = numbers(2, 3, 8, 8)
for kind, model in dict(none=None, text="a", function=lambda z: z, number=5).items():
    rows.add(
        f"Recording.{kind}", lambda model=model: Recording(model, (image,)), refused("odule|callable"), "equilibrium"
    )
rows.settings(
    "initial_relevance",
    lambda **k: initial_relevance(activation=numbers(2, 3, 4, 4), **k),
    "gradient",
    dict(none=None, text="a", other_shape=numbers(2, 3, 5, 5), flat=numbers(2, 3)),
    "equilibrium",
    words="gradient|activation|shape",
    flat=refused("gradient|activation|shape"),
)
rows.add(
    "register_rule.nothing",
    lambda: register_rule()(lambda call, r: r),
    refused("operation|register_rule"),
    "equilibrium",
)
rows.add(
    "register_rule.not_callable",
    lambda: register_rule(nn.Hardshrink)(5),
    refused("rule|callable|function"),
    "equilibrium",
)
rows.add(
    "register_rule.number",
    lambda: register_rule(5)(lambda call, r: r),
    refused("operation|register_rule"),
    "equilibrium",
)
