"Inputs (batch,) of one number per example give what the same numbers give as (batch, 1)"

import inspect

import pytest
import torch

import attrnb
import attrnb.geodesic
import attrnb.measures as measures
from attrnb.methods import METHODS, attribute

X = torch.tensor([0.5, 1.0, 2.0, -1.0, 0.3])


class Net(torch.nn.Module):
    "Three classes of one number, which may come without its dimension"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.out = torch.nn.Linear(1, 8), torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x.reshape(-1, 1))))


def single(x):
    return (x * x + x).reshape(-1)


OF_MAPS = (
    "geodesic_versions",
    "grad_cam",
    "guided_grad_cam",
    "random",
    "centre",
    "uniform",
    "activity",
    "equilibrium_activity",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in METHODS if n not in (*OF_MAPS, "occlusion")])
def test_methods(name):
    flat, column = (attribute(name, Net().eval(), x, target=1, seed=0).attributions for x in (X, X[:, None]))
    assert flat.shape == X.shape
    torch.testing.assert_close(flat, column[:, 0])
    assert name == "equilibrium" or flat.abs().max() > 0  # nothing is left when one number's evidence is balanced


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*OF_MAPS, "occlusion"])
def test_what_needs_features_or_maps_says_it(name):
    with pytest.raises(ValueError, match="have shape|got shape|feature map"):
        attribute(name, Net().eval(), X, target=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", (dict(), dict(family=attrnb.geodesic.PathFamily())))
@pytest.mark.parametrize("kind", ("PathIntegratedGradients", "NeFLAG", "GeodesicIGKNN", "GeodesicIGSVI"))
def test_explainers(kind, settings):
    settings = settings if kind == "GeodesicIGSVI" else {}
    explain = getattr(attrnb, kind)(single, **settings)
    flat, column = (explain.attribute(x) for x in (X, X[:, None]))
    torch.testing.assert_close(flat, column[:, 0])


@pytest.mark.filterwarnings("ignore")
def test_the_published_program():
    explain = attrnb.geodesic.PublishedGeodesicIG(single)
    flat, column = (explain.attribute(x, num_iterations=5) for x in (X, X[:, None]))
    torch.testing.assert_close(flat, column[:, 0])


def of_inputs_and_attributions():
    functions = {name: getattr(measures, name) for name in dir(measures) if name[0] != "_"}
    return [
        name
        for name, f in functions.items()
        if inspect.isfunction(f) and list(inspect.signature(f).parameters)[:3] == ["forward", "inputs", "attributions"]
    ]


def numbers_of(result):
    "The tensors of a measure's result"
    if isinstance(result, torch.Tensor):
        return [result]
    return [value for value in vars(result).values() if isinstance(value, torch.Tensor) and value.is_floating_point()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("substrate", ("black", "mean", "minimum", "noise", None))
@pytest.mark.parametrize("name", of_inputs_and_attributions())
def test_measures(name, substrate):
    measure = getattr(measures, name)
    known = inspect.signature(measure).parameters
    settings = {k: v for k, v in dict(unit="element", fraction=1, substrate=substrate).items() if v and k in known}
    if name == "protocol_power":
        settings["unit"] = "element"
    if substrate and "substrate" not in known:
        pytest.skip("takes no substrate")
    if name in ("log_odds", "cross_entropy_after_masking"):
        settings["score"] = "log_probability"
    model, target = (Net().eval(), 1) if "score" in settings or name.startswith("accuracy") else (single, None)
    flat, column = (measure(model, x, x, target, **settings) for x in (X, X[:, None]))
    both = list(zip(numbers_of(flat), numbers_of(column), strict=True))
    assert both
    for a, b in both:
        torch.testing.assert_close(a, b.reshape(a.shape), equal_nan=True)


def test_measures_of_maps_alone():
    torch.testing.assert_close(measures.rank_correlation(X, X), torch.zeros(5).double())
    dummies = torch.tensor([True])
    torch.testing.assert_close(
        measures.dummy_sensitivity(X, dummies.expand(5)), measures.dummy_sensitivity(X[:, None], dummies)
    )
    (alone,) = {measures.batch_independence(lambda x, target=None: 2 * x, X).max().item()}
    assert alone == 0
    ceiling = measures.greedy_ceiling(single, X, unit="element")
    assert ceiling is not None
