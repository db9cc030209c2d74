"""Sound as features: WAV files, another rate, frames, log-mel spectra, their slopes, parts of them masked.

>>> waveform = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype("float32")
>>> features = ln.data.audio.log_mel(waveform, rate=8000, n_mels=40)
>>> features.shape
(98, 40)
"""

from __future__ import annotations

import math
import os
import wave
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, Literal

from lanner import _core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

Scale = Literal["htk", "slaney"]

__all__ = [
    "deltas",
    "frames",
    "hz_to_mel",
    "log_mel",
    "mel_filters",
    "mel_to_hz",
    "read_wav",
    "resample",
    "spec_augment",
    "standardize",
]

# Frames that are transformed at once: their spectra stay in the second-level cache, and a long recording needs no more
# memory than its features. Above 2**18 multiply-adds OpenBLAS wakes threads, which takes longer than the product where
# other threads train meanwhile (3 s of sound at 8 kHz, on two busy cores: 6.0 ms; without threads 0.4 ms).
_BLOCK, _BLOCK_MULTIPLY_ADDS = 256, 2**18


def read_wav(file: str | os.PathLike[str] | IO[bytes], dtype: Any = "float32", name: str | None = None) -> Any:
    """The samples of a WAV file, and how many there are a second.

    One channel gives an array [samples], several give [channels, samples]. ``dtype`` "float32" or "float64" gives
    numbers from -1 up to 1, "int16" those of a file of 16 bits as they are. Reads PCM of 8, 16, 24 and 32 bits; raises
    FormatError, which calls the file ``name``, for anything else.

    >>> import io, wave
    >>> file = io.BytesIO()
    >>> with wave.open(file, "wb") as out:
    ...     out.setparams((1, 2, 8000, 0, "NONE", ""))
    ...     out.writeframes(np.array([0, 16384, -32768], "<i2").tobytes())
    >>> _ = file.seek(0)
    >>> samples, rate = ln.data.audio.read_wav(file)
    >>> samples.tolist(), rate
    ([0.0, 0.5, -1.0], 8000)
    """
    import numpy as np

    if name is None:
        name = str(os.fspath(file)) if isinstance(file, (str, os.PathLike)) else getattr(file, "name", "read_wav")
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype("float32"), np.dtype("float64"), np.dtype("int16")):
        raise ValueError(f'read_wav: dtype must be "float32", "float64" or "int16", got "{dtype}"')
    try:
        with wave.open(os.fspath(file) if isinstance(file, os.PathLike) else file, "rb") as stream:
            channels, width, rate, count = stream.getparams()[:4]
            data = stream.readframes(count)
    except (wave.Error, EOFError) as error:
        raise _core.FormatError(f"{name}: not a WAV file of PCM ({error or 'it ends too early'})") from error
    if len(data) != count * channels * width or not channels or not rate:
        raise _core.FormatError(
            f"{name}: the WAV file has {len(data)} bytes of samples, its header says {count} x "
            f"{channels} channels x {width} bytes"
        )
    if dtype == np.int16 and width != 2:
        raise _core.FormatError(f'{name}: samples have {8 * width} bits; dtype="int16" expects 16')
    samples: Any
    if width == 1:  # the only width without a sign
        samples = (np.frombuffer(data, np.uint8).astype(np.int16) - 128).astype(dtype) / dtype.type(128)
    elif width == 2:
        samples = np.frombuffer(data, "<i2").astype(dtype)
        if dtype != np.int16:
            samples /= dtype.type(2**15)
    elif width in (3, 4):
        whole = np.zeros((count * channels, 4), np.uint8)  # the highest bytes of 32-bit numbers
        whole[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
        samples = (whole.reshape(-1).view("<i4") / 2**31).astype(dtype)
    else:
        raise _core.FormatError(f"{name}: samples of {8 * width} bits cannot be read")
    return (samples if channels == 1 else np.ascontiguousarray(samples.reshape(-1, channels).T)), rate


def resample(waveform: Any, rate: int, new_rate: int, *, zeros: int = 6, rolloff: float = 0.99) -> Any:
    """The waveforms [..., T], of ``rate`` samples a second, at ``new_rate``: [..., ceil(T * new_rate / rate)].

    Each new sample is the sum of those around it, times a sinc under a Hann window that ends at its ``zeros``-th zero
    on each side (J. O. Smith, "Digital audio resampling"). The sinc cuts off at ``rolloff`` times half the lower of the
    rates. Beyond the ends there is silence. Of dtype float32, or of the waveform's where that is floating.

    Played at the old rate, the result is faster by ``rate / new_rate``: training on copies at 0.9 and 1.1 of the speed
    makes speech recognition better (T. Ko et al., "Audio augmentation for speech recognition", 2015).

    >>> faster = ln.data.audio.resample(np.ones(1100), 11, 10)
    >>> faster.shape, round(float(faster[500]), 2)
    ((1000,), 1.0)
    """
    import numpy as np

    x = np.asarray(waveform)
    if min(rate, new_rate) < 1 or rate != int(rate) or new_rate != int(new_rate):
        raise ValueError(f"resample: the rates must be whole numbers of at least 1, got {rate} and {new_rate}")
    if zeros < 1 or not 0 < rolloff <= 1:
        raise ValueError(f"resample: expected zeros of at least 1 and 0 < rolloff <= 1, got {zeros} and {rolloff}")
    if x.ndim == 0:
        raise _core.ShapeError("resample: waveform must have an axis of samples, got a single number")
    if x.dtype.kind not in "fiu":
        raise _core.DTypeError(f"resample: waveform must hold real numbers, got {x.dtype}")
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    if rate == new_rate:
        return x.astype(dtype)
    # Every `old` samples the places of `new` ones among them come again: so many kernels there are, over a window that
    # moves on by `old`.
    divisor = math.gcd(int(rate), int(new_rate))
    old, new = int(rate) // divisor, int(new_rate) // divisor
    cutoff = rolloff * min(old, new) / old
    width = math.ceil(zeros / cutoff)
    away = (np.arange(-width, old + width) - np.arange(new)[:, None] * (old / new)) * cutoff
    hann = np.where(np.abs(away) < zeros, np.cos(np.pi * away / (2 * zeros)) ** 2, 0.0)
    work = np.result_type(dtype, np.float32)  # half precision is added up in single
    kernels = (np.sinc(away) * hann * cutoff).astype(work)
    count = -(-x.shape[-1] * new // old)
    periods = -(-count // new)
    behind = width + max(periods * old - x.shape[-1], 0)
    padded = np.pad(x.astype(work, copy=False), [(0, 0)] * (x.ndim - 1) + [(width, behind)])
    sums = frames(padded, old + 2 * width, old)[..., :periods, :] @ kernels.T
    return np.ascontiguousarray(sums.reshape(*x.shape[:-1], periods * new)[..., :count], dtype)


def frames(waveform: Any, length: int, hop: int) -> Any:
    """Pieces of ``length`` samples that begin ``hop`` apart: [..., T] as a view [..., frames, length].

    What does not fill a frame at the end is left out: there are ``(T - length) // hop + 1`` frames.

    >>> ln.data.audio.frames(np.arange(6), length=4, hop=2).tolist()
    [[0, 1, 2, 3], [2, 3, 4, 5]]
    """
    import numpy as np

    waveform = np.asarray(waveform)
    if length < 1 or hop < 1:
        raise ValueError(f"frames: length and hop must be at least 1, got {length} and {hop}")
    if waveform.ndim == 0:
        raise _core.ShapeError("frames: waveform must have an axis of samples, got a single number")
    if waveform.shape[-1] < length:
        return np.empty((*waveform.shape[:-1], 0, length), waveform.dtype)
    return np.lib.stride_tricks.sliding_window_view(waveform, length, axis=-1)[..., ::hop, :]


def hz_to_mel(frequency: Any, scale: Scale = "htk") -> Any:
    """The pitch, in mel, of frequencies in Hz.

    "htk" is ``2595 log10(1 + f / 700)`` (O'Shaughnessy 1987; the HTK Book). "slaney" (Auditory Toolbox 1998) is linear
    below 1000 Hz, ``3 f / 200``, and logarithmic above, ``15 + 27 ln(f / 1000) / ln(6.4)``.

    >>> round(float(ln.data.audio.hz_to_mel(1000.0)), 2), float(ln.data.audio.hz_to_mel(1000.0, "slaney"))
    (999.99, 15.0)
    """
    import numpy as np

    f = np.asarray(frequency, np.float64)
    if _scale(scale) == "htk":
        return 2595.0 * np.log10(1.0 + f / 700.0)
    return np.where(f < 1000.0, f * 3 / 200, 15.0 + 27.0 / np.log(6.4) * np.log(np.maximum(f, 1000.0) / 1000.0))


def mel_to_hz(mel: Any, scale: Scale = "htk") -> Any:
    """The frequencies in Hz of pitches in mel: the inverse of ``hz_to_mel``.

    >>> round(float(ln.data.audio.mel_to_hz(ln.data.audio.hz_to_mel(440.0))), 6)
    440.0
    """
    import numpy as np

    m = np.asarray(mel, np.float64)
    if _scale(scale) == "htk":
        return 700.0 * (10.0 ** (m / 2595.0) - 1.0)
    return np.where(m < 15.0, m * 200 / 3, 1000.0 * np.exp(np.log(6.4) / 27.0 * (np.maximum(m, 15.0) - 15.0)))


def mel_filters(
    n_mels: int,
    n_fft: int,
    rate: float,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: Scale = "htk",
    norm: Literal["slaney"] | None = None,
) -> Any:
    """Triangles over the bins of a power spectrum: float64 [n_mels, n_fft // 2 + 1].

    Their corners are evenly apart in mel from ``f_min`` to ``f_max`` (``rate / 2``); triangle i rises from corner i to
    1 at corner i + 1 and falls to corner i + 2, linearly in Hz. ``norm="slaney"`` divides each by half its width in Hz,
    so that all have the area 1. Raises ValueError where a triangle is so narrow that it contains no bin.

    >>> ln.data.audio.mel_filters(3, 8, rate=8000).shape
    (3, 5)
    """
    import numpy as np

    f_max = rate / 2 if f_max is None else f_max
    if n_mels < 1 or n_fft < 2 or not 0 <= f_min < f_max <= rate / 2:
        raise ValueError(
            f"mel_filters: expected n_mels >= 1, n_fft >= 2 and 0 <= f_min < f_max <= rate / 2; got n_mels={n_mels}, "
            f"n_fft={n_fft}, f_min={f_min}, f_max={f_max}, rate={rate}"
        )
    if norm not in (None, "slaney"):
        raise ValueError(f'mel_filters: norm must be "slaney" or None, got {norm!r}')
    corners = mel_to_hz(np.linspace(hz_to_mel(f_min, scale), hz_to_mel(f_max, scale), n_mels + 2), scale)
    bins = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    low, middle, high = (corners[i : i + n_mels, None] for i in range(3))
    filters = np.maximum(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0.0)
    empty = np.flatnonzero(~filters.any(axis=1))
    if len(empty):
        raise ValueError(
            f"mel_filters: triangle {empty[0]} of {n_mels} contains none of the {len(bins)} bins of n_fft={n_fft}; use "
            "fewer n_mels or a larger n_fft"
        )
    return filters * (2.0 / (high - low)) if norm else filters


def log_mel(
    waveform: Any,
    rate: float,
    *,
    n_mels: int = 40,
    window: float = 0.025,
    hop: float = 0.01,
    n_fft: int | None = None,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: Scale = "htk",
    norm: Literal["slaney"] | None = None,
    floor: float = 1e-10,
) -> Any:
    """The logarithm of the power in bands of pitch: float32 [..., frames, n_mels] of waveforms [..., T].

    Frames of ``window`` seconds every ``hop`` seconds, times a periodic Hann window, ``(1 - cos(2 pi i / L)) / 2``, and
    padded with zeros to ``n_fft`` (the next power of two); the squares of the absolute values of its discrete
    Fourier transform, in ``mel_filters``; ``log(max(power, floor))``. Computed in float64.

    >>> ln.data.audio.log_mel(np.zeros((2, 400)), rate=8000, n_mels=20).shape
    (2, 3, 20)
    """
    import numpy as np

    waveform = np.asarray(waveform)
    length, step = round(window * rate), round(hop * rate)
    n_fft = 1 << max(length - 1, 1).bit_length() if n_fft is None else n_fft
    if length < 2 or step < 1 or n_fft < length or not floor > 0:
        raise ValueError(
            f"log_mel: expected a window of at least 2 samples, a hop of at least 1, n_fft no shorter than the window "
            f"and a positive floor; got {length}, {step}, {n_fft} and {floor}"
        )
    if waveform.dtype.kind not in "fiu":
        raise _core.DTypeError(f"log_mel: waveform must hold real numbers, got {waveform.dtype}")
    hann, filters = _tables(length, n_mels, n_fft, rate, f_min, f_max, scale, norm)
    signals = waveform.reshape(math.prod(waveform.shape[:-1]), waveform.shape[-1]) if waveform.ndim else waveform
    pieces = frames(signals, length, step)
    result = np.empty((*pieces.shape[:-1], n_mels), np.float32)
    block = min(max(_BLOCK_MULTIPLY_ADDS // filters.size, 1), _BLOCK)
    for row, signal in zip(result, pieces, strict=True):
        for begin in range(0, len(signal), block):
            spectrum = np.fft.rfft(signal[begin : begin + block] * hann, n_fft)
            power = spectrum.real**2 + spectrum.imag**2
            row[begin : begin + block] = np.log(np.maximum(power @ filters, floor))
    return result.reshape(*waveform.shape[:-1], *result.shape[-2:])


@lru_cache(maxsize=16)
def _tables(length: int, n_mels: int, n_fft: int, *options: Any) -> tuple[Any, Any]:
    """The window, and the filters' transpose; those of a corpus are the same for every recording."""
    import numpy as np

    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return hann, np.ascontiguousarray(mel_filters(n_mels, n_fft, *options).T)


def deltas(features: Any, width: int = 2) -> Any:
    """The slope of features [..., frames, n] over time: the least-squares line through each frame and its neighbours.

    ``sum(k (x[t + k] - x[t - k])) / (2 sum(k^2))`` for k from 1 to ``width`` (the HTK Book, section 5.9); beyond the
    ends, the first and the last frame go on.

    >>> ln.data.audio.deltas(np.array([[0.0], [1.0], [2.0], [3.0], [4.0]]), width=1).ravel().tolist()
    [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    import numpy as np

    x = np.asarray(features)
    if width < 1:
        raise ValueError(f"deltas: width must be at least 1, got {width}")
    if x.ndim < 2:
        raise _core.ShapeError(f"deltas: expected features [..., frames, n], got shape {list(x.shape)}")
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    count = x.shape[-2]
    if count == 0:
        return np.zeros(x.shape, dtype)
    wide = np.concatenate(
        [np.repeat(x[..., :1, :], width, axis=-2), x, np.repeat(x[..., -1:, :], width, axis=-2)], axis=-2
    ).astype(dtype, copy=False)
    slope = np.zeros(x.shape, dtype)
    for k in range(1, width + 1):
        slope += k * (wide[..., width + k : width + k + count, :] - wide[..., width - k : width - k + count, :])
    return slope / dtype.type(2 * sum(k * k for k in range(1, width + 1)))


def standardize(features: Any, eps: float = 1e-5) -> Any:
    """Features [..., frames, n] with mean 0 and variance 1 over the frames: ``(x - mean) / sqrt(variance + eps)``.

    Takes away what the microphone and the loudness of one recording add to every frame.

    >>> ln.data.audio.standardize(np.array([[1.0], [3.0]]), eps=0.0).ravel().tolist()
    [-1.0, 1.0]
    """
    import numpy as np

    x = np.asarray(features)
    if x.ndim < 2:
        raise _core.ShapeError(f"standardize: expected features [..., frames, n], got shape {list(x.shape)}")
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    if x.shape[-2] == 0:
        return x.astype(dtype)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=-2, keepdims=True)
    return (centred / np.sqrt((centred**2).mean(axis=-2, keepdims=True) + eps)).astype(dtype)


def spec_augment(
    features: Any,
    *,
    time_masks: int = 2,
    time_width: int = 40,
    band_masks: int = 2,
    band_width: int = 8,
    share: float = 1.0,
    value: float = 0.0,
    rng: np.random.Generator | int | None = None,
) -> Any:
    """A copy of features [..., frames, n] in which some frames and some bands are ``value``, to train on.

    Each of ``time_masks`` covers up to ``time_width`` frames, but no more than a ``share`` of them; each of
    ``band_masks`` up to ``band_width`` bands: how many is drawn evenly from 0 on, then where they begin. Of several
    recordings each has its own. ``rng`` is a NumPy generator or its seed; without, the seed comes from the generator
    that ``ln.manual_seed`` sets. ``value`` 0 is the mean of what ``standardize`` gives.

    D. S. Park et al.: SpecAugment, a simple data augmentation method for automatic speech recognition (2019), without
    its warping of time.

    >>> masked = ln.data.audio.spec_augment(np.ones((50, 40)), time_width=10, rng=0)
    >>> masked.shape, bool((masked == 0).any()), bool(np.isin(masked, (0, 1)).all())
    ((50, 40), True, True)
    """
    import numpy as np

    x = np.array(features, order="C")
    if min(time_masks, time_width, band_masks, band_width) < 0 or not 0 <= share <= 1:
        raise ValueError(
            f"spec_augment: masks and widths must not be negative and share lie between 0 and 1; got "
            f"time_masks={time_masks}, time_width={time_width}, band_masks={band_masks}, band_width={band_width}, "
            f"share={share}"
        )
    if x.ndim < 2:
        raise _core.ShapeError(f"spec_augment: expected features [..., frames, n], got shape {list(x.shape)}")
    if x.dtype.kind != "f":
        raise _core.DTypeError(f"spec_augment: features must be floating, got {x.dtype}")
    generator = np.random.default_rng(_core._draw_seed() if rng is None else rng)
    count, bands = x.shape[-2:]
    longest, widest = min(time_width, int(share * count)), min(band_width, bands)
    for each in x.reshape(math.prod(x.shape[:-2]), count, bands):  # views: the copy is contiguous
        for _ in range(time_masks):
            width = int(generator.integers(longest + 1))
            begin = int(generator.integers(count - width + 1))
            each[begin : begin + width] = value
        for _ in range(band_masks):
            width = int(generator.integers(widest + 1))
            begin = int(generator.integers(bands - width + 1))
            each[:, begin : begin + width] = value
    return x


def _scale(scale: str) -> str:
    if scale not in ("htk", "slaney"):
        raise ValueError(f'the mel scale must be "htk" or "slaney", got {scale!r}')
    return scale
