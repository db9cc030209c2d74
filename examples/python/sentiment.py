"""Is a sentence of a film review positive or negative, and which of its words say so? A BiLSTM with attention.

    python sentiment.py            # trains on all phrases of the Stanford Sentiment Treebank
    python sentiment.py --short    # a few seconds, for a check

Writes sentiment.png: sentences of the test set, each word the darker the more the net looked at it.
R. Socher et al., "Recursive deep models for semantic compositionality over a sentiment treebank", EMNLP 2013;
Z. Yang et al., "Hierarchical attention networks for document classification", NAACL 2016.
"""

import argparse

import lanner as ln
from lanner import nn, optim

CLASSES = ("negative", "positive")


class Reader(nn.Module):
    """Words [N, T], of which the first `lengths` [N] count, to logits of two classes."""

    def __init__(self, words, width, hidden, dropout):
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        nn.init.normal_(self.embed.weight, std=0.1)  # words that are seldom seen stay near nothing
        self.drop = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.query = nn.Parameter(ln.zeros(hidden))  # what to look for
        self.attention = nn.AdditiveAttention(hidden, 2 * hidden, hidden)
        self.head = nn.Linear(2 * hidden, len(CLASSES))

    def read(self, tokens, lengths):
        """The logits, and how much the net looked at each word [N, T]."""
        states, _ = self.lstm(self.drop(self.embed(tokens)), lengths=lengths)
        padding = nn.utils.rnn.padding_mask(lengths, tokens.shape[1])
        query = ln.broadcast_to(self.query, (tokens.shape[0], self.query.size))
        meaning, looked = self.attention(query, states, key_padding_mask=padding)
        return self.head(self.drop(meaning)), looked

    def forward(self, tokens, lengths):
        return self.read(tokens, lengths)[0]


def load(split, vocabulary, batch, phrases=False, every=1, seed=None):
    """A loader of padded batches, tokens, lengths and labels, with texts of like length side by side."""
    texts, labels = ln.datasets.sst(split, classes=2, phrases=phrases)
    texts = [vocabulary.encode(split_words(text)) for text in texts[::every]]
    sampler = ln.data.BucketSampler([len(text) for text in texts], batch, shuffle=seed is not None, seed=seed)
    samples = list(zip(texts, labels[::every], strict=True))
    return ln.data.DataLoader(samples, batch_sampler=sampler, collate_fn=ln.data.PadCollate(sampler.boundaries))


def split_words(text):
    return text.lower().split(" ")


def show(net, vocabulary, path, count=12):
    """Test sentences with the words in the shade of the attention, on the terminal and as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    texts, labels = ln.datasets.sst("test", classes=2)
    fitting = [i for i, text in enumerate(texts) if 8 <= len(text.split(" ")) <= 16]
    chosen = fitting[:: len(fitting) // count][:count]
    words = [texts[i].split(" ") for i in chosen]
    tokens, lengths = ln.data.pad_sequences([vocabulary.encode(split_words(texts[i])) for i in chosen])
    net.eval()
    with ln.no_grad():
        logits, looked = net.read(ln.asarray(tokens), ln.asarray(lengths))
    positive, looked = ln.softmax(logits, axis=1)[:, 1].numpy(), looked.numpy()

    figure, axis = plt.subplots(figsize=(12, 0.36 * count + 0.2), layout="constrained")
    axis.set(xlim=(0, 130), ylim=(-0.6, count))
    axis.invert_yaxis()
    axis.set_axis_off()
    for row, (i, sentence) in enumerate(zip(chosen, words, strict=True)):
        right = (positive[row] > 0.5) == labels[i]
        guess = f"{positive[row]:4.0%} {'' if right else 'wrong'}"
        color, line = "tab:green" if positive[row] > 0.5 else "tab:red", []
        axis.text(0, row, guess, family="monospace", color=color, va="center")
        x = 13
        for word, weight in zip(sentence, looked[row], strict=False):
            shade = dict(facecolor=color, alpha=float(min(1, 2 * weight)), edgecolor="none", pad=2)
            axis.text(x, row, word, family="monospace", va="center", bbox=shade, parse_math=False)
            x += len(word) + 1
            line.append(f"[{word.upper()}]" if weight > 2 / len(sentence) else word)
        print(f"{guess:11}{' '.join(line)}")
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="32 units, two epochs on every 8th phrase")
    args = parser.parse_args()
    if args.short:
        args.epochs, args.width, args.hidden = 2, 32, 32

    ln.manual_seed(args.seed)
    sentences, _ = ln.datasets.sst("train")
    vocabulary = ln.data.text.Vocabulary.build(map(split_words, sentences))
    train = load("train", vocabulary, 64, phrases=True, every=8 if args.short else 1, seed=args.seed)
    valid, test = load("validation", vocabulary, 128), load("test", vocabulary, 128)

    net = Reader(len(vocabulary), args.width, args.hidden, args.dropout)
    optimizer = optim.AdamW(net.parameters(), args.rate, weight_decay=0.01)
    model = ln.Model(net, loss="cross_entropy", optimizer=optimizer, metrics=["accuracy"])
    best = ln.callbacks.EarlyStopping("val_accuracy", patience=2, restore_best_weights=True)
    model.fit(train, epochs=args.epochs, validation_data=valid, callbacks=[best], seed=args.seed)
    accuracy = model.evaluate(test)["accuracy"]
    print(f"\n{accuracy:.2%} of the test sentences right. What the net looked at [IN BRACKETS], and how sure it is "
          "that they are positive:")  # fmt: skip
    show(net, vocabulary, "sentiment.png")


if __name__ == "__main__":
    main()
