"Models as people have them: dataclasses, dictionaries and tuples as outputs, inputs by name, regions, lost gradients"

import copy
import warnings
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import convolutional, mlp, numbers, seeded, value_and_warnings
from torch import nn
from torch.testing import assert_close

from attrnb.core import ClassScore, class_scores, gradients, keywords, logits_of, per_example, select_target, shared
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.explore import explore
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI
from attrnb.measures import (
    TopFraction,
    accuracy_after_masking,
    comprehensiveness,
    deletion,
    faithfulness_curves,
    log_odds,
    sufficiency,
)
from attrnb.methods import as_quantus, attribute, last_feature_map
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients

METHODS = {
    "paths": PathIntegratedGradients,
    "neflag": NeFLAG,
    "knn": lambda f: GeodesicIGKNN(f, 0.5 * numbers(60, 6, seed=3)),
    "svi": lambda f: Short(f),
}


class Short(GeodesicIGSVI):
    "The searched path, with a short search"

    def attribute(self, inputs, *args, **named):
        return super().attribute(inputs, *args, n_segments=3, rounds=1, n_points=6, max_iterations=3, **named)


NET, X = mlp(smooth=True), numbers(3, 6)


@dataclass
class Output:
    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple | None = None


@dataclass
class Embedded:
    features: torch.Tensor
    pooled: torch.Tensor | None = None


Heads = namedtuple("Heads", "logits aux_logits")
READ = {
    "tensor": lambda y: y,
    "dataclass": lambda y: Output(y.sum(), y, (y + 1, y + 2)),
    "dictionary": lambda y: {"loss": y.sum(), "logits": y},
    "ordered": lambda y: OrderedDict(features=y + 1, logits=y),
    "named tuple": lambda y: Heads(y, y + 1),
    "object": lambda y: SimpleNamespace(logits=y, other=y + 1),
    "tuple of one": lambda y: (y,),
    "list of one": lambda y: [y],
    "only tensor": lambda y: {"about": "text", "found": [y, None, 3]},
    "only field": lambda y: Embedded(y),
}
AMBIGUOUS = {  # what a model makes of its logits, the entry that is meant, and how the refusal calls it
    "tuple": (lambda y: (y, y + 1), 0, "tuple with 2 tensors, 0 (3, 3), 1 (3, 3)"),
    "segmentation": (lambda y: {"out": y, "aux": y + 1}, "out", "'out' (3, 3), 'aux' (3, 3)"),
    "dataclass": (lambda y: Embedded(y, y + 1), "features", "'features' (3, 3), 'pooled' (3, 3)"),
    "nested": (lambda y: {"heads": (y + 1, {"age": y})}, ("heads", 1, "age"), "('heads', 1, 'age') (3, 3)"),
    "state": (lambda y: (y, (y + 1, y + 2)), 0, "(1, 0) (3, 3)"),
    "object": (lambda y: SimpleNamespace(score=y), "score", "returned SimpleNamespace; it must return one tensor"),
}


class Wrapped(nn.Module):
    "A network that returns its logits in some form"

    def __init__(self, form, net=NET):
        super().__init__()
        self.net, self.form = net, form
        self.eval()

    def forward(self, x):
        return self.form(self.net(x))


# Outputs


@pytest.mark.parametrize("form", READ.values(), ids=READ)
def test_the_rule_finds_the_logits(form):
    y = NET(X)
    assert logits_of(form(y)) is y
    assert_close(class_scores(form(y), "probability"), y.softmax(1))
    assert_close(select_target(form(y), 1), y[:, 1])


@given(st.recursive(st.just("tensor") | st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_one_tensor_is_found_however_deep_and_several_are_refused(shape):
    tensors = []

    def fill(part):
        if isinstance(part, list):
            return [fill(p) for p in part]
        if part != "tensor":
            return part
        tensors.append(torch.zeros(2, len(tensors) + 1))
        return tensors[-1]

    output = fill(shape)
    if len(tensors) == 1:
        assert logits_of(output) is tensors[0]
    else:
        with pytest.raises(TypeError, match="one tensor") as caught:
            logits_of(output)
        assert all(str(tuple(t.shape)) in str(caught.value) for t in tensors[:8])


@pytest.mark.parametrize("form, entry, words", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_is_ambiguous_is_refused_by_name_and_can_be_said(form, entry, words):
    model = Wrapped(form)
    with pytest.raises(TypeError) as caught:
        logits_of(model(X))
    assert words in str(caught.value)
    for make in METHODS.values():
        with pytest.raises(TypeError, match="one tensor"):
            make(model).attribute(X, target=1)
    score = ClassScore(model, output=entry)
    assert_close(score(X), NET(X), rtol=0, atol=0)
    assert_close(NeFLAG(score).attribute(X, target=1), NeFLAG(NET).attribute(X, target=1), rtol=0, atol=0)
    assert repr(score) == f"ClassScore(Wrapped, of='logit', output={entry!r})"
    with pytest.raises(ValueError, match="isn't there"):
        ClassScore(model, output="elsewhere")(X)


@pytest.mark.parametrize("form", [f for n, f in READ.items() if n != "tensor"], ids=[n for n in READ if n != "tensor"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_the_logits_wherever_they_are(method, form):
    model, make = Wrapped(form), METHODS[method]
    found = make(model).attribute(X, target=[0, 1, 2])
    assert_close(found, make(NET).attribute(X, target=[0, 1, 2]), rtol=0, atol=0)
    for i in range(3):
        assert_close(found[i : i + 1], make(model).attribute(X[i : i + 1], target=i), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "method", ["saliency", "captum_integrated_gradients", "deep_lift", "gradient_shap", "occlusion"]
)
def test_captums_methods_do_so_too(method):
    net = convolutional()
    images, model = numbers(2, 3, 16, 16), Wrapped(READ["dataclass"], net)
    how = dict(target=[0, 1], score="probability")
    assert_close(
        attribute(method, model, images, **how).attributions,
        attribute(method, net, images, **how).attributions,
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("layer", [None, "net.4"])
def test_layers_are_found_in_a_model_inside_a_score(layer):
    net = convolutional()
    images, model = numbers(2, 3, 16, 16), Wrapped(lambda y: {"out": y, "aux": y + 1}, net)
    inside = ClassScore(model, output="out")
    settings = {} if layer is None else dict(layer=layer)
    found = attribute("grad_cam", inside, images, [0, 1], settings=settings).attributions
    plain = attribute("grad_cam", net, images, [0, 1], settings={} if layer is None else dict(layer="4")).attributions
    assert_close(found, plain, rtol=0, atol=0)
    assert last_feature_map(inside, images) is last_feature_map(net, images)


def test_lrp_takes_the_network_out_of_a_score_of_probabilities():
    dense = seeded(lambda: nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)))
    expected = attribute("lrp", dense, X, [0, 1, 2]).attributions
    inside = ClassScore(Wrapped(READ["dictionary"], dense), "probability")
    assert_close(attribute("lrp", inside, X, [0, 1, 2], score="output").attributions, expected)


def test_measures_predictions_and_quantus_take_them():
    model, maps, target = Wrapped(READ["dataclass"]), numbers(3, 6, seed=5), [0, 1, 2]
    for measure, settings in (
        (deletion, dict(unit="element", score="probability")),
        (comprehensiveness, dict(unit="element", score="probability")),
        (sufficiency, dict(unit="element")),
        (log_odds, dict(unit="element", score="log_probability")),
        (accuracy_after_masking, dict(unit="element")),
    ):
        found = measure(model, X, maps, target, **settings)
        assert_close(found, measure(NET, X, maps, target, **settings), rtol=0, atol=0)
    reselected = dict(unit="element", score="probability", reselect=True)
    for curve in ("deletion", "insertion"):
        found, right = (getattr(faithfulness_curves(m, X, maps, target, unit="element"), curve) for m in (model, NET))
        assert_close(found, right, rtol=0, atol=0)
    assert_close(deletion(model, X, maps, **reselected), deletion(NET, X, maps, **reselected), rtol=0, atol=0)
    by_name = as_quantus("saliency")(model, X.numpy(), np.array(target))
    np.testing.assert_array_equal(by_name, as_quantus("saliency")(NET, X.numpy(), np.array(target)))


def test_the_kept_outputs_of_masked_inputs_are_read_as_the_score_reads_them():
    maps, score = numbers(3, 6, seed=5), ClassScore(Wrapped(lambda y: (y + 1, y)), "probability", output=1)
    how = dict(fraction=[0.2, 0.5], unit="element")
    top = TopFraction(score, X, maps, [0, 1, 2], **how)
    assert_close(top.read(comprehensiveness), comprehensiveness(NET, X, maps, [0, 1, 2], score="probability", **how))
    assert_close(top.outputs("whole")[:, 0], NET(X).detach())


def test_the_explorer_shows_them():
    images, net = numbers(2, 3, 16, 16), convolutional()
    explorer = explore(Wrapped(READ["dictionary"], net), images, methods=["saliency"])
    assert_close(explorer._outputs(0), net(images[:1]).detach())


def test_the_benchmark_takes_them(tmp_path):
    from attrnb.benchmark import benchmark
    from attrnb.samples import sample_model, shape_images

    data, settings = shape_images(3, seed=2), dict(methods=["saliency"], masking_steps=4, show_progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = benchmark(sample_model(), data, folder=tmp_path / "plain", **settings)
        found = benchmark(Wrapped(READ["dataclass"], sample_model()), data, folder=tmp_path / "wrapped", **settings)
    for a, b in zip(found.rows, plain.rows, strict=True):
        differ = {"model", "seconds", "started"}
        assert {k: v for k, v in a.items() if k not in differ} == {k: v for k, v in b.items() if k not in differ}


# Inputs by name


class ByName(nn.Module):
    "Takes tokens by place, or embeddings by name, and a mask of the tokens that count"

    def __init__(self):
        super().__init__()
        self.words, self.hidden, self.head = nn.Embedding(20, 4), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, scale=1.0):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        words = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        mask = torch.ones_like(words[..., 0]) if attention_mask is None else attention_mask
        hidden = self.hidden(words).tanh() * mask[..., None]
        return Output(logits=self.head(hidden.sum(1) / mask.sum(1, keepdim=True)) * scale)


BY_NAME = seeded(ByName)
WORDS = numbers(3, 5, 4)
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


def by_a_function(words, mask, scale=1.0):
    return BY_NAME(inputs_embeds=words, attention_mask=mask, scale=scale).logits


@pytest.mark.parametrize(
    "method, rows",
    [*((m, rows) for m in ("paths", "neflag") for rows in (1, 7, None)), ("knn", None), ("svi", 50)],
)
def test_inputs_by_name_with_a_mask_for_each_example(method, rows):
    make = METHODS[method] if method != "knn" else lambda f: GeodesicIGKNN(f, 0.5 * numbers(20, 5, 4, seed=3))
    how = dict(target=[0, 1, 2], internal_batch_size=rows)
    right = make(by_a_function).attribute(WORDS, additional_forward_args=MASK, **how)
    embeds = ClassScore(BY_NAME, input_names="inputs_embeds")
    both = ClassScore(BY_NAME, input_names=("inputs_embeds", "attention_mask"))
    for score, further in (
        (embeds, keywords(attention_mask=MASK)),
        (embeds, keywords(attention_mask=per_example(MASK))),
        (both, MASK),
        (both, (MASK,)),
    ):
        found = make(score).attribute(WORDS, additional_forward_args=further, **how)
        assert_close(found, right, rtol=1e-5, atol=1e-7)
    assert not found[1, 3:].any() and not found[2, 1:].any()
    for i in range(3):
        alone = make(embeds).attribute(
            WORDS[i : i + 1], target=i, additional_forward_args=keywords(attention_mask=MASK[i : i + 1])
        )
        assert_close(found[i : i + 1], alone, rtol=1e-4, atol=1e-6)


def test_arguments_of_the_call_stay_whole_by_name():
    scale = torch.tensor([2.0, 3.0, 4.0])  # one for each class, and as many as examples
    score = ClassScore(BY_NAME, input_names="inputs_embeds")
    how = dict(target=2, internal_batch_size=2)
    further = keywords(attention_mask=MASK, scale=shared(scale))
    found = PathIntegratedGradients(score).attribute(WORDS, additional_forward_args=further, **how)
    right = PathIntegratedGradients(lambda x, m: by_a_function(x, m)).attribute(
        WORDS, additional_forward_args=MASK, **how
    )
    assert_close(found, 4 * right)


def test_captum_takes_inputs_by_name_and_its_markers_are_refused():
    both = ClassScore(BY_NAME, input_names=("inputs_embeds", "attention_mask"))
    for name, settings in (("saliency", {}), ("captum_integrated_gradients", dict(n_steps=8)), ("deep_lift", {})):
        further = dict(additional_forward_args=MASK) | settings
        found = attribute(name, both, WORDS, [0, 1, 2], settings=further).attributions
        plain = attribute(name, ByFunction(), WORDS, [0, 1, 2], settings=further).attributions
        assert_close(found, plain)
        for marked in (keywords(attention_mask=MASK), (per_example(MASK),)):
            with pytest.raises(TypeError, match="takes further arguments by place"):
                attribute(name, both, WORDS, [0, 1, 2], settings=dict(additional_forward_args=marked))


class ByFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = BY_NAME

    def forward(self, words, mask):
        return by_a_function(words, mask)


def test_names_that_fit_nothing_are_refused():
    with pytest.raises(TypeError, match="by name"):
        ClassScore(BY_NAME, input_names=("inputs_embeds", "attention_mask"))(WORDS, MASK, attention_mask=MASK)
    with pytest.raises(TypeError, match="input_names must be"):
        ClassScore(BY_NAME, input_names=(1,))
    with pytest.raises(TypeError, match="pixels"):
        ClassScore(BY_NAME, input_names="pixels")(WORDS)


# What the outputs mean


@pytest.mark.parametrize("method", METHODS)
def test_labels_that_do_not_exclude_each_other(method):
    make = METHODS[method]
    for of, link in (("sigmoid", torch.sigmoid), ("log_sigmoid", nn.functional.logsigmoid)):
        found = make(ClassScore(Wrapped(READ["dataclass"]), of)).attribute(X, target=[0, 1, 2])
        single = [make(lambda x, c=c: link(NET(x)[:, c])).attribute(X[c : c + 1]) for c in range(3)]
        assert_close(found, torch.cat(single), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_regression_heads(method):
    make, flat = METHODS[method], lambda x: NET(x)[:, 1]
    right = make(NET).attribute(X, target=1)
    for forward, target in (
        (flat, None),
        (lambda x: NET(x)[:, 1:2], None),
        (lambda x: NET(x)[:, 1:2], 0),
        (lambda x: Output(logits=NET(x)[:, 1:2]), None),
        (ClassScore(flat, "output"), None),
        (NET, lambda output: output[:, 1]),
    ):
        assert_close(make(forward).attribute(X, target=target), right, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "problem, of, right",
    [
        ("multi_label_classification", "probability", "sigmoid"),
        ("multi_label_classification", "log_probability", "sigmoid"),
        ("multi_label_classification", "margin", "sigmoid"),
        ("regression", "probability", "output"),
        ("regression", "sigmoid", "output"),
        ("regression", "margin", "output"),
        ("multi_label_classification", "sigmoid", None),
        ("regression", "output", None),
        ("single_label_classification", "probability", None),
        (None, "probability", None),
    ],
)
def test_what_a_models_configuration_says_is_heard(problem, of, right):
    for make in (lambda m: ClassScore(m, of), lambda m: attribute("saliency", m, X, 1, score=of)):
        model = Wrapped(READ["dataclass"])
        model.config = SimpleNamespace(problem_type=problem)

        def call(make=make, model=model):
            made = make(model)
            return made if isinstance(made, tuple) else (made(X), made(X))

        _, told = value_and_warnings(call)
        assert [f"give of='{right}'" in message for message in told] == [True] * (right is not None)


@pytest.mark.parametrize("of", ["probability", "log_probability", "sigmoid"])
def test_a_softmax_inside_a_dataclass_is_noticed(of):
    model = Wrapped(lambda y: Output(logits=y.softmax(1)))
    with pytest.raises(ValueError, match="probabilities already"):
        ClassScore(model, of)(X)
    with pytest.raises(ValueError, match="probabilities already"):
        attribute("saliency", model, X, 1, score=of)
    assert_close(ClassScore(model, "output")(X), NET(X).softmax(1))


# Places


class Segments(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.aux = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)

    def forward(self, x):
        return OrderedDict(out=self.out(x.tanh()), aux=self.aux(x))


SEGMENTS, IMAGES = seeded(Segments), numbers(3, 2, 5, 6)
REGIONS = numbers(3, 5, 6, seed=4) > 0.3
LINKS = {
    "logit": lambda y: y,
    "probability": lambda y: y.softmax(1),
    "log_probability": lambda y: y.log_softmax(1),
    "sigmoid": torch.sigmoid,
}


def mean_by_loop(y, regions, c):
    return torch.stack([sum(row[c][i, j] for i, j in r.nonzero().tolist()) / r.sum() for row, r in zip(y, regions)])


@pytest.mark.parametrize(
    "method, of", [*(("paths", of) for of in LINKS), *((m, "probability") for m in METHODS if m != "paths")]
)
def test_a_region_of_a_segmentation(method, of):
    make = METHODS[method] if method != "knn" else lambda f: GeodesicIGKNN(f, 0.5 * numbers(9, 2, 5, 6, seed=3))
    one, c = REGIONS[0], [2, 0, 3]
    score = ClassScore(SEGMENTS, of, dim=1, output="out", places=one)
    assert_close(score(IMAGES)[:, 2], mean_by_loop(LINKS[of](SEGMENTS(IMAGES)["out"]), [one] * 3, 2))
    found = make(score).attribute(IMAGES, target=c)
    each = ClassScore(SEGMENTS, of, dim=1, output="out")
    own = make(each).attribute(
        IMAGES, target=c, additional_forward_args=keywords(places=REGIONS), internal_batch_size=4
    )
    for i in range(3):
        for regions, all_of_them in (([one], found), ([REGIONS[i]], own)):

            def plain(x, regions=regions, i=i):
                return mean_by_loop(LINKS[of](SEGMENTS(x)["out"]), list(regions) * len(x), c[i])

            alone = make(plain).attribute(IMAGES[i : i + 1])
            assert_close(all_of_them[i : i + 1], alone, rtol=1e-3, atol=1e-5)
    assert not found[:, :, :, :][~near(one).expand(3, 2, 5, 6)].any()


def near(region):
    "Places that a 3x3 convolution sees from a region"
    return nn.functional.max_pool2d(region[None, None].float(), 3, 1, 1).bool()


@pytest.mark.parametrize("method", METHODS)
def test_pixels_and_positions_as_targets(method):
    make = METHODS[method] if method != "knn" else lambda f: GeodesicIGKNN(f, 0.5 * numbers(9, 2, 5, 6, seed=3))
    score, target = ClassScore(SEGMENTS, "probability", dim=1, output="out"), [(2, 0, 0), (1, 4, 5), (3, 2, -1)]
    found = make(score).attribute(IMAGES, target=target)
    for i, (c, row, column) in enumerate(target):

        def plain(x, c=c, row=row, column=column):
            return SEGMENTS(x)["out"].softmax(1)[:, c, row, column]

        assert_close(found[i : i + 1], make(plain).attribute(IMAGES[i : i + 1]), rtol=1e-3, atol=1e-6)
    if method in ("paths", "neflag"):
        tagged = ClassScore(lambda x: {"logits": NET(x)}, "probability", dim=-1)
        steps, places = numbers(2, 4, 6), [(3, 1), (0, 2)]
        found = make(tagged).attribute(steps, target=places)
        for i, (step, c) in enumerate(places):
            plain = make(lambda x, step=step, c=c: NET(x).softmax(-1)[:, step, c]).attribute(steps[i : i + 1])
            assert_close(found[i : i + 1], plain, rtol=1e-4, atol=1e-6)
        mean = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
        found = make(tagged).attribute(steps, target=1, additional_forward_args=keywords(places=mean))
        first = make(lambda x: NET(x)[:, :3].softmax(-1)[..., 1].mean(1)).attribute(steps[:1])
        second = make(lambda x: NET(x)[:, 0].softmax(-1)[:, 1]).attribute(steps[1:])
        assert_close(found, torch.cat([first, second]), rtol=1e-4, atol=1e-6)


def test_targets_that_are_places_pass_the_common_call():
    target = [(2, 0, 0), (1, 4, 5), (3, 2, 1)]
    score = ClassScore(SEGMENTS, output="out")
    for name in ("saliency", "captum_integrated_gradients", "neflag", "integrated_gradients"):
        found = attribute(name, score, IMAGES, target, score="output").attributions
        for i, (c, row, column) in enumerate(target):

            def plain(x, c=c, row=row, column=column):
                return SEGMENTS(x)["out"][:, c, row, column]

            alone = attribute(name, plain, IMAGES[i : i + 1], None, score="output").attributions
            assert_close(found[i : i + 1], alone, rtol=1e-4, atol=1e-6)


def test_regions_weigh_their_places_and_wrong_ones_are_refused():
    y, weights = SEGMENTS(IMAGES)["out"], torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    found = ClassScore(SEGMENTS, output="out", places=weights)(IMAGES)
    assert_close(found, (y * weights).sum((2, 3)) / weights.sum())
    assert_close(ClassScore(lambda x: y[:, 0], places=weights)(IMAGES), found[:, 0])
    steps = ClassScore(lambda x: x, dim=-1, places=torch.tensor([0, 1, 1]))(numbers(2, 3, 4))
    assert_close(steps, numbers(2, 3, 4)[:, 1:].mean(1))
    for places, error, words in (
        (torch.zeros(5, 6), ValueError, "at least one place"),
        (-weights, ValueError, "negative"),
        (weights.numpy(), TypeError, "must be a tensor"),
        (weights[0], ValueError, "without batch and classes"),
        (weights.T, ValueError, "without batch and classes"),
    ):
        with pytest.raises(error, match=words):
            ClassScore(SEGMENTS, output="out", places=places)(IMAGES)
    for places in (REGIONS[:2], REGIONS & (torch.arange(3) > 0)[:, None, None]):
        with pytest.raises(ValueError, match="at least one place of each"):
            ClassScore(SEGMENTS, output="out")(IMAGES, places=places)


def test_measures_follow_a_region():
    maps, score = numbers(3, 2, 5, 6, seed=7), ClassScore(SEGMENTS, "logit", dim=1, output="out", places=REGIONS[0])
    mean = lambda x: (SEGMENTS(x)["out"].softmax(1) * REGIONS[0]).sum((2, 3)) / REGIONS[0].sum()  # noqa: E731
    for measure in (deletion, comprehensiveness):
        found = measure(score, IMAGES, maps, [0, 1, 2], score="probability")
        assert_close(found, measure(mean, IMAGES, maps, [0, 1, 2]))
    top = TopFraction(score.with_score("probability"), IMAGES, maps, [0, 1, 2])
    assert_close(top.read(comprehensiveness), comprehensiveness(mean, IMAGES, maps, [0, 1, 2]))
    own = TopFraction(
        ClassScore(SEGMENTS, output="out"), IMAGES, maps, [0, 1, 2], additional_forward_args=keywords(places=REGIONS)
    )
    with pytest.raises(ValueError, match="without the region of each row"):
        own.read(comprehensiveness)


def test_detections_are_scored_by_a_function():
    def detector(images):
        return [dict(boxes=x.new_zeros(2, 4), scores=NET(x.reshape(1, 6))[0].sigmoid()) for x in images]

    with pytest.raises(TypeError, match=r"torch.stack\(\[entry\['scores'\].sum\(\) for entry in found\]\)"):
        NeFLAG(detector).attribute(X)
    score = ClassScore(detector, output=lambda found: torch.stack([entry["scores"].sum() for entry in found]))
    right = PathIntegratedGradients(lambda x: NET(x).sigmoid().sum(1)).attribute(X)
    assert_close(PathIntegratedGradients(score).attribute(X), right, rtol=1e-5, atol=1e-6)


# Gradients that end somewhere


class Frozen(nn.Module):
    "A head on a backbone that runs in some mode"

    def __init__(self, mode):
        super().__init__()
        self.backbone, self.head, self.mode = nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 3), mode
        self.eval()

    def forward(self, x):
        with self.mode():
            features = self.backbone(x)
        return Output(logits=self.head(features))


class Detaches(nn.Linear):
    def forward(self, x):
        return super().forward(x.detach())


class Position(nn.Module):
    "Takes the activations for their type only, without a gradient, as rotary embeddings do"

    @torch.no_grad()
    def forward(self, x):
        return torch.ones_like(x)


class Rotary(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.position, self.layer, self.end = Position(), nn.Linear(6, 3), end
        self.eval()

    def forward(self, x):
        return self.end(self.layer(x * self.position(x)))


LOST = {
    "no_grad": (
        lambda: Frozen(torch.no_grad),
        "comes to 'backbone' (Sequential), which the forward of the model (Frozen)",
    ),
    "inference_mode": (lambda: Frozen(torch.inference_mode), "comes to 'backbone' (Sequential)"),
    "detach": (
        lambda: nn.Sequential(nn.Linear(6, 6), Detaches(6, 3)).eval(),
        "in the code of the forward of '1' (Detaches)",
    ),
    "before": (lambda: lambda x: NET(x.detach()), "in the code of the forward function: a detach"),
    "behind": (lambda: lambda x: NET(x).detach(), "the forward function, behind the model (Sequential)"),
    "rotary": (
        lambda: Rotary(lambda y: y.round().detach()),
        "in the code of the forward of the model (Rotary), behind 'layer'",
    ),
    "in a score": (lambda: ClassScore(Frozen(torch.no_grad), "probability"), "comes to 'backbone' (Sequential)"),
    "quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(6, 3)).eval(), {nn.Linear}),
        "although its graph leads to them: an operation inside the forward function has no derivative (a quantised"
        " layer? Explain the model before that)",
    ),
}


@pytest.mark.parametrize("make, words", LOST.values(), ids=LOST)
def test_a_lost_gradient_is_refused_where_it_ends(make, words):
    model = make()
    for method in METHODS.values():
        with pytest.raises(ValueError) as caught:
            method(model).attribute(X, target=1)
        assert words in str(caught.value)
    for name in ("saliency", "captum_integrated_gradients", "gradient_shap"):
        with pytest.raises(ValueError) as caught:
            attribute(name, model, X, 1, score="output")
        assert words in str(caught.value)
    modules = model.modules() if isinstance(model, nn.Module) else NET.modules()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)


def test_a_lost_gradient_of_a_model_that_writes_into_its_inputs():
    for method in METHODS.values():
        with pytest.raises(ValueError, match="the forward function, behind the model"):
            method(lambda x: NET(x.relu_()).detach()).attribute(X, target=1)


def test_a_gradient_that_is_lost_at_some_points_only():
    far = X.abs().amax().item() / 2

    def two_ways(x):
        return NET(x if x.detach().abs().amax() > far else x.detach())

    with pytest.raises(ValueError, match="at some of the points, although it does at the first inputs"):
        PathIntegratedGradients(two_ways).attribute(X, target=1, internal_batch_size=4)


def test_a_frozen_backbone_without_no_grad_is_explained():
    free, frozen = Frozen(torch.enable_grad), Frozen(torch.enable_grad)
    frozen.load_state_dict(free.state_dict())
    frozen.backbone.requires_grad_(False)
    for method in METHODS.values():
        assert_close(method(frozen).attribute(X, target=1), method(free).attribute(X, target=1), rtol=0, atol=0)
    frozen.requires_grad_(False)
    assert_close(gradients(frozen, X, 1), gradients(free, X, 1), rtol=0, atol=0)
    rotary = Rotary(nn.Identity())
    assert gradients(rotary, X, 1).any()


def test_an_error_of_the_model_about_gradients_is_passed_on():
    def raises(x):
        raise RuntimeError("element 3 of the recipe does not require grad")

    with pytest.raises(RuntimeError, match="of the recipe"):
        attribute("saliency", raises, X, 1)


# Models of other people


def vision():
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3)
    return {
        "vit": seeded(
            lambda: transformers.ViTForImageClassification(
                transformers.ViTConfig(**sizes, image_size=16, patch_size=8, num_channels=3)
            )
        ),
        "convnext": seeded(
            lambda: transformers.ConvNextForImageClassification(
                transformers.ConvNextConfig(
                    num_stages=2, hidden_sizes=[4, 8], depths=[1, 1], num_labels=3, patch_size=2
                )
            )
        ),
    }


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_image_models_of_hugging_face_are_taken_as_they_are(name):
    model, images = vision()[name], numbers(2, 3, 16, 16)
    for method in ("integrated_gradients", "neflag", "geodesic", "saliency", "gradient_shap", "occlusion", "grad_cam"):
        found = attribute(method, model, images, [0, 2], internal_batch_size=16).attributions
        picked = attribute(method, lambda_module(model), images, [0, 2], internal_batch_size=16).attributions
        assert_close(found, picked, rtol=1e-4, atol=1e-7)
    by_name = ClassScore(model, "probability", input_names="pixel_values")
    assert_close(by_name(images), model(images).logits.softmax(1))


class lambda_module(nn.Module):  # noqa: N801
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, x):
        return self.model(x).logits


def test_text_models_of_hugging_face_are_explained_at_their_embeddings():
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
    config = transformers.BertConfig(**sizes, max_position_embeddings=16, num_labels=3)
    bert = seeded(lambda: transformers.BertForSequenceClassification(config))
    tokens = torch.randint(5, 30, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(6) < torch.tensor([[6], [4], [2]])).long()
    words = bert.get_input_embeddings()(tokens).detach()
    batch = dict(attention_mask=mask, labels=torch.tensor([0, 1, 2]))  # with labels there is a loss beside the logits
    score = ClassScore(bert, "log_probability", input_names="inputs_embeds")
    found = NeFLAG(score).attribute(words, target=[0, 1, 2], additional_forward_args=keywords(**batch))
    assert not found[1, 4:].any() and not found[2, 2:].any()
    for i in range(3):
        alone = NeFLAG(score).attribute(
            words[i : i + 1],
            target=i,
            additional_forward_args=keywords(**{k: v[i : i + 1] for k, v in batch.items()}),
        )
        assert_close(found[i : i + 1], alone, rtol=1e-3, atol=1e-6)
    by_tokens = bert(input_ids=tokens, attention_mask=mask).logits.log_softmax(1)
    assert_close(score(words, attention_mask=mask), by_tokens)


def test_a_next_token_of_a_decoder():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=30, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    gpt = seeded(lambda: transformers.GPT2LMHeadModel(config))
    words = gpt.get_input_embeddings()(torch.tensor([[3, 4, 5, 6], [7, 8, 9, 10]])).detach()
    score = ClassScore(gpt, "log_probability", dim=-1, input_names="inputs_embeds")
    found = PathIntegratedGradients(score).attribute(words, target=[(3, 11), (1, 12)])
    assert not found[1, 2:].any()  # a decoder doesn't look ahead
    assert found[0, 3].any() and found[1, :2].any()


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_the_begun_answers_of_an_encoder_decoder_belong_to_their_examples(kind):
    transformers = pytest.importorskip("transformers")
    sizes = dict(encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16)
    bart = dict(vocab_size=30, d_model=8, encoder_layers=1, decoder_layers=1, **sizes)
    t5 = dict(vocab_size=30, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    model = seeded(
        lambda: (
            transformers.BartForConditionalGeneration(transformers.BartConfig(**bart))
            if kind == "bart"
            else transformers.T5ForConditionalGeneration(transformers.T5Config(**t5))
        )
    ).double()
    words = model.get_input_embeddings()(torch.tensor([[5, 6, 7, 8], [9, 4, 3, 8]])).detach()
    score = ClassScore(model, "log_probability", dim=-1, input_names="inputs_embeds")
    pool = torch.cat([words + 0.1 * numbers(2, 4, 8, seed=k) for k in range(6)])
    methods = (PathIntegratedGradients, AttributionEquilibrium, lambda f: GeodesicIGKNN(f, pool), NeFLAG)
    for begun in (torch.tensor([[2, 11, 5], [2, 7, 9]]), torch.tensor([[2, 11, 5], [2, 11, 5]])):
        for make in methods:
            found = make(score).attribute(
                words, target=[(2, 7), (1, 4)], additional_forward_args=keywords(decoder_input_ids=begun)
            )
            last = make(score).attribute(
                words[1:], target=[(1, 4)], additional_forward_args=keywords(decoder_input_ids=begun[1:])
            )
            if make is not NeFLAG:  # which draws other points for another number of examples
                assert_close(found[1:], last, rtol=1e-5, atol=1e-9)
            assert found.abs().amax((1, 2)).min() > 0


class ByHand(nn.Module):
    "A model as somebody wraps it who has no ClassScore: inputs by place, one tensor out"

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = model, call
        self.eval()

    def forward(self, *inputs):
        return self.call(self.model, *inputs)


class SmallUNet(nn.Module):
    "Two scales, a way round the lower one, several outputs"

    def __init__(self):
        super().__init__()
        self.down, self.low = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        high = self.down(x).relu()
        low = self.low(nn.functional.max_pool2d(high, 2)).relu()
        return OrderedDict(out=self.head(torch.cat([high, self.up(low).relu()], 1)), aux=low)


def with_equilibrium(score, wrapped, inputs, target, own_target=None, **more):
    "Attributions of the model behind a ClassScore and of the one wrapped by hand, in double precision; equal"
    found = AttributionEquilibrium(score).attribute(inputs, target=target, **more)
    expected = AttributionEquilibrium(wrapped).attribute(inputs, target=target if own_target is None else own_target)
    assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert found.abs().max() > 1e-6
    return found


def test_equilibrium_of_a_text_model_by_its_embeddings():
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, vocab_size=30)
    config = transformers.BertConfig(**sizes, max_position_embeddings=16, num_labels=3)
    bert = seeded(lambda: transformers.BertForSequenceClassification(config)).double()
    ids = torch.randint(5, 30, (3, 6), generator=torch.Generator().manual_seed(0))
    words = bert.get_input_embeddings()(ids).detach()
    mask, labels = (torch.arange(6) < torch.tensor([[6], [4], [2]])).long(), torch.tensor([0, 1, 2])
    score = ClassScore(bert, "log_probability", input_names="inputs_embeds")
    batch = dict(attention_mask=mask, labels=labels)  # with labels there is a loss beside the logits
    found = AttributionEquilibrium(score).attribute(
        words, target=labels, additional_forward_args=keywords(**batch), internal_batch_size=2
    )
    for i in range(3):

        def call(model, x, i=i):
            return model(inputs_embeds=x, attention_mask=mask[i : i + 1]).logits.log_softmax(1)

        alone = AttributionEquilibrium(ByHand(bert, call)).attribute(words[i : i + 1], target=i)
        assert_close(found[i : i + 1], alone, rtol=1e-6, atol=1e-9)
    assert not found[1, 4:].any() and not found[2, 2:].any() and (found[0] != 0).any(1).all()


def test_equilibrium_of_a_picture_among_texts():
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    config = transformers.CLIPConfig(
        text_config=dict(**sizes, vocab_size=30, max_position_embeddings=8, eos_token_id=29, bos_token_id=28),
        vision_config=dict(**sizes, image_size=16, patch_size=4),
        projection_dim=8,
    )
    clip, images = seeded(lambda: transformers.CLIPModel(config)).double(), numbers(2, 3, 16, 16).double()
    texts = torch.tensor([[28, 4, 5, 29], [28, 6, 7, 29], [28, 8, 9, 29]])
    score = ClassScore(clip, output="logits_per_image", input_names="pixel_values")
    hand = ByHand(clip, lambda model, x: model(pixel_values=x, input_ids=texts).logits_per_image)
    further = keywords(input_ids=shared(texts))
    with_equilibrium(score, hand, images, [2, 0], additional_forward_args=further, internal_batch_size=1)
    with pytest.raises(TypeError, match="logits_per_image"):  # several tensors: one must be named
        AttributionEquilibrium(ClassScore(clip, input_names="pixel_values")).attribute(
            images, target=0, additional_forward_args=further
        )


@pytest.mark.parametrize("of", ["logit", "probability"])
def test_equilibrium_of_regions_of_a_segmentation(of):
    net, images, regions = seeded(SmallUNet).double(), numbers(3, 2, 6, 8).double(), numbers(3, 6, 8, seed=4) > 0.3
    hand = ByHand(net, lambda model, x: LINKS[of](model(x)["out"]))

    def mean(k):
        return lambda outputs: outputs[:, 1, regions[k]].mean(1)

    with_equilibrium(ClassScore(net, of, 1, output="out", places=regions[0]), hand, images, 1, mean(0))
    each = ClassScore(net, of, 1, output="out")
    found = AttributionEquilibrium(each).attribute(
        images, target=1, additional_forward_args=keywords(places=regions), internal_batch_size=2
    )
    for k in range(3):
        alone = AttributionEquilibrium(hand).attribute(images[k : k + 1], target=mean(k))
        assert_close(found[k : k + 1], alone, rtol=1e-6, atol=1e-9)
    with_equilibrium(ClassScore(net, of, 1, output="out"), hand, images, [(1, 2, 3), (0, 0, 0), (2, 5, 7)])


def test_equilibrium_of_detections_by_a_function():
    net, images = seeded(SmallUNet).double(), numbers(2, 2, 6, 8).double()

    class Detector(nn.Module):
        "A dictionary for each image, as torchvision's detectors return them"

        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, images):
            maps = self.net(images)["out"]
            return [dict(boxes=m.new_zeros(2, 4), scores=m[:2].sigmoid().amax((1, 2))) for m in maps]

    def strongest(found):
        return torch.stack([entry["scores"].max() for entry in found])

    hand = ByHand(net, lambda model, x: model(x)["out"][:, :2].sigmoid().amax((1, 2, 3)))
    with_equilibrium(ClassScore(Detector().eval(), output=strongest), hand, images, None)


def test_torchvisions_networks_of_several_heads():
    torchvision = pytest.importorskip("torchvision")
    fcn = seeded(
        lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=3
        )
    )
    images = numbers(1, 3, 32, 32)
    assert logits_of(fcn(images)) is not None  # one entry, 'out'
    inception = torchvision.models.GoogLeNetOutputs(torch.ones(2, 3), torch.zeros(2, 3), torch.zeros(2, 3))
    assert_close(logits_of(inception), torch.ones(2, 3)) if hasattr(inception, "logits") else None
    deeplab = OrderedDict(out=fcn(images)["out"], aux=fcn(images)["out"])
    with pytest.raises(TypeError, match=r"ClassScore\(model, output='out'\)"):
        logits_of(deeplab)


def test_scores_are_kept_with_entry_names_and_region():
    score = ClassScore(SEGMENTS, "probability", 1, output="out", places=REGIONS[0])
    kept = copy.deepcopy(score)
    assert_close(kept(IMAGES), score(IMAGES))
    assert_close(kept.with_score("logit")(IMAGES), ClassScore(SEGMENTS, output="out", places=REGIONS[0])(IMAGES))
    assert_close(captum.attr.Saliency(score).attribute(IMAGES, target=1), gradients(score, IMAGES, 1).abs())
