"""Where should the path of integrated gradients begin, for a text? Steps until it is complete, by baseline.

    python experiments/token_baselines.py --out nbs/text/baselines.csv

Five small transformers are trained on texts whose evidence was planted: a classifier reads one of two words among
fillers (three in ten texts of the training have neither, and a class by chance: without evidence the model is unsure);
a language model is asked for the colour or the thing that stood before. In training some fillers are [MASK],
and end tokens stand around a text (before it only, for the language model), so that both tokens mean something to
the model; [PAD] was never seen. A row for each model, score and baseline, written when it is there; what is in the file
stays as it is, so that the same line goes on after a kill (delete the file to make all of it anew).
"""

import argparse
import warnings
from itertools import product
from pathlib import Path
from statistics import median

import torch
import transformers
from programs import put_rows, read_rows
from torch import nn

from attrnb.text import explain_tokens

KEYS = "model", "kind", "score", "baseline"
STEPS = (25, 50, 100, 200, 400, 800)
TEXTS = 10


class Words(list):
    "A vocabulary with the names of its special tokens, as a tokenizer has them"

    pad_token_id, eos_token_id, mask_token_id = 0, 1, 2
    all_special_ids = [0, 1]


WORDS = Words(
    "[PAD] [EOS] [MASK] dreadful wonderful red blue green gold pink cup hat key map pen colour? thing?".split()
)
WORDS += "the a one film story plot actor scene was seemed felt very so quite rather of and with this that".split()
FILLER = 17


def texts(
    kind: str, n: int, seed: int, silent: float = 0.0, steps: int = 10
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    "Tokens (n, length), the answer (n,), and the place of the evidence (n,)"
    generator, row = torch.Generator().manual_seed(seed), torch.arange(n)
    ids = torch.randint(FILLER, len(WORDS), (n, steps), generator=generator)
    ids[torch.rand(n, steps, generator=generator) < 0.15] = WORDS.mask_token_id
    places = torch.rand(n, steps - 1, generator=generator).argsort(1)[:, :2]
    asked = torch.randint(2, (n,), generator=generator)
    end = torch.full((n, 1), WORDS.eos_token_id)
    if kind == "classifier":
        planted = torch.rand(n, generator=generator) >= silent
        ids[row[planted], places[planted, 0]] = 3 + asked[planted]
        return torch.cat([end, ids, end], 1), asked, places[:, 0] + 1
    both = torch.randint(5, (n, 2), generator=generator) + torch.tensor([5, 10])
    ids.scatter_(1, places, both)
    ids[:, -1] = 15 + asked
    return torch.cat([end, ids], 1), both[row, asked], places[row, asked] + 1


def made(family: str, kind: str) -> nn.Module:
    "A trained model: family bert, gpt2 or llama; kind classifier or language model"
    own = dict(vocab_size=len(WORDS), pad_token_id=0, bos_token_id=None, eos_token_id=None)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    drop = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    gpt = dict(n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    settings = dict(bert=sizes | drop, gpt2=gpt, llama=sizes | dict(max_position_embeddings=16))[family]
    name = dict(bert="Bert", gpt2="GPT2", llama="Llama")[family]
    head = "ForSequenceClassification" if kind == "classifier" else "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, name + head)(getattr(transformers, f"{name}Config")(**own, **settings))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3 if kind == "classifier" else 5e-3)
    for step in range(300 if kind == "classifier" else 400):
        ids, answers, _ = texts(kind, 64, 1000 + step, silent=0.3)
        logits = model(ids).logits
        loss = nn.functional.cross_entropy(logits if logits.ndim == 2 else logits[:, -1], answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def row(model: nn.Module, kind: str, score: str, baseline: object) -> dict:
    "Steps until the sum is within 1 % of the change (inf: not with the most), and what is found then"
    ids, answers, places = texts(kind, TEXTS, seed=1)
    how = dict(tokenizer=WORDS, baseline=baseline, score=score, position=None if kind == "classifier" else "last")
    needed, error, found, first = [], [], [], 0
    for k in range(TEXTS):
        for n in STEPS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                told = explain_tokens(
                    "integrated_gradients", model, ids[k], int(answers[k]), settings=dict(n_steps=n), **how
                )
            change = (told.scores - told.start_scores).item()
            off = abs(told.everything.sum().item() - change) / max(abs(change), 0.05)
            if n == 50:
                error.append(off)
            if off < 0.01 and n >= 50 or n == STEPS[-1]:
                break
        needed.append(n if off < 0.01 else float("inf"))
        positive = told.values[0, : 11 if kind == "classifier" else 10].nan_to_num(0).clamp(min=0)  # not the question
        found.append((positive[places[k]] / positive.sum()).item())
        first += int(positive.argmax() == places[k])
    return dict(
        steps=median(needed),
        most_steps=max(needed),
        error_at_50=round(median(error), 4),
        share=round(sum(found) / TEXTS, 3),
        first=first,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("nbs/text/baselines.csv"))
    parser.add_argument("--models", nargs="+", default=["bert", "gpt2", "llama", "gpt2-next", "llama-next"])
    parser.add_argument("--baselines", nargs="+", default=["zero", "mean", "pad", "mask", "eos"])
    parser.add_argument("--scores", nargs="+", default=["probability", "logit"])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in options.models:
        family, _, asks = name.partition("-")
        kind = "language model" if asks else "classifier"
        there = read_rows(options.out, KEYS)
        left = [pair for pair in product(options.scores, options.baselines) if (family, kind, *pair) not in there]
        if not left:
            continue
        model = made(family, kind)
        ids, answers, _ = texts(kind, 500, seed=2)
        with torch.no_grad():
            logits = model(ids).logits
        right = ((logits if logits.ndim == 2 else logits[:, -1]).argmax(1) == answers).float().mean().item()
        mean = model.get_input_embeddings().weight.detach().mean(0)
        for score, baseline in left:
            given = mean if baseline == "mean" else baseline
            told = dict(model=family, kind=kind, right=round(right, 3), score=score, baseline=baseline)
            put_rows(options.out, [told | row(model, kind, score, given)], KEYS)
            print(*told.values(), flush=True)


if __name__ == "__main__":
    main()
