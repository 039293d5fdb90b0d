// `run` through glint.h alone, as any program that embeds glint would do it.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/command.h"
#include "apps/options.h"
#include "apps/print_json.h"
#include "apps/process_memory.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
#include "glint/glint.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  glint_model_options model;
  glint_sampler_options sampler;
  std::string path;
  std::string prompt;
  std::string prompt_file;
  std::vector<glint_token> token_ids;
  int64_t tokens_max = -1;
  bool special = false;
  bool ignore_eos = false;
  bool json = false;
};

struct CloseModel {
  void operator()(glint_model* model) const { glint_model_close(&model); }
};
struct CloseSession {
  void operator()(glint_session* session) const { glint_session_close(&session); }
};
using ModelHandle = std::unique_ptr<glint_model, CloseModel>;
using SessionHandle = std::unique_ptr<glint_session, CloseSession>;

// Ctrl-C ends the session's step; a second one ends the process.
std::atomic<glint_session*> interrupted_session = nullptr;
std::atomic<bool> interrupted = false;

void OnInterrupt(int) {
  interrupted = true;
  if (glint_session* session = interrupted_session) glint_session_cancel(session);
}

class InterruptHandler {
 public:
  explicit InterruptHandler(glint_session* session) {
    interrupted_session = session;
    struct sigaction action {};
    action.sa_handler = OnInterrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
  }
  ~InterruptHandler() {
    std::signal(SIGINT, SIG_DFL);
    interrupted_session = nullptr;
  }
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;
};

double Milliseconds(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

class Generation {
 public:
  explicit Generation(const Options& options) : options_(options) {}

  Outcome Execute() {
    if (!OpenModel() || !ReadPrompt() || !Generate()) return {error_text_};
    if (options_.json) {
      PrintReport();
    } else {
      PrintCosts();
    }
    return {error_text_};
  }

 private:
  bool Failed(std::string text) {
    error_text_ = std::move(text);
    return false;
  }
  bool Check(glint_status status) { return status == GLINT_OK || Failed(error_.message); }

  bool OpenModel() {
    glint_model* model = nullptr;
    if (!Check(glint_model_open(options_.path.c_str(), &options_.model, &model, &error_))) return false;
    model_.reset(model);
    return Check(glint_model_get_info(model, &info_, &error_));
  }

  // Fills tokens_ with BOS and the prompt's tokens, or with the ids that were given as they are.
  bool ReadPrompt() {
    constexpr size_t kReadBytes = 64 * kKiB;
    if (!options_.token_ids.empty()) {
      tokens_ = options_.token_ids;
      return true;
    }
    if (info_.has_tokenizer == 0) return Failed("the model has no tokenizer; use --token-ids");
    // What is longer cannot fit the context, and is not read into memory to find that out.
    const uint64_t bytes_max = uint64_t{info_.context_max} * info_.token_bytes_max;
    std::string prompt = options_.prompt;
    if (!options_.prompt_file.empty()) {
      std::ifstream file(options_.prompt_file, std::ios::binary);
      while (file.good() && prompt.size() <= bytes_max) {
        const size_t before = prompt.size();
        prompt.resize(before + kReadBytes);
        file.read(prompt.data() + before, kReadBytes);
        prompt.resize(before + static_cast<size_t>(file.gcount()));
      }
      if (!file.is_open() || file.bad()) {
        return Failed(Concat("cannot read the prompt file ", Quote(options_.prompt_file)));
      }
    }
    if (prompt.size() > bytes_max) {
      return Failed(Concat("the prompt has more than ", bytes_max, " bytes and cannot fit the context of ",
                           info_.context_max, " tokens"));
    }
    // A token has at least one byte, so there are never more tokens than bytes.
    const size_t capacity = std::min<size_t>(prompt.size(), info_.context_max);
    size_t count = 0;
    const size_t bos = info_.bos >= 0 ? 1 : 0;
    tokens_.resize(bos + capacity);
    if (bos == 1) tokens_[0] = info_.bos;
    if (!Check(glint_tokenize(model_.get(), prompt.data(), prompt.size(), options_.special ? 1 : 0,
                              tokens_.data() + bos, capacity, &count, &error_))) {
      return false;
    }
    tokens_.resize(bos + count);
    tokens_.shrink_to_fit();
    if (tokens_.empty()) return Failed("the prompt is empty and the model has no BOS token to start from");
    prompt_text_ = std::move(prompt);
    return true;
  }

  // Feeds the prompt, then samples and feeds, until something says stop.
  bool Generate() {
    prompt_count_ = tokens_.size();
    glint_session* session = nullptr;
    if (!Check(glint_session_open(model_.get(), &session, &error_))) return false;
    session_.reset(session);
    if (!Check(glint_session_set_sampler(session, &options_.sampler, &error_))) return false;
    const InterruptHandler handler(session);
    if (!options_.json) Write(prompt_text_);
    begin_ = Clock::now();
    stop_reason_ = Loop();
    end_ = Clock::now();
    if (stop_reason_.empty()) return false;
    Show(-1);
    if (!options_.json) Write("\n");
    return true;
  }

  // Returns why it stopped; empty on an error.
  std::string Loop() {
    size_t fed = 0;
    const auto tokens_max = options_.tokens_max < 0 ? SIZE_MAX : static_cast<size_t>(options_.tokens_max);
    while (true) {
      const glint_status status =
          glint_session_feed(session_.get(), tokens_.data() + fed, tokens_.size() - fed, &error_);
      if (status == GLINT_CANCELLED) return "interrupted";
      if (!Check(status)) return "";
      fed = tokens_.size();
      if (tokens_.size() - prompt_count_ >= tokens_max) return "length";
      if (interrupted) return "interrupted";
      glint_token token = -1;
      if (!Check(glint_session_sample(session_.get(), &token, &error_))) return "";
      if (tokens_.size() == prompt_count_) first_token_ = Clock::now();
      if (!options_.ignore_eos && glint_token_is_end(model_.get(), token) == 1) return "end_of_text";
      tokens_.push_back(token);
      Show(token);
      // The last token of the context can be sampled, but nothing can follow it.
      if (glint_session_position(session_.get()) == info_.context_max) return "context";
    }
  }

  void Show(glint_token token) {
    const char* text = nullptr;
    size_t bytes = 0;
    if (info_.has_tokenizer == 0) {
      if (!options_.json && token >= 0) Write(Concat(token, " "));
      return;
    }
    if (glint_session_show(session_.get(), token, &text, &bytes, nullptr) != GLINT_OK) return;
    generated_text_.append(text, bytes);
    if (!options_.json) Write({text, bytes});
  }

  static void Write(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  glint_stats Stats() const {
    glint_stats stats{.struct_size = sizeof(glint_stats)};
    glint_model_get_stats(model_.get(), &stats, nullptr);
    return stats;
  }

  size_t GeneratedCount() const { return tokens_.size() - prompt_count_; }

  double FirstTokenSeconds() const {
    return first_token_ == Clock::time_point() ? 0 : std::chrono::duration<double>(first_token_ - begin_).count();
  }

  // Of the tokens after the first, whose time is the prompt's.
  double TokensPerSecond() const {
    if (GeneratedCount() < 2) return 0;
    return static_cast<double>(GeneratedCount() - 1) / std::chrono::duration<double>(end_ - first_token_).count();
  }

  void PrintReport() const {
    const glint_stats stats = Stats();
    const nlohmann::ordered_json report = {{"text", generated_text_},
                                           {"token_ids", tokens_},
                                           {"prompt_tokens", prompt_count_},
                                           {"generated_tokens", GeneratedCount()},
                                           {"stop_reason", stop_reason_},
                                           {"tokens_per_second", TokensPerSecond()},
                                           {"time_to_first_token_ms", FirstTokenSeconds() * 1e3},
                                           {"budget_bytes", info_.budget_bytes},
                                           {"held_bytes_max", stats.held_bytes_max},
                                           {"peak_rss_bytes", PeakRssBytes()},
                                           {"model_file_bytes", info_.file_bytes},
                                           {"flash_read_bytes", stats.flash_read_bytes},
                                           {"missed_bundle_bytes", stats.missed_bundle_bytes},
                                           {"flash_reads", stats.flash_reads},
                                           {"cache_hits", stats.cache_hits},
                                           {"cache_misses", stats.cache_misses},
                                           {"io_engine", info_.io_engine},
                                           {"direct_io", info_.direct_io == 1},
                                           {"predictor", info_.predictor},
                                           {"kernels", info_.kernels},
                                           {"threads", info_.threads},
                                           {"context", info_.context_max},
                                           {"batch", info_.batch_max},
                                           {"stall_ms", Milliseconds(stats.stall_ns)},
                                           {"compute_ms", Milliseconds(stats.compute_ns)},
                                           {"predict_ms", Milliseconds(stats.predict_ns)},
                                           {"verify_ms", Milliseconds(stats.verify_ns)},
                                           {"synthetic", info_.synthetic == 1},
                                           {"model_hash", Hex64(info_.model_hash)},
                                           {"logits_hash", Hex64(glint_session_logits_hash(session_.get()))}};
    PrintJson(report);
  }

  void PrintCosts() const {
    const glint_stats stats = Stats();
    const auto size = [](uint64_t bytes) { return FormatBytes(bytes); };
    std::fprintf(stderr, "\n%s%zu prompt + %zu generated tokens, %.1f tokens/s, first after %.0f ms; stopped: %s\n",
                 info_.synthetic == 1 ? "synthetic model (random weights): " : "", prompt_count_, GeneratedCount(),
                 TokensPerSecond(), FirstTokenSeconds() * 1e3, stop_reason_.c_str());
    std::fprintf(stderr,
                 "budget %s, held at most %s, process peak %s, model file %s; from flash %s in %llu reads, "
                 "%llu hits, %llu misses\n",
                 size(info_.budget_bytes).c_str(), size(stats.held_bytes_max).c_str(), size(PeakRssBytes()).c_str(),
                 size(info_.file_bytes).c_str(), size(stats.flash_read_bytes).c_str(),
                 static_cast<unsigned long long>(stats.flash_reads), static_cast<unsigned long long>(stats.cache_hits),
                 static_cast<unsigned long long>(stats.cache_misses));
    std::fprintf(stderr, "stall %.0f ms, compute %.0f ms, predict %.0f ms, verify %.0f ms; logits %s\n",
                 Milliseconds(stats.stall_ns), Milliseconds(stats.compute_ns), Milliseconds(stats.predict_ns),
                 Milliseconds(stats.verify_ns), Hex64(glint_session_logits_hash(session_.get())).c_str());
  }

  const Options& options_;
  glint_error error_ = GLINT_ERROR_INIT;
  std::string error_text_;
  ModelHandle model_;
  SessionHandle session_;
  glint_model_info info_{.struct_size = sizeof(glint_model_info)};
  std::vector<glint_token> tokens_;
  size_t prompt_count_ = 0;
  std::string prompt_text_;
  std::string generated_text_;
  std::string stop_reason_;
  Clock::time_point begin_;
  Clock::time_point first_token_;
  Clock::time_point end_;
};

class RunCommand final : public Command {
 public:
  explicit RunCommand(CLI::App* app);
  Outcome Run() override { return Generation(options_).Execute(); }

 private:
  Options options_;
};

RunCommand::RunCommand(CLI::App* app) {
  CLI::App* command = app->add_subcommand("run", "Generates text; its costs go to stderr");
  command->add_option("-m,--model", options_.path, "Model file")->required();
  auto* prompt = command->add_option_group("prompt", "Where the text to continue comes from")->require_option(1);
  prompt->add_option("-p,--prompt", options_.prompt, "Text");
  prompt->add_option("-f,--file", options_.prompt_file, "File with the text");
  prompt->add_option("--token-ids", options_.token_ids, "Ids, separated by commas, used as they are without BOS")
      ->delimiter(',');
  command->add_option("-n,--predict", options_.tokens_max,
                      "Tokens to generate; -1: until the text or the context ends (default: -1)");
  AddModelOptions(command, &options_.model);
  glint_sampler_options& sampler = options_.sampler;
  glint_sampler_options_init(&sampler);
  command->add_option("--temp", sampler.temperature, "Temperature; 0: the most likely token")->capture_default_str();
  command->add_option("--top-k", sampler.top_k, "0: off")->capture_default_str();
  command->add_option("--top-p", sampler.top_p, "1: off")->capture_default_str();
  command->add_option("--min-p", sampler.min_p, "0: off")->capture_default_str();
  command->add_option("--repeat-penalty", sampler.repeat_penalty, "1: off")->capture_default_str();
  command->add_option("--repeat-last-n", sampler.repeat_last, "Tokens that the penalty looks back on")
      ->capture_default_str();
  command->add_option("-s,--seed", sampler.seed, "Seed of the draws")->capture_default_str();
  command->add_flag("--special", options_.special, "Special tokens in the prompt are parsed");
  command->add_flag("--ignore-eos", options_.ignore_eos, "Goes on after the end of text");
  command->add_flag("--json", options_.json, "Print one JSON object");
  AddConfigOption(command);
}

}  // namespace

std::unique_ptr<Command> AddRunCommand(CLI::App* app) { return std::make_unique<RunCommand>(app); }

}  // namespace glint
