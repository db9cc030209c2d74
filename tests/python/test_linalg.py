"""Errors, dtypes and views of the products of matrices."""

import lanner as ln
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ln.matmul(ln.ones((2, 3)), ln.ones((4, 5))), ["matmul", "3 columns", "4 rows", "[2, 3]", "[4, 5]"]),
        (lambda: ln.matmul(ln.tensor(1.0), ln.ones((2,))), ["matmul", "at least 1 dimension"]),
        (lambda: ln.matmul(ln.ones((2, 3, 4)), ln.ones((3, 4, 5))), ["matmul", "[2]", "[3]"]),
        (lambda: ln.linear(ln.ones((2, 3)), ln.ones((5, 4))), ["linear", "expects 4", "[2, 3]", "[5, 4]"]),
        (lambda: ln.linear(ln.ones((2, 3)), ln.ones((3,))), ["linear", "[out, in]", "[3]"]),
        (lambda: ln.linear(ln.ones((2, 3)), ln.ones((5, 3)), ln.ones((4,))), ["linear", "expects shape [5]", "[4]"]),
        (lambda: ln.bilinear(ln.ones((2, 3)), ln.ones((2, 4)), ln.ones((5, 3, 3))), ["bilinear", "[..., 3]", "[2, 4]"]),
        (lambda: ln.tensordot(ln.ones((2, 3)), ln.ones((2, 3)), axes=1), ["tensordot", "size 3", "size 2"]),
        (lambda: ln.tensordot(ln.ones((2, 3)), ln.ones((2, 3)), axes=3), ["tensordot", "axes is 3"]),
        (lambda: ln.tensordot(ln.ones((2,)), ln.ones((2,)), axes=((0, 0), (0, 0))), ["tensordot", "repeated"]),
        (lambda: ln.outer(ln.ones((2, 2)), ln.ones((2,))), ["outer", "[2, 2]"]),
        (lambda: ln.vecdot(ln.ones((3,)), ln.ones((4,))), ["vecdot", "3", "4"]),
        (lambda: ln.einsum("ij,jk", ln.ones((2, 3))), ["einsum", "2 operands", "got 1"]),
        (lambda: ln.einsum("ij", ln.ones((2,))), ["einsum", "expects 2 dimensions", "[2]"]),
        (lambda: ln.einsum("ij,jk", ln.ones((2, 3)), ln.ones((4, 5))), ["einsum", "j has size 4", "3 before"]),
        (lambda: ln.einsum("ii", ln.ones((2, 3))), ["einsum", "'i' is repeated", "2 and 3"]),
        (lambda: ln.einsum("ij->k", ln.ones((2, 3))), ["einsum", "'k'", "no operand"]),
        (lambda: ln.einsum("ij->ii", ln.ones((2, 3))), ["einsum", "'i' is twice"]),
        (lambda: ln.einsum("i1->i", ln.ones((2, 3))), ["einsum", "'1' is no letter"]),
        (lambda: ln.einsum("i..", ln.ones((2, 3))), ["einsum", "..."]),
        (lambda: ln.einsum("...i->i", ln.ones((2, 3))), ["einsum", "lacks"]),
    ],
)
def test_shape_errors_say_what_came_and_what_was_expected(call, words):
    with pytest.raises(ln.ShapeError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_bool_is_no_number():
    x = ln.ones((2, 2), dtype=ln.bool)
    with pytest.raises(ln.DTypeError, match="matmul"):
        ln.matmul(x, x)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("float32", "float64", "float64"),
        ("int32", "float32", "float32"),
        ("uint8", "int64", "int64"),
        ("bool", "int16", "int16"),
        ("float16", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_dtypes_are_promoted(a, b, expected):
    assert ln.matmul(ln.ones((2, 3), dtype=a), ln.ones((3, 2), dtype=b)).dtype == getattr(ln, expected)
    assert ln.einsum("ij,jk", ln.ones((2, 3), dtype=a), ln.ones((3, 2), dtype=b)).dtype == getattr(ln, expected)


@pytest.mark.parametrize("step", [1, -1, 2])
def test_views_with_any_strides(step):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 60)).astype(np.float32), rng.standard_normal((60, 50)).astype(np.float32)
    view_a, view_b = ln.tensor(a)[::step, ::step], ln.tensor(b)[::step, ::step]
    want = a[::step, ::step].astype(np.float64) @ b[::step, ::step]
    np.testing.assert_allclose(ln.matmul(view_a, view_b).numpy(), want, rtol=1e-5, atol=1e-4)


def test_broadcast_views():
    x = ln.broadcast_to(ln.tensor([[2.0]]), (30, 40))
    assert ln.matmul(x, ln.ones((40, 5))).tolist() == [[80.0] * 5] * 30
    assert ln.linear(x, ln.broadcast_to(ln.tensor([0.5]), (3, 40))).tolist() == [[40.0] * 3] * 30


def test_axes_of_size_1_among_the_rows():
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((8, 6)).astype(np.float32), rng.standard_normal((5, 6)).astype(np.float32)
    for axis in range(3):
        rows, weight = ln.expand_dims(ln.tensor(x), axis=axis), ln.tensor(w)
        if axis == 2:
            rows = ln.matrix_transpose(rows)
        want = np.swapaxes(x[:, :, None], 1, 2) @ w.T if axis else (x @ w.T)[None]
        np.testing.assert_allclose(ln.linear(rows, weight).numpy(), want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ln.matmul(rows, ln.matrix_transpose(weight)).numpy(), want, rtol=1e-5, atol=1e-5)


def test_gradient_of_a_shared_matrix_has_its_shape():
    x, w = ln.ones((2, 3, 4)), ln.ones((4, 5), requires_grad=True)
    ln.sum(ln.matmul(x, w)).backward()
    assert w.grad.tolist() == [[6.0] * 5] * 4


def test_operator():
    a, b = ln.tensor([[1.0, 2.0]]), ln.tensor([[3.0], [4.0]])
    assert (a @ b).tolist() == [[11.0]]


def test_same_bits_on_one_thread_and_on_two():
    rng = np.random.default_rng(1)
    a = ln.tensor(rng.standard_normal((333, 257)).astype(np.float32))
    w = ln.tensor(rng.standard_normal((190, 257)).astype(np.float32))
    results = []
    threads = ln.get_num_threads()
    for n in (1, 2):
        ln.set_num_threads(n)
        results.append(ln.linear(a, w).numpy().tobytes())
    ln.set_num_threads(threads)
    assert results[0] == results[1]
