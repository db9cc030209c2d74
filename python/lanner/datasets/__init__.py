"""Public data sets, as NumPy arrays and strings.

A file is looked for in the ``root`` argument (a folder of data sets, or the set's own), in the folder that
``LANNER_DATA`` names, and in the cache (``LANNER_CACHE``, else ``~/.cache/lanner``); where none has it, it is
downloaded into the cache, and used only if its sha256 is the published one.

>>> x, y = ln.datasets.iris()
>>> x.shape, y.shape
((150, 4), (150,))
"""

from __future__ import annotations

from lanner.datasets.audio import spoken_digits
from lanner.datasets.images import cifar10, fashion_mnist, mnist
from lanner.datasets.series import airline, etth1
from lanner.datasets.source import DatasetNotFound
from lanner.datasets.tables import breast_cancer, diabetes, digits, iris, wine
from lanner.datasets.text import multi30k, rt_polarity, tiny_shakespeare
from lanner.datasets.treebank import Tree, sst, sst_trees

__all__ = [
    "DatasetNotFound",
    "Tree",
    "airline",
    "breast_cancer",
    "cifar10",
    "diabetes",
    "digits",
    "etth1",
    "fashion_mnist",
    "iris",
    "mnist",
    "multi30k",
    "rt_polarity",
    "spoken_digits",
    "sst",
    "sst_trees",
    "tiny_shakespeare",
    "wine",
]
