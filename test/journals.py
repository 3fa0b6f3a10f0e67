# SPDX-License-Identifier: Apache-2.0
"""What tests of the journal share: requests, and a world that outlives its processes."""

from __future__ import annotations

import json

from families import ESTIMATOR
from faults import FakeTime, Ledger, Plan

from qiskit_torch_bridge.jobs import Jobs, Journal


def pub_of(seed=0, rows=4):
    return ESTIMATOR.pub((rows,), seed)


def events(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def kinds(path):
    return [(e["event"], e["n"]) for e in events(path)[1:]]


class World:
    """A service and a journal that are met again by each new 'process'."""

    def __init__(self, folder, family=ESTIMATOR, **options):
        self.family = family
        self.path, self.ledger = folder / "journal", Ledger(folder / "ledger")
        self.time, self.options = FakeTime(), options
        self.journal = None

    def end(self):
        """Close the journal, as the end of its process does."""
        if self.journal is not None:
            self.journal.close()

    def start(self, count=1, **plan):
        made = Plan()
        vars(made).update(plan)
        names = "ab"[:count]
        self.services = [
            self.family.service(self.ledger, name=n, plan=made, **self.options) for n in names
        ]
        self.end()
        self.journal = Journal(self.path)
        return self.dispatch(retry=self.time.retry())

    def dispatch(self, **options):
        """What dispatches to the services with the journal."""
        given = self.services if len(self.services) > 1 else self.services[0]
        return self.family.dispatching(given, Jobs(journal=self.journal, **options))

    def pub(self, seed=0, rows=4):
        return self.family.pub((rows,), seed)

    def ask(self, primitive, seed=0, rows=4):
        """The values of a PUB."""
        return self.family.values_of(primitive, self.pub(seed, rows))[0]

    def expected(self, seed=0, rows=4):
        """The values that it has without any disturbance."""
        return self.family.truth(self.pub(seed, rows))[0]


def evs(estimator, pub, **options):
    return estimator.run([pub], **options).result()[0].data.evs


def cut_after(path, kind, count=1):
    """Make the file end after an event, as if the process had been killed there."""
    lines = path.read_bytes().splitlines(keepends=True)
    places = [k for k, line in enumerate(lines) if json.loads(line)["event"] == kind]
    path.write_bytes(b"".join(lines[: places[count - 1] + 1]))
