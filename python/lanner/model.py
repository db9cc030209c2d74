"""``Model``: a net, a loss and an optimizer, trained with ``fit`` and used with ``predict``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lanner import _core, metrics as metrics_module
from lanner._core import Tensor
from lanner.callbacks import Callback, CallbackList, Logs
from lanner.choices import make_loss, make_optimizer
from lanner.compiled import Precision
from lanner.feed import Feed, Inputs, as_inputs, is_loader
from lanner.history import History
from lanner.io import Path, load, save
from lanner.metrics import Metric
from lanner.nn.module import Module
from lanner.progress import Progress, epoch_line
from lanner.steps import Judged, Steps

if TYPE_CHECKING:
    from lanner.plan import Plan
    from lanner.summary import Summary

__all__ = ["Model"]

_QUESTIONS = {"BCELoss", "BCEWithLogitsLoss", "binary_cross_entropy", "binary_cross_entropy_with_logits"}
_LOGITS = {"BCEWithLogitsLoss", "binary_cross_entropy_with_logits", "HingeLoss", "hinge_loss"}


class Model:
    """Joins a module, a loss, an optimizer and metrics.

    ``loss`` is a module or function of output and target, or a name ("cross_entropy", "mse", "bce_with_logits", ...);
    ``optimizer`` one of ``ln.optim`` over the net's parameters, a function that makes one from them, or a name
    ("adam"); ``metrics`` are names ("accuracy"), ``ln.metrics`` objects, or functions of output and target. Without
    loss and optimizer the model only predicts. With ``precision="bf16"`` products and convolutions are computed of
    bfloat16 operands and added up in float32; weights stay float32.

    What is done with a batch is compiled (see `ln.compile`): net and loss run in Python once for each shape of a batch,
    and must not read values. Within ``ln.detect_anomaly()`` they run op by op each time.

    >>> x = ln.random.normal((64, 4)); y = (x.sum(axis=1) > 0).to(ln.int64)
    >>> net = ln.nn.Sequential(ln.nn.Linear(4, 16), ln.nn.ReLU(), ln.nn.Linear(16, 2))
    >>> model = ln.Model(net, loss="cross_entropy", optimizer="adam", metrics=["accuracy"])
    >>> history = model.fit(x, y, batch_size=16, epochs=2, seed=0, verbose=0)
    >>> sorted(history.history), model.predict(x).shape
    (['accuracy', 'loss'], (64, 2))
    """

    def __init__(
        self,
        net: Any,
        loss: Any = None,
        optimizer: Any = None,
        metrics: Iterable[str | Metric | Callable[[Tensor, Tensor], Any]] = (),
        precision: Precision = "float32",
    ) -> None:
        if not isinstance(net, Module):
            raise TypeError(f"Model: net must be a lanner.nn.Module, got {type(net).__name__}")
        self.net = net
        self.loss = make_loss(loss)
        self.optimizer = make_optimizer(optimizer, net)
        self._loss_name = getattr(self.loss, "__name__", type(self.loss).__name__)
        options: dict[str, Any] = {
            "threshold": 0.0 if self._loss_name in _LOGITS else 0.5,
            "task": "binary" if self._loss_name in _QUESTIONS else None,
        }
        given = (metrics,) if isinstance(metrics, (str, Metric)) else metrics
        self.metrics = [metrics_module.get(metric, **options) for metric in given]
        names = ["loss", *(metric.name for metric in self.metrics)]
        if len(set(names)) < len(names):
            raise ValueError(f"Model: two metrics have one name, of {', '.join(names)}")
        if precision not in ("float32", "bf16"):
            raise ValueError(f'Model: precision must be "float32" or "bf16", got {precision!r}')
        self.precision: Precision = precision
        self._compiled: Steps | None = None
        self.history = History()
        self.stop_training = False
        # Shape (without samples) and dtype of each input, once data was seen: what summary() runs on.
        self.input_specs: list[tuple[tuple[int, ...], str]] | None = None

    # ---- training ----

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Sequence[Callback] = (),
        shuffle: bool = True,
        seed: int | None = None,
        verbose: int = 1,
        initial_epoch: int = 0,
    ) -> History:
        """Train for epochs ``initial_epoch`` to ``epochs``, and return the figures of each.

        ``x`` and ``y`` are arrays of one length (a tuple of arrays for a net of several inputs), or ``x`` is a
        ``ln.data.DataLoader``. float64 becomes float32, labels int64; uint8 images stay as they are.
        ``validation_data`` is a pair (x, y) or a loader; ``validation_split`` takes the last share of x and y instead,
        before they are shuffled. Figures of an epoch are means over its samples.

        With a ``seed`` the order of the samples and all that is random in epoch e depend on the seed and e alone: the
        same seed gives the same bits, also where training stopped, was saved, loaded and went on with
        ``initial_epoch``. ``verbose``: 0 is silent, 1 shows a bar and a line an epoch, 2 only the lines.

        Interrupted (Ctrl-C), the weights are those after the last whole step, and ``model.history`` has the epochs
        that were finished.

        >>> model = ln.Model(ln.nn.Linear(3, 1), loss="mse", optimizer="sgd")
        >>> len(model.fit(ln.ones((8, 3)), ln.ones((8, 1)), epochs=3, verbose=0).epoch)
        3
        """
        if self.loss is None or self.optimizer is None:
            missing = " and ".join(name for name in ("loss", "optimizer") if getattr(self, name) is None)
            raise ValueError(f"fit: the model has no {missing}; give them to ln.Model(net, loss=..., optimizer=...)")
        feed = Feed(x, y, batch_size, "fit", shuffle=shuffle, seed=seed)
        feed.require_samples()
        if feed.loader is None and feed.target is None:
            raise ValueError("fit: y is missing; x holds no targets unless it is a DataLoader")
        if validation_data is not None and validation_split:
            raise ValueError("fit: give validation_data or validation_split, not both")
        held_out: Feed | None = None
        if validation_data is not None:
            held_out = _validation_feed(validation_data, batch_size)
        elif validation_split:
            held_out = feed.split(validation_split)

        history = self.history = History()
        params = {"epochs": epochs, "steps": feed.batches, "verbose": verbose}
        hooks = CallbackList(callbacks, self, params)
        self.stop_training = False
        with self._modes(True), _recording(True), _generator(seed) as at_epoch:
            hooks.on_train_begin()
            for epoch in range(initial_epoch, epochs):
                begin = time.perf_counter()
                at_epoch(epoch)
                hooks.on_epoch_begin(epoch)
                with Progress(f"epoch {epoch + 1}/{epochs}", feed.batches, verbose) as bar:
                    figures = self._train_epoch(feed, epoch, hooks, bar)
                if held_out is not None and not (self.stop_training and hooks.has("on_nonfinite_loss")):
                    with Progress(f"validation {epoch + 1}/{epochs}", held_out.batches, verbose) as bar:
                        judged = self._judge(held_out, hooks, bar)
                    figures.update({f"val_{name}": value for name, value in judged.items()})
                if verbose:
                    print(epoch_line(epoch, epochs, time.perf_counter() - begin, figures), flush=True)
                hooks.on_epoch_end(epoch, figures)
                history.append(epoch, figures)
                if self.stop_training:
                    break
            hooks.on_train_end()
        return history

    def _train_epoch(self, feed: Feed, epoch: int, hooks: CallbackList, bar: Progress) -> Logs:
        steps, total = self._steps(), _Total(self)
        self.net.train()
        each_batch = hooks.has("on_train_batch_end")
        guarded = hooks.has("on_nonfinite_loss")
        number = -1
        for number, (inputs, target) in enumerate(feed.epoch(epoch)):
            if number == 0:
                self._see(inputs)
            hooks.on_train_batch_begin(number)
            judged = steps.train(inputs, target, guarded)
            if isinstance(judged, float):
                value = judged
                hooks.on_nonfinite_loss(number, value, inputs, target)
            else:
                value = _value(judged.loss)
            total.add(value, inputs, judged)
            due = bar.due
            figures = total.figures() if each_batch or due else None
            if each_batch:
                hooks.on_train_batch_end(number, figures)
            bar.advance(figures if due else None)
            if self.stop_training:
                break
        if number < 0:
            raise ValueError("fit: the loader gave no batches")
        return total.figures()

    # ---- judging ----

    def evaluate(
        self, x: Any, y: Any = None, batch_size: int = 256, callbacks: Sequence[Callback] = (), verbose: int = 0
    ) -> dict[str, float]:
        """Return the loss and the metrics, means over all samples of ``x`` and ``y`` (or of a loader).

        >>> model = ln.Model(ln.nn.Identity(), loss="mse", metrics=["mae"])
        >>> model.evaluate(ln.ones((4, 2)), ln.zeros((4, 2)))
        {'loss': 1.0, 'mae': 1.0}
        """
        feed = Feed(x, y, batch_size, "evaluate")
        feed.require_samples()
        if feed.loader is None and feed.target is None:
            raise ValueError("evaluate: y is missing; x holds no targets unless it is a DataLoader")
        if self.loss is None and not self.metrics:
            raise ValueError("evaluate: the model has neither loss nor metrics")
        hooks = CallbackList(callbacks, self, {"steps": feed.batches, "verbose": verbose})
        with self._modes(False), Progress("evaluate", feed.batches, verbose) as bar:
            return self._judge(feed, hooks, bar)

    def _judge(self, feed: Feed, hooks: CallbackList, bar: Progress) -> Logs:
        steps, total = self._steps(), _Total(self)
        self.net.eval()
        hooks.on_test_begin()
        each_batch = hooks.has("on_test_batch_end")
        number = -1
        with _recording(False):
            for number, (inputs, target) in enumerate(feed.epoch()):
                if number == 0:
                    self._see(inputs)
                hooks.on_test_batch_begin(number)
                judged = steps.judge(inputs, target)
                total.add(_value(judged.loss), inputs, judged)
                due = bar.due
                figures = total.figures() if each_batch or due else None
                if each_batch:
                    hooks.on_test_batch_end(number, figures)
                bar.advance(figures if due else None)
        if number < 0:
            raise ValueError(f"{feed.caller}: the loader gave no batches")
        figures = total.figures()
        hooks.on_test_end(figures)
        return figures

    def predict(self, x: Any, batch_size: int = 256, callbacks: Sequence[Callback] = (), verbose: int = 0) -> Any:
        """Return the net's outputs for all samples of ``x`` as a NumPy array (a tuple of arrays for several outputs).

        The net runs batch by batch, in evaluation mode. Of a loader's batches the last part is taken for the targets
        and left out, where there is more than one.

        >>> ln.Model(ln.nn.Linear(3, 2)).predict(ln.ones((5, 3))).shape
        (5, 2)
        """
        if not (callbacks or verbose or is_loader(x)):
            inputs = as_inputs(x, "predict")
            if inputs[0].shape[0] <= batch_size and len(inputs) == 1:
                steps = self._steps()
                before = _core.set_grad_enabled(False)
                try:
                    return _to_numpy(steps.predict(inputs[0]))
                finally:
                    _core.set_grad_enabled(before)
            x = inputs
        feed = Feed(x, None, batch_size, "predict")
        hooks = CallbackList(callbacks, self, {"steps": feed.batches, "verbose": verbose})
        parts: list[Any] = []
        steps = self._steps()
        with self._modes(False), _recording(False), Progress("predict", feed.batches, verbose) as bar:
            self.net.eval()
            hooks.on_predict_begin()
            for number, (inputs, _) in enumerate(feed.epoch()):
                hooks.on_predict_batch_begin(number)
                parts.append(_to_numpy(steps.predict(*inputs)))
                hooks.on_predict_batch_end(number)
                bar.advance()
            hooks.on_predict_end()
        if not parts:
            raise _core.ShapeError("predict: there are no samples")
        if isinstance(parts[0], tuple):
            return tuple(_joined([part[i] for part in parts]) for i in range(len(parts[0])))
        return _joined(parts)

    # ---- telling ----

    def summary(self, input_shape: Sequence[int] | None = None, verbose: int = 1) -> Summary:
        """Print the layers with output shapes, parameters and FLOPs of one sample, and return the table.

        ``input_shape`` is without the axis of samples; left out, it is that of the data the model has seen.
        The FLOPs are two for each multiply-add, and one for each element of other layers that compute.

        >>> summary = ln.Model(ln.nn.Linear(3, 2)).summary(input_shape=(3,))
        layer  kind    output  parameters  FLOPs
        ────────────────────────────────────────
        (net)  Linear  [N, 2]           8     14
        ────────────────────────────────────────
        8 parameters, 32 bytes; 14 FLOPs a sample
        >>> summary.parameters
        8
        """
        from lanner.summary import summarize

        specs = self.input_specs
        if input_shape is not None:
            shape = tuple(int(n) for n in input_shape)
            dtype = specs[0][1] if specs is not None and len(specs) == 1 else self._likely_dtype()
            specs = [(shape, dtype)]
        table = summarize(self.net, specs)
        if verbose:
            print(table)
        return table

    @property
    def plans(self) -> dict[str, Plan]:
        """How "fit", "evaluate" and "predict" run, as far as they did: the plans of their last batches.

        >>> model = ln.Model(ln.nn.Linear(3, 2))
        >>> y = model.predict(ln.ones((5, 3)))
        >>> model.plans["predict"].kernels
        ['linear']
        """
        return {} if self._compiled is None else self._compiled.plans()

    def _likely_dtype(self) -> str:
        first = next((m for m in self.net.modules() if not list(m.children())), None)
        return "int64" if type(first).__name__.startswith("Embedding") else "float32"

    def explain_nonfinite(self, inputs: Inputs, target: Tensor | None) -> str:
        """Say where a NaN or an infinity in the loss of these tensors comes from: the weights, the data, or an op.

        >>> net = ln.nn.Linear(2, 1)
        >>> ln.Model(net, loss="mse").explain_nonfinite((ln.full((1, 2), float("nan")),), ln.zeros((1, 1)))
        'the input has NaN or infinity in it'
        """
        from lanner.autodiff import detect_anomaly

        for name, parameter in self.net.named_parameters():
            if not _finite(parameter):
                return (
                    f"the parameter {name} has NaN or infinity in it since an earlier step; a smaller learning rate or "
                    "clipped gradients (ln.nn.utils.clip_grad_norm_) may help"
                )
        if not all(_finite(t) for t in inputs):
            return "the input has NaN or infinity in it"
        if target is not None and not _finite(target):
            return "the target has NaN or infinity in it"
        try:
            with detect_anomaly():
                self._steps().loss_of(self.net(*inputs), target)
        except _core.Error as error:
            return str(error)
        return "no op makes it from these inputs a second time; a random layer did once"

    # ---- files ----

    def save(self, path: Path) -> None:
        """Write the layers, the weights, the loss, the metrics and the optimizer with its state to a safetensors file.

        Layers of your own are kept where their class is registered (``ln.nn.register``). The file appears whole or not
        at all.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> ln.Model(ln.nn.Linear(3, 2)).save(path)
        >>> ln.Model.load(path).net
        Linear(in_features=3, out_features=2, bias=True)
        """
        from lanner.model_file import save_model

        save_model(self, path)

    @staticmethod
    def load(path: Path, net: Any = None) -> Model:
        """Read a model that ``save`` wrote: it predicts the same bits, and training goes on where it stopped.

        ``net`` takes the weights where the file cannot name its layers. A damaged file raises ``FormatError``;
        nothing in it is executed.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> model = ln.Model(ln.nn.Linear(3, 2), loss="mse", optimizer="adam")
        >>> model.save(path)
        >>> bool((ln.Model.load(path).predict(ln.ones((1, 3))) == model.predict(ln.ones((1, 3)))).all())
        True
        """
        from lanner.model_file import load_model

        return load_model(path, net)

    def save_weights(self, path: Path) -> None:
        """Write the net's state dict alone, which other tools for safetensors read.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
        >>> ln.Model(ln.nn.Linear(3, 2)).save_weights(path)
        >>> sorted(ln.load(path))
        ['bias', 'weight']
        """
        save(path, self.net.state_dict())

    def load_weights(self, path: Path) -> None:
        """Read what ``save_weights`` wrote into the net.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
        >>> model = ln.Model(ln.nn.Linear(3, 2))
        >>> model.save_weights(path); model.load_weights(path)
        """
        self.net.load_state_dict(load(path))

    # ---- inside ----

    def _steps(self) -> Steps:
        """What is compiled of the parts that the model has now."""
        if self._compiled is None or not self._compiled.fits(self):
            self._compiled = Steps(self)
        return self._compiled

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": None}  # a copy has plans of its own

    def _see(self, inputs: Inputs) -> None:
        self.input_specs = [(tuple(t.shape[1:]), t.dtype.name) for t in inputs]

    @contextmanager
    def _modes(self, training: bool) -> Iterator[None]:
        """All layers in one mode inside; each in its own again afterwards."""
        changed = [module for module in self.net.modules() if module.training != training]
        try:
            if changed:
                self.net.train(training)
            yield
        finally:
            now = training
            for module in self.net.modules():
                if module.training != now:
                    module.training = now
            for module in changed:
                module.training = not training

    def __repr__(self) -> str:
        parts = [f"loss={self._loss_name}"] if self.loss is not None else []
        if self.optimizer is not None:
            parts.append(f"optimizer={type(self.optimizer).__name__}")
        parts += [f"metrics={[metric.name for metric in self.metrics]}"] if self.metrics else []
        return f"Model({', '.join([repr(self.net), *parts])})"


class _Total:
    """The figures of a pass so far: means over samples."""

    def __init__(self, model: Model) -> None:
        self._has_loss, self._metrics = model.loss is not None, model.metrics
        self._summed = getattr(model.loss, "reduction", "mean") == "sum"
        self._loss, self._samples = 0.0, 0
        for metric in self._metrics:
            metric.reset()

    def add(self, loss: float, inputs: Inputs, judged: Judged | float) -> None:
        samples = inputs[0].shape[0]
        self._loss += loss if self._summed else loss * samples
        self._samples += samples
        if not isinstance(judged, Judged):
            return
        with _recording(False):
            for metric, measured in zip(self._metrics, judged.measured, strict=False):
                if measured is not None:
                    metric.collect(measured)
                elif judged.target is not None:
                    metric.update(judged.output, judged.target)

    def figures(self) -> Logs:
        figures = {"loss": self._loss / self._samples if self._samples else math.nan} if self._has_loss else {}
        figures.update({metric.name: metric.compute() for metric in self._metrics})
        return figures


@contextmanager
def _recording(on: bool) -> Iterator[None]:
    before = _core.set_grad_enabled(on)
    try:
        yield
    finally:
        _core.set_grad_enabled(before)


def _finite(tensor: Tensor) -> bool:
    return not tensor.dtype.is_floating_point or bool(_core.all(_core.isfinite(tensor.detach())).item())


def _value(loss: Tensor | None) -> float:
    return 0.0 if loss is None else float(loss.item())


def _to_numpy(output: Any) -> Any:
    return output.numpy() if isinstance(output, Tensor) else tuple(_to_numpy(part) for part in output)


def _joined(parts: list[Any]) -> Any:
    import numpy as np

    rests = {part.shape[1:] for part in parts}
    if len(rests) > 1:
        raise _core.ShapeError(
            "predict: outputs of the batches do not join, samples have shapes "
            f"{' and '.join(str(list(rest)) for rest in sorted(rests))}; pad all batches to one length, or call the "
            "net batch by batch"
        )
    return np.concatenate(parts)


def _validation_feed(data: Any, batch_size: int) -> Feed:
    if is_loader(data):
        feed = Feed(data, None, batch_size, "fit: validation_data")
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        feed = Feed(data[0], data[1], batch_size, "fit: validation_data")
    else:
        raise TypeError(f"fit: validation_data must be a pair (x, y) or a DataLoader, got {type(data).__name__}")
    feed.require_samples()
    return feed


@contextmanager
def _generator(seed: int | None) -> Iterator[Callable[[int], None]]:
    """With a seed: what is yielded puts the generator of random numbers where that epoch of that seed begins, and
    afterwards it goes on as if nobody had used it."""
    if seed is None:
        yield lambda epoch: None
        return
    before = _core._random_state()
    try:
        # An epoch has room for 2**40 calls; the first room is left to initial weights, which may have the same seed.
        yield lambda epoch: _core._set_random_state(
            _core.tensor([seed & (2**63 - 1), (epoch + 1) << 40], dtype=_core.uint64)
        )
    finally:
        _core._set_random_state(before)
