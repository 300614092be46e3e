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
@given(st.integers(2, 12), st.integers(0, 5), st.floats(0.5, 0.99))
def test_the_bootstrap_interval_is_that_of_a_plain_loop_and_of_each_column(n, seed, level):
    values = numbers(n, 2, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(n, (200, n), generator=generator)
    means = torch.stack([torch.stack([values[i] for i in drawn]).double().mean(0) for drawn in index])
    mean, low, high = bootstrap_interval(values, level, n_resamples=200, seed=seed)
    assert_close(mean, values.double().mean(0))
    assert_close(low, means.quantile((1 - level) / 2, dim=0))
    assert_close(high, means.quantile((1 + level) / 2, dim=0))
    assert_close(
        bootstrap_interval(values[:, 1, 2], level, n_resamples=200, seed=seed),
        (mean[1, 2].item(), low[1, 2].item(), high[1, 2].item()),
    )


def test_the_old_word_for_resamples_still_works():
    values = numbers(6)
    with pytest.warns(DeprecationWarning, match="draws of bootstrap_interval.* is now called n_resamples"):
        assert bootstrap_interval(values, draws=50) == bootstrap_interval(values, n_resamples=50)
