# SPDX-License-Identifier: Apache-2.0
"""A Mortar cluster in a lab, driven as a user would: what quickstart, tests and bench share."""

from .cluster import Cluster, CommandFailed
from .console import Console
from .debian import DebianGuest
from .guest import Guest
from .keeper import Keeper
from .recorder import Recorder
from .session import Session
from .strangers import Strangers
from .timeline import TimeLine
from .writer import Writer

__all__ = ["Cluster", "CommandFailed", "Console", "DebianGuest", "Guest", "Keeper", "Recorder", "Session",
           "Strangers", "TimeLine", "Writer"]
