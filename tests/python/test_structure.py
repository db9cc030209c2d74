"""The layout holds: includes point one way, kernels stay apart, files stay short."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Each folder may include from those before it, and from itself.
LAYERS = ["include", "core", "cpu", "ops", "autodiff", "plan", "model"]
KERNEL_HEADERS = {"stddef.h", "stdint.h", "immintrin.h", "emmintrin.h", "arm_neon.h", "lanner/dtype.h", "core/philox.h"}
INCLUDE = re.compile(r'^\s*#include\s+([<"])([^>"]+)[>"]', re.M)
MAX_LINES = 600


def sources(*patterns):
    return [p for pattern in patterns for p in sorted(ROOT.glob(pattern))]


def test_includes_point_one_way():
    wrong = []
    for path in sources("cpp/include/**/*.h", "cpp/src/**/*.h", "cpp/src/**/*.cpp"):
        parts = path.relative_to(ROOT / "cpp").parts
        layer = "include" if parts[0] == "include" else parts[1]
        if layer == "data":
            layer = "core"  # batches know tensors and randomness, no ops
        for _, name in INCLUDE.findall(path.read_text()):
            target = "include" if name.startswith("lanner/") else name.split("/")[0]
            if target in LAYERS and LAYERS.index(target) > LAYERS.index(layer):
                wrong.append(f"{path.relative_to(ROOT)} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_kernels_include_no_standard_library():
    wrong = []
    folders = ("cpp/src/cpu/kernels/*", "cpp/src/cpu/gemm/*", "cpp/src/cpu/simd.h")
    for path in sources(*folders):
        for _, name in INCLUDE.findall(path.read_text()):
            if name not in KERNEL_HEADERS and not name.startswith("cpu/"):
                wrong.append(f"{path.relative_to(ROOT)} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_public_headers_are_self_contained():
    wrong = []
    for path in sources("cpp/include/**/*.h"):
        for quote, name in INCLUDE.findall(path.read_text()):
            if quote == '"' and not (ROOT / "cpp/include" / name).exists():
                wrong.append(f"{path.relative_to(ROOT)} includes {name}, which is not installed")
    assert not wrong, "\n".join(wrong)


def test_files_are_short():
    long = []
    for path in sources("cpp/**/*.h", "cpp/**/*.cpp", "python/**/*.py", "python/**/*.cpp", "tests/**/*.*", "bench/*.*"):
        if path.suffix in (".py", ".cpp", ".h"):
            lines = len(path.read_text().splitlines())
            if lines > MAX_LINES:
                long.append(f"{path.relative_to(ROOT)}: {lines} lines")
    assert not long, "\n".join(long)


if __name__ == "__main__":
    failed = 0
    for name, check in list(globals().items()):
        if name.startswith("test_"):
            try:
                check()
            except AssertionError as error:
                failed = 1
                print(f"{name}:\n{error}", file=sys.stderr)
    sys.exit(failed)
