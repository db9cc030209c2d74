#include "lanner/ops/random.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/half.h"
#include "cpu/dispatch.h"
#include "cpu/kernels/random.h"
#include "lanner/ops.h"
#include "lanner/parallel.h"
#include "ops/random.h"

namespace lanner {
namespace {

struct UniformAttrs {
  RandomState state;
  double low, scale, last;
};
struct NormalAttrs {
  RandomState state;
  double mean, std;
};
struct RandintAttrs {
  RandomState state;
  uint64_t low, range;
};
struct ChoiceAttrs {
  RandomState state;
  uint64_t threshold;  // chosen where a random word is below
  double scale;
};

// Numbers that one thread draws in some 20 us.
constexpr int64_t kGrain = 1 << 16;
static_assert(kGrain % cpu::kRandomChunk == 0);

// draw(slice, begin) for the slices of n elements.
template <class Draw>
void for_slices(RandomState state, int64_t n, Draw draw) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    draw(cpu::RandomSlice{state.seed, state.call, begin, end - begin}, begin);
  });
}

// The greatest value of `dtype` below `high`.
template <class Half, class ToHalf>
double half_below(double high, ToHalf to_half) {
  Half h = to_half(static_cast<float>(high));
  while (to_float(h) >= high) {
    const uint16_t magnitude = h.bits & 0x7fff;
    if (magnitude == 0)
      h.bits = 0x8001;
    else
      h.bits = static_cast<uint16_t>(h.bits & 0x8000 ? h.bits + 1 : h.bits - 1);
  }
  return to_float(h);
}

double value_below(double high, DType dtype) {
  switch (dtype) {
    case DType::Float16: return half_below<float16>(high, to_float16);
    case DType::BFloat16: return half_below<bfloat16>(high, to_bfloat16);
    case DType::Float32: {
      const float f = static_cast<float>(high);
      return f < high ? f : std::nextafter(f, -std::numeric_limits<float>::infinity());
    }
    default: return std::nextafter(high, -std::numeric_limits<double>::infinity());
  }
}

double greatest_of(DType dtype) {
  switch (dtype) {
    case DType::Float16: return 65504;
    case DType::BFloat16: return 0x1.fep127;
    case DType::Float32: return std::numeric_limits<float>::max();
    default: return std::numeric_limits<double>::max();
  }
}

void check_random_dtype(const char* op, DType dtype) {
  check<DTypeError>(is_floating(dtype), op, ": dtype must be floating, got ", dtype_name(dtype));
}

void check_probability(const char* op, double p) {
  check(p >= 0 && p <= 1, op, ": p is a probability, from 0 to 1; got ", p);
}

uint64_t threshold_of(double p) { return static_cast<uint64_t>(std::nearbyint(p * 0x1p32)); }

DType drawn_dtype(DType dtype) { return is_half(dtype) ? DType::Float32 : dtype; }

}  // namespace

uint64_t keep_threshold(double dropout_p) { return threshold_of(1 - dropout_p); }

Tensor dropout_by(RandomState state, uint64_t threshold, double scale, const Tensor& x) {
  return emit(Op::Dropout, {ops::contiguous(x)}, ChoiceAttrs{state, threshold, scale}, {x.shape(), x.dtype()});
}

namespace ops {

Tensor normal(const Shape& shape, double mean, double std, DType dtype) {
  check_random_dtype("normal", dtype);
  check(std >= 0, "normal: std must not be negative, got ", std);
  const Tensor drawn = emit(Op::Normal, {}, NormalAttrs{next_random_state(), mean, std}, {shape, drawn_dtype(dtype)});
  return is_half(dtype) ? cast(drawn, dtype) : drawn;
}

Tensor uniform(const Shape& shape, double low, double high, DType dtype) {
  check_random_dtype("uniform", dtype);
  check(low <= high, "uniform: low must not be above high, got low ", low, ", high ", high);
  check(high - low <= greatest_of(dtype), "uniform: the range from ", low, " to ", high, " does not fit into ",
        dtype_name(dtype));
  const double last = low == high ? high : std::max(low, value_below(high, dtype));
  const Tensor drawn =
      emit(Op::Uniform, {}, UniformAttrs{next_random_state(), low, high - low, last}, {shape, drawn_dtype(dtype)});
  return is_half(dtype) ? cast(drawn, dtype) : drawn;
}

Tensor randint(int64_t low, int64_t high, const Shape& shape, DType dtype) {
  check(low < high, "randint: low must be below high, got low ", low, ", high ", high);
  if (is_floating(dtype)) return cast(randint(low, high, shape, DType::Int64), dtype);
  check<DTypeError>(is_integer(dtype), "randint: dtype must be an integer or floating one, got ", dtype_name(dtype));
  const int bits = static_cast<int>(itemsize(dtype)) * 8;
  bool fits = true;
  if (is_unsigned(dtype))
    fits = low >= 0 && (bits == 64 || high - 1 <= (int64_t{1} << bits) - 1);
  else if (bits < 64)
    fits = low >= -(int64_t{1} << (bits - 1)) && high - 1 <= (int64_t{1} << (bits - 1)) - 1;
  check<DTypeError>(fits, "randint: ", dtype_name(dtype), " does not hold every integer from ", low, " to ", high - 1);
  const uint64_t first = static_cast<uint64_t>(low);
  return emit(Op::Randint, {}, RandintAttrs{next_random_state(), first, static_cast<uint64_t>(high) - first},
              {shape, dtype});
}

Tensor permutation(int64_t n) {
  check<ShapeError>(n >= 0, "permutation: n must not be negative, got ", n);
  return emit(Op::Permutation, {}, next_random_state(), {{n}, DType::Int64});
}

Tensor permutation(const Tensor& x) {
  check<ShapeError>(x.ndim() >= 1, "permutation: x must have an axis to permute, got a 0-d tensor");
  return take(x, permutation(x.size(0)), 0);
}

Tensor bernoulli(double p, const Shape& shape, DType dtype) {
  check_probability("bernoulli", p);
  const Tensor drawn =
      emit(Op::Bernoulli, {}, ChoiceAttrs{next_random_state(), threshold_of(p), 1}, {shape, DType::Bool});
  return dtype == DType::Bool ? drawn : cast(drawn, dtype);
}

Tensor bernoulli(const Tensor& p) {
  check_floating("bernoulli", "p", p);
  return cast(less(uniform(p.shape(), 0, 1, drawn_dtype(p.dtype())), p), p.dtype());
}

Tensor categorical(const Tensor& logits, int64_t axis, const std::optional<Shape>& shape) {
  check_floating("categorical", "logits", logits);
  const int last = logits.ndim() - 1, at = normalize_axis(axis, logits.ndim(), "categorical");
  check<ShapeError>(logits.size(at) > 0, "categorical: logits ", logits.shape(), " has no classes along axis ", at);
  const Tensor x = cast(at == last ? logits.detach() : moveaxis(logits.detach(), {at}, {last}), DType::Float64);
  Shape rows, result;
  for (int i = 0; i < last; ++i) rows.push_back(x.size(i));
  result = shape.value_or(rows);
  bool fits = result.size() >= rows.size();
  for (size_t i = 0; fits && i < rows.size(); ++i) fits = result[result.size() - 1 - i] == rows[rows.size() - 1 - i];
  check<ShapeError>(fits, "categorical: shape must end with ", rows, ", the axes of logits without its classes, got ",
                    result);
  // In float64: rounding favours no class, however many there are.
  const Tensor cumulative = cumulative_sum(softmax(x, -1), -1);
  return emit(Op::Categorical, {contiguous(cumulative)}, next_random_state(), {result, DType::Int64});
}

Tensor dropout(const Tensor& x, double p, bool training) {
  check_probability("dropout", p);
  check_floating("dropout", "x", x);
  if (!training || p == 0) return x;
  if (is_half(x.dtype())) return cast(dropout(cast(x, DType::Float32), p, true), x.dtype());
  return dropout_by(next_random_state(), keep_threshold(p), p == 1 ? 0 : 1 / (1 - p), x);
}

Tensor dropout2d(const Tensor& x, double p, bool training) {
  check_probability("dropout2d", p);
  check_floating("dropout2d", "x", x);
  check<ShapeError>(x.ndim() >= 3, "dropout2d: x must be [N, C, H, W] or [C, H, W], got shape ", x.shape());
  if (!training || p == 0) return x;
  Shape channels = Dims::filled(x.ndim(), 1);
  for (int axis = 0; axis < (x.ndim() == 3 ? 1 : 2); ++axis) channels[axis] = x.size(axis);
  return multiply(x, dropout(ones(channels, x.dtype()), p, true));
}

void uniform_(const Tensor& x, double low, double high) {
  check_floating("uniform_", "x", x);
  copy_(x, uniform(x.shape(), low, high, x.dtype()));
}

void normal_(const Tensor& x, double mean, double std) {
  check_floating("normal_", "x", x);
  copy_(x, normal(x.shape(), mean, std, x.dtype()));
}

}  // namespace ops

LANNER_RUN(Normal) {
  const auto& a = r.attrs.get<NormalAttrs>();
  const Tensor& out = r.out[0];
  for_slices(a.state, out.size(), [&](const cpu::RandomSlice& s, int64_t at) {
    if (out.dtype() == DType::Float32)
      cpu::kernels().random->normal_f32(s, static_cast<float>(a.mean), static_cast<float>(a.std),
                                        out.data<float>() + at);
    else
      cpu::kernels().random->normal_f64(s, a.mean, a.std, out.data<double>() + at);
  });
}

LANNER_RUN(Uniform) {
  const auto& a = r.attrs.get<UniformAttrs>();
  const Tensor& out = r.out[0];
  for_slices(a.state, out.size(), [&](const cpu::RandomSlice& s, int64_t at) {
    if (out.dtype() == DType::Float32)
      cpu::kernels().random->uniform_f32(s, static_cast<float>(a.low), static_cast<float>(a.scale),
                                         static_cast<float>(a.last), out.data<float>() + at);
    else
      cpu::kernels().random->uniform_f64(s, a.low, a.scale, a.last, out.data<double>() + at);
  });
}

LANNER_RUN(Randint) {
  const auto& a = r.attrs.get<RandintAttrs>();
  void* out = r.out[0].raw();
  const cpu::RandomKernels& k = *cpu::kernels().random;
  for_slices(a.state, r.out[0].size(), [&](const cpu::RandomSlice& s, int64_t at) {
    switch (itemsize(r.out[0].dtype())) {
      case 1: return k.integers_8(s, a.low, a.range, static_cast<uint8_t*>(out) + at);
      case 2: return k.integers_16(s, a.low, a.range, static_cast<uint16_t*>(out) + at);
      case 4: return k.integers_32(s, a.low, a.range, static_cast<uint32_t*>(out) + at);
      default: return k.integers_64(s, a.low, a.range, static_cast<uint64_t*>(out) + at);
    }
  });
}

LANNER_RUN(Permutation) { random_permutation(r.attrs.get<RandomState>(), r.out[0].size(), r.out[0].data<int64_t>()); }

LANNER_RUN(Bernoulli) {
  const auto& a = r.attrs.get<ChoiceAttrs>();
  uint8_t* out = static_cast<uint8_t*>(r.out[0].raw());
  for_slices(a.state, r.out[0].size(), [&](const cpu::RandomSlice& s, int64_t at) {
    cpu::kernels().random->bernoulli(s, a.threshold, out + at);
  });
}

// in = the sums of the probabilities up to each class; the class is the first whose sum lies above u times the last one.
LANNER_RUN(Categorical) {
  const Tensor &sums = r.in[0], &out = r.out[0];
  const int64_t classes = sums.size(-1), rows = sums.size() / classes;
  for_slices(r.attrs.get<RandomState>(), out.size(), [&](cpu::RandomSlice s, int64_t begin) {
    const int64_t end = begin + s.n;
    double u[cpu::kRandomChunk];
    for (int64_t i = begin; i < end; ++i) {
      if ((i - begin) % cpu::kRandomChunk == 0) {
        s.begin = i, s.n = std::min(end - i, cpu::kRandomChunk);
        cpu::kernels().random->uniform_f64(s, 0, 1, 1, u);
      }
      const double* row = sums.data<double>() + i % rows * classes;
      const double total = row[classes - 1];
      check(total > 0, "categorical: row ", i % rows, " of logits has a NaN, +inf, or -inf alone");
      // u is below 1 by at least 2^-53, so that the product is below the total when rounded, too.
      const double* found = std::upper_bound(row, row + classes, u[(i - begin) % cpu::kRandomChunk] * total);
      out.data<int64_t>()[i] = found - row;
    }
  });
}

LANNER_RUN(Dropout) {
  const auto& a = r.attrs.get<ChoiceAttrs>();
  const Tensor &x = r.in[0], &out = r.out[0];
  for_slices(a.state, out.size(), [&](const cpu::RandomSlice& s, int64_t at) {
    if (out.dtype() == DType::Float32)
      cpu::kernels().random->dropout_f32(s, a.threshold, static_cast<float>(a.scale), x.data<float>() + at,
                                         out.data<float>() + at);
    else
      cpu::kernels().random->dropout_f64(s, a.threshold, a.scale, x.data<double>() + at, out.data<double>() + at);
  });
}
// Linear in x: the same numbers, drawn again, are its own transpose.
LANNER_VJP(Dropout) {
  return {emit(Op::Dropout, {ops::contiguous(v.g[0])}, v.attrs, {v.g[0].shape(), v.g[0].dtype()})};
}

}  // namespace lanner
