# SPDX-License-Identifier: Apache-2.0
"""Simultaneous perturbation: all parameters displaced at once, in random directions."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import make_random_generator, require_whole_number
from ..arrays import FloatArray
from ..exceptions import GradientError
from .finite_difference import validated_epsilon
from .plan import Differentiation, ShiftPlan, check_wanted

if TYPE_CHECKING:
    from ..program import AnalysedCircuit


class SPSARule:
    r"""Differences along random directions of the circuit's own parameters.

    .. math:: \frac{\partial f}{\partial v} \approx
        \frac{f(v + h\Delta) - f(v - h\Delta)}{2h}\, \Delta

    with random signs :math:`\Delta`, for every row of values its own. The mean over directions is
    the gradient, up to an error of order :math:`h^2`; a single one is wrong by about the length of
    the gradient in each component (J. C. Spall, IEEE Trans. Autom. Control 37, 332 (1992)).

    Cost: ``2 * resamplings`` evaluations, whatever the number of columns.

    Args:
        epsilon: The step ``h`` in radians.
        resamplings: How many directions are averaged.
        seed: Makes the directions reproducible.

    Attributes:
        generator: What the directions are drawn from.
    """

    name = "spsa"

    def __init__(
        self,
        epsilon: float,
        resamplings: int = 1,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.epsilon = validated_epsilon(epsilon, "the step")
        self.resamplings = require_whole_number(resamplings, "resamplings", 1, error=GradientError)
        self.generator = make_random_generator(seed)
        self._lock = Lock()

    def __repr__(self) -> str:
        averaged = f", resamplings={self.resamplings}" if self.resamplings > 1 else ""
        return f"{self.name}(epsilon={self.epsilon:.3g}{averaged})"

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return a plan for one gradient; its directions are drawn with its points."""
        check_wanted(circuit, columns)
        used = np.array([circuit.is_used(c) for c in columns], dtype=bool)
        count = 2 * self.resamplings * int(used.any())
        size = len(circuit.parameters)
        plan = ShiftPlan.of_points(size, count, len(columns))
        return _Directions(circuit, None, None, plan, self, columns, used)

    def _signs(self, rows: int, count: int) -> FloatArray:
        """Draw directions ``(resamplings, rows, count)``."""
        with self._lock:
            drawn = self.generator.integers(0, 2, (self.resamplings, rows, count))
        return np.asarray(2 * drawn - 1, dtype=float)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())


@dataclass(frozen=True)
class _Directions(Differentiation):
    """Differences along the directions drawn for the points asked for last."""

    rule: SPSARule
    columns: tuple[int, ...]
    used: Any
    drawn: list[FloatArray] = field(default_factory=list)

    def points(self, values: Any, m: Any = np) -> Any:
        if not self.plan.num_points:
            return super().points(values, m)
        signs = self.rule._signs(values.shape[0], len(self.columns)) * self.used
        self.drawn[:] = [signs]
        displacements = np.zeros((*signs.shape[:2], values.shape[1]))
        displacements[..., list(self.columns)] = self.rule.epsilon * signs
        return values + m.asarray(np.concatenate([displacements, -displacements]))

    def combine(self, values: Any, evs: Any, m: Any = np) -> Any:
        if not self.plan.num_points:
            return super().combine(values, evs, m)
        (signs,) = self.drawn
        count = len(signs)
        slopes = (evs[:count] - evs[count:]) / (2 * self.rule.epsilon)
        return (slopes[..., None] * m.asarray(signs)).mean(0)

    def standard_errors(self, values: FloatArray, stds: FloatArray) -> FloatArray:
        errors = np.sqrt((stds**2).sum(0)) / (2 * self.rule.epsilon * self.rule.resamplings)
        return errors[:, None] * self.used
