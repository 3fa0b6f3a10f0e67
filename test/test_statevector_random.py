# SPDX-License-Identifier: Apache-2.0
"""Random circuits: values and all derivatives agree with automatic differentiation.

The reference is a dense simulation that shares no code with the package. Values and gradients are
held to 1e-10 and Hessians to 1e-8, relative to the size of what is summed up. Rounding alone stays
below 1e-12 for some hundred gates; derivatives of the circuits' expressions enlarge it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import reference
import torch
from hypothesis import event, given, settings
from test_statevector_cases import CIRCUITS, SEEDS, ExactCase, exact_cases, simulator_of
from torch import Tensor

from qiskit_torch_bridge.program.readouts import Readout

EXACT, SECOND = 1e-10, 1e-8
DENSE = 256  # amplitudes times rows up to which the reference takes all rows of a batch

Arrays = tuple[np.ndarray, ...]
Read: TypeAlias = "Callable[[Tensor], Tensor]"
"""What the reference reads at rows of values: ``(R, P)`` to ``(R, S)``."""


class ByValues:
    """The simulator, and rows of values as the inputs and weights that it takes."""

    def __init__(self, case: ExactCase, readout: Readout | None = None) -> None:
        self.case = case
        self.simulator = simulator_of(case, readout=readout)

    def split(self, rows: Tensor) -> Arrays:
        """Rows of values or tangents ``(B, P)`` as the inputs and the weights in them."""
        x, w = rows[:, : self.case.num_inputs], rows[:, self.case.num_inputs :]
        return np.ascontiguousarray(x), np.ascontiguousarray(
            w[:1] if self.case.shares_weights else w
        )

    def summed(self, gradient: Tensor) -> Arrays:
        """A gradient ``(B, P)`` as those by inputs and by weights, which may be shared."""
        x, w = gradient[:, : self.case.num_inputs], gradient[:, self.case.num_inputs :]
        return x.numpy(), (w.sum(0, keepdim=True) if self.case.shares_weights else w).numpy()

    def point(self, direction: Tensor | None = None) -> Arrays:
        """What the simulator takes: values, and tangents if there is a direction."""
        values = self.split(self.case.values)
        return values + (() if direction is None else self.split(direction))

    def turned_gradient(
        self, cotangent: np.ndarray, direction: Tensor, dcotangent: np.ndarray
    ) -> Arrays:
        """The derivative of the gradient along a direction."""
        x, w, dx, dw = self.point(direction)
        return self.simulator.vjp_tangent(x, w, cotangent, dx, dw, dcotangent)


class Truth(NamedTuple):
    """What the reference gives for some rows ``R``; derivatives are those of a weighted sum."""

    values: Tensor  # (R, S) what is read, observables or others
    gradient: Tensor  # (R, P)
    hessian: Tensor  # (R, P, P)
    tangents: Tensor  # (R, S) derivatives along a direction
    dgradient: Tensor  # (R, P) gradient for the other cotangent


def truth(
    read: Read, values: Tensor, rows: np.ndarray, weights: Tensor, others: Tensor, d: Tensor
) -> Truth:
    values, c = values[rows].requires_grad_(), weights[rows].requires_grad_()
    evs = read(values)
    options = {"materialize_grads": True, "retain_graph": True}
    (g,) = torch.autograd.grad((c * evs).sum(), values, create_graph=True, **options)
    columns = [torch.autograd.grad(column.sum(), values, **options)[0] for column in g.mT]
    hessian = torch.stack(columns, -1) if columns else g.new_zeros((*g.shape, 0))
    (tangents,) = torch.autograd.grad((g * d[rows]).sum(), c, **options)
    (dgradient,) = torch.autograd.grad((others[rows] * evs).sum(), values, **options)
    return Truth(evs.detach(), g.detach(), hessian, tangents, dgradient)


def check(found: Arrays, expected: Arrays, tolerance: float, size: float) -> None:
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance * size)


@settings(max_examples=CIRCUITS)
@given(exact_cases(), SEEDS)
def test_values_and_all_derivatives(case: ExactCase, seed: int) -> None:
    norms = [float(np.abs(o.coeffs).sum()) for o in case.observables]

    def read(values: Tensor) -> Tensor:
        return reference.expectations(case.twin, case.observables, case.parameters, values)

    check_derivatives(ByValues(case), read, seed, max(1.0, *norms))


def check_derivatives(ours: ByValues, read: Read, seed: int, norm: float) -> None:
    """Compare values and all derivatives with those of the reference, for some rows of a case."""
    case = ours.case
    rng = np.random.default_rng(seed)
    count, (total, num_params) = ours.simulator.size, case.values.shape
    some = max(1, min(total, DENSE >> case.circuit.num_qubits))
    rows = np.sort(rng.choice(total, some, replace=False))
    # Rows that the reference leaves out get no weight: nothing may come from them.
    weights, others = torch.zeros(2, total, count, dtype=torch.float64)
    weights[rows], others[rows] = torch.from_numpy(rng.normal(size=(2, some, count)))
    direction = torch.from_numpy(rng.normal(size=(total, num_params)))
    if case.shares_weights:
        direction[:, case.num_inputs :] = direction[:1, case.num_inputs :]
    true = truth(read, case.values, rows, weights, others, direction)

    def spread(part: Tensor) -> Tensor:
        whole = torch.zeros(total, *part.shape[1:], dtype=torch.float64)
        whole[rows] = part
        return whole

    size = some * norm * max(1.0, *(float(t.abs().max()) for t in true if t.numel()))
    event(f"affine: {ours.simulator.tape.angle_map.is_affine}")
    event(f"rotations: {min(len(ours.simulator.tape.rotations), 50) // 10}0")
    evs, _ = ours.simulator.evaluate(*ours.point())
    check((evs[rows],), (true.values.numpy(),), EXACT, size)
    c, dc = weights.numpy(), others.numpy()
    check(ours.simulator.vjp(*ours.point(), c), ours.summed(spread(true.gradient)), EXACT, size)
    tangents = ours.simulator.tangent(*ours.point(direction))[rows]
    check((tangents,), (true.tangents.numpy(),), EXACT, size)
    for column in range(num_params):
        unit = torch.zeros_like(case.values)
        unit[:, column] = 1
        expected = ours.summed(spread(true.hessian[..., column]))
        check(ours.turned_gradient(c, unit, np.zeros_like(c)), expected, SECOND, size)
    along = (true.hessian @ direction[rows, :, None])[..., 0] + true.dgradient
    check(ours.turned_gradient(c, direction, dc), ours.summed(spread(along)), SECOND, size)


@settings(max_examples=CIRCUITS // 4)
@given(exact_cases(max_qubits=6))
def test_states(case: ExactCase) -> None:
    """The amplitudes of the qubits that anything acts on, up to a phase; the others are zero."""
    simulator = simulator_of(case, states=True)
    x, w = ByValues(case).split(case.values)
    states = simulator.states(x, w)
    bits = simulator.tape.position
    index = np.zeros(1 << len(bits), dtype=int)
    for qubit, bit in bits.items():
        index |= (np.arange(len(index)) >> bit & 1) << qubit
    for row in range(min(3, len(states))):
        full = reference.statevector(case.twin, case.parameters, case.values[row]).numpy()
        assert abs(abs(np.vdot(full[index], states[row])) - 1) < EXACT
        assert abs(np.linalg.norm(states[row]) - 1) < EXACT
