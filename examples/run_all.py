"""Runs every example in a scratch folder and prints how long each took: `python run_all.py --short`."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the short setting of each")
    parser.add_argument("--cpp", type=Path, help="the build folder of examples/cpp")
    parser.add_argument("--keep", type=Path, help="write the figures to this folder")
    args = parser.parse_args()
    commands = [
        [sys.executable, str(p), *(["--short"] if args.short else [])] for p in sorted(HERE.glob("python/*.py"))
    ]
    if args.cpp:
        commands += [[str(args.cpp.resolve() / p.stem)] for p in sorted(HERE.glob("cpp/*.cpp"))]
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for command in commands:
            name = Path(command[-2] if command[-1] == "--short" else command[-1]).name
            print(f"=== {name}", flush=True)
            began = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
            print(f"=== {name}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
