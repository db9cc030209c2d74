"""Data sets and loaders of mini-batches.

>>> x, y = ln.random.normal((100, 3)), ln.arange(100)
>>> loader = ln.data.DataLoader(ln.data.TensorDataset(x, y), batch_size=32, shuffle=True, seed=0)
>>> [tuple(batch.shape) for batch, labels in loader]
[(32, 3), (32, 3), (32, 3), (4, 3)]
"""

from __future__ import annotations

from lanner.data import audio, text, transforms
from lanner.data.dataset import Dataset, Subset, TensorDataset, random_split
from lanner.data.loader import DataLoader, default_collate
from lanner.data.sequences import BucketSampler, PadCollate, pad_sequences, windows

__all__ = [
    "BucketSampler",
    "DataLoader",
    "Dataset",
    "PadCollate",
    "Subset",
    "TensorDataset",
    "audio",
    "default_collate",
    "pad_sequences",
    "random_split",
    "text",
    "transforms",
    "windows",
]
