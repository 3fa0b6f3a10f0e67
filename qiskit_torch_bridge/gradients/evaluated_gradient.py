# SPDX-License-Identifier: Apache-2.0
"""What gradients made of evaluations share, whether these are expectation values or samples.

One call of ``run`` falls into PUBs: entries with one circuit and one precision, or number of shots,
share one. What is planned for a circuit, and the circuit that is submitted, are remembered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2

from ..arguments import copy_options, shown
from ..arrays import FloatArray
from ..exceptions import GradientError
from ..lru_cache import LRUCache
from ..primitives import is_aer
from ..primitives.capabilities import (
    binds_rightly,
    evolutions_on,
    names_with_noise,
    refuse_feed_forward,
    runs_boxes,
)
from ..program import AnalysedCircuit, AnalysisCache
from ..program.binding import check_binding
from ..program.lowering import refuse_lost_noise
from ..program.readouts import Outcomes
from ..rules import Differentiation, Rule

KEPT_DIFFERENTIATIONS = 256
"""Plans that are remembered, with the circuits transpiled for them."""

Asked = TypeVar("Asked")
"""What an entry asks for at its points: an observable, or measured qubits."""
Wanted = TypeVar("Wanted", float, int)
"""A precision or a number of shots."""


class Transpiler(Protocol):
    """What transpiles circuits: a pass manager, for instance."""

    def run(self, circuits: QuantumCircuit, **options: Any) -> QuantumCircuit:
        """Return the circuit, transpiled."""


class EvaluatedGradient(ABC):
    """A gradient made of evaluations, by one of the package's rules, on any V2 primitive."""

    _transpiler: Transpiler | None
    _transpiler_options: dict[str, Any]

    def _remember(self, primitive: BaseEstimatorV2 | BaseSamplerV2) -> None:
        """Begin with nothing remembered; the transpiler is known by now."""
        self._primitive = primitive
        self._analysed = AnalysisCache(evolutions_on(primitive, self._transpiler))
        self._differentiations: LRUCache[Differentiation] = LRUCache(KEPT_DIFFERENTIATIONS)
        self._submitted: LRUCache[QuantumCircuit] = LRUCache(KEPT_DIFFERENTIATIONS)

    @abstractmethod
    def rule(self, precision: float | None) -> Rule:
        """Return the gradient rule to use at a given precision (``None`` or zero: exact)."""

    @property
    @abstractmethod
    def precision(self) -> float | None:
        """The precision requested in every evaluation; ``None`` for the primitive's own."""

    @abstractmethod
    def _precision_of(self, requested: Any) -> float | None:
        """Return the noise to expect where a precision, or a number of shots, is requested."""

    @property
    def pass_manager(self) -> Transpiler | None:
        """What transpiles, with its options bound; ``None`` if nothing does."""
        if self._transpiler is None:
            return None
        return _BoundTranspiler(self._transpiler, self._transpiler_options)

    def _analyse(self, circuits: Sequence[QuantumCircuit]) -> list[AnalysedCircuit]:
        """Return the analyses of circuits; an object that comes up again is looked at once."""
        found = {id(circuit): circuit for circuit in circuits}
        analysed = {key: self._analysed(circuit) for key, circuit in found.items()}
        return [analysed[id(circuit)] for circuit in circuits]

    def _share(self, requests: Sequence[Request[Asked]], pub_class: type[Pub]) -> list[Pub]:
        """Return the PUBs of a call; there is none for entries that need no point."""
        pubs: dict[Hashable, Pub] = {}
        # What entries of one circuit ask for shares its points.
        read: dict[AnalysedCircuit, frozenset[int]] = {}
        for request in requests:
            before = read.get(request.circuit, frozenset())
            read[request.circuit] = before | pub_class.depends_on(request.asked)
        for i, request in enumerate(requests):
            circuit = request.circuit
            values = np.asarray(request.values, dtype=float)[None]  # (1, P)
            circuit.check(values, first_row=i)
            columns = tuple(circuit.column_of[p] for p in request.parameters)
            precision = self._precision_of(request.requested)
            d = self._differentiation(circuit, columns, precision, read[circuit])
            key = (id(d.target), request.requested, pub_class.key(request.asked))
            pub = pubs.setdefault(key, pub_class(d.target, request.requested))
            pub.add(i, d, values, request.asked)
        return [pub for pub in pubs.values() if pub.has_points]

    def _differentiation(
        self,
        analysed: AnalysedCircuit,
        columns: tuple[int, ...],
        precision: float | None,
        read: frozenset[int],
    ) -> Differentiation:
        """Return the plan for some columns with evaluations of some precision, of some qubits.

        A transpiler may lead the state of other qubits over these, with noise that depends on them.
        """
        rule = self.rule(precision)

        def plan() -> Differentiation:
            d = rule.differentiation(self._adapt(analysed), columns)
            if not binds_rightly(self._primitive):
                d.target.check_binding()
            if rule.is_random or self._transpiler is not None:
                return d
            return d.reading(read)

        key = (analysed, columns, precision, read)
        return plan() if rule.is_random else self._differentiations(key, plan)

    def _adapt(self, analysed: AnalysedCircuit) -> AnalysedCircuit:
        """Return the circuit in operations that the primitive, or the transpiler, knows."""
        refuse_feed_forward(analysed.circuit, self._primitive)
        analysed = analysed.with_rotations
        if self._transpiler is not None:
            return analysed
        if is_aer(self._primitive):
            refuse_lost_noise(analysed.circuit, names_with_noise(self._primitive))
            return analysed.on_aer
        return analysed if runs_boxes(self._primitive) else analysed.without_boxes

    def _circuit_of(
        self, target: AnalysedCircuit, readout: Outcomes | None = None
    ) -> QuantumCircuit:
        """Return the circuit as the primitive is given it: measured and transpiled once, if at all.

        Transpilers keep track of what bits are read from, so a readout is added before.
        """

        def make() -> QuantumCircuit:
            circuit = target.circuit if readout is None else readout.measure(target.circuit)
            if self.pass_manager is not None:
                circuit = self.pass_manager.run(circuit)
                if not binds_rightly(self._primitive):
                    check_binding(circuit)
            return circuit

        return self._submitted((target, readout), make)


def check_transpiler(transpiler: object, options: object) -> dict[str, Any]:
    """Return a copy of a transpiler's options, or raise :class:`.GradientError` for either."""
    if transpiler is not None and not callable(getattr(transpiler, "run", None)):
        raise GradientError(
            "Expected transpiler to have a method run(circuit), as a pass manager does; got "
            f"{shown(transpiler)}."
        )
    what = "a mapping of keywords of transpiler.run"
    return copy_options(options, "transpiler_options", what, error=GradientError) or {}


@dataclass(frozen=True, eq=False)
class _BoundTranspiler:
    """A transpiler with options that it is given every time."""

    transpiler: Transpiler
    options: Mapping[str, Any]

    def run(self, circuits: QuantumCircuit, **options: Any) -> QuantumCircuit:
        """Transpile with the options given before."""
        return self.transpiler.run(circuits, **{**self.options, **options})


class EachOf(Generic[Wanted]):
    """One precision, or number of shots, for each entry of a call, given as one or as a list."""

    def __init__(
        self, given: Any, count: int, name: str, validate: Callable[[Any], Wanted | None]
    ) -> None:
        self.is_list = isinstance(given, (list, tuple, np.ndarray))
        each = given if self.is_list else [given] * count
        if len(each) != count:
            raise GradientError(
                f"Expected one {name} or one for each of the {count} circuits; got {shown(given)}."
            )
        self.values: list[Wanted | None] = [validate(one) for one in each]

    def used(self, default: Wanted | None, empty: Any) -> Any:
        """Return what was in use, in the form given; ``default`` stands where nothing was asked."""
        used = [default if each is None else each for each in self.values]
        return empty if not used else used if self.is_list else used[0]


@dataclass(frozen=True)
class Request(Generic[Asked]):
    """One entry of a call: a gradient with respect to some parameters."""

    circuit: AnalysedCircuit
    asked: Asked
    values: Sequence[float]
    parameters: Sequence[Parameter]
    requested: float | None


class Row(NamedTuple):
    """Values at which a gradient is taken, and the displaced points that it is made of."""

    differentiation: Differentiation
    values: FloatArray  # (1, P)
    points: FloatArray  # (N, K)

    def combine(
        self, evaluations: FloatArray, stds: FloatArray | None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return derivatives and their errors ``(F, C)`` of ``F`` functions from ``(N, F)``."""
        d = self.differentiation
        derivatives = d.combine(self.values, evaluations)
        return derivatives, None if stds is None else d.standard_errors(self.values, stds)


class Entry(NamedTuple):
    """One gradient: its place in the call, its row, what it asks for, and its points in the PUB."""

    place: int
    row: Row
    asked: int
    points: slice


class SharedPub(ABC, Generic[Asked]):
    """The entries of one gradient call that share one PUB.

    Where all that is asked for is asked at every row, it is a column over all points, so that an
    estimator can measure it together; else what is asked and the points are paired.

    Attributes:
        target: The circuit.
        requested: The precision or the shots; ``None`` for the primitive's own.
        asked: What the entries ask for, each once.
    """

    def __init__(self, target: AnalysedCircuit, requested: Any) -> None:
        self.target, self.requested = target, requested
        self.asked: list[Asked] = []
        self._rows: list[Row] = []
        self._rows_of: dict[tuple[int, bytes], list[int]] = {}
        self._entries: list[tuple[int, int, int]] = []  # place, row and what is asked
        self._pairs: set[tuple[int, int]] = set()  # of row and what is asked

    @classmethod
    def key(cls, asked: Asked) -> Hashable:
        """Return what entries of one PUB have in common, of what they ask for."""
        return None

    @classmethod
    @abstractmethod
    def depends_on(cls, asked: Asked) -> frozenset[int]:
        """Return the qubits whose density matrix tells what is asked for."""

    def add(self, place: int, d: Differentiation, values: FloatArray, asked: Asked) -> None:
        """Take in one entry with ``values`` of shape ``(1, P)``."""
        position = place_among(self.asked, asked)
        # What is asked at one point shares its evaluations. An entry that repeats another in all
        # is a request for independent shots, and gets points of its own.
        rows = self._rows_of.setdefault((id(d), values.tobytes()), [])
        row = next((r for r in rows if (r, position) not in self._pairs), len(self._rows))
        if row == len(self._rows):
            rows.append(row)
            self._rows.append(Row(d, values, d.points(values)[:, 0]))
        self._pairs.add((row, position))
        self._entries.append((place, row, position))

    @property
    def has_points(self) -> bool:
        """Whether anything has to be evaluated; else no wanted parameter acts on any gate."""
        return any(len(row.points) for row in self._rows)

    @property
    def is_product(self) -> bool:
        """Whether all that is asked for is asked at every row."""
        return len(self._pairs) == len(self._rows) * len(self.asked)

    @property
    def entries(self) -> Iterator[Entry]:
        """The entries, with the points of their rows, or points of their own."""
        ends = np.cumsum([len(points) for points in self._blocks]).tolist()
        for number, (place, r, position) in enumerate(self._entries):
            row = self._rows[r]
            end = ends[r if self.is_product else number]
            yield Entry(place, row, position, slice(end - len(row.points), end))

    @property
    def _blocks(self) -> list[FloatArray]:
        rows = range(len(self._rows)) if self.is_product else [row for _, row, _ in self._entries]
        return [self._rows[row].points for row in rows]

    @property
    def points(self) -> FloatArray:
        """The points of the PUB ``(N, K)``."""
        return np.concatenate(self._blocks)


Pub = TypeVar("Pub", bound=SharedPub[Any])


def place_among(distinct: list[Asked], one: Asked) -> int:
    """Return the place of something among what is distinct; append it if it is new."""
    matches = (k for k, other in enumerate(distinct) if other is one or other == one)
    place = next(matches, len(distinct))
    if place == len(distinct):
        distinct.append(one)
    return place
