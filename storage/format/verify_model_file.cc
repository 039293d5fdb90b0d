#include <algorithm>
#include <cstring>
#include <utility>

#include "glint/base/text.h"
#include "storage/format/model_file.h"

namespace glint {
namespace {

constexpr size_t kFaultsMax = 100;
constexpr uint64_t kWindowBytes = 4 * kMiB;  // read at once; far more than a granule
constexpr uint64_t kReadBytes = 256 * kKiB;

struct Granule {
  Extent extent;
  uint64_t checksum = 0;
};

class FileVerifier {
 public:
  FileVerifier(ModelFile* file, AlignedBuffer window, const Progress& progress)
      : file_(*file), window_(std::move(window)), progress_(progress) {}

  Result<VerifyReport> Run() {
    const ModelDirectory& directory = file_.directory();
    VerifyPadding(kHeaderBytes);
    for (const Section& table : directory.tables) GLINT_RETURN_IF_ERROR(VerifyTable(table));
    if (directory.tokenizer.extent.bytes != 0) VerifySection(directory.tokenizer, "tokenizer section");
    for (const MatrixEntry& matrix : directory.matrices) VerifyMatrix(matrix);
    for (size_t layer = 0; layer < directory.ffn.size(); ++layer) VerifyFfn(layer, directory.ffn[layer]);
    VerifyPadding(file_.directory_extent().end());
    // Opening has verified header and directory.
    Advance(kHeaderBytes + file_.directory_extent().bytes);
    report_.bytes_verified += kHeaderBytes + file_.directory_extent().bytes;
    if (faults_left_out_ > 0) report_.faults.push_back(Concat("and ", faults_left_out_, " more"));
    return std::move(report_);
  }

 private:
  void AddFault(std::string fault) {
    ++fault_count_;
    if (report_.faults.size() < kFaultsMax) {
      report_.faults.push_back(std::move(fault));
    } else {
      ++faults_left_out_;
    }
  }

  void Advance(uint64_t bytes) {
    done_bytes_ += bytes;
    if (progress_) progress_(done_bytes_, file_.directory().file_bytes);
  }

  // The checksums of a table's tensors are kept where the table holds. Fails only where there is no memory.
  Status VerifyTable(const Section& table) {
    const std::string what = Concat("table ", tables_.size());
    const uint64_t faults_before = fault_count_;
    VerifySection(table, what);
    AlignedBuffer memory;
    if (fault_count_ == faults_before) {
      GLINT_ASSIGN_OR_RETURN(memory, AlignedBuffer::Allocate(table.extent.bytes));
      if (Status loaded = file_.LoadSection(table, what, memory.span()); !loaded.ok()) {
        AddFault(loaded.message());
        memory = {};
      }
    }
    tables_.push_back(std::move(memory));
    return Status::Ok();
  }

  void VerifySection(const Section& section, const std::string& what) {
    VerifyGranules(
        section.checksums.size(), section.extent,
        [&](uint64_t i) { return WholeGranule(section.extent, i, section.checksums[i]); },
        [&](uint64_t) { return what; });
  }

  void VerifyMatrix(const MatrixEntry& matrix) {
    if (!TableHolds(matrix.checksums, matrix.name, matrix.extent)) return;
    VerifyGranules(
        matrix.checksums.count, matrix.extent,
        [&](uint64_t i) { return WholeGranule(matrix.extent, i, ChecksumAt(matrix.checksums, i)); },
        [&](uint64_t) { return matrix.name; });
  }

  void VerifyFfn(size_t layer, const FfnEntry& ffn) {
    const std::string name = Concat("blk.", layer, ".ffn");
    if (!TableHolds(ffn.first_checksums, name, ffn.extent) || !TableHolds(ffn.rest_checksums, name, ffn.extent)) return;
    VerifyGranules(
        2 * uint64_t{ffn.layout.bundle_count()}, ffn.extent,
        [&](uint64_t i) {
          const bool first = i % 2 == 0;
          const BundleIndex bundle(static_cast<uint32_t>(i / 2));
          Extent extent = ffn.layout.ExtentOf(bundle, first ? BundlePart::kFirst : BundlePart::kRest);
          extent.offset += ffn.extent.offset;
          return Granule{extent, ChecksumAt(first ? ffn.first_checksums : ffn.rest_checksums, bundle.value)};
        },
        [&](uint64_t i) {
          return Concat(name, " bundle ", i / 2, i % 2 == 0 ? " (first granule)" : " (rest granule)");
        });
  }

  // The i-th granule of an extent that is cut every kGranuleBytesMax.
  static Granule WholeGranule(const Extent& extent, uint64_t i, uint64_t checksum) {
    const uint64_t start = i * kGranuleBytesMax;
    return {{extent.offset + start, std::min(kGranuleBytesMax, extent.bytes - start)}, checksum};
  }

  bool TableHolds(const ArrayRef& checksums, const std::string& what, const Extent& extent) {
    if (tables_[checksums.table].bytes() != 0) return true;
    AddFault(Concat(Quote(file_.name()), ": ", what, " at offset ", extent.offset,
                    ": not verified, its checksums are in table ", checksums.table, ", which does not hold"));
    VerifyPadding(extent.end());
    Advance(extent.bytes);
    return false;
  }

  uint64_t ChecksumAt(const ArrayRef& ref, uint64_t i) const {
    uint64_t checksum = 0;
    std::memcpy(&checksum, tables_[ref.table].data() + ref.offset + i * sizeof checksum, sizeof checksum);
    return checksum;
  }

  // Granules 0 .. count - 1 follow each other and make up `extent`.
  template <typename GranuleAt, typename NameOf>
  void VerifyGranules(uint64_t count, const Extent& extent, GranuleAt granule_at, NameOf name_of) {
    for (uint64_t next = 0; next < count;) {
      const uint64_t start = AlignDown(granule_at(next).extent.offset, kPageBytes);
      uint64_t end = start;
      uint64_t last = next;
      for (; last < count && AlignUp(granule_at(last).extent.end(), kPageBytes) - start <= kWindowBytes; ++last) {
        end = AlignUp(granule_at(last).extent.end(), kPageBytes);
      }
      const bool read = ReadWindow({start, end - start});
      for (; next < last; ++next) {
        const Granule granule = granule_at(next);
        const auto bytes = window_.span().subspan(granule.extent.offset - start, granule.extent.bytes);
        VerifyOne(granule, bytes, read, [&] { return name_of(next); });
        Advance(granule.extent.bytes);
      }
    }
    VerifyPadding(extent.end());
  }

  template <typename Name>
  void VerifyOne(const Granule& granule, std::span<std::byte> bytes, bool read, Name name) {
    if (!read) {  // the window could not be read as a whole; perhaps this granule can
      if (Status alone = file_.reader().file().ReadBuffered(granule.extent.offset, bytes); !alone.ok()) {
        return AddFault(alone.message());
      }
    }
    if (Checksum(bytes) != granule.checksum) {
      if (Status holds = file_.VerifyGranule(granule.extent, bytes, granule.checksum, name()); !holds.ok()) {
        return AddFault(holds.message());
      }
    }
    ++report_.granules_verified;
    report_.bytes_verified += granule.extent.bytes;
  }

  bool ReadWindow(const Extent& extent) {
    std::vector<FlashRead> reads;
    for (uint64_t at = 0; at < extent.bytes; at += kReadBytes) {
      const uint64_t bytes = std::min(kReadBytes, extent.bytes - at);
      reads.push_back({extent.offset + at, window_.data() + at, static_cast<uint32_t>(bytes), 0});
    }
    const bool read = file_.reader().ReadAll(reads).ok();
    if (!read) file_.reader().Drain();
    return read;
  }

  // Between an extent's end and the next 64 KiB all bytes are zero.
  void VerifyPadding(uint64_t end) {
    const Extent padding = {end, AlignUp(end, kExtentAlignment) - end};
    Advance(padding.bytes);
    const auto bytes = window_.span().first(padding.bytes);
    if (Status read = file_.reader().file().ReadBuffered(padding.offset, bytes); !read.ok()) {
      return AddFault(read.message());
    }
    const auto wrong = std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
    if (wrong != bytes.end()) {
      return AddFault(Concat(Quote(file_.name()), ": padding at offset ",
                             end + static_cast<uint64_t>(wrong - bytes.begin()), ": wanted 0, got ",
                             std::to_integer<int>(*wrong)));
    }
    report_.bytes_verified += padding.bytes;
  }

  ModelFile& file_;
  AlignedBuffer window_;
  const Progress& progress_;
  std::vector<AlignedBuffer> tables_;  // empty where the table does not hold
  VerifyReport report_;
  uint64_t done_bytes_ = 0;
  uint64_t fault_count_ = 0;
  uint64_t faults_left_out_ = 0;
};

}  // namespace

Result<VerifyReport> VerifyModelFile(const std::string& path, const ModelFileOptions& options,
                                     const Progress& progress) {
  GLINT_ASSIGN_OR_RETURN(ModelFile file, ModelFile::Open(path, options));
  GLINT_ASSIGN_OR_RETURN(AlignedBuffer window, AlignedBuffer::Allocate(kWindowBytes));
  return FileVerifier(&file, std::move(window), progress).Run();
}

}  // namespace glint
