"""linear, bilinear and einsum beside PyTorch: values and gradients."""

import lanner as ln
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def both(ours, theirs, shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, shape) for shape in shapes]
    xs, ts = [ln.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*xs), theirs(*ts)
    np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-12, atol=1e-12)
    ln.sum(y * y).backward()
    (t * t).sum().backward()
    for x, other in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_linear():
    both(ln.linear, torch.nn.functional.linear, [(2, 9, 33), (65, 33), (65,)])
    both(ln.linear, torch.nn.functional.linear, [(33,), (5, 33), (5,)])


def test_bilinear():
    both(ln.bilinear, torch.nn.functional.bilinear, [(7, 3), (7, 4), (5, 3, 4), (5,)])


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk,kl->li", [(3, 4), (4, 5), (5, 6)]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...ij,...kj->...ik", [(2, 1, 3, 4), (5, 6, 4)]),
        ("iij,j->i", [(3, 3, 4), (4,)]),
    ],
)
def test_einsum(equation, shapes):
    both(lambda *xs: ln.einsum(equation, *xs), lambda *xs: torch.einsum(equation, *xs), shapes)
