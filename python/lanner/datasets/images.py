"""Sets of images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.datasets.source import File, Root, Source, choose, fetch, find, format_error, obtain, read

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]

__all__ = ["cifar10", "fashion_mnist", "mnist"]

_MNIST = Source(
    "mnist",
    ("mnist", "MNIST/raw"),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
_MNIST_FILES = {
    "train": (
        File("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        File("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ),
    "test": (
        File("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        File("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
}
_FASHION_MNIST = Source(
    "fashion_mnist",
    ("fashion_mnist", "fashion_mnist_subset", "FashionMNIST/raw"),
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
)
_FASHION_MNIST_FILES = {
    "train": (
        File("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        File("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ),
    "test": (
        File("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        File("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
}
_CIFAR10 = Source(
    "cifar10",
    ("cifar10", "cifar10_subset", "cifar-10-batches-bin"),
    ("https://www.cs.toronto.edu/~kriz/",),
)
_CIFAR10_ARCHIVE = File("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")
_CIFAR10_BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}


def mnist(split: str = "train", root: Root = None, download: bool = True) -> Arrays:
    """Handwritten digits: images uint8 [N, 1, 28, 28] and labels int64 [N]; 60,000 to train with, 10,000 to test.

    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998.

    .. code-block:: python

        x, y = ln.datasets.mnist("test")
        x.shape, x.dtype  # ((10000, 1, 28, 28), dtype('uint8'))
    """
    return _idx_pair(_MNIST, _MNIST_FILES[choose(split)], root, download)


def fashion_mnist(split: str = "train", root: Root = None, download: bool = True) -> Arrays:
    """Articles of clothing in the form of ``mnist``: images uint8 [N, 1, 28, 28] and labels int64 [N].

    Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017. A folder ``fashion_mnist_subset`` with fewer images serves as well.

    .. code-block:: python

        x, y = ln.datasets.fashion_mnist("train")
    """
    return _idx_pair(_FASHION_MNIST, _FASHION_MNIST_FILES[choose(split)], root, download)


def cifar10(split: str = "train", root: Root = None, download: bool = True) -> Arrays:
    """Colour photographs of ten classes: images uint8 [N, 3, 32, 32] and labels int64 [N].

    Krizhevsky: Learning multiple layers of features from tiny images, 2009. Reads the binary version, gzipped or not; a
    folder ``cifar10_subset`` with fewer images serves as well.

    .. code-block:: python

        x, y = ln.datasets.cifar10("test")
    """
    import numpy as np

    names = _CIFAR10_BATCHES[choose(split)]
    tried: list[str] = []
    paths = [find(_CIFAR10, (name + ".gz", name), root, tried) for name in names]
    if None in paths:
        archive = find(_CIFAR10, (_CIFAR10_ARCHIVE.name,), root, tried)
        if archive is None:
            archive = fetch(_CIFAR10, _CIFAR10_ARCHIVE, download, tried)
        blocks = _read_tar(archive, names)
    else:
        blocks = [read(path) for path in paths if path is not None]
    images, labels = [], []
    for name, block in zip(names, blocks, strict=True):
        records, rest = divmod(len(block), 3073)
        if rest or not records:
            raise format_error(f"{name}: {len(block)} bytes are no whole number of records of 3073 bytes")
        table = np.frombuffer(block, np.uint8).reshape(records, 3073)
        labels.append(table[:, 0].astype(np.int64))
        images.append(table[:, 1:].reshape(records, 3, 32, 32))
        if labels[-1].max() > 9:
            raise format_error(f"{name}: label {labels[-1].max()} is none of CIFAR-10's ten classes")
    return np.concatenate(images), np.concatenate(labels)


def _read_tar(path: Path, names: Sequence[str]) -> list[bytes]:
    import tarfile

    try:
        with tarfile.open(path, "r:gz") as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            blocks = []
            for name in names:
                file = archive.extractfile(members[name]) if name in members else None
                if file is None:
                    raise format_error(f"{path}: has no {name}")
                blocks.append(file.read())
            return blocks
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise format_error(f"{path}: the archive is damaged ({error})") from error


def _idx_pair(source: Source, files: tuple[File, File], root: Root, download: bool) -> Arrays:
    import numpy as np

    arrays = []
    for file, ndim in zip(files, (3, 1), strict=True):
        arrays.append(_read_idx(obtain(source, file, root, download), ndim))
    images, labels = arrays
    if len(images) != len(labels):
        raise format_error(f"{source.name}: {len(images)} images, but {len(labels)} labels")
    return images[:, None], labels.astype(np.int64)


def _read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """An idx file of bytes: magic number 0x0000 08 ndim, the sizes as big-endian 32-bit numbers, the bytes."""
    import numpy as np

    data = read(path)
    header = 4 + 4 * ndim
    if len(data) < header or data[:4] != bytes([0, 0, 8, ndim]):
        raise format_error(f"{path}: not an idx file of bytes with {ndim} axes (begins with {data[:4].hex()})")
    shape = struct.unpack(f">{ndim}I", data[4:header])
    count = 1
    for size in shape:
        count *= size
    if len(data) - header != count:
        raise format_error(f"{path}: {len(data) - header} bytes of data, but shape {list(shape)} needs {count}")
    values: NDArray[np.uint8] = np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
    return values
