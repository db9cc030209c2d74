"""Elementwise functions: dtypes, errors, writing in place, makers of tensors."""

import lanner as ln
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_result_type_of_tensors(a, b):
    x, y = ln.ones(2, dtype=a), ln.ones(2, dtype=b)
    expected = np.promote_types(a, b).name
    if (
        np.dtype(a).kind == "f" or np.dtype(b).kind == "f"
    ):  # the floating one of the two, whatever the width of the integer
        floats = [t for t in (a, b) if np.dtype(t).kind == "f"]
        expected = max(floats, key=lambda t: np.dtype(t).itemsize)
    assert ln.result_type(x, y).name == expected
    assert ln.add(x, y).dtype.name == expected


@pytest.mark.parametrize(
    ("dtype", "number", "expected"),
    [
        ("float16", 2, "float16"),
        ("float16", 0.5, "float16"),
        ("float64", 0.5, "float64"),
        ("int8", 3, "int8"),
        ("int8", 0.5, "float32"),
        ("bool", 1, "int64"),
        ("bool", 0.5, "float32"),
        ("uint8", True, "uint8"),
    ],
)
def test_numbers_give_way(dtype, number, expected):
    x = ln.ones(2, dtype=dtype)
    assert (x + number).dtype.name == expected
    assert (number + x).dtype.name == expected


def test_division_and_functions_of_integers_are_floating():
    x = ln.tensor([1, 2])
    assert (x / 2).dtype == ln.float32
    assert ln.exp(x).dtype == ln.float32
    assert (x // 2).dtype == ln.int64


def test_errors_name_the_op():
    with pytest.raises(ln.ShapeError, match=r"add: .*3.*4"):
        ln.add(ln.ones(3), ln.ones(4))
    with pytest.raises(ln.DTypeError, match="bitwise_and: takes integers or bools, got float32"):
        ln.bitwise_and(ln.ones(3), ln.ones(3))
    with pytest.raises(ln.DTypeError, match="neg"):
        ln.negative(ln.ones(3, dtype=ln.bool))
    with pytest.raises(ln.DTypeError, match="gelu: x must be floating, got int64"):
        ln.gelu(ln.tensor([1]))
    with pytest.raises(ln.DTypeError, match="uint64"):
        ln.add(ln.ones(2, dtype="uint64"), ln.ones(2, dtype="int8"))
    x = ln.ones(3)
    with pytest.raises(ln.ShapeError, match=r"\+=: a value of shape \[2, 3\] does not fit into \[3\]"):
        x += ln.ones((2, 3))
    with pytest.raises(ln.Error, match="approximate"):
        ln.gelu(ln.ones(3), approximate="fast")
    with pytest.raises(ln.Error, match="step is 0"):
        ln.arange(0, 5, 0)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_integer_division_never_traps(dtype):
    low = np.iinfo(dtype).min
    x, y = ln.tensor(np.array([low, 7, -7], dtype)), ln.tensor(np.array([-1, 0, 0], dtype))
    assert (x // y).tolist() == [low, 0, 0]
    assert (x % y).tolist() == [0, 0, 0]


@given(st.integers(-1000, 1000), st.integers(-50, 50).filter(bool))
@settings(max_examples=50, deadline=None)
def test_floor_division_is_pythons(a, b):
    for kind in (ln.int64, ln.float64):
        x, y = ln.tensor([a], dtype=kind), ln.tensor([b], dtype=kind)
        assert (x // y).item() == a // b
        assert (x % y).item() == a % b


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_broadcast_strided_against_numpy(shape, data):
    def operand():
        sizes = [data.draw(st.sampled_from([1, n])) for n in shape[data.draw(st.integers(0, len(shape) - 1)) :]]
        a = np.arange(np.prod([2 * n for n in sizes]), dtype=np.float32).reshape([2 * n for n in sizes])
        index = tuple(
            slice(*data.draw(st.sampled_from([(0, n, 1), (0, 2 * n, 2), (n, None, 1), (n - 1, None, -1)])))
            for n in sizes
        )
        order = data.draw(st.permutations(range(len(sizes))))
        inverse = np.argsort(order)
        packed = np.ascontiguousarray(a.transpose(order))
        return packed.transpose(inverse)[index], ln.permute_dims(ln.tensor(packed), tuple(int(i) for i in inverse))[
            index
        ]

    a, x = operand()
    b, y = operand()
    try:
        expected = a * 2 - b
    except ValueError:
        with pytest.raises(ln.ShapeError):
            x * 2 - y
        return
    np.testing.assert_array_equal((x * 2 - y).numpy(), expected)


def test_casts_of_special_values_do_not_trap():
    x = ln.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1.5])
    for dtype in ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"):
        y = ln.astype(x, dtype)
        assert y.dtype.name == dtype
    assert ln.astype(x, ln.int8)[4].item() == -1
    assert ln.astype(x, ln.bool).tolist() == [True] * 5


def test_operators_in_place():
    x = ln.ones((2, 3))
    before = x
    x += 1  # the object stays the same, as a Parameter must
    x *= ln.tensor([1.0, 2.0, 3.0])
    assert before is x
    assert x.tolist() == [[2.0, 4.0, 6.0]] * 2
    row = x[0]
    row -= 2
    assert x.tolist() == [[0.0, 2.0, 4.0], [2.0, 4.0, 6.0]]


def test_power_shortcuts_agree_with_power():
    x = ln.tensor([0.25, 1.0, 4.0])
    for exponent in (2, 0.5, -0.5, -1):
        np.testing.assert_allclose((x**exponent).numpy(), x.numpy() ** exponent, rtol=1e-6)
    assert (ln.tensor([0, 2, -3]) ** 2).tolist() == [0, 4, 9]


def test_gradient_of_power_at_zero():
    x = ln.zeros(3, requires_grad=True)
    (x**0).sum().backward()
    assert x.grad.tolist() == [0.0] * 3
    y = ln.tensor([2.0, 3.0], requires_grad=True)
    (ln.zeros(2) ** y).sum().backward()
    assert y.grad.tolist() == [0.0] * 2


def test_ties_of_maximum_share_the_gradient():
    x, y = ln.tensor([1.0, 2.0], requires_grad=True), ln.tensor([1.0, 0.0], requires_grad=True)
    ln.maximum(x, y).sum().backward()
    assert x.grad.tolist() == [0.5, 1.0]
    assert y.grad.tolist() == [0.5, 0.0]


def test_where_keeps_the_gradient_of_what_was_taken():
    x = ln.tensor([0.0, 4.0], requires_grad=True)
    ln.where(x > 0, x, 1.0).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64", "float16", "bfloat16", "uint8"])
def test_makers(dtype):
    assert ln.zeros((2, 0), dtype=dtype).shape == (2, 0)
    assert ln.full((2,), 3, dtype=dtype).tolist() == [3, 3]
    assert ln.arange(1, 8, 3, dtype=dtype).tolist() == [1, 4, 7]
    assert ln.arange(8, 1, -3, dtype="int64").tolist() == [8, 5, 2]
    assert ln.eye(2, 3, k=1, dtype=dtype).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert ln.linspace(0, 4, 5, dtype=dtype).tolist() == [0, 1, 2, 3, 4]
    assert ln.ones_like(ln.zeros(3, dtype=dtype)).dtype.name == dtype
    assert ln.full_like(ln.zeros(2), 7, dtype=dtype).tolist() == [7, 7]


def test_makers_default_dtypes():
    assert ln.zeros(2).dtype == ln.float32
    assert ln.full((1,), 2).dtype == ln.int64
    assert ln.full((1,), 2.0).dtype == ln.float32
    assert ln.full((1,), True).dtype == ln.bool
    assert ln.arange(3).dtype == ln.int64
    assert ln.arange(3.0).dtype == ln.float32
    assert ln.linspace(0, 1, 3, endpoint=False).tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    assert ln.zeros(2, requires_grad=True).requires_grad


def test_large_integers_stay_exact():
    n = 2**53 + 1
    assert (ln.tensor([n]) + 1).item() == n + 1
    assert ln.full((1,), n).item() == n
    assert ln.arange(n, n + 2).tolist() == [n, n + 1]


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_for_any_number_of_threads(threads):
    x = ln.linspace(-5, 5, 300_001)
    ln.set_num_threads(1)
    expected = ln.gelu(ln.exp(x)).numpy().copy()
    ln.set_num_threads(threads)
    np.testing.assert_array_equal(ln.gelu(ln.exp(x)).numpy(), expected)
