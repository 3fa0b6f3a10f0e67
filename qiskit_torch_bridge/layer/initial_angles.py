# SPDX-License-Identifier: Apache-2.0
"""Initial weights of layers: where the gradient does not vanish, and where it may."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Generator, Tensor

from ..exceptions import InputError
from ..program import CircuitProgram
from ..program.operators import axes_of

CPU = "cpu"
"""Where angles are drawn, the same for a seed wherever they go."""

Start: TypeAlias = Callable[[int, int, int, Generator | None], Tensor]
"""Makes angles ``(layers + 1, 2, qubits)`` of layers, qubits, the locality of what is measured, and
a generator."""


def draw_angles(
    name: str, layers: int, qubits: int, program: CircuitProgram, generator: Generator | None
) -> Tensor:
    """Return initial weights ``(W,)`` of a layer's circuit by their name."""
    return STARTS[name](layers, qubits, _locality(program), generator).flatten()


def _locality(program: CircuitProgram) -> int:
    """Return on how many qubits that which is measured acts at most."""
    tables = [axes_of(operator) for operator in program.observables]
    if tables:
        return max(1, *(int((x | z).sum(axis=1).max()) for x, z in tables))
    return len(program.readout.measured) or program.circuit.num_qubits


def _draw_small(layers: int, qubits: int, locality: int, generator: Generator | None) -> Tensor:
    r"""Draw all angles from a normal distribution of variance :math:`1 / (2 S (L + 1))`.

    The circuit is that of Zhang et al., figure 1, with :math:`2L` layers of rotations, each second
    of which has CZ gates after it. Their angles are half of Qiskit's.
    """
    spread = 1 / math.sqrt(2 * locality * (layers + 1))
    return spread * torch.randn(layers + 1, 2, qubits, generator=generator, device=CPU)


def _draw_identity(layers: int, qubits: int, locality: int, generator: Generator | None) -> Tensor:
    """Draw angles that the second layer after them takes back: blocks of two layers.

    Between them no rotation acts, so that the CZ gates of both layers cancel. RX comes before RY,
    so a block may turn a qubit about X where the one before did, and about Y after either; from
    which block on is drawn for each qubit. With one axis alone, derivatives by the other would
    vanish.
    """
    if layers % 2:
        raise InputError(
            "Expected an even number of layers for initial_weights='identity', which makes each "
            f"two of them the identity; got layers={layers}. Or take 'small'."
        )
    blocks = layers // 2
    drawn = _uniform((blocks, qubits), generator)
    first = torch.randint(blocks + 1, (qubits,), generator=generator, device=CPU)
    about_y = torch.arange(blocks, device=CPU)[:, None] >= first
    opened = torch.stack([drawn * ~about_y, drawn * about_y], 1)  # (blocks, 2, qubits)
    angles = torch.zeros(layers + 1, 2, qubits, device=CPU)
    angles[:-2:2] += opened
    angles[2::2] -= opened
    return angles


def _draw_uniform(layers: int, qubits: int, locality: int, generator: Generator | None) -> Tensor:
    return _uniform((layers + 1, 2, qubits), generator)


def _uniform(shape: tuple[int, ...], generator: Generator | None) -> Tensor:
    return torch.empty(shape, device=CPU).uniform_(-math.pi, math.pi, generator=generator)


STARTS: dict[str, Start] = {
    "small": _draw_small,
    "identity": _draw_identity,
    "uniform": _draw_uniform,
}
"""The initial weights that have a name."""
