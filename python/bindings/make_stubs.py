"""Writes python/lanner/_core.pyi from the built extension; `--check` says whether the committed one still fits."""

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "lanner" / "_core.pyi"


def generate():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "lanner._core", "-o", folder, "--enum-class-locations", "DType:lanner"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        text = next(Path(folder).rglob("_core.pyi")).read_text()
    # Docstrings are read from the extension; the stub holds the types alone.
    text = re.sub(r'^( *)"""\n.*?^\1"""\n', lambda m: f"{m.group(1)}...\n" if m.group(1) else "", text, flags=re.S | re.M)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    text = generate()
    if not args.check:
        TARGET.write_text(text)
        return
    difference = list(difflib.unified_diff(TARGET.read_text().splitlines(), text.splitlines(), "committed", "generated", lineterm=""))
    if difference:
        sys.exit("\n".join([*difference[:40], "_core.pyi is out of date: run `make stubs`"]))


if __name__ == "__main__":
    main()
