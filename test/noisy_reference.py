# SPDX-License-Identifier: Apache-2.0
"""Expectation values of a transpiled circuit under a device's noise, worked out independently.

Density matrices of the qubits in use are propagated by superoperators of ``qiskit.quantum_info``:
every instruction is followed by the error that the device's calibration data stand for, measured
terms are rotated by noisy gates, and confusion matrices act on what is read. Nothing of the
package takes part, and nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import RZGate, SXGate
from qiskit.quantum_info import Pauli, SparsePauliOp, SuperOp
from qiskit.transpiler import Target
from qiskit_aer.noise.device.models import basic_device_gate_errors, basic_device_readout_errors

Array = NDArray[np.float64]
Qubits = tuple[int, ...]


class Noise(NamedTuple):
    """Errors after gates on certain qubits, and confusion matrices (prepared x read) of qubits.

    Without ``measured`` a simulator takes expectation values from the state itself, as Aer's
    estimator does: no rotation, no readout.
    """

    gates: Mapping[tuple[str, Qubits], SuperOp]
    readout: Mapping[int, Array]
    measured: bool = True


NOISELESS = Noise({}, {})


def noise_of(target: Target, circuits: Iterable[QuantumCircuit], measured: bool = True) -> Noise:
    """The noise of the qubits that some circuits use, from the target of the whole device."""
    circuits = list(circuits)
    used = {q for circuit in circuits for q in qubits_in_use(circuit)}
    names = {"sx", "measure"}.union(*(circuit.count_ops() for circuit in circuits))
    part = Target(num_qubits=target.num_qubits, qubit_properties=target.qubit_properties)
    for name in sorted(names - {"barrier"}):  # all instructions on 127 qubits would take seconds
        entries = {qubits: known for qubits, known in target[name].items() if used >= set(qubits)}
        part.add_instruction(target.operation_from_name(name), entries, name=name)
    gates = {
        (name, tuple(qubits)): SuperOp(error)
        for name, qubits, error in basic_device_gate_errors(target=part)
    }
    readout = {q: error.probabilities for (q,), error in basic_device_readout_errors(target=part)}
    return Noise(gates, readout, measured)


def qubits_in_use(circuit: QuantumCircuit) -> Qubits:
    """The indices of the qubits that gates act on, ascending."""
    return tuple(sorted({circuit.find_bit(q).index for i in circuit.data for q in i.qubits}))


class NoisyReference:
    """Expectation values at any values of the parameters.

    Args:
        isa: A transpiled circuit whose only parameterized gates are ``rz``, with its layout.
        operators: Observables on the qubits before transpilation.
        parameters: The order of the values.
        noise: What disturbs it.
    """

    def __init__(
        self,
        isa: QuantumCircuit,
        operators: Sequence[SparsePauliOp],
        parameters: Sequence[Parameter],
        noise: Noise = NOISELESS,
    ) -> None:
        self.noise, self._kept = noise, qubits_in_use(isa)
        self._steps: list[Array] = []  # between the parameterized gates
        self._phases: list[Array] = []  # of these, for each entry of the density matrix
        slopes, offsets = [], []
        pending = self._identity()
        for instruction in isa.data:
            gate = instruction.operation
            qubits = tuple(isa.find_bit(q).index for q in instruction.qubits)
            angles = [p for p in gate.params if isinstance(p, ParameterExpression)]
            if gate.name == "barrier":
                continue
            if not angles:
                pending = self._then(pending, gate, qubits)
                continue
            assert gate.name == "rz"
            slopes.append([_slope(angles[0], p) for p in parameters])
            offsets.append(float(angles[0].bind(dict.fromkeys(angles[0].parameters, 0.0))))
            self._steps.append(pending.data)
            self._phases.append(self._rotation(qubits[0]))
            pending = self._with_error(self._identity(), "rz", qubits)
        self._steps.append(pending.data)
        self.slopes, self._offsets = np.array(slopes), np.array(offsets)  # (G, P), (G,)
        physical = [o.apply_layout(isa.layout, isa.num_qubits) for o in operators]
        labels = sorted({label for o in physical for label in o.paulis.to_labels()})
        self._rows = np.stack([self._row(Pauli(label)) for label in labels])
        self.coefficients = np.zeros((len(physical), len(labels)))
        for i, operator in enumerate(physical):
            for label, coefficient in operator.to_list():
                self.coefficients[i, labels.index(label)] += coefficient.real

    def terms(self, values: Array) -> Array:
        """Expectation values ``(..., K)`` of all Pauli terms at values ``(..., P)``."""
        flat = values.reshape(-1, values.shape[-1])
        angles = flat @ self.slopes.T + self._offsets
        state = np.zeros((4 ** len(self._kept), len(flat)), dtype=complex)
        state[0] = 1
        for step, phases, angle in zip(self._steps, self._phases, angles.T, strict=False):
            state = np.exp(1j * np.outer(phases, angle)) * (step @ state)
        terms = (self._rows @ self._steps[-1] @ state).real.T
        return terms.reshape(*values.shape[:-1], len(self._rows))

    def __call__(self, values: Array) -> Array:
        """Expectation values ``(..., O)`` of the operators."""
        return self.terms(values) @ self.coefficients.T

    def spread(self, values: Array, weights: Array, shots: int) -> Array:
        """A bound ``(...)`` on the standard deviation of a weighted sum of sampled operators.

        A Pauli term of expectation value p has the variance (1 - p**2) / shots. Terms that share
        shots are correlated; standard deviations of correlated numbers add up at most.
        """
        deviations = np.sqrt(np.clip(1 - self.terms(values) ** 2, 0, None) / shots)
        return (deviations * (np.abs(weights) @ np.abs(self.coefficients))).sum(-1)

    def derivative(self, values: Array, step: float = 1e-3) -> Array:
        """Derivatives ``(B, O, P)`` at values ``(B, P)``, correct to about 1e-11.

        The five-point difference of a trigonometric polynomial of low degree: its error is of
        fourth order, and the values are exact to 1e-15.
        """
        shifts = step * np.eye(values.shape[-1])
        at = {k: self(values[:, None] + k * shifts) for k in (-2, -1, 1, 2)}
        found = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
        return found.swapaxes(1, 2)

    def _identity(self) -> SuperOp:
        return SuperOp(np.eye(4 ** len(self._kept)))

    def _then(self, channel: SuperOp, gate: Any, qubits: Qubits) -> SuperOp:
        """The channel followed by a gate and its error."""
        channel = channel.compose(SuperOp(gate), qargs=[self._kept.index(q) for q in qubits])
        return self._with_error(channel, gate.name, qubits)

    def _with_error(self, channel: SuperOp, name: str, qubits: Qubits) -> SuperOp:
        error = self.noise.gates.get((name, qubits))
        if error is None:
            assert not self.noise.gates or name == "rz", f"no error known of {name} on {qubits}"
            return channel
        return channel.compose(error, qargs=[self._kept.index(q) for q in qubits])

    def _rotation(self, qubit: int) -> Array:
        """How the phase of each entry of the density matrix changes with the angle of an RZ."""
        signs = 1 - 2.0 * (np.arange(2 ** len(self._kept)) >> self._kept.index(qubit) & 1)
        return ((signs[None, :] - signs[:, None]) / 2).ravel(order="F")

    def _row(self, pauli: Pauli) -> Array:
        """The linear functional of the density matrix that measuring a Pauli amounts to."""
        if not self.noise.measured:
            return pauli[list(self._kept)].to_matrix().T.ravel(order="F")
        rotation, read = self._identity(), []
        for q in self._kept:
            axis = pauli[q].to_label()
            if axis == "X":
                rotation = self._then(rotation, RZGate(np.pi / 2), (q,))
            if axis in "XY":
                rotation = self._then(rotation, SXGate(), (q,))
            signs = np.ones(2) if axis == "I" else np.array([1.0, -1.0])
            read.append(signs if axis == "I" else self.noise.readout.get(q, np.eye(2)) @ signs)
        diagonal = reduce(np.kron, read[::-1])
        return np.diag(diagonal).ravel(order="F") @ rotation.data


def _slope(angle: ParameterExpression, parameter: Parameter) -> float:
    return float(angle.gradient(parameter)) if parameter in angle.parameters else 0.0
