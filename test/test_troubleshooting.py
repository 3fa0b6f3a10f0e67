# SPDX-License-Identifier: Apache-2.0
"""The page of error messages quotes what the package says: each of them is provoked here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2

from qiskit_torch_bridge import (
    CircuitProgram,
    Entropy,
    Jobs,
    OnBackend,
    QuantumLayer,
    TorchQuantumModule,
    expectation,
)
from qiskit_torch_bridge.exceptions import BridgeError

PAGE = Path(__file__).parents[1] / "docs" / "help" / "troubleshooting.rst"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="there are no pages beside the tests")


def circuit(inputs: int = 3) -> QuantumCircuit:
    """Inputs ``x``, one on each qubit, and a weight."""
    x, w = ParameterVector("x", inputs), ParameterVector("w", 1)
    made = QuantumCircuit(inputs)
    for q in range(inputs):
        made.ry(x[q], q)
    made.rx(w[0], 0)
    return made


def module(**options: object) -> TorchQuantumModule:
    """A module of that circuit."""
    made = circuit()
    inputs = [p for p in made.parameters if p.name.startswith("x")]
    return TorchQuantumModule(made, "IIZ", input_params=inputs, **options)


def third_derivative() -> None:
    w = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    one = QuantumCircuit(1)
    one.rx(ParameterVector("w", 1)[0], 0)
    slope = expectation(CircuitProgram(one, "Z"), None, w).sum()
    for _ in range(3):
        (slope,) = torch.autograd.grad(slope.sum(), w, create_graph=True)


def over_budget() -> None:
    device = OnBackend(GenericBackendV2(3, seed=1), jobs=Jobs(budget=10))
    module(backend=device, shots=1000)(torch.zeros(2, 3))


def another_circuit() -> None:
    one, two = module(), TorchQuantumModule(circuit(), "IIX")
    two.load_state_dict(one.state_dict())


def not_finite() -> None:
    module()(torch.tensor([[0.0, float("nan"), 0.0]]))


PROVOKED: dict[str, Callable[[], object]] = {
    "shape": lambda: module()(torch.zeros(8, 2)),
    "no inputs": lambda: module()(),
    "integers": lambda: module()(torch.zeros(2, 3, dtype=torch.complex64)),
    "not finite": not_finite,
    "foreign input": lambda: TorchQuantumModule(
        circuit(), "IIZ", input_params=ParameterVector("y", 3)
    ),
    "width of an observable": lambda: TorchQuantumModule(circuit(), "ZZ"),
    "not Hermitian": lambda: TorchQuantumModule(circuit(), {"IIZ": 1j}),
    "letter": lambda: TorchQuantumModule(circuit(), "IIA"),
    "not an estimator": lambda: module(estimator=GenericBackendV2(3, seed=1)),
    "estimator and backend": lambda: module(
        estimator=StatevectorEstimator(), backend=GenericBackendV2(3, seed=1)
    ),
    "gradient's name": lambda: module(gradient="backprop"),
    "shots and precision": lambda: module(shots=100, precision=0.1),
    "third derivative": third_derivative,
    "over budget": over_budget,
    "another circuit": another_circuit,
    "state on an estimator": lambda: TorchQuantumModule(
        circuit(), Entropy([0]), estimator=StatevectorEstimator()
    ),
    "features": lambda: QuantumLayer(4, 2)(torch.zeros(8, 3)),
    "encoding": lambda: QuantumLayer(4, 2, encoding="angles"),
    "initial weights": lambda: module(initial_weights=[0.1, 0.2]),
    "scripted": lambda: torch.jit.script(module()),
}


def message_of(provoke: Callable[[], object]) -> str:
    """Return the kind and the text of the error."""
    with pytest.raises((BridgeError, RuntimeError)) as caught:
        provoke()
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize("name", PROVOKED)
def test_the_page_quotes_what_is_said(name):
    said = " ".join(message_of(PROVOKED[name]).split())
    assert said in " ".join(PAGE.read_text().split())


if __name__ == "__main__":
    for name, provoke in PROVOKED.items():
        print(f"## {name}\n{message_of(provoke)}\n")
