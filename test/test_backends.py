# SPDX-License-Identifier: Apache-2.0
"""What a module does with backends, beyond the values and gradients that it finds there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from estimators import CountingEstimator
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import StagedPassManager, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient
from scipy import stats

from qiskit_torch_bridge import (
    Execution,
    OnBackend,
    Probabilities,
    Shots,
    TorchQuantumModule,
    Tracker,
)
from qiskit_torch_bridge.backends.checks import check_angles
from qiskit_torch_bridge.backends.fake_devices import restrict_target
from qiskit_torch_bridge.backends.simulators import FreshSeeds
from qiskit_torch_bridge.exceptions import (
    BackendError,
    BackendTypeError,
    BudgetError,
    CircuitError,
    EstimatorTypeError,
    GradientError,
    InputError,
    JournalError,
    OptimizerError,
    PrecisionError,
)
from qiskit_torch_bridge.gradients import ParameterShiftEstimatorGradient
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler, Jobs
from qiskit_torch_bridge.optim import ShotsSchedule
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler
from qiskit_torch_bridge.program.operators import restrict_operator

OBSERVABLES = ["ZI", SparsePauliOp(["XX", "IY"], [0.5, 1.0])]
INPUTS = torch.tensor([[0.4, -0.2], [1.0, 0.7]], dtype=torch.float64)
WEIGHTS = [0.3, -0.6, 0.9]
SHOTS = 4096
SIGMAS = 6  # two in a billion for a normal variable, one in 10 million over this file


def ideal_device() -> GenericBackendV2:
    """A device with a coupling map and a basis of its own, and no noise."""
    return GenericBackendV2(
        5,
        basis_gates=["rz", "sx", "x", "cx"],
        coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]],
        noise_info=False,
        seed=3,
    )


def session_on(backend: Any) -> Any:
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    return runtime.Session(backend=backend)


def module(**options: Any) -> TorchQuantumModule:
    return TorchQuantumModule(
        hybrid(),
        OBSERVABLES,
        input_params=X,
        weight_params=A,
        initial_weights=torch.tensor(WEIGHTS, dtype=torch.float64),
        **options,
    )


def limited_to(budget: int) -> DispatchingEstimator:
    """A simulator that samples, for as long as the budget lasts."""
    return DispatchingEstimator(BatchedStatevectorEstimator(seed=1), Jobs(budget=budget))


def step(m: TorchQuantumModule) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = m(INPUTS)
    m.weight.grad = None
    outputs.sum().backward()
    return outputs.detach(), m.weight.grad


EXACT = step(module())


def test_the_target_of_a_part_keeps_errors_and_durations() -> None:
    device = GenericBackendV2(5, coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]], seed=2)
    part = restrict_target(device.target, (3, 1, 2))
    assert part.num_qubits == 3
    pairs = {(1, 2): (1, 2), (2, 3): (2, 0)}  # qubits 1, 2, 3 are now 1, 2, 0
    for old, new in pairs.items():
        assert part["cx"][new].error == device.target["cx"][old].error
        assert part["cx"][new].duration == device.target["cx"][old].duration
    assert len(part["cx"]) == len(pairs)
    assert part["measure"][(0,)].error == device.target["measure"][(3,)].error


def test_idle_qubits_of_observables() -> None:
    """Qubits that no gate touches are in the state zero: Z gives one, X and Y give zero."""
    operator = SparsePauliOp(["ZIX", "XIZ", "ZZZ", "IYI"], [1.0, 2.0, 3.0, 4.0])
    found = restrict_operator(operator, (0,))
    expected = SparsePauliOp(["X", "Z"], [1.0, 3.0])
    assert found.equiv(expected)


def test_noise_models_reach_the_values() -> None:
    """A depolarizing error of p after each of the two CX shrinks Z by known factors."""
    p, theta = 0.2, ParameterVector("t", 1)
    circuit = QuantumCircuit(2)
    circuit.ry(theta[0], 0)
    circuit.cx(0, 1)
    noise = NoiseModel(basis_gates=["rz", "sx", "x", "cx"])
    noise.add_all_qubit_quantum_error(depolarizing_error(p, 2), ["cx"])
    backend = AerSimulator(noise_model=noise, method="density_matrix")
    m = TorchQuantumModule(circuit, "ZZ", backend=backend, initial_weights=[0.4])
    # ZZ is 1 before the error, which leaves 1 - p of every Pauli but the identity.
    assert m().item() == pytest.approx(1 - p, abs=1e-6)


def test_moving_a_trained_module_keeps_what_it_learned() -> None:
    m = module()
    moved = m.with_backend(ideal_device(), shots=SHOTS, seed=3)
    assert moved.gradient == "parameter-shift"
    assert torch.equal(moved.weight, m.weight)
    torch.testing.assert_close(
        moved(INPUTS).detach(), EXACT[0], rtol=0, atol=SIGMAS * 1.5 / SHOTS**0.5
    )
    with torch.no_grad():
        moved.weight.add_(1)
    assert not torch.equal(moved.weight, m.weight)
    back = moved.with_backend(shots=None, gradient="adjoint")
    torch.testing.assert_close(back(INPUTS), moved.with_backend(shots=None)(INPUTS))


@pytest.mark.filterwarnings("ignore::UserWarning")  # the runtime: options without effect locally
def test_moving_into_a_session_transpiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are paid for while they are open."""
    runs: list[Any] = []
    run = StagedPassManager.run

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        runs.append(self)
        return run(self, *args, **options)

    backend = ideal_device()
    m = module(backend=OnBackend(backend, seed_transpiler=3), shots=SHOTS, seed=1)
    monkeypatch.setattr(StagedPassManager, "run", counted)
    inside = m.with_backend(session_on(backend))
    assert runs == [] and inside.isa_circuit == m.isa_circuit
    torch.testing.assert_close(
        inside(INPUTS).detach(), EXACT[0], rtol=0, atol=SIGMAS * 1.5 / SHOTS**0.5
    )
    again = m.with_backend(OnBackend(backend, optimization_level=3))
    assert again.isa_circuit.num_qubits == 5
    assert m.with_backend(ideal_device()).isa_circuit.num_qubits == 5
    assert len(runs) == 2  # asked for, and for another device of the same name


def test_simulators_get_a_new_seed_for_each_job_and_the_same_ones_again() -> None:
    runs = [module(backend=ideal_device(), shots=100, seed=5) for _ in range(2)]
    assert isinstance(runs[0].estimator, FreshSeeds)
    first, second = runs[0](INPUTS), runs[0](INPUTS)
    assert not torch.equal(first, second)
    assert torch.equal(runs[1](INPUTS), first)
    assert torch.equal(runs[1](INPUTS), second)


def test_standard_errors_of_outputs_and_gradients() -> None:
    """On Aer an error is the precision asked for, and propagates through plus and minus shifts."""
    m = TorchQuantumModule(
        _one_rotation(), "Z", backend=AerSimulator(), precision=0.1, initial_weights=[0.3]
    )
    m().sum().backward()
    np.testing.assert_allclose(m.last_stds.numpy(), [[0.1]])
    # (f(+) - f(-)) / 2 of two values with error 0.1 each
    np.testing.assert_allclose(m.last_gradient_stds.numpy(), [0.1 / 2**0.5], rtol=1e-12)


def _one_rotation() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(ParameterVector("w", 1)[0], 0)
    return circuit


def test_gradients_may_take_other_shots() -> None:
    counting = CountingEstimator()
    m = TorchQuantumModule(_one_rotation(), "Z", estimator=counting, shots=Shots(100, 400))
    m().sum().backward()
    assert counting.precisions == [0.1, 0.05]


def test_several_estimators_share_the_rows() -> None:
    estimators = [CountingEstimator(), CountingEstimator()]
    m = module(estimator=estimators)
    outputs, gradients = step(m)
    torch.testing.assert_close(outputs, EXACT[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients, EXACT[1], rtol=0, atol=1e-12)
    assert isinstance(m.estimator, DispatchingEstimator)
    assert estimators[0].evaluations == estimators[1].evaluations > 0


def test_a_budget_stops_before_the_step_that_exceeds_it() -> None:
    m = module(shots=100, seed=1)
    per_step = m.cost(len(INPUTS)).usage.shots
    limited = module(estimator=limited_to(2 * per_step), shots=100)
    for _ in range(2):
        step(limited)
    with Tracker() as tracker, pytest.raises(BudgetError, match="Nothing was submitted"):
        limited(INPUTS)
    assert tracker.usage.jobs == 0


def test_a_budget_is_not_spent_on_a_step_that_cannot_be_finished() -> None:
    """Room for two forward passes and one backward: the second forward pass may only evaluate."""
    m = module(shots=100, seed=1)
    forward = m.cost(len(INPUTS), backward=False).usage.shots
    budget = m.cost(len(INPUTS)).usage.shots + forward
    limited = module(estimator=limited_to(budget), shots=100)
    step(limited)
    for attempt in (limited, limited.submit):
        with Tracker() as tracker, pytest.raises(BudgetError, match="Nothing was submitted"):
            attempt(INPUTS)
        assert tracker.usage.jobs == 0
    with torch.no_grad():
        limited(INPUTS)


def test_passes_submitted_together_give_what_calling_gives() -> None:
    counting = CountingEstimator()
    m = module(estimator=counting, gradient="parameter-shift")
    pending = [m.submit(row[None]) for row in INPUTS]
    assert len(counting.runs) == 2  # submitted before any result is asked for
    outputs = torch.cat([p.result() for p in pending])
    torch.testing.assert_close(outputs.detach(), EXACT[0], rtol=0, atol=1e-12)
    outputs.sum().backward()
    torch.testing.assert_close(m.weight.grad, EXACT[1], rtol=0, atol=1e-12)
    assert pending[0].result() is pending[0].result()
    with torch.no_grad():
        assert not m.submit(INPUTS).result().requires_grad
    exact = module().submit(INPUTS).result()
    torch.testing.assert_close(exact.detach(), EXACT[0], rtol=0, atol=1e-12)


def test_sampled_values_with_exact_gradients_may_be_submitted() -> None:
    m = module(shots=SHOTS, gradient="adjoint", seed=2)
    outputs = m.submit(INPUTS).result()
    torch.testing.assert_close(outputs.detach(), EXACT[0], rtol=0, atol=SIGMAS * 1.5 / SHOTS**0.5)
    outputs.sum().backward()
    torch.testing.assert_close(m.weight.grad, EXACT[1], rtol=0, atol=1e-9)


def test_evaluation_may_take_other_settings() -> None:
    training, evaluating = CountingEstimator(), CountingEstimator()
    m = module(estimator=training, shots=100, evaluation=Execution(estimator=evaluating, shots=400))
    m(INPUTS)
    m.eval()(INPUTS)
    m.train()(INPUTS)
    assert training.precisions == [0.1, 0.1]
    assert evaluating.precisions == [0.05]
    with pytest.raises(InputError, match="Expected evaluation to be an Execution"):
        module(evaluation={"shots": 3})


def test_shots_follow_the_ratio_of_signal_to_noise() -> None:
    m = TorchQuantumModule(_one_rotation(), "Z", shots=100, seed=1, initial_weights=[1.5])
    schedule = ShotsSchedule(m, ratio=4.0, factor=2.0, maximum=800)
    seen = []
    for weight in (1.5, 0.01, 0.01, 0.01, 0.01, 0.01):
        with torch.no_grad():
            m.weight.fill_(weight)
        m.weight.grad = None
        m().sum().backward()
        seen.append(schedule.step())
    # At 1.5 the slope is 1 and its error 0.07; at 0.01 the slope is nothing.
    assert seen == [100, 200, 400, 800, 800, 800]
    assert m.shots == 800
    saved = schedule.state_dict()
    other = ShotsSchedule(module(shots=100, seed=1), ratio=4.0)
    other.load_state_dict(saved)
    assert other.module.shots == 800
    with pytest.raises(OptimizerError, match="shots"):
        ShotsSchedule(module())


def test_seconds_on_the_device() -> None:
    device = GenericBackendV2(3, seed=1)
    m = module(backend=device, shots=1000)
    cost = m.cost(4)
    assert cost.seconds is not None
    # Each shot waits 250 microseconds; the circuit itself takes less than that.
    assert 250e-6 * cost.usage.shots < cost.seconds < 500e-6 * cost.usage.shots
    assert module().cost(4).usage.jobs == 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"backend": AerSimulator}, BackendTypeError, "Create it"),
        ({"backend": "aer"}, BackendTypeError, "BackendV2"),
        ({"backend": StatevectorEstimator()}, BackendTypeError, "estimator="),
        ({"backend": "session"}, BackendTypeError, "Session or Batch"),
        ({"backend": AerSimulator(), "estimator": StatevectorEstimator()}, BackendError, "one"),
        ({"estimator": []}, EstimatorTypeError, "at least one"),
    ],
)
def test_what_is_refused(options: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        module(**options)
    assert not Path("unused").exists()


def test_a_circuit_that_is_not_transpiled_for_the_backend_is_refused() -> None:
    class Nothing:
        def run(self, circuit: QuantumCircuit) -> QuantumCircuit:
            return circuit

    with pytest.raises(CircuitError, match="not transpiled"):
        module(backend=ideal_device(), pass_manager=Nothing())


@pytest.mark.parametrize("batch", [0, -1, 1.5, True])
def test_costs_are_of_whole_batches(batch: Any) -> None:
    with pytest.raises(InputError, match="batch_size"):
        module().cost(batch)


def test_angles_that_fractional_gates_do_not_take() -> None:
    theta = ParameterVector("theta", 2)
    circuit = QuantumCircuit(2)
    circuit.rzz(theta[0] + 2 * theta[1], 0, 1)
    inner = CountingEstimator()
    estimator = DispatchingEstimator(inner, checks=[check_angles])
    inside, outside = {tuple(theta): [[0.0, 0.0], [0.5, 0.5]]}, {tuple(theta): [[0.5, 0.6]]}
    estimator.run([(circuit, "ZZ", inside)]).result()
    with pytest.raises(InputError, match=r"1\.7 at one of the points. Nothing was submitted"):
        estimator.run([(circuit, "ZZ", outside)])
    assert len(inner.runs) == 1


def test_journal_and_budget_go_along_to_where_jobs_run(tmp_path: Path) -> None:
    backend = ideal_device()
    jobs = Jobs(journal=tmp_path / "journal", budget=10_000)
    m = module(backend=OnBackend(backend, jobs=jobs), shots=10, seed=1)
    m(INPUTS)
    moved = m.with_backend(backend)
    assert moved.estimator.journal is m.estimator.journal
    assert moved.estimator.budget is m.estimator.budget
    moved(INPUTS)
    assert m.estimator.used.jobs == 2
    with pytest.raises(InputError, match=r"with_backend.*\['shot'\]"):
        m.with_backend(backend, shot=100)


def test_options_and_evaluation_stay_on_the_device() -> None:
    backend = ideal_device()
    m = module(
        backend=OnBackend(backend, options={"abelian_grouping": False}),
        shots=100,
        evaluation=Execution(shots=400),
        seed=1,
    )
    moved = m.with_backend(backend)
    assert moved.estimator.options.abelian_grouping is False
    assert moved.eval().precision == 0.05
    elsewhere = m.with_backend(AerSimulator())
    assert elsewhere.eval().precision == 0.1


def test_evaluation_measures_the_circuit_that_was_trained() -> None:
    """Transpiled anew it might be on other qubits, with other errors."""
    circuit = QuantumCircuit(4)
    weights = ParameterVector("w", 4)
    for q in range(4):
        circuit.ry(weights[q], q)
        circuit.cx(q, (q + 1) % 4)
    device = GenericBackendV2(7, coupling_map=[[q, q + 1] for q in range(6)], seed=2)
    m = TorchQuantumModule(circuit, backend=device, shots=10, evaluation=Execution(shots=20))
    assert m.isa_circuit == m.eval().isa_circuit


def test_a_gradient_with_an_estimator_of_its_own_escapes_no_budget() -> None:
    gradient = ParameterShiftEstimatorGradient(StatevectorEstimator())
    with pytest.raises(GradientError, match="budget would know nothing of the jobs"):
        module(
            estimator=DispatchingEstimator(StatevectorEstimator(), Jobs(budget=1000)),
            gradient=gradient,
        )


@pytest.mark.parametrize("kind", [ParameterShiftEstimatorGradient, ParamShiftEstimatorGradient])
def test_gradient_objects_take_the_shots_of_gradients(kind: Any) -> None:
    counting = CountingEstimator()
    m = TorchQuantumModule(
        _one_rotation(),
        "Z",
        estimator=counting,
        gradient=kind(counting),
        shots=Shots(forward=100, gradient=400),
    )
    m().sum().backward()
    assert counting.precisions == [0.1, 0.05]


def test_copies_have_shots_of_their_own() -> None:
    m = module(estimator=CountingEstimator(), shots=100)
    twin = copy.deepcopy(m)
    twin.shots = 400
    assert (m.precision, twin.precision) == (0.1, 0.05)
    assert twin.estimator is m.estimator


def test_what_was_submitted_is_differentiated() -> None:
    """Weights in double precision are used as they are, and an optimizer changes them in place."""
    m = module(estimator=CountingEstimator(), gradient="parameter-shift").double()
    pending = m.submit(INPUTS)
    with torch.no_grad():
        m.weight.add_(1)
    output = pending.result()
    torch.testing.assert_close(output.detach(), EXACT[0], rtol=0, atol=1e-12)
    output.sum().backward()
    torch.testing.assert_close(m.weight.grad, EXACT[1], rtol=0, atol=1e-12)


def test_the_exact_engine_takes_no_shots() -> None:
    m = module()
    with pytest.raises(PrecisionError, match=r"with_backend\(shots=10\)"):
        m.shots = 10
    assert "shots" not in repr(m)


@pytest.mark.parametrize("path", [3, True, "", "missing/folder/journal", "."])
def test_journals_are_files(path: Any) -> None:
    with pytest.raises(JournalError, match="Expected"):
        DispatchingEstimator(StatevectorEstimator(), Jobs(journal=path))


def test_more_of_what_is_refused() -> None:
    with pytest.raises(InputError, match="Expected evaluation to be an Execution"):
        module(shots=10, evaluation=10)
    with pytest.raises(BackendError, match="no option 'no'. Its options are: .*abelian_grouping"):
        module(backend=OnBackend(ideal_device(), options={"no": 1}))
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    with pytest.raises(BackendTypeError, match=r"with Session\(backend=...\)"):
        module(backend=runtime.Session)


# -- probabilities -------------------------------------------------------------------------------


def sampled(**options: Any) -> TorchQuantumModule:
    """The same circuit, of which qubit 1 is bit 0."""
    return TorchQuantumModule(
        hybrid(),
        Probabilities([1, 0]),
        input_params=X,
        weight_params=A,
        initial_weights=torch.tensor(WEIGHTS, dtype=torch.float64),
        **options,
    )


EXACT_PROBABILITIES = sampled()(INPUTS).detach()


def test_moving_probabilities_keeps_circuit_and_journal(tmp_path: Path) -> None:
    backend, jobs = ideal_device(), Jobs(journal=tmp_path / "journal", budget=100_000)
    m = sampled(backend=OnBackend(backend, jobs=jobs, options={"default_shots": 50}), seed=1)
    assert isinstance(m.estimator, DispatchingSampler)
    m(INPUTS)
    assert m.estimator.used.shots == 2 * 50
    moved = m.with_backend(backend, shots=SHOTS)
    assert moved.isa_circuit == m.isa_circuit
    assert moved.estimator.journal is m.estimator.journal
    outputs = moved(INPUTS).detach()
    assert m.estimator.used.shots == 2 * 50 + 2 * SHOTS
    bound = SIGMAS * (EXACT_PROBABILITIES * (1 - EXACT_PROBABILITIES) / SHOTS) ** 0.5
    assert ((outputs - EXACT_PROBABILITIES).abs() < bound).all()
    back = moved.with_backend(shots=None)
    torch.testing.assert_close(back(INPUTS), EXACT_PROBABILITIES, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")  # the runtime: options without effect locally
def test_a_session_samples_the_circuit_that_was_trained() -> None:
    backend = ideal_device()
    m = sampled(backend=OnBackend(backend, seed_transpiler=3), shots=SHOTS, seed=1)
    inside = m.with_backend(session_on(backend))
    assert inside.isa_circuit == m.isa_circuit
    bound = SIGMAS * (EXACT_PROBABILITIES * (1 - EXACT_PROBABILITIES) / SHOTS) ** 0.5
    assert ((inside(INPUTS).detach() - EXACT_PROBABILITIES).abs() < bound).all()


def test_standard_errors_of_probabilities_and_their_gradients_are_calibrated() -> None:
    """Deviations over standard errors have variance one, by chi-square at one in 10 million."""
    m = sampled(backend=ideal_device(), shots=1000, seed=4)
    exact = sampled()
    cotangent = torch.tensor([[1.0, -0.5, 0.3, 2.0]] * 2, dtype=torch.float64)
    exact(INPUTS).backward(cotangent)
    scores, by_gradient = [], []
    for _ in range(25):
        m.weight.grad = None
        outputs = m(INPUTS)
        outputs.backward(cotangent)
        scores.append((outputs.detach() - EXACT_PROBABILITIES) / m.last_stds)
        by_gradient.append((m.weight.grad - exact.weight.grad) / m.last_gradient_stds)
    z = torch.stack(scores)[:, EXACT_PROBABILITIES > 0.05]  # of the others counts are not normal
    assert z.shape[1] > 4
    for found in (*z.T, *torch.stack(by_gradient).T):
        low, high = stats.chi2.ppf([5e-8, 1 - 5e-8], len(found))
        assert low < (found**2).sum() < high


def test_probabilities_are_evaluated_elsewhere() -> None:
    m = sampled(evaluation=Execution(backend=ideal_device(), shots=SHOTS, seed=3))
    torch.testing.assert_close(m(INPUTS).detach(), EXACT_PROBABILITIES, rtol=0, atol=1e-12)
    outputs = m.eval()(INPUTS).detach()
    bound = SIGMAS * (EXACT_PROBABILITIES * (1 - EXACT_PROBABILITIES) / SHOTS) ** 0.5
    assert ((outputs - EXACT_PROBABILITIES).abs() < bound).all()


def test_costs_and_seconds_of_probabilities() -> None:
    """Four outcomes take the circuits of one: a forward pass and two points for each angle."""
    m = sampled(backend=GenericBackendV2(3, seed=1), shots=1000)
    cost = m.cost(4)
    with Tracker() as tracker:
        m(INPUTS.repeat(2, 1)).sum().backward()
    assert cost.usage == tracker.usage
    assert cost.usage.jobs == cost.usage.pubs == 2 and cost.usage.points == cost.usage.circuits
    assert cost.usage.shots == 1000 * cost.usage.circuits
    assert cost.seconds is not None
    # Each shot waits 250 microseconds; the circuit and its measurement take less than that.
    assert 250e-6 * cost.usage.shots < cost.seconds < 500e-6 * cost.usage.shots


def test_a_budget_of_probabilities_stops_before_the_step_that_exceeds_it() -> None:
    per_step = sampled(shots=100).cost(len(INPUTS)).usage.shots
    sampler = DispatchingSampler(BatchedStatevectorSampler(seed=1), Jobs(budget=per_step))
    m = sampled(estimator=sampler, shots=100)
    m(INPUTS).sum().backward()
    with Tracker() as tracker, pytest.raises(BudgetError, match="Nothing was submitted"):
        m(INPUTS)
    assert tracker.usage.jobs == 0 and sampler.used.shots == per_step


def test_several_samplers_share_the_rows() -> None:
    """Each takes one of two rows, in one request."""
    samplers = [BatchedStatevectorSampler(seed=k) for k in range(2)]
    m = sampled(estimator=samplers, shots=SHOTS)
    with Tracker() as tracker:
        outputs = m(INPUTS).detach()
    assert tracker.usage.jobs == 2 and tracker.usage.points == 2
    bound = SIGMAS * (EXACT_PROBABILITIES * (1 - EXACT_PROBABILITIES) / SHOTS) ** 0.5
    assert ((outputs - EXACT_PROBABILITIES).abs() < bound).all()


@pytest.mark.filterwarnings("ignore::UserWarning")  # the runtime: options without effect locally
def test_samples_come_from_where_values_come_from() -> None:
    """Of a module of observables on a device: its circuit, and all qubits by their layout."""
    circuit = QuantumCircuit(3)
    circuit.x(2)
    circuit.ry(ParameterVector("w", 1)[0], 0)
    there = OnBackend(ideal_device(), initial_layout=[4, 0, 2])
    m = TorchQuantumModule(circuit, "ZZZ", backend=there, initial_weights=[np.pi], seed=3)
    assert m.sample(shots=50).counts() == {"101": 50}
    session = session_on(ideal_device())
    assert m.with_backend(session).sample(shots=50).counts() == {"101": 50}


@pytest.mark.filterwarnings("ignore:.*has no QubitProperties")
@pytest.mark.filterwarnings("ignore:.*V2 class is deprecated")
@pytest.mark.parametrize("package", ["qiskit_ibm_runtime", "qiskit_ibm_runtime.executor_sampler"])
def test_samplers_of_the_runtime_in_local_mode(package: str) -> None:
    """The service's own, and those that prepare circuits on the client's side."""
    kinds = pytest.importorskip(package, reason="this release does not have it")
    device = ideal_device()
    manager = generate_preset_pass_manager(1, device, seed_transpiler=1)
    try:
        sampler = kinds.SamplerV2(mode=device)
    except ValueError as error:
        if "not supported in local mode" not in str(error):
            raise
        pytest.skip(f"this release of {package} runs on the service alone")
    m = sampled(estimator=sampler, pass_manager=manager, shots=SHOTS)
    with Tracker() as tracker:
        outputs = m(INPUTS)
        outputs[:, 0].sum().backward()
    assert tracker.usage == m.cost(len(INPUTS)).usage and tracker.usage.jobs == 2
    bound = SIGMAS * (EXACT_PROBABILITIES * (1 - EXACT_PROBABILITIES) / SHOTS) ** 0.5
    assert ((outputs.detach() - EXACT_PROBABILITIES).abs() < bound).all()
