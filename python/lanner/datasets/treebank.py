"""The Stanford Sentiment Treebank: sentences of film reviews, parsed, with a sentiment at every node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.datasets.source import File, Root, Source, choose, format_error, obtain, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Tree", "sst", "sst_trees"]

_SST = Source(
    "sst",
    ("sst", "trees"),
    (
        "https://raw.githubusercontent.com/munikarmanish/RNTN/master/trees/",
        "https://raw.githubusercontent.com/munikarmanish/RNTN/b83e5173e04237a172007cf1540d45e599490e39/trees/",
    ),
)
_FILES = {
    "train": File("train.txt", "e2f3f41b0b1e6d4dddc0effe3bfc2d27ed8928079aa9a03d652311614fc5feb7"),
    "validation": File("dev.txt", "0e9336aed6e4730e19f58d00a77b3f0297efdb755f7b5e598c98a05e3f97ea40"),
    "test": File("test.txt", "6e54806dee95cf80cd918e7dfb3f6770f6df24bf826f289a4d1f709e1c8f6761"),
}
_LIMIT = 1 << 26
_DEEPEST = 120  # no sentence has as many words; what walks a tree by recursion stays within Python's limit
# A leaf "(2 film)", the start of an inner node "(3 ", or the end of one. Spaces are those of ASCII: a no-break space
# stands within a word.
_PART = re.compile(r"\(([0-4]) (?:([^() \t]+)\))?[ \t]*|(\))[ \t]*")
_ESCAPES = {"-LRB-": "(", "-RRB-": ")"}


@dataclass(slots=True, unsafe_hash=True)
class Tree:
    """A phrase: its sentiment (0 very negative to 4 very positive, 2 neutral), its text, and its two parts.

    A word has no parts. ``str`` gives the line that the treebank has for it.

    >>> word, film = ln.datasets.Tree(4, "lovely"), ln.datasets.Tree(2, "film")
    >>> tree = ln.datasets.Tree(3, "lovely film", (word, film))
    >>> str(tree), tree.words()
    ('(3 (4 lovely) (2 film))', ['lovely', 'film'])
    >>> [(node.label, node.text) for node in tree.nodes()]
    [(3, 'lovely film'), (4, 'lovely'), (2, 'film')]
    """

    label: int
    text: str
    children: tuple[Tree, ...] = ()

    def nodes(self) -> Iterator[Tree]:
        """Every phrase in the tree: itself, then those of its left part, then those of its right."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))

    def words(self) -> list[str]:
        """Its words, from left to right."""
        return [node.text for node in self.nodes() if not node.children]

    def __str__(self) -> str:
        if self.children:
            return f"({self.label} {' '.join(map(str, self.children))})"
        return f"({self.label} {_escape(self.text)})"


def sst(
    split: str = "train", classes: int = 5, phrases: bool = False, root: Root = None, download: bool = True
) -> tuple[list[str], NDArray[np.int64]]:
    """Sentences of film reviews and their sentiments, int64 [N]: 8,544 to train with, 1,101 to validate, 2,210 to test.

    ``classes=5`` has labels from 0 (very negative) to 4 (very positive). ``classes=2`` leaves out what is neutral: 0 is
    negative, 1 positive; 6,920, 872 and 1,821 sentences are left. ``phrases=True`` gives every phrase of the sentences
    once, words and whole sentences among them: several times as much to train with. Words are apart from each other
    already: ``sentence.split(" ")``.

    Socher et al.: Recursive deep models for semantic compositionality over a sentiment treebank, EMNLP 2013.

    >>> sentences, labels = ln.datasets.sst("validation", classes=2)
    >>> len(sentences), int(labels.sum()), sentences[0]
    (872, 444, "It 's a lovely film with lovely performances by Buy and Accorsi .")
    """
    import numpy as np

    if classes not in (2, 5):
        raise ValueError(f"sst: classes must be 2 or 5, got {classes}")
    trees = _read_trees(split, root, download)
    if phrases:  # of which each has the sentiment it was given by itself, wherever it stands
        pairs = list({node.text: node.label for tree in trees for node in tree.nodes()}.items())
    else:
        pairs = [(tree.text, tree.label) for tree in trees]
    if classes == 2:
        pairs = [(text, int(label > 2)) for text, label in pairs if label != 2]
    return [text for text, _ in pairs], np.array([label for _, label in pairs], np.int64)


def sst_trees(split: str = "train", root: Root = None, download: bool = True) -> list[Tree]:
    """The parsed sentences that ``sst`` takes its phrases from, each a binary ``Tree``.

    >>> tree = ln.datasets.sst_trees("validation")[0]
    >>> tree.label, tree.children[0].text, tree.children[1].label
    (3, 'It', 4)
    """
    return list(_read_trees(split, root, download))


def _read_trees(split: str, root: Root, download: bool) -> Iterator[Tree]:
    """One tree after the other: hundreds of thousands of nodes at once keep Python's collector of garbage busy."""
    path = obtain(_SST, _FILES[choose(split, tuple(_FILES))], root, download)
    lines = [line for line in read_text(path, limit=_LIMIT).split("\n") if line.strip()]
    if not lines:
        raise format_error(f"{path}: has no sentences")
    for number, line in enumerate(lines, 1):
        yield _parse(line, path, number)


def _parse(line: str, path: Path, number: int) -> Tree:
    labels: list[int] = []  # of the nodes that are open
    parts: list[list[Tree]] = [[]]  # and the parts that each has so far, below them the tree itself
    end = 0
    for match in _PART.finditer(line):
        if match.start() != end or len(labels) > _DEEPEST:
            break
        label, word, closing = match.groups()
        if word:
            parts[-1].append(Tree(int(label), _unescape(word)))
        elif label:
            labels.append(int(label))
            parts.append([])
        elif closing:
            if not labels or len(parts[-1]) != 2:
                break
            left, right = parts.pop()
            parts[-1].append(Tree(labels.pop(), f"{left.text} {right.text}", (left, right)))
        end = match.end()
    if end != len(line) or labels or len(parts[0]) != 1:
        raise format_error(
            f"{path}: sentence {number} is no binary tree with labels from 0 to 4; it goes wrong at column {end + 1}: "
            f"{line[max(end - 20, 0) : end + 20]!r}"
        )
    return parts[0][0]


def _unescape(word: str) -> str:
    if "\\" in word:
        return word.replace("\\/", "/").replace("\\*", "*")
    return _ESCAPES.get(word, word)


def _escape(word: str) -> str:
    for escaped, plain in _ESCAPES.items():
        if word == plain:
            return escaped
    return word.replace("/", "\\/").replace("*", "\\*")
