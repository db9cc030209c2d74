"""The tape: orders, modes, in-place writes, custom functions, long chains."""

import lanner as ln
import pytest


def leaf(*values, dtype=None):
    return ln.tensor(list(values), dtype=dtype or ln.float64, requires_grad=True)


def test_gradients_add_up_over_uses_and_calls():
    x = leaf(2.0, 3.0)
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    (x * 2).sum().backward()
    assert x.grad.tolist() == [7.0, 9.0]


def test_two_leaves_do_not_share_the_memory_of_their_gradients():
    a, b = leaf(1.0), leaf(1.0)
    (a + b).sum().backward()
    with ln.no_grad():
        g = a.grad
        g *= 10.0
    assert (a.grad.item(), b.grad.item()) == (10.0, 1.0)


def test_third_order():
    x = leaf(1.5)
    y, n = x**5, 5
    for factor in (5, 20, 60):
        (y,) = ln.grad(y.sum(), x, create_graph=True)
        n -= 1
        assert y.item() == pytest.approx(factor * 1.5**n)


def test_grad_of_an_intermediate_result():
    x = leaf(3.0)
    y = x * x
    (g,) = ln.grad((y * y).sum(), y)
    assert g.item() == pytest.approx(18.0)
    assert x.grad is None


def test_unused_input():
    x, y = leaf(1.0), leaf(1.0)
    with pytest.raises(ln.Error, match="took no part"):
        ln.grad(x.sum(), [x, y])
    assert ln.grad(x.sum(), [x, y], allow_unused=True)[1] is None


def test_a_freed_tape_says_so():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 4.0
    with pytest.raises(ln.Error, match="retain_graph"):
        y.backward()


def test_writing_into_what_the_tape_needs():
    w, x = leaf(2.0), ln.tensor([3.0], dtype=ln.float64)
    y = (w * x).sum()
    x[0] = 5.0
    with pytest.raises(ln.Error, match="multiply needs its input 1"):
        y.backward()


def test_writing_into_what_the_tape_does_not_need():
    w, x = leaf(2.0), ln.tensor([3.0], dtype=ln.float64)
    y = (w + x).sum()
    x[0] = 5.0
    y.backward()
    assert w.grad.item() == 1.0


def test_writing_through_a_view_or_detached_alias_is_seen():
    w, x = leaf(2.0), ln.tensor([[3.0]], dtype=ln.float64)
    y = (w * x).sum()
    x[0][0] = 5.0
    with pytest.raises(ln.Error, match="written to in place"):
        y.backward()
    h = w * 2
    z = h.tanh()
    z.detach()[0] = 0.0
    with pytest.raises(ln.Error, match="needs its output"):
        z.sum().backward()


def test_writing_into_a_leaf_or_a_result():
    w = leaf(2.0)
    with pytest.raises(ln.Error, match="no_grad"):
        w += 1.0
    h = w * 2
    with pytest.raises(ln.Error, match="computed on the tape"):
        h[0] = 1.0
    with ln.no_grad():
        w += 1.0
    assert w.item() == 3.0


def test_a_value_with_gradient_is_not_written_silently():
    w, x = leaf(2.0), ln.zeros(1, dtype=ln.float64)
    with pytest.raises(ln.Error, match="requires grad"):
        x[0] = w[0]
    with pytest.raises(ln.Error, match="requires grad"):
        x += w


def test_no_grad_and_enable_grad_nest_and_decorate():
    x = leaf(1.0)

    @ln.no_grad()
    def double(v):
        return v * 2

    assert not double(x).requires_grad
    with ln.no_grad():
        with ln.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_backward_needs_a_gradient_of_the_right_shape():
    x = leaf(1.0, 2.0)
    with pytest.raises(ln.ShapeError, match="a gradient must be given"):
        (x * 2).backward()
    with pytest.raises(ln.ShapeError, match=r"\[3\]"):
        (x * 2).backward(ln.ones(3, dtype=ln.float64))
    with pytest.raises(ln.Error, match="does not require grad"):
        ln.ones(1).backward()


def test_broadcasting_is_undone():
    a, b = ln.ones((3, 1), requires_grad=True), ln.ones((1, 4), requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.tolist() == [[4.0]] * 3
    assert b.grad.tolist() == [[3.0] * 4]


def test_dtypes_of_gradients_are_those_of_the_leaves():
    a = ln.ones(2, dtype=ln.float32, requires_grad=True)
    b = ln.ones(2, dtype=ln.float64, requires_grad=True)
    (a * b).sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (ln.float32, ln.float64)


def test_a_chain_of_100000_ops_is_walked_and_freed():
    x = leaf(0.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.sum().backward(retain_graph=True)
    assert x.grad.item() == 1.0
    del y  # the tape of a long chain must not be freed by recursion


def test_integers_have_no_gradient():
    with pytest.raises(ln.DTypeError, match="int64"):
        ln.tensor([1, 2], requires_grad=True)


class TwoOutputs(ln.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * scale, x * x

    @staticmethod
    def backward(ctx, g0, g1):
        (x,) = ctx.saved_tensors
        total = ln.zeros_like(x)
        if g0 is not None:
            total = total + g0 * ctx.scale
        if g1 is not None:
            total = total + g1 * 2 * x
        return total, None


def test_custom_function():
    x = leaf(3.0)
    a, b = TwoOutputs.apply(x, 5.0)
    (a + b).sum().backward()
    assert x.grad.item() == 11.0
    (g,) = ln.grad(TwoOutputs.apply(x, 5.0)[1].sum(), x, create_graph=True)
    assert ln.grad(g.sum(), x)[0].item() == 2.0
    assert ln.gradcheck(lambda v: TwoOutputs.apply(v, 2.0), leaf(0.5, -1.0), order=2)


class WrongCount(ln.Function):
    @staticmethod
    def forward(ctx, x, y):
        return x + y

    @staticmethod
    def backward(ctx, g):
        return g


def test_custom_function_errors():
    x = leaf(1.0)
    with pytest.raises(ln.Error, match="WrongCount: backward gave 1 gradients for 2"):
        WrongCount.apply(x, x).sum().backward()


class Raises(ln.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, g):
        raise KeyError("mine")


def test_an_exception_in_backward_arrives():
    with pytest.raises(KeyError, match="mine"):
        Raises.apply(leaf(1.0)).sum().backward()


def test_gradcheck_finds_a_wrong_gradient():
    class Wrong(ln.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(ln.Error, match="gradcheck"):
        ln.gradcheck(Wrong.apply, leaf(2.0))
    with pytest.raises(ln.DTypeError, match="float64"):
        ln.gradcheck(ln.exp, ln.ones(1, requires_grad=True))


def test_anomaly_names_the_first_op():
    x = ln.tensor([-1.0], requires_grad=True)
    with ln.detect_anomaly():
        with pytest.raises(ln.Error, match="log: the output has a NaN"):
            ln.exp(ln.log(x))
        y = ln.sqrt(ln.tensor([0.0], requires_grad=True))
        with pytest.raises(ln.Error, match="sqrt: the gradient"):
            y.sum().backward()
    ln.log(x)  # off again


def test_value_and_grad_of_several_arguments():
    value, (ga, gb) = ln.value_and_grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(ln.tensor(2.0), ln.tensor(3.0))
    assert (value.item(), ga.item(), gb.item()) == (6.0, 3.0, 2.0)
