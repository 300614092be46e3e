"The explorer: what is given to explore, its traits, its parts"

import copy
import functools
from unittest import mock

import torch
import traitlets
from models import mlp, numbers
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attrnb import explore as e
from attrnb.paths import PathIntegratedGradients

from . import (
    CHOICE,
    INF,
    NAN,
    POSITIVE,
    REAL,
    WHOLE,
    Expected,
    Table,
    drawn,
    raised_here,
    refused,
    right,
    unreadable,
    warned,
)

rows = Table("explore")
table, t = mlp(4, 3, smooth=True), numbers(3, 4)
FAST = {"PathIG": (PathIntegratedGradients, dict(n_steps=2))}


def opened(
    model=table,
    inputs=t,
    use=lambda explorer: (
        explorer.panels[0].status if hasattr(explorer.panels[0], "status") else "",
        _result(explorer),
    ),
    methods=FAST,
    **settings,
):
    "What `use` finds in an explorer whose work is done"
    explorer = e.explore(model, inputs, methods=methods, **settings)
    try:
        explorer.debounce = 0.001
        explorer.wait(20)
        return use(explorer)
    finally:
        explorer.close()


def _result(explorer):
    return explorer.panels[0].result


shown = drawn(lambda v: v[1] is not None and bool(torch.isfinite(v[1].attribution).all()))
not_shown = drawn(lambda v: v[1] is None)
for kind, given in dict(
    none=None,
    number=5.0,
    text="photo.jpg",
    zero_d=torch.tensor(1.0),
    empty=t[:0],
    empty_list=[],
    complex=t + 0j,
    sparse=t.to_sparse(),
    meta=t.to("meta"),
    nested=torch.nested.nested_tensor([t[0], t[1]]),
    nan=t * NAN,
    inf=t + INF,
    object=object(),
    dict={"a": t},
    list_of_text=["a"],
    list_of_none=[None],
    set={1.0},
    quantised=torch.quantize_per_tensor(t, 0.1, 0, torch.quint8),
    float8=t.to(torch.float8_e4m3fn),
    generator=(v for v in t),
    list_of_empty=[t[:0]],
    list_of_lists=[[1.0, 2.0, 3.0, 4.0]],
    list_of_numbers=[1.0, 2.0],
    different_lengths=[t[0], t[0, :3]],
    wrong_width=numbers(3, 5),
    boolean=t > 0,
).items():
    accepted = dict(
        list_of_lists=shown,
        float8=shown,
        boolean=shown,
        different_lengths=drawn(),
        wrong_width=Expected(
            lambda o: isinstance(o.error, RuntimeError) and "4" in str(o.error), "the model's own words"
        ),
        list_of_numbers=not_shown,
        nan=not_shown,
        inf=not_shown,
    ).get(kind, refused("no such"))
    rows.add(
        f"explore.inputs.{kind}",
        lambda given=given: opened(inputs=given),
        refused("input|image|tensor|number|shape") | accepted,
    )
for kind, given in dict(
    array=t.numpy(),
    double=t.double(),
    integers=(t * 9).long(),
    list=list(t),
    tuple=tuple(t),
    dataset=TensorDataset(t),
    loader=DataLoader(TensorDataset(t), 2),
    requires_grad=t.clone().requires_grad_(),
    labelled=TensorDataset(t, torch.tensor([0, 1, 2])),
).items():
    rows.add(
        f"explore.inputs.{kind}",
        lambda given=given: opened(inputs=given),
        shown | (refused("input|loader|data") if kind in ("loader", "tuple") else refused("no such")),
    )
own = Expected(lambda o: isinstance(o.error, ZeroDivisionError), "the model's own error")
for kind, (model, expected) in dict(
    none=(None, refused("model")),
    text=("resnet18", refused("model")),
    number=(5, refused("model")),
    list=([table], refused("model")),
    returns_none=(lambda z: None, refused("returned")),
    returns_tuple=(lambda z: (table(z),), shown),
    returns_two=(lambda z: (table(z), table(z)), refused("returned")),
    returns_dict=(lambda z: {}, refused("returned")),
    returns_scalar=(lambda z: table(z).sum(), refused("returned|rows|shape")),
    returns_sequence=(lambda z: table(z)[:, None].expand(-1, 4, -1), refused("shape|rows")),
    returns_no_classes=(lambda z: table(z)[:, :0], refused("shape|class|output")),
    returns_nan=(lambda z: table(z) * NAN, refused("NaN") | not_shown),
    returns_complex=(lambda z: table(z) + 0j, refused("complex")),
    raises=(lambda z: 1 / 0, own),
    returns_fewer=(lambda z: table(z)[:0], refused("rows|shape")),
    returns_integers=(lambda z: table(z).long(), not_shown | refused("int64|depend")),
    double=(copy.deepcopy(table).double(), shown),
    one_output=(lambda z: table(z)[:, :1], shown),
    flat=(lambda z: table(z)[:, 0], shown),
    softmax=(
        nn.Sequential(table, nn.Softmax(1)),
        drawn(lambda v: v[1] is not None and abs(v[1].probability - table(t[:1]).softmax(1).max().item()) < 1e-4)
        | refused("probabilit|output")
        | warned("probabilit"),
    ),
    sigmoid=(
        lambda z: table(z)[:, :1].sigmoid(),
        drawn(lambda v: v[1] is not None and abs(v[1].probability - table(t[:1])[0, 0].sigmoid().item()) < 1e-4)
        | refused("probabilit|output")
        | warned("probabilit"),
    ),
).items():
    rows.add(f"explore.model.{kind}", lambda model=model: opened(model), expected)
rows.settings(
    "explore",
    opened,
    "targets",
    dict(
        text="abc",
        number=5,
        too_few=[0],
        out_of_range=[0, 1, 9],
        negative=[-1, 0, 0],
        floats=[0.5, 1, 1],
        none_inside=[None, 0, 0],
        nan=[NAN, 0, 0],
        texts=["a", "b", "c"],
        dict={},
    ),
    words="target|class",
)
rows.settings("explore", opened, "labels", dict(number=5, too_few=["a"], dict={}), words="label")
rows.settings("explore", opened, "categories", dict(number=5, too_few=["a"], text="ab", dict={}), words="categor")
rows.settings(
    "explore",
    opened,
    "methods",
    dict(
        number=5,
        empty=[],
        empty_dict={},
        unknown="no such method",
        none_inside=[None],
        dict_of_none={"a": None},
        bad_setting={"a": (PathIntegratedGradients, dict(n_stepz=3))},
        three={"a": (1, 2, 3)},
        a_module=[nn.ReLU()],
        settings_no_dict={"a": (PathIntegratedGradients, 5)},
    ),
    words="method|setting|n_stepz|inputs",
    a_module=refused("method") | drawn(),
)
rows.settings(
    "explore",
    opened,
    "normalise",
    dict(
        number=5,
        text="imagenet",
        one=(1,),
        three=(1, 2, 3),
        nan=(NAN, 1),
        zero=(0.0, 0.0),
        texts=("a", "b"),
        dict={},
        empty=(),
    ),
    words="normali|mean|std",
    zero=refused("normali|std|mean"),
)


@functools.cache
def shared():
    "One explorer for the rows that set a trait, see close_shared"
    explorer = e.explore(table, t, methods=FAST)
    explorer.debounce = 0.001
    return explorer


def close_shared():
    "The explorer of the rows goes, if there was one"
    if shared.cache_info().currsize:
        shared().close()
        shared.cache_clear()


def trait(name, value):
    "Set a trait; whatever came of it, the next row finds the explorer as it was"

    def call():
        explorer = shared()
        before = getattr(explorer, name)
        try:
            setattr(explorer, name, value)
            explorer.wait(20)
            return getattr(explorer, name), _result(explorer)
        except Exception:
            assert getattr(explorer, name) == before, f"{name} was refused, and is {getattr(explorer, name)!r} now"
            raise
        finally:
            setattr(explorer, name, before)
            explorer.wait(20)

    return call


refused_trait = Expected(
    lambda o: (
        isinstance(o.error, (traitlets.TraitError, ValueError, TypeError))
        and (
            isinstance(o.error, traitlets.TraitError)
            or "attrnb" in o.error.__traceback__.tb_frame.f_code.co_filename
            or raised_here(o.error)
        )
    ),
    "a TraitError, or an error in own words",
)


for name, values in dict(
    index=dict(text="a", large=9, negative=-1, half=0.5, none=None, nan=NAN),
    target=dict(text="a", large=9, negative=-1, half=0.5, nan=NAN),
    score=dict(unknown="x", none=None, number=5),
    sign=dict(unknown="x", none=None),
    view=dict(unknown="x"),
    opacity=dict(above=2.0, negative=-0.1, text="a", none=None),
    percentile=dict(low=1.0, above=101.0, text="a"),
    substrate=dict(unknown="x", number=5),
    region=dict(
        text="ab",
        number=5,
        nan=(NAN, 1),
        one=(1,),
        three=(1, 2, 3),
        reversed=(3, 1),
        outside=(7, 9),
        texts=("a", "b"),
        none_inside=(None, 1),
        dict={},
        inf=(0, INF),
    ),
).items():
    for kind, value in values.items():
        rows.add(
            f"explore.trait.{name}.{kind}",
            trait(name, value),
            refused_trait | (drawn() if (name, kind) in (("opacity", "nan"),) else refused("no such")),
        )
rows.add("explore.trait.region.right", trait("region", (1, 3)), drawn(lambda v: tuple(v[0]) == (1, 3)))


def after_training(explorer):
    first = _result(explorer).probability
    with torch.no_grad():
        changing[0].weight.mul_(3)
    try:
        explorer.index = 1
        explorer.wait(20)
        explorer.index = 0
        explorer.wait(20)
        return first, _result(explorer).probability, changing(t[:1]).softmax(1)[0, _result(explorer).target].item()
    finally:
        with torch.no_grad():
            changing[0].weight.div_(3)


changing = copy.deepcopy(table)
rows.add(
    "explore.weights_changed_meanwhile",
    lambda: opened(changing, use=after_training),
    right(lambda v: abs(v[1] - v[2]) < 1e-4) | warned("weights|changed"),
)

# parts
x = numbers(1, 3, 8, 8)
for kind, given in dict(
    none=None,
    text="a",
    number=5,
    list=[1.0],
    nan=x * NAN,
    empty=x[:0],
    sparse=x.to_sparse(),
    complex=x + 0j,
    meta=x.to("meta"),
).items():
    rows.add(f"baseline.x.{kind}", lambda given=given: e.baseline(given), refused("x|input|tensor"))
rows.settings(
    "baseline",
    functools.partial(e.baseline, x),
    "name",
    dict(
        unknown="grey", none=None, nan=NAN, inf=INF, list=[1], dict={}, wrong_shape=x[..., :7], boolean=True, complex=1j
    ),
    words="name|baseline|substrate",
    none=refused("name|baseline|substrate") | right(),
)
a = numbers(1, 3, 8, 8)
for kind, region in dict(
    outside=(20, 20, 30, 30),
    reversed=(5, 5, 2, 2),
    text="abcd",
    number=5,
    none=None,
    three=(1, 2, 3),
    nan=(NAN, 0, 1, 1),
    empty=(),
    texts=("a",) * 4,
    negative=(-5, -5, -1, -1),
).items():
    rows.add(f"share_inside.region.{kind}", lambda region=region: e.share_inside(a, region), refused("region"))
for kind, given in dict(none=None, text="a", number=5, list=[1.0], nan=a * NAN, complex=a + 0j, empty=a[:0]).items():
    rows.add(
        f"share_inside.attribution.{kind}",
        lambda given=given: e.share_inside(given, (1, 1, 3, 3)),
        refused("attribution"),
    )
rows.add("share_inside.right", lambda: e.share_inside(a.abs(), (0, 0, 8, 8)), drawn(lambda v: abs(v[0] - 1) < 1e-6))
for kind, function in dict(int=5, none=None, text="a", builtin=max, module=torch).items():
    rows.add(
        f"describe_parameters.function.{kind}",
        lambda function=function: e.describe_parameters(function),
        refused("function|callable|signature"),
    )
rows.settings(
    "describe_parameters",
    functools.partial(e.describe_parameters, PathIntegratedGradients(table).attribute),
    "settings",
    dict(unknown=dict(n_stepz=3), number=5, text="a", list=[1]),
    words="setting|n_stepz",
)
for kind, what in dict(none=None, number=5, text="a", object=object(), class_=dict).items():
    rows.add(f"Method.what.{kind}", lambda what=what: e.Method(what), refused("method|attribute"))
rows.settings(
    "Method",
    lambda **k: e.Method(PathIntegratedGradients, **k),
    "name",
    dict(number=5, list=["a"], empty=""),
    empty=refused("name") | drawn(),
)
rows.settings(
    "Worker",
    lambda **k: e.Worker(**k).close(),
    "patience",
    POSITIVE,
    inf=refused("patience") | drawn(),
    zero=refused("patience") | drawn(),
)


def worked(job=lambda stop: 1, **settings):
    w = e.Worker()
    try:
        return w.submit("a", job, **settings)
    finally:
        w.close()


for kind, job in dict(none=None, number=5, text="a").items():
    rows.add(f"Worker.job.{kind}", lambda job=job: worked(job), refused("job|callable"))
rows.settings(
    "Worker",
    worked,
    "delay",
    REAL | dict(negative=-1.0),
    inf=refused("delay") | drawn(),
    negative=refused("delay") | drawn(),
)
rows.settings(
    "ResultCache",
    e.ResultCache,
    "megabytes",
    POSITIVE,
    inf=refused("megabytes") | drawn(),
    zero=refused("megabytes") | drawn(),
)
rows.settings("ResultCache", e.ResultCache, "entries", WHOLE)
for kind, model in dict(none=None, number=5, text="a").items():
    rows.add(
        f"Watch.model.{kind}",
        lambda model=model: e.Watch(model, __import__("threading").Event()),
        refused("model|callable"),
    )


def served(*args, **named):
    def refuse(*a, **k):
        raise AssertionError("a process was started")

    with mock.patch.object(e.subprocess, "Popen", refuse):
        return e.serve(*args, open_browser=False, wait=False, **named)


rows.settings(
    "serve",
    served,
    "port",
    dict(huge=99999, negative=-1, half=1.5, text="80", none=None, boolean=True, nan=NAN, list=[80]),
)
rows.settings(
    "serve",
    served,
    "photographs",
    dict(missing=["nothing.jpg"], number=5, none_inside=[None], numbers=[5], folder=["."]),
    words="photograph|nothing|file|path|\\.",
    missing=unreadable("nothing"),
    folder=unreadable("."),
)
rows.settings(
    "serve",
    served,
    "application",
    CHOICE,
    unknown=refused("application|no such thing", error=(ValueError, RuntimeError)),
    empty=refused("application", error=(ValueError, RuntimeError)),
)
rows.settings(
    "serve",
    served,
    "network",
    dict(unknown="resnet5000", number=5, resnet="resnet18", list=["shapes"]),
    words="network|model",
)
rows.settings(
    "serve",
    served,
    "weights",
    dict(missing="nowhere.pth", number=5, list=["a"]),
    words="weights|nowhere|path|file",
    missing=unreadable("nowhere"),
)
rows.settings(
    "serve",
    served,
    "labels",
    dict(missing="nowhere.txt", number=5),
    words="labels|nowhere|path|file",
    missing=unreadable("nowhere"),
)
rows.settings("serve", served, "mean", dict(text="a", nan=NAN, two=[0.1, 0.2], boolean=True, dict={}))
rows.settings("serve", served, "std", dict(text="a", nan=NAN, zero=0.0, negative=-1.0, two=[0.1, 0.2]))
