"""The ways to compute a convolution, timed: in processes of their own, since the environment is read once."""

import os
import subprocess
import sys
from pathlib import Path

STEP = """
import hashlib
import lanner as ln
from lanner.nn import functional as F

ln.manual_seed(0)
x, w = ln.random.normal((16, 8, 24, 24)), ln.nn.Parameter(ln.random.normal((16, 8, 3, 3)))

@ln.compile
def step(x):
    y = F.relu(F.conv2d(x, w, padding=1))
    (y * y).sum().backward()
    return y

print(hashlib.sha256(step(x).numpy().tobytes() + w.grad.numpy().tobytes()).hexdigest())
"""


def run(cache: Path, **environment: str) -> str:
    env = {**os.environ, "LANNER_CACHE": str(cache), **environment}
    return subprocess.run([sys.executable, "-c", STEP], env=env, check=True, capture_output=True, text=True).stdout


def test_what_was_found_is_kept_and_gives_the_same_bits(tmp_path):
    first = run(tmp_path, LANNER_AUTOTUNE="1")
    (table,) = tmp_path.glob("autotune-*.txt")
    found = table.read_text()
    assert found.startswith("lanner ")
    assert len(found.splitlines()) > 1
    assert run(tmp_path, LANNER_AUTOTUNE="1") == first
    assert table.read_text() == found
    assert run(tmp_path, LANNER_AUTOTUNE="1", LANNER_NUM_THREADS="1") == first


def test_nothing_is_timed_unless_it_was_asked_for(tmp_path):
    assert run(tmp_path, LANNER_AUTOTUNE="0") == run(tmp_path)
    assert not any(tmp_path.iterdir())
