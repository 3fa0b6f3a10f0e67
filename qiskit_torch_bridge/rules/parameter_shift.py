# SPDX-License-Identifier: Apache-2.0
"""The parameter-shift rule on gate angles, with the chain rule through parameter expressions.

References:
    K. Mitarai et al., Phys. Rev. A 98, 032309 (2018), arXiv:1803.00745.
    M. Schuld et al., Phys. Rev. A 99, 032331 (2019), arXiv:1811.11184.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .plan import Differentiation, ShiftPlan, check_columns

if TYPE_CHECKING:
    from ..program import AnalysedCircuit

SHIFTS = np.array([np.pi / 2, -np.pi / 2])
COEFFICIENTS = np.array([0.5, -0.5])


class ParameterShiftRule:
    r"""Half the difference of two evaluations at :math:`\pm\pi/2`, one gate angle at a time.

    .. math:: \frac{\partial f}{\partial v_p}
        = \sum_a \frac{\partial \alpha_a}{\partial v_p}\,
          \frac{f(\alpha + \tfrac{\pi}{2} e_a) - f(\alpha - \tfrac{\pi}{2} e_a)}{2}

    It runs on the form of the circuit in which each angle has a parameter of its own and a
    generator with two eigenvalues one apart. Cost: two evaluations per angle that depends on a
    wanted column.
    """

    name = "parameter-shift"

    def __repr__(self) -> str:
        return self.name

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return the plan over the angles that the wanted columns reach."""
        check_columns(circuit, columns)
        target, angle_map = circuit.shift_form
        coordinates = angle_map.angles_of(columns)
        stencils = [(a, SHIFTS, COEFFICIENTS) for a in coordinates]
        plan = ShiftPlan.from_columns(angle_map.num_angles, stencils)
        return Differentiation(target, angle_map, angle_map.pullback(coordinates, columns), plan)
