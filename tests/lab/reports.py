# SPDX-License-Identifier: Apache-2.0
"""What pytest has seen of a test, for fixtures that look afterwards."""


def has_failed(node):
    """Has a test failed, or what it was to stand on? conftest.py keeps the reports."""
    reports = [getattr(node, f"report_{when}", None) for when in ("setup", "call")]
    return any(report and report.failed for report in reports)
