"""Encoder and decoder layers of the transformer, and what tells them where in a sequence they are."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn import functional as F, init
from lanner.nn.attention import MultiheadAttention
from lanner.nn.container import ModuleList
from lanner.nn.dropout import Dropout
from lanner.nn.linear import Linear
from lanner.nn.module import Module
from lanner.nn.normalization import LayerNorm
from lanner.nn.parameter import Parameter

Activation = str | Callable[[Tensor], Tensor]


def _activation(where: str, activation: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(activation, str):
        return activation
    F.check_choice(where, "activation", activation, ("relu", "gelu"))
    return F.relu if activation == "relu" else F.gelu


class _Layer(Module):
    """What encoder and decoder layers share: attentions, then a network of two linear layers."""

    _attentions: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        # In the order of PyTorch's state dicts.
        made: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        for name in self._attentions:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **made))
        self.linear1 = Linear(d_model, dim_feedforward, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **made)
        self.norm_first = norm_first
        parts = range(1, len(self._attentions) + 2)
        for i in parts:
            setattr(self, f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, **made))
        for i in parts:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(type(self).__name__, activation)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))  # type: ignore[no-any-return]

    def _through(self, x: Tensor, *parts: Callable[[Tensor], Tensor]) -> Tensor:
        """Each part with its dropout, its residual and its norm."""
        for i, part in enumerate(parts, 1):
            norm, drop = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
            x = x + drop(part(norm(x))) if self.norm_first else norm(x + drop(part(x)))
        return x


class TransformerEncoderLayer(_Layer):
    """Self-attention and a network of two linear layers, each with a residual and layer norm (Vaswani et al. 2017).

    Of src [S, N, d_model], or [N, S, d_model] with ``batch_first``, or [S, d_model] for one sample. With
    ``norm_first`` the norms stand before the two parts (Xiong et al. 2020), else after the sums. ``activation`` is
    ``"relu"``, ``"gelu"`` or a function.

    >>> layer = ln.nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> layer(ln.zeros((3, 5, 8))).shape
    (3, 5, 8)
    """

    _attentions = ("self_attn",)
    self_attn: MultiheadAttention

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Return the layer's output, of the shape of ``src``; masks as in `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            y = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
            return y  # type: ignore[no-any-return]

        return self._through(src, attend, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """As `TransformerEncoderLayer`, with an attention to the encoder's output between the two parts.

    Of tgt [T, N, d_model] and memory [S, N, d_model], N first with ``batch_first``, or without N for one sample.

    >>> layer = ln.nn.TransformerDecoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> layer(ln.zeros((3, 4, 8)), ln.zeros((3, 5, 8)), tgt_is_causal=True).shape
    (3, 4, 8)
    """

    _attentions = ("self_attn", "multihead_attn")
    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return the layer's output, of the shape of ``tgt``; masks as in `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            y = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]
            return y  # type: ignore[no-any-return]

        def look(x: Tensor) -> Tensor:
            y = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]
            return y  # type: ignore[no-any-return]

        return self._through(tgt, attend, look, self._feed_forward)


class TransformerEncoder(Module):
    """``num_layers`` copies of an encoder layer, one after the other, and ``norm`` at the end if it is given.

    ``enable_nested_tensor`` and ``mask_check`` are taken for PyTorch's sake and have no effect.

    >>> layer = ln.nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    >>> ln.nn.TransformerEncoder(layer, 2)(ln.zeros((5, 3, 8))).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Return what the last layer gives; masks as in `MultiheadAttention`."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """``num_layers`` copies of a decoder layer, one after the other, and ``norm`` at the end if it is given.

    >>> layer = ln.nn.TransformerDecoderLayer(8, 2, dim_feedforward=16)
    >>> ln.nn.TransformerDecoder(layer, 2)(ln.zeros((4, 3, 8)), ln.zeros((5, 3, 8))).shape
    (4, 3, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return what the last layer gives; masks as in `MultiheadAttention`."""
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder that reads src and a decoder that looks at what it made of it (Vaswani et al. 2017).

    src [S, N, d_model] and tgt [T, N, d_model], N first with ``batch_first``, or without N for one sample; the result
    is of the shape of tgt. Both stacks end with a layer norm; ``custom_encoder`` and ``custom_decoder`` take their
    place. Embeddings, positions and the layer that names the words are not part of it.

    >>> net = ln.nn.Transformer(8, 2, 1, 1, dim_feedforward=16, batch_first=True)
    >>> net(ln.zeros((3, 5, 8)), ln.zeros((3, 4, 8)), tgt_is_causal=True).shape
    (3, 4, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        made: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        if custom_encoder is None:
            norm = LayerNorm(d_model, eps=layer_norm_eps, **made)
            custom_encoder = TransformerEncoder(TransformerEncoderLayer(*sizes, **made), num_encoder_layers, norm)
        if custom_decoder is None:
            norm = LayerNorm(d_model, eps=layer_norm_eps, **made)
            custom_decoder = TransformerDecoder(TransformerDecoderLayer(*sizes, **made), num_decoder_layers, norm)
        self.encoder = custom_encoder
        self.decoder = custom_decoder
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all matrices anew, each layer's its own, evenly as Glorot and Bengio do."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return the decoder's output, of the shape of ``tgt``; masks as in `MultiheadAttention`."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)  # type: ignore[no-any-return]

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: str | None = None, dtype: Any = None) -> Tensor:
        """Return a mask [sz, sz] to be added to the products: -inf above the diagonal, else 0.

        ``is_causal=True`` says the same without a mask in memory.

        >>> ln.nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return _core.triu(_core.full((sz, sz), -math.inf, dtype=dtype or _core.float32, device=device), 1)


class _Position(Module):
    """What both kinds of positions share: a table [max_len, d_model], its first rows added to a sequence."""

    d_model: int
    max_len: int
    batch_first: bool

    def _added(self, x: Tensor, table: Tensor) -> Tensor:
        name = type(self).__name__
        if x.ndim not in (2, 3) or x.shape[-1] != self.d_model:
            order = "[N, length, d_model]" if self.batch_first else "[length, N, d_model]"
            raise _core.ShapeError(
                f"{name}: x expects {order} or [length, d_model] with d_model {self.d_model}, got {tuple(x.shape)}"
            )
        axis = 1 if self.batch_first and x.ndim == 3 else 0
        length = x.shape[axis]
        if length > self.max_len:
            raise _core.ShapeError(f"{name}: x has {length} positions, max_len is {self.max_len} (x {tuple(x.shape)})")
        rows = table if length == self.max_len else table[:length]
        return x + (_core.expand_dims(rows, axis=1) if x.ndim == 3 and axis == 0 else rows)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"d_model={self.d_model}, max_len={self.max_len}, batch_first={self.batch_first}"


class PositionalEncoding(_Position):
    """Adds sines and cosines of the position to x [length, N, d_model] (Vaswani et al. 2017), then drops out.

    ``x[p, 2i] + sin(p / 10000^(2i / d_model))`` and ``x[p, 2i + 1] + cos(p / 10000^(2i / d_model))``.

    >>> ln.nn.PositionalEncoding(2)(ln.zeros((1, 1, 2))).tolist()
    [[[0.0, 1.0]]]
    """

    table: Tensor

    def __init__(
        self,
        d_model: int,
        max_len: int = 5000,
        dropout: float = 0.0,
        batch_first: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.d_model = d_model
        self.max_len = max_len
        self.batch_first = batch_first
        import numpy as np

        angles = np.arange(max_len)[:, None] * np.exp(np.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        table = np.empty((max_len, d_model))
        table[:, 0::2] = np.sin(angles)
        table[:, 1::2] = np.cos(angles)[:, : d_model // 2]
        self.register_buffer(
            "table", _core.tensor(table, dtype=dtype or _core.float32, device=device), persistent=False
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with its positions."""
        return self.dropout(self._added(x, self.table))  # type: ignore[no-any-return]


class LearnedPositionalEncoding(_Position):
    """Adds a trained vector for each position to x [length, N, d_model]: weight [max_len, d_model].

    >>> ln.nn.LearnedPositionalEncoding(4, 10, batch_first=True)(ln.zeros((2, 3, 4))).shape
    (2, 3, 4)
    """

    weight: Parameter

    def __init__(
        self,
        d_model: int,
        max_len: int,
        dropout: float = 0.0,
        batch_first: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.d_model = d_model
        self.max_len = max_len
        self.batch_first = batch_first
        self.weight = Parameter(_core.empty((max_len, d_model), dtype=dtype or _core.float32, device=device))
        self.dropout = Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors anew: Gaussian numbers of standard deviation 0.02."""
        init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with its positions."""
        return self.dropout(self._added(x, self.weight))  # type: ignore[no-any-return]
