"""embedding_bag, padding, topk and their kin against PyTorch: values and gradients."""

import lanner as ln
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def both(ours, theirs, floats, rtol=1e-5):
    """The same of both on the arrays `floats`, and the same gradients of a weighted sum."""
    xs = [ln.tensor(a, requires_grad=True) for a in floats]
    ts = [torch.tensor(a, requires_grad=True) for a in floats]
    y, t = ours(*xs), theirs(*ts)
    np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol, rtol)
    g = normal(*t.shape)
    (y * ln.tensor(g)).sum().backward()
    (t * torch.tensor(g)).sum().backward()
    for x, reference in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), reference.grad.numpy(), rtol, rtol)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 2, -1])
@pytest.mark.parametrize("form", ["matrix", "offsets", "last_offset"])
def test_embedding_bag(mode, padding_idx, form):
    index = RNG.integers(0, 7, (4, 5) if form == "matrix" else 20)
    offsets = {"matrix": None, "offsets": [0, 3, 3, 11], "last_offset": [0, 3, 3, 11, 20]}[form]
    last = form == "last_offset"
    both(
        lambda w: ln.embedding_bag(
            ln.tensor(index), w, None if offsets is None else ln.tensor(offsets), mode, None, last, padding_idx
        ),
        lambda w: torch.nn.functional.embedding_bag(
            torch.tensor(index),
            w,
            None if offsets is None else torch.tensor(offsets),
            mode=mode,
            include_last_offset=last,
            padding_idx=padding_idx,
        ),
        [normal(7, 3)],
    )


def test_embedding_bag_weights():
    index, offsets = RNG.integers(0, 7, 20), [0, 3, 3, 11]
    both(
        lambda w, s: ln.embedding_bag(ln.tensor(index), w, ln.tensor(offsets), "sum", s),
        lambda w, s: torch.nn.functional.embedding_bag(
            torch.tensor(index), w, torch.tensor(offsets), mode="sum", per_sample_weights=s
        ),
        [normal(7, 3), normal(20)],
    )


def test_embedding():
    index = RNG.integers(0, 7, (3, 4))
    both(
        lambda w: ln.embedding(ln.tensor(index), w, padding_idx=3),
        lambda w: torch.nn.functional.embedding(torch.tensor(index), w, padding_idx=3),
        [normal(7, 5)],
    )


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pad", [(1, 2), (3, 0, 1, 2), (-1, 2, 0, 1)])
def test_pad(mode, pad):
    if mode != "constant" and min(pad) < 0:
        pytest.skip("PyTorch crops with constant alone")
    x = normal(2, 3, 5) if len(pad) == 2 else normal(2, 3, 4, 5)
    both(lambda x: ln.pad(x, pad, mode), lambda x: torch.nn.functional.pad(x, pad, mode), [x])


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("n", "k"), [(10, 3), (1000, 5), (5000, 100), (300, 300)])
def test_topk(n, k, largest):
    x = normal(3, n)
    values, indices = ln.topk(ln.tensor(x), k, largest=largest)
    reference = torch.topk(torch.tensor(x), k, largest=largest)
    np.testing.assert_array_equal(values.numpy(), reference.values.numpy())
    np.testing.assert_array_equal(indices.numpy(), reference.indices.numpy())
    both(lambda x: ln.topk(x, k, 1, largest)[0], lambda x: torch.topk(x, k, 1, largest)[0], [x])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("descending", [True, False])
def test_sort(axis, descending):
    both(
        lambda x: ln.sort(x, axis=axis, descending=descending),
        lambda x: torch.sort(x, axis, descending)[0],
        [normal(4, 300, 3)],
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_gather_scatter(axis):
    index = RNG.integers(0, 4, (3, 3, 2))
    i, t = ln.tensor(index), torch.tensor(index)
    both(lambda x: ln.gather(x, i, axis), lambda x: torch.gather(x, axis, t), [normal(4, 5, 2)])
    both(
        lambda x, s: ln.scatter_add(x, i, s, axis),
        lambda x, s: torch.scatter_add(x, axis, t, s),
        [normal(4, 5, 2), normal(3, 3, 2)],
    )


def test_split_and_chunk():
    x, t = ln.tensor(normal(10, 3)), torch.zeros(10, 3)
    for count in (1, 3, 4, 7, 20):
        assert [p.shape for p in ln.chunk(x, count)] == [tuple(p.shape) for p in torch.chunk(t, count)]
        assert [p.shape for p in ln.split(x, count)] == [tuple(p.shape) for p in torch.split(t, count)]
    assert [p.shape for p in ln.split(x, [2, 0, 8])] == [tuple(p.shape) for p in torch.split(t, [2, 0, 8])]


def test_index_put_accumulates():
    index = RNG.integers(0, 4, 30)
    both(
        lambda x, v: ln.index_put(x, (ln.tensor(index),), v, True),
        lambda x, v: torch.index_put(x, (torch.tensor(index),), v, True),
        [normal(4, 3), normal(30, 3)],
    )
