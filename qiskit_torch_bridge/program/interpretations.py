# SPDX-License-Identifier: Apache-2.0
"""What measured outcomes count for: a table, the parity of their bits, or a function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from ..arguments import UNREADABLE, is_whole_number, require_whole_number, shown
from ..arrays import IntArray
from ..exceptions import MeasurementError, StateDictError
from .readouts import Interpretation

Interpret: TypeAlias = "str | Callable[[int], int] | ArrayLike | Interpretation"
"""What users say that outcomes count for."""

TABULATED = 20
"""A function is asked for all outcomes, once, if they have at most so many bits."""
MOST_OUTPUTS = 1 << 30

_FORMS = "a function of the outcome, an array with an output for each outcome, or 'parity'"


def check_interpretation(interpret: Any, output_size: int | None) -> Any:
    """Return what outcomes count for, as far as it can be checked before their bits are counted.

    Raises:
        MeasurementError: If it is no interpretation, or ``output_size`` has no use or no room.
    """
    if output_size is not None:
        output_size = require_whole_number(
            output_size, "output_size", 1, MOST_OUTPUTS, error=MeasurementError
        )
    if isinstance(interpret, Interpretation):
        if output_size not in (None, interpret.size):
            raise MeasurementError(
                f"Expected output_size to be {interpret.size}, as the interpretation has it; got "
                f"{output_size}."
            )
        return interpret
    if interpret is None:
        if output_size is not None:
            raise MeasurementError(
                f"Expected interpret= together with output_size; got output_size={output_size} "
                "alone. Without interpret there is an output for each outcome."
            )
        return None
    if isinstance(interpret, str):
        if interpret != "parity":
            raise MeasurementError(f"Expected interpret to be {_FORMS}; got {shown(interpret)}.")
        return Parity(2 if output_size is None else output_size)
    if callable(interpret):
        return interpret
    return OutcomeTable(interpret, output_size)


def interpretation_for(
    interpret: Any, output_size: int | None, num_bits: int
) -> Interpretation | None:
    """Return what outcomes of so many bits count for.

    Args:
        interpret: What :func:`check_interpretation` returned.
        output_size: The number of outputs, or ``None`` to have it found.
        num_bits: The number of bits.

    Raises:
        MeasurementError: If it does not fit, or gives something that is no output.
    """
    if isinstance(interpret, OutcomeTable) and len(interpret.outputs) != 1 << num_bits:
        raise MeasurementError(
            f"Expected interpret to have an output for each of the {2**num_bits} outcomes of "
            f"{num_bits} qubits; got {len(interpret.outputs)}."
        )
    if interpret is None or isinstance(interpret, Interpretation):
        return interpret
    if num_bits <= TABULATED:
        outputs = [_call(interpret, outcome) for outcome in range(1 << num_bits)]
        return OutcomeTable(np.array(outputs, dtype=np.int64), output_size)
    if output_size is None:
        raise MeasurementError(
            f"Expected output_size together with a function of outcomes of {num_bits} bits; got "
            f"None. They are too many to ask it for all of them; up to {TABULATED} bits it is not "
            "needed."
        )
    return OutcomeFunction(interpret, output_size)


def read_interpretation(described: Any, num_bits: int) -> Interpretation | None:
    """Return an interpretation that was described for a file.

    Raises:
        MeasurementError: If it is none of so many bits.
    """
    if described is None:
        return None
    outputs, size = described["outputs"], described["size"]
    found = check_interpretation("parity" if outputs == "parity" else list(outputs), size)
    return interpretation_for(found, None, num_bits)


class OutcomeTable(Interpretation):
    """An output for each outcome.

    Args:
        outputs: Whole numbers from 0 up, for the outcomes in order: ``(2**k,)``.
        size: How many outputs there are; default: one more than the largest.
    """

    def __init__(self, outputs: Any, size: int | None = None) -> None:
        self.outputs = _read_outputs(outputs)
        largest = int(self.outputs.max())
        self.size = largest + 1 if size is None else size
        if largest >= self.size or largest >= MOST_OUTPUTS:
            outcome = int(self.outputs.argmax())
            raise _no_output(outcome, largest, min(self.size, MOST_OUTPUTS))

    @override
    def table(self, num_bits: int) -> IntArray:
        return self.outputs

    @override
    def of_packed(self, packed: NDArray[np.uint8], num_bits: int) -> IntArray:
        index = np.zeros(packed.shape[:-1], dtype=np.int64)
        for byte in np.moveaxis(packed, -1, 0):
            index = index << 8 | byte
        return self.outputs[index]

    @override
    def describe(self) -> dict[str, Any]:
        return {"outputs": self.outputs.tolist(), "size": self.size}

    @property
    @override
    def mark(self) -> str:
        return hashlib.sha256(f"{self.size} ".encode() + self.outputs.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, OutcomeTable)
            and self.size == other.size
            and np.array_equal(self.outputs, other.outputs)
        )

    def __hash__(self) -> int:
        return hash((self.size, len(self.outputs)))

    def __repr__(self) -> str:
        return f"OutcomeTable({shown(self.outputs.tolist())}, {self.size})"


class Parity(Interpretation):
    """Whether an outcome has an even (0) or an odd number (1) of ones.

    Args:
        size: How many outputs there are; those from the third on are never counted.
    """

    def __init__(self, size: int = 2) -> None:
        self.size = require_whole_number(
            size, "output_size", 2, MOST_OUTPUTS, error=MeasurementError
        )

    @override
    def table(self, num_bits: int) -> IntArray:
        return np.bitwise_count(np.arange(1 << num_bits)).astype(np.int64) & 1

    @override
    def of_packed(self, packed: NDArray[np.uint8], num_bits: int) -> IntArray:
        return np.bitwise_count(np.bitwise_xor.reduce(packed, axis=-1)).astype(np.int64) & 1

    @override
    def describe(self) -> dict[str, Any]:
        return {"outputs": "parity", "size": self.size}

    @property
    @override
    def mark(self) -> str:
        return f"parity {self.size}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parity) and self.size == other.size

    def __hash__(self) -> int:
        return hash((Parity, self.size))

    def __repr__(self) -> str:
        return "'parity'" if self.size == 2 else f"Parity({self.size})"


class OutcomeFunction(Interpretation):
    """A function of outcomes that are too many for a table; samplers ask it for what they found.

    Args:
        function: Takes an outcome as a number and returns an output.
        size: How many outputs there are.
    """

    def __init__(self, function: Callable[[int], int], size: int) -> None:
        self.function = function
        self.size = size

    @override
    def table(self, num_bits: int) -> IntArray:
        return self._outputs(range(1 << num_bits), 1 << num_bits)

    @override
    def of_packed(self, packed: NDArray[np.uint8], num_bits: int) -> IntArray:
        rows = packed.reshape(-1, packed.shape[-1])
        found, place = np.unique(rows, axis=0, return_inverse=True)
        outcomes = (int.from_bytes(row.tobytes(), "big") for row in found)
        return self._outputs(outcomes, len(found))[place.reshape(packed.shape[:-1])]

    def _outputs(self, outcomes: Iterable[int], count: int) -> IntArray:
        outputs = (_call(self.function, outcome, self.size) for outcome in outcomes)
        return np.fromiter(outputs, dtype=np.int64, count=count)

    @override
    def describe(self) -> dict[str, Any]:
        raise StateDictError(
            f"Expected an interpretation that is data; got {shown(self.function)}, a function of "
            f"outcomes of more than {TABULATED} bits, which cannot be written to a file or sent to "
            "another process. Say interpret='parity', or measure fewer qubits."
        )

    @property
    @override
    def mark(self) -> str:
        return f"function {self.size}"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, OutcomeFunction)
            and self.size == other.size
            and self.function == other.function
        )

    def __hash__(self) -> int:
        return hash((OutcomeFunction, self.size))

    def __repr__(self) -> str:
        return f"OutcomeFunction({shown(self.function)}, {self.size})"


def _call(function: Callable[[int], int], outcome: int, size: int = MOST_OUTPUTS) -> int:
    """Return what a user's function gives for an outcome."""
    try:
        output = function(outcome)
    except Exception as error:
        raise MeasurementError(
            f"Expected interpret to be a function of an outcome, a number; of {outcome} it raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if isinstance(output, (bool, np.bool_)):
        output = int(output)
    if not is_whole_number(output) or not 0 <= output < size:
        raise _no_output(outcome, output, size)
    return int(output)


def _no_output(outcome: int, output: object, size: int) -> MeasurementError:
    return MeasurementError(
        f"Expected interpret to give whole numbers from 0 to {size - 1}; got {shown(output)} for "
        f"the outcome {outcome}."
    )


def _read_outputs(outputs: Any) -> IntArray:
    """Return a table that was given as an array or as a list."""
    array = np.zeros(0)
    if isinstance(outputs, (list, tuple)) or hasattr(outputs, "__array__"):
        try:
            array = np.asarray(outputs)
        except UNREADABLE:
            array = np.zeros(0)
    if array.dtype.kind not in "iub" or array.ndim != 1 or not len(array):
        raise MeasurementError(
            f"Expected interpret to be {_FORMS}: whole numbers of shape (2**k,); got "
            f"{shown(outputs)}."
        )
    if array.min() < 0 or array.max() >= MOST_OUTPUTS:
        outcome = int(array.argmin() if array.min() < 0 else array.argmax())
        raise _no_output(outcome, int(array[outcome]), MOST_OUTPUTS)
    kept = array.astype(np.int64)  # a copy, which nobody else changes
    kept.flags.writeable = False
    return kept
