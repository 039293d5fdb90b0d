// Writes a model file front to back in bounded memory, to a temporary name; a crash leaves the old file or none.
#ifndef GLINT_STORAGE_FORMAT_MODEL_WRITER_H_
#define GLINT_STORAGE_FORMAT_MODEL_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "glint/base/status.h"
#include "storage/format/model_directory.h"

namespace glint {

// Fills `row` (the unpadded float values of one row of a matrix; row is RowIndex 0 .. rows - 1).
using RowSource = std::function<Status(uint32_t row_index, std::span<float> row)>;

// One neuron's rows. Called for neurons 0, 1, 2, … in order; gate is empty where the model is not gated.
using NeuronSource =
    std::function<Status(NeuronId neuron, std::span<float> gate, std::span<float> up, std::span<float> down)>;

// Everything may be written in any order; each tensor of TensorSpecs(config) once, each layer's FFN once. The same
// calls give the same file, byte for byte. After an error every later call returns that error. Holds the vectors and
// the checksums (16 bytes per bundle) until the end, and a few MiB besides. Movable.
class ModelWriter {
 public:
  // Creates `path`.unfinished beside `path`; it is removed again unless Finish succeeds. FFN layers are stored as
  // `type`. kInvalidArgument where `path` is a file with something in it that is no model file: that is not replaced.
  static Result<ModelWriter> Create(const std::string& path, const ModelConfig& config, WeightType type);
  ModelWriter(ModelWriter&&) noexcept;
  ~ModelWriter();

  Status WriteVector(const std::string& name, std::span<const float> values);  // refuses NaN and infinities by name
  // Errors of encoding (NaN, infinities, what is too large for the type) name tensor, row and element.
  Status WriteMatrix(const std::string& name, WeightType type, uint32_t rows, uint32_t columns,
                     const RowSource& source);
  Status WriteFfn(LayerIndex layer, const NeuronSource& source);
  Status WriteTokenizer(std::span<const std::byte> section);
  // Writes tables, directory and header, syncs, renames, syncs the folder. Returns the directory as written.
  // kInvalidArgument where a required tensor is missing: names the first.
  Result<ModelDirectory> Finish();

 private:
  struct State;
  explicit ModelWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_MODEL_WRITER_H_
