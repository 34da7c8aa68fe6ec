#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes point in one direction: the law of ARCHITECTURE.md, directory by directory.

    check_layers.py SOURCE_ROOT
"""

import pathlib
import re
import sys

# The longest directory that fits a file decides. "own" is the directory itself.
LAW = {
    "base": [],
    "core": ["base", "core"],
    "wire": ["base"],
    "io": ["base"],
    "adapters/etcd": ["base", "io", "core/model"],
    "adapters/guard": ["base"],
    "adapters/gluster": ["base", "io", "core/model"],
    "adapters/fence": ["base", "io", "core/model"],
    "adapters/systemd": ["base", "io", "core/model"],
    # bricks, mounts and bridges of a host are made as systemd's units
    "adapters/host": ["base", "io", "core/model", "adapters/systemd"],
    "adapters/virt": ["base", "io", "core/model"],
    "agent": ["base", "io", "wire", "core", "adapters"],
    "api": ["base", "io", "wire"],
    "cli": ["base", "io", "wire"],
    "guard": ["base"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def owner_of(name):
    """The directory of LAW that a path below src/ belongs to, or None."""
    fits = [d for d in LAW if name.startswith(d + "/")]
    return max(fits, key=len, default=None)


def main():
    """Every quoted include below src/."""
    source = pathlib.Path(sys.argv[1]).resolve() / "src"
    bad = files = 0
    for path in sorted([*source.rglob("*.c"), *source.rglob("*.h")]):
        name = str(path.relative_to(source))
        files += 1
        owner = owner_of(name)
        if owner is None:
            print(f"src/{name}: its directory is not in the law of layers")
            bad += 1
            continue
        for target in INCLUDE.findall(path.read_text()):
            may = [owner, *LAW[owner]]
            if not any(target.startswith(d + "/") for d in may):
                print(f"src/{name}: {owner} may not include {target}")
                bad += 1
    print(f"{files} files, {bad} includes against the law")
    return 1 if bad or not files else 0


sys.exit(main())
