# SPDX-License-Identifier: Apache-2.0
"""Optimizers of circuit angles: an LSTM that learns to be one, and those of ``torch.optim``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .command_line import progress

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""The learning rates among which the best one is taken for an optimizer of torch."""

OBSERVATION_SCALE = 4.0
"""What is observed changes by hundredths late in a run; the network should still notice."""


class Task(NamedTuple):
    """Many problems of one kind, one in each of ``B`` rows."""

    # angles ``(B, I)`` to one observation in each row ``(B,)``, through the circuit
    observe: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]  # observations to what is to be minimised, element by element


class LearnedOptimizer(nn.Module):
    """An LSTM that reads what its last step led to, and proposes the next one.

    All angles of a row go into one cell, as in Verdon et al., arXiv:1907.05415; that it is trained
    on the sum of the losses along the way, through the problem itself, is the idea of Andrychowicz
    et al., arXiv:1606.04474.

    Args:
        num_angles: The number of angles ``I``.
        hidden: The size of the LSTM's memory.
        slopes: Whether it is told the loss's gradient with respect to the angles, besides what is
            observed.
        guess: Angles ``(I,)`` that are known to be good: it leaps there with the first step, and
            learns where to go next. Without a guess it learns steps from where it is.
    """

    def __init__(
        self, num_angles: int, hidden: int, slopes: bool = False, guess: Tensor | None = None
    ) -> None:
        super().__init__()
        self.slopes = slopes
        self.leaps = guess is not None
        self.cell = nn.LSTMCell(1 + num_angles * (2 if slopes else 1), hidden)
        self.head = nn.Linear(hidden, num_angles)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if guess is not None:
            with torch.no_grad():
                self.head.bias.copy_(guess)

    def forward(self, problem: Task, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Walk from ``start`` ``(B, I)``.

        Returns:
            The loss at every place ``(steps + 1, B)``, a function of the network's weights, and
            the places ``(steps + 1, B, I)``.
        """
        angles, state = start, None
        losses, places = [], []
        for step in range(steps + 1):
            observed, slope = self._look(problem, angles, last=step == steps)
            losses.append(problem.loss(observed))
            places.append(angles)
            if step < steps:
                told = torch.cat([OBSERVATION_SCALE * observed[:, None], angles, *slope], -1)
                state = self.cell(told, state)
                proposed = self.head(state[0])
                angles = proposed if self.leaps else angles + proposed
        return torch.stack(losses), torch.stack(places).detach()

    @torch.no_grad()
    def walk(self, problem: Task, start: Tensor, steps: int) -> Tensor:
        """Return the places ``(steps + 1, B, I)`` alone, without a graph."""
        return self(problem, start, steps)[1]

    def _look(self, problem: Task, angles: Tensor, last: bool) -> tuple[Tensor, list[Tensor]]:
        """Return the observation at ``angles``, and the slope if it is wanted."""
        if last or not self.slopes:
            return problem.observe(angles), []
        with torch.enable_grad():
            here = angles if angles.requires_grad else angles.detach().requires_grad_()
            observed = problem.observe(here)
            # The slope comes without a graph of its own: it is a number that the network is told,
            # as on a device. The way back through it would need the circuit's second derivatives,
            # many more evaluations; and the way back through the values is enough to learn from.
            loss = problem.loss(observed).sum()
            (slope,) = torch.autograd.grad(loss, here, retain_graph=True)
        return observed, [slope]


def train(
    optimizer: LearnedOptimizer,
    draw: Callable[[], tuple[Task, Tensor]],
    steps: int,
    epochs: int,
    label: str,
    rate: float = 0.01,
) -> list[float]:
    """Train an optimizer on fresh problems and starts in every epoch; return the losses.

    The loss is the mean along the walk: who is there sooner is better. The learning rate falls from
    ``rate`` to zero.
    """
    descent = torch.optim.Adam(optimizer.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, epochs)
    history = []
    with progress(epochs, label, unit="epoch") as bar:
        for _ in range(epochs):
            losses, _ = optimizer(*draw(), steps)
            loss = losses[1:].mean()
            descent.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(optimizer.parameters(), 1.0)
            descent.step()
            schedule.step()
            history.append(loss.item())
            bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
            bar.update()
    return history


def descend(
    kind: type[torch.optim.Optimizer], rate: float, problem: Task, start: Tensor, steps: int
) -> Tensor:
    """Walk from ``start`` ``(B, I)`` with an optimizer of torch: ``(steps + 1, B, I)``.

    Adam and SGD treat every element on its own, so rows do not influence each other.
    """
    angles = start.clone().requires_grad_()
    optimizer: Any = kind([angles], lr=rate)  # type: ignore[call-arg]
    places = [start]
    for _ in range(steps):
        optimizer.zero_grad()
        problem.loss(problem.observe(angles)).sum().backward()
        optimizer.step()
        places.append(angles.detach().clone())
    return torch.stack(places)


def best_rate(kind: type[torch.optim.Optimizer], problem: Task, start: Tensor, steps: int) -> float:
    """Return the learning rate with the smallest mean loss after the last step."""
    means = {}
    for rate in RATES:
        last = descend(kind, rate, problem, start, steps)[-1]
        with torch.no_grad():
            means[rate] = problem.loss(problem.observe(last)).mean().item()
    return min(means, key=means.__getitem__)
