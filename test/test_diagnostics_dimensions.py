# SPDX-License-Identifier: Apache-2.0
"""Effective dimensions, ranks of metrics, and Lie algebras: closed forms and other programs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate
from qiskit.quantum_info import Operator, Pauli, SparsePauliOp, random_unitary
from torch import nn

from qiskit_torch_bridge import AnalysedCircuit, Probabilities, TorchQuantumModule
from qiskit_torch_bridge.diagnostics import (
    effective_dimension,
    lie_algebra_dimension,
    parameter_dimension,
)
from qiskit_torch_bridge.diagnostics.lie_algebra import _find_generators, _matrix
from qiskit_torch_bridge.exceptions import CircuitError, InputError, MemoryLimitError
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler


def turned(n: int, repeats: int = 1) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    for k, angle in enumerate(ParameterVector("w", n * repeats)):
        circuit.ry(angle, k % n)
    return circuit


def layered(n: int, layers: int, letters: str = "yz") -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    angles = iter(ParameterVector("w", len(letters) * n * layers))
    for _ in range(layers):
        for letter, q in itertools.product(letters, range(n)):
            getattr(circuit, f"r{letter}")(next(angles), q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
    return circuit


# -- effective dimension -------------------------------------------------------------------------

SIZES = [100, 10_000, 10**8]


def kappa(n: int) -> float:
    return n / (2 * math.pi * math.log(n))


@pytest.mark.parametrize("n", [1, 3])
def test_independent_angles_have_unit_information(n):
    found = effective_dimension(
        TorchQuantumModule(turned(n), Probabilities()), sizes=SIZES, samples=5, seed=1
    )
    exact = [n * math.log(1 + kappa(s)) / math.log(kappa(s)) for s in SIZES]
    assert found.dimensions == pytest.approx(exact, rel=1e-10)
    assert found.mean_trace == pytest.approx(n, rel=1e-10)
    assert found.errors == pytest.approx([0, 0, 0], abs=1e-8)
    assert found.fisher == pytest.approx(np.broadcast_to(np.eye(n), (5, n, n)), abs=1e-9)


def test_redundant_angles_count_once():
    module = TorchQuantumModule(turned(1, 3), Probabilities())
    found = effective_dimension(module, sizes=SIZES, samples=3, seed=2)
    exact = [math.log(1 + 3 * kappa(s)) / math.log(kappa(s)) for s in SIZES]
    assert found.dimensions == pytest.approx(exact, rel=1e-9)
    assert found.normalised == pytest.approx(np.array(exact) / 3, rel=1e-9)


def test_gamma_is_a_factor_of_the_data():
    module = TorchQuantumModule(turned(1), Probabilities())
    found = effective_dimension(module, sizes=10_000, samples=2, gamma=0.3)
    exact = math.log(1 + 0.3 * kappa(10_000)) / math.log(0.3 * kappa(10_000))
    assert found.dimensions == pytest.approx([exact], rel=1e-10)


def reuploading() -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    x, w = ParameterVector("x", 2), ParameterVector("w", 6)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.h(q)
        circuit.rz(x[q], q)
        circuit.ry(w[q], q)
    circuit.cx(0, 1)
    for q in range(2):
        circuit.ry(w[2 + q], q)
        circuit.rx(w[4 + q], q)
    return circuit, x, w


def test_it_is_that_of_qiskit_machine_learning():
    learning = pytest.importorskip("qiskit_machine_learning.neural_networks")

    circuit, x, w = reuploading()
    generator = np.random.default_rng(1)
    inputs, weights = generator.normal(size=(3, 2)), generator.uniform(0, 6, (4, 6))
    module = TorchQuantumModule(circuit, Probabilities(), input_params=x, weight_params=w)

    class Exact(learning.NeuralNetwork):
        """A network with the module's numbers, so that only the formula is compared."""

        def __init__(self) -> None:
            super().__init__(2, 6, sparse=False, output_shape=4, input_gradients=False)

        def _forward(self, input_data, weights):
            with torch.no_grad():
                module.weight.data = torch.from_numpy(np.asarray(weights, dtype=float))
                return module(torch.from_numpy(input_data)).numpy()

        def _backward(self, input_data, weights):
            def outputs(flat):
                given = {"weight": flat}
                return torch.func.functional_call(module, given, (torch.from_numpy(input_data),))

            flat = torch.from_numpy(np.asarray(weights, dtype=float))
            return None, torch.func.jacrev(outputs)(flat).numpy()

    theirs = learning.EffectiveDimension(Exact(), weight_samples=weights, input_samples=inputs)
    expected = theirs.get_effective_dimension(SIZES)
    found = effective_dimension(
        module,
        torch.from_numpy(inputs),
        SIZES,
        samples=4,
        draw=lambda generator, shape: weights,
    )
    assert found.dimensions == pytest.approx(expected, rel=1e-9)


def test_fisher_matrices_are_those_of_differences():
    circuit, x, w = reuploading()
    node = TorchQuantumModule(circuit, input_params=x, weight_params=w, seed=1)
    torch.manual_seed(0)
    model = nn.Sequential(node, nn.Linear(2, 3), nn.Softmax(-1)).double()
    data = torch.randn(4, 2, dtype=torch.float64)
    points = np.random.default_rng(0).uniform(-1, 1, (2, 15))
    found = effective_dimension(model, data, 1000, samples=2, draw=lambda generator, shape: points)

    def probabilities(flat):
        torch.nn.utils.vector_to_parameters(torch.from_numpy(flat), model.parameters())
        return model(data).detach().numpy()

    step, matrices = 1e-5, []
    for point in points:
        p = probabilities(point)
        slopes = np.stack(
            [
                (probabilities(point + step * e) - probabilities(point - step * e)) / (2 * step)
                for e in np.eye(15)
            ]
        )
        matrices.append(np.einsum("iby,jby,by->ij", slopes, slopes, 1 / p) / 4)
    exact = np.stack(matrices)
    assert found.mean_trace == pytest.approx(np.trace(exact, axis1=1, axis2=2).mean(), rel=1e-7)
    assert found.fisher * found.mean_trace / 15 == pytest.approx(exact, abs=1e-8)


def test_probabilities_from_a_sampler_will_do():
    module = TorchQuantumModule(
        turned(1), Probabilities(), estimator=BatchedStatevectorSampler(seed=1), shots=10**6
    )
    found = effective_dimension(
        module, sizes=1000, samples=4, draw=lambda generator, shape: np.full(shape, 1.1)
    )
    # A derivative has a relative standard error of 8e-4, its square twice that, 1 / p about as
    # much; of four points that is 1e-3.
    assert found.mean_trace == pytest.approx(1, abs=5e-3)


def test_errors_are_those_of_repetitions():
    circuit, x, w = reuploading()
    module = TorchQuantumModule(circuit, Probabilities(), input_params=x, weight_params=w)
    data = torch.zeros(1, 2, dtype=torch.float64)
    many = [effective_dimension(module, data, 10_000, samples=40, seed=k) for k in range(60)]
    values = np.array([f.dimensions[0] for f in many])
    errors = np.mean([f.errors[0] for f in many])
    assert errors == pytest.approx(values.std(ddof=1), rel=0.37)  # 4 / sqrt(2 * 60)


def test_models_that_give_no_probabilities_are_refused():
    with pytest.raises(InputError, match="sum to one"):
        effective_dimension(TorchQuantumModule(turned(2)))
    with pytest.raises(InputError, match="above one"):
        effective_dimension(TorchQuantumModule(turned(1), Probabilities()), sizes=[10])
    circuit = QuantumCircuit(1)
    circuit.rz(Parameter("w"), 0)
    with pytest.raises(InputError, match="depend on the parameters"):
        effective_dimension(TorchQuantumModule(circuit, Probabilities()))


# -- rank of the metric --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("circuit", "rank"),
    [
        (turned(3), 3),
        (turned(2, 4), 2),
        (layered(1, 4), 2),  # all states of a qubit
        (layered(2, 6), 6),  # 2 * 2**n - 2
        (layered(3, 8), 14),
        (layered(3, 8, "y"), 7),  # real states: 2**n - 1
    ],
)
def test_ranks_are_those_of_the_states_that_can_be_reached(circuit, rank):
    found = parameter_dimension(circuit, seed=1)
    assert found.dimension == rank
    assert found.most == 2 * 2**circuit.num_qubits - 2
    assert found.is_redundant == (circuit.num_parameters > rank)
    assert (found.ranks <= rank).all()


def test_circuits_that_do_nothing_have_rank_zero():
    circuit = QuantumCircuit(1)
    circuit.rz(Parameter("w"), 0)
    found = parameter_dimension(circuit, seed=1)
    assert found.dimension == 0 and found.is_redundant
    assert found.plot() is not None
    with pytest.raises(InputError, match="parameters"):
        parameter_dimension(QuantumCircuit(1))


# -- Lie algebras --------------------------------------------------------------------------------


def hamiltonian_circuit(n: int, sums: list[list[tuple[str, list[int]]]]) -> QuantumCircuit:
    """Evolutions by sums of strings, one parameter for each sum."""
    circuit = QuantumCircuit(n)
    for k, terms in enumerate(sums):
        operator = SparsePauliOp.from_sparse_list([(p, q, 1.0) for p, q in terms], n)
        circuit.append(PauliEvolutionGate(operator, Parameter(f"t{k}")), range(n))
    return circuit


def bonds(n: int, letters: str, closed: bool = False) -> list[tuple[str, list[int]]]:
    return [(letters, [q, (q + 1) % n]) for q in range(n if closed else n - 1)]


def sites(n: int, letter: str) -> list[tuple[str, list[int]]]:
    return [(letter, [q]) for q in range(n)]


def free(*sums: list[tuple[str, list[int]]]) -> list[list[tuple[str, list[int]]]]:
    return [[term] for terms in sums for term in terms]


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_spin_chains_have_their_known_algebras(n):
    def dimension(sums):
        return lie_algebra_dimension(hamiltonian_circuit(n, sums)).dimension

    # The Ising chain in a transverse field: so(2n) with all terms free, twice that on a ring.
    assert dimension(free(bonds(n, "ZZ"), sites(n, "X"))) == n * (2 * n - 1)
    assert dimension(free(bonds(n, "ZZ", True), sites(n, "X"))) == 2 * n * (2 * n - 1)
    # The same with one angle for each sum, as in QAOA on a path and on a cycle.
    assert dimension([bonds(n, "ZZ"), sites(n, "X")]) == n**2
    assert dimension([bonds(n, "ZZ", True), sites(n, "X")]) == 3 * n - 1
    # XY chains: two copies of so(n); one letter for each: so(n).
    assert dimension(free(bonds(n, "XX"), bonds(n, "YY"))) == n * (n - 1)
    assert dimension(free(bonds(n, "XY"))) == n * (n - 1) // 2
    # Terms that commute span what there is.
    assert dimension(free(bonds(n, "ZZ"), sites(n, "Z"))) == 2 * n - 1


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_heisenberg_chain_has_its_symmetric_blocks(n):
    # R. Wiersema et al. (2024): all products of X and all of Z commute with the terms. For even n
    # they commute with each other, and there are four copies of su(2**(n - 2)); for odd n they do
    # not, and there is one su(2**(n - 1)).
    found = lie_algebra_dimension(hamiltonian_circuit(n, free(*(bonds(n, 2 * p) for p in "XYZ"))))
    assert found.dimension == (4 ** (n - 1) - 1 if n % 2 else 4 * (4 ** (n - 2) - 1))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_hardware_efficient_circuits_have_all_of_it(n):
    found = lie_algebra_dimension(layered(n, 8))
    assert found.dimension == found.full == 4**n - 1
    assert found.is_full


def test_real_rotations_have_the_orthogonal_algebra():
    for n in (2, 3, 4):  # RY and CX are real: so(2**n)
        size = 2**n
        assert lie_algebra_dimension(layered(n, 10, "y")).dimension == size * (size - 1) // 2


def test_signs_of_commutators_cancel_what_they_should():
    # Hopping between two sites and their detuning: an su(2), since XY + YX does not occur.
    operators = SparsePauliOp(["XX", "YY"]), SparsePauliOp(["ZI", "IZ"], [1.0, -1.0])
    circuit = QuantumCircuit(2)
    for k, operator in enumerate(operators):
        circuit.append(PauliEvolutionGate(operator, Parameter(f"t{k}")), [0, 1])
    assert lie_algebra_dimension(circuit).dimension == 3
    # Total spins of five qubits.
    spins = [sites(5, letter) for letter in "XYZ"]
    assert lie_algebra_dimension(hamiltonian_circuit(5, spins[:2])).dimension == 3
    # The mixer and the cost of a complete graph are symmetric in all qubits, for which there are
    # (n + 1)(n + 2)(n + 3) / 6 operators, and they conserve the product of X.
    pairs = [("ZZ", [i, j]) for i, j in itertools.combinations(range(4), 2)]
    matrices = [
        SparsePauliOp.from_sparse_list([(p, q, 1.0) for p, q in terms], 4).to_matrix()
        for terms in (pairs, sites(4, "X"))
    ]
    found = lie_algebra_dimension(hamiltonian_circuit(4, [pairs, sites(4, "X")]))
    assert found.dimension == brute_force(matrices)


def brute_force(generators: list[np.ndarray], small: float = 1e-8) -> int:
    """The dimension by matrices, whatever they are."""
    basis: list[np.ndarray] = []

    def add(matrix: np.ndarray) -> bool:
        vector = np.concatenate([matrix.real.ravel(), matrix.imag.ravel()])
        norm = np.linalg.norm(vector)
        if norm < small / 10:
            return False
        vector = vector / norm
        for _ in range(2):
            for b in basis:
                vector = vector - (b @ vector) * b
        if np.linalg.norm(vector) < small:
            return False
        basis.append(vector / np.linalg.norm(vector))
        return True

    traceless = [
        1j * (g - np.trace(g) / len(g) * np.eye(len(g))) / np.linalg.norm(g) for g in generators
    ]
    waiting = [g for g in traceless if add(g)]
    while waiting:
        element = waiting.pop()
        for g in traceless:
            product = element @ g - g @ element
            norm = np.linalg.norm(product)
            if norm > small and add(product / norm):
                waiting.append(product / norm)
    return len(basis)


@pytest.mark.parametrize("seed", range(6))
def test_random_sums_are_counted_as_matrices_are(seed):
    generator = np.random.default_rng(seed)
    n = int(generator.integers(2, 4))
    operators = []
    circuit = QuantumCircuit(n)
    for k in range(2):
        letters = ["".join(generator.choice(list("IXZ"), n)) for _ in range(2)]
        while "".join(letters[0]) == letters[1] or not Pauli(letters[0]).commutes(
            Pauli(letters[1])
        ):
            letters = ["".join(generator.choice(list("IXZ"), n)) for _ in range(2)]
        operator = SparsePauliOp(letters, generator.normal(size=2))
        operators.append(operator.to_matrix())
        circuit.append(PauliEvolutionGate(operator, Parameter(f"t{k}")), range(n))
    try:
        found = lie_algebra_dimension(circuit).dimension
    except CircuitError:
        found = 0
    assert found == brute_force(operators)


def conjugated(circuit: QuantumCircuit) -> list[np.ndarray]:
    """What each rotation of a circuit is about, with the fixed gates before it, as matrices."""
    before, found = QuantumCircuit(circuit.num_qubits), []
    for instruction in circuit.data:
        operation = instruction.operation
        places = [circuit.find_bit(q).index for q in instruction.qubits]
        if any(isinstance(p, Parameter) for p in operation.params):
            letters = operation.name.removeprefix("r").upper()
            term = SparsePauliOp.from_sparse_list([(letters, places, 1.0)], circuit.num_qubits)
            u = Operator(before).data
            found.append(u.conj().T @ term.to_matrix() @ u)
        else:
            before.append(operation, places)
    return found


def fixed_and_free() -> QuantumCircuit:
    first, second = UnitaryGate(random_unitary(4, seed=1)), UnitaryGate(random_unitary(2, seed=2))
    circuit = QuantumCircuit(3)
    circuit.rx(Parameter("a"), 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.append(first, [2, 0])
    circuit.t(1)
    circuit.sx(0)
    circuit.rzz(Parameter("b"), 0, 1)
    circuit.append(second, [2])
    circuit.ry(0.3, 0)
    circuit.rxx(-0.4, 1, 2)
    circuit.ry(Parameter("c"), 2)
    return circuit


def test_fixed_gates_are_conjugated_in():
    circuit = fixed_and_free()
    operators, num_qubits = _find_generators(AnalysedCircuit(circuit))
    assert num_qubits == 3
    for operator, exact in zip(operators, conjugated(circuit), strict=True):
        matrix = sum(c * _matrix(x, z, 3) for (x, z), c in operator.items())
        assert matrix == pytest.approx(exact, abs=1e-12)  # strings have norm one both ways

    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("a"), 0)
    circuit.append(UnitaryGate(random_unitary(4, seed=1)), [0, 1])
    circuit.rzz(Parameter("b"), 0, 1)
    circuit.t(1)
    circuit.ry(Parameter("c"), 1)
    assert lie_algebra_dimension(circuit).dimension == brute_force(conjugated(circuit))

    circuit = QuantumCircuit(1)  # T is no Clifford gate
    circuit.rx(Parameter("a"), 0)
    circuit.t(0)
    circuit.rx(Parameter("b"), 0)
    assert lie_algebra_dimension(circuit).dimension == 3


def test_one_parameter_is_one_generator_where_its_gates_commute():
    a, b = Parameter("a"), Parameter("b")
    together = QuantumCircuit(2)
    together.rx(a, 0)
    together.rx(2 * a, 1)
    assert lie_algebra_dimension(together).dimension == 1
    apart = QuantumCircuit(2)
    apart.rx(a, 0)
    apart.rz(b, 0)
    apart.rx(a, 1)  # commutes with all before: moved to the first
    found = lie_algebra_dimension(apart)
    assert (found.generators, found.dimension) == (2, 3 + 1)
    parted = QuantumCircuit(2)
    parted.rx(a, 0)
    parted.rz(b, 0)
    parted.rxx(a, 0, 1)  # cannot be moved to the first
    assert lie_algebra_dimension(parted).dimension == 6
    turned_twice = QuantumCircuit(1)
    turned_twice.rx(a, 0)
    turned_twice.rz(a, 0)  # nor this one
    assert lie_algebra_dimension(turned_twice).dimension == 3
    between = QuantumCircuit(1)
    between.rx(a, 0)
    between.rz(b, 0)
    between.rx(a, 0)
    assert lie_algebra_dimension(between).generators == 2  # the same generator twice
    both = QuantumCircuit(2)
    both.rx(a + b, 0)
    both.rx(a - b, 1)
    assert lie_algebra_dimension(both).dimension == 2
    curved = QuantumCircuit(2)
    curved.rx(a * b, 0)
    curved.rx(a, 1)
    assert lie_algebra_dimension(curved).dimension == 2


def test_limits_are_told():
    with pytest.raises(MemoryLimitError, match="limit=10"):
        lie_algebra_dimension(layered(3, 3), limit=10)
    with pytest.raises(CircuitError, match="parameterized"):
        lie_algebra_dimension(QuantumCircuit(2))
    assert lie_algebra_dimension(layered(7, 4, "yz"), limit=1 << 14).dimension == 4**7 - 1
    assert lie_algebra_dimension(layered(2, 3)).plot().get_yscale() == "log"
