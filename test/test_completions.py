# SPDX-License-Identifier: Apache-2.0
"""What is made of readouts, differentiated in every way that torch has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, random_density_matrix, random_statevector
from torch.autograd import gradcheck, gradgradcheck

from qiskit_torch_bridge import (
    CircuitProgram,
    CVaR,
    Entropy,
    Fidelity,
    Probabilities,
    Purity,
    State,
    Variance,
)
from qiskit_torch_bridge.autograd.completions import complete, complete_errors

MEASUREMENTS = {
    "expectation values": ["ZZI", "XIY"],
    "probabilities": Probabilities([0, 1]),
    "variance": Variance(["ZZI", {"XIY": 0.5, "ZII": 1.0}]),
    "cvar": CVaR([SparsePauliOp(["ZII", "IZZ"], [1.0, 0.3]), "IZI"], 0.3),
    "purity": Purity([2, 0]),
    "entropy": Entropy([1]),
    "entropy of most": Entropy([1, 2], base=2),
    "entropy of all": Entropy([0, 1, 2]),
    "fidelity": Fidelity(random_statevector(8, seed=1)),
    "fidelity of some": Fidelity(random_statevector(4, seed=2), [2, 0]),
    "fidelity with a mixture": Fidelity(random_density_matrix(8, seed=3)),
    "state": State(),
}


@pytest.fixture(params=MEASUREMENTS)
def completion(request):
    """What is made of numbers ``(B, size)``, and three rows of these."""
    program = CircuitProgram(QuantumCircuit(3), MEASUREMENTS[request.param])
    numbers = np.random.default_rng(1).dirichlet(np.ones(program.readout.size), 3)
    return lambda raw: complete(program.measurement, raw), torch.tensor(numbers)


def test_shapes(completion):
    f, raw = completion
    y = f(raw)
    assert y.shape[0] == 3 and y.ndim == 2
    torch.testing.assert_close(torch.vmap(f)(raw), y, rtol=0, atol=1e-15)
    torch.testing.assert_close(f(raw.expand(2, 3, -1)), y.expand(2, 3, -1), rtol=0, atol=1e-15)
    assert f(raw[:0]).shape == (0, y.shape[1])


def test_derivatives(completion):
    f, raw = completion
    raw = raw[:1].requires_grad_()
    options = {"check_forward_ad": True, "check_batched_grad": True}
    assert gradcheck(f, raw, **options)
    assert gradgradcheck(f, raw, check_fwd_over_rev=True)


def test_all_transforms_agree(completion):
    f, raw = completion
    row, last = raw[0], lambda x: torch.view_as_real(f(x).to(torch.complex128))[-1].sum()
    hessian = torch.func.hessian(last)(row)
    for other in (
        torch.func.jacrev(torch.func.jacrev(last))(row),
        torch.func.jacfwd(torch.func.jacfwd(last))(row),
        torch.autograd.functional.hessian(last, row),
    ):
        torch.testing.assert_close(other, hessian, rtol=0, atol=1e-12)
    by_row = torch.vmap(torch.func.grad(last))(raw)
    one_by_one = torch.stack([torch.func.grad(last)(row) for row in raw])
    torch.testing.assert_close(by_row, one_by_one, rtol=0, atol=1e-14)


def test_compilers_see_through(completion):
    f, raw = completion
    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, backend="eager")
    ours, theirs = raw.clone().requires_grad_(), raw.clone().requires_grad_()
    y, expected = compiled(ours), f(theirs)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-15)
    y.abs().sum().backward(), expected.abs().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-14)


def test_a_quantile_on_the_edge_gives_the_derivative_of_one_side():
    """Where the lowest outcomes have exactly the probability alpha."""
    measurement = CircuitProgram(QuantumCircuit(1), CVaR("Z", 0.5)).measurement
    for p in (0.5, 0.5 - 1e-16, 0.5 + 1e-16):
        raw = torch.tensor([1 - p, p], dtype=torch.float64, requires_grad=True)
        y = complete(measurement, raw)
        assert y.item() == pytest.approx(-1.0, abs=1e-15)
        y.backward()
        slope = (raw.grad[1] - raw.grad[0]).item()
        assert min(abs(slope), abs(slope + 4)) < 1e-12  # 0 above, -2 / alpha below


# -- standard errors -----------------------------------------------------------------------------


def test_standard_errors_of_the_conditional_value_at_risk():
    """Against the spread of many experiments of 500 shots each."""
    operators, shots, count = ["ZZI", SparsePauliOp(["ZII", "IZZ"], [1.0, 0.3])], 500, 4000
    program = CircuitProgram(QuantumCircuit(3), CVaR(operators, 0.7))
    # The part 0.7 ends in the middle of outcomes of one value, five deviations from others.
    chances = [0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.2]
    raw = np.random.default_rng(7).multinomial(shots, chances, count) / shots
    stds = np.sqrt(raw * (1 - raw) / shots)
    found = complete(program.measurement, torch.tensor(raw)).numpy()
    errors = complete_errors(program.measurement, raw, stds)
    assert errors.shape == found.shape
    spread = found.std(0, ddof=1)
    # A sample variance of m values has a relative error of sqrt(2 / m) = 2.2 %, the mean of
    # the estimated errors a smaller one: five of them.
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0)), spread, rtol=5 * np.sqrt(0.5 / count))


def test_standard_errors_of_outcomes_that_are_certain_are_zero():
    program = CircuitProgram(QuantumCircuit(3), CVaR("ZZI", 0.37))
    raw = np.eye(4)[:2]
    assert (complete_errors(program.measurement, raw, 0 * raw) == 0).all()


def test_standard_errors_of_variances_bound_the_spread():
    """Whether the errors of both means are independent, equal or opposite."""
    program = CircuitProgram(QuantumCircuit(3), Variance(["ZZI"]))
    raw, stds = np.array([[-0.3, 1.0]]), np.array([[0.02, 0.03]])
    (error,) = complete_errors(program.measurement, raw, stds)[0]
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(2, 20_000))
    for c in (a, b, -a):
        samples = raw + np.stack([a, c], -1) * stds
        spread = complete(program.measurement, torch.tensor(samples)).numpy().std()
        assert spread <= error * 1.02
    assert error == pytest.approx(0.03 + 2 * 0.3 * 0.02)


def test_what_is_computed_has_no_standard_errors():
    for measurement in (Purity(0), Entropy(0), Fidelity(np.eye(8)[0]), State()):
        program = CircuitProgram(QuantumCircuit(3), measurement)
        assert complete_errors(program.measurement, np.ones((1, 16)), np.ones((1, 16))) is None
    stds = np.ones((2, 8))
    program = CircuitProgram(QuantumCircuit(3), Probabilities())
    assert complete_errors(program.measurement, stds, stds) is stds
