# SPDX-License-Identifier: Apache-2.0
"""What a suite said, counted from the JUnit files that Meson and pytest write."""

import re
import xml.etree.ElementTree as ElementTree

TEXT_LIMIT = 3000
NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Tally:
    """How many passed; which failed, with text; which were skipped, with the reason."""

    def __init__(self, passed=0, failures=(), skips=()):
        self.passed = passed
        self.failures = [tuple(f) for f in failures]
        self.skips = [tuple(s) for s in skips]

    def fail(self, name, text=""):
        """Count one failure."""
        self.failures.append((name, text[-TEXT_LIMIT:]))

    def skip(self, name, reason):
        """Count one that was not tried."""
        self.skips.append((name, reason))

    def add(self, other):
        """Count another tally in."""
        self.passed += other.passed
        self.failures += other.failures
        self.skips += other.skips

    def line(self):
        """The sum in the form that CI reads."""
        words = f"{self.passed} passed, {len(self.failures)} failed"
        return words + (f", {len(self.skips)} skipped" if self.skips else "")


def text_of(case, tag):
    """Message and content of a child element, or None without it."""
    child = case.find(tag)
    if child is None:
        return None
    return "\n".join(t for t in (child.get("message"), child.text) if t and t.strip())


def add_cases(path, prefix, tally):
    """Count every testcase of a JUnit file; how many there were."""
    cases = 0
    # What a test prints goes into the file as it is, but XML has no place for control characters.
    text = NO_XML.sub("?", path.read_bytes().decode(errors="replace"))
    for suite in ElementTree.fromstring(text).iter("testsuite"):
        for case in suite.findall("testcase"):
            cases += 1
            where = case.get("classname", "").rpartition(" / ")[2] or suite.get("name", "")
            name = f"{prefix}/{where.rpartition('.')[2]}: {case.get('name')}"
            failed = text_of(case, "failure")
            failed = text_of(case, "error") if failed is None else failed
            skipped = text_of(case, "skipped")
            if failed is not None:
                tally.fail(name, "\n".join(filter(None, [failed, output_of(suite, case)])))
            elif skipped is not None:
                tally.skip(name, reason_of(skipped or output_of(suite, case)))
            else:
                tally.passed += 1
    return cases


def output_of(suite, case):
    """What the test printed."""
    for element in (case, suite):
        for tag in ("system-err", "system-out"):
            found = element.find(tag)
            if found is not None and found.text and found.text.strip():
                return found.text.strip()
    return ""


def reason_of(text):
    """Why a test was skipped: the last line it said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[-1] if lines else "no reason given"
    return reason.rpartition("Skipped: ")[2][:200]
