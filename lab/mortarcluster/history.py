# SPDX-License-Identifier: Apache-2.0
"""The judge of a disk's history over several instances of one guest (facts/ha.md 5.1). Pure.

It compares what a recorder outside the guest heard (beats: what was acknowledged and flushed, by which
instance, on which host, when) with what was read (views: every block of the guest's ring, through a mount
or straight from a brick). guest/ringcheck.c judges one disk at one moment; this judges many over time.

    C1  a block never shows an older epoch, or within an epoch an older number, than it has shown before
    C2  two views without a write in between are equal
    C3  what was flushed stays; what was in flight at an end and was seen at the next start stays, too
    C4  once an instance has begun, nothing that an older one wrote arrives at a brick that counts
    C5  after a heal all bricks are equal
    C6  two instances never execute at once
    KEY a block's tag is made with the key of the epoch that the block says it is of, which only that instance was given

C4 has no log of the device: a brick is looked at again and again, so that a late write is seen unless a later one
has covered it by then. Writes delayed inside the brick make the window wide: tests/integration/test_fence.py, not in a lab.
Not here: what lies between two views of a block and was overwritten in both.
"""

import dataclasses

WINDOW = 64  # of guest/blockrec.h: at most so many numbers are not flushed
MOUNT = "mount"


@dataclasses.dataclass(frozen=True)
class Beat:
    """One line of the guest's heartbeat, stamped outside."""
    at: float
    host: str
    epoch: int
    acked: int
    flushed: int


@dataclasses.dataclass(frozen=True)
class Slot:
    """What a block holds."""
    state: str  # zero, broken or whole
    epoch: int = 0
    seq: int = 0
    in_place: bool = True
    tag: str = "unknown"  # right, other or wrong, when keys are known
    whose: int = 0  # the epoch whose key made the tag, when it is an other one's

    def age(self):
        """Older records compare less."""
        return (self.epoch, self.seq)


@dataclasses.dataclass(frozen=True)
class Start:
    """A start of the guest, as its superblock remembers it."""
    epoch: int
    first_seq: int
    gap_first: int  # gap_first … first_seq - 1 were in flight when the epoch before ended
    seen: int       # bit i: gap_first + i was on disk at this start

    def saw(self, seq):
        """Was this number of the gap there?"""
        return bool(self.seen >> (seq - self.gap_first) & 1)


@dataclasses.dataclass(frozen=True)
class View:
    """Every block of the ring, read at one moment through one source: MOUNT or the name of a brick's host."""
    at: float
    source: str
    ring_start: int
    ring_blocks: int
    flushed: int
    slots: dict            # block → Slot
    starts: tuple          # of Start
    quiet: int = 0         # views with the same number, not 0: nobody wrote between them
    counts: bool = True    # False: a brick that is cut off or not healed, which nobody may read
    healed: bool = False   # all bricks were told to be equal
    digest: str = ""       # of all pieces of the image on this brick

    def block_of(self, seq):
        """Where a number lives."""
        return self.ring_start + (seq - 1) % self.ring_blocks


@dataclasses.dataclass(frozen=True)
class Violation:
    """What was found."""
    check: str
    text: str

    def __str__(self):
        return f"{self.check}: {self.text}"


def parse_view(dump, at, source, **more):
    """A View of what `check --dump` prints."""
    slots = {words[0]: Slot(*words[1:]) for words in dump["slots"]}
    starts = tuple(Start(epoch, first, gap, int(seen, 16)) for epoch, first, gap, seen in dump["starts"])
    return View(at, source, dump["ring_start"], dump["ring_blocks"], dump["flushed"], slots, starts, **more)


class History:
    """All that is known of one guest's disk, and what follows from it."""

    def __init__(self, beats, views):
        self.beats = sorted(beats, key=lambda beat: beat.at)
        self.views = sorted(views, key=lambda view: view.at)
        self.starts = {start.epoch: start for view in self.views for start in view.starts}

    def begun(self, at):
        """The newest epoch that anybody has heard or read of by then."""
        heard = [beat.epoch for beat in self.beats if beat.at <= at]
        read = [slot.epoch for view in self.views if view.at <= at for slot in view.slots.values()]
        told = [start.epoch for view in self.views if view.at <= at for start in view.starts]
        return max(heard + read + told, default=0)

    def flushed(self, at):
        """The highest number that was flushed by then, as the guest said."""
        return max((beat.flushed for beat in self.beats if beat.at <= at), default=0)

    def pairs(self):
        """Views of the same source, each with the next one that counts."""
        for source in sorted({view.source for view in self.views}):
            views = [view for view in self.views if view.source == source and view.counts]
            yield from zip(views, views[1:])

    def judge(self, leave_out=()):
        """Violations, C1 first. leave_out: names of checks that the fault does not allow for."""
        found = []
        for name, check in CHECKS.items():
            if name not in leave_out:
                found += [Violation(name, text) for text in check(self)]
        return found


def check_order(h):
    """C1"""
    for before, after in h.pairs():
        for block, old in before.slots.items():
            new = after.slots.get(block, Slot("zero"))
            if old.state == new.state == "whole" and new.age() < old.age():
                yield (f"{after.source}, block {block}: showed number {old.seq} of epoch {old.epoch}, then "
                       f"{new.seq} of epoch {new.epoch}")
    for view in h.views:
        for block, slot in view.slots.items():
            if slot.state == "whole" and (not slot.in_place or slot.tag == "wrong"):
                yield f"{view.source}, block {block}: number {slot.seq} is misplaced or has a wrong tag"


def check_flip(h):
    """C2"""
    for before, after in h.pairs():
        if before.quiet and before.quiet == after.quiet:
            for block, old in before.slots.items():
                new = after.slots.get(block)
                if old != new:
                    yield f"{after.source}, block {block}: read {old}, then without a write {new}"


def must_stay(h, flushed, seq):
    """Was this flushed number really written? Those in flight at an end count only when they were seen."""
    for start in h.starts.values():
        if start.gap_first <= seq < start.first_seq:
            return start.saw(seq)
    return seq <= flushed


def check_flushed(h):
    """C3"""
    for view in h.views:
        if not view.counts:
            continue
        flushed = h.flushed(view.at)
        top = max([flushed] + [s.first_seq - 1 for s in h.starts.values() if s.epoch <= h.begun(view.at)])
        for seq in range(max(1, top - view.ring_blocks + WINDOW + 1), top + 1):
            slot = view.slots.get(view.block_of(seq), Slot("zero"))
            if not must_stay(h, flushed, seq):
                continue
            if slot.state != "whole" or slot.seq < seq:
                yield (f"{view.source}, block {view.block_of(seq)}: number {seq} was flushed, "
                       f"it holds {slot.state} {slot.seq}")
    yield from check_beginnings(h)


def check_beginnings(h):
    """C3: an instance knows at least what was flushed before it began; one that refuses its disk knows nothing."""
    begun, known = set(), 0
    for beat in h.beats:
        if (beat.host, beat.epoch) not in begun and begun and beat.flushed < known:
            yield (f"the instance that began on {beat.host} (epoch {beat.epoch}) knows number {beat.flushed} as "
                   f"flushed, {known} were")
        begun.add((beat.host, beat.epoch))
        known = max(known, beat.flushed)


def is_late(h, slot, begun):
    """Can this record only be there because it came after a newer instance had begun?"""
    for epoch in range(slot.epoch + 1, begun + 1):
        start = h.starts.get(epoch)
        if start and slot.seq >= start.first_seq:
            return f"epoch {epoch} began with number {start.first_seq}"
        if start and slot.seq >= start.gap_first and not start.saw(slot.seq):
            return f"epoch {epoch} had not found it at its start"
    return None


def check_late(h):
    """C4"""
    for view in h.views:
        if not view.counts:
            continue
        begun = h.begun(view.at)
        for block, slot in view.slots.items():
            why = is_late(h, slot, begun) if slot.state == "whole" else None
            if why:
                yield f"{view.source}, block {block}: holds number {slot.seq} of epoch {slot.epoch}, but {why}"
    for before, after in h.pairs():
        begun = h.begun(before.at)
        for block, old in before.slots.items():
            new = after.slots.get(block, Slot("zero"))
            if "broken" not in (old.state, new.state) and new != old and new.epoch < begun:
                yield (f"{after.source}, block {block}: epoch {begun} had begun, then number {new.seq} of epoch "
                       f"{new.epoch} came in the place of {old.seq} of epoch {old.epoch}")


def check_bricks(h):
    """C5"""
    for quiet in sorted({view.quiet for view in h.views if view.healed and view.quiet}):
        bricks = [v for v in h.views if v.healed and v.quiet == quiet and v.source != MOUNT]
        for other in bricks[1:]:
            first = bricks[0]
            blocks = [b for b, slot in first.slots.items() if slot != other.slots.get(b)]
            if blocks:
                yield f"{first.source} and {other.source} differ after the heal in blocks {blocks[:8]}"
            elif first.digest != other.digest:
                yield f"{first.source} and {other.source} differ after the heal outside the ring"


def check_overlap(h):
    """C6"""
    spans = {}
    for beat in h.beats:
        first, _ = spans.get(beat.epoch, (beat.at, beat.at))
        spans[beat.epoch] = (first, beat.at)
    epochs = sorted(spans)
    for older, newer in zip(epochs, epochs[1:]):
        over = spans[older][1] - spans[newer][0]
        if over >= 0:
            yield f"epoch {older} executed for {over:.3f} s after epoch {newer} had begun"


def check_keys(h):
    """KEY: one that fits no key at all is no instance's, C1 says so."""
    for view in h.views:
        for block, slot in view.slots.items():
            if slot.state == "whole" and slot.tag == "other":
                yield (f"{view.source}, block {block}: number {slot.seq} says it is of epoch {slot.epoch}, its tag was made "
                       f"with the key of epoch {slot.whose}")


CHECKS = {"C1": check_order, "C2": check_flip, "C3": check_flushed, "C4": check_late, "C5": check_bricks,
          "C6": check_overlap, "KEY": check_keys}
