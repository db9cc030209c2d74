"""Public data sets, as NumPy arrays.

A file is looked for in the ``root`` argument (a folder of data sets, or the set's own), in the folder that
``LANNER_DATA`` names, and in the cache (``LANNER_CACHE``, else ``~/.cache/lanner``); where none has it, it is
downloaded into the cache, and used only if its sha256 is the published one.

>>> x, y = ln.datasets.iris()
>>> x.shape, y.shape
((150, 4), (150,))
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
    Table = tuple[NDArray[np.float64], NDArray[Any]]

__all__ = [
    "DatasetNotFound",
    "breast_cancer",
    "cifar10",
    "diabetes",
    "digits",
    "fashion_mnist",
    "iris",
    "mnist",
    "wine",
]


class DatasetNotFound(FileNotFoundError):
    """A data set is nowhere to be had; the message says where it was looked for."""


@dataclass(frozen=True)
class _File:
    name: str
    sha256: str


@dataclass(frozen=True)
class _Source:
    """A set's name, the folder names that may hold it, and where its files can be downloaded."""

    name: str
    folders: Sequence[str]
    urls: Sequence[str] = ()


_MNIST = _Source(
    "mnist",
    ("mnist", "MNIST/raw"),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
_MNIST_FILES = {
    "train": (
        _File("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        _File("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ),
    "test": (
        _File("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        _File("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
}
_FASHION_MNIST = _Source(
    "fashion_mnist",
    ("fashion_mnist", "fashion_mnist_subset", "FashionMNIST/raw"),
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
)
_FASHION_MNIST_FILES = {
    "train": (
        _File("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        _File("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ),
    "test": (
        _File("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        _File("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
}
_CIFAR10 = _Source(
    "cifar10",
    ("cifar10", "cifar10_subset", "cifar-10-batches-bin"),
    ("https://www.cs.toronto.edu/~kriz/",),
)
_CIFAR10_ARCHIVE = _File("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")
_CIFAR10_BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}


def mnist(split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True) -> Arrays:
    """Handwritten digits: images uint8 [N, 1, 28, 28] and labels int64 [N]; 60,000 to train with, 10,000 to test.

    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998.

    .. code-block:: python

        x, y = ln.datasets.mnist("test")
        x.shape, x.dtype  # ((10000, 1, 28, 28), dtype('uint8'))
    """
    return _idx_pair(_MNIST, _MNIST_FILES[_split(split)], root, download)


def fashion_mnist(split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True) -> Arrays:
    """Articles of clothing in the form of ``mnist``: images uint8 [N, 1, 28, 28] and labels int64 [N].

    Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017. A folder ``fashion_mnist_subset`` with fewer images serves as well.

    .. code-block:: python

        x, y = ln.datasets.fashion_mnist("train")
    """
    return _idx_pair(_FASHION_MNIST, _FASHION_MNIST_FILES[_split(split)], root, download)


def cifar10(split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True) -> Arrays:
    """Colour photographs of ten classes: images uint8 [N, 3, 32, 32] and labels int64 [N].

    Krizhevsky: Learning multiple layers of features from tiny images, 2009. Reads the binary version, gzipped or not; a
    folder ``cifar10_subset`` with fewer images serves as well.

    .. code-block:: python

        x, y = ln.datasets.cifar10("test")
    """
    import numpy as np

    names = _CIFAR10_BATCHES[_split(split)]
    tried: list[str] = []
    paths = [_find(_CIFAR10, (name + ".gz", name), root, tried) for name in names]
    if None in paths:
        archive = _find(_CIFAR10, (_CIFAR10_ARCHIVE.name,), root, tried)
        if archive is None:
            archive = _download(_CIFAR10, _CIFAR10_ARCHIVE, download, tried)
        blocks = _read_tar(archive, names)
    else:
        blocks = [_read(path) for path in paths if path is not None]
    images, labels = [], []
    for name, block in zip(names, blocks, strict=True):
        records, rest = divmod(len(block), 3073)
        if rest or not records:
            raise _format_error(f"{name}: {len(block)} bytes are no whole number of records of 3073 bytes")
        table = np.frombuffer(block, np.uint8).reshape(records, 3073)
        labels.append(table[:, 0].astype(np.int64))
        images.append(table[:, 1:].reshape(records, 3, 32, 32))
        if labels[-1].max() > 9:
            raise _format_error(f"{name}: label {labels[-1].max()} is none of CIFAR-10's ten classes")
    return np.concatenate(images), np.concatenate(labels)


def iris(root: str | os.PathLike[str] | None = None) -> Table:
    """Measures of iris flowers: x float64 [150, 4] (sepal and petal length and width, cm), species int64 [150].

    >>> x, y = ln.datasets.iris()
    >>> [int((y == k).sum()) for k in range(3)]
    [50, 50, 50]
    """
    return _table("iris", ["iris.csv"], lambda paths: _labelled_csv(paths[0]), root)


def wine(root: str | os.PathLike[str] | None = None) -> Table:
    """Chemical analyses of wines of three growers: x float64 [178, 13], grower int64 [178].

    >>> x, y = ln.datasets.wine()
    >>> x.shape
    (178, 13)
    """
    return _table("wine", ["wine_data.csv"], lambda paths: _labelled_csv(paths[0]), root)


def breast_cancer(root: str | os.PathLike[str] | None = None) -> Table:
    """Cell nuclei of breast tumours: x float64 [569, 30]; y int64 [569] is 0 for malignant, 1 for benign.

    >>> x, y = ln.datasets.breast_cancer()
    >>> x.shape, int(y.sum())
    ((569, 30), 357)
    """
    return _table("breast_cancer", ["breast_cancer.csv"], lambda paths: _labelled_csv(paths[0]), root)


def digits(root: str | os.PathLike[str] | None = None) -> Table:
    """Handwritten digits of 8x8 pixels from 0 to 16: x float64 [1797, 64], digit int64 [1797].

    >>> x, y = ln.datasets.digits()
    >>> x.shape, x.max()
    ((1797, 64), np.float64(16.0))
    """

    def read(paths: list[Path]) -> Table:
        table = _numbers(paths[0], ",", 0)
        return table[:, :-1], _labels(table)

    return _table("digits", ["digits.csv.gz"], read, root)


def diabetes(root: str | os.PathLike[str] | None = None) -> Table:
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


# ---- where the files are ----


def _split(split: str) -> str:
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    return split


def _cache() -> Path:
    return Path(os.environ.get("LANNER_CACHE") or Path.home() / ".cache" / "lanner")


def _places(source: _Source, root: str | os.PathLike[str] | None) -> list[Path]:
    """The folders to look in, in order."""
    places = []
    if root is not None:
        places += [Path(root), *(Path(root) / folder for folder in source.folders)]
    if os.environ.get("LANNER_DATA"):
        places += [Path(os.environ["LANNER_DATA"]) / folder for folder in source.folders]
    return [*places, *(_cache() / folder for folder in source.folders)]


def _find(source: _Source, names: Sequence[str], root: str | os.PathLike[str] | None, tried: list[str]) -> Path | None:
    """The first of ``names`` that is in one of the places."""
    for place in _places(source, root):
        for name in names:
            if (place / name).is_file():
                return place / name
        tried.append(str(place))
    return None


def _download(source: _Source, file: _File, allowed: bool, tried: list[str]) -> Path:
    """Into the cache, under a temporary name until its sha256 is known to be right."""
    if not allowed:
        raise _not_found(source, file.name, [*dict.fromkeys(tried), "no download (download=False)"])
    target = _cache() / source.folders[0] / file.name
    failures = []
    for base in source.urls:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=file.name + ".", suffix=".part")
        except OSError as error:
            failures.append(f"{target.parent} cannot be written to: {error}")
            break
        try:
            with os.fdopen(handle, "wb") as out:
                digest = _fetch(base + file.name, out)
                out.flush()
                os.fsync(out.fileno())
            if digest == file.sha256:
                os.replace(temporary, target)
                return target
            failures.append(f"{base}{file.name}: its sha256 is {digest}, expected {file.sha256}")
        except OSError as error:  # URLError and timeouts are OSErrors
            failures.append(f"{base}{file.name}: {error}")
        finally:
            Path(temporary).unlink(missing_ok=True)
    raise _not_found(source, file.name, [*dict.fromkeys(tried), *failures])


def _fetch(url: str, out: Any) -> str:
    """Write what ``url`` gives to ``out``; return its sha256."""
    from urllib.request import Request, urlopen

    from tqdm import tqdm

    digest = hashlib.sha256()
    with urlopen(Request(url, headers={"User-Agent": "lanner"}), timeout=30) as response:
        size = response.headers.get("Content-Length")
        with tqdm(
            total=int(size) if size else None, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[1], leave=False
        ) as bar:
            while block := response.read(1 << 16):
                digest.update(block)
                out.write(block)
                bar.update(len(block))
    return digest.hexdigest()


def _not_found(source: _Source, name: str, tried: Sequence[str]) -> DatasetNotFound:
    lines = "".join(f"\n  {place}" for place in tried)
    return DatasetNotFound(
        f"{source.name}: {name} was not found. Tried:{lines}\n"
        f"Put the file into a folder {source.folders[0]!r}, and the path of that folder's parent into LANNER_DATA."
    )


# ---- how they are read ----


def _format_error(message: str) -> Exception:
    from lanner import _core

    error: Exception = _core.FormatError(message)
    return error


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _format_error(f"{path}: the gzip file is damaged ({error})") from error


def _read_tar(path: Path, names: Sequence[str]) -> list[bytes]:
    import tarfile

    try:
        with tarfile.open(path, "r:gz") as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            blocks = []
            for name in names:
                file = archive.extractfile(members[name]) if name in members else None
                if file is None:
                    raise _format_error(f"{path}: has no {name}")
                blocks.append(file.read())
            return blocks
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise _format_error(f"{path}: the archive is damaged ({error})") from error


def _idx_pair(
    source: _Source, files: tuple[_File, _File], root: str | os.PathLike[str] | None, download: bool
) -> Arrays:
    import numpy as np

    arrays = []
    for file, ndim in zip(files, (3, 1), strict=True):
        tried: list[str] = []
        path = _find(source, (file.name, file.name.removesuffix(".gz")), root, tried)
        arrays.append(_read_idx(path or _download(source, file, download, tried), ndim))
    images, labels = arrays
    if len(images) != len(labels):
        raise _format_error(f"{source.name}: {len(images)} images, but {len(labels)} labels")
    return images[:, None], labels.astype(np.int64)


def _read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """An idx file of bytes: magic number 0x0000 08 ndim, the sizes as big-endian 32-bit numbers, the bytes."""
    import numpy as np

    data = _read(path)
    header = 4 + 4 * ndim
    if len(data) < header or data[:4] != bytes([0, 0, 8, ndim]):
        raise _format_error(f"{path}: not an idx file of bytes with {ndim} axes (begins with {data[:4].hex()})")
    shape = struct.unpack(f">{ndim}I", data[4:header])
    count = 1
    for size in shape:
        count *= size
    if len(data) - header != count:
        raise _format_error(f"{path}: {len(data) - header} bytes of data, but shape {list(shape)} needs {count}")
    values: NDArray[np.uint8] = np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
    return values


def _table(
    name: str, files: Sequence[str], read: Callable[[list[Path]], Table], root: str | os.PathLike[str] | None
) -> Table:
    source = _Source(name, ("uci",))
    tried: list[str] = []
    paths = [_find(source, (file,), root, tried) for file in files]
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
        lines = _read(path).decode("ascii").splitlines()[skip:]
        return np.asarray([[float(v) for v in line.split(delimiter)] for line in lines if line.strip()], np.float64)
    except ValueError as error:
        raise _format_error(f"{path}: not a table of numbers ({error})") from error


def _labels(table: NDArray[np.float64]) -> NDArray[np.int64]:
    return table[:, -1].astype("int64")


def _labelled_csv(path: Path) -> Table:
    """One line ``rows,features,class names``, then rows whose last column is the label."""
    rows, features, *_ = [*_read(path).split(b"\n", 1)[0].split(b","), b"", b""]
    table = _numbers(path, ",", 1)
    if not rows.isdigit() or not features.isdigit() or table.shape != (int(rows), int(features) + 1):
        raise _format_error(f"{path}: the header does not agree with a table of shape {list(table.shape)}")
    return table[:, :-1], _labels(table)
