"The five methods: inputs, models, targets, baselines, further arguments, settings"

import copy
import dataclasses
import functools
import pickle
import threading
import types
import weakref

import numpy as np
import torch
from models import TwoInputs, mlp, numbers, seeded
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from attrnb.core import ClassScore
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI, PathFamily, PathSearch, PublishedGeodesicIG
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients

from . import (
    CHOICE,
    INF,
    NAN,
    POSITIVE,
    REAL,
    SEED,
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

rows = Table("core")
OWNER = dict(ig="paths", neflag="neflag", knn="geodesic", svi="geodesic", eq="equilibrium")


def make_images(norm=nn.BatchNorm2d):
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3),
            norm(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        )
    )


net = make_images()
x = numbers(2, 3, 8, 8).abs() + 0.1
pool = numbers(6, 3, 8, 8, seed=1).abs()
table = mlp(4, 3, smooth=True)  # the same questions for numbers in a table, where everything is faster
t = numbers(3, 4)
table_pool = numbers(12, 4, seed=1)
OBJECTS = dict(
    ig=lambda f, pool=pool: PathIntegratedGradients(f),
    neflag=lambda f, pool=pool: NeFLAG(f),
    knn=lambda f, pool=pool: GeodesicIGKNN(f, pool, n_neighbors=3),
    svi=lambda f, pool=pool: GeodesicIGSVI(f),
    eq=lambda f, pool=pool: AttributionEquilibrium(f),
)
SETTINGS = dict(
    ig=dict(n_steps=4),
    neflag=dict(n_points=2, search_steps=2),
    knn=dict(n_steps=2, integral_tolerance=None),
    svi=dict(n_segments=3, rounds=1, n_points=4, max_iterations=2, integral_tolerance=None),
    eq={},
)
NAMES = dict(
    ig="PathIntegratedGradients", neflag="NeFLAG", knn="GeodesicIGKNN", svi="GeodesicIGSVI", eq="AttributionEquilibrium"
)
TABULAR = ("ig", "neflag", "knn", "svi")


def run(key, inputs=x, forward=net, target=1, stones=pool, **settings):
    "One method on the images"
    return OBJECTS[key](forward, stones).attribute(inputs, target=target, **(SETTINGS[key] | settings))


@functools.cache
def plain(key):
    return run(key)


@functools.cache
def plain_table(key):
    return on_table(key)


def on_table(key, forward=table, target=1, **settings):
    return run(key, t.clone(), forward, target, table_pool, **settings)


def equals(want, tolerance=1e-4):
    "Close to the attribution that is right; `want` is made when it is needed"

    def check(value):
        expected = want() if callable(want) else want
        value = value[0] if isinstance(value, tuple) and not isinstance(expected, tuple) else value
        value = value.to_dense() if value.layout is not torch.strided else value
        return (value.detach().double() - expected.double()).abs().max() <= tolerance * expected.abs().max().double()

    return right(check)


# ---------------------------------------------------------------------------- inputs
zeros = torch.zeros


def quantised(a):
    return torch.quantize_per_tensor(a, 0.1, 0, torch.quint8)


class Own(torch.Tensor):
    pass


same, NOT_A_TENSOR = "same", refused("inputs", "tensor")
LAYOUT = refused("sparse|layout|dense|strided")
INPUTS = {
    # numbers that have no gradient or no arithmetic
    "float8": (lambda: x.to(torch.float8_e4m3fn), refused("float8")),
    "float8_e5m2": (lambda: x.to(torch.float8_e5m2), refused("float8")),
    "int64": (lambda: x.long(), refused("int64", "float")),
    "uint8": (lambda: (x * 99).byte(), refused("uint8", "float")),
    "bool": (lambda: x > 1, refused("bool", "float")),
    "complex64": (lambda: x + 0j, refused("complex64", "real|view_as_real")),
    "complex128": (lambda: x.double() + 0j, refused("complex128")),
    "quantised": (lambda: quantised(x), refused("quant|quint8|qint8")),
    # layouts
    "sparse_coo": (lambda: x.to_sparse(), LAYOUT),
    "sparse_csr": (lambda: x[:, 0, 0].to_sparse_csr(), LAYOUT),
    "sparse_hybrid": (lambda: x.to_sparse(2), LAYOUT),
    "nested": (lambda: torch.nested.nested_tensor([x[0], x[1, :, :4]]), refused("nested|jagged")),
    "nested_jagged": (
        lambda: torch.nested.nested_tensor([x[0], x[1, :2]], layout=torch.jagged),
        refused("nested|jagged"),
    ),
    "meta": (lambda: x.to("meta"), refused("meta")),
    "mkldnn": (lambda: x.to_mkldnn(), refused("mkldnn|layout|dense|strided")),
    # shapes
    "zero_d": (lambda: torch.tensor(1.0), refused("single number|batch")),
    "empty_batch": (lambda: x[:0], refused("empty")),
    "zero_channels": (lambda: x[:, :0], refused(r"\(2, 0, 8, 8\)")),
    "zero_height": (lambda: x[:, :, :0], refused(r"\(2, 3, 0, 8\)")),
    "zero_width": (lambda: x[..., :0], refused(r"\(2, 3, 8, 0\)")),
    "empty_tuple": (lambda: (), refused("inputs", "empty")),
    "empty_list": (lambda: [], refused("inputs", "empty")),
    "batches_differ": (lambda: (x, x[:1]), refused("batch")),
    "unbatched": (lambda: x[0], "model"),
    "wrong_channels": (lambda: torch.cat([x, x], 1)[:, :4], "model"),
    "double_for_float_model": (lambda: x.double(), "model"),
    "half_for_float_model": (lambda: x.half(), "model"),
    "bfloat16_for_float_model": (lambda: x.bfloat16(), "model"),
    # values
    "nan": (lambda: x.clone().index_put_((torch.tensor(1),), torch.tensor(NAN)), refused("NaN", r"\[1\]")),
    "inf": (lambda: x.clone().index_put_((torch.tensor(0),), torch.tensor(INF)), refused("infinity", r"\[0\]")),
    "minus_inf": (lambda: x - INF, refused("infinity")),
    "one_nan": (lambda: F.pad(x[..., :7], (0, 1), value=NAN), refused("NaN")),
    "huge": (lambda: x * 1e36, right() | refused("NaN|infinity|finite")),
    "tiny": (lambda: x * 1e-30, drawn(lambda v: v.shape == x.shape)),
    # things
    "none": (lambda: None, NOT_A_TENSOR),
    "number": (lambda: 1.0, NOT_A_TENSOR),
    "text": (lambda: "photo.jpg", NOT_A_TENSOR),
    "array": (lambda: x.numpy(), NOT_A_TENSOR),
    "list_of_numbers": (lambda: [1.0, 2.0], refused("inputs.?\\[0\\]|inputs", "tensor")),
    "dict": (lambda: {"x": x}, NOT_A_TENSOR),
    "set": (lambda: {1.0}, NOT_A_TENSOR),
    "generator": (lambda: (a for a in x), NOT_A_TENSOR),
    "picture": (lambda: Image.new("RGB", (8, 8)), NOT_A_TENSOR),
    "tensor_type": (lambda: torch.Tensor, NOT_A_TENSOR),
    # odd, and right
    "channels_last": (lambda: x.to(memory_format=torch.channels_last), same),
    "transposed": (lambda: x.mT.contiguous().mT, same),
    "every_second": (lambda: x.repeat_interleave(2, 3)[..., ::2], same),
    "requires_grad": (lambda: x.clone().requires_grad_(), same),
    "part_of_a_graph": (lambda: x.clone().requires_grad_() * 1, same),
    "parameter": (lambda: nn.Parameter(x.clone()), same),
    "subclass": (lambda: x.as_subclass(Own), same),
    "made_in_inference_mode": (lambda: _inference(lambda: x * 1), same),
    "tuple_of_one": (lambda: (x,), same),
    "list_of_one": (lambda: [x], same),
}


def _inference(make):
    with torch.inference_mode():
        return make()


for key, _method in OBJECTS.items():
    for kind, (make, expected) in INPUTS.items():
        if expected == same:
            expected = equals(functools.partial(plain, key))
        # the model's own words, or a refusal; a double goes through knn, which is refused by the pool's
        # dtype, too
        elif expected == "model":
            expected = passed_on((RuntimeError, ValueError), NAMES[key], "float|half|double|Half") | refused(
                r"shape|dtype|float|\(batch, channels|image"
            )
        rows.add(
            f"{key}.input.{kind}",
            lambda key=key, make=make: run(key, make()),
            expected,
            "core" if expected.says.startswith("Type") else OWNER[key],
        )
for key in OBJECTS:
    for name, context in dict(no_grad=torch.no_grad, inference_mode=torch.inference_mode).items():

        def inside(key=key, context=context):
            with context():
                return run(key).clone()

        rows.add(f"{key}.under.{name}", inside, equals(functools.partial(plain, key)), OWNER[key])
    rows.add(
        f"{key}.input.expanded",
        lambda key=key: run(key, x[:1].expand(2, 3, 8, 8)),
        right(lambda v: torch.allclose(v[0], v[1], atol=1e-6)),
        OWNER[key],
    )

# two inputs
two = seeded(TwoInputs)
a, b = numbers(3, 4), numbers(3, 2, 3, seed=2)
for key in TABULAR:

    def both(key=key, inputs=(a, b), **settings):
        made = (
            GeodesicIGKNN(two, (table_pool, numbers(12, 2, 3, seed=3)), n_neighbors=3)
            if key == "knn"
            else OBJECTS[key](two)
        )
        return made.attribute(inputs, target=1, **(SETTINGS[key] | settings))

    rows.add(f"{key}.tuple.two", both, right(lambda v: [g.shape for g in v] == [a.shape, b.shape]), OWNER[key])
    rows.add(
        f"{key}.tuple.mixed_dtypes",
        lambda both=both: both(inputs=(a, b.double())),
        passed_on(RuntimeError, "float32", "float64") | refused("dtype|float64"),
        OWNER[key],
    )
    rows.add(
        f"{key}.tuple.integers_second", lambda both=both: both(inputs=(a, b.long())), refused(r"inputs\[1\]", "int64")
    )
    rows.add(f"{key}.tuple.nan_second", lambda both=both: both(inputs=(a, b * NAN)), refused(r"inputs\[1\]", "NaN"))
    rows.add(
        f"{key}.tuple.array_second", lambda both=both: both(inputs=(a, b.numpy())), refused(r"inputs\[1\]", "ndarray")
    )
    rows.add(
        f"{key}.tuple.one_for_a_model_of_two",
        lambda key=key: on_table(key, two),
        passed_on(TypeError, NAMES[key]),
        OWNER[key],
    )
    rows.add(
        f"{key}.tuple.unused",
        lambda key=key: (
            OBJECTS[key](lambda p, q: table(p)).attribute((t, t), target=1, **SETTINGS[key])
            if key != "knn"
            else both("ig", (a, b))
            and GeodesicIGKNN(lambda p, q: table(p), (table_pool, table_pool), n_neighbors=3).attribute(
                (t, t), target=1, **SETTINGS[key]
            )
        ),
        warned("input") | refused("input"),
    )
rows.add(
    "eq.tuple.two_for_a_model_of_one",
    lambda: run("eq", (x, x)),
    passed_on(TypeError) | refused("2 inputs|input"),
    "equilibrium",
)


# ---------------------------------------------------------------------------- models
class Returns(nn.Module):
    "The table's network, whose output is wrapped"

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = table, wrap

    def forward(self, z):
        return self.wrap(self.net(z))


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


def detached(z):
    return table(z.detach())


def frozen_backbone(z):
    with torch.no_grad():
        h = table[:2](z)
    return table[2:](h)


def raises(z):
    return 1 / 0


def in_place(z):
    z.mul_(2).sub_(1)
    return table(z)


ONE_TENSOR, DEPENDENCE = refused("tensor", "return"), refused("depend|influence")
FUNCTIONS = {
    "returns.tuple": (Returns(lambda y: (y, y)), ONE_TENSOR),
    "returns.dict": (Returns(lambda y: {"logits": y}), same),
    "returns.list": (Returns(lambda y: [y]), same),
    "returns.dataclass": (Returns(Output), same),
    "returns.namespace": (Returns(lambda y: types.SimpleNamespace(logits=y)), same),
    "returns.none": (Returns(lambda y: None), ONE_TENSOR),
    "returns.text": (Returns(str), ONE_TENSOR),
    "returns.number": (Returns(lambda y: 1.0), ONE_TENSOR),
    "returns.array": (Returns(lambda y: y.detach().numpy()), ONE_TENSOR),
    "returns.zero_d": (Returns(torch.sum), refused("shape|number")),
    "returns.fewer_rows": (Returns(lambda y: y[:-1]), refused("rows")),
    "returns.more_rows": (Returns(lambda y: torch.cat([y, y])), refused("rows")),
    "returns.transposed": (Returns(lambda y: y.T), refused("rows|range")),
    "returns.complex": (Returns(lambda y: y + 0j), refused("complex")),
    "returns.integers": (Returns(lambda y: y.long()), DEPENDENCE | refused("int64")),
    "returns.booleans": (Returns(lambda y: y > 0), DEPENDENCE | refused("bool")),
    "returns.nan": (Returns(lambda y: y * NAN), refused("NaN")),
    "returns.inf": (Returns(lambda y: y + INF), refused("infinity|finite") | warned("infinity|finite")),
    "returns.no_columns": (Returns(lambda y: y[:, :0]), refused("range|shape")),
    "returns.sparse": (Returns(lambda y: y.to_sparse()), refused("sparse|layout|dense") | equals(1)),
    "returns.infinite_gradient": (lambda z: (z - z).abs().sqrt() + table(z)[:, :1], refused("gradient|NaN")),
    "raises": (raises, passed_on(ZeroDivisionError, r"\(\d+, 4\)|4\)", "float32")),
    "detached": (detached, DEPENDENCE),
    "frozen_backbone": (frozen_backbone, DEPENDENCE),
    "constant": (lambda z: torch.ones(len(z), 3, requires_grad=True) * 2, DEPENDENCE),
    "ignores": (lambda z: table[2](table[1](table[0].bias)).expand(len(z), 3), DEPENDENCE),
    "argmax": (lambda z: F.one_hot(table(z).argmax(1), 3).float(), DEPENDENCE),
    "rounded_to_integers": (lambda z: table(z.long().float()), DEPENDENCE),
    "numpy_inside": (lambda z: torch.from_numpy(np.tanh(z.detach().numpy()))[:, :3], DEPENDENCE),
    "none": (None, refused("callable|model|forward")),
    "text": ("resnet50", refused("callable")),
    "number": (5, refused("callable")),
    "tensor": (torch.ones(3), refused("callable")),
    "list": ([table], refused("callable")),
    "class": (nn.Linear, passed_on(TypeError) | refused("class|type|instance|module")),
    "changes_its_input": (in_place, right()),
    "requires_no_grad": (copy.deepcopy(table).requires_grad_(False), same),
    "lambda": (lambda z: table(z), same),
    "partial": (functools.partial(lambda s, z: s * table(z), 1.0), same),
    "method": (table.forward, same),
    "class_score": (ClassScore(table, of="logit"), same),
    "scripted": (lambda: torch.jit.script(copy.deepcopy(table)), same),
    "traced": (lambda: torch.jit.trace(table, t), same),
    "frozen": (lambda: torch.jit.freeze(torch.jit.script(copy.deepcopy(table))), same),
    "compiled": (lambda: torch.compile(table, backend="eager"), same),
    "parallel": (nn.DataParallel(table), same),
    "moduledict": (nn.ModuleDict(dict(a=table)), passed_on(NotImplementedError) | refused("forward")),
    "made_in_inference_mode": (lambda: _inference(lambda: copy.deepcopy(table)), same),
    "lazy": (lambda: _lazy(), right() | refused("lazy|uninitial")),
    "meta_parameters": (
        lambda: copy.deepcopy(table).to("meta"),
        refused("meta") | passed_on((RuntimeError, NotImplementedError), "float32"),
    ),
    "double_parameters": (lambda: copy.deepcopy(table).double(), passed_on(RuntimeError, "float32") | refused("dtype")),
    "half_parameters": (lambda: copy.deepcopy(table).half(), passed_on(RuntimeError, "float32") | refused("dtype")),
    "quantised": (lambda: _quantised(), DEPENDENCE),
    "nan_weights": (lambda: _with_nan(), refused("NaN")),
    "deepcopied": (lambda: copy.deepcopy(table), same),
    "weight_norm": (lambda: _normed(), same),
}


def _lazy():
    return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.Linear(8, 3)).eval()


def _quantised():
    return torch.ao.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), {nn.Linear}, dtype=torch.qint8
    )


def _with_nan():
    broken = copy.deepcopy(table)
    broken[0].weight.data[0, 0] = NAN
    return broken


def _normed():
    other = copy.deepcopy(table)
    nn.utils.parametrizations.weight_norm(other[0])
    return other


MADE = {
    "scripted",
    "traced",
    "frozen",
    "compiled",
    "made_in_inference_mode",
    "lazy",
    "meta_parameters",
    "double_parameters",
    "half_parameters",
    "quantised",
    "nan_weights",
    "deepcopied",
    "weight_norm",
}
for key in TABULAR:
    for kind, (forward, expected) in FUNCTIONS.items():
        expected = equals(functools.partial(plain_table, key)) if expected == same else expected
        if kind == "raises":
            expected = passed_on(ZeroDivisionError, NAMES[key], "4", "float32")
        if kind in ("none", "text", "number", "tensor", "list"):

            def call(key=key, forward=forward):
                return OBJECTS[key](forward, table_pool).attribute(t, target=1)
        else:

            def call(key=key, forward=forward, kind=kind):
                return on_table(key, forward() if kind in MADE else forward)

        rows.add(f"{key}.model.{kind}", call, expected)


class RunningProduct(nn.Module):
    def forward(self, z):
        return z.cumprod(2)


EQ = dict(
    compiled=(lambda: torch.compile(net, backend="eager"), equals(lambda: plain("eq"))),
    parallel=(lambda: nn.DataParallel(net), equals(lambda: plain("eq"))),
    traced=(lambda: torch.jit.trace(net, x), equals(lambda: plain("eq"))),
    scripted=(lambda: torch.jit.script(copy.deepcopy(net)), equals(lambda: plain("eq"))),
    scripted_frozen=(lambda: torch.jit.freeze(torch.jit.script(copy.deepcopy(net))), equals(lambda: plain("eq"))),
    made_in_inference_mode=(lambda: _inference(lambda: copy.deepcopy(net)), equals(lambda: plain("eq"))),
    function=(lambda: lambda z: net(z), refused("module|Module")),
    method=(lambda: net.forward, refused("odule")),
    none=(lambda: None, refused("odule|callable")),
    text=(lambda: "resnet18", refused("odule|callable")),
    list=(lambda: [net], refused("odule|callable")),
    linear=(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval(), refused("feature map|start|layer")),
    meta=(lambda: copy.deepcopy(net).to("meta"), refused("meta") | passed_on((RuntimeError, NotImplementedError))),
    returns_tuple=(lambda: _wrapped(lambda y: (y, y)), refused("tensor|tuple")),
    returns_dict=(lambda: _wrapped(lambda y: {"y": y}), right()),
    returns_complex=(
        lambda: _wrapped(lambda y: y + 0j),
        refused("complex") | refused("rule", error=NotImplementedError),
    ),
    detached=(lambda: _wrapped(lambda y: y.detach()), DEPENDENCE),
    softmax=(lambda: nn.Sequential(net, nn.Softmax(1)), right()),
    class_score=(lambda: ClassScore(net, of="probability"), right()),
    requires_no_grad=(lambda: copy.deepcopy(net).requires_grad_(False), equals(lambda: plain("eq"))),
    no_rule=(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            RunningProduct(),
            nn.Conv2d(4, 4, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ).eval(),
        refused("cumprod", "register_rule", error=NotImplementedError),
    ),
    lazy=(
        lambda: nn.Sequential(
            nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)
        ).eval(),
        right() | refused("lazy|uninitial"),
    ),
    control_flow=(lambda: Branches(), right()),
    double=(lambda: copy.deepcopy(net).double(), passed_on(RuntimeError, "float32") | refused("dtype")),
)


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net, wrap

    def forward(self, z):
        return self.wrap(self.net(z))


def _wrapped(wrap):
    return Wrapped(wrap).eval()


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net

    def forward(self, z):
        return self.net(z) if z.sum() > 0 else self.net(-z)


for kind, (make, expected) in EQ.items():
    rows.add(
        f"eq.model.{kind}",
        lambda make=make: AttributionEquilibrium(make()).attribute(x, target=1),
        expected,
        "equilibrium",
    )


def parametrised(how, which):
    def check():
        torch.manual_seed(0)
        other = make_images()
        for m in [other[0], other[3]] if which == "all" else [other[0]] if which == "first" else [other[3]]:
            how(m)
        other = other.eval()
        same_function = make_images()
        for k in (0, 3):
            same_function[k].weight.data.copy_(other[k].weight.detach())
        return AttributionEquilibrium(other).attribute(x, target=1), AttributionEquilibrium(same_function).attribute(
            x, target=1
        )

    return check


P = nn.utils.parametrizations
for how in (P.weight_norm, P.spectral_norm, P.orthogonal):
    for which in ("all", "first", "second"):
        with torch.random.fork_rng():
            rows.add(
                f"eq.parametrised.{how.__name__}.{which}",
                parametrised(how, which),
                right(lambda v: torch.allclose(v[0], v[1], atol=1e-6 * v[1].abs().max().item() + 1e-7, rtol=1e-3))
                | refused("parametri"),
                "equilibrium",
            )


# ---------------------------------------------------------------------------- training mode, wherever the
# model is held
class Holder:
    def __init__(self, net):
        self.net = net

    def predict(self, z):
        return self.net(z)


class Slots:
    __slots__ = ("net",)

    def __init__(self, net):
        self.net = net

    def predict(self, z):
        return self.net(z)


@dataclasses.dataclass
class Bag:
    net: object

    def predict(self, z):
        return self.net(z)


class Listed(nn.Module):
    "Keeps its parts where nn.Module doesn't see them"

    def __init__(self, net):
        super().__init__()
        self.parts = [net]

    def forward(self, z):
        return self.parts[0](z)


def by_class(net):
    class Deep:
        model = net

        @classmethod
        def predict(cls, z):
            return cls.model(z)

    return Deep.predict


def wrapped_often(net, n=9):
    f = net
    for _ in range(n):
        f = functools.wraps(f)(lambda z, f=f: f(z)) if not isinstance(f, nn.Module) else lambda z, f=f: f(z)
    return f


def by_weakref(net):
    kept = weakref.ref(net)
    return lambda z: kept()(z)


HELD = dict(
    itself=lambda n: n,
    method=lambda n: n.forward,
    function=lambda n: lambda z: n(z),
    bound_of_plain_object=lambda n: Holder(n).predict,
    list_in_closure=lambda n: (lambda kept: lambda z: kept[0](z))([n]),
    dict_in_closure=lambda n: (lambda kept: lambda z: kept["a"](z))({"a": n}),
    tuple_in_closure=lambda n: (lambda kept: lambda z: kept[0](z))((n,)),
    namespace=lambda n: (lambda kept: lambda z: kept.n(z))(types.SimpleNamespace(n=n)),
    dataclass=lambda n: Bag(n).predict,
    slots=lambda n: Slots(n).predict,
    module_with_a_list=lambda n: Listed(n),
    holder_of_holder=lambda n: (lambda h: lambda z: h.net.predict(z))(Holder(Holder(n))),
    keyword_default=lambda n: lambda z, *, kept=n: kept(z),
    default_list=lambda n: lambda z, kept=[n]: kept[0](z),
    partial=lambda n: functools.partial(lambda a, z: a[0](z), [n]),
    class_attribute=by_class,
    weakref=by_weakref,
    nine_wrappers=wrapped_often,
    comprehension=lambda n: (lambda kept: lambda z: sum(m(z) for m in kept) / len(kept))([n, n]),
    callable_object=lambda n: type("C", (), {"__call__": lambda self, z: self.kept[0](z), "kept": [n]})(),
    generator_in_closure=lambda n: (lambda get: lambda z: get()(z))(lambda: next(iter([n]))),
    class_score_of_a_list=lambda n: ClassScore((lambda kept: lambda z: kept[0](z))([n])),
    functional_call=lambda n: lambda z: torch.func.functional_call(n, dict(n.named_parameters()), (z,)),
)
with torch.random.fork_rng():
    torch.manual_seed(1)
    trained = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))


def left_alone(key, hold):
    kept = copy.deepcopy(trained)
    want = on_table(key, copy.deepcopy(kept).eval())
    state = copy.deepcopy(kept.state_dict())
    kept.train()
    found = on_table(key, hold(kept))
    unchanged = all(torch.equal(v, state[k]) for k, v in kept.state_dict().items()) and all(
        m.training for m in kept.modules()
    )
    return found, want, unchanged


for kind, hold in HELD.items():
    for key in ("ig", "knn") if kind != "itself" else TABULAR:
        rows.add(
            f"{key}.training_mode.{kind}",
            lambda key=key, hold=hold: left_alone(key, hold),
            right(lambda v: torch.allclose(v[0], v[1], atol=1e-6) and v[2]) & warned("training mode"),
        )


# ---------------------------------------------------------------------------- functions that are none
def unsteady():
    memory = []

    def forward(z):
        memory.append(1)
        return table(z) * len(memory)

    return forward


class Level(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = table
        self.register_buffer("level", torch.zeros(()))

    def forward(self, z):
        self.level = self.level + 0.1
        return self.net(z + self.level)


edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
UNSTEADY = dict(
    functional_dropout=lambda: lambda z: table[2](F.dropout(table[:2](z), 0.5)),
    noise=lambda: lambda z: table(z + torch.randn_like(z)),
    counter=unsteady,
    buffer=lambda: Level().eval(),
    batch_statistics=lambda: seeded(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Tanh(), nn.Linear(8, 3))
    ),
    mean_of_the_batch=lambda: lambda z: table(z - z.mean(0)),
    softmax_over_rows=lambda: lambda z: table(z).softmax(0),
    ranks=lambda: lambda z: table(z) * torch.arange(1.0, len(z) + 1)[:, None],
    nodes_of_a_graph=lambda: lambda z: table(z.index_add(0, edges[1], z[edges[0]])),
    standardised=lambda: lambda z: table((z - z.mean()) / z.std()),
)
for kind, make in UNSTEADY.items():
    for key in TABULAR:
        rows.add(
            f"{key}.no_function.{kind}",
            lambda key=key, make=make: on_table(key, make()),
            warned("random|state|differ|function|rows|repeat") | refused("rows|alone|random|state|NaN|influence"),
        )


# ---------------------------------------------------------------------------- targets
TARGETS = dict(
    none=(None, refused("target=None", "which")),
    too_large=(3, refused("out of range", "3")),
    too_small=(-4, refused("out of range", "-4")),
    huge=(2**70, refused("target", "range|large|int")),
    minus_huge=(-(2**70), refused("target", "range|large|int")),
    text=("cat", refused("target", "cat")),
    float=(1.0, refused("target")),
    nan=(NAN, refused("target")),
    boolean=(True, refused("target")),
    dict=({}, refused("target")),
    set=({1}, refused("target")),
    empty_list=([], refused("target")),
    too_few=([1], refused("1 targets")),
    too_many=([1] * 4, refused("4 targets")),
    empty_tuple=((), refused("target|position")),
    two_positions=((0, 1), refused("position")),
    float_tensor=(torch.ones(3), refused("target", "float32")),
    bool_tensor=(torch.ones(3).bool(), refused("target", "bool")),
    one_hot=(torch.eye(3).long(), refused("target", r"\(3, 3\)")),
    column=(torch.ones(3, 1).long(), refused("target", r"\(3, 1\)")),
    nan_array=(np.full(3, NAN), refused("target")),
    text_list=(["a", "b", "c"], refused("target")),
    mixed_list=([1, (1,), 1], right() | refused("target")),
    ragged_list=([(1,), (1, 2), 1], refused("target")),
    list_out_of_range=([0, 1, 7], refused("out of range", "7")),
    function_of_nothing=(lambda: 1, passed_on(TypeError) | refused("target")),
    function_returns_none=(lambda y: None, refused("target function", "None")),
    function_returns_all=(lambda y: y, refused("target function")),
    function_returns_sum=(lambda y: y.sum(), refused("target function")),
    function_raises=(lambda y: 1 / 0, passed_on(ZeroDivisionError)),
    function_detaches=(lambda y: y[:, 1].detach(), DEPENDENCE),
    minus_two=(-2, same),
    numpy=(np.int64(1), same),
    zero_d_tensor=(torch.tensor(1), same),
    list=([1, 1, 1], same),
    tensor=(torch.tensor([1, 1, 1]), same),
    int32=(torch.tensor([1, 1, 1], dtype=torch.int32), same),
    array=(np.array([1, 1, 1]), same),
    tuple=((1,), same),
    list_of_tuples=([(1,)] * 3, same),
    list_of_numpy=([np.int64(1)] * 3, same),
    function=(lambda y: y[:, 1], same),
    uint8=(torch.tensor([1, 1, 1], dtype=torch.uint8), same),
    function_column=(lambda y: y[:, 1:2], same),
)
for key in TABULAR:
    for kind, (target, expected) in TARGETS.items():
        if expected == same:
            expected = equals(functools.partial(plain_table, key))
        elif kind == "function_raises":
            expected = passed_on(ZeroDivisionError)
        rows.add(f"{key}.target.{kind}", lambda key=key, target=target: on_table(key, target=target), expected)
for kind in ("none", "too_large", "huge", "text", "boolean", "one_hot", "too_few"):
    rows.add(f"eq.target.{kind}", lambda target=TARGETS[kind][0]: run("eq", target=target), refused("target"))

# ---------------------------------------------------------------------------- baselines
BASELINES = dict(
    nan=(NAN, refused("baseline", "nan")),
    inf=(INF, refused("baseline", "inf")),
    minus_inf=(-INF, refused("baseline", "inf")),
    nan_tensor=(t * NAN, refused("baseline", "NaN")),
    text=("black", refused("baseline", "str")),
    boolean=(True, refused("baseline", "bool")),
    dict=({}, refused("baseline", "dict")),
    complex=(1j, refused("baseline", "complex")),
    complex_tensor=(t[:1] + 0j, refused("baseline", "complex")),
    zero_d=(torch.tensor(0.5), refused("baseline", r"\(\)|shape") | right()),
    unbatched=(t[0], refused("baseline", r"\(4,\)")),
    too_many=(torch.cat([t, t]), refused("baseline", r"\(6, 4\)")),
    wrong_width=(t[:, :3], refused("baseline", r"\(3, 3\)")),
    two_for_one=((0, 0), refused("baselines")),
    empty_tuple=((), refused("baselines")),
    sparse=(t.to_sparse(), refused("baseline", "sparse|layout|dense")),
    meta=(t.to("meta"), refused("baseline", "meta")),
    nested=(torch.nested.nested_tensor([t[0], t[1]]), refused("baseline", "nested")),
    huge=(1e300, refused("baseline")),
    huge_int=(10**400, refused("baseline")),
    float8=(t[:1].to(torch.float8_e4m3fn), refused("baseline", "float8") | right()),
    array=(t[:1].numpy(), refused("baseline", "ndarray") | right()),
    function=(lambda z: z, refused("baseline", "function")),
    empty=(t[:0], refused("baseline", r"\(0, 4\)")),
    zero=(0, same),
    none=(None, same),
    zeros=(torch.zeros(1, 4), same),
    zeros_double=(torch.zeros(1, 4).double(), same),
    integers=(torch.zeros(1, 4).long(), same),
    numpy_number=(np.float64(0.0), same),
    tuple_of_none=((None,), same),
)
for key in ("ig", "knn", "svi"):
    for kind, (baseline, expected) in BASELINES.items():
        expected = equals(functools.partial(plain_table, key)) if expected == same else expected
        rows.add(
            f"{key}.baseline.{kind}", lambda key=key, baseline=baseline: on_table(key, baselines=baseline), expected
        )


# ---------------------------------------------------------------------------- further arguments
def scaled(z, s):
    return table(z) * s


ARGUMENTS = dict(
    one_number=(scaled, 1.0, same),
    tuple=(scaled, (1.0,), same),
    tensor_0d=(scaled, torch.tensor(1.0), same),
    per_example=(scaled, torch.ones(3, 1), same),
    list_is_one_argument=(lambda z, s: table(z) * s[0], [1.0], same),
    none_in_tuple=(lambda z, s: table(z), (None,), same),
    text=(lambda z, s: table(z), "a", same),
    too_many=(scaled, (1.0, 2.0), passed_on(TypeError)),
    too_few=(scaled, (), passed_on(TypeError)),
    wrong_shape=(scaled, torch.ones(7), passed_on(RuntimeError, r"\(\d+, 4\)|4\)", "float32") | refused("7")),
    dict=(lambda z, d: table(z) * d["s"], {"s": torch.ones(3, 1)}, same),
    nested=(lambda z, d: table(z) * d["s"][0], {"s": [torch.ones(3, 1)]}, same),
    length_equal_to_batch_by_chance=(lambda z, m: table(z) * m, torch.ones(3), same),
    mask_as_large_as_the_batch=(lambda z, m: table((z[:, :3] @ m) @ torch.eye(3, 4)), torch.eye(3), "mask"),
)
for key in TABULAR:
    for kind, (forward, args, expected) in ARGUMENTS.items():
        want = functools.partial(plain_table, key)
        # one factor per class, as many as examples: right, or it has to be said
        if kind == "length_equal_to_batch_by_chance":
            expected = equals(want) | refused("shared|per_example")
        elif expected == "mask":
            expected = equals(
                functools.partial(on_table, key, lambda z: table((z[:, :3] @ torch.eye(3)) @ torch.eye(3, 4)))
            ) | refused("shared|per_example")
        elif expected == same:
            expected = equals(want)
        elif kind in ("too_many", "too_few"):
            expected = passed_on(TypeError, NAMES[key])
        rows.add(
            f"{key}.args.{kind}",
            lambda key=key, forward=forward, args=args: on_table(key, forward, additional_forward_args=args),
            expected,
        )

# ---------------------------------------------------------------------------- settings
for key in OBJECTS:
    call = functools.partial(run, key) if key == "eq" else functools.partial(on_table, key)
    optional = WHOLE | {}
    optional.pop("none")
    rows.settings(key, call, "internal_batch_size", optional, "core")
for key in ("ig", "knn", "svi"):
    call = functools.partial(on_table, key)
    nodes = "n_segments" if key == "svi" else "n_steps"
    rows.settings(key, call, nodes, WHOLE, OWNER[key], zero=refused(nodes))
    rows.settings(key, call, "method", CHOICE | dict(tuple=("gausslegendre",), dict={}), "paths")
rows.add("ig.n_steps.huge", lambda: on_table("ig", n_steps=10**30), refused("n_steps"), "paths")
rows.add(
    "ig.n_steps.100000",
    lambda: on_table("ig", n_steps=100_000),
    equals(lambda: on_table("ig", n_steps=64), 1e-3) | refused("n_steps"),
    "paths",
)
rows.add("ig.n_steps.numpy", lambda: on_table("ig", n_steps=np.int64(4)), equals(lambda: plain_table("ig")), "paths")


def ONE_CORNER(**k):
    return torch.stack([0 * t, k["middle"], t], 1)


PATHS = dict(
    text="straight",
    number=1.0,
    list=[1.0],
    one_corner=t[:, None],
    wrong_width=torch.zeros(3, 4, 3),
    nan=ONE_CORNER(middle=t * NAN),
    inf=ONE_CORNER(middle=t + INF),
    two_for_one=(t, t),
    unbatched=t,
    sparse=ONE_CORNER(middle=t).to_sparse(),
    complex=ONE_CORNER(middle=t) + 0j,
    wrong_end=ONE_CORNER(middle=t).flip(1),
    wrong_batch=ONE_CORNER(middle=t)[:2],
    meta=ONE_CORNER(middle=t).to("meta"),
    array=ONE_CORNER(middle=t).numpy(),
)
rows.settings("ig", functools.partial(on_table, "ig"), "path", PATHS, "paths", array=refused("path") | right())

neflag = functools.partial(on_table, "neflag")
rows.settings("neflag", neflag, "n_points", WHOLE, "neflag")
rows.settings("neflag", neflag, "search_steps", {k: v for k, v in WHOLE.items() if k != "zero"}, "neflag")
rows.settings("neflag", neflag, "radius", POSITIVE, "neflag")
rows.settings("neflag", neflag, "radius_unit", CHOICE, "neflag")
rows.settings("neflag", neflag, "aggregate", CHOICE, "neflag")
rows.settings(
    "neflag",
    neflag,
    "clamp",
    dict(
        one=(0,),
        three=(0, 1, 2),
        text="01",
        reversed=(1, 0),
        nan=(NAN, 1),
        number=1,
        tensors=(torch.zeros(2), torch.ones(2)),
        texts=("0", "1"),
        boolean=True,
        empty=(),
        equal=(0.5, 0.5),
        dict={},
        input_outside=(10.0, 11.0),
    ),
    "neflag",
    words="clamp|inputs|range",
    equal=refused("clamp|range|inputs"),
    input_outside=refused("clamp|range|inputs|between"),
)
rows.settings("neflag", neflag, "seed", SEED, "neflag")
for kind, seed in dict(none=None, generator=torch.Generator(), numpy=np.int64(0), negative=-1).items():
    rows.add(
        f"neflag.seed.{kind}",
        lambda seed=seed: neflag(seed=seed),
        right() | refused("seed") if kind == "negative" else right(),
        "neflag",
    )
d = numbers(2, 4, seed=5)
rows.settings(
    "neflag",
    neflag,
    "directions",
    dict(
        zero_row=d * 0,
        one_zero_row=d * torch.tensor([[0.0], [1.0]]),
        nan=d * NAN,
        inf=d * INF,
        list=[1.0, 2.0],
        text="up",
        number=1.0,
        wrong_width=d[:, :3],
        too_few=d[:1],
        unbatched=d[0],
        two_for_one=(d, d),
        sparse=d.to_sparse(),
        complex=d + 0j,
        array=d.numpy(),
        integers=torch.ones(2, 4).long(),
    ),
    "neflag",
    array=refused("directions") | right(),
    integers=refused("directions") | right(),
)
rows.add("neflag.directions.given", lambda: neflag(directions=d), right(), "neflag")


# the pools of the geodesic methods
class Items(torch.utils.data.Dataset):
    def __init__(self, make, n=12):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i >= self.n:
            raise IndexError
        return self.make(table_pool[i % 12])


def with_pool(key, make):
    made = make()
    method = GeodesicIGKNN(table, made, n_neighbors=3) if key == "knn" else GeodesicIGSVI(table, made, n_neighbors=3)
    return method.attribute(t, target=1, **SETTINGS[key])


POOLS = dict(
    list_of_batches=lambda: [table_pool[:3], table_pool[3:7]],
    text=lambda: "pool",
    number=lambda: 5,
    dict=lambda: {"x": table_pool},
    empty=lambda: table_pool[:0],
    one=lambda: table_pool[:1],
    nan=lambda: table_pool * NAN,
    inf=lambda: table_pool + INF,
    wrong_width=lambda: table_pool[:, :3],
    one_d=lambda: table_pool[0],
    integers=lambda: table_pool.long(),
    complex=lambda: table_pool + 0j,
    sparse=lambda: table_pool.to_sparse(),
    meta=lambda: table_pool.to("meta"),
    nested=lambda: torch.nested.nested_tensor(list(table_pool)),
    two_for_one=lambda: (table_pool, table_pool),
    loader_of_dicts=lambda: DataLoader(Items(lambda p: {"x": p, "y": 0}), 4),
    empty_loader=lambda: DataLoader(Items(lambda p: p, 0), 4),
    loader_of_texts=lambda: DataLoader(Items(lambda p: "a"), 4),
    dataset_of_dicts=lambda: Items(lambda p: {"x": p}),
    dataset_of_none=lambda: Items(lambda p: None),
    dataset_of_numbers=lambda: Items(lambda p: 3.0),
    float8=lambda: table_pool.to(torch.float8_e4m3fn),
    object=lambda: object(),
    set=lambda: {1.0},
    array=lambda: table_pool.numpy(),
    endless=lambda: iter(()),
    dataset_that_raises=lambda: Items(lambda p: 1 / 0),
    different_widths=lambda: Items(
        lambda p: p[: torch.randint(1, 5, (), generator=torch.Generator().manual_seed(int(p[0] * 1e6) % 97))]
    ),
)
ALSO_RIGHT = {"loader_of_dicts", "dataset_of_dicts", "one", "array", "list_of_batches", "integers", "dict", "float8"}
for key in ("knn", "svi"):
    for kind, make in POOLS.items():
        expected = refused("pool") | (right() if kind in ALSO_RIGHT else refused("pool"))
        if kind == "dataset_that_raises":
            expected = Expected(lambda o: isinstance(o.error, ZeroDivisionError), "the data set's own error")
        rows.add(f"{key}.pool.{kind}", lambda key=key, make=make: with_pool(key, make), expected, "geodesic")
    for kind, make in dict(
        loader=lambda: DataLoader(Items(lambda p: p), 4),
        shuffled=lambda: DataLoader(Items(lambda p: p), 4, shuffle=True),
        labelled=lambda: DataLoader(Items(lambda p: (p, 0)), 4),
        dataset=lambda: Items(lambda p: p),
        double=lambda: table_pool.double(),
        requires_grad=lambda: table_pool.clone().requires_grad_(),
        tuple=lambda: (table_pool,),
        inference=lambda: _inference(lambda: table_pool * 1),
    ).items():

        def generator_kept(key=key, make=make):
            before = torch.get_rng_state()
            return with_pool(key, make), torch.equal(before, torch.get_rng_state())

        rows.add(f"{key}.pool.{kind}", generator_kept, right(lambda v: v[1] and v[0].shape == t.shape), "geodesic")

    def made(key, **k):
        return (GeodesicIGKNN if key == "knn" else GeodesicIGSVI)(table, table_pool, **k).attribute(
            t, target=1, **SETTINGS[key]
        )

    rows.settings(key, functools.partial(made, key), "n_neighbors", WHOLE | dict(one=1, whole_float=3.0), "geodesic")
    rows.add(
        f"{key}.n_neighbors.more_than_points",
        lambda key=key, made=made: made(key, n_neighbors=99),
        right() | refused("n_neighbors|pool"),
        "geodesic",
    )
    rows.add(
        f"{key}.n_neighbors.numpy", lambda key=key, made=made: made(key, n_neighbors=np.int64(3)), right(), "geodesic"
    )
rows.settings(
    "knn", functools.partial(made, "knn"), "n_steiner", {k: v for k, v in WHOLE.items() if k != "zero"}, "geodesic"
)
rows.settings("knn", functools.partial(made, "knn"), "weight", CHOICE, "geodesic")
rows.settings(
    "knn",
    functools.partial(on_table, "knn"),
    "integral_tolerance",
    {k: v for k, v in POSITIVE.items() if k not in ("none", "zero")},
    "geodesic",
)
svi = functools.partial(on_table, "svi")


def searched(**k):
    return GeodesicIGSVI(table, search=PathSearch(**k)).attribute(t, target=1, **SETTINGS["svi"])


def spread(**k):
    return GeodesicIGSVI(table, family=PathFamily(**k)).attribute(t, target=1, **SETTINGS["svi"])


for name, make in dict(rounds=svi, n_points=svi, dimensions=searched, n_samples=spread, max_iterations=svi).items():
    least_zero = {k: v for k, v in WHOLE.items() if k != "zero" or name not in ("rounds", "max_iterations")}
    rows.settings("svi", make, name, least_zero, "geodesic")
for name, make in dict(resolution=svi, n_modes=searched).items():
    rows.settings("svi", make, name, {k: v for k, v in WHOLE.items() if k != "none"}, "geodesic")
for name, make in dict(spread=searched, temperature=spread, prior_scale=spread).items():
    rows.settings("svi", make, name, POSITIVE, "geodesic")
for name, make in dict(least_steepness=searched, relaxation_tolerance=svi, slack=searched).items():
    rows.settings(
        "svi",
        make,
        name,
        {k: v for k, v in POSITIVE.items() if k != "zero"},
        "geodesic",
        **({} if name == "least_steepness" else dict(inf=refused(name) | right())),
    )
rows.settings(
    "svi",
    svi,
    "integral_tolerance",
    {k: v for k, v in POSITIVE.items() if k not in ("none", "zero")},
    "geodesic",
    inf=refused("integral_tolerance") | right(),
)


def published(**k):
    return PublishedGeodesicIG(table).attribute(t, target=1, **(dict(n_steps=3, num_iterations=3) | k))


rows.settings("svi", published, "num_iterations", WHOLE, "geodesic", zero=refused("num_iterations") | right())
rows.settings("svi", published, "learning_rate", POSITIVE, "geodesic")
rows.settings("svi", published, "beta", {k: v for k, v in REAL.items()}, "geodesic")
rows.settings("svi", functools.partial(svi), "seed", SEED, "geodesic")
for kind, seed in dict(
    none=None, generator=torch.Generator(), numpy32=np.int32(0), numpy64=np.int64(0), negative=-1
).items():
    rows.add(f"svi.seed.{kind}", lambda seed=seed: svi(seed=seed), right() | refused("seed"), "geodesic")
rows.settings(
    "svi",
    svi,
    "start",
    dict(
        unknown="no such start",
        graph_without_pool="graph",
        number=5,
        list=[1.0],
        wrong_width=torch.zeros(1, 3, 3),
        one_corner=t[:, None],
        nan=torch.full((1, 4, 4), NAN),
        two_for_one=(t, t),
        dict={},
        complex=torch.zeros(1, 4, 4) + 0j,
        empty="",
        sparse=torch.zeros(1, 4, 4).to_sparse(),
    ),
    "geodesic",
    words="start|pool",
)

eq = functools.partial(run, "eq")
rows.settings("eq", eq, "ratio", {k: v for k, v in POSITIVE.items() if k != "zero"}, "equilibrium")
rows.settings("eq", eq, "skip", CHOICE, "equilibrium", none=right())
rows.settings(
    "eq",
    eq,
    "rules",
    dict(text="relu", list=[1], number=5, not_callable={nn.ReLU: 5}, none_value={nn.ReLU: None}),
    "equilibrium",
    words="rule",
)
rows.add(
    "eq.ratio.numpy", lambda: eq(ratio=np.float32(2)), equals(lambda: plain("eq")) | refused("ratio"), "equilibrium"
)
for kind, layer in dict(
    unknown="no.such.layer", number=5, list=["no such layer"], dict={}, other_module=nn.ReLU(), empty=""
).items():
    rows.add(
        f"eq.layer.{kind}",
        lambda layer=layer: AttributionEquilibrium(net, layer).attribute(x, target=1),
        refused("layer|start|node"),
        "equilibrium",
    )
rows.add("eq.layer.name", lambda: AttributionEquilibrium(net, "3").attribute(x, target=1), right(), "equilibrium")
rows.add("eq.layer.module", lambda: AttributionEquilibrium(net, net[3]).attribute(x, target=1), right(), "equilibrium")
for key in OBJECTS:
    rows.add(
        f"{key}.pickled",
        lambda key=key: pickle.loads(pickle.dumps(OBJECTS[key](net))).attribute(x, target=1, **SETTINGS[key]),
        equals(functools.partial(plain, key)) | refused("pickle"),
        OWNER[key],
    )
    call = functools.partial(run, key) if key == "eq" else functools.partial(on_table, key)
    rows.add(f"{key}.unknown_setting", lambda call=call: call(n_pointz=3), unknown_argument("n_pointz"))

# what the outputs mean
p = numbers(3, 4)
probabilities = nn.Sequential(table, nn.Softmax(1)).eval()
sigmoids = nn.Sequential(table, nn.Sigmoid()).eval()
for of in ("probability", "log_probability"):
    for kind, model in dict(softmax=probabilities, sigmoid=sigmoids, twice=ClassScore(table, of="probability")).items():
        rows.add(
            f"ClassScore.{of}.of_a_{kind}",
            lambda of=of, model=model: ClassScore(model, of=of)(p),
            refused("probabilit", "output") | warned("probabilit", "output"),
        )
    rows.add(
        f"ClassScore.{of}.of_a_sequence", lambda of=of: ClassScore(lambda z: z, of=of)(numbers(2, 7, 4)), refused("dim")
    )
rows.add(
    "ClassScore.output.of_a_softmax",
    lambda: ClassScore(probabilities, of="output")(p),
    right(lambda v: torch.allclose(v, probabilities(p))),
)
rows.add(
    "ClassScore.sigmoid",
    lambda: ClassScore(table, of="sigmoid")(p),
    right(lambda v: torch.allclose(v, table(p).sigmoid())),
)
rows.add(
    "ClassScore.log_sigmoid",
    lambda: ClassScore(table, of="log_sigmoid")(p),
    right(lambda v: torch.allclose(v, F.logsigmoid(table(p)))),
)
rows.add(
    "ClassScore.dim",
    lambda: ClassScore(lambda z: z, of="probability", dim=-1)(numbers(2, 7, 4)),
    right(lambda v: torch.allclose(v.sum(-1), torch.ones(2, 7))),
)
rows.settings("ClassScore", lambda **k: ClassScore(table, **k)(p), "of", CHOICE)
rows.settings(
    "ClassScore",
    lambda **k: ClassScore(lambda z: z, of="probability", **k)(numbers(2, 7, 4)),
    "dim",
    dict(text="a", half=1.5, out_of_range=7, boolean=True, list=[1], batch=0),
)
for kind, model in dict(none=None, text="resnet", number=5, list=[table]).items():
    rows.add(f"ClassScore.model.{kind}", lambda model=model: ClassScore(model), refused("callable"))
for kind in ("tuple", "dict", "list", "dataclass", "none", "text", "array"):
    for of in ("logit", "probability"):
        rows.add(
            f"ClassScore.{of}.returns_{kind}",
            lambda kind=kind, of=of: PathIntegratedGradients(
                ClassScore(FUNCTIONS[f"returns.{kind}"][0], of=of)
            ).attribute(t, target=1),
            equals(lambda of=of: PathIntegratedGradients(ClassScore(table, of=of)).attribute(t, target=1))
            if kind in ("dict", "list", "dataclass")
            else ONE_TENSOR,
        )


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.o = nn.Linear(4, 3)

    def forward(self, z):
        return self.o(F.scaled_dot_product_attention(z, z, z).mean(1))


attention = seeded(Attention)
encoder = seeded(
    lambda: nn.Sequential(
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0), nn.Flatten(), nn.Linear(36, 3)
    )
)
steps = numbers(3, 9, 4)
for kind, model in dict(attention=attention, encoder=encoder).items():
    for key in ("ig", "svi"):
        rows.add(
            f"{key}.model.{kind}",
            lambda key=key, model=model: OBJECTS[key](model).attribute(steps, 0.1, target=1, **SETTINGS[key]),
            right(lambda v: v.shape == steps.shape and v.any()),
        )


# ---------------------------------------------------------------------------- two threads
def in_two_threads(call, times=4):
    "What `call(thread)` gives in two threads at once, or the first error"
    found, errors, start = [], [], threading.Barrier(2)

    def work(k):
        try:
            start.wait()
            found.extend(call(k) for _ in range(times))
        except Exception as error:
            errors.append(error)

    both_threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in both_threads:
        thread.start()
    for thread in both_threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


def both_in_training_mode(key):
    kept = copy.deepcopy(trained).train()
    state = copy.deepcopy(kept.state_dict())
    found = in_two_threads(lambda k: on_table(key, kept))
    unchanged = all(torch.equal(v, state[name]) for name, v in kept.state_dict().items()) and all(
        m.training for m in kept.modules()
    )
    return found, on_table(key, copy.deepcopy(kept).eval()), unchanged


for key in TABULAR:
    rows.add(
        f"{key}.threads.training_mode",
        lambda key=key: both_in_training_mode(key),
        right(lambda v: all(torch.allclose(a, v[1], atol=1e-6) for a in v[0]) and v[2]),
        "core",
    )
rows.add(
    "eq.threads.two_traces",
    lambda: (lambda nets: in_two_threads(lambda k: AttributionEquilibrium(nets[k]).attribute(x, target=1)))(
        [make_images(), make_images()]
    ),
    right(lambda v: all(torch.allclose(a, plain("eq"), atol=1e-7) for a in v)),
    "equilibrium",
)
rows.add(
    "eq.threads.module_call_is_left_alone",
    lambda: (
        in_two_threads(lambda k: AttributionEquilibrium(make_images()).attribute(x, target=1)),
        nn.Linear(2, 2)(torch.zeros(1, 2)),
    )[1],
    right(),
    "equilibrium",
)
