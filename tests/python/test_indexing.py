"""Indexing, writing in place, sorting: NumPy is the reference; and what wrong indices are told."""

import lanner as ln
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st


def as_key(key, wrap):
    items = key if isinstance(key, tuple) else (key,)
    made = tuple(wrap(i) if isinstance(i, np.ndarray) else i for i in items)
    return made if isinstance(key, tuple) else made[0]


@st.composite
def shapes(draw, most=4):
    return tuple(draw(st.lists(st.integers(0, 4), max_size=most)))


@st.composite
def basic_item(draw, size):
    kind = draw(st.sampled_from(["int", "slice", "whole"] if size else ["slice", "whole"]))
    if kind == "int":
        return draw(st.integers(-size, size - 1))
    if kind == "whole":
        return slice(None)
    bound = st.none() | st.integers(-size - 2, size + 2)
    return slice(draw(bound), draw(bound), draw(st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3])))


@st.composite
def keys(draw, shape, advanced):
    """An index for an array of `shape`: ints, slices, None, an ellipsis and, if `advanced`, arrays and masks."""
    items, axis = [], 0
    common = draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    stop = draw(st.integers(0, len(shape)))
    ellipsis_at = draw(st.integers(0, stop)) if draw(st.booleans()) else None
    while axis < stop:
        if axis == ellipsis_at and Ellipsis not in [i for i in items if not isinstance(i, np.ndarray)]:
            items.append(Ellipsis)
            skipped = draw(st.integers(0, len(shape) - stop))
            if skipped:  # what stands behind the ellipsis belongs to the last axes
                axis += len(shape) - stop
                stop = len(shape)
                continue
        if draw(st.integers(0, 5)) == 0 and len(items) < 4:
            items.append(None)
        kind = draw(st.sampled_from(["basic", "array", "mask", "bool"])) if advanced else "basic"
        size = shape[axis]
        if kind == "array" and size:
            target = draw(st.sampled_from([common, common[1:], (1,) * len(common)]))
            values = st.integers(-size, size - 1)
            count = int(np.prod(target))
            items.append(np.array(draw(st.lists(values, min_size=count, max_size=count)), np.int64).reshape(target))
        elif kind == "mask":
            # As many as broadcast with the other arrays.
            wanted = common[-1] if common else 1
            mask = np.zeros(size, bool)
            mask[: wanted if wanted <= size else 1] = True
            if size == 0 or (wanted > size and draw(st.booleans())):
                items.append(slice(None))
            else:
                items.append(draw(st.permutations(list(mask)).map(np.array)))
        elif kind == "bool" and draw(st.integers(0, 3)) == 0:
            items.append(True)
            items.append(draw(basic_item(size)))
        else:
            items.append(draw(basic_item(size)))
        axis += 1
    if len(items) == 1 and draw(st.booleans()):
        return items[0]
    return tuple(items)


@st.composite
def shape_and_key(draw, advanced):
    shape = draw(shapes(most=3))
    return shape, draw(keys(shape, advanced))


def ramp(shape, dtype="float32"):
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)


@given(shape_and_key(advanced=False))
@settings(max_examples=300, deadline=None)
def test_basic_indexing(case):
    shape, key = case
    a = ramp(shape)
    x = ln.tensor(a)
    try:
        expected = a[key]
    except IndexError:
        with pytest.raises(IndexError):
            x[key]
        return
    y = x[key]
    np.testing.assert_array_equal(y.numpy(), expected)
    if y.size:  # a view: what is written through it is seen in x
        y[...] = -1
        a[key] = -1
        np.testing.assert_array_equal(x.numpy(), a)


@given(shape_and_key(advanced=True))
@settings(max_examples=500, deadline=None)
def test_advanced_indexing(case):
    shape, key = case
    a = ramp(shape)
    x = ln.tensor(a)
    try:
        expected = a[key]
    except IndexError:
        with pytest.raises((ln.IndexError, ln.ShapeError)):
            x[as_key(key, ln.tensor)]
        return
    np.testing.assert_array_equal(x[as_key(key, ln.tensor)].numpy(), expected)
    np.testing.assert_array_equal(x[key].numpy(), expected)  # NumPy arrays and lists as indices
    np.testing.assert_array_equal(x[as_key(key, lambda i: i.tolist() if i.ndim else i)].numpy(), expected)


@given(shape_and_key(advanced=True), st.booleans(), st.booleans())
@settings(max_examples=500, deadline=None)
def test_setitem(case, scalar, strided):
    shape, key = case
    a = ramp(shape)
    x = ln.tensor(a)
    if strided and len(shape) > 1:
        a = np.swapaxes(ramp((shape[1], shape[0], *shape[2:])), 0, 1)
        x = ln.swapaxes(ln.tensor(np.ascontiguousarray(np.swapaxes(a, 0, 1))), 0, 1)
    a = a.copy(order="K")
    try:
        target = a[key]
    except IndexError:
        return
    value = np.float32(-5) if scalar else -1 - ramp(target.shape)
    a[key] = value
    x[as_key(key, ln.tensor)] = float(value) if scalar else ln.tensor(value)
    np.testing.assert_array_equal(x.numpy(), a)


def test_setitem_converts_and_broadcasts():
    x = ln.zeros((2, 3), dtype=ln.int32)
    x[0] = 2.9
    x[1] = np.array([1.5, 2.5, 3.5])
    assert x.tolist() == [[2, 2, 2], [1, 2, 3]]
    x[:, [0, 2]] = ln.tensor([[7], [8]])
    assert x.tolist() == [[7, 2, 7], [8, 2, 8]]
    x[x > 7] = 0
    assert x.tolist() == [[7, 2, 7], [0, 2, 0]]
    x[0] = ln.ones((1, 1, 3))
    assert x.tolist() == [[1, 1, 1], [0, 2, 0]]
    big = ln.tensor([2**60 + 1, 5])
    big[ln.tensor([False, True])] = 2**60 + 3
    assert big.tolist() == [2**60 + 1, 2**60 + 3]


def test_setitem_of_itself():
    x = ln.arange(6)
    x[1:] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3, 4]
    x[[0, 5]] = x[[5, 0]]
    assert x.tolist() == [4, 0, 1, 2, 3, 0]


def test_last_write_wins():
    x = ln.zeros(3)
    x[[1, 1, 1]] = ln.tensor([5.0, 6.0, 7.0])
    assert x.tolist() == [0, 7, 0]


def test_setitem_and_gradients():
    x, y = ln.zeros(3), ln.ones(3).requires_grad_()
    with pytest.raises(ln.Error, match="setitem: the value requires grad"):
        x[0] = y[0]
    with pytest.raises(ln.Error, match="setitem"):
        y[0] = 1.0
    with ln.no_grad():
        y[0] = 4.0
        x[1] = y[0]
    assert y.tolist() == [4, 1, 1] and x.tolist() == [0, 4, 0]
    z = y * y
    with ln.no_grad():
        y[1] = 2.0
    with pytest.raises(ln.Error, match="written to in place"):
        z.sum().backward()


def test_gradient_of_overwritten_values_is_zero():
    src = ln.tensor([1.0, 2.0, 3.0], requires_grad=True)
    ln.scatter(ln.zeros(2), ln.tensor([0, 1, 0]), src, 0).sum().backward()
    assert src.grad.tolist() == [0, 1, 1]
    value = ln.tensor([[1.0], [2.0]], requires_grad=True)
    ln.index_put(ln.zeros((2, 1)), (ln.tensor([1, 1]),), value).sum().backward()
    assert value.grad.tolist() == [[0], [1]]


def test_embedding_padding():
    w = ln.ones((3, 2)).requires_grad_()
    ln.embedding(ln.tensor([0, 2, 2, 1]), w, padding_idx=2).sum().backward()
    assert w.grad.tolist() == [[1, 1], [1, 1], [0, 0]]
    w = ln.ones((3, 2), dtype=ln.float64).requires_grad_()
    ln.gradcheck(lambda w: ln.embedding(ln.tensor([0, 1, 1]), w) ** 2, [w], order=2)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_comes_last(dtype):
    x = ln.tensor([NAN, 1.0, -INF, NAN, INF, -0.0, 0.0]).to(dtype)
    assert ln.argsort(x).tolist() == [2, 5, 6, 1, 4, 0, 3]
    assert ln.argsort(x, descending=True).tolist() == [4, 1, 5, 6, 2, 0, 3]
    assert np.isnan(ln.sort(x, descending=True).to(ln.float32).numpy()[-2:]).all()
    assert np.signbit(ln.sort(x).to(ln.float32).numpy()[1:3]).tolist() == [True, False]
    assert ln.topk(x, 3)[1].tolist() == [4, 1, 5]
    assert ln.topk(x, 6, largest=False)[1].tolist() == [2, 5, 6, 1, 4, 0]
    assert ln.searchsorted(
        ln.tensor([1.0, 2.0, NAN]).to(dtype), ln.tensor([NAN, 2.0]).to(dtype), side="right"
    ).tolist() == [3, 2]


@given(st.lists(st.integers(-3, 3) | st.just(100), max_size=300), st.integers(0, 40), st.booleans())
@settings(max_examples=200, deadline=None)
def test_sort_topk_against_numpy(values, k, descending):
    a = np.array(values, np.int64)
    order = np.argsort(-a if descending else a, kind="stable")
    for dtype in (np.int64, np.int8, np.float32, np.float64):
        x = ln.tensor(a.astype(dtype))
        assert ln.argsort(x, descending=descending).tolist() == order.tolist()
        assert ln.sort(x, descending=descending).tolist() == a[order].tolist()
        if k <= len(values):
            top, indices = ln.topk(x, k, largest=descending)
            assert indices.tolist() == order[:k].tolist()
            assert top.tolist() == a[order[:k]].tolist()


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    index, g = ln.tensor(rng.integers(0, 50, 40000)), ln.tensor(rng.normal(size=(40000, 24)).astype(np.float32))
    results = []
    threads = ln.get_num_threads() if hasattr(ln, "get_num_threads") else None
    for n in (1, 2, 3):
        ln.set_num_threads(n)
        w = ln.zeros((50, 24)).requires_grad_()
        (ln.embedding(index, w) * g).sum().backward()
        added = ln.scatter_add(ln.zeros((50, 24)), ln.broadcast_to(index[:, None], (40000, 24)), g, 0)
        results.append((w.grad.numpy().tobytes(), added.numpy().tobytes()))
    ln.set_num_threads(threads or 2)
    assert results[0] == results[1] == results[2]


X = ln.zeros((2, 3))
ERRORS = [
    (lambda: X[2], ln.IndexError, "index: index 2 is out of range for axis 0 of size 2"),
    (lambda: X[0, -4], ln.IndexError, "index: index -4 is out of range for axis 1 of size 3"),
    (lambda: X[0, 0, 0], ln.IndexError, "3 indices for 2 dimensions"),
    (lambda: X[..., ...], ln.IndexError, "single ellipsis"),
    (lambda: X[ln.tensor([0, 5])], ln.IndexError, "index: index 5 is out of range for axis 0 of size 2"),
    (lambda: X[:, [0, -4]], ln.IndexError, "index: index -4 is out of range for axis 1 of size 3"),
    (lambda: X[[0, 1], [0, 3]], ln.IndexError, "index: index 3 is out of range for axis 1 of size 3"),
    (lambda: X[ln.tensor([0.5])], ln.DTypeError, "integer or bool, got float32"),
    (lambda: X["a"], TypeError, "got str"),
    (lambda: X[1.5], TypeError, "got float"),
    (lambda: X[ln.tensor([True, False, True])], ln.IndexError, "boolean index of shape"),
    (lambda: X[[0, 1], [0, 1, 2]], ln.ShapeError, "index"),
    (lambda: X.__setitem__(2, 0.0), ln.IndexError, "axis 0 of size 2"),
    (lambda: X.__setitem__([0, 7], 0.0), ln.IndexError, "index 7 is out of range for axis 0 of size 2"),
    (lambda: X.__setitem__(0, ln.zeros(4)), ln.ShapeError, "broadcast"),
    (
        lambda: ln.gather(X, ln.tensor([[3, 0]]), 1),
        ln.IndexError,
        "gather: index 3 is out of range for axis 1 of size 3",
    ),
    (lambda: ln.gather(X, ln.tensor([0]), 1), ln.ShapeError, "gather: index expects 2 dimensions"),
    (lambda: ln.gather(X, ln.zeros((2, 3)), 1), ln.DTypeError, "gather: index must be integers, got float32"),
    (lambda: ln.gather(X, ln.zeros((3, 3), dtype=ln.int64), 1), ln.ShapeError, "index has size 3 on axis 0"),
    (lambda: ln.scatter(X, ln.tensor([[-4]]), 1.0, 1), ln.IndexError, "scatter: index -4"),
    (lambda: ln.scatter(X, ln.tensor([[0]]), ln.tensor([[1]]), 1), ln.DTypeError, "scatter: src must have x's dtype"),
    (lambda: ln.scatter_add(X, ln.tensor([[0, 1]]), ln.zeros((1, 1)), 1), ln.ShapeError, "scatter_add: src has shape"),
    (lambda: ln.take(X, ln.tensor([2]), axis=0), ln.IndexError, "take: index 2 is out of range for axis 0 of size 2"),
    (lambda: ln.take(X, ln.tensor([2]), axis=2), ln.ShapeError, "take"),
    (
        lambda: ln.embedding(ln.tensor([-1]), X),
        ln.IndexError,
        "embedding: index -1 is out of range for axis 0 of size 2",
    ),
    (lambda: ln.embedding(ln.tensor([0]), ln.zeros(3)), ln.ShapeError, "embedding: weight"),
    (lambda: ln.embedding_bag(ln.tensor([0]), X), ln.ShapeError, "without offsets"),
    (lambda: ln.embedding_bag(ln.tensor([0]), X, ln.tensor([1])), ln.ShapeError, "offsets must begin with 0"),
    (lambda: ln.embedding_bag(ln.tensor([0]), X, ln.tensor([0, 2])), ln.IndexError, "does not lie within 1 indices"),
    (lambda: ln.embedding_bag(ln.tensor([0]), X, ln.tensor([0]), mode="median"), ln.Error, "mode"),
    (lambda: ln.one_hot(ln.tensor([3]), 3), ln.IndexError, "one_hot: index 3"),
    (lambda: ln.one_hot(ln.tensor([-1]), 3), ln.IndexError, "one_hot: index -1"),
    (lambda: ln.concat([]), ln.ShapeError, "at least one"),
    (lambda: ln.concat([X, ln.zeros((2, 4))]), ln.ShapeError, "concat: tensor 1 has shape"),
    (lambda: ln.stack([X, ln.zeros((2, 4))]), ln.ShapeError, "stack: tensor 1"),
    (lambda: ln.split(X, [1, 1], 1), ln.ShapeError, "split: the sizes add up to 2, axis 1 has size 3"),
    (lambda: ln.split(X, 0), ln.ShapeError, "split"),
    (lambda: ln.pad(X, (1,)), ln.ShapeError, "pad"),
    (lambda: ln.pad(X, (3, 0), mode="reflect"), ln.ShapeError, "cannot add 3 elements to axis 1 of size 3"),
    (lambda: ln.pad(X, (-2, -2)), ln.ShapeError, "crop more than axis 1"),
    (lambda: ln.pad(X, (1, 1), mode="mirror"), ln.Error, "mirror"),
    (lambda: ln.topk(X, 4), ln.ShapeError, "topk: k must lie within 0 and 3"),
    (lambda: ln.sort(X, axis=2), ln.ShapeError, "sort"),
    (lambda: ln.searchsorted(X, X), ln.ShapeError, "1 dimension"),
    (lambda: ln.tril(ln.zeros(3)), ln.ShapeError, "tril"),
    (lambda: ln.diagonal(X, 0, 1, -1), ln.ShapeError, "both 1"),
    (lambda: ln.nonzero(ln.tensor(1)), ln.ShapeError, "nonzero"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert X.sum().item() == 0


def test_index_errors_are_value_errors_too():
    for kind in (IndexError, ValueError, ln.ShapeError):
        with pytest.raises(kind):
            X[2]
