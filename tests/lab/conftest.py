# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the lab tests. Labs are named after the process, so that two runs do not meet."""

import itertools
import os
import pathlib
import subprocess
import sys

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "lab"))

from reports import has_failed  # noqa: E402  (the path must come first)

from mortarcluster import Cluster  # noqa: E402
from mortarcluster.faults import mend_all  # noqa: E402
from mortarcluster.soak import explain  # noqa: E402
from mortarlab import Lab, LabError, capability  # noqa: E402


def pytest_report_header():
    """The capability table, so that a log explains what was skipped."""
    return capability.format_table(capability.find_capabilities())


@pytest.fixture(scope="session")
def capabilities():
    """What this machine can do: {name: {"value": …, "note": …}}."""
    return capability.find_capabilities()


@pytest.fixture(scope="session", autouse=True)
def machine_can_have_a_lab(capabilities):
    """Skip everything, with the reason, where no lab is possible."""
    try:
        capability.require_tools()
        capability.require(capabilities)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def debs_dir():
    """Our packages, built unless they are there: for Lab.up(debs=…)."""
    out = TREE / "build-debs"
    subprocess.run([TREE / "packaging/build-debs", "--out", out], check=True)
    return out


@pytest.fixture(scope="module")
def make_lab():
    """make_lab(**up_options) → a Lab that is up, and down again after the module.

    Without options nothing is booted: the name alone is reserved.
    """
    numbers = itertools.count(1)
    labs = []

    def make(**up_options):
        lab = Lab(f"test-{os.getpid()}-{next(numbers)}")
        labs.append(lab)
        if up_options:
            lab.up(**up_options)
        return lab

    yield make
    for lab in labs:
        lab.down()


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """Three hosts, a mirrored pool with failover; a file that wants others has a fixture of this name itself."""
    cluster = Cluster(make_lab(hosts=3, disk_size="4G", debs=debs_dir))
    cluster.form_with_failover()
    return cluster


@pytest.fixture(autouse=True)
def explanation(request):
    """After a failure: what each host of the module's cluster knows of it; then the lab is made fit for the next test."""
    name = next((name for name in ("cluster", "formed") if name in request.fixturenames), None)
    cluster = request.getfixturevalue(name) if name else None
    yield
    if cluster and has_failed(request.node):
        print(explain(cluster.lab))
        cluster.is_hurt = True
        mend_all(cluster.lab)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Leaves the outcome of each phase on the test, for fixtures that explain failures."""
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())
