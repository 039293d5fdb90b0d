// What the commands of the program share: how one is added, and how it ends.
#ifndef GLINT_APPS_COMMAND_H_
#define GLINT_APPS_COMMAND_H_

#include <memory>
#include <string>

namespace CLI {
class App;
}

namespace glint {

// How a command ended: the process's exit code is 0 where `error` is empty, else 1. `error` is one line for people.
struct Outcome {
  std::string error;
};

// Holds the options that the command line is parsed into, and runs on them.
class Command {
 public:
  virtual ~Command() = default;
  virtual Outcome Run() = 0;
};

// Each adds its subcommand to `app`, which must not outlive what is returned.
std::unique_ptr<Command> AddPackCommand(CLI::App* app);
std::unique_ptr<Command> AddInspectCommand(CLI::App* app);
std::unique_ptr<Command> AddVerifyCommand(CLI::App* app);
std::unique_ptr<Command> AddPlanCommand(CLI::App* app);
std::unique_ptr<Command> AddRunCommand(CLI::App* app);
std::unique_ptr<Command> AddEvalCommand(CLI::App* app);
std::unique_ptr<Command> AddSynthCommand(CLI::App* app);

}  // namespace glint

#endif  // GLINT_APPS_COMMAND_H_
