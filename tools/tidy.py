#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that a machine can check without false alarms; STYLE.md has them all.

    tools/tidy.py SOURCE_ROOT

Checks src/: banned calls, length of files, TODO without issue, docstrings of declared functions, planners
that look at the clock without saying so.
"""

import pathlib
import re
import sys

# Why each is banned is the replacement.
BANNED = {
    "system": "io/cmd.h", "popen": "io/cmd.h", "fork": "io/cmd.h", "vfork": "io/cmd.h",
    "strcpy": "str_dup() or struct sbuf", "strcat": "struct sbuf", "gets": "nothing",
    "sprintf": "str_printf() or snprintf()", "vsprintf": "struct sbuf",
    "strtok": "strcspn()", "atoi": "str_parse_u64()", "atol": "str_parse_u64()",
    "strtol": "str_parse_u64()", "strtoul": "str_parse_u64()",
    "time": "clock_*() of io/clock.h", "rand": "base/prng.h", "random": "base/prng.h",
    "usleep": "a timer of io/loop.h",
}
MAY = {
    ("src/io/cmd.c", "fork"): "it is the one place",
}
LINES_MAX = 1000
# Every free function accepts NULL and half-built objects; there is no more to say.
SELF_EVIDENT = ("_done", "_free", "_freep", "_unref")
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
PLANNERS = tuple(f"src/core/{part}/" for part in ("ha", "model", "op", "place", "plan"))
CLOCK = re.compile(r"now_us\s*[<>]|(?<!-)[<>]=?\s*[\w.>-]*\bnow_us\b")
DECLARATION = re.compile(r"^(?!static|typedef|struct \w+;|#|extern \")[a-z][\w\s\*]*?\b(\w+)\([^;{]*\)[^;{]*;",
                         re.MULTILINE)
DOCSTRING = re.compile(r"/\*\*(.*?)\*/", re.DOTALL)


def blank(match):
    """Spaces in place of a comment or text, so that lines keep their numbers."""
    return re.sub(r"[^\n]", " ", match[0])


def check_calls(name, text):
    """Banned calls outside comments and strings."""
    for match in CALL.finditer(COMMENT_OR_TEXT.sub(blank, text)):
        if (name, match[1]) not in MAY:
            line = text.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: {match[1]}() is banned; use {BANNED[match[1]]}"


def check_clock(name, text):
    """A planner that compares the time itself would be left out when that has come (core/basis.h)."""
    for match in CLOCK.finditer(COMMENT_OR_TEXT.sub(blank, text)):
        line = text.count("\n", 0, match.start()) + 1
        yield f"{name}:{line}: planners compare the time by core_is_past()"


def check_text(name, text):
    """Length, and work left for somebody."""
    lines = text.count("\n")
    if lines > LINES_MAX:
        yield f"{name}: {lines} lines; a file of more than {LINES_MAX} is two files"
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
            yield f"{name}:{number}: a TODO names its issue: TODO(#12)"


def check_docstrings(name, text):
    """A declared function has a comment in its paragraph; a docstring names what is declared."""
    plain = COMMENT_OR_TEXT.sub(blank, text)
    declared = {match[1]: match.start() for match in DECLARATION.finditer(plain)}
    for function, start in declared.items():
        if function.endswith(SELF_EVIDENT):
            continue
        paragraph = text.rfind("\n\n", 0, start)
        line = text.count("\n", 0, start) + 1
        if "/*" not in text[max(paragraph, 0):start]:
            yield f"{name}:{line}: {function}() has no docstring"
    for match in DOCSTRING.finditer(text):
        words = re.match(r"[\s*]*(\w+)(?:\(\))? - ", match[1])
        if words and not re.search(rf"\b{re.escape(words[1])}\b", plain):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: a docstring describes {words[1]}, which is not here"


def main():
    """All files of src/."""
    root = pathlib.Path(sys.argv[1]).resolve()
    found = []
    files = sorted([*root.glob("src/**/*.c"), *root.glob("src/**/*.h")])
    for path in files:
        name = str(path.relative_to(root))
        text = path.read_text()
        found += check_calls(name, text)
        found += check_text(name, text)
        found += check_clock(name, text) if name.startswith(PLANNERS) else []
        if path.suffix == ".h":
            found += check_docstrings(name, text)
    for line in found:
        print(line)
    print(f"{len(files)} files, {len(found)} findings")
    return 1 if found or not files else 0


sys.exit(main())
