"""The CTC loss against PyTorch's: values and gradients, every option, on each instruction set."""

import lanner as ln
import numpy as np
import pytest
from lanner import nn
from lanner.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::UserWarning")]  # PyTorch's
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


@pytest.fixture(params=ln.cpu.available_isas())
def isa(request):
    with ln.cpu.isa(request.param):
        yield request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("sizes", [(12, 4, 5, 4), (150, 3, 40, 30)])
def test_ctc_loss(isa, dtype, reduction, joined, blank, sizes):
    frames, n, classes, room = sizes
    rng = np.random.default_rng(0)
    x = (3 * rng.normal(size=(frames, n, classes))).astype(dtype)
    targets = rng.integers(0, classes - 1, (n, room))
    targets += targets >= blank
    inputs, lengths = rng.integers(frames // 2 + 2, frames + 1, n), rng.integers(0, room // 2 + 2, n)
    lengths[0], lengths[1], inputs[1] = 0, room, 2  # one without labels, one that cannot be said
    if joined:
        targets = np.concatenate([t[:k] for t, k in zip(targets, lengths, strict=True)])
    a, b = ln.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    loss = nn.CTCLoss(blank, reduction, zero_infinity=True)
    theirs = torch.nn.CTCLoss(blank, reduction, zero_infinity=True)
    y = loss(F.log_softmax(a, -1), ln.tensor(targets), tuple(inputs), tuple(lengths))
    ty = theirs(torch.log_softmax(b, -1), torch.tensor(targets), torch.tensor(inputs), torch.tensor(lengths))
    bound = 64 * EPS[dtype] * frames
    scale = max(1.0, float(ty.detach().abs().max()))
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=0, atol=bound * scale)
    g = rng.uniform(0.5, 1, tuple(ty.shape)).astype(dtype)
    y.backward(ln.tensor(g))
    ty.backward(torch.tensor(g))
    # A difference of logarithms of the loss's size decides each share of the gradient.
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=0, atol=bound * scale)
