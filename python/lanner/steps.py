"""What ``Model`` computes of one batch, as compiled steps: to train, to judge, to predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from lanner import _core
from lanner._core import Tensor
from lanner.compiled import Compiled
from lanner.nn.module import Module
from lanner.nn.parameter import overwrite
from lanner.plan import Plan

if TYPE_CHECKING:
    from lanner.model import Model

# Their targets have the shape and the dtype of the output; [N] of an output [N, 1] is taken for [N, 1].
_ELEMENTWISE = {
    *("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss", "KLDivLoss", "HingeLoss"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy"),
    *("binary_cross_entropy_with_logits", "kl_div", "hinge_loss"),
}
_train = Module.train


class Judged(NamedTuple):
    """What a step tells of its batch. ``measured``: what each metric computed, or None where it is given ``output`` and
    ``target`` instead, which else are None."""

    loss: Tensor | None
    measured: tuple[tuple[Tensor, ...] | None, ...]
    output: Any
    target: Tensor | None


class Steps:
    """The compiled steps of a net, a loss, an optimizer and metrics."""

    def __init__(self, model: Model) -> None:
        self.net, self.loss, self.loss_name = model.net, model.loss, model._loss_name
        self.optimizer, self.metrics = model.optimizer, list(model.metrics)
        self.precision = model.precision
        self._compiled: dict[str, Compiled] = {}
        self._seen = _core.zeros(())  # the loss of a guarded step, before it may end

    def fits(self, model: Model) -> bool:
        """Whether the model still consists of these parts."""
        return (
            self.net is model.net
            and self.loss is model.loss
            and self.optimizer is model.optimizer
            and self.precision == model.precision
            and self.metrics == model.metrics
        )

    def train(self, inputs: tuple[Tensor, ...], target: Tensor | None, guarded: bool) -> Judged | float:
        """One update. Where `guarded`, a loss that is NaN or infinite is returned, and the batch leaves no trace in
        weights and buffers."""
        if not guarded:
            return self._get("fit", self._train)(inputs, target)  # type: ignore[no-any-return]
        before = [
            (buffer, buffer.clone()) for buffer in self.net.buffers()
        ]  # batch norm writes before the loss is known
        try:
            return self._get("fit, guarded", self._train_guarded, _halts=True)(inputs, target)  # type: ignore[no-any-return]
        except _core.Halted:
            for buffer, value in before:
                overwrite(buffer, value)
            return float(self._seen.item())

    def judge(self, inputs: tuple[Tensor, ...], target: Tensor | None) -> Judged:
        """Loss and metrics alone."""
        return self._get("evaluate", self._judge)(inputs, target)  # type: ignore[no-any-return]

    def predict(self, *inputs: Tensor) -> Any:
        """The net's output in evaluation mode, whatever mode its modules are in; float16 and bfloat16 as float32."""
        return self._get("predict", self._predict, _sets_modes=True)(*inputs)

    def plans(self) -> dict[str, Plan]:
        """The plans used last, by the method of `Model` that used them."""
        used = {name.partition(",")[0]: compiled.plan for name, compiled in self._compiled.items()}
        return {name: plan for name, plan in used.items() if plan is not None}

    def _get(self, name: str, function: Callable[..., Any], **options: bool) -> Compiled:
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled.setdefault(name, Compiled(function, self.precision, **options))
        return compiled

    def _train(self, inputs: tuple[Tensor, ...], target: Tensor | None, guarded: bool = False) -> Judged:
        self._forget_gradients()
        output = self.net(*inputs)
        target = self.aligned(output, target)
        loss = self.loss_of(output, target)
        if guarded:
            overwrite(self._seen, _core.reshape(loss.detach(), ()))
            _core.halt_unless_finite(loss)
        judged = self._judged(loss, output, target)
        loss.backward()
        self.optimizer.step()
        self._forget_gradients()  # so that they need no memory that outlives the step
        return judged

    def _train_guarded(self, inputs: tuple[Tensor, ...], target: Tensor | None) -> Judged:
        return self._train(inputs, target, guarded=True)

    def _forget_gradients(self) -> None:
        self.optimizer.zero_grad()
        self.net.zero_grad()

    def _judge(self, inputs: tuple[Tensor, ...], target: Tensor | None) -> Judged:
        output = self.net(*inputs)
        target = self.aligned(output, target)
        return self._judged(None if self.loss is None else self.loss_of(output, target), output, target)

    def _judged(self, loss: Tensor | None, output: Any, target: Tensor | None) -> Judged:
        if target is None:
            return Judged(loss, (), None, None)
        before = _core.set_grad_enabled(False)
        try:
            measured = tuple(
                metric.measure(output, target) if metric.can_measure(output, target) else None
                for metric in self.metrics
            )
        finally:
            _core.set_grad_enabled(before)
        whole = any(part is None for part in measured)
        return Judged(loss, measured, output if whole else None, target if whole else None)

    def loss_of(self, output: Any, target: Tensor | None) -> Tensor:
        """The loss, one number."""
        loss = self.loss(output) if target is None else self.loss(output, target)
        if not isinstance(loss, Tensor) or loss.size != 1:
            came = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise _core.ShapeError(f"the loss {self.loss_name} must give one number for a batch, got {came}")
        return loss

    def aligned(self, output: Any, target: Tensor | None) -> Tensor | None:
        """Targets as an elementwise loss takes them: [N] for an output [N, 1] would broadcast to [N, N]."""
        if target is None or self.loss_name not in _ELEMENTWISE or not isinstance(output, Tensor):
            return target
        if target.shape != output.shape:
            if (*target.shape, 1) != tuple(output.shape) and tuple(target.shape) != (*output.shape, 1):
                raise _core.ShapeError(
                    f"{self.loss_name}: targets {list(target.shape)} do not have the shape of the net's output "
                    f"{list(output.shape)}"
                )
            target = _core.reshape(target, output.shape)
        return target if target.dtype.is_floating_point else target.to(output.dtype)

    def _predict(self, *inputs: Tensor) -> Any:
        modules = list(self.net.modules())
        training = [module for module in modules if module.training]
        try:
            if all(type(module).train is _train for module in training):
                for module in training:
                    module.__dict__["training"] = False
            else:
                self.net.eval()
            # Without parameters, a net may be made of views that give its caller's own memory back.
            return _results(self.net(*inputs), copy=not any(module._parameters for module in modules))
        finally:
            for module in training:
                module.__dict__["training"] = True


def _results(output: Any, copy: bool) -> Any:
    if isinstance(output, Tensor):
        half = output.dtype in (_core.float16, _core.bfloat16)
        output = output.detach()
        return output.to(_core.float32) if half else output.clone() if copy else output
    if isinstance(output, (tuple, list)):
        return tuple(_results(part, copy) for part in output)
    raise TypeError(f"predict: the net must give a Tensor or a tuple of them, got {type(output).__name__}")
