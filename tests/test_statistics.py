"The one bootstrap"

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import numbers
from torch.testing import assert_close

from attrnb.statistics import bootstrap_interval


def test_core_hands_the_old_name_on():
    from attrnb import core

    assert core.bootstrap_interval is bootstrap_interval


def test_bootstrap_interval_refuses_too_little():
    for values, level in ((torch.ones(1), 0.95), (torch.ones(5), 1.0)):
        with pytest.raises(ValueError):
            bootstrap_interval(values, level)
    assert bootstrap_interval(torch.ones(5)) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="n_resamples"):
        bootstrap_interval(torch.ones(5), n_resamples=0)


@settings(max_examples=20, deadline=None)
@given(st.one_of(st.integers(2, 12), st.integers(48, 52)), st.integers(0, 5), st.floats(0.5, 0.99))
def test_the_bootstrap_interval_is_that_of_a_plain_loop_and_of_each_column(n, seed, level):
    values = numbers(n, 2, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(n, (200, n), generator=generator)
    resamples = [torch.stack([values[i] for i in drawn]).double() for drawn in index]
    mean, low, high = bootstrap_interval(values, level, n_resamples=200, seed=seed)
    assert_close(mean, values.double().mean(0))
    if n >= 50:
        drawn = torch.stack([r.mean(0) for r in resamples])
        ends = [drawn.quantile(q, dim=0) for q in ((1 - level) / 2, (1 + level) / 2)]
    else:
        spread = values.double().std(0, correction=0)
        drawn = torch.stack([(r.mean(0) - mean) / r.std(0, correction=0).maximum(spread / 2) for r in resamples])
        ends = [mean - spread * drawn.quantile(q, dim=0) for q in ((1 + level) / 2, (1 - level) / 2)]
    assert_close([low, high], ends)
    assert_close(
        bootstrap_interval(values[:, 1, 2], level, n_resamples=200, seed=seed),
        (mean[1, 2].item(), low[1, 2].item(), high[1, 2].item()),
    )


def test_few_examples_are_covered_as_the_interval_says():
    "Of normal values, and better than by percentiles of skewed ones; a few hits and misses make a finite interval"
    generator = torch.Generator().manual_seed(0)
    for n in (6, 12, 24):
        trials = torch.randn(n, 2000, generator=generator, dtype=torch.float64)
        _, low, high = bootstrap_interval(trials, n_resamples=1000)
        assert (0.91 if n == 6 else 0.93) < ((low <= 0) & (high >= 0)).double().mean() < 0.97
        trials = torch.rand(n, 2000, generator=generator, dtype=torch.float64).log().neg()
        _, low, high = bootstrap_interval(trials, n_resamples=1000)
        drawn = trials[torch.randint(n, (1000, n), generator=generator)].mean(1)
        plain = drawn.quantile(torch.tensor([0.025, 0.975]).double(), dim=0)
        held = ((low <= 1) & (high >= 1)).double().mean()
        assert held > 0.88 and held > ((plain[0] <= 1) & (plain[1] >= 1)).double().mean() + 0.02
    hits = torch.tensor([1.0] * 11 + [0.0])
    mean, low, high = bootstrap_interval(hits)
    assert 0.5 < low < mean < high < 1.1


def test_the_old_word_for_resamples_still_works():
    values = numbers(6)
    with pytest.warns(DeprecationWarning, match="draws of bootstrap_interval.* is now called n_resamples"):
        assert bootstrap_interval(values, draws=50) == bootstrap_interval(values, n_resamples=50)
