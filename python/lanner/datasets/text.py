"""Sets of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanner.datasets.source import File, Root, Source, choose, format_error, obtain, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["multi30k", "rt_polarity", "tiny_shakespeare"]

_LIMIT = 1 << 26  # each of these sets takes a few megabytes

_TINY_SHAKESPEARE = Source(
    "tiny_shakespeare",
    ("tinyshakespeare", "tiny_shakespeare"),
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
)
_TINY_SHAKESPEARE_FILE = File("input.txt", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")
_RT_POLARITY = Source(
    "rt_polarity",
    ("rt_polarity", "rt-polaritydata"),
    (
        "https://raw.githubusercontent.com/yoonkim/CNN_sentence/master/",
        "https://raw.githubusercontent.com/yoonkim/CNN_sentence/4abc8df1de694999ff54826854d3ebc53e3e9c20/",
    ),
)
_RT_POLARITY_FILES = (
    File("rt-polarity.neg", "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca"),
    File("rt-polarity.pos", "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0"),
)
_MULTI30K = Source("multi30k", ("multi30k",), ("https://github.com/multi30k/dataset/raw/master/data/task1/raw/",))
_MULTI30K_FILES = {
    "train": (
        File("train.de.gz", "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
        File("train.en.gz", "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
    ),
    "validation": (
        File("val.de.gz", "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
        File("val.en.gz", "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
    ),
    "test": (
        File("test_2016_flickr.de.gz", "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"),
        File("test_2016_flickr.en.gz", "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"),
    ),
}
_FOLDS = 10


def tiny_shakespeare(split: str = "all", root: Root = None, download: bool = True) -> str:
    """40,000 lines of Shakespeare's plays as one string: "train" is the first 90 %, "validation" the last 10 %.

    Karpathy: The unreasonable effectiveness of recurrent neural networks, 2015.

    >>> text = ln.datasets.tiny_shakespeare("train")
    >>> len(text), text[:14]
    (1003854, 'First Citizen:')
    >>> len(ln.datasets.tiny_shakespeare("validation"))
    111540
    """
    choose(split, ("all", "train", "validation"))
    path = obtain(_TINY_SHAKESPEARE, _TINY_SHAKESPEARE_FILE, root, download)
    text = read_text(path, limit=_LIMIT)
    if not text:
        raise format_error(f"{path}: the file is empty")
    cut = len(text) * 9 // 10
    return {"all": text, "train": text[:cut], "validation": text[cut:]}[split]


def rt_polarity(
    split: str = "train", fold: int = 0, root: Root = None, download: bool = True
) -> tuple[list[str], NDArray[np.int64]]:
    """Sentences of film reviews, and labels int64 [N]: 0 where the review is negative, 1 where it is positive.

    Negative and positive sentences take turns. The set has no split of its own, and results on it are those of ten-fold
    cross-validation: "test" is every tenth sentence of each class from ``fold`` (0 to 9) on, "train" the others, "all"
    both. Words and punctuation are apart from each other already, in lower case.

    Pang, Lee: Seeing stars, ACL 2005.

    >>> sentences, labels = ln.datasets.rt_polarity("train")
    >>> len(sentences), int(labels.sum()), sentences[0]
    (9594, 4797, "it's so laddish and juvenile , only teenage boys could possibly find it funny .")
    """
    import numpy as np

    choose(split, ("all", "train", "test"))
    if not 0 <= fold < _FOLDS:
        raise ValueError(f"rt_polarity: fold must be from 0 to {_FOLDS - 1}, got {fold}")
    classes = []
    for file in _RT_POLARITY_FILES:
        path = obtain(_RT_POLARITY, file, root, download)
        classes.append([line.strip() for line in _lines(read_text(path, "cp1252", _LIMIT))])
        if "" in classes[-1] or not classes[-1]:
            raise format_error(f"{path}: line {[*classes[-1], ''].index('') + 1} has no sentence")
    chosen = [
        (sentence, label, i)
        for label, sentences in enumerate(classes)
        for i, sentence in enumerate(sentences)
        if split == "all" or (i % _FOLDS == fold) == (split == "test")
    ]
    chosen.sort(key=lambda item: item[2])  # stable: of one number, the negative one first
    return [sentence for sentence, _, _ in chosen], np.array([label for _, label, _ in chosen], np.int64)


def multi30k(split: str = "train", root: Root = None, download: bool = True) -> list[tuple[str, str]]:
    """Descriptions of photographs, as pairs (German, English): 29,000 to train with, 1,014 to validate, 1,000 to test.

    The test set is that of 2016 (Flickr). Elliott, Frank, Sima'an, Specia: Multi30K, 2016.

    >>> pairs = ln.datasets.multi30k("validation")
    >>> len(pairs), pairs[1]
    (1014, ('Ein Mann schläft in einem grünen Raum auf einem Sofa.', 'A man sleeping in a green room on a couch.'))
    """
    files = _MULTI30K_FILES[choose(split, tuple(_MULTI30K_FILES))]
    paths = [obtain(_MULTI30K, file, root, download) for file in files]
    german, english = ([line.strip() for line in _lines(read_text(path, limit=_LIMIT))] for path in paths)
    if len(german) != len(english) or not german:
        raise format_error(f"{paths[0]}: {len(german)} lines do not pair with the {len(english)} of {paths[1]}")
    return list(zip(german, english, strict=True))


def _lines(text: str) -> list[str]:
    """The lines of a text; unlike splitlines, which also ends them at characters that stand within a sentence."""
    return text.removesuffix("\n").split("\n") if text else []
