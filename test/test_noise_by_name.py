# SPDX-License-Identifier: Apache-2.0
"""Noise that Aer ties to the names of gates stays with the gates that the user wrote.

Some gates are rewritten before Aer runs them, or before their angles are shifted. The reference
knows nothing of that: density matrices, and after every gate of the user's circuit the error of its
name. Errors differ from name to name, among them those of all gates that take part in rewriting,
and act on control and target differently, so that any that is lost, moved or turned would be seen.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import Gate, Parameter, QuantumCircuit
from qiskit.circuit import library as lib
from qiskit.primitives import BackendEstimatorV2
from qiskit.quantum_info import DensityMatrix, Operator, SparsePauliOp, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error, pauli_error
from qiskit_aer.primitives import EstimatorV2

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import CircuitError
from qiskit_torch_bridge.gradients import (
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.program import AnalysedCircuit, CircuitProgram
from qiskit_torch_bridge.program.identity import same_circuit
from qiskit_torch_bridge.program.qpy_bytes import circuit_from_bytes, circuit_to_bytes
from qiskit_torch_bridge.simulation.tape.compile_tape import compile_tape

T = Parameter("t")
AT = 0.9
OBSERVABLES = [SparsePauliOp(label) for label in ("IIZZ", "IIXY", "IIIZ", "XZXI")]
ROUNDING = 1e-12  # some dozen products of matrices of size 256, each rounded to 1e-15

ONE = ("h", "p", "r", "rx", "ry", "rz", "s", "sdg", "sx", "sxdg", "u", "u3", "x")
TWO = ("cp", "crx", "cry", "crz", "cu", "cu1", "cu3", "cx", "own", "rzx", "rzz", "unitary")
THREE = ("mcphase",)
FOUR = ("mcx",)
NAMES = (*ONE, *TWO, *THREE, *FOUR)
SILENT = ("xx_plus_yy", "block", "PauliEvolution")  # run by what they are made of


@functools.cache
def error_of(name: str) -> Any:
    """The error after a gate: another one for each name, and for each of its qubits."""
    width = 1 + (name in TWO) + 2 * (name in THREE) + 3 * (name in FOUR)
    error = None
    for k in range(width):
        p = (0.02 + 0.002 * NAMES.index(name)) / (k + 1)
        flip = pauli_error([("X", p), ("Z", p / 3), ("I", 1 - 4 * p / 3)])
        error = flip if error is None else error.expand(flip)
    return error


@functools.cache
def channel_of(name: str) -> SuperOp:
    return SuperOp(error_of(name))


@functools.cache
def noise() -> NoiseModel:
    model = NoiseModel(basis_gates=NAMES)
    for name in NAMES:
        model.add_all_qubit_quantum_error(error_of(name), [name])
    return model


def simulator() -> AerSimulator:
    return AerSimulator(noise_model=noise())


def aer() -> EstimatorV2:
    return EstimatorV2.from_backend(simulator())


def reference(circuit: QuantumCircuit, at: float = AT) -> np.ndarray:
    """The expectation values, as Aer has them where it can run each gate as it stands."""
    state = DensityMatrix.from_label("0000")

    def follow(part: QuantumCircuit, places: list[int]) -> None:
        nonlocal state
        for i in part.data:
            qubits = [places[part.find_bit(q).index] for q in i.qubits]
            gate = i.operation
            if gate.name in SILENT or "_o" in gate.name:
                follow(gate.definition, qubits)
                continue
            state = state.evolve(Operator(gate), qubits)
            state = state.evolve(channel_of(gate.label or gate.name), qubits)

    follow(circuit.assign_parameters({T: at} if circuit.parameters else {}), [0, 1, 2, 3])
    return np.array([state.expectation_value(o).real for o in OBSERVABLES])


def slopes(circuit: QuantumCircuit) -> np.ndarray:
    """Five-point differences: frequencies are 4 at most, so the error is 4**5 h**4 / 30."""
    f = {k: reference(circuit, AT + 1e-3 * k) for k in (-2, -1, 1, 2)}
    return (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / 12e-3


def around(gate: Gate, *more: Gate) -> QuantumCircuit:
    """The gate on a state on which it acts."""
    circuit = QuantumCircuit(4)
    circuit.ry(0.5, 0)
    circuit.h([1, 3])
    circuit.rx(1.1, 2)
    for g in (gate, *more):
        circuit.append(g, [3, 2, 0, 1][-g.num_qubits :])
    circuit.h(1)
    return circuit


def block() -> Gate:
    """Gates that are rewritten inside one that Aer does not know."""
    inner = QuantumCircuit(2, name="block")
    inner.cp(T, 0, 1)
    inner.append(lib.CRYGate(0.5 * T), [1, 0])
    inner.rzz(T, 0, 1)
    return inner.to_gate()


GATES: dict[str, tuple[Gate, ...]] = {
    "cp": (lib.CPhaseGate(T),),
    "cu1": (lib.CU1Gate(T),),
    "crx": (lib.CRXGate(T),),
    "cry": (lib.CRYGate(T),),
    "crz": (lib.CRZGate(T),),
    "scaled": (lib.CPhaseGate(2 * T + 0.3), lib.CRYGate(-T)),
    "open cp": (lib.CPhaseGate(T, ctrl_state=0),),
    "open crx": (lib.CRXGate(T, ctrl_state=0),),
    "open cry": (lib.CRYGate(T, ctrl_state=0),),
    "labelled cp": (lib.CPhaseGate(T, label="own"),),
    "labelled cry": (lib.CRYGate(T, label="own"), lib.CRYGate(T)),
    "cu": (lib.CUGate(T, 0.2, 0.4 * T, 0.7),),
    "cu3": (lib.CU3Gate(0.3, T, 0.5),),
    "r": (lib.RGate(T, 0.4),),
    "mcphase": (lib.MCPhaseGate(T, 2),),
    "fixed mcx": (lib.C3XGate(), lib.CRZGate(T)),
    "rzz": (lib.RZZGate(T), lib.RZXGate(T), lib.CXGate()),
    "xx_plus_yy": (lib.XXPlusYYGate(T, 0.3),),
    "evolution": (lib.PauliEvolutionGate(SparsePauliOp(["ZZ", "IZ"], [1.0, 0.3]), time=T),),
    "block": (block(),),
}


def module_of(circuit: QuantumCircuit, **where: Any) -> TorchQuantumModule:
    start = torch.tensor([AT], dtype=torch.float64)
    return TorchQuantumModule(circuit, OBSERVABLES, initial_weights=start, **where)


def slopes_of(module: TorchQuantumModule) -> np.ndarray:
    one_hot = torch.eye(len(OBSERVABLES), dtype=torch.float64)
    (rows,) = torch.autograd.grad(module(), module.weight, one_hot, is_grads_batched=True)
    return rows[:, 0].numpy()


@pytest.mark.parametrize(
    ("name", "gradient"),
    [
        *((name, "parameter-shift") for name in GATES),
        *((name, "aqgd") for name in ("cp", "cry", "open crx", "labelled cry", "block")),
        *((name, "finite-difference") for name in ("cu1", "crz", "cu", "mcphase", "block")),
    ],
)
def test_values_and_gradients_on_aer(name, gradient):
    circuit = around(*GATES[name])
    module = module_of(circuit, estimator=aer(), gradient=gradient)
    np.testing.assert_allclose(module().detach(), reference(circuit), rtol=0, atol=ROUNDING)
    # Differences of the reference err by 4**5 / 30 * 1e-12 and by rounding over their step; central
    # ones by 1e-4 of the module by 4**3 / 6 * 1e-8.
    error = 2e-7 if gradient == "finite-difference" else 1e-10
    np.testing.assert_allclose(slopes_of(module), slopes(circuit), rtol=0, atol=error)


@pytest.mark.parametrize(
    "kind",
    [
        AQGDEstimatorGradient,
        FiniteDifferenceEstimatorGradient,
        ParameterShiftEstimatorGradient,
    ],
)
@pytest.mark.parametrize("name", ["cp", "cry", "open crx"])
def test_gradient_objects_on_aer(name, kind):
    circuit = around(*GATES[name])
    module = module_of(circuit, estimator=aer(), gradient=kind(aer()))
    np.testing.assert_allclose(module().detach(), reference(circuit), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(slopes_of(module), slopes(circuit), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", ["cp", "open cry", "labelled cry", "cu3", "block"])
def test_a_simulator_as_backend_has_the_noise_of_the_transpiled_circuit(name):
    circuit = around(*GATES[name])
    module = module_of(circuit, backend=simulator())
    isa = module.isa_circuit
    np.testing.assert_allclose(module().detach(), reference(isa), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(slopes_of(module), slopes(isa), rtol=0, atol=1e-10)


def test_the_issue_in_closed_form():
    """Noise on cp leaves 0.7 of <ZZ>; noise of rzz, of which the user has none, leaves all."""
    circuit = QuantumCircuit(2)
    circuit.ry(0.5, 0)
    circuit.h(1)
    circuit.cp(T, 0, 1)
    circuit.h(1)
    # Where qubit 0 is one, the Z of qubit 1 is cos t, and ZZ minus that; where it is zero, 1.
    ideal = np.cos(0.25) ** 2 - np.sin(0.25) ** 2 * np.cos(AT)
    assert ideal == pytest.approx(0.9007, abs=5e-5)
    for name, factor in (("cp", 0.7), ("rzz", 1.0)):
        model = NoiseModel(basis_gates=["ry", "h", "cp", "rzz"])
        model.add_all_qubit_quantum_error(depolarizing_error(0.3, 2), [name])
        for where in (
            {"estimator": EstimatorV2.from_backend(AerSimulator(noise_model=model))},
            {"backend": AerSimulator(noise_model=model)},
        ):
            start = torch.tensor([AT], dtype=torch.float64)
            module = TorchQuantumModule(circuit, "ZZ", initial_weights=start, **where)
            value = module()
            (slope,) = torch.autograd.grad(value.sum(), module.weight)
            assert value.item() == pytest.approx(factor * ideal, abs=ROUNDING)
            assert slope.item() == pytest.approx(factor * np.sin(0.25) ** 2 * np.sin(AT), abs=1e-10)


@pytest.mark.parametrize("name", GATES)
def test_the_shift_form_keeps_noise_on_every_simulator(name):
    """Gates that are shifted are rewritten for estimators of any kind; the noise stays."""
    circuit = around(*GATES[name])
    analysed = AnalysedCircuit(circuit)
    form, angles = analysed.shift_form
    values = angles.angles(np.array([[AT]]))[0]
    bound = form.circuit.assign_parameters(dict(zip(form.parameters, values, strict=True)))
    evs = aer().run([(AnalysedCircuit(bound).aer_form, OBSERVABLES)]).result()[0].data.evs
    np.testing.assert_allclose(evs, reference(circuit), rtol=0, atol=ROUNDING)


def test_sampled_shift_points_have_the_noise():
    """Without the noise the slope would be off by 0.64 of itself."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    for gate in (lib.CRYGate(T), lib.CRXGate(0.5 * T)):
        circuit.append(gate, [0, 1])
    strong = NoiseModel(basis_gates=["h", "crx", "cry"])
    strong.add_all_qubit_quantum_error(depolarizing_error(0.4, 2), ["crx", "cry"])
    start = torch.tensor([AT], dtype=torch.float64)
    module = TorchQuantumModule(
        circuit,
        "ZI",
        estimator=BackendEstimatorV2(backend=AerSimulator(noise_model=strong, seed_simulator=7)),
        gradient="parameter-shift",
        shots=40_000,
        initial_weights=start,
    )
    module().sum().backward()
    # With the control set, <Z> of the target is cos t cos t/2, else 1; each gate leaves 0.6 of it.
    ideal = -(np.sin(AT) * np.cos(AT / 2) + np.cos(AT) * np.sin(AT / 2) / 2) / 2
    z = (module.weight.grad.item() - 0.6**2 * ideal) / module.last_gradient_stds.item()
    assert abs(z) < 6 and module.last_gradient_stds.item() < 0.01 < 0.1 * abs(ideal)


@pytest.mark.parametrize("named", ["xx_plus_yy", "own", "block", "cp_o0"])
def test_noise_of_a_gate_that_aer_does_not_run_is_refused(named):
    """Aer itself knows no such gate, and would run its parts without the noise."""
    model = NoiseModel(basis_gates=["h", "rx", "ry"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.3, 2), [named])
    estimator = EstimatorV2(options={"backend_options": {"noise_model": model}})
    inner = QuantumCircuit(2)
    for gate in (lib.XXPlusYYGate(T, label="own"), block(), lib.CPhaseGate(T, ctrl_state=0)):
        inner.append(gate, [0, 1])
    circuit = around(inner.to_gate())
    with pytest.raises(CircuitError, match=f"noise named '{named}'.*which Aer does not run"):
        module_of(circuit, estimator=estimator)
    gradient = ParameterShiftEstimatorGradient(estimator)
    with pytest.raises(CircuitError, match=f"noise named '{named}'"):
        gradient.run([circuit], OBSERVABLES[:1], [[AT]]).result()


def test_what_carries_noise_costs_the_exact_engine_nothing():
    circuit = around(lib.CRYGate(T))
    analysed = AnalysedCircuit(circuit)
    assert "unitary" in analysed.aer_form.count_ops()
    forms = (AnalysedCircuit(c, [T]) for c in (analysed.aer_form, circuit))
    operations = [compile_tape(form).operations for form in forms]
    assert len(operations[0]) == len(operations[1])


def test_labels_survive_and_states_of_other_builds_are_read():
    """The form for Aer goes through QPY; what is saved of a program has no carriers of noise."""
    circuit = around(lib.CRYGate(T), lib.CPhaseGate(T, label="own"))
    program = CircuitProgram(circuit, OBSERVABLES)
    form = program.on_aer.circuit
    data, expanded = circuit_to_bytes(form, [T])
    read = circuit_from_bytes(data)
    assert not expanded and same_circuit(form, read, [T], list(read.parameters))
    labels = [i.operation.label for i in form.data]
    assert [i.operation.label for i in read.data] == labels and {"cry", "own"} <= set(labels)
    assert program.on_aer == program.on_aer and program.on_aer != program
    assert program.difference_from_state(program.to_state()) is None
