"""Layers, losses, functional, utilities: what they promise by themselves, and what bad input gets."""

from __future__ import annotations

import subprocess
import sys

import lanner as ln
import numpy as np
import pytest
from lanner import nn
from lanner.nn import functional as F


def test_rescaling_takes_bytes():
    x = ln.tensor(np.array([0, 51, 255], np.uint8))
    y = nn.Rescaling(1 / 255)(x)
    assert y.dtype == ln.float32
    np.testing.assert_allclose(y.numpy(), [0, 0.2, 1], rtol=1e-6)
    assert nn.Rescaling(2.0, -1.0)(ln.tensor([0.5], dtype=ln.float64)).dtype == ln.float64
    assert nn.Rescaling(2.0, -1.0)(x).tolist() == [-1, 101, 509]


def test_step_and_threshold():
    x = ln.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    y = nn.Step()(x)
    assert y.tolist() == [0, 1, 1]
    (y.sum() + nn.Threshold(0.5, 9.0)(x).sum()).backward()
    assert x.grad.tolist() == [0, 0, 1]


def test_dropout():
    ln.manual_seed(0)
    x = ln.ones((2000,))
    layer = nn.Dropout(0.25)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    assert layer.eval()(x).tolist() == x.tolist()
    z = nn.Dropout2d(0.5)(ln.ones((8, 8, 3, 3))).numpy()
    assert all(len(np.unique(channel)) == 1 for channel in z.reshape(64, 9)) and len(np.unique(z)) == 2
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match="p must lie between 0 and 1"):
            nn.Dropout(p)


def test_batch_norm_counts_and_forgets():
    norm = nn.BatchNorm1d(2)
    x = ln.tensor([[1.0, 2.0], [3.0, 6.0]])
    for _ in range(3):
        norm(x)
    assert norm.num_batches_tracked.item() == 3 and norm.num_batches_tracked.dtype == ln.int64
    before = norm.running_mean.tolist()
    norm.eval()(x)
    assert norm.num_batches_tracked.item() == 3 and norm.running_mean.tolist() == before
    norm.reset_running_stats()
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.tolist() == [0, 0] and norm.running_var.tolist() == [1, 1]
    with ln.no_grad():
        norm.weight *= 3.0
    norm.reset_parameters()
    assert norm.weight.tolist() == [1, 1]


def test_output_size_of_transposed_convolution():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2)
    x = ln.zeros((1, 2, 4, 5))
    assert layer(x).shape == (1, 3, 9, 11)
    assert layer(x, output_size=(10, 11)).shape == (1, 3, 10, 11)
    assert layer(x, output_size=(1, 3, 9, 12)).shape == (1, 3, 9, 12)
    with pytest.raises(ln.ShapeError, match="an axis of 4 becomes 9 to 10"):
        layer(x, output_size=(11, 11))


def test_embedding():
    table = nn.Embedding(4, 3, padding_idx=1)
    assert table.weight[1].tolist() == [0, 0, 0]
    table(ln.tensor([[0, 1], [1, 3]])).sum().backward()
    assert table.weight.grad.tolist() == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]
    frozen = nn.Embedding.from_pretrained(ln.tensor([[1.0, 2.0]]))
    assert not frozen.weight.requires_grad and frozen(ln.tensor(0)).tolist() == [1, 2]
    twin = nn.from_config(nn.to_config(frozen))
    assert not twin.weight.requires_grad and twin.weight.shape == (1, 2)
    given = nn.Embedding(1, 2, _weight=ln.tensor([[1.0, 2.0]]), _freeze=True)
    assert nn.to_config(given)["config"]["_weight"] is None and given.weight.tolist() == [[1, 2]]
    with pytest.raises(ln.ShapeError, match="padding_idx 4 lies outside 4 embeddings"):
        nn.Embedding(4, 3, padding_idx=4)
    with pytest.raises(ln.ShapeError, match="_weight has shape"):
        nn.Embedding(4, 3, _weight=ln.zeros((3, 4)))
    with pytest.raises(IndexError):
        table(ln.tensor([4]))
    with pytest.raises(ln.DTypeError):
        table(ln.tensor([1.0]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_float_dtype(dtype):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    ).to(dtype)
    y = net(ln.ones((2, 1, 6, 6), dtype=dtype))
    assert y.dtype.name == dtype and y.shape == (2, 5)
    F.cross_entropy(y, ln.tensor([1, 2])).backward()
    assert all(p.grad.dtype.name == dtype for p in net.parameters())


BAD_ARGUMENTS = [
    (lambda: nn.Conv2d(3, 8, 3, groups=2), ln.ShapeError, "3 input and 8 output channels do not divide into 2 groups"),
    (lambda: nn.Conv2d(3, 8, (3, 3, 3)), ln.ShapeError, "kernel_size must be 2 ints of at least 1"),
    (lambda: nn.Conv2d(3, 8, 0), ln.ShapeError, "kernel_size must be 2 ints of at least 1, got 0"),
    (lambda: nn.Conv2d(3, 8, 3, stride=2, padding="same"), ln.ShapeError, "padding='same' needs a stride of 1"),
    (lambda: nn.Conv2d(3, 8, 3, padding="some"), ValueError, "padding must be one of 'same', 'valid', got 'some'"),
    (lambda: nn.Conv2d(3, 8, 3, padding_mode="x"), ValueError, "padding_mode must be one of"),
    (lambda: nn.ConvTranspose2d(3, 8, 3, padding_mode="reflect"), ValueError, "padding_mode must be 'zeros'"),
    (lambda: nn.ConvTranspose1d(3, 8, 3, padding="same"), TypeError, "padding must be ints"),
    (lambda: nn.GroupNorm(3, 4), ln.ShapeError, "4 channels do not divide into 3 groups"),
    (lambda: nn.GELU("fast"), ValueError, "approximate must be one of"),
    (lambda: nn.Hardtanh(1, 1), ValueError, "min_val must be below max_val"),
    (lambda: nn.Upsample(), ValueError, "either size or scale_factor"),
    (lambda: nn.Upsample(size=2, mode="cubic"), ValueError, "mode must be one of"),
    (lambda: nn.MSELoss(reduction="max"), ValueError, "MSELoss: reduction must be one of"),
    (lambda: nn.MultiMarginLoss(p=3), ValueError, "p must be 1 or 2"),
    (lambda: nn.TripletMarginLoss(margin=0.0), ValueError, "margin must be positive"),
    (lambda: nn.EmbeddingBag(3, 3, mode="min"), ValueError, "mode must be one of"),
    (lambda: nn.EmbeddingBag(3, 3, mode="max", scale_grad_by_freq=True), ValueError, 'the modes "sum" and "mean"'),
    (lambda: nn.EmbeddingBag.from_pretrained(ln.ones(3)), ln.ShapeError, "expected 2 dimensions"),
]


@pytest.mark.parametrize("row", BAD_ARGUMENTS, ids=lambda r: r[2][:30])
def test_bad_arguments(row):
    make, kind, message = row
    with pytest.raises(kind, match=message):
        make()


BAD_INPUTS = [
    (nn.Linear(4, 2), (3, 5)),
    (nn.Bilinear(4, 3, 2), (3, 5), (3, 3)),
    (nn.Conv2d(3, 4, 3), (1, 2, 8, 8)),
    (nn.Conv2d(3, 4, 9), (1, 3, 8, 8)),
    (nn.Conv1d(3, 4, 3), (1, 3, 8, 8)),
    (nn.ConvTranspose2d(3, 4, 3), (1, 2, 8, 8)),
    (nn.MaxPool2d(9), (1, 1, 4, 4)),
    (nn.BatchNorm1d(3), (2, 4)),
    (nn.BatchNorm2d(3), (2, 3)),
    (nn.LayerNorm(4), (2, 3)),
    (nn.GroupNorm(2, 4), (2, 3, 3)),
    (nn.RMSNorm(4), (2, 3)),
    (nn.PReLU(3), (2, 4)),
    (nn.Unflatten(1, (2, 3)), (2, 7)),
    (nn.MSELoss(), (2, 3), (2, 4)),
    (nn.Softmax(5), (2, 3)),
    (nn.Flatten(), (2,), "axis"),
]


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda r: f"{r[0]}-{r[1]}")
def test_bad_shapes(row):
    layer, *shapes = row
    with pytest.raises((ln.ShapeError, IndexError)):
        layer(*[ln.ones(s) for s in shapes if isinstance(s, tuple)])


def test_bad_labels():
    x = ln.zeros((2, 3))
    for target in ([0, 3], [-1, 0]):
        with pytest.raises((ln.ShapeError, IndexError, ln.Error)):
            nn.CrossEntropyLoss()(x, ln.tensor(target))
    with pytest.raises(ln.ShapeError):
        nn.CrossEntropyLoss()(x, ln.tensor([0, 1, 2]))
    with pytest.raises(ln.Error):
        nn.CrossEntropyLoss(weight=ln.ones(4))(x, ln.tensor([0, 1]))


def test_embedding_bag_from_pretrained():
    table = ln.tensor(np.arange(12.0, dtype=np.float32).reshape(4, 3))
    fixed = nn.EmbeddingBag.from_pretrained(table, mode="sum", include_last_offset=True, padding_idx=1)
    assert not fixed.weight.requires_grad
    assert fixed(ln.tensor([0, 1, 3]), ln.tensor([0, 2, 3])).tolist() == [[0, 1, 2], [9, 10, 11]]
    assert repr(fixed) == "EmbeddingBag(4, 3, mode='sum', padding_idx=1)"
    trained = nn.EmbeddingBag.from_pretrained(table, freeze=False)
    trained(ln.tensor([[0, 2]])).sum().backward()
    assert trained.weight.grad.tolist() == [[0.5] * 3, [0] * 3, [0.5] * 3, [0] * 3]


# PyTorch 2.13 divides by the count of another index on a CPU (its issue 190063); the reference is the definition.
@pytest.mark.parametrize("padding_idx", [None, 4, -3])
@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("form", ["matrix", "offsets", "weights"])
def test_embedding_bag_scales_gradients_by_frequency(mode, form, padding_idx):
    if form == "weights" and mode == "mean":
        return
    rng = np.random.default_rng(0)
    index = rng.integers(0, 6, (4, 5) if form == "matrix" else 20)
    arguments = [ln.tensor(index)] + ([ln.tensor([0, 3, 3, 11])] if form != "matrix" else [])
    if form == "weights":
        arguments.append(ln.tensor(rng.normal(size=20)))
    cotangent = ln.tensor(rng.normal(size=(4, 3)))
    table = ln.tensor(rng.normal(size=(7, 3)))
    outputs, gradients = [], []
    for scaled in (False, True):
        options = {"mode": mode, "padding_idx": padding_idx, "scale_grad_by_freq": scaled}
        bag = nn.EmbeddingBag.from_pretrained(table, freeze=False, **options)
        outputs.append(bag(*arguments))
        (outputs[-1] * cotangent).sum().backward()
        gradients.append(bag.weight.grad.numpy())
    counts = np.maximum(np.bincount(index.reshape(-1), minlength=7), 1)
    np.testing.assert_allclose(outputs[0].detach().numpy(), outputs[1].detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(gradients[1], gradients[0] / counts[:, None], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("bags", [3, 500])  # few are cut between columns, many between bags
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embedding_bag_of_many(bags, dtype):
    rng = np.random.default_rng(bags)
    index, scale = rng.integers(0, 90, 20000), rng.normal(size=20000).astype(dtype)
    offsets = np.sort(rng.integers(0, 20000, bags + 1))
    offsets[0] = 0
    table, g = rng.normal(size=(90, 77)).astype(dtype), rng.normal(size=(bags, 77)).astype(dtype)

    def ours(threads):
        before = ln.get_num_threads()
        ln.set_num_threads(threads)
        try:
            w, s = ln.tensor(table, requires_grad=True), ln.tensor(scale, requires_grad=True)
            y = ln.embedding_bag(ln.tensor(index), w, ln.tensor(offsets), "sum", s, True, padding_idx=7)
            (y * ln.tensor(g)).sum().backward()
            return y.detach().numpy(), w.grad.numpy(), s.grad.numpy()
        finally:
            ln.set_num_threads(before)

    bag = np.searchsorted(offsets, np.arange(20000), "right") - 1
    kept = (index != 7) & (bag < bags)
    x, share, t = table.astype("float64"), np.where(kept, scale, 0.0), g.astype("float64")
    bag = np.minimum(bag, bags - 1)
    y, w = np.zeros((bags, 77)), np.zeros((90, 77))
    np.add.at(y, bag, share[:, None] * x[index])
    np.add.at(w, index, share[:, None] * t[bag])
    expected = y, w, np.where(kept, (x[index] * t[bag]).sum(1), 0.0)
    one, two = ours(1), ours(2)
    for a, b, reference, terms in zip(one, two, expected, (20000, 20000, 77), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, reference, 0, np.finfo(dtype).eps * terms * 4)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("last", [False, True])
def test_embedding_bag_in_a_compiled_step(mode, last):
    bag = nn.EmbeddingBag(9, 3, mode=mode, include_last_offset=last, padding_idx=2)

    def run(index, offsets):
        out = bag(index, offsets)
        (out * out).sum().backward()
        gradient = bag.weight.grad + 0
        bag.weight.grad = None
        return out.detach(), gradient

    step = ln.compile(run)
    index = ln.tensor([1, 8, 2, 3, 1, 5])
    for offsets in ([0, 2, 2, 5], [0, 0, 6, 6], [0, 1, 2, 3]):
        got, expected = step(index, ln.tensor(offsets)), run(index, ln.tensor(offsets))
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(ln.IndexError, match="bag 1 from 4 to 3"):
        step(index, ln.tensor([0, 4, 3, 6]))
    with pytest.raises(ln.ShapeError, match="begin with 0"):
        step(index, ln.tensor([1, 4, 4, 6]))
    with pytest.raises(ln.IndexError, match="bag 2 from 4 to 7"):
        step(index, ln.tensor([0, 4, 4, 7] if last else [0, 3, 4, 7]))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag_of_nothing(mode):
    none = np.zeros(0, np.int64)
    for arguments in ((none, [0, 0]), (none.reshape(2, 0),)):
        bag = nn.EmbeddingBag(4, 3, mode=mode)
        out = bag(*(ln.tensor(a) for a in arguments))
        assert out.tolist() == [[0, 0, 0]] * 2
        out.sum().backward()
        assert bag.weight.grad.tolist() == [[0, 0, 0]] * 4


def test_embedding_bag_max_of_nan_and_infinity():
    nan, inf = float("nan"), float("inf")
    table = ln.tensor([[1.0, -inf, nan], [nan, -inf, nan], [2.0, 0.0, 5.0], [nan, -inf, 1.0]], requires_grad=True)
    for dtype in (ln.float32, ln.float64, ln.bfloat16):
        table.grad = None
        out = ln.embedding_bag(ln.tensor([0, 1, 2, 3, 1]), table.to(dtype), ln.tensor([0, 0, 4]), mode="max")
        np.testing.assert_array_equal(out.detach().to(ln.float32).numpy(), [[0, 0, 0], [nan, 0, nan], [nan, -inf, nan]])
        out.sum().backward()
        assert table.grad.tolist() == [[0, 0, 1], [2, 1, 1], [0, 1, 0], [0, 0, 0]]


def test_clip_grad():
    w = nn.Parameter(ln.tensor([3.0, 4.0]))
    v = nn.Parameter(ln.tensor([12.0]))
    unused = nn.Parameter(ln.ones(1))
    (w * w / 2).sum().backward()
    (v * v / 2).sum().backward()
    assert nn.utils.clip_grad_norm_([w, v, unused], 1.0).item() == 13
    np.testing.assert_allclose([*w.grad.tolist(), *v.grad.tolist()], [3 / 13, 4 / 13, 12 / 13], rtol=1e-6)
    assert nn.utils.clip_grad_norm_([unused], 1.0).item() == 0
    before = w.grad.tolist()
    nn.utils.clip_grad_norm_(w, 100.0)
    assert w.grad.tolist() == before
    w.grad = ln.tensor([float("nan"), 1.0])
    with pytest.raises(ln.Error, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_([w], 1.0, error_if_nonfinite=True)
    assert w.grad.tolist()[1] == 1  # raised before anything is scaled
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        nn.utils.get_total_norm(w.grad, error_if_nonfinite=True)
    v.grad = ln.tensor([-5.0])
    nn.utils.clip_grad_value_([v, unused], 2.0)
    assert v.grad.tolist() == [-2]
    nn.utils.clip_grad_value_(v, 3)
    assert v.grad.tolist() == [-2]
    nn.utils.clip_grads_with_norm_([v, unused], 3.0, ln.tensor(6.0))
    np.testing.assert_allclose(v.grad.tolist(), [-1], rtol=1e-6)


def test_clip_grad_of_several_dtypes():
    a, b, c = (nn.Parameter(ln.zeros(2, dtype=d)) for d in (ln.float32, ln.bfloat16, ln.float64))
    a.grad, b.grad, c.grad = ln.tensor([3.0, 0.0]), ln.tensor([4.0, 0.0]).to(ln.bfloat16), ln.zeros(2, dtype=ln.float64)
    assert nn.utils.clip_grad_norm_([a, b, c], 2.5).item() == 5
    np.testing.assert_allclose(a.grad.tolist(), [1.5, 0], rtol=1e-6)
    assert b.grad.tolist() == [2, 0]
    assert (a.grad.dtype, b.grad.dtype, c.grad.dtype) == (ln.float32, ln.bfloat16, ln.float64)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_clip_grad_in_a_compiled_step(dtype):
    w = nn.Parameter(ln.tensor([1.0, 1.0], dtype=getattr(ln, dtype)))

    @ln.compile
    def step(x):
        (w * x).sum().backward()
        total = nn.utils.clip_grad_norm_([w], 1.0, error_if_nonfinite=True)
        nn.utils.clip_grad_value_([w], 0.7)
        gradient = w.grad + 0
        w.grad = None
        return total, gradient

    for x, norm, clipped in (([3, 4], 5, [0.6, 0.7]), ([0.3, 0.4], 0.5, [0.3, 0.4]), ([30, 40], 50, [0.6, 0.7])):
        total, gradient = step(ln.tensor(x, dtype=getattr(ln, dtype)))
        tolerance = 1e-5 if dtype == "float32" else 1e-2
        assert total.item() == pytest.approx(norm, rel=tolerance)
        np.testing.assert_allclose(gradient.tolist(), clipped, rtol=tolerance)
    with pytest.raises(ln.Error, match="the norm of the gradients is inf"):
        step(ln.tensor([3.0, float("inf")], dtype=getattr(ln, dtype)))


def test_vectors():
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(a.parameters()), b.parameters())
    assert b.weight.tolist() == a.weight.tolist() and b.bias.tolist() == a.bias.tolist() and b.weight.requires_grad
    with pytest.raises(ln.ShapeError, match="expected 8 elements"):
        nn.utils.vector_to_parameters(ln.zeros(7), a.parameters())


@pytest.mark.parametrize(
    ("fn", "shapes"),
    [
        (lambda x, w: F.prelu(x, w), [(3, 4), (4,)]),
        (lambda x, y: F.cosine_similarity(x, y), [(3, 4), (3, 4)]),
        (lambda x, y: F.pairwise_distance(x, y), [(3, 4), (3, 4)]),
        (lambda x: F.normalize(x), [(3, 4)]),
        (lambda w: F.embedding(ln.tensor([1, 1, 0]), w), [(3, 2)]),
        (lambda x: F.avg_pool2d(x, 2, 2, 0, True, True, 3), [(1, 1, 3, 5)]),
        (lambda x, w: F.conv2d(x, w, padding="same"), [(1, 2, 4, 3), (2, 2, 2, 3)]),
    ],
)
def test_second_order(fn, shapes):
    rng = np.random.default_rng(3)
    tensors = [ln.tensor(rng.uniform(0.1, 1, s), requires_grad=True) for s in shapes]
    assert ln.gradcheck(fn, tensors)


def test_importing_loads_no_heavy_module():
    code = "import sys, lanner.nn; print([m for m in ('numpy', 'inspect', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
