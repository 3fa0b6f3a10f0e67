# SPDX-License-Identifier: Apache-2.0
"""Several places, the same promises: values, gradients, jobs, and transpiling once.

Every place to run, with every gradient, at every optimization level. Of the levels and gradients
together, all pairs are tried at some place; ``QTB_HYPOTHESIS_PROFILE=full`` tries all at each.

Where shots are sampled, all comparisons of this file together fail a correct build about once in
a million draws of seeds (Bonferroni); with the seeds fixed, the same numbers come every time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from circuits import A, hybrid
from circuits import X as INPUT_ANGLES
from expected_gradients import analytic, expected, step_size
from noisy_reference import Array, Noise, NoisyReference
from places import (
    ASKED,
    EXPECTATION_VALUES,
    GRADIENTS,
    INPUTS,
    LEVELS,
    MEASURED,
    OBSERVABLES,
    OWN,
    PLACES,
    PROBABILITIES,
    SEED,
    SETTINGS,
    SHOTS,
    THIRD_PARTY,
    VALUES,
    WEIGHTS,
    Asked,
    W,
    X,
    aer,
    circuit_in,
    ideal_device,
    module,
    noise_in,
    noisy_device,
    reference,
    reference_for,
    step,
    triangle,
)
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.passmanager import BasePassManager
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit.quantum_info import SparsePauliOp, Statevector, SuperOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer.noise import depolarizing_error
from qiskit_algorithms.gradients import (
    LinCombEstimatorGradient,
    ParamShiftEstimatorGradient,
    ParamShiftSamplerGradient,
    ReverseEstimatorGradient,
)
from scipy import stats
from tensor_kernels import IN_TENSORS
from test_statevector_cases import FULL

from qiskit_torch_bridge import (
    CVaR,
    OnBackend,
    Probabilities,
    TorchQuantumModule,
    Tracker,
    Variance,
)
from qiskit_torch_bridge.exceptions import BridgeError, GradientError
from qiskit_torch_bridge.gradients import (
    ParameterShiftEstimatorGradient,
    ParameterShiftSamplerGradient,
)
from qiskit_torch_bridge.primitives.families import family_of
from qiskit_torch_bridge.primitives.usage import Usage

# The runtime's local mode tells of every option that has no effect there.
pytestmark = pytest.mark.filterwarnings("ignore:Options .* have no effect:UserWarning")

NUMBERS = len(PLACES) * len(LEVELS) * (len(GRADIENTS) + 4) * 12
SIGMAS = stats.norm.isf(1e-6 / 2 / NUMBERS)
ROUNDING = 1e-9  # of exact simulations, divided by the step where differences are taken
ROWS = len(INPUTS)
# Two for each of three gate angles, of five frequencies, of three parameters.
# To either side of one direction.
POINTS = {"parameter-shift": 6, "aqgd": 10, "finite-difference": 6, "spsa": 2}
# What the other package asks for, of each row in a PUB of its own: two for the same angles.
FOREIGN = {THIRD_PARTY: 6}


def assert_within(found: Array, exact: Array, bound: Array) -> None:
    assert (np.abs(found - exact) < bound).all(), (found, exact, bound)


# -- the reference -----------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("place", {setting: name for name, setting in SETTINGS.items()}.values())
def test_the_reference_without_noise_is_the_state_of_the_circuit(place: str, level: int) -> None:
    """The transpiled circuit's density matrix against the statevector of the circuit itself."""
    exact = []
    for values in VALUES:
        bound = triangle().assign_parameters(dict(zip([*X, *W], values, strict=True)))
        state = Statevector(bound)
        exact.append([state.expectation_value(o).real for o in ASKED[place].operators])
    found = reference(place, level, noisy=False)(VALUES)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12)


def test_the_reference_with_noise_in_closed_form() -> None:
    """SX and an RZ of t take the state zero to (sin t, -cos t, 0) on the Bloch sphere.

    A depolarizing error of p leaves 1 - p of every Pauli; X and Y are measured after one more SX.
    Reading 1 for 0 with probability a, and 0 for 1 with b, gives (1 - a - b) Z + (b - a) for Z.
    """
    p, a, b, t = 0.05, 0.1, 0.03, 0.7
    theta = Parameter("t")
    circuit = QuantumCircuit(1)
    circuit.sx(0)
    circuit.rz(theta, 0)
    noise = Noise(
        {("sx", (0,)): SuperOp(depolarizing_error(p, 1))}, {0: np.array([[1 - a, a], [b, 1 - b]])}
    )
    bloch = np.array([np.sin(t), -np.cos(t), 0.0]) * (1 - p)
    read = (1 - a - b) * bloch * (1 - p) + (b - a)
    for measured, values in ((False, bloch), (True, read)):
        operators = [SparsePauliOp(axis) for axis in "XYZ"]
        exact = NoisyReference(circuit, operators, [theta], noise._replace(measured=measured))
        np.testing.assert_allclose(exact(np.array([[t]])), [values], rtol=0, atol=1e-12)


def assert_gradients(place: str, found: tuple[Array, Array], expected: tuple[Array, Array]) -> None:
    """The weights' gradient is a sum over rows, whose errors are independent."""
    z = SIGMAS if PLACES[place].sampled else 0.0
    by_inputs, by_weights = found
    derivatives, errors = expected
    assert_within(by_inputs, derivatives[:, :1], z * errors[:, :1] + ROUNDING)
    summed = np.sqrt((errors[:, 1:] ** 2).sum(0))
    assert_within(by_weights, derivatives[:, 1:].sum(0), z * summed + ROUNDING)


def deviations(place: str, exact: NoisyReference, shots: int) -> Array:
    """Standard deviations ``(B, O)`` of sampled outputs; of expectation values at most."""
    if ASKED[place] is PROBABILITIES:
        p = exact(VALUES)
        return np.sqrt(p * (1 - p) / shots)
    weights = np.eye(len(exact.coefficients))
    each = [exact.spread(VALUES, np.tile(w, (2, 1)), shots) for w in weights]
    return np.stack(each, axis=-1)


@pytest.fixture
def jobs_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], list[list[int]]]:
    """Notes the number of points of each PUB, for each call of an estimator class's ``run``."""

    def watch(estimator: type) -> list[list[int]]:
        jobs: list[list[int]] = []
        inner = estimator.run

        def run(self: Any, pubs: Any, **options: Any) -> Any:
            pubs = [family_of(self).coerce(pub) for pub in pubs]
            jobs.append([pub.parameter_values.size for pub in pubs])
            return inner(self, pubs, **options)

        monkeypatch.setattr(estimator, "run", run)
        return jobs

    return watch


def usage(jobs: list[list[int]]) -> Usage:
    """Jobs, PUBs and points of some jobs."""
    return Usage(len(jobs), sum(map(len, jobs)), sum(map(sum, jobs)))


def without_shots(tracked: Usage) -> Usage:
    return Usage(tracked.jobs, tracked.pubs, tracked.points)


# -- the contract ------------------------------------------------------------------------------


class PlaceContract:
    """What holds wherever a circuit runs: see :mod:`places`."""

    place: str

    def test_values_and_gradients_everywhere(self, gradient: str, level: int) -> None:
        """Exact to rounding where nothing is sampled, else within the errors derived above."""
        m = module(self.place, level, gradient)
        outputs, *gradients = step(m, ASKED[self.place].cotangent)
        exact = reference(self.place, level)
        z = SIGMAS if PLACES[self.place].sampled else 0.0
        assert_within(outputs, exact(VALUES), z * deviations(self.place, exact, SHOTS) + ROUNDING)
        assert_gradients(self.place, tuple(gradients), expected(self.place, level, gradient))
        if gradient == "finite-difference":
            assert f"epsilon={step_size(self.place):.3g})" in m.gradient

    def test_every_level_is_that_of_qiskit_and_moves_the_qubits(self) -> None:
        """No line of qubits fits a triangle: a SWAP at least permutes them, from level 0 on."""
        layouts = []
        for level in PLACES[self.place].levels:
            m = module(self.place, level, PLACES[self.place].gradients[0])
            isa = circuit_in(SETTINGS[self.place], level)
            assert m.isa_circuit == isa
            layouts.append(m.isa_circuit.layout.final_index_layout(filter_ancillas=True))
            assert layouts[-1] == isa.layout.final_index_layout()
        assert layouts[0] != [0, 1, 2]
        if self.place.startswith("127 qubits"):
            assert (m.isa_circuit.num_qubits, m.circuit.num_qubits) == (127, 3)

    def test_jobs_and_pubs_of_a_step(self, gradient: str, jobs_of: Any) -> None:
        """Seen by the estimator, by a Tracker, and announced by ``cost``: three times the same.

        Exactly nothing on the exact engine. Another package's gradients ask for a PUB for each row;
        ``cost`` does not know of them, and the Tracker sees them where the jobs are dispatched.
        """
        m = module(self.place, 1, gradient, shots=16)
        jobs = jobs_of(PLACES[self.place].job())
        inputs = torch.tensor(INPUTS, requires_grad=True)
        with Tracker() as forward:
            outputs = m(inputs)
        seen_forward = jobs.copy()
        jobs.clear()
        with Tracker() as backward:
            outputs.backward(torch.from_numpy(ASKED[self.place].cotangent))

        none = PLACES[self.place].makes_no_job(gradient)
        assert seen_forward == ([] if none else [[ROWS]])
        assert without_shots(forward.usage) == usage(seen_forward)
        assert m.cost(ROWS, backward=False).usage == forward.usage
        if gradient in FOREIGN:
            points = FOREIGN[gradient]
            dispatched = self.place.startswith("runtime")
            assert jobs == ([[points]] * ROWS if dispatched else [[points] * ROWS])
            assert without_shots(backward.usage) == (usage(jobs) if dispatched else Usage())
            with pytest.raises(GradientError, match="known to its own package"):
                m.cost(ROWS)
            return
        assert jobs == ([[ROWS * POINTS[gradient]]] if gradient in OWN and not none else [])
        assert without_shots(backward.usage) == usage(jobs)
        assert m.cost(ROWS, input_gradients=True).usage == forward.usage + backward.usage


class ExpectationContract(PlaceContract):
    """What holds besides of expectation values: more gradients of another package."""

    def test_linear_combinations_need_a_place_that_takes_any_circuit(self) -> None:
        """They add a qubit and composite gates, which simulators of devices and Aer refuse.

        Each gate angle is one evaluation of weight one, not two of weight one half: the bound on
        the errors of shift rules, times the root of two.
        """
        m = module(self.place, 1, LinCombEstimatorGradient)
        if SETTINGS[self.place].by_level:
            with pytest.raises(BridgeError, match="failed.*(unknown instruction|5 qubits)"):
                step(m, ASKED[self.place].cotangent)
            assert m.weight.grad is None
            return
        derivatives, errors = analytic(self.place, reference(self.place, 1))
        _, *found = step(m, ASKED[self.place].cotangent)
        assert_gradients(self.place, tuple(found), (derivatives, 2**0.5 * errors))

    def test_reverse_gradients_are_those_without_noise(self) -> None:
        """They simulate the circuit exactly, without an estimator, as adjoint ones do."""
        cotangent = ASKED[self.place].cotangent
        found = step(module(self.place, 1, ReverseEstimatorGradient()), cotangent)
        assert_gradients(self.place, found[1:], expected(self.place, 1, "adjoint"))


class NoisyPlaceContract(PlaceContract):
    """What holds besides where the noise of a device is simulated, its readout errors included."""

    def test_the_noise_is_that_of_the_qubits_in_use(self, level: int) -> None:
        """Both gate errors and readout errors are there, as large as they are."""
        shots = ASKED[self.place].many_shots
        outputs = module(self.place, level, "adjoint", shots)(torch.from_numpy(INPUTS))
        exact = reference(self.place, level)
        bound = SIGMAS * deviations(self.place, exact, shots)
        assert_within(outputs.detach().numpy(), exact(VALUES), bound)
        if self.place.startswith("127 qubits"):
            return  # its errors are small where a level finds good qubits
        noise = noise_in(SETTINGS[self.place])
        for less in (noise._replace(readout={}), noise._replace(gates={})):
            other = NoisyReference(
                circuit_in(SETTINGS[self.place], level), ASKED[self.place].operators, [*X, *W], less
            )
            assert (np.abs(other(VALUES) - exact(VALUES)) > 2 * bound).any()


class TestExactEngine(ExpectationContract):
    place = "exact engine"


class TestExactByTorch(PlaceContract):
    place = "exact by torch"


@pytest.mark.skipif("exact by triton" not in PLACES, reason="needs Triton")
class TestExactByTriton(PlaceContract):
    place = "exact by triton"


class TestShots(ExpectationContract):
    place = "shots"


class TestStatevector(ExpectationContract):
    place = "statevector"


class CouplesAllQubits(PlaceContract):
    """Aer without a device: nothing is moved."""

    def test_every_level_is_that_of_qiskit_and_moves_the_qubits(self) -> None:
        m = module(self.place, 1, "parameter-shift")
        assert m.isa_circuit == circuit_in(SETTINGS[self.place], 1)


class TestAer(CouplesAllQubits, ExpectationContract):
    place = "aer"


class TestAerOnALine(ExpectationContract):
    place = "aer, line"


class TestAerWithNoise(ExpectationContract):
    place = "aer, noisy"


class TestGenericDevice(NoisyPlaceContract, ExpectationContract):
    place = "generic"


class TestLargeDevice(NoisyPlaceContract, ExpectationContract):
    place = "127 qubits"


class TestLocalRuntime(NoisyPlaceContract, ExpectationContract):
    place = "runtime, local"


class TestExactProbabilities(PlaceContract):
    place = "exact engine, probabilities"


class TestShotsOfProbabilities(PlaceContract):
    place = "shots, probabilities"


class TestStatevectorSampler(PlaceContract):
    place = "statevector, probabilities"


class TestAerSampler(CouplesAllQubits):
    place = "aer, probabilities"


class TestAerSamplerWithNoise(NoisyPlaceContract):
    place = "aer, noisy, probabilities"


class TestSamplerOnGenericDevice(NoisyPlaceContract):
    place = "generic, probabilities"


class TestSamplerOnLargeDevice(NoisyPlaceContract):
    place = "127 qubits, probabilities"


class TestSamplerOfLocalRuntime(NoisyPlaceContract):
    place = "runtime, local, probabilities"


# -- all other measurements --------------------------------------------------------------------

ENERGIES = SparsePauliOp(["IIZ", "IZI"], [1.0, 0.5])
PART = 0.4


def tails(p: Array) -> Array:
    """The mean energy in the lowest part of each row of probabilities of the measured qubits."""
    bits = np.arange(4)[:, None] >> np.arange(2) & 1  # of qubits 1 and 0
    energies = (1 - 2 * bits) @ [0.5, 1.0]
    found = []
    for row in p:
        left, total = PART, 0.0
        for i in np.argsort(energies):
            taken = min(left, row[i])
            left, total = left - taken, total + taken * energies[i]
        found.append([total / PART])
    return np.array(found)


PROJECTORS = PROBABILITIES.operators
# An error of d in each of four probabilities moves the tail by 3 / PART * 4 d at most, where 3 is
# the range of energies; one in <X> moves its variance by 2 d and d**2.
OTHERS: dict[str, tuple[Any, list[SparsePauliOp], Callable[[Array], Array], float]] = {
    "probabilities": (PROBABILITIES.measurement, PROJECTORS, np.asarray, 1.0),
    "parity": (
        Probabilities(MEASURED, interpret="parity"),
        [PROJECTORS[0] + PROJECTORS[3], PROJECTORS[1] + PROJECTORS[2]],
        np.asarray,
        1.0,
    ),
    "cvar": (CVaR(ENERGIES, PART), PROJECTORS, tails, 12 / PART),
    "variance": (Variance("IIX"), [SparsePauliOp("IIX")], lambda x: 1 - x**2, 3.0),
}
ELSEWHERE = [
    *(
        (place, kind)
        for place in PLACES
        for kind in ("parity", "cvar")
        if ASKED[place] is PROBABILITIES
    ),
    *((place, "variance") for place in PLACES if ASKED[place] is EXPECTATION_VALUES),
    ("statevector", "probabilities"),
    ("statevector", "cvar"),
    ("shots, probabilities", "variance"),
    ("statevector, probabilities", "variance"),
]
"""Each measurement where its own primitive is, and on primitives of the other family."""


@pytest.mark.parametrize(("place", "kind"), ELSEWHERE)
def test_other_measurements(place: str, kind: str) -> None:
    measurement, operators, complete, factor = OTHERS[kind]
    level = PLACES[place].levels[-1]
    m = TorchQuantumModule(
        triangle(),
        measurement,
        **PLACES[place].arguments(level),
        input_params=X,
        weight_params=W,
        initial_weights=torch.from_numpy(WEIGHTS),
        seed=SEED,
    )
    inputs = torch.tensor(INPUTS, requires_grad=True)
    outputs = m(inputs)
    exact = reference_for(place, level, operators)
    deviation = SIGMAS / np.sqrt(SHOTS) if PLACES[place].sampled else 0.0
    bound = factor * deviation + ROUNDING
    assert_within(outputs.detach().numpy(), complete(exact(VALUES)), np.array(bound))
    outputs[:, -1].sum().backward()
    if not PLACES[place].sampled:
        step = np.array([1e-4, 0, 0])
        above, below = (complete(exact(VALUES + d))[:, -1] for d in (step, -step))
        slopes = (above - below) / 2e-4
        assert_within(inputs.grad.numpy()[:, 0], slopes, np.array(1e-6))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The levels and gradients that a place has."""
    name = getattr(metafunc.cls, "place", None)
    if name is None:
        return
    place, asked = PLACES.get(name), {"level", "gradient"} & set(metafunc.fixturenames)
    if place is not None and asked == {"level", "gradient"}:
        metafunc.parametrize(("level", "gradient"), pairs_at(name))
    elif place is not None:
        for each, values in (("level", place.levels), ("gradient", place.gradients)):
            if each in asked:
                metafunc.parametrize(each, values)


def pairs_at(place: str) -> list[tuple[int, str]]:
    """Return the levels and gradients that are tried together at a place.

    Each gradient and each level of the place, and over the places each gradient with each level;
    at every one of them all with all on request.
    """
    levels, gradients = PLACES[place].levels, PLACES[place].gradients
    pairs = [(level, gradient) for level in levels for gradient in gradients]
    first = list(PLACES).index(place)
    few = {
        (levels[(first + k) % len(levels)], gradients[k % len(gradients)])
        for k in range(max(len(levels), len(gradients)))
    }
    return [pair for pair in pairs if FULL or pair in few]


def test_each_gradient_is_tried_at_each_level() -> None:
    tried = {pair for place in PLACES for pair in pairs_at(place)}
    assert tried == {(level, gradient) for level in LEVELS for gradient in GRADIENTS}
    for name, place in PLACES.items():
        levels, gradients = zip(*pairs_at(name), strict=True)
        assert set(levels) == set(place.levels) and set(gradients) == set(place.gradients)


def test_every_place_keeps_the_contract() -> None:
    kinds = [kind for kind in globals().values() if isinstance(kind, type)]
    tested = [k.place for k in kinds if issubclass(k, PlaceContract) and hasattr(k, "place")]
    assert sorted({*tested, *IN_TENSORS}) == sorted({*PLACES, *IN_TENSORS})


# -- other packages' gradients -----------------------------------------------------------------


ON_ESTIMATORS = [ParameterShiftEstimatorGradient, ParamShiftEstimatorGradient]
ON_SAMPLERS = [ParameterShiftSamplerGradient, ParamShiftSamplerGradient]


@pytest.mark.parametrize(
    ("kind", "primitive", "asked"),
    [
        *((kind, BackendEstimatorV2, EXPECTATION_VALUES) for kind in ON_ESTIMATORS),
        *((kind, BackendSamplerV2, PROBABILITIES) for kind in ON_SAMPLERS),
    ],
)
def test_gradients_do_not_take_the_qubits_in_use_for_others(
    kind: Any, primitive: Any, asked: Asked
) -> None:
    """A gradient's own primitive on the whole device would measure with other qubits' noise."""
    device = noisy_device()
    there = {
        "backend": device,
        "pass_manager": generate_preset_pass_manager(1, device, initial_layout=[3, 2, 1]),
        "shots": 10,
    }
    own = kind(primitive(backend=device))
    with pytest.raises(GradientError, match="3 qubits in use.*for others"):
        TorchQuantumModule(triangle(), asked.measurement, gradient=own, **there)
    of_part = kind(TorchQuantumModule(triangle(), asked.measurement, **there).estimator)
    TorchQuantumModule(triangle(), asked.measurement, gradient=of_part, **there)


# -- circuits that come transpiled -------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_observables_with_and_without_the_layout_on_the_device(level: int) -> None:
    """The same shots, and so the same numbers; and the right ones."""
    isa = circuit_in(SETTINGS["generic"], level)
    found = {}
    for layout, observables in given(isa).items():
        options = {"seed_simulator": SEED}
        estimator = BackendEstimatorV2(backend=noisy_device(), options=options)
        found[layout] = outputs_of(isa, observables, estimator=estimator, shots=SHOTS)
    np.testing.assert_array_equal(found["virtual"], found["physical"])
    exact = reference("generic", level)
    assert_within(found["virtual"], exact(VALUES), SIGMAS * deviations("generic", exact, SHOTS))


@pytest.mark.parametrize("level", LEVELS)
def test_observables_with_and_without_the_layout_transpiled_once_more(level: int) -> None:
    """A backend transpiles what comes transpiled: the second layout is applied to the first."""
    isa = circuit_in(SETTINGS["statevector"], level)
    for observables in given(isa).values():
        outputs = outputs_of(
            isa, observables, backend=OnBackend(aer(ideal_device), optimization_level=level)
        )
        exact = reference("statevector", level)
        np.testing.assert_allclose(outputs, exact(VALUES), rtol=0, atol=ROUNDING)


def given(isa: QuantumCircuit) -> dict[str, list[Any]]:
    """The observables on the qubits before transpilation, and on those after it."""
    physical = [o.apply_layout(isa.layout) for o in EXPECTATION_VALUES.operators]
    return {"virtual": OBSERVABLES, "physical": physical}


def outputs_of(isa: QuantumCircuit, observables: list[Any], **place: Any) -> Array:
    roles = {"input_params": X, "weight_params": W, "initial_weights": torch.from_numpy(WEIGHTS)}
    m = TorchQuantumModule(isa, observables, **roles, **place)
    return m(torch.from_numpy(INPUTS)).detach().numpy()


# -- transpiling happens once -------------------------------------------------------------------


@pytest.fixture
def transpilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every pass manager's run, whoever made it."""
    runs: list[Any] = []
    inner = BasePassManager.run

    def run(self: Any, *arguments: Any, **options: Any) -> Any:
        runs.append(self)
        return inner(self, *arguments, **options)

    monkeypatch.setattr(BasePassManager, "run", run)
    return runs


class CountingManager:
    """A user's pass manager."""

    def __init__(self) -> None:
        self.calls = 0
        self.inner = generate_preset_pass_manager(1, ideal_device(), seed_transpiler=1)

    def run(self, circuit: Any) -> Any:
        self.calls += 1
        return self.inner.run(circuit)


@pytest.mark.parametrize("whose", ["the user's", "the backend's"])
@pytest.mark.parametrize("gradient", ["parameter-shift", "spsa", "adjoint"])
def test_transpiled_once_in_a_hundred_steps(
    whose: str, gradient: str, transpilations: list[Any]
) -> None:
    """One run of a pass manager when the module is made, and none from then on."""
    manager = CountingManager()
    place = {
        "the user's": {"pass_manager": manager},
        "the backend's": {"backend": OnBackend(aer(ideal_device), optimization_level=1)},
    }[whose]
    m = TorchQuantumModule(
        hybrid(),
        "ZI",
        input_params=INPUT_ANGLES,
        weight_params=A,
        initial_weights=[0.3, -0.6, 0.9],
        gradient=gradient,
        **place,
    )
    assert len(transpilations) == 1
    optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
    weights = m.weight.detach().clone()
    for _ in range(100):
        optimizer.zero_grad()
        m(torch.tensor([[0.4, -0.2]])).sum().backward()
        optimizer.step()
    assert not torch.equal(m.weight, weights)
    assert len(transpilations) == 1
    assert manager.calls == (whose == "the user's")
