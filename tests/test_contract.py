"The contract that every method keeps, for all of ours; and whether a broken method is caught, clause by clause"

import random

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from models import TwoInputs, convolutional, mlp, numbers, seeded
from torch import nn

from attrnb.equilibrium import AttributionEquilibrium
from attrnb.geodesic import GeodesicIGKNN, GeodesicIGSVI, GeodesicIGVersions
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.samples import sample_model, shape_images
from attrnb.testing import CLAUSES, check_method


class WithPool:
    "Geodesics through a pool in the model's dtype"

    def __init__(self, *pool):
        self.pool = pool

    def __call__(self, model):
        dtype = next(model.parameters()).dtype
        pool = tuple(part.to(dtype) for part in self.pool)
        return GeodesicIGKNN(model, pool if len(pool) > 1 else pool[0])


TABLE, IMAGES = numbers(5, 4), shape_images(3, seed=2).images
PAIR = numbers(3, 4, seed=1), numbers(3, 2, 3, seed=2)
OURS = {
    "integrated gradients": dict(make=PathIntegratedGradients, inputs=TABLE),
    "integrated gradients of images": dict(
        make=PathIntegratedGradients, inputs=IMAGES, model=sample_model(), n_steps=8
    ),
    "integrated gradients of a pair": dict(make=PathIntegratedGradients, inputs=PAIR, model=seeded(TwoInputs)),
    "NeFLAG": dict(make=NeFLAG, inputs=TABLE),
    "NeFLAG of images": dict(make=NeFLAG, inputs=numbers(3, 3, 8, 8), model=convolutional(), n_points=3),
    "NeFLAG of a pair": dict(make=NeFLAG, inputs=PAIR, model=seeded(TwoInputs), n_points=5),
    "geodesics through a pool": dict(make=WithPool(numbers(40, 4, seed=3)), inputs=TABLE, row_limits=(7, 30)),
    "geodesics through a pool of pairs": dict(
        make=WithPool(numbers(20, 4, seed=3), numbers(20, 2, 3, seed=4)),
        inputs=PAIR,
        model=seeded(TwoInputs),
        row_limits=(30,),
    ),
    "geodesics through versions": dict(
        make=GeodesicIGVersions,
        inputs=numbers(3, 3, 8, 8),
        model=convolutional(),
        row_limits=(7, 40),
        n_steps=3,
        search_steps=2,
    ),
    "relaxed geodesics": dict(make=GeodesicIGSVI, inputs=TABLE, row_limits=(4, 30), rounds=1, max_iterations=5),
    "relaxed geodesics of a pair": dict(
        make=GeodesicIGSVI, inputs=PAIR, model=seeded(TwoInputs), row_limits=(30,), rounds=1, max_iterations=5
    ),
    "equilibrium": dict(make=AttributionEquilibrium, inputs=IMAGES, model=sample_model()),
    "equilibrium with dropout and batch normalisation": dict(
        make=AttributionEquilibrium, inputs=numbers(3, 3, 16, 16), model=convolutional()
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_our_methods_keep_the_contract(name):
    assert check_method(**OURS[name]) == list(CLAUSES)


class Broken:
    "Integrated gradients with one promise broken"

    def __init__(self, fault, model):
        self.fault, self.model, self.kept = fault, model, []

    def attribute(self, inputs, target=None, internal_batch_size=None):
        method = PathIntegratedGradients(self.model)
        return FAULTS[self.fault][1](self, method, inputs, dict(target=target, internal_batch_size=internal_batch_size))


def in_its_mode(self, method, inputs, call):
    return IntegratedGradients(self.model).attribute(inputs.detach(), target=call["target"], n_steps=20)


def of_the_first_class(self, method, inputs, call):
    target = call["target"]
    return method.attribute(inputs, target=target if isinstance(target, list) else 0)


def after(*acts):
    "Integrated gradients, and then something that shouldn't be done"

    def attribute(self, method, inputs, call):
        found = method.attribute(inputs, **call)
        for act in acts:
            act(self, inputs)
        return found

    return attribute


def with_a_hook_if_it_fails(self, method, inputs, call):
    handle = self.model.register_forward_hook(lambda *_: None)
    found = method.attribute(inputs, **call)
    handle.remove()
    return found


def errors_passed_over(self, method, inputs, call):
    try:
        return method.attribute(inputs, **call)
    except RuntimeError:
        return inputs


def drawn(self, method, inputs, call):
    return method.attribute(inputs, **call) * torch.rand(())


def first_weight(self):
    return next(self.model.parameters())


FAULTS = {  # fault: the clause that must notice, what the method does
    "no channels": ("form", lambda self, m, x, call: m.attribute(x, **call).sum(1)),
    "double": ("form", lambda self, m, x, call: m.attribute(x, **call).double()),
    "a graph": ("form", lambda self, m, x, call: m.attribute(x, **call).requires_grad_()),
    "NaN": ("form", lambda self, m, x, call: m.attribute(x, **call) / 0),
    "a list": ("form", lambda self, m, x, call: (m.attribute(x, **call),)),
    "tensors only": ("tuples", lambda self, m, x, call: m.attribute(x[0] if isinstance(x, tuple) else x, **call)),
    "single precision": ("dtypes", lambda self, m, x, call: m.attribute(x, **call).float()),
    "shared scale": ("batch", lambda self, m, x, call: m.attribute(x, **call) / len(x)),
    "a chunk's rows": ("chunks", lambda self, m, x, call: m.attribute(x, target=call["target"])),
    "a chunk's scale": (
        "chunks",
        lambda self, m, x, call: m.attribute(x, **call) * (call["internal_batch_size"] or 1),
    ),
    "drawn": ("seeds", drawn),
    "lists only": ("targets", of_the_first_class),
    "any class": ("targets", lambda self, m, x, call: x.detach().clone()),
    "not without gradients": ("gradient_modes", in_its_mode),
    "the mode it has": ("training_mode", in_its_mode),
    "evaluation mode": ("left_as_found", after(lambda self, x: self.model.eval())),
    "a weight": ("left_as_found", after(lambda self, x: first_weight(self).data.add_(1e-3))),
    "a gradient": ("left_as_found", after(lambda self, x: first_weight(self).__setattr__("grad", None))),
    "frozen": ("left_as_found", after(lambda self, x: first_weight(self).requires_grad_(False))),
    "a buffer": ("left_as_found", after(lambda self, x: next(self.model.buffers()).add_(1))),
    "a hook": ("left_as_found", after(lambda self, x: self.model.register_forward_hook(lambda *_: None))),
    "the inputs": ("left_as_found", after(lambda self, x: x.data.mul_(1 + 1e-3))),
    "torch's numbers": ("left_as_found", after(lambda self, x: torch.rand(1))),
    "NumPy's numbers": ("left_as_found", after(lambda self, x: np.random.rand())),
    "Python's numbers": ("left_as_found", after(lambda self, x: random.random())),
    "no more gradients": ("left_as_found", after(lambda self, x: torch.set_grad_enabled(False))),
    "a hook if it fails": ("left_as_found", with_a_hook_if_it_fails),
    "errors": ("left_as_found", errors_passed_over),
    "a lambda": ("pickling", after(lambda self, x: self.__setattr__("rule", lambda: 0))),
    "one for all": ("copying", after(lambda self, x: self.__setattr__("lock", __import__("threading").Lock()))),
    "hoards": ("growth", after(lambda self, x: self.kept.append(x.clone()))),
}


class Make:
    def __init__(self, fault):
        self.fault = fault

    def __call__(self, model):
        return Broken(self.fault, model)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_method_is_caught_by_its_clause(fault):
    clause = FAULTS[fault][0]
    rest = [name for name in CLAUSES if name != clause]
    try:
        with pytest.raises(AssertionError, match=f"^{clause}: "):
            check_method(Make(fault), TABLE.clone(), without=rest)
    finally:
        torch.set_grad_enabled(True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_attributions_on_another_device_are_caught():
    with pytest.raises(AssertionError, match="^devices: "):
        check_method(
            lambda model: type("Far", (PathIntegratedGradients,), dict(attribute=lambda s, x, **k: x.cpu()))(model),
            TABLE,
            without=[name for name in CLAUSES if name != "devices"],
        )


def test_wrong_calls_of_the_contract():
    with pytest.raises(ValueError, match="no clauses: beauty; there are form"):
        check_method(NeFLAG, TABLE, without=["beauty"])
    with pytest.raises(ValueError, match="two examples"):
        check_method(NeFLAG, TABLE[:1])
    with pytest.raises(AssertionError, match="form: .*n_points"):
        check_method(NeFLAG, TABLE, n_points=0)


def test_a_score_without_classes_and_the_callers_model_are_left_alone():
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).train()
    first = model[0].weight.clone()
    assert check_method(PathIntegratedGradients, TABLE, model) == list(CLAUSES)
    assert torch.equal(first, model[0].weight) and model.training and model[0].weight.grad is None
    assert check_method(NeFLAG, TABLE, mlp(4), ["growth"]) == [name for name in CLAUSES if name != "growth"]
