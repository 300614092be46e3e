"The activation of a layer instead of the input: against Captum, the rest of the network, and beside other threads"

import copy
import pickle
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from captum.attr import InternalInfluence, LayerConductance, LayerIntegratedGradients, NoiseTunnel
from models import convolutional, mlp, numbers, seeded, value_and_warnings
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from attrnb.core import ClassScore, CountingForward, LayerScore, at_layer, per_example, shared
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI, neighbour_graph
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.testing import CLAUSES, check_method

X, TARGET = numbers(4, 6), [0, 1, 2, 1]


def pooled(model, features=6, **layer):
    dtype = next(model.parameters()).dtype
    return GeodesicIGKNN(model, numbers(20, features, seed=3).to(dtype), n_neighbors=5, **layer)


RELAXED = dict(n_segments=4, rounds=1, max_iterations=4, n_points=8)
METHODS = {"paths": (PathIntegratedGradients, {}), "NeFLAG": (NeFLAG, {}), "pool": (pooled, {})}
METHODS["relaxed"] = GeodesicIGSVI, RELAXED


class Block(nn.Module):
    "Returns two tensors and something else, as the blocks of transformers do"

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x, scale=None):
        z = self.linear(x)
        return z.tanh(), {"gate": z.sigmoid() if scale is None else z.sigmoid() * scale, "rows": len(x)}


class Two(nn.Module):
    "A block of two tensors, a connection around it, and a further argument"

    def __init__(self):
        super().__init__()
        self.block, self.head = Block(), nn.Linear(5, 3)

    def forward(self, x, scale=None):
        z, gated = self.block(x, scale=scale)
        return self.head(z * gated["gate"]) + x[:, :3]


@pytest.mark.parametrize("name", ["0", "1", "2"])
@pytest.mark.parametrize("of_input", [False, True])
def test_straight_paths_equal_captum(name, of_input):
    net = mlp()
    for baselines in (None, 0.5, numbers(1, 6, seed=1), numbers(4, 6, seed=2)):
        theirs = LayerIntegratedGradients(net, net[int(name)]).attribute(
            X, baselines, target=TARGET, n_steps=20, attribute_to_layer_input=of_input
        )
        for layer in (name, net[int(name)]):
            method = PathIntegratedGradients(net, layer=layer, attribute_to_layer_input=of_input)
            assert_close(method.attribute(X, baselines, TARGET, n_steps=20), theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["0", "1", "2", "3"])
@pytest.mark.parametrize("of_input", [False, True])
def test_captums_conductance_and_influence_where_meanings_agree(name, of_input):
    net = seeded(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 3))
    ).double()
    x, baselines, k = X.double(), numbers(4, 6, seed=2).double(), int(name)
    captums, how = dict(target=TARGET, attribute_to_layer_input=of_input), dict(attribute_to_layer_input=of_input)
    line = baselines[:, None] + (x - baselines)[:, None] * torch.linspace(0, 1, 101).double()[:, None]
    curve = net[: k + (not of_input)](line).detach()
    method = PathIntegratedGradients(net, layer=name, **how)
    straight = method.attribute(x, baselines, TARGET)
    ours = method.attribute(x, None, TARGET, path=curve, n_steps=400)  # along what the layer does on the way
    theirs = LayerConductance(net, net[k]).attribute(x, baselines, n_steps=2000, **captums)
    scale = ours.abs().max()
    assert (ours - theirs).abs().max() < 1e-3 * scale
    if not of_input or k:
        influence = InternalInfluence(net, net[k]).attribute(x, baselines, n_steps=100, **captums)
        influenced = (curve[:, -1] - curve[:, 0]) * influence
        stages = k + (not of_input)  # nothing bends before: the curve is the straight way; nor after: one gradient
        assert ((straight - influenced).abs().max() < 1e-4 * scale) == (stages < 2 or stages > 3)


def test_images_in_place_activations_and_chunks():
    net, x = convolutional(), numbers(3, 3, 8, 8)
    plain = copy.deepcopy(net)
    plain[2].inplace = plain[5].inplace = False  # which Captum can't have after a layer
    for layer in (0, 1, 4, 5):
        ours = PathIntegratedGradients(net, layer=str(layer)).attribute(x, target=[0, 1, 2])
        theirs = LayerIntegratedGradients(plain, plain[layer]).attribute(x, target=torch.tensor([0, 1, 2]))
        assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
        method = PathIntegratedGradients(net, layer=str(layer))
        assert_close(method.attribute(x, target=[0, 1, 2], internal_batch_size=4), ours, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_that_everything_passes_is_the_rest_of_the_network(name):
    make, how = METHODS[name]
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 3)))
    front, rest = net[:2], net[2:]
    z, start = front(X).detach(), front(torch.zeros_like(X)).detach()
    method = make(net, layer="1")
    inside = GeodesicIGKNN(rest, front(method.pool).detach(), n_neighbors=5) if name == "pool" else make(rest)
    how = how | ({} if name == "NeFLAG" else dict(baselines=start))
    right = inside.attribute(z, target=TARGET, **how)
    found = method.attribute(X, target=TARGET, **(how | ({} if name == "NeFLAG" else dict(baselines=None))))
    assert_close(found, right, atol=1e-6, rtol=1e-5)
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_layers_keep_the_contract(name):
    make, how = METHODS[name]
    limits = {"pool": (7, 30), "relaxed": (4, 30)}.get(name, (1, 3))
    features = dict(features=8) if name == "pool" else {}
    check = check_method(
        lambda m: make(m, layer="layers.0", **features), numbers(3, 8), None, ["tuples"], row_limits=limits, **how
    )
    assert check == [clause for clause in CLAUSES if clause != "tuples"]  # the form is the activation's


def test_several_tensors_a_further_argument_and_a_connection_around():
    net, scale = seeded(Two), numbers(4, 1, seed=5).abs()
    z, gated = net.block(X, scale)
    z0, gated0 = net.block(torch.zeros_like(X), scale)

    def by_hand(z, gate, x):
        return net.head(z * gate) + x[:, :3]

    inside = (z.detach(), gated["gate"].detach()), (z0.detach(), gated0["gate"].detach())
    right = PathIntegratedGradients(by_hand).attribute(*inside, TARGET, (per_example(X),))
    method = PathIntegratedGradients(net, layer="block")
    found, delta = method.attribute(X, None, TARGET, scale, return_convergence_delta=True)
    assert isinstance(found, tuple) and [a.shape for a in found] == [(4, 5), (4, 5)]
    assert_close(found, right, atol=1e-6, rtol=1e-5)
    assert delta.abs().max() < 1e-5
    again = method.compute_convergence_delta(found, None, X, TARGET, scale)
    assert_close(again, delta, atol=1e-6, rtol=0)
    alone = method.attribute(X[2:3], None, TARGET[2], scale[2:3])
    assert_close(alone, tuple(a[2:3] for a in found), atol=1e-6, rtol=1e-4)
    for name in ("pool", "relaxed"):  # every example has a function of its own
        make, how = METHODS[name]
        if name == "pool":
            with pytest.raises(ValueError, match="needs further arguments of its own"):
                make(net, layer="block").attribute(X, None, TARGET, scale)
            assert not make(net, layer="block").attribute(X, None, TARGET, shared(2.0))[0].isnan().any()
        else:
            _, delta = make(net, layer="block").attribute(X, None, TARGET, scale, return_convergence_delta=True, **how)
            assert delta.abs().max() < 1e-4


def test_a_connection_around_is_not_shared_by_the_examples_of_a_pool():
    net = seeded(Two)
    method = pooled(net, layer="block")
    every = method.attribute(X, target=1)
    alone = [method.attribute(x[None], target=1) for x in X]
    assert_close(every, tuple(torch.cat(parts) for parts in zip(*alone, strict=True)), atol=1e-6, rtol=1e-4)
    counted = []
    for model, layer in ((net, "block"), (mlp(), "1")):
        counting = CountingForward(model)
        GeodesicIGKNN(counting, numbers(20, 6, seed=3), n_neighbors=5, layer=layer).attribute(X, target=1)
        counted.append(counting.rows)
    assert counted[1] < counted[0]  # one search instead of four


class Alias(nn.Module):
    "Writes into what its layer has returned, by another name"

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Identity(), nn.Linear(6, 3)

    def forward(self, x):
        y = x.clone()
        z = self.layer(y)
        y += 1
        return self.head(z)


@dataclass
class Output:
    logits: torch.Tensor
    steps: torch.Tensor


@pytest.mark.parametrize(
    "made", [lambda y: Output(y, y * 0), lambda y: SimpleNamespace(logits=y)], ids=["data", "names"]
)
def test_outputs_that_hold_the_logits_are_compared(made):
    class Holding(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return made(self.net(x))

    for net, layer in ((mlp(), "1"), (seeded(Two), "block")):
        found = pooled(Holding(net), layer=f"net.{layer}").attribute(X, target=TARGET)
        assert_close(found, pooled(net, layer=layer).attribute(X, target=TARGET))
    for net in (seeded(Alias), Holding(seeded(Alias))):
        with pytest.raises(ValueError, match="put in its own place"):
            PathIntegratedGradients(net, layer="layer" if isinstance(net, Alias) else "net.layer").attribute(
                X, target=0
            )


def test_a_pool_of_activations_is_taken_as_it_is():
    net = mlp()
    graph = neighbour_graph(net[:2](numbers(20, 6, seed=3)).detach(), 5)
    found = GeodesicIGKNN(net, graph, n_neighbors=5, layer="1").attribute(X, target=TARGET)
    assert_close(found, pooled(net, layer="1").attribute(X, target=TARGET), atol=1e-6, rtol=1e-5)


def test_tokens_and_their_baselines():
    words = seeded(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3), nn.Softplus()))
    tokens = torch.randint(9, (4, 5), generator=torch.Generator().manual_seed(0))
    for baselines in (0, torch.full((1, 5), 3), tokens.flip(0)):
        ours = PathIntegratedGradients(words, layer="0").attribute(tokens, baselines, TARGET)
        theirs = LayerIntegratedGradients(words, words[0]).attribute(tokens, baselines, target=TARGET)
        assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    zero, delta = PathIntegratedGradients(words, layer="0").attribute(
        tokens, at_layer(0.0), TARGET, return_convergence_delta=True
    )
    rest = words[1:]
    assert_close(zero, PathIntegratedGradients(rest).attribute(words[0](tokens).detach(), target=TARGET))
    assert NeFLAG(words, layer="0").attribute(tokens, target=1).shape == (4, 5, 4)
    pool = torch.randint(9, (20, 5), generator=torch.Generator().manual_seed(1))
    through = GeodesicIGKNN(words, pool, n_neighbors=5, layer="0").attribute(tokens, 0, TARGET)
    assert through.shape == (4, 5, 4) and through.isfinite().all()
    with pytest.raises(ValueError, match="which have no zero"):
        PathIntegratedGradients(words, layer="0").attribute(tokens, target=1)
    with pytest.raises(ValueError, match="whole number"):
        PathIntegratedGradients(words, layer="0").attribute(tokens, 0.5, 1)
    with pytest.raises(TypeError, match="give integers"):
        PathIntegratedGradients(words, layer="0").attribute(tokens, torch.zeros(1, 5), 1)
    with pytest.raises(TypeError, match="layer=model.get_input_embeddings"):
        PathIntegratedGradients(words).attribute(tokens, 0, 1)


def test_corners_are_places_among_activations():
    net = mlp()
    z = net[:1](X).detach()
    corners = torch.stack([torch.zeros_like(z), z + 1, z], 1)
    found, delta = PathIntegratedGradients(net, layer="0").attribute(
        X, None, TARGET, path=corners, return_convergence_delta=True
    )
    right = PathIntegratedGradients(net[1:]).attribute(z, None, TARGET, path=corners)
    assert_close(found, right)
    assert delta.isfinite().all()


def test_scores_of_classes_are_known_through_the_layer():
    net = mlp()
    _, said = value_and_warnings(
        lambda: PathIntegratedGradients(ClassScore(net, of="sigmoid"), layer="0").attribute(X, target=0)
    )
    assert said == []  # labels that don't exclude each other: no class is ruled out
    surely = seeded(lambda: nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)))
    surely[1].bias.data[0] += 20
    _, said = value_and_warnings(lambda: PathIntegratedGradients(surely, layer="0").attribute(X, target=1))
    assert len(said) == 1 and "below 1 %" in said[0]


def test_what_is_refused():
    net, relu = mlp(), nn.ReLU()
    twice = seeded(lambda: nn.Sequential(nn.Linear(6, 6), relu, nn.Linear(6, 6), relu))
    for layer, model, words in (
        ("1.head", net, "no layer is named '1.head' in Sequential"),
        (relu, twice, "runs 2 times"),
        (nn.Linear(6, 6), net, "does not run"),
    ):
        with pytest.raises(ValueError, match=words):
            PathIntegratedGradients(model, layer=layer).attribute(X, target=0)
    with pytest.raises(ValueError, match="needs a layer"):
        NeFLAG(net, attribute_to_layer_input=True)
    with pytest.raises(TypeError, match="a module, its name or None"):
        GeodesicIGSVI(net, layer=3)
    with pytest.raises(ValueError, match="model._orig_mod"):
        PathIntegratedGradients(torch.compile(net, backend="eager"), layer=net[0]).attribute(X, target=0)
    with pytest.raises(ValueError, match="does not run"):
        PathIntegratedGradients(torch.jit.trace(net, X), layer="0").attribute(X, target=0)
    with pytest.raises(ValueError, match="is given"):
        LayerScore(net, "0")(torch.zeros(4, 5), X)


def test_two_branches_of_the_same_name_are_told_apart():
    first, second = mlp(), mlp(seed=1)

    def both(x):
        return first(x) + second(x)

    with pytest.raises(ValueError, match="2 layers are named '1'"):
        PathIntegratedGradients(both, layer="1").attribute(X, target=0)
    assert_close(
        PathIntegratedGradients(both, layer=first[1]).attribute(X, target=TARGET),
        PathIntegratedGradients(first, layer="1").attribute(X, target=TARGET),
        atol=1e-6,
        rtol=1e-4,
    )


def test_other_threads_do_not_see_the_exchange():
    net = mlp(smooth=True)
    right, wrong, stop = net(X).detach(), [], threading.Event()

    def use():
        while not stop.is_set():
            if not torch.equal(net(X).detach(), right):
                wrong.append(1)

    others = [threading.Thread(target=use) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        method = GeodesicIGSVI(net, layer="1")
        found = [method.attribute(X, target=TARGET, **RELAXED) for _ in range(3)]
        neighbours = []
        at_once = [
            threading.Thread(
                target=lambda k=k: neighbours.append(
                    (k, PathIntegratedGradients(net, layer=str(k)).attribute(X, target=TARGET))
                )
            )
            for k in (0, 1)
        ]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
    finally:
        stop.set()
        for thread in others:
            thread.join()
    assert not wrong and torch.equal(found[0], found[2])
    for k, there in neighbours:
        assert_close(there, PathIntegratedGradients(net, layer=str(k)).attribute(X, target=TARGET))
    assert len(neighbours) == 2 and not any(m._forward_hooks for m in net.modules())


class Saving(nn.Module):
    "Computes its layers anew in the backward pass"

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return checkpoint(self.net, x, use_reentrant=False)


def test_layers_within_a_checkpoint():
    net = mlp(smooth=True)
    for make, how in METHODS.values():
        if make is not pooled:
            right = make(net, layer="0").attribute(X, target=TARGET, **how)
            assert_close(make(Saving(net), layer="net.0").attribute(X, target=TARGET, **how), right)


def test_hooks_go_after_an_error_and_methods_are_copied_and_pickled():
    net = mlp()
    method = PathIntegratedGradients(net, layer="1")
    right = method.attribute(X, target=TARGET)
    for again in (
        copy.deepcopy(method),
        pickle.loads(pickle.dumps(method)),
        PathIntegratedGradients(net, layer=net[1]),
    ):
        assert_close(pickle.loads(pickle.dumps(again)).attribute(X, target=TARGET), right)
    handle = net[2].register_forward_pre_hook(lambda module, given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        method.attribute(X, target=TARGET)
    handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert_close(method.attribute(X, target=TARGET), right)


def test_captums_noise_tunnel_goes_around():
    net = mlp(smooth=True)
    noisy = NoiseTunnel(PathIntegratedGradients(net, layer="0")).attribute(X, nt_samples=3, stdevs=0.0, target=TARGET)
    assert_close(noisy, PathIntegratedGradients(net, layer="0").attribute(X, target=TARGET), atol=1e-6, rtol=1e-4)


def test_embeddings_of_transformers():
    transformers = pytest.importorskip("transformers")
    shape = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50)
    config = transformers.BertConfig(**shape, max_position_embeddings=16, num_labels=3)
    bert = seeded(lambda: transformers.BertForSequenceClassification(config))
    tokens = torch.randint(5, 50, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0

    def logits(tokens, mask):
        return bert(tokens, attention_mask=mask).logits

    embedding = bert.get_input_embeddings()
    ours = PathIntegratedGradients(logits, layer=embedding).attribute(tokens, 0, [0, 1, 2], mask)
    theirs = LayerIntegratedGradients(logits, embedding).attribute(
        tokens, 0, target=torch.tensor([0, 1, 2]), additional_forward_args=mask
    )
    assert ours.shape == (3, 7, 16)
    assert_close(ours, theirs, atol=1e-6, rtol=1e-3)
    block = "bert.encoder.layer.1"
    found, delta = PathIntegratedGradients(logits, layer=block).attribute(
        tokens, 0, 1, mask, return_convergence_delta=True
    )
    assert found.shape == (3, 7, 16) and delta.abs().max() < 1e-5
    assert NeFLAG(logits, layer=embedding).attribute(tokens, target=1, additional_forward_args=mask).isfinite().all()
