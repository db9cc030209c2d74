// Random numbers as a function of the state and the element's index: any slice can be drawn by itself.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

// A slice: elements [begin, begin + n), begin a multiple of kRandomChunk. `out` and `x` point at element `begin`.
struct RandomSlice {
  uint64_t seed, call;
  int64_t begin, n;
};

// Elements are drawn in chunks of 64 random words, which are 16 Philox blocks: word w of block b is at 16 w + b of its
// chunk. So vectors of 4, 8 and 16 words are stored as they come, and all instruction sets give the same order. An
// element of 64 bits takes two chunks' worth of words and keeps the same index.
constexpr int64_t kRandomChunk = 64;

struct RandomKernels {
  void (*words)(const RandomSlice&, uint32_t* out);
  // low + u * scale for u in [0, 1), and never above `last`. The same bits on all instruction sets.
  void (*uniform_f32)(const RandomSlice&, float low, float scale, float last, float* out);
  void (*uniform_f64)(const RandomSlice&, double low, double scale, double last, double* out);
  void (*normal_f32)(const RandomSlice&, float mean, float std, float* out);
  void (*normal_f64)(const RandomSlice&, double mean, double std, double* out);
  // 1 with probability `threshold` / 2^32.
  void (*bernoulli)(const RandomSlice&, uint64_t threshold, uint8_t* out);
  // low + an integer of [0, range), all equally likely; a range of 0 stands for 2^64. The dtype is told by its size.
  void (*integers_8)(const RandomSlice&, uint64_t low, uint64_t range, uint8_t* out);
  void (*integers_16)(const RandomSlice&, uint64_t low, uint64_t range, uint16_t* out);
  void (*integers_32)(const RandomSlice&, uint64_t low, uint64_t range, uint32_t* out);
  void (*integers_64)(const RandomSlice&, uint64_t low, uint64_t range, uint64_t* out);
  // x * scale with probability `threshold` / 2^32, else x * 0.
  void (*dropout_f32)(const RandomSlice&, uint64_t threshold, float scale, const float* x, float* out);
  void (*dropout_f64)(const RandomSlice&, uint64_t threshold, double scale, const double* x, double* out);
};

}  // namespace lanner::cpu
