#!/usr/bin/env python3
"""The rules of the house that a program can check: include directions, guards, words, names, what is built.

usage: scripts/house_rules.py [--root FOLDER] [--compile-commands FILE]
       scripts/house_rules.py --self-test      plants one violation of each rule and expects it to be found

Prints one line `file:line: rule: what` for each violation; exit code 1 where there is one.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

SOURCE_FOLDERS = ("include", "base", "storage", "tokenizer", "predictor", "runtime", "apps", "test")
THIRD_PARTY_HEADERS = re.compile(r"^(nlohmann/|CLI/|liburing|xxhash|utf8proc|gtest/|gmock/|Eigen/)")
FORBIDDEN_WORDS = {  # rule: what must not stand in code (comments and strings do not count)
    "no shared_ptr": re.compile(r"\b(shared_ptr|make_shared)\b"),
    "no throw": re.compile(r"\bthrow\b"),
    "no getenv": re.compile(r"\b(secure_)?getenv\b"),
}
FORBIDDEN_NAME = re.compile(r"(^|_)(utils?|helpers?|common|misc|new|old|v\d+|phase\d*)(_|$)")

# Which component may include which. A file belongs to the component with the longest matching prefix.
COMPONENTS = {
    "include/glint/glint.h": "api",
    "include/glint/base/": "base",
    "base/": "base",
    "storage/flash/": "flash",
    "storage/format/": "format",
    "storage/checkpoint/": "checkpoint",
    "storage/cache/": "cache",
    "tokenizer/": "tokenizer",
    "predictor/": "predictor",
    "runtime/kernels/": "kernels",
    "runtime/": "runtime",
    "apps/": "apps",
    "test/": "test",
}
MAY_INCLUDE = {
    "api": set(),
    "base": {"base"},
    "flash": {"base"},
    "format": {"base", "flash"},
    "checkpoint": {"base", "flash", "format"},
    "cache": {"base", "flash", "format"},
    "tokenizer": {"base"},
    "predictor": {"base"},
    "kernels": {"base", "format"},
    "runtime": {"api", "base", "flash", "format", "cache", "tokenizer", "predictor", "kernels"},
    "apps": {"api", "base", "flash", "format", "checkpoint", "cache", "tokenizer", "predictor", "kernels", "runtime"},
}
# The commands that show what an embedding program can do: through the C API alone. What they share with the other
# commands (argument parsing, printing) may use base, and nothing behind the API.
API_ONLY = re.compile(r"^apps/run(_\w+)?\.(cc|h)$")


def component_of(path):
    prefixes = [prefix for prefix in COMPONENTS if path == prefix or (prefix.endswith("/") and path.startswith(prefix))]
    return COMPONENTS[max(prefixes, key=len)] if prefixes else None


def without_comments_and_strings(text):
    """The same number of lines, with comments and the insides of strings blanked."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
    return pattern.sub(lambda match: "\n" * match.group().count("\n") + " ", text)


def includes_of(text):
    """Yields (line, name, is_quoted)."""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if match:
            yield number, match.group(2), match.group(1) == '"'


class Tree:
    def __init__(self, root):
        self.root = Path(root)
        self.violations = []
        self.sources = sorted(
            path.relative_to(self.root).as_posix()
            for folder in SOURCE_FOLDERS
            for path in (self.root / folder).rglob("*")
            if path.suffix in (".cc", ".h", ".c") and path.is_file()
        )
        self.texts = {path: (self.root / path).read_text(encoding="utf-8") for path in self.sources}

    def report(self, path, line, rule, what):
        self.violations.append((path, line, rule, what))

    def resolve(self, name):
        """The file that a quoted include names, relative to the root or to include/; None where there is none."""
        for path in (name, f"include/{name}"):
            if path in self.texts:
                return path
        return None

    def check_includes(self):
        for path in self.sources:
            component = component_of(path)
            for line, name, is_quoted in includes_of(self.texts[path]):
                if path.endswith(".h") and component != "test" and THIRD_PARTY_HEADERS.match(name):
                    for outside in self.included_from_outside(path):
                        self.report(path, line, "third party in header", f"{name} reaches {outside} through it")
                if name.startswith("CLI/") and component != "apps":
                    self.report(path, line, "include direction", "the command line library is for apps/ only")
                if not is_quoted:
                    continue
                target = self.resolve(name)
                if target is None:
                    if not THIRD_PARTY_HEADERS.match(name):
                        self.report(path, line, "include path", f'"{name}" is no file from the root or include/')
                    continue
                target_component = component_of(target)
                if component == "test" or target_component == component:
                    continue
                if target_component not in MAY_INCLUDE[component]:
                    self.report(path, line, "include direction", f"{component} must not include {target_component} ({name})")
            if API_ONLY.match(path):
                self.check_api_only(path)

    def included_from_outside(self, header_path):
        """Files of other top folders that include `header_path`: third-party types stop inside a folder."""
        top = header_path.split("/")[0]
        for path in self.sources:
            if path.split("/")[0] not in (top, "test"):
                if any(self.resolve(name) == header_path for _, name, is_quoted in includes_of(self.texts[path]) if is_quoted):
                    yield path

    def check_api_only(self, path):
        """Follows the headers of apps/ that `path` includes, to whatever they reach."""
        for line, name, is_quoted in includes_of(self.texts[path]):
            target = self.resolve(name) if is_quoted else None
            if target is None or target == "include/glint/glint.h":
                continue
            if component_of(target) == "base":
                continue
            if component_of(target) != "apps":
                self.report(path, line, "api only", f"{name}: this command works through glint/glint.h and base alone")
                continue
            for reached in self.reached_from(target):
                if component_of(reached) not in ("apps", "api", "base"):
                    self.report(path, line, "api only", f"{name} leads to {reached}, which is behind glint/glint.h")

    def reached_from(self, start):
        seen, pending = set(), [start]
        while pending:
            path = pending.pop()
            if path in seen:
                continue
            seen.add(path)
            if component_of(path) == "apps":
                found = (self.resolve(name) for _, name, is_quoted in includes_of(self.texts[path]) if is_quoted)
                pending.extend(target for target in found if target)
        return sorted(seen)

    def check_guards(self):
        for path in self.sources:
            if not path.endswith(".h"):
                continue
            inside = path[len("include/glint/"):] if path.startswith("include/glint/") else path
            guard = "GLINT_" + re.sub(r"[^A-Za-z0-9]", "_", inside).upper() + "_"
            text = without_comments_and_strings(self.texts[path])
            directives = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
            if directives[:2] != [f"#ifndef {guard}", f"#define {guard}"]:
                self.report(path, 1, "include guard", f"expected {guard}")

    def check_words(self):
        for path in self.sources:
            for number, line in enumerate(without_comments_and_strings(self.texts[path]).splitlines(), 1):
                for rule, pattern in FORBIDDEN_WORDS.items():
                    # A test may stand in for a library that throws, such as an operator new that counts.
                    if pattern.search(line) and not (rule == "no throw" and path.startswith("test/")):
                        self.report(path, number, rule, line.strip())

    def check_names(self):
        for path in self.sources:
            for part in Path(path).with_suffix("").parts:
                if FORBIDDEN_NAME.search(part):
                    self.report(path, 1, "file name", f"'{part}' does not say what is inside, or has history in it")

    def check_built(self, compile_commands):
        """Each source is compiled in this build. Fuzzers are built by another preset."""
        entries = json.loads(Path(compile_commands).read_text(encoding="utf-8"))
        built = {os.path.realpath(os.path.join(entry["directory"], entry["file"])) for entry in entries}
        for path in self.sources:
            if path.endswith(".h") or path.startswith("test/fuzz/"):
                continue
            if os.path.realpath(self.root / path) not in built:
                self.report(path, 1, "not built", f"no target of {compile_commands} compiles it")

    def check_fuzzers_named(self):
        for path in self.sources:
            if path.startswith("test/fuzz/") and path.endswith(".cc") and not path.endswith("_fuzz.cc"):
                self.report(path, 1, "not built", "test/fuzz/ builds *_fuzz.cc only")

    def check_executable(self):
        for folder in ("scripts", "test", ".ci"):
            for path in sorted((self.root / folder).rglob("*")):
                is_program = path.suffix == ".sh" or (folder != "test" and path.suffix in ("", ".py"))
                if path.is_file() and is_program and not os.access(path, os.X_OK):
                    self.report(path.relative_to(self.root).as_posix(), 1, "executable", "chmod +x")

    def check(self, compile_commands=None):
        self.check_includes()
        self.check_guards()
        self.check_words()
        self.check_names()
        self.check_fuzzers_named()
        self.check_executable()
        if compile_commands:
            self.check_built(compile_commands)
        return sorted(self.violations)


def header(guard, body=""):
    return f"#ifndef {guard}\n#define {guard}\n{body}\n#endif\n"


CLEAN = {  # a tree that keeps every rule, and comes close to breaking some
    "include/glint/glint.h": header("GLINT_GLINT_H_", "#include <stdint.h>"),
    "include/glint/base/status.h": header("GLINT_BASE_STATUS_H_", "#include <string>"),
    "storage/flash/extent.h": header("GLINT_STORAGE_FLASH_EXTENT_H_", '#include "glint/base/status.h"'),
    "storage/cache/slots.cc": '#include "storage/flash/extent.h"\n// We throw nothing; "shared_ptr" is a word here.\n'
                              'const char* kText = "getenv throw";\nconst char kQuote = \'"\';\n',
    "predictor/exact.h": header("GLINT_PREDICTOR_EXACT_H_"),
    "runtime/decoder.h": header("GLINT_RUNTIME_DECODER_H_", '#include "predictor/exact.h"\n#include "storage/flash/extent.h"'),
    "storage/format/strict_json.h": header("GLINT_STORAGE_FORMAT_STRICT_JSON_H_", "#include <nlohmann/json.hpp>"),
    "storage/format/directory.cc": '#include "storage/format/strict_json.h"\n',
    "apps/report.h": header("GLINT_APPS_REPORT_H_", '#include "glint/base/status.h"'),
    "apps/run_command.cc": '#include "apps/report.h"\n#include "glint/glint.h"\n',
    "apps/runner_list.cc": '#include "runtime/decoder.h"\n',
    "test/storage/extent_test.cc": '#include "runtime/decoder.h"\n',
    "test/fuzz/header_fuzz.cc": "\n",
    "test/support/allocation_counter.cc": "void* operator new(size_t) { throw 1; }\n",
    "scripts/build.sh": "#!/bin/sh\n",
}
PLANTED = [  # rule, file, content
    ("include direction", "predictor/exact.cc", '#include "storage/flash/extent.h"\n'),
    ("include direction", "storage/cache/slots.h",
     header("GLINT_STORAGE_CACHE_SLOTS_H_", '#include "predictor/exact.h"')),
    ("include direction", "storage/flash/extent.cc", '#include "runtime/decoder.h"\n'),
    ("include direction", "runtime/options.cc", "#include <CLI/CLI.hpp>\n"),
    ("include path", "runtime/decoder.cc", '#include "decoder.h"\n'),
    ("third party in header", "runtime/describe.cc", '#include "storage/format/strict_json.h"\n'),
    ("api only", "apps/run_command.cc", '#include "runtime/decoder.h"\n'),
    ("api only", "apps/report.h", header("GLINT_APPS_REPORT_H_", '#include "runtime/decoder.h"')),
    ("include guard", "runtime/decoder.h", header("GLINT_DECODER_H_")),
    ("no shared_ptr", "runtime/owner.cc", "std::shared_ptr<int> both;\n"),
    ("no throw", "base/fail.cc", "void Fail() { throw 1; }\n"),
    ("no getenv", "base/home.cc", 'const char* kHome = getenv("HOME");\n'),
    ("file name", "base/string_utils.cc", "\n"),
    ("file name", "runtime/decoder_v2.cc", "\n"),
    ("not built", "test/storage/forgotten_test.cc", "\n"),
    ("not built", "test/fuzz/seeds.cc", "\n"),
    ("executable", "scripts/install.sh", "#!/bin/sh\n"),
]


def write_tree(root, files, executable=True):
    for path, text in files.items():
        target = Path(root) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        if executable and target.suffix == ".sh":
            target.chmod(0o755)


def self_test():
    failures = 0
    for rule, path, text in [(None, None, None)] + PLANTED:
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, CLEAN)
            built = [{"directory": root, "file": name} for name in CLEAN if name.endswith(".cc")]
            if path:
                write_tree(root, {path: text}, executable=False)
                if not path.startswith("test/"):
                    built.append({"directory": root, "file": path})
            commands = Path(root) / "compile_commands.json"
            commands.write_text(json.dumps(built), encoding="utf-8")
            found = {violation[2] for violation in Tree(root).check(commands)}
            expected = {rule} if rule else set()
            if found != expected:
                print(f"planted {rule} in {path}: found {sorted(found)}, expected {sorted(expected)}")
                failures += 1
    print(f"{len(PLANTED) + 1 - failures} of {len(PLANTED) + 1} trees judged rightly")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--compile-commands")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    tree = Tree(arguments.root)
    violations = tree.check(arguments.compile_commands)
    for path, line, rule, what in violations:
        print(f"{path}:{line}: {rule}: {what}")
    print(f"{len(tree.sources)} sources, {len(violations)} violations of the house rules", file=sys.stderr)
    return 1 if violations or not tree.sources else 0


if __name__ == "__main__":
    sys.exit(main())
