# SPDX-License-Identifier: Apache-2.0
"""Random faults for a lab of three hosts, drawn from a seed: what, where, when. Pure; soak.py plays them.

A schedule is light (daemons killed, moves, networks gone that promises can do without: nobody may be fenced, no
guest may start anew) or heavy (a host is lost and comes back: the guest's, the other with data, or the witness). Of
ten seeds in a row three are heavy, two of these failovers, so that so many take about the same time.
"""

import dataclasses
import random

from .faults import HOSTS, NETWORKS

# seed modulo ten → who may be lost
HEAVY_OF_TEN = {2: ("guest",), 5: ("guest",), 8: ("other", "witness")}
HEAVY = ("power", "power", "network", "hang")
DAEMONS = ("mortard", "mortar-guard", "etcd", "glusterd", "libvirtd", "mortar-api")
# kill: one daemon. kill two: at once. kill store: every etcd. blink: all cables of a host are out and in again; stand: its
# processes stand; both for less than the time of detection. cut: one network of a host. cut link: between two hosts.
# migrate: begins, and what follows comes upon it.
LIGHT = ("kill", "kill", "kill two", "kill store", "blink", "stand", "cut", "cut", "cut link", "cut link", "migrate")
BLINK_S = 1.0   # a third of T_det: nobody may be fenced, even where a command takes its time
CUT_S = (1, 6)
PAUSE_S = (1, 2)     # a beat or two: silences do not add up
AMID_S = 8      # a failover has come to its start by then, or nearly
BACK_S = (6, 14)


@dataclasses.dataclass(frozen=True)
class Step:
    """One fault that hurts nobody for long."""
    what: str
    hosts: tuple
    detail: tuple = ()  # daemons, or networks
    lasts_s: float = 0
    pause_s: float = 0  # before it

    def __str__(self):
        words = [self.what, "-".join(self.hosts), "+".join(self.detail)]
        return " ".join(word for word in words if word) + (f" {self.lasts_s:.1f} s" if self.lasts_s else "")


@dataclasses.dataclass(frozen=True)
class Loss:
    """A host that is lost and comes back."""
    what: str           # of faults.FAULTS
    victim: str         # guest: the host that runs it; other: the other one with data; witness
    leads: bool         # it leads the store
    back_s: float       # after so many seconds; 0: when its guest writes elsewhere
    beside: str         # a daemon of a survivor that is killed; "" for none
    survivor: int       # which
    amid_s: float       # when; 0: as soon as the fence has begun

    def __str__(self):
        words = f"{self.what} of the {self.victim}" + (", store's leader" if self.leads else "")
        words += f", back after {self.back_s:.1f} s" if self.back_s else ""
        when = f"after {self.amid_s:.1f} s" if self.amid_s else "amid the fence"
        return words + (f", {self.beside} of survivor {self.survivor + 1} killed {when}" if self.beside else "")


def draw_step(chance, what):
    """A light fault of this kind."""
    pause_s = chance.uniform(*PAUSE_S)
    if what in ("kill", "kill two"):
        count = 1 if what == "kill" else 2
        hosts = [chance.choice(HOSTS)] * count if chance.random() < 0.5 else chance.sample(HOSTS, count)
        return Step(what, tuple(hosts), tuple(chance.sample(DAEMONS, count)), 0, pause_s)
    if what == "kill store":
        return Step(what, (), (), 0, pause_s)
    if what in ("blink", "stand"):
        return Step(what, (chance.choice(HOSTS),), (), BLINK_S, pause_s)
    if what == "cut":
        return Step(what, (chance.choice(HOSTS),), (chance.choice(NETWORKS),), chance.uniform(*CUT_S), pause_s)
    if what == "cut link":
        networks = chance.choice((NETWORKS, NETWORKS, NETWORKS[:1], NETWORKS[1:]))
        return Step(what, tuple(sorted(chance.sample(HOSTS, 2))), networks, chance.uniform(*CUT_S), pause_s)
    assert what == "migrate", what
    return Step(what, (), (), 0, pause_s)


def draw_loss(chance, victims):
    """A heavy fault."""
    victim = chance.choice(victims)
    waits = victim == "guest" and chance.random() < 0.5
    return Loss(what=chance.choice(HEAVY), victim=victim, leads=chance.random() < 0.3,
                back_s=0 if waits else chance.uniform(*BACK_S),
                beside=chance.choice(DAEMONS) if chance.random() < 0.7 else "", survivor=chance.randrange(2),
                amid_s=0 if chance.random() < 0.4 else chance.uniform(0, AMID_S))


class Schedule:
    """Faults drawn from one seed: a loss, or one to three steps."""

    def __init__(self, seed):
        chance = random.Random(seed)
        self.seed = seed
        self.loss = draw_loss(chance, HEAVY_OF_TEN[seed % 10]) if seed % 10 in HEAVY_OF_TEN else None
        kinds = [] if self.loss else chance.choices(LIGHT, k=chance.randint(1, 3))
        if "migrate" in kinds:  # once, first, and not alone
            kinds = ["migrate"] + ([k for k in kinds if k != "migrate"] or [chance.choice(("kill", "cut", "kill store"))])
        self.steps = [draw_step(chance, what) for what in kinds]

    def kind(self):
        """For tables."""
        return f"{self.loss.what} of the {self.loss.victim}" if self.loss else "light"

    def words(self):
        """For the reader."""
        return [str(self.loss)] if self.loss else [str(step) for step in self.steps]
