"""Saved models: the same bits in another process, training that goes on, damage, nets of one's own."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import lanner as ln
import numpy as np
import pytest
from lanner import nn, optim

rng = np.random.default_rng(0)
X = rng.standard_normal((120, 4)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)


def make(optimizer="adam", **options):
    ln.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Sequential(nn.Linear(16, 8), nn.GELU()),
        nn.LayerNorm(8),
        nn.Linear(8, 2),
    )
    return ln.Model(net, **{"loss": "cross_entropy", "optimizer": optimizer, "metrics": ["accuracy", "f1"], **options})


def state(model):
    tensors = {name: t.numpy().tobytes() for name, t in model.net.state_dict().items()}
    for i, (_, values) in enumerate(model.optimizer.state.items()):
        tensors |= {f"{i}.{k}": v.numpy().tobytes() if hasattr(v, "numpy") else v for k, v in values.items()}
    return tensors


def rewrite(path, change):
    """Change the description in a saved model."""
    tensors, metadata = ln.load(path, return_metadata=True)
    document = json.loads(metadata["lanner"])
    document = change(document) or document
    ln.save(path, tensors, {**metadata, "lanner": json.dumps(document)})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


PREDICT = """
import sys, numpy as np, lanner as ln
model = ln.Model.load(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2])))
assert "accuracy" in model.evaluate(np.load(sys.argv[2]), np.zeros(120, int))
"""


def test_the_same_predictions_in_another_process(path, tmp_path):
    model = make()
    model.fit(X, Y, epochs=2, seed=0, verbose=0)
    model.save(path)
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-c", PREDICT, str(path), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    subprocess.run(command, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), model.predict(X))


TRAIN = """
import sys, numpy as np, lanner as ln
model = ln.Model.load(sys.argv[1])
data = np.load(sys.argv[2])
model.fit(data["x"], data["y"], batch_size=16, epochs=2, initial_epoch=1, seed=3, verbose=0)
model.save(sys.argv[1])
"""

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "Adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "Adadelta": lambda p: optim.Adadelta(p),
    "Adamax": lambda p: optim.Adamax(p),
    "NAdam": lambda p: optim.NAdam(p),
    "Lion": lambda p: optim.Lion(p, lr=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(path, name):
    """Two epochs at once are one epoch, a file, a new model, and one epoch more: also with dropout and batch norm."""
    through = make(OPTIMIZERS[name])
    through.fit(X, Y, batch_size=16, epochs=2, seed=3, verbose=0)
    first = make(OPTIMIZERS[name])
    first.fit(X, Y, batch_size=16, epochs=1, seed=3, verbose=0)
    first.save(path)
    ln.manual_seed(99)
    second = ln.Model.load(path)
    assert type(second.optimizer) is getattr(optim, name) and state(second) == state(first)
    second.fit(X, Y, batch_size=16, epochs=2, initial_epoch=1, seed=3, verbose=0)
    assert state(second) == state(through)
    assert second.history.epoch == [1]


def test_training_goes_on_in_a_new_process(path, tmp_path):
    through = make()
    through.fit(X, Y, batch_size=16, epochs=2, seed=3, verbose=0)
    first = make()
    first.fit(X, Y, batch_size=16, epochs=1, seed=3, verbose=0)
    first.save(path)
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    subprocess.run([sys.executable, "-c", TRAIN, str(path), str(tmp_path / "data.npz")], check=True)
    assert state(ln.Model.load(path)) == state(through)


def test_everything_comes_back(path):
    metrics = ["accuracy", "top_2_accuracy", ln.metrics.F1(average="micro")]
    model = make(loss=nn.CrossEntropyLoss(label_smoothing=0.1), metrics=metrics)
    model.fit(X, Y, verbose=0)
    model.save(path)
    loaded = ln.Model.load(path)
    assert repr(loaded) == repr(model)
    assert [repr(m) for m in loaded.metrics] == [repr(m) for m in model.metrics]
    assert loaded.loss.label_smoothing == 0.1 and loaded.input_specs == model.input_specs
    assert loaded.evaluate(X, Y) == model.evaluate(X, Y)
    assert str(loaded.summary(verbose=0)) == str(model.summary(verbose=0))
    loaded.save(path)  # a second time around nothing is lost
    assert repr(ln.Model.load(path)) == repr(model)


def test_weights_stand_under_their_names(path):
    model = make()
    model.fit(X, Y, verbose=0)
    model.save(path)
    tensors = ln.load(path)
    for name, t in model.net.state_dict().items():
        np.testing.assert_array_equal(tensors[name].numpy(), t.numpy())
    extra = set(tensors) - set(model.net.state_dict())
    assert extra and all(name.startswith("optimizer.") for name in extra)


def test_groups_of_parameters_and_infinities(path):
    net = nn.Sequential(nn.Linear(4, 3), nn.Hardtanh(-float("inf"), 1.0), nn.Linear(3, 2))
    groups = [{"params": net[2].parameters()}, {"params": [net[0].bias], "lr": 0.5}]
    model = ln.Model(net, nn.functional.cross_entropy, optim.Adam(groups, lr=0.01))
    model.fit(X, Y, verbose=0)
    model.save(path)
    loaded = ln.Model.load(path)
    assert [g["lr"] for g in loaded.optimizer.param_groups] == [0.01, 0.5]
    assert [len(g["params"]) for g in loaded.optimizer.param_groups] == [2, 1]
    assert loaded.optimizer.param_groups[1]["params"][0] is loaded.net[0].bias
    assert loaded.net[1].min_val == -float("inf") and loaded.loss is nn.functional.cross_entropy
    model.fit(X, Y, epochs=2, initial_epoch=1, seed=0, verbose=0)
    loaded.fit(X, Y, epochs=2, initial_epoch=1, seed=0, verbose=0)
    assert state(loaded) == state(model)


def test_a_layer_named_optimizer(path):
    class Odd(nn.Module):
        def __init__(self):
            self.optimizer = nn.Linear(4, 2)

        def forward(self, x):
            return self.optimizer(x)

    model = ln.Model(Odd(), "cross_entropy", "adam")
    model.fit(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="not the layers"):
        model.save(path)
    loaded = ln.Model.load(path, net=Odd())
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert state(loaded) == state(model)


class Own(nn.Module):
    def __init__(self, width):
        self.linear = nn.Linear(4, width)

    def forward(self, x):
        return self.linear(x).relu() if hasattr(ln.Tensor, "relu") else nn.functional.relu(self.linear(x))


def test_a_net_of_ones_own(path):
    model = ln.Model(Own(3), "cross_entropy", "adam")
    model.fit(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="Own.*is not registered"):
        model.save(path)
    with pytest.raises(ln.FormatError, match=r"holds the weights of a Own.*net=Own"):
        ln.Model.load(path)
    loaded = ln.Model.load(path, net=Own(3))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert state(loaded) == state(model)
    with pytest.raises(ln.ShapeError, match=r"linear\.weight"):
        ln.Model.load(path, net=Own(5))
    with pytest.raises(ln.Error, match="missing"):
        ln.Model.load(path, net=nn.Linear(4, 3))


def test_a_registered_net_of_ones_own(path):
    @nn.register
    class Registered(nn.Module):
        def __init__(self, width, depth=2):
            self.layers = nn.ModuleList([nn.Linear(4, width), nn.Linear(width, 2)][:depth])

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    model = ln.Model(Registered(5), "cross_entropy", "adam")
    model.save(path)
    np.testing.assert_array_equal(ln.Model.load(path).predict(X), model.predict(X))


def test_what_is_not_lanners_is_left_out_with_a_warning(path):
    def loss(output, target):
        return output.mean()

    class Mine(ln.metrics.Metric):
        def compute(self):
            return 0.0

    model = ln.Model(nn.Linear(4, 2), loss, metrics=[Mine()])
    with pytest.warns(UserWarning) as warned:
        model.save(path)
    assert ["the loss loss" in str(w.message) for w in warned] == [True, False]
    loaded = ln.Model.load(path)
    assert loaded.loss is None and loaded.metrics == []
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_files_without_a_model(path):
    net = nn.Linear(4, 2)
    ln.save(path, net.state_dict())
    with pytest.raises(ln.FormatError, match="a file of tensors without a model"):
        ln.Model.load(path)
    np.testing.assert_array_equal(ln.Model.load(path, net=nn.Linear(4, 2)).predict(X), ln.Model(net).predict(X))
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(ln.FormatError):
        ln.Model.load(path)
    with pytest.raises(FileNotFoundError):
        ln.Model.load(path.parent / "none")


def damage(key, value):
    def change(document):
        *outer, last = key.split("/")
        at = document
        for part in outer:
            at = at[int(part) if isinstance(at, list) else part]
        at[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        damage("format", 99),
        damage("format", "1"),
        damage("net", {}),
        damage("net", 3),
        damage("net", []),
        damage("net/class", "os.system"),
        damage("net/class", ["a"]),
        damage("net/children/0/config", {"in_features": -1, "out_features": 3}),
        damage("net/children/0/config/in_features", 5),
        damage("net/children/0/config/in_features", "4"),
        damage("net/children/0/config/in_features", 10**30),
        damage("net/children/0/config/out_features", 10**12),
        damage("net/children/0/config/out_features", 10**8),
        damage("net/children/0/config/out_features", 2**30),
        damage("net/children/0/config/nonsense", 1),
        damage("net/children/0", {"same": "0"}),
        damage("net/children/0", None),
        damage("net/children/__class__", {"class": "ReLU", "config": {}}),
        damage("net/children/forward", {"class": "ReLU", "config": {}}),
        damage("net/shared", {"0.weight": "9.weight"}),
        damage("loss", {"module": {"class": "Linear"}}),
        damage("loss", {"function": "__builtins__"}),
        damage("loss", {"function": "import_module"}),
        damage("loss", 3),
        damage("metrics", [{"class": "Metric.__init__", "config": {}}]),
        damage("metrics", [{"class": "TopKAccuracy", "config": {"k": -1}}]),
        damage("metrics", 3),
        damage("inputs", [{"shape": [-1], "dtype": "float32"}]),
        damage("inputs", [{"shape": [4], "dtype": "__class__"}]),
        damage("optimizer/class", "Optimizer"),
        damage("optimizer/class", "lr_scheduler"),
        damage("optimizer/class", 7),
        damage("optimizer/param_groups", []),
        damage("optimizer/param_groups/0/params", ["0.weight", "0.weight"]),
        damage("optimizer/param_groups/0/params", ["9.weight"]),
        damage("optimizer/param_groups/0/lr", -1.0),
        damage("optimizer/state/0.weight/exp_avg", {"$tensor": "0.bias"}),
        damage("optimizer/state/0.weight/exp_avg", {"$tensor": "nothing"}),
        damage("optimizer/state/0.weight/exp_avg", "text"),
        damage("optimizer/state/nothing", {}),
        lambda document: [document],
        lambda document: "text",
    ],
)
def test_damaged_descriptions(path, change):
    model = make()
    model.fit(X, Y, verbose=0)
    model.save(path)
    rewrite(path, change)
    with pytest.raises(ln.FormatError) as caught:
        ln.Model.load(path)
    assert str(path) in str(caught.value)


NOT_DESCRIPTIONS = ["", "{", "null", "[" * 100_000, '{"format": NaN}', '{"format": 1' + "0" * 10_000 + "}"]


@pytest.mark.parametrize("text", NOT_DESCRIPTIONS)
def test_descriptions_that_are_none(path, text):
    ln.save(path, {}, {"lanner": text})
    with pytest.raises(ln.FormatError):
        ln.Model.load(path)


def test_random_damage_of_the_description(path):
    model = make()
    model.fit(X, Y, verbose=0)
    model.save(path)
    tensors, metadata = ln.load(path, return_metadata=True)
    text, chance = metadata["lanner"], random.Random(0)
    for _ in range(150):
        at = chance.randrange(len(text))
        cut = text[:at] + chance.choice(["", "0", '"', "}", "x", "9" * 6]) + text[at + chance.randint(0, 3) :]
        ln.save(path, tensors, {"lanner": cut})
        try:
            ln.Model.load(path)
        except ln.FormatError:
            pass


def test_a_failed_save_leaves_the_old_model(path):
    model = make()
    model.save(path)
    before = path.read_bytes()
    model.metrics = [object()]
    with pytest.raises(AttributeError):
        model.save(path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1
