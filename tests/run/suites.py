# SPDX-License-Identifier: Apache-2.0
"""The suites, in the order they run; each with a deadline, so that no run lasts for ever."""

import dataclasses
import json
import pathlib
import random
import shutil
import sys
import typing

import results
import resume

LEVELS = ["quick", "all", "full"]
# A class of machine may lack what a suite needs; then the suite says so and is counted as skipped.
DAEMONS = {"etcd": "etcd-server", "glusterd": "glusterfs-server", "libvirtd": "libvirt-daemon"}
SANITIZERS = {"asan": "address,undefined", "tsan": "thread"}

SLOWER = ["--timeout-multiplier", "3"]  # sanitized


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the suites may know of the run."""
    tree: pathlib.Path
    level: str
    daemons: bool
    memory: resume.Memory


@dataclasses.dataclass(frozen=True)
class Suite:
    """A name, when it runs, and how."""
    name: str
    level: str
    about: str
    run: typing.Callable

    def level_index(self):
        """Its place in LEVELS."""
        return LEVELS.index(self.level)


def run_step(runner, tally, name, argv, deadline_s):
    """One child that is not a test program itself; counted only when it fails."""
    code = runner.run(name, argv, deadline_s)
    if code != 0:
        why = f"no end within {deadline_s} s" if code is None else f"exit code {code}"
        tally.fail(name, f"{why}\n{runner.last_words(name, 30, 200)}")
    return code == 0


def run_packages(runner, settings, tally):
    """Debian packages, only those missing."""
    groups = ["build"]
    if settings.level != "quick":
        groups += ["lab", "test"] + (["daemons"] if settings.daemons else [])
    argv = [sys.executable, settings.tree / "tools/packages.py", "install", *groups]
    if run_step(runner, tally, "packages", argv, 2000):
        tally.passed += 1


def build(runner, settings, tally, directory, *options):
    """Set up once, compile always."""
    setup = ["meson", "setup", directory, *options]
    if (settings.tree / directory / "build.ninja").exists():
        setup = ["meson", "configure", directory, *options]
    return (run_step(runner, tally, f"setup-{directory}", setup, 120)
            and run_step(runner, tally, f"compile-{directory}", ["ninja", "-C", directory], 600))


def run_build(runner, settings, tally):
    """Warnings are errors here; a user's own build is milder."""
    if build(runner, settings, tally, "build", "-Dwerror=true"):
        tally.passed += 1


def run_meson(runner, settings, tally, suite, deadline_s, directory="build", label=None, more=()):
    """A Meson suite, counted by its subtests. More are further words for `meson test`."""
    label = label or suite
    argv = ["meson", "test", "-C", directory, "--no-rebuild", "--logbase", f"test-{label}",
            "--suite", suite, *more]
    code = runner.run(label, argv, deadline_s)
    junit = settings.tree / directory / "meson-logs" / f"test-{label}.junit.xml"
    before = len(tally.failures)
    if not junit.exists() or not results.add_cases(junit, label, tally):
        tally.fail(label, f"no results\n{runner.last_words(label, 30, 200)}")
    elif code != 0 and len(tally.failures) == before:
        tally.fail(label, f"meson test says {code}\n{runner.last_words(label, 30, 200)}")
    junit.unlink(missing_ok=True)


def meson_suite(suite, deadline_s):
    """run_meson as a Suite's function."""
    def run(runner, settings, tally):
        run_meson(runner, settings, tally, suite, deadline_s)
    return run


def run_integration(runner, settings, tally):
    """Real daemons, captive; they are not installed on a user's machine without being asked for."""
    for program, package in DAEMONS.items():
        if not shutil.which(program, path=runner.env["PATH"]):
            print(f"   {package} is not installed; ./test --daemons installs it", flush=True)
    if run_step(runner, tally, "guest-build", [settings.tree / "guest/build"], 600):
        run_meson(runner, settings, tally, "integration", 1200)


def sanitized(kind, meson_suites):
    """The unit tests again, compiled to notice what C hides."""
    def run(runner, settings, tally):
        directory = f"build-{kind}"
        if build(runner, settings, tally, directory, f"-Db_sanitize={SANITIZERS[kind]}",
                 "-Db_lundef=false", "-Dwerror=false"):
            for suite in meson_suites:
                run_meson(runner, settings, tally, suite, 1200, directory, f"{kind}-{suite}", SLOWER)
    return run


def run_pytest(runner, settings, tally, label, path, deadline_s):
    """One pytest file, counted by its tests."""
    junit = runner.logs / f"{label}.xml"
    argv = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-v", "-rs",
            f"--junit-xml={junit}", settings.tree / path]
    code = runner.run(label, argv, deadline_s)
    before = len(tally.failures)
    if not junit.exists() or not results.add_cases(junit, label, tally):
        tally.fail(label, f"no results, exit code {code}\n{runner.last_words(label, 40, 200)}")
    elif code is None:
        tally.fail(label, f"no end within {deadline_s} s; stopped")
    elif code not in (0, 1) and len(tally.failures) == before:
        tally.fail(label, f"pytest says {code}\n{runner.last_words(label, 30, 200)}")


def pytest_file(label, path, deadline_s):
    """run_pytest as a Suite's function."""
    def run(runner, settings, tally):
        run_pytest(runner, settings, tally, label, path, deadline_s)
    return run


# Random schedules of the simulator, of all kinds; so many seconds of two cores at most.
SCHEDULES = {"quick": (1000, 60), "all": (20000, 1500), "full": (100000, 5400)}


def run_schedules(runner, settings, tally):
    """By the seed of this run, on all cores; many of them from a build as it is released."""
    count, deadline_s = SCHEDULES[settings.level]
    state = runner.temporary / "schedules.json"
    argv = [sys.executable, "-B", settings.tree / "tests/soak/run", "--sim", str(count), "--seconds",
            str(deadline_s), "--seed", str(runner.seed), "--state", state, "--build",
            "build" if settings.level == "quick" else "build-soak"]
    code = runner.run("schedules", argv, deadline_s + 300)
    kinds = json.loads(state.read_text())["sim"] if state.exists() else {}
    ran = sum(kind["schedules"] for kind in kinds.values())
    for name, kind in sorted(kinds.items()):
        print(f"   {name}: {kind['schedules']} schedules from seed {kind['first']} on, "
              f"{kind['simulated_hours']:.0f} simulated hours, {kind['cpu_seconds']:.0f} s of CPU", flush=True)
        for violation in kind["violations"]:
            tally.fail(f"schedules/{name} {violation['seed']}", violation["what"])
    if not kinds or code not in (0, 1):
        tally.fail("schedules", f"exit code {code}\n{runner.last_words('schedules', 30, 200)}")
    elif ran < count:
        tally.fail("schedules", f"only {ran} of {count} in {deadline_s} s")
    else:
        tally.passed += 1


def run_model(runner, settings, tally):
    """The models of failover; the large ones take an hour and 6 GB."""
    run_pytest(runner, settings, tally, "model", "tests/model/test_model.py",
               3 * 3600 if settings.level == "full" else 900)


FULL_ONLY = {"test_debian.py"}  # a boot of Debian takes minutes
# Each has a lab of its own and takes minutes: one of them by seed in each run, all with --full.
SAMPLED = ("test_drill.py", "test_failover_brick.py", "test_failover_cases.py", "test_failover_moves.py",
           "test_history.py", "test_moves.py", "test_purge.py", "test_restore.py", "test_switched_off.py",
           "test_truth.py", "test_uplink.py")
SAMPLE = 1


def left_out(seed):
    """Names of lab tests that a run without --full does not take."""
    chosen = random.Random(seed).sample(SAMPLED, SAMPLE)
    return FULL_ONLY | set(SAMPLED) - set(chosen)


def run_lab_file(runner, settings, tally, path, budget_s):
    """One of many that take up to an hour each: a run that was stopped goes on with the file it was at."""
    label = f"lab-{path.stem[5:]}"
    one = settings.memory.recall(label)
    if one is None:
        one = results.Tally()
        run_pytest(runner, settings, one, label, path.relative_to(settings.tree), budget_s)
        if not one.failures:
            settings.memory.remember(label, one)
    else:
        print(f"   {path.name}: done before, {one.line()}", flush=True)
    tally.add(one)


def run_lab(runner, settings, tally):
    """Our packages first: a failure there is not a failure of a host."""
    if not run_step(runner, tally, "debs", [settings.tree / "packaging/build-debs"], 900):
        return
    budget_s = 3 * 3600 if settings.level == "full" else 1500
    skipped = set() if settings.level == "full" else left_out(runner.seed)
    for path in sorted((settings.tree / "tests/lab").glob("test_*.py")):
        if path.name in skipped:
            print(f"   {path.name} runs with --full" + (" or another seed" if path.name in SAMPLED else ""),
                  flush=True)
            continue
        run_lab_file(runner, settings, tally, path, budget_s)


SUITES = [
    Suite("packages", "quick", "what is missing from Debian", run_packages),
    Suite("build", "quick", "everything, warnings are errors", run_build),
    Suite("purity", "quick", "pure objects, layer law, banned calls", meson_suite("purity", 60)),
    Suite("unit", "quick", "one program per module", meson_suite("unit", 300)),
    Suite("sim", "quick", "many cores, one model of the world", meson_suite("sim", 300)),
    Suite("schedules", "quick", "random schedules of the simulator by seed", run_schedules),
    Suite("mutants", "all", "wrong turns of the design, found by the simulator", meson_suite("mutants", 600)),
    Suite("golden", "quick", "outputs against files", meson_suite("golden", 300)),
    Suite("fuzz", "quick", "corpora through every parser", meson_suite("fuzz", 120)),
    Suite("model", "all", "the protocols of failover, checked by Spin", run_model),
    Suite("integration", "all", "adapters against captive real daemons", run_integration),
    Suite("asan", "all", "unit, sim and fuzz with address and undefined sanitizers",
          sanitized("asan", ["unit", "sim", "fuzz"])),
    Suite("guest", "all", "the demo guest on plain QEMU", pytest_file("guest", "tests/guest", 600)),
    Suite("lab", "all", "true hosts with the real daemons", run_lab),
    Suite("tsan", "full", "unit with the thread sanitizer", sanitized("tsan", ["unit"])),
]
