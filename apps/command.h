// What every command of the program shares: how it is added, and how it ends.
#ifndef GLINT_APPS_COMMAND_H_
#define GLINT_APPS_COMMAND_H_

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace glint {

// How a command ended. The process's exit code is 0 where `error` is empty, else 1; `error` is one line for people.
struct Outcome {
  std::string error;
};

// Set by the command that the user chose, run after the command line was understood.
using Action = std::function<Outcome()>;

void AddPackCommand(CLI::App* app, Action* action);
void AddSynthCommand(CLI::App* app, Action* action);
void AddInspectCommand(CLI::App* app, Action* action);
void AddVerifyCommand(CLI::App* app, Action* action);
void AddPlanCommand(CLI::App* app, Action* action);
void AddRunCommand(CLI::App* app, Action* action);
void AddEvalCommand(CLI::App* app, Action* action);

}  // namespace glint

#endif  // GLINT_APPS_COMMAND_H_
