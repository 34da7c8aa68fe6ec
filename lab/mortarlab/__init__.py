# SPDX-License-Identifier: Apache-2.0
"""The Mortar lab: true Debian hosts on one machine. See docs/lab.md."""

from .capability import find_capabilities
from .command import LabError
from .host import Host
from .lab import Lab, down_all

__all__ = ["Host", "Lab", "LabError", "down_all", "find_capabilities"]
