# SPDX-License-Identifier: Apache-2.0
"""Journals with any bit flipped, cut anywhere, and with lines in the wrong place.

A program that goes on with such a file gets the values that it would have got, or an error that
says what is wrong with the file. It gets no other values, no job that was submitted is submitted
again, and what was used is counted as it was.

``QTB_JOURNAL_DAMAGES`` says how many damages are tried in each state; ``all`` tries every one.
"""

from __future__ import annotations

import os
import random

import pytest
from faults import Ledger, failed_job
from journals import World, evs, pub_of

from qiskit_torch_bridge.exceptions import JournalError

DAMAGES = os.environ.get("QTB_JOURNAL_DAMAGES", "80")
PUBS = [pub_of(0, 6), pub_of(1, 2), pub_of(2, 2)]
STATES = ("finished", "under way", "not answered", "begun")


class Run:
    """A program that makes three requests, killed at some time.

    The first one is over its time limit and is made in two halves, the second one fails and is made
    again: six jobs in all.
    """

    def __init__(self, folder, state):
        self.folder = folder
        world = World(folder, most_rows=3)
        estimator, snapshots = world.start(on_result={3: [failed_job(1006)]}), []
        write = world.journal._write

        def noted(**event):
            place = write(**event)
            files = [path.read_bytes() if path.exists() else b"" for path in self.paths(world)]
            snapshots.append((event, *files))
            return place

        world.journal._write = noted
        self.values = [evs(estimator, pub) for pub in PUBS]
        world.end()
        assert len(world.ledger.jobs) == 6 and len(world.ledger.failed) == 2
        submitted = [s for s in snapshots if s[0]["event"] == "submitted"]
        _, self.content, self.ledger = {
            "finished": snapshots[-1],
            "under way": submitted[4],  # the job for the one that has failed
            "not answered": submitted[4],
            "begun": submitted[0],
        }[state]
        if state == "not answered":  # the job is there, and its id is not
            self.content = b"".join(self.content.splitlines(keepends=True)[:-1])
        # In the state "begun" the second request has yet to be made, and does not fail then.
        self.jobs = 5 if state == "begun" else 6

    @staticmethod
    def paths(world):
        return world.path, world.ledger.path

    def goes_on(self, content):
        """Go on with a journal of this content; return what it was refused for, if it was."""
        world = World(self.folder, most_rows=3)
        world.path.write_bytes(content)
        world.ledger.path.write_bytes(self.ledger)
        before = len(world.ledger.jobs)
        try:
            estimator = world.start()
        except JournalError as error:
            assert world.path.read_bytes() == content
            assert len(world.ledger.jobs) == before
            return str(error)
        found = [evs(estimator, pub) for pub in PUBS]
        world.end()
        assert all((x == y).all() for x, y in zip(found, self.values, strict=True))
        assert len(Ledger(world.ledger.path).jobs) == estimator.used.jobs == self.jobs
        return ""


@pytest.fixture(params=STATES)
def run(request, tmp_path):
    return Run(tmp_path, request.param)


def some(damages):
    """All of the damages, or some of them."""
    damages = list(damages)
    if DAMAGES == "all" or int(DAMAGES) >= len(damages):
        return damages
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the damages: {seed}")
    return random.Random(seed).sample(damages, int(DAMAGES))


def test_a_flipped_bit_is_noticed(run):
    """But for the end of the last line, without which that line is not whole: then it is dropped.

    It says where: in the line of the bit, or behind it, where a line is cut in two or joined.
    """
    last = len(run.content) - 1
    for place, bit in [
        *some((k, b) for k in range(last) for b in range(8)),
        *((last, b) for b in range(8)),
    ]:
        damaged = bytearray(run.content)
        damaged[place] ^= 1 << bit
        refusal = run.goes_on(bytes(damaged))
        assert bool(refusal) is (place != last), (place, bit)
        number = run.content[:place].count(b"\n") + 1
        known = f"Line {number} of" in refusal or number == 1
        assert known or place == last, (place, bit, refusal)


def test_what_is_cut_is_as_a_crash_leaves_it(run):
    """The jobs that it has lost are found; without its first line it is refused."""
    first = run.content.index(b"\n") + 1
    for length in {*some(range(len(run.content))), 0, first - 1, first}:
        refusal = run.goes_on(run.content[:length])
        assert ("cut in its first line" in refusal) is (length < first), length
        assert bool(refusal) is (length < first), length


def test_lines_in_the_wrong_place_are_noticed(run, tmp_path):
    folder = tmp_path / "another"
    folder.mkdir()
    others = Run(folder, "finished").content.splitlines(keepends=True)
    lines = run.content.splitlines(keepends=True)
    for k, line in enumerate(lines):
        rest = lines[k + 1 :]
        changes = {
            "repeated": [*lines[:k], line, line, *rest],
            "from another": [*lines[:k], others[k], *rest],
            "added from another": [*lines[: k + 1], others[k], *rest],
        }
        if rest:
            changes["left out"] = [*lines[:k], *rest]
            changes["swapped"] = [*lines[:k], rest[0], line, *rest[1:]]
            changes["joined"] = [*lines[:k], line[:-1], *rest]
        for what, changed in changes.items():
            refusal = run.goes_on(b"".join(changed))
            at = k + 1 + (what in ("repeated", "added from another"))
            # Another first line is one of another run, on which the second does not follow.
            assert f"Line {at + (k == 0 and what == 'from another')} of" in refusal or (
                k == 0 and "no journal" in refusal
            ), (what, k, refusal)


def test_a_line_that_ends_and_is_wrong_is_no_crash(run):
    """Whatever is at the end of the file; what has no end is dropped."""
    for tail in (
        b"{}\n",
        b"\n",
        b"\0" * 20 + b"\n",
        b"\xff\xfe\n",
        b"3\n",
        b"null\n",
        b"[" * 9999 + b"\n",
    ):
        assert "is damaged" in run.goes_on(run.content + tail)
        assert not run.goes_on(run.content + tail[:-1])


def test_lost_lines_answer_no_other_request(tmp_path):
    """A job that the lost lines were about is another one's, if something else is asked now."""
    run = Run(tmp_path, "finished")
    first = run.content[: run.content.index(b"\n") + 1]
    world = World(tmp_path, most_rows=3)
    world.path.write_bytes(first)
    world.ledger.path.write_bytes(run.ledger)
    jobs = len(world.ledger.jobs)
    estimator = world.start()
    assert (evs(estimator, PUBS[1]) == run.values[1]).all()
    assert len(world.ledger.jobs) == jobs + 1
    world.end()
