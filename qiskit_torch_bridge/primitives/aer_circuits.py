# SPDX-License-Identifier: Apache-2.0
"""PUBs for Aer in gates that it knows, and whose parameters it binds.

An algorithm hands over its circuit as it was built, of library blocks and of controlled rotations.
"""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.circuit import Operation, QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray

from ..exceptions import CircuitError, InputError
from ..program import AnalysisCache
from ..program.definitions import blocks_of
from ..program.expressions import expressions_of, with_numbers
from ..program.final_measurements import split_final_measurements
from ..program.lowering import accepts_aer, copy_variables
from .capabilities import is_aer
from .families import P, Primitive, family_of


class AerCircuits:
    """Writes the circuits of PUBs in gates that Aer runs, if Aer is among the primitives.

    Args:
        primitives: Where the PUBs go.
    """

    def __init__(self, primitives: Sequence[Primitive]) -> None:
        self._needed = any(map(is_aer, primitives))
        self._analysed = AnalysisCache()

    def __call__(self, pub: P) -> P:
        """Return the PUB with the same values at the same points.

        Raises:
            CircuitError: If it measures or branches before its end, and Aer would take some of its
                parameters for other numbers.
            InputError: If it has no points: with none, Aer ends the process.
        """
        circuit = pub.circuit
        if self._needed and not pub.parameter_values.size:
            raise InputError(
                "Expected at least one point for Aer's primitives, which end the whole process "
                f"without any; got values of shape {pub.parameter_values.shape}. Leave the PUB out."
            )
        if not self._needed or all(_runs_on_aer(i.operation) for i in circuit.data):
            return pub
        bare, qubit_of = split_final_measurements(circuit)
        try:
            form = self._analysed(bare).aer_form
        except CircuitError:  # what has no gradient is between the caller and Aer
            _refuse_wrong_binding(circuit)
            return pub
        if circuit.num_clbits:
            form = _measured_alike(form, circuit, qubit_of)
        known, kept = list(circuit.parameters), tuple(form.parameters)
        values = pub.parameter_values.as_array(known)[..., [known.index(p) for p in kept]]
        # Parameters of the global phase alone are gone.
        bindings = BindingsArray({kept: values} if kept else {}, pub.parameter_values.shape)
        form.metadata = circuit.metadata
        return family_of(pub).with_values(pub, form, bindings)


def _runs_on_aer(operation: Operation) -> bool:
    accepted = accepts_aer(operation) and with_numbers(operation) is operation
    return accepted and all(
        _runs_on_aer(i.operation) for block in blocks_of(operation) for i in block.data
    )


def _measured_alike(
    form: QuantumCircuit, circuit: QuantumCircuit, qubit_of: dict[int, int]
) -> QuantumCircuit:
    """Return a circuit of gates with the bits and the final measurements of another one."""
    result = QuantumCircuit(form.qubits, circuit.clbits, name=circuit.name)
    for register in (*form.qregs, *circuit.cregs):
        result.add_register(register)
    copy_variables(form, result)
    for instruction in form.data:
        result.append(instruction.operation, instruction.qubits, instruction.clbits, copy=False)
    if qubit_of:
        result.measure(list(qubit_of.values()), list(qubit_of))
    return result


def _refuse_wrong_binding(circuit: QuantumCircuit) -> None:
    """Raise for parameters in gates that Aer binds wrongly, where these cannot be rewritten."""
    for instruction in circuit.data:
        operation = instruction.operation
        if expressions_of(operation) and not accepts_aer(operation) and circuit.num_clbits:
            raise CircuitError(
                f"Aer does not bind the parameters of {operation.name!r} as they are meant, and a "
                "circuit that measures or branches before its end cannot be rewritten. Decompose "
                "or transpile it to rotations without control and fixed gates first."
            )
