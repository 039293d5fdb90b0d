// glint: one program, one command per file beside this one.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <map>
#include <string>

#include "apps/command.h"
#include "glint/glint.h"

int main(int argc, char** argv) {
  // A file that grows past the limit of `ulimit -f` is then a write that fails, with a message.
  std::signal(SIGXFSZ, SIG_IGN);
  CLI::App app("glint runs language models that are larger than the memory they are given.", "glint");
  app.set_version_flag("--version", std::string("glint ") + glint_version());
  app.require_subcommand(1);
  app.failure_message([](const CLI::App* parsed, const CLI::Error& error) {
    const std::vector<CLI::App*> chosen = parsed->get_subcommands();
    const std::string command = chosen.empty() ? "" : chosen.front()->get_name() + " ";
    return std::string("glint: ") + error.what() + "; see `glint " + command + "--help`\n";
  });
  std::map<std::string, std::unique_ptr<glint::Command>> commands;
  commands["pack"] = glint::AddPackCommand(&app);
  commands["inspect"] = glint::AddInspectCommand(&app);
  commands["verify"] = glint::AddVerifyCommand(&app);
  commands["plan"] = glint::AddPlanCommand(&app);
  commands["run"] = glint::AddRunCommand(&app);
  commands["eval"] = glint::AddEvalCommand(&app);
  commands["synth"] = glint::AddSynthCommand(&app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Prints help, the version, or what was wrong with the command line; help and version are no errors.
    return app.exit(error) == 0 ? 0 : 2;
  }
  glint::Outcome outcome = commands.at(app.get_subcommands().front()->get_name())->Run();
  // What did not reach a full disk or a closed pipe was not said.
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (!written && outcome.error.empty()) outcome.error = "cannot write to the standard output";
  if (outcome.error.empty()) return 0;
  std::fprintf(stderr, "glint: %s\n", outcome.error.c_str());
  return 1;
}
