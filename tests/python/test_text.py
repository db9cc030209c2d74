"""Words, vocabularies of words, characters and bytes."""

import json
import os
import time

import lanner as ln
import numpy as np
import pytest
from lanner.data.text import Vocabulary, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \t\n\u2003", []),
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("it's O’Neill's ''quoted''", ["it's", "O’Neill's", "'", "'", "quoted", "'", "'"]),
        ("3.14 + x_1=-2", ["3", ".", "14", "+", "x_1", "=", "-", "2"]),
        ("well-known...", ["well", "-", "known", ".", ".", "."]),
        ("<pad> <unk>", ["<", "pad", ">", "<", "unk", ">"]),
        ("grünen Straße", ["grünen", "Straße"]),
        ("cafe\u0301s", ["café" + "s"]),  # composed
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा", "।"]),  # vowel signs are marks, no letters
        ("x\u0361y", ["x\u0361y"]),  # a mark that composes with nothing
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("東京 2020", ["東京", "2020"]),
        ("good😀bad", ["good", "😀", "bad"]),
        ("a\u00a0b\x85c", ["a", "b", "c"]),
    ],
)
def test_tokenize(text, tokens):
    assert tokenize(text) == tokens
    assert Vocabulary([]).split(text) == tokens


def test_tokenize_lower():
    assert tokenize("ÄRGER İstanbul STRASSE", lower=True) == ["ärger", "i\u0307stanbul", "strasse"]


def test_build():
    texts = ["b a b", "c, b a"]
    assert Vocabulary.build(texts).tokens == ("<pad>", "<unk>", "b", "a", ",", "c")
    assert Vocabulary.build(texts, min_count=2).tokens == ("<pad>", "<unk>", "b", "a")
    assert Vocabulary.build(texts, max_size=4).tokens == ("<pad>", "<unk>", "b", "a")
    assert Vocabulary.build(texts, max_size=2).tokens == ("<pad>", "<unk>")
    assert Vocabulary.build(texts, specials=["<x>"], min_count=3).tokens == ("<x>", "b")
    assert Vocabulary.build(reversed(texts)).tokens == Vocabulary.build(texts).tokens
    assert Vocabulary.build(["A a"], lower=True, specials=()).tokens == ("a",)
    assert Vocabulary.build(iter([["New York", "b"], ("b",)]), specials=()).tokens == ("b", "New York")
    assert Vocabulary.build([["<unk>", "a", "<pad>"]]).tokens == ("<pad>", "<unk>", "a")
    assert Vocabulary.build([]).tokens == ("<pad>", "<unk>")
    assert Vocabulary.build("hello", level="char").tokens == ("l", "e", "h", "o")
    assert Vocabulary.build(["he", "llo"], level="char", specials=["<pad>"]).tokens == ("<pad>", "l", "e", "h", "o")
    assert len(Vocabulary.build([], level="byte", specials=["<eos>"])) == 257


def test_words():
    words = Vocabulary.build(["a good film"], lower=True, specials=["<pad>", "<unk>", "<bos>", "<eos>"])
    ids = words.encode("A GOOD, long film", bos=True, eos=True)
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 4, 6, 1, 1, 5, 3]
    assert words.decode(ids) == "a good <unk> <unk> film"
    assert words.decode(ids, skip_specials=False) == "<bos> a good <unk> <unk> film <eos>"
    assert words.encode(["good", "A"]).tolist() == [6, 1]  # tokens are taken as they are
    assert words.encode("").tolist() == []
    assert words.encode("", eos=True).tolist() == [3]
    assert words.decode(ln.tensor([4, 0, 5])) == "a film"
    assert words.decode([]) == ""
    assert words.decode(np.array([4], np.uint8)) == "a"
    assert (words["film"], words["<eos>"], words["bad"]) == (5, 3, 1)
    assert "film" in words
    assert "bad" not in words
    assert len(words) == 7


def test_characters():
    text = "Ein schöner Tag 😀\n"
    chars = Vocabulary.build(text, level="char")
    assert set(chars.tokens) == set(text)
    assert chars.decode(chars.encode(text)) == text
    for stranger in ("ß", "\U0010ffff", "\ud800", "A"):
        with pytest.raises(ValueError, match="is none of the 15 tokens, and there is no '<unk>'") as caught:
            chars.encode("Tag" + stranger)
        assert repr(stranger) in str(caught.value)
    with pytest.raises(ValueError, match="'A' is none"):
        chars["A"]
    known = Vocabulary("ab", specials=["<unk>"], level="char")
    assert known.encode("abß\U0010ffff").tolist() == [1, 2, 0, 0]
    assert known.encode(["a", "ab"]).tolist() == [1, 0]
    assert Vocabulary([], level="char").encode("").tolist() == []
    with pytest.raises(ValueError, match="'a' is none of the 0 tokens"):
        Vocabulary([], level="char").encode("a")


def test_bytes():
    one = Vocabulary.build([], level="byte", specials=["<pad>", "<eos>"])
    text = "Straße 東京 😀\x00"
    ids = one.encode(text, eos=True)
    assert ids[:-1].tolist() == [b + 2 for b in text.encode()]
    assert one.decode(ids) == text
    assert one.decode(ids[:5]) == "Stra\ufffd"  # half a character
    assert one.decode([1, 0], skip_specials=False) == "<eos><pad>"
    assert len(one.encode("\ud800")) == 3


def test_random_text_comes_back():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.integers(0, 0xD800, 300), rng.integers(0xE000, 0x110000, 300)])
    text = "".join(map(chr, points))
    for level in ("char", "byte"):
        vocabulary = Vocabulary.build(text, level=level, specials=["<pad>"])
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_megabyte_of_characters_takes_no_time():
    text = "to be or not to be\n" * 60000
    chars = Vocabulary.build(text, level="char")
    begin = time.perf_counter()
    ids = chars.encode(text)
    assert time.perf_counter() - begin < 1  # some 5 ms; a loop over characters and a busy machine make it more
    assert len(ids) == len(text)


@pytest.mark.parametrize(
    "vocabulary",
    [
        Vocabulary.build(["a good film, schön 😀"], lower=True),
        Vocabulary(["New York", "\ud800"], specials=["<x>"], level="char"),
        Vocabulary.build([], level="byte", specials=["<pad>"]),
        Vocabulary([]),
    ],
)
def test_save_and_load(tmp_path, vocabulary):
    path = tmp_path / "v.json"
    path.write_text("what was there before")
    vocabulary.save(path)
    back = Vocabulary.load(str(path))
    assert back == vocabulary
    assert (back.tokens, back.specials, back.level, back.lower) == (
        vocabulary.tokens, vocabulary.specials, vocabulary.level, vocabulary.lower,
    )  # fmt: skip
    assert os.listdir(tmp_path) == ["v.json"]


GOOD = {"format": "lanner.Vocabulary", "version": 1, "level": "word", "lower": False, "specials": [], "tokens": ["a"]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"{}",
        b"[" * 100000,
        *(
            json.dumps({**GOOD, **change}).encode()
            for change in (
                {"version": 2},
                {"format": "x"},
                {"tokens": "abc"},
                {"tokens": [1]},
                {"tokens": ["a", "a"]},
                {"tokens": [""]},
                {"tokens": None},
                {"specials": ["a"]},
                {"level": "line"},
                {"level": []},
                {"lower": 1},
            )
        ),
        *(json.dumps({k: v for k, v in GOOD.items() if k != gone}).encode() for gone in GOOD),
    ],
)
def test_damaged_files(tmp_path, content):
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(ln.FormatError, match=r"v\.json: not a vocabulary"):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Vocabulary(["a", "b", "a"]), ValueError, "'a' is there twice"),
        (lambda: Vocabulary(["<x>"], specials=["<x>"]), ValueError, "'<x>' is there twice"),
        (lambda: Vocabulary([""]), TypeError, "not empty"),
        (lambda: Vocabulary([3]), TypeError, "got 3"),
        (lambda: Vocabulary([], level="line"), ValueError, "level"),
        (lambda: Vocabulary.build(["a"], level="line"), ValueError, "level"),
        (lambda: Vocabulary([], specials=["pad"]), ValueError, "'pad'"),
        (lambda: Vocabulary([], specials=["_"], level="char"), ValueError, "'_'"),
        (lambda: Vocabulary.build(["a"], min_count=0), ValueError, "min_count"),
        (lambda: Vocabulary.build(["a"], max_size=1), ValueError, "no room for 2"),
        (lambda: Vocabulary.build([], level="byte", max_size=100), ValueError, "all bytes"),
        (lambda: Vocabulary(["a"]).encode("b"), ValueError, "'b' is none of the 1 tokens"),
        (lambda: Vocabulary(["a"]).encode("a", eos=True), ValueError, "no '<eos>' among"),
        (lambda: Vocabulary(["a"], specials=["<unk>"]).encode("a", bos=True), ValueError, "no '<bos>' among"),
        (lambda: Vocabulary(["a"]).decode([1]), ln.IndexError, "1 is the number of none of 1 tokens"),
        (lambda: Vocabulary(["a"]).decode([-1]), ln.IndexError, "-1"),
        (lambda: Vocabulary(["a"]).decode([[0]]), ln.ShapeError, r"\[1, 1\]"),
        (lambda: Vocabulary(["a"]).decode([0.0]), ln.DTypeError, "float64"),
        (lambda: hash(Vocabulary(["a"])), TypeError, "unhashable"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
