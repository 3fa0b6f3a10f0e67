# SPDX-License-Identifier: Apache-2.0
"""What the meta demonstration found out: a curve for each optimizer, and tables of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Curve:
    """How one optimizer fares.

    Attributes:
        label: Its name.
        values: The exact figure of merit after every step, from the start ``(steps + 1, N)``,
            for each of the targets or graphs.
        evaluations: The expectation values that one walk takes, on average.
    """

    label: str
    values: Tensor
    evaluations: float

    @property
    def is_learned(self) -> bool:
        """Whether it is a learned optimizer."""
        return self.label.startswith("LSTM")

    @property
    def means(self) -> list[float]:
        """The mean figure of merit after every step."""
        return self.values.mean(1).tolist()


@dataclass
class Comparison:
    """Optimizers on the same unseen problems.

    Attributes:
        title: The problems, in words.
        merit: The figure of merit, in words.
        curves: The optimizers, the learned ones first.
        sign: Whether a large figure of merit is good (1) or a small one (-1).
    """

    title: str
    merit: str
    sign: int
    curves: list[Curve] = field(default_factory=list)

    def gain(self, learned: Curve, other: Curve) -> tuple[float, float, float]:
        """Return how much better one optimizer ends than another.

        Returns:
            The mean difference, its standard error, and the share of problems where it is better.
        """
        difference = self.sign * (learned.values[-1] - other.values[-1])
        error = difference.std() / len(difference) ** 0.5
        better = (difference > 0).double().mean()
        return difference.mean().item(), error.item(), better.item()


def summary(comparison: Comparison) -> str:
    """Return the table of one comparison."""
    curves = comparison.curves
    steps = len(curves[0].values) - 1
    shown = sorted({0, min(1, steps), min(2, steps), steps // 2, steps})
    width = max(len(curve.label) for curve in curves)
    header = "".join(f"{step:8}" for step in shown)
    lines = ["", f"{comparison.title}: {comparison.merit}", ""]
    lines.append(f"{'after steps':{width}}{header}  evaluations")
    for curve in curves:
        means = "".join(f"{curve.means[step]:8.4f}" for step in shown)
        lines.append(f"{curve.label:{width}}{means}{curve.evaluations:13,.0f}")
    lines.append("")
    for learned in filter(lambda curve: curve.is_learned, curves):
        for other in filter(lambda curve: not curve.is_learned, curves):
            mean, error, better = comparison.gain(learned, other)
            lines.append(
                f"{learned.label} against {other.label}: {mean:+.4f} +- {error:.4f}, "
                f"better on {better:.0%}"
            )
    return "\n".join(lines)
