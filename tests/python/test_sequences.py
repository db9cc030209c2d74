"""Padding, buckets, batch samplers, windows over series and tokens."""

import itertools

import lanner as ln
import numpy as np
import pytest
from lanner.data import BucketSampler, DataLoader, PadCollate, Subset, TensorDataset, pad_sequences, windows
from lanner.data.sequences import _best_boundaries
from lanner.data.text import next_token_streams, next_token_windows

# ---- padding ----


def test_pad_sequences():
    rng = np.random.default_rng(0)
    for rest in ((), (3,), (2, 3)):
        given = [rng.normal(size=(n, *rest)) for n in (3, 0, 5, 1)]
        padded, lengths = pad_sequences(given, value=-1)
        assert padded.shape == (4, 5, *rest)
        assert padded.dtype == np.float32
        assert lengths.dtype == np.int64
        assert lengths.tolist() == [3, 0, 5, 1]
        left, _ = pad_sequences(given, value=-1, length=7, side="left")
        for row, other, array in zip(padded, left, given, strict=True):
            n = len(array)
            np.testing.assert_array_equal(row[:n], array.astype(np.float32))
            assert (row[n:] == -1).all()
            np.testing.assert_array_equal(other[7 - n :], array.astype(np.float32))
            assert (other[: 7 - n] == -1).all()


def test_pad_sequences_that_are_too_long():
    padded, lengths = pad_sequences([[1, 2, 3], [4], []], length=2, truncate=True)
    assert padded.tolist() == [[1, 2], [4, 0], [0, 0]]
    assert lengths.tolist() == [2, 1, 0]
    assert pad_sequences([[1, 2, 3], [4]], length=2, truncate=True, side="left")[0].tolist() == [[2, 3], [0, 4]]
    assert pad_sequences([[1, 2, 3]], length=0, truncate=True, side="left")[0].shape == (1, 0)


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        ([[1], []], None, np.int64),
        ([[], []], None, np.int64),
        ([], None, np.int64),
        ([[1.0], []], None, np.float32),
        ([np.array([], np.float32), [1]], None, np.float32),
        ([[1], [1.5]], None, np.float32),
        ([[True, False], [True]], None, np.int64),
        ([np.array([1], np.uint8)], None, np.int64),
        ([np.array([1.0])], "float64", np.float64),
        ([ln.tensor([1.0, 2.0]), ln.tensor([1.0])], None, np.float32),
        ([ln.tensor([1, 2]), ln.tensor([1])], None, np.int64),
    ],
)
def test_pad_sequences_dtypes(given, dtype, expected):
    padded, lengths = pad_sequences(given, dtype=dtype)
    assert padded.dtype == expected
    assert len(padded) == len(lengths) == len(given)


def test_pad_collate():
    samples = [([1, 2, 3], np.ones((2, 2), np.float32), 5, "a"), ([4], np.ones((1, 2), np.float32), 6, "b")]
    tokens, n, features, m, labels, names = PadCollate()(samples)
    assert tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert n.tolist() == [3, 1]
    assert features.shape == (2, 2, 2)
    assert m.tolist() == [2, 1]
    assert labels.tolist() == [5, 6]
    assert names == ["a", "b"]
    assert all(isinstance(t, ln.Tensor) for t in (tokens, n, features, m, labels))
    tokens, _, features, *_ = PadCollate([2, 4, 8], value={0: -1})(samples)
    assert tokens.tolist() == [[1, 2, 3, -1], [4, -1, -1, -1]]
    assert features.shape == (2, 2, 2)
    assert PadCollate([2, 4, 8], together=True)(samples)[2].shape == (2, 4, 2)
    assert PadCollate({1: [5]}, side="left")(samples)[2].shape == (2, 5, 2)
    same = [(np.ones(3), [1]), (np.zeros(3), [1, 2])]
    x, y, n = PadCollate(parts=[1])(same)
    assert (x.shape, y.shape, n.tolist()) == ((2, 3), (2, 2), [1, 2])
    assert [t.shape for t in PadCollate([3])([[1], [1, 2]])] == [(2, 3), (2,)]
    tokens, features, m, *_ = PadCollate(lengths=[1])(samples)
    assert (tokens.shape, features.shape, m.tolist()) == ((2, 3), (2, 2, 2), [2, 1])
    assert [t.shape for t in PadCollate(lengths=[])([[1], [1, 2]])] == [(2, 2)]
    with pytest.raises(ln.ShapeError, match=r"part 0 has length 3, more than the largest of boundaries \[2\]"):
        PadCollate([2])(samples)


# ---- buckets ----


def padding(lengths, boundaries):
    return sum(min(b for b in boundaries if b >= n) - n for n in lengths)


@pytest.mark.parametrize("seed", range(4))
def test_boundaries_make_the_least_padding(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, 30)
    for buckets in (1, 2, 3, 4):
        found = _best_boundaries(lengths, buckets)
        assert len(found) <= buckets
        assert max(found) == lengths.max()
        others = itertools.combinations(np.unique(lengths)[:-1].tolist(), min(buckets, len(np.unique(lengths))) - 1)
        assert padding(lengths, found) == min(padding(lengths, (*o, lengths.max())) for o in others)


def test_boundaries_of_many_lengths():
    lengths = np.random.default_rng(0).gamma(2.0, 4000, 20000).astype(np.int64)
    found = _best_boundaries(lengths, 8)
    assert len(found) == 8
    assert max(found) == lengths.max()
    equal = np.unique(np.quantile(lengths, np.linspace(0, 1, 9)[1:], method="higher"))
    ours, theirs = (int((np.array(b)[np.searchsorted(b, lengths)] - lengths).sum()) for b in (found, equal))
    assert ours < theirs
    assert _best_boundaries(np.array([], np.int64), 3) == ()
    assert _best_boundaries(np.array([4, 4]), 3) == (4,)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(("n", "batch_size"), [(0, 4), (3, 4), (100, 8), (96, 8), (100, 1)])
def test_bucket_sampler(n, batch_size, drop_last, shuffle):
    lengths = np.random.default_rng(n).integers(1, 60, n)
    sampler = BucketSampler(lengths, batch_size, buckets=5, shuffle=shuffle, drop_last=drop_last, seed=3)
    waste = sampler.waste
    batches = list(sampler)
    assert len(batches) == len(sampler)
    seen = [i for batch in batches for i in batch]
    assert len(set(seen)) == len(seen) == (n - n % batch_size if drop_last else n)
    assert sum(len(batch) != batch_size for batch in batches) == (0 if drop_last or n % batch_size == 0 else 1)
    shapes = {min(b for b in sampler.boundaries if b >= max(lengths[batch])) for batch in batches}
    assert len(shapes) <= 5
    padded = sum(len(b) * min(x for x in sampler.boundaries if x >= max(lengths[b])) for b in batches)
    assert waste == pytest.approx(1 - lengths[seen].sum() / padded if padded else 0)
    again = BucketSampler(lengths, batch_size, buckets=5, shuffle=shuffle, drop_last=drop_last, seed=3)
    assert list(again) == batches
    second = list(sampler)
    assert (second != batches) == (shuffle and n > batch_size)
    again.epoch = 1
    assert list(again) == second
    assert f"{len(batches)} batches" in repr(sampler)
    if n > 20 and batch_size > 1:
        plain = DataLoader(np.arange(n), batch_size, shuffle=True, seed=0)
        longest = sum(len(b) * max(lengths[b.numpy()]) for b in plain)
        assert padded < 0.8 * longest


def test_bucket_sampler_with_given_lengths():
    sampler = BucketSampler([1, 2, 3, 4, 5], 2, buckets=[5, 2], shuffle=False)
    assert sampler.boundaries == (2, 5)
    assert list(sampler) == [[0, 1], [2, 3], [4]]
    with pytest.raises(ln.ShapeError, match=r"length 6, more than the largest of buckets \[2, 5\]"):
        BucketSampler([6], 2, buckets=[2, 5])
    assert BucketSampler([1], 1).seed != BucketSampler([1], 1).seed


@pytest.mark.parametrize("prefetch", [0, 2])
def test_loader_with_buckets(prefetch):
    rng = np.random.default_rng(0)
    data = [(rng.integers(1, 9, rng.integers(1, 30)).tolist(), i) for i in range(50)]
    sampler = BucketSampler([len(tokens) for tokens, _ in data], 8, buckets=3, seed=0)
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=PadCollate(sampler.boundaries), prefetch=prefetch)
    assert len(loader) == 7
    epochs = []
    for _ in range(2):
        found = []
        for tokens, lengths, labels in loader:
            assert tokens.shape[1] in sampler.boundaries
            for row, length, label in zip(tokens.tolist(), lengths.tolist(), labels.tolist(), strict=True):
                assert row == data[label][0] + [0] * (len(row) - length)
                found.append(label)
        assert sorted(found) == list(range(50))
        epochs.append(found)
    assert epochs[0] != epochs[1]
    loader.epoch = 1
    assert [i for _, _, labels in loader for i in labels.tolist()] == epochs[1]


def test_loader_with_any_batch_sampler():
    x, y = np.arange(10.0), np.arange(20).reshape(10, 2)
    chosen = [[3, 1], [9], [0, 0, 5]]
    assert [b.tolist() for b in DataLoader(x, batch_sampler=chosen)] == [x[c].tolist() for c in chosen]
    for data in ((x, y), TensorDataset(x, y)):
        batches = list(DataLoader(data, batch_sampler=chosen))
        assert [b[1].tolist() for b in batches] == [y[c].tolist() for c in chosen]
    subset = Subset(TensorDataset(x), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    assert [b[0].tolist() for b in DataLoader(subset, batch_sampler=chosen)] == [x[::-1][c].tolist() for c in chosen]
    assert len(DataLoader(x, batch_sampler=chosen)) == 3
    with pytest.raises((IndexError, ln.Error), match="10"):
        list(DataLoader(x, batch_sampler=[[10]]))


def test_fit_takes_padded_batches():
    class Mean(ln.nn.Module):
        def __init__(self):
            self.table = ln.nn.Embedding(10, 4, padding_idx=0)
            self.out = ln.nn.Linear(4, 2)

        def forward(self, tokens, lengths):
            return self.out(self.table(tokens).sum(axis=1) / lengths.to(ln.float32).reshape((-1, 1)))

    rng = np.random.default_rng(0)
    data = [(rng.integers(1 + 5 * (i % 2), 6 + 4 * (i % 2), rng.integers(1, 12)).tolist(), i % 2) for i in range(64)]
    sampler = BucketSampler([len(t) for t, _ in data], 8, buckets=3, seed=0)
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=PadCollate(sampler.boundaries))
    ln.manual_seed(0)
    model = ln.Model(Mean(), loss="cross_entropy", optimizer=lambda p: ln.optim.Adam(p, 0.05), metrics=["accuracy"])
    history = model.fit(loader, epochs=4, seed=0, verbose=0)
    assert history.history["accuracy"][-1] > 0.9


# ---- windows ----


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize(("length", "horizon"), [(1, 1), (4, 2), (2, 7), (15, 5)])
def test_windows(length, horizon, stride):
    series = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    starts = range(0, 20 - length - horizon + 1, stride)
    for target in (None, 1, -1, [2, 0]):
        x, y = windows(series, length, horizon, stride, target)
        wanted = series if target is None else series[:, target]
        np.testing.assert_array_equal(x, np.stack([series[i : i + length] for i in starts]))
        np.testing.assert_array_equal(y, np.stack([wanted[i + length : i + length + horizon] for i in starts]))
        assert np.shares_memory(x, series)
        assert np.shares_memory(y, series) == (target is None)
        batches = list(DataLoader((x, y), 4))
        np.testing.assert_array_equal(np.concatenate([b[0].numpy() for b in batches]), x)
        np.testing.assert_array_equal(np.concatenate([b[1].numpy() for b in batches]), y)
    x, y = windows(series[:, 0], length, horizon, stride)
    np.testing.assert_array_equal(y, np.stack([series[i + length : i + length + horizon, 0] for i in starts]))


def test_windows_are_views_for_the_loader_too():
    series = np.zeros(30, np.float32)
    x, y = windows(series, 4, 2)
    for part in (x, y):
        tensor = ln.asarray(part)
        series[...] = 7
        assert (tensor.numpy() == 7).all()
        series[...] = 0
    series.setflags(write=False)
    assert windows(series, 4, 2)[0].shape == (25, 4)  # what cannot be written to is taken as well


def test_next_token_windows():
    tokens = np.arange(21)
    for length, stride in ((1, None), (4, None), (5, None), (20, None), (4, 1), (4, 6)):
        x, y = next_token_windows(tokens, length, stride)
        starts = range(0, 21 - length, stride or length)
        assert x.tolist() == [list(range(i, i + length)) for i in starts]
        np.testing.assert_array_equal(y, x + 1)
        assert np.shares_memory(x, tokens)


def test_next_token_streams():
    for n, batch, length in ((21, 1, 4), (21, 2, 5), (21, 4, 5), (100, 3, 7)):
        tokens = np.arange(n)
        x, y = next_token_streams(tokens, batch, length)
        each = (n - 1) // batch
        assert x.shape == y.shape == (each // length, batch, length)
        for b in range(batch):
            begin = b * each
            assert x[:, b].reshape(-1).tolist() == list(range(begin, begin + each // length * length))
        np.testing.assert_array_equal(y, x + 1)
        assert np.shares_memory(x, tokens)
        assert y.max() < n
    x, y = next_token_streams(np.arange(40)[::-1], 2, 5)
    np.testing.assert_array_equal(y, x - 1)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: pad_sequences([[1, 2], [1]], length=1), ln.ShapeError, "sequence 0 has length 2, more than length=1"),
        (lambda: pad_sequences([[1], 2]), ln.ShapeError, "sequence 1 is a single number"),
        (lambda: pad_sequences([np.ones((2, 3)), np.ones((2, 4))]), ln.ShapeError, r"\[\[3\], \[4\]\]"),
        (lambda: pad_sequences([["a"]]), ln.DTypeError, "expected numbers"),
        (lambda: pad_sequences([[1]], side="top"), ValueError, "side"),
        (lambda: BucketSampler([1.5], 2), ValueError, "whole number"),
        (lambda: BucketSampler([[1]], 2), ValueError, "whole number"),
        (lambda: BucketSampler([-1], 2), ValueError, "negative"),
        (lambda: BucketSampler([1], 0), ValueError, "batch_size"),
        (lambda: BucketSampler([1], 1, buckets=0), ValueError, "buckets"),
        (lambda: DataLoader([1], 2, batch_sampler=[[0]]), ValueError, "batch_sampler decides"),
        (lambda: DataLoader([1], batch_sampler=iter([[0]])), TypeError, "again in each epoch"),
        (lambda: DataLoader([1], batch_sampler=3), TypeError, "got int"),
        (lambda: windows(np.zeros(5), 4, 2), ln.ShapeError, "5 steps has no window of length=4 and horizon=2"),
        (lambda: windows(np.zeros(5), 0, 2), ValueError, "at least 1"),
        (lambda: windows(np.zeros((5, 1, 1)), 1, 2), ln.ShapeError, r"\[5, 1, 1\]"),
        (lambda: windows(np.zeros(5), 1, 2, target=0), ln.ShapeError, "one axis"),
        (lambda: windows(np.zeros((5, 2)), 1, 2, target=2), ln.IndexError, "target 2 is none of 2 columns"),
        (lambda: next_token_windows(np.zeros(5), 5), ln.ShapeError, "5 tokens"),
        (lambda: next_token_windows(np.zeros(5), 0), ValueError, "at least 1"),
        (lambda: next_token_windows(np.zeros((5, 1)), 1), ln.ShapeError, r"\[5, 1\]"),
        (lambda: next_token_streams(np.zeros(8), 2, 4), ln.ShapeError, "8 tokens are too few for 2 streams of 4"),
        (lambda: next_token_streams(np.zeros(8), 0, 4), ValueError, "batch_size=0"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
