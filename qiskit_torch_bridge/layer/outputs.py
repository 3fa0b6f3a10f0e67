# SPDX-License-Identifier: Apache-2.0
"""What layers measure: as many numbers as there are to be."""

from __future__ import annotations

import itertools
from typing import Any

from ..arguments import shown
from ..exceptions import MeasurementError
from ..program import CircuitProgram, Probabilities

PROBABILITIES = "probabilities"
"""The name of the probabilities of outcomes."""
MOST_OUTPUTS = 1 << 16
"""Outputs of a layer; of more, the labels alone would take long to write."""


def choose_measurement(given: Any, out_features: int | None, qubits: int) -> Any:
    """Return what gives ``out_features`` numbers on some qubits, if nothing else is asked for."""
    if given is None:
        return _strings_of_z(qubits if out_features is None else out_features, qubits)
    if isinstance(given, str) and given == PROBABILITIES:
        return Probabilities(range(_count_bits(out_features, qubits)))
    return given


def count_outputs(program: CircuitProgram, out_features: int | None) -> int:
    """Return the outputs of each row, which must be those that were asked for, if they were."""
    shape = program.output_shape
    if len(shape) != 1 or out_features not in (None, shape[0]):
        wanted = "one list of outputs" if out_features is None else f"{out_features} outputs"
        raise MeasurementError(
            f"Expected a measurement of {wanted} for each row; got shape {shape} of "
            f"{program.measured}. Leave out out_features, which is then as many as are measured, "
            "or measure as many."
        )
    return shape[0]


def _strings_of_z(count: int, qubits: int) -> list[str]:
    """Return Z on each qubit, then products of two, of three and so on, as labels."""
    most = min(2**qubits - 1 if qubits < 64 else MOST_OUTPUTS, MOST_OUTPUTS)
    if count > most:
        raise MeasurementError(
            f"Expected at most {most} outputs, as many as there are products of Z on {qubits} "
            f"qubits (and at most {MOST_OUTPUTS}); got out_features={shown(count)}. Take more "
            "qubits=, or say by measurement= what is measured."
        )
    sets = itertools.chain.from_iterable(
        itertools.combinations(range(qubits), weight) for weight in range(1, qubits + 1)
    )
    return [
        "".join("Z" if q in chosen else "I" for q in reversed(range(qubits)))
        for chosen in itertools.islice(sets, count)
    ]


def _count_bits(out_features: int | None, qubits: int) -> int:
    if out_features is None:
        return qubits
    bits = out_features.bit_length() - 1
    if out_features != 1 << bits or not 1 <= bits <= qubits:
        raise MeasurementError(
            f"Expected out_features to be a power of two from 2 to 2**{qubits} for the "
            f"probabilities of outcomes of {qubits} qubits; got {shown(out_features)}. "
            "Probabilities(..., interpret=..., output_size=...) as measurement= gives any number."
        )
    return bits
