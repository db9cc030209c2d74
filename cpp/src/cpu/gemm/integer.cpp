#include "cpu/gemm/families.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Elements narrower than 32 bits are multiplied in 32: uint16_t products would overflow the int that they promote to.
template <class U>
struct Wide {
  using type = uint32_t;
};
template <>
struct Wide<uint64_t> {
  using type = uint64_t;
};

}  // namespace

// A block of 64 rows of B is used for all rows of C while it is in the cache.
template <class U>
void integer_gemm(int64_t m0, int64_t m1, int64_t n, int64_t k, const void* a_raw, int64_t a_row, int64_t a_col,
                  const void* b_raw, int64_t b_row, int64_t b_col, void* c_raw) {
  using W = typename Wide<U>::type;
  constexpr int64_t kRowsOfB = 64;
  const U* a = static_cast<const U*>(a_raw);
  const U* b = static_cast<const U*>(b_raw);
  for (int64_t k0 = 0; k0 < k; k0 += kRowsOfB) {
    const int64_t k1 = k0 + kRowsOfB < k ? k0 + kRowsOfB : k;
    for (int64_t i = m0; i < m1; ++i) {
      U* __restrict__ row = static_cast<U*>(c_raw) + i * n;
      for (int64_t s = k0; s < k1; ++s) {
        const W x = a[i * a_row + s * a_col];
        const U* from = b + s * b_row;
        if (b_col == 1)
          for (int64_t j = 0; j < n; ++j) row[j] = static_cast<U>(row[j] + x * from[j]);
        else
          for (int64_t j = 0; j < n; ++j) row[j] = static_cast<U>(row[j] + x * from[j * b_col]);
      }
    }
  }
}

LANNER_INTEGER_GEMM(uint8_t)
LANNER_INTEGER_GEMM(uint16_t)
LANNER_INTEGER_GEMM(uint32_t)
LANNER_INTEGER_GEMM(uint64_t)

}  // namespace lanner::cpu::LANNER_ISA
