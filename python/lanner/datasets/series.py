"""Series of numbers over time."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner.datasets.source import File, Root, Source, choose, format_error, obtain, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["airline", "etth1"]

_LIMIT = 1 << 26
_ETTH1 = Source(
    "etth1",
    ("timeseries", "ETT-small", "etth1"),
    ("https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/",),
)
_ETTH1_FILE = File("ETTh1.csv", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066")
_AIRLINE = Source(
    "airline",
    ("timeseries", "airline"),
    ("https://raw.githubusercontent.com/jbrownlee/Datasets/master/",),
)
_AIRLINE_FILE = File("airline-passengers.csv", "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621")


def etth1(
    split: str = "all", root: Root = None, download: bool = True
) -> tuple[NDArray[np.float32], list[str], NDArray[np.datetime64]]:
    """An electricity transformer hour by hour: values float32 [hours, 7], the names of the columns, the hours.

    Six columns are loads, the last, "OT", is the temperature of the oil. By time, never shuffled: "train" is the first
    60 % of the 17,420 hours, "validation" the next 20 %, "test" the last 20 %.

    Zhou et al.: Informer, AAAI 2021.

    >>> values, names, hours = ln.datasets.etth1("train")
    >>> values.shape, names[-1], str(hours[0])
    ((10452, 7), 'OT', '2016-07-01T00')
    """
    import numpy as np

    choose(split, ("all", "train", "validation", "test"))
    path = obtain(_ETTH1, _ETTH1_FILE, root, download)
    names, dates, columns = _read_csv(path, "h")
    values = np.asarray(columns, np.float32)
    n = len(values)
    first, second = n * 6 // 10, n * 8 // 10
    part = {
        "all": slice(0, n),
        "train": slice(0, first),
        "validation": slice(first, second),
        "test": slice(second, n),
    }[split]
    return values[part], names, dates[part]


def airline(root: Root = None, download: bool = True) -> tuple[NDArray[np.datetime64], NDArray[np.int64]]:
    """Passengers of international airlines, in thousands: the months from 1949 to 1960, and their numbers int64 [144].

    Box, Jenkins: Time series analysis, 1976 (series G).

    >>> months, passengers = ln.datasets.airline()
    >>> str(months[0]), int(passengers[0]), str(months[-1]), int(passengers[-1])
    ('1949-01', 112, '1960-12', 432)
    """
    import numpy as np

    path = obtain(_AIRLINE, _AIRLINE_FILE, root, download)
    _, months, columns = _read_csv(path, "M")
    if columns.shape[1] != 1 or not (columns == np.rint(columns)).all():
        raise format_error(f"{path}: expected a month and a whole number of passengers a line")
    return months, columns[:, 0].astype(np.int64)


def _read_csv(path: Path, unit: str) -> tuple[list[str], NDArray[np.datetime64], NDArray[np.float64]]:
    """The names of the columns behind the first, which holds times one ``unit`` apart; the times; the numbers."""
    import numpy as np

    header, *rows = [row for row in csv.reader(read_text(path, limit=_LIMIT).split("\n")) if row] or [[]]
    if len(header) < 2 or not rows:
        raise format_error(f"{path}: not a table with a header, times and numbers")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise format_error(f"{path}: line {number} has {len(row)} columns, the header {len(header)}")
    try:
        times: Any = np.array([row[0] for row in rows], "datetime64[s]").astype(f"datetime64[{unit}]")
        values = np.array([[float(v) for v in row[1:]] for row in rows], np.float64)
    except ValueError as error:
        raise format_error(f"{path}: not a table of times and numbers ({error})") from error
    if not np.isfinite(values).all():
        raise format_error(f"{path}: line {int(np.argwhere(~np.isfinite(values))[0, 0]) + 2} has no finite number")
    wrong = np.flatnonzero(np.diff(times) != np.array(1, f"timedelta64[{unit}]"))
    if len(wrong):
        raise format_error(f"{path}: the time of line {int(wrong[0]) + 3} does not follow that of the line before")
    return header[1:], times, values
