"One number per token: Hugging Face's models as they are, tokenizers and vocabularies, methods, and coloured text"

import html.parser
import re

import pytest
import torch
from torch import nn

from attrnb.core import ClassScore
from attrnb.equilibrium import AttributionEquilibrium
from attrnb.geodesic import GeodesicIGKNN
from attrnb.measures import energy_inside
from attrnb.methods import METHODS, attribute
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.text import EmbeddedModel, TokenAttributions, explain_tokens, token_figure, token_html

SMALL = dict(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=32,
)
GPT = dict(vocab_size=40, n_embd=16, n_layer=2, n_head=2, pad_token_id=1, bos_token_id=0, eos_token_id=2)
T5 = dict(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
BART = dict(
    vocab_size=40,
    d_model=16,
    encoder_layers=1,
    decoder_layers=1,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    scale_embedding=True,
    eos_token_id=9,
    forced_eos_token_id=9,
)


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def make(transformers, model, config, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()


@pytest.fixture(scope="module")
def bert(transformers):
    return make(transformers, "BertForSequenceClassification", "BertConfig", num_labels=3, **SMALL)


@pytest.fixture(scope="module")
def tokenizer(transformers):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = "[PAD] [CLS] [SEP] [UNK] [MASK] the a film was good bad <b>dull</b> $100 not very".split()
    plain = Tokenizer(models.WordLevel({w: k for k, w in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    names = dict(pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", mask_token="[MASK]")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **names)


# Models as they are

IDS = torch.tensor([[5, 6, 7, 8, 9, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])


@pytest.mark.parametrize(
    "model, config, settings, position, by_name",
    [
        ("BertForSequenceClassification", "BertConfig", SMALL, None, False),
        ("RobertaForSequenceClassification", "RobertaConfig", SMALL | dict(pad_token_id=1), None, False),
        ("GPT2ForSequenceClassification", "GPT2Config", GPT, None, False),
        ("GPT2LMHeadModel", "GPT2Config", GPT, "last", False),
        ("LlamaForCausalLM", "LlamaConfig", SMALL | dict(num_key_value_heads=2), "last", False),
        ("T5ForConditionalGeneration", "T5Config", T5, "last", True),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_embeddings_in_place_of_tokens_are_the_model_itself(transformers, model, config, settings, position, by_name):
    model = make(transformers, model, config, **settings)
    named = dict(attention_mask=MASK) | (dict(decoder_input_ids=torch.tensor([[0, 3]])) if "T5" in config else {})
    inside = EmbeddedModel(model, IDS, named, position=position)
    assert inside.by_name == by_name
    whole = model(IDS, **named).logits
    last = 1 if by_name else 4
    torch.testing.assert_close(inside(inside.embeddings), whole if position is None else whole[:, last])
    other = IDS.clone()
    other[0, 1] = 30  # the places are added behind the words
    whole = model(other, **named).logits
    torch.testing.assert_close(inside(inside.embed(other)), whole if position is None else whole[:, last])


def test_ids_that_are_read_in_a_second_way_stay(transformers):
    model = make(transformers, "GPT2ForSequenceClassification", "GPT2Config", **GPT)
    found = explain_tokens("integrated_gradients", model, dict(input_ids=IDS, attention_mask=MASK), 1, special=[1])
    alone = explain_tokens("integrated_gradients", model, IDS[:, :5], 1, special=[1])
    torch.testing.assert_close(found.values[:, :5], alone.values, atol=1e-5, rtol=1e-3)
    with torch.no_grad():  # what handing over the embeddings does instead: the last token is padding
        e = model.get_input_embeddings()(IDS)
        wrong = model(inputs_embeds=e, attention_mask=MASK).logits
    assert not torch.allclose(wrong, model(IDS, attention_mask=MASK).logits, atol=1e-3)


def test_a_model_with_two_embeddings_is_refused_until_one_is_named(transformers):
    model = make(transformers, "BartForSequenceClassification", "BartConfig", **BART)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with pytest.raises(ValueError, match="Name the layer whose output is all that the model reads"):
        EmbeddedModel(model, ids)
    inside = EmbeddedModel(model, ids, embedding="model.encoder.embed_tokens")
    torch.testing.assert_close(inside(inside.embeddings), model(ids).logits)


def test_an_embedding_layer_that_never_runs_is_refused_with_the_names_of_others(transformers):
    settings = T5 | dict(pad_token_id=1, eos_token_id=2, decoder_start_token_id=1, num_labels=3)
    model = make(transformers, "T5ForSequenceClassification", "T5Config", **settings)
    ids = torch.tensor([[5, 6, 7, 8, 9, 2]])
    with pytest.raises(ValueError, match="nn.Embedding: .*'transformer.encoder.embed_tokens'"):
        EmbeddedModel(model, ids)
    inside = EmbeddedModel(model, ids, embedding="transformer.encoder.embed_tokens")
    torch.testing.assert_close(inside(inside.embeddings), model(ids).logits)


def test_a_classifier_without_a_pad_token_runs_row_by_row(transformers):
    settings = SMALL | dict(num_key_value_heads=2, num_labels=3)
    model = make(transformers, "LlamaForSequenceClassification", "LlamaConfig", **settings)
    with pytest.raises(ValueError, match="no padding token is defined. Methods ask .* or give internal_batch_size=1"):
        explain_tokens("integrated_gradients", model, IDS[:, :5], 1)
    single = explain_tokens("integrated_gradients", model, IDS[:, :5], 1, internal_batch_size=1)
    model.config.pad_token_id = 1
    found = explain_tokens("integrated_gradients", model, IDS[:, :5], 1)
    torch.testing.assert_close(found.values, single.values, atol=1e-6, rtol=1e-4)


def test_the_model_is_left_as_it_was(bert):
    layer = bert.get_input_embeddings()
    bert.train()
    try:
        before = {k: v.clone() for k, v in bert.state_dict().items()}
        with pytest.warns(UserWarning, match="training mode"):
            explain_tokens((NeFLAG, dict(n_points=4)), bert, IDS, 1)
        assert all(m.training for m in bert.modules())
        assert not layer._forward_hooks and all(p.grad is None for p in bert.parameters())
        assert all(torch.equal(v, before[k]) for k, v in bert.state_dict().items())
    finally:
        bert.eval()


# What comes in, and what is kept out


def test_text_ids_and_encodings_are_the_same(bert, tokenizer):
    texts = ["the film was good", "a strange film"]
    one = explain_tokens("integrated_gradients", bert, texts, 1, tokenizer=tokenizer)
    encoded = tokenizer(texts, return_tensors="pt", padding=True)
    two = explain_tokens("integrated_gradients", bert, encoded, 1, tokenizer=tokenizer)
    assert one.tokens == two.tokens and torch.equal(one.everything, two.everything)
    assert one.tokens[1] == ["[CLS]", "a", "[UNK]", "film", "[SEP]", "[PAD]"]
    assert one.kept.int().tolist() == [[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]]  # an unknown word is a word
    for text, length in zip(range(2), (6, 5)):
        alone = explain_tokens("integrated_gradients", bert, texts[text], 1, tokenizer=tokenizer)
        torch.testing.assert_close(one.everything[text, :length], alone.everything[0], atol=2e-5, rtol=1e-3)


def test_vocabularies_name_tokens_and_the_user_says_what_is_special(bert):
    found = explain_tokens("saliency", bert, IDS[0, :5], 0, tokenizer={k: f"w{k}" for k in range(40)}, special=[5, 9])
    assert found.tokens == [["w5", "w6", "w7", "w8", "w9"]] and found.kept[0].tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert [place for place, *_ in found.ranking()] == sorted([1, 2, 3], key=lambda k: -found.values[0, k].abs().item())
    sizes = found.everything[0].abs()
    assert found.aside.item() == pytest.approx(((sizes[0] + sizes[4]) / sizes.sum()).item()) and found.aside > 0
    assert f"{found.aside.item():.1%} of the magnitudes at special tokens" in found.title()


@pytest.mark.parametrize("baseline", ["zero", "pad", "mask", 7])
def test_a_straight_path_begins_at_the_baseline_that_is_asked_for(bert, tokenizer, baseline):
    text = "the film was good"
    found = explain_tokens("integrated_gradients", bert, text, 1, tokenizer=tokenizer, baseline=baseline, score="logit")
    encoded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        e = bert.get_input_embeddings()(encoded["input_ids"])
        id = dict(pad=0, mask=4).get(baseline, baseline)
        nothing = torch.zeros(16) if id == "zero" else bert.get_input_embeddings()(torch.tensor(id))
        start = e.clone()
        start[:, 1:-1] = nothing
        change = (bert(**encoded).logits - bert(inputs_embeds=start).logits)[0, 1]
    assert (found.scores - found.start_scores).item() == pytest.approx(change.item(), abs=1e-5)
    assert found.everything.sum().item() == pytest.approx(change.item(), abs=2e-4)
    assert found.aside.item() < 1e-6


def test_without_a_choice_words_become_a_token_that_means_none(bert, tokenizer, transformers):
    text, how = "the film was good", dict(tokenizer=tokenizer, score="logit")
    chosen, masked = (explain_tokens("integrated_gradients", bert, text, 1, **how, **b) for b in ({}, {"baseline": 4}))
    assert torch.equal(chosen.everything, masked.everything)
    assert "at the baseline (mask)" in chosen.title() and "at the baseline (id 4)" in masked.title()
    ends = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, eos_token="[SEP]")
    ended = explain_tokens("integrated_gradients", bert, IDS, 1, tokenizer=ends, special=[])
    assert "(eos)" in ended.title()
    assert torch.equal(ended.everything, explain_tokens("integrated_gradients", bert, IDS, 1, baseline=2).everything)
    nothing = explain_tokens("integrated_gradients", bert, IDS, 1)
    zero = explain_tokens("integrated_gradients", bert, IDS, 1, baseline=torch.zeros(16))
    assert torch.equal(nothing.everything, zero.everything)
    assert "(zero)" in nothing.title() and "(embeddings)" in zero.title()


def test_the_table_of_baselines_is_what_its_program_measures(transformers, tmp_path):
    from test_experiments import ROOT, program, rows_of

    choice = ["--models", "llama-next", "--scores", "probability", "--baselines", "zero", "eos"]
    program("token_baselines").main([*choice, "--out", str(tmp_path / "rows.csv")])
    stored = {(r["model"], r["kind"], r["score"], r["baseline"]): r for r in rows_of(ROOT / "nbs/text/baselines.csv")}
    for row in rows_of(tmp_path / "rows.csv"):
        there = stored[row["model"], row["kind"], row["score"], row["baseline"]]
        assert float(row["right"]) > 0.98 and float(row["steps"]) / 2 <= float(there["steps"]) <= 2 * float(
            row["steps"]
        )
        assert float(row["share"]) == pytest.approx(float(there["share"]), abs=0.1)


# Methods


class Gated(nn.Module):
    "Tokens (rows, steps) to logits (rows, 2), linear in the embeddings: what each token says is known"

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, ids):
        return self.head(self.words(ids).sum(1))


@pytest.mark.parametrize(
    "method",
    [
        "integrated_gradients",
        ("geodesic", dict(start="straight")),
        PathIntegratedGradients,
        "captum_integrated_gradients",
        "input_x_gradient",
        "deep_lift",
        "occlusion",
        "feature_ablation",
        "shapley",
    ],
    ids=str,
)
def test_of_a_linear_model_every_complete_method_says_what_each_token_adds(method):
    import captum.attr as captum

    torch.manual_seed(0)
    model = Gated().eval()
    ids = torch.tensor([[3, 8, 2], [2, 2, 9]])
    given = dict(feature_ablation=captum.FeatureAblation, shapley=(captum.ShapleyValueSampling, dict(n_samples=2)))
    method = given.get(method, method) if isinstance(method, str) else method
    found = explain_tokens(method, model, ids, [0, 1], embedding="words", score="logit")
    said = (model.words(ids) @ model.head.weight.T)[torch.arange(2), :, torch.tensor([0, 1])].detach().double()
    torch.testing.assert_close(found.values, said, atol=1e-5, rtol=1e-4)


def test_a_method_that_draws_sees_each_text_alone(bert):
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    neflag = (NeFLAG, dict(n_points=6))
    both = explain_tokens(neflag, bert, ids, 1, seed=3)
    for k in range(2):
        alone = explain_tokens(neflag, bert, ids[k], 1, seed=3)
        torch.testing.assert_close(both.values[k], alone.values[0], atol=1e-7, rtol=1e-4)
    again, other = (explain_tokens(neflag, bert, ids, 1, seed=s) for s in (3, 4))
    assert torch.equal(both.values, again.values) and not torch.equal(both.values, other.values)


def test_it_is_the_method_on_the_embeddings_summed(bert):
    inside = EmbeddedModel(bert, IDS, dict(attention_mask=MASK))
    found = explain_tokens("saliency", bert, dict(input_ids=IDS, attention_mask=MASK))
    assert found.targets == [bert(IDS, attention_mask=MASK).logits.argmax().item()]
    by_hand = attribute("saliency", inside, inside.embeddings, found.targets).attributions
    torch.testing.assert_close(found.everything, by_hand.double().sum(2))
    assert found.values[0, 5:].isnan().all() and not found.values[0, :5].isnan().any()


def test_next_tokens_are_asked_about_at_a_position(transformers):
    model = make(transformers, "GPT2LMHeadModel", "GPT2Config", **GPT)
    with pytest.raises(ValueError, match='position="last" for the token that comes next'):
        explain_tokens("saliency", model, IDS, 3)
    found = explain_tokens("integrated_gradients", model, IDS[:, :5], 3, position=2, score="logit")
    assert found.values[0, 3:].abs().max() == 0 < found.values[0, :3].abs().min()  # what comes later isn't seen
    assert found.scores.item() == pytest.approx(model(IDS[:, :5]).logits[0, 2, 3].item(), abs=1e-5)
    padded = explain_tokens("saliency", model, dict(input_ids=IDS, attention_mask=MASK), 3, position="last")
    plain = explain_tokens("saliency", model, IDS[:, :5], 3, position="last")
    torch.testing.assert_close(padded.values[:, :5], plain.values, atol=1e-6, rtol=1e-3)


def test_a_geodesic_goes_through_a_pool_of_texts(bert):
    ids = torch.randint(5, 40, (30, 5), generator=torch.Generator().manual_seed(1))
    pool = EmbeddedModel(bert, ids[:1]).embed(ids)
    found = explain_tokens((GeodesicIGKNN, dict(pool=pool)), bert, ids[:2], 1, score="logit", baseline=4)
    change = found.scores - found.start_scores
    torch.testing.assert_close(found.everything.sum(1), change, atol=1e-3, rtol=1e-2)


WRONG = [
    (dict(method="grad_cam"), ValueError, "explains images"),
    (dict(method="saliencie"), ValueError, "saliency"),
    (dict(target=9), ValueError, "target 9 is out of range for 3 classes"),
    (dict(target=[0, 1]), ValueError, "2 targets for 1 examples"),
    (dict(position="last"), ValueError, "no positions"),
    (dict(baseline="mask"), ValueError, "the tokenizer has no mask token"),
    (dict(baseline="noise"), TypeError, "baseline='noise' is not known"),
    (dict(special=[5, 6, 7, 8, 9, 1]), ValueError, "nothing but special tokens"),
    (dict(embedding="bert.pooler"), ValueError, "makes no embeddings of ids"),
    (dict(tokens="the film"), TypeError, "text needs a tokenizer"),
    (dict(tokens=torch.rand(1, 5)), TypeError, "whole numbers"),
    (dict(model=lambda ids: ids), TypeError, "must be a torch.nn.Module"),
    (dict(score="sure"), ValueError, "not known"),
]


@pytest.mark.parametrize("how, error, message", WRONG, ids=[m[:20] for *_, m in WRONG])
def test_what_cant_be_explained_is_refused_by_name(bert, how, error, message):
    call = dict(method="saliency", model=bert, tokens=IDS) | how
    with pytest.raises(error, match=message):
        explain_tokens(**call)


def test_an_instance_is_made_again_for_the_embeddings(bert, transformers):
    import captum.attr as captum

    how = dict(target=1, baseline="zero")
    cases = [
        (PathIntegratedGradients(ClassScore(bert, "log_probability")), PathIntegratedGradients, "log_probability", {}),
        (AttributionEquilibrium(bert, layer="bert.encoder.layer.0"), "equilibrium", "output", dict(layer=0)),
        (captum.IntegratedGradients(bert, multiply_by_inputs=False), None, "output", dict(multiply_by_inputs=False)),
        ((NeFLAG(ClassScore(bert)), dict(n_points=5)), NeFLAG, "logit", dict(n_points=5)),
    ]
    for instance, method, score, settings in cases:
        settings = settings | ({"layer": "bert.encoder.layer.0"} if "layer" in settings else {})
        by_class = (captum.IntegratedGradients, settings) if method is None else (method, settings)
        found, expected = (
            explain_tokens(instance, bert, IDS, **how),
            explain_tokens(by_class, bert, IDS, score=score, **how),
        )
        assert torch.equal(found.everything, expected.everything) and found.score == score
        assert found.everything.abs().max() > 0
    for instance in (PathIntegratedGradients(lambda x: bert(x)), captum.NoiseTunnel(captum.IntegratedGradients(bert))):
        with pytest.raises(TypeError, match="give its class"):
            explain_tokens(instance, bert, IDS)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_equilibrium_finds_the_planted_word(transformers, family):
    from test_experiments import program

    trials = program("token_baselines")
    model, (ids, labels, places) = trials.made(family, "classifier"), trials.texts("classifier", 12, seed=1)
    assert (model(ids).logits.argmax(1) == labels).all()
    how = dict(tokenizer=trials.WORDS)
    found, row = explain_tokens("equilibrium", model, ids, labels, **how), torch.arange(len(ids))
    positive = found.values.nan_to_num(0).clamp(min=0)
    assert (positive.argmax(1) == places).sum() >= 11
    assert (positive[row, places] / positive.sum(1)).mean() > 0.8  # a tenth, if all words had the same
    padded = torch.cat([ids[:1], torch.zeros(1, 3, dtype=torch.long)], 1)
    named = dict(input_ids=padded, attention_mask=(torch.arange(15) < 12).long()[None])
    alone = explain_tokens("equilibrium", model, named, labels[:1], **how)
    torch.testing.assert_close(alone.everything[:, :12], found.everything[:1], rtol=1e-3, atol=1e-5)
    assert not alone.everything[:, 12:].any()


# Coloured text


class _Spans(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.spans, self.tags = None, [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.open = dict(attributes) if tag == "span" else None
        if tag == "span":
            self.spans.append(["", self.open])

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open is not None:
            self.spans[-1][0] += data


def test_tokens_are_text_whatever_they_hold(bert, tokenizer):
    found = explain_tokens("saliency", bert, "the <b>dull</b> $100 film", 1, tokenizer=tokenizer)
    parsed = _Spans()
    parsed.feed(found._repr_html_())
    assert [text for text, _ in parsed.spans] == found.tokens[0] and parsed.tags == {"div", "span"}
    nasty = ['"><script>alert(1)</script>', "\u202eabc", "a\nb", ""]
    parsed = _Spans()
    parsed.feed(token_html(nasty, torch.ones(4), title="<i>&"))
    assert [text for text, _ in parsed.spans] == [nasty[0], "\\u202eabc", "a b", "·"] and "script" not in parsed.tags


def test_red_is_for_blue_against_and_grey_holds_no_number():
    parsed = _Spans()
    values = torch.tensor([1.0, -1.0, 0.0, float("nan")])
    parsed.feed(token_html(["for", "against", "silent", "[SEP]"], values))
    grounds = [re.search(r"background:([^;]+)", a["style"])[1] for _, a in parsed.spans]
    assert grounds[3] == "transparent" and parsed.spans[3][1]["title"] == "no number"
    red, blue, white = (tuple(int(g[k : k + 2], 16) for k in (1, 3, 5)) for g in grounds[:3])
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0] and min(white) > 240
    half = token_html(["for"], torch.tensor([1.0]), limit=2.0)
    assert (
        half
        != token_html(["for"], torch.tensor([1.0]))
        == token_html(["for"], torch.tensor([0.2])).replace("+0.2", "+1")
    )


def test_a_figure_has_every_token_once_for_each_method_and_wraps():
    tokens = [f"tok{k}$" for k in range(50)] + ["x" * 150]
    values = torch.linspace(-1, 1, 51)
    figure = token_figure(tokens, {"one": values, "$two$": -values}, width=60)
    texts = figure.axes[0].texts
    assert sum(t.get_text() == "tok7$" for t in texts) == 2 and not any(t.get_parse_math() for t in texts)
    assert max(t.get_position()[0] + len(t.get_text()) for t in texts if t.get_text().startswith("tok")) <= 60
    assert any(t.get_text().startswith("$two$") for t in texts)
    with pytest.raises(ValueError, match="one number per token"):
        token_figure(tokens, values[:3])


def test_what_comes_out_shows_itself(bert):
    found = explain_tokens("integrated_gradients", bert, IDS[:, :5], [2], tokenizer=[f"w{k}" for k in range(40)])
    assert isinstance(found, TokenAttributions) and "probability of 2 is" in found.title()
    assert found._repr_html_().count("<span") == 5 and len(found.figure().axes[0].texts) == 6
    assert energy_inside(found.values, torch.tensor([[1, 1, 1, 1, 1]]).bool()).shape == (1,)
    assert "integrated_gradients" in METHODS


# The explorer's strip


def test_the_explorer_shows_texts_by_several_methods(bert, tokenizer):
    from attrnb.explore import TokenExplorer

    texts = ["the film was good", "a film was <b>dull</b> not good"]
    explorer = TokenExplorer(bert, texts, tokenizer=tokenizer, categories=["bad", "so so", "good"])
    assert len(explorer.methods) == explorer.shown.value.count('role="img"') == 3
    assert [line for line, _ in explorer.strip.options] == [f"{k}: {t}" for k, t in enumerate(texts, 1)]
    explorer.strip.value, explorer.class_field.value = 1, "so so"
    assert "&lt;b&gt;dull&lt;/b&gt;" in explorer.shown.value and "<b>" not in explorer.shown.value
    for title, method in explorer.methods.items():
        expected = explain_tokens(method, bert, texts[1], 1, tokenizer=tokenizer)
        found = explorer.explanation(title)
        torch.testing.assert_close(found.values, expected.values, equal_nan=True)
        assert explorer.explanation(title) is found and f"{title}: " in explorer.shown.value
    explorer.class_field.value = "goood"
    assert "no class is called &#x27;goood&#x27;; did you mean good?" in explorer.shown.value
    explorer.class_field.value = "2"
    assert explorer.explanation(title).targets == [2]
