#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Install what this tree needs from Debian, and nothing that is there already.

    tools/packages.py missing GROUP…     print what would be installed
    tools/packages.py install GROUP…     install it

The groups are in packages.txt. No service starts by an installation made here: a policy-rc.d, the
way Debian provides for that, refuses it while apt runs; one that the machine has itself stays.
"""

import contextlib
import os
import pathlib
import subprocess
import sys

LIST = pathlib.Path(__file__).with_name("packages.txt")
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")
APT = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120"]
APT_DEADLINE_S = 900


def read_list(groups):
    """The packages of groups, in the order of the list."""
    lines = [line.split("#")[0].split() for line in LIST.read_text().splitlines()]
    known = {words[0] for words in lines if words}
    for group in groups:
        if group not in known:
            sys.exit(f"packages: no group {group!r}; there are {', '.join(sorted(known))}")
    return [words[1] for words in lines if words and words[0] in groups]


def missing(groups):
    """Those of groups that are not installed."""
    form = "${binary:Package} ${db:Status-Abbrev}\n"
    shown = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True,
                           check=True).stdout
    have = {line.split()[0].split(":")[0] for line in shown.splitlines()
            if line.split()[1:] == ["ii"]}
    return [name for name in dict.fromkeys(read_list(groups)) if name not in have]


@contextlib.contextmanager
def services_held():
    """While this lasts, invoke-rc.d starts nothing."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def apt(*words):
    """apt-get without questions; its exit code. Output goes to ours."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    return subprocess.run([*APT, *words], env=env, stdin=subprocess.DEVNULL,
                          timeout=APT_DEADLINE_S, check=False).returncode


def install(groups):
    """Install what is missing; a stale package list is refreshed once."""
    wanted = missing(groups)
    if not wanted:
        return
    words = ["install", "--no-install-recommends", *wanted]
    with services_held():
        if apt(*words) != 0 and (apt("update") != 0 or apt(*words) != 0):
            sys.exit(f"packages: cannot install {' '.join(wanted)}; is Debian's mirror reachable?")


def main():
    """missing or install"""
    if len(sys.argv) < 3 or sys.argv[1] not in ("missing", "install"):
        sys.exit(__doc__)
    if sys.argv[1] == "install":
        install(sys.argv[2:])
    else:
        print("\n".join(missing(sys.argv[2:])))


if __name__ == "__main__":
    main()
