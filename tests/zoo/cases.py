"What an entry of the zoo is, and how random weights are made to behave as trained ones do"

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(eq=False)
class Case:
    "A model, two examples, and which of its outputs is asked about"

    model: Callable
    inputs: tuple[Tensor, ...]
    target: object = 1
    extra: object = None  # additional_forward_args
    training: bool = False  # handed over in training mode

    def run(self) -> object:
        "What the model returns for the two examples"
        from attrnb.core import TargetScore

        score = TargetScore(self.model, self.inputs, self.target, self.extra)
        placed, named = score.arguments_for(torch.arange(len(self.inputs[0])))
        return self.model(*self.inputs, *placed, **named)

    def double(self) -> "Case":
        "The case in double precision, if the model is a module"
        if isinstance(self.model, nn.Module):
            self.model.double()
        self.inputs = tuple(x.double() for x in self.inputs)
        return self


@dataclass(frozen=True)
class Entry:
    "A line of the table"

    name: str
    source: str  # torchvision, timm, transformers, own
    family: str
    build: Callable[[], Case]
    millions: float = 0.0  # of parameters, where there are many

    def make(self) -> Case:
        "The case, the same whenever it is made; the global generator is left alone"
        with seed_of(self.name):
            case = self.build()
            if isinstance(case.model, nn.Module) and not isinstance(case.model, torch.fx.GraphModule):  # exported
                case.model.train(case.training)
            return case


@contextlib.contextmanager
def seed_of(name: str):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(name.encode()))
        yield


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(model: nn.Module, *inputs: Tensor, amount: float = 0.1) -> nn.Module:
    """The model with noise on what starts constant (biases, scales of normalisations and layers, which are zero or one
    at first and never later) and, given inputs, batch statistics of its own: no branch is dead, no activation explodes
    """
    with torch.no_grad():
        for p in model.parameters():
            if p.is_floating_point() and p.numel() > 1 and (p == p.flatten()[0]).all():
                p.add_(amount * torch.randn_like(p))
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if norms and inputs:
        before = [m.momentum for m in norms]
        for m in norms:
            m.reset_running_stats()
            m.momentum = None
        model.train()
        with torch.no_grad():
            model(*inputs)
        for m, momentum in zip(norms, before, strict=True):
            m.momentum = momentum
    return model.eval()
