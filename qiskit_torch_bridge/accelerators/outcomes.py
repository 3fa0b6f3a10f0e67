# SPDX-License-Identifier: Apache-2.0
"""What is read of outcomes, from the expectation values of strings of Z, as tensors.

See :mod:`.simulation.pauli_outcomes` for the formula.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..program.interpretations import Parity
from ..program.readouts import Outcomes
from .sparse_maps import SparseMap


class OutcomesOf:
    """The map from expectation values ``(B, K)`` of strings of Z to what is read, ``(B, S)``.

    Args:
        readout: Which qubits are measured, and what their outcomes count for.
        device: Where the values are.
    """

    def __init__(self, readout: Outcomes, device: torch.device) -> None:
        self.size = readout.size
        self._bits, interpretation = len(readout.qubits), readout.interpretation
        self._is_parity = isinstance(interpretation, Parity)
        self._table: SparseMap | None = None
        if interpretation is not None and not self._is_parity:
            table = interpretation.table(self._bits)
            shape = (self.size, len(table))
            self._table = SparseMap(
                table, np.arange(len(table)), None, shape, torch.float64, device
            )

    def __call__(self, values: Tensor) -> Tensor:
        """Return what is read."""
        one = values.new_ones(len(values), 1)
        if self._is_parity:
            parity = values[:, :1] if self._bits else one
            further = values.new_zeros(len(values), self.size - 2)
            return torch.cat([(one + parity) / 2, (one - parity) / 2, further], 1)
        found = torch.cat([one, values], 1)
        for bit in range(self._bits):
            even, odd = found.unflatten(1, (-1, 2, 1 << bit)).unbind(2)
            found = torch.stack([even + odd, even - odd], 2).flatten(1)
        found = found / (1 << self._bits)
        return found if self._table is None else self._table(found)
