// A progress bar on stderr for whatever takes longer than a second.
#ifndef GLINT_APPS_PROGRESS_BAR_H_
#define GLINT_APPS_PROGRESS_BAR_H_

#include <chrono>
#include <cstdint>
#include <string>

namespace glint {

// Draws nothing in the first second, nor where stderr is not a terminal; erases itself at the end.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void Update(uint64_t done_bytes, uint64_t total_bytes);

 private:
  const std::string what_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point drawn_ = begin_;
  bool visible_ = false;
};

}  // namespace glint

#endif  // GLINT_APPS_PROGRESS_BAR_H_
