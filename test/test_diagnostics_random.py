# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of random circuits: series that have to be the module, algebras that hold it."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from qiskit.quantum_info import Operator, Statevector, partial_trace
from strategies import Case, cases, circuits
from test_diagnostics_dimensions import brute_force

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.diagnostics import (
    entangling_capability,
    fourier_spectrum,
    lie_algebra_dimension,
)
from qiskit_torch_bridge.exceptions import CircuitError, GradientError, MemoryLimitError
from qiskit_torch_bridge.program.binding import assign_parameters

DIGITS = 5e-10
"""What frequencies are rounded by."""


@given(cases(max_qubits=3, max_gates=6, max_parameters=3, affine_only=True, unit_coefficients=True))
def test_the_series_is_the_module(case: Case):
    assume(case.num_inputs)
    inputs = case.inputs[:2]
    module = TorchQuantumModule(
        case.circuit, list(case.observables), input_params=inputs, seed=1
    ).double()
    try:
        found = fourier_spectrum(module)
    except (GradientError, MemoryLimitError):
        assume(False)
    points = case.values[: len(inputs)][None].double()
    # An error of a frequency is multiplied by where it is evaluated, and those of the points at
    # which the coefficients were found by the condition of the system.
    size = sum(float(torch.as_tensor(o.coeffs.real).abs().sum()) for o in case.observables)
    reach = sum(
        float(abs(x)) + 2 * math.pi / float(np.diff(f).min(initial=1.0))
        for x, f in zip(points[0], found.frequencies, strict=True)
    )
    terms = math.prod(len(f) for f in found.frequencies)
    bound = (1e-12 + DIGITS * reach) * found.condition * terms * (1 + size)
    outputs = module(points).numpy(force=True)
    assert np.abs(found(points.numpy())[0] - outputs).max() < bound


@given(circuits(max_qubits=2, max_gates=5, max_parameters=3), st.integers(0, 2**32 - 1))
def test_the_algebra_holds_all_derivatives(circuit, seed):
    # U' dU is in the algebra at every point, and so are the commutators of these.
    generator = np.random.default_rng(seed)
    parameters = list(circuit.parameters)
    assume(parameters)
    step, derivatives = 1e-5, []
    for point in generator.uniform(0.3, 1.3, (4, len(parameters))):

        def unitary(values):
            return Operator(
                assign_parameters(circuit, dict(zip(parameters, values, strict=True)))
            ).data

        here = unitary(point).conj().T
        for direction in np.eye(len(parameters)) * step:
            slope = (unitary(point + direction) - unitary(point - direction)) / (2 * step)
            product = here @ slope
            if (
                np.linalg.norm(product - np.trace(product) / len(product) * np.eye(len(product)))
                > 1e-3
            ):
                derivatives.append(1j * product)
    try:
        found = lie_algebra_dimension(circuit).dimension
    except CircuitError:
        found = 0
    # Differences have errors of 1e-10, which commutators of what is nearly parallel enlarge.
    assert brute_force(derivatives, 1e-4) <= found


@given(circuits(min_qubits=2, max_qubits=4, max_parameters=4), st.integers(0, 2**32 - 1))
def test_the_measure_is_that_of_reduced_states(circuit, seed):
    points = []

    def draw(generator, shape):
        points.append(generator.uniform(0.3, 1.3, shape))
        return points[-1]

    found = entangling_capability(circuit, 2, draw=draw, seed=seed)
    n = circuit.num_qubits
    for point, value in zip(points[0], found.values, strict=True):
        bound = assign_parameters(circuit, dict(zip(circuit.parameters, point, strict=True)))
        state = Statevector(bound)
        purities = [
            np.real(partial_trace(state, [q for q in range(n) if q != k]).purity())
            for k in range(n)
        ]
        assert abs(value - 2 * (1 - np.mean(purities))) < 1e-10
