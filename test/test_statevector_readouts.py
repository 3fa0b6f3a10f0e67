# SPDX-License-Identifier: Apache-2.0
"""Probabilities and amplitudes from the state vector, with all derivatives.

Random circuits are compared with the dense reference as in test_statevector_random, whose
tolerances are used. Whatever else is compared is sums of at most some hundred products of numbers
of size one, hence 1e-12.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operation_strategies import CONTROLLED_GATES, GATES, Template
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit import library as lib
from qiskit.quantum_info import SparsePauliOp, Statevector, random_statevector, random_unitary
from test_construction import calls_of
from test_statevector_cases import CIRCUITS, FIXED, ROWS, SEEDS, ExactCase, exact_cases
from test_statevector_lanes import assert_close, circuit_of, everything, numbers
from test_statevector_random import ByValues, check, check_derivatives

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.exceptions import CircuitError, InputError, MemoryLimitError
from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.program.interpretations import OutcomeFunction, OutcomeTable, Parity
from qiskit_torch_bridge.program.readouts import (
    Amplitudes,
    Expectations,
    Interpretation,
    Outcomes,
    Readout,
)
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator, simulator
from qiskit_torch_bridge.simulation.tape.operations import Angle

EXACT = 1e-12
X, W = Parameter("x"), Parameter("w")


def made(circuit: QuantumCircuit, readout: Readout, **options: object) -> StatevectorSimulator:
    """The simulator of a circuit all of whose parameters are inputs."""
    program = CircuitProgram(circuit)
    columns = range(len(program.parameters))
    return StatevectorSimulator(program.analysed, readout, columns, (), **options)


def read(s: StatevectorSimulator, *rows: tuple[float, ...]) -> np.ndarray:
    """What is read at rows of values; amplitudes as complex numbers."""
    x = np.array(rows, dtype=float).reshape(len(rows), -1)
    return s.evaluate(x, np.zeros((1, 0)))[0]


def amplitudes(s: StatevectorSimulator, *rows: tuple[float, ...]) -> np.ndarray:
    return read(s, *rows).view(complex)


# -- closed forms --------------------------------------------------------------------------------


def test_the_probabilities_of_a_turned_qubit() -> None:
    """sin(x/2)**2 for one, its slope sin(x)/2 and its curvature cos(x)/2."""
    circuit = QuantumCircuit(1)
    circuit.ry(X, 0)
    s, x, w = made(circuit, Outcomes((0,))), np.array([[0.3], [1.1]]), np.zeros((1, 0))
    one = np.sin(x / 2) ** 2
    np.testing.assert_allclose(s.evaluate(x, w)[0], np.hstack([1 - one, one]), atol=EXACT)
    c = np.array([[0.0, 1.0], [2.0, 0.5]])
    slope, curvature = np.sin(x) / 2, np.cos(x) / 2
    weight = c[:, 1:] - c[:, :1]
    np.testing.assert_allclose(s.vjp(x, w, c)[0], weight * slope, atol=EXACT)
    moved = np.ones_like(x), np.zeros((1, 0))
    np.testing.assert_allclose(s.tangent(x, w, *moved), np.hstack([-slope, slope]), atol=EXACT)
    turned, _ = s.vjp_tangent(x, w, c, *moved, np.zeros_like(c))
    np.testing.assert_allclose(turned, weight * curvature, atol=EXACT)


def test_the_order_of_qubits_is_qiskits() -> None:
    """Bit j of an outcome is that of qubits[j], and qubits on which nothing acts are zero."""
    circuit = QuantumCircuit(4)
    circuit.x(2)
    circuit.ry(X, 0)
    for qubits in itertools.permutations(range(4), 3):
        state = Statevector(circuit.assign_parameters([0.7]))
        expected = state.probabilities(list(qubits))
        found = read(made(circuit, Outcomes(qubits)), (0.7,))[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("gate", "amplitude", "derivative"),
    [
        (lib.RZGate(X), np.exp(0.35j), 0.5j),
        (lib.PhaseGate(X), np.exp(0.7j), 1j),
        (lib.U1Gate(X), np.exp(0.7j), 1j),
        (lib.UGate(0, 0, X), np.exp(0.7j), 1j),
        (lib.UGate(0, X, 0), np.exp(0.7j), 1j),
        (lib.GlobalPhaseGate(X), np.exp(0.7j), 1j),
        (lib.GlobalPhaseGate(X).control(1), np.exp(0.7j), 1j),
        (lib.CPhaseGate(X), np.exp(0.7j), 1j),
        (lib.CPhaseGate(X, ctrl_state=0), 1, 0),
        (lib.CRZGate(X), np.exp(0.35j), 0.5j),
        (lib.PauliEvolutionGate(SparsePauliOp(["I", "Z"], [2, 1]), X), np.exp(-0.7j), -1j),
    ],
)
def test_the_phase_of_a_basis_state(gate: lib.UGate, amplitude: complex, derivative: complex):
    """Rotations and phase gates are one apart; a global phase counts as it does in Qiskit."""
    circuit = QuantumCircuit(2)
    circuit.x([0, 1])
    circuit.append(gate, list(range(gate.num_qubits)))
    s, (x, w) = made(circuit, Amplitudes((0, 1))), (np.array([[0.7]]), np.zeros((1, 0)))
    np.testing.assert_allclose(amplitudes(s, (0.7,))[0], [0, 0, 0, amplitude], atol=EXACT)
    found = s.tangent(x, w, np.ones((1, 1)), w).view(complex)[0]
    np.testing.assert_allclose(found, [0, 0, 0, derivative * amplitude], atol=EXACT)


# -- random circuits -----------------------------------------------------------------------------


def interpretations(num_bits: int) -> st.SearchStrategy[Interpretation | None]:
    """Each outcome by itself, parities, and tables some of whose outputs may never occur."""
    outputs = st.lists(st.integers(0, 4), min_size=1 << num_bits, max_size=1 << num_bits)
    return st.sampled_from([None, None, Parity()]) | outputs.map(lambda o: OutcomeTable(o, 5))


@settings(max_examples=CIRCUITS // 8)
@given(exact_cases(max_qubits=7), st.data(), SEEDS)
def test_probabilities_of_random_circuits(case: ExactCase, data: st.DataObject, seed: int) -> None:
    width = case.circuit.num_qubits
    qubits = data.draw(st.permutations(range(width)))[: data.draw(st.integers(1, width))]
    readout = Outcomes(tuple(qubits), data.draw(interpretations(len(qubits))))
    index = np.arange(1 << width)
    labels = sum((index >> q & 1) << j for j, q in enumerate(qubits))
    if readout.interpretation is not None:
        labels = readout.interpretation.table(len(qubits))[labels]

    def expected(values: torch.Tensor) -> torch.Tensor:
        psi = reference.statevector(case.twin, case.parameters, values)
        zeros = torch.zeros(len(values), readout.size, dtype=torch.float64)
        return zeros.index_add(1, torch.from_numpy(labels), psi.abs() ** 2)

    check_derivatives(ByValues(case, readout), expected, seed, norm=readout.size)


@settings(max_examples=CIRCUITS // 8)
@given(exact_cases(max_qubits=6), st.data(), SEEDS)
def test_amplitudes_of_random_circuits(case: ExactCase, data: st.DataObject, seed: int) -> None:
    """Phases included, that of the circuit as well."""
    width = case.circuit.num_qubits
    used = sorted({case.circuit.find_bit(q).index for i in case.circuit.data for q in i.qubits})
    others = [q for q in range(width) if q not in used]
    some = data.draw(st.permutations(others))[: data.draw(st.integers(0, len(others)))]
    qubits = data.draw(st.permutations([*used, *some])) or [0]
    phase = data.draw(st.floats(-4, 4)) + sum(2 * p for p in case.parameters[:2])
    circuit, twin = case.circuit.copy(), case.twin.copy()
    circuit.global_phase = twin.global_phase = phase
    case = replace(case, circuit=circuit, twin=twin)
    index = np.arange(1 << len(qubits))
    places = sum((index >> j & 1) << q for j, q in enumerate(qubits))

    def expected(values: torch.Tensor) -> torch.Tensor:
        psi = reference.statevector(twin, case.parameters, values)
        return torch.view_as_real(psi[:, torch.from_numpy(places)]).flatten(1)

    readout = Amplitudes(tuple(qubits))
    check_derivatives(ByValues(case, readout), expected, seed, norm=readout.size)


@settings(max_examples=CIRCUITS // 8)
@given(exact_cases(max_qubits=4), SEEDS)
def test_outcomes_are_expectation_values_of_projectors(case: ExactCase, seed: int) -> None:
    width = case.circuit.num_qubits
    rng = np.random.default_rng(seed)
    qubits = rng.permutation(width)[: rng.integers(1, width + 1)].tolist()
    labels = []
    for outcome in range(1 << len(qubits)):
        letters = ["I"] * width
        for j, q in enumerate(qubits):
            letters[width - 1 - q] = "01"[outcome >> j & 1]
        labels.append("".join(letters))
    operators = CircuitProgram(case.circuit, labels).observables
    point = ByValues(case).point(torch.from_numpy(rng.normal(size=case.values.shape)))
    x, w, dx, dw = point
    c, dc = rng.normal(size=(2, len(x), len(labels)))
    found, expected = (
        everything(ByValues(case, readout).simulator, x, w, c, dx, dw, dc)
        for readout in (Outcomes(tuple(qubits)), Expectations(operators))
    )
    size = len(x) * max(1.0, *(float(np.abs(e).max(initial=0)) for e in expected))
    check(found, expected, 1e-10, size)


# -- Qiskit's global phase -------------------------------------------------------------------------


def global_phase_cases() -> list[tuple[str, Callable[[], QuantumCircuit]]]:
    def gate_of(template: Template) -> Callable[[], QuantumCircuit]:
        def build() -> QuantumCircuit:
            angles = [(k + 1) * X - 0.4 * k for k in range(template.num_params)]
            circuit = mixed(3)
            circuit.append(template.build(*angles), list(range(template.num_qubits)))
            return mixed(3, circuit)

        return build

    def fixed(gate: lib.XGate) -> Callable[[], QuantumCircuit]:
        def build() -> QuantumCircuit:
            circuit = mixed(5)
            circuit.append(gate, list(range(gate.num_qubits))[::-1])
            circuit.ry(X, 0)
            return circuit

        return build

    cases = [(name, gate_of(t)) for name, t in (GATES | CONTROLLED_GATES).items()]
    cases += [(f"{k} {gate.name}", fixed(gate)) for k, gate in enumerate(FIXED)]
    return [*cases, *((f.__name__, f) for f in BLOCKS)]


def mixed(num_qubits: int, circuit: QuantumCircuit | None = None) -> QuantumCircuit:
    """A generic layer of gates; all Clifford gates on two qubits are in it."""
    circuit = QuantumCircuit(num_qubits) if circuit is None else circuit
    for q in range(num_qubits):
        circuit.u(0.8 + 0.3 * q, 0.5 - 0.4 * q, 0.2, q)
    for q, gate in enumerate(("cx", "cz", "cy", "swap")[: num_qubits - 1]):
        circuit.y(q)
        circuit.sdg(q + 1)
        getattr(circuit, gate)(q, q + 1)
    return circuit


def block() -> QuantumCircuit:
    """A gate of one's own with a phase, in another one, and under a control."""
    inner = QuantumCircuit(2, global_phase=0.3 + X)
    inner.h(0)
    inner.p(X, 1)
    outer = QuantumCircuit(2, global_phase=-1.0)
    outer.append(inner.to_gate(), [1, 0])
    circuit = mixed(3)
    circuit.append(outer.to_gate(), [0, 2])
    circuit.append(inner.to_gate().control(1, annotated=True), [0, 1, 2])
    return circuit


def preparations() -> QuantumCircuit:
    circuit = QuantumCircuit(4, global_phase=0.2)
    circuit.append(lib.StatePreparation(random_statevector(4, 1).data), [2, 0])
    circuit.append(lib.Initialize("r"), [1])
    circuit.ry(X, 3)
    circuit.append(lib.StatePreparation(random_statevector(4, 2).data), [0, 3])  # in the middle
    circuit.unitary(random_unitary(4, seed=3), [1, 3])
    return circuit


def evolutions() -> QuantumCircuit:
    """By terms that commute, that do not, and by the identity."""
    circuit = mixed(3)
    circuit.append(lib.PauliEvolutionGate(SparsePauliOp(["ZZ", "XX", "II"], [1, 2, 3]), X), [0, 2])
    circuit.append(lib.PauliEvolutionGate(SparsePauliOp(["ZX", "XX", "II"], [1, 2, 3]), X), [0, 2])
    return circuit


def evolutions_in_blocks() -> QuantumCircuit:
    """Which are written out on the way, with phases around them."""
    inner = QuantumCircuit(2, global_phase=0.7 - X)
    inner.append(lib.PauliEvolutionGate(SparsePauliOp(["ZX", "XX", "II"], [1, 2, 3]), X), [0, 1])
    outer = QuantumCircuit(2, global_phase=1.9)
    outer.append(inner.to_gate(), [1, 0])
    circuit = mixed(3)
    circuit.append(outer.to_gate(), [0, 2])
    return circuit


def annotated() -> QuantumCircuit:
    circuit = mixed(3)
    gate = lib.PhaseGate(X).inverse(annotated=True).control(1, ctrl_state=0, annotated=True)
    circuit.append(gate.power(2, annotated=True), [1, 2])
    circuit.append(lib.SXGate().power(-1, annotated=True), [1])
    return circuit


BLOCKS = (block, preparations, evolutions, evolutions_in_blocks, annotated)


@pytest.mark.parametrize(("_", "build"), global_phase_cases())
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_the_state_is_qiskits(_: str, build: Callable[[], QuantumCircuit]) -> None:
    circuit = build()
    analysed = AnalysedCircuit(circuit, evolutions="simulated")  # as Qiskit's Statevector has it
    columns, readout = range(analysed.num_parameters), Amplitudes(tuple(range(circuit.num_qubits)))
    s = StatevectorSimulator(analysed, readout, columns, ())
    values = [0.0, 0.37, -2.9, np.pi, 7.5]
    for row, value in zip(amplitudes(s, *([v] for v in values)), values, strict=True):
        bound = circuit.assign_parameters([value][: circuit.num_parameters])
        np.testing.assert_allclose(row, Statevector(bound).data, rtol=0, atol=EXACT * 10)


def test_only_amplitudes_pay_for_phases() -> None:
    circuit = QuantumCircuit(3, global_phase=X)
    for q in range(3):
        circuit.rx(W, q)
        circuit.p(X * W, q)
        circuit.u(X, W, 0.1, q)
    circuit.cp(X, 0, 1)
    circuit.ry(X, [0, 1, 2])
    qubits = (0, 1, 2)
    observed = made(circuit, CircuitProgram(circuit).readout)
    measured = made(circuit, Outcomes(qubits))
    assert observed.tape.phase == measured.tape.phase == Angle()
    assert len(measured.operations) == len(observed.operations)
    # Half of what X * W is and of what X and W are, and a number: four sources, one rotation.
    state = made(circuit, Amplitudes(qubits))
    assert sum(not o.pauli.x and not o.pauli.z for o in state.operations) == 1


def test_ancillas_are_to_end_in_zero() -> None:
    """What is left of an entangled state is no state; amplitudes of a product are."""
    circuit = QuantumCircuit(3)
    circuit.ry(X, 0)
    circuit.cx(0, 1)
    circuit.rx(W, 2)
    state = Amplitudes((0, 2))
    message = "state zero at the end; row 1 leaves them .* probability 0.0873"
    with pytest.raises(CircuitError, match=message):
        read(made(circuit, state), (0.3, 0.0), (0.3, 0.6))
    circuit.cx(0, 1)
    found = amplitudes(made(circuit, state), (0.3, 0.6))[0]
    bound = circuit.assign_parameters({X: 0.6, W: 0.3})
    np.testing.assert_allclose(found, Statevector(bound).data[[0, 1, 4, 5]], rtol=0, atol=EXACT)


# -- layouts, threads and precision ----------------------------------------------------------------

READOUTS = {
    "all": Outcomes((0, 1, 2, 3, 4, 5)),
    "in another order": Outcomes((4, 0, 5, 2, 1, 3)),
    "one": Outcomes((3,)),
    "two": Outcomes((5, 1)),
    "parity": Outcomes((0, 1, 2, 3, 4, 5), Parity()),
    "table": Outcomes((2, 4, 1), OutcomeTable([0, 3, 3, 7, 0, 3, 1, 3], 9)),
    "state": Amplitudes((0, 1, 2, 3, 4, 5)),
    "permuted state": Amplitudes((2, 5, 0, 3, 1, 4)),
}


def layered(readout: Readout, dtype: type = np.complex128) -> StatevectorSimulator:
    circuit = circuit_of(6, 2)
    program = CircuitProgram(circuit, input_params=list(circuit.parameters)[:3])
    columns = (program.input_columns, program.weight_columns)
    return StatevectorSimulator(program.analysed, readout, *columns, dtype)


def given_values(rows: int, readout: Readout) -> list[np.ndarray]:
    x, w, _, dx, dw, _ = numbers(rows, own_weights=rows % 2 == 1)
    return [x, w, *np.random.default_rng(rows).uniform(-2, 2, (2, rows, readout.size)), dx, dw]


def all_of(s: StatevectorSimulator, readout: Readout, rows: int) -> tuple[np.ndarray, ...]:
    x, w, c, dc, dx, dw = given_values(rows, readout)
    return everything(s, x, w, c, dx, dw, dc)


@pytest.mark.parametrize("name", READOUTS)
def test_how_rows_lie_changes_no_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows side by side from one to 32, in one chunk and in many; single precision is near."""
    readout = READOUTS[name]
    for rows in ROWS[::2]:
        monkeypatch.setattr(simulator, "CACHED_NUMBERS", 32 << 6)
        expected = all_of(layered(readout), readout, rows)
        for most in (8, 2, 1):
            monkeypatch.setattr(simulator, "CACHED_NUMBERS", most << 6)
            assert_close(all_of(layered(readout), readout, rows), expected, EXACT * 10)
        single = layered(readout, np.complex64)
        # Each operation rounds each amplitude by some 6e-8; the bound lets roundings add up.
        rounding = 4 * (len(single.operations) + 20) * 6e-8
        assert_close(all_of(single, readout, rows), expected, rounding)


@pytest.mark.parametrize("way", [{"SHARED_STATE": 0}, {"CACHED_NUMBERS": 2 << 6}])
@pytest.mark.parametrize("name", READOUTS)
def test_threads(name: str, way: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a state, or have chunks of their own."""
    readout = READOUTS[name]
    monkeypatch.setattr(simulator, "count_threads", lambda: 1)
    expected = {rows: all_of(layered(readout), readout, rows) for rows in (1, 3, 40)}
    monkeypatch.setattr(simulator, "count_threads", lambda: 3)
    for constant, number in {"SMALL_WORK": 0, **way}.items():
        monkeypatch.setattr(simulator, constant, number)
    for rows, right in expected.items():
        assert_close(all_of(layered(readout), readout, rows), right, EXACT * 10)


@pytest.mark.parametrize("name", READOUTS)
def test_rows_that_are_evaluated_separately(name: str) -> None:
    """To the last bit: shots are drawn from them, and a half is not to become another number."""
    readout = READOUTS[name]
    s, (x, w, *_) = layered(readout), given_values(70, readout)
    found = s.evaluate_separately(x, w)
    for rows in (slice(0, 1), slice(3, 8), slice(31, 70)):
        np.testing.assert_array_equal(s.evaluate_separately(x[rows], w), found[rows])
    np.testing.assert_allclose(found, s.evaluate(x, w)[0], rtol=0, atol=EXACT)


@pytest.mark.parametrize("readout", [Outcomes((1, 0)), Amplitudes((0, 1))])
def test_no_rows_and_no_numbers(readout: Readout) -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(X, 0)
    s, w = made(circuit, readout), np.zeros((1, 0))
    none, nothing = np.zeros((0, 1)), np.zeros((0, readout.size))
    for found in (s.evaluate(none, w)[0], s.tangent(none, w, none, w)):
        assert found.shape == nothing.shape
    assert s.vjp(none, w, nothing)[0].shape == (0, 1)
    with pytest.raises(InputError, match="finite"):
        s.evaluate(np.array([[np.nan]]), w)


def test_a_circuit_without_gates() -> None:
    circuit = QuantumCircuit(2)
    np.testing.assert_array_equal(read(made(circuit, Outcomes((1, 0))), ()), [[1, 0, 0, 0]])
    np.testing.assert_array_equal(amplitudes(made(circuit, Amplitudes((1,))), ()), [[1, 0]])


# -- cost ------------------------------------------------------------------------------------------


def sources(operations) -> list[int]:
    """The angle that each rotation turns by; -1 for fixed ones."""
    return [source for o in operations for source, _ in o.angle.terms or ((-1, 1.0),)]


def test_what_changes_phases_only_is_left_out() -> None:
    """Diagonal gates at the end, and whatever no qubit that is measured depends on."""
    circuit, t = QuantumCircuit(6), ParameterVector("t", 30)
    circuit.ry(t[0], 0)
    circuit.ry(t[1], 1)
    circuit.ry(t[2], 5)
    circuit.cx(0, 1)
    circuit.rz(t[3], 1)
    circuit.rzz(t[4], 0, 1)
    circuit.rxx(t[5], 3, 4)
    circuit.cp(t[6], 1, 5)
    circuit.h(2)
    circuit.rz(t[7], 2)
    of_all = made(circuit, Outcomes(tuple(range(6)))).operations
    assert sorted(sources(of_all)) == [-1, 0, 1, 2, 5]  # and H, for what it makes
    of_two = made(circuit, Outcomes((1, 0))).operations
    assert sorted(sources(of_two)) == [0, 1]


def test_few_rotations_bring_outcomes_into_the_index() -> None:
    """As many as independent products with X: one for each H at the end, none for CX."""
    circuit = QuantumCircuit(5)
    circuit.ry(X, range(5))
    circuit.h([0, 1, 2])
    for a, b in itertools.combinations(range(5), 2):
        circuit.cx(a, b)
    assert len(made(circuit, Outcomes((0, 1, 2, 3, 4))).operations) == 5 + 3
    assert len(made(circuit, Outcomes((0,))).operations) == 1 + 1


def test_making_calls_nothing_for_each_outcome() -> None:
    circuit = QuantumCircuit(12)
    circuit.ry(X, range(12))
    circuit.cx(range(11), range(1, 12))
    analysed = CircuitProgram(circuit).analysed

    def count(num_bits: int) -> int:
        readout = Outcomes(tuple(range(num_bits)))
        return calls_of(lambda: StatevectorSimulator(analysed, readout, (0,), ())).total()

    few, many = count(6), count(12)
    assert many < 2 * few  # outcomes are 64 times as many


def test_what_outcomes_of_sixty_qubits_count_for() -> None:
    """Where nothing acts there is nothing to count."""
    circuit = QuantumCircuit(60)
    circuit.ry(X, 3)
    circuit.ry(W, 41)
    one, other = np.sin(0.3) ** 2, np.sin(0.4) ** 2
    odd = one * (1 - other) + other * (1 - one)
    parity = made(circuit, Outcomes(tuple(range(60)), Parity()))
    np.testing.assert_allclose(read(parity, (0.8, 0.6)), [[1 - odd, odd]], rtol=0, atol=EXACT)
    both = OutcomeFunction(lambda outcome: (outcome >> 3 & 1) + 2 * (outcome >> 41 & 1), 5)
    found = read(made(circuit, Outcomes(tuple(range(60)), both)), (0.8, 0.6))
    expected = [*np.kron([1 - other, other], [1 - one, one]), 0]
    np.testing.assert_allclose(found, [expected], rtol=0, atol=EXACT)


def test_what_does_not_fit_is_named() -> None:
    circuit = QuantumCircuit(60)
    circuit.ry(X, 3)
    for readout, size in ((Outcomes(tuple(range(60))), 60), (Amplitudes(tuple(range(60))), 61)):
        with pytest.raises(MemoryLimitError, match=rf"1 x {2**size} numbers needs .* GiB"):
            made(circuit, readout)
    s = made(circuit, Outcomes(tuple(range(20))))
    rows = np.zeros((1, 1)).repeat(1, 0)
    many = np.broadcast_to(rows, (1 << 30, 1))
    with pytest.raises(MemoryLimitError, match=r"1073741824 x 1048576 numbers.*Measure fewer"):
        s.evaluate(many, np.zeros((1, 0)))
    with pytest.raises(MemoryLimitError, match="numbers"):
        s.tangent(many, np.zeros((1, 0)), many, np.zeros((1, 0)))
    assert s.estimate(1000).bytes > 2 * 8 * 1000 << 20
