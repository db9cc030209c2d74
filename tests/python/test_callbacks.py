"""Callbacks: when they are called, what they do."""

from __future__ import annotations

import csv

import lanner as ln
import numpy as np
import pytest
from lanner import callbacks as cb, nn, optim

X = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [2.0], [3.0]])).astype(np.float32)


def line(lr=0.1, **options):
    ln.manual_seed(0)
    return ln.Model(nn.Linear(3, 1), "mse", lambda p: optim.SGD(p, lr=lr), **options)


class Script(cb.Callback):
    """Plays given figures of a validation, epoch by epoch."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


def played(values, *callbacks, epochs=None, name="val_loss", model=None, **options):
    model = model or line()
    model.fit(X, Y, epochs=epochs or len(values), callbacks=[Script(values, name), *callbacks], verbose=0, **options)
    return model


def test_order_of_the_hooks():
    calls = []

    class Recorder(cb.Callback):
        pass

    for name in [n for n in vars(cb.Callback) if n.startswith("on_") and n != "on_nonfinite_loss"]:
        setattr(Recorder, name, lambda self, *args, name=name: calls.append((name, *args)))
    recorder = Recorder()
    model = line()
    model.fit(X, Y, batch_size=20, epochs=2, validation_data=(X[:5], Y[:5]), callbacks=[recorder], verbose=0)
    epoch = [
        "on_epoch_begin",
        *["on_train_batch_begin", "on_train_batch_end"] * 2,
        *["on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"],
        "on_epoch_end",
    ]
    assert [call[0] for call in calls] == ["on_train_begin", *epoch, *epoch, "on_train_end"]
    assert recorder.model is model and recorder.params == {"epochs": 2, "steps": 2, "verbose": 0}
    batches = [call for call in calls if call[0] == "on_train_batch_end"]
    assert [call[1] for call in batches] == [0, 1, 0, 1]
    assert batches[1][2]["loss"] == model.history.history["loss"][0]
    assert set(next(call for call in calls if call[0] == "on_epoch_end")[2]) == {"loss", "val_loss"}
    calls.clear()
    model.evaluate(X, Y, callbacks=[recorder])
    model.predict(X, batch_size=30, callbacks=[recorder])
    assert [call[0] for call in calls] == [
        *["on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"],
        "on_predict_begin",
        *["on_predict_batch_begin", "on_predict_batch_end"] * 2,
        "on_predict_end",
    ]


def test_what_a_callback_writes_goes_into_the_history():
    assert played([3.0, 2.0]).history.history["val_loss"] == [3.0, 2.0]


def test_early_stopping():
    stop = cb.EarlyStopping(patience=2)
    model = played([5, 4, 4.5, 4.2, 3, 2], stop)
    assert model.history.epoch == [0, 1, 2, 3]
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (4, 1, 3)


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([5, 4, 3, 2], {}, 4),
        ([5, 5, 3], {}, 2),  # patience 0: the first epoch without improvement is the last
        ([5, 4.95, 4.9, 4.85], {"min_delta": 0.1, "patience": 2}, 3),  # 4.9 is not better than 5 by more than 0.1
        ([5, 4.95, 4.85, 4.8, 4.7], {"min_delta": 0.1, "patience": 2}, 5),
        ([1, 2, 3, 2.5, 2], {"mode": "max", "patience": 2}, 5),
        ([1, 2, 3, 2.5, 2, 9], {"mode": "max", "patience": 2}, 5),
        ([5, 4, 3], {"baseline": 1, "patience": 2}, 2),
        ([5, 0.5, 3, 3, 3], {"baseline": 1, "patience": 2}, 4),
        ([1, 2, 3, 4, 5], {"start_from_epoch": 3}, 5),
        ([float("nan"), 3, 2, 1], {"patience": 2}, 4),
    ],
)
def test_when_it_stops(values, options, epochs):
    assert len(played(values, cb.EarlyStopping(**options)).history.epoch) == epochs


def test_direction_follows_the_name():
    assert len(played([0.5, 0.6, 0.7], cb.EarlyStopping("val_accuracy"), name="val_accuracy").history.epoch) == 3
    assert len(played([0.5, 0.6, 0.7], cb.EarlyStopping("val_loss")).history.epoch) == 2
    with pytest.raises(ValueError, match="mode"):
        cb.EarlyStopping(mode="up")


def test_best_weights_come_back():
    weights = []
    keep = cb.LambdaCallback(
        on_epoch_end=lambda epoch, logs=None: weights.append(model.net.weight.detach().numpy().copy())
    )
    model = line()
    played([5, 1, 2, 3], cb.EarlyStopping(patience=2, restore_best_weights=True), keep, model=model)
    np.testing.assert_array_equal(model.net.weight.detach().numpy(), weights[1])
    assert not np.array_equal(weights[1], weights[3])


def test_best_weights_come_back_at_the_regular_end_too():
    weights = []
    model = line()
    keep = cb.LambdaCallback(
        on_epoch_end=lambda epoch, logs=None: weights.append(model.net.weight.detach().numpy().copy())
    )
    played([1, 2, 3], cb.EarlyStopping(patience=9, restore_best_weights=True), keep, model=model)
    np.testing.assert_array_equal(model.net.weight.detach().numpy(), weights[0])


def test_a_figure_that_is_not_there():
    with pytest.warns(UserWarning, match="no 'val_loss', only loss; fit needs validation_data"):
        line().fit(X, Y, callbacks=[cb.EarlyStopping()], verbose=0)


def test_checkpoints(tmp_path):
    path = tmp_path / "net-{epoch:02d}-{val_loss:.2f}.safetensors"
    model = played([0.5, 0.25, 0.3], cb.ModelCheckpoint(path))
    names = ["net-01-0.50.safetensors", "net-02-0.25.safetensors", "net-03-0.30.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    loaded = ln.Model.load(tmp_path / names[2])
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_checkpoints_of_the_best(tmp_path):
    path = tmp_path / "best-{epoch}.safetensors"
    played([0.5, 0.7, 0.2, 0.3], cb.ModelCheckpoint(path, save_best_only=True, save_weights_only=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-1.safetensors", "best-3.safetensors"]
    assert sorted(ln.load(tmp_path / "best-3.safetensors")) == ["bias", "weight"]


def test_checkpoints_by_batches(tmp_path):
    path = tmp_path / "{epoch}.safetensors"
    line().fit(X, Y, batch_size=10, epochs=3, callbacks=[cb.ModelCheckpoint(path, save_freq=6)], verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2.safetensors", "3.safetensors"]
    with pytest.raises(ValueError, match="save_freq"):
        cb.ModelCheckpoint(path, save_freq=0)


def test_a_path_that_cannot_be_filled_in(tmp_path):
    with pytest.raises(ValueError, match=r"val_f1.*epoch, loss"):
        line().fit(X, Y, callbacks=[cb.ModelCheckpoint(tmp_path / "{val_f1}")], verbose=0)


def test_reduce_on_plateau():
    model = line(lr=1.0)
    rates = []
    watch = cb.LambdaCallback(on_epoch_begin=lambda e, logs=None: rates.append(model.optimizer.param_groups[0]["lr"]))
    plateau = cb.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.2)
    model.optimizer.param_groups[0]["lr"] = 1e-3
    model.optimizer.param_groups[0]["lr"] = 1.0
    model.loss = nn.MSELoss()
    values = [1, 1, 1, 1, 1, 1, 1, 1, 1]
    played(values, plateau, watch, model=model)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    assert model.history.history["lr"] == rates


def test_reduce_on_plateau_cools_down():
    model = line()
    plateau = cb.ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2)
    played([1] * 7, plateau, model=model)
    np.testing.assert_allclose(model.history.history["lr"], [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125])
    with pytest.raises(ValueError, match="factor"):
        cb.ReduceLROnPlateau(factor=1.0)


def test_learning_rate_schedule():
    model = line()
    schedule = cb.LearningRateScheduler(lambda epoch, lr: lr * 0.5 if epoch else lr)
    model.fit(X, Y, epochs=3, callbacks=[schedule], verbose=0)
    assert model.history.history["lr"] == [0.1, 0.05, 0.025]
    with pytest.raises(TypeError, match="gave 'x'"):
        model.fit(X, Y, callbacks=[cb.LearningRateScheduler(lambda epoch, lr: "x")], verbose=0)
    with pytest.raises(TypeError, match="expected a function"):
        cb.LearningRateScheduler(0.1)


def test_schedule_of_optim():
    model = line()
    schedule = optim.lr_scheduler.StepLR(model.optimizer, step_size=1, gamma=0.5)
    model.fit(X, Y, epochs=3, callbacks=[cb.LearningRateScheduler(schedule)], verbose=0)
    np.testing.assert_allclose(model.history.history["lr"], [0.1, 0.05, 0.025])


def test_csv(tmp_path):
    path = tmp_path / "log.csv"
    model = line()
    model.fit(X, Y, epochs=2, validation_split=0.1, callbacks=[cb.CSVLogger(path)], verbose=0)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "loss", "val_loss"] and [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["val_loss"]) for row in rows] == model.history.history["val_loss"]
    model.fit(X, Y, epochs=4, initial_epoch=2, callbacks=[cb.CSVLogger(path, append=True)], verbose=0)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"] and rows[3]["val_loss"] == "NA"
    model.fit(X, Y, callbacks=[cb.CSVLogger(path, separator=";")], verbose=0)
    assert path.read_text().startswith("epoch;loss\n0;")
    with pytest.raises(FileNotFoundError):
        model.fit(X, Y, callbacks=[cb.CSVLogger(tmp_path / "no" / "log.csv")], verbose=0)


class Logarithm(nn.Module):
    def forward(self, x):
        return ln.log(x)


def test_terminate_on_nan_names_the_op():
    model = ln.Model(nn.Sequential(nn.Identity(), nn.Sequential(Logarithm()), nn.Linear(3, 1)), "mse", "sgd")
    before = model.net[2].weight.detach().numpy().copy()
    x = np.abs(X) + 1
    x[25, 1] = -1
    stop = cb.TerminateOnNaN()
    with pytest.warns(RuntimeWarning, match=r"loss is nan in epoch 0, batch 2: .*log"):
        history = model.fit(x, Y, batch_size=10, epochs=3, shuffle=False, callbacks=[stop], verbose=0)
    assert history.epoch == [0] and np.isnan(history.history["loss"][0])
    assert "1.0" in stop.message  # where in the net
    after = model.net[2].weight.detach().numpy()
    assert np.isfinite(after).all() and not np.array_equal(before, after)


def test_terminate_on_nan_names_data_and_weights():
    model = line()
    x = X.copy()
    x[0, 0] = np.inf
    with pytest.warns(RuntimeWarning, match="the input has NaN or infinity in it"):
        model.fit(x, Y, shuffle=False, callbacks=[cb.TerminateOnNaN()], verbose=0)
    y = Y.copy()
    y[0] = np.nan
    with pytest.warns(RuntimeWarning, match="the target has NaN"):
        model.fit(X, y, shuffle=False, callbacks=[cb.TerminateOnNaN()], verbose=0)
    model = line()
    model.net.weight.data[0, 0] = float("nan")
    with pytest.warns(RuntimeWarning, match="the parameter weight has NaN"):
        model.fit(X, Y, callbacks=[cb.TerminateOnNaN()], verbose=0)


def test_without_terminate_on_nan_training_goes_on():
    y = Y.copy()
    y[0] = np.nan
    assert len(line().fit(X, y, epochs=2, verbose=0).epoch) == 2


def test_lambda():
    with pytest.raises(TypeError, match="no hook 'on_epoch'"):
        cb.LambdaCallback(on_epoch=print)
    with pytest.raises(TypeError, match="must be a function"):
        cb.LambdaCallback(on_epoch_end=3)


def test_stopping_from_a_batch():
    model = line()

    class Stop(cb.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    history = model.fit(X, Y, batch_size=5, epochs=3, callbacks=[Stop()], verbose=0)
    assert history.epoch == [0]
