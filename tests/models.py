"Small models and inputs that many tests share"

import warnings

import torch
from torch import nn


def seeded(make, seed=0):
    "A module made under a seed without touching the global generator"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def mlp(features=6, classes=3, smooth=False, seed=0):
    return seeded(
        lambda: nn.Sequential(nn.Linear(features, 16), nn.Softplus() if smooth else nn.ReLU(), nn.Linear(16, classes)),
        seed,
    )


def convolutional(classes=4, seed=0):
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(8, classes),
        ),
        seed,
    )


class TwoInputs(nn.Module):
    "Takes (batch, 4) and (batch, 2, 3), and a scale"

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 8), nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, a, b, scale=None):
        hidden = (self.left(a) * self.right(b.flatten(1))).tanh()
        out = self.head(hidden)
        return out if scale is None else out * scale[:, None]


class Corners(nn.Module):
    "Two classes, the brightness of the upper left and of the lower right corner"

    def forward(self, x):
        return 10 * torch.stack([x[:, :, :8, :8].mean((1, 2, 3)), x[:, :, -8:, -8:].mean((1, 2, 3))], 1)


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def value_and_warnings(call):
    "What the call returns, and the warnings that it gives"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = call()
    assert all(issubclass(w.category, UserWarning) for w in caught)
    return value, [str(w.message) for w in caught]
