# SPDX-License-Identifier: Apache-2.0
"""QOKit's simulator of QAOA in C: the diagonal of the cost once, gradients by differences.

It has no derivatives, and its examples optimize without them or by differences:
https://github.com/jpmorganchase/QOKit/blob/main/examples/QAOA_for_MaxCut.ipynb
"""

from __future__ import annotations

from typing import Any

import numpy as np
from adjoint_reference import Step
from qokit.fur import choose_simulator
from workloads import Workload

from peers.candidate import Candidate

WIDTH = 1e-5


def differences(work: Workload) -> Candidate:
    """Value, and two more values for each angle."""
    (energy,) = work.observables
    terms = [(term.coefficient, tuple(term.qubits)) for term in energy]
    simulator = choose_simulator(name="c")(work.qubits, terms=terms)

    def value(angles: Any) -> float:
        # Its phases are exp(-i gamma C / 2), as those of rotations, its mixers exp(-i beta X).
        state = simulator.simulate_qaoa(angles[::2], angles[1::2] / 2)
        return float(simulator.get_expectation(state))

    def step() -> Any:
        moves = WIDTH * np.eye(len(work.w))
        slopes = [(value(work.w + d) - value(work.w - d)) / (2 * WIDTH) for d in moves]
        return value(work.w), np.array(slopes)

    def read(result: Any) -> Step:
        found, slopes = result
        return Step(np.array([[found]]), np.empty((1, 0)), slopes)

    return Candidate(step, read)
