#include "apps/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "glint/base/units.h"

namespace glint {

ProgressBar::ProgressBar(std::string what) : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (visible_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::Update(uint64_t done_bytes, uint64_t total_bytes) {
  using std::chrono::duration;
  using std::chrono::milliseconds;
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || total_bytes == 0 || now - begin_ < milliseconds(1000) || now - drawn_ < milliseconds(100)) return;
  drawn_ = now;
  visible_ = true;
  constexpr int kWidth = 30;
  const double share = std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
  const double seconds = duration<double>(now - begin_).count();
  const double left = share > 0 ? seconds / share - seconds : 0;
  const int filled = static_cast<int>(share * kWidth);
  std::fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%  %s of %s, %.0f s left\x1b[K", what_.c_str(), filled,
               "##############################", kWidth - filled, "", share * 100, FormatBytes(done_bytes).c_str(),
               FormatBytes(total_bytes).c_str(), left);
  std::fflush(stderr);
}

}  // namespace glint
