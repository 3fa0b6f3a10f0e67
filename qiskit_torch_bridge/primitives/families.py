# SPDX-License-Identifier: Apache-2.0
"""Estimators and samplers: all that calls, cutting, counting and journals need to tell them apart.

Qiskit has two families of primitives. A PUB of either has a circuit and points; what else is in it,
what it counts as, and what comes back differ, and a :class:`Family` says how.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, PubResult, SamplerPubResult
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from typing_extensions import override

from ..arguments import shown
from ..exceptions import BridgeError, EstimatorTypeError, InputError, SamplerTypeError
from ..program.observables import elements_of, observables_array
from .capabilities import innermost, is_in_local_mode, measures, takes_projectors
from .counting import count_circuits, count_groups_in, count_terms_in
from .precision import (
    UNKNOWN_PRECISION,
    default_precision,
    default_shots,
    estimate_precision,
    precision_to_shots,
    validate_shots,
    validate_target_precision,
)
from .results import check_registers, check_result

Primitive: TypeAlias = BaseEstimatorV2 | BaseSamplerV2
Pub: TypeAlias = EstimatorPub | SamplerPub
Effort: TypeAlias = float | int | None
"""The precision asked of an estimator, or the shots asked of a sampler; ``None`` for its own."""

P = TypeVar("P", EstimatorPub, SamplerPub)

LOCAL_SHOTS = 1024
"""What ``BackendSamplerV2`` takes where nothing is said."""


class Family(ABC, Generic[P]):
    """One of the two families of primitives.

    Attributes:
        name: What its members are called.
        effort: The keyword of ``run`` for the precision or the shots.
        type_error: What is raised for something that is none of its members.
        pub_class: Qiskit's class of what is asked.
        result_class: Qiskit's class of what comes back for it.
    """

    name: ClassVar[str]
    effort: ClassVar[str]
    type_error: ClassVar[type[BridgeError]]
    pub_class: ClassVar[type[Any]]
    result_class: ClassVar[type[PubResult]]

    @abstractmethod
    def validate(self, primitive: Any) -> Any:
        """Return a primitive if it is one of these, or say what to use instead."""

    # -- what is asked

    @abstractmethod
    def coerce(self, pub: Any, effort: Effort = None, primitive: object = None) -> P:
        """Return a PUB in any form as Qiskit's.

        Args:
            pub: The PUB.
            effort: Used where the PUB has none of its own.
            primitive: The one that it is for.
        """

    @abstractmethod
    def validate_effort(self, effort: Any) -> Effort:
        """Return what ``run`` was given as precision or shots, or say what is wrong with it."""

    @abstractmethod
    def effort_at(self, precision: float | None) -> Effort:
        """Return the precision, or the shots that it is to a sampler."""

    def options(self, effort: Effort) -> dict[str, Any]:
        """Return the keywords of ``run``; without any it takes its own default."""
        return {} if effort is None else {self.effort: effort}

    def effort_of(self, pub: P) -> Effort:
        """Return the precision or the shots of a PUB."""
        found: Effort = getattr(pub, self.effort)
        return found

    @abstractmethod
    def describe(self, pub: P) -> list[Any]:
        """Return what a PUB asks for beside the circuit and the values, as JSON can write it."""

    @abstractmethod
    def measure_text(self, pub: P) -> float:
        """Return about how many bytes this has on its way to a service."""

    # -- rows

    def count_rows(self, pub: P) -> int | None:
        """Return how many rows a PUB can be cut into, ``None`` if it cannot be cut.

        Rows are the last axis of its points, if the same is asked for at each of them.
        """
        points = pub.parameter_values.shape
        if not pub.parameter_values.num_parameters or not points or points[-1] < 1:
            return None
        return int(points[-1])

    def take_rows(self, pub: P, start: int, stop: int) -> P:
        """Return the PUB of some rows alone."""
        # Named axis by axis: for bindings "..." would reach into the axis of parameters.
        before: tuple[slice, ...] = (slice(None),) * (pub.parameter_values.ndim - 1)
        rows = (*before, slice(start, stop))
        return self.with_values(pub, pub.circuit, pub.parameter_values[rows])

    @abstractmethod
    def with_values(self, pub: P, circuit: Any, values: BindingsArray) -> P:
        """Return a PUB that asks for the same with another circuit and other values."""

    # -- what it counts as

    @abstractmethod
    def count_circuits(self, pub: P, primitive: Any) -> int:
        """Return how many circuits a primitive measures for a PUB; zero if it measures none."""

    @abstractmethod
    def count_settings(self, pub: P, *, grouped: bool) -> int:
        """Return how many circuits are measured at a point: for each group of terms, or each."""

    @abstractmethod
    def count_shots(self, primitive: Any, effort: Effort) -> int:
        """Return the shots of each circuit; zero where values are computed without measuring."""

    @abstractmethod
    def is_noisy(self, primitive: Any, effort: Effort) -> bool:
        """Whether what a primitive returns is random."""

    # -- what comes back

    @abstractmethod
    def read(self, result: PubResult, pub: P, position: int, who: str) -> dict[str, Any]:
        """Return the fields of a result that are used, or raise :class:`.ResultError`."""


class _Estimators(Family[EstimatorPub]):
    name, effort, type_error = "estimator", "precision", EstimatorTypeError
    pub_class, result_class = EstimatorPub, PubResult

    @override
    def validate(self, primitive: Any) -> BaseEstimatorV2:
        if isinstance(primitive, BaseEstimatorV2):
            return primitive
        raise self.type_error(_refusal(primitive, "estimator", "Estimator"))

    @override
    def coerce(self, pub: Any, effort: Effort = None, primitive: object = None) -> EstimatorPub:
        """Return a PUB as Qiskit's, with every coefficient of its observables.

        Projectors stay projectors where the estimator that it is for takes them.
        """
        try:
            if isinstance(pub, (tuple, list)) and len(pub) > 1:
                named = primitive is not None and takes_projectors(primitive)
                pub = (pub[0], observables_array(pub[1], projectors=named), *pub[2:])
            return EstimatorPub.coerce(pub, effort)
        except BridgeError:
            raise
        except Exception as error:  # Qiskit's own, which are of many kinds
            raise InputError(
                "Expected a PUB, (circuit, observables, parameter values, precision) as far as "
                f"needed; got {shown(pub)}: {error}"
            ) from error

    @override
    def validate_effort(self, effort: Any) -> Effort:
        return None if effort is None else validate_target_precision(effort)

    @override
    def effort_at(self, precision: float | None) -> Effort:
        return precision

    @override
    def describe(self, pub: EstimatorPub) -> list[Any]:
        precision = None if pub.precision is None else float(pub.precision)
        return [pub.observables.tolist(), _shape_of_values(pub), precision]

    @override
    def measure_text(self, pub: EstimatorPub) -> float:
        return sum(map(len, elements_of(pub.observables))) * (pub.circuit.num_qubits + 24)

    @override
    def count_rows(self, pub: EstimatorPub) -> int | None:
        observables = pub.observables.shape
        return None if observables and observables[-1] != 1 else super().count_rows(pub)

    @override
    def with_values(self, pub: EstimatorPub, circuit: Any, values: BindingsArray) -> EstimatorPub:
        return EstimatorPub(circuit, pub.observables, values, pub.precision, validate=False)

    @override
    def count_circuits(self, pub: EstimatorPub, primitive: Any) -> int:
        if not measures(primitive):
            return 0
        # Terms that commute qubit by qubit are measured together, unless an option says no.
        options = getattr(innermost(primitive), "options", None)
        grouped = getattr(options, "abelian_grouping", True) is not False
        return count_circuits(pub, grouped=grouped)

    @override
    def count_settings(self, pub: EstimatorPub, *, grouped: bool) -> int:
        return (count_groups_in if grouped else count_terms_in)(pub.observables)

    @override
    def count_shots(self, primitive: Any, effort: Effort) -> int:
        if not measures(primitive):
            return 0
        inner = innermost(primitive)
        shots = default_shots(inner) if effort is None else None
        return precision_to_shots(estimate_precision(inner, effort)) if shots is None else shots

    @override
    def is_noisy(self, primitive: Any, effort: Effort) -> bool:
        return bool(measures(primitive) or effort or default_precision(primitive))

    @override
    def read(self, result: PubResult, pub: EstimatorPub, position: int, who: str) -> dict[str, Any]:
        found = check_result(result, pub.shape, position, who)
        return {"evs": found.evs} if found.stds is None else {"evs": found.evs, "stds": found.stds}


class _Samplers(Family[SamplerPub]):
    name, effort, type_error = "sampler", "shots", SamplerTypeError
    pub_class, result_class = SamplerPub, SamplerPubResult

    @override
    def validate(self, primitive: Any) -> BaseSamplerV2:
        if isinstance(primitive, BaseSamplerV2):
            return primitive
        raise self.type_error(_refusal(primitive, "sampler", "Sampler"))

    @override
    def coerce(self, pub: Any, effort: Effort = None, primitive: object = None) -> SamplerPub:
        try:
            shots = None if effort is None else int(effort)
            return SamplerPub.coerce(tuple(pub) if isinstance(pub, list) else pub, shots)
        except Exception as error:  # Qiskit's own, which are of many kinds
            raise InputError(
                "Expected a PUB, (circuit, parameter values, shots) as far as needed; got "
                f"{shown(pub)}: {error}"
            ) from error

    @override
    def validate_effort(self, effort: Any) -> int | None:
        return None if effort is None else validate_shots(effort)

    @override
    def effort_at(self, precision: float | None) -> Effort:
        return None if precision is None else precision_to_shots(precision)

    @override
    def describe(self, pub: SamplerPub) -> list[Any]:
        place = {clbit: c for c, clbit in enumerate(pub.circuit.clbits)}
        registers = [[r.name, [place[clbit] for clbit in r]] for r in pub.circuit.cregs]
        return ["sampler", registers, _shape_of_values(pub), pub.shots]

    @override
    def measure_text(self, pub: SamplerPub) -> float:
        return 24  # the shots, and what is around them

    @override
    def with_values(self, pub: SamplerPub, circuit: Any, values: BindingsArray) -> SamplerPub:
        return SamplerPub(circuit, values, pub.shots, validate=False)

    @override
    def count_circuits(self, pub: SamplerPub, primitive: Any) -> int:
        return math.prod(pub.parameter_values.shape)

    @override
    def count_settings(self, pub: SamplerPub, *, grouped: bool) -> int:
        return 1

    @override
    def count_shots(self, primitive: Any, effort: Effort) -> int:
        if effort is not None:
            return int(effort)
        inner = innermost(primitive)
        found = default_shots(inner)
        if found is None:  # of the runtime, which here runs Qiskit's own sampler
            local = is_in_local_mode(inner)
            return LOCAL_SHOTS if local else precision_to_shots(UNKNOWN_PRECISION)
        return found

    @override
    def is_noisy(self, primitive: Any, effort: Effort) -> bool:
        return True

    @override
    def read(self, result: PubResult, pub: SamplerPub, position: int, who: str) -> dict[str, Any]:
        shape = pub.parameter_values.shape
        return dict(check_registers(result, pub.circuit, shape, pub.shots, position, who))


ESTIMATORS, SAMPLERS = _Estimators(), _Samplers()


def family_of(thing: Primitive | Pub) -> Family[Any]:
    """Return the family of a primitive or of a PUB."""
    return SAMPLERS if isinstance(thing, (BaseSamplerV2, SamplerPub)) else ESTIMATORS


def validate_primitive(primitive: Any) -> Primitive:
    """Return ``primitive`` if it is a V2 estimator or a V2 sampler, or say what to use instead."""
    if isinstance(primitive, (BaseEstimatorV2, BaseSamplerV2)):
        return primitive
    raise EstimatorTypeError(_refusal(primitive, "estimator", "Estimator", "Sampler"))


def _shape_of_values(pub: Pub) -> list[int]:
    return [*pub.parameter_values.shape, len(pub.circuit.parameters)]


def _refusal(primitive: Any, name: str, *kinds: str) -> str:
    """Return what an error says of something that is no primitive of some kinds."""
    kind = kinds[0]
    if isinstance(primitive, type):
        hint = f"Create it first: {primitive.__name__}()."
    elif hasattr(primitive, "target") or hasattr(primitive, "configuration"):
        hint = f"Wrap the backend: qiskit.primitives.Backend{kind}V2(backend=...)."
    else:
        hint = f"For example qiskit.primitives.Statevector{kind}()."
    wanted = " or ".join(f"a V2 {k.lower()} primitive (Base{k}V2)" for k in kinds)
    return (
        f"Expected {name} to be {wanted}; got "
        f"{primitive if isinstance(primitive, type) else type(primitive).__name__}. {hint}"
    )
