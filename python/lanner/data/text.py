"""Text as numbers: words and punctuation apart from each other, vocabularies of words, characters or bytes.

>>> words = ln.data.text.Vocabulary.build(["A film, a good film.", "Good!"], lower=True)
>>> words.tokens
('<pad>', '<unk>', 'a', 'film', 'good', '!', ',', '.')
>>> words.encode("A bad film!").tolist()
[2, 1, 3, 5]
>>> words.decode([2, 4, 3])
'a good film'
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lanner import _core
from lanner.data.sequences import slide

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Level = Literal["word", "char", "byte"]

__all__ = ["Vocabulary", "next_token_streams", "next_token_windows", "tokenize"]

_LEVELS = ("word", "char", "byte")
_SPECIALS = {"word": ("<pad>", "<unk>"), "char": (), "byte": ()}
_UNKNOWN = "<unk>"
_PATTERN = r"{0}+(?:['’]{0}+)*|[^\s]"
_ASCII = re.compile(_PATTERN.format(r"\w"))
_JOINERS = "\u200c\u200d"  # between letters of one word, in Persian and Hindi
_FORMAT = "lanner.Vocabulary"


def tokenize(text: str, lower: bool = False) -> list[str]:
    """The words and the punctuation of ``text``.

    A word is a run of letters, digits, underscores and combining marks of any script, with single apostrophes inside;
    of the rest, each character but white space is a token of its own. The text is lower-cased first if ``lower``, and
    composed (NFC), so that one word has one spelling.

    >>> ln.data.text.tokenize("It's 3 o'clock -- 'Año' nuevo!", lower=True)
    ["it's", '3', "o'clock", '-', '-', "'", 'año', "'", 'nuevo', '!']
    """
    if lower:
        text = text.lower()
    if text.isascii():
        return _ASCII.findall(text)
    text = unicodedata.normalize("NFC", text)
    marks = "".join(sorted(c for c in set(text) if unicodedata.category(c)[0] == "M" or c in _JOINERS))
    return re.findall(_PATTERN.format(rf"[\w{marks}]"), text) if marks else _ASCII.findall(text)


class Vocabulary:
    """The tokens of a language and their numbers: ``tokens[i]`` is token i, special ones first.

    ``level`` says what a string is made of: "word" (what ``tokenize`` gives), "char" (its characters) or "byte" (those
    of its UTF-8; all 256 are there, so that none is unknown). A text may also be a list of tokens, which are
    taken as they are. ``lower`` lower-cases strings first. A special token, say ``<pad>`` or ``<eos>``, never comes out
    of a string.

    >>> chars = ln.data.text.Vocabulary.build("to be", level="char")
    >>> chars.tokens, chars["b"]
    ((' ', 'b', 'e', 'o', 't'), 1)
    >>> chars.encode("bet")
    array([1, 2, 4])
    >>> chars.encode("bat")
    Traceback (most recent call last):
    ValueError: Vocabulary: 'a' is none of the 5 tokens, and there is no '<unk>' for it
    """

    def __init__(
        self, tokens: Iterable[str], *, specials: Iterable[str] = (), level: Level = "word", lower: bool = False
    ) -> None:
        if level not in _LEVELS:
            raise ValueError(f'Vocabulary: level must be "word", "char" or "byte", got {level!r}')
        self.specials = tuple(specials)
        self.tokens = (*self.specials, *tokens)
        self.level, self.lower = level, bool(lower)
        for token in self.tokens:
            if not isinstance(token, str) or not token:
                raise TypeError(f"Vocabulary: a token must be a string that is not empty, got {token!r}")
        self._index = {token: i for i, token in enumerate(self.tokens)}
        if len(self._index) < len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"Vocabulary: the token {twice!r} is there twice")
        for token in self.specials:
            if list(self.split(token)) == [token]:
                raise ValueError(
                    f"Vocabulary: a text may have the special token {token!r} in it; write it as '<{token}>'"
                )
        self._unknown = self._index.get(_UNKNOWN, -1)
        self._table: Any = None

    @classmethod
    def build(
        cls,
        texts: Iterable[str | Sequence[str]],
        *,
        level: Level = "word",
        lower: bool = False,
        min_count: int = 1,
        max_size: int | None = None,
        specials: Iterable[str] | None = None,
    ) -> Vocabulary:
        """The tokens that ``texts`` (or one string) have at least ``min_count`` times, the most frequent first.

        Tokens of one frequency are in the order of their characters. Of more than ``max_size`` in all, special ones
        among them, the rarest are left out. ``specials`` are ``<pad>`` and ``<unk>`` for words, else none.

        >>> ln.data.text.Vocabulary.build([["a", "b"], ["b", "c"]], max_size=3, specials=["<unk>"]).tokens
        ('<unk>', 'b', 'a')
        """
        if min_count < 1:
            raise ValueError(f"Vocabulary.build: min_count must be at least 1, got {min_count}")
        empty = cls((), specials=_SPECIALS.get(level, ()) if specials is None else specials, level=level, lower=lower)
        if level == "byte":
            if min_count > 1 or max_size is not None:
                raise ValueError('Vocabulary.build: level="byte" has all bytes; min_count and max_size are for others')
            return cls(map(chr, range(256)), specials=empty.specials, level=level, lower=lower)
        counts: Counter[str] = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            counts.update(empty.split(text))
        kept = [t for t, count in counts.items() if count >= min_count and t not in empty._index]
        found = sorted(kept, key=lambda t: (-counts[t], t))
        if max_size is not None:
            if max_size < len(empty):
                raise ValueError(
                    f"Vocabulary.build: max_size={max_size} leaves no room for {len(empty)} special tokens"
                )
            found = found[: max_size - len(empty)]
        return cls(found, specials=empty.specials, level=level, lower=lower)

    def split(self, text: str | Sequence[str]) -> Sequence[str]:
        """The tokens of a text, whether they have a number or not; bytes are those of Latin-1.

        >>> ln.data.text.Vocabulary([], lower=True).split("Good-bye")
        ['good', '-', 'bye']
        """
        if not isinstance(text, str):
            return text
        if self.level == "word":
            return tokenize(text, self.lower)
        text = text.lower() if self.lower else text
        return text.encode("utf-8", "surrogatepass").decode("latin-1") if self.level == "byte" else text

    def encode(self, text: str | Sequence[str], *, bos: bool = False, eos: bool = False) -> NDArray[np.int64]:
        """The numbers of a text's tokens, int64 [tokens], after ``<bos>`` if ``bos``, before ``<eos>`` if ``eos``.

        A token that has none is ``<unk>``, where there is one, else raises ValueError.

        >>> words = ln.data.text.Vocabulary(["good"], specials=["<bos>", "<eos>"])
        >>> words.encode("good", bos=True, eos=True)
        array([0, 2, 1])
        """
        import numpy as np

        tokens = self.split(text)
        if isinstance(tokens, str):
            ids = self._look_up(tokens)
        else:
            get, unknown = self._index.get, self._unknown
            ids = np.fromiter((get(token, unknown) for token in tokens), np.int64, len(tokens))
        if self._unknown < 0 and len(ids) and ids.min() < 0:
            raise self._no_number(tokens[int(np.argmax(ids < 0))])
        if not bos and not eos:
            return ids
        first, last = self._special("<bos>", bos), self._special("<eos>", eos)
        return np.concatenate([np.array(first, np.int64), ids, np.array(last, np.int64)])

    def decode(self, ids: Any, *, skip_specials: bool = True) -> str:
        """The text of numbers [tokens]: words with a space between them, characters and bytes without.

        Special tokens are left out, all but ``<unk>``, unless ``skip_specials=False``. Bytes that are no UTF-8 become
        U+FFFD.

        >>> chars = ln.data.text.Vocabulary("abc", specials=["<eos>"], level="char")
        >>> chars.decode([3, 1, 2, 0]), chars.decode([3, 0], skip_specials=False)
        ('cab', 'c<eos>')
        """
        import numpy as np

        numbers = np.asarray(ids)
        if numbers.ndim != 1:
            raise _core.ShapeError(f"Vocabulary.decode: expected numbers [tokens], got shape {list(numbers.shape)}")
        if numbers.size and numbers.dtype.kind not in "iu":
            raise _core.DTypeError(f"Vocabulary.decode: expected whole numbers, got {numbers.dtype}")
        listed = numbers.tolist()
        for number in listed:
            if not 0 <= number < len(self.tokens):
                raise _core.IndexError(f"Vocabulary.decode: {number} is the number of none of {len(self)} tokens")
        skipped = len(self.specials) if skip_specials else 0
        tokens = [self.tokens[i] for i in listed if i >= skipped or i == self._unknown]
        if self.level == "word":
            return " ".join(tokens)
        text = "".join(tokens)
        if self.level == "char":
            return text
        return text.encode("latin-1").decode("utf-8", "replace")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON: under another name first, so that no half of it is ever there.

        >>> words = ln.data.text.Vocabulary(["good", "film"])
        >>> words.save("words.json")
        >>> ln.data.text.Vocabulary.load("words.json") == words
        True
        """
        content = {
            "format": _FORMAT,
            "version": 1,
            "level": self.level,
            "lower": self.lower,
            "specials": self.specials,
            "tokens": self.tokens[len(self.specials) :],
        }
        target = Path(path)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name + ".", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as out:
                json.dump(content, out)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read what ``save`` wrote; raises FormatError, which names the file, for anything else."""
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            if not isinstance(content, dict) or content.get("format") != _FORMAT or content.get("version") != 1:
                raise ValueError(f'expected "format": "{_FORMAT}" and "version": 1')
            lists = [content["specials"], content["tokens"]]
            if not all(isinstance(part, list) for part in lists) or not isinstance(content["lower"], bool):
                raise ValueError('expected lists for "specials" and "tokens", true or false for "lower"')
            return cls(lists[1], specials=lists[0], level=content["level"], lower=content["lower"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _core.FormatError(f"{os.fspath(path)}: not a vocabulary ({error})") from error

    def _look_up(self, text: str) -> NDArray[np.int64]:
        """The numbers of characters, by a table over their code points: a megabyte of text takes a few milliseconds."""
        import numpy as np

        if self._table is None:
            numbers = {ord(token): i for token, i in self._index.items() if len(token) == 1}
            table = np.full(max(numbers, default=-1) + 2, self._unknown, np.int64)
            table[list(numbers)] = list(numbers.values())
            self._table = table  # its last place is that of all characters beyond
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids: NDArray[np.int64] = self._table[np.minimum(points, len(self._table) - 1)]
        return ids

    def _special(self, token: str, wanted: bool) -> list[int]:
        if not wanted:
            return []
        if token not in self._index:
            raise ValueError(f"Vocabulary.encode: there is no {token!r} among the special tokens {self.specials}")
        return [self._index[token]]

    def _no_number(self, token: str) -> Exception:
        return ValueError(
            f"Vocabulary: {token!r} is none of the {len(self)} tokens, and there is no {_UNKNOWN!r} for it"
        )

    def __getitem__(self, token: str) -> int:
        number = self._index.get(token, self._unknown)
        if number < 0:
            raise self._no_number(token)
        return number

    def __contains__(self, token: object) -> bool:
        return token in self._index

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        mine, theirs = ((v.tokens, v.specials, v.level, v.lower) for v in (self, other))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens, level={self.level!r}, lower={self.lower}, specials={self.specials})"


def next_token_windows(tokens: Any, length: int, stride: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a language model reads and what it is to say: pieces [N, length] of tokens [T], and the same one token on.

    Pieces begin ``stride`` apart, one behind the other unless given. Both are views, for a ``DataLoader`` to shuffle.

    >>> x, y = ln.data.text.next_token_windows(np.arange(8), length=3)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    tokens = _tokens(tokens, "next_token_windows")
    stride = length if stride is None else stride
    if length < 1 or stride < 1:
        raise ValueError(f"next_token_windows: length and stride must be at least 1, got {length} and {stride}")
    if len(tokens) <= length:
        raise _core.ShapeError(f"next_token_windows: {len(tokens)} tokens have no window of {length} and one more")
    return slide(tokens[:-1], length, stride), slide(tokens[1:], length, stride)


def next_token_streams(tokens: Any, batch_size: int, length: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Tokens [T] cut into ``batch_size`` streams that are read side by side: inputs and targets [steps, batch, length].

    Row b of step s goes on where row b of step s - 1 ended, so that a recurrent layer's state is handed from step to
    step. Both are views; what does not fill a step is left out.

    >>> x, y = ln.data.text.next_token_streams(np.arange(14), batch_size=2, length=3)
    >>> x.tolist()
    [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, 10, 11]]]
    """
    import numpy as np

    tokens = _tokens(tokens, "next_token_streams")
    if batch_size < 1 or length < 1:
        raise ValueError(f"next_token_streams: expected at least 1, got batch_size={batch_size}, length={length}")
    each = (len(tokens) - 1) // batch_size
    steps = each // length
    if steps < 1:
        raise _core.ShapeError(
            f"next_token_streams: {len(tokens)} tokens are too few for {batch_size} streams of {length} and one more"
        )
    tokens = np.ascontiguousarray(tokens)
    item = tokens.itemsize
    x, y = (
        np.lib.stride_tricks.as_strided(
            part, (steps, batch_size, length), (length * item, each * item, item), writeable=part.flags.writeable
        )
        for part in (tokens[:-1], tokens[1:])
    )
    return x, y


def _tokens(tokens: Any, name: str) -> NDArray[Any]:
    import numpy as np

    array: NDArray[Any] = np.asarray(tokens)
    if array.ndim != 1:
        raise _core.ShapeError(f"{name}: expected tokens [T], got shape {list(array.shape)}")
    return array
