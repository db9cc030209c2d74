"""What happens beside training: stopping early, saving, changing the learning rate, logging.

A callback is told of each step of ``Model.fit``, ``evaluate`` and ``predict``; the hooks are Keras's.

>>> class Shout(ln.callbacks.Callback):
...     def on_epoch_end(self, epoch, logs=None):
...         print(f"epoch {epoch}: {logs['loss']:.1f}!")
>>> Shout().on_epoch_end(0, {"loss": 0.25})
epoch 0: 0.2!
"""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from lanner._core import Tensor

if TYPE_CHECKING:
    from lanner.model import Model

Logs = dict[str, float]
Mode = Literal["auto", "min", "max"]
Path = str | os.PathLike[str]

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]


class Callback:
    """The base of all callbacks: override the hooks that matter, the others cost nothing.

    ``self.model`` is the Model and ``self.params`` a dict with "epochs", "steps" (batches an epoch, or None) and
    "verbose". Setting ``self.model.stop_training = True`` ends ``fit`` after the batch.

    >>> class Count(ln.callbacks.Callback):
    ...     batches = 0
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         self.batches += 1
    """

    model: Model
    params: dict[str, Any]

    def set_model(self, model: Model) -> None:
        """Called first, with the Model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called first, with what fit, evaluate or predict was told."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch; not when an exception ended training."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before epoch ``epoch``, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation; what is written into ``logs`` goes into the history."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before batch ``batch`` of an epoch, counted from 0."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch; ``logs`` are the figures of the epoch so far."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation, also that of the validation data."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation; ``logs`` are its figures."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a prediction."""

    def on_nonfinite_loss(self, batch: int, loss: float, inputs: tuple[Tensor, ...], target: Tensor | None) -> None:
        """When a loss is NaN or infinite. Where a callback has this hook, weights and buffers stay those before such a
        batch, and training goes on with the next one unless it is told to stop."""


_HOOKS = [name for name in vars(Callback) if name.startswith("on_")]


class CallbackList:
    """Calls a hook of several callbacks, of those that have it.

    >>> go = ln.callbacks.LambdaCallback(on_train_begin=lambda: print("go"))
    >>> ln.callbacks.CallbackList([go]).on_train_begin()
    go
    """

    def __init__(
        self, callbacks: Iterable[Callback] = (), model: Model | None = None, params: dict[str, Any] | None = None
    ) -> None:
        self.callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected instances of ln.callbacks.Callback, got {callback!r}")
            if model is not None:
                callback.set_model(model)
            callback.set_params(params or {})
        self._hooks = {hook: [getattr(c, hook) for c in self.callbacks if _has(c, hook)] for hook in _HOOKS}

    def has(self, hook: str) -> bool:
        """Whether any of the callbacks does something in this hook."""
        return bool(self._hooks[hook])

    def __getattr__(self, hook: str) -> Callable[..., None]:
        hooks = self.__dict__["_hooks"].get(hook)
        if hooks is None:
            raise AttributeError(hook)

        def call(*args: Any) -> None:
            for function in hooks:
                function(*args)

        self.__dict__[hook] = call
        return call


def _has(callback: Callback, hook: str) -> bool:
    return getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)


class _Monitor(Callback):
    """Watches one figure of each epoch."""

    def __init__(self, monitor: str, mode: Mode, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode must be 'auto', 'min' or 'max', got {mode!r}")
        self.monitor, self.min_delta = monitor, abs(min_delta)
        if mode == "auto":
            grows = ("accuracy", "acc", "auc", "precision", "recall", "f1", "r2")
            mode = "max" if monitor.endswith(grows) else "min"
        self.mode = mode

    def value(self, logs: Mapping[str, float] | None) -> float | None:
        logs = logs or {}
        if self.monitor not in logs:
            warnings.warn(
                f"{type(self).__name__}: this epoch has no {self.monitor!r}, only {', '.join(logs) or 'nothing'}"
                + ("; fit needs validation_data or validation_split" if self.monitor.startswith("val_") else ""),
                stacklevel=2,
            )
            return None
        return float(logs[self.monitor])

    def better(self, value: float, best: float | None) -> bool:
        if best is None:
            return not math.isnan(value)
        return value < best - self.min_delta if self.mode == "min" else value > best + self.min_delta


class EarlyStopping(_Monitor):
    """Stops when a figure has not improved by more than ``min_delta`` for ``patience`` epochs.

    ``baseline`` is to be beaten for patience to start anew; ``start_from_epoch`` epochs are waited for first. With
    ``restore_best_weights`` the weights of the best epoch are put back at the end. Afterwards ``best``, ``best_epoch``
    and ``stopped_epoch`` (None if it went through) tell what happened.

    >>> ln.callbacks.EarlyStopping(patience=3, restore_best_weights=True).mode
    'min'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: Mode = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start counting anew."""
        self.wait = 0
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._best_weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, and stop where patience is at its end."""
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._best_weights = {k: t.detach().clone() for k, t in self.model.net.state_dict().items()}
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
                return
        self.wait += 1
        if self.wait >= max(self.patience, 1):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put the best weights back."""
        if self._best_weights is not None:
            self.model.net.load_state_dict(self._best_weights)
            self._best_weights = None
        if self.stopped_epoch is not None and self.verbose:
            at = "" if self.best is None else f"; {self.monitor} was best, {self.best:.4g}, in epoch {self.best_epoch}"
            print(f"EarlyStopping: stopped after epoch {self.stopped_epoch}{at}")


class ModelCheckpoint(_Monitor):
    """Saves the model after each epoch, or each ``save_freq`` batches.

    ``path`` may have the epoch, counted from 1, and its figures in it: "lenet-{epoch:02d}-{val_loss:.2f}.safetensors".
    With ``save_best_only`` only where ``monitor`` improved; with ``save_weights_only`` without optimizer and layers.

    >>> ln.callbacks.ModelCheckpoint("best.safetensors", monitor="val_accuracy", save_best_only=True).mode
    'max'
    """

    def __init__(
        self,
        path: Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: Mode = "auto",
        save_freq: Literal["epoch"] | int = "epoch",
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"ModelCheckpoint: save_freq must be 'epoch' or a number of batches, got {save_freq!r}")
        self.path, self.verbose, self.save_freq = os.fspath(path), verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.best: float | None = None
        self._epoch = self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Remember the epoch, for names."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save where ``save_freq`` counts batches."""
        if self.save_freq != "epoch":
            self._batches += 1
            if self._batches % self.save_freq == 0:
                self._save(self._epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save where ``save_freq`` is an epoch."""
        if self.save_freq == "epoch":
            self._save(epoch, logs)

    def _save(self, epoch: int, logs: Logs | None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.better(value, self.best):
                return
            self.best = value
        figures = {"epoch": epoch + 1, **(logs or {})}
        try:
            path = self.path.format(**figures)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: the path {self.path!r} cannot be filled in with {', '.join(figures)} ({error!r})"
            ) from None
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"ModelCheckpoint: saved {path}")


class ReduceLROnPlateau(_Monitor):
    """Multiplies the learning rate by ``factor`` when a figure has not improved for ``patience`` epochs.

    After that it waits ``cooldown`` epochs, and never goes below ``min_lr``. The history gets an "lr".

    >>> ln.callbacks.ReduceLROnPlateau(factor=0.5, patience=2).factor
    0.5
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be between 0 and 1, got {factor}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start counting anew."""
        self.best: float | None = None
        self.wait = self._cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, and lower the rate where patience is at its end."""
        groups = _optimizer(self).param_groups
        if logs is not None:
            logs["lr"] = float(groups[0]["lr"])
        value = self.value(logs)
        if value is None:
            return
        if self._cooling > 0:
            self._cooling -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif self._cooling == 0:
            self.wait += 1
            if self.wait >= self.patience and any(group["lr"] > self.min_lr for group in groups):
                for group in groups:
                    group["lr"] = max(group["lr"] * self.factor, self.min_lr)
                self._cooling, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"ReduceLROnPlateau: learning rate {groups[0]['lr']:.3g} from epoch {epoch + 1} on")


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to ``schedule(epoch, lr)``, or steps an ``optim.lr_scheduler`` after it.

    The history gets an "lr".

    >>> halve = ln.callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
    """

    def __init__(self, schedule: Any, verbose: int = 0) -> None:
        if not callable(schedule) and not hasattr(schedule, "step"):
            raise TypeError(f"LearningRateScheduler: expected a function of epoch and lr, got {schedule!r}")
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate that the function gives."""
        groups = _optimizer(self).param_groups
        if not hasattr(self.schedule, "step"):
            for group in groups:
                lr = self.schedule(epoch, float(group["lr"]))
                if isinstance(lr, bool) or not isinstance(lr, (int, float)):
                    raise TypeError(f"LearningRateScheduler: schedule({epoch}, lr) gave {lr!r}, not a number")
                group["lr"] = float(lr)
        if self.verbose:
            print(f"LearningRateScheduler: epoch {epoch} has learning rate {groups[0]['lr']:.3g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the rate; step the schedule."""
        if logs is not None:
            logs["lr"] = float(_optimizer(self).param_groups[0]["lr"])
        if hasattr(self.schedule, "step"):
            self.schedule.step()


class CSVLogger(Callback):
    """Writes the figures of each epoch as a line of a CSV file, which is whole after every epoch.

    With ``append`` the lines follow those of a file that is there, under its columns.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "log.csv")
    >>> log = ln.callbacks.CSVLogger(path)
    >>> log.on_train_begin(); log.on_epoch_end(0, {"loss": 0.5})
    >>> with open(path) as file: file.read().split()
    ['epoch,loss', '0,0.5']
    """

    def __init__(self, filename: Path, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._columns: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file anew, or read its columns."""
        self._columns = []
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="") as file:
                self._columns = next(csv.reader(file, delimiter=self.separator), [])
        else:
            open(self.filename, "w").close()  # a file that cannot be written is found out before training

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a line."""
        row: dict[str, Any] = {"epoch": epoch, **(logs or {})}
        with open(self.filename, "a", newline="") as file:
            begins = not self._columns
            if begins:
                self._columns = list(row)
            writer = csv.DictWriter(
                file, self._columns, restval="NA", extrasaction="ignore", delimiter=self.separator, lineterminator="\n"
            )
            if begins:
                writer.writeheader()
            writer.writerow(row)


class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite, and warns with the name of the first op that made it.

    Weights and buffers stay those before the batch. ``message`` keeps the text, None while all is well.

    >>> ln.callbacks.TerminateOnNaN().message is None
    True
    """

    message: str | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the last training."""
        self.message, self._epoch = None, 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Remember the epoch, for the message."""
        self._epoch = epoch

    def on_nonfinite_loss(self, batch: int, loss: float, inputs: tuple[Tensor, ...], target: Tensor | None) -> None:
        """Find out where it came from, warn, stop."""
        cause = self.model.explain_nonfinite(inputs, target)
        self.message = f"TerminateOnNaN: the loss is {loss} in epoch {self._epoch}, batch {batch}: {cause}"
        self.model.stop_training = True
        warnings.warn(self.message, RuntimeWarning, stacklevel=2)


class LambdaCallback(Callback):
    """Functions as hooks, by the hooks' names.

    >>> rates = []
    >>> callback = ln.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(logs["loss"]))
    >>> callback.on_epoch_end(0, {"loss": 0.5}); rates
    [0.5]
    """

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        for name, function in hooks.items():
            if name not in _HOOKS:
                raise TypeError(f"LambdaCallback: there is no hook {name!r}; there are {', '.join(_HOOKS)}")
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be a function, got {function!r}")
            setattr(self, name, function)


def _optimizer(callback: Callback) -> Any:
    if callback.model.optimizer is None:
        raise ValueError(f"{type(callback).__name__}: the model has no optimizer")
    return callback.model.optimizer
