"""What the tables of convolution and pooling do not show: indices, NaN, errors."""

import lanner as ln
import numpy as np
import pytest


def test_max_pool_indices():
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 9)).astype(np.float32)
    for isa in ln.cpu.available_isas():
        with ln.cpu.isa(isa):
            for options in ({}, {"stride": 1}, {"kernel_size": 3, "padding": 1}, {"dilation": 2}):
                values, indices = ln.max_pool2d(ln.tensor(x), **{"kernel_size": 2, **options}, return_indices=True)
                assert indices.dtype == ln.int64
                picked = np.take_along_axis(x.reshape(2, 3, -1), indices.numpy().reshape(2, 3, -1), 2)
                np.testing.assert_array_equal(picked.reshape(values.shape), values.numpy())


def test_first_of_equals_wins():
    for isa in ln.cpu.available_isas():
        with ln.cpu.isa(isa):
            for size in (2, 3, 18):
                indices = ln.max_pool2d(ln.ones((1, 1, 2, size)), 2, return_indices=True)[1]
                assert indices.numpy().ravel().tolist() == list(range(0, size - 1, 2))
            x = ln.tensor([[[[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]]])
            assert ln.max_pool2d(x, (2, 3), return_indices=True)[1].item() == 1


@pytest.mark.parametrize("place", range(4))
def test_nan_wins(place):
    x = np.zeros((1, 1, 2, 2), np.float32)
    x.flat[place] = np.nan
    for isa in ln.cpu.available_isas():
        with ln.cpu.isa(isa):
            assert np.isnan(ln.max_pool2d(ln.tensor(x), 2).item())
            assert np.isnan(ln.max_pool2d(ln.tensor(x), 2, stride=1).item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: ln.conv2d(x, ln.ones((32, 16, 3, 3))),
            r"weight expects 16 input channels, x has 3 \(x \[8, 3, 5, 5\], weight \[32, 16, 3, 3\], groups=1\)",
        ),
        (
            lambda x: ln.conv2d(x, ln.ones((4, 3, 7, 7)), padding=0),
            r"conv2d: the kernel covers 7 elements, x padded has 5",
        ),
        (lambda x: ln.conv2d(x, ln.ones((4, 3, 3, 3)), ln.ones((3,))), r"conv2d: bias expects shape \[4\], got \[3\]"),
        (lambda x: ln.conv2d(x, ln.ones((4, 3, 3, 3)), padding="same", stride=2), r"\"same\" goes with stride 1"),
        (lambda x: ln.conv2d(x, ln.ones((4, 3, 3, 3)), padding="full"), r"\"same\" or \"valid\", got \"full\""),
        (lambda x: ln.conv2d(x, ln.ones((4, 3, 3, 3)), stride=0), r"conv2d: stride must be at least 1"),
        (lambda x: ln.conv2d(x, ln.ones((4, 3, 3, 3)), stride=(1, 1, 1)), r"conv2d: stride expects 1 or 2 numbers"),
        (lambda x: ln.conv2d(x, ln.ones((4, 1, 3, 3)), groups=3), r"groups must divide the 4 output channels, got 3"),
        (lambda x: ln.conv1d(x, ln.ones((4, 3, 3))), r"conv1d: x expects 3 dimensions, or 2 without batch"),
        (lambda x: ln.conv_transpose2d(x, ln.ones((3, 2, 2, 2)), output_padding=1), r"output_padding must be smaller"),
        (lambda x: ln.max_pool2d(x, 2, padding=2), r"padding may be half of kernel_size at most"),
        (lambda x: ln.max_pool2d(x, 6), r"max_pool2d: the window covers 6 elements, x padded has 5"),
        (lambda x: ln.upsample(x), r"upsample: expected one of size and scale_factor"),
        (lambda x: ln.upsample(x, 4, mode="linear"), r"mode \"linear\" expects 3 dimensions"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ln.Error, match=message):
        call(ln.ones((8, 3, 5, 5)))


def test_dtypes_must_agree():
    with pytest.raises(ln.DTypeError, match="conv2d: x, weight and bias must have one dtype, got float32, float64"):
        ln.conv2d(ln.ones((1, 1, 3, 3)), ln.ones((1, 1, 3, 3), dtype=ln.float64))
    with pytest.raises(ln.DTypeError, match="max_pool2d: x must be floating, got int64"):
        ln.max_pool2d(ln.ones((1, 1, 2, 2), dtype=ln.int64), 2)


def test_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((16, 24, 20, 20), (40, 24, 3, 3)))
    results = []
    threads = ln.get_num_threads()
    try:
        for n in (1, 2, 3):
            ln.set_num_threads(n)
            a, b = ln.tensor(x, requires_grad=True), ln.tensor(w, requires_grad=True)
            y = ln.max_pool2d(ln.conv2d(a, b, padding=1), 2)
            ln.sum(y * y).backward()
            results.append([t.detach().numpy().tobytes() for t in (y, a.grad, b.grad)])
    finally:
        ln.set_num_threads(threads)
    assert results[0] == results[1] == results[2]
