# SPDX-License-Identifier: Apache-2.0
"""What the default estimator refuses: before any work, by kind, saying what to do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from circuits import hybrid, rotation
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import memory
from qiskit_torch_bridge.exceptions import (
    BridgeError,
    CircuitError,
    InputError,
    InputTypeError,
    MemoryLimitError,
    ObservableError,
    ParameterError,
    PrecisionError,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

POINT = np.zeros(5)


def measured():
    circuit = QuantumCircuit(2)
    circuit.measure_all()
    return circuit


def looping():
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.h(0)
        circuit.measure(0, 0)
    return circuit


PUBS = {
    "a circuit alone": (hybrid(), InputError, "got .*QuantumCircuit.*list: run\\(\\["),
    "one part": ((hybrid(),), InputError, "Expected each PUB to be .*sequence of 1"),
    "five parts": ((hybrid(), "ZZ", POINT, 0.1, 1), InputError, "sequence of 5"),
    "no circuit": (("ZZ", "ZZ"), CircuitError, "begin with a QuantumCircuit; got str"),
    "a measurement": ((measured(), "ZZ"), CircuitError, "measurement.*remove_final_measurements"),
    "control flow": ((looping(), "ZZ"), CircuitError, "while_loop.*depends on outcomes"),
    "a narrow observable": ((hybrid(), "Z", POINT), ObservableError, "2 qubits.*got 1.*Pad"),
    "mixed widths": ((hybrid(), ["ZZ", "Z"], POINT), ObservableError, "of one width"),
    "no observable": ((hybrid(), 3, POINT), ObservableError, "Expected Hermitian.*got 3"),
    "not Hermitian": ((hybrid(), SparsePauliOp("ZZ", 1j), POINT), ObservableError, "Hermitian"),
    "not finite": ((hybrid(), {"ZZ": np.inf}, POINT), ObservableError, "finite"),
    "a parameter": (
        (hybrid(), SparsePauliOp("ZZ", np.array([Parameter("c")])), POINT),
        ObservableError,
        "Expected Hermitian observables",
    ),
    "no values": ((hybrid(), "ZZ"), InputError, "5 parameters \\(a\\[0\\].*got 0"),
    "too few values": ((hybrid(), "ZZ", POINT[:4]), InputError, "got"),
    "values for none": (
        (measured().remove_final_measurements(False), "ZZ", [[1.0]]),
        InputError,
        "got",
    ),
    "values that are none": ((hybrid(), "ZZ", ["x"] * 5), InputError, "real numbers"),
    "not a number": ((hybrid(), "ZZ", POINT * np.nan), InputError, "finite.*row 0 has nan"),
    "another name": (
        (rotation()[0], "Z", BindingsArray({"phi": [1.0, 2.0]})),
        ParameterError,
        "\\['theta'\\]; got them for \\['phi'\\]",
    ),
    "a name twice": (
        (hybrid(), "ZZ", BindingsArray({("a[0]",) * 5: POINT})),
        ParameterError,
        "Give every parameter once",
    ),
    "shapes apart": (
        (hybrid(), ["ZZ", "XX"], np.zeros((3, 5))),
        InputError,
        "broadcast; got the shapes \\(3,\\) and \\(2,\\).*column",
    ),
    "a negative precision": ((hybrid(), "ZZ", POINT, -0.1), PrecisionError, "got -0.1"),
    "a precision of text": ((hybrid(), "ZZ", POINT, "0.1"), PrecisionError, "got '0.1'"),
    "a true precision": ((hybrid(), "ZZ", POINT, True), PrecisionError, "got True"),
    "an infinite precision": ((hybrid(), "ZZ", POINT, np.inf), PrecisionError, "got inf"),
    "no precision at all": ((hybrid(), "ZZ", POINT, np.nan), PrecisionError, "got nan"),
    "more shots than there are": ((hybrid(), "ZZ", POINT, 1e-9), PrecisionError, "2\\*\\*52 shots"),
}


@pytest.mark.parametrize("name", PUBS)
def test_a_pub_is_refused_before_any_is_run(name, monkeypatch):
    pub, kind, message = PUBS[name]
    monkeypatch.setattr(StatevectorSimulator, "evaluate", None)
    monkeypatch.setattr(StatevectorSimulator, "states", None)
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        BatchedStatevectorEstimator().run([(hybrid(), "ZZ", POINT), pub])
    assert isinstance(caught.value, (BridgeError, ValueError))


@pytest.mark.parametrize("precision", [-0.1, np.nan, np.inf, "0.1", 1j, True])
def test_default_and_run_precisions_are_checked(precision):
    with pytest.raises(PrecisionError, match="Expected precision to be a finite number from 0 up"):
        BatchedStatevectorEstimator(default_precision=precision)
    with pytest.raises(PrecisionError, match="Expected precision to be a finite number from 0 up"):
        BatchedStatevectorEstimator().run([(hybrid(), "ZZ", POINT)], precision=precision)


def test_tiny_precisions_suit_gaussian_noise():
    estimator = BatchedStatevectorEstimator(noise="gaussian", default_precision=1e-9)
    assert estimator.run([(hybrid(), "ZZ", POINT)]).result()[0].data.stds == 1e-9


OPTIONS = {
    "noise": (["none", None, 0.1, ["shots"]], PrecisionError, "'shots' or 'gaussian'; got"),
    "seed": (
        [-1, 1.5, "1", True, np.random.RandomState(1)],
        InputTypeError,
        "Expected seed to be a whole number from 0 up",
    ),
    "dtype": (
        ["float64", float, 3, "quaternion"],
        InputTypeError,
        "'complex128' or 'complex64', as a name .*; got",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_checked_when_it_is_made(name):
    values, error, message = OPTIONS[name]
    for value in values:
        with pytest.raises(error, match=message):
            BatchedStatevectorEstimator(**{name: value})


def test_numpys_name_of_a_number_format():
    assert BatchedStatevectorEstimator(dtype="complex").dtype == "complex128"


def test_a_state_that_does_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 27)
    """Nor into light cones or columns, since all qubits are entangled with all others."""
    circuit = QuantumCircuit(26)
    circuit.ry(0.3, range(26))
    for a, b in itertools.combinations(range(26), 2):
        circuit.rzz(0.1 + a, a, b)
    circuit.rx(0.3, range(26))
    pub = circuit, "Z" * 26
    for precision, message in (
        (0.0, "Simulating 26 qubits exactly needs .* 0.125 GiB"),
        (0.1, "Sampling 26 qubits exactly needs .* 2 GiB by state vectors.*gaussian"),
    ):
        with pytest.raises(MemoryLimitError, match=message):
            BatchedStatevectorEstimator().run([pub], precision=precision)


def test_a_failed_run_leaves_the_estimator_as_it_was():
    pub = (rotation()[0], "Z", [[1.0]], 0.1)
    first, second = (BatchedStatevectorEstimator(seed=3) for _ in range(2))
    with pytest.raises(ObservableError):
        first.run([pub, (hybrid(), "Z", POINT)])
    assert first.run([pub]).result()[0].data.evs == second.run([pub]).result()[0].data.evs
