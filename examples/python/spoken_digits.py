"""Reads spoken digits, alone and in sequences, without being told where they begin: a BiLSTM with CTC.

    python spoken_digits.py            # trains on sequences joined from 2,700 recordings
    python spoken_digits.py --short    # a few seconds, for a check

Recordings 0 to 4 of each speaker and digit are the test set. Writes spoken_digits.png: what it hears in one sequence.
A. Graves et al., "Connectionist temporal classification", ICML 2006. The recordings are varied as in T. Ko et al.,
"Audio augmentation for speech recognition", Interspeech 2015, and D. S. Park et al., "SpecAugment", Interspeech 2019.
"""

import argparse

import lanner as ln
import numpy as np
from lanner import nn, optim
from lanner.data import audio

RATE, HOP, BANDS = 8000, 0.01, 40
STACK = 3  # frames that are one step of the net: an LSTM of fewer steps learns sooner (H. Sak et al., Interspeech 2015)
EDGE = 0.1  # seconds of silence before and behind every waveform


class Listener(nn.Module):
    """Frames [N, T, 40], of which `lengths` [N] count, to log-probabilities [N, T / 3, 11] of a blank, 0, 1, ... 9."""

    def __init__(self, hidden, dropout):
        super().__init__()
        self.lstm = nn.LSTM(STACK * BANDS, hidden, 2, batch_first=True, dropout=dropout, bidirectional=True)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, 11)

    def forward(self, frames, lengths):
        lengths = lengths // STACK
        states, _ = self.lstm(frames.reshape((frames.shape[0], -1, STACK * BANDS)), lengths=lengths)
        return ln.log_softmax(self.head(self.drop(states)), axis=-1), lengths


def ctc(output, labels):
    return ln.ctc_loss(output[0].swapaxes(0, 1), labels, output[1], (labels > 0).sum(axis=1))


def said(labels):
    """A string of digits of their labels: a blank, and padding, is 0, the digit d is d + 1."""
    return "".join(str(label - 1) for label in labels if label > 0)


def heard(output, beam=None):
    """What the net hears in each sequence of a batch: its most probable path, or digits, which may have many paths."""
    log_probs, lengths = output[0].swapaxes(0, 1), output[1]
    if beam is None:
        return [said(labels) for labels, _ in ln.ctc_greedy_decode(log_probs, lengths)]
    return [said(found[0][0]) for found in ln.ctc_beam_search(log_probs, lengths, beam)]


class DigitErrorRate(ln.metrics.CharErrorRate):
    def update(self, output, labels):
        super().update(heard(output), [said(row) for row in labels.tolist()])


def features(waveform):
    """Log-mel frames [T, 40] of a waveform, all of which are made equally loud; about 0, and some 1 apart."""
    waveform = np.pad(waveform / np.abs(waveform).max(), round(EDGE * RATE))
    frames = (audio.log_mel(waveform, RATE, n_mels=BANDS, hop=HOP, floor=1e-4) + 3) / 4
    return np.pad(frames, [(0, -len(frames) % STACK), (0, 0)], "edge")


def join(recordings, rate, rng):
    """Recordings, each as loud as chance will, with up to 0.3 s of silence around each; and where they lie [S, 2]."""
    pauses = rng.uniform(-0.1, 0.3, len(recordings) + 1).clip(min=0)  # a quarter of them none
    parts = [np.zeros(round(seconds * RATE), np.float32) for seconds in pauses]
    for i, recording in enumerate(recordings):
        parts.insert(2 * i + 1, audio.resample(recording, rate, 10) * np.float32(rng.uniform(0.4, 1.6)))
    ends = np.cumsum([len(part) for part in parts])
    return np.concatenate(parts), ends[:-1].reshape(-1, 2) / RATE


def sequences(recordings, count, shortest, longest, rates=(10,), seed=0):
    """Frames of `shortest` to `longest` digits of one speaker, their labels, and the seconds where each lies."""
    waveforms, digits, speakers = recordings
    rng, speakers, made = np.random.default_rng(seed), np.array(speakers), []
    for _ in range(count):
        own = np.flatnonzero(speakers == rng.choice(speakers))
        chosen = rng.choice(own, rng.integers(shortest, longest + 1))
        waveform, spans = join([waveforms[i] for i in chosen], rng.choice(rates), rng)
        made.append((features(waveform), [int(digits[i]) + 1 for i in chosen], spans))
    return made


class Samples(ln.data.Dataset):
    """Frames and labels; with a seed, some frames and bands are masked, others in each epoch."""

    def __init__(self, samples, seed=None):
        self.samples, self.rng = samples, None if seed is None else np.random.default_rng(seed)

    def __getitem__(self, i):
        frames, labels, *_ = self.samples[i]
        if self.rng is not None:
            frames = audio.spec_augment(frames, time_width=10, band_width=6, rng=self.rng)
        return frames, labels

    def __len__(self):
        return len(self.samples)


def load(samples, batch, seed=None):
    """Batches of frames, lengths and labels, of samples of like length; with a seed, shuffled and masked."""
    lengths, most = [len(sample[0]) for sample in samples], max(len(sample[1]) for sample in samples)
    sampler = ln.data.BucketSampler(lengths, batch, shuffle=seed is not None, seed=seed)
    collate = ln.data.PadCollate({0: sampler.boundaries, 1: [most]}, lengths=[0])
    return ln.data.DataLoader(Samples(samples, seed), batch_sampler=sampler, collate_fn=collate)


def judge(name, net, samples):
    """Prints how much of what is said the net hears; returns both."""
    net.eval()
    truth, ways = [], {"greedy": [], "beam search": []}
    with ln.no_grad():
        for frames, lengths, labels in load(samples, 64):
            output = net(frames, lengths)
            truth += [said(row) for row in labels.tolist()]
            ways["greedy"] += heard(output)
            ways["beam search"] += heard(output, beam=20)
    print(f"\n{len(truth)} {name}:")
    for way, guess in ways.items():
        right = np.mean([a == b for a, b in zip(truth, guess, strict=True)])
        print(f"{way:>13}: {right:.2%} right, {ln.metrics.char_error_rate(guess, truth):.2%} digit errors")
    return list(zip(truth, ways["greedy"], strict=True))


def draw(path, net, frames, labels, spans):
    """The spectrogram of a sequence with its digits marked, and below it what the net hears, and when."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with ln.no_grad():
        log_probs, _ = net(ln.asarray(frames[None]), ln.tensor([len(frames)]))
    heard = ln.exp(log_probs[0]).numpy()
    end = len(frames) * HOP - EDGE
    times = np.linspace(-EDGE, end, len(heard), endpoint=False) + STACK * HOP / 2
    colors = [None, *plt.get_cmap("tab10").colors]
    bold = dict(ha="center", size=14, weight="bold")

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(12, 5.5), layout="constrained", sharex=True)
    top.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", extent=(-EDGE, end, 0, BANDS))
    top.set(ylabel="mel band, and what is said")
    for label, (begin, end) in zip(labels, spans, strict=True):
        top.axvspan(begin, end, fill=False, edgecolor=colors[label], linewidth=2)
        top.text((begin + end) / 2, BANDS + 1, said([label]), color=colors[label], **bold)
        bottom.axvspan(begin, end, facecolor=(colors[label], 0.15), edgecolor="white", linewidth=3)
    bottom.plot(times, heard[:, 0], ":", color="gray", linewidth=1)
    bottom.text(times[-1], 1.03, "blank", ha="right", color="gray")
    for label in 1 + np.flatnonzero(heard[:, 1:].max(axis=0) > 0.05):
        bottom.plot(times, heard[:, label], color=colors[label], linewidth=2)
    best = heard.argmax(axis=1)
    for run in np.split(np.arange(len(best)), np.flatnonzero(np.diff(best)) + 1):  # of frames that say the same
        if label := best[run[0]]:
            peak = run[heard[run, label].argmax()]
            bottom.text(times[peak], heard[peak, label] + 0.04, said([label]), color=colors[label], **bold)
    bottom.set(xlabel="seconds", ylabel="probability of what is heard", ylim=(0, 1.2))
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sequences", type=int, default=3000, help="how many to train on, of 1 to ...")
    parser.add_argument("--longest", type=int, default=5, help="... digits")
    parser.add_argument("--hidden", type=int, default=160)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="64 units, 12 epochs of 1,000 single digits")
    args = parser.parse_args()
    if args.short:
        args.epochs, args.sequences, args.longest, args.hidden, args.rate = 12, 1000, 1, 64, 1e-2

    ln.manual_seed(args.seed)
    joined = sequences(ln.datasets.spoken_digits("train"), args.sequences, 1, args.longest, (9, 10, 11), args.seed)
    train = load(joined, 16, args.seed)
    net = Listener(args.hidden, args.dropout)
    optimizer = optim.AdamW(net.parameters(), args.rate, weight_decay=0.01)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=args.epochs * len(train), pct_start=0.1)
    every_batch = ln.callbacks.LambdaCallback(on_train_batch_end=lambda batch, figures: schedule.step())
    model = ln.Model(net, loss=ctc, optimizer=optimizer, metrics=[DigitErrorRate(name="digit errors")])
    model.fit(train, epochs=args.epochs, callbacks=[every_batch], seed=args.seed)

    recordings = ln.datasets.spoken_digits("test")
    alone = [(features(waveform), [int(digit) + 1]) for waveform, digit in zip(*recordings[:2], strict=True)]
    joined = sequences(recordings, 500, 3, 7)
    judge("test recordings", net, alone)
    for truth, guess in judge("sequences of 3 to 7 of them", net, joined)[::40]:
        print(f"    said {truth:8} heard {guess:8}{'' if truth == guess else ' wrong'}".rstrip())
    draw("spoken_digits.png", net, *next(sample for sample in joined if len(sample[1]) == 7))


if __name__ == "__main__":
    main()
