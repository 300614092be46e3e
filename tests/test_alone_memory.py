"""A row that is scored alone, where memory runs out: said as it is"""

import pytest
import torch

from attrnb.core import gradients


def test_memory_that_runs_out_for_the_row_alone_is_no_dependence_of_rows():
    def forward(x):
        if len(x) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x.square()

    with pytest.raises(torch.OutOfMemoryError):
        gradients(forward, torch.randn(8, 3), 1)
