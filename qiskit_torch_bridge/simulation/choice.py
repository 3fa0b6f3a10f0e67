# SPDX-License-Identifier: Apache-2.0
r"""Which method simulates a circuit: the one that is asked for, or the cheapest that fits.

Each method plans a circuit before it allocates anything: :math:`n` operations, in units of one
complex multiplication of the state vector's kernels, and so many bytes. What it takes in all is

.. math:: t = t_0 + c\, n

with a fixed part for each call and a factor for each method, measured by ``benchmarks/choice.py``.
Where light cones are cheap for some terms of the observables and expensive for others, another
method takes the latter.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike

from .. import memory
from ..arguments import require_choice
from ..arrays import BoolArray
from ..exceptions import CircuitError, MeasurementError, MemoryLimitError
from ..lru_cache import LRUCache
from ..program import AnalysedCircuit
from ..program.deferral import defer
from ..program.identity import content_key
from ..program.operators import ProductOperator, term_keys
from ..program.readouts import Expectations, Outcomes, Readout
from .combined import CombinedPlan, PlannedPart, take_terms
from .interface import BoundedPlan, GroupedPlan, Plan, Planner, Simulator, TooExpensive
from .pauli_outcomes import OutcomesPlan, find_strings, plan_outcomes
from .statevector.plan import StatevectorPlan
from .tape.compile_tape import compile_tape

_log = logging.getLogger("qiskit_torch_bridge")

AUTOMATIC = "automatic"
STATEVECTOR, CONES, COLUMNS, NETWORK = "statevector", "light-cones", "columns", "network"


def _columns() -> Planner:
    from .columns import plan_columns

    return plan_columns


def _network() -> Planner:
    from .networks import plan_networks

    return plan_networks


def _cones() -> Planner:
    from .cones import plan_cones

    return plan_cones


PLANNERS: dict[str, Callable[[], Planner]] = {
    STATEVECTOR: lambda: StatevectorPlan,
    CONES: _cones,
    COLUMNS: _columns,
    NETWORK: _network,
}
"""What loads the planner of each method, by the method's name."""
METHODS = (AUTOMATIC, *PLANNERS)
"""What can be asked for."""


class Speed(NamedTuple):
    """How long a method takes, in operations of the state vector.

    Attributes:
        start: For each call, values and a gradient, whatever is simulated.
        factor: For each operation that the method counts.
    """

    start: float
    factor: float


SPEEDS = {
    STATEVECTOR: Speed(1e5, 1.0),
    CONES: Speed(1.5e5, 2.7),
    COLUMNS: Speed(2e5, 0.89),
    NETWORK: Speed(1.2e6, 1.1),
}
"""The speed of each method, from ``benchmarks/choice.py``."""
FEW = 10
"""Up to so many qubits, and"""
SMALL = 5e5
"""up to so many operations, the state vector is taken without a look at anything else."""
LEANEST = 1 / 64
"""The least share of a circuit's gates that the state vector may have to apply one by one."""
SOON = 20
"""Up to so many qubits the state vector is compiled first, which takes no time then."""
MOST = 1e13
"""Operations that nobody waits for."""
MOST_CROSSING = 64
"""Gates across a cut with which no columns are narrow, even where some cancel."""
SEARCHED = 3e7
"""From so many operations on it may pay to search for the order in which to contract a network."""
DIVISIONS = 3
"""In how many ways terms are divided between light cones and another method."""


@dataclass(frozen=True)
class Choice:
    """A method, and how it would simulate a circuit.

    Attributes:
        method: Its name; of several, joined by ``+``.
        plan: How.
        time: What values and a gradient take, in operations of the state vector.
    """

    method: str
    plan: Plan
    time: float

    @classmethod
    def of(cls, method: str, plan: Plan, rows: int) -> Choice:
        """Return the choice of one method."""
        start, factor = SPEEDS[method]
        return cls(method, plan, start + factor * plan.estimate(rows).operations)


class Arguments(NamedTuple):
    """What a simulator is made of."""

    analysed: AnalysedCircuit
    readout: Readout | None
    inputs: Sequence[int]
    weights: Sequence[int]
    dtype: DTypeLike


def make_simulator(
    method: str,
    analysed: AnalysedCircuit,
    readout: Readout | None,
    inputs: Sequence[int],
    weights: Sequence[int],
    dtype: DTypeLike = np.complex128,
) -> Simulator:
    """Compile a circuit and what is read of its state for the simulator of a name.

    Arguments, and what is raised, are those of :func:`choose`.
    """
    return choose(method, analysed, readout, inputs, weights, dtype).plan.compile()


def choose(
    method: str,
    analysed: AnalysedCircuit,
    readout: Readout | None,
    inputs: Sequence[int],
    weights: Sequence[int],
    dtype: DTypeLike = np.complex128,
    rows: int = 1,
) -> Choice:
    """Return the method of a name, or the cheapest that fits into memory, ready to be compiled.

    Args:
        method: One of :data:`METHODS`.
        analysed: The circuit; what it has beside gates is deferred.
        readout: What is read of its state; ``None`` to prepare states only.
        inputs: The columns of the circuit's parameters that ``x`` holds.
        weights: The columns that ``w`` holds.
        dtype: ``complex128``, or ``complex64`` for half of the memory and time.
        rows: For how many points at a time methods are compared.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MeasurementError: If a method other than the state vector's is to read amplitudes, or
            the outcomes of more qubits than it can.
        MemoryLimitError: If no method fits into memory; nothing has been allocated then.
    """
    require_choice(method, "method", METHODS)
    analysed, readout = defer(analysed, readout)
    arguments = Arguments(analysed, readout, inputs, weights, dtype)
    if method != AUTOMATIC:
        return Choice.of(method, _plan(method, arguments), rows)
    state = StatevectorPlan(*arguments)
    most = rows * state.most_operations(state.num_qubits)
    if state.num_qubits <= FEW or most <= SMALL:
        return Choice(STATEVECTOR, state, most)
    found = _choose_again(state, arguments, rows)
    _log.info("%s", _describe(found, state, rows))
    return found


_decisions: LRUCache[str] = LRUCache(1 << 10)
"""The methods that were chosen, by a hash of what was to be simulated: nothing of it is kept."""


def _choose_again(state: StatevectorPlan, arguments: Arguments, rows: int) -> Choice:
    """Return the cheapest method that fits: the one that was, if the same was asked for before.

    That it is the same is told by a hash; the method alone is taken over, and no number depends on
    it.
    """
    made: list[Choice] = []

    def decide() -> str:
        made.append(_choose(state, arguments, rows))
        return made[0].method

    analysed, readout, inputs, weights, dtype = arguments
    circuit = content_key(analysed.circuit)
    key = (circuit, contents_of(readout), tuple(inputs), tuple(weights), np.dtype(dtype), rows)
    method = _decisions(hash(key), decide)
    if not made and method in PLANNERS:
        with contextlib.suppress(MemoryLimitError):  # there may be less than there was
            again = Choice.of(method, _plan(method, arguments), rows)
            if memory.fits(again.plan.estimate(rows).bytes):
                return again
    return made[0] if made else _choose(state, arguments, rows)


def contents_of(readout: Readout | None) -> Hashable:
    """Return what is read, to be looked up by in this process."""
    if not isinstance(readout, Expectations):
        return readout
    return tuple(
        (term_keys(o).tobytes(), type(o), np.asarray(o.coeffs).tobytes()) for o in readout.operators
    )


def needs_state(readout: Readout | None) -> bool:
    """Whether what is read depends on amplitudes, which the state vector alone has.

    So do values of operators that are not Hermitian, which stand for imaginary parts: what cancels
    from an expectation value does not cancel from these.
    """
    if isinstance(readout, Expectations):
        return any(np.imag(operator.coeffs).any() for operator in readout.operators)
    return not isinstance(readout, Outcomes)


def _plan(method: str, arguments: Arguments) -> Plan:
    """Return the plan of a method that was asked for."""
    planner, readout = PLANNERS[method](), arguments.readout
    if method != STATEVECTOR and arguments.analysed.vectors:
        raise CircuitError(
            f"The circuit prepares amplitudes that are parameters, which method={method!r} does "
            "not take. Use 'statevector'."
        )
    if method != STATEVECTOR and needs_state(readout):
        raise MeasurementError(
            f"Amplitudes are read, which method={method!r} never has. Use 'statevector', or read "
            "expectation values or probabilities."
        )
    if method != STATEVECTOR and isinstance(readout, Outcomes):
        return plan_outcomes(planner, arguments.analysed, readout, *arguments[2:])
    return planner(*arguments)


def _choose(state: StatevectorPlan, arguments: Arguments, rows: int) -> Choice:
    """Return the cheapest method that fits."""
    readout = arguments.readout
    start, factor = SPEEDS[STATEVECTOR]
    most = factor * rows * state.most_operations(state.num_bits)
    found = _Comparison(arguments, rows, limit=start + most if state.fits else math.inf)
    if state.fits and state.num_bits <= SOON:
        with contextlib.suppress(MemoryLimitError):  # for the tables of observables
            found.add(STATEVECTOR, state)
    refusal: MeasurementError | None = None
    prepares = bool(arguments.analysed.vectors)  # amplitudes, which the others do not take
    if isinstance(readout, Outcomes) and not prepares:
        try:
            strings = find_strings(readout, arguments.analysed.circuit.num_qubits)
        except MeasurementError as error:  # too many qubits for any method but one
            refusal = error
        else:
            others = _Comparison(arguments._replace(readout=strings), rows, found.best, found.limit)
            others.add_all()
            for choice in others.choices:
                found.take(replace(choice, plan=OutcomesPlan(choice.plan, readout)))
    elif not needs_state(readout) and not prepares:
        found.add_all()
    if (
        state.fits
        and state.num_bits > SOON
        and (found.best is None or start + LEANEST * most < found.best.time)
    ):
        found.add(STATEVECTOR, state)
    if found.best is None:
        compile_tape(arguments.analysed)  # what cannot be simulated at all is refused for that
        if refusal is not None:
            raise refusal
        use = "prepared" if arguments.analysed.vectors else "read" if needs_state(readout) else ""
        raise _too_large(state, found, use)
    return found.best


class _Comparison:
    """The choices for a circuit, each of which is looked at if it may be cheaper than the others.

    Args:
        arguments: What is to be simulated.
        rows: For how many points at a time.
        best: What is known already.
        limit: What a choice that is looked at in the end will take at most.

    Attributes:
        choices: All that have been looked at.
        best: The fastest of those that fit into memory; ``None`` if none does.
    """

    def __init__(
        self,
        arguments: Arguments,
        rows: int,
        best: Choice | None = None,
        limit: float = math.inf,
    ) -> None:
        self.arguments, self.rows, self.best, self.limit = arguments, rows, best, limit
        self.choices: list[Choice] = []

    @property
    def least(self) -> float:
        """The time of the best choice, or what some choice takes at most."""
        return self.limit if self.best is None else min(self.best.time, self.limit)

    def add(self, method: str, plan: Plan) -> None:
        """Look at a plan."""
        if not self._is_too_expensive(method, plan):
            self.take(Choice.of(method, plan, self.rows))

    def take(self, choice: Choice) -> None:
        """Take in a choice, as the best if it is that."""
        self.choices.append(choice)
        best = math.inf if self.best is None else self.best.time
        if choice.time < best and memory.fits(choice.plan.estimate(self.rows).bytes):
            self.best = choice

    def add_all(self) -> None:
        """Look at all methods that read expectation values without a state vector."""
        if _is_narrow(self.arguments.analysed):
            for plan in self._plans(COLUMNS):
                self.add(COLUMNS, plan)
        readout = self.arguments.readout
        assert isinstance(readout, Expectations)
        cones, heavy = None, np.ones(sum(map(len, readout.operators)), dtype=bool)
        if self.best is None or _are_local(self.arguments):
            cones, heavy = self._cones(readout)
        if cones is not None:
            self.add(CONES, cones)
        if self.least < SEARCHED:
            return
        for plan in self._plans(NETWORK):
            self.add(NETWORK, plan)
        if self.least > SEARCHED and not heavy.all():
            self._divide(cones, heavy)

    def _most_of(self, method: str, spent: float = 0.0) -> float:
        """Return how many operations for all rows are less than the best choice takes.

        Args:
            method: By which method.
            spent: Time that others take beside it.
        """
        start, factor = SPEEDS[method]
        return min((self.least - spent - start) / factor, MOST * self.rows)

    def _is_too_expensive(self, method: str, plan: Plan, spent: float = 0.0) -> bool:
        """Whether it is known, before its estimate is, that a plan takes more than the best."""
        most = self._most_of(method, spent)
        return isinstance(plan, BoundedPlan) and plan.takes_more_than(most, self.rows)

    def _plans(self, method: str, readout: Readout | None = None) -> Iterator[Plan]:
        """Yield the plan of a method, if it can read this, or all that is asked for."""
        asked = self.arguments.readout if readout is None else readout
        with contextlib.suppress(CircuitError, MeasurementError):
            yield PLANNERS[method]()(*self.arguments._replace(readout=asked))

    def _cones(self, readout: Expectations) -> tuple[GroupedPlan | None, BoolArray]:
        """Return the plan of light cones, if there is one, and which terms are too expensive."""
        from .cones import plan_cones

        none = np.zeros(sum(map(len, readout.operators)), dtype=bool)
        arguments = self.arguments._replace(readout=readout)
        try:
            return plan_cones(*arguments, most=self._most_of(CONES) / self.rows), none
        except TooExpensive as error:
            return None, error.terms
        except (CircuitError, MeasurementError):
            return None, ~none

    def _divide(self, cones: GroupedPlan | None, heavy: BoolArray) -> None:
        """Let another method take the terms whose light cones are expensive.

        Args:
            cones: The light cones of all terms, if they are known.
            heavy: Which terms are known to be too expensive, some but not all.
        """
        readout = self.arguments.readout
        assert isinstance(readout, Expectations)
        if cones is None:
            self._part(readout, heavy)
            cones, _ = self._cones(take_terms(readout, ~heavy)[0])
        if cones is None:
            return
        group_of, operations = cones.groups()
        order = np.sort(operations)
        steps = order[1:] / np.maximum(order[:-1], 1)
        for at in np.argsort(-steps, kind="stable")[:DIVISIONS].tolist():
            if steps[at] > 1:
                further = heavy.copy()
                further[~heavy] = np.append(operations, 0)[group_of] > order[at]
                self._part(readout, further)

    def _part(self, readout: Expectations, heavy: BoolArray) -> None:
        """Look at light cones for some terms, and another method for the others."""
        light, places = take_terms(readout, ~heavy)
        other, others = take_terms(readout, heavy)
        cones, _ = self._cones(light)
        if cones is None:
            return
        cheap = Choice.of(CONES, cones, self.rows)
        for method in (COLUMNS, NETWORK):
            for plan in self._plans(method, other):
                if not self._is_too_expensive(method, plan, cheap.time):
                    dear = Choice.of(method, plan, self.rows)
                    parts = PlannedPart(cones, places), PlannedPart(plan, others)
                    whole = CombinedPlan(parts, readout.size)
                    self.take(Choice(f"{CONES}+{method}", whole, cheap.time + dear.time))


def _are_local(arguments: Arguments) -> bool:
    """Whether terms act on a part of the qubits, so that it may pay to look at their light cones.

    Where observables have thousands of long strings, as those of molecules, that takes longer than
    many gradients.
    """
    operators = arguments.readout.operators if arguments.readout is not None else ()
    letters = 0
    for operator in operators:
        strings = operator if isinstance(operator, ProductOperator) else operator.paulis
        letters += int(np.count_nonzero(np.asarray(strings.x) | np.asarray(strings.z)))
    terms = sum(map(len, operators))
    acted_on = {q for _, qubits in arguments.analysed.steps for q in qubits}
    return letters <= terms * max(4, len(acted_on) / 3)


def _is_narrow(analysed: AnalysedCircuit) -> bool:
    """Whether few gates cross each cut along a line of the qubits, in the order of Cuthill-McKee.

    It is quickly known, and tells circuits that no order makes narrow.
    """
    pairs = [(min(q), max(q)) for _, q in analysed.steps if len(q) > 1]
    if len(pairs) <= MOST_CROSSING:
        return True
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    count = analysed.circuit.num_qubits
    ends = np.array(pairs).T
    graph = scipy.sparse.csr_array((np.ones(len(pairs)), ends), shape=(count, count))
    order = reverse_cuthill_mckee((graph + graph.T).tocsr(), True)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    starts, stops = np.sort(place[ends], axis=0)
    opened = np.bincount(starts, minlength=count) - np.bincount(stops, minlength=count)
    return int(np.cumsum(opened).max()) <= MOST_CROSSING


def _too_large(state: StatevectorPlan, found: _Comparison, use: str) -> MemoryLimitError:
    """Return the error for a circuit that no method has the memory for.

    Args:
        state: The plan of the state vector.
        found: What has been looked at.
        use: What amplitudes are wanted for, if they are.
    """
    plans = [(choice.plan, choice.method) for choice in found.choices] + [(state, STATEVECTOR)]
    cost, method = min((plan.estimate(found.rows), method) for plan, method in plans)
    needs = (
        f"Simulating {state.num_qubits} qubits exactly needs {memory.gib(cost.bytes)} GiB, and "
        f"about {cost.operations:.0e} operations, by the cheapest method, {method!r}; "
        f"{memory.gib(memory.available())} GiB are available. "
    )
    if use:
        return MemoryLimitError(
            f"{needs}Amplitudes are {use}, which the state vector alone has: use fewer qubits, or "
            "read expectation values, or probabilities of few qubits, for which there are others."
        )
    return MemoryLimitError(
        f"{needs}Use fewer layers, or fewer qubits; Aer's matrix-product simulator, "
        "estimator=EstimatorV2(options={'backend_options': {'method': 'matrix_product_state'}}) of "
        "qiskit_aer.primitives with gradient='parameter-shift'; or a device, backend=."
    )


def _describe(choice: Choice, state: StatevectorPlan, rows: int) -> str:
    """Return what is logged of a choice."""
    cost = choice.plan.estimate(rows)
    return (
        f"Simulating {state.num_qubits} qubits by method {choice.method!r}: about "
        f"{cost.operations:.1e} operations and {cost.bytes / (1 << 20):.1f} MiB for values and "
        "gradient of a row."
    )


class SimulatorCache:
    """Keeps the simulators of the last circuits and what is read of them.

    Args:
        dtype: The number format.
        method: One of :data:`METHODS`.
        size: How many are kept.
    """

    def __init__(self, dtype: DTypeLike, method: str = AUTOMATIC, size: int = 16) -> None:
        self.dtype, self.method = dtype, method
        self._recent: LRUCache[Simulator] = LRUCache(size)

    def __call__(self, analysed: AnalysedCircuit, readout: Readout) -> Simulator:
        """Return the simulator for a circuit and what is read of it, all parameters inputs."""
        columns = range(analysed.num_parameters)
        # A simulator keeps the circuit, or that which was made of it, so that its id stays its own.
        return self._recent(
            (id(analysed), contents_of(readout)),
            lambda: make_simulator(self.method, analysed, readout, columns, (), self.dtype),
        )
