"""Losses as modules: each calls the function of the same name in `lanner.nn.functional`.

``reduction`` is ``"mean"``, ``"sum"`` or ``"none"`` (one number for each element or sample).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn import functional as F
from lanner.nn.module import Module


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        F.check_choice(type(self).__name__, "reduction", reduction, ("mean", "sum", "none"))
        self.reduction = reduction


class _PairLoss(_Loss):
    """A loss of input and target that has no other option."""

    _function: ClassVar[Callable[..., Tensor]]

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``input`` against ``target``."""
        return self._function(input, target, reduction=self.reduction)


class MSELoss(_PairLoss):
    """``(input - target)^2``.

    >>> ln.nn.MSELoss()(ln.tensor([1.0, 3.0]), ln.tensor([1.0, 1.0])).item()
    2.0
    """

    _function = staticmethod(_core.mse_loss)


class L1Loss(_PairLoss):
    """``|input - target|``.

    >>> ln.nn.L1Loss()(ln.tensor([1.0, 3.0]), ln.tensor([1.0, 1.0])).item()
    1.0
    """

    _function = staticmethod(_core.l1_loss)


class HingeLoss(_PairLoss):
    """``max(0, 1 - input * target)`` for targets of -1 and 1.

    >>> ln.nn.HingeLoss()(ln.tensor([0.5, -2.0]), ln.tensor([1.0, -1.0])).item()
    0.25
    """

    _function = staticmethod(_core.hinge_loss)


class SmoothL1Loss(_Loss):
    """``d^2 / (2 beta)`` where ``d = |input - target|`` is below ``beta``, else ``d - beta / 2``.

    >>> ln.nn.SmoothL1Loss()(ln.tensor([3.0]), ln.tensor([0.0])).item()
    2.5
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``input`` against ``target``."""
        return _core.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """``d^2 / 2`` where ``d = |input - target|`` is at most ``delta``, else ``delta * (d - delta / 2)``.

    >>> ln.nn.HuberLoss(delta=2.0)(ln.tensor([3.0]), ln.tensor([0.0])).item()
    4.0
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``input`` against ``target``."""
        return _core.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class _WeightedLoss(_Loss):
    weight: Tensor | None

    def __init__(self, weight: Tensor | None, reduction: str) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


class CrossEntropyLoss(_WeightedLoss):
    """``-log softmax(input)[target]``: logits input [N, C, ...], target [N, ...] classes or [N, C, ...] probabilities.

    ``weight`` [C] counts classes more or less, targets equal to ``ignore_index`` do not count, ``label_smoothing``
    moves that share of each target to all classes alike.

    >>> ln.nn.CrossEntropyLoss()(ln.zeros((1, 2)), ln.tensor([0])).item() == ln.log(ln.tensor(2.0)).item()
    True
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the logits ``input`` against ``target``."""
        return _core.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """``-input[target]``: input [N, C, ...] are log-probabilities, target [N, ...] classes.

    >>> ln.nn.NLLLoss()(ln.tensor([[-0.5, -1.0]]), ln.tensor([1])).item()
    1.0
    """

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the log-probabilities ``input`` against ``target``."""
        return _core.nll_loss(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class BCELoss(_WeightedLoss):
    """``-(target * log(input) + (1 - target) * log(1 - input))`` for probabilities; logarithms end at -100.

    >>> ln.nn.BCELoss()(ln.tensor([1.0]), ln.tensor([1.0])).item()
    0.0
    """

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the probabilities ``input`` against ``target``."""
        return _core.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """`BCELoss` of ``sigmoid(input)``, without overflow; ``pos_weight`` counts the targets' share of 1 more or less.

    >>> ln.nn.BCEWithLogitsLoss()(ln.tensor([-1000.0]), ln.tensor([1.0])).item()
    1000.0
    """

    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the logits ``input`` against ``target``."""
        return _core.binary_cross_entropy_with_logits(
            input, target, weight=self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(_Loss):
    """``target * (log target - input)`` for log-probabilities ``input``; of ``target`` too if ``log_target``.

    ``reduction="batchmean"`` divides the sum by the batch size, which is the divergence itself.

    >>> ln.nn.KLDivLoss(reduction="batchmean")(ln.tensor([[0.0]]), ln.tensor([[1.0]])).item()
    0.0
    """

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        F.check_choice("KLDivLoss", "reduction", reduction, ("mean", "sum", "none", "batchmean"))
        self.reduction = reduction
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the divergence of ``target`` from ``input``."""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class MultiMarginLoss(_WeightedLoss):
    """``sum_j max(0, margin - input[target] + input[j])^p / C`` over the classes j that are not the target.

    >>> ln.nn.MultiMarginLoss()(ln.tensor([[0.0, 2.0]]), ln.tensor([1])).item()
    0.0
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *, reduction: str = "mean"
    ) -> None:
        if p not in (1, 2):
            raise ValueError(f"MultiMarginLoss: p must be 1 or 2, got {p}")
        super().__init__(weight, reduction)
        self.p = p
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the scores ``input`` [N, C] against the classes ``target`` [N]."""
        return _core.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class CosineEmbeddingLoss(_Loss):
    """``1 - cos(x1, x2)`` where the target is 1, ``max(0, cos(x1, x2) - margin)`` where it is -1.

    >>> x = ln.tensor([[3.0, 4.0]])
    >>> ln.nn.CosineEmbeddingLoss()(x, -x, ln.tensor([-1])).item()
    0.0
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the rows of ``input1`` and ``input2`` [N, D] for ``target`` [N]."""
        return _core.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class CTCLoss(_Loss):
    """-log of the probability that frames say a target, wherever its labels are (Graves et al. 2006).

    A path names a label or the blank at each frame; it says what is left when repeats are joined and blanks taken out.
    log_probs [T, N, C], of a `log_softmax`; targets [N, S], padded, or those of all samples one after the other; for
    one sample log_probs [T, C], targets [S]. Lengths [N] are tensors or tuples of ints. The mean is over each sample's
    loss divided by its target's length. A target that its frames cannot say, since a blank must stand between
    equal labels, has an infinite loss; with ``zero_infinity`` a loss of 0 and no gradient. Raises ShapeError where a
    length does not fit, a label is no class or the blank, or a target is longer than its input, unless
    ``zero_infinity`` is given.

    >>> frames = ln.nn.functional.log_softmax(ln.random.normal((50, 2, 20)), -1)
    >>> targets = ln.random.randint(1, 20, (2, 10))
    >>> ln.nn.CTCLoss()(frames, targets, (50, 40), (10, 7)).shape
    ()
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor | Sequence[int],
        target_lengths: Tensor | Sequence[int],
    ) -> Tensor:
        """Return the loss of ``log_probs`` against ``targets``."""
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )


class TripletMarginLoss(_Loss):
    """``max(0, |anchor - positive| - |anchor - negative| + margin)``, with the norm of order ``p``.

    ``swap`` takes the distance of positive and negative where it is the smaller one.

    >>> x = ln.tensor([[0.0, 0.0]])
    >>> ln.nn.TripletMarginLoss()(x, x, x).item()
    1.0
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: margin must be positive, got {margin}")
        super().__init__(reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the loss of the rows of three tensors [N, D]."""
        return _core.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )
