# SPDX-License-Identifier: Apache-2.0
"""Optimizers on one energy, and what a device would have had to evaluate for each of their runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE, AlgorithmError, optimizers
from qiskit_algorithms.utils import algorithm_globals

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.gradients import AdjointEstimatorGradient
from qiskit_torch_bridge.optim import (
    QNSPSA,
    SPSA,
    FubiniStudyMetric,
    QuantumNaturalGradient,
    Rotosolve,
    ScipyMinimize,
    StateFidelity,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

SMALLEST_GRADIENT = 1e-6
MOST_STEPS = 1_000_000  # the budget ends a run
TOLERANCES = {"L-BFGS-B": 1e-12, "COBYLA": 1e-6}  # of values, and of points


class Finished(Exception):
    """The budget is spent, or the target reached. It ends a run and never leaves this file."""


class Counts(NamedTuple):
    """What has been asked for."""

    values: int = 0
    gradients: int = 0
    metrics: int = 0
    fidelities: int = 0


class Problem:
    """An energy to be minimised.

    Args:
        circuit: All its parameters are trained.
        operator: The Hamiltonian.
        least: The value that nothing goes below.
        budget: The most evaluations, counted as ``by`` says.
        target: A run ends at a value this close to ``least``.
        by: How to count: ``"shift"``, ``"difference"`` or, gradients only, ``"gradient"``; see
            :meth:`evaluations`.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        operator: SparsePauliOp,
        least: float,
        *,
        budget: float = float("inf"),
        target: float = -float("inf"),
        by: str = "shift",
    ) -> None:
        self.circuit, self.operator, self.least = circuit, operator, least
        self.budget, self.target, self.by = budget, target, by
        self._sizes: dict[str, list[int]] = {}
        self._angles = sum(map(_parameterized, circuit.data))  # Pauli rotations, one angle each

    def evaluations(self, counts: Counts, approximation: str, by: str | None = None) -> int:
        """Return how many points a device would have to evaluate.

        A value and a fidelity are one each. By ``"shift"``, a gradient is two for each gate angle.
        A full metric is one for each pair of gates and one for each gate, as ``LinCombQGT`` of
        qiskit-algorithms has it; a block-diagonal one is one for each block, whose generators
        commute and are measured together (Stokes et al., Quantum 4, 269 (2020)). By
        ``"difference"``, a gradient is two for each parameter, and a metric two fidelities for each
        of its entries on and above the diagonal.
        """
        if (by or self.by) == "gradient":
            return counts.gradients
        blocks = self._blocks(approximation)
        if (by or self.by) == "difference":
            gradient = 2 * self.circuit.num_parameters
            metric = sum(size * (size + 1) for size in blocks)
        else:
            gradient = 2 * self._angles
            pairs = self._angles * (self._angles + 1) // 2
            metric = pairs if approximation == "full" else len(blocks)
        fixed = counts.values + counts.fidelities
        return fixed + counts.gradients * gradient + counts.metrics * metric

    def _blocks(self, approximation: str) -> list[int]:
        """Return the sizes of the metric's blocks."""
        if approximation not in self._sizes:
            blocks = FubiniStudyMetric(self.circuit, approximation).blocks()
            self._sizes[approximation] = [len(block) for block in blocks]
        return self._sizes[approximation]


def _parameterized(instruction: Any) -> bool:
    return any(getattr(p, "parameters", ()) for p in instruction.operation.params)


@dataclass
class Run:
    """What one run has asked for and seen, and what it asks."""

    contestant: Contestant
    problem: Problem
    counts: Counts = field(default_factory=Counts)
    trace: list[tuple[Counts, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._price = [
            self.problem.evaluations(Counts(*row), self.contestant.approximation)
            for row in np.eye(len(Counts._fields), dtype=int).tolist()
        ]

    def charge(self, **asked: int) -> None:
        """Count what is asked for next, or end the run if the budget does not allow it."""
        counts = Counts(*(n + asked.get(k, 0) for k, n in self.counts._asdict().items()))
        if np.dot(counts, self._price) > self.problem.budget:
            raise Finished
        self.counts = counts

    def visit(self, value: float) -> None:
        """Note the exact value at a point where the optimizer is."""
        self.trace.append((self.counts, value))
        if value - self.problem.least <= self.problem.target:
            raise Finished

    @property
    def best(self) -> float:
        """The lowest value."""
        return min(value for _, value in self.trace)

    def best_after(self, evaluations: float) -> float:
        """Return the lowest value that so many evaluations have led to; at first the first."""
        seen = [v for c, v in self.trace if np.dot(c, self._price) <= evaluations]
        return min(seen, default=self.trace[0][1])

    def counts_at(self, value: float) -> Counts | None:
        """Return what had been asked for when a value was reached, or ``None``."""
        return next((c for c, v in self.trace if v <= value), None)

    def evaluations_at(self, value: float, by: str | None = None) -> float:
        """Return the evaluations until a value was reached; infinite if it was not."""
        counts = self.counts_at(value)
        if counts is None:
            return float("inf")
        return self.problem.evaluations(counts, self.contestant.approximation, by)


Options = Callable[[Run, "float | None", int], dict[str, Any]]


@dataclass(frozen=True)
class Contestant:
    """An optimizer.

    Attributes:
        name: What tables call it.
        kind: A class of torch optimizers, or of qiskit-algorithms.
        options: From a run, a step size and a seed to the keywords of the class.
        sizes: Step sizes to choose from; none if it has none.
        displaced: Whether it evaluates displaced points only; then the value where it stands after
            a step is what counts.
        approximation: Of the metric.
        module: Whether it reads something from the module besides the parameters.
    """

    name: str
    kind: Any
    options: Options
    sizes: tuple[float, ...] = ()
    displaced: bool = False
    approximation: str = "full"
    module: bool = False

    def __reduce__(self) -> Any:
        return _named, (self.name, self.package)

    @property
    def package(self) -> str:
        """Where it is from."""
        names = {"torch": "torch", "qiskit_algorithms": "qiskit-algorithms"}
        return names.get(self.kind.__module__.partition(".")[0], "this package")


def _rate(**others: Any) -> Options:
    return lambda run, size, seed: {"lr": size, **others}


def _natural(run: Run, size: float | None, seed: int) -> dict[str, Any]:
    metric = FubiniStudyMetric(run.problem.circuit, run.contestant.approximation)

    def counted(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        run.charge(metrics=1)
        return metric(weights)

    return {"lr": size, "metric": counted, "damping": 1e-3}


def _spsa(run: Run, size: float | None, seed: int) -> dict[str, Any]:
    return {"lr": size, "perturbation": 0.1, "stability": 20, "seed": seed}


def _qnspsa(run: Run, size: float | None, seed: int) -> dict[str, Any]:
    fidelity = StateFidelity(run.problem.circuit)

    def counted(weights: Any, others: Any) -> NDArray[np.float64]:
        run.charge(fidelities=len(others))
        return fidelity(weights, others)

    return {**_spsa(run, size, seed), "alpha": 0.0, "fidelity": counted, "damping": 1e-2}


def _scipy(method: str) -> Options:
    return lambda run, size, seed: {
        "method": method,
        "max_iter": 10_000,
        "tolerance": TOLERANCES[method],
    }


CONTESTANTS = (
    Contestant("Adam", torch.optim.Adam, _rate(), (0.05, 0.1, 0.2, 0.4, 0.8)),
    Contestant("RMSprop", torch.optim.RMSprop, _rate(), (0.01, 0.02, 0.05, 0.1)),
    Contestant("SGD, momentum 0.9", torch.optim.SGD, _rate(momentum=0.9), (0.005, 0.01, 0.05, 0.2)),
    Contestant("LBFGS", torch.optim.LBFGS, _rate(line_search_fn="strong_wolfe"), (1.0,)),
    Contestant(
        "natural gradient, full", QuantumNaturalGradient, _natural, (0.02, 0.05, 0.1, 0.5, 1.0)
    ),
    Contestant(
        "natural gradient, block-diagonal",
        QuantumNaturalGradient,
        _natural,
        (0.02, 0.05, 0.1, 0.5, 1.0),
        approximation="block-diagonal",
    ),
    Contestant("SPSA", SPSA, _spsa, (0.1, 0.3, 1.0, 3.0), displaced=True),
    Contestant("QNSPSA", QNSPSA, _qnspsa, (0.01, 0.02, 0.05, 0.2), displaced=True),
    Contestant("Rotosolve", Rotosolve, lambda run, size, seed: {}, module=True),
    Contestant("ScipyMinimize, L-BFGS-B", ScipyMinimize, _scipy("L-BFGS-B")),
    Contestant("ScipyMinimize, COBYLA", ScipyMinimize, _scipy("COBYLA")),
    Contestant(
        "SLSQP", optimizers.SLSQP, lambda run, size, seed: {"maxiter": 10_000, "ftol": 1e-12}
    ),
    Contestant(
        "COBYLA",
        optimizers.COBYLA,
        lambda run, size, seed: {"maxiter": 10_000, "tol": TOLERANCES["COBYLA"]},
    ),
    Contestant(
        "SPSA, calibrated",
        optimizers.SPSA,
        lambda run, size, seed: {"maxiter": MOST_STEPS},
        displaced=True,
    ),
)


def _named(name: str, package: str) -> Contestant:
    return next(c for c in CONTESTANTS if (c.name, c.package) == (name, package))


def on_module(
    contestant: Contestant,
    problem: Problem,
    start: NDArray[np.float64],
    size: float | None = None,
    seed: int = 0,
) -> Run:
    """Let a contestant minimise a module's output."""
    run = Run(contestant, problem)
    module = TorchQuantumModule(
        problem.circuit, problem.operator, initial_weights=torch.from_numpy(start)
    )
    with contextlib.suppress(Finished):
        if contestant.package == "qiskit-algorithms":
            _minimise(run, module, size, seed)
        else:
            _step(run, module, size, seed)
    return run


def _step(run: Run, module: TorchQuantumModule, size: float | None, seed: int) -> None:
    contestant = run.contestant
    parameters = module if contestant.module else module.parameters()
    optimizer = contestant.kind(parameters, **contestant.options(run, size, seed))

    def closure() -> torch.Tensor:
        wanted = torch.is_grad_enabled()
        run.charge(values=1)
        optimizer.zero_grad()
        loss = module().sum()
        if not contestant.displaced:
            run.visit(loss.item())
        if wanted:
            run.charge(gradients=1)
            loss.backward()
        return loss

    if contestant.displaced:
        _look(run, module)
    before = float("inf")
    while True:
        after = optimizer.step(closure)
        if contestant.displaced:
            _look(run, module)
        gradient = module.weight.grad
        if gradient is not None and gradient.abs().max() < SMALLEST_GRADIENT:
            break
        if isinstance(optimizer, ScipyMinimize):
            break
        if isinstance(optimizer, Rotosolve) and before - after < 1e-12:
            break
        before = after


def _look(run: Run, module: TorchQuantumModule) -> None:
    with torch.no_grad():
        run.visit(module().item())


def _minimise(run: Run, module: TorchQuantumModule, size: float | None, seed: int) -> None:
    def load(x: Any) -> None:
        with torch.no_grad():
            module.weight.copy_(torch.as_tensor(np.asarray(x)))

    def fun(x: Any) -> float:
        run.charge(values=1)
        load(x)
        with torch.no_grad():
            value = module().item()
        if not run.contestant.displaced:
            run.visit(value)
        return value

    def jac(x: Any) -> NDArray[np.float64]:
        run.charge(gradients=1)
        load(x)
        return torch.autograd.grad(module().sum(), module.weight)[0].numpy()

    algorithm_globals.random_seed = seed
    optimizer = _optimizer(run, size, seed, lambda x: (load(x), _look(run, module)))
    optimizer.minimize(fun, module.weight.detach().numpy().copy(), jac)


def _optimizer(run: Run, size: float | None, seed: int, look: Callable[[Any], Any]) -> Any:
    """Return an optimizer of qiskit-algorithms."""
    options = run.contestant.options(run, size, seed)
    if not run.contestant.displaced:
        return run.contestant.kind(**options)

    def checker(_: int, x: Any, *__: Any) -> bool:
        run.counts = run.counts._replace(values=run.counts.values - 1)  # made for the checker only
        look(x)
        return False

    return run.contestant.kind(**options, termination_checker=checker)


class _Gradient(AdjointEstimatorGradient):
    """Counts its runs."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._counted = run

    def run(self, *arguments: Any, **options: Any) -> Any:
        """Count, and run."""
        self._counted.charge(gradients=1)
        return super().run(*arguments, **options)


def through_vqe(
    contestant: Contestant,
    problem: Problem,
    start: NDArray[np.float64],
    size: float | None = None,
    seed: int = 0,
) -> Run:
    """Let ``VQE`` of qiskit-algorithms minimise with a contestant as its optimizer."""
    run = Run(contestant, problem)
    exact = TorchQuantumModule(problem.circuit, problem.operator)

    def look(x: Any, *_: Any) -> None:
        with torch.no_grad():
            exact.weight.copy_(torch.as_tensor(np.asarray(x)))
        _look(run, exact)

    exact.double()
    if contestant.package == "qiskit-algorithms":
        algorithm_globals.random_seed = seed
        optimizer = _optimizer(run, size, seed, look)
    else:
        optimizer = TorchOptimizer(
            contestant.kind,
            maxiter=1 if contestant.kind is ScipyMinimize else MOST_STEPS,
            gradient_tol=SMALLEST_GRADIENT,
            tol=1e-12 if contestant.kind is Rotosolve else None,
            callback=(lambda step, x, *_: look(x)) if contestant.displaced else None,
            **contestant.options(run, size, seed),
        )

    def counted(_: int, x: Any, value: float, __: Any) -> None:
        run.charge(values=1)
        if not contestant.displaced:
            run.visit(value)

    vqe = VQE(
        BatchedStatevectorEstimator(),
        problem.circuit,
        optimizer,
        gradient=_Gradient(run),
        initial_point=start,
        callback=counted,
    )
    try:
        vqe.compute_minimum_eigenvalue(problem.operator)
    except Finished:
        return run
    except AlgorithmError as error:  # VQE's, for anything that a gradient raises
        if not isinstance(error.__cause__, Finished):
            raise
    return run


def best_size(
    contestant: Contestant,
    cases: Iterable[tuple[Problem, NDArray[np.float64]]],
    score: Callable[[list[Run]], Any],
) -> float | None:
    """Return the step size whose runs have the least score."""
    if len(contestant.sizes) < 2:
        return contestant.sizes[0] if contestant.sizes else None
    cases = list(cases)

    def scored(size: float) -> Any:
        return score([on_module(contestant, p, x, size, i) for i, (p, x) in enumerate(cases)])

    return min(contestant.sizes, key=scored)
