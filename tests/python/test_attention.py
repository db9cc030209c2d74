"""Attention: what its table of cases does not show: dropout, memory, plans, threads, layers, errors."""

import lanner as ln
import numpy as np
import pytest
from lanner import _core, nn
from lanner.nn import functional as F


@pytest.fixture(params=ln.cpu.available_isas())
def isa(request):
    with ln.cpu.isa(request.param):
        yield request.param


def operands(length, source, width, *batch, dtype="float32", grad=True):
    rng = np.random.default_rng(0)
    shapes = ((*batch, length, width), (*batch, source, width), (*batch, source, width))
    return [ln.tensor(rng.normal(size=s).astype(dtype), requires_grad=grad) for s in shapes]


def gradients(y, inputs):
    g = ln.tensor(np.random.default_rng(1).normal(size=y.shape).astype(y.dtype.name))
    return [t.numpy() for t in ln.grad(y, inputs, g)]


@pytest.mark.parametrize("causal", [False, True])
def test_dropout_is_that_of_the_decomposition(isa, causal):
    # A mask that wants a gradient has the whole gradient taken through basic ops.
    inputs = operands(70, 150, 8, 3, dtype="float64")
    zero = ln.zeros((70, 150), dtype=ln.float64)
    results = []
    for mask in (None, zero, zero.clone().requires_grad_()):
        ln.random.manual_seed(5)
        y = F.scaled_dot_product_attention(*inputs, mask, 0.3, causal)
        results.append([y.detach().numpy(), *gradients(y, inputs)])
    for got in results[1:]:
        for a, b in zip(results[0], got, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    ln.random.manual_seed(5)
    ln.gradcheck(
        lambda q: (ln.random.manual_seed(5), F.scaled_dot_product_attention(q, *inputs[1:], None, 0.3))[1],
        inputs[0],
        order=2,
        fast_mode=True,
    )


def test_dropout_keeps_the_mean_and_takes_a_new_state_each_time():
    q, k, _ = operands(64, 64, 4, 50, grad=False)
    ones = ln.ones((50, 64, 4))
    first, second = (F.scaled_dot_product_attention(q, k, ones, dropout_p=0.25) for _ in range(2))
    assert abs(float(first.mean()) - 1) < 0.02
    assert not np.array_equal(first.numpy(), second.numpy())
    assert not F.scaled_dot_product_attention(q, k, ones, dropout_p=1.0).numpy().any()


def test_the_same_bits_on_any_number_of_threads(isa):
    before, results = ln.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            ln.set_num_threads(threads)
            inputs = operands(300, 400, 24, 2)
            y = F.scaled_dot_product_attention(*inputs, is_causal=True)
            results.append([y.detach().numpy(), *gradients(y, inputs)])
    finally:
        ln.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("p", [0.0, 0.2])
def test_compiled_equals_eager(p):
    q, k, v = operands(33, 40, 8, 2, 3, grad=False)
    allowed = ln.tensor(np.random.default_rng(2).random((2, 1, 33, 40)) < 0.7)

    def step(*arrays):
        q, k, v = (x.detach().requires_grad_() for x in arrays)
        y = F.scaled_dot_product_attention(q, k, v, allowed, p)
        return (y, *ln.grad(y, (q, k, v), y.detach()))

    compiled = ln.compile(step)
    compiled(q, k, v)
    for _ in range(2):
        state = ln.random.get_state()
        want = [t.detach().numpy() for t in step(q, k, v)]
        ln.random.set_state(state)
        for a, b in zip(want, compiled(q, k, v), strict=True):
            assert np.array_equal(a, b.detach().numpy())


def test_no_matrix_of_weights_in_memory():
    length = 4096
    q, k, v = operands(length, length, 8)
    allowed = ln.ones((1, length), dtype=ln.bool)

    def held():
        stats = _core.allocator_stats()
        return stats["in_use_bytes"] + stats["cached_bytes"]  # what is freed stays in the cache

    before = held()
    y = F.scaled_dot_product_attention(q, k, v, allowed)
    ln.grad(y, (q, k, v), y.detach())
    assert held() - before < length * length * 4 / 20


def test_rows_without_keys_are_zero_and_so_are_their_gradients(isa):
    q, k, v = operands(5, 40, 8, 2)
    allowed = np.ones((2, 5, 40), bool)
    allowed[:, 2] = allowed[1] = False
    for mask in (allowed, np.where(allowed, np.float32(0), np.float32(-np.inf))):
        y = F.scaled_dot_product_attention(q, k, v, ln.tensor(mask))
        dq, dk, dv = gradients(y, (q, k, v))
        for a in (y.detach().numpy(), dq):
            assert np.isfinite(a).all() and not a[:, 2].any() and not a[1].any() and a[0, 1].any()
        for a in (dk, dv):
            assert np.isfinite(a).all() and not a[1].any() and a[0].any()


def test_nan_propagates(isa):
    q, k, v = operands(5, 40, 8, grad=False)
    q[3, 2] = float("nan")
    y = F.scaled_dot_product_attention(q, k, v).numpy()
    assert np.isnan(y[3]).all() and np.isfinite(np.delete(y, 3, 0)).all()


def test_heads_of_one_projection_are_not_copied():
    x = ln.random.normal((2, 6, 3 * 4 * 8)).requires_grad_()
    q, k, v = (ln.permute_dims(ln.reshape(part, (2, 6, 4, 8)), (0, 2, 1, 3)) for part in ln.split(x, 32, -1))
    y = F.scaled_dot_product_attention(q, k, v)
    assert ln.permute_dims(y, (0, 2, 1, 3)).is_contiguous
    copies = F.scaled_dot_product_attention(*(t.clone() for t in (q, k, v)))
    assert np.array_equal(y.detach().numpy(), copies.detach().numpy())


X = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"key": ln.zeros((2, 3, 5))}, ln.ShapeError, "key has 5 features, query 4"),
        ({"value": ln.zeros((2, 4, 4))}, ln.ShapeError, "value has 4 rows, key 3"),
        ({"query": ln.zeros((4,))}, ln.ShapeError, "expected query"),
        ({"query": ln.zeros((3, 3, 4))}, ln.ShapeError, "scaled_dot_product_attention"),
        ({"query": ln.zeros((2, 3, 4), dtype=ln.int64)}, ln.DTypeError, "query must be floating"),
        ({"key": ln.zeros((2, 3, 4), dtype=ln.float64)}, ln.DTypeError, "one dtype"),
        ({"attn_mask": ln.zeros((2, 3))}, ln.ShapeError, "attn_mask must broadcast"),
        ({"attn_mask": ln.zeros((5, 2, 3, 3))}, ln.ShapeError, "attn_mask must broadcast"),
        ({"attn_mask": ln.zeros((3, 3), dtype=ln.int32)}, ln.DTypeError, "attn_mask must be bool"),
        ({"dropout_p": 1.5}, ln.Error, "dropout_p is a probability"),
        ({"enable_gqa": True, "query": ln.zeros((3, 3, 4))}, ln.ShapeError, "enable_gqa"),
    ],
)
def test_errors(change, error, words):
    arguments = {"query": ln.tensor(X), "key": ln.tensor(X), "value": ln.tensor(X)} | change
    with pytest.raises(error, match=words):
        F.scaled_dot_product_attention(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"query": ln.zeros((2, 5, 7))}, ln.ShapeError, "query expects .* 8 features"),
        ({"key": ln.zeros((2, 5, 7))}, ln.ShapeError, "key expects .* 8 features"),
        ({"query": ln.zeros((3, 5, 8))}, ln.ShapeError, ".*one batch size"),
        ({"value": ln.zeros((2, 4, 8))}, ln.ShapeError, "value expects the length of key"),
        ({"key_padding_mask": ln.zeros((2, 4), dtype=ln.bool)}, ln.ShapeError, "key_padding_mask expects shape"),
        ({"attn_mask": ln.zeros((5, 4), dtype=ln.bool)}, ln.ShapeError, "attn_mask expects shape"),
        ({"attn_mask": ln.zeros((5, 5), dtype=ln.int64)}, ln.DTypeError, "attn_mask must be bool or float32"),
    ],
)
def test_multihead_errors_name_the_layer_and_the_argument(arguments, error, words):
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x = ln.zeros((2, 5, 8))
    with pytest.raises(error, match=f"MultiheadAttention: {words}"):
        layer(**({"query": x, "key": x, "value": x} | arguments))
    with pytest.raises(ValueError, match="num_heads must divide"):
        nn.MultiheadAttention(8, 3)


def test_weights_and_the_fast_way_agree():
    ln.random.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True)
    x, memory = ln.random.normal((5, 3, 8)), ln.random.normal((6, 3, 8))
    padding = ln.tensor(np.arange(6) >= np.array([[6], [4], [1]]))
    later = ln.tensor(np.triu(np.ones((5, 6), bool), 1))
    for causal in (False, True):
        slow, weights = layer(x, memory, memory, padding, is_causal=causal)
        fast, none = layer(x, memory, memory, padding, need_weights=False, is_causal=causal)
        masked, _ = layer(x, memory, memory, padding, attn_mask=later if causal else None)
        np.testing.assert_allclose(slow.detach().numpy(), fast.detach().numpy(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(slow.detach().numpy(), masked.detach().numpy(), rtol=0, atol=1e-6)
        assert none is None and weights.shape == (3, 5, 8)
        np.testing.assert_allclose(weights.sum(-1).detach().numpy(), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        nn.AdditiveAttention(4, 6, 5),
        nn.MultiplicativeAttention(4, 6),
        nn.MultiplicativeAttention(4, 4, "dot"),
        nn.MultiplicativeAttention(4, 6, "concat", 7),
    ],
    ids=["additive", "general", "dot", "concat"],
)
@pytest.mark.parametrize("length", [3, 6])  # fewer queries than the five keys, and more
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scored_attention(isa, dtype, layer, length):
    rng = np.random.default_rng(0)
    layer, atol = layer.to(dtype), 64 * np.finfo(dtype).eps
    query, key = (rng.normal(size=s).astype(dtype) for s in ((2, length, 4), (2, 5, layer.key_dim)))
    padding = np.arange(5) >= np.array([[5], [3]])
    state = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    if isinstance(layer, nn.AdditiveAttention):
        mixed = (query @ state["query_proj.weight"].T + state["query_proj.bias"])[:, :, None]
        scores = np.tanh(mixed + (key @ state["key_proj.weight"].T)[:, None]) @ state["score.weight"][0]
    elif layer.score == "dot":
        scores = np.einsum("nld,nsd->nls", query, key)
    elif layer.score == "general":
        scores = np.einsum("nld,de,nse->nls", query, state["key_proj.weight"], key)
    else:
        pairs = (np.broadcast_to(x, (2, length, 5, x.shape[-1])) for x in (query[:, :, None], key[:, None]))
        pairs = np.concatenate(list(pairs), -1)
        scores = np.tanh(pairs @ state["concat_proj.weight"].T) @ state["score_proj.weight"][0]
    scores = np.where(padding[:, None], -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    context, given = layer(ln.tensor(query), ln.tensor(key), key_padding_mask=ln.tensor(padding))
    np.testing.assert_allclose(given.detach().numpy(), weights, rtol=0, atol=atol)
    np.testing.assert_allclose(context.detach().numpy(), weights @ key, rtol=0, atol=atol)
    one, its = layer(ln.tensor(query[:, 1]), ln.tensor(key), key_padding_mask=ln.tensor(padding))
    np.testing.assert_allclose(one.detach().numpy(), (weights @ key)[:, 1], rtol=0, atol=atol)
    assert its.shape == (2, 5)
    nothing = ln.ones((2, 5), dtype=ln.bool)
    assert not layer(ln.tensor(query), ln.tensor(key), key_padding_mask=nothing)[0].detach().numpy().any()

    leaves = [ln.tensor(query, requires_grad=True), ln.tensor(key, requires_grad=True)]
    if dtype == "float64":
        ln.gradcheck(lambda q, k: layer(q, k, key_padding_mask=ln.tensor(padding))[0], leaves, order=2, fast_mode=True)
    name = type(layer).__name__
    with pytest.raises(ln.ShapeError, match=f"{name}: key_padding_mask expects shape"):
        layer(ln.tensor(query), ln.tensor(key), key_padding_mask=ln.zeros((2, 4), dtype=ln.bool))
    with pytest.raises(ln.ShapeError, match=f"{name}: query expects"):
        layer(ln.zeros((2, 3, 9)), ln.tensor(key))
    with pytest.raises(ln.ShapeError, match=f"{name}: key expects"):
        layer(ln.tensor(query), ln.zeros((3, 5, layer.key_dim)))
