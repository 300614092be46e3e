"""Equilibrium through attention: rules by contributions against loops over pairs, laws, masks, spellings of one
function, who is averaged, and evidence planted for small transformers
"""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import convolutional, numbers, seeded
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from attrnb.equilibrium import AttributionEquilibrium, equilibrium_rule
from attrnb.equilibrium.attention import AttentionWeights, attention_rule, averages
from attrnb.equilibrium.contribution import addition_rule, contribution_rule, mixing_rule

pytestmark = pytest.mark.filterwarnings("ignore:.*no relevance arrives")


def share_of(weights):
    return weights / weights.sum().where(weights.sum() != 0, 1)


def pair_by_pair(x, weight, relevance, ratio=2.0, thin=True):
    "The rule for one example in loops over outputs: x (inputs,), weight (outputs, inputs), relevance (outputs,)"
    positive, negative = share_of(relevance.clamp(min=0)), -share_of(relevance.clamp(max=0))
    by_size, rest = torch.zeros_like(x), torch.zeros_like(x)
    for j, row in enumerate(weight):
        contributions = row * x
        way = -1 if contributions.sum() < 0 else 1
        supports = way * contributions > 0
        by_size += ((1 if thin else ratio) * positive[j] + negative[j]) * share_of(contributions.abs() * supports)
        rest += positive[j] * share_of(row.abs() * supports) + negative[j] * share_of(row.abs() * ~supports)
    if not thin and bool((positive > 0).any()):
        by_size = by_size - (by_size != 0) / (by_size != 0).sum().clamp(min=1).double()
    return by_size + rest


def linear_share(x, weight, relevance):
    size = weight.abs()
    return contribution_rule(
        x, relevance, lambda v: v @ weight.T, lambda s: s @ weight, lambda v: v @ size.T, lambda s: s @ size
    )


layers = dict(
    seed=st.integers(0, 10_000),
    n_inputs=st.integers(1, 9),
    n_outputs=st.integers(1, 7),
    zeros=st.floats(0, 0.8),
    rectified=st.booleans(),
    one_sign=st.sampled_from([None, 0, 1]),
)


def a_layer(seed, n_inputs, n_outputs, zeros, rectified, one_sign):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, n_inputs, generator=generator, dtype=torch.float64)
    weight = torch.randn(n_outputs, n_inputs, generator=generator, dtype=torch.float64)
    weight = weight * (torch.rand(weight.shape, generator=generator) >= zeros)
    relevance = torch.randn(3, n_outputs, generator=generator, dtype=torch.float64)
    relevance = relevance.clamp(min=0) if one_sign == 0 else relevance.clamp(max=0) if one_sign == 1 else relevance
    return x.clamp(min=0) if rectified else x, weight, relevance


@settings(max_examples=60, deadline=None)
@given(**layers)
def test_linear_layers_pair_by_pair_and_their_law(**given_layer):
    x, weight, relevance = a_layer(**given_layer)
    found, gap = linear_share(x, weight, relevance)
    assert_close(found, torch.stack([pair_by_pair(a, weight, r) for a, r in zip(x, relevance)]), atol=1e-9, rtol=1e-9)
    assert_close(found.sum(1), gap, atol=1e-9, rtol=1e-9)
    assert found.dtype == x.dtype and found.shape == x.shape


@settings(max_examples=60, deadline=None)
@given(ratio=st.floats(1, 2), thin=st.booleans(), **layers)
def test_weights_that_are_not_negative_pair_by_pair_and_their_law(ratio, thin, **given_layer):
    x, weight, relevance = a_layer(**given_layer)
    weight = weight.abs()
    found, gap = mixing_rule(
        x[..., None], relevance[..., None], lambda v: weight @ v, lambda s: weight.T @ s, ratio, thin
    )
    slow = [pair_by_pair(a, weight, r, ratio, thin) for a, r in zip(x, relevance)]
    assert_close(found[..., 0], torch.stack(slow), atol=1e-9, rtol=1e-9)
    assert_close(found.sum((1, 2)), gap, atol=1e-9, rtol=1e-9)
    if thin:
        assert_close(found[..., 0], linear_share(x, weight, relevance)[0], atol=1e-9, rtol=1e-9)
    if given_layer["rectified"]:
        old = equilibrium_rule(x, relevance, lambda v: v @ weight.T, lambda s: s @ weight, ratio, thin)
        assert_close(found[..., 0], old, atol=1e-9, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(**layers)
def test_signs_of_inputs_and_outputs_are_spelling(**given_layer):
    x, weight, relevance = a_layer(**given_layer)
    generator = torch.Generator().manual_seed(1)
    inputs, outputs = (torch.randn(k, generator=generator, dtype=torch.float64).sign() for k in weight.T.shape)
    found, _ = linear_share(x, weight, relevance)
    assert_close(linear_share(x * inputs, weight * inputs, relevance)[0], found, atol=1e-9, rtol=1e-9)
    if not (x @ weight.T == 0).any():  # the way of 0 counts as up, however it is written
        assert_close(linear_share(x, outputs[:, None] * weight, relevance)[0], found, atol=1e-9, rtol=1e-9)


def test_an_addition_is_a_layer_with_weights_of_one():
    terms, relevance = numbers(3, 4, 5, 6).double(), numbers(4, 5, 6, seed=1).double()
    found, gap = addition_rule(terms, relevance)
    slow, same = mixing_rule(
        terms.movedim(0, 1), relevance, lambda v: v.sum(1), lambda s: s[:, None].expand(-1, 3, -1, -1), thin=True
    )
    assert_close(found.movedim(0, 1), slow)
    assert_close(gap, same)
    assert_close(found.sum((0, 2, 3)), gap)
    assert gap.min() > 0  # somewhere all terms agree and none can answer for the negative
    moved, other_gap = addition_rule(terms.movedim(1, -1), relevance.movedim(0, -1), 4, (2, 1))
    assert_close(other_gap, gap)
    assert_close(moved.movedim(-1, 1), found)


def an_attention(masked, seed=0, dtype=torch.float64):
    V, R, scores = (numbers(2, 4, *s, seed=seed + k).to(dtype) for k, s in enumerate([(6, 5), (6, 5), (6, 6)]))
    if masked == "causal":
        scores = scores.masked_fill(torch.ones(6, 6, dtype=torch.bool).triu(1), -torch.inf)
    if masked == "padding":
        scores[..., 4:] = torch.finfo(dtype).min
    return V, R, scores.softmax(-1)


@pytest.mark.parametrize("masked", [None, "causal", "padding"])
@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_attention_keeps_its_law_and_gives_masked_places_nothing(masked, ratio):
    V, R, A = an_attention(masked)
    found, gap = attention_rule(V, R, A, ratio)
    assert_close(found.flatten(1).sum(1), gap)
    unseen = (A == 0).all(2)
    assert (found[unseen] == 0).all() and (found[~unseen] != 0).any(-1).all()
    assert bool(unseen.any()) == (masked == "padding")
    if masked is None:
        one_feature = [pair_by_pair(V[0, 0, :, 0], A[0, 0], R[0, 0, :, 0], ratio, thin=False)]
        alone, _ = attention_rule(V[:1, :1, :, :1], R[:1, :1, :, :1], A[:1, :1], ratio)
        assert_close(alone[0, 0, :, 0], one_feature[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mask_of_a_hundred_is_a_mask(dtype):
    V, R = numbers(2, 4, 6, 5).to(dtype), numbers(2, 4, 6, 5, seed=1).to(dtype)
    V[:, :, 4:, :2] *= -V[:, :, 4:, :2].sign() * V[:, :, :1, :2].sign()  # they alone resist
    V[:, :, :4, :2] = V[:, :, :4, :2].abs() * V[:, :, :1, :2].sign()
    scores = numbers(2, 4, 6, 6, seed=2).to(dtype)
    soft = scores.index_fill(-1, torch.tensor([4, 5]), 0) - 100 * (torch.arange(6) > 3)
    found, gap = attention_rule(V, R, soft.softmax(-1))
    assert found[:, :, 4:].abs().max() < 1e-15
    hard = attention_rule(V, R, soft.masked_fill(torch.arange(6) > 3, -torch.inf).softmax(-1))
    assert_close(found, hard[0], atol=1e-6, rtol=1e-5)
    assert_close(gap, hard[1])
    assert_close(found.flatten(1).sum(1), gap, atol=1e-5, rtol=1e-5)


def test_heads_examples_and_precision():
    V, R, A = an_attention("causal")
    found, _ = attention_rule(V, R, A)
    order = torch.tensor([3, 1, 0, 2])
    assert_close(attention_rule(V[:, order], R[:, order], A[:, order])[0], found[:, order])
    for k in range(2):
        assert_close(attention_rule(V[k : k + 1], R[k : k + 1], A[k : k + 1])[0], found[k : k + 1])
    single, gap = attention_rule(V.float(), R.float(), A.float())
    assert single.dtype == gap.dtype == torch.float32
    assert_close(single.double(), found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("most", [1, 40, 2**20])
@pytest.mark.parametrize(
    "setting",
    [{}, dict(is_causal=True), dict(mask="shut"), dict(mask="bias"), dict(mask="keys"), dict(scale=0.2)],
    ids=str,
)
def test_weights_of_a_fused_attention_in_pieces(most, setting):
    q, k, v, some = (numbers(2, h, 7, f, seed=h + f).double() for h, f in ((6, 3), (2, 3), (2, 5), (6, 5)))
    masks = dict(shut=numbers(2, 1, 7, 7) > -0.3, bias=numbers(7, 7).double(), keys=numbers(2, 1, 1, 7) > -0.3)
    masks["shut"][0, 0, 3] = False
    setting = {name: masks[value] if name == "mask" else value for name, value in setting.items()}
    weights = AttentionWeights(q, k, **setting, most=most)
    assert [p.start for p, _ in weights] == list(range(0, 7, max(1, most // (2 * 6 * 7))))
    fused = F.scaled_dot_product_attention(
        q, k, v, enable_gqa=True, **{"attn_mask" if n == "mask" else n: s for n, s in setting.items()}
    )
    assert_close(weights.forward(v), fused.nan_to_num(0.0))
    assert_close((weights.transpose(some) * v).sum(), (some * fused.nan_to_num(0.0)).sum())


def test_what_makes_means():
    scores = numbers(2, 5, 6)
    assert averages(scores.softmax(-1)) and averages(scores.softmax(-2), -2) and averages(torch.eye(4))
    assert not averages(scores.softmax(-2)) and not averages(scores) and not averages(scores.softmax(-1) * 1.001)


# attentions as people write them


def fused(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def plain(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


def by_einsum(q, k, v):
    scores = torch.einsum("bhqe,bhke->bhqk", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhqk,bhke->bhqe", F.dropout(scores.softmax(-1), 0.3, False), v)


def turned(q, k, v):
    return (v.mT @ (k @ q.mT / q.shape[-1] ** 0.5).softmax(-2)).mT


def softmax_by_hand(q, k, v):
    e = (q @ k.mT / q.shape[-1] ** 0.5).exp()
    return (e / e.sum(-1, keepdim=True)) @ v


def talking_heads(q, k, v):
    mixture = torch.eye(4) + 0.3 * numbers(4, 4)
    return torch.einsum("bhqk,hg->bgqk", (q @ k.mT / 3).softmax(-1), mixture) @ v


def over_channels(q, k, v):
    q, k = (F.normalize(t.mT, dim=-1) for t in (q, k))
    return ((q @ k.mT).softmax(-1) @ v.mT).mT


def efficient(q, k, v):
    return q.softmax(-1) @ (k.softmax(-2).mT @ v)


def linear_attention(q, k, v):
    q, k = F.relu(q) + 0.1, F.relu(k) + 0.1
    return q @ (k.mT @ v) / (q @ k.mT.sum(-1, keepdim=True))


def external(q, k, v):
    keys, values = numbers(9, q.shape[-1]), numbers(9, q.shape[-1], seed=1)
    return (v @ keys.T).softmax(-1) @ values


class Block(nn.Module):
    def __init__(self, attend, d=16):
        super().__init__()
        self.attend, self.norms = attend, nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
        self.qkv, self.out, self.up, self.down = (nn.Linear(d, k * d) for k in (3, 1, 1, 1))

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in self.qkv(self.norms[0](x)).chunk(3, -1))
        x = x + self.out(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class Encoder(nn.Module):
    def __init__(self, attend=plain, d=16):
        super().__init__()
        self.start = nn.Parameter(torch.randn(d))
        self.blocks = nn.Sequential(Block(attend), Block(attend))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 3)

    def forward(self, x):
        x = torch.cat([self.start.expand(len(x), 1, -1), x], 1)
        x = self.norm(self.blocks(x))
        return self.head(x.mean(1) if self.blocks[0].attend in (over_channels, external) else x[:, 0])


def encoder(attend=plain):
    return seeded(lambda: Encoder(attend))


def departure(layers):
    "The largest difference between what was passed on and the law"
    noted = [found for found in layers.values() if found.passed_gap is not None]
    assert len(noted) >= 9
    return max((found.passed_gap - found.expected_gap).abs().max().item() for found in noted)


@pytest.mark.parametrize("attend", [fused, by_einsum, turned, softmax_by_hand], ids=lambda f: f.__name__)
@pytest.mark.parametrize("settings", [{}, dict(attention="shared"), dict(skip="main")], ids=str)
def test_one_attention_in_any_spelling(attend, settings):
    x = numbers(3, 6, 16)
    settings = {"skip": "share", **settings}
    expected = AttributionEquilibrium(encoder()).attribute(x, target=1, **settings)
    found = AttributionEquilibrium(encoder(attend)).attribute(x, target=1, **settings)
    assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert expected.abs().max() > 1e-3


everybody = [
    plain, fused, talking_heads, over_channels, efficient, linear_attention, external, softmax_by_hand
]  # fmt: skip


@pytest.mark.parametrize("attend", everybody, ids=lambda f: f.__name__)
@pytest.mark.parametrize("settings", [{}, dict(attention="shared"), dict(skip="main"), dict(ratio=1.0)], ids=str)
def test_every_attention_keeps_the_law_and_single_examples(attend, settings):
    x, method = numbers(3, 6, 16), AttributionEquilibrium(encoder(attend))
    found, layers = method.attribute(x, target=0, return_layers=True, **settings)
    assert found.isfinite().all() and found.flatten(1).any(1).all()
    assert departure(layers) < 1e-4
    alone = torch.cat([method.attribute(x[k : k + 1], target=0, **settings) for k in range(3)])
    assert_close(alone, found, atol=1e-6, rtol=1e-5)
    if attend in (plain, fused, talking_heads, over_channels, efficient) and not settings:
        assert_close(found, method.attribute(x, target=0, skip="share"))
    if attend in (linear_attention, softmax_by_hand) and not settings:  # no softmax on the tape
        assert_close(found, method.attribute(x, target=0, skip="main"))


def test_a_contrast_of_a_transformer_keeps_the_law():
    method, x = AttributionEquilibrium(encoder()), numbers(3, 6, 16)
    found, layers = method.attribute(x, target=[0, 1, 2], contrast=[2, 0, 1], return_layers=True)
    assert departure(layers) < 1e-5
    for k in range(3):
        one = method.attribute(x[k : k + 1], target=lambda z, k=k: z[:, k] - z[:, k - 1])
        assert_close(found[k : k + 1], one, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found, method.attribute(x, target=[0, 1, 2]), atol=1e-4)


def test_the_explanation_does_not_depend_on_signs_of_hidden_numbers():
    model, x = encoder(), numbers(3, 6, 16)
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for block in other.blocks:
            signs = torch.randint(0, 2, (3, 16), generator=generator) * 2.0 - 1
            for norm, layer, sign in zip(block.norms, (block.qkv, block.up), signs):
                norm.weight *= sign
                norm.bias *= sign
                layer.weight *= sign
            block.qkv.weight[32:] *= signs[2, :, None]
            block.qkv.bias[32:] *= signs[2]
            block.out.weight *= signs[2]
    assert_close(other(x), model(x))
    maps = [AttributionEquilibrium(m).attribute(x, target=2) for m in (model, other)]
    by_sign = [AttributionEquilibrium(m).attribute(x, target=2, skip="main") for m in (model, other)]
    # the first layer of all has the rule of pixels, in which a sign makes another range
    tokens, signed = (torch.stack(m).sum(-1) for m in (maps, by_sign))
    assert_close(tokens[0], tokens[1], atol=1e-4, rtol=1e-3)
    assert (signed[0] - signed[1]).abs().max() > 0.05


@pytest.mark.parametrize(
    "written", [lambda x, y: x - y, lambda x, y: torch.rsub(y, x), lambda x, y: x.add(y, alpha=-1)]
)
def test_a_difference_is_a_sum(written):
    class Difference(Block):
        def forward(self, x):
            return super().forward(self.combine(x, self.down(self.up(x).relu())))

    x, maps = numbers(2, 5, 8), []
    for combine in (lambda x, y: x + -1 * y, written):
        model = seeded(lambda: nn.Sequential(Difference(plain, 8), nn.Linear(8, 3)))
        model[0].combine = combine
        score = seeded(lambda: nn.Sequential(model, nn.AdaptiveAvgPool2d((1, 3)), nn.Flatten()))
        maps.append(AttributionEquilibrium(score).attribute(x, target=0))
    assert maps[0].any()
    assert_close(*maps)


def test_the_rule_of_a_whole_attention_is_that_of_its_values():
    class Means(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, v, scores):
            return self.head(F.relu(scores.softmax(-1) @ v).mean(1))

    v, scores = numbers(2, 6, 4), numbers(2, 5, 6, seed=1)
    model = seeded(Means)
    found, layers = AttributionEquilibrium(model, layer="relu").attribute(
        (v, scores), target=0, return_layers=True, ratio=1.5, skip="share"
    )
    at_means = next(f.relevance for f in layers.values())
    expected, gap = attention_rule(v, at_means, scores.softmax(-1), 1.5)
    assert_close(found[0], expected, atol=1e-6, rtol=1e-5)
    assert_close(found[0].flatten(1).sum(1), gap, atol=1e-6, rtol=1e-5)


class Cross(nn.Module):
    "Queries from the first input, keys and values from the second"

    def __init__(self, constant_values=False):
        super().__init__()
        self.query, self.key, self.value, self.head = (nn.Linear(8, k) for k in (8, 8, 8, 3))
        self.memory = nn.Parameter(torch.randn(1, 1, 5, 8)) if constant_values else None

    def forward(self, x, memory):
        q, k = self.query(x)[:, None], self.key(memory)[:, None]
        v = self.value(memory)[:, None] if self.memory is None else self.memory.expand(len(x), -1, -1, -1)
        return self.head(F.relu(F.scaled_dot_product_attention(q, k, v)[:, 0]).mean(1))


def test_queries_and_keys_take_part_when_they_are_asked_to():
    inputs = numbers(2, 4, 8), numbers(2, 5, 8, seed=1)
    method = AttributionEquilibrium(seeded(Cross))
    at_queries, at_memory = method.attribute(inputs, target=0)
    assert not at_queries.any() and at_memory.any()
    at_queries, at_memory = method.attribute(inputs, target=0, attention="shared")
    assert at_queries.flatten(1).any(1).all() and at_memory.any()
    # constant values: the weights are the only signal
    at_queries, at_keys = AttributionEquilibrium(seeded(lambda: Cross(True))).attribute(inputs, target=0)
    assert at_queries.flatten(1).any(1).all() and at_keys.flatten(1).any(1).all()
    with pytest.raises(ValueError, match="'values' or 'shared'"):
        method.attribute(inputs, target=0, attention="keys")


class Masked(Encoder):
    "Padding is shut out; or every token sees those before it, and the last one answers"

    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        for block in self.blocks:
            block.attend = self.attend

    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, self.mask, is_causal=self.causal)

    def forward(self, x, keep=None):
        self.mask = None if keep is None else F.pad(keep, (1, 0), value=True)[:, None, None]
        if not self.causal:
            return super().forward(x)
        return self.head(self.norm(self.blocks(x))[:, 3])


@pytest.mark.parametrize("attention", ["values", "shared"])
def test_padding_and_what_comes_later_get_nothing(attention):
    x, keep = numbers(3, 6, 16), torch.ones(3, 6, dtype=torch.bool)
    keep[1, 4:] = keep[2, 2:] = False
    found = AttributionEquilibrium(seeded(lambda: Masked(False))).attribute(
        x, target=0, additional_forward_args=(keep,), attention=attention
    )
    assert (found[~keep] == 0).all() and found[keep].any(-1).all()
    found = AttributionEquilibrium(seeded(lambda: Masked(True))).attribute(x, target=0, attention=attention)
    assert (found[:, 4:] == 0).all() and found[:, :4].any(-1).all()


def test_a_gated_linear_unit_gives_its_gate_nothing():
    class Gated(nn.Module):
        def __init__(self, written):
            super().__init__()
            self.written, self.both, self.head = written, nn.Linear(8, 12), nn.Linear(6, 3)
            self.attention = Block(plain, 8)

        def forward(self, x):
            z = self.both(self.attention(x))
            a, g = z.chunk(2, -1)
            return self.head((a * g.sigmoid() if self.written else F.glu(z)).mean(1))

    x = numbers(2, 5, 8)
    one, other = (AttributionEquilibrium(seeded(lambda w=w: Gated(w))).attribute(x, target=0) for w in (True, False))
    assert one.any()
    assert_close(one, other)


def test_convolutional_networks_go_on_as_before():
    x, method = numbers(2, 3, 16, 16), AttributionEquilibrium(convolutional())
    assert torch.equal(method.attribute(x, target=0), method.attribute(x, target=0, skip="main"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision_of_the_model_is_that_of_the_attribution(dtype):
    model, x = encoder(fused), numbers(2, 6, 16)
    expected = AttributionEquilibrium(model).attribute(x, target=0)
    found = AttributionEquilibrium(copy.deepcopy(model).to(dtype)).attribute(x.to(dtype), target=0)
    assert found.dtype == dtype and found.isfinite().all()
    alike = F.cosine_similarity(found.double().flatten(1), expected.double().flatten(1))
    assert alike.min() > (1 - 1e-6 if dtype == torch.float64 else 0.8)


# planted evidence


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.encoder = nn.Embedding(24, 16), Encoder()
        self.encoder.head = nn.Linear(16, 4)

    def forward(self, embeddings):
        return self.encoder(embeddings)


@pytest.mark.parametrize("seed", [21, 22])
def test_the_planted_word_is_found(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        x = torch.randint(4, 24, (n, 10), generator=generator)
        y, place = (torch.randint(0, k, (n,), generator=generator) for k in (4, 10))
        x[range(n), place] = y
        return x, y, F.one_hot(place, 10)

    model = seeded(Words, seed)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    for _ in range(250):
        x, y, _ = draw(96)
        optimizer.zero_grad()
        F.cross_entropy(model(model.embed(x)), y).backward()
        optimizer.step()
    x, y, evidence = draw(100)
    e = model.embed(x).detach()
    assert (model(e).argmax(1) == y).double().mean() > 0.95

    def on_evidence(**settings):
        positive = AttributionEquilibrium(model).attribute(e, target=y, **settings).sum(-1).clamp(min=0)
        return ((positive * evidence).sum(1) / positive.sum(1)).mean().item()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        share = on_evidence()
    assert share > 0.75
    assert share > on_evidence(skip="main") + 0.1
