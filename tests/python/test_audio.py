"""WAV files, frames, mel scales and features, against plain float64 references and known values."""

import io
import wave

import lanner as ln
import numpy as np
import pytest
from lanner.data import audio


def wav(data, width, channels=1, rate=16000):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, width, rate, 0, "NONE", ""))
        out.writeframes(data)
    file.seek(0)
    return file


def packed(values, width):
    """Whole numbers as a WAV file has them: little-endian, signed but for a single byte."""
    if width == 1:
        return bytes(v + 128 for v in values)
    return b"".join(int(v).to_bytes(width, "little", signed=True) for v in values)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_read_wav(width, dtype):
    top = 2 ** (8 * width - 1)
    values = [0, 1, -1, top - 1, -top, top // 2]
    samples, rate = audio.read_wav(wav(packed(values, width), width), dtype=dtype)
    assert rate == 16000
    assert samples.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(samples, (np.array(values) / top).astype(dtype))
    samples[0] = 1  # writable
    both, _ = audio.read_wav(wav(packed(values, width), width, channels=2), dtype=dtype)
    np.testing.assert_array_equal(both, (np.array(values) / top).astype(dtype).reshape(3, 2).T)
    assert audio.read_wav(wav(b"", width))[0].shape == (0,)


def test_read_wav_as_recorded(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(packed([3, -4], 2), 2).getvalue())
    for file in (path, str(path)):
        samples, _ = audio.read_wav(file, dtype="int16")
        assert samples.dtype == np.int16
        assert samples.tolist() == [3, -4]
    with pytest.raises(ln.FormatError, match="8 bits"):
        audio.read_wav(wav(b"abc", 1), dtype="int16")
    with pytest.raises(ValueError, match="dtype"):
        audio.read_wav(path, dtype="int32")
    with pytest.raises(FileNotFoundError):
        audio.read_wav(tmp_path / "b.wav")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data[:44],
        lambda data: b"RIFX" + data[4:],
        lambda data: data[:20] + b"\x03" + data[21:],  # IEEE floats
        lambda data: data[:22] + b"\x00" + data[23:],  # no channels
        lambda data: data[:24] + bytes(4) + data[28:],  # no rate
        lambda data: data[:40] + b"\xff\xff\xff\x7f" + data[44:],  # samples without end
    ],
)
def test_damaged_wav(tmp_path, damage):
    path = tmp_path / "a.wav"
    path.write_bytes(damage(wav(packed(range(10), 2), 2).getvalue()))
    with pytest.raises(ln.FormatError, match=r"a\.wav"):
        audio.read_wav(path)


def test_frames():
    x = np.arange(23)
    for length, hop in ((1, 1), (5, 2), (5, 7), (23, 1), (24, 1)):
        expected = [x[i : i + length] for i in range(0, 23 - length + 1, hop)]
        got = audio.frames(x, length, hop)
        assert got.shape == (len(expected), length)
        assert got.tolist() == [e.tolist() for e in expected]
        assert not len(expected) or np.shares_memory(got, x)
    assert audio.frames(np.zeros((3, 2, 10)), 4, 3).shape == (3, 2, 3, 4)
    with pytest.raises(ValueError, match="at least 1"):
        audio.frames(x, 4, 0)
    with pytest.raises(ln.ShapeError, match="single number"):
        audio.frames(1.0, 4, 1)


def test_mel_scales():
    # 1000 Hz are 1000 mel by definition; 2595 log10(1 + 1000/700) rounds it. Slaney's: 15, and 27 steps to 6400 Hz.
    assert audio.hz_to_mel(1000.0) == pytest.approx(999.9855, abs=1e-4)
    assert audio.hz_to_mel(8000.0) == pytest.approx(2840.0230, abs=1e-4)
    assert audio.hz_to_mel([0.0, 200.0, 1000.0, 6400.0], "slaney") == pytest.approx([0, 3, 15, 42])
    frequencies = np.linspace(0, 20000, 401)
    for scale in ("htk", "slaney"):
        mels = audio.hz_to_mel(frequencies, scale)
        assert (np.diff(mels) > 0).all()
        np.testing.assert_allclose(audio.mel_to_hz(mels, scale), frequencies, rtol=1e-12, atol=1e-9)
    with pytest.raises(ValueError, match="mel scale"):
        audio.hz_to_mel(1.0, "bark")


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize(
    ("n_mels", "n_fft", "rate", "low", "high"),
    [(1, 16, 8000, 0, None), (20, 256, 8000, 50, 3800), (40, 512, 16000, 0, None)],
)
def test_mel_filters(scale, n_mels, n_fft, rate, low, high):
    filters = audio.mel_filters(n_mels, n_fft, rate, low, high, scale)
    top = rate / 2 if high is None else high
    step = (audio.hz_to_mel(top, scale) - audio.hz_to_mel(low, scale)) / (n_mels + 1)
    corners = [float(audio.mel_to_hz(audio.hz_to_mel(low, scale) + i * step, scale)) for i in range(n_mels + 2)]
    expected = np.zeros((n_mels, n_fft // 2 + 1))
    for m in range(n_mels):
        a, b, c = corners[m : m + 3]
        for k in range(n_fft // 2 + 1):
            f = k * rate / n_fft
            if a < f <= b:
                expected[m, k] = (f - a) / (b - a)
            elif b < f < c:
                expected[m, k] = (c - f) / (c - b)
    np.testing.assert_allclose(filters, expected, atol=1e-9)
    areas = audio.mel_filters(n_mels, n_fft, rate, low, high, scale, norm="slaney") / filters.clip(1e-300)
    for m in range(n_mels):
        seen = filters[m] > 0
        np.testing.assert_allclose(areas[m, seen], 2 / (corners[m + 2] - corners[m]), rtol=1e-9)


def reference_log_mel(waveform, length, hop, n_fft, filters, floor):
    """The formulas as they stand, one sum after the other."""
    rows = []
    i = np.arange(n_fft)
    for begin in range(0, len(waveform) - length + 1, hop):
        frame = np.zeros(n_fft)
        for t in range(length):
            frame[t] = float(waveform[begin + t]) * (1 - np.cos(2 * np.pi * t / length)) / 2
        power = np.array([abs(np.sum(frame * np.exp(-2j * np.pi * k * i / n_fft))) ** 2 for k in range(n_fft // 2 + 1)])
        rows.append([np.log(max(float(np.dot(power, f)), floor)) for f in filters])
    return np.array(rows)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_log_mel(scale, dtype):
    rate, rng = 4000, np.random.default_rng(0)
    waveform = rng.normal(size=700)
    waveform = (waveform * 3000).astype(np.int16) if dtype == "int16" else waveform.astype(dtype)
    got = audio.log_mel(waveform, rate, n_mels=12, f_min=60, f_max=1900, scale=scale)
    filters = audio.mel_filters(12, 128, rate, 60, 1900, scale)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, reference_log_mel(waveform, 100, 40, 128, filters, 1e-10), rtol=1e-6, atol=1e-6)
    batch = audio.log_mel(np.stack([waveform, waveform[::-1]]), rate, n_mels=12, f_min=60, f_max=1900, scale=scale)
    np.testing.assert_array_equal(batch[0], got)
    assert batch.shape == (2, *got.shape)


def test_log_mel_of_a_tone():
    """A sine of amplitude a whose period divides the window has |X|^2 = (a L / 4)^2 at its bin under a Hann window."""
    rate, length = 8000, 256
    waveform = 0.5 * np.sin(2 * np.pi * 32 / length * np.arange(4 * length))
    got = audio.log_mel(waveform, rate, n_mels=1, window=length / rate, hop=length / rate)
    bins = np.array([31, 32, 33])
    weight = audio.mel_filters(1, length, rate)[0, bins]
    power = (0.5 * length / 4 * np.array([0.5, 1, 0.5])) ** 2  # the window's own spectrum: 1/2 beside the peak
    np.testing.assert_allclose(got[:, 0], np.log(power @ weight), rtol=1e-6)
    assert len(got) == 4


def test_log_mel_at_its_edges():
    assert audio.log_mel(np.zeros(199), 8000).shape == (0, 40)
    assert audio.log_mel(np.zeros((0, 400)), 8000).shape == (0, 3, 40)
    assert audio.log_mel(np.zeros((2, 3, 280)), 8000, n_mels=5).shape == (2, 3, 2, 5)
    np.testing.assert_allclose(audio.log_mel(np.zeros(200), 8000, n_mels=20, floor=1e-5), np.log(1e-5), rtol=1e-6)


@pytest.mark.parametrize(("n_mels", "n_fft"), [(1, 256), (20, 256), (120, 4096)])
def test_log_mel_of_many_blocks(n_mels, n_fft):
    long = np.random.default_rng(0).normal(size=8000 * 6)
    whole = audio.log_mel(long, 8000, n_mels=n_mels, n_fft=n_fft)
    assert whole.shape == (598, n_mels)
    each = audio.log_mel(audio.frames(long, 200, 80), 8000, n_mels=n_mels, n_fft=n_fft)  # frame by frame
    np.testing.assert_allclose(whole, each[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: audio.log_mel(np.zeros(9), 8000, n_fft=100), ValueError, "n_fft no shorter"),
        (lambda: audio.log_mel(np.zeros(9), 8000, hop=0), ValueError, "hop"),
        (lambda: audio.log_mel(np.zeros(9), 8000, floor=0), ValueError, "floor"),
        (lambda: audio.log_mel(np.zeros(9, complex), 8000), ln.DTypeError, "real numbers"),
        (lambda: audio.log_mel(np.zeros(9), 8000, n_mels=300), ValueError, "contains none of the 129 bins"),
        (lambda: audio.mel_filters(4, 64, 8000, 100, 50), ValueError, "f_max=50"),
        (lambda: audio.mel_filters(4, 64, 8000, 0, 5000), ValueError, "f_max=5000"),
        (lambda: audio.mel_filters(4, 64, 8000, norm="area"), ValueError, "norm"),
        (lambda: audio.deltas(np.zeros(3)), ln.ShapeError, r"\[3\]"),
        (lambda: audio.deltas(np.zeros((3, 1)), 0), ValueError, "width"),
        (lambda: audio.standardize(np.zeros(3)), ln.ShapeError, r"\[3\]"),
        (lambda: audio.resample(np.zeros(3), 0, 1), ValueError, "got 0 and 1"),
        (lambda: audio.resample(np.zeros(3), 1.5, 1), ValueError, "whole numbers"),
        (lambda: audio.resample(np.zeros(3), 2, 1, zeros=0), ValueError, "zeros"),
        (lambda: audio.resample(np.zeros(3), 2, 1, rolloff=1.5), ValueError, "rolloff"),
        (lambda: audio.resample(np.float32(3), 2, 1), ln.ShapeError, "axis of samples"),
        (lambda: audio.resample(np.zeros(3, complex), 2, 1), ln.DTypeError, "real numbers"),
        (lambda: audio.spec_augment(np.zeros((3, 2)), time_masks=-1), ValueError, "time_masks=-1"),
        (lambda: audio.spec_augment(np.zeros((3, 2)), share=2), ValueError, "share=2"),
        (lambda: audio.spec_augment(np.zeros(3)), ln.ShapeError, r"\[3\]"),
        (lambda: audio.spec_augment(np.zeros((3, 2), int)), ln.DTypeError, "floating"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (9, 2), (3, 8, 4), (0, 3)])
@pytest.mark.parametrize("width", [1, 2, 9])
def test_deltas(shape, width):
    x = np.random.default_rng(0).normal(size=shape)
    got, count = audio.deltas(x, width), shape[-2]
    expected = np.zeros(shape)
    for t in range(count):
        for k in range(1, width + 1):
            expected[..., t, :] += k * (x[..., min(t + k, count - 1), :] - x[..., max(t - k, 0), :])
    np.testing.assert_allclose(got, expected / (2 * sum(k * k for k in range(1, width + 1))), atol=1e-14)
    assert audio.deltas(x.astype(np.float32), width).dtype == np.float32


def test_standardize():
    x = np.random.default_rng(0).normal(3, 5, (2, 50, 4)).astype(np.float32)
    got = audio.standardize(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(got.std(axis=1), 1, atol=1e-5)
    assert not np.isnan(audio.standardize(np.ones((5, 2)))).any()
    assert audio.standardize(np.ones((0, 2))).shape == (0, 2)


@pytest.mark.parametrize(("rate", "new_rate"), [(8000, 16000), (16000, 8000), (9, 10), (11, 10), (3, 1), (441, 160)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resample_keeps_a_tone(rate, new_rate, dtype):
    """A sine well below both halves of the rates is the same sine; there are as many samples as its seconds need."""
    count = 4001
    frequency = 0.1 * min(rate, new_rate)
    got = audio.resample(np.sin(2 * np.pi * frequency * np.arange(count) / rate).astype(dtype), rate, new_rate)
    assert got.dtype == np.dtype(dtype)
    assert got.shape == (-(-count * new_rate // rate),)
    expected = np.sin(2 * np.pi * frequency * np.arange(len(got)) / new_rate)
    inside = slice(len(got) // 10, -len(got) // 10)
    np.testing.assert_allclose(got[inside], expected[inside], atol=2e-3)


def reference_resample(x, rate, new_rate, zeros=6, rolloff=0.99):
    cutoff = rolloff * min(rate, new_rate) / rate
    rows = []
    for j in range(-(-len(x) * new_rate // rate)):
        away = (np.arange(len(x)) - j * rate / new_rate) * cutoff
        hann = np.where(np.abs(away) < zeros, np.cos(np.pi * away / 2 / zeros) ** 2, 0)
        rows.append(np.sum(x * np.sinc(away) * hann * cutoff))
    return np.array(rows)


@pytest.mark.parametrize(("rate", "new_rate"), [(9, 10), (11, 10), (8000, 12000), (3, 1), (1, 3), (160, 147)])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 50])
def test_resample(rate, new_rate, count):
    x = np.random.default_rng(0).normal(size=(2, count))
    got = audio.resample(x, rate, new_rate)
    for row, signal in zip(got, x, strict=True):
        np.testing.assert_allclose(row, reference_resample(signal, rate, new_rate), atol=1e-13)
    np.testing.assert_allclose(audio.resample(x[:, ::-1], rate, new_rate, zeros=3)[1],
                               reference_resample(x[1, ::-1], rate, new_rate, zeros=3), atol=1e-13)  # fmt: skip


def test_resample_takes_away_what_the_lower_rate_cannot_hold():
    high = np.sin(2 * np.pi * 3500 * np.arange(4000) / 8000)
    assert np.abs(audio.resample(high, 8000, 4000)[100:-100]).max() < 2e-3
    half = high.astype(np.float16)
    got = audio.resample(half, 8000, 12000)
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, audio.resample(half.astype(np.float32), 8000, 12000).astype(np.float16))
    same = np.arange(5, dtype=np.int16)
    assert audio.resample(same, 8000, 8000).dtype == np.float32
    assert audio.resample(same, 8000, 4000).dtype == np.float32
    assert audio.resample(np.ones(5), 3, 3) is not audio.resample(np.ones(5), 3, 3)


@pytest.mark.parametrize("shape", [(30, 12), (3, 30, 12), (2, 2, 5, 3), (1, 1), (0, 4), (4, 0), (0, 4, 4)])
def test_spec_augment(shape):
    x = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    before = x.copy()
    got = audio.spec_augment(x, time_masks=2, time_width=7, band_masks=1, band_width=3, value=-1, rng=1)
    assert got.dtype == np.float32
    assert got.shape == shape
    np.testing.assert_array_equal(x, before)
    kept = got != -1
    np.testing.assert_array_equal(got[kept], x[kept])
    masks = [] if 0 in shape else (~kept).reshape(-1, *shape[-2:])
    for mask in masks:  # whole frames and whole bands, none too many of them
        frames, bands = mask.all(axis=1), mask.all(axis=0)
        if mask.all():
            continue
        np.testing.assert_array_equal(mask, frames[:, None] | bands[None, :])
        assert frames.sum() <= 14
        assert bands.sum() <= 3


def test_spec_augment_draws():
    x = np.ones((200, 300, 20))
    masked = audio.spec_augment(x, time_masks=1, time_width=40, band_masks=0, rng=3) == 0
    widths = masked.all(axis=2).sum(axis=1)
    assert widths.min() <= 2
    assert widths.max() >= 38
    np.testing.assert_allclose(widths.mean(), 20, atol=4 * 40 / np.sqrt(12 * 200))
    assert (audio.spec_augment(x, band_masks=0, share=0.1, rng=3) == 0).all(axis=2).sum(axis=1).max() <= 60
    assert (audio.spec_augment(x, time_masks=0, band_masks=0) == 1).all()
    drawn = [audio.spec_augment(x[0], rng=rng) for rng in (5, np.random.default_rng(5))]
    np.testing.assert_array_equal(*drawn)
    drawn = []
    for _ in range(2):
        ln.manual_seed(4)
        drawn += [audio.spec_augment(x[0]), audio.spec_augment(x[0])]
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert (drawn[0] != drawn[1]).any()
    fortran = audio.spec_augment(np.asfortranarray(x[0]), rng=5)
    np.testing.assert_array_equal(fortran, audio.spec_augment(x[0], rng=5))
