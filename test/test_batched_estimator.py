# SPDX-License-Identifier: Apache-2.0
"""The default estimator without noise: any circuit, any observables, broadcast as Qiskit does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import CONTRACT, hybrid, layered
from hypothesis import given
from hypothesis import strategies as st
from qiskit import transpile
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, StatePreparation, UnitaryGate, efficient_su2
from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator, Pauli, PauliList, SparsePauliOp, random_unitary
from reference import expectations
from strategies import cases

from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

EXACT = 1e-10
LABELS = ["ZI", "XX", "YZ", "IX", "YY", "IZ"]
OPERATORS = [
    SparsePauliOp([label, LABELS[-1 - k]], [0.5 + k, -0.25]) for k, label in enumerate(LABELS)
]
VALUES = np.random.default_rng(3).uniform(-3, 3, (2, 3, 4, 5))


def evs(*pub, **options):
    return BatchedStatevectorEstimator(**options).run([pub]).result()[0].data.evs


def nested(shape):
    """Observables of a shape, different ones next to each other and some of them twice."""
    array = np.empty(int(np.prod(shape)), dtype=object)
    array[:] = [OPERATORS[k % len(OPERATORS)] for k in range(len(array))]
    return array.reshape(shape).tolist() if shape else array[0]


SHAPES = [
    ((), ()),
    ((), (4,)),
    ((2,), ()),
    ((3,), (3,)),
    ((2, 1), (3,)),
    ((3, 1), (3,)),
    ((1, 4), (3, 1)),
    ((2, 3), (2, 3)),
    ((4,), (2, 3, 1)),
    ((2, 1, 1), (3, 4)),
    ((2, 3, 4), (2, 3, 4)),
    ((1,), (1,)),
    ((1, 1), ()),
    ((7, 1), (1, 2)),
    ((2, 2), (2,)),
    ((3, 2), (1, 2)),
]


@pytest.mark.parametrize(("observables_shape", "points_shape"), SHAPES)
def test_broadcasting_is_qiskits(observables_shape, points_shape):
    count = int(np.prod(points_shape))
    values = VALUES.reshape(-1, 5)[:count].reshape(*points_shape, 5)
    pub = (hybrid(), nested(observables_shape), values)
    ours = BatchedStatevectorEstimator().run([pub, pub]).result()
    theirs = StatevectorEstimator().run([pub]).result()[0].data.evs
    assert len(ours) == 2
    for result in ours:
        assert result.data.evs.shape == result.data.shape == np.shape(theirs)
        assert result.data.stds.shape == np.shape(theirs)
        assert not result.data.stds.any()
        np.testing.assert_allclose(result.data.evs, theirs, rtol=0, atol=EXACT)


@st.composite
def broadcastable(draw):
    """Two shapes that broadcast against each other, sizes of zero among them."""
    result = draw(st.lists(st.integers(0, 3), max_size=3))

    def part():
        kept = result[draw(st.integers(0, len(result))) :]
        return tuple(draw(st.sampled_from([1, size])) for size in kept)

    return part(), part()


@given(broadcastable(), st.integers(0, 2**32 - 1))
def test_any_shapes_broadcast_as_qiskits(shapes, seed):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(OPERATORS), shapes[0])
    observables = np.empty(index.shape, dtype=object)
    for at in np.ndindex(*index.shape):
        observables[at] = OPERATORS[index[at]]
    values = rng.uniform(-3, 3, (*shapes[1], 5))
    pub = (hybrid(), ObservablesArray(observables), values)
    ours = BatchedStatevectorEstimator().run([pub]).result()[0].data.evs
    theirs = StatevectorEstimator().run([pub]).result()[0].data.evs
    assert ours.shape == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=EXACT)


@given(cases(batch=(3,)))
def test_any_circuit_agrees_with_dense_matrices(case):
    expected = expectations(case.circuit, case.observables, case.parameters, case.values)
    bindings = {case.parameters: case.values.numpy()} if case.parameters else None
    column = [[operator] for operator in case.observables]
    found = evs(case.circuit, column, bindings)
    expected = expected.numpy().T[:, : found.shape[1]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize(("dtype", "tolerance"), [("complex128", EXACT), ("complex64", 1e-5)])
def test_number_formats(name, dtype, tolerance):
    pub = (CONTRACT[name](), [["ZZ"], ["XY"]], VALUES[0, 0])
    theirs = StatevectorEstimator().run([pub]).result()[0].data.evs
    np.testing.assert_allclose(evs(*pub, dtype=dtype), theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("projector", "matrix"),
    [
        ("0", [[1, 0], [0, 0]]),
        ("1", [[0, 0], [0, 1]]),
        ("+", [[0.5, 0.5], [0.5, 0.5]]),
        ("-", [[0.5, -0.5], [-0.5, 0.5]]),
        ("r", [[0.5, -0.5j], [0.5j, 0.5]]),
        ("l", [[0.5, 0.5j], [-0.5j, 0.5]]),
    ],
)
def test_projectors(projector, matrix):
    """Qiskit's observables may name projectors, alone or among the letters of a sum."""
    operator = SparsePauliOp.from_operator(Operator(np.kron(np.diag([1, -1]), matrix)))
    expected = expectations(
        hybrid(), [operator], hybrid().parameters, torch.tensor(VALUES[0, 0])
    ).numpy()
    found = evs(hybrid(), [["Z" + projector], [{"Z" + projector: 2.0, "II": 1.0}]], VALUES[0, 0])
    np.testing.assert_allclose(found, [expected[:, 0], 2 * expected[:, 0] + 1], rtol=0, atol=EXACT)


def test_every_form_of_a_pub():
    circuit, points = hybrid(), VALUES[0, 0]
    names = list(circuit.parameters)
    array = ObservablesArray.coerce(["ZI", "XX", "YY", "IZ"])
    bindings = BindingsArray({tuple(names): points})
    backwards = {p: points[:, k] for k, p in reversed(list(enumerate(names)))}
    pubs = [
        (circuit, array, points),
        [circuit, array, points.tolist()],
        (circuit, ["ZI", Pauli("XX"), SparsePauliOp("YY"), {"IZ": 1.0}], points),
        (circuit, ["ZI", Pauli("-XX"), -SparsePauliOp("YY"), {Pauli("IZ"): 1.0}], points),
        (circuit, PauliList(["ZI", "XX", "YY", "IZ"]), points),
        (circuit, array, bindings),
        (circuit, array, backwards),
        (circuit, array, {(names[4], *names[:4]): np.roll(points, 1, axis=1)}),
        (circuit, array, {tuple(p.name for p in names): points}, 0.0),
        EstimatorPub.coerce((circuit, array, points)),
    ]
    results = BatchedStatevectorEstimator().run(iter(pubs)).result()
    expected = StatevectorEstimator().run(pubs[:1]).result()[0].data.evs
    for number, result in enumerate(results):
        signs = [1, -1, -1, 1] if number == 3 else 1
        np.testing.assert_allclose(result.data.evs, expected * signs, rtol=0, atol=EXACT)


def test_circuits_without_parameters():
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    np.testing.assert_allclose(evs(bell, [["ZZ"], ["ZI"]]), [[1.0], [0.0]], rtol=0, atol=EXACT)
    np.testing.assert_allclose(evs(bell, "XX", np.zeros((3, 0))), 1.0, rtol=0, atol=EXACT)
    np.testing.assert_allclose(evs(QuantumCircuit(1), "Z"), 1.0)
    assert evs(bell, "ZZ").shape == ()


@pytest.mark.parametrize("precision", [0.0, 0.1])
@pytest.mark.parametrize(
    ("observables", "shape", "expected"),
    [("ZZ", (0,), (0,)), ([["ZZ"], ["XX"]], (0,), (2, 0)), ([], (), (0,)), ("ZZ", (3, 0), (3, 0))],
)
def test_nothing_to_evaluate(observables, shape, expected, precision):
    pub = (hybrid(), observables, np.zeros((*shape, 5)), precision)
    result = BatchedStatevectorEstimator().run([pub]).result()[0]
    assert result.data.evs.shape == result.data.stds.shape == expected
    assert not len(BatchedStatevectorEstimator().run([]).result())


def test_library_blocks_matrices_and_preparations():
    x = ParameterVector("x", 2)
    circuit = QuantumCircuit(3)
    circuit.append(StatePreparation([0.6, 0, 0, 0.8j]), [2, 0])
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XXI", "ZZI"], [0.3, 1.0]), x[0]), [0, 1, 2])
    circuit.append(UnitaryGate(random_unitary(4, seed=5)), [1, 2])
    circuit.compose(efficient_su2(3, reps=1).assign_parameters(np.arange(12) / 5), inplace=True)
    circuit.append(efficient_su2(1, reps=0).to_gate().control(1), [2, 0])
    values = np.random.default_rng(0).uniform(-3, 3, (4, circuit.num_parameters))
    pub = (circuit, [["XYZ"], ["ZIX"]], values)
    theirs = StatevectorEstimator().run([pub]).result()[0].data.evs
    np.testing.assert_allclose(evs(*pub), theirs, rtol=0, atol=EXACT)


def test_a_transpiled_circuit_with_idle_qubits():
    """Four of 127 qubits are simulated; of the others Z is one, and X and Y are zero."""
    logical, _, _ = layered(4, 1)
    backend = GenericBackendV2(127, coupling_map=[[q, q + 1] for q in range(126)], seed=1)
    circuit = transpile(logical, backend, initial_layout=[60, 61, 62, 63], seed_transpiler=1)
    operator = SparsePauliOp(["ZXIY", "IIZZ"], [0.5, 2.0])
    idle = SparsePauliOp.from_sparse_list([("Z", [5], 1.0), ("XX", [5, 60], 3.0)], 127)
    values = np.random.default_rng(0).uniform(-3, 3, (5, 12))
    found = evs(circuit, [[operator.apply_layout(circuit.layout)], [idle]], values)
    theirs = StatevectorEstimator().run([(logical, operator, values)]).result()[0].data.evs
    np.testing.assert_allclose(found, [theirs, np.ones(5)], rtol=0, atol=EXACT)
    pub = (circuit, [[operator.apply_layout(circuit.layout)], [idle]], values, 0.01)
    noisy = BatchedStatevectorEstimator(seed=1).run([pub]).result()[0].data
    assert np.abs((noisy.evs - found) / noisy.stds).max() < 5.3  # 1e-6 for ten numbers


def test_it_says_what_it_did():
    circuit = hybrid()
    circuit.metadata = {"name": "mine"}
    estimator = BatchedStatevectorEstimator(default_precision=0.1)
    pubs = [(circuit, "ZZ", VALUES[0, 0], 0.25), (circuit, "ZZ", VALUES[0, 0])]
    result = estimator.run([*pubs, (circuit, "ZZ", VALUES[0, 0], 0.0)], precision=0.3).result()
    assert result.metadata == {"version": 2}
    found = [(r.metadata["target_precision"], r.metadata["shots"]) for r in result]
    assert found == [(0.25, 16), (0.3, 12), (0.0, 0)]
    assert [r.metadata["mode"] for r in result] == ["shots", "shots", "exact"]
    assert result[0].metadata["circuit_metadata"] == {"name": "mine"}
    assert estimator.run(pubs).result()[1].metadata["shots"] == 100
    gaussian = BatchedStatevectorEstimator(noise="gaussian").run(pubs, precision=0.1).result()
    assert [r.metadata["mode"] for r in gaussian] == ["gaussian"] * 2
    assert not any(r.metadata["shots"] for r in gaussian)


def test_a_backend_has_as_many_shots():
    backend = BackendEstimatorV2(backend=GenericBackendV2(2, seed=1))
    pub = (hybrid().assign_parameters(VALUES[0, 0, 0]), "ZZ")
    theirs = backend.run([pub], precision=0.03).result()[0].metadata
    ours = BatchedStatevectorEstimator().run([pub], precision=0.03).result()[0].metadata
    assert {key: ours[key] for key in theirs} == theirs
