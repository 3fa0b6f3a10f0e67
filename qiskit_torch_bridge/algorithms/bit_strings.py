# SPDX-License-Identifier: Apache-2.0
"""Measured bit strings, read qubit by qubit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.primitives import BitArray
from torch import Tensor

from ..arguments import UNREADABLE, is_whole_number, require_whole_number, shown
from ..exceptions import InputError

Bits: TypeAlias = NDArray[np.int8]
Outcomes: TypeAlias = "str | int | BitArray | NDArray[Any] | Tensor | Sequence[Outcomes]"
"""Outcomes as Qiskit gives them, one or many."""

MOST_QUBITS = 1 << 20
AS_NUMBERS = 64
"""NumPy's whole numbers have so many bits; outcomes of more are Python's."""


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
    _check_count(num_qubits)
    if not isinstance(outcome, str) and not is_whole_number(outcome):
        raise _no_outcome(outcome, num_qubits)
    return tuple(unpack_bits(outcome, num_qubits).tolist())


def unpack_bits(outcomes: Outcomes, num_qubits: int | None = None) -> Bits:
    """Return the bits of many outcomes: entry ``k`` of the last axis is that of qubit ``k``.

    Args:
        outcomes: A ``BitArray``, or bit strings or numbers as for :func:`bits_by_qubit`: one, an
            array or a tensor of any shape, or nested lists.
        num_qubits: How many there are; needed for numbers, checked for all others.

    Returns:
        Bits ``(..., n)`` of dtype int8, so that ``1 - 2 * bits`` are the eigenvalues of Z: the
        shape of a ``BitArray`` is followed by its shots.

    Raises:
        InputError: If these are no such outcomes, or of another number of qubits.

    Example:
        >>> from qiskit_torch_bridge.algorithms import unpack_bits
        >>> unpack_bits(["001", "110"]).tolist()
        [[1, 0, 0], [0, 1, 1]]
    """
    _check_count(num_qubits)
    if isinstance(outcomes, BitArray):
        if num_qubits not in (None, outcomes.num_bits):
            raise _no_outcome(outcomes, num_qubits)
        bits = np.unpackbits(outcomes.array, axis=-1)[..., ::-1][..., : outcomes.num_bits]
        return bits.astype(np.int8)
    array = _array_of(outcomes)
    if array.dtype.kind == "U":
        found = _of_strings(array)
        fits = found is not None and num_qubits in (None, found.shape[-1])
    else:
        found = None if num_qubits is None else _of_numbers(array, num_qubits)
        fits = found is not None
    if found is None or not fits:
        raise _no_outcome(outcomes, num_qubits)
    return found


def _check_count(num_qubits: int | None) -> None:
    if num_qubits is not None:
        require_whole_number(num_qubits, "num_qubits", 0, MOST_QUBITS)


def _array_of(outcomes: Any) -> NDArray[Any]:
    """Return outcomes as an array of text, of whole numbers, or of Python's."""
    listed = isinstance(outcomes, (str, list, tuple)) or hasattr(outcomes, "__array__")
    if not listed:
        return np.array(outcomes if is_whole_number(outcomes) else None, dtype=object)
    try:
        array = np.asarray(outcomes)
        # NumPy makes floating numbers of Python's whole ones if some of them are large.
        return np.asarray(outcomes, dtype=object) if array.dtype.kind == "f" else array
    except UNREADABLE:  # ragged lists, tensors without data
        return np.array(None, dtype=object)


def _of_strings(strings: NDArray[np.str_]) -> Bits | None:
    """Return the bits of strings of one length; ``None`` if there is anything else in them."""
    if any(" " in text for text in strings.flat):
        strings = np.array([t.replace(" ", "") for t in strings.flat]).reshape(strings.shape)
    letters = strings.reshape(-1, 1).view("U1")
    if not (letters.size and np.isin(letters, ("0", "1")).all()):
        return None
    return (letters[:, ::-1] == "1").astype(np.int8).reshape(*strings.shape, -1)


def _of_numbers(numbers: NDArray[Any], num_qubits: int) -> Bits | None:
    """Return the bits of whole numbers below ``2**num_qubits``; ``None`` if there are others."""
    if numbers.dtype.kind == "O" or num_qubits > AS_NUMBERS:
        flat = numbers.ravel().tolist()
        if not all(is_whole_number(number) and 0 <= number < 1 << num_qubits for number in flat):
            return None
        size = (num_qubits + 7) // 8
        packed = b"".join(int(number).to_bytes(size, "little") for number in flat)
        octets = np.frombuffer(packed, dtype=np.uint8).reshape(*numbers.shape, size)
        return np.unpackbits(octets, axis=-1, bitorder="little")[..., :num_qubits].astype(np.int8)
    if numbers.dtype.kind not in "iu" or (numbers.size and not _below(numbers, num_qubits)):
        return None
    places = np.arange(num_qubits, dtype=np.uint64)
    return (numbers[..., None].astype(np.uint64) >> places & np.uint64(1)).astype(np.int8)


def _below(numbers: NDArray[Any], num_qubits: int) -> bool:
    return int(numbers.min()) >= 0 and int(numbers.max()).bit_length() <= num_qubits


def _no_outcome(outcomes: object, num_qubits: int | None) -> InputError:
    count = "" if num_qubits is None else f" of {num_qubits} qubits"
    return InputError(
        f"Expected a measured outcome{count}: a bit string such as '011', or a number from 0 up "
        f"together with num_qubits, below 2**num_qubits; got {shown(outcomes)}."
    )
