"""Adagrad, RMSprop and Adadelta: a step size for each weight, from the squares of its gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.optim.optimizer import Optimizer, ParamGroup, torch_options


class Adagrad(Optimizer):
    """Adagrad: ``s += g * g; p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(s) + eps)``.

    ``s`` begins at ``initial_accumulator_value``.

    >>> w = ln.tensor([3.0], requires_grad=True)
    >>> optimizer = ln.optim.Adagrad([w], lr=0.5)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 4)
    2.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        **torch: Any,
    ) -> None:
        defaults = dict(
            lr=lr,
            lr_decay=lr_decay,
            eps=eps,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            maximize=maximize,
        )
        options = torch_options("Adagrad", {"foreach": foreach, **torch})
        del options["capturable"]
        super().__init__(params, {**defaults, **options})

    def add_param_group(self, param_group: ParamGroup) -> None:
        """As Optimizer's; the sums of squares begin here, not with the first gradient."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            total = _core.full(p.shape, group["initial_accumulator_value"], dtype=p.dtype)
            self.state[p] = {"step": _core.zeros(()), "sum": total}

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=0)

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        sums, steps = self._states(params, "sum")
        _core._adagrad(
            params,
            grads,
            sums,
            steps,
            group["lr"],
            group["lr_decay"],
            group["weight_decay"],
            group["eps"],
            group["maximize"],
        )


class RMSprop(Optimizer):
    """RMSprop: ``s = alpha * s + (1 - alpha) * g * g; p -= lr * g / (sqrt(s) + eps)``.

    ``centered`` takes the variance in place of s; with ``momentum`` the quotient goes through a momentum buffer.

    >>> w = ln.tensor([1.0], requires_grad=True)
    >>> optimizer = ln.optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 4)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = dict(
            lr=lr,
            momentum=momentum,
            alpha=alpha,
            eps=eps,
            centered=centered,
            weight_decay=weight_decay,
            maximize=maximize,
        )
        options = torch_options("RMSprop", dict(capturable=capturable, foreach=foreach, differentiable=differentiable))
        del options["fused"]
        super().__init__(params, {**defaults, **options})

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, eps=0, momentum=0, weight_decay=0, alpha=0)

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        square_avgs, steps = self._states(params, "square_avg")
        grad_avgs = self._states(params, "grad_avg", steps=False)[0] if group["centered"] else []
        buffers = self._states(params, "momentum_buffer", steps=False)[0] if group["momentum"] > 0 else []
        _core._rmsprop(
            params,
            grads,
            square_avgs,
            grad_avgs,
            buffers,
            steps,
            group["lr"],
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
            group["centered"],
            group["maximize"],
        )


class Adadelta(Optimizer):
    """Adadelta: ``s = rho * s + (1 - rho) * g * g``, the step is ``d = sqrt(u + eps) / sqrt(s + eps) * g``.

    ``u`` is the running mean of ``d * d``, and ``p -= lr * d``.

    >>> w = ln.tensor([1.0], requires_grad=True)
    >>> optimizer = ln.optim.Adadelta([w])
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 4)
    0.9968
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        options = torch_options("Adadelta", dict(capturable=capturable, foreach=foreach, differentiable=differentiable))
        del options["fused"]
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize, **options))

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, eps=0, weight_decay=0)
        if not 0 <= group["rho"] <= 1:
            raise ValueError(f"Adadelta: rho must be from 0 to 1, got {group['rho']!r}")

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        square_avgs, acc_deltas, steps = self._states(params, "square_avg", "acc_delta")
        _core._adadelta(
            params,
            grads,
            square_avgs,
            acc_deltas,
            steps,
            group["lr"],
            group["rho"],
            group["eps"],
            group["weight_decay"],
            group["maximize"],
        )
