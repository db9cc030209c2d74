"""Every row of every `cases_*.py`: values on each instruction set, strides, half precision, gradients."""

import importlib
from pathlib import Path

import lanner as ln
import numpy as np
import pytest

TABLES = sorted(p.stem for p in Path(__file__).parent.glob("cases_*.py"))
CASES = [case for table in TABLES for case in importlib.import_module(table).CASES]
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
ROWS = [pytest.param(case, i, id=f"{case}-{i}") for case in CASES for i in range(len(case.shapes))]
GRADIENT_ROWS = [pytest.param(*row.values, id=row.id) for row in ROWS if row.values[0].gradient]


def as_tensor(array, dtype):
    x = ln.tensor(array)
    return x.to(dtype) if array.dtype.kind == "f" and array.dtype.name != dtype else x


def flat_outputs(result):
    return [result] if not isinstance(result, (tuple, list)) else list(result)


def check_values(case, arrays, dtype, results):
    exact = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    with np.errstate(all="ignore"):
        expected = flat_outputs(case.ref(*exact, **case.kwargs))
    results = flat_outputs(results)
    assert len(results) == len(expected)
    terms = max(1, case.reduces(*arrays))
    for got, want in zip(results, expected, strict=True):
        want = np.asarray(want)
        assert got.shape == want.shape
        values = got.to(ln.float64).numpy() if got.dtype.is_floating_point else got.numpy()
        if not got.dtype.is_floating_point:
            np.testing.assert_array_equal(values, want)
            continue
        eps = EPS[got.dtype.name]
        inputs = [np.abs(a[np.isfinite(a)]).max() for a in arrays if a.dtype.kind == "f" and np.isfinite(a).any()]
        finite = np.abs(want[np.isfinite(want)])
        magnitude = max([*inputs, finite.max() if finite.size else 0.0, 1e-30])
        # An op that sums n terms may lose sqrt(n) rounding steps of the largest partial result, more only on bad luck.
        tolerance = eps * case.ulp * (magnitude if terms > 1 else 1.0) * (1 + np.sqrt(terms))
        np.testing.assert_allclose(
            values, want, rtol=case.ulp * eps, atol=tolerance if terms > 1 else eps * case.ulp * magnitude
        )


@pytest.mark.parametrize("isa", ln.cpu.available_isas())
@pytest.mark.parametrize(("case", "row"), ROWS)
def test_values(case, row, isa):
    with ln.cpu.isa(isa):
        for dtype in case.dtypes:
            arrays = case.arrays(row, dtype)
            check_values(case, arrays, dtype, case.fn(*[as_tensor(a, dtype) for a in arrays], **case.kwargs))


@pytest.mark.parametrize(("case", "row"), ROWS)
def test_strided_inputs(case, row):
    dtype = "float32" if "float32" in case.dtypes else case.dtypes[0]
    arrays = case.arrays(row, dtype)
    strided = []
    for a in arrays:
        if a.ndim == 0:
            strided.append(ln.tensor(a))
            continue
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype)
        wide[..., 1::2] = a
        x = ln.tensor(np.ascontiguousarray(np.moveaxis(wide, -1, 0)))
        strided.append(ln.moveaxis(x, 0, -1)[..., 1::2])
    check_values(case, arrays, dtype, case.fn(*strided, **case.kwargs))


@pytest.mark.parametrize(("case", "row"), GRADIENT_ROWS)
def test_gradients(case, row):
    arrays = case.arrays(row, "float64", seed=1)
    inputs = []
    for a in arrays:
        x = ln.tensor(a)
        inputs.append(x.requires_grad_() if a.dtype.kind == "f" else x)
    many = sum(a.size for a in arrays) > 100
    ln.gradcheck(lambda *xs: case.fn(*xs, **case.kwargs), inputs, order=case.order, atol=1e-4, fast_mode=many)
