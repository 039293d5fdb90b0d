// AVX2 with FMA and F16C: the 16 virtual lanes are two registers, 0 to 7 and 8 to 15.
#if defined(__x86_64__)

#include <immintrin.h>

#include "runtime/kernels/exp_terms.h"
#include "runtime/kernels/tiles.h"
#include "runtime/kernels/x86_tables.h"

namespace glint {
namespace {

struct Lanes {
  __m256 low;
  __m256 high;
};

// lane[j] += lane[j + 8], then lane[j] += lane[j + 4].
__m128 FoldToFour(const Lanes& v) {
  const __m256 eight = _mm256_add_ps(v.low, v.high);
  return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

// The rest of the tree for four rows at once: (l0 + l2) + (l1 + l3).
__m128 FoldFourRows(__m128 a, __m128 b, __m128 c, __m128 d) {
  _MM_TRANSPOSE4_PS(a, b, c, d);
  return _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
}

template <int kRows>
void StoreFolded(const Lanes* lanes, float* out) {
  if constexpr (kRows == 4) {
    _mm_storeu_ps(out,
                  FoldFourRows(FoldToFour(lanes[0]), FoldToFour(lanes[1]), FoldToFour(lanes[2]), FoldToFour(lanes[3])));
  } else {
    static_assert(kRows <= 2);
    for (int r = 0; r < kRows; ++r) {
      const __m128 four = FoldToFour(lanes[r]);
      const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
      _mm_store_ss(out + r, _mm_add_ss(two, _mm_movehdup_ps(two)));
    }
  }
}

template <WeightType kType>
__m256 LoadEight(const std::byte* row, uint64_t column) {
  if constexpr (kType == WeightType::kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(row + column * 4));
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + column * 2)));
}

// The eight group sums of a block: exact, since no pair of products exceeds 2 * 128 * 127 < 2^15.
__m256i GroupSums(__m256i unsigned_weights, __m256i signed_x) {
  const __m256i pairs = _mm256_maddubs_epi16(unsigned_weights, signed_x);
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

// A block's 32 nibbles (q + 8) as bytes in the order of their columns.
__m256i LoadNibbles(const std::byte* row, uint64_t block) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + block * 16));
  const __m256i twice = _mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes);
  return _mm256_and_si256(twice, _mm256_set1_epi8(0x0F));
}

float LoadHalf(const std::byte* scales, uint64_t block) {
  uint16_t half = 0;
  __builtin_memcpy(&half, scales + block * 2, 2);
  return _cvtsh_ss(half);
}

template <WeightType kType>
constexpr bool kIsQuantized = kType == WeightType::kQ8_0 || kType == WeightType::kQ4_0;

struct Avx2 {
  static constexpr int kRowsAlone = 4;
  static constexpr int kRowsAdded = 4;

  // 16 registers hold the lanes of four rows by one token, or two by two; a larger tile is cut further.
  template <WeightType kType, int kRows, int kTokens>
  static void Dot(const DotTile& tile) {
    if constexpr (kTokens > 2 || (kTokens == 2 && kRows > 2)) {
      constexpr int kRowStep = kRows > 2 ? 2 : kRows;
      for (int t = 0; t < kTokens; t += 2) {
        for (int r = 0; r < kRows; r += kRowStep) {
          Dot<kType, kRowStep, 2>(
              {tile.rows + r, tile.fetch, tile.x, tile.token + t, tile.out + t * tile.out_stride + r, tile.out_stride});
        }
      }
    } else {
      Lanes lanes[kTokens][kRows];
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) lanes[t][r] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
      }
      if constexpr (kIsQuantized<kType>) {
        AccumulateQuants<kType, kRows, kTokens>(tile, lanes);
      } else {
        AccumulateFloats<kType, kRows, kTokens>(tile, lanes);
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) StoreFolded<kRows>(lanes[t], tile.out + t * tile.out_stride);
    }
  }

  template <WeightType kType, int kRows, int kTokens>
  static inline __attribute__((always_inline)) void AccumulateFloats(const DotTile& tile,
                                                                     Lanes (&lanes)[kTokens][kRows]) {
    const uint64_t columns = tile.x->columns;
    const uint64_t stride = tile.x->stride;
    const float* values = tile.x->values + tile.token * stride;
    RowFetch fetch = tile.fetch;
    for (uint64_t c = 0; c < columns; c += 16) {
      if constexpr (kTokens == 1) fetch.Bytes(kRows * 16 * (kType == WeightType::kF32 ? 4 : 2));
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256 w_low = LoadEight<kType>(tile.rows[r], c);
        const __m256 w_high = LoadEight<kType>(tile.rows[r], c + 8);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          const float* x = values + t * stride + c;
          lanes[t][r].low = _mm256_fmadd_ps(w_low, _mm256_loadu_ps(x), lanes[t][r].low);
          lanes[t][r].high = _mm256_fmadd_ps(w_high, _mm256_loadu_ps(x + 8), lanes[t][r].high);
        }
      }
    }
  }

  // Even blocks belong to the low lanes, odd ones to the high lanes.
  template <WeightType kType, int kRows, int kTokens>
  static inline __attribute__((always_inline)) void AccumulateQuants(const DotTile& tile,
                                                                     Lanes (&lanes)[kTokens][kRows]) {
    const uint64_t pairs = (tile.x->columns + 63) / 64;
    RowFetch fetch = tile.fetch;
    for (uint64_t p = 0; p < pairs; ++p) {
      if constexpr (kTokens == 1) fetch.Bytes(kRows * (kType == WeightType::kQ8_0 ? 68 : 36));
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          lanes[t][r].low = AddBlock<kType>(tile, r, tile.token + t, 2 * p, pairs, lanes[t][r].low);
          lanes[t][r].high = AddBlock<kType>(tile, r, tile.token + t, 2 * p + 1, pairs, lanes[t][r].high);
        }
      }
    }
  }

  // What depends on the row alone is loaded once for all tokens of the tile: the compiler sees that it is the same.
  template <WeightType kType>
  static inline __attribute__((always_inline)) __m256 AddBlock(const DotTile& tile, int r, uint64_t token,
                                                               uint64_t block, uint64_t pairs, __m256 lanes) {
    const Activations& activations = *tile.x;
    const std::byte* row = tile.rows[r];
    const __m256i x = _mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(activations.quants + token * activations.stride + block * 32));
    const float token_scale = activations.scales[token * (activations.stride / 32) + block];
    __m256i sums;
    float row_scale = 0;
    if constexpr (kType == WeightType::kQ8_0) {
      const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + block * 32));
      // |w| times x with the sign of w; |-128| is 128 as an unsigned byte, and x is never -128.
      sums = GroupSums(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
      row_scale = LoadHalf(row + pairs * 64, block);
    } else {
      // Nibbles are 8 too large, which adds 8 times the group's sum of x.
      const int32_t* offsets = activations.group_sums + token * (activations.stride / 4) + block * 8;
      const __m256i offset = _mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(offsets)), 3);
      sums = _mm256_sub_epi32(GroupSums(LoadNibbles(row, block), x), offset);
      row_scale = LoadHalf(row + pairs * 32, block);
    }
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(row_scale * token_scale), lanes);
  }

  // All ones in the lanes of y[j .. j + 8) that are below `end`.
  static __m256i MaskTo(uint64_t j, uint64_t end) {
    const int left = end <= j ? 0 : end - j >= 8 ? 8 : static_cast<int>(end - j);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  template <WeightType kType, int kRows>
  static void AddScaled(const std::byte* const* rows, RowFetch fetch, const float* h, uint64_t columns, uint64_t begin,
                        uint64_t end, float* y) {
    __m256 factor[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) factor[r] = _mm256_set1_ps(h[r]);
    if constexpr (kIsQuantized<kType>) {
      uint64_t j = begin;
      for (; j + 32 <= end; j += 32) {
        fetch.Bytes(kRows * (kType == WeightType::kQ8_0 ? 34 : 18));
        AddScaledBlock<kType, kRows>(rows, factor, columns, j, y + j);
      }
      if (j < end) {
        float tail[32];
        for (int i = 0; i < 4; ++i)
          _mm256_storeu_ps(tail + 8 * i, _mm256_maskload_ps(y + j + 8 * i, MaskTo(j + 8 * i, end)));
        AddScaledBlock<kType, kRows>(rows, factor, columns, j, tail);
        for (int i = 0; i < 4; ++i)
          _mm256_maskstore_ps(y + j + 8 * i, MaskTo(j + 8 * i, end), _mm256_loadu_ps(tail + 8 * i));
      }
    } else {
      for (uint64_t j = begin; j < end; j += 8) {
        fetch.Bytes(kRows * 8 * (kType == WeightType::kF32 ? 4 : 2));
        const __m256i mask = MaskTo(j, end);
        __m256 sum = _mm256_maskload_ps(y + j, mask);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          sum = _mm256_fmadd_ps(factor[r], LoadEight<kType>(rows[r], j), sum);
        }
        _mm256_maskstore_ps(y + j, mask, sum);
      }
    }
  }

  // Adds to y[0 .. 32), which are the columns from `j` on.
  template <WeightType kType, int kRows>
  static inline __attribute__((always_inline)) void AddScaledBlock(const std::byte* const* rows,
                                                                   const __m256 (&factor)[kRows], uint64_t columns,
                                                                   uint64_t j, float* y) {
    const uint64_t padded = (columns + 63) / 64 * 64;
    const uint64_t scales_offset = kType == WeightType::kQ8_0 ? padded : padded / 2;
    __m256 sum[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[i] = _mm256_loadu_ps(y + 8 * i);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 scale = _mm256_set1_ps(LoadHalf(rows[r] + scales_offset, j / 32));
      __m256i quants;
      if constexpr (kType == WeightType::kQ8_0) {
        quants = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + j));
      } else {
        quants = _mm256_sub_epi8(LoadNibbles(rows[r], j / 32), _mm256_set1_epi8(8));
      }
      const __m128i half[2] = {_mm256_castsi256_si128(quants), _mm256_extracti128_si256(quants, 1)};
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m128i eight = i % 2 == 0 ? half[i / 2] : _mm_srli_si128(half[i / 2], 8);
        const __m256 w = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)));
        sum[i] = _mm256_fmadd_ps(factor[r], w, sum[i]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm256_storeu_ps(y + 8 * i, sum[i]);
  }

  static void ExpMinus(float* values, uint64_t count, float maximum) {
    using namespace exp_terms;  // NOLINT: the formula reads as the header states it
    for (uint64_t i = 0; i < count; i += 8) {
      const __m256i mask = MaskTo(i, count);
      const __m256 x = _mm256_sub_ps(_mm256_maskload_ps(values + i, mask), _mm256_set1_ps(maximum));
      const __m256 t = _mm256_fmadd_ps(x, _mm256_set1_ps(kLog2E), _mm256_set1_ps(kRoundingShift));
      const __m256 n = _mm256_sub_ps(t, _mm256_set1_ps(kRoundingShift));
      __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-kLn2High), x);
      r = _mm256_fmadd_ps(n, _mm256_set1_ps(-kLn2Low), r);
      __m256 p = _mm256_set1_ps(kC7);
      p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC6));
      p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC5));
      p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC4));
      p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC3));
      p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC2));
      p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0F));
      const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(127)), 23);
      const __m256 result = _mm256_mul_ps(p, _mm256_castsi256_ps(power));
      // "Not less" holds for NaN too, which so stays.
      const __m256 kept = _mm256_cmp_ps(x, _mm256_set1_ps(kExpCut), _CMP_NLT_UQ);
      _mm256_maskstore_ps(values + i, mask, _mm256_and_ps(kept, result));
    }
  }
};

}  // namespace

namespace x86 {
constinit const Kernels kAvx2Kernels = {"avx2", Tiles<Avx2>::DotRows, Tiles<Avx2>::AddScaledRows, Avx2::ExpMinus};
}  // namespace x86
}  // namespace glint

#endif  // __x86_64__
