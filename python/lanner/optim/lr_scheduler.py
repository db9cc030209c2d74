"""Learning-rate schedules, with PyTorch's names, arguments and values.

>>> w = ln.ones(1, requires_grad=True)
>>> optimizer = ln.optim.SGD([w], lr=0.1)
>>> scheduler = ln.optim.lr_scheduler.StepLR(optimizer, step_size=2)
>>> rates = []
>>> for epoch in range(4):
...     rates += scheduler.get_last_lr()
...     optimizer.step(); scheduler.step()
>>> [round(rate, 4) for rate in rates]
[0.1, 0.1, 0.01, 0.01]
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lanner.optim.optimizer import Optimizer, ParamGroup

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "StepLR",
]


class LRScheduler:
    """The base class. ``get_lr`` gives the rates of all groups after ``last_epoch`` steps.

    ``base_lrs`` are the rates at the start (kept in the groups as ``"initial_lr"``). A ``last_epoch`` other than -1
    goes on from there, and asks for groups that have an ``"initial_lr"``.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: to go on from last_epoch={last_epoch}, group {i} of the optimizer needs "
                    '"initial_lr"'
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self.step()

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} must override get_lr")

    def get_last_lr(self) -> list[float]:
        """The rates that were set last, one a group.

        >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=0.1)
        >>> ln.optim.lr_scheduler.ExponentialLR(optimizer, 0.5).get_last_lr()
        [0.1]
        """
        return self._last_lr

    def step(self) -> None:
        """Set the rates of the next step (or epoch): to be called after ``optimizer.step()``.

        >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=0.1)
        >>> scheduler = ln.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        >>> scheduler.step(); optimizer.param_groups[0]["lr"]
        0.05
        """
        self.last_epoch += 1
        self._set(self.get_lr())

    def _set(self, rates: Sequence[float]) -> None:
        for group, lr in zip(self._groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self._groups]

    @property
    def _groups(self) -> list[ParamGroup]:
        return self.optimizer.param_groups

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer and functions, as plain values.

        >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=0.1)
        >>> ln.optim.lr_scheduler.ExponentialLR(optimizer, 0.5).state_dict()["last_epoch"]
        0
        """
        return {key: value for key, value in self.__dict__.items() if key != "optimizer" and not callable(value)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where ``state_dict`` was called.

        >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=0.1)
        >>> scheduler = ln.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        >>> scheduler.load_state_dict({"last_epoch": 3}); scheduler.last_epoch
        3
        """
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """The initial rate times ``lr_lambda(epoch)``; one function, or one for each group.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=0.5)
    >>> scheduler = ln.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (epoch + 1))
    >>> scheduler.step(); scheduler.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: expected one function for each of {groups} groups, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer and the functions, which have to be given again."""
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}


class StepLR(LRScheduler):
    """The rate is multiplied by ``gamma`` every ``step_size`` epochs.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> scheduler.step(); scheduler.step(); scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size must be at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        falls = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [group["lr"] * self.gamma if falls else group["lr"] for group in self._groups]


class MultiStepLR(LRScheduler):
    """The rate is multiplied by ``gamma`` at each of the ``milestones``.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3], gamma=0.5)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += scheduler.get_last_lr(); scheduler.step()
    >>> rates
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [group["lr"] * factor for group in self._groups]


class ExponentialLR(LRScheduler):
    """The rate is multiplied by ``gamma`` every epoch.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    >>> scheduler.step(); scheduler.step(); scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        factor = self.gamma if self.last_epoch > 0 else 1.0
        return [group["lr"] * factor for group in self._groups]


class ConstantLR(LRScheduler):
    """``factor`` times the rate for the first ``total_iters`` epochs.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=1)
    >>> before = scheduler.get_last_lr(); scheduler.step(); before, scheduler.get_last_lr()
    ([0.5], [1.0])
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor must be from 0 to 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        if self.last_epoch == 0:
            return [group["lr"] * self.factor for group in self._groups]
        ends = self.last_epoch == self.total_iters
        return [group["lr"] * (1 / self.factor) if ends else group["lr"] for group in self._groups]


class LinearLR(LRScheduler):
    """A factor on the rate that goes from ``start_factor`` to ``end_factor`` in ``total_iters`` epochs.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> rates = []
    >>> for epoch in range(3):
    ...     rates += scheduler.get_last_lr(); scheduler.step()
    >>> rates
    [0.5, 0.75, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be above 0 and at most 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must be from 0 to 1, got {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        if self.last_epoch == 0:
            return [group["lr"] * self.start_factor for group in self._groups]
        if self.last_epoch > self.total_iters:
            return [group["lr"] for group in self._groups]
        rise = self.end_factor - self.start_factor
        factor = 1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)
        return [group["lr"] * factor for group in self._groups]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from the initial rate down to ``eta_min`` in ``T_max`` epochs, and back up after them.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> rates = []
    >>> for epoch in range(3):
    ...     rates += scheduler.get_last_lr(); scheduler.step()
    >>> [round(rate, 6) for rate in rates]
    [1.0, 0.5, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: float, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``: from the ones before, so that other schedules may join in."""
        t, low = self.last_epoch, self.eta_min
        if t == 0:
            return [group["lr"] for group in self._groups]
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [group["lr"] + (base - low) * rise for base, group in zip(self.base_lrs, self._groups, strict=True)]
        ratio = (1 + math.cos(math.pi * t / self.T_max)) / (1 + math.cos(math.pi * (t - 1) / self.T_max))
        return [ratio * (group["lr"] - low) + low for group in self._groups]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine wave from the initial rate to ``eta_min`` in ``T_0`` epochs, then anew, ``T_mult`` times as long.

    ``step(epoch)`` may be given a fraction of an epoch.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += scheduler.get_last_lr(); scheduler.step()
    >>> [round(rate, 6) for rate in rates]
    [1.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_0 < 1 or T_mult < 1:
            raise ValueError(f"CosineAnnealingWarmRestarts: T_0 and T_mult must be at least 1, got {T_0} and {T_mult}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of all groups at ``T_cur`` of ``T_i``."""
        wave = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * wave for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """One epoch further, or to ``epoch``."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        else:
            if epoch < 0:
                raise ValueError(f"CosineAnnealingWarmRestarts: epoch must not be negative, got {epoch}")
            if epoch < self.T_0:
                self.T_i, self.T_cur = self.T_0, epoch
            elif self.T_mult == 1:
                self.T_i, self.T_cur = self.T_0, epoch % self.T_0
            else:
                n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
                self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
                self.T_i = self.T_0 * self.T_mult**n
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())


class OneCycleLR(LRScheduler):
    """Up from ``max_lr / div_factor`` to ``max_lr``, then down to a ``final_div_factor``-th of the start; by batches.

    The way up takes ``pct_start`` of the ``total_steps`` (or of ``epochs * steps_per_epoch``), along a cosine wave or
    with ``anneal_strategy="linear"`` a line; ``three_phase`` goes down as it came up before the last fall. With
    ``cycle_momentum`` the momentum (SGD) or beta1 (Adam) goes the other way.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=0.1, momentum=0.9)
    >>> scheduler = ln.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> rates = scheduler.get_last_lr()
    >>> for batch in range(9):
    ...     scheduler.step(); rates += scheduler.get_last_lr()
    >>> round(rates[0], 4), max(rates), round(rates[-1], 6)
    (0.04, 1.0, 4e-06)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or both epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1:
            raise ValueError(f"OneCycleLR: there must be at least 1 step, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must be from 0 to 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'OneCycleLR: anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}')
        self.total_steps = total_steps
        self._anneal_func_type = anneal_strategy
        up = float(pct_start * total_steps) - 1
        if three_phase:
            down = float(2 * pct_start * total_steps) - 2
            self._schedule_phases = [
                (up, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                (down, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (total_steps - 1.0, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            self._schedule_phases = [
                (up, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                (total_steps - 1.0, "max_lr", "min_lr", "base_momentum", "max_momentum"),
            ]
        groups = optimizer.param_groups
        if last_epoch == -1:
            for group, top in zip(groups, self._per_group(groups, "max_lr", max_lr), strict=True):
                group["initial_lr"] = top / div_factor
                group["max_lr"] = top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
                raise ValueError(f"OneCycleLR: {type(optimizer).__name__} has no momentum; give cycle_momentum=False")
            self.use_beta1 = "betas" in optimizer.defaults
            if last_epoch == -1:
                low = self._per_group(groups, "base_momentum", base_momentum)
                high = self._per_group(groups, "max_momentum", max_momentum)
                for group, base, top in zip(groups, low, high, strict=True):
                    self._set_momentum(group, top)
                    group["base_momentum"], group["max_momentum"] = base, top
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _per_group(groups: list[ParamGroup], name: str, value: float | Sequence[float]) -> list[float]:
        if isinstance(value, (int, float)):
            return [value] * len(groups)
        if len(value) != len(groups):
            raise ValueError(f"OneCycleLR: expected one {name} for each of {len(groups)} groups, got {len(value)}")
        return list(value)

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def _anneal(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
        return (end - start) * share + start

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``; sets the momenta."""
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t} of {self.total_steps}; the cycle is over")
        rates = []
        for group in self._groups:
            begin = 0.0
            for i, (end, lr_from, lr_to, momentum_from, momentum_to) in enumerate(self._schedule_phases):
                if t <= end or i == len(self._schedule_phases) - 1:
                    share = (t - begin) / (end - begin) if end != begin else 1.0
                    rates.append(self._anneal(group[lr_from], group[lr_to], share))
                    if self.cycle_momentum:
                        self._set_momentum(group, self._anneal(group[momentum_from], group[momentum_to], share))
                    break
                begin = end
        return rates


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by ``factor`` where a figure has not improved for more than ``patience`` epochs.

    ``step(metrics)`` takes the figure, say the validation loss. ``mode`` "min" or "max" is the direction; what counts
    as better is decided by ``threshold``, relative (``threshold_mode="rel"``) or absolute. ``cooldown`` epochs of rest
    follow a reduction; rates stay at ``min_lr`` or above, and changes below ``eps`` are not made.

    >>> optimizer = ln.optim.SGD([ln.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ln.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    >>> for loss in [1.0, 0.5, 0.5, 0.5]:
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f'ReduceLROnPlateau: mode must be "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'ReduceLROnPlateau: threshold_mode must be "rel" or "abs", got {threshold_mode!r}')
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"ReduceLROnPlateau: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        groups = len(optimizer.param_groups)
        self.min_lrs = [min_lr] * groups if isinstance(min_lr, (int, float)) else list(min_lr)
        if len(self.min_lrs) != groups:
            raise ValueError(
                f"ReduceLROnPlateau: expected one min_lr for each of {groups} groups, got {len(self.min_lrs)}"
            )
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """The rates as they are: they depend on what ``step`` is given."""
        return self._last_lr

    def is_better(self, value: float, best: float) -> bool:
        """Whether ``value`` improves on ``best`` by more than the threshold."""
        if self.mode == "min":
            return value < (best * (1 - self.threshold) if self.threshold_mode == "rel" else best - self.threshold)
        return value > (best * (1 + self.threshold) if self.threshold_mode == "rel" else best + self.threshold)

    def step(self, metrics: Any = None) -> None:
        """Take note of ``metrics``, and lower the rates where patience is at its end."""
        if metrics is None:
            raise TypeError("ReduceLROnPlateau: step needs the figure to watch")
        value = float(metrics)
        self.last_epoch += 1
        if self.is_better(value, self.best):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self._groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self._groups]
