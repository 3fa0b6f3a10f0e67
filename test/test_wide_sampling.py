# SPDX-License-Identifier: Apache-2.0
"""Outcomes drawn from column networks: few qubits against all probabilities, many by moments.

Goodness of fit is judged by the chance of a chi-square at least as large, and moments by that of a
normal deviate: 1e-6 over a file of some hundred comparisons fails once in ten thousand seeds, and
seeds are fixed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from qiskit.circuit import ClassicalRegister, Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary
from scipy import stats

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.exceptions import InputError, MemoryLimitError
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
    outcome_sources,
)
from qiskit_torch_bridge.program.readouts import Outcomes, Readout
from qiskit_torch_bridge.simulation.columns import plan_columns
from qiskit_torch_bridge.simulation.columns.sampling import (
    CanonicalStates,
    ColumnSampler,
    make_right_canonical,
)

CHANCE = 1e-6
SHOTS = 20_000


def sampler_of(circuit: QuantumCircuit, readout: Readout | None = None) -> ColumnSampler:
    """The sampler of a circuit all of whose parameters are inputs."""
    program = CircuitProgram(circuit)
    columns = range(len(program.parameters))
    return ColumnSampler(plan_columns(program.analysed, readout, columns, ()))


def draw(
    sampler: ColumnSampler,
    values: np.ndarray,
    qubits: Sequence[int],
    seed: int = 7,
    shots: int = SHOTS,
    axes: Sequence[str] | None = None,
) -> np.ndarray:
    """Outcomes ``(B, shots, k)`` of qubits, measured in Z or in what ``axes`` says."""
    sites = [sampler.site_of[q] for q in qubits]
    turned = None if axes is None else dict(zip(sites, axes, strict=True))
    generator = np.random.default_rng(seed)
    return sampler.prepare(values).draw(sites, shots, generator, turned)


def assert_distributed(bits: np.ndarray, probabilities: np.ndarray) -> None:
    """Outcomes ``(shots, k)`` are drawn from probabilities ``(2**k,)``: rare ones are joined."""
    counts = np.bincount(bits @ (1 << np.arange(bits.shape[1])), minlength=len(probabilities))
    assert not counts[probabilities < 1e-15].any()
    expected = probabilities * len(bits)
    rare = expected < 8
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 8:
        observed[-2:], expected[-2:] = observed[-2:].sum() / 2, expected[-2:].sum() / 2
    kept = expected > 0
    square = ((observed - expected)[kept] ** 2 / expected[kept]).sum()
    assert stats.chi2.sf(square, max(1, kept.sum() - 1)) > CHANCE


def assert_means(signs: np.ndarray, expected: np.ndarray) -> None:
    """Means over the first axis of numbers +1 and -1 have the expected values."""
    shots = len(signs)
    errors = np.sqrt(np.maximum(1 - expected**2, 0) / shots)
    deviation = np.abs(signs.mean(axis=0) - expected)
    limit = stats.norm.isf(CHANCE / 2) * errors
    # Up to normal deviates; a few counts of a rare outcome are not.
    assert (deviation <= limit + 10 / shots).all()


def entangled(n: int, entanglement: str = "linear", reps: int = 2) -> QuantumCircuit:
    return efficient_su2(n, reps=reps, entanglement=entanglement)


def with_everything() -> QuantumCircuit:
    """A matrix on three qubits, a prepared state, a long gate, an expression, an idle qubit."""
    w = ParameterVector("w", 5)
    circuit = QuantumCircuit(7)
    circuit.prepare_state([0.6, 0, 0, 0.8j], [0, 3])
    circuit.unitary(random_unitary(8, seed=3), [1, 4, 2])
    for q in range(6 - 1):
        circuit.ry(w[q], q)
        circuit.cx(q, (q + 2) % 6)
    circuit.rzz(w[0] * w[1], 0, 5)
    circuit.swap(1, 4)
    circuit.crx(w[2], 2, 0)
    return circuit


FEW = {
    "chain": entangled(5),
    "ring": entangled(5, "circular"),
    "all to all": entangled(4, "full"),
    "everything": with_everything(),
    "one qubit": entangled(1),
}


def values_of(circuit: QuantumCircuit, rows: int = 2) -> np.ndarray:
    return np.random.default_rng(11).uniform(-3, 3, (rows, circuit.num_parameters))


def expected_probabilities(
    circuit: QuantumCircuit, values: np.ndarray, qubits: Sequence[int], axes: Sequence[str]
) -> np.ndarray:
    bound = circuit.assign_parameters(values)
    for qubit, axis in zip(qubits, axes, strict=True):
        if axis == "Y":
            bound.sdg(qubit)
        if axis != "Z":
            bound.h(qubit)
    return Statevector(bound).probabilities(list(qubits))


# -- few qubits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bases", ["Z", "XYZ", "YZ"])
@pytest.mark.parametrize("name", FEW)
def test_outcomes_are_drawn_from_their_probabilities(name: str, bases: str) -> None:
    circuit = FEW[name]
    sampler, values = sampler_of(circuit), values_of(circuit)
    qubits = sorted(sampler.site_of, reverse=True)
    axes = [bases[q % len(bases)] for q in qubits]
    bits = draw(sampler, values, qubits, axes=axes)
    for row in range(len(values)):
        assert_distributed(bits[row], expected_probabilities(circuit, values[row], qubits, axes))


@pytest.mark.parametrize("qubits", [(0,), (4,), (3, 1), (2, 4, 0)])
def test_some_qubits_are_measured_and_the_others_traced_out(qubits: tuple[int, ...]) -> None:
    """Also where gates that do not matter for these are left out."""
    circuit = FEW["ring"]
    values = values_of(circuit)
    for readout in (None, Outcomes(qubits)):
        bits = draw(sampler_of(circuit, readout), values, qubits)
        for row in range(len(values)):
            expected = Statevector(circuit.assign_parameters(values[row])).probabilities(qubits)
            assert_distributed(bits[row], expected)


def test_shots_are_independent_of_each_other() -> None:
    """Of 64 shots side by side none follows from another one: lags have no correlation."""
    circuit = FEW["chain"]
    (bits,) = draw(sampler_of(circuit), values_of(circuit, 1), range(5))
    signs = 1.0 - 2.0 * bits
    for lag in (1, 2, 63, 64, 65):
        later, earlier = signs[lag:], signs[:-lag]
        correlation = ((later - signs.mean(0)) * (earlier - signs.mean(0))).mean(0)
        error = signs.var(axis=0) / np.sqrt(len(later))
        assert (np.abs(correlation) <= stats.norm.isf(CHANCE / 2) * error + 1e-12).all()


def test_a_state_s_outcomes_depend_on_no_other_state_beside_it() -> None:
    circuit = FEW["ring"]
    sampler, values = sampler_of(circuit), values_of(circuit, 4)
    together = draw(sampler, values, range(5), shots=100)
    np.testing.assert_array_equal(together[:1], draw(sampler, values[:1], range(5), shots=100))


@pytest.mark.parametrize("shots", [1, 63, 64, 65, 1000])
def test_seeds_repeat_outcomes_whatever_the_threads(
    shots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qiskit_torch_bridge.simulation.columns import sampling

    circuit = FEW["chain"]
    sampler, values = sampler_of(circuit), values_of(circuit)
    expected = draw(sampler, values, range(5), shots=shots)
    monkeypatch.setattr(sampling, "SMALL_WORK", 1)
    monkeypatch.setattr(sampling, "count_threads", lambda: 3)
    np.testing.assert_array_equal(draw(sampler, values, range(5), shots=shots), expected)
    if shots > 1:
        assert (draw(sampler, values, range(5), shots=shots, seed=8) != expected).any()


def test_the_canonical_form_is_isometric_and_the_same_state() -> None:
    """Columns of length one to the right of each cut; amplitudes agree up to a factor."""
    rng = np.random.default_rng(0)
    bonds = [1, 3, 8, 5, 2, 1]
    tensors = [rng.normal(size=(2, a, 2, b, 2)) @ [1, 1j] for a, b in itertools.pairwise(bonds)]
    found = make_right_canonical(tensors)
    for tensor in found:
        gram = np.einsum("blsr,bmsr->blm", tensor, tensor.conj())
        np.testing.assert_allclose(gram - np.eye(gram.shape[1]), 0, atol=1e-12)
    assert [t.shape[3] for t in found] == [3, 8, 4, 2, 1]
    before, after = amplitudes_of(tensors), amplitudes_of(found)
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    overlap = np.abs(np.einsum("bi,bi->b", before, after.conj()))
    np.testing.assert_allclose(overlap, 1, atol=1e-12)


def amplitudes_of(tensors: Sequence[np.ndarray]) -> np.ndarray:
    """The amplitudes ``(B, 2**n)`` of matrix products, the first site slowest."""
    state = np.ones((len(tensors[0]), 1, 1), dtype=complex)
    for tensor in tensors:
        state = np.einsum("bil,blsr->bisr", state, tensor)
        state = state.reshape(len(state), -1, tensor.shape[3])
    return state[:, :, 0]


def test_numbers_that_exceed_their_range_are_scaled() -> None:
    """A product of 400 tensors of size 1e3 has a norm of 1e1200."""
    site = 1e3 * np.array([[[[1.0]], [[1.0]]]]).reshape(1, 1, 2, 1).astype(complex)
    states = CanonicalStates([site] * 400)
    bits = states.draw(range(400), 2000, np.random.default_rng(0))
    assert_means(1.0 - 2.0 * bits[0], np.zeros(400))


# -- many qubits -----------------------------------------------------------------------------------


def test_a_hundred_qubits_in_a_ghz_state_agree() -> None:
    circuit = QuantumCircuit(100)
    circuit.h(50)
    for q in range(50, 99):
        circuit.cx(q, q + 1)
        circuit.cx(100 - q, 99 - q)
    circuit.cx(1, 0)
    sampler = sampler_of(circuit)
    (bits,) = draw(sampler, np.zeros((1, 0)), range(100), shots=2000)
    assert (bits == bits[:, :1]).all()
    assert_means(1.0 - 2.0 * bits[:, :1], np.zeros(1))
    (turned,) = draw(sampler, np.zeros((1, 0)), range(100), shots=500, axes="X" * 100)
    assert not (turned.sum(axis=1) % 2).any()  # X...X has the value one


def test_products_of_a_hundred_qubits() -> None:
    angles = np.linspace(0.1, 3, 100)
    circuit = QuantumCircuit(100)
    for q, angle in enumerate(angles):
        circuit.ry(angle, q)
    (bits,) = draw(sampler_of(circuit), np.zeros((1, 0)), range(100))
    assert_means(1.0 - 2.0 * bits, np.cos(angles))


def test_a_register_in_any_order_and_idle_qubits() -> None:
    circuit = QuantumCircuit(127)
    circuit.x([3, 88, 120])
    circuit.cx(3, 100)
    sampler = sampler_of(circuit)
    (bits,) = draw(sampler, np.zeros((1, 0)), (120, 100, 3, 88), shots=10)
    assert bits.all()
    assert 5 not in sampler.site_of


def ring_of_qaoa(n: int, reps: int) -> QuantumCircuit:
    gamma, beta = ParameterVector("g", reps), ParameterVector("b", reps)
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for layer in range(reps):
        for q in range(n):
            circuit.rzz(gamma[layer], q, (q + 1) % n)
        circuit.rx(2 * beta[layer], range(n))
    return circuit


def test_qaoa_on_a_ring_of_a_hundred_nodes() -> None:
    """Of p = 1 the correlation of neighbours is known: sin(4b) sin(2g) / 2 with angles 2b and 2g.

    Wang, Hadfield, Jiang, Rieffel, arXiv:1706.02998, for a graph without triangles and degree two:
    <C_uv> = 1/2 + sin(4b) sin(g') cos(g') / 2, hence <Z Z> = -sin(4b) sin(g') cos(g').
    """
    n, gamma, beta = 100, 0.6, 0.35
    circuit = ring_of_qaoa(n, 1)
    order = [p.name[0] for p in circuit.parameters]
    values = np.array([[{"g": gamma, "b": beta}[name] for name in order]])
    (bits,) = draw(sampler_of(circuit), values, range(n))
    signs = 1.0 - 2.0 * bits
    # exp(-i g ZZ / 2) is exp(i g C) with C = (1 - ZZ) / 2, up to a phase; exp(-i b X) is rx(2 b).
    expected = np.sin(4 * beta) * np.sin(gamma) * np.cos(gamma)
    assert_means(signs * np.roll(signs, 1, axis=1), np.full(n, expected))
    assert_means(signs, np.zeros(n))  # all outcomes are as likely as their complements


def test_moments_of_a_chain_in_a_mixed_basis() -> None:
    """One- and two-point functions of a window against the window's own light cone."""
    n, reps = 80, 2
    circuit = entangled(n, reps=reps)
    values = values_of(circuit, 1)
    axes = ["ZXY"[q % 3] for q in range(n)]
    (bits,) = draw(sampler_of(circuit), values, range(n), axes=axes)
    signs = 1.0 - 2.0 * bits
    middle, width = n // 2, 3
    kept = range(middle - 2 * reps - 1, middle + width + 2 * reps + 1)
    cone = window_of(circuit.assign_parameters(values[0]), kept)
    state = Statevector(cone)
    sites = range(middle, middle + width)
    pairs = [(q,) for q in sites] + list(itertools.combinations(sites, 2)) + [tuple(sites)]
    expected, found = [], []
    for group in pairs:
        labels = "".join(axes[q] for q in group)
        operator = SparsePauliOp.from_sparse_list(
            [(labels, [q - kept[0] for q in group], 1.0)], len(kept)
        )
        expected.append(state.expectation_value(operator).real)
        found.append(signs[:, group].prod(axis=1))
    assert_means(np.stack(found, axis=1), np.array(expected))


def window_of(circuit: QuantumCircuit, kept: range) -> QuantumCircuit:
    """The gates of a circuit that act on some qubits alone; what crosses the border is left out."""
    place = {circuit.qubits[q]: q - kept[0] for q in kept}
    window = QuantumCircuit(len(kept))
    for instruction in circuit.data:
        if all(q in place for q in instruction.qubits):
            window.append(instruction.operation, [place[q] for q in instruction.qubits])
    return window


# -- the likeliest outcome -------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEW)
def test_the_likeliest_outcome_is_that_of_all_probabilities(name: str) -> None:
    circuit = FEW[name]
    sampler, values = sampler_of(circuit), values_of(circuit, 3)
    for qubits in (sorted(sampler.site_of), sorted(sampler.site_of)[::-2]):
        states = sampler.prepare(values)
        found = states.find_most_likely([sampler.site_of[q] for q in qubits], 1e-12)
        for row, bits in zip(values, found, strict=True):
            probabilities = Statevector(circuit.assign_parameters(row)).probabilities(qubits)
            assert bits @ (1 << np.arange(len(qubits))) == probabilities.argmax()


def test_the_likeliest_outcome_of_a_wide_product_and_of_equal_ones() -> None:
    angles = np.linspace(0.1, 3, 100)
    product, ghz = QuantumCircuit(100), QuantumCircuit(100)
    for q, angle in enumerate(angles):
        product.ry(angle, q)
    ghz.h(0)
    for q in range(99):
        ghz.cx(q, q + 1)
    ghz.x(range(0, 100, 2))
    for circuit, expected in (
        (product, angles > np.pi / 2),
        (ghz, np.arange(100) % 2 == 0),  # 0101...01 and 1010...10: the first has bit 99 zero
    ):
        sampler = sampler_of(circuit)
        states = sampler.prepare(np.zeros((1, 0)))
        found = states.find_most_likely([sampler.site_of[q] for q in range(100)], 1e-12)
        np.testing.assert_array_equal(found[0], expected)


def test_an_uncertain_likeliest_outcome_is_refused() -> None:
    circuit = entangled(60)
    sampler = sampler_of(circuit)
    states = sampler.prepare(values_of(circuit, 1))
    with pytest.raises(MemoryLimitError, match=r"60 qubits could not be told among 16 .* shots="):
        states.find_most_likely(range(60), 1e-12, width=16)


# -- the primitives --------------------------------------------------------------------------------


@pytest.fixture
def from_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Circuits of any width are drawn from as columns."""

    def refuse(*arguments: object) -> None:
        raise MemoryLimitError("nothing else is to be chosen")

    monkeypatch.setattr(outcome_sources, "NARROW", 0)
    monkeypatch.setattr(outcome_sources, "choose", refuse)
    monkeypatch.setattr(
        outcome_sources.StatevectorPlan, "most_operations", lambda plan, bits: np.inf
    )


@pytest.mark.usefixtures("from_columns")
@pytest.mark.parametrize("shots", [1, 20_000])
def test_the_sampler_writes_registers_from_columns(shots: int) -> None:
    """Registers that share qubits and leave bits out, of a circuit with an idle qubit."""
    circuit = with_everything()
    first, second = ClassicalRegister(3, "first"), ClassicalRegister(10, "second")
    measured = circuit.copy()
    measured.add_register(first, second)
    measured.measure([4, 6, 0], first)
    measured.measure([2, 4, 1], [second[9], second[0], second[4]])
    values = values_of(circuit)
    sampler = BatchedStatevectorSampler(seed=5)
    (result,) = sampler.run([(measured, values)], shots=shots).result()
    assert result.data.first.shape == result.data.second.shape == (2,)
    for row in range(2):
        left, right = (
            np.array([[int(c) for c in s[::-1]] for s in register[row].get_bitstrings()])
            for register in (result.data.first, result.data.second)
        )
        assert left.shape == (shots, 3)
        assert right.shape == (shots, 10)
        assert not left[:, 1].any()
        assert not right[:, [1, 2, 3, 5, 6, 7, 8]].any()
        np.testing.assert_array_equal(left[:, 0], right[:, 0])
        if shots > 1:
            expected = expected_probabilities(circuit, values[row], (0, 4, 2, 1), "ZZZZ")
            assert_distributed(np.hstack([left[:, [2, 0]], right[:, [9, 4]]]), expected)


OBSERVABLES = [
    SparsePauliOp(["IIIIIZZ", "IXXIIII", "IIIYIII", "IIIIIII"], [1.0, -0.5, 2.0, 3.0]),
    {"IZ0IIII": 1.5, "II+III1": 1.0},
    SparsePauliOp(["XIIIIIX", "ZIIIIIZ"], [0.5, 1.0]),  # qubit 6 is idle
]


def test_the_estimator_measures_groups_on_columns(request: pytest.FixtureRequest) -> None:
    """Means are within their standard errors of the exact values; a seed repeats them."""
    circuit = with_everything()
    values, precision = values_of(circuit), 0.01
    pub = (circuit, [[o] for o in OBSERVABLES], values)
    exact = BatchedStatevectorEstimator().run([pub]).result()[0].data.evs
    request.getfixturevalue("from_columns")
    estimator = BatchedStatevectorEstimator(seed=3, default_precision=precision)
    data = estimator.run([pub]).result()[0].data
    assert data.evs.shape == (3, 2)
    limit = stats.norm.isf(CHANCE / 2)
    assert (np.abs(data.evs - exact) <= limit * data.stds + 1e-12).all()
    again = BatchedStatevectorEstimator(seed=3, default_precision=precision).run([pub]).result()
    np.testing.assert_array_equal(again[0].data.evs, data.evs)
    assert (estimator.run([pub]).result()[0].data.evs != data.evs).any()


def test_standard_errors_on_columns_are_those_on_state_vectors(
    request: pytest.FixtureRequest,
) -> None:
    """Variances of 10,000 shots agree to some per cent: their own error is about 1 / sqrt(m)."""
    circuit = with_everything()
    pub = (circuit, [[o] for o in OBSERVABLES], values_of(circuit))
    stds = []
    for fixture in (None, "from_columns"):
        if fixture is not None:
            request.getfixturevalue(fixture)
        estimator = BatchedStatevectorEstimator(seed=3, default_precision=0.01)
        stds.append(estimator.run([pub]).result()[0].data.stds)
    np.testing.assert_allclose(*stds, rtol=0.1)


def test_the_estimator_draws_a_hundred_qubits() -> None:
    """Groups of more bits than a word: a chain's energy and its error, from its closed form."""
    n = 100
    circuit = QuantumCircuit(n)
    angles = np.linspace(0.2, 2.9, n)
    for q, angle in enumerate(angles):
        circuit.ry(angle, q)
    terms = [("ZZ", [q, q + 1], 1.0) for q in range(n - 1)] + [("X", [q], 0.5) for q in range(n)]
    hamiltonian = SparsePauliOp.from_sparse_list(terms, n)
    z, x = np.cos(angles), np.sin(angles)
    expected = (z[1:] * z[:-1]).sum() + 0.5 * x.sum()
    estimator = BatchedStatevectorEstimator(seed=2)
    data = estimator.run([(circuit, [hamiltonian, "Z" * n])], precision=0.02).result()[0].data
    assert abs(data.evs[0] - expected) <= stats.norm.isf(CHANCE / 2) * data.stds[0]
    assert abs(data.evs[1] - z.prod()) <= 4 / 50
    # Bonds and fields are measured apart, each with 2500 shots of independent qubits.
    squares = z**2
    bonds = (1 - squares[1:] * squares[:-1]).sum()
    bonds += 2 * (z[:-2] * z[2:] * (1 - squares[1:-1])).sum()
    np.testing.assert_allclose(
        data.stds[0] ** 2, (bonds + 0.25 * (1 - x**2).sum()) / 2500, rtol=0.3
    )


@pytest.mark.usefixtures("from_columns")
def test_a_state_too_wide_to_draw_from_is_refused_with_its_cost() -> None:
    circuit = QuantumCircuit(60)
    circuit.h(range(60))
    for a, b in itertools.combinations(range(60), 2):
        circuit.rzz(0.1, a, b)
    circuit.rx(0.3, range(60))
    with pytest.raises(MemoryLimitError, match=r"Sampling 60 .* GiB.*1024 shots.*gaussian"):
        BatchedStatevectorEstimator().run([(circuit, "Z" * 60)], precision=0.1)


# -- errors and cost -------------------------------------------------------------------------------


def test_what_is_not_finite_is_refused() -> None:
    circuit = FEW["chain"]
    values = values_of(circuit)
    values[1, 2] = np.inf
    with pytest.raises(InputError):
        sampler_of(circuit).prepare(values)


def test_a_state_that_is_too_wide_is_refused_before_anything_is_allocated() -> None:
    circuit = QuantumCircuit(100)
    circuit.h(range(100))
    for a, b in itertools.combinations(range(100), 2):
        circuit.rzz(Parameter(f"a{a}_{b}"), a, b)
    circuit.rx(0.3, range(100))
    sampler = sampler_of(circuit)
    cost = sampler.estimate(1, 1000)
    assert cost.bytes > 1 << 100
    assert np.isfinite(cost.operations)
    with pytest.raises(MemoryLimitError, match="Sampling from columns"):
        sampler.prepare(np.zeros((1, circuit.num_parameters)))


def test_the_estimate_grows_with_rows_and_shots() -> None:
    sampler = sampler_of(entangled(30))
    few, many = sampler.estimate(1, 100), sampler.estimate(3, 1000)
    assert 3 * few.operations < many.operations < 30 * few.operations
