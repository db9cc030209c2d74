"""Files of tensors: what comes back, what damage gives, what an interruption leaves."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time

import lanner as ln
import numpy as np
import pytest

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
]


def test_every_dtype_comes_back(tmp_path):
    path = tmp_path / "all.safetensors"
    rng = np.random.default_rng(0)
    arrays = {d: (rng.random((3, 5)) * 2).astype(d) for d in DTYPES}
    arrays["empty"] = np.zeros((2, 0, 3), np.float32)
    arrays["scalar"] = np.array(3.5, np.float32)
    tensors = {name: ln.tensor(a) for name, a in arrays.items()}
    tensors["bfloat16"] = ln.tensor(arrays["float32"]).to(ln.bfloat16)
    ln.save(path, tensors, {"author": "me", "Ünïcode": "\n"})
    loaded, metadata = ln.load(path, return_metadata=True)
    assert metadata == {"author": "me", "Ünïcode": "\n"}
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
        as_array = (lambda t: t.to(ln.float32).numpy()) if name == "bfloat16" else (lambda t: t.numpy())
        np.testing.assert_array_equal(as_array(loaded[name]), as_array(tensor))


def test_arrays_views_and_parameters(tmp_path):
    path = tmp_path / "views.safetensors"
    x = ln.tensor(np.arange(12, dtype=np.float32).reshape(3, 4))
    ln.save(path, {"t": x.T, "column": x[:, 1], "array": np.arange(3)[::-1], "wants": ln.ones(2, requires_grad=True)})
    loaded = ln.load(path)
    np.testing.assert_array_equal(loaded["t"].numpy(), x.numpy().T)
    np.testing.assert_array_equal(loaded["column"].numpy(), x.numpy()[:, 1])
    np.testing.assert_array_equal(loaded["array"].numpy(), [2, 1, 0])
    assert not loaded["wants"].requires_grad


def test_what_the_system_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        ln.load(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError):
        ln.save(tmp_path / "no" / "folder", {})
    with pytest.raises(IsADirectoryError):
        ln.load(tmp_path)
    with pytest.raises(IsADirectoryError):
        ln.save(tmp_path, {})
    with pytest.raises(OSError, match="not a regular file"):
        ln.save("/dev/null", {})


def test_wrong_arguments(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(TypeError, match="must be a dict"):
        ln.save(path, [ln.ones(2)])
    with pytest.raises(TypeError, match="a name must be a str"):
        ln.save(path, {1: ln.ones(2)})
    with pytest.raises(TypeError, match="value of the metadata must be a str"):
        ln.save(path, {}, {"epoch": 3})
    with pytest.raises(ln.Error, match="__metadata__"):
        ln.save(path, {"__metadata__": ln.ones(2)})
    with pytest.raises(ln.Error, match="null character"):
        ln.save("a\0b", {})
    assert not path.exists()


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234567", "has 7 bytes of data"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"123456789", "belong to no tensor"),
        ({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"12345678", "takes 12 bytes"),
        ({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, b"12345678", "more bytes than"),
        ({"x": {"dtype": "C99", "shape": [1], "data_offsets": [0, 8]}}, b"12345678", "does not know"),
        ({"x": {"dtype": "U8", "shape": [1] * 9, "data_offsets": [0, 1]}}, b"1", "9 axes"),
        (
            {name: {"dtype": "U8", "shape": [2], "data_offsets": [i, i + 2]} for i, name in enumerate("ab")},
            b"123",
            "overlaps",
        ),
        (b'{"x": {', b"", "not JSON"),
        (b"[" * 10000, b"", "not a JSON object"),
        (b'{"x":' * 10000, b"", "unknown key"),
    ],
)
def test_hostile_headers(tmp_path, header, data, reason):
    path = tmp_path / "bad.safetensors"
    write(path, header, data)
    with pytest.raises(ln.FormatError, match=reason) as caught:
        ln.load(path)
    assert str(path) in str(caught.value)


def test_huge_header_length(tmp_path):
    path = tmp_path / "bad.safetensors"
    for length in (1, 10**8 + 1, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length))
        with pytest.raises(ln.FormatError):
            ln.load(path)


def test_cut_off_anywhere_and_random_damage(tmp_path):
    path = tmp_path / "damaged.safetensors"
    ln.save(path, {"w": ln.ones((2, 3)), "n": ln.ones(5, dtype=ln.uint8)}, {"key": "value"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ln.FormatError):
            ln.load(path)
    rng = random.Random(0)
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            ln.load(path)
        except ln.FormatError:
            pass


SAVER = """
import sys
import lanner as ln
path = sys.argv[1]
small, large = ({"w": ln.full((n,), float(n))} for n in (1 << 10, 1 << 21))
print("ready", flush=True)
while True:
    ln.save(path, small)
    ln.save(path, large)
"""


def test_a_process_killed_while_it_saves(tmp_path):
    path = tmp_path / "model.safetensors"
    rng = random.Random(1)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        while not path.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        w = ln.load(path)["w"]
        assert w.shape[0] in (1 << 10, 1 << 21)
        assert bool((w == float(w.shape[0])).all())
    # Between two system calls the new file has a name of its own; whole files of that kind are all that may be left.
    assert len(os.listdir(tmp_path)) <= 2


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    ln.save(path, {"old": ln.ones(3)})
    code = """
import resource, signal, sys
import lanner as ln
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
big = {"new": ln.ones(1 << 20)}
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    ln.save(sys.argv[1], big)
except OSError as error:
    print(type(error).__name__, error.filename == sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["OSError", "True"]
    assert list(ln.load(path)) == ["old"]
    assert os.listdir(tmp_path) == [path.name]


def test_a_name_that_is_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.safetensors")
    ln.save(path, {"w": ln.ones(2)})
    assert ln.load(path)["w"].shape == (2,)
    with open(path, "wb") as file:
        file.write(b"nothing")
    with pytest.raises(ln.FormatError):
        ln.load(path)
