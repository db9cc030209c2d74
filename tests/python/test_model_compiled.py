"""Model's steps are compiled: recorded once, told of what changes, with metrics and losses of every kind."""

from __future__ import annotations

import copy
import threading

import lanner as ln
import numpy as np
import pytest
from lanner import nn
from lanner.callbacks import LambdaCallback

X = np.random.default_rng(0).standard_normal((203, 4)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)


def classifier():
    ln.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    return ln.Model(net, loss="cross_entropy", optimizer="adam", metrics=["accuracy"])


def test_each_shape_of_a_batch_is_recorded_once():
    calls = []

    class Spy(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(4, 2)

        def forward(self, x):
            calls.append(x.shape[0])
            return self.linear(x)

    def rate(epoch, lr):
        return 0.01 / (epoch + 1)

    model = ln.Model(Spy(), "cross_entropy", "adam", metrics=["accuracy", "f1"])
    schedule = ln.callbacks.LearningRateScheduler(rate)
    model.fit(X, Y, batch_size=50, epochs=4, validation_data=(X, Y), callbacks=[schedule], verbose=0)
    assert sorted(calls) == [3, 3, 50, 50]  # the last, smaller batch has its own; so have training and validation
    model.fit(X, Y, batch_size=50, verbose=0)
    assert len(calls) == 4
    for n in (5, 7, 5):
        assert model.predict(X[:n]).shape == (n, 2)
    assert calls[4:] == [5, 7]


def test_metrics_of_every_kind_agree():
    class Largest(ln.metrics.Metric):
        def reset(self):
            self.value = -np.inf

        def update(self, prediction, target):
            self.value = max(self.value, float(prediction.max().item()))

        def compute(self):
            return self.value

    def hits(prediction, target):
        return (prediction.numpy().argmax(1) == target.numpy()).mean()

    model = classifier()
    model.metrics += [Largest(), ln.metrics.get(hits), ln.metrics.Recall()]
    history = model.fit(X, Y, batch_size=32, epochs=2, validation_data=(X, Y), verbose=0).history
    assert history["hits"] == pytest.approx(history["accuracy"], rel=1e-12)
    output = model.predict(X)
    assert history["val_largest"][-1] == pytest.approx(output.max(), rel=1e-5)
    assert history["val_recall"][-1] == pytest.approx(ln.metrics.recall(output, Y), rel=1e-12)


def test_a_loss_that_reads_a_value_names_the_line():
    def loss(output, target):
        if output.sum().item() > 0:
            return output.mean()
        return -output.mean()

    with pytest.raises(ln.RecordingError, match=r"test_model_compiled\.py:\d+\n +if output\.sum\(\)\.item\(\) > 0:"):
        ln.Model(nn.Linear(4, 2), loss, "sgd").fit(X, Y, verbose=0)


@pytest.mark.parametrize("bad", [0, 2], ids=["while recorded", "in a replay"])
def test_a_batch_of_nonfinite_loss_is_left_out(bad):
    seen, runs = [], []
    x = X[:64].copy()
    x[16 * bad] = np.nan

    def fitted(x, y, callbacks):
        ln.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        model = ln.Model(net, "cross_entropy", "adam", ["accuracy"])
        history = model.fit(x, y, batch_size=16, shuffle=False, callbacks=callbacks, verbose=0).history
        return [t.numpy() for t in net.state_dict().values()], history

    watch = LambdaCallback(
        on_nonfinite_loss=lambda batch, loss, inputs, target: seen.append((batch, loss)),
        on_train_batch_end=lambda batch, logs: runs.append(batch),
    )
    state, history = fitted(x, Y[:64], [watch])
    assert [batch for batch, _ in seen] == [bad] and np.isnan(seen[0][1]) and runs == [0, 1, 2, 3]
    assert np.isnan(history["loss"][0]) and history["accuracy"][0] > 0
    kept = np.arange(64) // 16 != bad
    expected, _ = fitted(x[kept], Y[:64][kept], [])
    for got, wanted in zip(state, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_copies_have_plans_of_their_own():
    model = classifier()
    model.fit(X, Y, verbose=0)
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    twin.fit(X, Y, verbose=0)
    assert not np.array_equal(twin.predict(X), model.predict(X))


def test_bfloat16_learns():
    histories = []
    for precision in ("float32", "bf16"):
        ln.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        model = ln.Model(net, "cross_entropy", "adam", ["accuracy"], precision=precision)
        histories.append(model.fit(X, Y, batch_size=16, epochs=10, seed=0, verbose=0).history)
    full, half = histories
    assert half["accuracy"][-1] == pytest.approx(full["accuracy"][-1], abs=0.03)
    with pytest.raises(ValueError, match="precision"):
        ln.Model(nn.Linear(4, 2), precision="half")


def test_several_threads_predict():
    model = classifier()
    model.net.train()
    data = [X[: 1 + i % 4] for i in range(40)]
    expected = [model.predict(x) for x in data]
    wrong = []

    def work():
        for _ in range(10):
            for x, y in zip(data, expected, strict=True):
                if not np.array_equal(model.predict(x), y):
                    wrong.append(len(x))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and all(module.training for module in model.net.modules())
