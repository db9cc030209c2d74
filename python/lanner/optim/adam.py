"""Adam and its kin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lanner import _core, recording
from lanner._core import Tensor
from lanner.optim.optimizer import Optimizer, ParamGroup, StateDict, torch_options


class Adam(Optimizer):
    """Adam: ``m`` and ``v`` are running means of g and g * g, ``p -= lr * m' / (sqrt(v') + eps)``.

    ``m' = m / (1 - beta1^step)`` and ``v' = v / (1 - beta2^step)``. ``amsgrad`` takes the greatest v so far;
    ``weight_decay * p`` is added to the gradient or, with ``decoupled_weight_decay`` (which is AdamW), p shrinks by
    ``lr * weight_decay`` first.

    >>> w = ln.tensor([1.0], requires_grad=True)
    >>> optimizer = ln.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 4)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **torch: Any,
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )
        super().__init__(params, {**defaults, **torch_options(self._name, torch)})

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, eps=0, weight_decay=0)
        self._check_betas(group)

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        exp_avgs, exp_avg_sqs, steps = self._states(params, "exp_avg", "exp_avg_sq")
        greatest = self._states(params, "max_exp_avg_sq", steps=False)[0] if group["amsgrad"] else []
        _core._adam(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            greatest,
            steps,
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["amsgrad"],
            group["maximize"],
            group["decoupled_weight_decay"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: p shrinks by ``lr * weight_decay`` before each step.

    >>> w = ln.tensor([1.0], requires_grad=True)
    >>> optimizer = ln.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 4)
    0.85
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **torch: Any,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True, **torch
        )

    def load_state_dict(self, state_dict: StateDict) -> None:
        """As Optimizer's; the weight decay stays decoupled, whatever the state dict says.

        >>> w = ln.ones(2, requires_grad=True)
        >>> a = ln.optim.AdamW([w], lr=0.5); a.load_state_dict(ln.optim.Adam([w]).state_dict())
        >>> a.param_groups[0]["decoupled_weight_decay"]
        True
        """
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


class Adamax(Optimizer):
    """Adamax: Adam with the greatest ``|g|``, fading by beta2, in place of the root of v.

    >>> w = ln.tensor([1.0], requires_grad=True)
    >>> optimizer = ln.optim.Adamax([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 4)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        options = torch_options("Adamax", dict(foreach=foreach, differentiable=differentiable, capturable=capturable))
        del options["fused"]
        super().__init__(
            params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize, **options)
        )

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, eps=0, weight_decay=0)
        self._check_betas(group)

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        exp_avgs, exp_infs, steps = self._states(params, "exp_avg", "exp_inf")
        _core._adamax(
            params,
            grads,
            exp_avgs,
            exp_infs,
            steps,
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["maximize"],
        )


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, which grows with the step at a pace set by ``momentum_decay``.

    >>> w = ln.tensor([1.0], requires_grad=True)
    >>> optimizer = ln.optim.NAdam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 3)
    0.894
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )
        options = torch_options("NAdam", dict(foreach=foreach, capturable=capturable, differentiable=differentiable))
        del options["fused"]
        super().__init__(params, {**defaults, **options})

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, eps=0, weight_decay=0, momentum_decay=0)
        self._check_betas(group)

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        exp_avgs, exp_avg_sqs, steps = self._states(params, "exp_avg", "exp_avg_sq")
        products = []
        for p in params:
            state = self.state[p]
            if state.get("mu_product") is None:
                state["mu_product"] = recording.made_once(lambda: _core.ones((), dtype=_core.float64))
            products.append(state["mu_product"])
        _core._nadam(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            products,
            steps,
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["momentum_decay"],
            group["decoupled_weight_decay"],
            group["maximize"],
        )
