# SPDX-License-Identifier: Apache-2.0
"""Candidates on one workload: the same numbers first, then time, in turns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import adjoint_reference
import cost
import harness
import numpy as np
from adjoint_reference import Step
from peers.registry import OURS, PEERS, TOLERANCE
from processes import START, NotRun, Pool
from workloads import Spec, Workload, build, label

MOST_QUBITS = 20
"""Up to so many there is a reference; of wider circuits ours is what the others must return."""


@dataclass
class Entry:
    """One candidate on one workload.

    Attributes:
        name: Its name in the registry.
        why: Why it has no figures, or an empty string.
        first: Seconds from the circuit's description to its first gradient.
        deviation: The largest deviation of its numbers from the reference.
        seconds: The time of one step, once per round.
        calls: The number of steps in each round.
    """

    name: str
    why: str = ""
    first: float = float("nan")
    deviation: float = float("nan")
    seconds: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return harness.Timing(self.name, self.seconds).median

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and upper quartile over the rounds."""
        return harness.Timing(self.name, self.seconds).quartiles

    @property
    def spent(self) -> float:
        """Seconds that its turns have taken."""
        return sum(s * c for s, c in zip(self.seconds, self.calls, strict=True))


@dataclass
class Row:
    """All candidates on one workload, with what the workload costs by counting."""

    spec: Spec
    entries: list[Entry]
    operations: float
    traffic: float
    least_traffic: float

    def entry(self, name: str) -> Entry:
        """Return the entry of a candidate."""
        return next(e for e in self.entries if e.name == name)

    @property
    def timed(self) -> list[Entry]:
        """The candidates that have figures."""
        return [entry for entry in self.entries if entry.seconds]

    @property
    def fastest_peer(self) -> Entry | None:
        """The fastest candidate but ours."""
        others = [entry for entry in self.timed if entry.name != OURS]
        return min(others, key=lambda entry: entry.median, default=None)

    def facts(self) -> dict[str, Any]:
        """Return all figures for a file."""
        return {"label": label(self.spec), **asdict(self)}


@dataclass(frozen=True)
class Method:
    """How it is timed.

    Attributes:
        rounds: How many turns each candidate gets.
        turn: Seconds of one turn; a slower step fills a turn alone.
        budget: Seconds that one step may take at most, and all turns of a candidate after three.
        compile_budget: Seconds for the first step of a candidate that compiles.
    """

    rounds: int
    turn: float
    budget: float
    compile_budget: float


def compare(pool: Pool, spec: Spec, names: Sequence[str], method: Method) -> Row:
    """Verify and time the candidates on one workload."""
    work = build(spec)
    expected = None
    if work.qubits <= MOST_QUBITS:
        expected = adjoint_reference.stored_step(work, pool.folder / "reference")
    entries = []
    for name in names:
        entry, found = _prepare(pool, work, name, expected, method)
        entries.append(entry)
        expected = found if expected is None else expected
    for index in range(method.rounds):
        turns = [entry for entry in entries if not entry.why]
        shift = index % max(1, len(turns))  # nobody always runs after the same one
        for entry in turns[shift:] + turns[:shift]:
            if len(entry.seconds) < 3 or entry.spent < method.budget:
                _turn(pool, spec, entry, method)
    pool.forget()
    return Row(spec, entries, cost.operations(work), cost.traffic(work), cost.least_traffic(work))


def verify(name: str, spec: Spec, answer: dict[str, Any], expected: Step) -> float:
    """Return how far a candidate's numbers are from the reference; stop if it is too far."""
    found = Step(*(np.array(answer[key], dtype=float) for key in expected._fields))
    deviation = adjoint_reference.difference(found, expected)
    if not deviation <= TOLERANCE[PEERS[name].precision]:
        raise SystemExit(f"{label(spec)}: {name} deviates by {deviation:.2g}.")
    return deviation


def _prepare(
    pool: Pool, work: Workload, name: str, expected: Step | None, method: Method
) -> tuple[Entry, Step | None]:
    """Make a candidate; what it finds is expected of the others if nothing else is."""
    peer, entry = PEERS[name], Entry(name)
    limit = method.compile_budget if peer.compiles else method.budget
    try:
        pool.ask(name, peer.environment, START, do="load", function=peer.function)
        answer = _ask(pool, limit, entry, do="prepare", spec=work.spec)
    except NotRun as reason:
        _give_up(entry, work.spec, str(reason))
        return entry, expected
    entry.first = answer["seconds"]
    if expected is None:
        fields = Step._fields
        return entry, Step(*(np.array(answer[key], dtype=float) for key in fields))
    entry.deviation = verify(name, work.spec, answer, expected)
    return entry, expected


def _turn(pool: Pool, spec: Spec, entry: Entry, method: Method) -> None:
    try:
        answer = _ask(pool, 3 * method.budget, entry, do="time", spec=spec, turn=method.turn)
        if answer["seconds"] > method.budget:
            raise NotRun(f"> {method.budget:.0f} s")
    except NotRun as reason:
        _give_up(entry, spec, str(reason))
        return
    entry.seconds.append(answer["seconds"])
    entry.calls.append(answer["calls"])


def _give_up(entry: Entry, spec: Spec, why: str) -> None:
    if entry.name == OURS:  # without it there is nothing to compare
        raise SystemExit(f"{label(spec)}: {entry.name} not run: {why}")
    entry.why, entry.seconds, entry.calls = why, [], []
    print(f"{label(spec)}: {entry.name} not run: {why}", file=sys.stderr, flush=True)


def _ask(pool: Pool, limit: float, entry: Entry, **request: Any) -> dict[str, Any]:
    peer = PEERS[entry.name]
    return pool.ask(entry.name, peer.environment, limit, function=peer.function, **request)
