# SPDX-License-Identifier: Apache-2.0
"""Random circuits: every gradient agrees with automatic differentiation of a dense simulation.

The reference shares no code with the package. Exact rules are held to 1e-9; central differences
to their own error, ``h**2 / 6`` times a bound on the third derivative.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import assume, given
from reference import expectations, jacobian
from strategies import Case, cases

from qiskit_torch_bridge import CircuitProgram, expectation
from qiskit_torch_bridge.exceptions import GradientError
from qiskit_torch_bridge.gradients import FiniteDifferenceEstimatorGradient
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

EXACT = 1e-9


def jacobian_of_bridge(case: Case, gradient) -> tuple[torch.Tensor, torch.Tensor]:
    """Values ``(O,)`` and Jacobian ``(O, P)`` in the case's order of parameters."""
    program = CircuitProgram(
        case.circuit,
        list(case.observables),
        input_params=case.inputs,
        weight_params=case.weights,
    )
    inputs, weights = case.values[: case.num_inputs], case.values[case.num_inputs :]

    def f(x, w):
        return expectation(program, x, w, gradient=gradient)

    jacobians = torch.func.jacrev(f, argnums=(0, 1))(inputs, weights)
    return f(inputs, weights), torch.cat(jacobians, -1)


def size(case: Case) -> float:
    """A bound on the absolute expectation values, for relative tolerances."""
    return max(1.0, *(float(np.abs(o.coeffs).sum()) for o in case.observables))


@given(cases(max_qubits=5))
def test_parameter_shift_is_exact(case: Case):
    values, derivatives = jacobian_of_bridge(case, "parameter-shift")
    args = (case.circuit, case.observables, case.parameters, case.values)
    torch.testing.assert_close(values, expectations(*args), rtol=0, atol=EXACT * size(case))
    torch.testing.assert_close(derivatives, jacobian(*args), rtol=EXACT, atol=EXACT * size(case))


@given(cases(max_qubits=4, affine_only=True, max_gates=5))
def test_aqgd_is_exact_where_it_applies(case: Case):
    try:
        _, derivatives = jacobian_of_bridge(case, "aqgd")
    except GradientError as error:
        assume("more than" not in str(error))  # too many frequencies for any shift rule
        raise
    expected = jacobian(case.circuit, case.observables, case.parameters, case.values)
    torch.testing.assert_close(derivatives, expected, rtol=EXACT, atol=EXACT * size(case))


@given(cases(max_qubits=4, affine_only=True, unit_coefficients=True, max_gates=5))
def test_central_differences_are_second_order(case: Case):
    """With unit coefficients an occurrence has frequency at most 2, so f''' is bounded."""
    h = 1e-3
    program = CircuitProgram(case.circuit, list(case.observables))
    highest = 1.0
    try:
        for column in range(len(program.parameters)):
            highest = max((highest, *program.analysed.frequencies(column)))
    except GradientError:
        assume(False)
    _, derivatives = jacobian_of_bridge(
        case, FiniteDifferenceEstimatorGradient(BatchedStatevectorEstimator(), epsilon=h)
    )
    expected = jacobian(case.circuit, case.observables, case.parameters, case.values)
    # |f'''| <= w**3 |f| by Bernstein's inequality; rounding adds a few ulp over h.
    tolerance = size(case) * (h**2 / 6 * highest**3 + 1e-14 / h)
    torch.testing.assert_close(derivatives, expected, rtol=0, atol=tolerance)
