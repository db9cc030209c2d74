"""Who keeps what? A fact hidden among 16,384 words is found: attention over the words of segments, then over segments.

    python long_needle.py            # Shakespeare with eight facts "romeo keeps the ring", eight "romeo wants the bell"
    python long_needle.py --short    # a few seconds, for a check

Tested on texts from the last tenth of Shakespeare, which the net has not seen. Segments of 128 words are read by one
GRU, a group at a time within `ln.checkpoint`: a training step holds the activations of one group, never those of the
whole text. Writes long_needle.png: accuracy while the texts grow, memory of a step, and where the net looked.
Z. Yang et al., "Hierarchical attention networks for document classification", NAACL 2016; T. Chen et al., "Training
deep nets with sublinear memory cost", 2016.
"""

import argparse
import functools
import time

import lanner as ln
import numpy as np
from lanner import nn, optim
from tqdm import tqdm

NAMES = "romeo juliet tybalt paris peter henry edward richard clarence hastings warwick brutus angelo lucio leontes"
NAMES = f"{NAMES} mercutio".split()
THINGS = "ring sword crown letter horse ship garden bell rose key book coat cup drum flower glass hand heart knife moon"
THINGS = f"{THINGS} paper purse stone tree wall wine wood bird lion dog harp jewel".split()
FACTS, WORDS = 8, 4  # of each kind in a text; words of a fact


class Reader(nn.Module):
    """Texts in segments of words [N, S, T], and whom they are asked about [N], to logits [N, things]."""

    def __init__(self, words, width, hidden, group):
        super().__init__()
        self.group, self.recompute = group, True  # segments that are read at a time; whether they are checkpointed
        self.embed = nn.Embedding(words, width)
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.words = nn.MultiplicativeAttention(width, hidden)
        self.segments = nn.MultiplicativeAttention(width, hidden)
        self.head = nn.Linear(hidden, len(THINGS))

    def read(self, words, query):
        """What segments [n, T] say on queries [n, width], as vectors; and how much the net looked at each word."""
        states, _ = self.gru(self.embed(words))
        return self.words(query, states)

    def forward(self, texts, asked):
        """The logits, and how much the net looked at each segment [N, S] and each word [N, S, T]."""
        count, segments, length = texts.shape
        query = self.embed(asked)
        rows, queries = texts.reshape((-1, length)), query.repeat(segments, axis=0)
        read = functools.partial(ln.checkpoint, self.read) if self.recompute else self.read
        parts = [slice(i, i + self.group) for i in range(0, count * segments, self.group)]
        said, words = zip(*[read(rows[part], queries[part]) for part in parts], strict=True)
        meaning, looked = self.segments(query, ln.concat(said).reshape((count, segments, -1)))
        return self.head(meaning), looked, ln.concat(words).reshape(texts.shape)


class Texts:
    """Draws stretches of a text with facts at random places."""

    def __init__(self, split, vocabulary, segment, seed):
        self.segment, self.rng, encode = segment, np.random.default_rng(seed), vocabulary.encode
        self.tokens, self.names, self.things = map(encode, (ln.datasets.tiny_shakespeare(split), NAMES, THINGS))
        self.verbs, self.the = encode(["keeps", "wants"]), vocabulary["the"]

    def draw(self, count, length):
        """Texts of `length` words in segments [count, S, T], of whom to tell what is kept [count], and what [count]."""
        starts = self.rng.integers(max(1, len(self.tokens) - length), size=(count, 1))
        texts = self.tokens[(starts + np.arange(length)) % len(self.tokens)]
        order = self.rng.permuted(np.tile(np.arange(len(NAMES)), (count, 1)), axis=1)[:, :FACTS]
        names, things = self.names[order], self.rng.integers(len(THINGS), size=(count, 2, FACTS))
        gap = WORDS - 1
        for text, who, what in zip(texts, names, self.things[things], strict=True):
            places = np.sort(self.rng.choice(length - 2 * FACTS * gap, 2 * FACTS, replace=False))
            places = self.rng.permutation(places + gap * np.arange(2 * FACTS)).reshape((2, FACTS))
            for word, values in enumerate((who, self.verbs[:, None], self.the, what)):
                text[places + word] = values
        # A segment begins with the last words of the one before it, so that no fact is cut in two.
        padded = np.pad(texts, ((0, 0), (gap, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.segment + gap, axis=1)[:, :: self.segment]
        return np.ascontiguousarray(windows), names[:, 0], things[:, 0, 0]


def train_step(net, optimizer):
    @ln.compile
    def step(texts, asked, things):
        logits, *_ = net(texts, asked)
        loss = nn.functional.cross_entropy(logits, things)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss, (ln.argmax(logits, axis=1) == things).to(ln.float32).mean()

    return step


def train(net, texts, held_out, stages, words, rate):
    """Trains with longer and longer texts, so many words a step; the accuracy of each step, and tests between."""
    optimizer = optim.AdamW(net.parameters(), rate, weight_decay=0.01)
    steps, longest = sum(count for _, count in stages), stages[-1][0]
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    step, history, tests = train_step(net, optimizer), [], []
    with tqdm(total=steps, unit="step", disable=None, dynamic_ncols=True) as bar:
        for length, count in stages:
            began = time.perf_counter()
            for _ in range(count):
                loss, right = step(*texts.draw(words // length, length))
                schedule.step()
                history.append(right.item())
                bar.set_postfix(words=length, loss=f"{loss.item():.3f}", right=f"{right.item():.0%}")
                bar.update()
            tests.append(test(net, held_out, longest, 400 if len(history) == steps else 40))
            bar.write(f"{count} steps with {length:6,} words: {time.perf_counter() - began:4.0f} s, at last "
                      f"{np.mean(history[-20:]):.1%} right, {tests[-1]:.2%} of unseen ones of {longest:,}")  # fmt: skip
    return history, tests


def test(net, texts, length, count):
    """The share of right answers."""
    with ln.no_grad():
        batches = (map(ln.asarray, texts.draw(4, length)) for _ in range(count // 4))
        return np.mean([(ln.argmax(net(words, asked)[0], axis=1) == right).numpy() for words, asked, right in batches])


def memory_of_step(net, texts, length):
    """MiB that a training step on one text takes at most, beside weights, their gradients and moments."""
    step, batch = train_step(net, optim.AdamW(net.parameters(), 0.0, weight_decay=0.0)), texts.draw(1, length)
    for _ in range(2):  # the plan is made
        step(*batch)
    others = ln.cpu.memory_allocated() - step.plan.memory()["arena"]
    ln.cpu.reset_peak_memory_stats()
    step(*batch)
    return (ln.cpu.max_memory_allocated() - others) / 2**20


def draw(path, vocabulary, net, held_out, history, tests, stages, memory):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    length, figure = stages[-1][0], plt.figure(figsize=(12, 7.5), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 0.9))
    left, right = upper.subplots(1, 2)
    left.plot(np.convolve(history, np.ones(10) / 10)[: len(history)], label="training, mean of 10 steps")
    ends = np.cumsum([count for _, count in stages])
    left.plot(ends, tests, "ro", label=f"unseen texts of {length:,} words")
    for end, (words, _) in zip(ends, stages, strict=True):
        left.text(end, 0.18, f"with {words:,} words ", ha="right", rotation=90)
    left.set(xlabel="step", ylabel="share of right answers", xlim=(0, len(history) * 1.02), ylim=(-0.05, 1.05))
    left.legend(frameon=False, loc=(0.5, 0.62))
    for label, points in memory.items():
        right.plot(points.keys(), points.values(), "o-", label=label)
    right.set(xscale="log", yscale="log", xlabel="words of the text", ylabel="MiB of a training step")
    right.set_xticks(list(points), [f"{n:,}" for n in points])
    right.minorticks_off()
    right.legend(frameon=False)

    texts, asked, _ = held_out.draw(3, length)
    with ln.no_grad():
        _, *looked = net(ln.asarray(texts), ln.asarray(asked))
    facts = np.isin(texts[..., :-3], held_out.names) & np.isin(texts[..., 1:-2], held_out.verbs)
    facts = (facts & (texts[..., 2:-1] == held_out.the)).any(axis=2)
    for i, axis in enumerate(lower.subplots(3, 1, sharex=True)):
        segments, words = (x.numpy()[i] for x in looked)
        axis.bar(np.arange(len(segments)), segments, width=1)
        axis.plot(np.flatnonzero(facts[i]), np.full(facts[i].sum(), -0.12), "k^", markersize=4)
        axis.set(xlim=(-1, len(segments)), ylim=(-0.24, 1.05), ylabel="attention")
        axis.set_title(f"What does {vocabulary.decode(asked[i : i + 1])} keep?", loc="left", fontsize=10)
        x, best = 0.18, segments.argmax()
        at = max(5, words[best].argmax())
        for token, weight in list(zip(texts[i, best], words[best], strict=True))[at - 5 : at + 5]:
            shade = dict(facecolor="tab:orange", alpha=float(weight), edgecolor="none", pad=2)
            word = vocabulary.tokens[token]
            axis.text(x, 1.08, word, transform=axis.transAxes, family="monospace", bbox=shade, in_layout=False)
            x += 0.0085 * (len(word) + 1)
    axis.set_xlabel("segment; triangles: where a fact is, of anybody")
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="texts of 4,096 words, 60 steps")
    args = parser.parse_args()
    longest, steps = (4096, 60) if args.short else (16384, args.steps)

    ln.manual_seed(args.seed)
    shakespeare = ln.datasets.tiny_shakespeare("train")
    vocabulary = ln.data.text.Vocabulary.build(shakespeare, lower=True, min_count=4, specials=["<unk>"])
    texts = Texts("train", vocabulary, 128, args.seed)
    held_out = Texts("validation", vocabulary, 128, args.seed + 1)
    net = Reader(len(vocabulary), 32, 64, group=longest // 1024)
    # The short ones teach to look in the right place: among 16,384 words hardly any gradient would come from there.
    stages = [(128, steps * 4 // 10), (512, steps * 3 // 10), (2048, steps * 3 // 20), (longest, steps * 3 // 20)]
    history, tests = train(net, texts, held_out, stages, 2 * longest, 4e-3)

    lengths, memory = [longest * n // 8 for n in (1, 2, 4, 8, 32)], {}
    print(f"\n{'MiB of a training step on one text':40}" + "".join(f"{n:8,}" for n in lengths) + " words")
    for segment, net.recompute in ((128, True), (256, True), (512, True), (128, False)):
        held_out.segment = segment
        label = f"segments of {segment} words, {'checkpointed' if net.recompute else 'kept'}"
        memory[label] = {n: memory_of_step(net, held_out, n) for n in lengths}
        print(f"{label:40}" + "".join(f"{m:8.1f}" for m in memory[label].values()))
    draw("long_needle.png", vocabulary, net, held_out, history, tests, stages, memory)


if __name__ == "__main__":
    main()
