"Networks for text, sound and time series: transformers"

import functools
from collections.abc import Iterator

import torch
from torch import nn

from .cases import Case, Entry, numbers, stirred

TOKENS, WIDTH = 7, 16
COMMON = dict(
    vocab_size=40,
    hidden_size=WIDTH,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=32,
    num_labels=3,
    pad_token_id=0,
)
GPT = dict(vocab_size=40, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=2)
T5 = dict(vocab_size=40, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2, num_labels=3)
BART = dict(
    vocab_size=40,
    d_model=WIDTH,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    max_position_embeddings=32,
    num_labels=3,
)
GROUPED = COMMON | dict(num_key_value_heads=1)
MIXED = GROUPED | dict(num_local_experts=4, num_experts_per_tok=2)

CLASSIFIERS: dict[str, dict] = {
    "bert": COMMON,
    "roberta": COMMON,
    "xlm-roberta": COMMON,
    "camembert": COMMON,
    "distilbert": dict(
        vocab_size=40, dim=WIDTH, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=32, num_labels=3
    ),
    "albert": COMMON | dict(embedding_size=WIDTH),
    "electra": COMMON | dict(embedding_size=WIDTH),
    "deberta": COMMON | dict(relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta-v2": COMMON | dict(relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "mpnet": COMMON,
    "xlnet": dict(vocab_size=40, d_model=WIDTH, n_layer=2, n_head=2, d_inner=32, num_labels=3),
    "convbert": COMMON | dict(embedding_size=WIDTH, conv_kernel_size=3, head_ratio=1),
    "funnel": dict(
        vocab_size=40,
        d_model=WIDTH,
        n_head=2,
        d_head=8,
        d_inner=32,
        block_sizes=[1, 1],
        num_decoder_layers=1,
        num_labels=3,
    ),
    "ernie": COMMON,
    "esm": COMMON | dict(mask_token_id=3, position_embedding_type="rotary"),
    "fnet": COMMON,
    "mobilebert": COMMON
    | dict(embedding_size=WIDTH, true_hidden_size=16, intra_bottleneck_size=16, num_feedforward_networks=1),
    "modernbert": COMMON | dict(cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2),
    "nystromformer": COMMON | dict(segment_means_seq_len=8, num_landmarks=8),
    "rembert": COMMON | dict(input_embedding_size=WIDTH),
    "roformer": COMMON | dict(embedding_size=WIDTH),
    "squeezebert": COMMON
    | dict(
        embedding_size=WIDTH,
        q_groups=1,
        k_groups=1,
        v_groups=1,
        post_attention_groups=1,
        intermediate_groups=1,
        output_groups=1,
    ),
    "megatron-bert": COMMON,
    "ibert": COMMON,
    "xlm": dict(
        vocab_size=40, n_words=40, emb_dim=WIDTH, n_layers=2, n_heads=2, max_position_embeddings=32, num_labels=3
    ),
    "big_bird": COMMON | dict(attention_type="original_full"),
    "bart": BART,
    "t5": T5,
    "umt5": T5,
}

DECODERS: dict[str, dict] = {
    "gpt2": GPT,
    "gpt_neo": dict(
        vocab_size=40,
        hidden_size=WIDTH,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        max_position_embeddings=32,
        window_size=4,
    ),
    "gpt_neox": COMMON,
    "gptj": GPT | dict(rotary_dim=4),
    "opt": COMMON | dict(ffn_dim=32, word_embed_proj_dim=WIDTH),
    "bloom": dict(vocab_size=40, hidden_size=WIDTH, n_layer=2, n_head=2),
    "falcon": COMMON,
    "llama": GROUPED,
    "mistral": GROUPED,
    "mixtral": MIXED,
    "qwen2": GROUPED,
    "qwen3": GROUPED | dict(head_dim=8),
    "qwen2_moe": GROUPED
    | dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=16),
    "gemma": GROUPED | dict(head_dim=8),
    "gemma2": GROUPED | dict(head_dim=8),
    "phi": COMMON,
    "phi3": GROUPED,
    "olmo": GROUPED,
    "stablelm": GROUPED,
    "starcoder2": GROUPED,
    "mpt": dict(vocab_size=40, d_model=WIDTH, n_layers=2, n_heads=2, max_seq_len=32),
    "mamba": dict(vocab_size=40, hidden_size=WIDTH, num_hidden_layers=2, state_size=4),
    "mamba2": dict(
        vocab_size=40,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        state_size=4,
        head_dim=8,
        num_heads=4,
        n_groups=1,
        chunk_size=4,
    ),
    "rwkv": dict(vocab_size=40, hidden_size=WIDTH, num_hidden_layers=2),
}
SOUNDS = {
    "wav2vec2": {},
    "hubert": {},
    "wavlm": {},
    "sew": dict(squeeze_factor=2),
    "audio-spectrogram-transformer": dict(
        patch_size=4, max_length=16, num_mel_bins=16, frequency_stride=4, time_stride=4
    ),
}


def by_embeddings(model: nn.Module, output: str | None = None) -> nn.Module:
    "The model as a function of the embedding of its tokens"
    from attrnb.core import ClassScore

    return ClassScore(model, output=output, input_names="inputs_embeds")


def configured(kind: str, settings: dict):
    import transformers

    config = transformers.AutoConfig.for_model(kind, **settings)
    for name in ("initializer_range", "init_std"):
        if hasattr(config, name):
            setattr(config, name, 0.2)
    return config


def embedded(model: nn.Module, width: int = WIDTH) -> torch.Tensor:
    "The embedding of a few tokens"
    tokens = torch.randint(3, 40, (2, TOKENS), generator=torch.Generator().manual_seed(0))
    found = model.get_input_embeddings()(tokens)
    return (found[0] if isinstance(found, tuple) else found).detach()  # of I-BERT with the scale of its rounding


def classifier(kind: str) -> Case:
    import transformers

    model = stirred(transformers.AutoModelForSequenceClassification.from_config(configured(kind, CLASSIFIERS[kind])))
    return Case(by_embeddings(model), (embedded(model),), 1)


def encoder(kind: str) -> Case:
    import transformers

    given = configured(kind, CLASSIFIERS[kind])
    model = stirred(
        {"t5": transformers.T5ForTokenClassification, "umt5": transformers.UMT5ForTokenClassification}[kind](given)
    )
    return Case(by_embeddings(model), (embedded(model),), (TOKENS - 1, 1))


def encoder_decoder(kind: str) -> Case:
    "The first words of an answer are fixed; which word of the question calls the next?"
    import transformers

    from attrnb.core import keywords, per_example

    settings = BART if kind in ("bart", "mbart", "pegasus") else T5
    model = stirred(transformers.AutoModelForSeq2SeqLM.from_config(configured(kind, settings)))
    begun = torch.tensor([[2, 11, 5]]).expand(2, -1).clone()
    return Case(by_embeddings(model), (embedded(model),), (2, 7), keywords(decoder_input_ids=per_example(begun)))


def decoder(kind: str) -> Case:
    import transformers

    model = stirred(transformers.AutoModelForCausalLM.from_config(configured(kind, DECODERS[kind])))
    return Case(by_embeddings(model), (embedded(model),), (TOKENS - 1, 11))


def masked_text() -> Case:
    "With padding, which an attention mask tells"
    import transformers

    from attrnb.core import keywords, per_example

    model = stirred(transformers.BertForSequenceClassification(configured("bert", COMMON)))
    mask = torch.ones(2, TOKENS, dtype=torch.long)
    mask[1, -3:] = 0
    return Case(by_embeddings(model), (embedded(model),), 1, keywords(attention_mask=per_example(mask)))


def head(kind: str) -> Case:
    import transformers

    given = configured("bert", COMMON | dict(num_labels=2))
    model, name, target = {
        "tokens": (transformers.BertForTokenClassification, "logits", (3, 1)),
        "question": (transformers.BertForQuestionAnswering, "start_logits", 4),
        "words": (transformers.BertForMaskedLM, "logits", (3, 9)),
    }[kind]
    model = stirred(model(given))

    return Case(by_embeddings(model, name), (embedded(model),), target)


def sound(kind: str) -> Case:
    import transformers

    small = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=3)
    if kind != "audio-spectrogram-transformer":
        small |= dict(
            conv_dim=(8, 8, 8),
            conv_stride=(5, 4, 2),
            conv_kernel=(10, 4, 4),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            classifier_proj_size=8,
            num_feat_extract_layers=3,
        )
    config = configured(kind, small | SOUNDS[kind])
    model = stirred(transformers.AutoModelForAudioClassification.from_config(config))
    shape = (2, 16, 16) if kind == "audio-spectrogram-transformer" else (2, 400)
    return Case(model, (numbers(*shape),), 1)


def whisper() -> Case:
    import transformers

    small = dict(d_model=WIDTH, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, num_mel_bins=8)
    config = configured("whisper", small | dict(max_source_positions=10, num_labels=3, classifier_proj_size=8))
    model = stirred(transformers.WhisperForAudioClassification(config))
    return Case(model, (numbers(2, 8, 20),), 1)


def series(kind: str) -> Case:
    import transformers

    from attrnb.core import ClassScore

    small = dict(num_input_channels=2, context_length=16, patch_length=4, patch_stride=4, d_model=WIDTH, num_targets=3)
    small |= dict(
        patchtst=dict(num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, use_cls_token=True),
        patchtsmixer=dict(num_layers=2),
    )[kind]
    config = configured(kind, small)
    model, name = {
        "patchtst": (transformers.PatchTSTForClassification, "prediction_logits"),
        "patchtsmixer": (transformers.PatchTSMixerForTimeSeriesClassification, "prediction_outputs"),
    }[kind]
    return Case(ClassScore(stirred(model(config)), output=name), (numbers(2, 16, 2),), 1)


def entries() -> Iterator[Entry]:
    def entry(name, family, build, *given):
        return Entry(f"transformers/{name}", "transformers", family, functools.partial(build, *given))

    for kind in CLASSIFIERS:
        if kind in ("t5", "umt5"):
            yield entry(f"{kind}-encoder", "text", encoder, kind)
        elif kind != "bart":
            yield entry(kind, "text", classifier, kind)
    yield entry("bert-padded", "text", masked_text)
    for kind in ("tokens", "question", "words"):
        yield entry(f"bert-{kind}", "text", head, kind)
    for kind in DECODERS:
        yield entry(kind, "next token", decoder, kind)
    for kind in ("bart", "mbart", "pegasus", "t5"):
        yield entry(kind, "next token", encoder_decoder, kind)
    for kind in SOUNDS:
        yield entry(kind, "sound", sound, kind)
    yield entry("whisper", "sound", whisper)
    for kind in ("patchtst", "patchtsmixer"):
        yield entry(kind, "time series", series, kind)
