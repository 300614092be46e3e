"The benchmark, its run folders, and the command line"

import contextlib
import copy
import functools
import io
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import safetensors.torch
import torch
from models import numbers, seeded
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from attrnb import benchmark as b
from attrnb import explore
from attrnb.cli import choose_device, main
from attrnb.plots import AttributionFigure

from . import (
    CHOICE,
    INF,
    NAN,
    SEED,
    WHOLE,
    Expected,
    Table,
    drawn,
    refused,
    right,
    unreadable,
    warned,
)

rows = Table("benchmark")
net = seeded(
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
)
x = numbers(3, 3, 8, 8).abs().clamp(0, 1)
masks = torch.zeros(3, 8, 8, dtype=torch.bool)
masks[:, 2:5, 2:5] = True
data = TensorDataset(x, torch.tensor([0, 1, 2]), masks)


def undrawn(self, *a, **k):
    return AttributionFigure((0.1, 0.1))


def bench(model=net, data=data, methods=("centre", "uniform"), measures=("deletion",), folder="run", **settings):
    with mock.patch.object(b.BenchmarkRun, "figure", undrawn):
        shutil.rmtree(folder, ignore_errors=True) if isinstance(folder, str) and folder == "run" else None
        return b.benchmark(
            model, data, methods, measures, folder, **(dict(masking_steps=2, unit=4, show_progress=False) | settings)
        )


complete = drawn(
    lambda run: (
        not run.failures
        and not run.missing
        and all(len(run.values(m, k)) == 3 for m in run.methods for k in run.measures)
    )
)
rows.add("bench.right", bench, complete)
for name, values in dict(
    methods=dict(
        int=5,
        none=None,
        empty=[],
        unknown=["saliensy"],
        list_of_int=[5],
        label_int={5: 5},
        label_none={"a": None},
        text="saliency",
        nested=[["centre"]],
        bad_setting={"neflag": ("neflag", dict(n_pointz=3))},
        empty_dict={},
        value_out_of_range={"a": ("neflag", dict(n_points=0))},
        twice=["centre", "centre"],
    ),
    measures=dict(
        int=5,
        empty=[],
        unknown=["deletionn"],
        list_of_int=[5],
        label_none={"a": None},
        text="deletion",
        bad_setting={"a": ("deletion", dict(stepz=3))},
        value_out_of_range={"a": ("deletion", dict(masking_steps=0))},
        twice=["deletion", "deletion"],
    ),
).items():
    what = "method|neflag|n_pointz|n_points|name" if name == "methods" else "measure|deletion|stepz|steps|name"
    rows.settings(
        "bench",
        bench,
        name,
        values,
        words=what,
        **{k: refused(what) | complete for k in ("text", "twice")}
        | ({} if name == "methods" else dict(empty=refused(what) | drawn())),
    )
rows.settings(
    "bench",
    bench,
    "target",
    dict(
        out_of_range=3,
        negative=-1,
        text="cat",
        float=1.5,
        boolean=True,
        too_few=[0],
        nan=NAN,
        dict={},
        list_out_of_range=[0, 1, 9],
        list_of_text=["a", "b", "c"],
        huge=2**70,
        float_tensor=torch.ones(3),
        one_hot=torch.eye(3).long(),
        set={1},
    ),
    words="target|class",
)
for kind, target in dict(
    numpy=np.int64(2),
    tensor=torch.tensor([2, 2, 2]),
    zero_d=torch.tensor(2),
    array=np.array([2, 2, 2]),
    tuple=(2, 2, 2),
    int32=np.int32(2),
).items():
    rows.add(
        f"bench.target.{kind}",
        lambda target=target: [r["target"] for r in bench(target=target).rows],
        right(lambda v: set(v) == {2}) | refused("target"),
    )
rows.settings("bench", bench, "score", CHOICE, words="score|of=")
rows.settings("bench", bench, "masking_steps", WHOLE)
rows.settings(
    "bench",
    bench,
    "substrate",
    dict(unknown="white", nan=NAN, none=None, list=[1.0], dict={}, inf=INF),
    words="substrate|baseline",
    none=refused("substrate|baseline") | complete,
)
rows.settings(
    "bench", bench, "unit", dict(zero=0, negative=-1, half=1.5, text="pixel", none=None, boolean=True, list=[1])
)
rows.settings("bench", bench, "sign", CHOICE | dict(abs="abs"), words="sign|rank")
rows.settings("bench", bench, "seed", {k: v for k, v in SEED.items() if k != "huge"} | dict(none=None))
rows.settings("bench", bench, "batch_size", WHOLE)
rows.settings("bench", bench, "internal_batch_size", {k: v for k, v in WHOLE.items() if k != "none"})
rows.settings("bench", bench, "images", {k: v for k, v in WHOLE.items() if k != "none"})
rows.settings("bench", bench, "device", dict(unknown="quantum", cuda="cuda:99", meta="meta", number=3.5, list=["cpu"]))
rows.settings(
    "bench",
    bench,
    "dtype",
    dict(text="float32", int=torch.int64, none=None, double=torch.float64, complex=torch.complex64, number=5),
    double=refused("dtype|float"),
)
rows.settings("bench", bench, "keep", dict(unknown="float8", number=5, boolean=True, list=["float32"]))
rows.settings("bench", bench, "reference", dict(unknown="saliency", number=5, list=["centre"], empty=""))
rows.settings("bench", bench, "annotations", dict(without_photographs={"a.jpg": {}}, text="nowhere.json", number=5))
rows.settings("bench", bench, "preprocess", dict(number=5, text="a"))
for kind, folder in dict(none=None, int=5, null="a\0b", list=["run"], bytes=b"run").items():
    rows.add(
        f"bench.folder.{kind}",
        lambda folder=folder: bench(folder=folder),
        unreadable("folder|path|null|nul|str|NoneType|int|a"),
    )


def with_a_file(name, content="mine"):
    "A folder of the user's with a file of that name"
    Path("mine").mkdir(exist_ok=True)
    Path("mine", name).write_text(content)
    try:
        bench(folder="mine")
        error = None
    except Exception as e:
        error = e
    return Path("mine", name).exists() and Path("mine", name).read_text() == content, error


for name in ("table.csv", "table.md", "figure.png", ".notes.tmp", "notes.txt", "results", ".x.5.tmp"):
    rows.add(f"bench.folder.of_the_user.{name}", lambda name=name: with_a_file(name), drawn(lambda v: v[0]))
rows.add(
    "bench.folder.is_a_file", lambda: (Path("taken").write_text("mine"), bench(folder="taken"))[1], unreadable("taken")
)

for kind, model in dict(text="resnet18", number=5, list=[net], dict={}, class_=nn.Linear).items():
    rows.add(f"bench.model.{kind}", lambda model=model: bench(model), refused("model"))
all_failed = drawn(lambda run: len(run.failures) == len(run.rows) and all(r["error"] for r in run.rows))
for kind, model in dict(
    returns_none=lambda z: None,
    returns_two=lambda z: (net(z), net(z)),
    returns_zero_d=lambda z: net(z).sum(),
    nan=lambda z: net(z) * NAN,
    raises=lambda z: 1 / 0,
    wrong_channels=seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten())),
    complex=lambda z: net(z) + 0j,
    fewer_rows=lambda z: net(z)[:0],
).items():
    rows.add(
        f"bench.model.{kind}",
        lambda model=model: bench(model),
        all_failed | refused("model|return|forward|NaN|complex"),
    )
for kind, model in dict(tuple=lambda z: (net(z), 1), dict=lambda z: {"y": net(z)}).items():
    rows.add(f"bench.model.returns_{kind}", lambda model=model: bench(model), complete)
rows.add("bench.model.double", lambda: bench(copy.deepcopy(net).double()), refused("dtype|float64"))
rows.add(
    "bench.model.softmax",
    lambda: bench(nn.Sequential(net, nn.Softmax(1)).eval()),
    refused("output|probabilit") | warned("probabilit"),
)
rows.add("bench.model.softmax_named", lambda: bench(nn.Sequential(net, nn.Softmax(1)).eval(), score="output"), complete)
rows.add(
    "bench.model.nan_for_one",
    lambda: bench(lambda z: torch.where((z == x[1]).flatten(1).all(1)[:, None], NAN, net(z))),
    drawn(lambda run: len(run.rows) == 6 and {r["index"] for r in run.failures} == {1}),
)
rows.add(
    "bench.model.raises_for_one",
    lambda: bench(lambda z: net(z) if z.flatten(1).sum(1).max() < x[1].sum() or len(z) == 0 else 1 / 0),
    drawn(lambda run: len(run.rows) == 6 and 0 < len(run.failures)),
)


class Own(torch.utils.data.Dataset):
    def __init__(self, item, n=3, **more):
        self.item, self.n = item, n
        vars(self).update(more)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.item(i)


for kind, given in dict(
    text="nowhere",
    number=5,
    list=[1, 2],
    empty=TensorDataset(x[:0]),
    generator=(v for v in x),
    dict={"x": x},
    none_items=Own(lambda i: None),
    texts=Own(lambda i: "a"),
    arrays=Own(lambda i: x[i].numpy()),
    pictures=Own(lambda i: Image.new("RGB", (8, 8))),
).items():
    rows.add(
        f"bench.data.{kind}",
        lambda given=given: bench(data=given),
        unreadable("data|folder|example|image|item|nowhere") | all_failed,
    )
rows.add(
    "bench.data.bytes",
    lambda: bench(data=Own(lambda i: ((x[i] * 255).byte(), 0))),
    refused("uint8|0 to 255|byte") | all_failed,
)
rows.add(
    "bench.data.integers",
    lambda: bench(data=Own(lambda i: ((x[i] * 255).long(), 0))),
    refused("int64|integer|float") | all_failed,
)
rows.add(
    "bench.data.names_twice",
    lambda: bench(data=Own(lambda i: (x[i], i), names=["a.jpg"] * 3)),
    complete | refused("names"),
)
rows.add(
    "bench.data.names_of_classes",
    lambda: bench(data=Own(lambda i: (x[i], i), names=["cat", "dog"])),
    complete | refused("names"),
)
rows.add("bench.data.names_number", lambda: bench(data=Own(lambda i: (x[i], i), names=5)), complete | refused("names"))
rows.add(
    "bench.data.names_method",
    lambda: bench(data=Own(lambda i: (x[i], i), names=lambda: ["a"])),
    complete | refused("names"),
)
rows.add(
    "bench.data.one_nan",
    lambda: bench(data=Own(lambda i: (x[i] * (NAN if i == 1 else 1), 0))),
    drawn(lambda run: {r["index"] for r in run.failures} == {1}),
)
rows.add(
    "bench.data.one_raises",
    lambda: bench(data=Own(lambda i: (x[i], 0) if i != 1 else 1 / 0)),
    drawn(lambda run: {r["index"] for r in run.failures} == {1}),
)
rows.add("bench.data.label_text", lambda: bench(data=Own(lambda i: (x[i], "cat"))), refused("label|cat") | all_failed)
rows.add(
    "bench.data.label_out_of_range",
    lambda: bench(data=Own(lambda i: (x[i], 9))),
    refused("label|target|range") | all_failed,
)
rows.add(
    "bench.data.mask_other_size",
    lambda: bench(data=Own(lambda i: (x[i], 0, masks[i, :5]))),
    refused("mask") | all_failed,
)

for kind, text in dict(
    int=5,
    none=None,
    empty="",
    comma=",",
    unclosed="neflag(",
    call="neflag(__import__('os').system('x'))",
    lambda_="lambda: 1",
    attribute="os.system",
    star="neflag(*[1])",
    positional="neflag(3)",
    number="3",
    string="'a'",
    list=["neflag"],
    null="a\0b",
    huge="(" * 300,
    newline="neflag\nsaliency",
    assign="a=1",
).items():
    rows.add(
        f"parse_names.{kind}",
        lambda text=text: b.parse_names(text),
        refused("name|read|text|str") | (drawn() if kind in ("empty", "newline") else refused("name|read")),
    )


def by_name(name="saliency", model=net, inputs=x, targets=(0, 1, 2), **k):
    return b.attribute_by_name(name, model, inputs, targets, **k)


rows.settings(
    "attribute_by_name",
    by_name,
    "name",
    dict(unknown="salience", none=None, number=5, list=["saliency"]),
    words="method|name",
)
rows.settings("attribute_by_name", by_name, "model", dict(text="a", none=None, number=5))
rows.settings(
    "attribute_by_name",
    by_name,
    "inputs",
    dict(
        none=None,
        text="a",
        nan=x * NAN,
        empty=x[:0],
        integers=x.long(),
        bytes=(x * 255).byte(),
        complex=x + 0j,
        array=x.numpy(),
        sparse=x.to_sparse(),
        tuple=(x,),
    ),
)
rows.settings(
    "attribute_by_name",
    by_name,
    "targets",
    dict(int=5, none=None, text="abc", too_few=[0], out_of_range=[0, 1, 9], floats=[0.0, 1.0, 2.0], nan=[NAN] * 3),
    words="target",
)
rows.settings("attribute_by_name", by_name, "score", CHOICE, words="score|of=")
rows.settings("attribute_by_name", by_name, "seed", SEED, huge=refused("seed") | drawn(), boolean=refused("seed"))
for kind, given in dict(none=None, text="a", number=5, function=lambda z: z).items():
    rows.add(f"weights_hash.{kind}", lambda given=given: b.weights_hash(given), refused("model|odule"))
    rows.add(f"last_feature_map.model.{kind}", lambda given=given: b.last_feature_map(given, x), refused("model|odule"))
rows.add("weights_hash.meta", lambda: b.weights_hash(copy.deepcopy(net).to("meta")), refused("meta"))
sparse = nn.Module()
sparse.register_buffer("a", torch.eye(3).to_sparse())
rows.add("weights_hash.sparse", lambda: b.weights_hash(sparse), refused("sparse") | drawn(lambda v: len(v) == 64))


def hashes_of_quantised():
    made = [
        torch.ao.quantization.quantize_dynamic(
            seeded(lambda: nn.Sequential(nn.Linear(4, 3)), seed), {nn.Linear}, dtype=torch.qint8
        )
        for seed in (0, 1)
    ]
    return [b.weights_hash(m) for m in made]


rows.add("weights_hash.quantised", hashes_of_quantised, drawn(lambda v: v[0] != v[1]) | refused("quant|packed"))
rows.add(
    "last_feature_map.no_map",
    lambda: b.last_feature_map(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3))), x),
    refused("feature map"),
)
for kind, given in dict(none=None, text="a", empty=x[:0], nan=x * NAN).items():
    rows.add(
        f"last_feature_map.inputs.{kind}",
        lambda given=given: b.last_feature_map(net, given),
        # which module it is doesn't hang on values
        refused("inputs") | (drawn() if isinstance(given, torch.Tensor) else refused("inputs")),
    )


def left_behind(call):
    error = None
    try:
        call()
    except Exception as e:
        error = e
    return [p.name for p in Path(".").glob(".*tmp")], error


for kind, content in dict(text="abc", none=None, number=5, list=[1]).items():
    rows.add(
        f"write_atomically.data.{kind}",
        lambda content=content: b.write_atomically("out.bin", content),
        refused("data|bytes"),
    )
    rows.add(
        f"write_atomically.data.{kind}.leaves_nothing",
        lambda content=content: left_behind(lambda: b.write_atomically("out.bin", content))[0],
        right(lambda v: v == []),
    )
for kind, path in dict(none=None, number=5, missing_folder="no/such/a", folder=".", null="a\0b").items():
    rows.add(
        f"write_atomically.path.{kind}",
        lambda path=path: b.write_atomically(path, b"a"),
        unreadable("path|no/such|null|nul|NoneType|int|can't write|str|\\."),
    )
for kind, seed in dict(none=None, text="a", half=1.5, boolean=True).items():
    rows.add(f"example_seed.{kind}", lambda seed=seed: b.example_seed(seed, "a"), refused("seed"))
rows.settings("Method", lambda **k: b.Method(lambda model, inputs, target: inputs, **k), "group", CHOICE)
rows.add("Method.what_not_callable", lambda: b.Method(5), refused("method|function"))
rows.add("Measure.compute_not_callable", lambda: b.Measure(5), refused("compute|callable|measure"))
rows.settings("Measure", lambda **k: b.Measure(lambda case: 1, **k), "better", dict(unknown="up", number=5))

PHOTOS = dict(
    folder=lambda: b.PhotographFolder("nowhere", str),
    file=lambda: (Path("f.jpg").write_text("a"), b.PhotographFolder("f.jpg", str)),
    none=lambda: b.PhotographFolder(None, str),
    number=lambda: b.PhotographFolder(5, str),
    empty=lambda: (Path("empty").mkdir(), b.PhotographFolder("empty", str)),
    preprocess=lambda: (photographs(), b.PhotographFolder("photos", 5)),
)


def to_tensor(image):
    return torch.from_numpy(np.asarray(image.convert("RGB").resize((8, 8)))).permute(2, 0, 1) / 255


def photographs():
    Path("photos").mkdir(exist_ok=True)
    for name in ("a.jpg", "b.png"):
        Image.new("RGB", (20, 16), "red").save(Path("photos", name))


for kind, call in PHOTOS.items():
    rows.add(
        f"PhotographFolder.{kind}",
        call,
        unreadable("folder|photograph|path|nowhere|preprocess|callable|NoneType|int|str"),
    )
for kind, text in dict(
    not_json="{",
    list="[]",
    a_number="5",
    unknown_photograph='{"c.jpg": {}}',
    misspelt='{"a.jpg": {"lable": 1}}',
    misspelt_box='{"a.jpg": {"bbox": [0, 0, 1, 1]}}',
    three='{"a.jpg": {"boxes": [[0, 0, 1]]}}',
    texts='{"a.jpg": {"boxes": "all"}}',
    label_text='{"a.jpg": {"label": "cat"}}',
    mask_missing='{"a.jpg": {"mask": "nowhere.png"}}',
    entry_number='{"a.jpg": 5}',
    nan_box='{"a.jpg": {"boxes": [[0, 0, NaN, 1]]}}',
    reversed_box='{"a.jpg": {"boxes": [[9, 9, 1, 1]]}}',
).items():

    def annotated(text=text):
        photographs()
        Path("annotations.json").write_text(text)
        return bench(
            data="photos", preprocess=to_tensor, annotations="annotations.json", measures=("deletion", "pointing_game")
        )

    rows.add(
        f"bench.annotations.{kind}",
        annotated,
        refused("annotation|a\\.jpg|c\\.jpg|box|label|mask", error=(ValueError, TypeError, OSError))
        | drawn(lambda run: {r["index"] for r in run.failures} == {0}),
    )

# ---------------------------------------------------------------------------- damaged run folders


@functools.cache
def good_run():
    folder = Path(os.environ.get("ATTRNB_CATALOGUE_TMP", ".")).resolve() / "good"
    shutil.rmtree(folder, ignore_errors=True)
    bench(folder=str(folder))
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def damaged(harm, use):
    kept = good_run()
    shutil.rmtree("damaged", ignore_errors=True)
    for path, content in kept.items():
        Path("damaged", path).parent.mkdir(parents=True, exist_ok=True)
        Path("damaged", path).write_bytes(content)
    harm(Path("damaged"))
    return use()


def manifest(change):
    def harm(folder):
        path = folder / "manifest.json"
        path.write_text(change if isinstance(change, str) else json.dumps(change(json.loads(path.read_text()))))

    return harm


def result(change):
    def harm(folder):
        path = sorted((folder / "results").glob("*.json"))[0]
        path.write_text(change if isinstance(change, str) else json.dumps(change(json.loads(path.read_text()))))

    return harm


def shard(content):
    def harm(folder):
        path = sorted((folder / "attributions").glob("*.safetensors"))[0]
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return harm


def without(key):
    return lambda d: {k: v for k, v in d.items() if k != key}


def rows_without(key):
    return lambda d: (
        [without(key)(r) for r in d]
        if isinstance(d, list)
        else {
            k: [without(key)(r) for r in v] if isinstance(v, list) and v and isinstance(v[0], dict) else v
            for k, v in d.items()
        }
    )


USES = dict(
    go_on=lambda: b.benchmark(
        net, data, ("centre", "uniform"), ("deletion",), "damaged", masking_steps=2, unit=4, show_progress=False
    ),
    read=lambda: b.BenchmarkRun("damaged").table(),
    attributions=lambda: b.BenchmarkRun("damaged").attributions("centre"),
)
BAD_MANIFEST, BAD_RESULT, BAD_SHARD = "manifest", "results|result", "attributions|safetensors|shard"
for kind, (harm, uses, words) in dict(
    manifest_list=(manifest("[]"), ("go_on", "read"), BAD_MANIFEST),
    manifest_empty_object=(manifest("{}"), ("go_on", "read"), BAD_MANIFEST),
    manifest_text=(manifest("hello"), ("go_on", "read"), BAD_MANIFEST),
    manifest_empty=(manifest(""), ("go_on", "read"), BAD_MANIFEST),
    manifest_number=(manifest("5"), ("go_on", "read"), BAD_MANIFEST),
    manifest_null=(manifest("null"), ("go_on", "read"), BAD_MANIFEST),
    manifest_configuration_null=(manifest(lambda d: d | dict(configuration=None)), ("go_on", "read"), BAD_MANIFEST),
    manifest_configuration_list=(manifest(lambda d: d | dict(configuration=[])), ("go_on", "read"), BAD_MANIFEST),
    manifest_no_examples=(manifest(without("examples")), ("go_on", "read"), BAD_MANIFEST),
    manifest_no_methods=(
        manifest(lambda d: d | dict(configuration=without("methods")(d["configuration"]))),
        ("go_on", "read"),
        BAD_MANIFEST,
    ),
    manifest_examples_number=(manifest(lambda d: d | dict(examples=5)), ("go_on", "read"), BAD_MANIFEST),
    manifest_missing=(lambda f: (f / "manifest.json").unlink(), ("go_on", "read"), BAD_MANIFEST),
    manifest_folder=(
        lambda f: ((f / "manifest.json").unlink(), (f / "manifest.json").mkdir()),
        ("go_on", "read"),
        BAD_MANIFEST,
    ),
    result_text=(result("hello"), ("go_on", "read"), BAD_RESULT),
    result_list_of_numbers=(result("[1, 2]"), ("go_on", "read"), BAD_RESULT),
    result_null=(result("null"), ("go_on", "read"), BAD_RESULT),
    result_values_missing=(result(rows_without("values")), ("go_on", "read"), BAD_RESULT),
    result_method_missing=(result(rows_without("method")), ("go_on", "read"), BAD_RESULT),
    result_index_missing=(result(rows_without("index")), ("go_on", "read"), BAD_RESULT),
    result_error_missing=(result(rows_without("error")), ("go_on", "read"), BAD_RESULT),
    shard_truncated=(shard(lambda c: c[: len(c) // 2]), ("attributions",), BAD_SHARD),
    shard_empty=(shard(b""), ("attributions",), BAD_SHARD),
    shard_text=(shard(b"hello"), ("attributions",), BAD_SHARD),
    shard_pickle=(shard(b"\x80\x04" + bytes(200)), ("attributions",), BAD_SHARD),
    shard_key_word=(shard(safetensors.torch.save({"zero": torch.ones(1)})), ("attributions",), BAD_SHARD),
    shard_key_range=(shard(safetensors.torch.save({"99": torch.ones(1, 8, 8)})), ("attributions",), BAD_SHARD),
    shard_deleted=(lambda f: sorted((f / "attributions").glob("*"))[0].unlink(), ("attributions",), BAD_SHARD),
).items():
    for use in uses:
        again = (
            drawn(lambda v: True)
            if (use == "go_on" and kind.startswith("result"))
            else warned("attributions|kept|missing")
            if kind == "shard_deleted"
            else refused("no such outcome")
        )
        rows.add(
            f"bench.damaged.{kind}.{use}",
            lambda harm=harm, use=use: damaged(harm, lambda: _undrawn(USES[use])),
            unreadable(words) | again,
        )
rows.add("bench.damaged.nothing.go_on", lambda: damaged(lambda f: None, lambda: _undrawn(USES["go_on"])), complete)


def _undrawn(call):
    with mock.patch.object(b.BenchmarkRun, "figure", undrawn):
        return call()


for kind, folder in dict(missing="nowhere", none=None, number=5, file="f.txt", null="a\0b").items():
    rows.add(
        f"BenchmarkRun.{kind}",
        lambda folder=folder: b.BenchmarkRun(folder),
        unreadable("run|path|nowhere|f.txt|folder|NoneType|int|null|nul|str"),
    )
for kind, call in dict(
    values_method=lambda run: run.values("nothing", "deletion"),
    values_measure=lambda run: run.values("centre", "nothing"),
    values_number=lambda run: run.values(5, "deletion"),
    attributions=lambda run: run.attributions("nothing"),
    summary=lambda run: run.summary("nothing"),
    table=lambda run: run.table("nothing"),
    table_number=lambda run: run.table(5),
    level_text=lambda run: run.summary(level="a"),
    level_above=lambda run: run.summary(level=2.0),
    level_nan=lambda run: run.summary(level=NAN),
).items():
    rows.add(
        f"BenchmarkRun.{kind}",
        lambda call=call: damaged(lambda f: None, lambda: call(b.BenchmarkRun("damaged"))),
        refused("method|measure|level|nothing"),
    )
for kind, values in dict(
    RANK_word=dict(RANK="abc"),
    WORLD_SIZE_word=dict(WORLD_SIZE="two"),
    WORLD_SIZE_2_alone=dict(WORLD_SIZE="2", RANK="0"),
    LOCAL_RANK_word=dict(LOCAL_RANK="x"),
    RANK_too_large=dict(RANK="5", WORLD_SIZE="2"),
    RANK_negative=dict(RANK="-1", WORLD_SIZE="2"),
).items():

    def in_environment(values=values):
        with mock.patch.dict(os.environ, values):
            for name in ("MASTER_ADDR", "MASTER_PORT"):
                os.environ.pop(name, None)
            return bench()

    rows.add(
        f"bench.environment.{kind}",
        in_environment,
        refused("RANK|WORLD_SIZE|MASTER_ADDR", error=(ValueError, TypeError, RuntimeError)),
    )

# ---------------------------------------------------------------------------- the command line
rows.module = "cli"


def attrnb(*words):
    "Exit code, output and error stream of the command"
    out, err = io.StringIO(), io.StringIO()

    def refuse(*a, **k):
        raise AssertionError("a process was started")

    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(b.BenchmarkRun, "figure", undrawn),
        mock.patch.object(explore.subprocess, "Popen", refuse),
    ):
        try:
            code = main([str(w) for w in words])
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue()


def says(*words):
    "Exit code 2 and one line on the error stream (after argparse's usage)"
    import re

    def fits(outcome):
        if outcome.error is not None:
            return False
        code, _, err = outcome.value
        lines = [line for line in err.strip().splitlines() if not line.startswith(("usage:", " ", "attrnb: warning"))]
        return code == 2 and len(lines) == 1 and all(re.search(w, lines[0], re.IGNORECASE) for w in words)

    return Expected(fits, f"exit code 2 and one line saying {words}")


done = Expected(lambda o: o.error is None and o.value[0] == 0, "exit code 0")


def photograph():
    Image.effect_noise((120, 100), 80).convert("RGB").save("photo.jpg")
    return "photo.jpg"


NUMBERS = dict(text="many", half="1.5", zero="0", negative="-1", nan="nan", empty="", huge="9" * 30)
EXPLAIN = ("explain", "--images", "1", "--method", "integrated_gradients(n_steps=2)", "--quiet")
BENCH = (
    "bench",
    "--images",
    "1",
    "--methods",
    "centre,uniform",
    "--measures",
    "deletion",
    "--steps",
    "2",
    "--unit",
    "32",
    "--quiet",
)
for command, base, options in (
    ("explain", EXPLAIN, ("--images", "--internal-batch-size", "--seed")),
    ("bench", BENCH, ("--images", "--internal-batch-size", "--seed", "--steps", "--batch-size")),
):
    for option in options:
        for kind, text in NUMBERS.items():
            expected = says(option.strip("-").replace("-", "[-_]"))
            if option == "--seed":
                expected = expected if kind not in ("zero", "negative", "huge") else expected | done
            if kind == "huge" and option not in ("--seed",):
                expected = expected | done | says("")
                if option in ("--images", "--steps"):  # would be begun
                    continue
            rows.add(
                f"cli.{command}.{option}.{kind}",
                lambda base=base, option=option, text=text: attrnb(*base, f"{option}={text}"),
                expected,
            )
    for option, values, words in (
        ("--score", ("probabilty", ""), "score"),
        ("--device", ("quantum", "cuda:99", "", "meta"), "device"),
        ("--target", ("zebra", "6", "-1", "", "9" * 40), "class|target"),
        ("--model", ("resnet5000", "resnet18", ""), "model|photo|resnet"),
        ("--mean", ("a", "nan", "inf", ""), "mean"),
        ("--std", ("a", "nan", "0", "-1", ""), "std"),
        ("--weights", ("nowhere.pth", ".", ""), r"weights|nowhere|\."),
    ):
        for text in values:
            expected = says(words)
            if (option, text) in (("--model", ""), ("--target", ""), ("--weights", "")):
                expected = expected | done
            rows.add(
                f"cli.{command}.{option}.{text or 'empty'}",
                lambda base=base, option=option, text=text: attrnb(*base, f"{option}={text}"),
                expected,
            )
    rows.add(f"cli.{command}.unknown_option", lambda base=base: attrnb(*base, "--colour", "red"), says("colour"))
    rows.add(f"cli.{command}.right", lambda base=base: attrnb(*base), done)
for text in (
    "magic",
    "",
    ",",
    "neflag(n_pointz=3)",
    "neflag(",
    "neflag(n_points=0)",
    "neflag(3)",
    "neflag(radius=nan)",
    "os.system",
    "all,neflag",
    "neflag(n_points='a')",
    "integrated_gradients(n_steps=2)(3)",
):
    rows.add(
        f"cli.explain.--method.{text}",
        lambda text=text: attrnb("explain", "--images", "1", "--quiet", f"--method={text}"),
        says("method|read|n_pointz|n_points|radius|name"),
    )
    rows.add(
        f"cli.bench.--methods.{text}",
        lambda text=text: attrnb(
            "bench", "--images", "1", "--measures=deletion", "--steps=2", "--quiet", f"--methods={text}"
        ),
        says("method|read|n_pointz|n_points|radius|name"),
    )
for text in (
    "magic",
    "",
    "deletion(masking_steps=0)",
    "deletion(stepz=3)",
    "deletion(",
    "deletion(unit=0)",
    "deletion(substrate='white')",
    "insertion(sign='abs')",
    "deletion(score='x')",
):
    rows.add(
        f"cli.bench.--measures.{text or 'empty'}",
        lambda text=text: attrnb("bench", "--images", "1", "--methods=centre", "--quiet", f"--measures={text}"),
        says("measure|read|steps|stepz|unit|substrate|rank|name|score|of="),
    )
for option, values in {
    "--substrate": ("white", "nan", ""),
    "--unit": ("0", "-1", "1.5", "pixel", "nan", ""),
    "--keep": ("float8", ""),
    "--reference": ("saliency", "", "centre,uniform", "(", "5"),
    "--target": ("dog",),
    "--annotations": ("nowhere.json", "."),
}.items():
    for text in values:
        rows.add(
            f"cli.bench.{option}.{text or 'empty'}",
            lambda option=option, text=text: attrnb(*BENCH, f"{option}={text}"),
            says(option.strip("-") + r"|class|dog|nowhere|baseline|read"),
        )
rows.add("cli.bench.--reference.right", lambda: attrnb(*BENCH, "--reference=uniform"), done)
for text in ("no/such/folder/figure.png", ".", "a\0b.png", "x" * 300 + ".png", "figure.xyz"):
    rows.add(
        f"cli.explain.--out.{text[:12]!r}",
        lambda text=text: attrnb(*EXPLAIN, f"--out={text}"),
        says("write|out|folder|png|name"),
    )
rows.add("cli.explain.--out.empty", lambda: attrnb(*EXPLAIN, "--out="), says("out") | done)


def over_the_photograph(*words):
    before = Path(photograph()).read_bytes()
    found = attrnb(*words)
    return *found, Path("photo.jpg").read_bytes() == before


refused_and_kept = Expected(
    lambda o: o.error is None and o.value[0] == 2 and o.value[3], "exit code 2 and the photograph as it was"
)
rows.add(
    "cli.explain.out_is_the_photograph",
    lambda: over_the_photograph(
        "explain",
        "photo.jpg",
        "--model=shapes",
        "--method=integrated_gradients(n_steps=2)",
        "--quiet",
        "--out=photo.jpg",
    ),
    refused_and_kept,
)
rows.add(
    "cli.explain.out_is_the_photograph_by_another_name",
    lambda: over_the_photograph(
        "explain",
        "photo.jpg",
        "--model=shapes",
        "--method=integrated_gradients(n_steps=2)",
        "--quiet",
        "--out=./../" + Path.cwd().name + "/photo.jpg",
    ),
    refused_and_kept,
)
for kind, (name, content) in dict(
    missing=("nothing.jpg", None),
    broken=("broken.jpg", b"not a picture"),
    empty=("empty.jpg", b""),
    postscript=("ps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"),
    text=("a.txt", b"hello"),
    null=("a\0b.jpg", None),
).items():

    def explain_file(name=name, content=content):
        if content is not None:
            Path(name).write_bytes(content)
        return attrnb("explain", name, "--model=shapes", "--quiet")

    rows.add(f"cli.explain.photograph.{kind}", explain_file, says("nothing|broken|empty|ps|a|null"))
rows.add("cli.explain.photograph.folder", lambda: attrnb("explain", ".", "--model=shapes"), says("file|folder|picture"))
rows.add("cli.explain.two_photographs", lambda: attrnb("explain", "a.jpg", "b.jpg"), says("b.jpg"))
for kind, name in dict(missing="nowhere", file="f.txt", empty="empty").items():

    def bench_folder(name=name):
        Path("f.txt").write_text("a")
        Path("empty").mkdir(exist_ok=True)
        return attrnb("bench", name, "--model=shapes", "--quiet", "--methods=centre")

    rows.add(f"cli.bench.photographs.{kind}", bench_folder, says("nowhere|f.txt|empty|photograph|folder"))


def bench_in(prepare, *words):
    Path("out").mkdir(exist_ok=True)
    prepare(Path("out"))
    before = {p.name: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    found = attrnb(*BENCH, "--out=out", *words)
    return *found, all(Path("out", k).exists() and Path("out", k).read_bytes() == v for k, v in before.items())


for name in ("table.csv", "table.md", "figure.png", ".notes.tmp", "notes.txt"):
    rows.add(
        f"cli.bench.--out.with_{name}",
        lambda name=name: bench_in(lambda f: (f / name).write_text("mine")),
        Expected(lambda o: o.error is None and o.value[3], "the file of the user is as it was"),
    )
rows.add(
    "cli.bench.--out.file", lambda: (Path("taken").write_text("a"), attrnb(*BENCH, "--out=taken"))[1], says("taken")
)
rows.add("cli.bench.--out.null", lambda: attrnb(*BENCH, "--out=a\0b"), says("null|nul|out|a"))


def in_a_damaged_folder(text):
    attrnb(*BENCH, "--out=run")
    Path("run", "manifest.json").write_text(text)
    return attrnb(*BENCH, "--out=run")


for kind, text in dict(empty_object="{}", list="[]", text="hello", empty="", null="null").items():
    rows.add(f"cli.bench.manifest.{kind}", lambda text=text: in_a_damaged_folder(text), says("manifest"))


def truncated_shard(*more):
    attrnb(*BENCH, "--out=run")
    for p in Path("run", "attributions").glob("*"):
        p.write_bytes(p.read_bytes()[:20])
    return attrnb(*BENCH, "--out=run", *more)


rows.add(
    "cli.bench.truncated_shard_retry",
    lambda: truncated_shard("--retry-failed"),
    says("attributions|safetensors") | done,
)
rows.add(
    "cli.bench.every_method_fails",
    lambda: attrnb(
        "bench", "--images=1", "--methods=grad_cam(layer='nowhere')", "--measures=deletion", "--steps=2", "--quiet"
    ),
    says("nowhere|layer") | Expected(lambda o: o.error is None and o.value[0] == 1, "exit code 1"),
)
rows.add(
    "cli.bench.interrupted",
    lambda: _interrupted(),
    Expected(lambda o: o.error is None and o.value[0] == 130, "exit code 130"),
)
rows.add("cli.bench.cp1252", lambda: _in_cp1252(), done)


def _interrupted():
    with mock.patch("attrnb.benchmark.benchmark", side_effect=KeyboardInterrupt):
        return attrnb(*BENCH)


def _in_cp1252():
    "On a Windows code page the table's arrows have no letter"
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    err = io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(b.BenchmarkRun, "figure", undrawn),
    ):
        return main([*BENCH]), "", err.getvalue()


for words in ((), ("explane",), ("--version",), ("explain", "--help")):
    rows.add(
        f"cli.main.{' '.join(words) or 'nothing'}",
        lambda words=words: attrnb(*words),
        done if "--" in " ".join(words) else Expected(lambda o: o.error is None and o.value[0] == 2, "exit code 2"),
    )
for text in ("99999", "-5", "a", "1.5", "", "80000000000"):
    rows.add(
        f"cli.explore.--port.{text or 'empty'}",
        lambda text=text: attrnb("explore", f"--port={text}", "--no-browser"),
        says("port"),
    )
for option, values in {
    "--application": ("emacs", ""),
    "--model": ("resnet5000", "resnet18"),
    "--weights": ("nowhere.pth",),
    "--labels": ("nowhere.txt",),
    "--mean": ("a", "nan"),
    "--std": ("a", "0", "nan"),
}.items():
    for text in values:
        rows.add(
            f"cli.explore.{option}.{text or 'empty'}",
            lambda option=option, text=text: attrnb("explore", f"{option}={text}", "--no-browser"),
            says(option.strip("-") + "|model|network|nowhere"),
        )
rows.add(
    "cli.explore.missing_photograph", lambda: attrnb("explore", "nothing.jpg", "--no-browser"), says("nothing.jpg")
)
rows.add(
    "cli.explore.broken_photograph",
    lambda: (Path("broken.jpg").write_bytes(b"a"), attrnb("explore", "broken.jpg", "--model=resnet18", "--no-browser"))[
        1
    ],
    says("broken.jpg"),
)
rows.add(
    "cli.explore.photograph_for_shapes",
    lambda: (photograph(), attrnb("explore", "photo.jpg", "--model=shapes", "--no-browser"))[1],
    says("shapes"),
)


def port_in_use():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        return attrnb("explore", f"--port={s.getsockname()[1]}", "--no-browser")


rows.add("cli.explore.port_in_use", port_in_use, says("port"))
for kind, name in dict(
    none=None, number=5, list=["cpu"], unknown="quantum", empty="", cuda="cuda:99", meta="meta"
).items():
    rows.add(f"choose_device.{kind}", lambda name=name: choose_device(name), refused("device"))
rows.add("choose_device.right", lambda: choose_device("cpu"), drawn(lambda v: v == torch.device("cpu")))
