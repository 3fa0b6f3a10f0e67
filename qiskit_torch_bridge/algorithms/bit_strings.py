# SPDX-License-Identifier: Apache-2.0
"""Measured bit strings, read qubit by qubit."""

from __future__ import annotations

from ..arguments import is_whole_number, require_whole_number, shown
from ..exceptions import InputError

MOST_QUBITS = 1 << 20


def bits_by_qubit(outcome: str | int, num_qubits: int | None = None) -> tuple[int, ...]:
    """Return the bit of each qubit in a measured outcome: entry ``k`` is that of qubit ``k``.

    Qiskit writes qubit 0 last, so that the string is the number in binary: ``bits[k]`` of a string
    is *not* the bit of qubit ``k``.

    Args:
        outcome: A bit string, as ``get_counts()`` and ``best_measurement["bitstring"]`` have it, of
            a circuit measured by ``measure_all()``, or a number, as ``get_int_counts()`` has it.
            Spaces between registers are passed over. Of other measurements, entry ``k`` is
            classical bit ``k``.
        num_qubits: How many there are; needed for a number, checked for a string.

    Raises:
        InputError: If it is no such outcome, or one of another number of qubits.

    Example:
        >>> from qiskit_torch_bridge.algorithms import bits_by_qubit
        >>> bits_by_qubit("001")  # only qubit 0 is in state one
        (1, 0, 0)
        >>> bits_by_qubit(1, 3)
        (1, 0, 0)
    """
    if num_qubits is not None:
        require_whole_number(num_qubits, "num_qubits", 0, MOST_QUBITS)
    if not isinstance(outcome, str) and is_whole_number(outcome):
        known = num_qubits is not None and outcome >= 0 and int(outcome).bit_length() <= num_qubits
        text = format(int(outcome), f"0{num_qubits}b") if known else ""
    else:
        text = outcome.replace(" ", "") if isinstance(outcome, str) else ""
    if text and set(text) <= {"0", "1"} and num_qubits in (None, len(text)):
        return tuple(int(bit) for bit in reversed(text))
    count = "" if num_qubits is None else f" of {num_qubits} qubits"
    raise InputError(
        f"Expected a measured outcome{count}: a bit string such as '011', or a number from 0 up "
        f"together with num_qubits, below 2**num_qubits; got {shown(outcome)}."
    )
