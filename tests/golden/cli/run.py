# SPDX-License-Identifier: Apache-2.0
"""Golden test of the mortar command; see README."""
import difflib
import os
import pathlib
import subprocess
import sys
import tempfile

from cases import CASES
from fake_agent import FakeAgent

HERE = pathlib.Path(__file__).parent


def run_case(mortar, case):
    out = []
    with tempfile.TemporaryDirectory(prefix="mortar-cli.") as tmp:
        for name, text in case.get("files", {}).items():
            pathlib.Path(tmp, name).write_text(text)
        env = {"PATH": os.environ["PATH"], "TZ": "UTC", "HOME": tmp,
               "MORTAR_SOCKET": f"{tmp}/agent.sock",
               "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")}
        for argv in case["runs"]:
            with FakeAgent(env["MORTAR_SOCKET"], case["answers"]) as agent:
                argv = [word.replace("{tmp}", tmp) for word in argv]
                done = subprocess.run([mortar, *argv], env=env, cwd="/", text=True, timeout=60,
                                      stdin=subprocess.DEVNULL, capture_output=True, check=False)
            out.append(f"$ mortar {' '.join(repr(w) if ' ' in w or not w else w for w in argv)}\n")
            out.append(done.stdout)
            out += [f"stderr: {line}\n" for line in done.stderr.splitlines()]
            out += [f"request: {line}\n" for line in agent.requests]
            out.append(f"exit: {done.returncode}\n\n")
        return "".join(out).replace(tmp, "TMP")


def main():
    mortar = str(pathlib.Path(sys.argv[1]).absolute())
    update = "--update" in sys.argv or os.environ.get("MORTAR_GOLDEN") == "update"
    failed = 0
    print(f"1..{len(CASES)}")
    for number, (name, case) in enumerate(CASES.items(), 1):
        got = run_case(mortar, case)
        path = HERE / "expected" / f"{name}.txt"
        if update:
            path.write_text(got)
        want = path.read_text() if path.exists() else ""
        good = got == want
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {name}")
        for line in difflib.unified_diff(want.splitlines(), got.splitlines(), "expected", "got", "", "", 2, ""):
            print(f"# {line}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
