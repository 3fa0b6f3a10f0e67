# SPDX-License-Identifier: Apache-2.0
"""Every kind of place that a module runs on, what is asked there, and what is exact."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from noisy_reference import NOISELESS, Array, Noise, NoisyReference, noise_of
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import InstructionProperties, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient, ParamShiftSamplerGradient
from tensor_kernels import IN_TENSORS

from qiskit_torch_bridge import OnBackend, Probabilities, TorchQuantumModule
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler

LEVELS = (0, 1, 2, 3)
SEED = 3
SHOTS = 4096
LINE = [[0, 1], [1, 2], [2, 3]]
OBSERVABLES = ["IIX", SparsePauliOp(["III", "ZYI", "ZYX"], [0.25, 0.5, 1.0])]
X, W = ParameterVector("x", 1), ParameterVector("a", 2)  # weights sort before inputs
# None of the expectation values and of the derivatives is close to zero here.
INPUTS = np.array([[-1.3], [2.0]])
WEIGHTS = np.array([-0.4, 0.2])
VALUES = np.concatenate([INPUTS, np.tile(WEIGHTS, (2, 1))], axis=1)  # (B, P)

OWN = ("parameter-shift", "aqgd", "finite-difference", "spsa")
THIRD_PARTY = "ParamShift"
GRADIENTS = (*OWN, "adjoint", THIRD_PARTY)


@dataclass(frozen=True)
class Asked:
    """What is asked of the state.

    Attributes:
        measurement: The module's second argument.
        operators: The operators whose expectation values it gives.
        cotangent: What arrives from the layer after, ``(B, O)``.
        many_shots: So many that gate errors and readout errors are larger than chance allows.
        third_party: The gradient of another package.
        own: The primitive of this package that gives it.
    """

    measurement: Any
    operators: list[SparsePauliOp]
    cotangent: Array
    many_shots: int
    third_party: type
    own: type


def projector(qubits: Sequence[int], outcome: int) -> SparsePauliOp:
    """Whether qubit ``qubits[j]`` of three has the value of bit ``j``."""
    found = SparsePauliOp("III")
    for j, qubit in enumerate(qubits):
        sign = 1 - 2 * (outcome >> j & 1)
        half = SparsePauliOp.from_sparse_list([("", [], 0.5), ("Z", [qubit], sign / 2)], 3)
        found = found @ half
    return found.simplify()


EXPECTATION_VALUES = Asked(
    OBSERVABLES,
    [SparsePauliOp(o) for o in OBSERVABLES],
    np.array([[1.0, -0.5], [0.5, 1.0]]),
    2**15,
    ParamShiftEstimatorGradient,
    BatchedStatevectorEstimator,
)
MEASURED = (1, 0)  # of three qubits, not in their order
PROBABILITIES = Asked(
    Probabilities(MEASURED),
    [projector(MEASURED, outcome) for outcome in range(4)],
    np.array([[1.0, -0.5, 0.2, 0.7], [0.5, 1.0, -0.3, 0.1]]),
    2**17,
    ParamShiftSamplerGradient,
    BatchedStatevectorSampler,
)


def triangle() -> QuantumCircuit:
    """Each of three qubits coupled to each: no line of qubits fits, whatever the layout."""
    circuit = QuantumCircuit(3)
    circuit.ry(-1.5, 0)
    circuit.ry(1.5 * W[1] + 0.1, 1)
    circuit.crx(2 * W[0] + X[0], 0, 1)
    circuit.cx(1, 2)
    circuit.ry(-1.4, 2)
    circuit.cx(0, 2)
    return circuit


def line(noise: bool) -> GenericBackendV2:
    """Four qubits in a line, in the basis of IBM's devices."""
    basis = ["rz", "sx", "x", "cx"]
    return GenericBackendV2(4, basis_gates=basis, coupling_map=LINE, noise_info=noise, seed=SEED)


@functools.cache
def ideal_device() -> GenericBackendV2:
    """The line without noise."""
    return line(noise=False)


@functools.cache
def noisy_device() -> GenericBackendV2:
    """The line with errors so large, and so different, that no qubit is taken for another."""
    device = line(noise=True)
    for name, errors in {
        "sx": {(q,): 0.004 * (q + 1) for q in range(4)},
        "x": {(q,): 0.004 * (q + 1) for q in range(4)},
        "cx": {tuple(pair): 0.02 * (pair[1]) for pair in LINE},
        "measure": {(q,): 0.03 * (q + 1) for q in range(4)},
    }.items():
        for qubits, error in errors.items():
            duration = device.target[name][qubits].duration
            properties = InstructionProperties(duration=duration, error=error)
            device.target.update_instruction_properties(name, qubits, properties)
    # The runtime copies it for every job: from its first run on with the simulator in it.
    probe = QuantumCircuit(1)
    probe.measure_all()
    device.run(probe).result()
    return device


@functools.cache
def large_device() -> Any:
    """A snapshot of 127 qubits."""
    return pytest.importorskip("qiskit_ibm_runtime.fake_provider").FakeSherbrooke()


@functools.cache
def plain_aer() -> AerSimulator:
    """Aer with all its gates on as many qubits as it takes, each coupled to each."""
    return AerSimulator()


@functools.cache
def aer(device: Callable[[], Any]) -> AerSimulator:
    """Aer with the coupling map, the basis and the gates' noise of a device."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*has no QubitProperties")
        return AerSimulator.from_backend(device(), method="density_matrix")


def session(device: Any) -> Any:
    """A session of the runtime's local mode."""
    return pytest.importorskip("qiskit_ibm_runtime").Session(backend=device)


def of_runtime(name: str) -> Callable[[], type]:
    """The class that a session's jobs are submitted to."""
    return lambda: getattr(pytest.importorskip("qiskit_ibm_runtime"), name)


class Setting(NamedTuple):
    """What a circuit becomes somewhere, and the noise it meets.

    Attributes:
        device: Whose coupling map and noise it is.
        on_aer: Whether Aer simulates the whole device.
        measured: Whether circuits are measured, with readout errors.
        by_level: Whether the module transpiles by itself; a pass manager does elsewhere, with an
            initial layout that is not trivial.
    """

    device: Callable[[], Any]
    on_aer: bool = False
    measured: bool = True
    by_level: bool = True

    @property
    def backend(self) -> Any:
        """What circuits are transpiled for."""
        return aer(self.device) if self.on_aer else self.device()

    def pass_manager(self, level: int) -> Any:
        """The preset one."""
        layout = {} if self.by_level else {"initial_layout": [3, 1, 2]}
        return generate_preset_pass_manager(level, self.backend, seed_transpiler=SEED, **layout)


@dataclass(frozen=True)
class Place:
    """A place to run.

    Attributes:
        setting: What the circuit is there.
        job: The class whose ``run`` submits a job there.
        on: What names the place, made of the setting's backend; ``None`` where no backend is named.
        estimator: Makes the estimator where one is named instead.
        sampled: Whether there are shots.
        asked: What is asked there.
        in_tensors: Whether the exact engine computes in tensors, and differentiates itself alone.
    """

    setting: Setting
    job: Callable[[], type]
    on: Callable[[Any], OnBackend] | None = None
    estimator: Callable[[], Any] | None = None
    sampled: bool = False
    asked: Asked = EXPECTATION_VALUES
    in_tensors: bool = False

    @property
    def levels(self) -> tuple[int, ...]:
        """The optimization levels to look at: the same code moves operators and outcomes."""
        return LEVELS if self.asked is EXPECTATION_VALUES else LEVELS[-1:]

    @property
    def gradients(self) -> tuple[str, ...]:
        """The gradients that there are: another package's has shots wherever it samples."""
        if self.in_tensors:
            return ("adjoint",)
        exact = self.asked is PROBABILITIES and not self.sampled
        return tuple(g for g in GRADIENTS if not (exact and g == THIRD_PARTY))

    def makes_no_job(self, gradient: str) -> bool:
        """Whether all is computed in this process, without any primitive."""
        nowhere = self.estimator is None and self.on is None and not self.sampled
        return self.in_tensors or (
            nowhere and (gradient == "adjoint" or self.asked is PROBABILITIES)
        )

    def arguments(self, level: int, shots: int = SHOTS) -> dict[str, Any]:
        """The arguments of a module that runs here, transpiled at a level."""
        arguments: dict[str, Any] = {"shots": shots} if self.sampled else {}
        if self.on is not None:
            on = self.on(self.setting.backend)
            on = replace(on, optimization_level=level, seed_transpiler=SEED)
            return {**arguments, "backend": on}
        if self.estimator is not None:
            arguments["estimator"] = self.estimator()
        return {**arguments, "pass_manager": self.setting.pass_manager(level)}


UNNAMED = Setting(ideal_device, by_level=False)
ON_AER, NOISY_ON_AER = (
    Setting(d, on_aer=True, measured=False) for d in (ideal_device, noisy_device)
)
MEASURED_ON_AER = NOISY_ON_AER._replace(measured=True)


def in_session(device: Any) -> OnBackend:
    """The local mode, with the same noise each time."""
    return OnBackend(session(device), options={"simulator": {"seed_simulator": 8}})


def sampling(setting: Setting, job: Callable[[], type], **place: Any) -> Place:
    """A place with a sampler."""
    return Place(setting, job, **place, sampled=True, asked=PROBABILITIES)


PLACES = {
    "exact engine": Place(UNNAMED, lambda: BatchedStatevectorEstimator),
    **{
        name: Place(UNNAMED, lambda: BatchedStatevectorEstimator, estimator=make, in_tensors=True)
        for name, make in {n: functools.partial(IN_TENSORS.get, n) for n in IN_TENSORS}.items()
    },
    "shots": Place(UNNAMED, lambda: BatchedStatevectorEstimator, sampled=True),
    "statevector": Place(
        UNNAMED, lambda: StatevectorEstimator, estimator=lambda: StatevectorEstimator()
    ),
    "aer": Place(Setting(plain_aer, measured=False), lambda: AerEstimator, OnBackend),
    "aer, line": Place(ON_AER, lambda: AerEstimator, OnBackend),
    "aer, noisy": Place(NOISY_ON_AER, lambda: AerEstimator, OnBackend),
    "generic": Place(Setting(noisy_device), lambda: BackendEstimatorV2, OnBackend, sampled=True),
    "127 qubits": Place(Setting(large_device), lambda: BackendEstimatorV2, OnBackend, sampled=True),
    "runtime, local": Place(
        Setting(noisy_device), of_runtime("EstimatorV2"), in_session, sampled=True
    ),
    "exact engine, probabilities": Place(
        UNNAMED, lambda: BatchedStatevectorSampler, asked=PROBABILITIES
    ),
    "shots, probabilities": sampling(UNNAMED, lambda: BatchedStatevectorSampler),
    "statevector, probabilities": sampling(
        UNNAMED, lambda: StatevectorSampler, estimator=lambda: StatevectorSampler(seed=SEED)
    ),
    "aer, probabilities": sampling(Setting(plain_aer), lambda: AerSampler, on=OnBackend),
    "aer, noisy, probabilities": sampling(
        NOISY_ON_AER._replace(measured=True), lambda: AerSampler, on=OnBackend
    ),
    "generic, probabilities": sampling(
        Setting(noisy_device), lambda: BackendSamplerV2, on=OnBackend
    ),
    "127 qubits, probabilities": sampling(
        Setting(large_device), lambda: BackendSamplerV2, on=OnBackend
    ),
    "runtime, local, probabilities": sampling(
        Setting(noisy_device), of_runtime("SamplerV2"), on=in_session
    ),
}
ASKED = {name: place.asked for name, place in PLACES.items()}
SETTINGS = {name: place.setting for name, place in PLACES.items()}


@functools.cache
def circuit_in(setting: Setting, level: int) -> QuantumCircuit:
    """The triangle, transpiled apart from any module."""
    return setting.pass_manager(level).run(triangle())


@functools.cache
def noise_in(setting: Setting) -> Noise:
    """The noise of the qubits that the triangle uses at any level."""
    if setting.device is ideal_device:
        return NOISELESS
    circuits = [circuit_in(setting, level) for level in LEVELS]
    return noise_of(setting.device().target, circuits, measured=setting.measured)


@functools.cache
def reference(place: str, level: int, *, noisy: bool = True) -> NoisyReference:
    """What is exact there, as functions of inputs followed by weights."""
    return reference_for(place, level, ASKED[place].operators, noisy=noisy)


def reference_for(
    place: str, level: int, operators: list[SparsePauliOp], *, noisy: bool = True
) -> NoisyReference:
    """The same for other operators than those that are asked for there."""
    setting = SETTINGS[place]
    if setting.device is plain_aer:  # its gates are not those that the reference takes
        setting = UNNAMED
    noise = noise_in(setting) if noisy else NOISELESS
    return NoisyReference(circuit_in(setting, level), operators, [*X, *W], noise)


def module(place: str, level: int, gradient: Any, shots: int = SHOTS) -> TorchQuantumModule:
    """The triangle there; a third-party gradient runs on the primitive that the place has."""
    asked = ASKED[place]
    arguments = {
        **PLACES[place].arguments(level, shots),
        "input_params": X,
        "weight_params": W,
        "initial_weights": torch.from_numpy(WEIGHTS),
        "seed": SEED,
    }
    if gradient == THIRD_PARTY:
        gradient = asked.third_party
    if isinstance(gradient, type):
        plain = TorchQuantumModule(triangle(), asked.measurement, **arguments)
        gradient = gradient(plain.estimator or asked.own())
    return TorchQuantumModule(triangle(), asked.measurement, gradient=gradient, **arguments)


def step(m: TorchQuantumModule, cotangent: Array) -> tuple[Array, Array, Array]:
    """Outputs ``(B, O)``, gradients by the inputs ``(B, I)`` and by the weights ``(W,)``."""
    inputs = torch.tensor(INPUTS, requires_grad=True)
    outputs = m(inputs)
    outputs.backward(torch.from_numpy(cotangent))
    assert inputs.grad is not None and m.weight.grad is not None
    return outputs.detach().numpy(), inputs.grad.numpy(), m.weight.grad.numpy()
