"""Recurrent layers: second derivatives, lengths, packing, streaming, plans, threads, errors. Beside PyTorch:
test_peers_recurrent.py."""

from __future__ import annotations

from typing import Any

import lanner as ln
import numpy as np
import pytest
from lanner import nn
from lanner.nn.utils import rnn as utils

KINDS = ["RNN", "LSTM", "GRU"]


def first(result: Any) -> Any:
    """The last states as a list."""
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [2, 3]])
@pytest.mark.parametrize(
    "name, options, rows",
    [
        ("rnn", {}, 1),
        ("rnn", {"nonlinearity": "relu"}, 1),
        ("lstm", {}, 4),
        ("lstm", {"projected": True}, 4),
        ("gru", {}, 3),
    ],
    ids=str,
)
def test_second_derivatives(name, options, rows, lengths, reverse):
    ln.manual_seed(3)
    options = dict(options)
    projected = options.pop("projected", False)
    state = 2 if projected else 3
    shapes = {
        "x": (3, 2, 2),
        "weight_ih": (3 * rows, 2),
        "weight_hh": (3 * rows, state),
        "bias_ih": (3 * rows,),
        "bias_hh": (3 * rows,),
        "h0": (2, state),
    }
    if name == "lstm":
        shapes["c0"] = (2, 3)
    if projected:
        shapes["weight_hr"] = (2, 3)
    values = [ln.random.normal(s, dtype=ln.float64).requires_grad_() for s in shapes.values()]
    n = None if lengths is None else ln.tensor(lengths)

    def f(*given):
        out = getattr(ln, name)(**dict(zip(shapes, given, strict=True)), lengths=n, reverse=reverse, **options)
        return sum((ln.sum(t * t * t) for t in out), ln.zeros((), dtype=ln.float64))

    assert ln.gradcheck(f, values)
    assert ln.gradcheck(f, values, order=2)


@pytest.mark.parametrize("name", KINDS)
def test_lengths_are_as_if_each_sequence_came_alone(name):
    ln.manual_seed(0)
    net = getattr(nn, name)(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    x = ln.random.normal((4, 7, 3))
    lengths = [3, 7, 1, 5]
    y, states = net(x, lengths=lengths)
    for i, n in enumerate(lengths):
        alone, own = net(x[i, :n])
        np.testing.assert_allclose(y[i, :n].detach().numpy(), alone.detach().numpy(), rtol=0, atol=1e-6)
        assert not y[i, n:].detach().numpy().any()
        for a, b in zip(first(states), first(own), strict=True):
            np.testing.assert_allclose(a[:, i].detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-6)


def test_all_weights():
    net = nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    assert [len(part) for part in net.all_weights] == [5] * 4
    assert [id(w) for part in net.all_weights for w in part] == [id(w) for w in net.parameters()]


@pytest.mark.parametrize("name", KINDS)
def test_no_samples(name):
    kinds = [(getattr(nn, name)(3, 4, 2, bidirectional=True), (5, 0, 3), {"lengths": ln.zeros(0, dtype=ln.int64)})]
    kinds += [(kinds[0][0], (5, 0, 3), {}), (getattr(nn, name + "Cell")(3, 4), (0, 3), {})]
    kinds += [(nn.LSTM(3, 4, proj_size=2), (5, 0, 3), {})] if name == "LSTM" else []
    for net, shape, options in kinds:
        y = net(ln.zeros(shape), **options)
        (y[0] if isinstance(y, tuple) else y).sum().backward()
        for p in net.parameters():
            assert p.grad.shape == p.shape and not p.grad.numpy().any()
            p.grad = None


@pytest.mark.parametrize("rows", [2, 9])  # the input's product of all steps at once, or step by step
@pytest.mark.parametrize("name", KINDS)
def test_padding_takes_no_part(name, rows):
    ln.manual_seed(0)
    net = getattr(nn, name)(3, 5, bidirectional=True)
    x = ln.random.normal((6, rows, 3)).numpy().copy()
    found = []
    for padding in (0.5, np.nan):
        x[4:, 1] = padding
        given = ln.tensor(x, requires_grad=True)
        y, _ = net(given, lengths=[6, 4] + [6] * (rows - 2))
        net.zero_grad()
        ln.sum(y * y).backward()
        assert not given.grad.numpy()[4:, 1].any()
        found.append([t.detach().numpy() for t in (y, given.grad, *(p.grad for p in net.parameters()))])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_streaming(name):
    ln.manual_seed(0)
    net = getattr(nn, name)(3, 40, num_layers=2)
    x = ln.random.normal((9, 2, 3))
    with ln.no_grad():
        whole, last = net(x)
        state, steps = None, []
        for t in range(9):
            y, state = net(x[t : t + 1], state)
            steps.append(y)
    np.testing.assert_allclose(ln.concat(steps).numpy(), whole.numpy(), rtol=0, atol=1e-6)
    for a, b in zip(first(state), first(last), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_cell_is_a_step_of_the_layer(name):
    ln.manual_seed(0)
    net, cell = getattr(nn, name)(3, 4), getattr(nn, name + "Cell")(3, 4)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in net.state_dict().items()})
    x = ln.random.normal((5, 2, 3))
    y, _ = net(x)
    state = None
    for t in range(5):
        state = cell(x[t], state)
        np.testing.assert_allclose(first(state)[0].detach().numpy(), y[t].detach().numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows, hidden", [(1, 128), (1, 300), (2, 260), (5, 200), (40, 64), (130, 96)])
@pytest.mark.parametrize("name", KINDS)
def test_same_bits_for_any_number_of_threads(name, rows, hidden):
    ln.manual_seed(0)
    net = getattr(nn, name)(6, hidden, bidirectional=True)
    x = ln.random.normal((4, rows, 6))
    results = []
    before = ln.get_num_threads()
    try:
        for threads in (1, 2, 3):
            ln.set_num_threads(threads)
            net.zero_grad()
            y, _ = net(x)
            ln.sum(y * y).backward()
            results.append([y.detach().numpy().copy()] + [p.grad.numpy().copy() for p in net.parameters()])
    finally:
        ln.set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps, rows, hidden", [(60, 32, 40), (1, 9, 40), (9, 8, 33)])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_weight_gradients_of_a_batch_are_the_sum_over_its_sequences(name, steps, rows, hidden, reverse):
    rng = np.random.default_rng(4)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[name] * hidden
    weights = [rng.normal(size=shape) / 8 for shape in [(gates, 7), (gates, hidden), (gates,), (gates,)]]
    x, g, h0 = (rng.normal(size=(n, rows, k)) for n, k in [(steps, 7), (steps, hidden), (1, hidden)])
    lengths = rng.integers(1, steps + 1, rows)

    def gradients(part: slice) -> list[np.ndarray]:
        w = [ln.tensor(a).requires_grad_() for a in weights]
        options = {"h0": ln.tensor(h0[0, part]), "lengths": ln.tensor(lengths[part]), "reverse": reverse}
        y = getattr(ln._core, name)(ln.tensor(x[:, part]), *w, **options)[0]
        return [d.numpy() for d in ln.grad([y], w, [ln.tensor(g[:, part])])]

    apart = [gradients(slice(n, n + 1)) for n in range(rows)]
    for got, *expected in zip(gradients(slice(None)), *apart, strict=True):
        np.testing.assert_allclose(got, sum(expected), rtol=1e-12, atol=1e-12 * np.abs(got).max())


@pytest.mark.parametrize("name", KINDS)
def test_compiled_equals_eager(name):
    ln.manual_seed(0)
    net = getattr(nn, name)(6, 48, num_layers=2, bidirectional=True, dropout=0.0)
    update = ln.optim.SGD(net.parameters(), lr=0.1)
    x, lengths = ln.random.normal((5, 3, 6)), ln.tensor([5, 2, 4])

    def step(x, lengths):
        y, _ = net(x, lengths=lengths)
        loss = ln.sum(y * y)
        loss.backward()
        update.step()
        update.zero_grad()
        return loss

    start = {k: v.clone() for k, v in net.state_dict().items()}
    eager = [float(step(x, lengths)) for _ in range(3)]
    net.load_state_dict(start)
    compiled = ln.compile(step)
    np.testing.assert_allclose([float(compiled(x, lengths)) for _ in range(3)], eager, rtol=1e-5)
    # Other lengths through the same plan, and bad ones.
    net.load_state_dict(start)
    other = float(compiled(x, ln.tensor([1, 5, 5])))
    net.load_state_dict(start)
    np.testing.assert_allclose(float(step(x, ln.tensor([1, 5, 5]))), other, rtol=1e-5)
    with pytest.raises(ln.Error, match=r"lengths\[1\] is 6, expected 1 to 5"):
        compiled(x, ln.tensor([1, 6, 5]))


def test_one_op_a_sequence():
    net = nn.LSTM(2, 4)
    compiled = ln.compile(lambda x: net(x)[0])
    with ln.no_grad():
        compiled(ln.zeros((10_000, 1, 2)))
    names = [row[0] for row in compiled.plan.summary().rows]
    assert names.count("lstm") == 1 and len(names) < 6


def test_packing():
    sequences = [ln.tensor(v) for v in ([1.0, 2.0], [3.0, 4.0, 5.0], [6.0])]
    packed = utils.pack_sequence(sequences)
    assert packed.data.tolist() == [3.0, 1.0, 6.0, 4.0, 2.0, 5.0]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices.tolist() == [1, 0, 2] and packed.unsorted_indices.tolist() == [1, 0, 2]
    assert [s.tolist() for s in utils.unpack_sequence(packed)] == [s.tolist() for s in sequences]
    assert utils.pad_sequence(sequences, True, -1.0, "left").tolist() == [[-1, 1, 2], [3, 4, 5], [-1, -1, 6]]
    padded, lengths = utils.pad_packed_sequence(packed, padding_value=9.0, total_length=4)
    assert padded.shape == (4, 3) and lengths.tolist() == [2, 3, 1] and padded.tolist()[3] == [9, 9, 9]
    with pytest.raises(ValueError, match="must not increase"):
        utils.pack_sequence(sequences, enforce_sorted=True)
    with pytest.raises(ln.ShapeError, match=r"lengths\[1\] is 0, expected 1 to 3"):
        utils.pack_padded_sequence(ln.zeros((3, 2)), [3, 0])
    with pytest.raises(ValueError, match="total_length is 2, the longest sequence has 3 steps"):
        utils.pad_packed_sequence(packed, total_length=2)
    with_none = [ln.tensor([1.0]), ln.zeros(0)]
    assert [s.tolist() for s in utils.unpad_sequence(utils.pad_sequence(with_none), [1, 0])] == [[1.0], []]
    assert utils.pad_sequence(ln.ones((2, 3)), batch_first=True).shape == (2, 3)
    for bad in ([ln.zeros((2, 3)), ln.zeros((2, 4))], [ln.zeros(2), ln.zeros(())]):
        with pytest.raises(ln.ShapeError, match=r"pad_sequence: .* sequence 1 has shape"):
            utils.pad_sequence(bad)
    double = packed.to(ln.float64)
    assert double.data.dtype == ln.float64 and utils.unpack_sequence(double)[1].tolist() == [3.0, 4.0, 5.0]
    plain = utils.PackedSequence(*packed)  # made of its tensors alone, as a step's result is
    assert [s.tolist() for s in utils.unpack_sequence(plain)] == [s.tolist() for s in sequences]


def test_padding_mask():
    want = [[False, True, True], [False, False, False], [True, True, True]]
    for lengths in ([1, 3, 0], ln.tensor([1, 3, 0], dtype=ln.uint8)):
        assert utils.padding_mask(lengths).tolist() == want
        assert utils.padding_mask(lengths, 3, "left").tolist() == [row[::-1] for row in want]
    assert utils.padding_mask([1, 2], 4).shape == (2, 4)
    compiled = ln.compile(lambda n: utils.padding_mask(n, 3))
    assert [compiled(ln.tensor(n)).tolist() for n in ([0, 0, 0], [1, 3, 0])][1] == want
    with pytest.raises(ln.RecordingError, match="padding_mask: the values of lengths"):
        ln.compile(utils.padding_mask)(ln.tensor([1, 2]))
    with pytest.raises(ln.DTypeError, match="padding_mask: lengths must be integers, got float32"):
        utils.padding_mask([1.0])
    with pytest.raises(ln.ShapeError, match=r"padding_mask: lengths must be \[N\]"):
        utils.padding_mask([[1]])
    with pytest.raises(ValueError, match="padding_mask: padding_side must be left or right, got 'up'"):
        utils.padding_mask([1], padding_side="up")


def test_packing_in_a_compiled_step():
    ln.manual_seed(0)
    net, x = nn.LSTM(3, 4, bidirectional=True), ln.random.normal((5, 2, 3))

    def step(x, lengths):
        y, (h, c) = net(utils.pack_padded_sequence(x, lengths))
        return utils.pad_packed_sequence(y)[0], h, c

    for got, want in zip(ln.compile(lambda x: step(x, [3, 5]))(x), step(x, [3, 5]), strict=True):
        np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ln.RecordingError, match=r"pack_padded_sequence: the values of lengths .* lengths="):
        ln.compile(step)(x, ln.tensor([3, 5]))
    packed = utils.pack_padded_sequence(x, [3, 5])
    with pytest.raises(ln.RecordingError, match=r"PackedSequence: the values of batch_sizes .* lengths="):
        ln.compile(lambda p: net(p)[0].data)(packed)


def test_dropout_between_layers():
    ln.manual_seed(0)
    net = nn.GRU(4, 16, num_layers=2, dropout=1.0)
    x = ln.random.normal((3, 2, 4))
    _, h = net(x)
    net.eval()
    _, kept = net(x)
    assert np.array_equal(h[0].detach().numpy(), kept[0].detach().numpy())
    assert not np.array_equal(h[1].detach().numpy(), kept[1].detach().numpy())


def test_half():
    net = nn.LSTM(3, 4, dtype=ln.float16)
    y, (h, c) = net(ln.ones((2, 1, 3), dtype=ln.float16))
    assert y.dtype == h.dtype == c.dtype == ln.float16


BAD = [
    (nn.LSTM(3, 4), (ln.zeros((5, 2, 7)),), {}, "LSTM: input has 7 features, expected 3"),
    (nn.GRU(3, 4), (ln.zeros((5, 2, 3, 1)),), {}, "GRU: input must have 2 or 3 dimensions"),
    (nn.GRU(3, 4), (ln.zeros((5, 2, 3)), ln.zeros((1, 3, 4))), {}, r"GRU: hx expects shape \(1, 2, 4\)"),
    (nn.RNN(3, 4), (ln.zeros((5, 3)), ln.zeros((1, 1, 4))), {}, r"RNN: hx expects shape \(1, 4\)"),
    (
        nn.LSTM(3, 4, proj_size=2),
        (ln.zeros((5, 2, 3)), (ln.zeros((1, 2, 2)), ln.zeros((1, 2, 2)))),
        {},
        r"LSTM: c_0 expects shape \(1, 2, 4\)",
    ),
    (nn.LSTM(3, 4), (ln.zeros((5, 2, 3)),), {"lengths": [5, 0]}, r"lstm: lengths\[1\] is 0, expected 1 to 5"),
    (nn.GRU(3, 4), (ln.zeros((5, 2, 3)),), {"lengths": [6, 1]}, r"gru: lengths\[0\] is 6, expected 1 to 5"),
    (nn.RNN(3, 4), (ln.zeros((5, 2, 3)),), {"lengths": [5]}, r"rnn: lengths expects shape \(2\)|\[2\]"),
    (nn.RNN(3, 4), (ln.zeros((0, 2, 3)),), {}, "rnn: x must have at least one step"),
    (nn.RNN(3, 4), (ln.zeros((5, 2, 3)),), {"lengths": [2.5, 1.0]}, "rnn: lengths must be integers, got float32"),
    (
        nn.GRU(3, 4),
        (ln.zeros((5, 2, 3)), ln.zeros((1, 2, 4), dtype=ln.float64)),
        {},
        "GRU: hx has dtype float64, input float32",
    ),
    (
        nn.LSTMCell(3, 4),
        (ln.zeros((2, 3)), (ln.zeros((2, 4)), ln.zeros((2, 3)))),
        {},
        r"LSTMCell: c_0 expects shape \(2, 4\)",
    ),
    (nn.LSTMCell(3, 4), (ln.zeros((2, 5)),), {}, r"LSTMCell: input expects \[N, 3\]"),
    (nn.GRUCell(3, 4), (ln.zeros((2, 3)), ln.zeros((3, 4))), {}, r"GRUCell: hx expects shape \(2, 4\)"),
]


@pytest.mark.parametrize("layer, args, kwargs, message", BAD, ids=[row[3] for row in BAD])
def test_errors(layer, args, kwargs, message):
    with pytest.raises((ln.ShapeError, ln.DTypeError), match=message):
        layer(*args, **kwargs)
    with pytest.raises(ln.Error, match=r"net\.rnn: "):

        class Net(nn.Module):
            def __init__(self):
                self.rnn = layer

            def forward(self):
                return self.rnn(*args, **kwargs)

        class Outer(nn.Module):
            def __init__(self):
                self.net = Net()

            def forward(self):
                return self.net()

        Outer()()


@pytest.mark.parametrize(
    "layer, hx, message",
    [
        (nn.GRU(3, 4), (ln.zeros((1, 2, 4)),) * 2, "GRU: hx must be a Tensor, got tuple"),
        (nn.LSTM(3, 4), ln.zeros((1, 2, 4)), r"LSTM: hx must be a pair \(h_0, c_0\), got a Tensor"),
        (nn.LSTM(3, 4), (ln.zeros((1, 2, 4)),), r"LSTM: hx must be a pair \(h_0, c_0\), got 1 of them"),
        (nn.RNNCell(3, 4), [ln.zeros((2, 4))], "RNNCell: hx must be a Tensor, got list"),
        (nn.LSTMCell(3, 4), ln.zeros((2, 4)), r"LSTMCell: hx must be a pair \(h_0, c_0\), got a Tensor"),
    ],
    ids=str,
)
def test_states_of_another_kind(layer, hx, message):
    with pytest.raises(TypeError, match=message):
        layer(ln.zeros((2, 3) if "Cell" in type(layer).__name__ else (5, 2, 3)), hx)


def test_a_replay_names_the_layer():
    class Net(nn.Module):
        def __init__(self):
            self.embed, self.rnn = nn.Embedding(5, 3), nn.Sequential(nn.GRU(3, 4))

        def forward(self, tokens, lengths):
            return self.rnn[0](self.embed(tokens), lengths=lengths)[0]

    net = ln.compile(nn.ModuleDict({"net": Net()})["net"])
    tokens, lengths = ln.tensor([[1, 2], [3, 4], [0, 1]]), ln.tensor([3, 2], dtype=ln.int32)
    net(tokens, lengths)
    with pytest.raises(ln.IndexError, match=r"^embed: embedding: index 5 is out of range"):
        net(tokens + 1, lengths)
    with pytest.raises(ln.ShapeError, match=r"^rnn.0: gru: lengths\[0\] is 4, expected 1 to 3"):
        net(tokens, lengths + 1)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.LSTM(3, 4, proj_size=4), "LSTM: proj_size must lie between 0 and hidden_size 4, got 4"),
        (lambda: nn.GRU(3, 0), "GRU: hidden_size must be positive, got 0"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), "RNN: nonlinearity must be one of"),
        (lambda: nn.GRU(3, 4, dropout=2), "GRU: dropout must lie between 0 and 1, got 2"),
    ],
    ids=str,
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()
