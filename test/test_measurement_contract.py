# SPDX-License-Identifier: Apache-2.0
"""What every kind of measurement must do, on the exact engine and by every rule that applies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from circuits import CONTRACT, A, X, hybrid
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from reference import statevector
from tensor_kernels import IN_TENSORS, how, is_tried
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from qiskit_torch_bridge import (
    CircuitProgram,
    CVaR,
    Entropy,
    Fidelity,
    Probabilities,
    Purity,
    State,
    TorchQuantumModule,
    Variance,
    expectation,
)
from qiskit_torch_bridge.exceptions import BridgeError, GradientError, MeasurementError
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler

OPERATORS = [SparsePauliOp("ZI"), SparsePauliOp(["XX", "ZZ"], [0.5, -1.0])]
ENERGY = SparsePauliOp(["ZZ", "IZ"], [1.0, 0.5])
TARGET = np.array([0.6, 0.0, 0.48j, 0.64])


def marginal(psi: Tensor) -> Tensor:
    """The density matrix of qubit 0."""
    amplitudes = psi.reshape(2, 2)  # qubit 1, qubit 0
    return amplitudes.T @ amplitudes.conj()


def squares(psi: Tensor) -> Tensor:
    return psi.real**2 + psi.imag**2


def variances(psi: Tensor) -> Tensor:
    found = []
    for operator in OPERATORS:
        image = torch.as_tensor(operator.to_matrix()) @ psi
        mean = (psi.conj() @ image).real
        found.append((image.conj() @ image).real - mean**2)
    return torch.stack(found)


def lower_tail(psi: Tensor) -> Tensor:
    """The mean of the energy in its lowest tail of probability 0.3, outcome by outcome."""
    energies = torch.as_tensor(np.diag(ENERGY.to_matrix()).real.copy())
    left, total = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    for i in torch.argsort(energies).tolist():
        taken = torch.minimum(left, squares(psi)[i])
        left, total = left - taken, total + taken * energies[i]
    return total[None] / 0.3


def entropy(psi: Tensor) -> Tensor:
    """Of the two eigenvalues of a density matrix of trace one, from its determinant."""
    rho = marginal(psi)
    half = torch.sqrt(1 - 4 * torch.linalg.det(rho).real) / 2
    return -sum(x * torch.log(x) for x in (0.5 + half, 0.5 - half))[None]


KINDS: dict[str, tuple[Any, Callable[[Tensor], Tensor]]] = {
    "probabilities": (Probabilities(), squares),
    "reversed": (Probabilities([1, 0]), lambda psi: squares(psi)[[0, 2, 1, 3]]),
    "marginal": (Probabilities([1]), lambda psi: squares(psi).reshape(2, 2).sum(1)),
    "parity": (
        Probabilities(interpret="parity"),
        lambda psi: torch.stack([squares(psi)[[0, 3]].sum(), squares(psi)[[1, 2]].sum()]),
    ),
    "table": (
        Probabilities(interpret=[2, 0, 0, 1]),
        lambda psi: torch.stack([squares(psi)[1:3].sum(), *squares(psi)[[3, 0]]]),
    ),
    "cvar": (CVaR(ENERGY, 0.3), lower_tail),
    "variance": (Variance(OPERATORS), variances),
    "purity": (Purity([0]), lambda psi: squares(marginal(psi)).sum()[None]),
    "entropy": (Entropy([0]), entropy),
    "fidelity": (
        Fidelity(TARGET),
        lambda psi: squares(torch.as_tensor(TARGET).conj() @ psi)[None],
    ),
    "state": (State(), torch.view_as_real),
}
"""Measurements, and the same of a dense state."""

OF_AMPLITUDES = ("purity", "entropy", "fidelity", "state")
RULES = ("parameter-shift", "aqgd", "finite-difference")
SETTINGS = [(kind, "adjoint", circuit) for kind in KINDS for circuit in CONTRACT] + [
    (kind, rule, circuit)
    for kind in ("table", "cvar", "variance")
    for rule in RULES
    for circuit in CONTRACT
    if (rule, circuit) != ("aqgd", "non-linear")
]
SETTINGS += [
    (kind, name, "affine")
    for kind in KINDS
    for name in IN_TENSORS
    if is_tried(name, kind in ("table", "variance", "state"))
]
# Central differences with a step of 1e-4 and frequencies up to 3: h**2 / 6 * 3**3 = 4.5e-8 for
# values of size one, some times more for squares of operators and tails; twice for second order.
TOLERANCE = {"finite-difference": (2e-6, 1e-4)}


TRACED = [(kind, "adjoint", "affine") for kind in KINDS] + [
    ("table", "parameter-shift", "non-linear"),
    ("cvar", "finite-difference", "affine"),
    ("variance", "aqgd", "affine"),
    ("purity", "exact by torch", "affine"),
    ("cvar", "exact by torch", "affine"),
]
"""Settings that are recorded as well: how a node is recorded does not depend on its circuit."""


def make_setting(kind: str, gradient: str, circuit: str):
    """A function of inputs and weights, the same of a dense state, and the gradient's name."""
    measurement, of_state = KINDS[kind]
    program = CircuitProgram(CONTRACT[circuit](), measurement, input_params=X, weight_params=A)
    order = (*X, *A)

    def f(x, w, **options):
        y = expectation(program, x, w, **how(gradient), **options)
        return torch.view_as_real(y) if y.is_complex() else y

    def reference(x, w):
        rows = torch.cat([x, w.expand(len(x), -1)], -1)
        return torch.stack([of_state(statevector(program.circuit, order, row)) for row in rows])

    return f, reference, gradient


@pytest.fixture(params=SETTINGS, ids="-".join)
def setting(request):
    return make_setting(*request.param)


@pytest.fixture(params=TRACED, ids="-".join)
def traced(request):
    return make_setting(*request.param)


def points(rows: int = 3):
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(rows, 2, dtype=torch.float64, generator=generator)
    w = torch.rand(3, dtype=torch.float64, generator=generator)
    return x.requires_grad_(), w.requires_grad_()


def close(actual, expected, gradient, order=0):
    tolerance = TOLERANCE.get(gradient, (1e-10, 1e-9))[order]
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def test_values_and_both_gradients(setting):
    f, reference, gradient = setting
    x, w = points()
    y, expected = f(x, w), reference(x, w)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    cotangent = torch.randn(y.shape, dtype=torch.float64)
    found = torch.autograd.grad(y, (x, w), cotangent)
    right = torch.autograd.grad(expected, (x, w), cotangent)
    for one, other in zip(found, right, strict=True):
        close(one, other, gradient)


def test_hessian_in_both_modes(setting):
    f, reference, gradient = setting
    x, w = (t.detach() for t in points(2))
    weights = torch.linspace(-1.0, 1.0, f(x, w).numel(), dtype=torch.float64)

    def total(function):
        return lambda w: (function(x, w).reshape(-1) * weights).sum()

    expected = torch.func.hessian(total(reference))(w)
    close(torch.autograd.functional.hessian(total(f), w), expected, gradient, 1)
    close(torch.func.hessian(total(f))(w), expected, gradient, 1)


def test_backward_with_create_graph_gives_every_term(setting):
    f, reference, gradient = setting

    def penalised(function):
        x, w = points(1)
        y = function(x, w)
        total = (y * torch.linspace(0.5, 1.5, y.numel()).double().reshape(y.shape)).sum()
        (gw,) = torch.autograd.grad(total, w, create_graph=True)
        return torch.autograd.grad(gw.pow(2).sum() + total, (x, w))

    for one, other in zip(penalised(f), penalised(reference), strict=True):
        close(one, other, gradient, 1)


def test_functional_transforms(setting):
    f, reference, gradient = setting
    x, w = (t.detach() for t in points())
    expected = torch.func.jacrev(reference, argnums=1)(x, w)
    close(torch.func.jacrev(f, argnums=1)(x, w), expected, gradient)
    close(torch.func.jacfwd(f, argnums=1)(x, w), expected, gradient)
    stacked = torch.stack([w, w + 0.3])
    by_weights = torch.vmap(f, (None, 0))(x, stacked)
    one_by_one = torch.stack([f(x, v) for v in stacked])
    torch.testing.assert_close(by_weights, one_by_one, rtol=0, atol=1e-14)
    per_row = torch.vmap(torch.func.jacrev(lambda row, w: f(row[None], w)[0]), (0, None))(x, w)
    rows = torch.func.jacrev(reference)(x, w)
    close(per_row, torch.stack([rows[b, ..., b, :] for b in range(3)]), gradient)


# PyTorch's own constant folding warns so of any function that has a constant.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
def test_tracers_see_the_circuit(traced):
    f, reference, gradient = traced
    x, w = (t.detach() for t in points())

    def slope(x, w):
        return torch.func.grad(lambda v: f(x, v).sum())(w)

    expected = torch.func.grad(lambda v: reference(x, v).sum())(w)
    for mode in ("real", "fake"):
        recorded = make_fx(slope, tracing_mode=mode)(0 * x + 0.1, 0 * w + 0.2)
        close(recorded(x, w), expected, gradient)


def test_a_compiled_step_is_an_eager_one(traced):
    f, _, _ = traced
    x, w = points(2)

    def gradients(f):
        y = f(x, w)
        return y.detach(), *torch.autograd.grad(y, (x, w), torch.ones_like(y))

    torch.compiler.reset()
    expected = gradients(f)
    compiled = gradients(torch.compile(f, fullgraph=True, backend="aot_eager"))
    for found, right in zip(compiled, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_and_gradgradcheck(kind):
    program = CircuitProgram(hybrid(), KINDS[kind][0], input_params=X, weight_params=A)
    x, w = points(2)
    assert torch.autograd.gradcheck(lambda x, w: expectation(program, x, w), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: expectation(program, x, w), (x, w))


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_dtypes(kind):
    measurement, of_state = KINDS[kind]
    module = TorchQuantumModule(
        hybrid(), measurement, input_params=X, weight_params=A, initial_weights=[0.125, 0.25, 0.375]
    )
    expected = of_state(
        statevector(hybrid(), (*X, *A), torch.tensor([0.5, 0.75, 0.125, 0.25, 0.375]).double())
    )
    shape = expected.shape[:1]
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-6), (torch.float16, 2e-3)):
        x = torch.tensor([0.5, 0.75], dtype=dtype)
        y = module(x.expand(2, 3, 2))
        if kind == "state":
            assert y.dtype == (torch.complex128 if dtype == torch.float64 else torch.complex64)
            y = torch.view_as_real(y)
        else:
            assert y.dtype == dtype
        assert y.shape[:3] == (2, 3, *shape)
        torch.testing.assert_close(y[1, 2].double(), expected.double(), rtol=0, atol=tolerance)
        assert module(x).shape == shape
    empty = module(torch.zeros(0, 2))
    assert empty.shape == (0, *shape)
    module.weight.grad = None
    empty.abs().sum().backward()
    assert module.weight.grad is not None and not module.weight.grad.any()
    assert module.program.output_shape == tuple(shape)
    with torch.no_grad():
        assert not module(torch.zeros(1, 2)).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_modules_travel(kind, tmp_path):
    """Pickled, copied, saved as weights, exported as a program that stands alone."""
    module = TorchQuantumModule(hybrid(), KINDS[kind][0], input_params=X, weight_params=A, seed=2)
    x = torch.tensor([[0.5, 0.7], [0.1, -0.4]], dtype=torch.float64)
    expected = module(x)
    torch.save(module, tmp_path / "module.pt")
    loaded = torch.load(tmp_path / "module.pt", weights_only=False)
    torch.testing.assert_close(loaded(x), expected, rtol=0, atol=0)
    assert loaded.program == module.program and hash(loaded.program) == hash(module.program)
    again = CircuitProgram.from_state(module.program.to_state())
    assert again == module.program and again.measurement == module.program.measurement
    exported = torch.export.export(module, (x,), strict=False)
    torch.export.save(exported, tmp_path / "module.pt2")
    standing_alone = torch.export.load(tmp_path / "module.pt2").module()
    torch.testing.assert_close(standing_alone(x), expected, rtol=0, atol=1e-14)
    other = TorchQuantumModule(hybrid(), "ZZ", input_params=X, weight_params=A)
    assert other.program != module.program
    with pytest.raises(BridgeError, match="measure"):
        other.load_state_dict(module.state_dict())
    assert module.program.measured[:60] in repr(module)  # the rest may be left out


class Counting:
    """Counts the runs of a primitive, and notes the points of each PUB."""

    def __init__(self, primitive):
        self.runs = []
        run = primitive.run

        def counted(pubs, **options):
            pubs = list(pubs)
            self.runs.append(len(pubs))
            return run(pubs, **options)

        primitive.run = counted
        self.primitive = primitive


@pytest.mark.parametrize("place", ["estimator", "sampler"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in OF_AMPLITUDES])
def test_one_job_forward_and_one_backward(kind, place):
    measurement, of_state = KINDS[kind]
    shots = 4000
    if place == "estimator":
        counting = Counting(BatchedStatevectorEstimator())
        options: dict[str, Any] = {"estimator": counting.primitive}
    else:
        counting = Counting(BatchedStatevectorSampler(seed=1))
        options = {"estimator": counting.primitive, "shots": shots}
    program = CircuitProgram(hybrid(), measurement, input_params=X, weight_params=A)
    x, w = points(2)
    y = expectation(program, x, w, **options)
    (y * torch.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
    # A sampler measures observables basis by basis: in X, in Y (of XX times ZZ), and in Z.
    assert counting.runs == ([3, 3] if (kind, place) == ("variance", "sampler") else [1, 1])
    # Values are at most 3 in size, so that 6 standard errors are 6 * 3 / sqrt(shots) at most.
    bound = 1e-10 if place == "estimator" else 18 / np.sqrt(shots)
    rows = torch.cat([x, w.expand(2, -1)], -1).detach()
    expected = torch.stack([of_state(statevector(program.circuit, (*X, *A), r)) for r in rows])
    torch.testing.assert_close(y.detach().double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", OF_AMPLITUDES)
def test_amplitudes_are_refused_by_name_where_they_cannot_be_had(kind):
    measurement = KINDS[kind][0]
    name = type(measurement).__name__
    for options in (
        {"estimator": StatevectorEstimator()},
        {"estimator": BatchedStatevectorSampler()},
        {"shots": 100},
    ):
        with pytest.raises(MeasurementError, match=f"{name}.*exact"):
            TorchQuantumModule(hybrid(), measurement, input_params=X, **options)
    for rule in RULES:
        with pytest.raises(GradientError, match=f"{rule}.*{name}"):
            TorchQuantumModule(hybrid(), measurement, input_params=X, gradient=rule)
