# SPDX-License-Identifier: Apache-2.0
"""Circuits that would not arrive at a service as they are: refused before anything is submitted."""

from __future__ import annotations

from typing import Any

import pytest
import qiskit
import torch
from circuits import X, hybrid
from estimators import CountingEstimator
from qiskit.circuit import Gate, Parameter, QuantumCircuit
from qiskit.providers.fake_provider import GenericBackendV2

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.backends import checks
from qiskit_torch_bridge.backends.checks import TravelCheck, check_travels
from qiskit_torch_bridge.exceptions import CircuitError
from qiskit_torch_bridge.jobs import DispatchingEstimator

A, B = Parameter("a"), Parameter("b")
BEFORE_2_1 = tuple(map(int, qiskit.__version__.split(".")[:2])) < (2, 1)


class Odd(Gate):
    """A gate with something that QPY has no code for."""

    def __init__(self) -> None:
        super().__init__("odd", 1, [frozenset({1})])

    def validate_parameter(self, parameter: Any) -> Any:
        return parameter


def partly_bound() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(2 * A + 0.3 * B, 0)
    return circuit.assign_parameters({A: 0.3})


def changing(monkeypatch: pytest.MonkeyPatch, change: Any) -> list[QuantumCircuit]:
    """Change circuits on their way, and note which were sent."""
    sent, real = [], checks._sent

    def changed(circuit: QuantumCircuit) -> QuantumCircuit:
        sent.append(circuit)
        return change(real(circuit))

    monkeypatch.setattr(checks, "_sent", changed)
    return sent


@pytest.mark.parametrize("make", [hybrid, lambda: QuantumCircuit(2)])
def test_ordinary_circuits_travel(make: Any) -> None:
    check_travels(make())


def test_expressions_travel() -> None:
    circuit = QuantumCircuit(2, global_phase=A / 2)
    circuit.rx(2 * A + 0.3 * B, 0)
    circuit.rz(A**2 * B.sin(), 1)
    check_travels(circuit)


@pytest.mark.skipif(not BEFORE_2_1, reason="Qiskit 2.1 writes such circuits to QPY")
def test_what_qpy_fails_on_is_refused() -> None:
    with pytest.raises(CircuitError, match="QPY fails with AttributeError.*Nothing was submitted"):
        check_travels(partly_bound())


@pytest.mark.skipif(BEFORE_2_1, reason="Qiskit before 2.1 cannot write such circuits to QPY")
def test_expressions_written_in_another_way_are_the_same() -> None:
    check_travels(partly_bound())


def test_gates_that_qpy_cannot_hold_are_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(Odd(), [0])
    with pytest.raises(CircuitError, match="cannot be sent.*Decompose"):
        check_travels(circuit)


def test_a_circuit_that_arrives_as_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(circuit: QuantumCircuit) -> QuantumCircuit:
        circuit.rz(1e-9, 0)
        return circuit

    changing(monkeypatch, turned)
    with pytest.raises(CircuitError, match="as another one"):
        check_travels(hybrid())


def test_each_circuit_is_checked_once_and_before_it_is_submitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = changing(monkeypatch, lambda circuit: circuit)
    counting = CountingEstimator()
    module = TorchQuantumModule(
        hybrid(),
        input_params=X,
        estimator=DispatchingEstimator(counting, checks=[TravelCheck()]),
        gradient="parameter-shift",
    )
    for _ in range(3):
        module(torch.zeros(2, 2)).sum().backward()
    assert len(counting.runs) == 6
    assert len(sent) == 2  # as given, and with an angle for each gate
    monkeypatch.setattr(checks, "_sent", lambda circuit: 1 / 0)
    with pytest.raises(CircuitError, match="ZeroDivisionError"):
        DispatchingEstimator(counting, checks=[TravelCheck()]).run([(hybrid(), "ZZ", [[0.0] * 5])])
    assert len(counting.runs) == 6


@pytest.mark.filterwarnings("ignore::UserWarning")  # the runtime: options without effect locally
def test_the_runtime_is_not_asked_for_what_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    session = runtime.Session(backend=GenericBackendV2(2, seed=1))
    sent = changing(monkeypatch, lambda circuit: circuit)
    TorchQuantumModule(hybrid(), input_params=X, backend=session)
    assert [c.num_qubits for c in sent] == [2]
    changing(monkeypatch, lambda circuit: QuantumCircuit(2))
    with pytest.raises(CircuitError, match="as another one"):
        TorchQuantumModule(hybrid(), input_params=X, backend=session)
