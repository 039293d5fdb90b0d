// Cuts a product of rows and tokens into tiles that fit the registers. Tiling shares loads, and nothing else: each
// (row, token) has its own lanes, so that the cut never shows in the bits.
//
// A tile reads several rows side by side, which the processor's own prefetch does not follow well. So a tile that is
// read once (one token, or a scaled sum) walks ahead over the rows to come, each in the order of its addresses: from
// memory that made q4_0 more than twice as fast.
#ifndef GLINT_RUNTIME_KERNELS_TILES_H_
#define GLINT_RUNTIME_KERNELS_TILES_H_

#include <cstdint>

#include "runtime/kernels/kernels.h"

namespace glint {

// How far ahead of its use a row is asked for: what memory delivers in several times its latency.
inline constexpr uint64_t kFetchAheadBytes = 16 * 1024;

// Asks for rows from `row` to `last_row`, bytes [begin, end) of each, line by line; then for the last one again, which
// costs little.
struct RowFetch {
  const std::byte* const* row;
  const std::byte* const* last_row;
  uint64_t begin;
  uint64_t end;
  uint64_t offset;

  __attribute__((always_inline)) void Bytes(int bytes) {
    for (int fetched = 0; fetched < bytes; fetched += 64) {
      __builtin_prefetch(*row + offset);
      offset += 64;
      if (offset >= end) {
        offset = begin;
        row += row < last_row ? 1 : 0;
      }
    }
  }
};

// Where a tile's dots come from and go to.
struct DotTile {
  const std::byte* const* rows;
  RowFetch fetch;  // used by tiles of one token
  const Activations* x;
  uint32_t token;  // the first
  float* out;      // of the first row and token
  uint64_t out_stride;
};

// `Isa` is a type of the including file's anonymous namespace, which gives these templates internal linkage: code made
// for one instruction set must not be merged with another's. It has
//   template <WeightType kType, int kRows, int kTokens> static void Dot(const DotTile&);
//   template <WeightType kType, int kRows> static void AddScaled(rows, fetch, h, columns, begin, end, y);
//   kRowsAlone (a power of two >= 4): rows per tile of a single token; kRowsAdded (a power of two).
// Tiles are at most 4 rows by 4 tokens otherwise.
template <class Isa>
struct Tiles {
  // What to fetch while rows[r .. r + step) are used, columns [begin, end) of each.
  template <WeightType kType>
  static RowFetch FetchFor(const std::byte* const* rows, uint64_t row_count, uint64_t r, uint64_t step,
                           uint64_t columns, uint64_t begin, uint64_t end) {
    constexpr uint64_t kBits = BitsOf(kType);
    const uint64_t padded = (columns + 63) / 64 * 64;
    // A row that is used to its end is fetched with the scales that follow it.
    const uint64_t scale_bytes = kBits <= 8 && end == columns ? padded / 16 : 0;
    const uint64_t begin_byte = begin * kBits / 8;
    const uint64_t end_byte = (end == columns && kBits <= 8 ? padded : end) * kBits / 8 + scale_bytes;
    uint64_t ahead = step;
    while (ahead * (end_byte - begin_byte) < kFetchAheadBytes && ahead < 16 * step) ahead += step;
    const uint64_t first = r + ahead < row_count ? r + ahead : row_count - 1;
    return {rows + first, rows + row_count - 1, begin_byte, end_byte, begin_byte};
  }
  static constexpr uint64_t BitsOf(WeightType type) {
    return type == WeightType::kF32 ? 32 : type == WeightType::kF16 ? 16 : type == WeightType::kQ8_0 ? 8 : 4;
  }

  template <WeightType kType, int kRows>
  static void AllTokens(DotTile tile) {
    uint32_t left = tile.x->token_count;
    while (left > 0) {
      const uint32_t tokens = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      switch (tokens) {
        case 4: Isa::template Dot<kType, kRows, 4>(tile); break;
        case 2: Isa::template Dot<kType, kRows, 2>(tile); break;
        default: Isa::template Dot<kType, kRows, 1>(tile); break;
      }
      tile.token += tokens;
      tile.out += tokens * tile.out_stride;
      left -= tokens;
    }
  }

  template <WeightType kType>
  static void DotRowsOfType(const std::byte* const* rows, uint64_t row_count, const Activations& x, float* out,
                            uint64_t out_stride) {
    uint64_t r = 0;
    const auto fetch = [&](uint64_t step) {
      return FetchFor<kType>(rows, row_count, r, step, x.columns, 0, x.columns);
    };
    if (x.token_count == 1) {
      for (; r + Isa::kRowsAlone <= row_count; r += Isa::kRowsAlone) {
        Isa::template Dot<kType, Isa::kRowsAlone, 1>({rows + r, fetch(Isa::kRowsAlone), &x, 0, out + r, out_stride});
      }
    }
    for (; r + 4 <= row_count; r += 4) AllTokens<kType, 4>({rows + r, fetch(4), &x, 0, out + r, out_stride});
    for (; r < row_count; ++r) AllTokens<kType, 1>({rows + r, fetch(1), &x, 0, out + r, out_stride});
  }

  template <WeightType kType>
  static void AddScaledOfType(const std::byte* const* rows, const float* h, uint64_t row_count, uint64_t columns,
                              uint64_t begin, uint64_t end, float* y) {
    if (begin >= end) return;
    uint64_t r = 0;
    const auto fetch = [&](uint64_t step) { return FetchFor<kType>(rows, row_count, r, step, columns, begin, end); };
    for (; r + Isa::kRowsAdded <= row_count; r += Isa::kRowsAdded) {
      Isa::template AddScaled<kType, Isa::kRowsAdded>(rows + r, fetch(Isa::kRowsAdded), h + r, columns, begin, end, y);
    }
    for (; r < row_count; ++r) Isa::template AddScaled<kType, 1>(rows + r, fetch(1), h + r, columns, begin, end, y);
  }

  static void DotRows(WeightType type, const std::byte* const* rows, uint64_t row_count, const Activations& x,
                      float* out, uint64_t out_stride) {
    switch (type) {
      case WeightType::kF32: return DotRowsOfType<WeightType::kF32>(rows, row_count, x, out, out_stride);
      case WeightType::kF16: return DotRowsOfType<WeightType::kF16>(rows, row_count, x, out, out_stride);
      case WeightType::kQ8_0: return DotRowsOfType<WeightType::kQ8_0>(rows, row_count, x, out, out_stride);
      case WeightType::kQ4_0: return DotRowsOfType<WeightType::kQ4_0>(rows, row_count, x, out, out_stride);
    }
  }

  static void AddScaledRows(WeightType type, const std::byte* const* rows, const float* h, uint64_t row_count,
                            uint64_t columns, uint64_t begin, uint64_t end, float* y) {
    switch (type) {
      case WeightType::kF32: return AddScaledOfType<WeightType::kF32>(rows, h, row_count, columns, begin, end, y);
      case WeightType::kF16: return AddScaledOfType<WeightType::kF16>(rows, h, row_count, columns, begin, end, y);
      case WeightType::kQ8_0: return AddScaledOfType<WeightType::kQ8_0>(rows, h, row_count, columns, begin, end, y);
      case WeightType::kQ4_0: return AddScaledOfType<WeightType::kQ4_0>(rows, h, row_count, columns, begin, end, y);
    }
  }
};

}  // namespace glint

#endif  // GLINT_RUNTIME_KERNELS_TILES_H_
