"""Sets of text, sound and series: splits, formats, damage; the real ones where LANNER_DATA has them."""

import gzip
import io
import os
import wave
import zipfile

import lanner as ln
import numpy as np
import pytest
from lanner import datasets
from lanner.datasets import audio, source, treebank

DATA = os.environ.get("LANNER_DATA", "")


def real(folder):
    return pytest.mark.skipif(not os.path.isdir(os.path.join(DATA, folder)), reason=f"LANNER_DATA has no {folder}")


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.delenv("LANNER_DATA", raising=False)
    monkeypatch.setenv("LANNER_CACHE", str(tmp_path / "cache"))


def fails(call, *parts):
    with pytest.raises(ln.FormatError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("tiny_shakespeare", "input.txt"),
        ("sst", "train.txt"),
        ("rt_polarity", "rt-polarity.neg"),
        ("multi30k", "train.de.gz"),
        ("spoken_digits", "recordings.zip"),
        ("etth1", "ETTh1.csv"),
        ("airline", "airline-passengers.csv"),
    ],
)
def test_not_found(name, file, tmp_path):
    with pytest.raises(datasets.DatasetNotFound, match=f"{name}: {file}") as caught:
        getattr(datasets, name)(root=tmp_path / "root", download=False)
    assert str(tmp_path / "root") in str(caught.value)
    if name != "airline":
        with pytest.raises(ValueError, match=r"split must be .*, got 'dev'"):
            getattr(datasets, name)("dev", root=tmp_path, download=False)


# ---- text ----


def test_tiny_shakespeare(tmp_path):
    text = "".join(chr(97 + i % 26) for i in range(105)) + "é\n"
    (tmp_path / "input.txt").write_text(text, encoding="utf-8")
    assert datasets.tiny_shakespeare(root=tmp_path) == text
    train, validation = (datasets.tiny_shakespeare(split, root=tmp_path) for split in ("train", "validation"))
    assert train + validation == text
    assert len(train) == 96
    (tmp_path / "input.txt").write_bytes(b"\xff\xfe")
    fails(lambda: datasets.tiny_shakespeare(root=tmp_path), str(tmp_path / "input.txt"), "utf-8")
    (tmp_path / "input.txt").write_bytes(b"")
    fails(lambda: datasets.tiny_shakespeare(root=tmp_path), "empty")


def test_rt_polarity(tmp_path):
    def write(name, count):
        (tmp_path / f"rt-polarity.{name}").write_bytes(
            "".join(f"{name} \x93 café {i} \n" for i in range(count)).encode("latin-1")
        )

    write("neg", 21)
    write("pos", 20)
    sentences, labels = datasets.rt_polarity("all", root=tmp_path)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1] * 20 + [0]
    assert sentences[:3] == ["neg “ café 0", "pos “ café 0", "neg “ café 1"]
    assert [s.rpartition(" ")[2] for s in datasets.rt_polarity("test", fold=1, root=tmp_path)[0]] == [
        "1",
        "1",
        "11",
        "11",
    ]
    folds = [datasets.rt_polarity("test", fold, root=tmp_path)[0] for fold in range(10)]
    assert sorted(s for fold in folds for s in fold) == sorted(sentences)
    for fold in range(10):
        rest = datasets.rt_polarity("train", fold, root=tmp_path)[0]
        assert sorted(rest + folds[fold]) == sorted(sentences)
    with pytest.raises(ValueError, match="fold must be from 0 to 9, got 10"):
        datasets.rt_polarity(fold=10, root=tmp_path)
    (tmp_path / "rt-polarity.pos").write_bytes(b"one\n\nthree\n")
    fails(lambda: datasets.rt_polarity(root=tmp_path), "rt-polarity.pos", "line 2")
    (tmp_path / "rt-polarity.pos").write_bytes(b"\x81\n")
    fails(lambda: datasets.rt_polarity(root=tmp_path), "rt-polarity.pos", "cp1252")
    (tmp_path / "rt-polarity.pos").write_bytes(b"")
    fails(lambda: datasets.rt_polarity(root=tmp_path), "rt-polarity.pos", "line 1")


@pytest.mark.parametrize("packed", [True, False])
def test_multi30k(tmp_path, packed):
    def write(language, lines):
        data = "".join(line + "\n" for line in lines).encode()
        path = tmp_path / f"val.{language}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data) if packed else data)
        return path

    german = write("de", [" Ein Mann. ", "Zwei\u2028Frauen"])
    write("en", ["A man.", "Two women"])
    pairs = datasets.multi30k("validation", root=tmp_path)
    assert pairs == [("Ein Mann.", "A man."), ("Zwei\u2028Frauen", "Two women")]
    write("en", ["A man."])
    fails(lambda: datasets.multi30k("validation", root=tmp_path), str(german), "2 lines", "1 of")
    if packed:
        german.write_bytes(german.read_bytes()[:-4])
        fails(lambda: datasets.multi30k("validation", root=tmp_path), str(german), "damaged")


def test_a_file_that_unpacks_to_too_much(tmp_path):
    path = tmp_path / "train.de.gz"
    path.write_bytes(gzip.compress(bytes(1 << 16)))
    assert len(source.read(path, 1 << 16)) == 1 << 16
    fails(lambda: source.read(path, (1 << 16) - 1), str(path), "more than 65535 bytes")


# ---- the treebank ----

LINES = r"""(3 (2 (2 A) (2 \*\*)) (4 (3 lovely) (2 film)))
(0 (1 dull) (2 -RRB-))
(2 (2 the) (2 (2 and\/or) (2 film)))
(4 yes)
"""


def test_sst(tmp_path):
    (tmp_path / "dev.txt").write_text(LINES, encoding="utf-8")
    sentences, labels = datasets.sst("validation", root=tmp_path)
    assert sentences == ["A ** lovely film", "dull )", "the and/or film", "yes"]
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, 0, 2, 4]
    sentences, labels = datasets.sst("validation", classes=2, root=tmp_path)
    assert sentences == ["A ** lovely film", "dull )", "yes"]
    assert labels.tolist() == [1, 0, 1]
    phrases, labels = datasets.sst("validation", phrases=True, root=tmp_path)
    assert len(phrases) == len(set(phrases)) == 15
    assert dict(zip(phrases, labels.tolist(), strict=True))["lovely film"] == 4
    phrases, labels = datasets.sst("validation", classes=2, phrases=True, root=tmp_path)
    assert dict(zip(phrases, labels.tolist(), strict=True)) == {
        "A ** lovely film": 1, "lovely film": 1, "lovely": 1, "dull )": 0, "dull": 0, "yes": 1,
    }  # fmt: skip
    trees = datasets.sst_trees("validation", root=tmp_path)
    assert "".join(f"{tree}\n" for tree in trees) == LINES
    assert trees[2].words() == ["the", "and/or", "film"]
    assert [child.text for child in trees[2].children] == ["the", "and/or film"]
    with pytest.raises(ValueError, match="classes must be 2 or 5, got 3"):
        datasets.sst("validation", 3, root=tmp_path)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("(3 (2 A) (2 film)", 18),
        ("(3 (2 A) (2 film)))", 19),
        ("(3 (2 A) (2 film)) (2 x)", 25),
        ("(5 (2 A) (2 film))", 1),
        ("(3 (2 A))", 9),
        ("(3 (2 A) (2 b) (2 c))", 21),
        ("(3 A film)", 4),
        ("film", 1),
        ("(3 )", 4),
        ("()", 1),
        ("(2 " * 5000, 3 * (treebank._DEEPEST + 1) + 1),
        ("(2 " * 5000 + "(2 a) (2 b))" + " (2 a))" * 4999, 3 * (treebank._DEEPEST + 1) + 1),
    ],
)
def test_damaged_trees(tmp_path, line, column):
    path = tmp_path / "test.txt"
    path.write_text(f"(2 fine)\n{line}\n")
    fails(lambda: datasets.sst("test", root=tmp_path), str(path), "sentence 2", f"column {column}:")
    path.write_text("\n")
    fails(lambda: datasets.sst("test", root=tmp_path), "no sentences")


def test_deep_trees_can_be_walked():
    deep = treebank._DEEPEST
    line = "(2 " * deep + "(2 a) (2 b))" + " (2 a))" * (deep - 1)
    tree = treebank._parse(line, "file", 1)
    assert str(tree) == line
    assert len(tree.words()) == deep + 1
    assert tree == treebank._parse(line, "file", 1)
    assert "Tree" in repr(tree)


# ---- sound ----


def wav(samples, rate=8000, width=2, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, width, rate, 0, "NONE", ""))
        out.writeframes(samples if isinstance(samples, bytes) else np.asarray(samples, "<i2").tobytes())
    return file.getvalue()


def write_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def recordings(prefix="recordings/"):
    return {
        f"{prefix}{digit}_{speaker}_{number}.wav": wav(np.full(10 + number, 100 * digit + number))
        for speaker in ("theo", "ann")
        for number in (11, 4, 5, 0)
        for digit in (3, 0)
    }


@pytest.mark.parametrize("prefix", ["recordings/", "free-spoken-digit-dataset-1.0.10/recordings/"])
def test_spoken_digits(tmp_path, prefix):
    write_zip(tmp_path / "recordings.zip", {"README.md": "", **recordings(prefix), prefix + "notes.txt": "?"})
    waveforms, labels, speakers = datasets.spoken_digits("all", dtype="int16", root=tmp_path)
    assert labels.tolist() == [0] * 8 + [3] * 8
    assert speakers == (["ann"] * 4 + ["theo"] * 4) * 2
    assert [len(w) for w in waveforms] == [10, 14, 15, 21] * 4
    assert waveforms[-1].dtype == np.int16
    assert waveforms[-1].tolist() == [311] * 21
    for split, numbers in (("train", {5, 11}), ("test", {0, 4})):
        waveforms, labels, speakers = datasets.spoken_digits(split, root=tmp_path)
        assert {len(w) - 10 for w in waveforms} == numbers
        assert waveforms[0].dtype == np.float32
        np.testing.assert_array_equal(waveforms[-1], np.float32((300 + max(numbers)) / 32768))
        waveforms[0][:] = 0  # writable
    with pytest.raises(ValueError, match="dtype"):
        datasets.spoken_digits(dtype="float64", root=tmp_path)


def test_a_digest_is_that_of_the_recordings(tmp_path):
    write_zip(tmp_path / "a.zip", recordings())
    write_zip(tmp_path / "b.zip", {"x": "", **dict(reversed(recordings("y/recordings/").items()))}, zipfile.ZIP_STORED)
    changed = recordings()
    changed["recordings/0_ann_5.wav"] = wav(np.zeros(15))
    write_zip(tmp_path / "c.zip", changed)
    a, b, c = (audio._digest(tmp_path / f"{name}.zip") for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"other/0_ann_1.wav": b""}, ["has no recordings"]),
        ({"recordings/0_ann_5.wav": b"no sound"}, ["0_ann_5.wav", "not a WAV"]),
        ({"recordings/0_ann_5.wav": wav([1, 2, 3])[:-2]}, ["0_ann_5.wav", "4 bytes of samples", "3 x 1"]),
        ({"recordings/0_ann_5.wav": wav([1, 2], rate=16000)}, ["0_ann_5.wav", "8000"]),
        ({"recordings/0_ann_5.wav": wav([1, 2], channels=2)}, ["0_ann_5.wav", "one channel"]),
        ({"recordings/0_ann_5.wav": bytes((1 << 22) + 1)}, ["0_ann_5.wav", "too many"]),
    ],
)
def test_damaged_recordings(tmp_path, files, parts):
    write_zip(tmp_path / "recordings.zip", files)
    fails(lambda: datasets.spoken_digits(root=tmp_path), str(tmp_path / "recordings.zip"), *parts)


def test_damaged_zip(tmp_path):
    path = tmp_path / "recordings.zip"
    write_zip(path, recordings())
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:40] + bytes(200) + data[240:]):
        path.write_bytes(damaged)
        fails(lambda: datasets.spoken_digits("all", root=tmp_path), str(path))


# ---- series ----


def etth1_lines(n):
    hours = np.datetime64("2016-07-01T22:00:00") + np.arange(n) * np.timedelta64(1, "h")
    return ["date,A,OT", *(f"{str(h).replace('T', ' ')},{i}.5,{-i}" for i, h in enumerate(hours))]


def test_etth1(tmp_path):
    path = tmp_path / "ETTh1.csv"
    path.write_text("\r\n".join(etth1_lines(11)))
    values, names, hours = datasets.etth1(root=tmp_path)
    assert names == ["A", "OT"]
    assert values.dtype == np.float32
    assert values[3].tolist() == [3.5, -3]
    assert hours[2] == np.datetime64("2016-07-02T00")
    parts = [datasets.etth1(split, root=tmp_path) for split in ("train", "validation", "test")]
    assert [len(p[0]) for p in parts] == [6, 2, 3]
    np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), values)
    np.testing.assert_array_equal(np.concatenate([p[2] for p in parts]), hours)


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda lines: [], "not a table"),
        (lambda lines: lines[:1], "not a table"),
        (lambda lines: ["x"] * 4, "not a table"),
        (lambda lines: [*lines[:-1], lines[-1].rpartition(",")[0]], "line 6 has 2 columns"),
        (lambda lines: [*lines[:-1], lines[-1] + "x"], "numbers"),
        (lambda lines: [*lines[:-1], lines[-1].replace("2016", "year")], "numbers"),
        (lambda lines: [*lines[:-2], lines[-1]], "the time of line 5"),
        (lambda lines: [*lines[:-1], lines[-1].rpartition(",")[0] + ",nan"], "line 6 has no finite"),
    ],
)
def test_damaged_series(tmp_path, damage, part):
    path = tmp_path / "ETTh1.csv"
    path.write_text("\n".join(damage(etth1_lines(5))))
    fails(lambda: datasets.etth1(root=tmp_path), str(path), part)


def test_airline(tmp_path):
    path = tmp_path / "airline-passengers.csv"
    path.write_bytes(b'"Month","Passengers"\r\n"1949-12",112\r\n"1950-01",118\r\n')
    months, passengers = datasets.airline(root=tmp_path)
    assert months.tolist() == [np.datetime64("1949-12").item(), np.datetime64("1950-01").item()]
    assert passengers.dtype == np.int64
    assert passengers.tolist() == [112, 118]
    path.write_bytes(b'"Month","Passengers"\n"1949-12",112.5\n')
    fails(lambda: datasets.airline(root=tmp_path), str(path), "whole number")


# ---- the real ones ----


@real("tinyshakespeare")
def test_real_tiny_shakespeare():
    text = datasets.tiny_shakespeare(root=DATA)
    assert (len(text), len(set(text)), text.count("\n")) == (1115394, 65, 40000)
    assert len(datasets.tiny_shakespeare("validation", root=DATA)) == 111540


@real("sst")
@pytest.mark.parametrize(
    ("split", "five", "two"),
    [("train", [1092, 2218, 1624, 2322, 1288], 6920), ("validation", [139, 289, 229, 279, 165], 872),
     ("test", [279, 633, 389, 510, 399], 1821)],
)  # fmt: skip
def test_real_sst(split, five, two):
    assert np.bincount(datasets.sst(split, root=DATA)[1]).tolist() == five
    sentences, labels = datasets.sst(split, classes=2, root=DATA)
    assert len(sentences) == len(labels) == two
    assert not any("-LRB-" in s or "\\" in s for s in sentences)


@real("rt_polarity")
def test_real_rt_polarity():
    parts = {split: datasets.rt_polarity(split, root=DATA) for split in ("all", "train", "test")}
    assert {split: (len(s), int(y.sum())) for split, (s, y) in parts.items()} == {
        "all": (10662, 5331), "train": (9594, 4797), "test": (1068, 534),
    }  # fmt: skip


@real("multi30k")
def test_real_multi30k():
    assert [len(datasets.multi30k(s, root=DATA)) for s in ("train", "validation", "test")] == [29000, 1014, 1000]


@real("fsdd")
def test_real_spoken_digits():
    waveforms, labels, speakers = datasets.spoken_digits("test", root=DATA)
    assert np.bincount(labels).tolist() == [30] * 10
    assert len(set(speakers)) == 6
    assert max(np.abs(w).max() for w in waveforms) <= 1
    assert len(datasets.spoken_digits("train", dtype="int16", root=DATA)[0]) == 2700


@real("timeseries")
def test_real_series():
    assert [datasets.etth1(s, root=DATA)[0].shape for s in ("train", "validation", "test")] == [
        (10452, 7), (3484, 7), (3484, 7),
    ]  # fmt: skip
    months, passengers = datasets.airline(root=DATA)
    assert len(months) == 144
    assert (passengers.min(), passengers.max()) == (104, 622)
