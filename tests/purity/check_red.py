#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The test of the tests: each check of this directory is red for a tree that breaks its law.

    check_red.py CC…

Small trees are made, one that keeps the law and one broken in one place for each law, and the
checks are run on them as on ours.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n"
GOOD = {
    "src/core/plan.c": HEAD + '#include "core/plan.h"\n\nint plan_next(int n)\n{\n    return n + 1;\n}\n',
    "src/core/plan.h": HEAD + "#pragma once\n\n/** plan_next - the next one. Return: @n + 1 */\n"
                              "int plan_next(int n);\n",
}
# Includes that break the direction, one of each kind: {file of the tree: text}.
WRONG_INCLUDES = {
    "core on io": {"src/core/bad.c": HEAD + '#include "io/file.h"\n'},
    "base on core": {"src/base/bad.c": HEAD + '#include "core/plan.h"\n'},
    "cli on agent": {"src/cli/bad.c": HEAD + '#include "agent/agent.h"\n'},
    "one adapter on another": {"src/adapters/etcd/bad.c": HEAD + '#include "adapters/virt/x.h"\n'},
    "a directory that is in no law": {"src/misc/bad.c": HEAD},
}
# What pure code may not call, one of each kind: {name: body of a function}.
WRONG_CALLS = {
    "a file": 'extern int open(const char *, int, ...);\nint plan_bad(void)\n{\n    return open("/x", 0);\n}\n',
    "a clock": "extern long time(long *);\nlong plan_bad(void)\n{\n    return time(0);\n}\n",
    "a random number": "extern int rand(void);\nint plan_bad(void)\n{\n    return rand();\n}\n",
    "the environment": 'extern char *getenv(const char *);\nchar *plan_bad(void)\n{\n    return getenv("X");\n}\n',
    "a socket": "extern int socket(int, int, int);\nint plan_bad(void)\n{\n    return socket(1, 1, 0);\n}\n",
    "a thread": "extern int pthread_create(void *, void *, void *, void *);\n"
                "int plan_bad(void)\n{\n    return pthread_create(0, 0, 0, 0);\n}\n",
    "output": 'extern int puts(const char *);\nint plan_bad(void)\n{\n    return puts("x");\n}\n',
}
WRONG_SHAPES = {
    "a banned call": {"src/core/bad.c": HEAD + "\nint plan_bad(const char *s)\n{\n    return atoi(s);\n}\n"},
    "a planner's own clock": {"src/core/plan/bad.c": HEAD + "\nint plan_bad(const struct core *c, uint64_t at_us)"
                              "\n{\n    return at_us <= c->now_us;\n}\n"},
    "no docstring": {"src/core/bad.h": HEAD + "#pragma once\n\nint plan_bad(void);\n"},
}


def make_tree(root, files):
    """Write the files of GOOD and files below root."""
    for name, text in {**GOOD, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(check, *args):
    """Exit code of a check, and what it says."""
    done = subprocess.run([sys.executable, check, *args], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def run_layers(root, _compiler):
    """check_layers.py on a tree."""
    return run(HERE / "check_layers.py", root)


def run_symbols(root, compiler):
    """check_symbols.py on a tree, whose objects lie where Meson puts them."""
    for source in (root / "src").rglob("*.c"):
        out = root / "build/src/core/libcore.a.p" / f"{source.name}.o"
        out.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*compiler, "-w", "-fno-builtin", f"-I{root}/src", "-c", source, "-o", out],
                       check=True)
    return run(HERE / "check_symbols.py", root, root / "build")


def run_tidy(root, _compiler):
    """tools/tidy.py on a tree."""
    return run(HERE.parents[1] / "tools/tidy.py", root)


CASES = [(run_layers, name, files) for name, files in WRONG_INCLUDES.items()]
CASES += [(run_symbols, name, {"src/core/bad.c": HEAD + body}) for name, body in WRONG_CALLS.items()]
CASES += [(run_tidy, name, files) for name, files in WRONG_SHAPES.items()]


def main():
    """Every case must be red and name the file; the good tree must be green."""
    compiler = sys.argv[1:]
    wrong = 0
    for check, name, files in [(c, "nothing", {}) for c in (run_layers, run_symbols, run_tidy)] + CASES:
        root = pathlib.Path(tempfile.mkdtemp(prefix="mortar-red-"))
        try:
            make_tree(root, files)
            code, said = check(root, compiler)
        finally:
            shutil.rmtree(root)
        is_seen = code != 0 and all(pathlib.Path(file).name in said for file in files)
        if is_seen != bool(files):
            wrong += 1
            print(f"{check.__name__} with {name} broken: exit {code}\n{said}")
    print(f"{len(CASES)} broken trees, {wrong} judged wrongly")
    return 1 if wrong else 0


sys.exit(main())
