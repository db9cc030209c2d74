"""Reductions, normalizations and losses beside PyTorch: values and gradients."""

import lanner as ln
import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(5)


def uniform(shape, low=-2.0, high=2.0, dtype=np.float32):
    return np.asarray(RNG.uniform(low, high, shape), dtype)


def compare(ours, theirs, *arrays, tolerance=2e-6):
    """Values, and gradients by each floating argument of sum(out * cos(position))."""
    a = [ln.tensor(x) for x in arrays]
    b = [torch.tensor(x) for x in arrays]
    for x, t in zip(a, b, strict=True):
        if t.is_floating_point():
            x.requires_grad_()
            t.requires_grad_()
    y, z = ours(*a), theirs(*b)
    assert y.shape == tuple(z.shape)
    scale = np.cos(np.arange(z.numel())).reshape(z.shape).astype(arrays[0].dtype)
    ln.sum(y * ln.tensor(scale)).backward()
    (z * torch.tensor(scale)).sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=tolerance, equal_nan=True)
    for x, t in zip(a, b, strict=True):
        if t.is_floating_point() and t.grad is not None:
            size = max(1.0, float(t.grad.abs().nan_to_num().max()) if t.numel() else 1.0)
            np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-5, atol=tolerance * size, equal_nan=True)


AXES = [0, 1, 2, (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "logsumexp", "var", "std", "norm"])
def test_reductions(name, axis, keepdims):
    if name in ("var", "std"):
        ours = lambda x: getattr(ln, name)(x, axis, correction=1, keepdims=keepdims)  # noqa: E731
        theirs = lambda x: getattr(torch, name)(x, axis, correction=1, keepdim=keepdims)  # noqa: E731
    elif name == "norm":
        ours = lambda x: ln.norm(x, 2, axis, keepdims)  # noqa: E731
        theirs = lambda x: torch.linalg.vector_norm(x, 2, axis, keepdims)  # noqa: E731
    else:
        ours = lambda x: getattr(ln, name)(x, axis, keepdims=keepdims)  # noqa: E731
        theirs = lambda x: getattr(torch, name)(x, axis, keepdim=keepdims)  # noqa: E731
    compare(ours, theirs, uniform((4, 33, 7)), tolerance=1e-5)


def test_ties_share_the_gradient():
    x = np.asarray([[1, 3, 3, 3], [2, 2, 0, 1]], np.float32)
    compare(lambda t: ln.max(t, 1), lambda t: torch.amax(t, 1), x)
    compare(lambda t: ln.min(t), lambda t: torch.amin(t), x)


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_products_with_zeros(zeros):
    x = uniform((3, 6), 0.5, 1.5)
    x[:, :zeros] = 0
    compare(lambda t: ln.prod(t, 1), lambda t: torch.prod(t, 1), x)
    compare(lambda t: ln.cumulative_prod(t, 1), lambda t: torch.cumprod(t, 1), x)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 0.5, float("inf"), float("-inf")])
def test_norms(order):
    compare(
        lambda x: ln.norm(x, order, 1) + 0 * ln.sum(x, 1),
        lambda x: torch.linalg.vector_norm(x, order, 1) + 0 * x.sum(1),
        uniform((5, 9)),
        tolerance=1e-4 if order == 0.5 else 5e-6,
    )


def test_norm_of_zeros_has_gradient_zero():
    compare(lambda x: ln.norm(x, 2, 1), lambda x: torch.linalg.vector_norm(x, 2, 1), np.zeros((2, 3), np.float32))


def test_normalize():
    compare(ln.normalize, F.normalize, uniform((4, 9)))
    compare(lambda x: ln.normalize(x, 1, 0), lambda x: F.normalize(x, 1, 0), uniform((4, 9)))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, axis):
    compare(
        lambda x: getattr(ln, name)(x, axis),
        lambda x: getattr(F, name)(x, axis),
        uniform((5, 33, 70), -9, 9),
        tolerance=5e-6,
    )


@pytest.mark.parametrize("shape", [(16, 20), (4, 20, 7), (4, 20, 7, 6)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(shape, training):
    c = shape[1]
    mean, var = uniform(c), uniform(c, 0.5, 2)
    ours, theirs = (ln.tensor(mean), ln.tensor(var)), (torch.tensor(mean), torch.tensor(var))
    compare(
        lambda x, w, b: ln.batch_norm(x, *ours, w, b, training, 0.3),
        lambda x, w, b: F.batch_norm(x, *theirs, w, b, training, 0.3),
        uniform(shape),
        uniform(c),
        uniform(c),
        tolerance=5e-6,
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


def test_row_norms():
    compare(
        lambda x, w, b: ln.layer_norm(x, w.shape, w, b),
        lambda x, w, b: F.layer_norm(x, w.shape, w, b),
        uniform((50, 100)),
        uniform(100),
        uniform(100),
        tolerance=5e-6,
    )
    compare(
        lambda x, w, b: ln.layer_norm(x, w.shape, w, b),
        lambda x, w, b: F.layer_norm(x, w.shape, w, b),
        uniform((5, 6, 7)),
        uniform((6, 7)),
        uniform((6, 7)),
        tolerance=5e-6,
    )
    compare(
        lambda x, w: ln.rms_norm(x, w.shape, w),
        lambda x, w: F.rms_norm(x, w.shape, w),
        uniform((50, 100)),
        uniform(100),
        tolerance=5e-6,
    )


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups):
    compare(
        lambda x, w, b: ln.group_norm(x, groups, w, b),
        lambda x, w, b: F.group_norm(x, groups, w, b),
        uniform((4, 6, 5, 5)),
        uniform(6),
        uniform(6),
        tolerance=5e-6,
    )


REDUCTIONS = ["none", "mean", "sum"]
PAIRWISE = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.7},
    "huber_loss": {"delta": 0.7},
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", PAIRWISE)
def test_distances(name, reduction):
    options = {**PAIRWISE[name], "reduction": reduction}
    compare(
        lambda x, t: getattr(ln, name)(x, t, **options),
        lambda x, t: getattr(F, name)(x, t, **options),
        uniform((4, 9)),
        uniform((4, 9)),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary(reduction):
    x, t, w = uniform((6, 5), 0, 1), uniform((6, 5), 0, 1), uniform(5, 0, 2)
    x[0, :2], t[0, :4] = (0, 1), (0, 1, 1, 0)
    compare(
        lambda x: ln.binary_cross_entropy(x, ln.tensor(t), ln.tensor(w), reduction),
        lambda x: F.binary_cross_entropy(x, torch.tensor(t), torch.tensor(w), reduction=reduction),
        x,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("positive", [False, True])
def test_binary_with_logits(positive, reduction):
    def arguments(tensor):
        return {
            "target": tensor(t),
            "weight": tensor(w),
            "pos_weight": tensor(w) if positive else None,
            "reduction": reduction,
        }

    t, w = uniform((6, 5), 0, 1), uniform(5, 0, 2)
    compare(
        lambda x: ln.binary_cross_entropy_with_logits(x, **arguments(ln.tensor)),
        lambda x: F.binary_cross_entropy_with_logits(x, **arguments(torch.tensor)),
        uniform((6, 5), -50, 50),
        tolerance=2e-5,
    )


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(reduction, log_target):
    t = uniform((4, 5), 0.1, 1)
    if not log_target:
        t[0, 0] = 0
    compare(
        lambda x: ln.kl_div(x, ln.tensor(t), reduction, log_target),
        lambda x: F.kl_div(x, torch.tensor(t), reduction=reduction, log_target=log_target),
        uniform((4, 5), -3, 0),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(10,), (8, 10), (4, 10, 3), (2, 10, 3, 5)], ids=str)
def test_classes(shape, weighted, smoothing, reduction):
    c = 10
    rest = shape[2:] if len(shape) > 1 else ()
    target = RNG.integers(0, c, shape[:1] + rest if len(shape) > 1 else ())
    if target.size > 3:
        target.reshape(-1)[:2] = 7
    w = uniform(c, 0.5, 2) if weighted else None
    ours = {"weight": None if w is None else ln.tensor(w), "reduction": reduction, "ignore_index": 7}
    theirs = {"weight": None if w is None else torch.tensor(w), "reduction": reduction, "ignore_index": 7}
    if target.size == 1 and target == 7:
        target = np.asarray(3)
    compare(
        lambda x, t: ln.cross_entropy(x, t, label_smoothing=smoothing, **ours),
        lambda x, t: F.cross_entropy(x, t, label_smoothing=smoothing, **theirs),
        uniform(shape, -5, 5),
        target,
        tolerance=1e-5,
    )
    if smoothing == 0:
        compare(
            lambda x, t: ln.nll_loss(x, t, **ours),
            lambda x, t: F.nll_loss(x, t, **theirs),
            uniform(shape, -5, 0),
            target,
            tolerance=1e-5,
        )
    p = uniform(shape, 0, 1)
    del ours["ignore_index"], theirs["ignore_index"]
    compare(
        lambda x: ln.cross_entropy(x, ln.tensor(p), label_smoothing=smoothing, **ours),
        lambda x: F.cross_entropy(x, torch.tensor(p), label_smoothing=smoothing, **theirs),
        uniform(shape, -5, 5),
        tolerance=2e-5,
    )


def test_all_targets_ignored_is_nan():
    x, t = uniform((2, 3)), np.asarray([-100, -100])
    assert np.isnan(ln.cross_entropy(ln.tensor(x), ln.tensor(t)).item())
    assert ln.cross_entropy(ln.tensor(x), ln.tensor(t), reduction="sum").item() == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_multi_margin(p, weighted, reduction):
    w = uniform(5, 0.5, 2) if weighted else None
    target = np.asarray([0, 4, 2, 2])
    compare(
        lambda x, t: ln.multi_margin_loss(x, t, p, 0.7, None if w is None else ln.tensor(w), reduction),
        lambda x, t: F.multi_margin_loss(x, t, p, 0.7, None if w is None else torch.tensor(w), reduction=reduction),
        uniform((4, 5)),
        target,
        tolerance=5e-6,
    )
    compare(
        lambda x, t: ln.multi_margin_loss(x, t, p, reduction=reduction),
        lambda x, t: F.multi_margin_loss(x, t, p, reduction=reduction),
        uniform(5),
        np.asarray(3),
        tolerance=5e-6,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_embeddings(reduction):
    target = np.asarray([1, -1, 1, -1])
    compare(
        lambda a, b, t: ln.cosine_embedding_loss(a, b, t, 0.1, reduction),
        lambda a, b, t: F.cosine_embedding_loss(a, b, t, 0.1, reduction=reduction),
        uniform((4, 6)),
        uniform((4, 6)),
        target,
    )
    compare(
        lambda a, b, t: ln.cosine_embedding_loss(a, b, t, reduction=reduction),
        lambda a, b, t: F.cosine_embedding_loss(a, b, t, reduction=reduction),
        uniform(6),
        uniform(6),
        np.asarray(1),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_triplets(p, swap, reduction):
    compare(
        lambda a, b, c: ln.triplet_margin_loss(a, b, c, 0.9, p, 1e-6, swap, reduction),
        lambda a, b, c: F.triplet_margin_loss(a, b, c, 0.9, p, 1e-6, swap, reduction=reduction),
        uniform((4, 6)),
        uniform((4, 6)),
        uniform((4, 6)),
        tolerance=5e-6,
    )
