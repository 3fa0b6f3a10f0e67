# SPDX-License-Identifier: Apache-2.0
"""Fourier spectra: series that are known, and series that have to be the module itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

from qiskit_torch_bridge import Probabilities, Purity, TorchQuantumModule
from qiskit_torch_bridge.diagnostics import fourier_spectrum
from qiskit_torch_bridge.exceptions import (
    GradientError,
    InputError,
    MeasurementError,
    MemoryLimitError,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator


def uploading(layers: int, scales=None, parallel: bool = False) -> TorchQuantumModule:
    """Inputs encoded ``layers`` times, one after the other or side by side, and rotations."""
    n = layers if parallel else 1
    x, w = Parameter("x"), ParameterVector("w", 6 * max(layers, n) + 6)
    circuit, angles = QuantumCircuit(n), iter(w)

    def block():
        turn()
        for q in range(n - 1):
            circuit.cx(q, q + 1)

    def turn():
        for q in range(n):
            circuit.rz(next(angles), q)
            circuit.ry(next(angles), q)

    block()
    for k in range(1 if parallel else layers):
        for q in range(n):
            scale = 1 if scales is None else scales[q if parallel else k]
            circuit.rx(scale * x, q)
        block()
    turn()
    return TorchQuantumModule(circuit, "Z" * n, input_params=[x], seed=3)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_repeated_rotations_have_one_frequency(n):
    x = Parameter("x")
    circuit = QuantumCircuit(1)
    for _ in range(n):
        circuit.rx(x, 0)
    found = fourier_spectrum(TorchQuantumModule(circuit, "Z", input_params=[x]))  # cos(n x)
    expected = np.zeros(2 * n + 1)
    expected[[0, -1]] = 0.5
    assert found.frequencies[0] == pytest.approx(np.arange(-n, n + 1))
    assert found.coefficients[0, :, 0] == pytest.approx(expected, abs=1e-14)
    assert found.degree() == (n,)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_parallel_rotations_have_binomial_coefficients(n):
    x = Parameter("x")
    circuit = QuantumCircuit(n)
    circuit.rx(x, range(n))
    found = fourier_spectrum(TorchQuantumModule(circuit, "Z" * n, input_params=[x]))  # cos(x)**n
    expected = [math.comb(n, (n - k) // 2) / 2**n * ((n - k) % 2 == 0) for k in range(-n, n + 1)]
    assert found.coefficients[0, :, 0] == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_degree_is_the_number_of_encodings(layers, parallel):
    # M. Schuld et al. (2021): L repetitions of a Pauli rotation, in whatever arrangement, reach
    # the frequencies -L to L and no others.
    module = uploading(layers, parallel=parallel)
    found = fourier_spectrum(module, 5, seed=1)
    assert found.frequencies[0] == pytest.approx(np.arange(-layers, layers + 1))
    assert found.degree() == (layers,)
    points = torch.linspace(-7, 9, 23, dtype=torch.float64)[:, None]
    series = found(points.numpy())[0]
    assert np.abs(series.imag).max() < 1e-13
    assert series.real == pytest.approx(module(points).numpy(force=True), abs=1e-13)
    mirrored = found.coefficients[:, ::-1].conj()
    assert found.coefficients == pytest.approx(mirrored, abs=1e-13)  # the model is real


def test_one_encoding_is_a_sine_whatever_surrounds_it():
    # Figure 3 of the same paper: a single Pauli rotation cannot fit a series of degree two.
    module = uploading(1)
    grid = 2 * math.pi * np.arange(16) / 16
    values = module(torch.from_numpy(grid[:, None])).numpy(force=True)[:, 0]
    transform = np.fft.fft(values) / 16
    found = fourier_spectrum(module)
    assert found.coefficients[0, :, 0] == pytest.approx(transform[[-1, 0, 1]], abs=1e-14)
    assert np.abs(transform[2:-1]).max() < 1e-14


def test_powers_of_three_reach_all_frequencies():
    module = uploading(3, scales=[1, 3, 9], parallel=True)
    found = fourier_spectrum(module, 3, seed=2)
    assert found.frequencies[0] == pytest.approx(np.arange(-13, 14))
    assert found.degree() == (13,)
    assert (found.mean_magnitude[:, 0] > 1e-6).sum() == 25  # this circuit does without 9 and -9
    assert found.condition == pytest.approx(1)


def test_frequencies_without_a_common_unit_are_found_by_least_squares():
    module = uploading(2, scales=[1.0, math.sqrt(2)])
    found = fourier_spectrum(module)
    root = math.sqrt(2)
    positive = [root - 1, 1, root, root + 1]
    assert found.frequencies[0][5:] == pytest.approx(positive, abs=1e-8)
    assert found.condition < 10
    points = np.linspace(-20, 20, 31)[:, None]
    outputs = module(torch.from_numpy(points)).numpy(force=True)
    assert found(points)[0].real == pytest.approx(outputs, abs=1e-7)  # frequencies have 9 digits


def two_inputs(measurement=None) -> TorchQuantumModule:
    x, w = ParameterVector("x", 3), ParameterVector("w", 6)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(w[q], q)
        circuit.rx(x[q], q)
    circuit.cx(0, 1)
    circuit.rz(2 * x[2], 1)
    circuit.crx(x[0], 0, 1)
    for q in range(2):
        circuit.ry(w[2 + q], q)
    circuit.rx(w[4], 0)
    circuit.rx(w[5], 1)
    return TorchQuantumModule(circuit, measurement, input_params=x, seed=4)


@pytest.mark.parametrize("measurement", [None, "ZZ", Probabilities([0, 1])])
def test_several_inputs_and_outputs(measurement):
    module = two_inputs(measurement)
    found = fourier_spectrum(module, 2, seed=1)
    sizes = tuple(len(f) for f in found.frequencies)
    assert found.coefficients.shape == (2, *sizes, *module.program.output_shape)
    assert found.frequencies[0] == pytest.approx([-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2])
    points = np.random.default_rng(0).uniform(-9, 9, (20, 3))
    outputs = module(torch.from_numpy(points)).numpy(force=True)
    assert found(points)[0].real == pytest.approx(outputs, abs=1e-12)
    assert found.plot().get_xlabel() == "frequency of x[0]"


def test_one_of_several_inputs_at_a_point():
    module, at = two_inputs("ZI"), [0.3, 0.0, -1.1]
    found = fourier_spectrum(module, inputs=[1], at=at)
    points = np.tile(at, (9, 1))
    points[:, 1] = np.linspace(0, 6, 9)
    outputs = module(torch.from_numpy(points)).numpy(force=True)
    assert found(points[:, 1:2])[0].real == pytest.approx(outputs, abs=1e-12)
    assert found.names == ("x[1]",)


def test_drawn_weights_are_those_of_the_generator():
    module = uploading(2)
    found = fourier_spectrum(module, 4, seed=7)
    count = len(module.weight)
    weights = np.random.default_rng(7).uniform(0, 2 * math.pi, (3, count))
    for row, coefficients in zip(weights, found.coefficients[1:], strict=True):
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(row))
        again = fourier_spectrum(module)
        # The module's own weights are in single precision.
        assert coefficients == pytest.approx(again.coefficients[0], abs=1e-5)
    assert found.variance.shape == (5, 1)
    assert found.plot() is not None


def test_frozen_weights_are_not_drawn():
    module = uploading(2)
    some = module.with_frozen(["w[0]", "w[3]"])
    found, all_drawn = (fourier_spectrum(m, 3, seed=1) for m in (some, module))
    assert found.coefficients[0] == pytest.approx(all_drawn.coefficients[0], abs=1e-12)
    everything = fourier_spectrum(module.with_frozen("*"), 3, seed=1).coefficients
    assert (everything == everything[0]).all()


def test_on_an_estimator_it_is_the_same():
    module = uploading(2)
    moved = module.with_backend(estimator=BatchedStatevectorEstimator())
    first, second = fourier_spectrum(module, 2, seed=1), fourier_spectrum(moved, 2, seed=1)
    assert first.coefficients == pytest.approx(second.coefficients, abs=1e-12)


def test_what_makes_no_sense_is_refused():
    x = Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.rx(x * x, 0)
    with pytest.raises(GradientError, match="affine expressions of gates"):
        fourier_spectrum(TorchQuantumModule(circuit, "Z", input_params=[x]))
    with pytest.raises(InputError, match="has none"):
        fourier_spectrum(TorchQuantumModule(circuit, "Z"))
    circuit = QuantumCircuit(1)
    circuit.rx(x, 0)
    with pytest.raises(MeasurementError, match="Fourier series"):
        fourier_spectrum(TorchQuantumModule(circuit, Purity([0]), input_params=[x]))
    with pytest.raises(InputError, match="different places"):
        fourier_spectrum(two_inputs(), inputs=[1, 1])
    y = ParameterVector("y", 16)
    wide = QuantumCircuit(16)
    for q in range(16):
        wide.rx(y[q], q)
    with pytest.raises(MemoryLimitError, match="Look at fewer inputs"):
        fourier_spectrum(TorchQuantumModule(wide, "Z" * 16, input_params=y))
