"""Elementwise functions beside PyTorch: values, first and second gradients, dtypes."""

import lanner as ln
import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.peers

ACTIVATIONS = [
    ("relu", {}, F.relu),
    ("leaky_relu", {"negative_slope": 0.2}, F.leaky_relu),
    ("elu", {"alpha": 1.5}, F.elu),
    ("selu", {}, F.selu),
    ("gelu", {}, F.gelu),
    ("gelu", {"approximate": "tanh"}, F.gelu),
    ("silu", {}, F.silu),
    ("softplus", {"beta": 2.0, "threshold": 5.0}, F.softplus),
    ("hardtanh", {"min_val": -0.5, "max_val": 1.0}, F.hardtanh),
    ("sigmoid", {}, torch.sigmoid),
    ("tanh", {}, torch.tanh),
    ("erf", {}, torch.erf),
    ("exp", {}, torch.exp),
    ("threshold", {"threshold": 0.3, "value": -2.0}, F.threshold),
]


@pytest.mark.parametrize(("name", "options", "peer"), ACTIVATIONS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activation(name, options, peer, dtype):
    values = np.random.default_rng(0).normal(0, 2, (5, 33)).astype(dtype)
    x, t = ln.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    tolerance = dict(rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)
    y, u = getattr(ln, name)(x, **options), peer(t, **options)
    np.testing.assert_allclose(y.detach().numpy(), u.detach().numpy(), **tolerance)
    (g,) = ln.grad([(y * y).sum()], [x], create_graph=True)
    (h,) = torch.autograd.grad((u * u).sum(), t, create_graph=True)
    np.testing.assert_allclose(
        g.detach().numpy(), h.detach().numpy(), rtol=64 * np.finfo(dtype).eps, atol=1e3 * np.finfo(dtype).eps
    )
    g.sum().backward()
    h.sum().backward()
    np.testing.assert_allclose(
        x.grad.numpy(), t.grad.numpy(), rtol=256 * np.finfo(dtype).eps, atol=1e4 * np.finfo(dtype).eps
    )


TYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("a", TYPES)
@pytest.mark.parametrize("b", TYPES)
def test_promotion(a, b):
    expected = torch.promote_types(getattr(torch, a), getattr(torch, b))
    assert f"torch.{ln.result_type(ln.ones(1, dtype=a), ln.ones(1, dtype=b)).name}" == str(expected)


@pytest.mark.parametrize("to", TYPES)
def test_casts(to):
    values = np.random.default_rng(0).uniform(0, 100, 1000)
    ours = ln.tensor(values).to(to).to("float64").numpy()
    np.testing.assert_array_equal(ours, torch.tensor(values).to(getattr(torch, to)).double().numpy())
