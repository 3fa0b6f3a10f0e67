# SPDX-License-Identifier: Apache-2.0
"""The problems of the meta demonstration: targets for one qubit, and largest cuts of graphs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import rustworkx
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor

from .. import TorchQuantumModule
from ..primitives import BatchedStatevectorEstimator
from .common import GRADIENTS, DemoError, MeteredEstimator
from .graphs import Graph, cut_operator, max_cut, qaoa_circuit, random_gnp
from .learned import Problem

DENSITIES = (0.3, 0.7)
"""Graphs are drawn from sparse to dense ones, for their best angles to differ."""

TYPICAL_STARTS, TYPICAL_STEPS = 16, 60
"""The search for typical angles: the best of so many starts, after so many steps."""

ATTEMPTS = 100
"""Draws for each graph that is wanted, until there seem to be no others."""

_max_cut = functools.cache(max_cut)

MakeNode = Callable[..., TorchQuantumModule]


class Nodes:
    """Makes a circuit a module in the three ways that this demonstration needs.

    Args:
        gradient: A value of ``--gradient``, or ``None``.
        shots: Shots for each expectation value, or ``None`` for exact ones.
        seed: Seeds the shots.

    Attributes:
        meter: Counts what metered modules evaluate.
    """

    def __init__(self, gradient: str | None, shots: int | None, seed: int) -> None:
        self.shots = shots
        self.seed = seed
        self.rule = None if gradient is None else GRADIENTS[gradient]
        self.sampler = BatchedStatevectorEstimator(seed=seed)
        self.meter = MeteredEstimator(self.sampler)

    @property
    def simulated(self) -> bool:
        """Whether neither shots nor a gradient were asked for."""
        return self.shots is None and self.rule is None

    def exact(self, *spec: Any) -> TorchQuantumModule:
        """Return a module with exact values and gradients, whatever the flags say."""
        circuit, observable, inputs = spec
        return TorchQuantumModule(circuit, observable, input_params=inputs)

    def to_train(self, *spec: Any) -> TorchQuantumModule:
        """Return a module to train through: with the shots' noise, but exact gradients by default.

        The training takes place in a simulation, where they are to be had; what is trained is
        then used without any.
        """
        return self.exact(*spec) if self.simulated else self._with(self.sampler, "adjoint", spec)

    def to_use(self, *spec: Any) -> TorchQuantumModule:
        """Return a module to use: with shots, or a gradient named, all comes from evaluations."""
        return self.exact(*spec) if self.simulated else self._with(self.sampler, "aqgd", spec)

    def metered(self, *spec: Any) -> TorchQuantumModule:
        """Return a module whose evaluations are counted."""
        return self._with(self.meter, "aqgd", spec)

    def _with(self, estimator: Any, rule: str, spec: tuple[Any, ...]) -> TorchQuantumModule:
        circuit, observable, inputs = spec
        return TorchQuantumModule(
            circuit,
            observable,
            input_params=inputs,
            estimator=estimator,
            gradient=self.rule or rule,
            shots=self.shots,
            seed=self.seed,
        )


class Rotations(NamedTuple):
    """One rotation for each row, from an unknown start to a random target.

    Attributes:
        node: The circuit.
        hidden: The angles that the qubits have been rotated by already ``(B, 1)``.
        targets: The expectation values to reach ``(B,)``.
    """

    node: TorchQuantumModule
    hidden: Tensor
    targets: Tensor

    @classmethod
    def draw(cls, node: TorchQuantumModule, rows: int) -> Rotations:
        """Draw rows at random."""
        return cls(node, math.pi * (2 * torch.rand(rows, 1) - 1), 2 * torch.rand(rows) - 1)

    def on(self, node: TorchQuantumModule) -> Rotations:
        """Return the same rows on another module of the circuit."""
        return self._replace(node=node)

    def first(self) -> Rotations:
        """Return the first row."""
        return self._replace(hidden=self.hidden[:1], targets=self.targets[:1])

    def problem(self) -> Problem:
        """Return the problem: what is observed is the distance from the target, with its sign."""
        return Problem(self._observe, torch.square)

    def _observe(self, angles: Tensor) -> Tensor:
        return self.node(self.hidden + angles)[:, 0] - self.targets


def rotation_circuit() -> tuple[QuantumCircuit, str, list[Parameter]]:
    """Return one rotation of a qubit, its observable and its angle."""
    angle = Parameter("angle")
    circuit = QuantumCircuit(1)
    circuit.ry(angle, 0)
    return circuit, "Z", [angle]


class Cuts(NamedTuple):
    """The QAOA circuits of some graphs, with as many rows each.

    Attributes:
        graphs: The graphs.
        nodes: Their circuits.
    """

    graphs: Sequence[Graph]
    nodes: Sequence[TorchQuantumModule]

    @classmethod
    def of(cls, graphs: Sequence[Graph], layers: int, make: MakeNode) -> Cuts:
        """Make the circuits."""
        nodes = []
        for graph in graphs:
            circuit, gammas, betas = qaoa_circuit(graph, layers)
            nodes.append(make(circuit, cut_operator(graph), [*gammas, *betas]))
        return cls(graphs, nodes)

    def some(self, chosen: Sequence[int]) -> Cuts:
        """Return those at the positions ``chosen``."""
        return Cuts([self.graphs[i] for i in chosen], [self.nodes[i] for i in chosen])

    def problem(self) -> Problem:
        """Return the problem: what is observed is the share of edges cut, less a half.

        A half is what random cuts have. The size of the largest cut is used nowhere here: who
        knew it would not need QAOA.
        """
        return Problem(self._observe, torch.neg)

    def _observe(self, angles: Tensor) -> Tensor:
        parts = angles.split(len(angles) // len(self.nodes))
        shares = [
            node(part)[:, 0] / sum(graph.weights)
            for graph, node, part in zip(self.graphs, self.nodes, parts, strict=True)
        ]
        return torch.cat(shares) - 0.5

    def ratios(self, angles: Tensor) -> Tensor:
        """Return the approximation ratio of each graph, the mean of its rows."""
        shares = (self._observe(angles) + 0.5).reshape(len(self.nodes), -1).mean(1)
        return shares * torch.tensor([sum(g.weights) / _max_cut(g) for g in self.graphs])


def random_angles(rows: int, layers: int) -> Tensor:
    """Draw angles ``(rows, 2 * layers)`` from a whole period: first all gammas, then all betas."""
    gammas = math.pi * (2 * torch.rand(rows, layers) - 1)
    betas = math.pi / 2 * (2 * torch.rand(rows, layers) - 1)
    return torch.cat([gammas, betas], -1)


def draw_graphs(
    count: int, num_nodes: Sequence[int], rng: np.random.Generator, known: Sequence[Graph] = ()
) -> list[Graph]:
    """Draw connected graphs, none of them a renumbering of another or of a known one."""
    found: list[Graph] = []
    seen = [_as_rustworkx(graph) for graph in known]
    for _ in range(ATTEMPTS * count):
        graph = random_gnp(int(rng.choice(num_nodes)), rng.uniform(*DENSITIES), rng)
        candidate = _as_rustworkx(graph)
        if not rustworkx.is_connected(candidate):
            continue
        if any(rustworkx.is_isomorphic(candidate, other) for other in seen):
            continue
        found.append(graph)
        seen.append(candidate)
        if len(found) == count:
            return found
    raise DemoError(
        f"There are too few different graphs of {max(num_nodes)} nodes: found {len(found)} of "
        f"{count} that were still wanted after {len(known)}. Ask for fewer with --graphs and "
        "--unseen, or for larger ones with --nodes."
    )


def _as_rustworkx(graph: Graph) -> rustworkx.PyGraph:
    result = rustworkx.PyGraph()
    result.add_nodes_from(range(graph.num_nodes))
    result.add_edges_from_no_data(list(graph.edges))
    return result


def typical_angles(cuts: Cuts, layers: int) -> Tensor:
    """Return the angles ``(2 * layers,)`` that are best for the mean of all graphs.

    Angles of QAOA that suit some graphs suit others of their kind (Brandao et al.,
    arXiv:1812.04170), so this is where who knows of QAOA begins.
    """
    angles = random_angles(TYPICAL_STARTS, layers).requires_grad_()
    optimizer = torch.optim.Adam([angles], lr=0.05)
    problem = cuts.problem()
    for _ in range(TYPICAL_STEPS):
        optimizer.zero_grad()
        losses = _per_start(problem, angles, len(cuts.nodes))
        losses.sum().backward()
        optimizer.step()
    with torch.no_grad():
        return angles[_per_start(problem, angles, len(cuts.nodes)).argmin()].clone()


def _per_start(problem: Problem, angles: Tensor, graphs: int) -> Tensor:
    return problem.loss(problem.observe(angles.repeat(graphs, 1))).reshape(graphs, -1).mean(0)
