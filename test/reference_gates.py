# SPDX-License-Identifier: Apache-2.0
"""Matrices of Qiskit's parameterized gates, as differentiable torch functions of their angles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import torch
from qiskit.circuit import library as lib
from torch import Tensor

_PAULIS = {
    "I": torch.eye(2, dtype=torch.complex128),
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}


def _matrix(rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    return torch.stack(
        [torch.stack([torch.as_tensor(z, dtype=torch.complex128) for z in row]) for row in rows]
    )


def _rotation(label: str) -> Callable[[Tensor], Tensor]:
    """exp(-i theta/2 P); the label's last letter acts on the first qubit."""
    pauli = reduce(torch.kron, [_PAULIS[letter] for letter in label])
    identity = torch.eye(len(pauli), dtype=torch.complex128)
    return lambda theta: torch.cos(theta / 2) * identity - 1j * torch.sin(theta / 2) * pauli


def _r(theta: Tensor, phi: Tensor) -> Tensor:
    axis = torch.cos(phi) * _PAULIS["X"] + torch.sin(phi) * _PAULIS["Y"]
    return torch.cos(theta / 2) * _PAULIS["I"] - 1j * torch.sin(theta / 2) * axis


def _u(theta: Tensor, phi: Tensor, lam: Tensor) -> Tensor:
    c, s = torch.cos(theta / 2), torch.sin(theta / 2)
    return _matrix(
        [
            [c, -torch.exp(1j * lam) * s],
            [torch.exp(1j * phi) * s, torch.exp(1j * (phi + lam)) * c],
        ]
    )


def _phase(lam: Tensor) -> Tensor:
    return _matrix([[1, 0], [0, torch.exp(1j * lam)]])


def _xx_plus_yy(theta: Tensor, beta: Tensor) -> Tensor:
    c, s = torch.cos(theta / 2), -1j * torch.sin(theta / 2)
    down, up = torch.exp(-1j * beta) * s, torch.exp(1j * beta) * s
    return _matrix([[1, 0, 0, 0], [0, c, down, 0], [0, up, c, 0], [0, 0, 0, 1]])


def _xx_minus_yy(theta: Tensor, beta: Tensor) -> Tensor:
    c, s = torch.cos(theta / 2), -1j * torch.sin(theta / 2)
    down, up = torch.exp(-1j * beta) * s, torch.exp(1j * beta) * s
    return _matrix([[c, 0, 0, down], [0, 1, 0, 0], [0, 0, 1, 0], [up, 0, 0, c]])


GATES: dict[type, Callable[..., Tensor]] = {
    lib.GlobalPhaseGate: lambda phi: _matrix([[torch.exp(1j * phi)]]),
    lib.RXGate: _rotation("X"),
    lib.RYGate: _rotation("Y"),
    lib.RZGate: _rotation("Z"),
    lib.RXXGate: _rotation("XX"),
    lib.RYYGate: _rotation("YY"),
    lib.RZZGate: _rotation("ZZ"),
    lib.RZXGate: _rotation("XZ"),
    lib.RGate: _r,
    lib.PhaseGate: _phase,
    lib.U1Gate: _phase,
    lib.U2Gate: lambda phi, lam: _u(torch.tensor(math.pi / 2, dtype=torch.float64), phi, lam),
    lib.U3Gate: _u,
    lib.UGate: _u,
    lib.XXPlusYYGate: _xx_plus_yy,
    lib.XXMinusYYGate: _xx_minus_yy,
}
