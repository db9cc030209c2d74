"""A language model of characters learns Shakespeare and writes some of its own: an LSTM, or a small transformer.

    python char_lm.py                        # two LSTM layers; their state is carried from step to step
    python char_lm.py --model transformer    # four layers of causal self-attention over 128 characters
    python char_lm.py --short                # a few seconds, for a check

The last 10 % of the text are held out. Writes char_lm_lstm.png or char_lm_transformer.png: losses, and a text it wrote.
A. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015; A. Vaswani et al., "Attention is all
you need", NeurIPS 2017.
"""

import argparse
import time

import lanner as ln
import numpy as np
from lanner import nn, optim
from tqdm import tqdm


class CharLSTM(nn.Module):
    length = 64  # characters of a training step; through the state it looks back further

    def __init__(self, characters, hidden, dropout):
        super().__init__()
        self.embed = nn.Embedding(characters, 64)
        self.lstm = nn.LSTM(64, hidden, num_layers=2, batch_first=True, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, characters)

    def first_state(self, batch):
        shape = (self.lstm.num_layers, batch, self.lstm.hidden_size)
        return ln.zeros(shape), ln.zeros(shape)

    def forward(self, tokens, state):
        """Logits [N, T, characters] of what follows each of the tokens [N, T], and the state behind the last."""
        y, state = self.lstm(self.embed(tokens), state)
        return self.head(self.drop(y)), state

    def first_stream(self):
        return self.first_state(1)

    def stream(self, token, state):
        """Logits [characters] of what follows one more token, and the state to go on with."""
        logits, state = self(token.reshape((1, 1)), state)
        return logits[0, 0], state


class CharTransformer(nn.Module):
    length = 128  # characters of a training step, and all it looks back on

    def __init__(self, characters, width, dropout):
        super().__init__()
        self.embed = nn.Embedding(characters, width)
        self.positions = nn.LearnedPositionalEncoding(width, self.length, dropout, batch_first=True)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 4, norm=nn.LayerNorm(width))
        self.head = nn.Linear(width, characters)

    def first_state(self, batch):
        return ()

    def forward(self, tokens, state):
        """As an LSTM does; nothing is carried over."""
        return self.head(self.encoder(self.positions(self.embed(tokens)), is_causal=True)), state

    def first_stream(self):
        return ln.zeros(self.length, dtype=ln.int64), ln.tensor(0)

    def stream(self, token, state):
        """As an LSTM does; the state is a window of tokens, and how many of them are read so far."""
        window, count = state
        last = self.length - 1
        window = ln.where(count > last, ln.roll(window, -1), window)
        place = ln.clip(count, 0, last)
        window = ln.where(ln.arange(self.length) == place, token, window)
        logits, _ = self(window.reshape((1, -1)), ())
        return ln.take(logits[0], place.reshape(1), axis=0)[0], (window, count + 1)


def cross_entropy(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(net, text, held_out, epochs, batch, rate, seed):
    """Trains on streams of the text that are read side by side; the losses in nats a character after each epoch."""
    steps = (len(text) - net.length) // (batch * net.length)  # of an epoch, whatever its shift
    optimizer = optim.AdamW(net.parameters(), rate, weight_decay=0.01)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps, pct_start=0.1)
    rng = np.random.default_rng(seed)

    @ln.compile
    def step(x, y, state):
        logits, state = net(x, state)
        loss = cross_entropy(logits, y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss, state

    history = []
    with tqdm(total=epochs * steps, unit="step", disable=None, dynamic_ncols=True) as bar:
        for epoch in range(epochs):
            began, total, state = time.perf_counter(), 0.0, net.first_state(batch)
            net.train()
            shift = rng.integers(net.length)  # so that a step begins elsewhere in each epoch
            x, y = ln.data.text.next_token_streams(text[shift:], batch, net.length)
            for i in range(steps):
                loss, state = step(x[i], y[i], state)
                schedule.step()
                total += loss.item()
                bar.update()
            history.append((total / steps, validate(net, held_out)))
            seconds = time.perf_counter() - began
            bar.write(f"epoch {epoch + 1:2}/{epochs}  {seconds:5.1f} s  loss {history[-1][0]:.4f}  "
                      f"validation loss {history[-1][1]:.4f}")  # fmt: skip
    return history


def validate(net, text, batch=16):
    """The mean loss in nats a character, over streams with the state carried."""
    net.eval()

    @ln.compile
    def judge(x, y, state):
        logits, state = net(x, state)
        return cross_entropy(logits, y), state

    state, losses = net.first_state(batch), []
    for x, y in zip(*ln.data.text.next_token_streams(text, batch, 128), strict=True):
        loss, state = judge(x, y, state)
        losses.append(loss.item())
    return np.mean(losses)


def write(net, vocabulary, prompt, count, temperature):
    """The prompt and `count` characters more, each drawn from what the net gives for it: one replay a character."""
    net.eval()

    @ln.compile
    def step(token, state):
        logits, state = net.stream(token, state)
        return ln.random.categorical(logits / temperature), state

    state, text = net.first_stream(), list(vocabulary.encode(prompt))
    with ln.no_grad():
        for i in range(len(text) + count - 1):
            token, state = step(ln.tensor(text[i]), state)
            if i + 1 == len(text):
                text.append(token.item())
    return vocabulary.decode(text)


def draw(path, title, history, text):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained", width_ratios=(1, 1.1))
    epochs = range(1, len(history) + 1)
    for losses, style, label in zip(zip(*history, strict=True), ("o-", "s--"), ("training", "validation"), strict=True):
        left.plot(epochs, losses, style, label=label)
    left.set(title=title, xlabel="epoch", ylabel="nats a character")
    left.grid(alpha=0.3)
    left.legend(frameon=False)
    right.text(0, 1, "\n".join(text.split("\n")[:24]), va="top", family="monospace", fontsize=9, parse_math=False)
    right.set_axis_off()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("lstm", "transformer"), default="lstm")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--hidden", type=int, help="units of a layer; 256 of the LSTM, 128 of the transformer")
    parser.add_argument("--prompt", default="ROMEO:\n")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="64 units, one epoch on a fifth of the text")
    args = parser.parse_args()

    ln.manual_seed(args.seed)
    text, held_out = ln.datasets.tiny_shakespeare("train"), ln.datasets.tiny_shakespeare("validation")
    vocabulary = ln.data.text.Vocabulary.build(text, level="char")
    if args.short:
        args.epochs, args.hidden, text, held_out = 1, args.hidden or 64, text[:200000], held_out[:10000]
    if args.model == "lstm":
        net, rate = CharLSTM(len(vocabulary), args.hidden or 256, dropout=0.25), 4e-3
    else:
        net, rate = CharTransformer(len(vocabulary), args.hidden or 128, dropout=0.1), 2e-3
    parameters = sum(p.size for p in net.parameters())
    print(f"{type(net).__name__}: {parameters} parameters, {len(text)} characters to train with")

    history = train(net, vocabulary.encode(text), vocabulary.encode(held_out), args.epochs, 32, rate, args.seed)
    began = time.perf_counter()
    count = 200 if args.short else 800
    written = write(net, vocabulary, args.prompt, count, args.temperature)
    each = (time.perf_counter() - began) / count
    print(f"\n{written}\n\n{count} characters, {1e6 * each:.0f} us each")
    title = f"{type(net).__name__}: {history[-1][1]:.3f} nats a character of the last 10 %"
    print(title)
    draw(f"char_lm_{args.model}.png", title, history, written)


if __name__ == "__main__":
    main()
