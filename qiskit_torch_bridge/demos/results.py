# SPDX-License-Identifier: Apache-2.0
"""What the demonstrations find out, for their summaries and plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..arrays import FloatArray
from .contest import Price, Run
from .graphs import cut_values
from .network import HybridNet
from .qaoa_problems import Problem as QaoaProblem
from .vqe_problems import Problem as VqeProblem


class Case(NamedTuple):
    """One training: a value of ``--gradient`` and a number of shots."""

    gradient: str
    shots: int

    @property
    def label(self) -> str:
        """The case in words."""
        return f"{self.gradient.replace('-', ' ')}, {self.shots:,} shots"


@dataclass
class HelloTraining:
    """What one training gave.

    Attributes:
        case: The gradient and the shots it was trained with.
        curve: The exact expectation value before every step and after the last.
        sampled: The expectation value at the final weights, measured with the case's shots.
        noise: The measured standard deviation of the slope by theta at the initial weights.
        values: The number of expectation values that the training measured.
        seconds: The time that the training took.
    """

    case: Case
    curve: list[float] = field(default_factory=list)
    sampled: float = 0.0
    noise: float = 0.0
    values: int = 0
    seconds: float = 0.0

    @property
    def final(self) -> float:
        """The exact expectation value at the final weights."""
        return self.curve[-1]


@dataclass
class MnistTraining:
    """What the training gave.

    Attributes:
        model: The trained network.
        losses: The loss of every step.
        accuracies: The accuracy on the held-out digits, from 0 to 1, after every epoch.
        predictions: The class predicted for each held-out digit at the end.
        seconds: The time that training and evaluations took.
    """

    model: HybridNet
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    predictions: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    seconds: float = 0.0


@dataclass
class QaoaResult:
    """What came of one problem.

    Attributes:
        problem: The problem.
        runs: One for each optimizer.
        price: What a gradient cost.
        shift_price: What it would cost by parameter shift.
        cuts: The cut values sampled from each optimizer's best state.
        sides: The best of them: the side of each node.
    """

    problem: QaoaProblem
    runs: list[Run]
    price: Price
    shift_price: int
    cuts: list[FloatArray]
    sides: list[int]

    def ratio(self, run: Run) -> float:
        """Return the approximation ratio: 1 for an optimal state."""
        return run.best / self.problem.optimum

    @property
    def largest_cut(self) -> float:
        """The largest cut of the graph, found by looking at all of them."""
        assert self.problem.graph is not None
        return float(cut_values(self.problem.graph).max())


@dataclass
class VqeResult:
    """What came of one problem.

    Attributes:
        problem: The problem.
        runs: Those on the module, one for each optimizer.
        handed: Those in which ``VQE`` of qiskit-algorithms was handed the optimizer.
        price: What gradients and metric tensors cost.
    """

    problem: VqeProblem
    runs: list[Run]
    handed: list[Run]
    price: Price
