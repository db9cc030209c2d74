"""Small tables of features, each with a label or a number to tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner.datasets.source import DatasetNotFound, Root, Source, find, format_error, read

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Table = tuple[NDArray[np.float64], NDArray[Any]]

__all__ = ["breast_cancer", "diabetes", "digits", "iris", "wine"]


def iris(root: Root = None) -> Table:
    """Measures of iris flowers: x float64 [150, 4] (sepal and petal length and width, cm), species int64 [150].

    >>> x, y = ln.datasets.iris()
    >>> [int((y == k).sum()) for k in range(3)]
    [50, 50, 50]
    """
    return _table("iris", ["iris.csv"], lambda paths: _labelled_csv(paths[0]), root)


def wine(root: Root = None) -> Table:
    """Chemical analyses of wines of three growers: x float64 [178, 13], grower int64 [178].

    >>> x, y = ln.datasets.wine()
    >>> x.shape
    (178, 13)
    """
    return _table("wine", ["wine_data.csv"], lambda paths: _labelled_csv(paths[0]), root)


def breast_cancer(root: Root = None) -> Table:
    """Cell nuclei of breast tumours: x float64 [569, 30]; y int64 [569] is 0 for malignant, 1 for benign.

    >>> x, y = ln.datasets.breast_cancer()
    >>> x.shape, int(y.sum())
    ((569, 30), 357)
    """
    return _table("breast_cancer", ["breast_cancer.csv"], lambda paths: _labelled_csv(paths[0]), root)


def digits(root: Root = None) -> Table:
    """Handwritten digits of 8x8 pixels from 0 to 16: x float64 [1797, 64], digit int64 [1797].

    >>> x, y = ln.datasets.digits()
    >>> x.shape, x.max()
    ((1797, 64), np.float64(16.0))
    """

    def read(paths: list[Path]) -> Table:
        table = _numbers(paths[0], ",", 0)
        return table[:, :-1], _labels(table)

    return _table("digits", ["digits.csv.gz"], read, root)


def diabetes(root: Root = None) -> Table:
    """Diabetes patients: x float64 [442, 10], y float64 [442] the progression of the disease a year later.

    Each column of x has mean 0 and sum of squares 1, as in scikit-learn. Efron et al.: Least angle regression, 2004.

    >>> x, y = ln.datasets.diabetes()
    >>> x.shape, round(float((x**2).sum()), 6), y[:2].tolist()
    ((442, 10), 10.0, [151.0, 75.0])
    """

    def read(paths: list[Path]) -> Table:
        x = _numbers(paths[0], None, 0)
        x = x - x.mean(axis=0)
        return x / (x**2).sum(axis=0) ** 0.5, _numbers(paths[1], None, 0)[:, 0]

    return _table("diabetes", ["diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"], read, root)


def _table(name: str, files: Sequence[str], read: Callable[[list[Path]], Table], root: Root) -> Table:
    source = Source(name, ("uci",))
    tried: list[str] = []
    paths = [find(source, (file,), root, tried) for file in files]
    found = [path for path in paths if path is not None]
    if len(found) == len(files):
        return read(found)
    try:
        from sklearn import datasets as bundled
    except ImportError:
        raise DatasetNotFound(
            f"{name}: found neither {' and '.join(files)} (tried {', '.join(dict.fromkeys(tried))}) nor scikit-learn, "
            "which has it bundled. Install it with `pip install scikit-learn`, or set LANNER_DATA."
        ) from None
    x, y = getattr(bundled, f"load_{name}")(return_X_y=True)
    return x.astype("float64"), y.astype("float64" if name == "diabetes" else "int64")


def _numbers(path: Path, delimiter: str | None, skip: int) -> NDArray[np.float64]:
    import numpy as np

    try:
        lines = read(path).decode("ascii").splitlines()[skip:]
        return np.asarray([[float(v) for v in line.split(delimiter)] for line in lines if line.strip()], np.float64)
    except ValueError as error:
        raise format_error(f"{path}: not a table of numbers ({error})") from error


def _labels(table: NDArray[np.float64]) -> NDArray[np.int64]:
    return table[:, -1].astype("int64")


def _labelled_csv(path: Path) -> Table:
    """One line ``rows,features,class names``, then rows whose last column is the label."""
    rows, features, *_ = [*read(path).split(b"\n", 1)[0].split(b","), b"", b""]
    table = _numbers(path, ",", 1)
    if not rows.isdigit() or not features.isdigit() or table.shape != (int(rows), int(features) + 1):
        raise format_error(f"{path}: the header does not agree with a table of shape {list(table.shape)}")
    return table[:, :-1], _labels(table)
