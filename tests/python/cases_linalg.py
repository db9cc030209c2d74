"""Products of matrices, vectors and tensors."""

import lanner as ln
import numpy as np
from case import ALL_FLOATS, INTS, Case


def ref_linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else y + bias


def ref_bilinear(x1, x2, weight, bias=None):
    y = np.einsum("...i,oij,...j->...o", x1, weight, x2)
    return y if bias is None else y + bias


def last(a, *others):
    return a.shape[-1]


def einsum_case(equation, *rows, terms, **options):
    return Case(
        f"einsum {equation}",
        lambda *xs: ln.einsum(equation, *xs),
        rows,
        lambda *xs: np.einsum(equation, *xs),
        reduces=lambda *xs: terms,
        **options,
    )


NUMBERS = (*ALL_FLOATS, *INTS)
MATRICES = [
    [(5, 3), (3, 9)],
    [(1, 257), (257, 1)],
    [(1, 1), (1, 1)],
    [(17, 33), (33, 65)],
    [(130, 40), (40, 35)],
    [(4, 0), (0, 3)],
    [(0, 4), (4, 3)],
    [(4, 3), (3, 0)],
    [(7,), (7,)],
    [(7,), (7, 3)],
    [(3, 7), (7,)],
    [(2, 3, 4, 5), (5,)],
    [(5,), (2, 3, 5, 4)],
    [(6, 3, 4), (6, 4, 5)],
    [(2, 3, 4), (4, 5)],
    [(3, 4), (2, 4, 5)],
    [(2, 1, 3, 4), (1, 5, 4, 2)],
    [(0, 3, 4), (4, 5)],
]

CASES = [
    Case("matmul", ln.matmul, MATRICES, np.matmul, dtypes=NUMBERS, reduces=last),
    Case(
        "matmul transposed",
        lambda a, b: ln.matmul(ln.matrix_transpose(a), ln.matrix_transpose(b)),
        [[(3, 5), (9, 3)], [(40, 70), (130, 40)], [(2, 3, 4), (2, 5, 3)], [(1, 6), (5, 1)], [(40, 3), (300, 40)]],
        lambda a, b: np.matmul(np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)),
        dtypes=("float32", "float64", "int16"),
        reduces=lambda a, b: a.shape[-2],
    ),
    Case(
        "linear",
        ln.linear,
        [
            [(4, 3), (5, 3), (5,)],
            [(4, 3), (5, 3)],
            [(3,), (5, 3), (5,)],
            [(2, 3, 7), (33, 7), (33,)],
            [(65, 84), (10, 84), (10,)],
            [(1, 64), (300, 64), (300,)],
            [(20, 1), (1, 1), (1,)],
            [(0, 3), (5, 3), (5,)],
            [(4, 0), (5, 0), (5,)],
        ],
        ref_linear,
        dtypes=(*ALL_FLOATS, "int32"),
        reduces=last,
    ),
    Case(
        "bilinear",
        ln.bilinear,
        [
            [(4, 3), (4, 2), (5, 3, 2), (5,)],
            [(4, 3), (4, 2), (5, 3, 2)],
            [(2, 3, 6), (2, 3, 5), (4, 6, 5), (4,)],
            [(3,), (2,), (5, 3, 2), (5,)],
            [(0, 3), (0, 2), (5, 3, 2), (5,)],
        ],
        ref_bilinear,
        dtypes=ALL_FLOATS,
        low=-1.0,
        high=1.0,
        reduces=lambda x1, x2, *rest: x1.shape[-1] * x2.shape[-1],
        ulp=8.0,
    ),
    Case(
        "tensordot 2",
        ln.tensordot,
        [[(2, 3, 4), (3, 4, 5)], [(3, 4), (3, 4)], [(2, 0, 3), (0, 3, 4)]],
        np.tensordot,
        dtypes=(*ALL_FLOATS, "int64"),
        reduces=lambda a, b: a.shape[-1] * a.shape[-2],
    ),
    Case("tensordot 0", ln.tensordot, [[(2, 3), (4,)], [(), (2,)]], np.tensordot, {"axes": 0}, reduces=lambda a, b: 2),
    Case(
        "tensordot pairs",
        ln.tensordot,
        [[(3, 2, 4), (4, 3, 5)]],
        np.tensordot,
        {"axes": ((0, -1), (1, 0))},
        reduces=lambda a, b: 12,
    ),
    Case("outer", ln.outer, [[(3,), (5,)], [(1,), (1,)], [(0,), (4,)]], np.outer, dtypes=NUMBERS),
    Case(
        "vecdot",
        ln.vecdot,
        [[(7,), (7,)], [(4, 1, 5), (3, 5)], [(2, 300), (2, 300)], [(3, 0), (3, 0)]],
        lambda a, b: np.sum(a * b, axis=-1, dtype=a.dtype),
        dtypes=(*ALL_FLOATS, "int32", "uint8"),
        reduces=last,
    ),
    Case(
        "vecdot axis",
        ln.vecdot,
        [[(5, 3), (5, 1)]],
        lambda a, b, axis: np.sum(a * b, axis=axis),
        {"axis": -2},
        reduces=lambda a, b: 5,
    ),
    einsum_case("ij,jk->ik", [(3, 4), (4, 5)], [(3, 0), (0, 5)], terms=4, dtypes=(*ALL_FLOATS, "int32")),
    einsum_case("ij,jk", [(3, 4), (4, 5)], terms=4),
    einsum_case("ba", [(3, 4)], terms=1),
    einsum_case("ii", [(4, 4)], terms=4),
    einsum_case("ii->i", [(4, 4)], [(0, 0)], terms=1),
    einsum_case("iji->j", [(4, 3, 4)], terms=4),
    einsum_case("ij->", [(4, 3)], terms=12, dtypes=("float32", "float64", "int16")),
    einsum_case("i,i->i", [(6,), (6,)], terms=1),
    einsum_case("i,j->ij", [(3,), (4,)], terms=1),
    einsum_case("i,i", [(6,), (6,)], terms=6),
    einsum_case("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)], terms=4),
    einsum_case("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)], terms=5),
    einsum_case("...ij,...jk->...ik", [(2, 3, 4), (4, 5)], [(3, 4), (4, 5)], [(2, 1, 3, 4), (6, 4, 5)], terms=4),
    einsum_case("...ij,jk", [(2, 3, 4), (4, 5)], terms=4),
    einsum_case("i...,i...->...", [(3, 2, 4), (3, 4)], terms=3),
    einsum_case("ij,jk,kl->il", [(3, 4), (4, 5), (5, 2)], terms=20, low=-1.0, high=1.0, ulp=8.0),
    einsum_case("ij,ik,il->jkl", [(3, 4), (3, 5), (3, 2)], terms=3, ulp=8.0),
    einsum_case("ij,jk->ik", [(3, 1), (4, 5)], terms=4),
    einsum_case("ijk,k,j", [(3, 4, 5), (5,), (4,)], terms=20, ulp=8.0),
    einsum_case("iij,jkk->ik", [(3, 3, 4), (4, 2, 2)], terms=8),
    einsum_case("ab,cd->", [(2, 3), (4, 5)], terms=120, ulp=8.0),
]
