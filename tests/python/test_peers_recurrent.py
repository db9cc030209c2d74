"""Recurrent layers and cells against PyTorch: results, states, all gradients, on each instruction set."""

from __future__ import annotations

from typing import Any

import lanner as ln
import numpy as np
import pytest
from lanner import nn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::UserWarning")]  # PyTorch's

# features, hidden, steps, rows, and the options of the layer; `lengths` and `states` are of the call.
SHAPES: list[tuple[int, int, int, int, dict[str, Any]]] = [
    (1, 1, 1, 1, {}),
    (3, 5, 4, 3, {}),
    (3, 5, 4, 3, {"bias": False, "states": False}),
    (3, 5, 6, 4, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    (3, 5, 6, 4, {"num_layers": 2, "bidirectional": True, "lengths": [3, 6, 1, 4]}),
    (3, 5, 6, 4, {"bidirectional": True, "lengths": [3, 5, 1, 4], "states": False}),  # shorter than the padding
    (2, 9, 5, 0, {"unbatched": True, "num_layers": 2}),
    (7, 64, 9, 1, {}),
    (7, 130, 5, 2, {"bidirectional": True}),
    (7, 33, 5, 70, {"bidirectional": True, "batch_first": True}),
    (5, 64, 7, 33, {"bidirectional": True, "lengths": [n % 7 + 1 for n in range(33)]}),
    (4, 260, 4, 60, {"lengths": [n % 4 + 1 for n in range(60)]}),
]
PROJECTED = [
    (4, 20, 1, 2, {"proj_size": 7, "num_layers": 2, "bidirectional": True}),
    (4, 100, 6, 40, {"proj_size": 33, "bidirectional": True, "lengths": [n % 6 + 1 for n in range(40)]}),
]
LAYERS = [
    (name, options, shape)
    for name, options in (("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {}))
    for shape in SHAPES + (PROJECTED if name == "LSTM" else [])
]


@pytest.fixture(params=ln.cpu.available_isas())
def isa(request):
    with ln.cpu.isa(request.param):
        yield request.param


def close(got: Any, want: Any, length: int, what: str) -> None:
    """Equal within what `length` additions may differ by, at the largest magnitude involved."""
    a, b = got.detach().numpy(), want.detach().numpy()
    assert a.shape == b.shape and a.dtype == b.dtype, (what, a.shape, b.shape)
    bound = 4 * np.finfo(a.dtype).eps * length * max(1.0, np.abs(b).max(initial=0))
    np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=what)


def leaf(t: Any) -> Any:
    return ln.tensor(t.detach().numpy(), requires_grad=True)


def net_like(kind: Any, theirs: Any, *sizes: int, dtype: str, **options: Any) -> Any:
    ours = kind(*sizes, dtype=getattr(ln, dtype), **options)
    ours.load_state_dict({name: ln.tensor(value.numpy()) for name, value in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    return ours


def compare(ours: Any, theirs: Any, results: Any, length: int, leaves: list[tuple[Any, Any]]) -> None:
    """The same results, and the same gradients of a sum of all of them with random weights."""
    loss, their_loss = ln.zeros(()), torch.zeros(())
    for i, (a, b) in enumerate(results):
        close(a, b, length, f"result {i}")
        weight = torch.randn_like(b)
        loss = loss + ln.sum(a * ln.tensor(weight.numpy()))
        their_loss = their_loss + (b * weight).sum()
    loss.backward()
    their_loss.backward()
    for i, (a, b) in enumerate(leaves):
        close(a.grad, b.grad, 4 * length, f"gradient of input {i}")
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, 4 * length, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, kind, shape", LAYERS, ids=str)
def test_layer(name, kind, shape, dtype, isa):
    torch.manual_seed(1)
    features, hidden, steps, rows, options = shape
    options = options | kind
    lengths, states = options.pop("lengths", None), options.pop("states", True)
    unbatched, batch_first = options.pop("unbatched", False), options.get("batch_first", False)
    theirs = getattr(torch.nn, name)(features, hidden, **options).to(getattr(torch, dtype))
    ours = net_like(getattr(nn, name), theirs, features, hidden, dtype=dtype, **options)

    def made(*shape: int) -> Any:
        return torch.randn(*shape, dtype=getattr(torch, dtype), requires_grad=True)

    x = made(steps, features) if unbatched else made(*((rows, steps) if batch_first else (steps, rows)), features)
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    sizes = [options.get("proj_size") or hidden] + [hidden] * (name == "LSTM")
    first = [made(*((count, n) if unbatched else (count, rows, n))) for n in sizes] if states else []
    our_x, our_first = leaf(x), [leaf(t) for t in first]
    pair = (tuple(first), tuple(our_first)) if name == "LSTM" else (*first, *our_first)
    hx, our_hx = pair if states else (None, None)

    given = x
    if lengths:
        given = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
    y, h = theirs(given, hx)
    if lengths:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first, total_length=steps)
    our_y, our_h = ours(our_x, our_hx, lengths=lengths and ln.tensor(lengths))
    pairs = list(zip(our_h, h, strict=True)) if name == "LSTM" else [(our_h, h)]
    compare(
        ours,
        theirs,
        [(our_y, y), *pairs],
        (features + hidden) * steps + rows * steps,
        [(our_x, x), *zip(our_first, first, strict=True)],
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize(
    "name, options",
    [
        ("RNNCell", {}),
        ("RNNCell", {"nonlinearity": "relu"}),
        ("LSTMCell", {}),
        ("GRUCell", {}),
        ("GRUCell", {"bias": False}),
    ],
    ids=str,
)
def test_cell(name, options, unbatched, dtype, isa):
    torch.manual_seed(1)
    theirs = getattr(torch.nn, name)(5, 37, **options).to(getattr(torch, dtype))
    ours = net_like(getattr(nn, name), theirs, 5, 37, dtype=dtype, **options)
    made = [
        torch.randn(*([] if unbatched else [3]), n, dtype=getattr(torch, dtype), requires_grad=True)
        for n in [5, 37] + [37] * (name == "LSTMCell")
    ]
    x, *first = made
    our_x, *our_first = leaves = [leaf(t) for t in made]
    hx, our_hx = (tuple(first), tuple(our_first)) if name == "LSTMCell" else (first[0], our_first[0])
    results = (ours(our_x, our_hx), theirs(x, hx))
    results = zip(*results, strict=True) if name == "LSTMCell" else [results]
    compare(ours, theirs, list(results), 42, list(zip(leaves, made, strict=True)))
    again = ours(our_x), theirs(x)
    if name != "LSTMCell":
        close(*again, 42, "from zeros")


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed(name, batch_first):
    torch.manual_seed(1)
    lengths = [2, 5, 1, 5]
    theirs = getattr(torch.nn, name)(3, 4, 2, bidirectional=True, batch_first=batch_first)
    ours = net_like(getattr(nn, name), theirs, 3, 4, 2, dtype="float32", bidirectional=True, batch_first=batch_first)
    x = torch.randn(*((4, 5) if batch_first else (5, 4)), 3, requires_grad=True)
    our_x = leaf(x)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
    our_packed = nn.utils.rnn.pack_padded_sequence(our_x, lengths, batch_first)
    # Sequences of one length may stand in any order: compare what does not depend on it.
    assert our_packed.batch_sizes.tolist() == packed.batch_sizes.tolist()
    (y, h), (our_y, our_h) = theirs(packed), ours(our_packed)
    if name != "LSTM":
        h, our_h = (h,), (our_h,)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first, 0.5, 6)
    our_padded, our_lengths = nn.utils.rnn.pad_packed_sequence(our_y, batch_first, 0.5, 6)
    assert our_lengths.tolist() == lengths
    compare(ours, theirs, [(our_padded, padded), *zip(our_h, h, strict=True)], 60, [(our_x, x)])
