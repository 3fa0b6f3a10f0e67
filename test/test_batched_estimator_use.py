# SPDX-License-Identifier: Apache-2.0
"""The default estimator in use: little work, shared by threads, in others' algorithms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from circuits import hybrid, layered
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate, efficient_su2
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE, AdaptVQE, NumPyMinimumEigensolver
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient
from qiskit_algorithms.optimizers import COBYLA, GradientDescent

from qiskit_torch_bridge.lru_cache import LRUCache
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    simulation,
)
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

H2 = SparsePauliOp(
    ["II", "IZ", "ZI", "ZZ", "XX"], [-1.052373, 0.397937, -0.397937, -0.011280, 0.180931]
)
VALUES = np.random.default_rng(1).uniform(-3, 3, (12, 5))
OPERATORS = [SparsePauliOp(["ZI", "XY"], [1.0, 0.1 * k]) for k in range(1, 13)]


class Work:
    """Counts what is compiled, by whatever method, and for how many points it is asked."""

    def __init__(self, monkeypatch):
        self.made = self.evaluated = self.prepared = 0
        for maker, method, count in (
            ("make_simulator", "evaluate_separately", "evaluated"),
            ("make_state_source", "prepare", "prepared"),
        ):
            counting = self._counting(getattr(simulation, maker), method, count)
            monkeypatch.setattr(simulation, maker, counting)

    def _counting(self, make, method, count):
        def made(*args):
            self.made += 1
            simulator = make(*args)
            run = getattr(simulator, method)

            def counted(values, *rest):
                setattr(self, count, getattr(self, count) + len(values))
                return run(values, *rest)

            setattr(simulator, method, counted)
            return simulator

        return made


@pytest.fixture
def work(monkeypatch):
    return Work(monkeypatch)


def run(estimator, *pub, precision=None):
    return estimator.run([pub], precision=precision).result()[0].data.evs


def test_all_observables_are_taken_in_one_simulation(work):
    estimator = BatchedStatevectorEstimator()
    for _ in range(3):
        run(estimator, hybrid(), [[o] for o in OPERATORS], VALUES)
        run(estimator, hybrid(), OPERATORS[:1], VALUES)
    assert (work.made, work.evaluated, work.prepared) == (2, 3 * 24, 0)


def test_shots_of_all_observables_come_from_one_state(work):
    estimator = BatchedStatevectorEstimator(seed=1)
    values = VALUES.repeat(4, 0)  # more points than are handled side by side
    for _ in range(3):
        run(estimator, hybrid(), [["ZI"], ["XX"], ["YY"]], values, precision=0.1)
        run(estimator, hybrid(), [["ZZ"], ["YY"]], values, precision=0.1)
    assert (work.made, work.evaluated, work.prepared) == (1, 0, 6 * 48)


def test_a_paired_pub_compiles_once_where_that_is_cheaper(work):
    """Small circuits take all observables everywhere, large ones what is asked for."""
    estimator = BatchedStatevectorEstimator()
    run(estimator, hybrid(), OPERATORS, VALUES)
    assert (work.made, work.evaluated) == (1, 12)
    circuit, _, _ = layered(14, 1)
    values = np.random.default_rng(0).uniform(-3, 3, (40, circuit.num_parameters))
    rng = np.random.default_rng(0)
    first, second = (
        SparsePauliOp(["".join(row) for row in rng.choice(list("XYZ"), (500, 14))])
        for _ in range(2)
    )
    found = run(estimator, circuit, [first] * 20 + [second] * 20, values)
    assert (work.made, work.evaluated) == (3, 12 + 40)
    column = run(estimator, circuit, [[first], [second]], values)
    np.testing.assert_allclose(
        found, np.concatenate([column[0, :20], column[1, 20:]]), rtol=0, atol=1e-10
    )


def test_equal_circuits_and_observables_are_compiled_once(work):
    estimator = BatchedStatevectorEstimator()
    circuit = hybrid()
    circuit.append(UnitaryGate(np.eye(4)), [0, 1])  # a new object at every access to it
    for k in range(3):
        operator = SparsePauliOp(["ZZ", "XX"], [1.0, 0.5])
        run(estimator, circuit.copy(), operator, VALUES + k)
    assert work.made == 1
    operator.coeffs[1] = 2.0
    circuit.x(0)
    for made in (2, 2):
        run(estimator, circuit, operator, VALUES)
        assert work.made == made
    theirs = StatevectorEstimator().run([(circuit, operator, VALUES)]).result()[0].data.evs
    np.testing.assert_allclose(run(estimator, circuit, operator, VALUES), theirs, atol=1e-10)


def test_what_was_used_last_is_kept():
    made = []
    recent = LRUCache(3, 10)

    def get(key, weight=1):
        return recent(key, lambda: made.append(key) or key, lambda _: weight)

    for key in "abcab":
        assert get(key) == key
    assert made == list("abc")
    get("d")  # in place of c
    get("a"), get("b"), get("c")
    assert made == list("abcdc")
    get("heavy", 100)
    assert len(recent) == 1
    get("heavy")
    get("a")
    assert (made[-2:], len(recent)) == (["heavy", "a"], 1)


def test_memory_of_a_pub_is_bounded(monkeypatch):
    sizes = []

    prepare = StatevectorSimulator.states

    def record(simulator, x, w):
        states = prepare(simulator, x, w)
        sizes.append(states.nbytes)
        return states

    monkeypatch.setattr(StatevectorSimulator, "states", record)
    monkeypatch.setattr(simulation, "MEMORY", 1 << 20)
    circuit, _, _ = layered(10, 1)
    values = np.random.default_rng(0).uniform(-3, 3, (100, circuit.num_parameters))
    run(BatchedStatevectorEstimator(seed=1), circuit, "Z" * 10, values, precision=0.1)
    assert max(sizes) <= 1 << 20 and len(sizes) > 1


@pytest.mark.parametrize("noise", ["shots", "gaussian"])
def test_threads_share_an_estimator(noise):
    """Eight threads with three circuits: right numbers, and every call has noise of its own."""
    estimator = BatchedStatevectorEstimator(noise=noise, seed=1)
    pubs = [(layered(n, 1)[0], [["Z" * n], ["X" * n]]) for n in (2, 3, 4)]
    pubs = [
        (c, o, np.random.default_rng(c.num_qubits).uniform(-3, 3, (20, c.num_parameters)))
        for c, o in pubs
    ]
    exact = StatevectorEstimator().run(pubs).result()

    def job(k):
        pub = pubs[k % 3]
        noisy = estimator.run([pub], precision=0.1)
        return k % 3, run(estimator, *pub), noisy.result()[0].data.evs

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(job, range(60)))
    for k, evs, _ in results:
        np.testing.assert_allclose(evs, exact[k].data.evs, rtol=0, atol=1e-10)
    for k in range(3):
        assert len({noisy.tobytes() for which, _, noisy in results if which == k}) == 20
    again = BatchedStatevectorEstimator(noise=noise, seed=1)
    calls = {run(again, *pubs[0], precision=0.1).tobytes() for _ in range(60)}
    assert len({noisy.tobytes() for which, _, noisy in results if which == 0} & calls) == 20


@pytest.mark.parametrize("with_gradient", [False, True])
def test_vqe_runs_unchanged(with_gradient):
    estimator = BatchedStatevectorEstimator()
    ansatz = efficient_su2(2, reps=1)
    gradient = ParamShiftEstimatorGradient(estimator) if with_gradient else None
    optimizer = (
        GradientDescent(maxiter=200, learning_rate=0.5)
        if with_gradient
        else COBYLA(maxiter=600, tol=1e-8)
    )
    vqe = VQE(estimator, ansatz, optimizer, gradient=gradient, initial_point=np.full(8, 0.1))
    result = vqe.compute_minimum_eigenvalue(H2, aux_operators=[SparsePauliOp("ZZ"), H2])
    expected = NumPyMinimumEigensolver().compute_minimum_eigenvalue(H2).eigenvalue
    np.testing.assert_allclose(result.eigenvalue, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result.aux_operators_evaluated[1][0], expected, rtol=0, atol=1e-5)


def test_adaptive_vqe_runs_unchanged():
    estimator = BatchedStatevectorEstimator()
    start = QuantumCircuit(2)
    start.x(0)
    solver = VQE(estimator, QuantumCircuit(2), COBYLA(tol=1e-8))
    adaptive = AdaptVQE(
        solver,
        operators=[SparsePauliOp("XY"), SparsePauliOp("YX")],
        initial_state=start,
    )
    result = adaptive.compute_minimum_eigenvalue(H2)
    expected = NumPyMinimumEigensolver().compute_minimum_eigenvalue(H2).eigenvalue
    np.testing.assert_allclose(result.eigenvalue, expected, rtol=0, atol=1e-5)
