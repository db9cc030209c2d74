"""Recurrent layers, whole sequences at a time, and their cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn import init
from lanner.nn.functional import check_choice
from lanner.nn.module import Module
from lanner.nn.parameter import Parameter
from lanner.nn.utils.rnn import Layout, PackedSequence


def _draw(module: Module, hidden: int) -> None:
    bound = 1 / math.sqrt(hidden)
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


def _pair(where: str, hx: Any) -> list[Tensor | None]:
    if hx is None:
        return [None, None]
    if not isinstance(hx, Sequence) or len(hx) != 2:
        what = f"{len(hx)} of them" if isinstance(hx, Sequence) else f"a {type(hx).__name__}"
        raise TypeError(f"{where}: hx must be a pair (h_0, c_0), got {what}")
    return list(hx)


def _check_states(where: str, states: list[Tensor | None], shapes: list[tuple[int, ...]], x: Tensor) -> None:
    """Raise unless those of the states that are given are tensors of the shapes and of the dtype of `x`."""
    names = ("h_0", "c_0") if len(states) == 2 else ("hx",)
    for name, state, shape in zip(names, states, shapes, strict=True):
        if state is None:
            continue
        if not isinstance(state, Tensor):
            raise TypeError(f"{where}: {name} must be a Tensor, got {type(state).__name__}")
        if tuple(state.shape) != shape:
            raise _core.ShapeError(f"{where}: {name} expects shape {shape}, got {state.shape}")
        if state.dtype != x.dtype:
            raise _core.DTypeError(f"{where}: {name} has dtype {state.dtype.name}, input {x.dtype.name}")


class _Recurrent(Module):
    _gates: ClassVar[int]
    _op: ClassVar[Callable[..., tuple[Tensor, ...]]]

    def _set_up(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: str | None,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        for what, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size < 1:
                raise ValueError(f"{name}: {what} must be positive, got {size}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout must lie between 0 and 1, got {dropout}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"{name}: proj_size must lie between 0 and hidden_size {hidden_size}, got {proj_size}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        rows, state = self._gates * hidden_size, proj_size or hidden_size
        features = input_size
        for layer in range(num_layers):
            for end in self._ends(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, features), "weight_hh": (rows, state)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for kind, shape in shapes.items():
                    made = _core.empty(shape, dtype=dtype or _core.float32, device=device)
                    self.register_parameter(kind + end, Parameter(made))
            features = state * (1 + bidirectional)
        self.reset_parameters()

    def _ends(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def _weights(self, end: str) -> dict[str, Any]:
        kinds = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
        return {kind: self._parameters.get(kind + end) for kind in kinds if kind + end in self._parameters}

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights and biases of each layer and direction."""
        return [list(self._weights(end).values()) for layer in range(self.num_layers) for end in self._ends(layer)]

    def reset_parameters(self) -> None:
        """Draw all weights and biases anew: evenly from ±1 / sqrt(hidden_size)."""
        _draw(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Do nothing: weights are packed when they are used."""

    def _options(self) -> dict[str, Any]:
        return {}

    def _one(self, x: Tensor, end: str, states: list[Tensor | None], lengths: Tensor | None) -> tuple[Tensor, ...]:
        """Return y and the last states of one layer in one direction; ``states`` are its first ones."""
        options = self._weights(end) | dict(zip(("h0", "c0"), states, strict=False)) | self._options()
        return self._op(x, **options, lengths=lengths, reverse=end.endswith("_reverse"))

    def _run(
        self, input: Tensor | PackedSequence, states: list[Tensor | None], lengths: Tensor | Sequence[int] | None
    ) -> tuple[Tensor | PackedSequence, list[Tensor]]:
        name = type(self).__name__
        layout: Layout | None = None
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError(f"{name}: lengths are part of a PackedSequence, which input is")
            layout = input.layout()
            x, lengths = layout.pad(input.data), _core.tensor(layout.lengths)
        else:
            x = input
        batched = layout is not None or x.ndim == 3
        if x.ndim not in (2, 3):
            raise _core.ShapeError(f"{name}: input must have 2 or 3 dimensions, got shape {x.shape}")
        if x.shape[-1] != self.input_size:
            raise _core.ShapeError(f"{name}: input has {x.shape[-1]} features, expected {self.input_size} ({x.shape})")
        if not batched:
            x = x[:, None]
        elif self.batch_first and layout is None:
            x = _core.swapaxes(x, 0, 1)
        if lengths is not None and not isinstance(lengths, Tensor):
            lengths = _core.tensor(lengths)
        before = (self.num_layers * (1 + self.bidirectional), *([int(x.shape[1])] if batched else []))
        features = [self.proj_size or self.hidden_size, self.hidden_size][: len(states)]
        _check_states(name, states, [(*before, n) for n in features], x)
        given = [s if s is None or batched else s[:, None] for s in states]
        last: list[list[Tensor]] = [[] for _ in states]
        at = 0
        for layer in range(self.num_layers):
            outputs = []
            for end in self._ends(layer):
                y, *after = self._one(x, end, [None if s is None else s[at] for s in given], lengths)
                outputs.append(y)
                for kept, state in zip(last, after, strict=True):
                    kept.append(state)
                at += 1
            x = outputs[0] if len(outputs) == 1 else _core.concat(outputs, axis=-1)
            if self.dropout and layer + 1 < self.num_layers:
                x = _core.dropout(x, self.dropout, self.training)
        joined = [_core.stack(kept) if len(kept) > 1 else kept[0][None] for kept in last]
        if layout is not None:
            return layout.pack(x), joined
        if not batched:
            return x[:, 0], [state[:, 0] for state in joined]
        return _core.swapaxes(x, 0, 1) if self.batch_first else x, joined

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += ", bias=False"
        if self.batch_first:
            text += ", batch_first=True"
        if self.dropout:
            text += f", dropout={self.dropout}"
        if self.bidirectional:
            text += ", bidirectional=True"
        return text


class _OneState(_Recurrent):
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Return the states of all steps, and those after the last."""
        y, (h,) = self._run(input, [hx], lengths)
        return y, h


class RNN(_OneState):
    """``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`` over the steps of a sequence (Elman 1990), or relu of it.

    Takes ``input`` [T, N, input_size] ([N, T, input_size] with ``batch_first``, [T, input_size] for one sequence, or a
    PackedSequence) and the first states ``hx`` [layers * directions, N, hidden_size], by default zeros. Returns the
    last layer's states of all steps, both directions side by side, and the last states of all layers, which a further
    piece of the sequence takes as ``hx``. Sequences of different lengths, in any order, are padded and come with
    ``lengths`` [N]: past its end a sequence gives zeros. ``dropout`` acts in training, between layers.

    Weights: ``weight_ih_l0`` [hidden_size, input_size], ``weight_hh_l0`` [hidden_size, hidden_size], ``bias_ih_l0`` and
    ``bias_hh_l0`` [hidden_size], and so on for ``l1`` and, backward in time, ``l0_reverse``. Raises ShapeError where
    input or states do not fit, or a length is 0 or above T.

    >>> y, h = ln.nn.RNN(3, 4, num_layers=2)(ln.zeros((7, 5, 3)))
    >>> y.shape, h.shape
    ((7, 5, 4), (2, 5, 4))
    """

    _gates, _op = 1, staticmethod(_core.rnn)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        check_choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        self.nonlinearity = nonlinearity
        self._set_up(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)

    def _options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}


class LSTM(_Recurrent):
    """``c' = f c + i g``, ``h' = o tanh(c')`` over the steps of a sequence (Hochreiter and Schmidhuber 1997).

    The gates i, f, g, o are sigmoid, sigmoid, tanh, sigmoid of ``W_ih x + b_ih + W_hh h + b_hh``, whose weights have
    4 * hidden_size rows in this order. Arguments as of `RNN`; the states are pairs ``(h, c)``. With ``proj_size`` h is
    projected to so many features by ``weight_hr_l0`` [proj_size, hidden_size] (Sak, Senior and Beaufays 2014).

    >>> y, (h, c) = ln.nn.LSTM(3, 4, batch_first=True, bidirectional=True)(ln.zeros((5, 7, 3)))
    >>> y.shape, h.shape, c.shape
    ((5, 7, 8), (2, 5, 4), (2, 5, 4))
    """

    _gates, _op = 4, staticmethod(_core.lstm)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._set_up(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Return the states h of all steps, and (h, c) after the last."""
        y, (h, c) = self._run(input, _pair("LSTM", hx), lengths)
        return y, (h, c)


class GRU(_OneState):
    """``h' = (1 - z) n + z h``, ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))`` over the steps of a sequence.

    The gates r and z are sigmoids of ``W_ih x + b_ih + W_hh h + b_hh``, whose weights have 3 * hidden_size rows: of r,
    z and n. (Cho et al. 2014, with r behind the product.) Arguments as of `RNN`.

    >>> y, h = ln.nn.GRU(3, 4)(ln.zeros((7, 5, 3)), ln.ones((1, 5, 4)))
    >>> y.shape, h.shape
    ((7, 5, 4), (1, 5, 4))
    """

    _gates, _op = 3, staticmethod(_core.gru)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._set_up(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)


class _Cell(Module):
    _gates: ClassVar[int]
    _op: ClassVar[Callable[..., tuple[Tensor, ...]]]
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def _set_up(self, input_size: int, hidden_size: int, bias: bool, device: str | None, dtype: Any) -> None:
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self._gates * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), "bias_ih": (rows,)}
        shapes["bias_hh"] = (rows,)
        for name, shape in shapes.items():
            made = Parameter(_core.empty(shape, dtype=dtype or _core.float32, device=device))
            self.register_parameter(name, made if bias or len(shape) == 2 else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights and biases anew: evenly from ±1 / sqrt(hidden_size)."""
        _draw(self, self.hidden_size)

    def _step(self, input: Tensor, states: list[Tensor | None], **options: Any) -> list[Tensor]:
        """Return the states after one step."""
        name = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise _core.ShapeError(
                f"{name}: input expects [N, {self.input_size}] or [{self.input_size}], got {input.shape}"
            )
        expected = (*input.shape[:-1], self.hidden_size)
        _check_states(name, states, [expected] * len(states), input)
        given = [s if s is None or s.ndim == 2 else s[None] for s in states]
        x = input[None] if input.ndim == 2 else input[None, None]
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        _, *after = self._op(x, *weights, **dict(zip(("h0", "c0"), given, strict=False)), **options)
        return [state.reshape(expected) for state in after]

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of `RNN`: input [N, input_size] or [input_size], ``hx`` the state before, by default zeros.

    Weights as of `RNN`, without the layer in their names; the same goes for the other cells.

    >>> ln.nn.RNNCell(3, 4)(ln.zeros((5, 3))).shape
    (5, 4)
    """

    _gates, _op = 1, staticmethod(_core.rnn)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        check_choice("RNNCell", "nonlinearity", nonlinearity, ("tanh", "relu"))
        self.nonlinearity = nonlinearity
        self._set_up(input_size, hidden_size, bias, device, dtype)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the state after the step."""
        return self._step(input, [hx], nonlinearity=self.nonlinearity)[0]


class LSTMCell(_Cell):
    """One step of `LSTM`: input [N, input_size] or [input_size], ``hx`` the pair (h, c) before, by default zeros.

    >>> h, c = ln.nn.LSTMCell(3, 4)(ln.zeros((5, 3)))
    >>> h.shape, c.shape
    ((5, 4), (5, 4))
    """

    _gates, _op = 4, staticmethod(_core.lstm)

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        self._set_up(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the pair (h, c) after the step."""
        h, c = self._step(input, _pair("LSTMCell", hx))
        return h, c


class GRUCell(_Cell):
    """One step of `GRU`: input [N, input_size] or [input_size], ``hx`` the state before, by default zeros.

    >>> ln.nn.GRUCell(3, 4)(ln.zeros((5, 3)), ln.ones((5, 4))).shape
    (5, 4)
    """

    _gates, _op = 3, staticmethod(_core.gru)

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        self._set_up(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the state after the step."""
        return self._step(input, [hx])[0]
