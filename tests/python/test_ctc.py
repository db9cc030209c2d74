"""CTC: the loss against all paths, one by one; gradients, plans, errors; the decoders."""

import itertools

import lanner as ln
import numpy as np
import pytest
from lanner import nn
from lanner.nn import functional as F

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


@pytest.fixture(params=ln.cpu.available_isas())
def isa(request):
    with ln.cpu.isa(request.param):
        yield request.param


def said(path, blank=0):
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def probabilities(frames):
    """Of each label sequence that `frames` [T, C], probabilities, can say."""
    found = {}
    for path in itertools.product(range(frames.shape[1]), repeat=len(frames)):
        found[said(path)] = found.get(said(path), 0.0) + float(np.prod(frames[np.arange(len(frames)), path]))
    return found


def softmax(*shape, seed=0):
    x = np.exp(np.random.default_rng(seed).normal(size=shape))
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_is_over_all_paths(isa, dtype):
    frames = softmax(5, 1, 3)
    want = probabilities(frames[:, 0])
    log_probs = ln.tensor(np.log(frames).astype(dtype))
    for labels in [(), (1,), (1, 2), (1, 1), (2, 1, 2), (1, 1, 2), (1, 1, 1), (1, 2, 1, 2, 1)]:
        targets = ln.tensor(np.array(labels, np.int64).reshape(1, -1))
        loss = F.ctc_loss(log_probs, targets, (5,), (len(labels),), reduction="none")
        np.testing.assert_allclose(loss.numpy(), [-np.log(want[labels])], rtol=32 * EPS[dtype])


def batch(dtype="float64"):
    """Samples of several lengths: labels that repeat, no label, as many as frames, too many."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 6, 5)).astype(dtype)
    targets = rng.integers(1, 5, (6, 6))
    targets[0], targets[3, :3] = 3, (1, 2, 4)
    return x, targets, np.array([9, 4, 7, 3, 9, 2]), np.array([4, 0, 3, 3, 6, 6])


def test_padded_and_joined_targets_agree(isa):
    x, targets, inputs, lengths = batch()
    log_probs = F.log_softmax(ln.tensor(x), -1)
    joined = np.concatenate([t[:n] for t, n in zip(targets, lengths, strict=True)])
    options = {"reduction": "none", "zero_infinity": True}
    a = F.ctc_loss(log_probs, ln.tensor(targets), ln.tensor(inputs), ln.tensor(lengths), **options).numpy()
    b = F.ctc_loss(log_probs, ln.tensor(joined), tuple(inputs), tuple(lengths), **options).numpy()
    assert np.array_equal(a, b) and a[:5].all() and a[5] == 0
    for i in range(5):
        one = F.ctc_loss(
            log_probs[:, i], ln.tensor(targets[i]), inputs[i : i + 1], lengths[i : i + 1], reduction="none"
        )
        assert one.shape == () and one.item() == a[i]
    # What lies past the lengths has no say.
    x[4:, 1], targets[3, 3:] = np.nan, 99
    c = F.ctc_loss(
        F.log_softmax(ln.tensor(x), -1), ln.tensor(targets), ln.tensor(inputs), ln.tensor(lengths), **options
    )
    assert np.array_equal(a, c.numpy())


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gradients_to_second_order(reduction):
    x, targets, inputs, lengths = batch()
    arguments = ln.tensor(targets[:5]), ln.tensor(inputs[:5]), ln.tensor(lengths[:5])
    leaf = ln.tensor(x[:, :5], requires_grad=True)
    # Of log_probs themselves, not only of what a log_softmax gave.
    ln.gradcheck(lambda x: F.ctc_loss(x, *arguments, reduction=reduction), leaf, order=2, fast_mode=True)
    assert ln.gradcheck(lambda x: F.ctc_loss(F.log_softmax(x, -1), *arguments, reduction=reduction), leaf)
    joined = ln.tensor(np.concatenate([t[:n] for t, n in zip(targets[:5], lengths[:5], strict=True)]))
    ln.gradcheck(lambda x: F.ctc_loss(x, joined, *arguments[1:], reduction=reduction), leaf, order=2, fast_mode=True)


def test_what_cannot_be_said(isa):
    x, targets, inputs, lengths = batch("float32")
    leaf = ln.tensor(x, requires_grad=True)
    arguments = ln.tensor(targets), ln.tensor(inputs), ln.tensor(lengths)
    with pytest.raises(ln.ShapeError, match=r"target_lengths\[5\] is 6, more than input_lengths\[5\], which is 2"):
        F.ctc_loss(F.log_softmax(leaf, -1), *arguments)
    # Two labels of one kind need a blank in between.
    twice = ln.tensor([[1, 1]]), (2,), (2,)
    assert np.isinf(F.ctc_loss(F.log_softmax(ln.tensor(x[:2, :1]), -1), *twice).item())
    kept = nn.CTCLoss(zero_infinity=True)(F.log_softmax(leaf, -1), *arguments)
    (g,) = ln.grad(kept, leaf)
    assert np.isfinite(kept.item()) and np.isfinite(g.numpy()).all()
    assert not g.numpy()[:, 5].any() and g.numpy()[:3, 3].any() and not g.numpy()[3:, 3].any()


def test_compiled_and_threads_give_the_same_bits():
    x, targets, inputs, lengths = batch("float32")
    net = nn.Linear(5, 5)

    def step(x, targets, inputs, lengths):
        loss = F.ctc_loss(F.log_softmax(net(x), -1), targets, inputs, lengths, zero_infinity=True)
        return (loss, *ln.grad(loss, list(net.parameters())))

    arguments = [ln.tensor(a) for a in (x, targets, inputs, lengths)]
    compiled = ln.compile(step)
    compiled(*arguments)
    before, results = ln.get_num_threads(), []
    try:
        for threads, run in [(1, step), (2, step), (2, compiled), (1, compiled)]:
            ln.set_num_threads(threads)
            results.append([t.detach().numpy() for t in run(*arguments)])
    finally:
        ln.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ln.ShapeError, match=r"input_lengths\[2\] is 10, log_probs has 9 frames"):
        compiled(*arguments[:2], ln.tensor(np.where(np.arange(6) == 2, 10, inputs)), arguments[3])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"input_lengths": (9, 9, 0)}, ln.ShapeError, r"ctc_loss: input_lengths\[2\] is 0, log_probs has 9 frames"),
        ({"input_lengths": (9, 10, 9)}, ln.ShapeError, r"ctc_loss: input_lengths\[1\] is 10"),
        ({"target_lengths": (4, 5, 4)}, ln.ShapeError, r"target_lengths\[1\] is 5, targets has room for 4"),
        ({"target_lengths": (4, -1, 4)}, ln.ShapeError, r"target_lengths\[1\] is -1"),
        ({"input_lengths": (9, 3, 9)}, ln.ShapeError, r"target_lengths\[1\] is 4, more than input_lengths\[1\]"),
        ({"target_lengths": (4, 4.5, 4)}, TypeError, "target_lengths"),
        ({"target_lengths": (4, 4)}, ln.ShapeError, r"target_lengths expects shape \[3\], got \[2\]"),
        ({"targets": ln.ones((2, 4), dtype=ln.int64)}, ln.ShapeError, r"targets expects \[3, S\]"),
        ({"targets": ln.ones((3, 4))}, ln.DTypeError, "targets must be integers"),
        ({"targets": ln.full((3, 4), 5, dtype=ln.int64)}, ln.ShapeError, "label 0 of sample 0 is 5, .* 5 classes"),
        ({"targets": ln.zeros((3, 4), dtype=ln.int64)}, ln.ShapeError, "label 0 of sample 0 is the blank, 0"),
        ({"targets": ln.ones(11, dtype=ln.int64)}, ln.ShapeError, "target_lengths sum up to 12, targets has 11"),
        ({"log_probs": ln.zeros((9, 3, 5), dtype=ln.int64)}, ln.DTypeError, "log_probs must be floating"),
        ({"log_probs": ln.zeros((9,))}, ln.ShapeError, "log_probs must be"),
        ({"blank": 5}, ln.ShapeError, "blank is 5, log_probs has 5 classes"),
        ({"reduction": "max"}, ln.Error, "reduction must be"),
    ],
)
def test_errors(change, error, words):
    arguments = {
        "log_probs": ln.zeros((9, 3, 5)),
        "targets": ln.ones((3, 4), dtype=ln.int64),
        "input_lengths": (9, 9, 9),
        "target_lengths": (4, 4, 4),
    }
    with pytest.raises(error, match=words):
        F.ctc_loss(**(arguments | change))


def test_greedy_decoder():
    paths = np.array([[1, 1, 0, 1, 2], [0, 0, 3, 3, 0], [2, 1, 1, 2, 0]])
    frames = np.log(np.where(np.eye(4)[paths.T], 0.7, 0.1))
    found = ln.ctc_greedy_decode(ln.tensor(frames))
    assert [labels for labels, _ in found] == [[1, 1, 2], [3], [2, 1, 2]]
    assert found[0][1] == pytest.approx(5 * np.log(0.7))
    short = ln.ctc_greedy_decode(ln.tensor(frames), (5, 2, 3), blank=1)
    assert short == ln.ctc_greedy_decode(ln.tensor(frames), ln.tensor([5, 2, 3]), blank=1)
    assert [labels for labels, _ in short] == [[0, 2], [0], [2]]


@pytest.mark.parametrize("seed", range(5))
def test_wide_beam_finds_the_best_of_all(seed):
    frames = softmax(6, 2, 3, seed=seed)
    found = ln.ctc_beam_search(ln.tensor(np.log(frames)), [6, 4], beam_width=1000, top=5)
    for i, length in enumerate((6, 4)):
        want = sorted(probabilities(frames[:length, i]).items(), key=lambda item: -item[1])[:5]
        assert [tuple(labels) for labels, _ in found[i]] == [labels for labels, _ in want]
        np.testing.assert_allclose([p for _, p in found[i]], np.log([p for _, p in want]), rtol=1e-12)


def test_narrow_beam_is_at_least_as_good_as_the_best_path():
    frames = softmax(40, 4, 12, seed=9)
    log_probs = ln.tensor(np.log(frames))
    lengths = ln.tensor([40] * 4)

    def score(labels):
        padded = ln.tensor(np.array([list(x) + [1] * (40 - len(x)) for x in labels]))
        return -F.ctc_loss(log_probs, padded, lengths, tuple(map(len, labels)), reduction="none").numpy()

    greedy = score([labels for labels, _ in ln.ctc_greedy_decode(log_probs)])
    beam = ln.ctc_beam_search(log_probs, beam_width=20)
    assert (score([b[0][0] for b in beam]) >= greedy).all()
    assert (np.array([b[0][1] for b in beam]) <= score([b[0][0] for b in beam]) + 1e-9).all()
    with pytest.raises(ln.ShapeError, match=r"ctc_beam_search: input_lengths\[0\] is 41"):
        ln.ctc_beam_search(log_probs, ln.tensor([41, 1, 1, 1]))
    with pytest.raises(ln.Error, match="beam_width must be positive"):
        ln.ctc_beam_search(log_probs, beam_width=0)
