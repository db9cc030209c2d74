// The tile registers of AMX, eight of 16 rows of 64 bytes, and what a product of bfloat16 matrices does with them. A row
// of A is 32 bfloat16 of K next to each other; a row of B is two of K, beside each other for each of 16 columns; a row of
// sums is 16 float32.
#pragma once

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int kTileRows = 16, kTilePairs = 16, kTileColumns = 16;

#if defined(__x86_64__)
// The processor's own. Assembly, since the compiler must not use the registers elsewhere, and takes no template argument
// for the number of one.
struct HardwareTiles {
  void configure() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, unused[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  void release() { asm volatile("tilerelease"); }
  template <int kTile>
  void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  void load(const void* from, int64_t row_bytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row_bytes), "i"(kTile) : "memory");
  }
  template <int kSum, int kA, int kB>
  void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  template <int kTile>
  void store(void* to, int64_t row_bytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row_bytes), "i"(kTile) : "memory");
  }
};
#endif

// The same in plain arithmetic, for tests on machines without.
struct PlainTiles {
  alignas(64) unsigned char tile[8][kTileRows][64];

  void configure() { __builtin_memset(tile, 0, sizeof tile); }
  void release() { __builtin_memset(tile, 0xff, sizeof tile); }
  template <int kTile>
  void zero() {
    __builtin_memset(tile[kTile], 0, sizeof tile[kTile]);
  }
  template <int kTile>
  void load(const void* from, int64_t row_bytes) {
    for (int i = 0; i < kTileRows; ++i)
      __builtin_memcpy(tile[kTile][i], static_cast<const char*>(from) + i * row_bytes, 64);
  }
  template <int kSum, int kA, int kB>
  void dot() {
    for (int i = 0; i < kTileRows; ++i) {
      float sum[kTileColumns];
      __builtin_memcpy(sum, tile[kSum][i], 64);
      for (int k = 0; k < 2 * kTilePairs; ++k)
        for (int j = 0; j < kTileColumns; ++j)
          sum[j] += element(tile[kA][i], k) * element(tile[kB][k / 2], 2 * j + k % 2);
      __builtin_memcpy(tile[kSum][i], sum, 64);
    }
  }
  template <int kTile>
  void store(void* to, int64_t row_bytes) {
    for (int i = 0; i < kTileRows; ++i) __builtin_memcpy(static_cast<char*>(to) + i * row_bytes, tile[kTile][i], 64);
  }

 private:
  static float element(const unsigned char* row, int i) {
    uint16_t half;
    __builtin_memcpy(&half, row + 2 * i, 2);
    const uint32_t bits = uint32_t{half} << 16;
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
  }
};

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
