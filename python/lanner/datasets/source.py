"""Where the files of a data set are: found in a folder, or downloaded and checked; and how they are opened."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "DatasetNotFound",
    "File",
    "Root",
    "Source",
    "choose",
    "fetch",
    "find",
    "format_error",
    "obtain",
    "read",
    "read_text",
]

Root = str | os.PathLike[str] | None


class DatasetNotFound(FileNotFoundError):
    """A data set is nowhere to be had; the message says where it was looked for."""


@dataclass(frozen=True)
class File:
    """A file's name and the sha256 it must have.

    Of an archive whose bytes are not always the same, ``digest`` gives one of what it holds.
    """

    name: str
    sha256: str
    digest: Callable[[Path], str] | None = None


@dataclass(frozen=True)
class Source:
    """A set's name, the folder names that may hold it, and where its files can be downloaded.

    A URL that ends with a slash is that of a folder, any other that of the one file.
    """

    name: str
    folders: Sequence[str]
    urls: Sequence[str] = ()


def choose(split: str, splits: Sequence[str] = ("train", "test")) -> str:
    """``split``, if it is one of ``splits``."""
    if split not in splits:
        names = [f'"{name}"' for name in splits]
        raise ValueError(f"split must be {', '.join(names[:-1])} or {names[-1]}, got {split!r}")
    return split


def _cache() -> Path:
    return Path(os.environ.get("LANNER_CACHE") or Path.home() / ".cache" / "lanner")


def _places(source: Source, root: Root) -> list[Path]:
    """The folders to look in, in order."""
    places = []
    if root is not None:
        places += [Path(root), *(Path(root) / folder for folder in source.folders)]
    if os.environ.get("LANNER_DATA"):
        places += [Path(os.environ["LANNER_DATA"]) / folder for folder in source.folders]
    return [*places, *(_cache() / folder for folder in source.folders)]


def find(source: Source, names: Sequence[str], root: Root, tried: list[str]) -> Path | None:
    """The first of ``names`` that is in one of the places; notes in ``tried`` where it is not."""
    for place in _places(source, root):
        for name in names:
            if (place / name).is_file():
                return place / name
        tried.append(str(place))
    return None


def obtain(source: Source, file: File, root: Root, allowed: bool) -> Path:
    """The file, packed or unpacked, where it is found; else downloaded, if that is ``allowed``."""
    tried: list[str] = []
    return find(source, (file.name, file.name.removesuffix(".gz")), root, tried) or fetch(source, file, allowed, tried)


def fetch(source: Source, file: File, allowed: bool, tried: list[str]) -> Path:
    """Into the cache, under a temporary name until its sha256 is known to be right."""
    if not allowed:
        raise _not_found(source, file.name, [*dict.fromkeys(tried), "no download (download=False)"])
    target = _cache() / source.folders[0] / file.name
    failures = []
    for base in source.urls:
        url = base + file.name if base.endswith("/") else base
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=file.name + ".", suffix=".part")
        except OSError as error:
            failures.append(f"{target.parent} cannot be written to: {error}")
            break
        try:
            with os.fdopen(handle, "wb") as out:
                digest = _transfer(url, out)
                out.flush()
                os.fsync(out.fileno())
            if file.digest is not None:
                digest = file.digest(Path(temporary))
            if digest == file.sha256:
                os.replace(temporary, target)
                return target
            failures.append(f"{url}: its sha256 is {digest}, expected {file.sha256}")
        except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors, a damaged archive is a ValueError
            failures.append(f"{url}: {error}")
        finally:
            Path(temporary).unlink(missing_ok=True)
    raise _not_found(source, file.name, [*dict.fromkeys(tried), *failures])


def _transfer(url: str, out: Any) -> str:
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


def _not_found(source: Source, name: str, tried: Sequence[str]) -> DatasetNotFound:
    lines = "".join(f"\n  {place}" for place in tried)
    return DatasetNotFound(
        f"{source.name}: {name} was not found. Tried:{lines}\n"
        f"Put the file into a folder {source.folders[0]!r}, and the path of that folder's parent into LANNER_DATA."
    )


def format_error(message: str) -> Exception:
    """The error of a file that does not hold what it should."""
    from lanner import _core

    error: Exception = _core.FormatError(message)
    return error


def read(path: Path, limit: int = 1 << 30) -> bytes:
    """The bytes of a file, unpacked where it is gzipped; no more than ``limit``."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise format_error(f"{path}: the gzip file is damaged ({error})") from error
    if len(data) > limit:
        raise format_error(f"{path}: more than {limit} bytes, which is none of this data set")
    return data


def read_text(path: Path, encoding: str = "utf-8", limit: int = 1 << 30) -> str:
    """The text of a file, its lines ended by newlines alone."""
    try:
        return read(path, limit).decode(encoding).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise format_error(f"{path}: not a text in {encoding} ({error})") from error
