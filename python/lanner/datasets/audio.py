"""Sets of sound."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lanner.datasets.source import File, Root, Source, choose, format_error, obtain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["spoken_digits"]

_RATE = 8000
_LARGEST = 1 << 22  # bytes of one recording: four minutes, where the longest takes two seconds
_MOST = 1 << 16  # recordings; there are 3,000
_NAME = re.compile(r"(?:.*/)?recordings/(\d)_([^/_]+)_(\d+)\.wav")


def spoken_digits(
    split: str = "train", dtype: Any = "float32", root: Root = None, download: bool = True
) -> tuple[list[NDArray[Any]], NDArray[np.int64], list[str]]:
    """Spoken digits in English: waveforms (8,000 samples a second), digits int64 [N], and who speaks.

    Six speakers say each digit 50 times; recordings 0 to 4 are "test" (300), 5 to 49 "train" (2,700), "all" both. A
    waveform is an array of one axis, 0.14 to 2.3 seconds long, of ``dtype`` "float32" (from -1 to 1) or "int16" as
    recorded. Recordings are in the order of digit, speaker and number, read from the zip file as it is.

    Jackson et al.: Free Spoken Digit Dataset.

    >>> waveforms, labels, speakers = ln.datasets.spoken_digits("test")
    >>> len(waveforms), waveforms[0].shape, int(labels[0]), speakers[0]
    (300, (2384,), 0, 'george')
    """
    import numpy as np

    from lanner.data.audio import read_wav

    choose(split, ("all", "train", "test"))
    if np.dtype(dtype) not in (np.dtype("float32"), np.dtype("int16")):
        raise ValueError(f'spoken_digits: dtype must be "float32" or "int16", got {dtype!r}')
    waveforms, labels, speakers = [], [], []
    path = obtain(_SOURCE, _FILE, root, download)
    with _opened(path) as archive:
        for (digit, speaker, number), info in _recordings(archive, path):
            if split != "all" and (number < 5) != (split == "test"):
                continue
            with _opened_member(archive, info, path) as stream:
                waveform, rate = read_wav(stream, dtype=dtype, name=f"{path}: {info.filename}")
            if rate != _RATE or waveform.ndim != 1:
                raise format_error(f"{path}: {info.filename} is no recording of one channel at {_RATE} Hz")
            waveforms.append(waveform)
            labels.append(digit)
            speakers.append(speaker)
    if not waveforms:
        raise format_error(f"{path}: has no recordings/DIGIT_SPEAKER_NUMBER.wav")
    return waveforms, np.array(labels, np.int64), speakers


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise format_error(f"{path}: the zip file is damaged ({error})") from error


@contextmanager
def _opened_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[IO[bytes]]:
    if info.file_size > _LARGEST:
        raise format_error(f"{path}: {info.filename} has {info.file_size} bytes, too many for a spoken digit")
    if info.flag_bits & 1:
        raise format_error(f"{path}: {info.filename} is encrypted")
    with archive.open(info) as stream:
        yield stream


def _recordings(archive: zipfile.ZipFile, path: Path) -> list[tuple[tuple[int, str, int], zipfile.ZipInfo]]:
    found = []
    for info in archive.infolist():
        if match := _NAME.fullmatch(info.filename):
            found.append(((int(match[1]), match[2], int(match[3])), info))
    if len(found) > _MOST:
        raise format_error(f"{path}: has {len(found)} recordings, too many for this data set")
    return sorted(found, key=lambda item: item[0])


def _digest(path: Path) -> str:
    """A sha256 of the recordings' names and bytes: zip files of the same may differ."""
    digest = hashlib.sha256()
    with _opened(path) as archive:
        for (digit, speaker, number), info in _recordings(archive, path):
            with _opened_member(archive, info, path) as stream:
                content = hashlib.sha256(stream.read()).hexdigest()
            digest.update(f"{digit}_{speaker}_{number} {content}\n".encode())
    return digest.hexdigest()


_SOURCE = Source(
    "spoken_digits",
    ("fsdd", "spoken_digits"),
    (
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip",
    ),
)
_FILE = File("recordings.zip", "716557e141fc686f5b54afb91cd58d135ab5f8b7415fad030e49307e6fa5e33c", _digest)
