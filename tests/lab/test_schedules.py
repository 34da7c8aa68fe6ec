# SPDX-License-Identifier: Apache-2.0
"""Ten random schedules of faults in one lab, by MORTAR_SEED, each judged by the history of a guest's disk (C1 to C6 of
facts/ha.md 5.1). Three of them lose a host. tests/soak/lab runs as many as one wants."""

import os

import pytest

from mortarcluster import Keeper
from mortarcluster.faults import recover
from mortarcluster.schedule import Schedule
from mortarcluster.soak import ready, run_one

SEED = int(os.environ.get("MORTAR_SEED", "1"))
COUNT = 10


@pytest.fixture(scope="module")
def keeper(make_lab, debs_dir):
    """Keeps the history of a guest on three hosts with failover."""
    cluster, guest = ready(make_lab(hosts=3, disk_size="4G", debs=debs_dir))
    with Keeper(cluster, guest) as keeper:
        yield keeper


@pytest.fixture
def cluster(keeper):
    """Explains itself after a failure."""
    return keeper.cluster


@pytest.mark.parametrize("seed", range(SEED, SEED + COUNT))
def test_the_history_is_whole_after_the_random_faults_of_seed(keeper, cluster, seed):
    recover(cluster, keeper.guest)
    schedule = Schedule(seed)
    repeat = f"sudo tests/soak/lab --seed {seed} --schedules 1 repeats: {'; '.join(schedule.words())}"
    print(f"\n{repeat}")
    row = run_one(keeper, schedule)
    print(row)
    assert not row["violations"], f"{row['violations']}\n{repeat}"


def test_the_history_is_whole_when_the_guest_has_stopped(keeper, cluster):
    keeper.look_at_rest()
    assert not keeper.judge(("C6",))  # of hangs, too
