"""Tables of vectors, looked up by index."""

from __future__ import annotations

from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.nn import functional as F, init
from lanner.nn.module import Module
from lanner.nn.parameter import Parameter, overwrite


class _Table(Module):
    weight: Parameter
    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None

    def _set_up(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        given: Tensor | None,
        device: str | None,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise _core.ShapeError(f"{name}: padding_idx {padding_idx} lies outside {num_embeddings} embeddings")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        shape = (num_embeddings, embedding_dim)
        if given is not None and tuple(given.shape) != shape:
            raise _core.ShapeError(f"{name}: _weight has shape {given.shape}, expected {shape}")
        if given is None:
            self.weight = Parameter(_core.empty(shape, dtype=dtype or _core.float32, device=device))
            self.reset_parameters()
        else:
            self.weight = Parameter(given)
            self._arguments[1].pop("_weight", None)  # what it holds is in the state dict

    def reset_parameters(self) -> None:
        """Draw the table anew: Gaussian numbers of standard deviation 1; zeros at ``padding_idx``."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            overwrite(self.weight.detach()[self.padding_idx], _core.zeros((), dtype=self.weight.dtype))


class Embedding(_Table):
    """Row ``i`` of the table for each index ``i``: weight [num_embeddings, embedding_dim].

    The row at ``padding_idx`` is zeros at first and gets no gradient. ``max_norm`` shortens, before they are used,
    rows whose ``norm_type`` norm is larger; ``scale_grad_by_freq`` divides a row's gradient by how often it was used.
    Gradients are dense; ``sparse`` is taken for PyTorch's sake.

    >>> ln.nn.Embedding(10, 4)(ln.tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        self._set_up(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)
        self.weight.requires_grad_(not _freeze)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """Make a layer whose table is ``embeddings``, not trained unless ``freeze=False``.

        >>> ln.nn.Embedding.from_pretrained(ln.tensor([[1.0, 2.0], [3.0, 4.0]]))(ln.tensor([1])).tolist()
        [[3.0, 4.0]]
        """
        if embeddings.ndim != 2:
            raise _core.ShapeError(f"from_pretrained: expected 2 dimensions, embeddings has shape {embeddings.shape}")
        rows, columns = embeddings.shape
        layer = cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        """Look up integer ``input`` of any shape: the result has one axis more."""
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        """Return the size of the table, and what differs from the defaults."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text + (", sparse=True" if self.sparse else "")


class EmbeddingBag(_Table):
    """Sum, mean or maximum of the rows of each bag of indices.

    Bags are the rows of ``input`` [B, N], or pieces of ``input`` [N] that begin at ``offsets`` [B]; with
    ``include_last_offset``, there is one offset more, the end of the last bag. An empty bag gives zeros.
    ``per_sample_weights``, of the shape of ``input``, scale the rows where ``mode`` is "sum". Indices ``padding_idx``
    are left out, and that row gets no gradient; ``max_norm``, ``norm_type``, ``scale_grad_by_freq`` (but with "max")
    and ``sparse`` are as for ``Embedding``.

    >>> bag = ln.nn.EmbeddingBag(10, 4, mode="sum")
    >>> bag(ln.tensor([1, 2, 4, 5]), ln.tensor([0, 3])).shape
    (2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        F.check_choice("EmbeddingBag", "mode", mode, ("sum", "mean", "max"))
        if scale_grad_by_freq and mode == "max":
            raise ValueError('EmbeddingBag: scale_grad_by_freq goes with the modes "sum" and "mean"')
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        self._set_up(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """Make a layer whose table is ``embeddings``, not trained unless ``freeze=False``.

        >>> bag = ln.nn.EmbeddingBag.from_pretrained(ln.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> bag(ln.tensor([[0, 1]])).tolist()
        [[2.0, 3.0]]
        """
        if embeddings.ndim != 2:
            raise _core.ShapeError(f"from_pretrained: expected 2 dimensions, embeddings has shape {embeddings.shape}")
        rows, columns = embeddings.shape
        layer = cls(
            rows,
            columns,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            include_last_offset=include_last_offset,
            padding_idx=padding_idx,
        )
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Reduce each bag to one row."""
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        """Return the size of the table, and what differs from the defaults."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        text += f", mode={self.mode!r}"
        return text + (f", padding_idx={self.padding_idx}" if self.padding_idx is not None else "")
