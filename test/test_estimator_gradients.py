# SPDX-License-Identifier: Apache-2.0
"""The gradients where qiskit-algorithms takes a gradient: one run, one PUB a circuit, unchanged."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from circuits import hybrid, nonlinear, rotation
from estimators import CountingEstimator
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.primitives import (
    BackendEstimatorV2,
    BaseEstimatorV2,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms import QAOA, VQE
from qiskit_algorithms.gradients import BaseEstimatorGradient
from qiskit_algorithms.optimizers import SLSQP
from reference import jacobian

from qiskit_torch_bridge.exceptions import (
    EstimatorTypeError,
    InputError,
    PrecisionError,
)
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
    SPSAEstimatorGradient,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program import analysis

CLASSES = [
    ParameterShiftEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
]
EXACT = {FiniteDifferenceEstimatorGradient: 1e-7}  # step 1e-4, frequencies up to 3
ZI, XX = SparsePauliOp("ZI"), SparsePauliOp(["XX", "ZZ"], [0.5, -1.0])
VALUES = [0.1, -0.2, 0.3, 0.4, -0.5]


def expected(circuit, observable, values):
    point = torch.tensor(values, dtype=torch.float64)
    return jacobian(circuit, [observable], list(circuit.parameters), point)[0].numpy()


@pytest.fixture(params=CLASSES, ids=lambda c: c.__name__)
def kind(request):
    return request.param


def test_it_is_one_of_theirs_and_is_right(kind):
    gradient = kind(BatchedStatevectorEstimator())
    assert isinstance(gradient, BaseEstimatorGradient)
    circuit = hybrid()
    result = gradient.run([circuit], [XX], [VALUES]).result()
    np.testing.assert_allclose(
        result.gradients[0], expected(circuit, XX, VALUES), rtol=0, atol=EXACT.get(kind, 1e-10)
    )
    assert result.metadata[0]["parameters"] == list(circuit.parameters)


@pytest.mark.parametrize(  # AQGD refuses non-affine expressions: test_errors checks that it does
    "rule", [ParameterShiftEstimatorGradient, FiniteDifferenceEstimatorGradient]
)
def test_non_linear_parameters(rule):
    circuit = nonlinear()
    result = rule(BatchedStatevectorEstimator()).run([circuit], [XX], [VALUES]).result()
    np.testing.assert_allclose(
        result.gradients[0], expected(circuit, XX, VALUES), rtol=0, atol=EXACT.get(rule, 1e-10)
    )


def test_entries_that_share_a_circuit_share_one_pub(kind):
    estimator = CountingEstimator()
    gradient = kind(estimator)
    circuit, other = hybrid(), rotation()[0]
    z = SparsePauliOp("Z")
    others = [0.3, 0.2, 0.1, 0.0, -0.1]
    subset = [circuit.parameters[1]]
    result = gradient.run(
        [circuit, other, circuit, circuit],
        [ZI, z, XX, ZI],
        [VALUES, [0.4], VALUES, others],
        [None, None, None, subset],
    ).result()
    assert len(estimator.runs) == 1 and len(estimator.runs[0]) == 2
    exact = EXACT.get(kind, 1e-10)
    for g, e in zip(
        result.gradients,
        [
            expected(circuit, ZI, VALUES),
            expected(other, z, [0.4]),
            expected(circuit, XX, VALUES),
            expected(circuit, ZI, others)[1:2],
        ],
        strict=True,
    ):
        np.testing.assert_allclose(g, e, rtol=0, atol=exact)


def test_several_observables_at_one_point_are_a_column_over_shared_points(kind):
    """So that an estimator can measure them together; nothing is evaluated twice."""
    estimator = CountingEstimator()
    gradient = kind(estimator)
    gradient.run([hybrid()], [ZI], [VALUES]).result()
    ((_, points),) = estimator.runs.pop()
    circuit = hybrid()
    gradient.run([circuit] * 2, [ZI, XX], [VALUES] * 2).result()
    assert estimator.runs == [[(2, points)]]


def test_equal_entries_have_independent_shots(kind):
    """Four hundred requests for one gradient are as many samples of it."""
    circuit, _ = rotation()
    n, z = 400, SparsePauliOp("Z")
    gradient = kind(BatchedStatevectorEstimator(seed=2), precision=0.1)
    result = gradient.run([circuit] * n, [z] * n, [[0.3]] * n).result()
    samples = np.array(result.gradients)[:, 0]
    # chi-square with 399 degrees of freedom is within 35 % of its mean at a level of 1e-6
    assert samples.var() == pytest.approx(np.mean(np.square(result.stds)), rel=0.35)


def test_settings_of_finite_differences_cannot_change_unseen():
    gradient = FiniteDifferenceEstimatorGradient(BatchedStatevectorEstimator(), epsilon=0.1)
    with pytest.raises(AttributeError):
        gradient.epsilon = 1.0
    with pytest.raises(AttributeError):
        gradient.method = "forward"


def test_rows_are_named_by_entry():
    gradient = ParameterShiftEstimatorGradient(BatchedStatevectorEstimator())
    circuit, _ = rotation()
    z = SparsePauliOp("Z")
    with pytest.raises(InputError, match="row 2 has nan for parameter 'theta'"):
        gradient.run([circuit] * 3, [z] * 3, [[0.1], [0.2], [np.nan]]).result()


def test_nothing_is_analysed_or_transpiled_twice(kind, monkeypatch):
    transpiled = []

    class PassManager:
        def run(self, circuit, **options):
            transpiled.append(options)
            return generate_preset_pass_manager(
                1, basis_gates=["rz", "sx", "x", "cx"], initial_layout=[1, 0]
            ).run(circuit)

    gradient = kind(
        StatevectorEstimator(), transpiler=PassManager(), transpiler_options={"flag": True}
    )
    circuit = hybrid()
    analyses = []
    original = analysis.AnalysedCircuit
    monkeypatch.setattr(
        analysis, "AnalysedCircuit", lambda c, **k: analyses.append(c) or original(c, **k)
    )
    for _ in range(4):
        result = gradient.run([circuit, hybrid()], [XX, ZI], [VALUES, VALUES]).result()
    assert transpiled == [{"flag": True}] and len(analyses) == 1
    np.testing.assert_allclose(
        result.gradients[0], expected(circuit, XX, VALUES), rtol=0, atol=EXACT.get(kind, 1e-10)
    )


def test_a_circuit_changed_in_place_is_analysed_again(kind):
    gradient = kind(BatchedStatevectorEstimator())
    circuit = hybrid()
    gradient.run([circuit], [XX], [VALUES]).result()
    circuit.ry(circuit.parameters[0], 1)
    g = gradient.run([circuit], [XX], [VALUES]).result().gradients[0]
    np.testing.assert_allclose(
        g, expected(circuit, XX, VALUES), rtol=0, atol=EXACT.get(kind, 1e-10)
    )


def test_precision_passes_through_unchanged(kind):
    estimator = CountingEstimator(BatchedStatevectorEstimator(seed=1))
    gradient = kind(estimator, precision=0.05)
    circuit, values = hybrid(), VALUES
    gradient.run([circuit], [ZI], [values]).result()
    gradient.run([circuit], [ZI], [values], precision=0.2).result()
    gradient.run([circuit, circuit], [ZI, ZI], [values, values], precision=[0.1, 0.3]).result()
    assert estimator.precisions == [0.05, 0.2, 0.1, 0.3]
    kind(estimator).run([circuit], [ZI], [values]).result()
    assert estimator.precisions[-1] is None


DEFAULTS = {
    "StatevectorEstimator": lambda: StatevectorEstimator(default_precision=0.2),
    "BatchedStatevectorEstimator": lambda: BatchedStatevectorEstimator(default_precision=0.2),
    "Aer": lambda: AerEstimator(options={"default_precision": 0.2}),
    "BackendEstimatorV2": lambda: BackendEstimatorV2(
        backend=AerSimulator(), options={"default_precision": 0.2}
    ),
    "dispatching": lambda: DispatchingEstimator([StatevectorEstimator(default_precision=0.2)]),
}


@pytest.mark.parametrize("kind", [*CLASSES, SPSAEstimatorGradient])
@pytest.mark.parametrize("name", DEFAULTS)
def test_the_precision_reported_is_the_one_in_use(kind, name):
    gradient, (circuit, _) = kind(DEFAULTS[name]()), rotation()
    entry = ([circuit], [SparsePauliOp("Z")], [[0.3]])
    assert gradient.run(*entry).result().precision == 0.2
    assert gradient.run(*entry, precision=0.5).result().precision == 0.5
    twice = [2 * list(part) for part in entry]
    assert gradient.run(*twice, precision=[None, 0.5]).result().precision == [0.2, 0.5]
    given = kind(DEFAULTS[name](), precision=0.4)
    assert given.run(*entry).result().precision == 0.4


def test_the_precision_of_exact_values_is_zero(kind):
    circuit, _ = rotation()
    for gradient in (kind(StatevectorEstimator()), AdjointEstimatorGradient()):
        result = gradient.run([circuit], [SparsePauliOp("Z")], [[0.3]]).result()
        assert result.precision == 0


def test_a_precision_that_the_estimator_hides_is_none(kind):
    class Hidden(BaseEstimatorV2):
        def run(self, pubs, *, precision=None):
            results = StatevectorEstimator().run(pubs, precision=precision).result()
            bare = [PubResult(result.data) for result in results]
            job = PrimitiveJob(PrimitiveResult, bare)
            job._submit()
            return job

    circuit, _ = rotation()
    gradient = kind(Hidden())
    assert gradient.run([circuit], [SparsePauliOp("Z")], [[0.3]]).result().precision is None


def test_standard_errors_are_propagated(kind):
    """Aer reports the requested precision as ``stds``; coefficients square and add."""
    circuit, theta = rotation()
    circuit.ry(theta, 0)
    gradient = kind(AerEstimator(), precision=0.01)
    (std,) = gradient.run([circuit], [SparsePauliOp("Z")], [[0.3]]).result().stds[0]
    if kind is ParameterShiftEstimatorGradient:  # two occurrences, two points each, 1/2
        assert std == pytest.approx(0.01 * np.sqrt(4 * 0.25))
    elif kind is FiniteDifferenceEstimatorGradient:
        h = (3 * 0.01) ** (1 / 3)
        assert std == pytest.approx(0.01 / (np.sqrt(2) * h))
    else:  # frequencies 1 and 2: the four-term rule of Wierichs et al.
        x = np.array([np.pi / 4, 3 * np.pi / 4])
        y = 1 / (8 * np.sin(x / 2) ** 2)
        assert std == pytest.approx(0.01 * np.sqrt(2 * (y**2).sum()))


def test_parameters_without_effect_have_gradient_zero_and_cost_nothing(kind):
    x, y = Parameter("x"), Parameter("y")
    circuit = QuantumCircuit(1, global_phase=y)
    circuit.h(0)
    circuit.rx(0.3 + 0 * x, 0)
    estimator = CountingEstimator()
    g = kind(estimator).run([circuit], [SparsePauliOp("Z")], [[0.1] * circuit.num_parameters])
    assert not g.result().gradients[0].any() and estimator.runs == []


def test_gradients_can_be_pickled(kind):
    gradient = kind(StatevectorEstimator())
    circuit, _ = rotation()
    for candidate in (gradient, pickle.loads(pickle.dumps(gradient))):
        g = candidate.run([circuit], [SparsePauliOp("Z")], [[0.5]]).result().gradients[0]
        assert g == pytest.approx([-np.sin(0.5)], abs=1e-6)


HYDROGEN = SparsePauliOp.from_list(
    # Two-qubit H2 at 0.735 angstrom, as in Qiskit's tutorials (parity mapping, reduced).
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)


def test_vqe_unchanged(kind):
    ansatz = efficient_su2(2, reps=1)
    vqe = VQE(
        StatevectorEstimator(),
        ansatz,
        SLSQP(maxiter=100),
        gradient=kind(StatevectorEstimator()),
        initial_point=np.linspace(0.1, 0.8, ansatz.num_parameters),
    )
    exact = np.linalg.eigvalsh(HYDROGEN.to_matrix())[0]
    assert vqe.compute_minimum_eigenvalue(HYDROGEN).eigenvalue == pytest.approx(exact, abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*deprecat.* as of [Qq]iskit")  # QAOA uses NLocal
def test_qaoa_unchanged(kind):
    """QAOA samples and takes no gradient itself; its minimizer gets ours, on QAOA's own ansatz."""
    cost = SparsePauliOp.from_sparse_list(
        [("ZZ", [0, 1], 1.0), ("ZZ", [1, 2], 1.0), ("ZZ", [0, 2], 1.0)], 3
    )
    gradient = kind(StatevectorEstimator())
    calls = []

    def minimizer(fun, x0, jac, bounds):
        ansatz = qaoa.ansatz.remove_final_measurements(inplace=False)  # QAOA samples it

        def slope(point):
            calls.append(point)
            return gradient.run([ansatz], [cost], [point]).result().gradients[0]

        return SLSQP(maxiter=30).minimize(fun, x0, jac=slope, bounds=bounds)

    qaoa = QAOA(
        StatevectorSampler(seed=1, default_shots=20_000), minimizer, initial_point=[0.4, 0.3]
    )
    result = qaoa.compute_minimum_eigenvalue(cost)
    assert len(calls) > 1 and result.best_measurement["value"] == -1
    # A triangle's best energy is -1; depth one comes close, and 20,000 shots know it to 0.03.
    assert -1.0 <= result.eigenvalue.real < -0.9


def test_parameterized_controlled_gates_are_decomposed_on_the_way_to_aer():
    """Which would ignore their angles."""
    circuit = hybrid()
    circuit.cp(circuit.parameters[0], 0, 1)  # two-term on its own, but not on Aer
    for kind, tolerance in (
        (AQGDEstimatorGradient, 1e-10),
        (FiniteDifferenceEstimatorGradient, 1e-5),  # the square of a step of 1e-3, or less
        (ParameterShiftEstimatorGradient, 1e-10),
    ):
        g = kind(AerEstimator()).run([circuit], [ZI], [VALUES]).result().gradients[0]
        np.testing.assert_allclose(g, expected(circuit, ZI, VALUES), rtol=0, atol=tolerance)


@pytest.mark.parametrize("estimator", [None, 3, "aer", BatchedStatevectorEstimator])
def test_estimator_must_be_one(kind, estimator):
    with pytest.raises(EstimatorTypeError, match="BaseEstimatorV2"):
        kind(estimator)


@pytest.mark.parametrize("precision", [0, -0.1, float("nan"), float("inf"), "0.1", True])
def test_precision_must_be_positive(kind, precision):
    with pytest.raises(PrecisionError, match="positive finite"):
        kind(BatchedStatevectorEstimator(), precision=precision)
    with pytest.raises(PrecisionError):
        kind(BatchedStatevectorEstimator()).run(
            [hybrid()], [ZI], [VALUES], precision=precision
        ).result()
