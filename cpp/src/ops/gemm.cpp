#include "ops/gemm.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cpu/dispatch.h"
#include "lanner/parallel.h"
#include "ops/op.h"

namespace lanner {
namespace {

using cpu::GemmArgs;
using cpu::GemmFunctions;

// Measured on 2 Zen 5 cores (AVX-512, 48 KiB, 1 MiB and 32 MiB of cache) with bench/gemm.cpp.
//
// A task of 0.25 MFLOP takes 1 us, and a thread that is awake takes it up in 0.3 (64^3: two tasks 1.4 us, one 2.3). Eight
// of them keep a handful of cores even; large products have more, of at most kTaskRows rows each.
constexpr int64_t kTaskFlops = 250'000;
constexpr int64_t kTasks = 8;
// Of rows, a task has enough to use a panel of B ten times, and few enough for its block of A, kTaskRows x kc, to fill
// half of the second-level cache. Of columns, enough for four panels.
constexpr int64_t kTaskRows = 256, kMinTaskRows = 128, kMinTaskColumns = 128;
// Where many rows meet B, a task packs the panels of a strip of C, for up to kStripRows, and what it packed stays in the
// second-level cache. That all of B is packed first costs three times as much (512 x 1024 x 1024: 84 to 93 % of the
// peak; B transposed: 85 to 91).
constexpr int64_t kMinStripRows = 64, kStripRows = 1024, kMinStripColumns = 256, kStripPanels = 4;
// With fewer rows B is read where it lies, if its rows are contiguous; or if all of it fits into the second-level cache
// (512^3: packing loses 2 %). Rows of B a multiple of kAliasBytes apart share few sets of the caches: not for them.
constexpr int64_t kDirectBytes = 1 << 20, kAliasDirectRows = 16, kAliasBytes = 4096;
// Up to this many rows a product with a transposed B is one with each row: B stays in the cache, and is not packed.
constexpr int64_t kVectorRows = 4;
// Up to this many a product with a transposed B, as that of a linear layer, is computed as C^T = B^T A^T: what is
// packed is A, the smaller one, and B is read where it lies (32 x 256 x 784: 78 to 60 us).
constexpr int64_t kTransposeRows = 160;
// Elements of a matrix that meets a vector: 2 us from the second-level cache of one core; the least that is worth another
// thread. An even number of tasks is fair to two cores.
constexpr int64_t kVectorTask = 96 * 1024, kMinVectorTask = 16 * 1024;
// Elements of B whose packing is one task: 1 us. What is packed is bounded to 16 MiB of float32: half of a third-level
// cache.
constexpr int64_t kPackTask = 8192, kPackedElements = 4 << 20, kMaxK = 32768;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
bool aliases(int64_t stride) {
  return stride * static_cast<int64_t>(sizeof(T)) % kAliasBytes == 0;
}

template <class T>
const GemmFunctions<T>& functions(Precision precision = Precision::Full) {
  const cpu::GemmKernels& kernels = *cpu::kernels().gemm;
  if constexpr (std::is_same_v<T, float>) {
    if (precision == Precision::Full) return kernels.f32;
    if (cpu::has_amx()) return *kernels.bf16_amx;
    return cpu::has_bf16_pairs() ? *kernels.bf16_pairs : *kernels.bf16_rounded;
  } else {
    return kernels.f64;
  }
}

// C^T = B^T A^T.
template <class T>
GemmArgs<T> transposed(const GemmArgs<T>& g) {
  GemmArgs<T> t = g;
  t.m = g.n, t.n = g.m;
  t.a = g.b, t.a_row = g.b_col, t.a_col = g.b_row;
  t.b = g.a, t.b_row = g.a_col, t.b_col = g.a_row;
  t.c_row = g.c_col, t.c_col = g.c_row;
  t.epilogue.bias_per_column = g.epilogue.bias_per_row, t.epilogue.bias_per_row = g.epilogue.bias_per_column;
  return t;
}

// The product with one row of A.
template <class T>
GemmArgs<T> row_of(const GemmArgs<T>& g, int64_t row) {
  GemmArgs<T> r = g;
  r.m = 1;
  r.a += row * g.a_row, r.c += row * g.c_row;
  if (r.epilogue.bias_per_row) r.epilogue.bias_per_row += row;
  if (r.epilogue.residual) r.epilogue.residual += row * g.c_row;
  if (r.epilogue.gate) r.epilogue.gate += row * g.c_row;
  return r;
}

// g.n is 1. False where neither stride of the matrix is 1.
template <class T>
bool matrix_times_vector(const GemmArgs<T>& g) {
  if (g.k == 0 || (g.a_col != 1 && g.a_row != 1)) return false;
  if (g.a_col == 1 && g.b_row != 1) {
    Workspace x(g.k * sizeof(T));
    for (int64_t i = 0; i < g.k; ++i) x.as<T>()[i] = g.b[i * g.b_row];
    GemmArgs<T> dense = g;
    dense.b = x.as<T>(), dense.b_row = 1;
    return matrix_times_vector(dense);
  }
  const int64_t elements = g.m * g.k;
  const int64_t tasks = elements < 2 * kMinVectorTask ? 1 : std::max<int64_t>(elements / kVectorTask / 2 * 2, 2);
  const int64_t grain = ceil_div(ceil_div(g.m, tasks), 16) * 16;
  parallel_for(g.m, grain, [&](int64_t begin, int64_t end) { functions<T>().gemv(g, begin, end); });
  return true;
}

// The blocks of C that are one task each: `rows` rows, and a share of the panels that differs by one at most.
struct Tasks {
  int64_t rows, panels, down, across;
  int64_t panel(int64_t j) const { return j * panels / across; }
};
template <class T>
Tasks cut(const GemmArgs<T>& g, bool packs_b) {
  const int64_t nr = functions<T>().nr, mr = functions<T>().mr;
  const double flops = 2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  // With few rows B is all there is to read.
  const double work = std::max(flops / kTaskFlops, static_cast<double>(g.n * g.k) / kVectorTask);
  const int64_t wanted = static_cast<int64_t>(std::clamp(work, 1.0, static_cast<double>(kTasks)));
  Tasks t;
  t.panels = ceil_div(g.n, nr);
  if (packs_b) {
    t.down = ceil_div(g.m, kStripRows);
    t.across = ceil_div(t.panels, std::clamp<int64_t>(t.panels / kTasks, 1, kStripPanels));
  } else {
    t.down = std::max(ceil_div(g.m, kTaskRows), std::min(wanted, ceil_div(g.m, kMinTaskRows)));
    t.across = std::min(ceil_div(wanted, t.down), ceil_div(g.n, kMinTaskColumns));
    if (t.down * t.across < wanted) t.down = std::min(ceil_div(wanted, t.across), ceil_div(g.m, mr));
  }
  t.across = std::min(t.across, t.panels);
  t.rows = ceil_div(g.m, t.down), t.down = ceil_div(g.m, t.rows);
  return t;
}

template <class T>
bool reads_b_directly(const GemmArgs<T>& g) {
  if (g.b_col != 1) return false;
  if (aliases<T>(g.b_row)) return g.m <= kAliasDirectRows;
  return g.m < kMinStripRows || g.k * g.n * static_cast<int64_t>(sizeof(T)) <= kDirectBytes;
}

template <class T>
void run_tasks(const GemmArgs<T>& g, const GemmFunctions<T>& f, bool packs_b = false) {
  const Tasks t = cut(g, packs_b);
  const int64_t nr = f.nr, workspace_elements = f.block_workspace_elements(g, t.rows, packs_b);
  parallel_for(t.down * t.across, 1, [&](int64_t begin, int64_t end) {
    Workspace workspace(workspace_elements * sizeof(T));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t m0 = i % t.down * t.rows, n0 = t.panel(i / t.down) * nr, n1 = t.panel(i / t.down + 1) * nr;
      f.block(g, m0, std::min(m0 + t.rows, g.m), n0, std::min(n1, g.n), packs_b, workspace.as<T>());
    }
  });
}

// A single panel is cut along K, between pairs of k.
template <class T>
void pack_panels(const GemmFunctions<T>& f, int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, T* packed) {
  const int64_t panels = ceil_div(n, f.nr);
  if (panels == 1) {
    parallel_for(k, std::max<int64_t>(kPackTask / f.nr, 2) / 2 * 2, [&](int64_t begin, int64_t end) {
      f.pack_b(end - begin, n, b + begin * b_row, b_row, b_col, 0, 1, packed + f.packed_b_elements(begin, f.nr));
    });
  } else {
    parallel_for(panels, std::max<int64_t>(kPackTask / std::max<int64_t>(k * f.nr, 1), 1),
                 [&](int64_t begin, int64_t end) { f.pack_b(k, n, b, b_row, b_col, begin, end, packed); });
  }
}

// The part of a product with columns [n0, n0 + n) and [k0, k0 + k).
template <class T>
GemmArgs<T> part_of(const GemmArgs<T>& g, int64_t n0, int64_t n, int64_t k0, int64_t k) {
  GemmArgs<T> part = g;
  part.n = n, part.k = k;
  part.a += k0 * g.a_col;
  part.b += k0 * g.b_row + n0 * g.b_col;
  part.c += n0 * g.c_col;
  if (k0 > 0) part.beta = 1;
  cpu::Epilogue<T>& e = part.epilogue;
  if (k0 + k < g.k) e = {};
  if (e.bias_per_column) e.bias_per_column += n0;
  if (e.residual) e.residual += n0 * g.c_col;
  if (e.gate) e.gate += n0 * g.c_col;
  return part;
}

// Packs B, in chunks that bound the workspace, and multiplies with each.
template <class T>
void pack_b_and_run(const GemmArgs<T>& g, const GemmFunctions<T>& f) {
  const int64_t chunk_k = std::min(g.k, kMaxK);
  const int64_t chunk_n = std::min(g.n, std::max<int64_t>(kPackedElements / chunk_k / f.nr, 1) * f.nr);
  Workspace packed(f.packed_b_elements(chunk_k, chunk_n) * sizeof(T));
  for (int64_t n0 = 0; n0 < g.n; n0 += chunk_n) {
    for (int64_t k0 = 0; k0 < g.k; k0 += chunk_k) {
      GemmArgs<T> part = part_of(g, n0, std::min(chunk_n, g.n - n0), k0, std::min(chunk_k, g.k - k0));
      pack_panels(f, part.k, part.n, part.b, g.b_row, g.b_col, packed.as<T>());
      part.packed_b = packed.as<T>();
      run_tasks(part, f);
    }
  }
}

}  // namespace

template <class T>
int64_t packed_b_elements(int64_t k, int64_t n, Precision precision) {
  return functions<T>(precision).packed_b_elements(k, n);
}

template <class T>
void pack_b(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, T* packed, Precision precision) {
  pack_panels(functions<T>(precision), k, n, b, b_row, b_col, packed);
}

template <class T>
void gemm(const GemmArgs<T>& g, Precision precision) {
  if (g.m == 0 || g.n == 0) return;
  const GemmFunctions<T>& f = functions<T>(precision);
  const bool full = &f == &functions<T>();
  if (g.packed_b) {
    run_tasks(g, f);
  } else if (g.k == 0) {
    run_tasks(g, functions<T>());
  } else if (!full) {
    pack_b_and_run(g, f);
  } else if (g.n == 1 && matrix_times_vector(g)) {
  } else if (g.m == 1 && matrix_times_vector(transposed(g))) {
  } else if (g.m <= kVectorRows && g.b_row == 1 && g.b_col != 1) {
    for (int64_t i = 0; i < g.m; ++i) matrix_times_vector(transposed(row_of(g, i)));
  } else if (g.b_row == 1 && g.b_col != 1 && g.c_col == 1 && g.m <= kTransposeRows && g.m <= g.n) {
    gemm(transposed(g), precision);
  } else if (reads_b_directly(g)) {
    run_tasks(g, f);
  } else if (g.m >= kMinStripRows && g.n >= kMinStripColumns) {
    run_tasks(g, f, true);
  } else {
    pack_b_and_run(g, f);
  }
}

template <class T>
void gemm_batch(const GemmArgs<T>& g, const BatchOffsets& offsets, Precision precision) {
  const int64_t flops = std::max<int64_t>(2 * g.m * g.n * g.k, 1);
  // Large products are cut themselves; small ones are handed out whole.
  const int64_t count = static_cast<int64_t>(offsets.c.size());
  const int64_t grain = flops > kTasks * kTaskFlops ? count : ceil_div(kTaskFlops, flops);
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    GemmArgs<T> one = g;
    for (int64_t i = begin; i < end; ++i) {
      one.a = g.a + offsets.a[i], one.b = g.b + offsets.b[i], one.c = g.c + offsets.c[i];
      if (g.epilogue.residual) one.epilogue.residual = g.epilogue.residual + offsets.c[i];
      if (g.epilogue.gate) one.epilogue.gate = g.epilogue.gate + offsets.c[i];
      gemm(one, precision);
    }
  });
}

void integer_gemm(size_t itemsize, int64_t m, int64_t n, int64_t k, const void* a, int64_t a_row, int64_t a_col,
                  const void* b, int64_t b_row, int64_t b_col, void* c) {
  int index = 0;
  while ((size_t{1} << index) < itemsize) ++index;
  const auto kernel = cpu::kernels().gemm->integer[index];
  const int64_t grain = ceil_div(200'000, std::max<int64_t>(n * k, 1));
  parallel_for(m, grain, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<char*>(c) + begin * n * itemsize, 0, (end - begin) * n * itemsize);
    kernel(begin, end, n, k, a, a_row, a_col, b, b_row, b_col, c);
  });
}

#define LANNER_INSTANTIATE(T)                                                      \
  template void gemm<T>(const GemmArgs<T>&, Precision);                            \
  template void gemm_batch<T>(const GemmArgs<T>&, const BatchOffsets&, Precision); \
  template int64_t packed_b_elements<T>(int64_t, int64_t, Precision);              \
  template void pack_b<T>(int64_t, int64_t, const T*, int64_t, int64_t, T*, Precision);
LANNER_INSTANTIATE(float)
LANNER_INSTANTIATE(double)

}  // namespace lanner
