# SPDX-License-Identifier: Apache-2.0
"""Optimizers against each other: one start, one budget, and one way of counting for all."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE, AlgorithmError
from qiskit_algorithms.gradients import BaseEstimatorGradient
from qiskit_algorithms.optimizers import COBYLA, SLSQP, SPSA
from qiskit_algorithms.utils import algorithm_globals
from torch import Tensor

from .. import TorchQuantumModule, expectation
from ..algorithms import TorchOptimizer
from ..gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
    SPSAEstimatorGradient,
)
from ..optim import FubiniStudyMetric, QuantumNaturalGradient
from ..primitives import BatchedStatevectorEstimator
from .command_line import GRADIENTS, Options, option, positive, progress
from .problems import FloatArray, Problem

Approximation: TypeAlias = Literal["full", "block-diagonal", "diagonal"]
StepSizes: TypeAlias = dict[str, float | None]

MOST_STEPS = 1_000_000
"""More than any budget allows: it is the budget that ends a run."""

MOST_POINTS = 4000
"""Of a long run of SPSA only so many points are looked at."""


class Finished(Exception):
    """The budget is spent or the target reached. It ends a run and never leaves this file."""


class Counts(NamedTuple):
    """What an optimizer has asked for."""

    values: int = 0
    gradients: int = 0
    metrics: int = 0
    fidelities: int = 0


class Price(NamedTuple):
    """What a device would have to evaluate for one of each."""

    values: int = 1
    gradients: int = 1
    metrics: int = 0
    fidelities: int = 1

    def of(self, counts: Counts) -> int:
        """Return the evaluations for ``counts``."""
        return sum(price * count for price, count in zip(self, counts, strict=True))


class Conditions(NamedTuple):
    """What holds for all optimizers alike."""

    price: Price  # how evaluations are counted
    budget: int  # the most evaluations
    shots: int | None = None  # shots for each expectation value, or ``None`` for exact ones
    gradient: str | None = None  # a value of ``--gradient``, or ``None`` for exact ones
    seed: int = 0  # makes the shots and SPSA's directions repeatable
    approximation: Approximation = "block-diagonal"  # of the metric tensor
    target: float = -math.inf  # a run ends at this value


@dataclass(frozen=True)
class Contestant:
    """An optimizer."""

    label: str
    kind: Any  # a class of torch optimizers, or of optimizers of qiskit-algorithms
    options: Callable[[Run], dict[str, Any]]  # from a run to the keywords of the class
    # whether it evaluates displaced points only. What counts then is the value where it stands
    # after each step
    displaced: bool = False
    # where there is no gradient to look at, it has converged when a step changes the loss by no
    # more than this; infinite if one step is a whole minimisation
    settled: float | None = None
    takes_module: bool = False  # whether it is made from the module instead of its parameters

    @property
    def is_torch(self) -> bool:
        """Whether it is one of PyTorch's kind."""
        return issubclass(self.kind, torch.optim.Optimizer)


@dataclass
class Run:
    """What one optimizer does."""

    contestant: Contestant
    problem: Problem  # what it minimises
    conditions: Conditions
    step_size: float | None = None  # its learning rate or first step, if it has one
    # what it works on: the ``"module"``, or ``"VQE"`` that it was handed to
    through: str = "module"
    counts: Counts = field(default_factory=Counts)  # what it has asked for
    # for each of its points what had been asked for until then, and the exact expectation value
    trace: list[tuple[Counts, float]] = field(default_factory=list)
    best: float = math.inf  # the lowest of them
    point: FloatArray = field(default_factory=lambda: np.zeros(0))  # the weights that have it
    seconds: float = 0.0  # the time it took
    bar: Any = None

    def charge(self, **asked: int) -> None:
        """Count what is asked for next, or end the run if the budget does not allow it."""
        counts = Counts(*(n + asked.get(kind, 0) for kind, n in self.counts._asdict().items()))
        price, spent = self.conditions.price, self.spent()
        if price.of(counts) > self.conditions.budget:
            raise Finished
        self.counts = counts
        if self.bar is not None:
            self.bar.update(price.of(counts) - spent)

    def visit(self, value: float, point: FloatArray) -> None:
        """Record where the optimizer is, with the exact value there."""
        if value <= self.best:
            self.best, self.point = value, point.copy()
        self.trace.append((self.counts, value))
        if value <= self.conditions.target:
            raise Finished

    def spent(self, price: Price | None = None) -> int:
        """Return its evaluations, at another price if one is given."""
        return (price or self.conditions.price).of(self.counts)

    def evaluations(self, price: Price | None = None) -> list[int]:
        """Return how many evaluations had been spent when each of its points was reached."""
        return [(price or self.conditions.price).of(counts) for counts, _ in self.trace]

    def lowest(self) -> FloatArray:
        """Return the lowest value so far, for each of its points."""
        return np.minimum.accumulate([value for _, value in self.trace])

    def best_after(self, evaluations: Any) -> Any:
        """Return the lowest value that so many evaluations led to, for each number of them."""
        reached = np.searchsorted(self.evaluations(), evaluations, side="right") - 1
        return self.lowest()[np.maximum(reached, 0)]

    def evaluations_at(self, value: float, price: Price | None = None) -> float:
        """Return the evaluations until a value was reached; infinite if it was not."""
        pairs = zip(self.evaluations(price), self.trace, strict=True)
        return next((float(spent) for spent, (_, v) in pairs if v <= value), math.inf)


def with_rate(run: Run, **options: Any) -> dict[str, Any]:
    """Return the options of an optimizer whose step size is a learning rate."""
    return {"lr": run.step_size, **options}


def with_metric(run: Run) -> dict[str, Any]:
    """Return the options of the natural gradient, with a metric that is charged for."""
    metric = FubiniStudyMetric(run.problem.circuit, run.conditions.approximation)

    def charged(weights: FloatArray) -> FloatArray:
        run.charge(metrics=1)
        return metric(weights)

    return with_rate(run, metric=charged, damping=1e-3)


def _cobyla(run: Run) -> dict[str, Any]:
    options = {"maxiter": run.conditions.budget, "tol": run.problem.tolerance}
    return options if run.step_size is None else {**options, "rhobeg": run.step_size}


def _slsqp(run: Run) -> dict[str, Any]:
    return {"maxiter": run.conditions.budget, "ftol": run.problem.tolerance**2}


CONTESTANTS = {
    "adam": Contestant("Adam", torch.optim.Adam, with_rate),
    "rmsprop": Contestant("RMSprop", torch.optim.RMSprop, with_rate),
    "momentum": Contestant("SGD, momentum", torch.optim.SGD, partial(with_rate, momentum=0.9)),
    "lbfgs": Contestant(
        "L-BFGS", torch.optim.LBFGS, partial(with_rate, line_search_fn="strong_wolfe")
    ),
    "natural": Contestant("natural gradient", QuantumNaturalGradient, with_metric),
    "cobyla": Contestant("COBYLA", COBYLA, _cobyla),
    "slsqp": Contestant("SLSQP", SLSQP, _slsqp),
    "spsa": Contestant("SPSA", SPSA, lambda _: {"maxiter": MOST_STEPS}, displaced=True),
}
"""The optimizers of the demonstrations; the last three are those of qiskit-algorithms."""


def hold_contest(
    problem: Problem, conditions: Conditions, step_sizes: StepSizes, through: str = "module"
) -> list[Run]:
    """Let each optimizer that ``step_sizes`` names start from the problem's start."""
    _warm_up(build_module(problem, conditions))
    runs = []
    for name, step_size in step_sizes.items():
        run = Run(CONTESTANTS[name], problem, conditions, step_size, through)
        title = f"{problem.title}: {run.contestant.label}"
        with progress(conditions.budget, title, "evaluation") as run.bar:
            compete(run)
        runs.append(run)
    return runs


def _warm_up(module: TorchQuantumModule) -> None:
    """Load what is compiled and imported on first use, which no optimizer should be charged for."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module().sum().backward()
    optimizer.step()


def build_module(problem: Problem, conditions: Conditions) -> TorchQuantumModule:
    """Return what optimizers work on."""
    return TorchQuantumModule(
        problem.circuit,
        problem.operator if problem.measured is None else problem.measured,
        gradient=None if conditions.gradient is None else GRADIENTS[conditions.gradient],
        shots=conditions.shots,
        seed=conditions.seed,
        initial_weights=torch.from_numpy(problem.start),  # in double precision
    )


def compete(run: Run) -> Run:
    """Let one optimizer work until it has converged or its run is finished."""
    module = build_module(run.problem, run.conditions)
    algorithm_globals.random_seed = run.conditions.seed  # SPSA's directions have no other seed
    began = time.perf_counter()
    with contextlib.suppress(Finished):
        _look(run, module)
        if run.through == "VQE":
            _hand_to_vqe(run, module)
        elif run.contestant.is_torch:
            _step(run, module)
        else:
            _minimise(run, module)
    run.seconds = time.perf_counter() - began
    return run


def _look(run: Run, module: TorchQuantumModule, measured: Tensor | None = None) -> None:
    """Record the module's weights with their exact value, which may have been measured already."""
    if measured is None or module.precision:
        with torch.no_grad():
            measured = expectation(module.program, weights=module.weight)
    run.visit(measured.item(), module.weight.detach().numpy())


def _look_at(run: Run, module: TorchQuantumModule, x: Any) -> None:
    _load(module, x)
    _look(run, module)


@torch.no_grad()
def _load(module: TorchQuantumModule, x: Any) -> None:
    module.weight.copy_(torch.as_tensor(np.asarray(x)))


def _loss(run: Run, module: TorchQuantumModule, *, look: bool) -> Tensor:
    value = module().sum()
    if look:
        _look(run, module, value.detach())
    return value if run.problem.loss is None else run.problem.loss(value)


def _step(run: Run, module: TorchQuantumModule) -> None:
    """Step with an optimizer of PyTorch's kind until it has converged."""
    contestant, weight = run.contestant, module.weight
    parameters = module if contestant.takes_module else module.parameters()
    optimizer = contestant.kind(parameters, **contestant.options(run))

    def closure() -> Tensor:
        run.charge(values=1)
        optimizer.zero_grad()
        loss = _loss(run, module, look=not contestant.displaced)
        if loss.requires_grad:
            run.charge(gradients=1)
            loss.backward()
        return loss

    before = math.inf
    while weight.grad is None or weight.grad.abs().max() > run.problem.tolerance:
        after = torch.as_tensor(optimizer.step(closure), dtype=torch.float64).detach().item()
        if contestant.displaced:
            _look(run, module)
        if contestant.settled is not None and before - after <= contestant.settled:
            break
        before = after


def _minimise(run: Run, module: TorchQuantumModule) -> None:
    """Minimise with an optimizer of qiskit-algorithms."""

    def value(x: FloatArray) -> float:
        run.charge(values=1)
        _load(module, x)
        with torch.no_grad():
            return _loss(run, module, look=not run.contestant.displaced).item()

    def gradient(x: FloatArray) -> FloatArray:
        run.charge(gradients=1)
        _load(module, x)
        loss = _loss(run, module, look=False)
        return torch.autograd.grad(loss, module.weight)[0].numpy()

    start = module.weight.detach().numpy().copy()
    _make_minimiser(run, module).minimize(value, start, gradient)


def _make_minimiser(run: Run, module: TorchQuantumModule) -> Any:
    options, steps = run.contestant.options(run), itertools.count(1)
    stride = 1 + run.conditions.budget // MOST_POINTS

    def look(_: int, x: FloatArray, *__: Any) -> bool:
        if next(steps) % stride == 0:
            _look_at(run, module, x)
        return False  # it never ends a run

    if run.contestant.displaced:
        options["termination_checker"] = look
    return run.contestant.kind(**options)


VQE_GRADIENTS: dict[str, Any] = {
    "aqgd": AQGDEstimatorGradient,
    "parameter-shift": ParameterShiftEstimatorGradient,
    "finite-difference": FiniteDifferenceEstimatorGradient,
    "spsa": SPSAEstimatorGradient,
}


class _ChargedEstimator(BatchedStatevectorEstimator):
    """The estimator of ``VQE``, whose values are charged for."""

    def __init__(self, run: Run, module: TorchQuantumModule) -> None:
        super().__init__(default_precision=_precision(run), seed=run.conditions.seed)
        self._run, self._module = run, module

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """Charge for the values, look where the optimizer is, and compute them."""
        pubs = list(pubs)
        for _, _, points in pubs:
            for x in np.atleast_2d(points):
                self._run.charge(values=1)
                if not self._run.contestant.displaced:
                    _look_at(self._run, self._module, x)
        return super().run(pubs, precision=precision)


class _ChargedGradient:
    """The gradient of ``VQE``, which is charged for."""

    def __init__(self, run: Run) -> None:
        self._run, conditions = run, run.conditions
        self._gradient: Any = AdjointEstimatorGradient()
        if conditions.gradient is not None or conditions.shots is not None:
            kind = VQE_GRADIENTS[GRADIENTS[conditions.gradient or "parameter-shift"]]
            options = {"seed": conditions.seed} if kind is SPSAEstimatorGradient else {}
            estimator = BatchedStatevectorEstimator(
                default_precision=_precision(run), seed=conditions.seed + 1
            )
            self._gradient = kind(estimator, **options)

    def run(self, *arguments: Any, **options: Any) -> Any:
        self._run.charge(gradients=1)
        return self._gradient.run(*arguments, **options)


def _precision(run: Run) -> float:
    return 0.0 if run.conditions.shots is None else 1 / math.sqrt(run.conditions.shots)


def _hand_to_vqe(run: Run, module: TorchQuantumModule) -> None:
    """Let ``VQE`` of qiskit-algorithms minimise; the module only tells what values are exact."""
    contestant = run.contestant
    if contestant.is_torch:
        at_once = contestant.settled == math.inf
        optimizer: Any = TorchOptimizer(
            contestant.kind,
            maxiter=1 if at_once else MOST_STEPS,
            gradient_tol=run.problem.tolerance,
            tol=None if at_once else contestant.settled,
            callback=(lambda _, x, *__: _look_at(run, module, x)) if contestant.displaced else None,
            **contestant.options(run),
        )
    else:
        optimizer = _make_minimiser(run, module)
    vqe = VQE(
        _ChargedEstimator(run, module),
        run.problem.circuit,
        optimizer,
        gradient=cast("BaseEstimatorGradient", _ChargedGradient(run)),
        initial_point=run.problem.start,
    )
    try:
        vqe.compute_minimum_eigenvalue(run.problem.operator)
    except AlgorithmError as error:  # VQE's, for anything that its primitives raise
        if not isinstance(error.__cause__, Finished):
            raise


def price_gradient(circuit: QuantumCircuit, operator: SparsePauliOp, gradient: str) -> int:
    """Return how many expectation values one gradient takes."""
    module = TorchQuantumModule(
        circuit,
        operator,
        estimator=BatchedStatevectorEstimator(),
        gradient=GRADIENTS[gradient],
        initial_weights=np.zeros(circuit.num_parameters),
    )
    return module.cost().usage.points - module.cost(backward=False).usage.points


def price_metric(circuit: QuantumCircuit, approximation: Approximation) -> int:
    """Return how many circuits measure one metric tensor.

    Block-diagonal: one for each layer, since the generators in a layer commute and are measured
    together (J. Stokes et al., Quantum 4, 269 (2020)). Full: one for each pair of gates, and one
    for each gate, as ``LinCombQGT`` of qiskit-algorithms has it.
    """
    if approximation == "full":
        operator = SparsePauliOp("Z" * circuit.num_qubits)
        gates = price_gradient(circuit, operator, "parameter-shift") // 2
        return gates * (gates + 1) // 2
    return len(FubiniStudyMetric(circuit, approximation).blocks())


def optimizer_options(*defaults: StepSizes) -> Options:
    """Return the options that choose optimizers and their step sizes; defaults differ by problem.

    SLSQP searches along a line, and SPSA calibrates itself: they have no step size to set.
    """
    names = list(defaults[0])
    sizes = {
        name: " or ".join(dict.fromkeys(f"{s[name]:g}" for s in defaults if name in s))
        for name, size in defaults[0].items()
        if size is not None
    }
    shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
    return {
        "--optimizers": option(
            f"which of them: {' '.join(names)} (default: all)",
            nargs="+",
            choices=names,
            metavar="NAME",
        ),
        "--lr": option(
            f"learning rates, and COBYLA's first step where it takes part (default {shown})",
            partial(_read_step_size, sizes),
            nargs="+",
            metavar="NAME=SIZE",
        ),
    }


def _read_step_size(names: Iterable[str], text: str) -> tuple[str, float]:
    name, _, size = text.partition("=")
    if name not in names:
        raise argparse.ArgumentTypeError(
            f"expected NAME=SIZE with one of {', '.join(names)}; got {text!r}"
        )
    return name, positive(size)


def choose_step_sizes(options: argparse.Namespace, defaults: StepSizes) -> StepSizes:
    """Return the step sizes of the optimizers that the options choose."""
    sizes = {**defaults, **dict(options.lr or [])}
    # Those that are not among the defaults do not suit the problem.
    return {name: sizes[name] for name in defaults if name in (options.optimizers or defaults)}
