# SPDX-License-Identifier: Apache-2.0
"""Programs of outcomes on backends: which bit is which qubit's, with whose errors, how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import torch
from circuits import hybrid, nonlinear
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.primitives import BackendEstimatorV2
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.transpiler import InstructionProperties, Target
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from scipy import stats

from qiskit_torch_bridge import CircuitProgram, OnBackend, Probabilities, State
from qiskit_torch_bridge.backends import Prepared, prepare
from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator, FreshSeedsSampler
from qiskit_torch_bridge.exceptions import BackendError, CircuitError, MeasurementError
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler, Jobs
from qiskit_torch_bridge.program.readouts import Outcomes

BASIS = ("rz", "sx", "x", "cx")
LEAST = 1e-6
"""The probability of what counts as impossible, for all tests of this file together."""


def line(size: int = 6, noise: bool = False, seed: int = 3) -> GenericBackendV2:
    """Qubits in a line."""
    pairs = [[q, q + 1] for q in range(size - 1)]
    return GenericBackendV2(
        size, basis_gates=list(BASIS), coupling_map=pairs, noise_info=noise, seed=seed
    )


LINE = line()


def counts_of(prepared: Prepared, values: Any = (), shots: int = 1000) -> dict[str, int]:
    """How often each bit string was found, for one point."""
    program, sampler = prepared.program, prepared.primitive
    assert isinstance(program.readout, Outcomes)
    measured = program.readout.measure(program.circuit)
    pub = (measured, program.analysed.bindings(np.atleast_2d(values)[0], measured))
    found: dict[str, int] = sampler.run([pub], shots=shots).result()[0].data.meas.get_counts()
    return found


def assert_distributed(counts: dict[str, int], exact: np.ndarray, tests: int = 20) -> None:
    """A chi-square test at a level that all tests of this file share."""
    shots = sum(counts.values())
    observed = np.zeros(len(exact))
    for text, count in counts.items():
        observed[int(text, 2)] = count
    possible = exact > 1e-12
    assert observed[~possible].sum() == 0
    expected = shots * exact[possible]
    assert expected.min() > 5, "the approximation by chi-square needs more shots"
    statistic = ((observed[possible] - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(statistic, max(1, possible.sum() - 1)) > LEAST / tests


def exact_outcomes(circuit: QuantumCircuit, parameters: Any, values: Any, qubits: Any) -> Any:
    """Probabilities of outcomes whose bit j is that of ``qubits[j]``, from the dense reference."""
    state = reference.statevector(circuit, list(parameters), torch.as_tensor(values).double())
    return Statevector(state.detach().numpy()).probabilities(list(qubits))


# -- layouts -------------------------------------------------------------------------------------


def random_circuit(draw: np.random.Generator, size: int) -> QuantumCircuit:
    """Rotations, controlled and not, of repeated and mixed angles, on any two qubits."""
    w = ParameterVector("w", 3)
    circuit = QuantumCircuit(size)
    for _ in range(10):
        a, b = draw.permutation(size)[:2].tolist()
        angle = draw.choice([-1.0, 0.5, 2.0]) * w[draw.integers(3)] + draw.uniform(-1, 1)
        gates: list[Callable[[], object]] = [
            lambda a=a, angle=angle: circuit.ry(angle, a),
            lambda a=a, angle=angle: circuit.rx(angle + w[0], a),
            lambda a=a, b=b, angle=angle: circuit.crx(angle, a, b),
            lambda a=a, b=b, angle=angle: circuit.rzz(angle, a, b),
            lambda a=a, b=b: circuit.swap(a, b),
            lambda a=a, b=b: circuit.cx(a, b),
        ]
        gates[draw.integers(len(gates))]()
    circuit.ry(w[1], 0)
    return circuit


@pytest.mark.parametrize("seed", range(24))
def test_bits_follow_the_layout(seed: int) -> None:
    """On a line of qubits: what the transpiler moves, swaps and permutes is read where it is.

    The probabilities of the part that is simulated, against the dense reference of the circuit as
    it was.
    """
    draw = np.random.default_rng(seed)
    size = int(draw.integers(2, 5))
    circuit = random_circuit(draw, size)
    parameters, values = list(circuit.parameters), draw.uniform(-3, 3, circuit.num_parameters)
    qubits = draw.permutation(size)[: draw.integers(1, size + 1)].tolist()
    layout = draw.permutation(6)[:size].tolist() if seed % 2 else None
    program = CircuitProgram(circuit, Probabilities(qubits), input_params=parameters)
    on = OnBackend(LINE, initial_layout=layout, optimization_level=seed % 4, seed_transpiler=seed)
    prepared = prepare(program, on)
    readout = prepared.program.readout
    assert isinstance(readout, Outcomes)
    bound = prepared.program.analysed.assigned(dict(zip(parameters, values.tolist(), strict=True)))
    found = Statevector(bound).probabilities(list(readout.qubits))
    exact = exact_outcomes(circuit, parameters, values, qubits)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10)
    places = prepared.isa_circuit.layout.final_index_layout()
    kept = sorted({*active(prepared.isa_circuit), *(places[q] for q in qubits)})
    assert [kept[q] for q in readout.qubits] == [places[q] for q in qubits]


def active(circuit: QuantumCircuit) -> set[int]:
    return {circuit.find_bit(q).index for i in circuit.data for q in i.qubits}


@pytest.mark.parametrize("seed", range(12))
def test_shots_of_basis_states_are_those_of_the_qubits_asked_for(seed: int) -> None:
    """Circuits of X, CX and swaps between any two qubits give one outcome, in every shot."""
    draw = np.random.default_rng(seed)
    circuit, bits = QuantumCircuit(4), [0] * 4
    for _ in range(8):
        a, b = draw.permutation(4)[:2].tolist()
        match draw.integers(3):
            case 0:
                circuit.x(a)
                bits[a] ^= 1
            case 1:
                circuit.cx(a, b)
                bits[b] ^= bits[a]
            case _:
                circuit.swap(a, b)
                bits[a], bits[b] = bits[b], bits[a]
    qubits = draw.permutation(4)[: draw.integers(1, 5)].tolist()
    on = OnBackend(LINE, optimization_level=seed % 4, seed_transpiler=seed)
    prepared = prepare(CircuitProgram(circuit, Probabilities(qubits)), on, seed=1)
    expected = "".join(str(bits[q]) for q in reversed(qubits))
    assert counts_of(prepared, shots=20) == {expected: 20}


def test_qubits_without_gates_are_measured_too() -> None:
    """Idle ones are left out of a simulation, unless they are asked for."""
    circuit = QuantumCircuit(4)
    circuit.x(1)
    prepared = prepare(CircuitProgram(circuit, Probabilities([3, 1])), LINE, seed=1)
    assert prepared.program.circuit.num_qubits == 2
    assert counts_of(prepared, shots=10) == {"10": 10}  # qubit 1 is bit 1


def test_a_circuit_that_comes_transpiled_keeps_its_layout() -> None:
    """Which qubits are measured is told of the circuit before it was transpiled."""
    circuit = QuantumCircuit(3)
    circuit.x(0)
    first = prepare(CircuitProgram(circuit, Probabilities([0, 2])), LINE, seed=1)
    program = CircuitProgram(first.isa_circuit, Probabilities([0, 2]))
    for again in (prepare(program, LINE, seed=1), prepare(program, AerSimulator(), seed=1)):
        assert counts_of(again, shots=10) == {"01": 10}


def test_a_device_of_127_qubits() -> None:
    """With its measured qubits alone; the noise is that of a good device."""
    runtime = pytest.importorskip("qiskit_ibm_runtime.fake_provider")
    circuit = QuantumCircuit(3)
    circuit.x(0)
    prepared = prepare(CircuitProgram(circuit, Probabilities()), runtime.FakeSherbrooke(), seed=2)
    assert prepared.program.circuit.num_qubits == 3
    assert prepared.isa_circuit.num_qubits == 127
    counts = counts_of(prepared)
    assert max(counts, key=lambda text: counts[text]) == "001" and counts["001"] > 800


# -- noise ---------------------------------------------------------------------------------------


def test_readout_errors_are_those_of_the_qubits_measured() -> None:
    """Against the confusion matrices that the device's own noise model has."""
    device = line(noise=True)
    for q in range(6):
        known = InstructionProperties(duration=1e-6, error=0.02 * (q + 1))
        device.target.update_instruction_properties("measure", (q,), known)
    circuit = QuantumCircuit(3)
    circuit.x(1)
    layout, qubits = [5, 2, 4], [1, 0, 2]
    prepared = prepare(
        CircuitProgram(circuit, Probabilities(qubits)),
        OnBackend(device, initial_layout=layout, optimization_level=0),
        seed=4,
    )
    confusion = {
        tuple(found["gate_qubits"][0]): np.array(found["probabilities"])
        for found in NoiseModel.from_backend(device).to_dict()["errors"]
        if found["type"] == "roerror"
    }
    # The gate's own error is of the order of 1e-4: not seen in 4,000 shots.
    of_each = [confusion[(layout[q],)][int(q == 1)] for q in qubits]
    exact = np.einsum("a,b,c->cba", *of_each).ravel()
    assert_distributed(counts_of(prepared, shots=40_000), exact)


@pytest.mark.parametrize("seed", [None, 5])
def test_a_noise_model_reaches_the_outcomes(seed: int | None) -> None:
    """In closed form: a depolarizing error p, and readout that takes 1 for 0 a times, 0 for 1 b."""
    p, a, b = 0.2, 0.1, 0.03
    noise = NoiseModel(basis_gates=["x", "cx"])
    noise.add_all_qubit_quantum_error(depolarizing_error(p, 1), ["x"])
    noise.add_readout_error(ReadoutError([[1 - a, a], [b, 1 - b]]), [0])
    circuit = QuantumCircuit(1)
    circuit.x(0)
    prepared = prepare(
        CircuitProgram(circuit, Probabilities()), AerSimulator(noise_model=noise), seed=seed
    )
    one = (1 - p / 2) * (1 - b) + p / 2 * a
    assert_distributed(counts_of(prepared, shots=20_000), np.array([1 - one, one]))


@pytest.mark.parametrize("backend", [AerSimulator(), LINE], ids=["aer", "line"])
@pytest.mark.parametrize("make", [hybrid, nonlinear])
def test_parameters_are_bound_to_what_they_are(make: Any, backend: Any) -> None:
    """Undone by the inverse of what the reference says, every shot is zero."""
    circuit = make()
    parameters = list(circuit.parameters)
    values = np.linspace(-1.3, 2.1, len(parameters))
    unitary = reference.unitary(circuit, parameters, torch.from_numpy(values)).numpy()
    circuit.append(UnitaryGate(unitary.conj().T), [0, 1])
    program = CircuitProgram(circuit, Probabilities(), input_params=parameters)
    assert counts_of(prepare(program, backend, seed=1), values) == {"00": 1000}


# -- what runs -----------------------------------------------------------------------------------


def two_angles() -> tuple[CircuitProgram, ParameterVector]:
    w = ParameterVector("w", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(w[0], 0)
    circuit.ry(w[1], 1)
    return CircuitProgram(circuit, Probabilities(), input_params=w), w


@pytest.mark.parametrize(
    ("backend", "estimator", "sampler"),
    [
        (AerSimulator(), FreshSeedsEstimator, FreshSeedsSampler),
        (LINE, FreshSeedsEstimator, FreshSeedsSampler),
    ],
    ids=["aer", "fake"],
)
def test_what_is_read_decides_what_runs(backend: Any, estimator: type, sampler: type) -> None:
    program, w = two_angles()
    assert type(prepare(program, backend).primitive) is sampler
    observed = CircuitProgram(program.circuit, "ZZ", input_params=w)
    assert type(prepare(observed, backend).primitive) is estimator
    with pytest.raises(MeasurementError, match="amplitudes of the state, which no backend"):
        prepare(CircuitProgram(program.circuit, State(), input_params=w), backend)


def test_other_backends_are_taken_for_devices() -> None:
    """Qiskit's simulator in Python, of no fixed size: jobs are dispatched."""
    program, w = two_angles()
    prepared = prepare(program, BasicSimulator(), seed=3)
    assert prepared.kind == "device"
    assert type(prepared.primitive) is DispatchingSampler
    assert type(prepared.primitive.samplers[0]) is FreshSeedsSampler
    assert counts_of(prepared, [np.pi, 0.0], shots=10) == {"01": 10}
    observed = prepare(CircuitProgram(program.circuit, "ZZ", input_params=w), BasicSimulator())
    assert type(observed.primitive.estimators[0]) is BackendEstimatorV2


def test_jobs_of_samplers_are_seen_through(tmp_path: Any) -> None:
    """Journal and budget are shared with estimators that are made with the same value."""
    jobs = Jobs(journal=tmp_path / "journal", budget=10_000)
    program, w = two_angles()
    on = OnBackend(LINE, jobs=jobs)
    sampled = prepare(program, on, seed=1)
    observed = prepare(CircuitProgram(program.circuit, "ZZ", input_params=w), on, seed=1)
    assert type(sampled.primitive) is DispatchingSampler
    assert type(observed.primitive) is DispatchingEstimator
    counts_of(sampled, [0.1, 0.2], shots=100)
    assert observed.primitive.used.shots == 100
    assert sampled.primitive.journal is observed.primitive.journal is not None


def test_seeds_repeat_the_sequence_of_jobs_and_not_the_job() -> None:
    program, _ = two_angles()
    first, again, other = (prepare(program, LINE, seed=s) for s in (5, 5, 6))
    values = [1.0, 2.0]
    one, two = counts_of(first, values), counts_of(first, values)
    assert one != two and [counts_of(again, values) for _ in "12"] == [one, two]
    assert counts_of(other, values) not in (one, two)


@pytest.mark.parametrize(
    ("backend", "options", "words"),
    [
        (LINE, {"abelian_grouping": False}, "estimator, which measures observables; here runs"),
        (LINE, {"no": 1}, "no option 'no'. Its options are: default_shots"),
        (AerSimulator(), {"default_precision": 0.1}, "qiskit-aer's SamplerV2.*estimator, which"),
        (AerSimulator(), {"no": 1}, "backend_options, default_shots, run_options, seed"),
    ],
)
def test_options_are_those_of_what_runs(backend: Any, options: Any, words: str) -> None:
    with pytest.raises(BackendError, match=words):
        prepare(two_angles()[0], OnBackend(backend, options=options))


def test_options_reach_the_sampler() -> None:
    program, _ = two_angles()
    for backend in (LINE, AerSimulator()):
        on = OnBackend(backend, options={"default_shots": 17})
        assert prepare(program, on).primitive.default_shots == 17
        assert sum(counts_of(prepare(program, on), [1.0, 1.0], shots=None).values()) == 17
    seeded = prepare(program, OnBackend(AerSimulator(), options={"seed": 3})).primitive
    assert not isinstance(seeded, FreshSeedsSampler)  # the user wants every job to be the same


def test_a_device_that_cannot_measure_a_qubit_is_named() -> None:
    device = line()
    whole, part = device.target, Target(num_qubits=6)
    for name in BASIS:
        part.add_instruction(whole.operation_from_name(name), whole[name], name=name)
    entries = {qubits: known for qubits, known in whole["measure"].items() if qubits != (2,)}
    part.add_instruction(whole.operation_from_name("measure"), entries, name="measure")
    device._target = part
    circuit = QuantumCircuit(2)
    circuit.x(0)
    on = OnBackend(device, initial_layout=[2, 3])
    with pytest.raises(CircuitError, match="cannot measure qubit 2.*initial_layout"):
        prepare(CircuitProgram(circuit, Probabilities()), on)
    assert counts_of(prepare(CircuitProgram(circuit, Probabilities([1])), on), shots=5) == {"0": 5}
    prepare(CircuitProgram(circuit, "ZZ"), on)  # what an estimator measures it finds out itself
