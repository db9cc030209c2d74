"""The loader of mini-batches."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, Full, Queue
from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.data.dataset import Subset, TensorDataset, as_tensor


class DataLoader:
    """Mini-batches of a data set; every pass over the loader is one epoch.

    ``dataset`` is an array or Tensor (a batch is then one Tensor), a tuple of them or a ``TensorDataset`` (a batch is a
    tuple), or any object with ``__getitem__`` and ``__len__``. Arrays are shuffled and gathered by a C++ thread that
    keeps ``prefetch`` batches ready while the step runs; samples of other data sets are fetched by a Python thread and
    joined by ``collate_fn``. With ``prefetch=0`` each batch is made when it is asked for: where such a data set draws
    random numbers of lanner's, only so do they come in the same order among those of the step. A ``batch_sampler``
    gives, in each epoch, the indices of one batch after the other, in place of ``batch_size``, ``shuffle``,
    ``drop_last`` and ``seed``.

    Each epoch of a shuffled loader has another order. The same ``seed`` gives the same orders; without one, it is drawn
    from the generator that ``ln.manual_seed`` sets. To go on from a checkpoint, set ``loader.epoch`` to the number of
    epochs that have passed.

    >>> loader = ln.data.DataLoader(ln.arange(5), batch_size=2)
    >>> len(loader), [batch.tolist() for batch in loader]
    (3, [[0, 1], [2, 3], [4]])
    >>> loader = ln.data.DataLoader(ln.arange(100), batch_size=100, shuffle=True, seed=1)
    >>> first, second = next(iter(loader)), next(iter(loader))
    >>> first.tolist() != second.tolist(), sorted(first.tolist()) == sorted(second.tolist())
    (True, True)
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        prefetch: int = 2,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        batch_sampler: Any = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 0)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
                raise ValueError(f"DataLoader: {name} must be a whole number of at least {least}, got {value!r}")
        self.dataset = dataset
        self.batch_size, self.prefetch = int(batch_size), int(prefetch)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.seed = (_core._draw_seed() if seed is None else int(seed)) & (2**64 - 1)
        self.epoch = 0
        self.collate_fn = collate_fn
        self.batch_sampler = batch_sampler
        self._single = False
        self._native: Any = None
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or drop_last or seed is not None:
                raise ValueError("DataLoader: batch_sampler decides on batch_size, shuffle, drop_last and seed")
            if not hasattr(batch_sampler, "__iter__") or isinstance(batch_sampler, Iterator):
                raise TypeError(
                    "DataLoader: batch_sampler must give lists of indices again in each epoch, got "
                    f"{type(batch_sampler).__name__}"
                )
        arrays, indices = self._arrays() if collate_fn is None else (None, None)
        self._gathered = (arrays, indices)
        if arrays is not None and batch_sampler is None:
            self._native = _core._BatchLoader(
                arrays, self.batch_size, self.shuffle, self.drop_last, self.seed, self.prefetch, indices
            )
        elif arrays is None and not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise TypeError(
                "DataLoader: dataset must be an array, a tuple of arrays, or have __getitem__ and __len__; got "
                f"{type(dataset).__name__}"
            )

    def _arrays(self) -> tuple[list[Tensor] | None, Tensor | None]:
        """The arrays that batches are gathered from, and which of their samples; None where Python code gives them."""
        dataset, indices = self.dataset, None
        while type(dataset) is Subset:
            chosen = dataset.indices
            indices = chosen if indices is None else [chosen[i] for i in indices]
            dataset = dataset.dataset
        index = None if indices is None else _core.tensor(indices, dtype=_core.int64)
        if type(dataset) is TensorDataset:
            return list(dataset.tensors), index
        if isinstance(dataset, Tensor) or hasattr(dataset, "__array__"):
            self._single = True
            return [as_tensor(dataset, "DataLoader: dataset")], index
        if (
            isinstance(dataset, tuple)
            and dataset
            and all(isinstance(a, Tensor) or hasattr(a, "__array__") for a in dataset)
        ):
            return [as_tensor(array, f"DataLoader: array {i}") for i, array in enumerate(dataset)], index
        return None, None

    @property
    def samples(self) -> int:
        """How many samples the data set has."""
        return int(self._native.samples) if self._native is not None else len(self.dataset)

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        if self.drop_last:
            return self.samples // self.batch_size
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        if self._native is not None:
            batches = self._native.epoch(epoch)
            return (batch[0] for batch in batches) if self._single else batches
        batches = self._fetch(self._chosen(epoch))
        return batches if self.prefetch == 0 else _Prefetch(batches, self.prefetch)

    def _chosen(self, epoch: int) -> Iterator[Sequence[int]]:
        """The indices of each batch."""
        if self.batch_sampler is not None:
            if isinstance(getattr(self.batch_sampler, "epoch", None), int):
                self.batch_sampler.epoch = epoch
            return iter(self.batch_sampler)
        order = _core._sample_order(len(self.dataset), self.shuffle, self.seed, epoch).tolist()
        size = self.batch_size
        return (order[batch * size : (batch + 1) * size] for batch in range(len(self)))

    def _fetch(self, chosen: Iterator[Sequence[int]]) -> Iterator[Any]:
        """The batches of a data set written in Python."""
        arrays, subset = self._gathered
        collate = self.collate_fn or default_collate
        for indices in chosen:
            if arrays is None:
                yield collate([self.dataset[i] for i in indices])
                continue
            index = _core.tensor(list(indices), dtype=_core.int64)
            index = index if subset is None else _core.take(subset, index, axis=0)
            batch = tuple(_core.take(array, index, axis=0) for array in arrays)
            yield batch[0] if self._single else batch


class _Prefetch:
    """Runs an iterator on a thread of its own, some items ahead; what it raises is raised here."""

    def __init__(self, source: Iterator[Any], ahead: int) -> None:
        self._queue: Queue[tuple[bool, Any]] = Queue(ahead)
        self._stop = threading.Event()
        self._process = os.getpid()
        self._over = False
        thread = threading.Thread(
            target=_run, args=(source, self._queue, self._stop), name="lanner DataLoader", daemon=True
        )
        self._thread = thread
        thread.start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        if self._process != os.getpid():
            raise RuntimeError("DataLoader: this epoch was begun before the process was forked; begin a new one")
        while True:
            try:
                ok, item = self._queue.get(timeout=1)
                break
            except Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    self._over = True
                    raise RuntimeError("DataLoader: the thread that fetches samples has ended") from None
        if ok:
            return item
        self._over = True
        if item is None:
            raise StopIteration
        raise item

    def __del__(self) -> None:
        self._stop.set()


def _run(source: Iterator[Any], queue: Queue[tuple[bool, Any]], stop: threading.Event) -> None:
    """The thread of a _Prefetch. It knows the queue alone, so that dropping the iterator ends it."""

    def put(ok: bool, item: Any) -> bool:
        while not stop.is_set():
            try:
                queue.put((ok, item), timeout=0.1)
                return True
            except Full:
                continue
        return False

    try:
        for item in source:
            if not put(True, item):
                return
        put(False, None)
    except BaseException as error:
        put(False, error)


def default_collate(samples: list[Any]) -> Any:
    """Samples to a batch: arrays are stacked, numbers become a Tensor; tuples, lists and dicts part by part.

    Floats become float32, integers int64; strings stay a list.

    >>> x, y = ln.data.default_collate([(ln.ones(3), 1), (ln.zeros(3), 0)])
    >>> x.shape, y.tolist()
    ((2, 3), [1, 0])
    """
    first = samples[0]
    if isinstance(first, Tensor):
        return _core.stack(samples, axis=0)
    if isinstance(first, (str, bytes)):
        return list(samples)
    if isinstance(first, bool):
        return _core.tensor(samples, dtype=_core.bool)
    if isinstance(first, int):
        return _core.tensor(samples, dtype=_core.int64)
    if isinstance(first, float):
        return _core.tensor(samples, dtype=_core.float32)
    if hasattr(first, "__array__"):
        return _core.stack([_core.asarray(sample) for sample in samples], axis=0)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in samples):
            raise ValueError(f"DataLoader: samples of {sorted({len(s) for s in samples})} parts do not make one batch")
        parts = [default_collate(list(part)) for part in zip(*samples, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*parts)
        return tuple(parts) if isinstance(first, tuple) else parts
    raise TypeError(f"DataLoader: no rule to join samples of {type(first).__name__}; give a collate_fn")
