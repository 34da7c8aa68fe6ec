# SPDX-License-Identifier: Apache-2.0
"""Run one command of the machine, and say well what went wrong.

Everything the lab does to the machine goes through run(): argument vectors only, no shell,
a deadline always, C locale, errors with the last words of the command.
"""

import os
import subprocess
import sys


# Open files that commands inherit: locks, which so stay held until an orphan of a killed caller ends.
inherited = set()


class LabError(Exception):
    """What the user is told; hint says what to do next."""

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint

    def __str__(self):
        message = super().__str__()
        return f"{message}\n  {self.hint}" if self.hint else message


def say(text):
    """Progress for people: one line on stderr, never mixed with a command's output."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def clean_env(**extra):
    """The environment of each child: what a login of root has, and nothing of the caller's."""
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }
    for name in ("TERM", "http_proxy", "https_proxy", "no_proxy"):
        if name in os.environ:
            env[name] = os.environ[name]
    env.update(extra)
    return env


def run(argv, timeout=60, check=True, text_in=None, env=None):
    """Run argv and return the CompletedProcess with text output.

    With check, an exit code other than 0 is a LabError that quotes the command and its stderr.
    """
    argv = [str(a) for a in argv]
    try:
        done = subprocess.run(
            argv,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env or clean_env(),
            pass_fds=inherited,
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"no answer within {timeout} s: {' '.join(argv)}") from None
    if check and done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "no message")[-800:]
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {words}")
    return done
