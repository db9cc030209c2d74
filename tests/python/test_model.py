"""Model: fit, evaluate, predict, summary, and what they say of wrong arguments."""

from __future__ import annotations

import subprocess
import sys

import lanner as ln
import numpy as np
import pytest
from lanner import nn, optim
from lanner.callbacks import Callback, LambdaCallback

rng = np.random.default_rng(0)
X = rng.standard_normal((203, 4)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)
TARGET = (X @ np.array([1.0, -2.0, 0.5, 3.0]) + 1).astype(np.float32)


def classifier(seed=0, **options):
    ln.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    return ln.Model(net, **{"loss": "cross_entropy", "optimizer": "adam", "metrics": ["accuracy"], **options})


def regressor(**options):
    ln.manual_seed(0)
    return ln.Model(nn.Linear(4, 1), **{"loss": "mse", "optimizer": lambda p: optim.SGD(p, lr=0.05), **options})


def bits(model):
    return {name: t.numpy().tobytes() for name, t in model.net.state_dict().items()}


def test_it_learns():
    model = classifier(optimizer=lambda p: optim.Adam(p, lr=0.02))
    history = model.fit(X, Y, batch_size=16, epochs=30, validation_split=0.2, seed=0, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epoch == list(range(30))
    assert history.history["val_accuracy"][-1] > 0.9
    assert history is model.history


def test_a_line_is_recovered():
    model = regressor()
    model.fit(X, TARGET, batch_size=32, epochs=60, seed=0, verbose=0)
    np.testing.assert_allclose(model.net.weight.detach().numpy(), [[1.0, -2.0, 0.5, 3.0]], atol=1e-3)
    assert model.evaluate(X, TARGET)["loss"] < 1e-6


def test_figures_are_means_over_samples():
    model = classifier()
    net, loss = model.net, nn.CrossEntropyLoss()
    net.eval()
    whole = loss(net(ln.tensor(X)), ln.tensor(Y)).item()
    accuracy = (net(ln.tensor(X)).detach().numpy().argmax(1) == Y).mean()
    for batch_size in (1, 7, 64, 203, 1000):  # the last batch is smaller
        figures = model.evaluate(X, Y, batch_size=batch_size)
        assert figures["loss"] == pytest.approx(whole, rel=1e-5)
        assert figures["accuracy"] == accuracy


def test_the_loss_of_a_training_epoch():
    # With a rate of 0 the training figures are those of an evaluation.
    model = ln.Model(nn.Linear(4, 2), "cross_entropy", lambda p: optim.SGD(p, lr=0.0), ["accuracy"])
    history = model.fit(X, Y, batch_size=50, seed=0, verbose=0)
    expected = model.evaluate(X, Y)
    assert history.history["loss"][0] == pytest.approx(expected["loss"], rel=1e-5)
    assert history.history["accuracy"][0] == expected["accuracy"]


def test_a_summed_loss_is_a_mean_in_the_figures():
    mean = ln.Model(nn.Linear(4, 1), "mse")
    summed = ln.Model(mean.net, nn.MSELoss(reduction="sum"))
    assert summed.evaluate(X, TARGET)["loss"] == pytest.approx(mean.evaluate(X, TARGET)["loss"], rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 64, 203, 500])
def test_predict(batch_size):
    model = classifier()
    model.net.eval()
    expected = model.net(ln.tensor(X)).detach().numpy()
    for given in (X, X.astype(np.float64), ln.tensor(X), X.tolist()):
        output = model.predict(given, batch_size=batch_size)
        assert isinstance(output, np.ndarray) and output.dtype == np.float32
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


def test_predict_of_half_precision_and_several_outputs():
    model = ln.Model(nn.Linear(4, 2).to(ln.bfloat16))
    assert model.predict(ln.tensor(X).to(ln.bfloat16)).dtype == np.float32

    class Two(nn.Module):
        def forward(self, x, y):
            return x + y, x - y

    plus, minus = ln.Model(Two()).predict((X, X), batch_size=50)
    np.testing.assert_array_equal(plus, X + X)
    np.testing.assert_array_equal(minus, X - X)


def test_predict_of_nothing():
    assert classifier().predict(X[:0]).shape == (0, 2)


def test_predict_of_batches_that_do_not_join():
    samples = [[0.0] * length for length in (3, 2, 5)]
    model = ln.Model(nn.Identity())
    for batch_size, shapes in ((2, r"\[3\] and \[5\]"), (1, r"\[2\] and \[3\] and \[5\]")):
        collate = ln.data.PadCollate(lengths=[])
        with pytest.raises(ln.ShapeError, match=f"predict: .* shapes {shapes}; pad all batches to one length"):
            model.predict(ln.data.DataLoader(samples, batch_size, collate_fn=collate))


def test_what_predict_returns_belongs_to_the_caller():
    model = classifier()
    first = model.predict(X[:3])
    kept = first.copy()
    model.predict(X[3:6])
    np.testing.assert_array_equal(first, kept)
    identity = ln.Model(nn.Identity())
    x = X[:2].copy()
    identity.predict(x)[...] = 7.0
    assert not (x == 7.0).any()


def test_modes_come_back():
    model = classifier(metrics=[])
    frozen = model.net[2]
    model.net.train()
    frozen.eval()
    model.predict(X)
    model.evaluate(X, Y)
    model.fit(X, Y, validation_split=0.1, verbose=0)
    assert model.net.training and model.net[0].training and not frozen.training
    model.net.eval()
    model.fit(X, Y, verbose=0)
    assert not any(module.training for module in model.net.modules())


def test_modes_during_fit_and_no_gradients_beside_it():
    model = classifier(metrics=[])
    seen = []
    watch = LambdaCallback(
        on_train_batch_begin=lambda batch, logs=None: seen.append(("train", model.net.training)),
        on_test_batch_begin=lambda batch, logs=None: seen.append(("test", model.net.training)),
    )
    with ln.no_grad():  # fit records all the same
        model.fit(X, Y, batch_size=64, epochs=2, validation_split=0.2, callbacks=[watch], verbose=0)
    assert {mode for kind, mode in seen if kind == "train"} == {True}
    assert {mode for kind, mode in seen if kind == "test"} == {False}
    assert ln.ones(1, requires_grad=True).exp().requires_grad


def test_same_seed_same_bits():
    runs = []
    for global_seed in (1, 2):
        model = classifier(seed=0)
        ln.manual_seed(global_seed)  # of no account: fit has a seed of its own
        before = ln.random.uniform(3)
        ln.manual_seed(global_seed)
        history = model.fit(X, Y, batch_size=16, epochs=2, seed=5, validation_split=0.1, verbose=0)
        np.testing.assert_array_equal(ln.random.uniform(3).numpy(), before.numpy())
        runs.append((bits(model), history.history))
    assert runs[0] == runs[1]
    other = classifier(seed=0)
    other.fit(X, Y, batch_size=16, epochs=2, seed=6, validation_split=0.1, verbose=0)
    assert bits(other) != runs[0][0]


def test_the_generator_decides_where_there_is_no_seed():
    def run():
        model = classifier(seed=3)
        model.fit(X, Y, batch_size=16, verbose=0)
        return bits(model)

    assert run() == run()


THREADS = """
import hashlib, numpy as np, lanner as ln
ln.set_num_threads({threads})
ln.manual_seed(0)
x = np.random.default_rng(0).standard_normal((600, 64)).astype(np.float32)
net = ln.nn.Sequential(ln.nn.Linear(64, 256), ln.nn.ReLU(), ln.nn.Dropout(0.2), ln.nn.Linear(256, 3))
model = ln.Model(net, "cross_entropy", "adam", ["accuracy"])
model.fit(x, x.argmax(1) % 3, batch_size=200, epochs=2, seed=0, verbose=0)
print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in net.state_dict().values())).hexdigest())
"""


def test_same_bits_on_any_number_of_threads():
    commands = [[sys.executable, "-c", THREADS.format(threads=n)] for n in (1, 2, 3)]
    outputs = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands}
    assert len(outputs) == 1


def test_shuffling():
    order = []

    class Spy(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(1, 1)

        def forward(self, x):
            order.append(x.detach().numpy().ravel().copy())
            return self.linear(x)

    x = np.arange(50, dtype=np.float32)[:, None]

    def visited(**options):
        order.clear()
        with ln.detect_anomaly():  # op by op: a recorded forward would not run for each batch
            ln.Model(Spy(), "mse", "sgd").fit(x, x * 0, batch_size=8, verbose=0, **options)
        return np.concatenate(order)

    np.testing.assert_array_equal(visited(shuffle=False), x.ravel())
    first, again, both = visited(seed=0), visited(seed=0), visited(seed=0, epochs=2)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(np.sort(first), x.ravel())
    assert not np.array_equal(first, x.ravel())
    np.testing.assert_array_equal(both[:50], first)
    assert not np.array_equal(both[50:], first)
    np.testing.assert_array_equal(visited(seed=0, epochs=2, initial_epoch=1), both[50:])


def test_validation_split_takes_the_last():
    seen = []
    watch = LambdaCallback(on_nonfinite_loss=lambda *args: seen.append(args))
    x = np.zeros((10, 1), np.float32)
    x[8:] = np.nan
    model = ln.Model(nn.Linear(1, 1), "mse", "sgd")
    history = model.fit(x, x * 0, validation_split=0.2, batch_size=4, callbacks=[watch], verbose=0)
    assert not seen and np.isnan(history.history["val_loss"][0]) and not np.isnan(history.history["loss"][0])


def test_validation_data():
    model = classifier()
    pair = model.fit(X, Y, validation_data=(X[:50], Y[:50]), epochs=1, verbose=0).history
    assert pair["val_loss"][0] == pytest.approx(model.evaluate(X[:50], Y[:50])["loss"], rel=1e-6)
    with pytest.raises(ValueError, match="not both"):
        model.fit(X, Y, validation_data=(X, Y), validation_split=0.1)
    with pytest.raises(TypeError, match="validation_data must be a pair"):
        model.fit(X, Y, validation_data=X)
    with pytest.raises(ln.ShapeError, match="validation_data: x has 203 samples, y has 202"):
        model.fit(X, Y, validation_data=(X, Y[1:]))
    for fraction in (1.0, -0.5, 0.999):
        with pytest.raises(ValueError, match="validation_split"):
            model.fit(X, Y, validation_split=fraction)


def test_a_loader():
    from lanner.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(ln.tensor(X), ln.tensor(Y)), batch_size=32, shuffle=True, seed=0)
    model = classifier()
    history = model.fit(loader, epochs=2, validation_data=loader, verbose=0)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert model.evaluate(loader)["accuracy"] == model.evaluate(X, Y)["accuracy"]
    assert model.predict(loader).shape == (203, 2)
    with pytest.raises(ValueError, match="beside a loader"):
        model.fit(loader, Y)
    with pytest.raises(ValueError, match="validation_split needs arrays"):
        model.fit(loader, validation_split=0.5)


def test_training_goes_on_with_a_loader():
    from lanner.data import DataLoader

    def run(*parts):
        model = classifier()
        for begin, end in parts:
            loader = DataLoader((X, Y), batch_size=32, shuffle=True, seed=1)
            model.fit(loader, epochs=end, initial_epoch=begin, seed=0, verbose=0)
        return bits(model)

    assert run((0, 3)) == run((0, 1), (1, 3)) != run((0, 1), (0, 2))


def test_anything_that_gives_batches():
    model = classifier()
    batches = [(X[i : i + 50], Y[i : i + 50]) for i in range(0, 203, 50)]
    model.fit(batches.__iter__(), verbose=0)
    assert model.fit((b for b in batches), verbose=0).history["loss"]
    with pytest.raises(ValueError, match="no batches"):
        model.fit(iter([]), verbose=0)


def test_dtypes():
    images = rng.integers(0, 256, (20, 1, 3, 3)).astype(np.uint8)
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(9, 2)

        def forward(self, x):
            seen.append(x.dtype)
            return self.linear(x.reshape((-1, 9)).to(ln.float32))

    for labels in (np.uint8, np.int32, np.int64, np.bool_):
        model = ln.Model(Spy(), "cross_entropy", "sgd", ["accuracy"])
        model.fit(images, (images[:, 0, 0, 0] > 128).astype(labels), verbose=0)
        model.predict(images)
        assert model.input_specs == [((1, 3, 3), "uint8")]
    assert set(seen) == {ln.uint8}
    seen.clear()
    ln.Model(Spy()).predict(images.astype(np.float64))
    ln.Model(Spy()).predict(images.astype(np.int32))
    assert seen == [ln.float32, ln.int64]


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "smooth_l1", "bce_with_logits", "hinge"])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.bool_])
@pytest.mark.parametrize("shape", [(203,), (203, 1)])
def test_targets_of_one_output(loss, dtype, shape):
    """[N] belongs to [N, 1], and labels become numbers; nothing is broadcast to [N, N]."""
    ln.manual_seed(0)
    model = ln.Model(nn.Linear(4, 1), loss, "sgd")
    expected = model.evaluate(X, Y.astype(np.float32)[:, None])["loss"]
    assert model.evaluate(X, Y.astype(dtype).reshape(shape))["loss"] == expected
    model.fit(X, Y.astype(dtype).reshape(shape), verbose=0)


def test_binary_metrics_know_logits():
    model = ln.Model(nn.Linear(4, 1), "bce_with_logits", "adam", ["accuracy", "precision", "recall", "f1"])
    figures = model.evaluate(X, Y)
    guess = model.predict(X)[:, 0] > 0
    assert figures["accuracy"] == (guess == Y).mean()
    assert figures["recall"] == pytest.approx((guess & (Y == 1)).sum() / (Y == 1).sum())


def test_functions_as_loss_and_metric():
    def absolute(output, target):
        return abs(output - target).mean()

    model = ln.Model(nn.Linear(4, 1), absolute, "sgd", [absolute])
    figures = model.evaluate(X, TARGET[:, None])
    assert figures["loss"] == pytest.approx(figures["absolute"], rel=1e-6)


def test_wrong_shapes_say_what_came():
    model = classifier()
    with pytest.raises(ln.ShapeError, match="fit: x has 203 samples, y has 90"):
        model.fit(X, Y[:90])
    with pytest.raises(ln.ShapeError, match="evaluate: x has 203 samples, y has 90"):
        model.evaluate(X, Y[:90])
    with pytest.raises(ln.ShapeError, match=r"x\[0\] has 203 samples, x\[1\] has 3"):
        model.predict((X, X[:3]), batch_size=2)
    with pytest.raises(ln.ShapeError, match=r"fit: x has no samples \(shape \[0, 4\]\)"):
        model.fit(X[:0], Y[:0])
    with pytest.raises(ln.ShapeError, match="axis of samples"):
        model.predict(3.0)
    with pytest.raises(ln.ShapeError, match=r"0: .*linear"):  # the layer's path
        model.fit(X[:, :3], Y, verbose=0)
    with pytest.raises(ln.ShapeError, match=r"MSELoss: targets \[32, 3\]"):
        regressor().fit(X, np.zeros((203, 3)), verbose=0)
    for batch_size in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="batch_size"):
            model.fit(X, Y, batch_size=batch_size)
    with pytest.raises(TypeError, match="fit: y must be"):
        model.fit(X, ["a"] * 203)


def test_labels_outside_the_classes():
    for wrong in (2, -1):
        labels = Y.copy()
        labels[5] = wrong
        with pytest.raises(ln.Error, match=str(wrong)):
            classifier().fit(X, labels, verbose=0)


def test_what_is_missing():
    with pytest.raises(ValueError, match="no loss and optimizer"):
        ln.Model(nn.Linear(4, 2)).fit(X, Y)
    with pytest.raises(ValueError, match="no optimizer"):
        ln.Model(nn.Linear(4, 2), "cross_entropy").fit(X, Y)
    with pytest.raises(ValueError, match="neither loss nor metrics"):
        ln.Model(nn.Linear(4, 2)).evaluate(X, Y)
    with pytest.raises(ValueError, match="y is missing"):
        classifier().fit(X)
    assert ln.Model(nn.Linear(4, 2), metrics=["accuracy"]).evaluate(X, Y).keys() == {"accuracy"}


def test_wrong_parts():
    net = nn.Linear(4, 2)
    with pytest.raises(TypeError, match=r"must be a lanner\.nn\.Module"):
        ln.Model(lambda x: x)
    with pytest.raises(ValueError, match="no loss 'croos_entropy'"):
        ln.Model(net, "croos_entropy")
    with pytest.raises(TypeError, match=r"did you mean MSELoss\(\)"):
        ln.Model(net, nn.MSELoss)
    with pytest.raises(ValueError, match="no optimizer 'adan'"):
        ln.Model(net, "mse", "adan")
    with pytest.raises(TypeError, match="optimizer must be"):
        ln.Model(net, "mse", 3)
    with pytest.raises(ValueError, match="none of the net's parameters"):
        ln.Model(net, "mse", optim.SGD(nn.Linear(4, 2).parameters(), lr=0.1))
    with pytest.raises(ValueError, match="two metrics have one name"):
        ln.Model(net, "mse", metrics=["mae", "mae"])
    with pytest.raises(TypeError, match="callbacks"):
        classifier().fit(X, Y, callbacks=[print], verbose=0)
    with pytest.raises(ln.ShapeError, match="must give one number"):
        ln.Model(net, lambda p, t: p, "sgd").fit(X, Y, verbose=0)


def test_interruption_leaves_a_usable_model():
    class Interrupt(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.history.epoch == [0, 1] and batch == 3:
                raise KeyboardInterrupt

    model = classifier()
    model.net.eval()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=16, epochs=5, seed=0, callbacks=[Interrupt()], verbose=0)
    assert model.history.epoch == [0, 1] and len(model.history.history["loss"]) == 2
    assert not any(module.training for module in model.net.modules())
    assert np.isfinite(model.predict(X)).all()
    assert model.fit(X, Y, verbose=0).history["loss"][0] < 1


def test_an_error_in_a_layer_leaves_a_usable_model():
    model = classifier()
    model.net.eval()
    with pytest.raises(ln.ShapeError):
        model.predict(X[:, :2])
    with pytest.raises(ln.ShapeError):
        model.fit(X[:, :2], Y, verbose=0)
    assert not model.net.training
    assert ln.ones(1, requires_grad=True).exp().requires_grad


def test_what_is_printed(capsys):
    model = classifier()
    model.fit(X, Y, epochs=2, validation_split=0.1, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2/2 ")
    assert all(part in lines[1] for part in ("loss", "accuracy", "val_loss", "val_accuracy", " ms", " s")[:4])
    model.fit(X, Y, verbose=0)
    assert capsys.readouterr().out == ""
    model.fit(X, Y, verbose=1)  # no terminal, no bar
    out = capsys.readouterr()
    assert out.out.startswith("epoch 1/1") and out.err == ""


def test_the_bar(monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    from lanner.progress import Progress

    shown = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(tqdm.tqdm, "set_postfix_str", lambda self, text, refresh: shown.append(text))
    with Progress("epoch 1/1", 5, 1) as bar:
        for _ in range(5):
            bar.advance({"loss": 0.5} if bar.due else None)
    assert shown in ([], ["loss 0.5000"])


def test_summary(capsys):
    model = classifier()
    table = model.summary()
    text = capsys.readouterr().out
    assert table.parameters == 4 * 16 + 16 + 16 * 2 + 2 and table.flops is None
    assert "input_shape" in text and "Linear" in text
    table = model.summary(input_shape=(4,), verbose=0)
    assert [row.shape for row in table.rows] == [(None, 16), (None, 16), (None, 16), (None, 2)]
    assert table.flops == (2 * 4 * 16 + 16) + 16 + (2 * 16 * 2 + 2)
    assert capsys.readouterr().out == "" and model.net.training
    model.predict(X)
    assert model.summary(verbose=0).flops is None
    model.evaluate(X, Y)
    assert model.summary(verbose=0).flops == table.flops
    model.net[0].requires_grad_(False)
    assert model.summary(verbose=0).trainable == 34


def test_summary_of_a_convolutional_net():
    head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 14 * 14, 10))
    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), *head)
    table = ln.Model(net).summary(input_shape=(1, 28, 28), verbose=0)
    assert [row.shape for row in table.rows] == [
        *[(None, 6, 28, 28)] * 2,
        (None, 6, 14, 14),
        (None, 6 * 14 * 14),
        (None, 10),
    ]
    assert table.rows[0].flops == 6 * 28 * 28 * (2 * 25 + 1)
    assert table.rows[4].flops == 10 * (2 * 6 * 14 * 14 + 1)
    assert table.parameters == 6 * 25 + 6 + 6 * 14 * 14 * 10 + 10
    assert "[N, 6, 28, 28]" in str(table)


def test_history_plot(tmp_path):
    pytest.importorskip("matplotlib")
    model = classifier()
    model.fit(X, Y, epochs=3, validation_split=0.1, verbose=0)
    figure = model.history.plot(tmp_path / "curves.png")
    assert len(figure.axes) == 2 and (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no epoch"):
        ln.History().plot(tmp_path / "none.png")


def test_history_plot_without_matplotlib(monkeypatch, tmp_path):
    history = ln.History()
    history.append(0, {"loss": 1.0})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        history.plot(tmp_path / "x.png")


def test_history_of_figures_that_come_late():
    history = ln.History()
    history.append(0, {"loss": 1.0})
    history.append(1, {"loss": 0.5, "val_loss": 0.75})
    history.append(2, {"loss": 0.25})
    assert np.isnan(history.history["val_loss"][0]) and np.isnan(history.history["val_loss"][2])
    assert history.history["val_loss"][1] == 0.75


FORKED = """
import os, sys, numpy as np, lanner as ln
x = np.random.default_rng(0).standard_normal((512, 256)).astype(np.float32)
net = ln.nn.Sequential(ln.nn.Linear(256, 512), ln.nn.ReLU(), ln.nn.Linear(512, 2))
model = ln.Model(net, "cross_entropy", "adam")
model.fit(x, (x[:, 0] > 0).astype(int), batch_size=256, verbose=0)
child = os.fork()
if child == 0:
    model.predict(x)
    model.fit(x, (x[:, 0] > 0).astype(int), batch_size=256, verbose=0)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("ok")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork here")
def test_a_forked_child_trains_and_predicts():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ok\n", done.stderr
