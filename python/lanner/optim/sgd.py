"""SGD, and Lion, whose state is a momentum too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.optim.optimizer import Optimizer, ParamGroup, torch_options


class SGD(Optimizer):
    """Stochastic gradient descent: ``b = momentum * b + (1 - dampening) * g; p -= lr * b``.

    The first step has ``b = g``; with ``nesterov`` the step is ``lr * (g + momentum * b)``. ``weight_decay * p`` is
    added to the gradient; ``maximize`` climbs.

    >>> w = ln.tensor([1.0], requires_grad=True)
    >>> optimizer = ln.optim.SGD([w], lr=0.1, momentum=0.9)
    >>> (w * w).sum().backward(); optimizer.step()
    >>> round(w.item(), 4)
    0.8
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **torch: Any,
    ) -> None:
        defaults = dict(
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )
        options = torch_options("SGD", torch)
        del options["capturable"]
        super().__init__(params, {**defaults, **options})

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, momentum=0, weight_decay=0)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs momentum above 0 and no dampening")

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        buffers: list[Tensor] = []
        first = [False] * len(params)
        if group["momentum"] != 0:
            for i, p in enumerate(params):  # PyTorch counts no steps here: the first is the one that finds no buffer
                state = self.state[p]
                if state.get("momentum_buffer") is None:
                    first[i] = True
                    state["momentum_buffer"] = _core.zeros(p.shape, dtype=p.dtype)
                buffers.append(state["momentum_buffer"])
        _core._sgd(
            params,
            grads,
            buffers,
            first,
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
        )


class Lion(Optimizer):
    """Lion: steps of equal size, ``p -= lr * sign(beta1 * m + (1 - beta1) * g)``.

    Then ``m = beta2 * m + (1 - beta2) * g``. Weight decay is decoupled: p first shrinks by
    ``lr * weight_decay``. Chen et al., Symbolic discovery of optimization algorithms, 2023.

    >>> w = ln.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = ln.optim.Lion([w], lr=0.25)
    >>> (w * w).sum().backward(); optimizer.step(); w.tolist()
    [0.75, -0.75]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize))

    def _check(self, group: ParamGroup) -> None:
        self._at_least(group, lr=0, weight_decay=0)
        self._check_betas(group)

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        (exp_avgs,) = self._states(params, "exp_avg", steps=False)
        _core._lion(params, grads, exp_avgs, group["lr"], beta1, beta2, group["weight_decay"], group["maximize"])
