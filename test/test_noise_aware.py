# SPDX-License-Identifier: Apache-2.0
"""Training under noise makes up for what training without it loses on the device."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from circuits import rotation
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import RYGate
from qiskit.primitives import BackendEstimatorV2
from qiskit.providers import BackendV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import InstructionProperties
from qiskit_aer import AerSimulator
from qiskit_aer.noise import (
    NoiseModel,
    ReadoutError,
    amplitude_damping_error,
    coherent_unitary_error,
    depolarizing_error,
)
from torch import Tensor, nn

from qiskit_torch_bridge import Execution, OnBackend, TorchQuantumModule

START = 1.0
STEPS = 40
ROUNDING = 1e-9
SIGMAS = 6  # two in a billion for a normal variable, one in 10 million over this file


def noisy(error: Any, gates: Sequence[str] = ("ry",)) -> AerSimulator:
    """A device with one kind of error; density matrices make its values exact."""
    model = NoiseModel(basis_gates=["cx", "ry", "rz"])
    model.add_all_qubit_quantum_error(error, list(gates))
    return AerSimulator(noise_model=model, method="density_matrix")


def one_qubit(start: float = START, **where: Any) -> TorchQuantumModule:
    """<Z> after RY(theta): the cosine, where there is no noise."""
    weights = torch.tensor([start], dtype=torch.float64)
    return TorchQuantumModule(rotation()[0], "Z", initial_weights=weights, **where)


def descend(module: nn.Module, target: float, rate: float, steps: int = STEPS) -> list[float]:
    """Gradient descent on (y - target)^2; returns the distance from the target before each step."""
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)
    distances = []
    for _ in range(steps):
        optimizer.zero_grad()
        distance = module() - target
        distance.square().sum().backward()
        optimizer.step()
        distances.append(abs(distance.item()))
    return distances


def learned(module: TorchQuantumModule, target: float, flattest: float, steepest: float) -> float:
    """Descend at the rate 1 / (2 steepest^2), and return the most that may be left to the target.

    By the mean value theorem a step multiplies the distance by 1 - y'(a) y'(b) / steepest^2 with
    slopes on the way. Those lie between the flattest and the steepest and have one sign, so the
    distance shrinks without a change of sign to at most 1 - (flattest / steepest)^2 of itself.
    """
    distances = descend(module, target, 0.5 / steepest**2)
    factor = 1 - (flattest / steepest) ** 2
    for before, after in itertools.pairwise(distances):
        assert after <= factor * before + ROUNDING
    return distances[0] * factor**STEPS + ROUNDING


def learned_without_noise(target: float) -> TorchQuantumModule:
    """Trained on the exact engine: theta = arccos(target), to 1e-7."""
    module = one_qubit()
    left = learned(module, target, min(math.sin(START), math.sin(math.acos(target))), 1.0)
    assert left < 1e-7
    assert module().item() == pytest.approx(target, abs=left)
    return module


@pytest.mark.parametrize(("gamma", "target"), [(0.2, -0.4), (0.1, 0.6)])
def test_amplitude_damping(gamma: float, target: float) -> None:
    """Damping turns <Z> into gamma + (1 - gamma) <Z>.

    Trained without noise a value t becomes gamma + (1 - gamma) t: off by gamma (1 - t). Trained
    under the noise it is t, where cos(theta) = (t - gamma) / (1 - gamma).
    """
    device = noisy(amplitude_damping_error(gamma))
    without = learned_without_noise(target).with_backend(device)
    assert without().item() - target == pytest.approx(gamma * (1 - target), abs=1e-7)

    optimum = (target - gamma) / (1 - gamma)
    steepest = 1 - gamma
    flattest = steepest * min(math.sin(START), math.sin(math.acos(optimum)))
    under = one_qubit(backend=device)
    left = learned(under, target, flattest, steepest)
    assert left < 1e-7
    assert under().item() == pytest.approx(target, abs=left)
    assert math.cos(under.weight.item()) == pytest.approx(optimum, abs=left / (1 - gamma))


def test_a_value_that_the_device_cannot_show_is_approached_as_far_as_it_goes() -> None:
    """Damping leaves values of 2 gamma - 1 and above: training ends there, at theta = pi.

    With d the angle left to pi, a step at rate 1 takes 2 (y - t)(1 - gamma) sin(d) from it. Here
    y - t falls from 0.71 to 0.3, and sin(d) is between 0.79 d and d: d shrinks to between nothing
    and 0.67 of itself, in forty steps to 2e-7, and y is above its least value by d^2 / 2 or less.
    """
    gamma, target = 0.3, -0.7
    under = one_qubit(2.0, backend=noisy(amplitude_damping_error(gamma)))
    distances = descend(under, target, 1.0)
    assert under.weight.item() == pytest.approx(math.pi, abs=2e-7)
    assert distances[-1] == pytest.approx(2 * gamma - 1 - target, abs=ROUNDING)


@pytest.mark.parametrize("epsilon", [0.3, -0.2])
def test_a_coherent_over_rotation_is_undone(epsilon: float) -> None:
    """Every rotation goes too far by epsilon: <Z> = cos(theta + epsilon).

    Trained without noise a value t becomes t cos(epsilon) - sqrt(1 - t^2) sin(epsilon). Training
    under the error turns back by epsilon, and nothing of it is left.
    """
    target = 0.3
    device = noisy(coherent_unitary_error(RYGate(epsilon).to_matrix()))
    trained = learned_without_noise(target)
    angle = math.acos(target)
    without = trained.with_backend(device)
    expected = target * math.cos(epsilon) - math.sin(angle) * math.sin(epsilon)
    assert without().item() == pytest.approx(expected, abs=1e-7)

    under = one_qubit(backend=device)
    left = learned(under, target, min(math.sin(START + epsilon), math.sin(angle)), 1.0)
    assert left < 1e-7
    assert under().item() == pytest.approx(target, abs=left)
    # Both values are right to 1e-7 and their slopes above 0.7.
    assert trained.weight.item() - under.weight.item() == pytest.approx(epsilon, abs=3e-7)


def sloppy_device(error: float = 0.0, readout: float = 0.0) -> GenericBackendV2:
    """A device whose qubits all have the same error of SX, and of readout, and no other."""
    device = GenericBackendV2(
        3,
        basis_gates=["rz", "sx", "x", "cx"],
        coupling_map=[[0, 1], [1, 2]],
        noise_info=False,
        seed=3,
    )
    for qubit in range(3):
        for name, value in (("sx", error), ("measure", readout)):
            known = InstructionProperties(error=value)
            device.target.update_instruction_properties(name, (qubit,), known)
    return device


NO_RELAXATION = pytest.mark.filterwarnings("ignore:.*has no QubitProperties:UserWarning")
FROM_BACKEND = {
    "AerSimulator": lambda b: AerSimulator.from_backend(b, method="density_matrix"),
    "NoiseModel": lambda b: AerSimulator(
        noise_model=NoiseModel.from_backend(b), method="density_matrix"
    ),
}


@NO_RELAXATION
@pytest.mark.parametrize("way", FROM_BACKEND)
def test_noise_from_a_backend(way: str) -> None:
    """RY(theta) becomes two SX, each with a depolarizing error.

    An average gate error of r is a depolarizing error of 2 r for one qubit, so <Z> shrinks by
    (1 - 2 r)^2 in all: t becomes (1 - 2 r)^2 t if the noise was not there in training.
    """
    r, target = 0.05, -0.5
    shrunk = (1 - 2 * r) ** 2
    device = FROM_BACKEND[way](sloppy_device(r))
    under = one_qubit(backend=OnBackend(device, seed_transpiler=1))
    assert under.isa_circuit.count_ops()["sx"] == 2
    without = learned_without_noise(target).with_backend(OnBackend(device, seed_transpiler=1))
    assert without().item() == pytest.approx(shrunk * target, abs=1e-7)

    flattest = shrunk * min(math.sin(START), math.sin(math.acos(target / shrunk)))
    left = learned(under, target, flattest, shrunk)
    assert left < 1e-7
    assert under().item() == pytest.approx(target, abs=left)


@NO_RELAXATION
def test_simulators_of_devices_keep_the_layout() -> None:
    """Three qubits that are all connected, on a chain: some move, and values stay."""
    w = ParameterVector("w", 3)
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(w[q], q)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        circuit.cx(a, b)
    weights = torch.tensor([0.3, 0.8, -1.1], dtype=torch.float64)
    observables = ["IIZ", "IZI", "ZII"]
    exact = TorchQuantumModule(circuit, observables, initial_weights=weights)
    device = AerSimulator.from_backend(sloppy_device(), method="density_matrix")
    moved = exact.with_backend(OnBackend(device, seed_transpiler=1))
    layout = moved.isa_circuit.layout
    assert layout is not None
    assert layout.final_index_layout() != [0, 1, 2]
    torch.testing.assert_close(moved(), exact(), rtol=0, atol=ROUNDING)


class Hybrid(nn.Module):
    """A circuit of three qubits with a linear layer after it."""

    def __init__(self, node: TorchQuantumModule, readout: nn.Linear) -> None:
        super().__init__()
        self.node, self.readout = node, readout

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.node(inputs))


def hybrid(weights: Sequence[float], readout: Sequence[float], **where: Any) -> Hybrid:
    x, w = ParameterVector("x", 3), ParameterVector("w", 3)
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(x[q], q)
        circuit.ry(w[q], q)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    node = TorchQuantumModule(
        circuit,
        ["IIZ", "IZI", "ZII"],
        input_params=x,
        initial_weights=torch.tensor(weights, dtype=torch.float64),
        **where,
    )
    linear = nn.Linear(3, 1, dtype=torch.float64)
    with torch.no_grad():
        linear.weight[:] = torch.tensor(readout, dtype=torch.float64)
        linear.bias.zero_()
    return Hybrid(node, linear)


def fit(model: nn.Module, inputs: Tensor, targets: Tensor, iterations: int) -> float:
    """Least squares with L-BFGS; returns the mean squared error reached."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=iterations, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item()


def test_a_classical_layer_makes_up_for_lost_signal() -> None:
    """Depolarizing by p after each CX takes nothing but signal, and known factors of it.

    Seen backward from its measurement, Z of qubit 0 passes one CX, those of qubits 1 and 2 pass
    both: they shrink by s = (1 - p, (1 - p)^2, (1 - p)^2). A network with readout weights a gives
    the sum of a_j s_j z_j instead of a_j z_j. Without noise in training its error on the device
    is the mean square of the difference to the targets; training under the noise can divide a by
    s and has no error left. Targets are those of such a network without noise, so the best error
    is zero for both; thirty iterations on the device leave less than a hundredth of what is lost.
    """
    p = 0.2
    device = noisy(depolarizing_error(p, 2), ["cx"])
    signal = torch.tensor([1 - p, (1 - p) ** 2, (1 - p) ** 2], dtype=torch.float64)
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.no_grad():
        targets = hybrid([0.4, -0.5, 0.9], [1.0, -1.5, 2.0])(inputs)
    start = ([0.6, -0.2, 0.6], [0.7, -1.0, 1.5])

    without = hybrid(*start)
    assert fit(without, inputs, targets, 200) < 1e-8
    with torch.no_grad():
        z = without.node(inputs)
        predicted = without.readout(signal * z)
        without.node = without.node.with_backend(device)
        found = without(inputs)
    torch.testing.assert_close(found, predicted, rtol=0, atol=ROUNDING)
    lost = (predicted - targets).square().mean().item()

    under = hybrid(*start, backend=device)
    assert fit(under, inputs, targets, 30) < lost / 100


def test_a_trained_module_is_moved_and_fine_tuned() -> None:
    """Damping by gamma takes gamma (1 - t); every further step on the device takes some of it."""
    gamma, target = 0.2, -0.4
    device = noisy(amplitude_damping_error(gamma))
    trained = learned_without_noise(target)
    angle = trained.weight.item()
    moved = trained.with_backend(device)
    first = abs(moved().item() - target)
    assert first == pytest.approx(gamma * (1 - target), abs=1e-7)

    optimum = math.acos((target - gamma) / (1 - gamma))
    flattest = (1 - gamma) * min(math.sin(angle), math.sin(optimum))
    left = learned(moved, target, flattest, 1 - gamma)
    assert left < 1e-6 * first
    assert moved().item() == pytest.approx(target, abs=left)
    assert trained.weight.item() == angle  # where it came from is as it was
    back = moved.with_backend()
    assert back().item() == pytest.approx((target - gamma) / (1 - gamma), abs=1e-6)


def test_evaluation_on_the_device_while_training_without_its_noise() -> None:
    gamma = 0.2
    module = one_qubit(evaluation=Execution(backend=noisy(amplitude_damping_error(gamma))))
    assert module().item() == pytest.approx(math.cos(START), abs=ROUNDING)
    damped = gamma + (1 - gamma) * math.cos(START)
    assert module.eval()().item() == pytest.approx(damped, abs=ROUNDING)
    assert module.train()().item() == pytest.approx(math.cos(START), abs=ROUNDING)


def test_readout_errors_are_for_those_who_sample() -> None:
    """Flipped with probability e, a measured <Z> shrinks by 1 - 2 e.

    Aer's estimator reads values from the state, where nothing is measured.
    """
    e, precision = 0.1, 1 / 128
    model = NoiseModel(basis_gates=["cx", "ry", "rz"])
    model.add_all_qubit_readout_error(ReadoutError([[1 - e, e], [e, 1 - e]]))
    device = AerSimulator(noise_model=model, method="density_matrix", seed_simulator=4)
    assert one_qubit(backend=device)().item() == pytest.approx(math.cos(START), abs=ROUNDING)
    sampling = one_qubit(estimator=BackendEstimatorV2(backend=device), precision=precision)
    expected = (1 - 2 * e) * math.cos(START)
    assert sampling().item() == pytest.approx(expected, abs=SIGMAS * precision)


SHOTS = 2**11
SHOTS_AFTER = 2**15
REACHED = SIGMAS * (1 / SHOTS / 3 + 1 / SHOTS_AFTER) ** 0.5
MEASURED = SIGMAS / SHOTS_AFTER**0.5


def measured_after_training(
    module: TorchQuantumModule, device: BackendV2, target: float, rate: float, steps: int
) -> float:
    """Descend on the device with few shots, and measure there with many: off by REACHED at most.

    A distance e from the target and its measurement's error n, of 1 / sqrt(SHOTS) at most, make
    the next distance (1 - k) e - k n to first order, with k = 2 rate |gradient of y|^2. In the long
    run e has k / (2 - k) of the variance of n, a third of it if k is one half at the target, as it
    is at most below; the last measurement adds its own.
    """
    descend(module, target, rate, steps)
    return measured(module, device)


def measured(module: TorchQuantumModule, device: BackendV2) -> float:
    there = module.with_backend(OnBackend(device, seed_transpiler=1), shots=SHOTS_AFTER, seed=8)
    return there().item()


def test_shots_with_readout_errors() -> None:
    """Flipped with probability e, a measured <Z> shrinks by 1 - 2 e, and so does a learned one.

    What began at a distance of one is 1e-3 after twelve steps: each leaves at most
    1 - (flattest / steepest)^2 = 0.51 of it.
    """
    e, target = 0.15, -0.5
    shrunk = 1 - 2 * e
    device = sloppy_device(readout=e)
    lost = abs((1 - shrunk) * target)
    assert lost > REACHED + MEASURED  # so that the two outcomes cannot be taken for each other

    without = measured(learned_without_noise(target), device)
    assert without == pytest.approx(shrunk * target, abs=MEASURED)
    under = one_qubit(backend=OnBackend(device, seed_transpiler=1), shots=SHOTS, seed=5)
    after = measured_after_training(under, device, target, 0.5 / shrunk**2, 12)
    assert after == pytest.approx(target, abs=REACHED + 1e-3)


def test_shots_on_a_device_of_ibm() -> None:
    """The parity of four qubits of Manila, as its calibration describes them.

    Readout errors e_q shrink <ZZZZ> by the product of 1 - 2 e_q, about 0.7. The eight SX, with
    errors below 1e-3 and relaxation for 36 ns of some 100 us, change it by less than 1e-3 each. The
    product of four cosines has its steepest slopes where the squares of the cosines are 3/4:
    |gradient|^2 is below 0.21 on this device, and k below one half at a rate of one. With exact
    values the distance of 0.13 would be below 3e-3 after eight steps.
    """
    device = pytest.importorskip("qiskit_ibm_runtime.fake_provider").FakeManilaV2()
    target, w = 0.45, ParameterVector("w", 4)
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.ry(w[q], q)
    start = torch.full((4,), 0.6, dtype=torch.float64)
    trained = TorchQuantumModule(circuit, "ZZZZ", initial_weights=start)
    assert descend(trained, target, 0.5, 100)[-1] < 1e-6

    under = trained.with_backend(OnBackend(device, seed_transpiler=1), shots=SHOTS, seed=6)
    with torch.no_grad():
        under.weight[:] = start
    qubits = under.isa_circuit.layout.final_index_layout()
    shrunk = math.prod(1 - 2 * device.target["measure"][(q,)].error for q in qubits)
    gates = 8e-3
    assert (1 - shrunk) * target - gates > REACHED + MEASURED

    without = measured(trained, device)
    assert without == pytest.approx(shrunk * target, abs=MEASURED + gates)
    after = measured_after_training(under, device, target, 1.0, 8)
    assert after == pytest.approx(target, abs=REACHED + 3e-3)
