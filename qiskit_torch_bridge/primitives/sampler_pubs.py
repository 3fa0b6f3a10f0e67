# SPDX-License-Identifier: Apache-2.0
"""Reading PUBs of samplers: circuits of gates, and which qubits their registers are read from.

What a circuit measures, resets or decides before its end is deferred to its end.

Everything that can be wrong with a PUB is found here, before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from qiskit.circuit import CircuitInstruction, QuantumCircuit
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.sampler_pub import SamplerPub

from ..arrays import FloatArray
from ..exceptions import CircuitError, InputError
from ..lru_cache import LRUCache
from ..program import AnalysedCircuit, AnalysisCache
from ..program.control_flow import find_steps_at_run_time
from ..program.deferral import defer_measurements
from ..program.final_measurements import split_final_measurements
from ..program.identity import content_key
from .precision import validate_shots
from .pubs import read_bindings, read_points


class Register(NamedTuple):
    """A classical register.

    Attributes:
        name: Its name.
        qubits: For each of its bits, the qubit that is measured into it; ``None`` if none is, so
            that the bit is zero.
    """

    name: str
    qubits: tuple[int | None, ...]

    @property
    def num_bytes(self) -> int:
        """The bytes that one outcome takes."""
        return -(-len(self.qubits) // 8)


class MeasuredCircuit(NamedTuple):
    """A circuit that is measured, in a form that is so at its end.

    Attributes:
        circuit: The analysed circuit of gates.
        registers: Its classical registers, in their order.
    """

    circuit: AnalysedCircuit
    registers: tuple[Register, ...]

    @property
    def measured(self) -> tuple[int, ...]:
        """The qubits that are measured into a register, ascending."""
        return tuple(sorted({q for r in self.registers for q in r.qubits if q is not None}))


@dataclass(frozen=True)
class AnalysedSamplerPub:
    """What one PUB asks for, checked and in canonical form.

    Attributes:
        measured: The circuit and its registers.
        values: The points in C order, shape ``(N, P)``.
        shape: The shape of the points.
        shots: How many outcomes to draw at each point.
        metadata: The metadata of the circuit.
    """

    measured: MeasuredCircuit
    values: FloatArray
    shape: tuple[int, ...]
    shots: int
    metadata: Mapping[str, Any] | None

    @property
    def result_bytes(self) -> int:
        """The bytes that the outcomes of all points take."""
        return len(self.values) * self.shots * sum(r.num_bytes for r in self.measured.registers)


def read_sampler_pub(
    pub: Any, shots: int, analyse: Callable[[QuantumCircuit], MeasuredCircuit]
) -> AnalysedSamplerPub:
    """Read a PUB in any form that Qiskit takes.

    Args:
        pub: A ``SamplerPub``, a circuit, or a sequence of circuit and, as far as needed, parameter
            values and shots.
        shots: Used if the PUB has none of its own.
        analyse: Returns the analysis of a circuit that measures.

    Raises:
        BridgeError: What is wrong, in its kind that says what it is about.
    """
    circuit, values, own = _split_parts(pub)
    if not isinstance(circuit, QuantumCircuit):
        raise CircuitError(
            f"Expected the PUB to begin with a QuantumCircuit; got {type(circuit).__name__}."
        )
    wanted = shots if own is None else validate_shots(own)
    bindings = read_bindings(values, circuit)
    measured = analyse(circuit)
    points = read_points(bindings, measured.circuit)
    measured.circuit.check(points)
    return AnalysedSamplerPub(measured, points, bindings.shape, wanted, circuit.metadata)


def _split_parts(pub: Any) -> tuple[Any, Any, Any]:
    if isinstance(pub, SamplerPub):
        return pub.circuit, pub.parameter_values, pub.shots
    if isinstance(pub, QuantumCircuit):
        return pub, None, None
    if not isinstance(pub, (tuple, list)) or not 1 <= len(pub) <= 3:
        what = f"a sequence of {len(pub)}" if isinstance(pub, (tuple, list)) else repr(pub)
        hint = "A single PUB goes into a list: run([(circuit, values)])."
        if isinstance(pub, CircuitInstruction):
            hint = "A single circuit goes into a list: run([circuit])."
        raise InputError(
            "Expected each PUB to be a circuit, (circuit, values) or (circuit, values, shots); got "
            f"{what}. {hint}"
        )
    circuit, values, shots = (*pub, None, None)[:3]
    return circuit, values, shots


class MeasuredCircuits:
    """Maps circuits that measure, by content, to their analysis.

    Args:
        analysed: Where the analyses of circuits of gates are kept.
    """

    def __init__(self, analysed: AnalysisCache) -> None:
        self._analysed = analysed
        self._kept: LRUCache[MeasuredCircuit] = LRUCache(64)

    def __call__(self, circuit: QuantumCircuit) -> MeasuredCircuit:
        """Return the analysis of ``circuit``, made now or before.

        Raises:
            CircuitError: If something in it depends on outcomes in a way that cannot be deferred,
                or it has a register whose name no result can have.
        """
        place = {clbit: c for c, clbit in enumerate(circuit.clbits)}
        bits = tuple((r.name, tuple(place[bit] for bit in r)) for r in circuit.cregs)
        return self._kept((content_key(circuit), bits), lambda: self._analyse(circuit, bits))

    def _analyse(
        self, circuit: QuantumCircuit, bits: tuple[tuple[str, tuple[int, ...]], ...]
    ) -> MeasuredCircuit:
        for name, _ in bits:
            try:
                DataBin(shape=(), **{name: None})
            except (TypeError, ValueError) as error:
                raise CircuitError(
                    f"The classical register {name!r} cannot be named in a result of Qiskit's: "
                    f"{error}. Give the register another name."
                ) from error
        bare, qubit_of = split_final_measurements(circuit)
        if find_steps_at_run_time(bare):
            whole = self._analysed(circuit)
            deferred = defer_measurements(whole.circuit, {})
            analysed, qubit_of = whole.written(deferred.circuit), deferred.qubit_of
        else:
            analysed = self._analysed(bare)
        registers = tuple(Register(name, tuple(map(qubit_of.get, clbits))) for name, clbits in bits)
        return MeasuredCircuit(analysed, registers)
