# SPDX-License-Identifier: Apache-2.0
"""An interrupt before any line of what sees requests through: no job is lost, none made twice.

The request meets all that can happen to one: its first submission is refused, its job is over its
time limit and is cut in halves, and one of these fails and is submitted again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import failed_job
from journals import World, evs, pub_of
from moments import interrupted_before_each_line

from qiskit_torch_bridge.jobs import DispatchingEstimator, Journal
from qiskit_torch_bridge.jobs import journal_file as file_of_lines
from qiskit_torch_bridge.jobs.attempts import Submitter
from qiskit_torch_bridge.jobs.dispatched_job import DispatchedJob
from qiskit_torch_bridge.jobs.journal import RequestLog, tagged
from qiskit_torch_bridge.jobs.journal_file import JournalFile
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

WRITING = [Journal.begin, Journal.finished, Journal._write, RequestLog.submitted, RequestLog.failed,
           RequestLog.cut, tagged.__wrapped__, JournalFile.append, JournalFile._cut_back,
           file_of_lines.put]  # fmt: skip
SUBMITTING = [DispatchingEstimator.run, DispatchedJob.submit, Submitter.start, Submitter._submit,
              Submitter._attach, Submitter._take, Submitter._note_job,
              Submitter.prepare_again]  # fmt: skip
WAITING = [
    DispatchedJob.result,
    DispatchedJob._join_parts,
    DispatchedJob._wait,
    DispatchedJob._handle_failure,
    DispatchedJob._cut_in_halves,
]
LINES = {"writing": WRITING, "submitting": SUBMITTING, "waiting": WAITING}
PUB, OTHER = pub_of(0), pub_of(1)
EXPECTED, EXPECTED_OTHER = (evs(BatchedStatevectorEstimator(), pub) for pub in (PUB, OTHER))


@pytest.fixture(params=LINES)
def lines(request: pytest.FixtureRequest) -> list[Callable[..., Any]]:
    return LINES[request.param]


class Worlds:
    """A new world for each call."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def start(self) -> DispatchingEstimator:
        folder = self.folder / str(self.count)
        folder.mkdir()
        self.count += 1
        self.world = World(folder, most_rows=3)
        self.estimator = self.world.start(
            on_submission={0: [ConnectionError("busy")]}, on_result={2: [failed_job(1006)]}
        )
        return self.estimator

    def end(self) -> None:
        """Start once more, with the file that was left: all is known, and nothing is paid for."""
        assert self.world.ledger.duplicates() == []
        jobs = len(self.world.ledger.jobs)
        again = self.world.start()
        np.testing.assert_array_equal(evs(again, PUB), EXPECTED)
        assert len(self.world.ledger.jobs) == jobs
        self.world.end()


@pytest.fixture
def worlds(synchronised_path: Path) -> Worlds:
    return Worlds(synchronised_path)


def test_the_same_request_after_loading_the_checkpoint(lines, worlds) -> None:
    for _ in interrupted_before_each_line(lines, lambda: partial(evs, worlds.start(), PUB)):
        worlds.estimator.journal.position = 0
        np.testing.assert_array_equal(evs(worlds.estimator, PUB), EXPECTED)
        worlds.end()
    assert worlds.count > 20
    # One over its time limit, two halves, and the half that failed.
    assert len(worlds.world.ledger.jobs) == 4 and len(worlds.world.ledger.failed) == 2


def test_another_request_instead(lines, worlds) -> None:
    """It is answered, whatever became of the first one; the file stays whole."""
    for _ in interrupted_before_each_line(lines, lambda: partial(evs, worlds.start(), PUB)):
        np.testing.assert_array_equal(evs(worlds.estimator, OTHER), EXPECTED_OTHER)
        assert worlds.world.ledger.duplicates() == []
        worlds.world.end()
        Journal(worlds.world.path).close()


def test_the_same_job_is_waited_for_again(lines, worlds) -> None:
    """By who has the object that ``run`` returned.

    Not in the steps in which its parts get their numbers: after these load the checkpoint.
    """
    job: list[DispatchedJob] = []

    def prepare() -> Callable[[], Any]:
        job[:] = [worlds.start().run([PUB])]
        return job[0].result

    for _ in interrupted_before_each_line([f for f in lines if f is not Journal.begin], prepare):
        np.testing.assert_array_equal(job[0].result()[0].data.evs, EXPECTED)
        worlds.end()
    assert worlds.count > 20
