"One meaning of a method: names, classes, instances, functions, registered ones and those of installed packages"

import inspect
import itertools
import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path

import captum.attr
import numpy as np
import pytest
import torch
from models import seeded
from torch import nn
from torch.testing import assert_close

from attrnb.core import SCORES, ClassScore, Findings
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.geodesic import GeodesicIGSVI, PathFamily, PathSearch
from attrnb.methods import (
    METHODS,
    Method,
    ScoredModel,
    activity_floor_map,
    as_quantus,
    attribute,
    attribute_by_name,
    method_of,
    methods_table,
    parse_names,
    read_methods,
    register_method,
    registry,
)
from attrnb.methods.captum import unguided_activations
from attrnb.neflag import FluxPoints, NeFLAG
from attrnb.paths import PathIntegratedGradients


def network(seed=0):
    return seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)),
        seed,
    )


def pictures(n=2, side=12):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def registered():
    "Registers methods for one test"
    names = []

    def register(what, name, **about):
        names.append(name)
        return register_method(what, name, **about)

    yield register
    for name in names:
        METHODS.pop(name, None)


# What is explained


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("outputs", [5, 1])
def test_the_model_that_is_explained_gives_the_score(score, outputs):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, outputs)).eval()
    x = pictures(3, 2)
    scored = ScoredModel(model, score)
    if score == "margin" and outputs == 1:
        with pytest.raises(ValueError, match="needs another class"):
            scored(x)
        return
    assert_close(scored(x), ClassScore(model, of=score)(x), rtol=0, atol=0)
    assert isinstance(scored, ClassScore) and scored.model is model and scored.rows == scored.gradient_rows == 3
    with torch.no_grad():
        scored(x)
    assert (scored.rows, scored.gradient_rows) == (6, 3)


def test_a_function_is_given_score_inputs_and_classes():
    seen = []

    def look(model, inputs, target, power=1):
        seen.append((type(model), model(inputs).detach(), inputs, target, power))
        return inputs

    model, x = network(), pictures()
    attribute(look, model, x, 3)
    attribute((look, dict(power=2)), model, x, [3, 3], "probability")
    attribute(look, model, x, torch.tensor([3, 3]), "logit", settings=dict(power=3))
    as_quantus(look, "probability", power=4)(model, x.numpy(), np.array([3, 3]))
    assert [s[-1] for s in seen] == [1, 2, 3, 4]
    for kind, outputs, inputs, target, power in seen:
        assert kind is ScoredModel and torch.equal(inputs, x) and not inputs.requires_grad
        assert target.dtype == torch.int64 and target.tolist() == [3, 3]
        assert_close(outputs, model(x) if power == 3 else model(x).softmax(1))


@pytest.mark.parametrize("name", [m for m in METHODS if METHODS[m].group == "captum"])
def test_captum_methods_are_captums(name):
    model, x, target = network(), pictures(), torch.tensor([0, 4])
    direct = {
        "captum_integrated_gradients": lambda f, x: captum.attr.IntegratedGradients(f).attribute(x, target=target),
        "saliency": lambda f, x: captum.attr.Saliency(f).attribute(x, target=target),
        "input_x_gradient": lambda f, x: captum.attr.InputXGradient(f).attribute(x, target=target),
        "deep_lift": lambda f, x: captum.attr.DeepLift(nn.Sequential(model, nn.Softmax(1))).attribute(x, target=target),
        "guided_backprop": lambda f, x: captum.attr.GuidedBackprop(model).attribute(x, target=target),
        "occlusion": lambda f, x: captum.attr.Occlusion(f).attribute(
            x, target=target, sliding_window_shapes=(3, 1, 1), strides=(3, 1, 1)
        ),
    }
    result = attribute(name, model, x, target)
    assert result.attributions.shape in (x.shape, x[:, :1].shape) and result.rows >= 2
    if name in direct:
        expected = direct[name](ClassScore(model, of="probability"), x.clone().requires_grad_())
        assert_close(result.attributions, expected.detach())


# Anything that makes attributions


def test_names_in_any_spelling():
    for name, method in METHODS.items():
        for spelling in (
            name,
            method.title,
            method.title.swapcase(),
            name.upper(),
            name.replace("_", "-"),
            method.title.replace(" ", ""),
        ):
            assert METHODS[spelling] is method and method_of(spelling) is method
        assert list(parse_names(method.title)) == [name], "and in text"
    assert "salience" not in METHODS and 3 not in METHODS
    with pytest.raises(ValueError, match="did you mean saliency"):
        method_of("salience")
    with pytest.raises(KeyError):
        METHODS["salience"]


def test_classes_instances_functions_and_names_with_settings_agree():
    model, x = network(), pictures()
    scored = ClassScore(model, of="log_probability")
    expected = NeFLAG(scored).attribute(x, target=2, n_points=3, seed=5)
    forms = [
        "neflag(n_points=3)",
        ("NeFLAG", dict(n_points=3)),
        (NeFLAG, dict(n_points=3)),
        (NeFLAG(scored), dict(n_points=3)),
        lambda model, x, target, *, seed: NeFLAG(model).attribute(x, target=target, n_points=3, seed=seed),
        Method(NeFLAG, settings=dict(n_points=3)),
    ]
    for form in forms:
        found = attribute(form, model, x, 2, "log_probability", seed=5).attributions
        assert_close(found, expected, rtol=0, atol=0)


def test_settings_of_the_call_come_before_those_of_the_method():
    method = Method(
        lambda model, x, target, a=0, b=0, c=0: x * (100 * a + 10 * b + c),
        settings=dict(b=2, c=2),
        from_inputs=lambda x: dict(a=1, b=1, c=1),
    )
    x = torch.ones(1, 2)
    assert method.arguments(x, dict(c=3)) == dict(a=1, b=2, c=3)
    assert (attribute(method, lambda x: x, x, 0, "logit", settings=dict(c=3)).attributions == 123).all()
    assert method_of((method, dict(b=5))).arguments(x) == dict(a=1, b=5, c=2)


def test_a_class_brings_what_is_known_but_not_the_settings():
    plain, named = method_of(GeodesicIGSVI), method_of("geodesic")
    assert plain.complete and plain.random and plain.settings == {} and named.settings
    assert plain.title == "GeodesicIGSVI" and named.title == "Geodesic IG"
    assert method_of(captum.attr.Saliency).seeded and not method_of(captum.attr.GradientShap).seeded


@pytest.mark.parametrize(
    "given, error, words",
    [
        (3, TypeError, "a class or an instance with `attribute`"),
        (dict, TypeError, "the class dict, which has no `attribute`"),
        ((NeFLAG, 3), TypeError, "a pair"),
        ((NeFLAG,), TypeError, "a pair"),
        ((NeFLAG, dict(n_pointz=3)), ValueError, "did you mean n_points"),
        ((NeFLAG, {3: 3}), TypeError, "must have names"),
        ("neflag(n_pointz=3)", ValueError, "did you mean n_points"),
        ("geodesic(spreads=0.3)", ValueError, "did you mean spread"),
        ("geodesic(spread=-1)", ValueError, "spread is -1; it must be above 0"),
        ("geodesic(family={'samples': 3})", ValueError, "setting 'family' takes no setting 'samples'"),
        (captum.attr.Occlusion, ValueError, "needs a value for sliding_window_shapes"),
        (lambda model, inputs: inputs, ValueError, "can't be called as function"),
        (lambda model, inputs, target, layer: inputs, ValueError, "needs a value for layer"),
        (type("A", (), {"attribute": lambda self, inputs: 0, "__init__": lambda self, f: None}), ValueError, "target"),
        (max, ValueError, "can't be read"),
    ],
)
def test_what_can_not_be_applied_is_refused_at_the_door(given, error, words):
    with pytest.raises(error, match=words):
        method_of(given)
    with pytest.raises(error, match=words):
        as_quantus(given)


@pytest.mark.parametrize(
    "given",
    [
        "geodesic(spread=0.3, n_samples=2, rounds=1, n_points=4)",
        "geodesic(search={'spread': 0.3}, family={'n_samples': 2}, rounds=1, n_points=4)",
        ("geodesic(spread=0.3, rounds=1)", dict(n_points=4, family=PathFamily(n_samples=2))),
        (
            GeodesicIGSVI,
            dict(method_of("geodesic").settings, search=dict(spread=0.3), n_samples=2, rounds=1, n_points=4),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:the search found no path:UserWarning")
def test_settings_of_the_search_and_the_family_are_settings_of_the_method(given):
    model, x = network(), pictures(1, 6)
    settings = {**method_of("geodesic").settings, "rounds": 1, "n_points": 4}
    by_hand = GeodesicIGSVI(model, search=PathSearch(spread=0.3), family=PathFamily(n_samples=2))
    found = attribute(given, model, x, 0, "logit").attributions
    assert_close(found, by_hand.attribute(x, target=0, **settings), rtol=1e-4, atol=1e-6)
    assert method_of(given).settings["search"] == PathSearch(spread=0.3)
    other = attribute((given, dict(temperature=50.0)), model, x, 0, "logit").attributions
    assert (other - found).abs().max() > 1e-3 * found.abs().max()


def test_labels():
    chosen = read_methods([NeFLAG, (NeFLAG, dict(n_points=2)), "Geodesic IG, saliency", captum.attr.Saliency])
    assert list(chosen) == ["NeFLAG", "NeFLAG 2", "geodesic", "saliency", "Saliency"]
    assert [m.title for m in read_methods({"mine": NeFLAG, "neflag": None}).values()] == ["mine", "neflag"]


# Random numbers, costs, and what is found on the way


def test_the_seed_reaches_the_method_or_the_global_generators():
    model, x = network(), pictures()
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()

    def draws(model, x, target):
        return torch.rand_like(x) + np.random.rand()

    for method in ("neflag", "gradient_shap", "random", draws):
        a, b, c = (attribute(method, model, x, 0, seed=seed).attributions for seed in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), state[0]) and np.random.get_state()[1].tolist() == state[1]
    given = attribute(NeFLAG, model, x, 0, seed=1, settings=dict(seed=2)).attributions
    assert torch.equal(given, attribute(NeFLAG, model, x, 0, seed=2).attributions), "a setting comes first"


def test_beside_other_threads_random_tensors_are_the_same_and_the_global_generators_untouched(monkeypatch):
    model, x = network(), pictures()

    def draws(model, x, target):
        return torch.rand_like(x)

    expected = attribute(draws, model, x, 0, seed=4).attributions
    monkeypatch.setattr(torch, "manual_seed", None)
    assert torch.equal(attribute(draws, model, x, 0, seed=4, beside=True).attributions, expected)


def test_costs_are_counted_where_they_can_be_seen():
    model, x = network(), pictures()
    path = attribute("integrated_gradients(n_steps=8)", model, x, 0)
    assert path.gradient_rows == 16 <= path.rows
    assert attribute("equilibrium", model, x, 0)[2:] == (2, 2)
    assert attribute("centre", model, x, 0)[2:] == (0, 0)
    assert attribute(captum.attr.Saliency(model), model, x, 0)[2:] == (2, 2)
    assert attribute(captum.attr.Saliency(network()), model, x, 0)[2:] == (None, None)
    assert attribute(lambda m, x, t: x * float(m.model(x).sum()), model, x, 0)[2:] == (2, 2)
    assert not model._forward_pre_hooks


def test_what_is_found_on_the_way_answers_the_protocol_or_nothing():
    model, x = network(), pictures(1)
    assert isinstance(attribute("neflag", model, x, 0, findings=True).findings, FluxPoints)
    assert attribute("neflag", model, x, 0).findings is None
    path = attribute(PathIntegratedGradients, model, x, 0, findings=True, settings=dict(baselines="white")).findings
    assert isinstance(path, Findings)
    steps = path.as_steps(x, lambda points: points.flatten(1).sum(1))
    assert_close(steps.frames[0].float(), torch.ones(3, 12, 12), atol=1e-3, rtol=0)
    assert_close(float(steps.values[-1]), float(x.double().sum()), rtol=1e-5, atol=0)


def test_by_name_is_the_same():
    model, x = network(), pictures()
    found, cost = attribute_by_name("neflag", model, x, [0, 1], n_points=2)
    assert_close(found, attribute("neflag", model, x, [0, 1], settings=dict(n_points=2)).attributions)
    assert cost["rows"] >= cost["gradient_rows"] > 0


# One's own, and those of installed packages


def test_a_registered_method_has_a_name(registered):
    method = registered(lambda model, x, target, power=2: x**power, "power_of_x", title="Power of x", complete=True)
    assert method_of("Power of x") is method and "| `power_of_x` | Power of x |" in methods_table()
    assert (attribute("power-of-x(power=3)", network(), pictures(), 0).attributions == pictures() ** 3).all()
    registered(lambda model, x, target: x, "power_of_x")  # the cell was run again
    for what, name in ((NeFLAG, "saliency"), (NeFLAG, "Geodesic IG"), (NeFLAG, "grad cam")):
        with pytest.raises(ValueError, match="already|small letters"):
            register_method(what, name)


PACKAGE = """
"A package that offers a method, and knows nothing of the command line, the benchmark and the explorer"

import torch

from attrnb.core import FeatureAttribution, Steps


class Ways:
    def as_steps(self, inputs, score):
        values = score(torch.cat([0 * inputs, inputs]))
        return Steps("Ways", "bars", values.detach(), [inputs[0]] * 2, ["black", "here"])


class Halfway(FeatureAttribution):
    "Gradients halfway from black, times the input"

    def attribute(self, inputs, target=None, *, share: float = 0.7, return_ways=False):  # of the way
        x = (share * inputs).detach().requires_grad_()
        scores = self.forward_func(x).gather(1, target[:, None])
        attribution = torch.autograd.grad(scores.sum(), x)[0] * inputs.detach()
        return (attribution, Ways()) if return_ways else attribution
"""
EVERYWHERE = """
import json, sys, warnings
warnings.simplefilter("error", UserWarning)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from attrnb.methods import METHODS, attribute, methods_table
    assert not [w for w in caught if "package" in str(w.message)], "packages are read when they are needed"
    assert METHODS["Halfway"] is METHODS["halfway"] and "| `halfway` |" in methods_table()
    assert METHODS["saliency"].name == "saliency" and len(METHODS) > 16
broken = [str(w.message) for w in caught if "the package broken-methods offers" in str(w.message)]
assert len(broken) == 1 and "nothing" in broken[0] and "ModuleNotFoundError" in broken[0], caught

from attrnb.cli import main
from attrnb.benchmark import BenchmarkRun
from attrnb.explore import explore
from attrnb.samples import sample_model, shape_images

quick = ["--images", "2", "--quiet"]
assert main(["explain", *quick, "--method", "halfway(share=0.5), neflag(n_points=1)", "--score", "logit"]) == 0
assert main(["bench", *quick, "--methods", "Halfway, random", "--measures", "energy_inside", "--out", "run"]) == 0
assert BenchmarkRun("run").values("halfway", "energy_inside")
model, x = sample_model(), shape_images(2, seed=1_000_003).images
explorer = explore(model, x, score="probability")
assert "halfway" in explorer.methods
panel = explorer.panels[0]
panel.method = "Halfway"
explorer.wait()
assert panel.state == "done" and panel.error == "", panel.error
assert panel.settings == {"share": 0.7} and panel._controls[panel.method]["share"].value == 0.7
assert panel.tabs.titles[2] == "Ways" and len(panel.steps.film) == 2
kept = BenchmarkRun("run").attributions("halfway")["shapes-0000"]
by_hand = attribute("halfway", model, x[:1], panel.result.target).attributions
explorer.close()
assert (panel.result.attribution - by_hand).abs().max() < 1e-6
label = shape_images(2, seed=1_000_003).targets[0]
assert (kept - attribute("halfway", model, x[:1], int(label)).attributions[0]).abs().max() < 1e-6
"""


def test_a_method_of_an_installed_package_is_offered_everywhere(tmp_path):
    site = tmp_path / "site"
    for name, entry in (("halfway-methods", "halfway = halfway:Halfway"), ("broken-methods", "broken = nothing:here")):
        folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[attrnb.methods]\n{entry}\n")
    (site / "halfway.py").write_text(PACKAGE)
    paths = [str(site), str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", EVERYWHERE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=os.pathsep.join(paths), MPLBACKEND="Agg"),
    )
    assert done.returncode == 0, done.stderr[-3000:]


# The same in all four places


def test_a_function_is_given_the_same_everywhere(tmp_path, monkeypatch):
    from attrnb.benchmark import benchmark
    from attrnb.cli import main
    from attrnb.explore import explore
    from attrnb.samples import sample_model, shape_images

    monkeypatch.chdir(tmp_path)
    seen = {}

    def look(model, inputs, target):
        with torch.no_grad():
            seen[where] = type(model), model(inputs)[0].clone(), inputs[0].clone(), target.dtype, int(target[0])
        return inputs

    model, samples = sample_model(), shape_images(2, seed=1_000_003)
    wanted = int(model(samples.images).argmax(1)[0])
    where = "benchmark"
    about = dict(target="predicted", folder="run", show_progress=False, batch_size=1, images=1)
    benchmark(model, samples, {"look": look}, ["energy_inside"], **about)
    where = "explorer"
    explorer = explore(model, samples.images, methods=[look], score="probability")
    explorer.wait()
    assert explorer.panels[0].state == "done", explorer.panels[0].error
    explorer.close()
    where = "quantus"
    as_quantus(look, "probability")(model, samples.images[:1].numpy(), [wanted])
    where = "command line"
    register_method(look, "look")
    try:
        assert main(["explain", "--images", "1", "--method", "look", "--quiet"]) == 0
    finally:
        del METHODS["look"]
    kind, scores, inputs, dtype, target = seen["benchmark"]
    assert kind is ScoredModel and dtype == torch.int64 and target == wanted
    assert_close(scores.sum(), torch.tensor(1.0))
    for place, (other, *rest) in seen.items():
        assert other is kind and rest[2:] == [dtype, target], place
        assert_close(rest[0], scores)
        assert torch.equal(rest[1], inputs)
    assert set(seen) == {"benchmark", "explorer", "quantus", "command line"}


def test_old_words_of_settings_work_for_a_version():
    for given in ("geodesic(n_steps=6)", ("geodesic", dict(n_steps=6)), (GeodesicIGSVI, dict(n_steps=6))):
        with pytest.warns(DeprecationWarning, match="n_steps of attribute.* is now called n_segments"):
            assert method_of(given).settings["n_segments"] == 6
    with pytest.warns(DeprecationWarning, match="official"):
        assert "published" in method_of("equilibrium").arguments(torch.zeros(1, 3, 8, 8), dict(official=True))
    with pytest.raises(TypeError, match="old name of n_segments"):
        method_of(("geodesic", dict(n_steps=6, n_segments=6)))


# Floors


def test_activity_is_the_mean_of_the_positive_part_of_the_last_map_whatever_the_class():
    model, x = network(), pictures()
    features = model[0](x)  # the map without ReLU, whose negative part doesn't count
    small = torch.zeros(2, 1, 10, 10)
    for i, channel, row, column in itertools.product(range(2), range(4), range(10), range(10)):
        small[i, 0, row, column] += max(features[i, channel, row, column].item(), 0) / 4
    enlarged = nn.functional.interpolate(small, (12, 12), mode="bilinear")
    scored = ScoredModel(model)
    assert_close(activity_floor_map(scored, x, None, layer="0"), enlarged)
    assert (scored.rows, scored.gradient_rows) == (2, 0)
    assert_close(activity_floor_map(scored, x, None, layer=model[1]), enlarged)
    assert not model[0]._forward_hooks
    for name in ("activity", "equilibrium_activity"):
        first, second = (attribute((name, dict(layer="1")), model, x, target).attributions for target in (0, 3))
        assert torch.equal(first, second) and METHODS[name].group == "floor"


def test_activity_of_signals_volumes_tokens_and_states_by_plain_loops():
    torch.manual_seed(0)
    signal, volume = nn.Conv1d(2, 3, 3, padding=1), nn.Conv3d(1, 3, 3, padding=1)
    for layer, x, tokens in ((signal, torch.randn(2, 2, 8), False), (volume, torch.randn(2, 1, 4, 5, 6), None)):
        model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2))
        features, places = layer(x), x.shape[2:]
        expected = torch.zeros(2, 1, *places)
        for i, channel, *place in itertools.product(range(2), range(3), *map(range, places)):
            expected[(i, 0, *place)] += max(features[(i, channel, *place)].item(), 0) / 3
        assert_close(activity_floor_map(ScoredModel(model), x, None, layer="0", tokens=tokens), expected)
    lstm, x = nn.LSTM(2, 5, batch_first=True), torch.randn(3, 8, 2)
    states = lstm(x)[0]

    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = lstm

        def forward(self, x):  # (n, channels, steps)
            return self.lstm(x.transpose(1, 2))[0].amax(1)

    found = activity_floor_map(ScoredModel(Read()), x.transpose(1, 2), None, layer="lstm", tokens=(8,))
    for i, step in itertools.product(range(3), range(8)):
        assert found[i, 0, step].item() == pytest.approx(sum(abs(v) for v in states[i, step].tolist()) / 5)
    block = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    model = nn.Sequential(nn.Conv2d(1, 6, 2, 2), nn.Flatten(2), Transposed(), block, nn.Flatten(), nn.Linear(36, 2))
    model, images = model.eval(), torch.randn(2, 1, 4, 6)
    tokens, found = model[:4](images), activity_floor_map(ScoredModel(model), images, None, layer="3", tokens=(2, 3))
    small = torch.zeros(2, 1, 2, 3)
    for i, row, column in itertools.product(range(2), range(2), range(3)):
        small[i, 0, row, column] = sum(abs(v) for v in tokens[i, 3 * row + column].tolist()) / 6
    assert_close(found, nn.functional.interpolate(small, (4, 6), mode="bilinear"))
    with pytest.raises(ValueError, match="tokens=\\(4, 3\\) needs .* at least 12 tokens"):
        activity_floor_map(ScoredModel(model), images, None, layer="3", tokens=(4, 3))
    with pytest.raises(ValueError, match="Of three axes say which"):
        activity_floor_map(ScoredModel(model), images, None, layer="3")
    with pytest.raises(ValueError, match="has to be named"):
        activity_floor_map(ScoredModel(Read()), x.transpose(1, 2), None)


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_activity_sent_down_is_equilibrium_of_a_network_that_adds_up_its_last_map():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()[:2]

        def forward(self, x):
            return self.body(x).mean((1, 2, 3))[:, None]

    x = pictures()
    expected = AttributionEquilibrium(Sum().eval(), "body").attribute(x)
    assert_close(
        attribute(("activity", dict(layer="1", enlarge="equilibrium")), network(), x, 2).attributions, expected
    )
    with pytest.raises(ValueError, match="needs a feature map"):
        attribute(("activity", dict(layer="4")), network(), x, 2)
    with pytest.raises(TypeError, match="looks at the layers"):
        attribute("activity", lambda x: network()(x), x, 2)


def test_guided_methods_say_which_activations_captum_leaves_unchanged():
    x, capped = (
        pictures(),
        nn.Sequential(nn.Flatten(), nn.Linear(pictures()[0].numel(), 8), nn.ReLU6(), nn.Linear(8, 5)),
    )
    changed = nn.Sequential(*capped[:2], nn.ReLU(), capped[3]).eval()
    for name in ("guided_backprop", "saliency"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            attribute(name, changed, x, 1)
    for what in ("guided_backprop", captum.attr.GuidedBackprop, captum.attr.Deconvolution):
        with pytest.warns(UserWarning, match=r"plain gradient: hardtanh \(1\)"):
            attribute(what, capped.eval(), x, 1)


def test_an_activation_that_is_called_and_no_module_is_counted():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.relu, self.last = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(torch.relu(self.relu(self.first(x)) - 0.5))

    assert unguided_activations(Both().eval(), torch.rand(2, 4)) == {"relu": 1}


def test_a_call_by_the_exact_name_reads_no_other_names_and_no_signature_twice(monkeypatch):
    net, x = network(), torch.rand(2, 3, 8, 8)
    attribute("equilibrium", net, x, [0, 1])
    asked, read = [], []
    spell, signature = registry._letters, inspect.signature
    monkeypatch.setattr(registry, "_letters", lambda text: asked.append(text) or spell(text))
    monkeypatch.setattr(inspect, "signature", lambda what, **more: read.append(what) or signature(what, **more))
    attribute("equilibrium", net, x, [0, 1])
    assert asked == [] and AttributionEquilibrium.attribute not in read and len(read) < 6


def test_a_method_is_sent_without_what_was_read_from_its_signature():
    method = METHODS["neflag"]
    assert method.takes and method.signature and method.controls
    sent = pickle.loads(pickle.dumps(method))
    assert set(vars(sent)) == {field.name for field in fields(Method)} and sent.takes == method.takes
