// The kernels: one table of functions per instruction set, all with the same bits (design, section 2a).
//
// The contract, which every table keeps:
// - Dot of float rows (f32, f16): 16 virtual lanes from +0; lane[i mod 16] = fma(w[i], x[i], lane[i mod 16]), i
//   ascending; then lane[j] += lane[j + 8] for j < 8, += lane[j + 4] for j < 4, += lane[j + 2], += lane[j + 1]. Rows
//   and x are zero-padded to a multiple of 16 (PaddedColumns), and the padding takes part.
// - Dot of quantised rows: each block of 32 has eight groups of four neighbouring products, summed exactly in int32.
//   Group g of block b goes to lane (b mod 2) * 8 + g: lane = fma(float(group sum), d_row[b] * d_x[b], lane), b
//   ascending; the same tree. Rows and x are zero-padded to a multiple of 64.
// - Adding scaled rows: y[j] = fma(h, w[j], y[j]), rows ascending, w[j] the exact decoded value.
// Where a result is NaN it is NaN in every table, but not with the same payload.
#ifndef GLINT_RUNTIME_KERNELS_KERNELS_H_
#define GLINT_RUNTIME_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "storage/format/quant.h"

namespace glint {

// Inputs of a dot, one per token: as floats (for f32 and f16 rows), and quantised once per token at fixed positions
// (for q8_0 and q4_0 rows): d = max|x| / 127 of each 32, q = nearest-even(x * (127 / max|x|)), so |q| <= 127. A block
// too small for that quotient (max|x| below 3.74e-37) is zero; one with NaN or infinity has d = NaN, so that it shows.
struct Activations {
  uint32_t token_count = 0;
  uint64_t columns = 0;                 // unpadded
  uint64_t stride = 0;                  // elements from one token to the next, a multiple of 64, padding is zero
  const float* values = nullptr;        // [token][stride]
  const int8_t* quants = nullptr;       // [token][stride]; null where no row type needs it
  const float* scales = nullptr;        // [token][stride / 32]
  const int32_t* group_sums = nullptr;  // [token][stride / 4]: sums of four neighbouring quants
};

struct Kernels {
  std::string_view name;  // "portable", "avx2", "avx512"

  // out[t * out_stride + r] = dot(rows[r], x of token t), all tokens of `x`, r < row_count. Rows are stored as `type`.
  void (*dot_rows)(WeightType type, const std::byte* const* rows, uint64_t row_count, const Activations& x, float* out,
                   uint64_t out_stride);
  // y[j] += sum over i ascending of h[i] * rows[i][j], begin <= j < end (begin is a multiple of 64, end too or
  // `columns`). y is not padded: nothing at or beyond `end` is touched.
  void (*add_scaled_rows)(WeightType type, const std::byte* const* rows, const float* h, uint64_t row_count,
                          uint64_t columns, uint64_t begin, uint64_t end, float* y);
  // values[i] = Exp(values[i] - maximum); returns nothing: sums are the caller's, in its own order. The same function
  // for body and tail.
  void (*exp_minus)(float* values, uint64_t count, float maximum);
};

// One exp for all tables: within 2 ulp of the exact value; 0 below -87.3, exact 1 at 0. REQUIRES: x <= 0 or NaN.
float Exp(float x);

const Kernels& PortableKernels();
// nullptr where this CPU or this build lacks the instructions.
const Kernels* Avx2KernelsOrNull();
const Kernels* Avx512KernelsOrNull();  // F, BW, VL, DQ and VNNI
// The best that this CPU runs.
const Kernels& BestKernels();
// By name; nullptr where it cannot run here.
const Kernels* KernelsByNameOrNull(std::string_view name);

// Writes quants, scales and group sums of token_count rows of `values` (as laid out in Activations).
void QuantizeActivations(const float* values, uint32_t token_count, uint64_t stride, int8_t* quants, float* scales,
                         int32_t* group_sums);

// Sets round-to-nearest and no flushing of denormals, as the contract wants, and restores what was there.
class FloatEnvironment {
 public:
  FloatEnvironment();
  ~FloatEnvironment();
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_KERNELS_KERNELS_H_
