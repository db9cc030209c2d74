"""Module: registering, walking, state, hooks, errors, structure."""

from __future__ import annotations

import copy
import json

import lanner as ln
import numpy as np
import pytest
from lanner import nn


class Net(nn.Module):
    def __init__(self, width=4):
        self.net = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))
        self.norm = nn.BatchNorm1d(2)
        self.gain = nn.Parameter(ln.ones(2))

    def forward(self, x):
        return self.norm(self.net(x)) * self.gain


def test_parameters_in_order():
    net = Net()
    names = ["gain", "net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias", "norm.weight", "norm.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert [p.shape for p in net.parameters()] == [(2,), (4, 3), (4,), (2, 4), (2,), (2,), (2,)]
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["gain"]
    assert [n for n, _ in net.named_parameters(prefix="a", recurse=False)] == ["a.gain"]
    assert [n for n, _ in net.named_buffers()] == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert [n for n, _ in net.named_modules()] == ["", "net", "net.0", "net.1", "net.2", "norm"]
    assert all(isinstance(p, nn.Parameter) and p.requires_grad and p.is_leaf for p in net.parameters())


def test_shared_parameters_count_once():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    net = nn.Sequential(a, b, a)
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 6
    assert len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
    net(ln.ones((1, 3))).sum().backward()
    assert a.weight.grad.shape == (3, 3)


def test_attributes():
    m = nn.Module()
    m.p = nn.Parameter(ln.ones(2))
    assert m.p is m._parameters["p"]
    with pytest.raises(TypeError, match=r"Module\.p is a parameter; assign a Parameter or None, got Tensor"):
        m.p = ln.ones(2)
    m.p = None
    assert list(m.parameters()) == [] and m.p is None
    m.p = nn.Parameter(ln.ones(3))
    m.p = nn.Linear(2, 2)  # moves to the modules
    assert "p" not in m._parameters and list(m._modules) == ["p"]
    with pytest.raises(TypeError, match="is a module"):
        m.p = 3
    del m.p
    assert not hasattr(m, "p") and list(m.modules()) == [m]
    m.register_buffer("b", ln.zeros(2))
    with pytest.raises(TypeError, match="is a buffer"):
        m.b = 3
    m.b = ln.ones(2)
    assert m.state_dict()["b"].tolist() == [1, 1]
    m.register_buffer("c", ln.zeros(1), persistent=False)
    assert list(m.state_dict()) == ["b"] and len(list(m.buffers())) == 2
    for name in ("", "a.b"):
        with pytest.raises(KeyError, match="must not be empty or hold a dot"):
            m.register_buffer(name, ln.zeros(1))
    with pytest.raises(KeyError, match="already has an attribute 'forward'"):
        m.add_module("forward", nn.ReLU())
    with pytest.raises(TypeError, match="must be a Parameter"):
        m.register_parameter("q", ln.ones(1))
    with pytest.raises(TypeError, match="must be a Tensor"):
        m.register_buffer("q", 1)
    with pytest.raises(TypeError, match="must be a Module"):
        m.add_module("q", 1)


def test_in_place_keeps_the_parameter():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    with ln.no_grad():
        layer.weight *= 0.0
    assert layer.weight is weight and float(weight.sum()) == 0


def test_get():
    net = Net()
    assert net.get_submodule("net.0") is net.net[0] and net.get_submodule("") is net
    assert net.get_parameter("net.2.bias") is net.net[2].bias
    assert net.get_buffer("norm.running_var") is net.norm.running_var
    for get, path in ((net.get_submodule, "net.7"), (net.get_parameter, "net.0.x"), (net.get_buffer, "norm.weight")):
        with pytest.raises(AttributeError, match=path):
            get(path)


def test_state_dict_shares_memory_and_loads():
    a, b = Net(), Net()
    state = a.state_dict()
    assert all(not t.requires_grad for t in state.values())
    with ln.no_grad():
        a.gain[0] = 5.0
    assert state["gain"].tolist() == [5, 1]
    keys = b.load_state_dict(state)
    assert keys.missing_keys == [] and keys.unexpected_keys == [] and repr(keys) == "<all keys matched>"
    for name, value in b.state_dict().items():
        assert np.array_equal(value.numpy(), state[name].numpy())
    assert b.gain.requires_grad
    b.load_state_dict({name: t.numpy() for name, t in state.items()})
    assert b.state_dict()["norm.num_batches_tracked"].dtype == ln.int64
    b.double().load_state_dict(state)
    assert b.gain.dtype == ln.float64 and b.gain.tolist() == [5, 1]


def test_load_state_dict_says_all_that_differs():
    net = Net()
    before = net.gain.tolist()
    state = dict(net.state_dict())
    del state["net.0.weight"]
    state["extra"] = ln.zeros(1)
    state["gain"] = ln.zeros(3)
    with pytest.raises(ln.Error) as error:
        net.load_state_dict(state)
    text = str(error.value)
    assert "does not fit Net" in text and "missing: net.0.weight" in text and "unexpected: extra" in text
    assert "gain: (3,) in the state dict, (2,) in the module" in text
    assert net.gain.tolist() == before
    with pytest.raises(ln.ShapeError):
        net.load_state_dict(state, strict=False)
    del state["gain"]
    keys = net.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["gain", "net.0.weight"] and keys.unexpected_keys == ["extra"]
    with pytest.raises(TypeError, match="gain must be a tensor"):
        net.load_state_dict({"gain": object()}, strict=False)


def test_train_eval_zero_grad_freeze():
    net = Net()
    assert not any(m.training for m in net.eval().modules())
    assert all(m.training for m in net.train().modules())
    net(ln.ones((4, 3))).sum().backward()
    assert net.gain.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.gain.grad.tolist() == [0, 0]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_conversion_keeps_parameters_and_their_gradients():
    net = Net()
    parameters = list(net.parameters())
    net(ln.ones((4, 3))).sum().backward()
    assert net.double() is net
    assert [id(p) for p in net.parameters()] == [id(p) for p in parameters]
    assert all(p.dtype == ln.float64 and p.grad.dtype == ln.float64 and p.requires_grad for p in parameters)
    assert net.norm.running_mean.dtype == ln.float64 and net.norm.num_batches_tracked.dtype == ln.int64
    assert net(ln.ones((4, 3), dtype=ln.float64)).dtype == ln.float64
    assert net.to("float32").gain.dtype == ln.float32
    assert net.to("cpu", ln.float64).to(dtype="float16").gain.dtype == ln.float16
    assert net.bfloat16().half().float().gain.dtype == ln.float32
    with pytest.raises(ln.DTypeError, match="must be floating, got int32"):
        net.to(ln.int32)
    with pytest.raises(ln.DeviceError):
        net.to("cuda:99")


def test_apply_runs_children_first():
    seen = []
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["ReLU", "Tanh", "Sequential", "Sequential"]


def test_hooks():
    layer, calls = nn.Identity(), []
    first = layer.register_forward_pre_hook(lambda m, args: calls.append("pre") or (args[0] + 1,))
    second = layer.register_forward_hook(lambda m, args, y: calls.append(("post", args[0].item())) or y * 10)
    with layer.register_forward_hook(lambda m, args, y: calls.append("first"), prepend=True):
        assert layer(ln.tensor(1.0)).item() == 20
    assert calls == ["pre", "first", ("post", 2.0)]
    first.remove(), second.remove(), second.remove()
    assert layer(ln.tensor(1.0)).item() == 1


def test_deepcopy():
    net = Net()
    twin = copy.deepcopy(net)
    assert twin.gain is not net.gain and isinstance(twin.gain, nn.Parameter) and twin.gain is twin._parameters["gain"]
    with ln.no_grad():
        twin.gain[0] = 7.0
    assert net.gain.tolist() == [1, 1]
    assert twin.net[0].weight is twin.net._modules["0"]._parameters["weight"]


def test_repr():
    assert repr(Net()) == (
        "Net(\n"
        "  (net): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): ReLU()\n"
        "    (2): Linear(in_features=4, out_features=2, bias=True)\n"
        "  )\n"
        "  (norm): BatchNorm1d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)\n"
        ")"
    )
    assert repr(nn.ModuleList()) == "ModuleList()"


# ---- where an error happened ----


class Deep(nn.Module):
    def __init__(self):
        self.body = nn.ModuleList([Net(), Net(5)])

    def forward(self, x):
        for layer in self.body:
            x = layer(x)
        return x


def test_errors_name_the_layer_once():
    with pytest.raises(ln.ShapeError, match=r"^net\.0: linear: ") as error:
        Net()(ln.ones((2, 5)))
    assert str(error.value).count("net.0") == 1
    with pytest.raises(ln.ShapeError, match=r"^body\.1\.net\.0: linear: "):
        Deep()(ln.ones((2, 3)))
    with pytest.raises(ln.DTypeError, match=r"^0: embedding: "):
        nn.Sequential(nn.Embedding(3, 2))(ln.ones(2))
    with pytest.raises(ln.ShapeError, match=r"^linear: "):
        nn.Linear(2, 2)(ln.ones((1, 3)))


def test_errors_name_the_layer_with_hooks_and_in_anomaly_mode():
    net = Net()
    net.net.register_forward_hook(lambda m, args, y: None)
    with pytest.raises(ln.ShapeError, match=r"^net\.0: linear: "):
        net(ln.ones((2, 5)))
    with ln.detect_anomaly(), pytest.raises(ln.ShapeError, match=r"^net\.0: linear: "):
        net(ln.ones((2, 5)))


def test_anomaly_mode_names_the_layer():
    net = Net()
    nn.init.constant_(net.net[0].weight, 1e38)  # three of them overflow
    nn.init.constant_(net.net[0].bias, 3e38)
    with ln.detect_anomaly():
        with pytest.raises(ln.Error, match=r"^(?!.*0\.net).*net\.0.*linear") as error:
            net(ln.ones((2, 3)))
        assert str(error.value).count("net.0") == 1
        with pytest.raises(ln.Error, match=r"0\.net\.0"):
            nn.Sequential(net)(ln.ones((2, 3)))
        with pytest.raises(ln.Error, match=r"body\.0\.net\.0"):
            deep = Deep()
            deep.body[0] = net
            deep(ln.ones((2, 3)))


def test_other_errors_pass_through():
    class Bad(nn.Module):
        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match=r"^'mine'$"):
        nn.Sequential(Bad())(1)
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        nn.Module()(1)


# ---- containers ----


def test_sequential():
    net = nn.Sequential({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    assert net.a is net[0] and len(net) == 2 and list(net.state_dict()) == ["a.weight", "a.bias"]
    assert isinstance(net[:1], nn.Sequential) and net[:1].a is net.a
    assert net[-1] is net.b
    with pytest.raises(IndexError, match="out of range"):
        net[2]
    net[1] = nn.Tanh()
    assert isinstance(net.b, nn.Tanh)
    plain = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
    del plain[1]
    assert list(plain._modules) == ["0", "1"] and isinstance(plain[1], nn.Sigmoid)
    with pytest.raises(TypeError, match="argument 1 must be a Module, got int"):
        nn.Sequential(nn.ReLU(), 3)
    assert nn.Sequential()(5) == 5


def test_module_list_and_dict():
    layers = nn.ModuleList(nn.Linear(1, i) for i in range(1, 4))
    layers.insert(1, nn.ReLU())
    assert [type(m).__name__ for m in layers] == ["Linear", "ReLU", "Linear", "Linear"]
    assert list(layers._modules) == ["0", "1", "2", "3"]
    assert isinstance(layers[1:3], nn.ModuleList) and len(layers[1:3]) == 2
    assert len(layers + nn.ModuleList([nn.ReLU()])) == 5
    layers += [nn.Tanh()]
    del layers[0]
    assert len(layers) == 4 and isinstance(layers[-1], nn.Tanh)
    heads = nn.ModuleDict([("a", nn.ReLU()), ("b", nn.Linear(1, 1))])
    heads["c"] = nn.Tanh()
    del heads["a"]
    assert list(heads) == ["b", "c"] and "a" not in heads and len(heads) == 2 and not hasattr(heads, "a")
    assert [k for k, _ in heads.items()] == list(heads.keys()) and len(list(heads.values())) == 2
    heads.clear()
    assert len(heads) == 0


# ---- structure as plain data ----


@nn.register
class Custom(nn.Module):
    def __init__(self, width, *sizes, inner=None, **options):
        self.body = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width, bias=False))
        self.inner = inner
        self.sizes = sizes
        self.options = options


BUILT_INS = [
    nn.AdaptiveAvgPool1d(3),
    nn.AdaptiveAvgPool2d((2, None)),
    nn.AdaptiveMaxPool1d(3),
    nn.AdaptiveMaxPool2d(2),
    nn.AdditiveAttention(6, 4, 5),
    nn.AvgPool1d(2),
    nn.AvgPool2d(2, 1, divisor_override=3),
    nn.BCELoss(ln.tensor([1.0, 0.1])),
    nn.BCEWithLogitsLoss(pos_weight=ln.ones(2)),
    nn.BatchNorm1d(4, momentum=None),
    nn.BatchNorm2d(4, affine=False),
    nn.BatchNorm2d(4, bias=False),
    nn.BatchNorm3d(4, track_running_stats=False),
    nn.Bilinear(2, 3, 4, bias=False),
    nn.CTCLoss(blank=1, zero_infinity=True),
    nn.Conv1d(2, 4, 3, padding="same", padding_mode="reflect"),
    nn.Conv2d(2, 4, (3, 5), groups=2),
    nn.Conv3d(1, 2, 2),
    nn.ConvTranspose1d(2, 3, 4),
    nn.ConvTranspose2d(2, 3, 4, stride=2, output_padding=1),
    nn.ConvTranspose3d(2, 3, 2),
    nn.CosineEmbeddingLoss(0.5),
    nn.CrossEntropyLoss(ln.tensor([1.0, 2.5]), label_smoothing=0.1),
    nn.Dropout(0.3),
    nn.Dropout2d(0.3),
    nn.ELU(2.0),
    nn.Embedding(5, 3, padding_idx=-1),
    nn.EmbeddingBag(5, 3, mode="max"),
    nn.Flatten(0, 1),
    nn.GELU("tanh"),
    nn.GRU(3, 4, num_layers=2, bidirectional=True, dropout=0.1),
    nn.GRUCell(3, 4, bias=False),
    nn.GroupNorm(2, 4),
    nn.Hardtanh(-2, 2),
    nn.HingeLoss(reduction="sum"),
    nn.HuberLoss(delta=0.5),
    nn.Identity(),
    nn.KLDivLoss(reduction="batchmean"),
    nn.L1Loss(),
    nn.LayerNorm((3, 4), bias=False),
    nn.LSTM(3, 4, batch_first=True, proj_size=2),
    nn.LSTMCell(3, 4),
    nn.LearnedPositionalEncoding(4, max_len=7),
    nn.LeakyReLU(0.3),
    nn.Linear(3, 2),
    nn.LogSoftmax(1),
    nn.MSELoss(reduction="none"),
    nn.MaxPool1d(2),
    nn.MaxPool2d((2, 3), return_indices=True),
    nn.MultiMarginLoss(p=2),
    nn.MultiheadAttention(6, 2, add_bias_kv=True, kdim=3, batch_first=True),
    nn.MultiplicativeAttention(6, 4, score="general"),
    nn.NLLLoss(),
    nn.PReLU(3),
    nn.PositionalEncoding(4, max_len=7),
    nn.RMSNorm(4),
    nn.RNN(3, 4, nonlinearity="relu"),
    nn.RNNCell(3, 4, nonlinearity="relu"),
    nn.ReLU(inplace=True),
    nn.Rescaling(1 / 255, -0.5),
    nn.SELU(),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.SmoothL1Loss(beta=0.3),
    nn.Softmax(0),
    nn.Softplus(2.0),
    nn.Step(),
    nn.Tanh(),
    nn.Threshold(0.1, 20),
    nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8), 2, nn.LayerNorm(4)),
    nn.Transformer(8, 2, 1, 2, 16, norm_first=True),
    nn.TransformerDecoderLayer(4, 2, 8, activation="gelu"),
    nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2),
    nn.TransformerEncoderLayer(4, 2, 8, norm_first=True, batch_first=True),
    nn.TripletMarginLoss(swap=True),
    nn.Unflatten(1, (2, 3)),
    nn.Upsample(scale_factor=2, mode="bilinear"),
]


def same(a: nn.Module, b: nn.Module) -> None:
    assert repr(a) == repr(b)
    left, right = a.state_dict(), b.state_dict()
    assert list(left) == list(right)
    assert all(left[n].shape == right[n].shape and left[n].dtype == right[n].dtype for n in left)
    assert [p.requires_grad for p in a.parameters()] == [p.requires_grad for p in b.parameters()]


def rebuilt(module: nn.Module) -> nn.Module:
    return nn.from_config(json.loads(json.dumps(nn.to_config(module))))


@pytest.mark.parametrize("module", BUILT_INS, ids=lambda m: type(m).__name__)
def test_built_ins_are_rebuilt(module):
    twin = rebuilt(module)
    same(module, twin)
    assert twin.config() == module.config()
    plain = {k: v for k, v in module.__dict__.items() if isinstance(v, (int, float, str, tuple, type(None)))}
    assert {k: twin.__dict__[k] for k in plain if k not in ("_arguments", "_version")} == {
        k: v for k, v in plain.items() if k not in ("_arguments", "_version")
    }


def test_every_layer_is_in_the_table():
    layers = {
        name for name in nn.__all__ if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    containers = {"Module", "ModuleDict", "ModuleList", "Sequential"}
    assert layers - containers <= {type(m).__name__ for m in BUILT_INS}


def test_trees_are_rebuilt():
    shared = nn.Linear(3, 3)
    net = nn.Sequential(
        shared,
        nn.ModuleDict({"a": nn.ModuleList([nn.ReLU(), shared]), "b": nn.Sequential({"named": nn.Tanh()})}),
        nn.Linear(3, 3).double().requires_grad_(False),
        nn.Linear(3, 3),
        nn.BatchNorm1d(3).half(),
    )
    net[3].weight = net[2].weight
    twin = rebuilt(net)
    same(net, twin)
    assert twin[1]["a"][1] is twin[0]
    assert twin[3].weight is twin[2].weight and twin[3].bias is not twin[2].bias
    twin.load_state_dict(net.state_dict())


def test_custom_classes_are_rebuilt():
    net = Custom(3, 1, 2, inner=nn.Sequential(nn.ReLU()), flag=True, dtype_of_output=ln.int8, fn=nn.functional.relu)
    net.body[1] = nn.Dropout(0.1)  # not what the constructor made
    twin = rebuilt(net)
    same(net, twin)
    assert twin.sizes == (1, 2)
    assert twin.options == {"flag": True, "dtype_of_output": ln.int8, "fn": nn.functional.relu}


def test_structure_errors():
    with pytest.raises(
        ln.Error, match=r"class Net at '1\.x' is not registered; decorate it with @lanner\.nn\.register"
    ):
        nn.to_config(nn.Sequential(nn.ReLU(), nn.ModuleDict({"x": Net()})))
    with pytest.raises(ln.Error, match=r"Custom at '0': argument 'options' of type object cannot be kept"):
        nn.to_config(nn.Sequential(Custom(3, what=object())))
    with pytest.raises(ln.Error, match="the name Linear is taken"):
        nn.register(type("Linear", (nn.Module,), {}))
    damaged = [
        {},
        {"class": "Nothing", "config": {}},
        {"class": "Linear", "config": {"in_features": 2}},
        {"class": "Linear", "config": {"in_features": 2, "out_features": 2, "what": 1}},
        {"class": "Linear", "config": {"in_features": "a", "out_features": None}},
        {"class": "Sequential", "config": {}, "children": {"0": {"same": "7"}}},
        {"class": "Sequential", "config": {}, "children": {"a.b": {"class": "ReLU", "config": {}}}},
        {"class": "Sequential", "config": {}, "children": {"0": 5}},
        {"class": "Linear", "config": {"in_features": 2, "out_features": 2}, "frozen": ["x"]},
        {"class": "ReLU", "config": {}, "shared": {"0.weight": "1.weight"}},
    ]
    for config in damaged:
        with pytest.raises(ln.FormatError, match="from_config: "):
            nn.from_config(config)
