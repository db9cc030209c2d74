"""Attention: layers in which each position of a sequence takes a weighted mean of another sequence."""

from __future__ import annotations

import math
from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.nn import functional as F, init
from lanner.nn.linear import Linear
from lanner.nn.module import Module
from lanner.nn.parameter import Parameter


def _check_mask(where: str, name: str, mask: Tensor, shapes: list[tuple[int, ...]], like: Tensor) -> None:
    """Raise unless the mask has one of the shapes, and is bool or of the dtype of `like`."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"{where}: {name} must be a Tensor, got {type(mask).__name__}")
    if tuple(mask.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise _core.ShapeError(f"{where}: {name} expects shape {expected}, got {tuple(mask.shape)}")
    if mask.dtype not in (_core.bool, like.dtype):
        raise _core.DTypeError(f"{where}: {name} must be bool or {like.dtype.name}, got {mask.dtype.name}")


def _join(a: Tensor | None, b: Tensor | None, dtype: Any) -> Tensor | None:
    """One mask that says what both say: bool (True where a key is left out) if both are, else floating, to be added."""
    if a is None or b is None:
        return b if a is None else a
    if a.dtype == b.dtype:
        return a | b if a.dtype == _core.bool else a + b
    return _to_additive(a, dtype) + _to_additive(b, dtype)


def _to_additive(mask: Tensor, dtype: Any) -> Tensor:
    if mask.dtype != _core.bool:
        return mask
    return _core.where(mask, _core.tensor(-math.inf, dtype=dtype), _core.tensor(0.0, dtype=dtype))


def _weights(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis of scores under a mask as `_join` makes it; zeros where a row is masked as a whole."""
    if mask is None:
        return _core.softmax(scores, -1)
    none = _core.tensor(-math.inf, dtype=scores.dtype)
    scores = _core.where(mask, none, scores) if mask.dtype == _core.bool else scores + mask
    empty = _core.all(scores == none, -1, keepdims=True)
    zero = _core.tensor(0.0, dtype=scores.dtype)
    return _core.where(empty, zero, _core.softmax(_core.where(empty, zero, scores), -1))


class MultiheadAttention(Module):
    """``num_heads`` attentions side by side, on projections of query, key and value (Vaswani et al. 2017).

    ``out_proj(concat_h(softmax(q_h k_h^T / sqrt(embed_dim / num_heads)) v_h))``. Query [L, N, E], key [S, N, kdim],
    value [S, N, vdim]; with ``batch_first`` [N, L, E] and so on; without N for a single sample. In bool masks True
    leaves a key out (PyTorch's sense here); floating masks are added to the products. A query whose keys are all left
    out gives ``out_proj(0)``. ``need_weights=False`` is the fast way, which keeps no matrix of L x S.

    >>> layer = ln.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = ln.zeros((3, 5, 8))
    >>> y, weights = layer(x, x, x)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: num_heads must divide embed_dim, got embed_dim {embed_dim}, num_heads {num_heads}"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: dropout must lie between 0 and 1, got {dropout}")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        dtype = dtype or _core.float32

        def parameter(*shape: int) -> Parameter:
            return Parameter(_core.empty(shape, dtype=dtype, device=device))

        one = self.kdim == embed_dim and self.vdim == embed_dim
        self.register_parameter("in_proj_weight", parameter(3 * embed_dim, embed_dim) if one else None)
        self.register_parameter("q_proj_weight", None if one else parameter(embed_dim, embed_dim))
        self.register_parameter("k_proj_weight", None if one else parameter(embed_dim, self.kdim))
        self.register_parameter("v_proj_weight", None if one else parameter(embed_dim, self.vdim))
        self.register_parameter("in_proj_bias", parameter(3 * embed_dim) if bias else None)
        self.register_parameter("bias_k", parameter(1, 1, embed_dim) if add_bias_kv else None)
        self.register_parameter("bias_v", parameter(1, 1, embed_dim) if add_bias_kv else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self._draw()

    def reset_parameters(self) -> None:
        """Draw the projections anew, evenly as Glorot and Bengio do; biases are 0."""
        self.out_proj.reset_parameters()
        self._draw()

    def _draw(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for row in (self.bias_k, self.bias_v):
            if row is not None:
                init.xavier_normal_(row)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and, with ``need_weights``, the weights: [N, L, S], or [N, heads, L, S] if not averaged.

        ``key_padding_mask`` [N, S] leaves out keys of a sample; ``attn_mask`` is [L, S] or [N * heads, L, S]; with
        ``is_causal`` query i looks at keys 0 to i only, whether ``attn_mask`` says so or not, and at those of
        ``add_bias_kv`` and ``add_zero_attn``.
        """
        self._check(query, key, value)
        batched = query.ndim == 3
        self_attention, shared_key = query is key and key is value, key is value
        if not batched:
            query, key, value = (_core.expand_dims(x, axis=0) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (_core.swapaxes(x, 0, 1) for x in (query, key, value))
        n, length, source = query.shape[0], query.shape[1], key.shape[1]
        mask = self._mask(key_padding_mask, attn_mask, n, length, source, batched, query)

        # What add_bias_kv and add_zero_attn put behind the keys has no place in time: all queries look at it.
        rows: list[tuple[Tensor | None, Tensor | None]] = []
        if self.bias_k is not None:
            rows.append((self.bias_k, self.bias_v))
        if self.add_zero_attn:
            rows.append((None, None))
        if is_causal and (need_weights or rows):
            mask = _join(mask, _core.triu(_core.ones((length, source), dtype=_core.bool), 1), query.dtype)
            is_causal = False

        q, k, v = self._project(query, key, value, self_attention, shared_key)
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        for of_keys, of_values in rows:
            k, v = self._with_row(k, of_keys), self._with_row(v, of_values)
            if mask is not None:
                mask = _core.concat([mask, _core.zeros((*mask.shape[:-1], 1), dtype=mask.dtype)], -1)
        drop = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(_weights((q * self.head_dim**-0.5) @ _core.matrix_transpose(k), mask), drop)
            y = weights @ v
            weights = _core.mean(weights, axis=1) if average_attn_weights else weights
        else:
            if mask is not None and mask.dtype == _core.bool:
                mask = _core.logical_not(mask)
            y = F.scaled_dot_product_attention(q, k, v, mask, drop, is_causal)
        y = self.out_proj(_core.reshape(_core.permute_dims(y, (0, 2, 1, 3)), (n, length, self.embed_dim)))
        if not batched:
            return y[0], None if weights is None else weights[0]
        return y if self.batch_first else _core.swapaxes(y, 0, 1), weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        sizes = {"query": (query, self.embed_dim), "key": (key, self.kdim), "value": (value, self.vdim)}
        for name, (x, features) in sizes.items():
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != features:
                order = "[N, length, features]" if self.batch_first else "[length, N, features]"
                raise _core.ShapeError(
                    f"MultiheadAttention: {name} expects {order}, or [length, features] for one sample, with "
                    f"{features} features, got {tuple(x.shape)} (query {tuple(query.shape)})"
                )
        batch = 0 if self.batch_first else 1
        if query.ndim == 3 and not query.shape[batch] == key.shape[batch] == value.shape[batch]:
            raise _core.ShapeError(
                f"MultiheadAttention: query, key and value must have one batch size, got {tuple(query.shape)}, "
                f"{tuple(key.shape)} and {tuple(value.shape)}"
            )
        if key.shape[:-1] != value.shape[:-1]:
            raise _core.ShapeError(
                f"MultiheadAttention: value expects the length of key, got {tuple(value.shape)} and {tuple(key.shape)}"
            )

    def _mask(
        self,
        padding: Tensor | None,
        mask: Tensor | None,
        n: int,
        length: int,
        source: int,
        batched: bool,
        query: Tensor,
    ) -> Tensor | None:
        """Both masks as one that broadcasts to [N, heads, L, S]."""
        heads = self.num_heads
        if padding is not None:
            _check_mask(
                "MultiheadAttention", "key_padding_mask", padding, [(n, source) if batched else (source,)], query
            )
            padding = _core.reshape(padding, (n, 1, 1, source))
        if mask is not None:
            shapes = [(length, source), (n * heads, length, source)]
            _check_mask("MultiheadAttention", "attn_mask", mask, shapes, query)
            if mask.ndim == 3:
                mask = _core.reshape(mask, (n, heads, length, source))
        return _join(padding, mask, query.dtype)

    def _project(
        self, query: Tensor, key: Tensor, value: Tensor, self_attention: bool, shared_key: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias, e = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if weight is None:
            assert self.q_proj_weight is not None and self.k_proj_weight is not None and self.v_proj_weight is not None
            parts = [None] * 3 if bias is None else _core.split(bias, e)
            return (
                F.linear(query, self.q_proj_weight, parts[0]),
                F.linear(key, self.k_proj_weight, parts[1]),
                F.linear(value, self.v_proj_weight, parts[2]),
            )
        if self_attention:
            q, k, v = _core.split(F.linear(query, weight, bias), e, -1)
            return q, k, v
        if shared_key:
            q_weight, kv_weight = _core.split(weight, [e, 2 * e])
            q_bias, kv_bias = (None, None) if bias is None else _core.split(bias, [e, 2 * e])
            k, v = _core.split(F.linear(key, kv_weight, kv_bias), e, -1)
            return F.linear(query, q_weight, q_bias), k, v
        weights = _core.split(weight, e)
        biases = [None] * 3 if bias is None else _core.split(bias, e)
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _heads(self, x: Tensor) -> Tensor:
        """[N, L, E] as [N, heads, L, E / heads]."""
        split = _core.reshape(x, (x.shape[0], x.shape[1], self.num_heads, self.head_dim))
        return _core.permute_dims(split, (0, 2, 1, 3))

    def _with_row(self, x: Tensor, row: Tensor | None) -> Tensor:
        """`x` [N, heads, S, D] with one more key or value: that of all samples, or zeros."""
        n, heads, _, width = x.shape
        if row is None:
            return _core.concat([x, _core.zeros((n, heads, 1, width), dtype=x.dtype)], 2)
        return _core.concat([x, _core.broadcast_to(_core.reshape(row, (1, heads, 1, width)), (n, heads, 1, width))], 2)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


class _ScoredAttention(Module):
    """What the attentions of sequence-to-sequence models share: scores, masks, the mean of the values."""

    query_dim: int
    key_dim: int

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the context [N, L, Dv] and the weights [N, L, S]; for a query [N, query_dim], [N, Dv] and [N, S].

        ``key`` is [N, S, key_dim], ``value`` [N, S, Dv], by default the keys. ``key_padding_mask`` [N, S] and
        ``attn_mask`` [L, S] or [N, L, S]: True leaves a key out; floating masks are added to the scores. A query whose
        keys are all left out gives zeros.
        """
        name = type(self).__name__
        value = key if value is None else value
        step = query.ndim == 2
        if query.ndim not in (2, 3) or query.shape[-1] != self.query_dim:
            raise _core.ShapeError(
                f"{name}: query expects [N, L, {self.query_dim}] or [N, {self.query_dim}], got {tuple(query.shape)}"
            )
        n = query.shape[0]
        if key.ndim != 3 or key.shape[0] != n or key.shape[2] != self.key_dim:
            raise _core.ShapeError(
                f"{name}: key expects [{n}, S, {self.key_dim}], got {tuple(key.shape)} (query {tuple(query.shape)})"
            )
        if value.ndim != 3 or value.shape[:2] != key.shape[:2]:
            raise _core.ShapeError(
                f"{name}: value expects [{n}, {key.shape[1]}, features], got {tuple(value.shape)} "
                f"(key {tuple(key.shape)})"
            )
        if step:
            query = _core.expand_dims(query, axis=1)
        length, source = query.shape[1], key.shape[1]
        if key_padding_mask is not None:
            _check_mask(name, "key_padding_mask", key_padding_mask, [(n, source)], query)
            key_padding_mask = _core.expand_dims(key_padding_mask, axis=1)
        if attn_mask is not None:
            _check_mask(name, "attn_mask", attn_mask, [(length, source), (n, length, source)], query)
        weights = _weights(self._scores(query, key), _join(key_padding_mask, attn_mask, query.dtype))
        context = weights @ value
        return (context[:, 0], weights[:, 0]) if step else (context, weights)


class AdditiveAttention(_ScoredAttention):
    """Weights ``softmax(v . tanh(W_q query + W_k key + b))`` (Bahdanau, Cho and Bengio 2015).

    Weights: ``query_proj`` [hidden_dim, query_dim], ``key_proj`` [hidden_dim, key_dim], ``score`` [1, hidden_dim].

    >>> attention = ln.nn.AdditiveAttention(4, 6, 8)
    >>> context, weights = attention(ln.zeros((2, 4)), ln.zeros((2, 5, 6)))
    >>> context.shape, weights.shape
    ((2, 6), (2, 5))
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        hidden_dim: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.query_dim = query_dim
        self.key_dim = key_dim
        self.query_proj = Linear(query_dim, hidden_dim, bias=bias, device=device, dtype=dtype)
        self.key_proj = Linear(key_dim, hidden_dim, bias=False, device=device, dtype=dtype)
        self.score = Linear(hidden_dim, 1, bias=False, device=device, dtype=dtype)

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        mixed = _core.expand_dims(self.query_proj(query), axis=2) + _core.expand_dims(self.key_proj(key), axis=1)
        return _core.squeeze(self.score(_core.tanh(mixed)), -1)


class MultiplicativeAttention(_ScoredAttention):
    """Weights ``softmax(score(query, key))`` (Luong, Pham and Manning 2015).

    ``score`` is ``"dot"``: ``query . key``; ``"general"``: ``query . W key``, ``key_proj`` [query_dim, key_dim];
    ``"concat"``: ``v . tanh(W [query; key])`` with ``hidden_dim`` rows, by default query_dim: ``concat_proj``
    [hidden_dim, query_dim + key_dim] and ``score_proj`` [1, hidden_dim].

    >>> attention = ln.nn.MultiplicativeAttention(4, 6)
    >>> context, weights = attention(ln.zeros((2, 3, 4)), ln.zeros((2, 5, 6)))
    >>> context.shape, weights.shape
    ((2, 3, 6), (2, 3, 5))
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int | None = None,
        score: str = "general",
        hidden_dim: int | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        F.check_choice("MultiplicativeAttention", "score", score, ("dot", "general", "concat"))
        self.query_dim = query_dim
        self.key_dim = query_dim if key_dim is None else key_dim
        self.score = score
        if score == "dot" and self.key_dim != query_dim:
            raise _core.ShapeError(
                f"MultiplicativeAttention: score 'dot' needs key_dim = query_dim, got {self.key_dim} and {query_dim}"
            )
        if score == "general":
            self.key_proj = Linear(self.key_dim, query_dim, bias=False, device=device, dtype=dtype)
        elif score == "concat":
            hidden = query_dim if hidden_dim is None else hidden_dim
            self.concat_proj = Linear(query_dim + self.key_dim, hidden, bias=False, device=device, dtype=dtype)
            self.score_proj = Linear(hidden, 1, bias=False, device=device, dtype=dtype)

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        if self.score == "dot":
            return query @ _core.matrix_transpose(key)
        if self.score == "general":
            # One step of a decoder has fewer queries than keys; projected are those that are fewer.
            if query.shape[1] < key.shape[1]:
                return (query @ self.key_proj.weight) @ _core.matrix_transpose(key)
            return query @ _core.matrix_transpose(self.key_proj(key))
        of_query, of_key = _core.split(self.concat_proj.weight, [self.query_dim, self.key_dim], 1)
        mixed = _core.expand_dims(F.linear(query, of_query), axis=2) + _core.expand_dims(F.linear(key, of_key), axis=1)
        return _core.squeeze(self.score_proj(_core.tanh(mixed)), -1)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"query_dim={self.query_dim}, key_dim={self.key_dim}, score={self.score!r}"
