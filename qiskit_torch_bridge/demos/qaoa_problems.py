# SPDX-License-Identifier: Apache-2.0
"""The problems of the QAOA demonstration: the two-qubit case of the beginning, and graphs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from ..arrays import FloatArray
from .common import DemoError
from .contest import Loss
from .graphs import Graph, cut_operator, cut_values, qaoa_circuit

ORIGIN_TARGET = -0.25


class Problem(NamedTuple):
    """Something to minimise.

    Attributes:
        title: What it is.
        circuit: Its parameters are all trained.
        operator: The observable; its lowest expectation value is to be found.
        optimum: The lowest possible one.
        start: The initial weights, in the order of ``circuit.parameters``.
        graph: The graph whose cuts it is about, with the largest cut; ``None`` if it is not.
        loss: What is minimised, if not the expectation value itself.
        tolerance: The slope, and COBYLA's step, at which a run ends.
    """

    title: str
    circuit: QuantumCircuit
    operator: SparsePauliOp
    optimum: float
    start: FloatArray
    graph: Graph | None = None
    loss: Loss | None = None
    tolerance: float = 1e-4


def origin_problem() -> Problem:
    r"""Return the two-qubit case of the QizGloria notebook "2qubit-QAOA".

    Mixer and then :math:`e^{i\gamma ZZ/2}` on :math:`|00\rangle`, the observable
    :math:`-ZZ/4`, its target -1/4, and the squared distance to it as the loss. The last gate
    commutes with what is measured, so :math:`\langle E\rangle = -\cos^2(\beta)/4`.
    """
    beta, gamma = Parameter("beta"), Parameter("gamma")
    circuit = QuantumCircuit(2)
    circuit.rx(beta, [0, 1])
    circuit.cx(0, 1)
    circuit.rz(-gamma, 1)
    circuit.cx(0, 1)
    return Problem(
        "two qubits, as in the beginning",
        circuit,
        SparsePauliOp("ZZ", -0.25),
        ORIGIN_TARGET,
        np.full(2, math.pi / 4),
        loss=lambda value: (value - ORIGIN_TARGET).square(),
        tolerance=1e-6,  # a square is flat around its minimum
    )


def cut_problem(title: str, graph: Graph, reps: int) -> Problem:
    """Return MaxCut on ``graph``: minimise minus the cut, as a part of all weights."""
    largest = cut_values(graph).max()
    if largest <= 0:
        raise DemoError(f"No cut of {title} has a weight above zero: there is nothing to find.")
    # Angles and slopes then have the same size for all graphs, and so have good step sizes.
    scale = float(np.mean(np.abs(graph.weights)))
    scaled = graph._replace(weights=tuple(weight / scale for weight in graph.weights))
    circuit, gammas, betas = qaoa_circuit(scaled, reps)
    size = scale * len(graph.edges)
    ramp = (np.arange(reps) + 0.5) / reps
    angles = dict(zip([*gammas, *betas], [*(0.6 * ramp), *(0.6 * (1 - ramp))], strict=True))
    return Problem(
        title,
        circuit,
        cut_operator(graph) * (-1 / size),
        -largest / size,
        np.array([angles[parameter] for parameter in circuit.parameters]),
        graph,
    )
