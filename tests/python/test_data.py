"""Data sets and loaders."""

import gc
import os
import threading
import time

import lanner as ln
import numpy as np
import pytest
from lanner.data import DataLoader, Dataset, Subset, TensorDataset, random_split

PREFETCH = [0, 1, 3]


class Squares(Dataset):
    """A data set in Python: (i, i * i)."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == 13:
            raise ValueError("unlucky")
        return np.float32(index), index * index


def values(loader):
    """The samples in the order in which they come."""
    return [v for batch in loader for v in (batch[0] if isinstance(batch, (tuple, list)) else batch).tolist()]


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "batch_size"), [(10, 3), (10, 5), (2, 5), (0, 4), (7, 1)])
def test_batches_in_order(n, batch_size, drop_last, prefetch):
    served = n - n % batch_size if drop_last else n
    sizes = [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size and not drop_last else [])
    for dataset in (np.arange(n), TensorDataset(ln.arange(n), ln.ones((n, 2))), Squares(n)):
        loader = DataLoader(dataset, batch_size, drop_last=drop_last, prefetch=prefetch)
        assert len(loader) == len(sizes)
        assert [len(b[0]) if isinstance(b, tuple) else len(b) for b in loader] == sizes
        assert values(loader) == list(range(served))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "int64", "bool"])
def test_dtypes_and_shapes(dtype):
    x = np.random.default_rng(0).integers(0, 2, (11, 3, 2)).astype(dtype)
    y = np.arange(11, dtype=np.int32)
    for xb, yb in DataLoader((x, y), 4, shuffle=True, seed=0):
        assert xb.dtype == getattr(ln, dtype)
        assert yb.dtype == ln.int32
        np.testing.assert_array_equal(xb.numpy(), x[yb.numpy()])


def test_views_are_gathered_right():
    x = np.arange(60).reshape(10, 6)
    for view in (x[::2], x[:, ::2], x[::-1], x.T, x[3:4]):
        np.testing.assert_array_equal(np.concatenate([b.numpy() for b in DataLoader(view, 3)]), view)


@pytest.mark.parametrize("kind", ["arrays", "python"])
def test_orders(kind):
    def loader(seed, batch_size=7):
        data = np.arange(12) if kind == "arrays" else Squares(12)
        return DataLoader(data, batch_size, shuffle=True, seed=seed)

    a = loader(1)
    first, second = values(a), values(a)
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    b = loader(1, batch_size=5)
    assert values(b) == first
    assert values(b) == second
    assert values(loader(2)) != first
    b.epoch = 0
    assert values(b) == first


def test_arrays_and_python_data_sets_have_the_same_order():
    a = DataLoader(np.arange(12), 5, shuffle=True, seed=3)
    assert values(a) == values(DataLoader(Squares(12), 5, shuffle=True, seed=3))


def test_without_seed_manual_seed_decides():
    ln.manual_seed(0)
    a = values(DataLoader(np.arange(50), 8, shuffle=True))
    b = values(DataLoader(np.arange(50), 8, shuffle=True))
    ln.manual_seed(0)
    assert values(DataLoader(np.arange(50), 8, shuffle=True)) == a
    assert a != b


def test_batches_are_copies():
    x = np.zeros((6, 2), np.float32)
    kept = []
    for batch in DataLoader(x, 2):
        batch[...] = 1.0
        kept.append(batch)
    assert not x.any()
    assert all((b.numpy() == 1).all() for b in kept)


@pytest.mark.parametrize("kind", ["arrays", "python"])
def test_leaving_early(kind):
    before = threading.active_count()
    for i in range(30):
        loader = DataLoader(np.arange(1000) if kind == "arrays" else Squares(12), 3, shuffle=True)
        it = iter(loader)
        for _ in range(i % 4):
            next(it)
    del it, loader
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_several_at_once():
    loader = DataLoader(np.arange(100), 7)
    for a, b in zip(loader, loader, strict=True):
        assert a.tolist() == b.tolist()
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(values(loader))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == [list(range(100))] * 4


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_errors_of_a_data_set_come_through(prefetch):
    it = iter(DataLoader(Squares(20), 5, prefetch=prefetch))
    assert next(it)[0].tolist() == [0, 1, 2, 3, 4]
    next(it)
    with pytest.raises(ValueError, match="unlucky"):
        next(it)
    with pytest.raises(StopIteration):
        next(it)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_fork():
    loaders = [DataLoader(np.arange(20), 3), DataLoader(Squares(12), 3)]
    iterators = [iter(loader) for loader in loaders]
    for it in iterators:
        next(it)
    time.sleep(0.05)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for it in iterators:
                try:
                    next(it)
                except RuntimeError:
                    continue
                os._exit(2)
            del it, iterators
            code = 0 if values(loaders[0]) == list(range(20)) and values(loaders[1]) == list(range(12)) else 3
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    done, status = 0, 0
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)
    if not done:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_subset_and_random_split():
    data = TensorDataset(ln.arange(10), ln.arange(10) * 2)
    a, b = random_split(data, [7, 3], seed=0)
    assert len(a) == 7
    assert sorted(a.indices + b.indices) == list(range(10))
    assert random_split(data, [7, 3], seed=0)[0].indices == a.indices
    assert random_split(data, [7, 3], seed=1)[0].indices != a.indices
    assert [len(p) for p in random_split(data, [0.5, 0.25, 0.25], seed=0)] == [6, 2, 2]
    assert [len(p) for p in random_split(np.arange(1), [1], seed=0)] == [1]
    for x, y in DataLoader(a, 3, shuffle=True, seed=0):
        assert (x * 2).tolist() == y.tolist()
    assert sorted(values(DataLoader(a, 3, shuffle=True, seed=0))) == sorted(a.indices)
    inner = Subset(a, [2, 0])
    assert values(DataLoader(inner, 2)) == [a.indices[2], a.indices[0]]
    assert values(DataLoader(Subset(Squares(10), [4, 2]), 2)) == [4, 2]
    assert values(DataLoader(Subset(np.arange(10), [4, 2]), 2)) == [4, 2]


def test_collate():
    class Rows(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return {"x": np.full(3, i, np.float32), "y": i, "z": (float(i), i % 2 == 0), "name": f"s{i}"}

    batch = next(iter(DataLoader(Rows(), 4)))
    assert batch["x"].shape == (4, 3)
    assert batch["y"].dtype == ln.int64
    assert batch["z"][0].dtype == ln.float32
    assert batch["z"][1].tolist() == [True, False, True, False]
    assert batch["name"] == ["s0", "s1", "s2", "s3"]
    loader = DataLoader(np.arange(4), 2, collate_fn=lambda samples: sum(int(s) for s in samples))
    assert list(loader) == [1, 5]


def test_a_subclass_of_tensor_dataset_is_asked_for_its_samples():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return tuple(t * 2 for t in super().__getitem__(index))

    assert values(DataLoader(Doubled(ln.arange(4)), 2)) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: DataLoader(np.arange(3), 0), ValueError, "batch_size must be a whole number of at least 1, got 0"),
        (lambda: DataLoader(np.arange(3), 1.5), ValueError, "batch_size"),
        (lambda: DataLoader(np.arange(3), prefetch=-1), ValueError, "prefetch"),
        (lambda: DataLoader((np.arange(3), np.arange(4))), ln.ShapeError, "array 1 has 4 samples, array 0 has 3"),
        (lambda: DataLoader(np.float32(1)), ln.ShapeError, "single number"),
        (lambda: DataLoader(iter([])), TypeError, "__getitem__ and __len__"),
        (lambda: DataLoader(Subset(np.arange(3), [5])), ln.ShapeError, r"indices\[0\] is 5, there are 3 samples"),
        (lambda: TensorDataset(), ValueError, "at least one"),
        (lambda: TensorDataset(ln.ones(3), ln.ones(4)), ln.ShapeError, r"\[3, 4\] samples"),
        (lambda: random_split(np.arange(3), [1, 1]), ValueError, "add up to the 3 samples"),
        (lambda: random_split(np.arange(3), [-1, 4]), ValueError, "negative"),
        (lambda: ln.data.default_collate([object()]), TypeError, "give a collate_fn"),
        (lambda: ln.data.default_collate([(1, 2), (1,)]), ValueError, "parts"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_transforms():
    t = ln.data.transforms
    x = ln.arange(32, dtype=ln.float32).reshape((2, 1, 4, 4))
    flipped = t.RandomHorizontalFlip(1.0)(x)
    np.testing.assert_array_equal(flipped.numpy(), x.numpy()[..., ::-1])
    np.testing.assert_array_equal(t.RandomHorizontalFlip(0.0)(x).numpy(), x.numpy())
    ln.manual_seed(0)
    mixed = t.RandomHorizontalFlip()(ln.arange(4, dtype=ln.float32).reshape((1, 1, 1, 4)).broadcast_to((100, 1, 1, 4)))
    assert 30 < (mixed.numpy()[:, 0, 0, 0] == 3).sum() < 70
    crops = t.RandomCrop((2, 3), padding=1)(x)
    assert crops.shape == (2, 1, 2, 3)
    assert t.RandomCrop(2)(x[0]).shape == (1, 2, 2)
    normal = t.Normalize([1.0, 2.0], [2.0, 4.0])(ln.ones((2, 3, 3)))
    assert normal.numpy()[:, 0, 0].tolist() == [0.0, -0.25]
    with pytest.raises(ln.ShapeError, match="does not fit"):
        t.RandomCrop(5)(x)
    with pytest.raises(ln.ShapeError, match="channels"):
        t.Normalize([1.0, 2.0], [1.0])(x)
