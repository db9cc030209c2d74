"""Attention and transformer layers against PyTorch: outputs, weights, all gradients, state dicts."""

from __future__ import annotations

from typing import Any

import lanner as ln
import numpy as np
import pytest
from lanner import nn
from lanner.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::UserWarning")]  # PyTorch's
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
N, L, S, E = 3, 5, 7, 8


@pytest.fixture(params=ln.cpu.available_isas())
def isa(request):
    with ln.cpu.isa(request.param):
        yield request.param


def close(got: Any, want: Any, what: str, terms: int = 64) -> None:
    if want is None:
        assert got is None, what
        return
    a, b = got.detach().numpy(), want.detach().numpy()
    assert a.shape == b.shape and a.dtype == b.dtype, (what, a.shape, b.shape)
    bound = 4 * EPS[a.dtype.name] * terms * max(1.0, np.abs(b).max(initial=0))
    np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=what)


def both(*shapes: tuple[int, ...], dtype: str) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(5)
    arrays = [rng.uniform(-2, 2, s).astype(dtype) for s in shapes]
    return [ln.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def same_weights(ours: nn.Module, theirs: Any, dtype: str) -> None:
    """Give both the same random weights, those of norms near 1."""
    rng = np.random.default_rng(0)
    state = {k: rng.uniform(-0.5, 0.5, tuple(v.shape)) + ("norm" in k) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    assert [tuple(v.shape) for v in ours.state_dict().values()] == [v.shape for v in state.values()]
    theirs.load_state_dict({k: torch.tensor(v, dtype=getattr(torch, dtype)) for k, v in state.items()})
    ours.load_state_dict({k: ln.tensor(v.astype(dtype)) for k, v in state.items()})


def compare(
    y: Any, ty: Any, x: list[Any], tx: list[Any], ours: Any = None, theirs: Any = None, terms: int = 64
) -> None:
    close(y, ty, "output", terms)
    g = np.random.default_rng(6).uniform(-1, 1, tuple(ty.shape)).astype(y.dtype.name)
    y.backward(ln.tensor(g))
    ty.backward(torch.tensor(g))
    for i, (a, b) in enumerate(zip(x, tx, strict=True)):
        close(a.grad, b.grad, f"gradient of input {i}", 4 * terms)
    if ours is not None:
        wanted = dict(theirs.named_parameters())
        for name, p in ours.named_parameters():
            close(p.grad, wanted[name].grad, f"gradient of {name}", 4 * terms)


def padding(length: int) -> np.ndarray:
    return np.arange(length) >= np.array([[length], [length - 2], [1]])


MASKS = np.random.default_rng(3)
BOOL = MASKS.random((L, S)) < 0.3
BOOL[:, 0] = False
PER_HEAD = np.repeat(BOOL[None], 2 * N, 0) ^ (np.arange(S) == S - 1)
FLOATING = MASKS.normal(size=(L, S))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("batch", "masks", "options"),
    [
        ((2,), {}, {}),
        ((2, 3), {}, {"scale": 0.3}),
        ((2, 3), {"is_causal": True}, {}),
        ((2, 4), {}, {"enable_gqa": True}),
        ((2, 3), {"attn_mask": ~BOOL}, {}),
        ((2, 3), {"attn_mask": FLOATING}, {}),
        ((N, 2), {"attn_mask": ~PER_HEAD.reshape(N, 2, L, S)}, {}),
    ],
)
def test_scaled_dot_product_attention(isa, dtype, batch, masks, options):
    fewer = (*batch[:-1], 2) if options.get("enable_gqa") else batch
    x, tx = both((*batch, L, 4), (*fewer, S, 4), (*fewer, S, 6), dtype=dtype)
    given = {k: v.astype(dtype) if isinstance(v, np.ndarray) and v.dtype != bool else v for k, v in masks.items()}
    as_ours = {k: ln.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    as_theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    y = F.scaled_dot_product_attention(*x, **as_ours, **options)
    ty = torch.nn.functional.scaled_dot_product_attention(*tx, **as_theirs, **options)
    compare(y, ty, x, tx)


def test_gradient_of_a_mask():
    (q, k, v, m), theirs = both((2, L, 4), (2, S, 4), (2, S, 4), (L, S), dtype="float64")
    ty = torch.nn.functional.scaled_dot_product_attention(*theirs)
    compare(F.scaled_dot_product_attention(q, k, v, m), ty, [q, k, v, m], theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, {}),
        ({"bias": False}, {"average_attn_weights": False}),
        ({"batch_first": True}, {"attn_mask": BOOL}),
        ({"batch_first": True, "kdim": 6, "vdim": 5}, {"attn_mask": FLOATING}),
        ({"kdim": 6, "bias": False}, {"key_padding_mask": padding(S)}),
        ({"batch_first": True}, {"key_padding_mask": padding(S), "attn_mask": BOOL}),
        ({}, {"key_padding_mask": padding(S), "attn_mask": FLOATING}),
        ({"add_bias_kv": True}, {"key_padding_mask": padding(S), "attn_mask": PER_HEAD}),
        ({"add_zero_attn": True}, {"attn_mask": FLOATING}),
        ({"add_zero_attn": True, "add_bias_kv": True, "batch_first": True}, {"key_padding_mask": padding(S)}),
    ],
)
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("kind", ["cross", "shared", "self", "one"])
def test_multihead_attention(isa, dtype, options, call, need_weights, kind):
    ours = nn.MultiheadAttention(E, 2, **options)
    theirs = torch.nn.MultiheadAttention(E, 2, **options, dtype=getattr(torch, dtype))
    ours.to(dtype)
    assert repr(ours).split("(")[0] == "MultiheadAttention"
    same_weights(ours, theirs, dtype)
    first = options.get("batch_first")
    one = kind == "one"

    def shape(length: int, width: int) -> tuple[int, ...]:
        return (length, width) if one else (N, length, width) if first else (length, N, width)

    widths = options.get("kdim", E), options.get("vdim", E)
    if kind in ("self", "shared") and widths != (E, E):
        pytest.skip("key and value differ")
    length = S if kind == "self" else L
    if kind == "self":
        x, tx = both(shape(S, E), dtype=dtype)
        arguments, targuments = x * 3, tx * 3
    elif kind == "shared":
        x, tx = both(shape(L, E), shape(S, E), dtype=dtype)
        arguments, targuments = [x[0], x[1], x[1]], [tx[0], tx[1], tx[1]]
    else:
        x, tx = both(shape(L, E), shape(S, widths[0]), shape(S, widths[1]), dtype=dtype)
        arguments, targuments = x, tx
    given = dict(call)
    if "attn_mask" in given:
        mask = given["attn_mask"] if given["attn_mask"].dtype == bool else given["attn_mask"].astype(dtype)
        if kind == "self":
            mask = np.concatenate([mask, mask[..., :2, :]], -2)
        given["attn_mask"] = mask[:2] if one and mask.ndim == 3 else mask
    if one and "key_padding_mask" in given:
        given["key_padding_mask"] = given["key_padding_mask"][1]
    as_ours = {k: ln.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    as_theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    y, weights = ours(*arguments, need_weights=need_weights, **as_ours)
    ty, tweights = theirs(*targuments, need_weights=need_weights, **as_theirs)
    assert y.shape[-2 if first or one else 0] == length
    close(weights, tweights, "weights")
    compare(y, ty, x, tx, ours, theirs)


@pytest.mark.parametrize("kind", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True, "norm_first": True, "activation": "gelu"},
        {"bias": False, "layer_norm_eps": 1e-3},
        {"norm_first": True, "activation": "tanh"},
    ],
)
@pytest.mark.parametrize("layers", [None, 2])
def test_layers(isa, kind, dtype, options, layers):
    made = []
    for library in (nn, torch.nn):
        given = options | {"activation": library.functional.tanh} if options.get("activation") == "tanh" else options
        more = {} if library is nn else {"dtype": getattr(torch, dtype)}
        net = getattr(library, kind)(E, 2, 16, 0.0, **given, **more)
        if layers:
            norm = library.LayerNorm(E, **more)
            net = getattr(library, kind.removesuffix("Layer"))(net, layers, norm)
        made.append(net)
    ours, theirs = made
    ours.to(dtype)
    same_weights(ours, theirs, dtype)
    first = options.get("batch_first")
    order = [(N, L, E), (N, S, E)] if first else [(L, N, E), (S, N, E)]
    decoder = "Decoder" in kind
    x, tx = both(*order[: 1 + decoder], dtype=dtype)
    causal = np.triu(np.ones((L, L), bool), 1)
    name = "mask" if layers else "src_mask"
    masks = (
        {"tgt_mask": causal, "memory_key_padding_mask": padding(S)}
        if decoder
        else {name: causal, "src_key_padding_mask": padding(L)}
    )
    y = ours(*x, **{k: ln.tensor(v) for k, v in masks.items()})
    ty = theirs(*tx, **{k: torch.tensor(v) for k, v in masks.items()})
    compare(y, ty, x, tx, ours, theirs, 512)
    hint = {"tgt_is_causal": True} if decoder else {"is_causal": True}
    del masks["tgt_mask" if decoder else name]
    close(ours(*x, **{k: ln.tensor(v) for k, v in masks.items()}, **hint), ty, "causal by the hint", 512)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [{}, {"batch_first": True, "norm_first": True, "activation": "gelu", "bias": False}]
)
@pytest.mark.parametrize("one", [False, True])
def test_transformer(dtype, options, one):
    ours = nn.Transformer(E, 2, 2, 1, 16, 0.0, **options, dtype=dtype)
    theirs = torch.nn.Transformer(E, 2, 2, 1, 16, 0.0, **options, dtype=getattr(torch, dtype))
    same_weights(ours, theirs, dtype)
    shapes = [(n, E) if one else (N, n, E) if options else (n, N, E) for n in (S, L)]
    x, tx = both(*shapes, dtype=dtype)
    mask = nn.Transformer.generate_square_subsequent_mask(L, dtype=dtype)
    their_mask = torch.nn.Transformer.generate_square_subsequent_mask(L, dtype=getattr(torch, dtype))
    assert np.array_equal(mask.numpy(), their_mask.numpy())
    left_out = padding(S)[1] if one else padding(S)
    names = ("src_key_padding_mask", "memory_key_padding_mask")
    y = ours(*x, tgt_mask=mask, **dict.fromkeys(names, ln.tensor(left_out)))
    ty = theirs(*tx, tgt_mask=their_mask, **dict.fromkeys(names, torch.tensor(left_out)))
    compare(y, ty, x, tx, ours, theirs, 1024)
    hinted = ours(*x, tgt_is_causal=True, **dict.fromkeys(names, ln.tensor(left_out)))
    close(hinted, ty, "causal by the hint", 1024)
