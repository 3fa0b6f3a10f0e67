# SPDX-License-Identifier: Apache-2.0
"""What may be used of devices, what has been, and what a step will cost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from ..arguments import is_whole_number, require_instance, require_whole_number, shown
from ..exceptions import BudgetError, InputError
from ..primitives.cutting import measure_input
from ..primitives.evaluation import count_request_usage
from ..primitives.families import Effort, Primitive, family_of
from ..primitives.usage import Usage


class Budget:
    """Limits to what several primitives use together.

    Args:
        limits: The most shots, or a :class:`.Usage` whose nonzero numbers are limits; ``None`` for
            none.
        used: What was used before, by earlier processes for instance.

    Attributes:
        limits: The limits.
        used: The :class:`.Usage` so far.
        order: Held from asking whether there is room until it is used.

    Raises:
        InputError: If one of them is something else.
    """

    def __init__(self, limits: int | Usage | None = None, used: Usage | None = None) -> None:
        self.limits = _limits(limits)
        self.used = Usage() if used is None else require_instance(used, "used", Usage, "a Usage")
        self.order = threading.RLock()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.limits != Usage()

    def check(self, wanted: Usage, what: str = "This step") -> None:
        """Raise :class:`.BudgetError` if there is no room for what is to be submitted.

        Args:
            wanted: What it amounts to.
            what: What it is, as the error calls it.
        """
        require_instance(wanted, "wanted", Usage, "a Usage")
        require_instance(what, "what", str, "text")
        for name in (field.name for field in fields(Usage)):
            limit, used, more = (getattr(u, name) for u in (self.limits, self.used, wanted))
            if limit and used + more > limit:
                raise BudgetError(
                    f"{what} needs {more:,} {name}; {used:,} of the budget of {limit:,} are "
                    "used. Nothing was submitted. Raise the budget, or use fewer shots or rows."
                )

    def add(self, usage: Usage) -> None:
        """Count what was submitted."""
        with self.order:
            self.used += usage

    def give_back(self, usage: Usage) -> None:
        """Count no more what turned out not to be submitted."""
        with self.order:
            self.used -= usage

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, order=threading.RLock())


def _limits(limits: Any) -> Usage:
    if limits is None:
        return Usage()
    if isinstance(limits, Usage):
        return limits
    if not is_whole_number(limits) or limits < 1:
        raise InputError(
            f"Expected budget to be a Usage or a positive number of shots; got {shown(limits)}."
        )
    return Usage(shots=int(limits))


# -- what a step will cost ----------------------------------------------------------------------

REPETITION_DELAY = 250e-6
"""Seconds between two shots, to reset the qubits: the default of IBM's devices."""


@dataclass(frozen=True)
class Simulation:
    """What values and a gradient take that are simulated exactly in this process.

    Attributes:
        method: How circuits are simulated, a name of :class:`.Exact`; several joined by ``+`` where
            each simulates some terms of the observables.
        operations: About how many complex multiplications, some 10**9 of which a core does in a
            second.
        bytes: Of memory.
    """

    method: str
    operations: float
    bytes: int

    def __add__(self, other: Simulation) -> Simulation:
        """One after the other: the memory of the larger one."""
        methods = dict.fromkeys([*self.method.split("+"), *other.method.split("+")])
        return Simulation(
            "+".join(methods),
            self.operations + other.operations,
            max(self.bytes, other.bytes),
        )


@dataclass(frozen=True)
class Cost:
    """The price of a step, or of several: costs are added, and multiplied by numbers of times.

    Attributes:
        usage: Jobs, PUBs, points, circuits and shots: what a :class:`.Tracker` will count.
        bytes: Estimated input of all jobs.
        seconds: Estimated seconds on the device: shots times the duration of the circuit and the
            delay between shots; ``None`` where no device with known durations is named. Overheads
            of jobs and of mitigation are not in it.
        simulation: What is simulated exactly in this process; ``None`` if nothing is.
    """

    usage: Usage
    bytes: int
    seconds: float | None
    simulation: Simulation | None = None

    def __add__(self, other: Cost) -> Cost:
        """Seconds are known if those of all jobs are."""
        parts = (self, other)
        known = [part.seconds for part in parts if part.seconds is not None]
        unknown = any(part.seconds is None and part.usage.jobs for part in parts)
        simulated = [part.simulation for part in parts if part.simulation is not None]
        return Cost(
            self.usage + other.usage,
            self.bytes + other.bytes,
            None if unknown or not known else sum(known),
            simulated[0] + simulated[1] if len(simulated) == 2 else next(iter(simulated), None),
        )

    def __radd__(self, nothing: int) -> Cost:
        """So that :func:`sum` adds costs, which begins with 0."""
        return self if nothing == 0 else NotImplemented

    def __mul__(self, times: int) -> Cost:
        times = require_whole_number(times, "times")
        simulation = self.simulation
        return Cost(
            times * self.usage,
            times * self.bytes,
            None if self.seconds is None else times * self.seconds,
            simulation and replace(simulation, operations=times * simulation.operations),
        )

    __rmul__ = __mul__


class PlannedRequest(NamedTuple):
    """A request that a step will make.

    Attributes:
        primitive: The estimator or the sampler that runs it.
        pub: What is asked.
        precision: Asked for if the PUB asks for none; of a sampler as shots.
    """

    primitive: Primitive
    pub: Any
    precision: float | None

    @property
    def effort(self) -> Effort:
        """The precision, or the shots that it is to a sampler."""
        return family_of(self.primitive).effort_at(self.precision)


def estimate_cost(
    requests: Sequence[PlannedRequest],
    isa_circuit: QuantumCircuit | None,
    backend: BackendV2 | None,
) -> Cost:
    """Return what requests will cost."""
    # Made once: Qiskit writes a label for every term whenever it makes one.
    requests = [r._replace(pub=_coerce(r)) for r in requests]
    usage = count_planned_usage(requests)
    size = sum(sum(measure_input(r.primitive, r.pub)) for r in requests)
    seconds = None
    if backend is not None and isa_circuit is not None:
        duration = estimate_duration(isa_circuit, backend.target)
        seconds = None if duration is None else usage.shots * (duration + REPETITION_DELAY)
    return Cost(usage, round(size), seconds)


def count_planned_usage(requests: Sequence[PlannedRequest]) -> Usage:
    """Return what requests will amount to, as a :class:`.Tracker` counts it."""
    usages = (count_request_usage(r.primitive, [r.pub], r.effort) for r in requests)
    return sum(usages, Usage())


def _coerce(request: PlannedRequest) -> Any:
    return family_of(request.primitive).pub_class.coerce(request.pub, request.effort)


def estimate_duration(circuit: QuantumCircuit, target: Target) -> float | None:
    """Return the seconds that a transpiled circuit and its measurement take, if they are known."""
    measured = circuit.copy()
    if "measure" in target.operation_names:
        measured.measure_all()
    try:
        return float(measured.estimate_duration(target, unit="s"))
    except Exception:  # instructions without durations: each release has an error of its own
        return None
