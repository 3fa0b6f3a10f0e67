# SPDX-License-Identifier: Apache-2.0
"""The gradients where qiskit-algorithms takes a gradient: what all of them do, and what each does.

Every class of gradient inherits the contract; what is special to one stands in its own class.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid, nonlinear, rotation
from estimators import CountingEstimator
from gradient_contract import (
    VALUES,
    XX,
    ZI,
    EvaluationsContract,
    GradientContract,
    OfEstimators,
    UnusedEstimator,
    Z,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.primitives import (
    BaseEstimatorV2,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms import QAOA, VQE
from qiskit_algorithms.gradients import DerivativeType
from qiskit_algorithms.optimizers import ADAM, SLSQP
from reference import expectations, jacobian
from strategies import Case, cases

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, Tracker, expectation
from qiskit_torch_bridge.exceptions import (
    GradientError,
    HigherOrderError,
    InputTypeError,
    PrecisionError,
)
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifference,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
    SimultaneousPerturbation,
    SPSAEstimatorGradient,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

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


def expected(circuit, observable, values):
    point = torch.tensor(values, dtype=torch.float64)
    return jacobian(circuit, [observable], list(circuit.parameters), point)[0].numpy()


class Hidden(BaseEstimatorV2):
    """Tells nothing of its precision."""

    def run(self, pubs, *, precision=None):
        results = StatevectorEstimator().run(pubs, precision=precision).result()
        job = PrimitiveJob(PrimitiveResult, [PubResult(result.data) for result in results])
        job._submit()
        return job


class EstimatorGradientContract(OfEstimators, GradientContract):
    """What every gradient of expectation values does besides."""

    def test_the_precision_of_exact_values_is_zero(self):
        gradient = self.make(StatevectorEstimator())
        assert gradient.run([rotation()[0]], [Z], [[0.3]]).result().precision == 0

    @pytest.mark.parametrize("part", [DerivativeType.IMAG, DerivativeType.COMPLEX])
    def test_a_module_takes_real_derivatives_only(self, part):
        gradient = self.make(StatevectorEstimator())
        gradient.derivative_type = part
        with pytest.raises(GradientError, match="Derivatives of a module are real"):
            TorchQuantumModule(rotation()[0], Z, gradient=gradient)

    @pytest.mark.parametrize("wrong", ["imag", None, 1j])
    def test_the_derivative_type_must_be_one(self, wrong):
        with pytest.raises(GradientError, match="DerivativeType.REAL, IMAG or COMPLEX"):
            self.make().derivative_type = wrong


class EstimationsContract(EstimatorGradientContract, EvaluationsContract):
    """What gradients made of expectation values do besides."""

    on_aer = 1e-10

    def test_a_precision_that_the_estimator_hides_is_none(self):
        gradient = self.make(Hidden())
        assert gradient.run([rotation()[0]], [Z], [[0.3]]).result().precision is None

    def error_of_two_rotations(self, precision: float) -> float:
        """The standard error for an angle that occurs twice, from that of an evaluation."""
        raise NotImplementedError

    def test_standard_errors_are_propagated(self):
        """Aer reports the requested precision as ``stds``; coefficients square and add."""
        circuit, theta = rotation()
        circuit.ry(theta, 0)
        gradient = self.make(AerEstimator(), precision=0.01)
        (std,) = gradient.run([circuit], [Z], [[0.3]]).result().stds[0]
        assert std == pytest.approx(self.error_of_two_rotations(0.01))

    def test_parameterized_controlled_gates_are_decomposed_on_the_way_to_aer(self):
        """Which would ignore their angles."""
        circuit = hybrid()
        circuit.cp(circuit.parameters[0], 0, 1)  # two-term on its own, but not on Aer
        self.assert_gradient(self.make(AerEstimator()), circuit, ZI, tolerance=self.on_aer)

    @pytest.mark.parametrize("precision", [0, -0.1, float("nan"), float("inf"), "0.1", True])
    def test_precision_must_be_positive(self, precision):
        with pytest.raises(PrecisionError, match="positive finite"):
            self.make(precision=precision)
        with pytest.raises(PrecisionError):
            self.make().run([hybrid()], [ZI], [VALUES], precision=precision).result()

    @pytest.mark.parametrize("private", [False, True])
    @pytest.mark.parametrize("part", [DerivativeType.IMAG, DerivativeType.COMPLEX])
    def test_imaginary_parts_are_refused_before_any_job(self, part, private):
        gradient = self.make(UnusedEstimator())
        setattr(gradient, "_derivative_type" if private else "derivative_type", part)
        assert gradient.derivative_type == part
        words = "AdjointEstimatorGradient.*LinCombEstimatorGradient"
        with pytest.raises(GradientError, match=words):
            gradient.run([hybrid()], [ZI], [VALUES])
        gradient = self.make(StatevectorEstimator())
        gradient.derivative_type = part
        gradient.derivative_type = DerivativeType.REAL
        self.assert_gradient(gradient, hybrid(), ZI)


class DeterministicContract:
    """What every gradient does that is right at each call: optimizers go downhill by it."""

    def test_vqe_unchanged(self):
        ansatz = efficient_su2(2, reps=1)
        exact = np.linalg.eigvalsh(HYDROGEN.to_matrix())[0]
        for estimator in (StatevectorEstimator(), BatchedStatevectorEstimator()):
            vqe = VQE(
                estimator,
                ansatz,
                SLSQP(maxiter=100),
                gradient=self.make(estimator),
                initial_point=np.linspace(0.1, 0.8, ansatz.num_parameters),
            )
            found = vqe.compute_minimum_eigenvalue(HYDROGEN).eigenvalue
            assert found == pytest.approx(exact, abs=1e-4)

    @pytest.mark.filterwarnings("ignore:.*deprecat.* as of [Qq]iskit")  # QAOA uses NLocal
    def test_qaoa_unchanged(self):
        """QAOA samples and takes no gradient; its minimizer gets ours, on QAOA's own ansatz."""
        cost = SparsePauliOp.from_sparse_list(
            [("ZZ", [0, 1], 1.0), ("ZZ", [1, 2], 1.0), ("ZZ", [0, 2], 1.0)], 3
        )
        gradient = self.make(StatevectorEstimator())
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


class DifferencesContract(DeterministicContract, EstimationsContract):
    """What every rule does that displaces one coordinate at a time."""

    name: ClassVar[str]
    random_cases: ClassVar[dict[str, Any]]

    def test_several_observables_at_one_point_are_a_column_over_shared_points(self):
        """So that an estimator can measure them together; nothing is evaluated twice.

        XX and ZZ depend on all parameters, and the points of ZI are some of theirs.
        """
        estimator = CountingEstimator()
        gradient = self.make(estimator)
        gradient.run([hybrid()], [XX], [VALUES]).result()
        ((_, points),) = estimator.runs.pop()
        for other in (SparsePauliOp("ZZ"), ZI):
            circuit = hybrid()
            gradient.run([circuit] * 2, [other, XX], [VALUES] * 2).result()
            assert estimator.runs.pop() == [(2, points)]
        assert not estimator.runs

    def named(self) -> Any:
        """The gradient as functions of torch take it."""
        return self.name

    def errors_in(self, case: Case, program: CircuitProgram) -> tuple[float, float]:
        """Relative and absolute errors in one case, whose values are at most as large as this."""
        return 1e-9, 1e-9 * size_of(case)

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.data())
    def test_random_circuits_agree_with_dense_differentiation(self, data):
        """The reference differentiates dense matrices and shares no code with the package."""
        case = data.draw(cases(**self.random_cases))
        program = CircuitProgram(
            case.circuit,
            list(case.observables),
            input_params=case.inputs,
            weight_params=case.weights,
        )
        inputs, weights = case.values[: case.num_inputs], case.values[case.num_inputs :]

        def f(x, w):
            return expectation(program, x, w, gradient=self.named())

        try:
            rtol, atol = self.errors_in(case, program)
            derivatives = torch.cat(torch.func.jacrev(f, argnums=(0, 1))(inputs, weights), -1)
        except GradientError as error:
            assume("more than" not in str(error))  # too many frequencies for any shift rule
            raise
        args = (case.circuit, case.observables, case.parameters, case.values)
        exact = 1e-9 * size_of(case)
        torch.testing.assert_close(f(inputs, weights), expectations(*args), rtol=0, atol=exact)
        torch.testing.assert_close(derivatives, jacobian(*args), rtol=rtol, atol=atol)


def size_of(case: Case) -> float:
    """A bound on the absolute expectation values, for relative tolerances."""
    return max(1.0, *(float(np.abs(o.coeffs).sum()) for o in case.observables))


class TestParameterShift(DifferencesContract):
    kind, name = ParameterShiftEstimatorGradient, "parameter-shift"
    random_cases: ClassVar = {"max_qubits": 5}

    def error_of_two_rotations(self, precision):
        return precision * np.sqrt(4 * 0.25)  # two occurrences, two points each, 1/2


class TestAQGD(DifferencesContract):
    kind, name = AQGDEstimatorGradient, "aqgd"
    random_cases: ClassVar = {"max_qubits": 4, "affine_only": True, "max_gates": 5}

    def error_of_two_rotations(self, precision):
        # Frequencies 1 and 2: the four-term rule of Wierichs et al.
        x = np.array([np.pi / 4, 3 * np.pi / 4])
        y = 1 / (8 * np.sin(x / 2) ** 2)
        return precision * np.sqrt(2 * (y**2).sum())

    def test_non_linear_parameters(self):
        with pytest.raises(GradientError, match="parameter-shift"):
            self.make().run([nonlinear()], [XX], [VALUES]).result()


class TestFiniteDifference(DifferencesContract):
    kind, name = FiniteDifferenceEstimatorGradient, "finite-difference"
    tolerance = 1e-7  # step 1e-4, frequencies up to 3
    on_aer = 1e-5  # the square of a step of 1e-3, or less
    random_cases: ClassVar = {
        "max_qubits": 4, "affine_only": True, "unit_coefficients": True, "max_gates": 5,
    }  # fmt: skip
    step = 1e-3

    def named(self):
        return FiniteDifferenceEstimatorGradient(BatchedStatevectorEstimator(), epsilon=self.step)

    def errors_in(self, case, program):
        """With unit coefficients an occurrence has frequency at most 2, so f''' is bounded.

        |f'''| <= w**3 |f| by Bernstein's inequality; rounding adds a few ulp over h.
        """
        frequencies = map(program.analysed.frequencies, range(len(program.parameters)))
        highest = max((1.0, *(w for each in frequencies for w in each)))
        return 0.0, size_of(case) * (self.step**2 / 6 * highest**3 + 1e-14 / self.step)

    def error_of_two_rotations(self, precision):
        return precision / (np.sqrt(2) * (3 * precision) ** (1 / 3))

    def test_settings_cannot_change_unseen(self):
        gradient = self.make(epsilon=0.1, method="forward")
        assert gradient.settings == FiniteDifference(0.1, "forward")
        for owner, name in ((gradient.settings, "epsilon"), (gradient, "settings")):
            with pytest.raises(AttributeError):
                setattr(owner, name, 1.0)


class TestAdjoint(DeterministicContract, EstimatorGradientContract):
    kind = AdjointEstimatorGradient

    def test_nothing_is_evaluated_on_the_estimator(self):
        self.check_entries(UnusedEstimator())


class TestSPSA(EstimationsContract):
    """Right on average, two evaluations a row, one job."""

    kind = SPSAEstimatorGradient
    tolerance = 1e-6
    on_aer = 1e-4

    def assert_right(self, found, right, tolerance=None):
        """Along its direction an estimate is the slope there, with the signs of the direction."""
        signs = np.sign(found)  # (C, F)
        super().assert_right(found, (right * signs).sum(0) * signs, tolerance)

    def error_of_two_rotations(self, precision):
        """(f(+) - f(-)) / 2h with an error of p in each has an error of p / (sqrt(2) h)."""
        return precision / (np.sqrt(2) * (3 * precision) ** (1 / 3))

    def module(self, **options: Any) -> TorchQuantumModule:
        return TorchQuantumModule(
            hybrid(),
            ["ZI", "XX"],
            input_params=X,
            weight_params=A,
            initial_weights=VALUES[:3],
            **{"gradient": "spsa", "seed": 5, **options},
        )

    def gradient(self, **options: Any) -> np.ndarray:
        made = self.make(**{"seed": 4, **options})
        return made.run([hybrid()], [XX], [VALUES]).result().gradients[0]

    def test_the_mean_over_directions_is_the_gradient(self):
        """A component of one estimate is g_c plus the other components with random signs.

        Its variance is the sum of their squares; the bias is h**2 / 6 times third derivatives.
        """
        g, count = expected(hybrid(), XX, VALUES), 20_000
        errors = np.sqrt((g @ g - g**2) / count)
        found = self.gradient(epsilon=1e-3, resamplings=count)
        assert (np.abs(found - g) < 5.5 * errors + 1e-5).all()
        single = self.gradient(epsilon=1e-4)
        assert np.unique(np.abs(single).round(12)).size == 1

    def test_each_row_has_directions_of_its_own(self):
        x = torch.tensor([[0.4, -0.2]] * 40, dtype=torch.float64, requires_grad=True)
        self.module()(x).sum().backward()
        signs = torch.sign(x.grad)
        assert 0 < (signs[:, 0] == signs[:, 1]).sum() < 40

    def test_one_job_with_one_pub_and_two_points_a_row(self):
        counting = CountingEstimator()
        m = self.module(estimator=counting, shots=100)
        with Tracker() as tracker:
            m(torch.zeros(3, 2)).sum().backward()
        assert counting.runs == [[(2, 3)], [(2, 6)]]
        assert tracker.usage == m.cost(3).usage

    def test_the_sum_over_rows_is_right_on_average(self):
        """400 equal rows: the weights' gradient is 400 times the mean estimate, with its error."""
        x = torch.tensor([[0.4, -0.2]] * 400, dtype=torch.float64)
        m, reference = self.module(), self.module(gradient="adjoint")
        for each in (m, reference):
            each(x).sum().backward()
        g = reference.weight.grad.numpy() / 400
        errors = np.sqrt((g @ g - g**2) / 400)
        assert (np.abs(m.weight.grad.numpy() / 400 - g) < 5.5 * errors + 1e-6).all()

    def test_a_frozen_part_is_not_displaced(self):
        m = self.module(estimator=CountingEstimator())
        m.weight.requires_grad_(False)
        x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        m(x).sum().backward()
        assert m.weight.grad is None and x.grad.abs().min() > 0

    def test_parameters_that_act_on_nothing_have_derivative_zero(self):
        a, b = Parameter("a"), Parameter("b")
        circuit = QuantumCircuit(1)
        circuit.ry(a + 0 * b, 0)
        m = TorchQuantumModule(
            circuit, "Z", gradient="spsa", estimator=CountingEstimator(),
            initial_weights={a: 0.5, b: 0.1},
        )  # fmt: skip
        m().sum().backward()
        assert [p.name for p in m.program.weight_params] == ["a", "b"]
        of_a, of_b = m.weight.grad.tolist()
        assert of_a == pytest.approx(-np.sin(0.5), abs=1e-6) and of_b == 0

    def test_seeds_repeat_directions_and_copies_go_on_with_them(self):
        assert (self.gradient() == self.gradient()).all()
        assert (self.gradient() != self.gradient(seed=9)).any()
        rule = SimultaneousPerturbation(0.1, seed=3).rule()
        twins = [copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))]
        drawn = rule.draw_signs(4, 5)
        assert all((twin.draw_signs(4, 5) == drawn).all() for twin in twins)
        assert set(drawn.ravel()) == {-1.0, 1.0}

    def test_the_cost_draws_nothing(self):
        first, second = self.module(shots=50), self.module(shots=50)
        second.cost(7)
        x = torch.zeros(2, 2)
        for m in (first, second):
            m(x).sum().backward()
        assert torch.equal(first.weight.grad, second.weight.grad)

    def test_standard_errors_of_a_module_are_those_of_the_shots(self):
        m = TorchQuantumModule(
            rotation()[0], "Z", backend=AerSimulator(), precision=0.1, gradient="spsa",
            initial_weights=[0.3],
        )  # fmt: skip
        m().sum().backward()
        error = self.error_of_two_rotations(0.1)  # two evaluations, however often it occurs
        np.testing.assert_allclose(m.last_gradient_stds, [error], rtol=1e-12)

    def test_it_is_taken_once(self):
        """Derivatives of estimates would be estimates with an error of order 1/h: refused."""
        m = self.module()
        (g,) = torch.autograd.grad(m(torch.zeros(1, 2)).sum(), m.weight, create_graph=True)
        with pytest.raises(HigherOrderError, match="once"):
            g.sum().backward()

    def test_vqe_takes_it(self):
        estimator = BatchedStatevectorEstimator()
        vqe = VQE(
            estimator,
            rotation()[0],
            ADAM(maxiter=150, lr=0.1),
            gradient=self.make(estimator, seed=1),
            initial_point=[0.4],
        )
        # With one parameter every direction gives the slope.
        assert vqe.compute_minimum_eigenvalue(Z).eigenvalue < -0.999

    def test_what_is_refused(self):
        for epsilon in (0, True, np.nan):
            with pytest.raises(GradientError, match="epsilon"):
                self.make(epsilon=epsilon)
        for resamplings in (0, -1, 1.5, True):
            with pytest.raises(GradientError, match="resamplings"):
                self.make(resamplings=resamplings)
        with pytest.raises(InputTypeError, match="seed"):
            self.make(seed=-1)
