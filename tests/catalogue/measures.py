"The measures: attributions, models, masks, settings"

import functools

import numpy as np
import torch
from models import numbers, seeded
from PIL import Image
from torch import nn

from attrnb import measures as m
from attrnb.paths import PathIntegratedGradients

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
    Expected,
    Table,
    drawn,
    passed_on,
    refused,
    right,
    unknown_argument,
    warned,
)

rows = Table("measures")
net = seeded(
    lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
)
x = numbers(2, 1, 8, 8).abs()
a = numbers(2, 1, 8, 8, seed=1)
FAITHFUL = {
    f.__name__: f
    for f in (
        m.deletion,
        m.insertion,
        m.difference,
        m.comprehensiveness,
        m.sufficiency,
        m.log_odds,
        m.cross_entropy_after_masking,
        m.accuracy_after_masking,
    )
}
for name in ("log_odds", "cross_entropy_after_masking"):  # the network returns logits, and they want to hear it
    FAITHFUL[name] = functools.partial(FAITHFUL[name], score="log_probability")
CURVES = ("deletion", "insertion", "difference")
OF_A_MODEL = FAITHFUL | dict(
    completeness_error=m.completeness_error,
    cancellation_gap=m.cancellation_gap,
    infidelity=functools.partial(m.infidelity, n_samples=2),
    protocol_power=functools.partial(m.protocol_power, n_samples=2, rounds=2, unit=4, measure="difference"),
)
ATTRIBUTIONS = dict(
    none=None,
    text="map",
    number=1.0,
    dict={},
    object=object(),
    list_of_text=["a"],
    tuple=(a, a),
    empty=a[:0],
    wrong_batch=a[:1],
    wrong_side=a[..., :7],
    wrong_dimensions=a[0, 0],
    nan=a * NAN,
    inf=a + INF,
    minus_inf=a - INF,
    complex=a + 0j,
    sparse=a.to_sparse(),
    meta=a.to("meta"),
    nested=torch.nested.nested_tensor([a[0], a[1]]),
    picture=Image.new("RGB", (8, 8)),
    float8=a.to(torch.float8_e4m3fn),
    quantised=torch.quantize_per_tensor(a, 0.1, 0, torch.quint8),
    zero_d=torch.tensor(1.0),
    texts=np.array(["a", "b"]),
)
ALSO_RIGHT = {"float8", "sparse"}


def value(v):
    return v.value if isinstance(v, m.ProtocolPower) else v


def per_example(v):
    return value(v).shape == (2,)


for name, f in OF_A_MODEL.items():

    def call(given, f=f):
        return f(net, x, given, 1)

    for kind, given in ATTRIBUTIONS.items():
        rows.add(
            f"{name}.attributions.{kind}",
            lambda call=call, given=given: call(given),
            refused("attribution") | (drawn(per_example) if kind in ALSO_RIGHT else refused("attribution")),
        )
    want = functools.cache(lambda call=call: value(call(a)))
    for kind, given in dict(
        array=a.numpy(),
        double=a.double(),
        without_channels=a[:, 0],
        list=a.tolist(),
        requires_grad=a.clone().requires_grad_(),
        channels_last=a.to(memory_format=torch.channels_last),
        expanded=a[:, :1].expand(2, 1, 8, 8),
    ).items():
        rows.add(
            f"{name}.attributions.{kind}",
            lambda call=call, given=given: call(given),
            right(lambda v, want=want: torch.allclose(value(v), want(), atol=1e-6))
            | (refused("attribution") if kind == "list" else refused("no such refusal")),
        )
    for kind, given in dict(
        none=None,
        text="photo",
        tuple=(x,),
        integers=x.long(),
        nan=x * NAN,
        empty=x[:0],
        array=x.numpy(),
        complex=x + 0j,
        sparse=x.to_sparse(),
        meta=x.to("meta"),
    ).items():
        rows.add(f"{name}.inputs.{kind}", lambda f=f, given=given: f(net, given, a, 1), refused("inputs"))
    for kind, (model, expected) in dict(
        none=(None, refused("callable")),
        text=("resnet", refused("callable")),
        number=(5, refused("callable")),
        two=(lambda z: (net(z), net(z)), refused("tensor", "return")),
        nothing=(lambda z: None, refused("tensor", "return")),
        nan=(lambda z: net(z) * NAN, refused("NaN")),
        inf=(lambda z: net(z) + INF, refused("infinity|finite")),
        zero_d=(lambda z: net(z).sum(), refused("rows|number|shape")),
        fewer_rows=(lambda z: net(z)[:0], refused("rows")),
        complex=(lambda z: net(z) + 0j, refused("complex")),
        raises=(lambda z: 1 / 0, passed_on(ZeroDivisionError, "8", "float32")),
        wrong_channels=(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), passed_on(RuntimeError, r"8, 8", "float32")),
    ).items():
        rows.add(f"{name}.model.{kind}", lambda f=f, model=model: f(model, x, a, 1), expected)
    for kind, model in dict(tuple=lambda z: (net(z), 1), dict=lambda z: {"y": net(z)}).items():
        rows.add(
            f"{name}.model.{kind}",
            lambda f=f, model=model: f(model, x, a, 1),
            right(lambda v, f=f: torch.allclose(value(v), value(f(net, x, a, 1)), atol=1e-6)),
        )
    for kind, target in dict(
        too_large=4, huge=2**70, text="cat", float=1.0, boolean=True, too_few=[1], one_hot=torch.eye(4)[:2].long()
    ).items():
        rows.add(f"{name}.target.{kind}", lambda f=f, target=target: f(net, x, a, target), refused("target"))
    rows.settings(
        name, functools.partial(f, net, x, a, 1), "internal_batch_size", {k: v for k, v in WHOLE.items() if k != "none"}
    )
    if name != "accuracy_after_masking":  # it looks at the predicted class only
        rows.settings(
            name,
            functools.partial(f, net, x, a, 1),
            "score",
            {k: v for k, v in CHOICE.items() if k != "none"},
            words="score|of=",
        )
    if name in FAITHFUL or name == "infidelity":
        rows.settings(
            name,
            functools.partial(f, net, x, a, 1),
            "substrate",
            dict(
                unknown="white",
                nan=NAN,
                inf=INF,
                wrong_shape=x[..., :7],
                none=None,
                list=[1.0],
                dict={},
                boolean=True,
                complex=1j,
                sparse=x.to_sparse(),
                huge=1e300,
            ),
            words="substrate|baseline",
            none=refused("substrate|baseline") | right(),
        )
        rows.settings(
            name,
            functools.partial(f, net, x, a, 1),
            "unit",
            dict(
                none=None,
                zero=0,
                negative=-1,
                half=1.5,
                text="3",
                boolean=True,
                nan=NAN,
                list=[3],
                float_tensor=x,
                other_shape=torch.zeros(5, 5).long(),
                dict={},
                complex_tensor=x + 0j,
            ),
        )
        rows.add(f"{name}.unit.numpy", lambda f=f: f(net, x, a, 1, unit=np.int64(2)), right(per_example))
        rows.settings(
            name,
            functools.partial(f, net, x, a, 1, **(dict(ties="random") if name != "infidelity" else {})),
            "seed",
            SEED,
        )
    if name in FAITHFUL:
        rows.settings(name, functools.partial(f, net, x, a, 1), "sign", CHOICE | dict(empty=""))
        rows.settings(name, functools.partial(f, net, x, a, 1), "ties", CHOICE)
    if name in CURVES:
        rows.settings(
            name, functools.partial(f, net, x, a, 1), "masking_steps", {k: v for k, v in WHOLE.items() if k != "none"}
        )
        rows.settings(name, functools.partial(f, net, x, a, 1), "until", SHARE | dict(zero=0.0))
        rows.settings(name, functools.partial(f, net, x, a, 1), "area", CHOICE)
        rows.add(
            f"{name}.start_false_one_step",
            lambda f=f: f(net, x, a, 1, start=False, masking_steps=1),
            refused("steps|start") | right(per_example),
        )
    elif name in FAITHFUL:
        rows.settings(
            name,
            functools.partial(f, net, x, a, 1),
            "fraction",
            SHARE | dict(list=["a"], tensor=torch.tensor([0.5, NAN]), empty=[], listed_above=[0.5, 2.0], dict={}),
        )
        rows.add(
            f"{name}.fraction.below_one_unit",
            lambda f=f: f(net, x, a, 1, fraction=0.001),
            warned("fraction|unit|remove") | refused("fraction|unit"),
        )
        rows.add(
            f"{name}.fraction.numpy",
            lambda f=f: f(net, x, a, 1, fraction=np.float64(0.25)),
            right(lambda v: v.shape[0] == 2),
        )
for name in ("log_odds", "cross_entropy_after_masking"):
    rows.add(
        f"{name}.probabilities_named_logits",
        lambda f=FAITHFUL[name]: f(nn.Sequential(net, nn.Softmax(1)), x, a, 1, score="probability"),
        refused("output|probabilit") | right(),
    )
for name in CURVES:
    rows.add(
        f"{name}.probability_of_a_softmax",
        lambda f=FAITHFUL[name]: f(nn.Sequential(net, nn.Softmax(1)), x, a, 1, score="probability"),
        refused("output|probabilit") | warned("probabilit"),
    )
rows.settings("accuracy_after_masking", functools.partial(m.accuracy_after_masking, net, x, a, 1), "rule", CHOICE)
rows.settings("faithfulness_curves", functools.partial(m.faithfulness_curves, net, x, a, 1), "curves", CHOICE)

for name in ("completeness_error", "cancellation_gap"):
    f = OF_A_MODEL[name]
    rows.settings(
        name,
        functools.partial(f, net, x, a, 1),
        "baselines",
        dict(
            nan=NAN,
            inf=INF,
            text="black",
            wrong_shape=x[..., :7],
            list=[1.0, 2.0],
            boolean=True,
            complex=1j,
            meta=x.to("meta"),
        ),
        words="baseline",
    )
    rows.add(
        f"{name}.relative_without_change",
        lambda f=f: f(net, x, a * 0, 1, baselines=x, relative=True),
        right() | refused("change|score") | warned("change"),
    )
    rows.add(
        f"{name}.relative_without_change_but_attributions",
        lambda f=f: f(net, x, a, 1, baselines=x, relative=True),
        refused("change|score") | warned("change|relative"),
    )
rows.settings(
    "infidelity", functools.partial(m.infidelity, net, x, a, 1, n_samples=2), "share", SHARE | dict(zero=0.0, one=1.0)
)
rows.settings("infidelity", functools.partial(m.infidelity, net, x, a, 1), "n_samples", WHOLE)

# maps, floors and ceilings
IMAGES = dict(
    none=None,
    list=[1.0],
    text="a",
    number=1.0,
    zero_d=torch.tensor(1.0),
    empty=x[:0],
    nested=torch.nested.nested_tensor([x[0], x[1]]),
    dict={},
)
for name, f in dict(
    unit_numbers=m.unit_numbers,
    substrate_of=m.substrate_of,
    random_map=m.random_map,
    centre_map=m.centre_map,
    uniform_map=m.uniform_map,
).items():
    for kind, given in IMAGES.items():
        rows.add(
            f"{name}.inputs.{kind}",
            lambda f=f, given=given: f(given),
            refused("inputs") | (right() if (name, kind) == ("unit_numbers", "empty") else refused("inputs")),
        )
for name in ("centre_map", "uniform_map"):
    rows.add(
        f"{name}.inputs.integers",
        lambda f=getattr(m, name): f((x * 9).long()),
        right(lambda v: v.is_floating_point() and v.max() > 0.9) | refused("inputs", "int64"),
    )
    rows.add(f"{name}.inputs.table", lambda f=getattr(m, name): f(numbers(3, 4)), refused("inputs"))
rows.add("substrate_of.inputs.array", lambda: m.substrate_of(x.numpy()), refused("inputs"))
rows.add("substrate_of.inputs.integers", lambda: m.substrate_of((x * 9).long(), "mean"), refused("inputs", "int64"))
rows.settings(
    "substrate_of",
    functools.partial(m.substrate_of, x),
    "substrate",
    dict(unknown="white", nan=NAN, wrong_shape=x[..., :7], list=[1.0], dict={}),
    words="substrate|baseline",
)
rows.settings("substrate_of", functools.partial(m.substrate_of, x, "noise"), "seed", SEED)
rows.settings("centre_map", functools.partial(m.centre_map, x), "width", POSITIVE)
rows.settings("random_map", functools.partial(m.random_map, x), "seed", SEED)
rows.settings(
    "random_map",
    functools.partial(m.random_map, x),
    "unit",
    dict(none=None, zero=0, half=1.5, text="3", boolean=True, other_shape=torch.zeros(5, 5).long()),
)
for kind, given in dict(
    none=None,
    text="a",
    tuple=(a,),
    nan=a * NAN,
    sparse=a.to_sparse(),
    meta=a.to("meta"),
    complex=a + 0j,
    list_of_text=["a"],
).items():
    rows.add(
        f"unit_importance.attributions.{kind}",
        lambda given=given: m.unit_importance(given),
        refused("attribution") | (right() if kind == "sparse" else refused("attribution")),
    )
rows.settings("unit_importance", functools.partial(m.unit_importance, a), "sign", CHOICE)
small = dict(unit=4, masking_steps=2, measure="deletion")
for name in ("random_floor", "greedy_ceiling"):
    f = functools.partial(getattr(m, name), net, x, 1, unit=4)
    rows.settings(name, f, "measure", dict(unknown="no such measure", number=5, list=["deletion"], empty=""))
rows.settings("random_floor", functools.partial(m.random_floor, net, x, 1, **small), "n_samples", WHOLE)
rows.settings("random_floor", functools.partial(m.random_floor, net, x, 1, **small), "seed", SEED)
rows.settings("greedy_order", functools.partial(m.greedy_order, net, x, 1, unit=4), "rounds", WHOLE)
rows.settings("greedy_order", functools.partial(m.greedy_order, net, x, 1, unit=4), "towards", CHOICE)
rows.settings("greedy_ceiling", functools.partial(m.greedy_ceiling, net, x, 1, **small), "rounds", WHOLE)
rows.settings(
    "protocol_power", functools.partial(m.protocol_power, net, x, a, 1, rounds=2, **small), "n_samples", WHOLE
)
rows.settings(
    "protocol_power", functools.partial(m.protocol_power, net, x, a, 1, n_samples=2, **small), "rounds", WHOLE
)
rows.add(
    "protocol_power.one_draw",
    lambda: repr(m.protocol_power(net, x, a, 1, n_samples=1, rounds=2, **small)),
    refused("n_samples") | right(lambda v: "nan" not in v),
)
rows.add(
    "protocol_power.unknown_setting",
    lambda: m.protocol_power(net, x, a, 1, n_samples=2, stepz=2),
    refused("stepz", error=TypeError) | unknown_argument("stepz"),
)

# localisation
LOCATED = (
    "pointing_game",
    "energy_inside",
    "outside_inside_ratio",
    "outside_inside_share",
    "intersection_over_union",
)
mask = torch.zeros(2, 8, 8, dtype=torch.bool)
mask[:, 2:5, 2:5] = True
for name in LOCATED:
    f = getattr(m, name)
    for kind, given in ATTRIBUTIONS.items():
        rows.add(
            f"{name}.attributions.{kind}",
            lambda f=f, given=given: f(given, mask),
            refused("attribution|map") | (drawn() if kind in ALSO_RIGHT else refused("attribution|map")),
        )
    for kind, given in dict(
        none=None,
        text="mask",
        number=1.0,
        dict={},
        list_of_text=["a"],
        empty=mask[:0],
        wrong_batch=mask[:1],
        wrong_side=mask[..., :7],
        nan=mask * NAN,
        none_inside=mask & False,
        complex=mask + 0j,
        sparse=mask.to_sparse(),
        meta=mask.to("meta"),
        object=object(),
        fractions=mask * 0.5,
        sevens=mask * 7,
    ).items():
        rows.add(
            f"{name}.masks.{kind}",
            lambda f=f, given=given: f(a, given),
            refused("mask")
            | (right() if kind in ("sparse", "fractions", "sevens", "none_inside", "wrong_batch") else refused("mask")),
        )
    rows.add(f"{name}.masks.array", lambda f=f: f(a, mask.numpy()), right(lambda v, f=f: torch.equal(v, f(a, mask))))
    rows.add(f"{name}.masks.floats", lambda f=f: f(a, mask.float()), right(lambda v, f=f: torch.equal(v, f(a, mask))))
    rows.add(
        f"{name}.masks.with_channel",
        lambda f=f: f(a, mask[:, None]),
        right(lambda v, f=f: torch.equal(v, f(a, mask))) | refused("mask"),
    )
rows.settings(
    "pointing_game", functools.partial(m.pointing_game, a, mask), "margin", REAL | dict(negative=-1.0), inf=SKIP
)
rows.settings(
    "intersection_over_union",
    functools.partial(m.intersection_over_union, a, mask),
    "threshold",
    REAL | dict(unknown="no such"),
    inf=refused("threshold") | right(),
)
box = [[0, 0, 2, 1]]
for kind, boxes in dict(
    strings=["a"],
    none=None,
    none_example=[None],
    dict=[{}],
    text="abcd",
    three=[[0, 0, 1]],
    reversed=[[2, 2, 0, 0]],
    nan=[[0, 0, NAN, 1]],
    inf=[[0, 0, INF, 1]],
    number=5,
    empty_example=[[]],
    complex=[[1j, 0, 2, 2]],
    empty=[],
).items():
    rows.add(
        f"box_masks.boxes.{kind}",
        lambda boxes=boxes: m.box_masks(boxes, 8, 8),
        refused("box") | (drawn(lambda v: len(v) == 0) if kind == "empty" else refused("box")),
    )
for side in ("height", "width"):
    rows.settings("box_masks", lambda **k: m.box_masks([box], **(dict(height=8, width=8) | k)), side, WHOLE)
rows.add("box_masks.right", lambda: m.box_masks([box], 8, 8).sum().item(), right(lambda v: v == 2))

# attributions alone
for name in ("rank_correlation", "structural_similarity"):
    f = getattr(m, name)
    for kind, given in ATTRIBUTIONS.items():
        if kind not in ("wrong_batch",):
            rows.add(
                f"{name}.first.{kind}",
                lambda f=f, given=given: f(given, a),
                refused("") | (drawn() if kind in ALSO_RIGHT else refused("")),
            )
            rows.add(
                f"{name}.second.{kind}",
                lambda f=f, given=given: f(a, given),
                refused("") | (drawn() if kind in ALSO_RIGHT else refused("")),
            )
rows.settings(
    "structural_similarity",
    functools.partial(m.structural_similarity, a, a),
    "window",
    WHOLE | dict(even=4, one=1, large=9),
)
dummies = a < 0
for kind, given in ATTRIBUTIONS.items():
    rows.add(
        f"dummy_sensitivity.attributions.{kind}",
        lambda given=given: m.dummy_sensitivity(given, dummies),
        refused("attribution|dumm") | (drawn() if kind in ALSO_RIGHT else refused("attribution|dumm")),
    )
for kind, given in dict(
    none=None, text="a", wrong_shape=dummies[..., :7], nan=a * NAN, none_true=dummies & False, number=5, dict={}
).items():
    rows.add(
        f"dummy_sensitivity.dummies.{kind}",
        lambda given=given: m.dummy_sensitivity(a, given),
        refused("dumm|attribution"),
    )
layers = {"one": a, "two": a * 2}
for kind, given in dict(
    none=None,
    text="a",
    empty={},
    empty_list=[],
    number=5,
    nan={"one": a * NAN},
    none_inside={"one": None},
    text_inside={"one": "a"},
    complex=[a + 0j],
    tensor=a,
    different_batches=[a, a[:1]],
).items():
    rows.add(
        f"layer_conservation.layers.{kind}",
        lambda given=given: m.layer_conservation(given),
        refused("layer|relevance") | (right() if kind == "tensor" else refused("layer|relevance")),
    )
rows.settings(
    "layer_conservation",
    functools.partial(m.layer_conservation, layers),
    "expected",
    dict(
        text="a",
        nan=NAN,
        inf=INF,
        wrong_batch=torch.ones(3),
        list=["a"],
        complex=1j,
        nan_tensor=torch.full((2,), NAN),
        dict={},
    ),
)
explained = PathIntegratedGradients(net).attribute
ATTRIBUTE = dict(
    not_callable=(5, refused("callable|function")),
    none=(None, refused("callable|function")),
    text=("a", refused("callable|function")),
    returns_none=(lambda z, target=None, **k: None, refused("returned|tensor")),
    returns_tuple=(lambda z, target=None, **k: (z, z), refused("returned|tensor")),
    returns_text=(lambda z, target=None, **k: "a", refused("returned|tensor")),
    returns_nan=(lambda z, target=None, **k: z * NAN, refused("NaN")),
    returns_other_batch=(lambda z, target=None, **k: z[:1], refused("returned|batch|shape|example")),
    returns_array=(lambda z, target=None, **k: z.numpy(), refused("returned|tensor") | right()),
    raises=(
        lambda z, target=None, **k: 1 / 0,
        Expected(lambda o: isinstance(o.error, ZeroDivisionError), "the method's own error"),
    ),
)
for name, f in dict(
    batch_independence=m.batch_independence,
    sensitivity_max=functools.partial(m.sensitivity_max, n_samples=2),
    cascade=functools.partial(m.randomisation_cascade, net),
).items():
    for kind, (attribute, expected) in ATTRIBUTE.items():
        rows.add(f"{name}.attribute.{kind}", lambda f=f, attribute=attribute: f(attribute, x, 1), expected)
    for kind, given in dict(none=None, text="a", nan=x * NAN, integers=x.long(), empty=x[:0], tuple=(x, x)).items():
        rows.add(
            f"{name}.inputs.{kind}",
            lambda f=f, given=given: f(explained, given, 1),
            refused("inputs") | passed_on(TypeError, "8"),
        )  # two inputs may be given; this model takes one
    for kind, target in dict(numpy=np.array([1, 2]), list=[1, 2], tensor=torch.tensor([1, 2])).items():
        rows.add(f"{name}.target.{kind}", lambda f=f, target=target: f(explained, x, target), right())
    rows.add(f"{name}.target.text", lambda f=f: f(explained, x, "cat"), refused("target"))
    rows.add(f"{name}.target.too_large", lambda f=f: f(explained, x, 9), refused("target"))
sequence = PathIntegratedGradients(lambda z: z.cumsum(1)).attribute
for name, f in dict(
    batch_independence=m.batch_independence, sensitivity_max=functools.partial(m.sensitivity_max, n_samples=2)
).items():
    rows.add(
        f"{name}.target.tuples",
        lambda f=f: f(sequence, numbers(2, 7, 4), [(3, 1), (5, 2)]),
        right(lambda v: v.shape == (2,)),
    )
rows.settings(
    "sensitivity_max",
    functools.partial(m.sensitivity_max, explained, x, 1, n_samples=2),
    "radius",
    POSITIVE,
    zero=refused("radius") | right(),
)
rows.settings("sensitivity_max", functools.partial(m.sensitivity_max, explained, x, 1), "n_samples", WHOLE)
rows.settings("sensitivity_max", functools.partial(m.sensitivity_max, explained, x, 1, n_samples=2), "seed", SEED)
rows.settings(
    "sensitivity_max",
    functools.partial(m.sensitivity_max, explained, x, 1, n_samples=2),
    "internal_batch_size",
    {k: v for k, v in WHOLE.items() if k != "none"},
)
cascade = functools.partial(m.randomisation_cascade, net, explained, x, 1)
rows.settings(
    "cascade",
    cascade,
    "layers",
    dict(
        empty=[],
        unknown=["no such layer"],
        text="4",
        number=5,
        without_parameters=["1"],
        none_inside=[None],
        twice=["4", "4"],
    ),
    words="layer|module",
    twice=refused("layer") | right(lambda v: True),
    text=refused("layer") | right(),
)
rows.settings(
    "cascade",
    cascade,
    "similarity",
    dict(
        unknown="cosine",
        number=5,
        none=None,
        list=[1],
        returns_number=lambda p, q: 1.0,
        returns_none=lambda p, q: None,
        returns_nan=lambda p, q: torch.full((2,), NAN),
        returns_other_shape=lambda p, q: torch.ones(5),
    ),
)
rows.settings("cascade", cascade, "weights", CHOICE)
rows.settings("cascade", cascade, "seed", SEED)
for kind, model in dict(none=None, function=lambda z: z, text="a", without_parameters=nn.ReLU()).items():
    rows.add(
        f"cascade.model.{kind}",
        lambda model=model: m.randomisation_cascade(model, explained, x, 1),
        refused("model|Module"),
    )
counted = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
counted.register_parameter("count", nn.Parameter(torch.zeros(3, dtype=torch.long), requires_grad=False))
rows.add(
    "cascade.integer_parameter",
    lambda: m.randomisation_cascade(counted, PathIntegratedGradients(counted).attribute, x, 1),
    right(lambda v: finite_cascade(v)) | refused("integer|int64|dtype"),
)
rows.add(
    "cascade.of_a_copy",
    lambda: m.randomisation_cascade(
        net, PathIntegratedGradients(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))).attribute, x, 1
    ),
    refused("model|copy|weights") | warned("model|copy|weights"),
)


def finite_cascade(v):
    return bool(torch.isfinite(v.similarity).all())


sizes, classes = torch.rand(6, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1, 1, 0])
for kind, given in dict(
    none=None,
    text="a",
    nan=sizes * NAN,
    empty=sizes[:0],
    one=sizes[:1],
    complex=sizes + 0j,
    list_of_text=["a"] * 6,
    dict={},
).items():
    rows.add(
        f"purity.attributions.{kind}", lambda given=given: m.purity(given, classes), refused("attribution|predicted")
    )
for kind, given in dict(
    none=None, text="a", too_few=classes[:3], twos=classes * 2, nan=classes * NAN, dict={}, list_of_text=["a"] * 6
).items():
    rows.add(f"purity.predicted.{kind}", lambda given=given: m.purity(sizes, given), refused("predicted"))
rows.add(
    "purity.constant_map",
    lambda: (
        m.purity(torch.zeros(6), classes),
        m.purity(torch.zeros(6), classes.flip(0)),
        m.purity(torch.zeros(6), classes.sort().values),
    ),
    right(lambda v: max(v) - min(v) < 1e-9) | warned("equal|tie|constant") | refused("equal|constant"),
)
for kind, given in dict(
    none=None, text="ab", nan=[0.5, NAN], texts=["a", "b"], too_few=[0.5], complex=[1j, 1], dict={}, number=5.0
).items():
    rows.add(f"purity_area.purities.{kind}", lambda given=given: m.purity_area(given, [0.0, 1.0]), refused("purit"))
for kind, given in dict(
    none=None, text="ab", nan=[0, NAN], falling=[1.0, 0.0], equal=[1.0, 1.0], one=[1.0], inf=[0, INF], dict={}
).items():
    rows.add(f"purity_area.levels.{kind}", lambda given=given: m.purity_area([0.5, 0.5], given), refused("level"))
for kind, given in dict(none=None, number=5, text="a", bound=PathIntegratedGradients(net)).items():
    rows.add(f"as_quantus.{kind}", lambda given=given: m.as_quantus(given), refused("method|class|bound"))
rows.add(
    "as_quantus.right",
    lambda: m.as_quantus(PathIntegratedGradients)(net, x.numpy(), np.array([1, 1])),
    right(lambda v: v.shape == x.shape),
)
for kind, made in dict(
    returns_none=lambda model, inputs, target: None, returns_list=lambda model, inputs, target: [1.0]
).items():
    rows.add(
        f"as_quantus.{kind}",
        lambda made=made: m.as_quantus(made)(net, x.numpy(), np.array([1, 1])),
        refused("returned"),
    )
# volumes
volume = seeded(
    lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
)
v = numbers(2, 1, 6, 6, 6).abs()
rows.add("deletion.volume", lambda: m.deletion(volume, v, v, 1, unit=2), right(per_example) | refused("shape|patches"))
rows.add("energy_inside.volume", lambda: m.energy_inside(v, v[:, 0] > 1), right(per_example) | refused("shape|map"))
