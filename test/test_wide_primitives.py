# SPDX-License-Identifier: Apache-2.0
"""What primitives and modules do with a hundred qubits, against closed forms and each other.

Values of shots are judged by their standard errors: a normal deviate with a chance of 1e-6 for each
comparison. Exact values are sums of a hundred terms of size one, hence 1e-10.
"""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import QAOA, VQE
from qiskit_algorithms.optimizers import COBYLA
from scipy import stats
from test_wide_sampling import assert_distributed, assert_means, ring_of_qaoa

from qiskit_torch_bridge import Probabilities, TorchQuantumModule
from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.demos import large_graphs
from qiskit_torch_bridge.gradients import AdjointEstimatorGradient, ParameterShiftEstimatorGradient
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler

NORMAL = float(stats.norm.isf(1e-6 / 2))
EXACT = 1e-10


def ising(n: int, field: float = 1.0) -> SparsePauliOp:
    bonds = [("ZZ", [q, q + 1], -1.0) for q in range(n - 1)]
    return SparsePauliOp.from_sparse_list(bonds + [("X", [q], -field) for q in range(n)], n)


def ising_energy(n: int, field: float = 1.0) -> float:
    """The ground energy of the open chain: minus the sum of its free fermions' energies.

    They are the singular values of the matrix of fields on the diagonal and bonds beside it
    (P. Pfeuty, Annals of Physics 57, 79 (1970)).
    """
    modes = np.diag(np.full(n, field)) + np.diag(np.ones(n - 1), 1)
    return -float(np.linalg.svd(modes, compute_uv=False).sum())


def products(n: int) -> tuple[QuantumCircuit, np.ndarray]:
    """Qubits turned by angles of their own, and the angles."""
    circuit, angles = QuantumCircuit(n), np.linspace(0.2, 2.9, n)
    for q, angle in enumerate(angles):
        circuit.ry(angle, q)
    return circuit, angles


# -- algorithms ------------------------------------------------------------------------------------


def test_vqe_runs_unchanged_at_sixty_qubits() -> None:
    """At angles zero the energy is that of all spins up; below it there is the ground energy."""
    n = 60
    ansatz = efficient_su2(n, ["ry"], reps=2, entanglement="linear")
    energies: list[float] = []
    vqe = VQE(
        BatchedStatevectorEstimator(),
        ansatz,
        TorchOptimizer(torch.optim.Adam, maxiter=15, lr=0.1),
        gradient=AdjointEstimatorGradient(),
        initial_point=np.zeros(ansatz.num_parameters),
        callback=lambda count, point, energy, info: energies.append(energy.real),
    )
    found = vqe.compute_minimum_eigenvalue(ising(n)).eigenvalue.real
    assert abs(energies[0] + (n - 1)) <= EXACT
    assert ising_energy(n) < found < -(n - 1) - 5


def test_gradients_of_a_hundred_qubits_are_those_of_shifts() -> None:
    n = 100
    circuit = efficient_su2(n, reps=1, entanglement="circular")
    point = np.random.default_rng(0).uniform(-1, 1, circuit.num_parameters)
    asked = [circuit.parameters[k] for k in (0, 57, 199, 311, 399)]
    estimator = BatchedStatevectorEstimator()
    exact, shifted = (
        gradient.run([circuit], [ising(n)], [point], parameters=[asked]).result().gradients[0]
        for gradient in (AdjointEstimatorGradient(), ParameterShiftEstimatorGradient(estimator))
    )
    np.testing.assert_allclose(exact, shifted, atol=EXACT)


@pytest.mark.filterwarnings("ignore:.*is deprecated as of Qiskit")
def test_qaoa_samples_sixty_nodes() -> None:
    """At its optimum one layer cuts three quarters of a ring: an energy of minus half the edges."""
    n = 60
    ring = SparsePauliOp.from_sparse_list([("ZZ", [q, (q + 1) % n], 1.0) for q in range(n)], n)
    sampler = BatchedStatevectorSampler(seed=1, default_shots=2000)
    # The ansatz applies exp(-i b X) and exp(-i g ZZ), and takes the b first.
    qaoa = QAOA(sampler, COBYLA(maxiter=8, rhobeg=0.05), initial_point=[np.pi / 8, -np.pi / 8])
    found = qaoa.compute_minimum_eigenvalue(ring)
    assert found.eigenvalue < -n / 4
    assert found.best_measurement["value"].real <= -n / 2 - 8
    assert len(found.best_measurement["bitstring"]) == n


@pytest.mark.filterwarnings("ignore:.*is deprecated as of Qiskit")
def test_qaoa_samples_a_random_cubic_graph() -> None:
    """Energies of samples are those of one layer's closed form; each edge is right by itself."""
    graph = large_graphs.random_cubic(32, seed=3)
    bonds = SparsePauliOp.from_sparse_list([("ZZ", list(edge), 1.0) for edge in graph.edges], 32)
    sampler = BatchedStatevectorSampler(seed=1, default_shots=2000)
    # exp(-i g ZZ) is exp(2 i g C) for the cut C, up to a phase; the closed form has exp(-i g C).
    qaoa = QAOA(sampler, COBYLA(maxiter=4, rhobeg=0.05), initial_point=[0.4, -0.3])
    found = qaoa.compute_minimum_eigenvalue(bonds)
    beta, gamma = found.optimal_point
    cuts = large_graphs.one_layer_cuts(graph, -2 * gamma, beta)
    strings, chances = zip(*found.eigenstate.items(), strict=True)
    bits = np.array([[int(c) for c in string[::-1]] for string in strings])
    u, v = np.array(graph.edges).T
    frequencies = np.array(chances) @ (bits[:, u] != bits[:, v])
    errors = np.sqrt(cuts * (1 - cuts) / 2000)
    assert (np.abs(frequencies - cuts) <= NORMAL * errors + 10 / 2000).all()
    values = 48 - 2 * large_graphs.cut_sizes(graph, bits)
    assert found.best_measurement["value"].real <= values.min() + EXACT


# -- estimator -------------------------------------------------------------------------------------


def test_exact_values_of_any_kind_of_term() -> None:
    """Strings and projectors on all qubits, and a different observable at each point."""
    n = 100
    circuit, angles = products(n)
    z, x = np.cos(angles), np.sin(angles)
    observables = ["Z" * n, "X" * n, "0" * n, {"+" + "I" * (n - 2) + "1": 2.0}, ising(n)]
    expected = [
        z.prod(), x.prod(), ((1 + z) / 2).prod(), 2 * (1 + x[-1]) / 2 * (1 - z[0]) / 2,
        -(z[1:] * z[:-1]).sum() - x.sum(),
    ]  # fmt: skip
    data = BatchedStatevectorEstimator().run([(circuit, observables)]).result()[0].data
    np.testing.assert_allclose(data.evs, expected, atol=EXACT)
    assert not data.stds.any()


def test_a_different_observable_at_each_point() -> None:
    n = 100
    w = ParameterVector("w", 1)
    circuit = QuantumCircuit(n)
    circuit.ry(w[0], range(n))
    for q in range(n - 1):
        circuit.cz(q, q + 1)
    points = np.linspace(0.1, 1.0, 5)[:, None]
    observables = ["I" * q + "Z" + "I" * (n - 1 - q) for q in range(0, n, 20)]
    for precision in (0.0, 0.02):
        estimator = BatchedStatevectorEstimator(seed=1)
        data = estimator.run([(circuit, observables, points)], precision=precision).result()[0].data
        assert (np.abs(data.evs - np.cos(points[:, 0])) <= NORMAL * data.stds + EXACT).all()


def test_shots_of_an_entangled_chain_agree_with_exact_values() -> None:
    n = 100
    circuit = efficient_su2(n, reps=2, entanglement="linear")
    points = np.random.default_rng(2).uniform(-2, 2, (3, circuit.num_parameters))
    field = SparsePauliOp.from_sparse_list([("YX", [q, q + 1], 0.3) for q in range(n - 1)], n)
    pub = (circuit, [[ising(n)], [field]], points)
    exact, drawn = (
        BatchedStatevectorEstimator(seed=4).run([pub], precision=p).result()[0].data
        for p in (0.0, 0.02)
    )
    assert drawn.stds.min() > 0
    assert (np.abs(exact.evs - drawn.evs) <= NORMAL * drawn.stds).all()


def test_primitives_of_wide_circuits_travel() -> None:
    """Copies and pickles are as new: caches stay behind, seeds go along."""
    circuit, _ = products(70)
    circuit.measure_all()
    sampler = BatchedStatevectorSampler(seed=3)
    copies = [copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))]
    (first, *others) = (
        s.run([circuit], shots=50).result()[0].data.meas.array for s in (sampler, *copies)
    )
    for other in others:
        np.testing.assert_array_equal(first, other)


# -- sampler ---------------------------------------------------------------------------------------


def test_few_qubits_of_a_grid_are_drawn_by_their_light_cones() -> None:
    """Bonds of 2**12 between the columns of a grid are too wide; an edge's cone has eight qubits.

    Wang, Hadfield, Jiang, Rieffel, arXiv:1706.02998: without triangles the correlation of an edge
    whose ends have d and e further neighbours is -sin(4b) sin(g) (cos(g)**d + cos(g)**e) / 2 for
    exp(i g C), of which rzz(g) has the opposite sign.
    """
    side, gamma, beta = 12, 0.7, 0.3
    nodes = np.arange(side * side).reshape(side, side)
    circuit = QuantumCircuit(side * side, 2)
    circuit.h(range(side * side))
    for a, b in itertools.chain(
        zip(nodes[1:].flat, nodes[:-1].flat, strict=True),
        zip(nodes[:, 1:].flat, nodes[:, :-1].flat, strict=True),
    ):
        circuit.rzz(gamma, int(a), int(b))
    circuit.rx(2 * beta, range(side * side))
    circuit.measure([int(nodes[5, 5]), int(nodes[5, 6])], [0, 1])
    result = BatchedStatevectorSampler(seed=2).run([circuit], shots=20_000).result()[0]
    counts = result.data.c.get_int_counts()
    zz = np.sin(4 * beta) * np.sin(gamma) * np.cos(gamma) ** 3
    bits = np.repeat([[0, 0], [1, 0], [0, 1], [1, 1]], [counts.get(k, 0) for k in range(4)], axis=0)
    assert_distributed(bits, np.array([1 + zz, 1 - zz, 1 - zz, 1 + zz]) / 4)


# -- modules ---------------------------------------------------------------------------------------


def test_a_module_samples_qaoa_on_a_ring() -> None:
    n, gamma, beta = 120, 0.625, 0.375  # exact in single precision
    circuit = ring_of_qaoa(n, 1)
    bonds = SparsePauliOp.from_sparse_list([("ZZ", [q, (q + 1) % n], 1.0) for q in range(n)], n)
    weights = [{"g": gamma, "b": beta}[p.name[0]] for p in circuit.parameters]
    module = TorchQuantumModule(circuit, bonds, initial_weights=weights, seed=1).double()
    expected = np.sin(4 * beta) * np.sin(gamma) * np.cos(gamma)
    assert abs(module().item() - n * expected) <= EXACT * n
    signs = 1.0 - 2.0 * module.sample(shots=5000).bits.numpy()
    assert_means(signs * np.roll(signs, 1, axis=1), np.full(n, expected))


def test_a_module_trains_on_shots() -> None:
    """Values and gradients by parameter shift are within their errors of the exact ones."""
    n = 100
    w = ParameterVector("w", 3)
    circuit, _ = products(n)
    for k, q in enumerate((10, 50, 90)):
        circuit.ry(w[k], q)
    for q in range(n - 1):
        circuit.cz(q, q + 1)
    exact, drawn = (
        TorchQuantumModule(circuit, ising(n), initial_weights=[0.4, -0.9, 1.3], seed=1, shots=shots)
        for shots in (None, 2000)
    )
    exact().backward(), drawn().backward()
    assert abs(exact().item() - drawn().item()) <= NORMAL * drawn.last_stds.item()
    # A derivative is half a difference of two values, here of terms at five qubits.
    error = NORMAL * np.sqrt(0.5) * drawn.last_stds.item()
    assert (drawn.weight.grad - exact.weight.grad).abs().max() <= error


def test_a_module_measures_what_a_hundred_qubits_count_for() -> None:
    n = 100
    circuit, angles = products(n)
    circuit.ry(0.7, 99)
    angles[99] += 0.7
    parity = (1 + np.cos(angles).prod()) / 2

    def read(measurement: Probabilities, **options: int) -> np.ndarray:
        return TorchQuantumModule(circuit, measurement, **options).double()().detach().numpy()

    found = read(Probabilities(interpret="parity"))
    np.testing.assert_allclose(found, [parity, 1 - parity], atol=EXACT)
    one = (1 - np.cos(angles[[3, 99]])) / 2
    expected = np.outer([1 - one[1], one[1]], [1 - one[0], one[0]]).ravel()
    np.testing.assert_allclose(read(Probabilities([3, 99])), expected, atol=EXACT)
    drawn = read(Probabilities([3, 99]), shots=4000, seed=2)
    assert (np.abs(drawn - expected) <= NORMAL * np.sqrt(expected * (1 - expected) / 4000)).all()
    likely = TorchQuantumModule(circuit, "Z" * n).most_likely().numpy()
    np.testing.assert_array_equal(likely, angles > np.pi / 2)


@pytest.mark.parametrize("shots", [None, 200])
def test_the_likeliest_outcome_of_a_trained_chain(shots: int | None) -> None:
    """Near a classical state it is that state, by search and by shots."""
    circuit = efficient_su2(80, ["ry"], reps=2, entanglement="linear")
    weights = torch.full((circuit.num_parameters,), 0.02)
    weights[-80::2] += torch.pi
    module = TorchQuantumModule(circuit, "Z" * 80, initial_weights=weights, seed=1)
    assert module.most_likely(shots=shots).tolist() == [1, 0] * 40


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_trained_here_and_evaluated_on_a_device_of_127_qubits() -> None:
    """What is trained on 60 qubits has the same energy there, and as a transpiled circuit here."""
    provider = pytest.importorskip("qiskit_ibm_runtime.fake_provider")
    aer = pytest.importorskip("qiskit_aer")
    n, shots = 60, 2000
    circuit = efficient_su2(n, ["ry"], reps=1, entanglement="linear")
    module = TorchQuantumModule(circuit, ising(n), seed=1).double()
    with torch.no_grad():
        module.weight.copy_(torch.linspace(0.1, 0.6, 2 * n))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        module().sum().backward()
        optimizer.step()
    energy = module().item()
    assert ising_energy(n) < energy < -n
    # Without noise, and as matrix products: a state vector of 60 qubits does not fit there either.
    device = aer.AerSimulator.from_backend(
        provider.FakeSherbrooke(), method="matrix_product_state", noise_model=None
    )
    there = module.with_backend(device, shots=shots, seed=2)
    assert there.isa_circuit.num_qubits == 127
    assert abs(there().item() - energy) <= NORMAL * there.last_stds.item()
    terms = [SparsePauliOp.from_sparse_list([("ZZ", [q, q + 1], 1.0)], n) for q in range(n - 1)]
    bonds = TorchQuantumModule(circuit, terms, initial_weights=module.weight.detach())
    signs = 1.0 - 2.0 * there.sample(shots=shots).bits.numpy()
    assert_means(signs[:, 1:] * signs[:, :-1], bonds().detach().numpy())
    weight_of = dict(zip(module.program.weight_params, module.weight.tolist(), strict=True))
    order = TorchQuantumModule(there.isa_circuit, ising(n), seed=1).program.weight_params
    weights = torch.tensor([weight_of[p] for p in order], dtype=torch.float64)
    transpiled = TorchQuantumModule(there.isa_circuit, ising(n), initial_weights=weights)
    assert abs(transpiled().item() - energy) <= EXACT
