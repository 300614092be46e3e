"""What runs: networks of the zoo under every method, at least as well as the table of the page says

A sample in every run; with `--flags slow` all of them. The table is made by experiments/what_runs.py.
"""

import csv
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from test_experiments import program

from attrnb.core import ClassScore
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.geodesic import GeodesicIGSVI
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients

PAGE = Path(__file__).parents[1] / "nbs" / "tutorials" / "what_runs.ipynb"

SAMPLE = """
torchvision/squeezenet1_1 torchvision/shufflenet_v2_x0_5 torchvision/mobilenet_v3_small torchvision/resnet18
timm/vit_tiny_patch16_224 timm/test_convnext timm/mobilevitv2_050
transformers/vit transformers/swin transformers/resnet transformers/convnext transformers/segformer-segmentation
transformers/bert-padded transformers/distilbert transformers/deberta-v2 transformers/gpt2 transformers/llama
transformers/t5 transformers/mamba transformers/wav2vec2
own/mixture-of-experts own/temporal-convolutions own/lstm own/transformer-encoder own/set-transformer
own/graph-convolution own/u-net-pixel own/convolution-3d own/data-parallel own/bfloat16
""".split()


@pytest.fixture(scope="module")
def what_runs():
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    if "what_runs" not in sys.modules:
        program("what_runs")
    return sys.modules["what_runs"]


def test_the_zoo_is_large_and_of_many_kinds(what_runs):
    entries = what_runs.ENTRIES.values()
    counts = Counter(e.source for e in entries)
    assert (
        counts["torchvision"] >= 90 and counts["timm"] >= 190 and counts["transformers"] >= 90 and counts["own"] >= 70
    )
    assert {"text", "next token", "sound", "films", "segmentation", "detection", "graph", "set", "volume", "table"} <= {
        e.family for e in entries
    }
    assert len(SAMPLE) == 30 and set(SAMPLE) <= set(what_runs.ENTRIES)


@pytest.mark.parametrize("name", ["own/lstm", "transformers/bert-padded", "timm/test_convnext"])
def test_an_entry_is_the_same_whenever_it_is_made(what_runs, name, random_state_untouched):
    one, other = (what_runs.ENTRIES[name].make() for _ in range(2))
    assert torch.equal(one.run(), other.run()) and not one.model.training
    assert all(torch.equal(a, b) for a, b in zip(one.inputs, other.inputs, strict=True))


RANKS = ("runs", "refused", "timeout")  # an error or a wrong form is never allowed
SECONDS = 120.0  # of the processor, for one row


def pytest_generate_tests(metafunc):
    if "network" in metafunc.fixturenames:
        slow = "slow" in metafunc.config.getoption("--flags").split()
        metafunc.parametrize("network", RECORDED if slow else SAMPLE)


def recorded():
    with open(PAGE.with_suffix(".csv"), newline="", encoding="utf-8") as file:
        rows = {}
        for row in csv.DictReader(file):
            rows.setdefault(row["name"], {})[row["method"]] = row
    return rows


RECORDED = recorded()


def test_every_method_runs_at_least_as_well_as_the_table_says(what_runs, network):
    for row in what_runs.rows_of(what_runs.ENTRIES[network], list(RECORDED[network]), SECONDS):
        before = RECORDED[network][row.method]
        assert row.outcome in RANKS[: RANKS.index(before["outcome"]) + 1], row
        assert not row.left, row
        if row.outcome == "runs":
            tolerance = 5e-2 if network in ("own/bfloat16", "own/autocast") else 1e-3
            assert float(row.alone) <= max(tolerance, 10 * float(before["alone"] or 0)), row
            assert float(row.completeness or 0) <= 0.01 + 2 * float(before["completeness"] or 0), row


def test_the_table_holds_the_zoo_without_a_raw_error(what_runs):
    assert set(RECORDED) <= set(what_runs.ENTRIES)
    assert sum(set(rows) == set(what_runs.METHODS) for rows in RECORDED.values()) >= 120
    for rows in RECORDED.values():
        for row in rows.values():
            assert row["outcome"] in RANKS and not row["left"], row
            assert not re.search(r"[\"' ](/|[A-Z]:\\\\)\w+[/\\\\]", row["said"]), row  # a place on one machine
    sources = Counter(entry.source for entry in what_runs.ENTRIES.values())
    page = PAGE.read_text(encoding="utf-8")
    assert all(f'\\"{source}\\": {n}' in page for source, n in sources.items()), "the page's size of the zoo"


# what mends a refusal, as the table of the page says it


def quantised_before(case):
    from zoo.cases import stirred
    from zoo.own import numbers, perceptron

    return stirred(perceptron(), numbers(8, 6, seed=1))


def without_no_grad(case):
    parts = case.model.parts
    return torch.nn.Sequential(parts["body"], parts["head"])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", ["paths", "neflag", "graph", "variational", "equilibrium"])
@pytest.mark.parametrize(
    "name, mend",
    [
        ("own/tuple-of-two", lambda case: ClassScore(case.model, output=0)),
        ("own/quantised", quantised_before),
        ("own/detached", without_no_grad),
    ],
)
def test_what_is_refused_runs_when_it_is_mended(what_runs, name, mend, method):
    case = what_runs.ENTRIES[name].make()
    with pytest.raises((TypeError, ValueError)):
        what_runs.attribute(case, "own", method, case.inputs, case.extra)
    case.model = mend(case)
    found = what_runs.attribute(case, "own", method, case.inputs, case.extra)
    assert found.shape == case.inputs[0].shape and found.any()


@pytest.mark.parametrize(
    "name, layer",
    [
        ("own/message-passing", "message"),
        ("own/fourier-operator", "first"),
        ("transformers/fnet", "fnet.embeddings"),
        ("transformers/mixtral", "model.layers.0.self_attn"),
        ("transformers/qwen2_moe", "model.layers.0.self_attn"),
    ],
)
def test_an_operation_without_a_rule_is_not_met_from_a_layer_below_it(what_runs, name, layer):
    case = what_runs.ENTRIES[name].make()
    if RECORDED[name].get("equilibrium", {}).get("outcome") == "refused":
        with pytest.raises(NotImplementedError, match="no rule for it"):
            what_runs.attribute(case, "own", "equilibrium", case.inputs, case.extra)
    method = AttributionEquilibrium(case.model, layer=layer)
    found = method.attribute(case.inputs[0], target=case.target, additional_forward_args=case.extra)
    assert found.shape == case.inputs[0].shape and found.any()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", [PathIntegratedGradients, NeFLAG, GeodesicIGSVI])
def test_token_numbers_are_explained_at_their_embedding(what_runs, method):
    case = what_runs.ENTRIES["own/integer-inputs"].make()
    (tokens,) = case.inputs
    start = {} if method is NeFLAG else dict(baselines=torch.zeros_like(tokens))
    assert method(case.model, layer="0").attribute(tokens, target=case.target, **start).shape == (2, 5, 4)


def test_errors_are_told_from_refusals(what_runs):
    with pytest.raises(TypeError) as refused:
        what_runs.PathIntegratedGradients(torch.nn.Linear(3, 2)).attribute(torch.ones(1, 3, dtype=torch.long), target=0)
    with pytest.raises(RuntimeError) as raw:
        what_runs.PathIntegratedGradients(torch.nn.Linear(3, 2)).attribute(torch.ones(1, 4), target=0)
    assert what_runs.refuses(refused.value) and not what_runs.refuses(raw.value)
    assert "target_score.py" in what_runs.place(raw.value)


def test_files_are_named_without_the_place_of_the_machine(what_runs):
    said = what_runs.short('called at File "/home/me/project/tests/zoo/own.py", line 6, and "a/b"')
    assert said == 'called at File "zoo/own.py", line 6, and "a/b"'


class Careless:
    "Does what a method must not do"

    def __init__(self, model):
        self.model = model

    def attribute(self, inputs, target=None, additional_forward_args=None):
        next(self.model.parameters()).data.mul_(1.5)
        self.model.train()
        torch.rand(1)
        return inputs / len(inputs)


def test_what_is_not_left_as_found_and_not_the_same_alone_is_seen(what_runs, monkeypatch):
    monkeypatch.setitem(what_runs.METHODS, "careless", (lambda case: Careless(case.model), {}))
    entry = what_runs.ENTRIES["own/deep-set"]
    with torch.random.fork_rng():
        row = what_runs.measure(entry, entry.make(), "careless", 1.0, SECONDS)
    assert row.outcome == "runs" and float(row.alone) > 0.1
    assert row.left == "parameters, modes, random numbers"


def test_rows_are_counted_and_time_runs_out(what_runs):
    entry = what_runs.ENTRIES["own/deep-set"]
    row = what_runs.measure(entry, entry.make(), "paths", 1.0, SECONDS)
    assert int(row.rows) == 10 and int(row.with_gradient) == 8 and float(row.completeness) < 0.5
    assert what_runs.measure(entry, entry.make(), "paths", 1.0, 1e-4).outcome == "timeout"


def test_the_program_goes_on_where_it_stopped(what_runs, tmp_path, capfd):
    words = ["--only", "own/deep-set", "own/regression", "--methods", "paths", "--out", str(tmp_path / "rows.csv")]
    what_runs.main([*words, "--only", "own/deep-set"])
    what_runs.main(words)
    assert capfd.readouterr().out.split() == ["own/deep-set", "paths:runs", "own/regression", "paths:runs"]
    what_runs.main(words)
    assert not capfd.readouterr().out
    found = what_runs.read(tmp_path / "rows.csv")
    assert list(found) == [("own/regression", "paths"), ("own/deep-set", "paths")]
    assert all(row["outcome"] == "runs" and row["left"] == "" for row in found.values())
