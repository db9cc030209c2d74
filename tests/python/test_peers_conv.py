"""Convolution, pooling and upsampling beside PyTorch: values and gradients over random options."""

import lanner as ln
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
RNG = np.random.default_rng(0)


def compare(ours, theirs, arrays, rtol=2e-4):
    """`ours` of Tensors and `theirs` of torch tensors: the same output and gradients."""
    a = [ln.tensor(x, requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    y, z = ours(*a), theirs(*b)
    assert y.shape == tuple(z.shape)
    scale = max(1.0, float(z.detach().abs().max())) if z.numel() else 1.0
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=rtol, atol=rtol * scale)
    g = RNG.normal(size=y.shape).astype(np.float32)
    y.backward(ln.tensor(g))
    z.backward(torch.tensor(g))
    for p, q in zip(a, b, strict=True):
        want = q.grad.numpy()
        np.testing.assert_allclose(p.grad.numpy(), want, rtol=rtol, atol=rtol * max(1.0, np.abs(want).max(initial=0)))


def values(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


CONVS = [
    dict(x=(64, 1, 28, 28), w=(6, 1, 5, 5), padding=2),
    dict(x=(64, 6, 14, 14), w=(16, 6, 5, 5)),
    dict(x=(4, 64, 32, 32), w=(64, 64, 3, 3), padding=1),
    dict(x=(4, 256, 8, 8), w=(256, 256, 3, 3), padding=1),
    dict(x=(4, 256, 16, 16), w=(64, 256, 1, 1)),
    dict(x=(3, 64, 15, 17), w=(128, 64, 3, 3), padding=1, stride=2),
    dict(x=(2, 32, 14, 14), w=(64, 1, 3, 3), padding=1, groups=32),
    dict(x=(2, 12, 20, 21), w=(18, 4, 3, 5), padding=(2, 4), dilation=(1, 2), groups=3, stride=(2, 1)),
    dict(x=(2, 3, 40), w=(5, 3, 7), padding="same"),
    dict(x=(2, 8, 6, 9, 10), w=(12, 8, 3, 3, 3), padding=1, stride=2),
]


@pytest.mark.parametrize("case", CONVS, ids=str)
def test_conv(case):
    options = {k: v for k, v in case.items() if k not in "xw"}
    dims = len(case["w"]) - 2
    ours, theirs = getattr(ln, f"conv{dims}d"), getattr(torch.nn.functional, f"conv{dims}d")
    arrays = [values(*case["x"]), values(*case["w"]), values(case["w"][0])]
    compare(lambda *t: ours(*t, **options), lambda *t: theirs(*t, **options), arrays)


TRANSPOSED = [
    dict(x=(16, 32, 7, 7), w=(32, 16, 4, 4), stride=2, padding=1),
    dict(x=(16, 16, 14, 14), w=(16, 1, 4, 4), stride=2, padding=1),
    dict(x=(2, 6, 5, 6), w=(6, 4, 3, 3), stride=(3, 2), padding=1, output_padding=(2, 1), groups=2),
    dict(x=(2, 6, 5, 6), w=(6, 4, 3, 3), dilation=3, output_padding=2),
    dict(x=(2, 5, 11), w=(5, 7, 4), stride=3, padding=2),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_conv_transpose(case):
    options = {k: v for k, v in case.items() if k not in "xw"}
    dims = len(case["w"]) - 2
    ours, theirs = getattr(ln, f"conv_transpose{dims}d"), getattr(torch.nn.functional, f"conv_transpose{dims}d")
    arrays = [values(*case["x"]), values(*case["w"]), values(case["w"][1] * options.get("groups", 1))]
    compare(lambda *t: ours(*t, **options), lambda *t: theirs(*t, **options), arrays)


F = torch.nn.functional
POOLS = [
    (ln.max_pool2d, F.max_pool2d, (4, 6, 28, 28), dict(kernel_size=2)),
    (ln.max_pool2d, F.max_pool2d, (2, 5, 17, 19), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
    (ln.max_pool2d, F.max_pool2d, (2, 5, 17, 19), dict(kernel_size=(2, 3), stride=(1, 2), dilation=(2, 3))),
    (ln.max_pool1d, F.max_pool1d, (2, 5, 33), dict(kernel_size=3, stride=2, padding=1)),
    (ln.avg_pool2d, F.avg_pool2d, (4, 6, 28, 28), dict(kernel_size=2)),
    (ln.avg_pool2d, F.avg_pool2d, (2, 5, 17, 19), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
    (
        ln.avg_pool2d,
        F.avg_pool2d,
        (2, 5, 17, 19),
        dict(kernel_size=(3, 2), stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    ),
    (ln.avg_pool1d, F.avg_pool1d, (2, 5, 33), dict(kernel_size=4, stride=3, padding=2)),
    (ln.adaptive_avg_pool2d, F.adaptive_avg_pool2d, (2, 5, 17, 19), dict(output_size=(4, None))),
    (ln.adaptive_max_pool2d, F.adaptive_max_pool2d, (2, 5, 17, 19), dict(output_size=(4, 6))),
    (ln.adaptive_avg_pool1d, F.adaptive_avg_pool1d, (2, 5, 17), dict(output_size=4)),
    (ln.upsample, F.interpolate, (2, 5, 7, 9), dict(scale_factor=2)),
    (ln.upsample, F.interpolate, (2, 5, 7, 9), dict(size=(13, 4))),
    (ln.upsample, F.interpolate, (2, 5, 7, 9), dict(size=(13, 4), mode="bilinear")),
    (ln.upsample, F.interpolate, (2, 5, 7, 9), dict(size=(13, 20), mode="bilinear", align_corners=True)),
    (ln.upsample, F.interpolate, (2, 5, 9), dict(scale_factor=1.7, mode="linear")),
]


@pytest.mark.parametrize(("ours", "theirs", "shape", "options"), POOLS)
def test_pool(ours, theirs, shape, options):
    compare(lambda x: ours(x, **options), lambda x: theirs(x, **options), [values(*shape)], rtol=1e-5)


def test_max_pool_indices():
    x = values(2, 5, 17, 19)
    for options in (dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=2, dilation=3)):
        ours = ln.max_pool2d(ln.tensor(x), **options, return_indices=True)[1]
        theirs = F.max_pool2d(torch.tensor(x), **options, return_indices=True)[1]
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
