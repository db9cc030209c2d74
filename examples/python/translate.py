"""German sentences to English ones: a GRU reads, a GRU writes and looks back at what was read, and a beam search picks.

    python translate.py                     # Multi30k, with attention and without: two trainings
    python translate.py --attention none    # one of the two
    python translate.py --short             # a few seconds, for a check

BLEU of the 1,000 sentences of test_2016_flickr is sacrebleu's (pip install sacrebleu), 13a, without case. Writes
translate.png: at which German words the net looked for each English one.
M.-T. Luong, H. Pham, C. D. Manning, "Effective approaches to attention-based neural machine translation", EMNLP 2015;
D. Elliott et al., "Multi30K: multilingual English-German image descriptions", 2016.
"""

import argparse
import re
import time

import lanner as ln
import numpy as np
from lanner import nn, optim
from tqdm import tqdm

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD, UNK, BOS, EOS = range(4)


class Translator(nn.Module):
    """Without attention, what is looked at is the same for each word: the reader's last states."""

    def __init__(self, german, english, width, hidden, dropout, attention):
        super().__init__()
        self.german = nn.Embedding(german, width, padding_idx=PAD)
        self.english = nn.Embedding(english, width, padding_idx=PAD)
        for embed in (self.german, self.english):
            nn.init.normal_(embed.weight, std=0.1)
        self.drop = nn.Dropout(dropout)
        self.reader = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.writer = nn.GRU(width, hidden, batch_first=True)
        self.attention = nn.MultiplicativeAttention(hidden, 2 * hidden) if attention else None
        self.mix = nn.Linear(3 * hidden, width)
        self.head = nn.Linear(width, english)
        self.head.weight = self.english.weight  # one meaning of a word, read or written

    def read(self, words, lengths):
        """The writer's first state, and the sentences [N, S] as it looks at them: states, the last ones, padding."""
        states, last = self.reader(self.drop(self.german(words)), lengths=lengths)
        last = ln.concat([last[0], last[1]], axis=1)
        padding = nn.utils.rnn.padding_mask(lengths, words.shape[1])
        return ln.tanh(self.bridge(last))[None], (self.drop(states), self.drop(last), padding)

    def write(self, words, state, sentence):
        """Logits of what follows each of words [N, T], the state behind the last, and the attention [N, T, S]."""
        states, last, padding = sentence
        y, state = self.writer(self.drop(self.english(words)), state)
        if self.attention:
            context, looked = self.attention(y, states, key_padding_mask=padding)
        else:
            context, looked = ln.broadcast_to(last[:, None], (*y.shape[:2], last.shape[1])), None
        mixed = ln.tanh(self.mix(ln.concat([y, context], axis=2)))
        return self.head(self.drop(mixed)), state, looked

    def forward(self, german, lengths, english):
        return self.write(english, *self.read(german, lengths))[0]


def loader(pairs, batch, seed=None):
    """Batches of German words, their lengths, English words, theirs; pairs of like length are side by side."""
    sampler = ln.data.BucketSampler(
        [max(map(len, pair)) for pair in pairs], batch, shuffle=seed is not None, seed=seed, drop_last=seed is not None
    )
    collate = ln.data.PadCollate(sampler.boundaries, value=PAD, together=True)
    return ln.data.DataLoader(pairs, batch_sampler=sampler, collate_fn=collate)


def loss_of(net, german, lengths, english, smoothing=0.0):
    """Cross entropy of the words behind the first, given those before."""
    logits = net(german, lengths, english[:, :-1])
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), english[:, 1:].flatten(), ignore_index=PAD, label_smoothing=smoothing
    )


def train(net, batches, valid, epochs, rate):
    optimizer = optim.AdamW(net.parameters(), rate, weight_decay=0.01)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(batches), pct_start=0.15)

    @ln.compile
    def step(german, lengths, english):
        loss = loss_of(net, german, lengths, english, smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    judge = ln.compile(lambda german, lengths, english: loss_of(net, german, lengths, english))
    with tqdm(total=epochs * len(batches), unit="step", disable=None, dynamic_ncols=True) as bar:
        for epoch in range(epochs):
            began, total = time.perf_counter(), 0.0
            net.train()
            for german, lengths, english, _ in batches:
                total += step(german, lengths, english).item()
                schedule.step()
                bar.update()
            net.eval()
            with ln.no_grad():
                held_out = np.mean([judge(*batch[:3]).item() for batch in valid])
            bar.write(f"epoch {epoch + 1:2}/{epochs}  {time.perf_counter() - began:5.1f} s  "
                      f"loss {total / len(batches):.4f}  validation {np.exp(held_out):.2f} perplexity")  # fmt: skip


class Search:
    """Translates sentences, many at a time, each into the best of `beams` texts that grow side by side.

    Texts compete by their log probability for each word to the `power`: 0 would favour short ones. One that has ended
    goes on with <eos> at no cost, and keeps its rank. <unk> is never written. A single beam is greedy.
    """

    def __init__(self, net, beams, power=1.0, longest=50):
        self.net, self.beams, self.power, self.longest = net, beams, power, longest
        self.first, self.step = ln.compile(self._first), ln.compile(self._step)

    def _first(self, german, lengths):
        state, sentence = self.net.read(german, lengths)
        return ln.repeat(state, self.beams, axis=1), [ln.repeat(x, self.beams, axis=0) for x in sentence]

    def _step(self, words, state, scores, counts, sentence):
        """One word more for texts [N, beams], which end in `words`, have `counts` words and sums of log `scores`."""
        n, beams = words.shape
        logits, state, _ = self.net.write(words.reshape((-1, 1)), state, sentence)
        names = ln.arange(logits.shape[2])
        never = (names == PAD) | (names == UNK) | (names == BOS)
        gains = ln.where(never, -np.inf, ln.log_softmax(logits, axis=2)).reshape((n, beams, -1))
        ended = words == EOS
        gains = ln.where(ended[:, :, None], ln.where(names == EOS, 0.0, -np.inf), gains)
        scores, counts = scores[:, :, None] + gains, counts + ~ended
        _, best = ln.topk((scores / counts[:, :, None] ** self.power).flatten(1), beams)
        parents, words = best // len(names), best % len(names)
        rows = (parents + ln.arange(n)[:, None] * beams).flatten()
        scores, counts = ln.take_along_axis(scores.flatten(1), best), ln.take_along_axis(counts, parents)
        return words, parents, ln.take(state, rows, axis=1), scores, counts, ln.all(words == EOS)

    def __call__(self, german, lengths):
        """Words of the best translations [N, words]; <eos> behind the shorter ones."""
        n, beams = len(lengths), self.beams
        state, sentence = self.first(german, lengths)
        words, counts = ln.full((n, beams), BOS), ln.zeros((n, beams))
        scores = ln.broadcast_to(ln.where(ln.arange(beams) == 0, 0.0, -np.inf), (n, beams))  # of equal texts, one
        texts = np.empty((n, beams, 0), np.int64)
        for _ in range(self.longest):
            words, parents, state, scores, counts, over = self.step(words, state, scores, counts, sentence)
            texts = np.take_along_axis(texts, parents.numpy()[:, :, None], axis=1)
            texts = np.concatenate([texts, words.numpy()[:, :, None]], axis=2)
            if over.item():
                break
        return texts[:, 0]


def translate(search, german, vocabulary, batch=100):
    """English texts for sentences of German words, in their order."""
    order = sorted(range(len(german)), key=lambda i: len(german[i]))
    texts = {}
    with ln.no_grad():
        for begin in range(0, len(order), batch):
            some = order[begin : begin + batch]
            words = search(*map(ln.asarray, ln.data.pad_sequences([german[i] for i in some])))
            texts |= zip(some, map(vocabulary.decode, words), strict=True)
    return [re.sub(r" ([.,;:!?'])| (-) ", r"\1\2", texts[i]) for i in range(len(german))]  # as one writes it


def draw(net, german, english, pairs, path):
    """Of each pair, how much the net looked at each German word when it wrote each English one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(pairs) // 2, figsize=(14, 8.5), layout="constrained")
    for axis, (source, text) in zip(axes.flat, pairs, strict=True):
        words = english.encode(text, bos=True, eos=True)
        with ln.no_grad():
            first = net.read(ln.asarray(german.encode(source))[None], ln.tensor([len(german.encode(source))]))
            looked = net.write(ln.asarray(words)[None, :-1], *first)[2]
        axis.imshow(looked[0].numpy().T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(
            range(len(words) - 1), [*english.split(text), "<eos>"], rotation=60, ha="right", parse_math=False
        )
        axis.set_yticks(range(looked.shape[2]), german.split(source), parse_math=False)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attention", choices=("both", "luong", "none"), default="both")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="64 units, two epochs on every 10th sentence")
    args = parser.parse_args()
    try:
        import sacrebleu
    except ImportError:
        parser.error("BLEU is measured with sacrebleu, which is not here: pip install sacrebleu")

    sets = {split: ln.datasets.multi30k(split) for split in ("train", "validation", "test")}
    german, english = (
        ln.data.text.Vocabulary.build(texts, lower=True, min_count=2, specials=SPECIALS)
        for texts in zip(*sets["train"], strict=True)
    )
    if args.short:
        args.epochs, args.width, args.hidden = 2, 64, 64
        sets = {split: pairs[::10] for split, pairs in sets.items()}
    numbers = {
        split: [(german.encode(g), english.encode(e, bos=True, eos=True)) for g, e in pairs]
        for split, pairs in sets.items()
    }
    sources, references = zip(*sets["test"], strict=True)
    bleu = sacrebleu.metrics.BLEU(lowercase=True)

    texts, scores = {}, {}
    for name in ("luong", "none") if args.attention == "both" else (args.attention,):
        ln.manual_seed(args.seed)
        net = Translator(len(german), len(english), args.width, args.hidden, args.dropout, name == "luong")
        print(f"attention: {name}, {sum(p.size for p in net.parameters())} parameters")
        batches = loader(numbers["train"], 64, args.seed)
        train(net, batches, loader(numbers["validation"], 100), args.epochs, args.rate)
        for beams in (1, args.beams):
            texts[name] = translate(Search(net, beams), [g for g, _ in numbers["test"]], english)
            scores[name, beams] = bleu.corpus_score(texts[name], [references]).score
        if name == "luong":
            fitting = [i for i, source in enumerate(sources) if 9 <= len(german.split(source)) <= 13]
            shown = [(sources[i], texts[name][i]) for i in fitting[:: len(fitting) // 6][:6]]
            draw(net, german, english, shown, "translate.png")

    print(f"\nBLEU of {len(sources)} test sentences, {bleu.get_signature()}")
    print(f"{'attention':12}{'greedy':>8}{f'beam of {args.beams}':>12}")
    for name in texts:
        print(f"{name:12}{scores[name, 1]:8.2f}{scores[name, args.beams]:12.2f}")
    if len(texts) == 2:
        gains = [scores["luong", beams] - scores["none", beams] for beams in (1, args.beams)]
        print(f"{'difference':12}{gains[0]:8.2f}{gains[1]:12.2f}")
    for i in range(0, len(sources), len(sources) // 5):
        print(f"\n{'German':12}{sources[i]}\n{'reference':12}{references[i]}")
        for name, translations in texts.items():
            print(f"{name:12}{translations[i]}")


if __name__ == "__main__":
    main()
