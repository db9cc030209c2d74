"""lanner's side of the comparison with other frameworks: `workloads()`, `make(name, threads)`, `VERSION`.

The harness puts its folder, with `workloads.py`, on the path. Networks start from its weights and see its batches.
"""

import lanner as ln
import workloads as suite
from lanner import nn, optim
from lanner.nn import functional

VERSION = ln.__version__


class Residual(nn.Module):
    def __init__(self, main, short):
        super().__init__()
        self.main, self.short = build(main), build(short)

    def forward(self, x):
        return self.main(x) + self.short(x)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (
            ln.permute_dims(ln.reshape(part, (b, t, self.heads, d // self.heads)), (0, 2, 1, 3))
            for part in ln.split(self.qkv(x), d, -1)
        )
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(ln.reshape(ln.permute_dims(y, (0, 2, 1, 3)), (b, t, d)))


class GlobalAveragePool(nn.Module):
    def forward(self, x):
        return ln.mean(x, axis=(2, 3))


class Recurrent(nn.Module):
    def __init__(self, cell, n_in, hidden, layers, bidirectional):
        base = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
        self.rnn = base(n_in, hidden, layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, x):
        return self.rnn(x)[0]


class Last(nn.Module):
    def forward(self, x):
        return x[:, -1]


class Ends(nn.Module):
    def __init__(self, hidden):
        self.hidden = hidden

    def forward(self, x):
        return ln.concat([x[:, -1, : self.hidden], x[:, 0, self.hidden :]], axis=1)


LAYERS = {
    "linear": nn.Linear,
    "conv": lambda i, o, k, s, p, bias: nn.Conv2d(i, o, k, s, p, bias=bias),
    "deconv": lambda i, o, k, s, p, bias: nn.ConvTranspose2d(i, o, k, s, p, bias=bias),
    "batchnorm": nn.BatchNorm2d,
    "layernorm": nn.LayerNorm,
    "embedding": nn.Embedding,
    "position": lambda t, d: nn.LearnedPositionalEncoding(d, t, batch_first=True),
    "attention": Attention,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "maxpool": nn.MaxPool2d,
    "flatten": nn.Flatten,
    "residual": Residual,
    "global_avgpool": GlobalAveragePool,
    "recurrent": Recurrent,
    "last": Last,
    "ends": Ends,
    "reshape": lambda *shape: nn.Unflatten(1, shape),
}


def workloads():
    return [w["name"] for w in suite.SUITE]


def build(layers):
    return nn.Sequential(*(LAYERS[kind](*numbers) for kind, *numbers in layers))


def network(layers):
    net = build(layers)
    own = net.state_dict()
    state = {name: ln.tensor(value) for name, value in suite.parameters(layers).items()}
    for name in list(state):
        if name not in own and name.replace(".", ".rnn.", 1) in own:  # of a layer within `Recurrent`
            state[name.replace(".", ".rnn.", 1)] = state.pop(name)
    state |= {name: t for name, t in net.state_dict().items() if name.endswith("num_batches_tracked")}
    net.load_state_dict(state)
    return net


def optimizer(w, net):
    kind = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW}[w["optimizer"].split("_")[0]]
    return kind(net.parameters(), **suite.OPTIMIZERS[w["optimizer"]])


def training(w):
    net = network(w["layers"])
    update = optimizer(w, net)
    data = [(ln.tensor(x), ln.tensor(y)) for x, y in suite.batches(w)]
    loss_of = functional.binary_cross_entropy_with_logits if w["loss"] == "bce_logits" else functional.cross_entropy
    count = 0

    @ln.compile
    def compiled(x, y):
        out = net(x)
        if w["loss"] == "cross_entropy" and out.ndim == 3:
            out, y = ln.flatten(out, 0, 1), ln.flatten(y)
        loss = loss_of(out, y)
        loss.backward()
        update.step()
        update.zero_grad()
        return loss

    def step():
        nonlocal count
        x, y = data[count % len(data)]
        count += 1
        return compiled(x, y)

    return step


def gan(w):
    discriminator, generator = network(w["layers"]), network(w["generator"])
    update_d, update_g = optimizer(w, discriminator), optimizer(w, generator)
    data = [(ln.tensor(real), ln.tensor(latent)) for real, latent in suite.batches(w)]
    loss_of = functional.binary_cross_entropy_with_logits
    ones, zeros = ln.ones((w["batch"], 1)), ln.zeros((w["batch"], 1))
    count = 0

    @ln.compile
    def compiled(real, latent):
        fake = generator(latent)
        update_d.zero_grad()
        loss = loss_of(discriminator(real), ones) + loss_of(discriminator(fake.detach()), zeros)
        loss.backward()
        update_d.step()
        update_g.zero_grad()
        discriminator.requires_grad_(False)
        loss_of(discriminator(fake), ones).backward()
        discriminator.requires_grad_(True)
        update_g.step()
        update_g.zero_grad()
        update_d.zero_grad()
        return loss

    def step():
        nonlocal count
        real, latent = data[count % len(data)]
        count += 1
        return compiled(real, latent)

    return step


def prediction(w):
    net = network(w["layers"])
    net.eval()
    data = [ln.tensor(x) for x, _ in suite.batches(w)]
    count = 0

    @ln.compile
    def compiled(x):
        with ln.no_grad():
            return net(x)

    def step():
        nonlocal count
        count += 1
        return compiled(data[(count - 1) % len(data)]).numpy()

    return step


def kernel(w):
    arrays = [ln.tensor(a) for a in suite.operands(w)]
    pad = w.get("pad", 0)
    functions = {
        "gemm": lambda a, b: a @ b,
        "conv2d": lambda x, k: functional.conv2d(x, k, padding=pad),
        "softmax": lambda x: ln.softmax(x, axis=-1),
        "layernorm": lambda x, g, b: functional.layer_norm(x, x.shape[1:], g, b),
        "gelu": functional.gelu,
        "sum": ln.sum,
    }
    if w["op"] == "conv2d_backward":
        x, weight, g = arrays
        leaves = [x.requires_grad_(), weight.requires_grad_()]
        y = functional.conv2d(x, weight, padding=pad)
        return lambda: tuple(t.numpy() for t in ln.grad(y, leaves, g, retain_graph=True))
    f = functions[w["op"]]

    def step():
        with ln.no_grad():
            return f(*arrays).numpy()

    return step


def make(name, threads):
    ln.set_num_threads(threads)
    w = suite.BY_NAME[name]
    if w["kind"] == "kernel":
        return kernel(w), 1
    if w["kind"] == "predict":
        return prediction(w), w["batch"]
    return (gan(w) if w["loss"] == "gan" else training(w)), w["batch"]
