"""Transformer layers: dropout, plans, files, second derivatives; positional encodings."""

import lanner as ln
import numpy as np
import pytest
from lanner import nn


def encoder(dropout=0.1, **options):
    ln.random.manual_seed(0)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True, **options), 2)


def test_layers_of_a_stack_have_weights_of_their_own():
    first, second = encoder().layers
    assert first.linear1.weight is not second.linear1.weight
    assert np.array_equal(first.linear1.weight.detach().numpy(), second.linear1.weight.detach().numpy())
    first.linear1.weight.detach()[0] = 0.0
    assert second.linear1.weight.detach().numpy()[0].any()


def test_dropout_acts_in_training_alone():
    net, x = encoder(), ln.random.normal((3, 5, 8))
    assert not np.array_equal(net(x).detach().numpy(), net(x).detach().numpy())
    net.eval()
    assert np.array_equal(net(x).detach().numpy(), net(x).detach().numpy())


@pytest.mark.parametrize("activation", ["relu", "gelu", ln.nn.functional.silu])
@pytest.mark.parametrize("norm_first", [False, True])
def test_config_round_trip(activation, norm_first):
    net = encoder(activation=activation, norm_first=norm_first).eval()
    same = nn.from_config(nn.to_config(net)).eval()
    same.load_state_dict(net.state_dict())
    x = ln.random.normal((3, 5, 8))
    assert np.array_equal(net(x).detach().numpy(), same(x).detach().numpy())


def test_compiled_training_equals_eager():
    x, y = ln.random.normal((3, 5, 8)), ln.random.normal((3, 5, 8))
    padding = ln.tensor(np.arange(5) >= np.array([[5], [3], [4]]))
    losses = []
    for wrap in (lambda f: f, ln.compile):
        net = encoder(0.1)
        update = ln.optim.AdamW(net.parameters(), lr=0.01)

        def step(x, y, net=net, update=update):
            loss = ln.nn.functional.mse_loss(net(x, None, padding, True), y)
            loss.backward()
            update.step()
            update.zero_grad()
            return loss

        run = wrap(step)
        ln.random.manual_seed(1)
        losses.append([float(run(x, y).item()) for _ in range(5)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert losses[0][-1] < losses[0][0]


def test_second_derivatives():
    net = encoder(0.0, norm_first=True, activation="gelu").double()
    x = ln.tensor(np.random.default_rng(0).normal(size=(2, 4, 8)), requires_grad=True)
    ln.gradcheck(lambda x: net(x, is_causal=True), x, order=2, fast_mode=True)
    decoder = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True, activation="gelu").double()
    memory = ln.tensor(np.random.default_rng(1).normal(size=(2, 3, 8)), requires_grad=True)
    ln.gradcheck(lambda x, m: decoder(x, m, tgt_is_causal=True), (x, memory), order=2, fast_mode=True)


@pytest.mark.parametrize("width", [6, 7, 1])
def test_sinusoidal_positions(width):
    layer = nn.PositionalEncoding(width, 50)
    angle = np.arange(20)[:, None] / 10000 ** (np.arange(width) // 2 * 2 / width)
    want = np.where(np.arange(width) % 2, np.cos(angle), np.sin(angle))
    np.testing.assert_allclose(layer(ln.zeros((20, 3, width))).numpy()[:, 1], want, rtol=0, atol=1e-6)
    np.testing.assert_allclose(layer(ln.zeros((20, width))).numpy(), want, rtol=0, atol=1e-6)
    batched = nn.PositionalEncoding(width, 20, batch_first=True)
    np.testing.assert_allclose(batched(ln.zeros((3, 20, width))).numpy()[2], want, rtol=0, atol=1e-6)
    assert not layer.state_dict()


def test_learned_positions():
    layer = nn.LearnedPositionalEncoding(4, 10)
    y = layer(ln.zeros((6, 3, 4)))
    assert np.array_equal(y.detach().numpy()[:, 2], layer.weight.detach().numpy()[:6])
    y.sum().backward()
    assert (layer.weight.grad.numpy()[:6] == 3).all() and not layer.weight.grad.numpy()[6:].any()


@pytest.mark.parametrize("layer", [nn.PositionalEncoding(4, 5), nn.LearnedPositionalEncoding(4, 5)])
def test_position_errors(layer):
    name = type(layer).__name__
    with pytest.raises(ln.ShapeError, match=f"{name}: x has 6 positions, max_len is 5"):
        layer(ln.zeros((6, 1, 4)))
    with pytest.raises(ln.ShapeError, match=f"{name}: x expects"):
        layer(ln.zeros((5, 1, 3)))


def test_errors():
    with pytest.raises(ValueError, match="TransformerEncoderLayer: activation must be one of"):
        nn.TransformerEncoderLayer(8, 2, activation="swish")
    with pytest.raises(ln.ShapeError, match=r"self_attn: MultiheadAttention: attn_mask expects shape \(5, 5\)"):
        encoder()(ln.zeros((3, 5, 8)), ln.zeros((4, 4)))
