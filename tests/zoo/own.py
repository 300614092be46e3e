"Networks as people write them: tables, signals, sequences, sets, graphs, pictures, volumes, wrappers, odd forms"

import functools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, rnn

from .cases import Case, Entry, numbers, stirred

OWN: dict[str, tuple[str, Callable[[], Case]]] = {}


def own(family: str):
    "Decorator: a function that makes a case becomes an entry under its name"

    def keep(build: Callable[[], Case]) -> Callable[[], Case]:
        OWN[build.__name__.replace("_", "-")] = family, build
        return build

    return keep


def model_case(model: nn.Module, *shape: int, target: object = 1, batch: int = 8, **given) -> Case:
    stirred(model, numbers(batch, *shape, seed=1))
    return Case(model, (numbers(2, *shape),), target, **given)


class Called(nn.Module):
    "A module made from a function of a module and its inputs"

    def __init__(self, function: Callable, **parts: nn.Module):
        super().__init__()
        self.function, self.parts = function, nn.ModuleDict(parts)

    def forward(self, *inputs, **named):
        return self.function(self.parts, *inputs, **named)


# tables


def perceptron(features: int = 6, classes: int = 3, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, 16),
        activation(),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        activation(),
        nn.Linear(16, classes),
    )


@own("table")
def perceptron_of_a_table():
    return model_case(perceptron(), 6)


@own("table")
def regression():
    return model_case(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)), 6, target=None)


@own("table")
def several_regressions():
    return model_case(nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 4)), 6, target=2)


@own("table")
def multi_label():
    return model_case(nn.Sequential(perceptron(), nn.Sigmoid()), 6)


@own("table")
def probabilities():
    return model_case(nn.Sequential(perceptron(), nn.Softmax(1)), 6)


@own("table")
def residual_perceptron():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.inner = nn.LayerNorm(16), nn.Linear(16, 16)

        def forward(self, x):
            return x + F.silu(self.inner(self.norm(x)))

    return model_case(nn.Sequential(nn.Linear(6, 16), Block(), Block(), nn.Linear(16, 3)), 6)


@own("table")
def feature_tokens_transformer():
    "Every column becomes a token, as in the FT-Transformer"

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(6, 16)), nn.Parameter(torch.randn(6, 16))
            self.cls = nn.Parameter(torch.randn(1, 1, 16))
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            tokens = x[:, :, None] * self.weight + self.bias
            return self.head(self.encoder(torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1))[:, 0])

    return model_case(Tokens(), 6)


@own("table")
def gated_columns():
    "Columns are chosen by a gate that adds up to one, as in TabNet"
    parts = dict(gate=nn.Linear(6, 6), head=perceptron())
    return model_case(Called(lambda m, x: m["head"](x * m["gate"](x).softmax(1)), **parts), 6)


@own("table")
def factorisation_machine():
    class Machine(nn.Module):
        def __init__(self):
            super().__init__()
            self.factors, self.linear = nn.Parameter(torch.randn(6, 4)), nn.Linear(6, 1)

        def forward(self, x):
            pairs = (x @ self.factors).square() - x.square() @ self.factors.square()
            return self.linear(x)[:, 0] + 0.5 * pairs.sum(1)

    return model_case(Machine(), 6, target=None)


@own("table")
def mixture_of_experts():
    "Each row is sent to its two best experts, with loops over what comes out"

    class Mixture(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(6, 4)
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)) for _ in range(4))

        def forward(self, x):
            weight, chosen = self.gate(x).softmax(1).topk(2)
            out = x.new_zeros(len(x), 3)
            for k, expert in enumerate(self.experts):
                rows, place = (chosen == k).nonzero(as_tuple=True)
                if len(rows):
                    out = out.index_add(0, rows, weight[rows, place, None] * expert(x[rows]))
            return out

    return model_case(Mixture(), 6)


@own("table")
def control_flow():
    "Another branch for rows that are large on average, taken for the batch as it comes"

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.head = nn.Linear(6, 16), nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x):
            hidden = torch.where(x.mean(1, keepdim=True) > 0, self.one(x).relu(), self.other(x).tanh())
            for _ in range(int(x.shape[1] > 4) + 1):
                hidden = hidden + 0.5 * hidden.sin()
            return self.head(hidden)

    return model_case(Branch(), 6)


@own("table")
def weight_and_spectral_norm():
    return model_case(
        nn.Sequential(
            parametrizations.weight_norm(nn.Linear(6, 16)),
            nn.LeakyReLU(),
            parametrizations.spectral_norm(nn.Linear(16, 16)),
            nn.ELU(),
            parametrizations.orthogonal(nn.Linear(16, 3)),
        ),
        6,
    )


@own("table")
def two_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.head = nn.Linear(4, 8), nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, a, b):
            return self.head((self.left(a) * self.right(b.flatten(1))).tanh())

    return Case(stirred(Two()), (numbers(2, 4), numbers(2, 2, 3, seed=1)))


@own("table")
def numbers_and_categories():
    "Numbers are explained; the categories of each example are a further argument"
    from attrnb.core import per_example

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 4), perceptron(10)

        def forward(self, x, category):
            return self.head(torch.cat([x, self.embedding(category)], 1))

    model = stirred(Mixed(), numbers(8, 6, seed=1), torch.arange(8) % 5)
    return Case(model, (numbers(2, 6),), 1, per_example(torch.tensor([1, 3])))


# signals and sequences


@own("signal")
def convolution_1d():
    return model_case(
        nn.Sequential(
            nn.Conv1d(2, 8, 7, padding=3),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 16, 5, padding=2),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        2,
        32,
    )


@own("signal")
def temporal_convolutions():
    "Dilated and causal, with weight normalisation and residual branches"

    class Block(nn.Module):
        def __init__(self, before, channels, dilation):
            super().__init__()
            self.dilation = dilation
            self.conv = parametrizations.weight_norm(nn.Conv1d(before, channels, 3, dilation=dilation))
            self.skip = nn.Conv1d(before, channels, 1) if before != channels else nn.Identity()

        def forward(self, x):
            return F.relu(self.conv(F.pad(x, (2 * self.dilation, 0))) + self.skip(x))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.head = nn.Sequential(Block(2, 8, 1), Block(8, 8, 2), Block(8, 8, 4)), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.blocks(x)[:, :, -1])

    return model_case(Network(), 2, 24)


@own("signal")
def wavenet():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Conv1d(1, 8, 1), nn.Conv1d(8, 3, 1)
            self.filters = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**k, padding=2**k) for k in range(3))

        def forward(self, x):
            x, found = self.first(x), 0
            for layer in self.filters:
                a, b = layer(x)[:, :, : x.shape[2]].chunk(2, 1)
                step = a.tanh() * b.sigmoid()
                x, found = x + step, found + step
            return self.head(found.relu()).mean(2)

    return model_case(Network(), 1, 24)


@own("signal")
def residual_signal_network():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv1d(8, 8, 3, padding=1),
                nn.BatchNorm1d(8),
                nn.ReLU(),
                nn.Conv1d(8, 8, 3, padding=1),
                nn.BatchNorm1d(8),
            )

        def forward(self, x):
            return F.relu(x + self.body(x))

    return model_case(
        nn.Sequential(
            nn.Conv1d(1, 8, 5, 2, 2), Block(), Block(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)
        ),
        1,
        32,
    )


@own("signal")
def signal_autoencoder():
    "The middle of what comes back, through strided and transposed convolutions"
    return model_case(
        nn.Sequential(
            nn.Conv1d(1, 8, 4, 2, 1),
            nn.ReLU(),
            nn.Conv1d(8, 8, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose1d(8, 8, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose1d(8, 1, 4, 2, 1),
        ),
        1,
        24,
        target=(0, 12),
    )


def last_state(kind: type[nn.RNNBase], **given) -> Case:
    def forward(parts, x):
        return parts["head"](parts["recurrent"](x)[0][:, -1])

    width = 16 if given.get("bidirectional") else 8
    return model_case(Called(forward, recurrent=kind(3, 8, batch_first=True, **given), head=nn.Linear(width, 3)), 9, 3)


OWN |= {
    "rnn": ("sequence", lambda: last_state(nn.RNN)),
    "lstm": ("sequence", lambda: last_state(nn.LSTM, num_layers=2)),
    "lstm-bidirectional": ("sequence", lambda: last_state(nn.LSTM, bidirectional=True)),
    "gru": ("sequence", lambda: last_state(nn.GRU)),
    "gru-bidirectional": ("sequence", lambda: last_state(nn.GRU, bidirectional=True, num_layers=2, dropout=0.2)),
}


@own("sequence")
def lstm_last_hidden_state():
    return model_case(
        Called(
            lambda m, x: m["head"](m["recurrent"](x)[1][0][-1]),
            recurrent=nn.LSTM(3, 8, batch_first=True),
            head=nn.Linear(8, 3),
        ),
        9,
        3,
    )


@own("sequence")
def lstm_cell_in_a_loop():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.LSTMCell(3, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = c = x.new_zeros(len(x), 8)
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
            return self.head(h)

    return model_case(Loop(), 9, 3)


@own("sequence")
def lstm_with_packed_lengths():
    from attrnb.core import per_example

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent, self.head = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x, lengths):
            packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.head(self.recurrent(packed)[1][0][-1])

    return Case(stirred(Packed()), (numbers(2, 9, 3),), 1, per_example(torch.tensor([9, 6])))


@own("sequence")
def lstm_with_attention():
    def forward(m, x):
        states, _ = m["recurrent"](x)
        return m["head"]((m["score"](states).softmax(1) * states).sum(1))

    return model_case(
        Called(forward, recurrent=nn.LSTM(3, 8, batch_first=True), score=nn.Linear(8, 1), head=nn.Linear(8, 3)), 9, 3
    )


@own("sequence")
def lstm_time_first():
    "The model wants (time, batch, channels): turned inside the forward function"
    return model_case(
        Called(
            lambda m, x: m["head"](m["recurrent"](x.transpose(0, 1))[0][-1]),
            recurrent=nn.LSTM(3, 8),
            head=nn.Linear(8, 3),
        ),
        9,
        3,
    )


@own("sequence")
def every_step():
    "One question per step of a sequence: the fourth step is asked about"
    return model_case(
        Called(
            lambda m, x: m["head"](m["recurrent"](x)[0]), recurrent=nn.GRU(3, 8, batch_first=True), head=nn.Linear(8, 3)
        ),
        9,
        3,
        target=(4, 1),
    )


@own("sequence")
def transformer_encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    parts = dict(first=nn.Linear(3, 8), encoder=nn.TransformerEncoder(layer, 2), head=nn.Linear(8, 3))
    return model_case(Called(lambda m, x: m["head"](m["encoder"](m["first"](x)).mean(1)), **parts), 9, 3)


@own("sequence")
def transformer_decoder():
    def forward(m, x):
        memory = m["first"](x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return m["head"](m["decoder"](memory, memory, tgt_mask=mask, tgt_is_causal=True))[:, -1]

    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    return model_case(
        Called(forward, first=nn.Linear(3, 8), decoder=nn.TransformerDecoder(layer, 2), head=nn.Linear(8, 3)), 9, 3
    )


@own("sequence")
def causal_attention_by_hand():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.qkv, self.head = nn.Linear(3, 8), nn.Linear(8, 24), nn.Linear(8, 3)
            self.register_buffer("later", torch.full((9, 9), float("-inf")).triu(1))

        def forward(self, x):
            q, k, v = self.qkv(self.first(x)).chunk(3, -1)
            weights = torch.einsum("bik,bjk->bij", q, k) / 8**0.5 + self.later
            return self.head(torch.einsum("bij,bjk->bik", weights.softmax(-1), v))[:, -1]

    return model_case(Attention(), 9, 3)


@own("sequence")
def state_space():
    "A linear state that decays at a rate the input chooses, as in Mamba, step by step"

    class Space(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate, self.first, self.head = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(8, 3)

        def forward(self, x):
            rate, value = F.softplus(self.rate(x)), self.first(x)
            state = 0
            for t in range(x.shape[1]):
                state = (
                    torch.exp(-rate[:, t]) * (state if t else torch.zeros_like(value[:, 0])) + rate[:, t] * value[:, t]
                )
            return self.head(state)

    return model_case(Space(), 9, 3)


@own("sequence")
def mixer():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.time = nn.Sequential(nn.Linear(9, 16), nn.GELU(), nn.Linear(16, 9))
            self.channels = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 3))

        def forward(self, x):
            x = x + self.time(x.transpose(1, 2)).transpose(1, 2)
            return (x + self.channels(x)).mean(1)

    return model_case(Mixer(), 9, 3)


@own("sequence")
def mean_of_embeddings():
    "A bag of words by the embedding of its tokens, with padding left out of the mean"
    from attrnb.core import keywords, per_example

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = perceptron(8)

        def forward(self, embedded, mask):
            return self.head((embedded * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True))

    mask = torch.ones(2, 9)
    mask[1, 6:] = 0
    return Case(
        stirred(Bag(), numbers(8, 9, 8, seed=1), torch.ones(8, 9)),
        (numbers(2, 9, 8),),
        1,
        keywords(mask=per_example(mask)),
    )


# sets and graphs


@own("set")
def deep_set():
    parts = dict(each=nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16)), head=perceptron(16))
    return model_case(Called(lambda m, x: m["head"](m["each"](x).sum(1)), **parts), 12, 3)


@own("set")
def point_net():
    parts = dict(
        each=nn.Sequential(
            nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 1), nn.BatchNorm1d(16)
        ),
        turn=nn.Sequential(nn.Conv1d(3, 8, 1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 9)),
        head=perceptron(16),
    )

    def forward(m, x):
        turned = torch.bmm(m["turn"](x).view(-1, 3, 3) + torch.eye(3), x)
        return m["head"](m["each"](turned).max(2).values)

    return model_case(Called(forward, **parts), 3, 12)


@own("set")
def set_transformer():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.seed = nn.Linear(3, 8), nn.Parameter(torch.randn(1, 2, 8))
            self.attention, self.pool = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            x = self.first(x)
            x = x + self.attention(x, x, x, need_weights=False)[0]
            return self.head(self.pool(self.seed.expand(len(x), -1, -1), x, x)[0].flatten(1))

    return model_case(Network(), 7, 3)


ADJACENCY = (torch.rand(7, 7, generator=torch.Generator().manual_seed(3)) < 0.4).float()


class Normalised(nn.Module):
    "The normalised adjacency of a fixed graph"

    def __init__(self):
        super().__init__()
        joined = ((ADJACENCY + ADJACENCY.T) > 0).float().fill_diagonal_(1)
        rate = joined.sum(1).rsqrt()
        self.register_buffer("adjacency", rate[:, None] * joined * rate)


@own("graph")
def graph_convolution():
    class Network(Normalised):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.head = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 3)

        def forward(self, x):
            x = F.relu(self.adjacency @ self.one(x))
            return self.head(F.relu(self.adjacency @ self.two(x)).mean(1))

    return model_case(Network(), 7, 4)


@own("graph")
def node_of_a_graph():
    "Which neighbour decides the class of the second node"

    class Network(Normalised):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 16), nn.Linear(16, 3)

        def forward(self, x):
            x = torch.matmul(self.adjacency, self.one(x)).relu()
            return torch.einsum("ij,bjk->bik", self.adjacency, self.two(x))

    return model_case(Network(), 7, 4, target=(2, 1))


@own("graph")
def graph_attention():
    class Network(Normalised):
        def __init__(self):
            super().__init__()
            self.first, self.left, self.right, self.head = (
                nn.Linear(4, 8),
                nn.Linear(8, 1),
                nn.Linear(8, 1),
                nn.Linear(8, 3),
            )

        def forward(self, x):
            x = self.first(x)
            score = F.leaky_relu(self.left(x) + self.right(x).transpose(1, 2), 0.2)
            return self.head((score.masked_fill(self.adjacency == 0, float("-inf")).softmax(2) @ x).relu().sum(1))

    return model_case(Network(), 7, 4)


@own("graph")
def message_passing():
    "Messages along a list of edges, gathered by index_add"

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.message, self.update, self.head = nn.Linear(8, 8), nn.GRUCell(8, 4), nn.Linear(4, 3)
            self.register_buffer("edges", ADJACENCY.nonzero().T)

        def forward(self, x):
            source, sink = self.edges
            for _ in range(2):
                sent = self.message(torch.cat([x[:, source], x[:, sink]], 2)).relu()
                got = x.new_zeros(len(x), 7, 8).index_add(1, sink, sent)
                x = self.update(got.flatten(0, 1), x.flatten(0, 1)).view_as(x)
            return self.head(x.mean(1))

    return model_case(Network(), 7, 4)


@own("graph")
def graph_with_its_own_adjacency():
    "The adjacency of each example is a further argument"
    from attrnb.core import per_example

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.head = nn.Linear(4, 16), nn.Linear(16, 3)

        def forward(self, x, adjacency):
            return self.head(torch.bmm(adjacency, self.one(x)).relu().mean(1))

    each = torch.stack([ADJACENCY, ADJACENCY.T]) / 3
    return Case(stirred(Network()), (numbers(2, 7, 4),), 1, per_example(each))


# pictures


class UNet(nn.Module):
    def __init__(self, conv=nn.Conv2d, up=nn.ConvTranspose2d, pool=nn.MaxPool2d, norm=nn.BatchNorm2d):
        super().__init__()

        def block(before, after):
            return nn.Sequential(conv(before, after, 3, padding=1), norm(after), nn.ReLU(inplace=True))

        self.one, self.two, self.three = block(1, 8), block(8, 16), block(24, 8)
        self.pool, self.up, self.head = pool(2), up(16, 16, 2, stride=2), conv(8, 3, 1)

    def forward(self, x):
        x = self.one(x)
        return self.head(self.three(torch.cat([self.up(self.two(self.pool(x))), x], 1)))


@own("picture")
def u_net_pixel():
    return model_case(UNet(), 1, 16, 16, target=(1, 9, 5))


@own("picture")
def u_net_region():
    "The mean of a class over a region of the map"
    return model_case(Called(lambda m, x: m["net"](x)[:, :, 4:9, 3:8].mean((2, 3)), net=UNet()), 1, 16, 16, target=2)


@own("picture")
def picture_autoencoder():
    "How badly each picture is rebuilt, one number per picture"
    net = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 3, padding=1))
    return model_case(Called(lambda m, x: (m["net"](x) - x).square().mean((1, 2, 3)), net=net), 1, 16, 16, target=None)


def small_convolutional(last: nn.Module | None = None, channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        last or nn.Linear(16, 3),
    )


@own("picture")
def small_convolutional_network():
    return model_case(small_convolutional(), 3, 16, 16)


@own("picture")
def le_net():
    return model_case(
        nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.Tanh(),
            nn.Linear(32, 3),
        ),
        1,
        16,
        16,
    )


@own("picture")
def embedding_of_pairs():
    "Two pictures, by one network: how alike are they?"
    net = small_convolutional(nn.Linear(16, 8), 1)
    model = stirred(net, numbers(8, 1, 16, 16, seed=1))
    return Case(
        Called(lambda m, a, b: F.cosine_similarity(m["net"](a), m["net"](b)), net=model),
        (numbers(2, 1, 16, 16), numbers(2, 1, 16, 16, seed=1)),
        None,
    )


@own("picture")
def game_policy():
    "Byte values of frames are scaled inside; the value head is left aside"

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(4, 8, 8, 4), nn.ReLU(), nn.Conv2d(8, 8, 4, 2), nn.ReLU(), nn.Flatten())
            self.policy, self.value = nn.Linear(72, 4), nn.Linear(72, 1)

        def forward(self, x):
            hidden = self.body(x / 255.0)
            advantage = self.policy(hidden)
            return self.value(hidden) + advantage - advantage.mean(1, keepdim=True)

    return Case(stirred(Policy()), (numbers(2, 4, 40, 40).sigmoid() * 255,), 2)


@own("picture")
def capsules():
    "Routing by agreement, three rounds in a loop"

    class Capsules(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.weight = nn.Conv2d(1, 8, 5, 3), nn.Parameter(0.3 * torch.randn(32, 3, 4, 4))

        @staticmethod
        def squash(x):
            size = x.square().sum(-1, keepdim=True)
            return size / (1 + size) * x / (size + 1e-8).sqrt()

        def forward(self, x):
            u = self.squash(self.first(x).flatten(1).view(len(x), 32, 4))
            votes = torch.einsum("bid,ikde->bike", u, self.weight)
            logits = votes.new_zeros(len(x), 32, 3)
            for _ in range(3):
                out = self.squash((logits.softmax(2)[..., None] * votes).sum(1))
                logits = logits + (votes * out[:, None]).sum(-1)
            return (out.square().sum(-1) + 1e-8).sqrt()

    return model_case(Capsules(), 1, 16, 16)


@own("picture")
def fourier_operator():
    "A layer that works on the spectrum of the picture"

    class Operator(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Conv2d(1, 4, 1), nn.Linear(4, 3)
            self.weight = nn.Parameter(torch.randn(4, 4, 4, 2) * 0.3)

        def forward(self, x):
            x = self.first(x)
            spectrum = torch.fft.rfft2(x)[:, :, :4, :4] * torch.view_as_complex(self.weight)
            return self.head(F.gelu(x + torch.fft.irfft2(spectrum, s=x.shape[-2:])).mean((2, 3)))

    return model_case(Operator(), 1, 16, 16)


@own("picture")
def spatial_transformer():
    "Turns the picture by angles of its own, with grid_sample"
    parts = dict(turn=nn.Sequential(nn.Flatten(), nn.Linear(256, 6)), net=small_convolutional(channels=1))

    def forward(m, x):
        angles = torch.eye(2, 3).flatten() + 0.1 * m["turn"](x).tanh()
        grid = F.affine_grid(angles.view(-1, 2, 3), x.shape, align_corners=False)
        return m["net"](F.grid_sample(x, grid, align_corners=False))

    return model_case(Called(forward, **parts), 1, 16, 16)


# volumes


@own("volume")
def convolution_3d():
    return model_case(
        nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1),
            nn.BatchNorm3d(8),
            nn.ReLU(),
            nn.MaxPool3d(2),
            nn.Conv3d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        1,
        8,
        8,
        8,
    )


@own("volume")
def u_net_voxel():
    net = UNet(nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.InstanceNorm3d)
    return model_case(net, 1, 8, 8, 8, target=(1, 4, 3, 5))


@own("volume")
def dilated_groups_3d():
    return model_case(
        nn.Sequential(
            nn.Conv3d(2, 8, 3, dilation=2, padding=2, groups=2),
            nn.GroupNorm(4, 8),
            nn.LeakyReLU(),
            nn.AvgPool3d(2),
            nn.Conv3d(8, 8, (1, 3, 3)),
            nn.Hardswish(),
            nn.AdaptiveMaxPool3d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        2,
        8,
        8,
        8,
    )


@own("volume")
def film_by_lstm():
    "Each frame by a convolutional network, the frames by an LSTM"
    parts = dict(
        frame=small_convolutional(nn.Linear(16, 6), 1), recurrent=nn.LSTM(6, 8, batch_first=True), head=nn.Linear(8, 3)
    )

    def forward(m, x):
        frames = m["frame"](x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return m["head"](m["recurrent"](frames)[0][:, -1])

    return model_case(Called(forward, **parts), 4, 1, 16, 16)


# wrappers and odd forms


@own("wrapper")
def data_parallel():
    return Case(
        nn.DataParallel(stirred(small_convolutional(), numbers(8, 3, 16, 16, seed=1))), (numbers(2, 3, 16, 16),)
    )


@own("wrapper")
def compiled():
    model = stirred(small_convolutional(), numbers(8, 3, 16, 16, seed=1))
    return Case(torch.compile(model, backend="eager"), (numbers(2, 3, 16, 16),))


@own("wrapper")
def scripted():
    return Case(torch.jit.script(stirred(perceptron(), numbers(8, 6, seed=1))), (numbers(2, 6),))


@own("wrapper")
def traced_by_jit():
    model = stirred(small_convolutional(), numbers(8, 3, 16, 16, seed=1))
    return Case(torch.jit.trace(model, numbers(2, 3, 16, 16)), (numbers(2, 3, 16, 16),))


@own("wrapper")
def exported():
    model = stirred(perceptron(), numbers(8, 6, seed=1))
    rows = torch.export.Dim("rows", min=1, max=4096)
    return Case(
        torch.export.export(model, (numbers(4, 6),), dynamic_shapes=[{0: rows}]).module(check_guards=False),
        (numbers(2, 6),),
    )


@own("wrapper")
def checkpointed():
    from torch.utils.checkpoint import checkpoint

    parts = dict(body=perceptron(6, 16), head=nn.Linear(16, 3))
    return model_case(Called(lambda m, x: m["head"](checkpoint(m["body"], x, use_reentrant=False)), **parts), 6)


@own("wrapper")
def lazy():
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(numbers(2, 3, 8, 8))
    return model_case(model, 3, 8, 8)


@own("wrapper")
def a_function():
    "No module: a function of a weight"
    weight = numbers(6, 3, seed=2)
    return Case(lambda x: torch.tanh(x @ weight), (numbers(2, 6),))


@own("wrapper")
def class_score():
    from attrnb import ClassScore

    return Case(ClassScore(stirred(perceptron(), numbers(8, 6, seed=1)), of="probability"), (numbers(2, 6),))


@own("precision")
def bfloat16():
    model = stirred(small_convolutional(), numbers(8, 3, 16, 16, seed=1)).bfloat16()
    return Case(model, (numbers(2, 3, 16, 16).bfloat16(),))


@own("precision")
def float64():
    model = stirred(small_convolutional(), numbers(8, 3, 16, 16, seed=1)).double()
    return Case(model, (numbers(2, 3, 16, 16).double(),))


@own("precision")
def autocast():
    def forward(m, x):
        with torch.autocast("cpu", torch.bfloat16):
            return m["net"](x).float()

    return model_case(Called(forward, net=small_convolutional()), 3, 16, 16)


@own("precision")
def quantised():
    "Weights in eight bits: without a gradient"
    model = stirred(perceptron(), numbers(8, 6, seed=1))
    return Case(torch.ao.quantization.quantize_dynamic(model, {nn.Linear}), (numbers(2, 6),))


class Several(nn.Module):
    "A network with two heads, and the form in which it gives them"

    def __init__(self, form: Callable):
        super().__init__()
        self.body, self.one, self.two, self.form = nn.Linear(6, 16), nn.Linear(16, 3), nn.Linear(16, 2), form

    def forward(self, x):
        hidden = self.body(x).relu()
        return self.form(self.one(hidden), self.two(hidden))


@own("form")
def dict_with_logits():
    return model_case(Several(lambda a, b: dict(logits=a, value=b)), 6)


@own("form")
def tuple_of_one():
    return model_case(Several(lambda a, b: (a,)), 6)


@own("form")
def tuple_of_two():
    "Which of the two is meant can't be known: refused, with the call that says it"
    return model_case(Several(lambda a, b: (a, b)), 6)


@own("form")
def keyword_only():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = perceptron()

        def forward(self, x, *, scale):
            return self.net(x) * scale

    from attrnb.core import keywords

    model = Named()
    stirred(model.net, numbers(8, 6, seed=1))
    return Case(model, (numbers(2, 6),), 1, keywords(scale=2.0))


@own("form")
def integer_inputs():
    "Token numbers have no gradient: refused, with what to explain instead"
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(20, 3))
    return Case(stirred(net), (torch.tensor([[1, 2, 3, 4, 5], [5, 3, 1, 0, 2]]),))


@own("form")
def detached():
    "A frozen backbone under no_grad: no gradient reaches the inputs; refused, with the reason"

    def forward(m, x):
        with torch.no_grad():
            hidden = m["body"](x)
        return m["head"](hidden)

    return model_case(Called(forward, body=perceptron(6, 16), head=nn.Linear(16, 3)), 6)


@own("form")
def hooks_and_spare_parts():
    "A model with hooks of its own and a head that is never called"
    parts = dict(body=nn.Linear(6, 16), head=nn.Linear(16, 3), spare=nn.Linear(16, 7))
    parts["body"].register_forward_hook(lambda module, given, out: out * 1.5)
    return model_case(Called(lambda m, x: m["head"](m["body"](x).relu()), **parts), 6)


@own("form")
def shared_weights():
    "One layer three times, with an activation in place"
    parts = dict(layer=nn.Linear(6, 6), head=nn.Linear(6, 3))

    def forward(m, x):
        for _ in range(3):
            x = m["layer"](x).relu_()
        return m["head"](x)

    return model_case(Called(forward, **parts), 6)


@own("form")
def training_mode():
    "Handed over in training mode, with dropout and batch statistics"
    model = stirred(nn.Sequential(perceptron(6, 16), nn.Dropout(), nn.Linear(16, 3)), numbers(8, 6, seed=1))
    return Case(model.train(), (numbers(2, 6),), training=True)


def entries() -> Iterator[Entry]:
    for name, (family, build) in OWN.items():
        yield Entry(f"own/{name}", "own", family, functools.partial(build))
