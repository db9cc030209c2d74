"""Writes python/lanner/_core.pyi from the built extension; `--check` says whether the committed one still fits."""

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "lanner" / "_core.pyi"
HEADER = '''"""Types of lanner's engine. Made by python/bindings/make_stubs.py; the docstrings are in the extension."""

from __future__ import annotations
import builtins
import collections.abc
import types
import typing
import typing_extensions

DTypeLike: typing.TypeAlias = DType | str | type
'''
# The module has its own `bool`, a dtype.
BUILTIN_BOOL = re.compile(r"(?<=: )bool\b|(?<=-> )bool\b|(?<=\[)bool\b(?=[,\]| ])|(?<=\| )bool\b|\bbool\b(?= \|)")


def without_docstrings(text):
    return re.sub(r'^( *)"""\n.*?^\1"""\n', lambda m: f"{m[1]}...\n" if m[1] else "", text, flags=re.S | re.M)


def methods_from_functions(text):
    """Functions that are methods too come out as static methods that take the tensor."""
    text = re.sub(r"    @staticmethod\n(    def \w+)\(x1?: Tensor(, x2: Tensor)?(, /)?", r"\1(self\2\3", text)
    return re.sub(r"\(self, x2: Tensor, /", "(self, x2: Tensor, /", text)


def error_classes():
    import lanner._core as core

    lines = []
    for name, item in vars(core).items():
        if isinstance(item, type) and issubclass(item, Exception):
            bases = [b.__name__ if b.__module__ != "builtins" else f"builtins.{b.__name__}" for b in item.__bases__]
            lines.append(f"class {name}({', '.join(bases)}):\n    ...\n")
    return "".join(lines)


# pybind11 says of containers only what they are.
REPAIRS = [
    (r"(def __(?:eq|ne)__\(.*\) -> Tensor:)", r"\1  # type: ignore[override]"),
    (r"collections\.abc\.Iterator:", "collections.abc.Iterator[Tensor]:"),
    (r"-> \.\.\.:$", "-> typing.Any:"),
    (r"-> tuple\[\.\.\., .*:$", "-> tuple[typing.Any, ...]:"),
    (r"\btuple(?=[:,)])", "tuple[typing.Any, ...]"),
    (r"\bdict(?=[:,)])", "dict[str, typing.Any]"),
    (r"collections\.abc\.Callable(?=[:,)])", "collections.abc.Callable[..., typing.Any]"),
    (r"\*args(?=[,)])", "*args: typing.Any"),
    (r"\*\*kwargs(?=[,)])", "**kwargs: typing.Any"),
]


def generate():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "lanner._core", "-o", folder, "--ignore-all-errors"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        text = next(Path(folder).rglob("_core.pyi")).read_text()
    text = methods_from_functions(without_docstrings(text))
    body = [line for line in text.splitlines(keepends=True) if not re.match(r"(from|import) |__all__", line)]
    text = BUILTIN_BOOL.sub("builtins.bool", "".join(body))
    text = text.replace("builtins.builtins.", "builtins.")
    text = re.sub(r"^builtins\.bool: DType", "bool: DType", text, flags=re.M)
    text = re.sub(r"^(\w+): DType .*$", r"\1: DType", text, flags=re.M)
    for pattern, replacement in REPAIRS:
        text = re.sub(pattern, replacement, text, flags=re.M)
    return HEADER + error_classes() + text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    text = generate()
    if not args.check:
        TARGET.write_text(text)
        return
    committed = TARGET.read_text().splitlines()
    difference = list(difflib.unified_diff(committed, text.splitlines(), "committed", "generated", lineterm=""))
    if difference:
        sys.exit("\n".join([*difference[:40], "_core.pyi is out of date: run `make stubs`"]))


if __name__ == "__main__":
    main()
