"""The Tensor class: conversions, sharing of memory, operators, promotion, errors."""

import copy
import gc
import os
import pickle
import subprocess
import sys

import lanner as ln
import numpy as np
import pytest

ALL = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64".split()


@pytest.mark.parametrize("dtype", ALL)
def test_numpy_there_and_back(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    t = ln.tensor(a)
    assert (t.dtype.name, t.shape) == (dtype, (2, 3))
    b = t.numpy()
    assert b.dtype == a.dtype
    np.testing.assert_array_equal(a, b)
    assert t.tolist() == a.tolist()


def test_python_data():
    assert ln.tensor(1.5).dtype == ln.float32
    assert ln.tensor([1, 2]).dtype == ln.int64
    assert ln.tensor([[True], [False]]).dtype == ln.bool
    assert ln.tensor([1, 2.5]).dtype == ln.float32
    assert ln.tensor(2**40).item() == 2**40
    assert ln.tensor([2**63 + 5], dtype=ln.uint64).item() == 2**63 + 5
    assert ln.tensor([]).shape == (0,)
    assert ln.tensor(np.float64(2.0)).dtype == ln.float64
    with pytest.raises(ln.ShapeError, match="nested sequences"):
        ln.tensor([[1, 2], [3]])
    with pytest.raises(ln.DTypeError, match="complex"):
        ln.tensor(np.zeros(2, complex))


def test_sharing_and_copying():
    a = np.zeros((2, 2), np.float32)
    assert ln.asarray(a).numpy() is not a
    shared, copied = ln.asarray(a), ln.tensor(a)
    a[0, 0] = 1
    assert (shared[0, 0].item(), copied[0, 0].item()) == (1, 0)
    shared.numpy()[1, 1] = 2
    assert a[1, 1] == 2
    a.flags.writeable = False
    assert ln.asarray(a)._version == 0
    ln.asarray(a)[0] = 5.0
    assert a[0, 1] == 0  # a read-only array is copied, not written through


def test_memory_outlives_its_maker():
    a = ln.asarray(np.arange(1000.0)).numpy()
    view = ln.tensor(np.ones(10))[3:].numpy()
    gc.collect()
    assert a.sum() == 499500 and view.sum() == 7


@pytest.mark.parametrize("make", [lambda a: a[::-1], lambda a: a.T, lambda a: a[:, ::2], np.asfortranarray])
def test_strided_numpy_arrays(make):
    a = make(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(ln.asarray(a).numpy(), a)
    np.testing.assert_array_equal((ln.asarray(a) + 1).numpy(), a + 1)


def test_foreign_byte_order_and_unaligned():
    a = np.arange(4, dtype=">i4")
    assert ln.tensor(a).tolist() == [0, 1, 2, 3]
    record = np.zeros(3, dtype=[("a", "u1"), ("b", "f4")])
    record["b"] = [1, 2, 3]
    assert ln.tensor(record["b"]).tolist() == [1, 2, 3]


def test_dlpack_with_numpy():
    t = ln.ones((2, 3))[:, 1:]
    a = np.from_dlpack(t)
    np.testing.assert_array_equal(a, np.ones((2, 2)))
    back = ln.from_dlpack(np.arange(6, dtype=np.int16).reshape(2, 3).T)
    assert back.tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ln.Error, match="detach"):
        ln.ones(1, requires_grad=True).__dlpack__()
    del t
    gc.collect()
    assert a.sum() == 4


def test_requires_grad_is_not_given_away_silently():
    with pytest.raises(ln.Error, match=r"detach\(\)"):
        ln.ones(2, requires_grad=True).numpy()
    with pytest.raises(ln.DTypeError, match="bfloat16"):
        ln.ones(2, dtype=ln.bfloat16).numpy()


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ("int32", "int64", "int64"), ("uint8", "int8", "int16"), ("int64", "float32", "float32"),
        ("float16", "bfloat16", "float32"), ("float32", "float64", "float64"), ("bool", "uint8", "uint8"),
    ],
)  # fmt: skip
def test_promotion(a, b, result):
    assert (ln.ones(1, dtype=a) + ln.ones(1, dtype=b)).dtype.name == result
    assert (ln.ones(1, dtype=b) + ln.ones(1, dtype=a)).dtype.name == result


def test_numbers_are_weak():
    assert (ln.ones(1, dtype=ln.float16) * 2.5).dtype == ln.float16
    assert (ln.ones(1, dtype=ln.int8) + 1).dtype == ln.int8
    assert (ln.ones(1, dtype=ln.int8) + 1.5).dtype == ln.float32
    assert (2 / ln.ones(1, dtype=ln.int32)).dtype == ln.float32
    with pytest.raises(ln.DTypeError):
        ln.ones(1, dtype=ln.uint64) + ln.ones(1, dtype=ln.int64)


def test_operators_match_numpy():
    a, b = np.array([7, -7, 5], np.int64), np.array([2, 2, -3], np.int64)
    x, y = ln.tensor(a), ln.tensor(b)
    for got, want in [
        (x // y, a // b), (x % y, a % b), (x & y, a & b), (x ^ y, a ^ b), (~x, ~a), (x << 1, a << 1), (x >= y, a >= b),
        (x == y, a == b), (10 - x, 10 - a), (2 ** ln.tensor([1, 3]), np.array([2, 8])), (-x, -a), (abs(x), abs(a)),
        (7 // y, 7 // b), (x @ y, a @ b),
    ]:  # fmt: skip
        np.testing.assert_array_equal(got.numpy(), want)


def test_in_place_operators_write_into_shared_memory():
    x = ln.zeros(4)
    view = x[1:3]
    view += 2
    view *= 3.0
    assert x.tolist() == [0, 6, 6, 0]
    i = ln.ones(2, dtype=ln.int32)
    with pytest.raises(ln.DTypeError, match="float32"):
        i += 0.5
    with pytest.raises(ln.ShapeError):
        i += ln.ones((3, 2), dtype=ln.int32)


def test_conversions_to_python():
    assert float(ln.tensor([2.5])) == 2.5 and int(ln.tensor(3)) == 3 and bool(ln.tensor([0.0])) is False
    assert [10, 20, 30][ln.tensor(1)] == 20
    assert f"{ln.tensor(3.14159):.2f}" == "3.14"
    assert len(ln.zeros((4, 2))) == 4 and [r.tolist() for r in ln.ones((2, 1))] == [[1], [1]]
    with pytest.raises(ln.ShapeError, match="ambiguous"):
        bool(ln.zeros(2))
    with pytest.raises(TypeError):
        len(ln.tensor(1))
    with pytest.raises(ln.ShapeError, match="one element"):
        ln.zeros(2).item()


def test_repr():
    assert repr(ln.tensor([1.0, 2.0], requires_grad=True)) == "tensor([1., 2.], requires_grad=True)"
    assert repr(ln.tensor([1], dtype=ln.bfloat16)) == "tensor([1.], dtype=bfloat16)"
    assert "shape=[0, 3]" in repr(ln.zeros((0, 3)))


def test_hash_equality_and_copy():
    x, y = ln.ones(2, requires_grad=True), ln.ones(2)
    assert len({x, y, x}) == 2
    z = copy.deepcopy(x)
    assert z.requires_grad and z.tolist() == x.tolist()
    with ln.no_grad():
        z[0] = 5.0
    assert x.tolist() == [1, 1]
    assert pickle.loads(pickle.dumps(ln.float16)) is ln.float16


def test_dtype_and_device_arguments():
    assert ln.zeros(1, dtype="int8").dtype == ln.int8
    assert ln.zeros(1, dtype=np.float16).dtype == ln.float16
    assert ln.ones(1).to("cpu").to(ln.float64).to(dtype="int32").dtype == ln.int32
    with pytest.raises(ln.DeviceError, match="CUDA"):
        ln.ones(1).to("cuda")
    with pytest.raises(ln.DeviceError, match="CUDA"):
        ln.ones(1).cuda()
    with pytest.raises(ln.DTypeError, match="float33"):
        ln.zeros(1, dtype="float33")
    assert ln.ones(1).__array_namespace__() is ln


def test_errors_are_what_others_catch():
    assert issubclass(ln.ShapeError, ValueError) and issubclass(ln.DTypeError, TypeError)
    assert issubclass(ln.DeviceError, RuntimeError) and issubclass(ln.FormatError, ValueError)
    for error in (ln.ShapeError, ln.DTypeError, ln.DeviceError, ln.FormatError):
        assert issubclass(error, ln.Error)


def test_import_loads_neither_numpy_nor_tqdm():
    heavy = ("numpy", "tqdm", "matplotlib", "sklearn", "torch")
    code = f"import sys, lanner; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_on_any_number_of_threads(threads):
    before = ln.get_num_threads()
    results = []
    for n in (1, threads):
        ln.set_num_threads(n)
        ln.manual_seed(0)
        x = ln.random.normal((300, 257)).requires_grad_()
        w = ln.random.normal((257, 130)).requires_grad_()
        y = ln.softmax(ln.tanh(x @ w), axis=1)
        (y * y).sum().backward()
        results.append([t.detach().numpy().tobytes() for t in (y, x.grad, w.grad, ln.sum(y, axis=0))])
    ln.set_num_threads(before)
    assert results[0] == results[1]


def test_forced_instruction_set():
    code = "import lanner; print(lanner._core.isa())"
    for isa in ln.cpu.available_isas():
        out = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"LANNER_ISA": isa},
        )
        assert out.stdout.strip() == isa
    bad = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"LANNER_ISA": "avx9"}
    )
    assert bad.returncode == 1 and "avx9" in bad.stderr


def test_no_memory():
    with pytest.raises(ln.MemoryError, match="bytes") as caught:
        ln.empty((1 << 50,))
    assert isinstance(caught.value, MemoryError) and isinstance(caught.value, ln.Error)


def test_methods_that_move_axes():
    a = np.arange(24.0).reshape(2, 3, 4)
    x = ln.tensor(a)
    np.testing.assert_array_equal(x.swapaxes(0, -1).numpy(), a.swapaxes(0, -1))
    np.testing.assert_array_equal(x.permute_dims((2, 0, 1)).numpy(), a.transpose(2, 0, 1))
    x.swapaxes(0, 1)[2, 1, 3] = -1  # a view
    assert x[1, 2, 3].item() == -1
