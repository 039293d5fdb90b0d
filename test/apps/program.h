// Runs the built program as a person would, and keeps what it said.
#ifndef GLINT_TEST_APPS_PROGRAM_H_
#define GLINT_TEST_APPS_PROGRAM_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "test/support/temp_dir.h"

namespace glint::test {

struct ProgramOptions {
  std::vector<std::string> launcher = {};  // a program, with arguments, that runs ours
  uint64_t file_bytes_max = 0;             // writing more to a file fails as on a full disk; 0: no limit
  bool interrupt = false;                  // Ctrl-C as soon as the program handles it
};

struct Finished {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  std::string out;
  std::string err;

  // Empty where the output is not one JSON object.
  nlohmann::json Json() const {
    nlohmann::json parsed = nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(parsed.is_object()) << out << err;
    return parsed.is_object() ? parsed : nlohmann::json::object();
  }
};

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Whether process `pid` has a handler of its own for `signal`.
inline bool HandlesSignal(pid_t pid, int signal) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("SigCgt:")) return (std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) != 0;
  }
  return false;
}

inline Finished RunProgram(std::vector<std::string> arguments, const ProgramOptions& options = {}) {
  const TempDir folder;
  const std::string out = folder.Path("out");
  const std::string err = folder.Path("err");
  arguments.insert(arguments.begin(), GLINT_PROGRAM);
  arguments.insert(arguments.begin(), options.launcher.begin(), options.launcher.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    const int out_fd = open(out.c_str(), O_WRONLY | O_CREAT, 0600);
    const int err_fd = open(err.c_str(), O_WRONLY | O_CREAT, 0600);
    if (out_fd < 0 || err_fd < 0 || dup2(out_fd, 1) < 0 || dup2(err_fd, 2) < 0) _exit(126);
    if (options.file_bytes_max != 0) {
      const rlimit limit{options.file_bytes_max, options.file_bytes_max};
      if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
    }
    execvp(argv[0], argv.data());
    _exit(127);
  }
  EXPECT_GT(pid, 0);
  if (options.interrupt) {
    siginfo_t ended{};
    while (!HandlesSignal(pid, SIGINT) && waitid(P_PID, pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           ended.si_pid == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    kill(pid, SIGINT);
  }
  int state = 0;
  EXPECT_EQ(waitpid(pid, &state, 0), pid);
  Finished finished{.out = ReadAll(out), .err = ReadAll(err)};
  if (WIFEXITED(state)) finished.exit_code = WEXITSTATUS(state);
  if (WIFSIGNALED(state)) finished.signal = WTERMSIG(state);
  return finished;
}

// The program ended in good order, and the last line on stderr, the only one of its kind, says all of `parts`. Lines
// before it are notices: which reader runs.
inline void ExpectRefused(const Finished& finished, const std::vector<std::string>& parts) {
  EXPECT_GT(finished.exit_code, 0) << "signal " << finished.signal << "; " << finished.out << finished.err;
  EXPECT_LT(finished.exit_code, 126) << finished.err;
  ASSERT_TRUE(finished.err.ends_with('\n')) << finished.err;
  std::istringstream lines(finished.err);
  std::string line;
  while (std::getline(lines, line) && line.starts_with("reading with ")) {
  }
  EXPECT_TRUE(line.starts_with("glint: ")) << finished.err;
  EXPECT_EQ(lines.peek(), std::char_traits<char>::eof()) << finished.err;
  for (const std::string& part : parts) {
    EXPECT_NE(line.find(part), std::string::npos) << "no '" << part << "' in: " << line;
  }
}

}  // namespace glint::test

#endif  // GLINT_TEST_APPS_PROGRAM_H_
