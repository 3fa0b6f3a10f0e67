# SPDX-License-Identifier: Apache-2.0
"""The numbers that Python and the compiled kernels agree on."""

from __future__ import annotations

LANES = 32
"""Numbers that a kernel handles side by side: a row of a block."""

DIAGONAL, X_LIKE, Y_LIKE, MATRIX = range(4)
"""Kinds of operations: rotations by their effect on a pair of amplitudes, and fixed matrices."""

FORWARD, ADJOINT, TANGENT, TANGENT_ADJOINT, STATE, TANGENT_STATE = range(6)
"""What a pass computes."""

FLUSH = 64
"""Blocks after which sums in the state's precision are added up in double precision."""

NEAR = 1 << 15
"""Numbers of a state up to which a core finds them near enough without asking for them ahead."""

PATIENCE = 1000
"""Looks at a barrier after which a thread lets others have its core."""

ARRIVALS, STOP = 0, 8
"""Where the signals of a pass have the arrivals at barriers, and whether to give the pass up.

They are a cache line apart: the one is written all the time, the other one only read."""

SIGNALS = 9
"""How many numbers the signals are."""
