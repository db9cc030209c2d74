#include "cpu/kernels/loss.h"

#include "cpu/kernels/lines.h"
#include "cpu/kernels/math.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <class T>
void binary_cross_entropy(const T* x, const T* t, T* y, size_t n) {
  const V<T> least = splat(static_cast<T>(-100)), one = splat(static_cast<T>(1));
  each_vector<T>(static_cast<int64_t>(n), [&](auto v, int64_t i) {
    const V<T> p = v.load(x + i), target = v.load(t + i);
    const V<T> yes = max_nan(log(p), least), no = max_nan(log1p(-p), least);
    v.store(y + i, (target - one) * no - target * yes);
  });
}

template <class T>
void binary_cross_entropy_with_logits(const T* x, const T* t, T* y, size_t n) {
  const V<T> zero = splat(static_cast<T>(0));
  each_vector<T>(static_cast<int64_t>(n), [&](auto v, int64_t i) {
    const V<T> p = v.load(x + i);
    v.store(y + i, max_nan(p, zero) - p * v.load(t + i) + log1p_of_fraction(exp(-abs(p))));
  });
}

template <class T>
constexpr LossOf<T> kLoss = {binary_cross_entropy<T>, binary_cross_entropy_with_logits<T>};

}  // namespace

extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {kLoss<float>, kLoss<double>};

}  // namespace lanner::cpu::LANNER_ISA
