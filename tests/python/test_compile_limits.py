"""What a step that is compiled cannot do, and how it says so."""

import lanner as ln
import numpy as np
import pytest
from lanner import _core, nn
from lanner.compiled import Compiled
from lanner.nn import functional


def rows(n=6, features=8, seed=0):
    return ln.tensor(np.random.default_rng(seed).standard_normal((n, features)).astype(np.float32))


def test_reading_a_value_names_the_line():
    net = nn.Linear(8, 2)

    @ln.compile
    def f(x):
        y = net(x)
        if y.sum().item() > 0:  # here
            return y
        return -y

    with pytest.raises(ln.RecordingError, match=r"test_compile_limits\.py:\d+\n +if y\.sum\(\)\.item\(\) > 0:  # here"):
        f(rows())
    assert net(rows()).shape == (6, 2)  # nothing is left of the recording


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[x > 0],
        lambda x: ln.nonzero(x),
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: float(x.sum()),
        lambda x: bool(x.sum() > 0),
        lambda x: ln.unique_values(x),
        lambda x: functional.one_hot((x > 0).to(ln.int64)),
        lambda x: ln.repeat(x, (x > 0).to(ln.int64)[0], axis=1),
    ],
)
def test_what_depends_on_data_cannot_be_recorded(read):
    with pytest.raises(ln.RecordingError, match=r"test_compile_limits\.py"):
        ln.compile(read)(rows())


def test_values_are_checked_at_every_replay():
    f = ln.compile(lambda x, t: functional.cross_entropy(x, t))
    g = ln.compile(lambda x, i: ln.take(x, i, axis=0))
    x = rows()
    f(x, ln.zeros(6, dtype=ln.int64)), g(x, ln.tensor([0, 5]))
    with pytest.raises(ln.ShapeError, match="target 9"):
        f(x, ln.full(6, 9, dtype=ln.int64))
    with pytest.raises(ln.IndexError, match="index 6"):
        g(x, ln.tensor([0, 6]))
    assert g(x, ln.tensor([5, 0])).tolist() == x[ln.tensor([5, 0])].tolist()


def test_an_error_leaves_nothing_behind():
    net = nn.Linear(8, 2)
    f = ln.compile(net)
    with pytest.raises(ln.ShapeError):
        f(ln.zeros((2, 7)))
    with ln.no_grad():
        assert f(rows()).shape == (6, 2)


def test_a_history_cannot_leave_or_enter():
    f = ln.compile(lambda x: x * 2)
    with pytest.raises(ln.Error, match="requires grad"):
        f(ln.ones(2, requires_grad=True))
    with ln.no_grad():
        assert f(ln.ones(2, requires_grad=True)).tolist() == [2.0, 2.0]
    assert not ln.compile(nn.Linear(8, 2))(rows()).requires_grad


def test_a_buffer_is_not_exchanged_inside():
    class Count(nn.Module):
        def __init__(self):
            self.register_buffer("n", ln.zeros(()))

        def forward(self, x):
            self.n = self.n + 1
            return x * self.n

    with pytest.raises(ln.RecordingError, match="write into it"):
        ln.compile(Count())(ln.ones(2))


@pytest.mark.parametrize("halting", [0, 2])
def test_a_step_that_ends_early(halting):
    w = ln.zeros(())

    def f(x):
        y = x.sum()
        _core.halt_unless_finite(y)
        w[...] = w + y
        return y

    step = Compiled(f, _halts=True)
    for i in range(4):
        x = ln.ones(3)
        if i == halting:
            x[1] = float("nan")
            with pytest.raises(_core.Halted):
                step(x)
        else:
            assert step(x).item() == 3
    assert w.item() == 9
