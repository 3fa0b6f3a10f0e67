# SPDX-License-Identifier: Apache-2.0
"""Optimizers against each other: one start, one budget, and one way of counting for all."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms.optimizers import COBYLA, SLSQP, SPSA
from qiskit_algorithms.utils import algorithm_globals
from torch import Tensor

from .. import TorchQuantumModule, expectation
from ..arrays import FloatArray
from ..optim import FubiniStudyMetric, QuantumNaturalGradient
from ..optim.metric import Approximation
from ..primitives import BatchedStatevectorEstimator
from .common import MeteredEstimator, progress
from .step_sizes import StepSizes

LABELS = {
    "adam": "Adam",
    "rmsprop": "RMSprop",
    "momentum": "SGD, momentum",
    "lbfgs": "L-BFGS",
    "natural": "natural gradient",
    "cobyla": "COBYLA",
    "slsqp": "SLSQP",
    "spsa": "SPSA",
}
"""All optimizers; the last three are those of qiskit-algorithms."""

TORCH: dict[str, tuple[Any, dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "lbfgs": (torch.optim.LBFGS, {"line_search_fn": "strong_wolfe"}),
    "natural": (QuantumNaturalGradient, {"damping": 1e-3}),
}
"""The classes of PyTorch's kind, and their options besides the learning rate."""

Loss = Callable[[Tensor], Tensor]


class Price(NamedTuple):
    """What a device would have to evaluate, in expectation values.

    Attributes:
        gradient: For one gradient.
        metric: For one metric tensor.
    """

    gradient: int
    metric: int = 0


class BudgetSpent(Exception):
    """The next evaluation would be one too many. It ends a run and never leaves this file."""


@dataclass
class Run:
    """What one optimizer did.

    Attributes:
        method: Its name, a key of :data:`LABELS`.
        evaluations: How many evaluations had been spent when each of its points was reached.
        values: The exact expectation value at each of its points.
        point: The weights with the lowest of them.
        counts: How many values, gradients and metric tensors it asked for.
        seconds: The time it took.
        through: What it worked on: the module, or the algorithm object that it was handed to.
    """

    method: str
    evaluations: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    point: FloatArray = field(default_factory=lambda: np.zeros(0))
    counts: dict[str, int] = field(
        default_factory=lambda: {"values": 0, "gradients": 0, "metrics": 0}
    )
    seconds: float = 0.0
    through: str = "module"

    @property
    def label(self) -> str:
        """The optimizer's name in words."""
        return LABELS[self.method]

    @property
    def best(self) -> float:
        """The lowest value."""
        return min(self.values)

    def lowest(self) -> FloatArray:
        """Return the lowest value so far, for each of its points."""
        return np.minimum.accumulate(self.values)

    def spent(self, price: Price) -> int:
        """Return its evaluations at the given price."""
        asked = self.counts
        return (
            asked["values"] + asked["gradients"] * price.gradient + asked["metrics"] * price.metric
        )


class Objective:
    """A module's loss as what is minimised: counted, recorded, and stopped at a budget.

    Args:
        module: Has no inputs and one observable.
        run: Where everything is recorded.
        price: What gradients and metric tensors cost; a value costs 1.
        budget: The most evaluations.
        loss: Of the expectation value; default: the value itself.
        bar: Shows the evaluations spent.
    """

    def __init__(
        self,
        module: TorchQuantumModule,
        run: Run,
        price: Price,
        budget: int,
        loss: Loss | None = None,
        bar: Any = None,
    ) -> None:
        self.module, self.run, self.price, self.budget = module, run, price, budget
        self._loss, self._bar = loss, bar
        self.spent = 0

    def charge(self, **asked: int) -> None:
        """Count what is asked for next, or raise if the budget does not allow it."""
        before = dict(self.run.counts)
        for kind, count in asked.items():
            self.run.counts[kind] += count
        spent = self.run.spent(self.price)
        if spent > self.budget:
            self.run.counts = before
            raise BudgetSpent
        if self._bar is not None:
            self._bar.update(spent - self.spent)
        self.spent = spent

    def visit(self, measured: Tensor | None = None) -> None:
        """Record the weights as they are, with their exact value."""
        module, run = self.module, self.run
        exact = measured
        if exact is None or module.precision:
            with torch.no_grad():
                exact = expectation(module.program, weights=module.weight)
        run.evaluations.append(self.spent)
        run.values.append(exact.item())
        if run.values[-1] <= run.best:
            run.point = module.weight.detach().numpy().copy()

    def evaluate(self, *, visit: bool = True) -> Tensor:
        """Return the loss at the module's weights."""
        value = self.module().sum()
        if visit:
            self.visit(value.detach())
        return value if self._loss is None else self._loss(value)

    def load(self, x: FloatArray) -> None:
        """Set the module's weights."""
        with torch.no_grad():
            self.module.weight.copy_(torch.as_tensor(np.asarray(x)))

    def value(self, x: FloatArray, *, visit: bool = True) -> float:
        """Return the loss at ``x``."""
        self.charge(values=1)
        self.load(x)
        with torch.no_grad():
            return self.evaluate(visit=visit).item()

    def gradient(self, x: FloatArray) -> FloatArray:
        """Return the loss's gradient at ``x``."""
        self.charge(gradients=1)
        self.load(x)
        (gradient,) = torch.autograd.grad(self.evaluate(visit=False), self.module.weight)
        return gradient.numpy()

    def closure(self, optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
        """Return what torch's optimizers call in a step."""
        metrics = int(isinstance(optimizer, QuantumNaturalGradient))

        def closure() -> Tensor:
            self.charge(values=1)
            optimizer.zero_grad()
            loss = self.evaluate()
            self.charge(gradients=1, metrics=metrics)
            loss.backward()
            return loss

        return closure


def metric_price(circuit: QuantumCircuit, approximation: Approximation) -> int:
    """Return how many circuits measure one metric tensor.

    Block-diagonal: one for each layer, since the generators in a layer commute and are measured
    together (J. Stokes et al., Quantum 4, 269 (2020)). Full: one for each pair of gates, and one
    for each gate, as ``LinCombQGT`` of qiskit-algorithms has it.
    """
    if approximation == "full":
        gates = gradient_price(circuit, SparsePauliOp("Z" * circuit.num_qubits), "parameter-shift")
        return (gates // 2) * (gates // 2 + 1) // 2
    return len(FubiniStudyMetric(circuit, approximation).blocks())


def minimise(
    method: str,
    objective: Objective,
    step_size: float | None,
    tolerance: float,
    seed: int,
    approximation: Approximation,
) -> None:
    """Run one optimizer until it has converged or its budget is spent."""
    start = objective.module.weight.detach().numpy().copy()
    objective.visit()
    began = time.perf_counter()
    try:
        if method == "spsa":
            _spsa(objective, start, seed)
        elif method == "cobyla":
            cobyla = COBYLA(maxiter=objective.budget, rhobeg=step_size, tol=tolerance)
            cobyla.minimize(objective.value, start)
        elif method == "slsqp":
            slsqp = SLSQP(maxiter=objective.budget, ftol=tolerance**2)
            slsqp.minimize(objective.value, start, objective.gradient)
        else:
            assert step_size is not None
            _torch(method, objective, step_size, tolerance, approximation)
    except BudgetSpent:
        pass
    objective.run.seconds = time.perf_counter() - began


def _torch(
    method: str,
    objective: Objective,
    step_size: float,
    tolerance: float,
    approximation: Approximation,
) -> None:
    """Step until no component of the gradient is above the tolerance."""
    kind, options = TORCH[method]
    module = objective.module
    if method == "natural":
        options = {**options, "metric": FubiniStudyMetric(module.program, approximation)}
    optimizer: torch.optim.Optimizer = kind(module.parameters(), lr=step_size, **options)
    weight = module.weight
    while weight.grad is None or weight.grad.abs().max() > tolerance:
        optimizer.step(objective.closure(optimizer))


def _spsa(objective: Objective, start: FloatArray, seed: int) -> None:
    steps, stride = itertools.count(1), 1 + objective.budget // 4000

    def record(_: int, x: FloatArray, *__: Any) -> bool:
        if next(steps) % stride == 0:
            objective.load(x)
            objective.visit()
        return False

    algorithm_globals.random_seed = seed  # the only way to make its directions repeatable
    # It evaluates displaced points only; where it stands is what counts.
    spsa = SPSA(maxiter=objective.budget, termination_checker=record)
    spsa.minimize(lambda x: objective.value(x, visit=False), start)


def contest(
    build: Callable[[], TorchQuantumModule],
    step_sizes: StepSizes,
    price: Price,
    budget: int,
    *,
    tolerance: float,
    seed: int,
    loss: Loss | None = None,
    approximation: Approximation = "block-diagonal",
    title: str = "",
) -> list[Run]:
    """Let each optimizer start from the module that ``build`` returns."""
    runs = []
    for method, step_size in step_sizes.items():
        run = Run(method)
        with progress(budget, f"{title}{run.label}", unit="evaluation") as bar:
            objective = Objective(build(), run, price, budget, loss, bar)
            minimise(method, objective, step_size, tolerance, seed, approximation)
        runs.append(run)
    return runs


def warm_up(module: TorchQuantumModule) -> None:
    """Load what is compiled and imported on first use, which no optimizer should be charged for."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    optimizer.zero_grad()
    module().sum().backward()
    optimizer.step()


def gradient_price(circuit: QuantumCircuit, operator: SparsePauliOp, gradient: str) -> int:
    """Measure how many expectation values one gradient takes."""
    meter = MeteredEstimator(BatchedStatevectorEstimator())
    module = TorchQuantumModule(
        circuit,
        operator,
        estimator=meter,
        gradient=gradient,
        initial_weights=np.zeros(circuit.num_parameters),
    )
    value = module().sum()
    before = meter.values
    value.backward()
    return meter.values - before
