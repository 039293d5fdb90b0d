// AVX-512: the 16 virtual lanes are one register, and VNNI sums the groups of four.
#if defined(__x86_64__)

// The intrinsics of g++ 12 use values they call undefined, and warn about it themselves (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include "runtime/kernels/exp_terms.h"
#include "runtime/kernels/tiles.h"
#include "runtime/kernels/x86_tables.h"

namespace glint {
namespace {

// lane[j] += lane[j + 8], then lane[j] += lane[j + 4].
__m128 FoldToFour(__m512 v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

// The rest of the tree for four rows at once: (l0 + l2) + (l1 + l3).
__m128 FoldFourRows(__m128 a, __m128 b, __m128 c, __m128 d) {
  _MM_TRANSPOSE4_PS(a, b, c, d);
  return _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
}

template <int kRows>
void StoreFolded(const __m512* lanes, float* out) {
  if constexpr (kRows % 4 == 0) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r += 4) {
      _mm_storeu_ps(out + r, FoldFourRows(FoldToFour(lanes[r]), FoldToFour(lanes[r + 1]), FoldToFour(lanes[r + 2]),
                                          FoldToFour(lanes[r + 3])));
    }
  } else {
    static_assert(kRows == 1);
    const __m128 four = FoldToFour(lanes[0]);
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_store_ss(out, _mm_add_ss(two, _mm_movehdup_ps(two)));
  }
}

template <WeightType kType>
__m512 LoadSixteen(const std::byte* row, uint64_t column) {
  if constexpr (kType == WeightType::kF32) return _mm512_loadu_ps(row + column * 4);
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + column * 2)));
}

// 64 weights as unsigned bytes in the order of their columns: nibble = q + 8, or q + 128. A load that spans two 128-bit
// blocks of nibbles is spread so that each block lies twice, then every second copy is shifted down.
template <WeightType kType>
__m512i LoadUnsigned(const std::byte* row, uint64_t pair) {
  if constexpr (kType == WeightType::kQ8_0) {
    return _mm512_xor_si512(_mm512_loadu_si512(row + pair * 64), _mm512_set1_epi8(static_cast<char>(0x80)));
  }
  const __m512i bytes = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + pair * 32)));
  const __m512i twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), bytes);
  const __m512i shifted = _mm512_srlv_epi64(twice, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
  return _mm512_and_si512(shifted, _mm512_set1_epi8(0x0F));
}

// Two floats that lie side by side, the first in lanes 0 to 7, the second in lanes 8 to 15. `pairs` has them in turn.
__m512 SpreadPair(__m512 pairs) {
  return _mm512_permutevar_ps(pairs, _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
}

__m512 LoadRowScales(const std::byte* scales, uint64_t pair) {
  int32_t halves = 0;
  __builtin_memcpy(&halves, scales + pair * 4, 4);
  return SpreadPair(_mm512_cvtph_ps(_mm256_set1_epi32(halves)));
}

__m512 LoadTokenScales(const float* scales, uint64_t pair) {
  int64_t floats = 0;
  __builtin_memcpy(&floats, scales + pair * 2, 8);
  return SpreadPair(_mm512_castsi512_ps(_mm512_set1_epi64(floats)));
}

template <WeightType kType>
constexpr bool kIsQuantized = kType == WeightType::kQ8_0 || kType == WeightType::kQ4_0;

struct Avx512 {
  static constexpr int kRowsAlone = 4;
  static constexpr int kRowsAdded = 8;

  template <WeightType kType, int kRows, int kTokens>
  static void Dot(const DotTile& tile) {
    __m512 lanes[kTokens][kRows];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) lanes[t][r] = _mm512_setzero_ps();
    }
    if constexpr (kIsQuantized<kType>) {
      AccumulateQuants<kType, kRows, kTokens>(tile, lanes);
    } else {
      AccumulateFloats<kType, kRows, kTokens>(tile, lanes);
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) StoreFolded<kRows>(lanes[t], tile.out + t * tile.out_stride);
  }

  template <WeightType kType, int kRows, int kTokens>
  static inline __attribute__((always_inline)) void AccumulateFloats(const DotTile& tile,
                                                                     __m512 (&lanes)[kTokens][kRows]) {
    const uint64_t columns = tile.x->columns;
    const uint64_t stride = tile.x->stride;
    const float* values = tile.x->values + tile.token * stride;
    RowFetch fetch = tile.fetch;
    for (uint64_t c = 0; c < columns; c += 16) {
      if constexpr (kTokens == 1) fetch.Bytes(kRows * 16 * (kType == WeightType::kF32 ? 4 : 2));
      __m512 w[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        w[r] = LoadSixteen<kType>(tile.rows[r], c);
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const __m512 x = _mm512_loadu_ps(values + t * stride + c);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) lanes[t][r] = _mm512_fmadd_ps(w[r], x, lanes[t][r]);
      }
    }
  }

  template <WeightType kType, int kRows, int kTokens>
  static inline __attribute__((always_inline)) void AccumulateQuants(const DotTile& tile,
                                                                     __m512 (&lanes)[kTokens][kRows]) {
    // dpbusd wants unsigned weights; what the offset adds to a group is the offset times the group's sum of x.
    constexpr int kOffsetShift = kType == WeightType::kQ8_0 ? 7 : 3;
    const uint64_t pairs = (tile.x->columns + 63) / 64;
    const uint64_t scales_offset = kType == WeightType::kQ8_0 ? pairs * 64 : pairs * 32;
    const uint64_t stride = tile.x->stride;
    const int8_t* quants = tile.x->quants + tile.token * stride;
    const float* scales = tile.x->scales + tile.token * (stride / 32);
    const int32_t* group_sums = tile.x->group_sums + tile.token * (stride / 4);
    RowFetch fetch = tile.fetch;
    for (uint64_t p = 0; p < pairs; ++p) {
      if constexpr (kTokens == 1) fetch.Bytes(kRows * (kType == WeightType::kQ8_0 ? 68 : 36));
      __m512i w[kRows];
      __m512 row_scale[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        w[r] = LoadUnsigned<kType>(tile.rows[r], p);
        row_scale[r] = LoadRowScales(tile.rows[r] + scales_offset, p);
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const __m512i x = _mm512_loadu_si512(quants + t * stride + p * 64);
        const __m512i sums = _mm512_loadu_si512(group_sums + t * (stride / 4) + p * 16);
        const __m512i start = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, kOffsetShift));
        const __m512 token_scale = LoadTokenScales(scales + t * (stride / 32), p);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const __m512 sum = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, w[r], x));
          lanes[t][r] = _mm512_fmadd_ps(sum, _mm512_mul_ps(row_scale[r], token_scale), lanes[t][r]);
        }
      }
    }
  }

  // 16 floats of y at `j`; those at or beyond `end` read as zero and are not written.
  static __mmask16 MaskTo(uint64_t j, uint64_t end) {
    return end - j >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << (end - j)) - 1);
  }

  template <WeightType kType, int kRows>
  static void AddScaled(const std::byte* const* rows, RowFetch fetch, const float* h, uint64_t columns, uint64_t begin,
                        uint64_t end, float* y) {
    __m512 factor[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) factor[r] = _mm512_set1_ps(h[r]);
    if constexpr (kIsQuantized<kType>) {
      for (uint64_t j = begin; j < end; j += 32) {
        fetch.Bytes(kRows * (kType == WeightType::kQ8_0 ? 34 : 18));
        AddScaledBlock<kType, kRows>(rows, factor, columns, j, end, y);
      }
    } else {
      for (uint64_t j = begin; j < end; j += 16) {
        fetch.Bytes(kRows * 16 * (kType == WeightType::kF32 ? 4 : 2));
        const __mmask16 mask = MaskTo(j, end);
        __m512 sum = _mm512_maskz_loadu_ps(mask, y + j);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          sum = _mm512_fmadd_ps(factor[r], LoadSixteen<kType>(rows[r], j), sum);
        }
        _mm512_mask_storeu_ps(y + j, mask, sum);
      }
    }
  }

  template <WeightType kType, int kRows>
  static inline __attribute__((always_inline)) void AddScaledBlock(const std::byte* const* rows,
                                                                   const __m512 (&factor)[kRows], uint64_t columns,
                                                                   uint64_t j, uint64_t end, float* y) {
    const uint64_t padded = (columns + 63) / 64 * 64;
    const uint64_t scales_offset = kType == WeightType::kQ8_0 ? padded : padded / 2;
    const __mmask16 low_mask = MaskTo(j, end);
    const __mmask16 high_mask = end - j > 16 ? MaskTo(j + 16, end) : static_cast<__mmask16>(0);
    __m512 low = _mm512_maskz_loadu_ps(low_mask, y + j);
    __m512 high = _mm512_maskz_loadu_ps(high_mask, y + j + 16);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      int16_t half = 0;
      __builtin_memcpy(&half, rows[r] + scales_offset + j / 16, 2);
      const __m512 scale = _mm512_cvtph_ps(_mm256_set1_epi16(half));
      __m512 w_low;
      __m512 w_high;
      if constexpr (kType == WeightType::kQ8_0) {
        const auto* quants = reinterpret_cast<const __m128i*>(rows[r] + j);
        w_low = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(quants))));
        w_high = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(quants + 1))));
      } else {
        // The 16 values that a nibble can stand for, scaled (exactly, so it is the decoded value), then looked up: the
        // lookup takes the low four bits of its index.
        const __m512 values =
            _mm512_mul_ps(scale, _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7));
        const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + j / 2)));
        w_low = _mm512_permutexvar_ps(bytes, values);
        w_high = _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), values);
      }
      low = _mm512_fmadd_ps(factor[r], w_low, low);
      high = _mm512_fmadd_ps(factor[r], w_high, high);
    }
    _mm512_mask_storeu_ps(y + j, low_mask, low);
    _mm512_mask_storeu_ps(y + j + 16, high_mask, high);
  }

  static void ExpMinus(float* values, uint64_t count, float maximum) {
    using namespace exp_terms;  // NOLINT: the formula reads as the header states it
    for (uint64_t i = 0; i < count; i += 16) {
      const __mmask16 mask = MaskTo(i, count);
      const __m512 x = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, values + i), _mm512_set1_ps(maximum));
      const __m512 t = _mm512_fmadd_ps(x, _mm512_set1_ps(kLog2E), _mm512_set1_ps(kRoundingShift));
      const __m512 n = _mm512_sub_ps(t, _mm512_set1_ps(kRoundingShift));
      __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-kLn2High), x);
      r = _mm512_fmadd_ps(n, _mm512_set1_ps(-kLn2Low), r);
      __m512 p = _mm512_set1_ps(kC7);
      p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC6));
      p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC5));
      p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC4));
      p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC3));
      p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC2));
      p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0F));
      const __m512i power = _mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(127)), 23);
      const __m512 result = _mm512_mul_ps(p, _mm512_castsi512_ps(power));
      // "Not less" holds for NaN too, which so stays.
      const __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(kExpCut), _CMP_NLT_UQ);
      _mm512_mask_storeu_ps(values + i, mask, _mm512_maskz_mov_ps(kept, result));
    }
  }
};

}  // namespace

namespace x86 {
constinit const Kernels kAvx512Kernels = {"avx512", Tiles<Avx512>::DotRows, Tiles<Avx512>::AddScaledRows,
                                          Avx512::ExpMinus};
}  // namespace x86
}  // namespace glint

#endif  // __x86_64__
