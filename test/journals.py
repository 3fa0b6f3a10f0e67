# SPDX-License-Identifier: Apache-2.0
"""What tests of the journal share: requests, and a world that outlives its processes."""

from __future__ import annotations

import json

import numpy as np
from circuits import hybrid
from faults import FakeTime, Ledger, Plan, Service
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal


def pub_of(seed=0, rows=4):
    circuit = hybrid()
    values = np.random.default_rng(seed).uniform(-3, 3, (rows, 5))
    return EstimatorPub.coerce((circuit, [["ZZ"], ["XX"]], {tuple(circuit.parameters): values}))


def events(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def kinds(path):
    return [(e["event"], e["n"]) for e in events(path)[1:]]


class World:
    """A service and a journal that are met again by each new 'process'."""

    def __init__(self, folder, **options):
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
        self.services = [Service(self.ledger, name=n, plan=made, **self.options) for n in names]
        estimator = self.services if count > 1 else self.services[0]
        self.end()
        self.journal = Journal(self.path)
        return DispatchingEstimator(estimator, Jobs(journal=self.journal, retry=self.time.retry()))


def evs(estimator, pub, **options):
    return estimator.run([pub], **options).result()[0].data.evs


def cut_after(path, kind, count=1):
    """Make the file end after an event, as if the process had been killed there."""
    lines = path.read_bytes().splitlines(keepends=True)
    places = [k for k, line in enumerate(lines) if json.loads(line)["event"] == kind]
    path.write_bytes(b"".join(lines[: places[count - 1] + 1]))
