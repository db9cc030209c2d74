"""Distributions with fixed seeds, the same bits for any number of threads, errors."""

import lanner as ln
import numpy as np
import pytest

N = 200_000


@pytest.fixture(autouse=True)
def seed():
    ln.manual_seed(1234)


@pytest.fixture
def threads():
    before = ln.get_num_threads() if hasattr(ln, "get_num_threads") else None
    yield ln.set_num_threads
    if before is not None:
        ln.set_num_threads(before)


def ks_distance(sample, cdf):
    """The greatest difference between the sample's distribution and ``cdf``."""
    x = np.sort(np.asarray(sample, np.float64).ravel())
    f = cdf(x)
    n = len(x)
    return max(np.max(np.arange(1, n + 1) / n - f), np.max(f - np.arange(n) / n))


# Kolmogorov's distribution: a true sample of n is further off than this once in a million times.
BOUND = 2.7 / np.sqrt(N)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_is_uniform(dtype):
    x = ln.random.uniform(N, -2, 3, dtype=dtype).numpy()
    assert x.dtype == dtype
    assert x.min() >= -2
    assert x.max() < 3
    assert ks_distance(x, lambda v: (v + 2) / 5) < BOUND
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 5 / np.sqrt(N)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_is_normal(dtype):
    from math import erf, sqrt

    x = ln.random.normal(N, 1.0, 2.0, dtype=dtype).numpy()
    assert x.dtype == dtype
    assert ks_distance(x, np.vectorize(lambda v: 0.5 * (1 + erf((v - 1) / 2 / sqrt(2))))) < BOUND
    z = (x - 1) / 2
    assert abs((z**3).mean()) < 5 * sqrt(15 / N)
    assert abs((z**4).mean() - 3) < 5 * sqrt(96 / N)
    for lag in (1, 16, 32):  # the pairs that Box and Muller's method makes at once lie 16 or 32 apart
        assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < 5 / sqrt(N)
        assert abs(np.corrcoef(z[:-lag] ** 2, z[lag:] ** 2)[0, 1]) < 5 / sqrt(N)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    x = ln.random.uniform(N, 0, 1, dtype=dtype)
    assert x.dtype == getattr(ln, dtype)
    assert x.to(ln.float32).numpy().max() < 1
    z = ln.random.normal(N, dtype=dtype).to(ln.float32).numpy()
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32"])
def test_randint_is_fair(dtype):
    low = 3 if dtype.startswith("u") else -5
    x = ln.random.randint(low, low + 11, N, dtype=dtype).numpy()
    assert x.dtype == dtype
    counts = np.bincount((x.astype(np.int64) - low), minlength=11)
    assert len(counts) == 11
    assert ((counts - N / 11) ** 2 / (N / 11)).sum() < 45  # chi-square with 10 degrees of freedom: once in a million


def test_randint_ranges():
    assert set(ln.random.randint(3, shape=100).tolist()) == {0, 1, 2}
    x = ln.random.randint(-(2**63), 2**63 - 1, 10_000).numpy()
    assert abs(np.mean(x > 0) - 0.5) < 0.03
    assert len(np.unique(x)) == 10_000
    x = ln.random.randint(0, 3 * 2**30, N).numpy()  # a range where a modulo would show: a third would come twice
    assert ks_distance(x, lambda v: v / (3 * 2**30)) < BOUND
    assert set(ln.random.randint(0, 256, N, dtype=ln.uint8).tolist()) == set(range(256))


def test_permutation():
    order = ln.random.permutation(1000).numpy()
    assert order.dtype == np.int64
    assert sorted(order) == list(range(1000))
    assert (order != np.arange(1000)).sum() > 900
    x = ln.arange(20).reshape((10, 2))
    shuffled = ln.random.permutation(x).numpy()
    assert sorted(map(tuple, shuffled)) == sorted(map(tuple, x.numpy()))
    assert ln.random.permutation(0).shape == (0,)


def test_bernoulli():
    assert ln.random.bernoulli(0.3, 5).dtype == ln.bool
    for p in (0.0, 0.1, 0.5, 1.0):
        x = ln.random.bernoulli(p, N, dtype=ln.float32).numpy()
        assert abs(x.mean() - p) <= 5 * np.sqrt(p * (1 - p) / N)
    drawn = ln.random.bernoulli(ln.tensor([0.0, 1.0, 0.5]))
    assert drawn.dtype == ln.float32
    assert drawn.tolist()[:2] == [0.0, 1.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_categorical_is_the_softmax(dtype):
    logits = np.array([0.0, -np.inf, 1.0, -2.0, 0.5, -np.inf], dtype)
    x = ln.random.categorical(ln.tensor(logits), shape=N)
    assert x.dtype == ln.int64
    p = np.exp(logits.astype(np.float64))
    counts, expected = np.bincount(x.numpy(), minlength=6), N * p / p.sum()
    assert not counts[p == 0].any()
    chosen = p > 0
    off = ((counts - expected)[chosen] ** 2 / expected[chosen]).sum()
    assert off < 31  # chi-square with 3 degrees of freedom: once in a million


def test_categorical_favours_none_of_many_classes():
    x = ln.random.categorical(ln.zeros(50_000), shape=N).numpy()
    assert x.max() < 50_000
    assert ks_distance(x / 50_000, lambda v: v) < BOUND + 1 / 50_000


def test_categorical_shapes():
    certain = np.full((2, 3, 4), -np.inf, np.float32)
    classes = np.random.default_rng(0).integers(0, 4, (2, 3))
    np.put_along_axis(certain, classes[..., None], 7.0, -1)
    assert (ln.random.categorical(ln.tensor(certain)).numpy() == classes).all()
    assert (ln.random.categorical(ln.tensor(certain), shape=(5, 2, 3)).numpy() == classes).all()
    for axis in (0, 1, -2):
        moved = ln.tensor(np.moveaxis(certain, -1, axis))
        assert (ln.random.categorical(moved, axis).numpy() == classes).all()
    assert ln.random.categorical(ln.zeros(3)).shape == ()
    assert ln.random.categorical(ln.zeros((0, 3)), shape=(4, 0)).shape == (4, 0)
    assert not ln.random.categorical(ln.zeros(3, requires_grad=True)).requires_grad


def test_categorical_in_a_compiled_step(threads):
    logits = ln.random.normal((3, 1000))
    step = ln.compile(lambda x: ln.random.categorical(x, shape=(5_000, 3)))
    first = step(logits).numpy()
    state, results = ln.random.get_state(), []
    for run in (step, lambda x: ln.random.categorical(x, shape=(5_000, 3))):
        for count in (1, 2):
            threads(count)
            ln.random.set_state(state)
            results.append(run(logits).numpy())
    assert (first != results[0]).any()
    assert all((other == results[0]).all() for other in results)
    logits[1, 7] = float("nan")
    with pytest.raises(ln.Error, match="categorical: row 1 of logits has a NaN"):
        step(logits)


def draw():
    ln.manual_seed(7)
    return [
        t.numpy()
        for t in (
            ln.random.uniform(N),
            ln.random.normal((300, 1001)),
            ln.random.uniform(70_001, dtype=ln.float64),
            ln.random.normal(70_001, dtype=ln.float64),
            ln.random.randint(0, 1000, N),
            ln.random.bernoulli(0.4, N),
            ln.random.permutation(5000),
            ln.dropout(ln.ones(N), 0.3),
        )
    ]


def test_same_bits_for_one_and_two_threads(threads):
    threads(1)
    one = draw()
    threads(2)
    for a, b in zip(one, draw(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_same_bits_on_every_instruction_set():
    expected = draw()
    for isa in ln.cpu.available_isas():
        with ln.cpu.isa(isa):
            for i, (a, b) in enumerate(zip(expected, draw(), strict=True)):
                if i in (1, 3):  # normals go through log, cos and sin
                    np.testing.assert_allclose(a, b, rtol=1e-6 if i == 1 else 1e-14, atol=1e-6 if i == 1 else 1e-14)
                else:
                    np.testing.assert_array_equal(a, b)


def test_a_shorter_draw_is_a_prefix():
    ln.manual_seed(1)
    long = ln.random.uniform(1000).numpy()
    for n in (0, 1, 63, 64, 65, 999):
        ln.manual_seed(1)
        np.testing.assert_array_equal(ln.random.uniform(n).numpy(), long[:n])


def test_seed_and_state():
    ln.manual_seed(5)
    a = ln.random.normal(10).numpy()
    state = ln.random.get_state()
    b = ln.random.normal(10).numpy()
    ln.random.set_state(state)
    np.testing.assert_array_equal(ln.random.normal(10).numpy(), b)
    assert (a != b).any()
    ln.manual_seed(6)
    assert (ln.random.normal(10).numpy() != a).any()
    ln.manual_seed(-1)
    ln.manual_seed(2**70)
    with pytest.raises(ln.ShapeError, match="get_state"):
        ln.random.set_state(ln.ones(3))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout(p):
    x = ln.ones(N, requires_grad=True)
    y = ln.dropout(x, p)
    values = y.detach().numpy()
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / (1 - p))}
    assert abs((values == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / N)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert (ln.dropout(x, p).detach().numpy() != values).any()


def test_dropout_ends_and_views():
    x = ln.random.normal((6, 4))
    np.testing.assert_array_equal(ln.dropout(x, 0.0).numpy(), x.numpy())
    np.testing.assert_array_equal(ln.dropout(x, 1.0).numpy(), np.zeros((6, 4)))
    np.testing.assert_array_equal(ln.dropout(x, 0.5, training=False).numpy(), x.numpy())
    ln.manual_seed(0)
    a = ln.dropout(x.T, 0.5).numpy()
    ln.manual_seed(0)
    np.testing.assert_array_equal(ln.dropout(ln.tensor(x.numpy().T.copy()), 0.5).numpy(), a)
    assert ln.dropout(ln.ones(10, dtype=ln.bfloat16), 0.5).dtype == ln.bfloat16
    assert ln.dropout(ln.ones(0), 0.5).shape == (0,)


def test_dropout2d_drops_channels():
    x = ln.ones((8, 16, 3, 5), requires_grad=True)
    y = ln.dropout2d(x, 0.5)
    values = y.detach().numpy()
    assert (values == values[:, :, :1, :1]).all()
    assert 0.3 < (values[:, :, 0, 0] == 0).mean() < 0.7
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert ln.dropout2d(ln.ones((4, 3, 3))).shape == (4, 3, 3)


def test_gradient_of_the_gradient():
    def f(x):
        ln.manual_seed(0)
        return ln.dropout(x * x, 0.5)

    x = ln.random.normal(9, dtype=ln.float64).requires_grad_()
    assert ln.gradcheck(f, [x])
    (g,) = ln.grad(f(x).sum(), [x], create_graph=True)
    (h,) = ln.grad(g.sum(), [x])
    ln.manual_seed(0)
    np.testing.assert_allclose(h.numpy(), 2 * ln.dropout(ln.ones(9, dtype=ln.float64), 0.5).numpy())


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ln.random.uniform(3, 1, 0), ValueError, "low must not be above high"),
        (lambda: ln.random.uniform(3, -3e38, 3e38), ValueError, "does not fit into float32"),
        (lambda: ln.random.uniform(3, dtype=ln.int32), ln.DTypeError, "must be floating, got int32"),
        (lambda: ln.random.normal(3, 0, -1), ValueError, "std must not be negative, got -1"),
        (lambda: ln.random.randint(5, 5, 3), ValueError, "low must be below high"),
        (lambda: ln.random.randint(-1, 5, 3, dtype=ln.uint8), ln.DTypeError, "uint8 does not hold every integer"),
        (lambda: ln.random.bernoulli(1.5, 3), ValueError, "probability"),
        (lambda: ln.random.bernoulli(float("nan"), 3), ValueError, "probability"),
        (lambda: ln.dropout(ln.ones(3), 2.0), ValueError, "dropout: p is a probability"),
        (lambda: ln.dropout(ln.arange(3)), ln.DTypeError, "dropout: x must be floating"),
        (lambda: ln.dropout2d(ln.ones((3, 3))), ln.ShapeError, "dropout2d"),
        (lambda: ln.random.categorical(ln.arange(3)), ln.DTypeError, "categorical: logits must be floating"),
        (lambda: ln.random.categorical(ln.zeros((3, 0))), ln.ShapeError, "no classes along axis 1"),
        (lambda: ln.random.categorical(ln.zeros(3), axis=1), ln.ShapeError, "categorical"),
        (lambda: ln.random.categorical(ln.zeros((2, 3)), shape=(2, 4)), ln.ShapeError, r"shape must end with \[2\]"),
        (lambda: ln.random.categorical(ln.full(3, -np.inf)), ln.Error, "row 0 of logits .* or -inf alone"),
        (lambda: ln.random.categorical(ln.tensor([0.0, np.inf])), ln.Error, "row 0 of logits has a NaN, .inf"),
        (lambda: ln.random.permutation(-1), ln.ShapeError, "negative"),
        (lambda: ln.random.permutation(ln.tensor(1.0)), ln.ShapeError, "axis"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error if error is not ValueError else (ValueError, ln.Error), match=match):
        call()
