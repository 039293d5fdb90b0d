// Which of a checkpoint's files describe its tokenizer.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "glint/base/text.h"
#include "glint/base/units.h"
#include "tokenizer/tokenizer.h"

namespace glint {
namespace {

// A parsed document may take 30 times its bytes, and packing stays under 1 GiB.
constexpr uint64_t kFileBytesMax = 20 * kMiB;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// Whether there is something of that name, if only a link that leads nowhere: reading it then says what is wrong.
bool Exists(const std::string& path) {
  struct stat info = {};
  return lstat(path.c_str(), &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

// Reads a whole file. An absent one gives "" where it is optional.
Result<std::string> ReadFile(const std::string& path, bool optional) {
  if (optional && !Exists(path)) return std::string();
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(Concat("cannot open ", Quote(path)), errno);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(Concat(path, ": not a regular file"));
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return ErrnoStatus(Concat("cannot open ", Quote(path)), errno);
  // One byte more than the limit, so that a file that grows meanwhile is noticed too.
  std::string content(std::min<uint64_t>(static_cast<uint64_t>(info.st_size), kFileBytesMax) + 1, '\0');
  content.resize(std::fread(content.data(), 1, content.size(), file.get()));
  if (std::ferror(file.get()) != 0) return ErrnoStatus(Concat("cannot read ", Quote(path)), errno);
  if (content.size() > kFileBytesMax) {
    return Unsupported(Concat(path, ": wanted at most ", kFileBytesMax, " bytes, got ", info.st_size));
  }
  return content;
}

}  // namespace

Result<std::vector<std::byte>> BuildTokenizerFromFolder(const std::string& folder, bool* found) {
  *found = true;
  const std::string tokenizer_json = folder + "/tokenizer.json";
  if (Exists(tokenizer_json)) {
    GLINT_ASSIGN_OR_RETURN(const std::string json, ReadFile(tokenizer_json, /*optional=*/false));
    return BuildTokenizerFromJson(json, tokenizer_json);
  }
  if (!Exists(folder + "/vocab.json") && !Exists(folder + "/merges.txt")) {
    *found = false;
    return std::vector<std::byte>();
  }
  GLINT_ASSIGN_OR_RETURN(const std::string vocab, ReadFile(folder + "/vocab.json", false));
  GLINT_ASSIGN_OR_RETURN(const std::string merges, ReadFile(folder + "/merges.txt", false));
  GLINT_ASSIGN_OR_RETURN(const std::string special, ReadFile(folder + "/special_tokens_map.json", true));
  GLINT_ASSIGN_OR_RETURN(const std::string added, ReadFile(folder + "/added_tokens.json", true));
  GLINT_ASSIGN_OR_RETURN(const std::string config, ReadFile(folder + "/tokenizer_config.json", true));
  return BuildTokenizerFromVocabAndMerges({.vocab_json = vocab,
                                           .merges_txt = merges,
                                           .special_tokens_map_json = special,
                                           .added_tokens_json = added,
                                           .tokenizer_config_json = config},
                                          folder);
}

}  // namespace glint
