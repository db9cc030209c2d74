"""Every layer and loss against PyTorch: outputs, gradients, state dicts, reprs, on each instruction set."""

from __future__ import annotations

import copy
from typing import Any

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


def number(x: Any) -> np.ndarray:
    return x.detach().numpy()


def close(got: Any, want: Any, length: int, what: str) -> None:
    """Equal within what `length` additions in the dtype of `got` may differ by, at the largest magnitude involved."""
    a, b = number(got), number(want)
    assert a.shape == b.shape and a.dtype == b.dtype, (what, a.shape, b.shape, a.dtype, b.dtype)
    if a.dtype.kind != "f":
        assert np.array_equal(a, b), what
        return
    bound = 4 * EPS[a.dtype.name] * length * max(1.0, np.abs(b).max(initial=0))
    np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=what)


def inputs(shapes: list[Any], dtype: str, low: float, high: float) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [s if isinstance(s, np.ndarray) else rng.uniform(low, high, s).astype(dtype) for s in shapes]


def both(arrays: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
    ours, theirs = [], []
    for a in arrays:
        ours.append(ln.tensor(a, requires_grad=a.dtype.kind == "f"))
        theirs.append(torch.tensor(a, requires_grad=a.dtype.kind == "f"))
    return ours, theirs


def compare(ours: Any, theirs: Any, shapes: list[Any], dtype: str, low: float = -2.0, high: float = 2.0) -> None:
    """The same results and gradients from both callables, for the same inputs (None where there is none)."""
    present = [s is not None for s in shapes]
    shapes = [s for s in shapes if s is not None]

    def call(fn: Any, given: list[Any]) -> Any:
        rest = iter(given)
        return fn(*[next(rest) if p else None for p in present])

    arrays = inputs(shapes, dtype, low, high)
    x, tx = both(arrays)
    y, ty = call(ours, x), call(theirs, tx)
    ys, tys = (y, ty) if isinstance(y, tuple) else ((y,), (ty,))
    params = list(ours.named_parameters()) if isinstance(ours, nn.Module) else []
    tparams = dict(theirs.named_parameters()) if isinstance(theirs, torch.nn.Module) else {}
    length = max([a.size for a in arrays] + [t.size for t in ys] + [p.size for _, p in params] + [8])
    for i, (a, b) in enumerate(zip(ys, tys, strict=True)):
        close(a, b, length, f"output {i}")
    if not tys[0].requires_grad:
        return
    weights = np.random.default_rng(6).uniform(-1, 1, tuple(tys[0].shape)).astype(dtype)
    ys[0].backward(ln.tensor(weights))
    tys[0].backward(torch.tensor(weights))
    for i, (a, b) in enumerate(zip(x, tx, strict=True)):
        if b.grad is not None:
            close(a.grad, b.grad, length, f"gradient of input {i}")
    for name, p in params:
        if tparams[name].grad is None:
            assert p.grad is None or not number(p.grad).any(), name
        else:
            close(p.grad, tparams[name].grad, length, f"gradient of {name}")


IMAGE, LINE, VOLUME = (2, 4, 9, 7), (2, 4, 11), (2, 2, 5, 6, 7)
IDS = np.array([[1, 4, 4], [0, 2, 6]])

# name of the class, positional arguments, keyword arguments, shapes of the inputs
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], list[Any]]] = [
    ("Identity", (), {}, [(2, 3)]),
    ("Linear", (7, 5), {}, [(3, 7)]),
    ("Linear", (7, 5), {"bias": False}, [(2, 3, 7)]),
    ("Linear", (3, 2), {}, [(3,)]),
    ("Linear", (3, 2), {}, [(0, 3)]),
    ("Bilinear", (4, 3, 5), {}, [(6, 4), (6, 3)]),
    ("Bilinear", (4, 3, 5), {"bias": False}, [(2, 6, 4), (2, 6, 3)]),
    ("Flatten", (), {}, [IMAGE]),
    ("Flatten", (0, 2), {}, [IMAGE]),
    ("Unflatten", (1, (2, 2)), {}, [IMAGE]),
    ("Conv1d", (4, 6, 3), {}, [LINE]),
    ("Conv1d", (4, 6, 4), {"padding": "same", "dilation": 2}, [LINE]),
    ("Conv1d", (4, 6, 3), {"padding": 2, "padding_mode": "circular"}, [LINE]),
    ("Conv1d", (4, 6, 3), {"padding": 3, "padding_mode": "reflect", "stride": 2}, [LINE]),
    ("Conv2d", (4, 6, 3), {}, [IMAGE]),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 2), "bias": False}, [IMAGE]),
    ("Conv2d", (4, 6, 3), {"dilation": 2, "groups": 2}, [IMAGE]),
    ("Conv2d", (4, 4, 3), {"groups": 4, "padding": 1}, [IMAGE]),
    ("Conv2d", (4, 6, 1), {"stride": 2}, [IMAGE]),
    ("Conv2d", (4, 6, (4, 3)), {"padding": "same"}, [IMAGE]),
    ("Conv2d", (4, 6, 3), {"padding": "valid"}, [IMAGE]),
    ("Conv2d", (4, 6, 3), {"padding": (1, 2), "padding_mode": "reflect"}, [IMAGE]),
    ("Conv2d", (4, 6, 3), {"padding": 1, "padding_mode": "replicate"}, [IMAGE]),
    ("Conv2d", (4, 6, (2, 3)), {"padding": "same", "padding_mode": "circular"}, [IMAGE]),
    ("Conv3d", (2, 4, 3), {"padding": 1}, [VOLUME]),
    ("Conv3d", (2, 4, (1, 2, 3)), {"stride": (1, 2, 1), "groups": 2}, [VOLUME]),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}, [LINE]),
    ("ConvTranspose2d", (4, 6, 3), {}, [IMAGE]),
    ("ConvTranspose2d", (4, 6, (4, 3)), {"stride": (2, 3), "padding": (1, 0), "bias": False}, [IMAGE]),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "groups": 2, "dilation": 2, "output_padding": (1, 0)}, [IMAGE]),
    ("ConvTranspose3d", (2, 4, 2), {"stride": 2}, [VOLUME]),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, [LINE]),
    ("MaxPool2d", (2,), {}, [IMAGE]),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, [IMAGE]),
    ("MaxPool2d", ((2, 3),), {"stride": (1, 2), "dilation": (2, 1), "return_indices": True}, [IMAGE]),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, [LINE]),
    ("AvgPool2d", (2,), {}, [IMAGE]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, [IMAGE]),
    ("AvgPool2d", ((3, 2),), {"padding": (1, 0), "count_include_pad": False}, [IMAGE]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "divisor_override": 4}, [IMAGE]),
    ("AvgPool2d", (2,), {"stride": 2, "ceil_mode": True, "divisor_override": 3}, [IMAGE]),
    ("AdaptiveAvgPool1d", (4,), {}, [LINE]),
    ("AdaptiveAvgPool2d", (1,), {}, [IMAGE]),
    ("AdaptiveAvgPool2d", ((5, None),), {}, [IMAGE]),
    ("AdaptiveMaxPool1d", (4,), {}, [LINE]),
    ("AdaptiveMaxPool2d", ((4, 3),), {}, [IMAGE]),
    ("AdaptiveMaxPool2d", (2,), {"return_indices": True}, [IMAGE]),
    ("Upsample", (), {"scale_factor": 2}, [IMAGE]),
    ("Upsample", (), {"size": (5, 10)}, [IMAGE]),
    ("Upsample", (), {"size": 15, "mode": "linear"}, [LINE]),
    ("Upsample", (), {"scale_factor": 3, "mode": "linear", "align_corners": True}, [LINE]),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear"}, [IMAGE]),
    ("Upsample", (), {"size": (13, 4), "mode": "bilinear", "align_corners": True}, [IMAGE]),
    ("BatchNorm1d", (4,), {}, [(6, 4)]),
    ("BatchNorm1d", (4,), {"momentum": None}, [LINE]),
    ("BatchNorm2d", (4,), {"eps": 1e-3, "momentum": 0.3}, [IMAGE]),
    ("BatchNorm2d", (4,), {"affine": False}, [IMAGE]),
    ("BatchNorm2d", (4,), {"bias": False}, [IMAGE]),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, [IMAGE]),
    ("BatchNorm3d", (2,), {}, [VOLUME]),
    ("LayerNorm", (7,), {}, [IMAGE]),
    ("LayerNorm", ((9, 7),), {"eps": 1e-3, "bias": False}, [IMAGE]),
    ("LayerNorm", (7,), {"elementwise_affine": False}, [IMAGE]),
    ("GroupNorm", (2, 4), {}, [IMAGE]),
    ("GroupNorm", (1, 4), {"affine": False}, [LINE]),
    ("GroupNorm", (2, 4), {"bias": False}, [LINE]),
    ("RMSNorm", (7,), {}, [IMAGE]),
    ("RMSNorm", ((9, 7),), {"eps": 1e-3, "elementwise_affine": False}, [IMAGE]),
    ("Embedding", (7, 5), {}, [IDS]),
    ("Embedding", (7, 5), {"padding_idx": 4}, [IDS]),
    ("Embedding", (7, 5), {"max_norm": 1.0}, [IDS]),
    ("Embedding", (7, 5), {"scale_grad_by_freq": True}, [IDS]),
    ("EmbeddingBag", (7, 5), {}, [IDS]),
    ("EmbeddingBag", (7, 5), {"mode": "sum"}, [IDS.reshape(-1), np.array([0, 2, 2])]),
    ("EmbeddingBag", (7, 5), {"mode": "max"}, [IDS.reshape(-1), np.array([0, 4])]),
    ("EmbeddingBag", (7, 5), {"mode": "sum"}, [IDS, None, (2, 3)]),
    ("EmbeddingBag", (7, 5), {"include_last_offset": True}, [IDS.reshape(-1), np.array([0, 2, 6])]),
    ("EmbeddingBag", (7, 5), {"padding_idx": 4}, [IDS]),
    ("EmbeddingBag", (7, 5), {"max_norm": 1.5, "norm_type": 1.0}, [IDS]),
    ("EmbeddingBag", (7, 5), {"max_norm": 1.5, "mode": "max", "padding_idx": -1}, [IDS]),
    ("ReLU", (), {}, [(5, 9)]),
    ("LeakyReLU", (0.2,), {}, [(5, 9)]),
    ("PReLU", (), {}, [(5, 9)]),
    ("PReLU", (4,), {"init": 0.1}, [IMAGE]),
    ("ELU", (1.5,), {}, [(5, 9)]),
    ("SELU", (), {}, [(5, 9)]),
    ("GELU", (), {}, [(5, 9)]),
    ("GELU", ("tanh",), {}, [(5, 9)]),
    ("SiLU", (), {}, [(5, 9)]),
    ("Softplus", (2.0, 3.0), {}, [(5, 9)]),
    ("Sigmoid", (), {}, [(5, 9)]),
    ("Tanh", (), {}, [(5, 9)]),
    ("Hardtanh", (-0.5, 0.7), {}, [(5, 9)]),
    ("Threshold", (0.1, 20.0), {}, [(5, 9)]),
    ("Softmax", (1,), {}, [IMAGE]),
    ("LogSoftmax", (-1,), {}, [IMAGE]),
]


def layer_id(row: Any) -> str:
    name, args, kwargs, _ = row
    return f"{name}{args}{kwargs or ''}".replace(" ", "")


def pair(name: str, args: Any, kwargs: Any, dtype: str) -> tuple[Any, Any]:
    """The same layer of both, with the parameters of PyTorch's in ours."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **kwargs).to(getattr(torch, dtype))
    ours = getattr(nn, name)(*args, **kwargs).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", LAYERS, ids=layer_id)
def test_layer(row, dtype, isa):
    name, args, kwargs, shapes = row
    ours, theirs = pair(name, args, kwargs, dtype)
    state, other = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(other)
    if "BatchNorm" in name:
        for _ in range(2):  # the statistics of several batches
            x, tx = both(inputs(shapes, dtype, -3, 1))
            ours(*x), theirs(*tx)
    compare(ours, theirs, shapes, dtype)
    ours.zero_grad(), theirs.zero_grad()
    if any(p is not None for p in ours.parameters()) or "BatchNorm" in name:
        compare(ours.eval(), theirs.eval(), shapes, dtype)
    for key, value in theirs.state_dict().items():  # running statistics, shortened rows
        close(ours.state_dict()[key], value, 64, key)
    # and back: what ours holds, PyTorch takes
    again = getattr(torch.nn, name)(*args, **kwargs).to(getattr(torch, dtype))
    again.load_state_dict({k: torch.from_numpy(number(v).copy()) for k, v in ours.state_dict().items()})


@pytest.mark.parametrize("row", LAYERS, ids=layer_id)
def test_repr(row):
    name, args, kwargs, _ = row
    assert repr(getattr(nn, name)(*args, **kwargs)) == repr(getattr(torch.nn, name)(*args, **kwargs))


@pytest.mark.parametrize("row", [r for r in LAYERS if r[0][:4] in ("Line", "Bili", "Conv")], ids=layer_id)
def test_first_values_have_the_same_bounds(row):
    name, args, kwargs, _ = row
    torch.manual_seed(1), ln.manual_seed(1)
    ours = {k: [] for k in getattr(nn, name)(*args, **kwargs).state_dict()}
    theirs = copy.deepcopy(ours)
    for made, module in ((ours, nn), (theirs, torch.nn)):
        for _ in range(60):
            for k, v in getattr(module, name)(*args, **kwargs).state_dict().items():
                made[k].append(number(v).ravel())
    for key in ours:
        a, b = np.concatenate(ours[key]), np.concatenate(theirs[key])
        # Both lie evenly between the same bounds; the largest of n draws falls short by bound * 2 / n on average.
        assert abs(np.abs(a).max() / np.abs(b).max() - 1) <= 20 / a.size, key
        assert abs(a.std() / b.std() - 1) <= 5 / np.sqrt(a.size), key


# ---- losses ----

REDUCTIONS = ("mean", "sum", "none")
CLASSES = np.array([2, 0, 4, 1, 2, 2])
SIGNS = np.array([1, -1, 1, 1, -1, -1])


def probabilities(*shape: int) -> np.ndarray:
    x = np.random.default_rng(8).uniform(0.05, 1, shape)
    return x / x.sum(1, keepdims=True)


def loss_rows() -> list[tuple[str, dict[str, Any], list[Any], float, float]]:
    rows: list[Any] = []
    for reduction in REDUCTIONS:
        r = {"reduction": reduction}
        rows += [
            ("mse_loss", r, [(6, 5), (6, 5)], -2, 2),
            ("l1_loss", r, [(6, 5), (6, 5)], -2, 2),
            ("smooth_l1_loss", {**r, "beta": 0.7}, [(6, 5), (6, 5)], -2, 2),
            ("huber_loss", {**r, "delta": 0.7}, [(6, 5), (6, 5)], -2, 2),
            ("kl_div", r, [(6, 5), (6, 5)], 0.1, 2),
            ("kl_div", {**r, "log_target": True}, [(6, 5), (6, 5)], -2, 0),
            ("binary_cross_entropy", r, [(6, 5), (6, 5)], 0.01, 0.99),
            ("binary_cross_entropy", {**r, "weight": (5,)}, [(6, 5), (6, 5)], 0.01, 0.99),
            ("binary_cross_entropy_with_logits", r, [(6, 5), (6, 5)], 0, 1),
            ("binary_cross_entropy_with_logits", {**r, "weight": (6, 5), "pos_weight": (5,)}, [(6, 5), (6, 5)], 0, 1),
            ("triplet_margin_loss", r, [(6, 5)] * 3, -2, 2),
            ("triplet_margin_loss", {**r, "margin": 0.4, "p": 1.0, "swap": True}, [(6, 5)] * 3, -2, 2),
            ("cosine_embedding_loss", {**r, "margin": 0.1}, [(6, 5), (6, 5), SIGNS], -2, 2),
        ]
        for options in ({}, {"weight": (5,)}, {"ignore_index": 2}, {"weight": (5,), "ignore_index": 2}):
            rows += [
                ("nll_loss", {**r, **options}, [(6, 5), CLASSES], -3, 0),
                ("nll_loss", {**r, **options}, [(2, 5, 3), CLASSES.reshape(2, 3)], -3, 0),
            ]
            for smoothing in (0.0, 0.2):
                o = {**r, **options, "label_smoothing": smoothing}
                rows += [
                    ("cross_entropy", o, [(6, 5), CLASSES], -2, 2),
                    ("cross_entropy", o, [(1, 5, 2, 3), CLASSES.reshape(1, 2, 3)], -2, 2),
                ]
        for options in ({}, {"weight": (5,)}, {"label_smoothing": 0.1}, {"weight": (5,), "label_smoothing": 0.1}):
            rows += [
                ("cross_entropy", {**r, **options}, [(6, 5), probabilities(6, 5)], -2, 2),
                ("cross_entropy", {**r, **options}, [(2, 5, 3), probabilities(2, 5, 3)], -2, 2),
            ]
        for options in ({}, {"p": 2}, {"margin": 0.5, "weight": (5,)}, {"p": 2, "weight": (5,)}):
            rows.append(("multi_margin_loss", {**r, **options}, [(6, 5), CLASSES], -2, 2))
    rows.append(("kl_div", {"reduction": "batchmean"}, [(6, 5), (6, 5)], 0.1, 2))
    rows.append(("cross_entropy", {}, [(5,), np.array(3)], -2, 2))
    return rows


CLASS_OF = {
    "mse_loss": "MSELoss",
    "l1_loss": "L1Loss",
    "smooth_l1_loss": "SmoothL1Loss",
    "huber_loss": "HuberLoss",
    "kl_div": "KLDivLoss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "triplet_margin_loss": "TripletMarginLoss",
    "cosine_embedding_loss": "CosineEmbeddingLoss",
    "nll_loss": "NLLLoss",
    "cross_entropy": "CrossEntropyLoss",
    "multi_margin_loss": "MultiMarginLoss",
}


def loss_id(row: Any) -> str:
    return f"{row[0]}-{row[1]}-{row[2][0]}".replace(" ", "").replace("'", "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", loss_rows(), ids=loss_id)
def test_loss(row, dtype):
    name, options, shapes, low, high = row
    shapes = [s.astype(dtype) if isinstance(s, np.ndarray) and s.dtype.kind == "f" else s for s in shapes]
    ours, theirs = dict(options), dict(options)
    for i, key in enumerate(("weight", "pos_weight")):
        if key in options:
            value = np.random.default_rng(i).uniform(0.2, 2, options[key]).astype(dtype)
            ours[key], theirs[key] = ln.tensor(value), torch.tensor(value)
    a, b = getattr(F, name), getattr(torch.nn.functional, name)
    compare(lambda *x: a(*x, **ours), lambda *x: b(*x, **theirs), shapes, dtype, low, high)
    compare(getattr(nn, CLASS_OF[name])(**ours), getattr(torch.nn, CLASS_OF[name])(**theirs), shapes, dtype, low, high)


FUNCTIONS = [
    ("normalize", {"p": 3.0, "dim": 1}, [(3, 4)]),
    ("normalize", {"dim": -1}, [(2, 3, 4)]),
    ("normalize", {"p": float("inf")}, [(3, 4)]),
    ("cosine_similarity", {"dim": 1}, [(3, 4), (3, 4)]),
    ("cosine_similarity", {"dim": -1}, [(2, 3, 4), (2, 1, 4)]),
    ("pairwise_distance", {}, [(3, 4), (3, 4)]),
    ("pairwise_distance", {"p": 1.0, "keepdim": True}, [(3, 4), (3, 4)]),
    ("conv1d", {"padding": "same"}, [(2, 3, 8), (4, 3, 4), (4,)]),
    ("conv2d", {"padding": "same", "dilation": (2, 1)}, [(2, 3, 8, 7), (4, 3, 2, 3), (4,)]),
    ("conv2d", {"padding": "valid", "stride": 2}, [(2, 3, 8, 7), (4, 3, 2, 3)]),
    ("pad", {"pad": (1, 2, 0, 1), "value": 3.0}, [(2, 3, 4)]),
    ("pad", {"pad": (1, 2), "mode": "reflect"}, [(2, 3, 4)]),
    ("pad", {"pad": (1, 2), "mode": "circular"}, [(2, 3, 4)]),
    ("softmax", {"dim": 0}, [(3, 4)]),
    ("log_softmax", {"dim": 1}, [(3, 4)]),
    ("interpolate", {"scale_factor": 1.5, "mode": "bilinear"}, [(1, 2, 4, 6)]),
    ("interpolate", {"scale_factor": 0.5}, [(1, 2, 4, 6)]),
]


@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda r: f"{r[0]}-{r[1]}".replace(" ", ""))
def test_function(row):
    name, options, shapes = row
    a, b = getattr(F, name), getattr(torch.nn.functional, name)
    compare(lambda *x: a(*x, **options), lambda *x: b(*x, **options), shapes, "float64")


# ---- whole nets, utilities ----


def lenet(n: Any) -> Any:
    return n.Sequential(
        n.Conv2d(1, 6, 5, padding=2),
        n.BatchNorm2d(6),
        n.Tanh(),
        n.AvgPool2d(2),
        n.Conv2d(6, 16, 5),
        n.ReLU(),
        n.MaxPool2d(2),
        n.Flatten(),
        n.Linear(400, 84),
        n.GELU(),
        n.Linear(84, 10),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_net(dtype, isa):
    ours, theirs = lenet(nn).to(dtype), lenet(torch.nn).to(getattr(torch, dtype))
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    compare(ours, theirs, [(3, 1, 28, 28)], dtype)


def test_state_dicts_in_half_precision():
    theirs = torch.nn.Linear(3, 2).bfloat16()
    ours = nn.Linear(3, 2).bfloat16()
    ours.load_state_dict(theirs.state_dict())
    assert np.array_equal(number(ours.weight.to(ln.float32)), number(theirs.weight.float()))


@pytest.mark.parametrize("norm_type", [0.0, 0.5, 1, 2.0, 3.0, -1.0, float("inf"), float("-inf"), "inf"])
@pytest.mark.parametrize("max_norm", [0.1, 1e6, 0.0])
def test_clip_grad_norm(norm_type, max_norm):
    ours, theirs = pair("Linear", (7, 5), {}, "float64")
    x, tx = both(inputs([(3, 7)], "float64", -2, 2))
    (ours(*x) ** 2).sum().backward(), (theirs(*tx) ** 2).sum().backward()
    total = nn.utils.clip_grad_norm_(ours.parameters(), max_norm, norm_type)
    close(total, torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm, norm_type), 40, "norm")
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(a.grad, b.grad, 40, "gradient")


def test_clip_grad_value():
    ours, theirs = nn.Parameter(ln.zeros(6)), torch.nn.Parameter(torch.zeros(6))
    values = np.array([-3, 0.2, 3, np.nan, np.inf, -np.inf], np.float32)
    ours.grad, theirs.grad = ln.tensor(values), torch.tensor(values)
    nn.utils.clip_grad_value_(ours, 0.5)
    torch.nn.utils.clip_grad_value_(theirs, 0.5)
    np.testing.assert_array_equal(number(ours.grad), number(theirs.grad))


def test_parameters_as_vector():
    ours, theirs = pair("Conv2d", (2, 3, 2), {}, "float32")
    got = nn.utils.parameters_to_vector(ours.parameters())
    close(got, torch.nn.utils.parameters_to_vector(theirs.parameters()), 1, "vector")
