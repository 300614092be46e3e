"""What runs: networks of the zoo under every method, at least as well as the table of the page says

A sample in every run; with `--flags slow` all of them. The table is made by experiments/what_runs.py.
"""

import sys

import pytest
import torch
from test_experiments import program

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
    counts = {
        source: sum(e.source == source for e in entries) for source in ("torchvision", "timm", "transformers", "own")
    }
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
