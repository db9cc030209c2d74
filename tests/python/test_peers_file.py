"""Files move to and from the safetensors package."""

from __future__ import annotations

import lanner as ln
import numpy as np
import pytest

safetensors_numpy = pytest.importorskip("safetensors.numpy")
pytestmark = pytest.mark.peers

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (), (0, 2), (7,)]
    return {f"{d}.{i}": np.asarray(rng.random(s) * 2, d) for d in DTYPES for i, s in enumerate(shapes)}


def test_ours_is_read_by_theirs(tmp_path, arrays):
    path = tmp_path / "ours.safetensors"
    ln.save(path, {name: ln.tensor(a) for name, a in arrays.items()}, {"key": "value"})
    theirs = safetensors_numpy.load_file(path)
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        assert theirs[name].dtype == array.dtype
        np.testing.assert_array_equal(theirs[name], array)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"key": "value"}


def test_theirs_is_read_by_ours(tmp_path, arrays):
    path = tmp_path / "theirs.safetensors"
    safetensors_numpy.save_file(arrays, path, {"key": "value"})
    ours, metadata = ln.load(path, return_metadata=True)
    assert metadata == {"key": "value"} and ours.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(ours[name].numpy(), array)
        assert ours[name].shape == array.shape


def test_bfloat16_and_weights_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    x = torch.randn(4, 3)
    save_file({"x": x.bfloat16()}, tmp_path / "a.safetensors")
    ours = ln.load(tmp_path / "a.safetensors")["x"]
    np.testing.assert_array_equal(ours.to(ln.float32).numpy(), x.bfloat16().float().numpy())
    ln.save(tmp_path / "b.safetensors", {"x": ours})
    assert torch.equal(load_file(tmp_path / "b.safetensors")["x"], x.bfloat16())


def test_a_saved_model_goes_to_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    model = ln.Model(ln.nn.Sequential(ln.nn.Linear(3, 4), ln.nn.Tanh(), ln.nn.Linear(4, 2)))
    model.save(tmp_path / "model.safetensors")
    peer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    peer.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), peer(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
