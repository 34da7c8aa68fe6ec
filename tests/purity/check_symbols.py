#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pure code takes from outside only what allowed_symbols.txt names; read from the objects by nm.

    check_symbols.py SOURCE_ROOT BUILD_ROOT

Pure are base without its log sink, wire, core, in the adapters what parses, plans and formats, and of
the guard all but its I/O. They may also use each other.
"""

import fnmatch
import pathlib
import subprocess
import sys

PURE = [
    "src/base/*.c", "src/wire/*.c", "src/core/**/*.c",
    "src/adapters/*/*_parse.c", "src/adapters/*/*_plan.c", "src/adapters/*/*_format.c",
    "src/adapters/*/*_profile.c", "src/io/*_parse.c", "src/adapters/*/unit_text.c",
    "src/guard/guard_conf.c", "src/guard/guard_msg.c", "src/guard/guard_status.c", "src/guard/promise.c",
]
# The sink of log lines: it writes. Who is pure may not call it, so its names are not counted in.
IMPURE = {"src/base/log.c"}
HERE = pathlib.Path(__file__).resolve().parent


def read_allowed():
    """Patterns of the allow-list."""
    lines = (HERE / "allowed_symbols.txt").read_text().splitlines()
    return [word for line in lines for word in line.split("#")[0].split()]


def find_objects(source, build):
    """{pure source: its object}. Meson names it after the path below its meson.build, / as _."""
    objects = {}
    for path in build.glob("src/**/*.a.p/*.c.o"):
        library_dir = path.parent.parent.relative_to(build)
        objects[(library_dir, path.name)] = path
    found = {}
    for pattern in PURE:
        for file in sorted(source.glob(pattern)):
            name = file.relative_to(source)
            if str(name) in IMPURE:
                continue
            for directory in list(name.parents)[:-1]:
                flat = str(name.relative_to(directory)).replace("/", "_") + ".o"
                if (directory, flat) in objects:
                    found[name] = objects[(directory, flat)]
                    break
            else:
                sys.exit(f"{name} is compiled into no library of src/: is it in a meson.build?")
    return found


def symbols_of(path):
    """(defined, undefined) global names of an object."""
    shown = subprocess.run(["nm", "--format=posix", path], check=True, capture_output=True,
                           text=True).stdout
    defined, undefined = set(), set()
    for line in shown.splitlines():
        name, kind = line.split()[:2]
        (undefined if kind in "Uwv" else defined).add(name)
    return defined, undefined


def main():
    """Every pure object against the list."""
    source, build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    allowed = read_allowed()
    found = find_objects(source, build)
    tables = {name: symbols_of(path) for name, path in found.items()}
    ours = set().union(*(defined for defined, _ in tables.values()))
    bad = 0
    for name, (_, undefined) in tables.items():
        for symbol in sorted(undefined - ours):
            if not any(fnmatch.fnmatchcase(symbol, pattern) for pattern in allowed):
                print(f"{name}: pure code may not use {symbol}()")
                bad += 1
    print(f"{len(found)} pure objects, {bad} forbidden uses")
    return 1 if bad or not found else 0


sys.exit(main())
