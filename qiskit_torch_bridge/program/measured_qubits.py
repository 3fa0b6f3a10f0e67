# SPDX-License-Identifier: Apache-2.0
"""Which qubits of a circuit are meant: by their numbers or as objects, transpiled or not."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

from qiskit.circuit import QuantumCircuit, QuantumRegister, Qubit

from ..arguments import UNREADABLE, is_whole_number, require_choice, shown
from ..exceptions import MeasurementError
from .observables import Layout

QubitsLike: TypeAlias = "int | Qubit | Sequence[int | Qubit] | QuantumRegister"
"""What qubits can be given as; a register stands for its qubits."""

MOST_QUBITS = 1 << 20

_FORMS = "a qubit's number from 0 up, a Qubit of the circuit, or a list of these"


def list_qubits(qubits: Any) -> tuple[int | Qubit, ...]:
    """Return qubits as they were given, as far as can be checked without the circuit.

    Raises:
        MeasurementError: If these are no qubits, or one is given twice, or none.
    """
    listed = [qubits]
    if hasattr(qubits, "__getitem__") and not isinstance(qubits, (str, bytes, dict)):
        with contextlib.suppress(*UNREADABLE):  # numbers, and what is refused below
            listed = list(qubits)
    for qubit in listed:
        known = isinstance(qubit, Qubit) or (is_whole_number(qubit) and 0 <= qubit < MOST_QUBITS)
        if not known:
            raise MeasurementError(f"Expected qubits to be {_FORMS}; got {shown(qubits)}.")
    if not listed:
        raise MeasurementError(f"Expected qubits to be {_FORMS}; got an empty list.")
    found = tuple(q if isinstance(q, Qubit) else int(q) for q in listed)
    refuse_doubled(found)
    return found


def refuse_doubled(qubits: tuple[object, ...]) -> None:
    """Raise :class:`.MeasurementError` if a qubit is there twice."""
    doubled = [q for q, count in Counter(qubits).items() if count > 1]
    if doubled:
        raise MeasurementError(f"Expected each qubit once; got {shown(doubled[0])} twice.")


def visible_qubits(circuit: QuantumCircuit, layout: Layout) -> tuple[int, ...]:
    """Return where the qubits that the user counts are in the circuit.

    These are the qubits before transpilation if the circuit has a layout, unless ``layout`` is
    ``"physical"``.
    """
    require_choice(layout, "observables_layout", get_args(Layout), error=MeasurementError)
    if circuit.layout is None or layout == "physical":
        return tuple(range(circuit.num_qubits))
    return tuple(circuit.layout.final_index_layout(filter_ancillas=True))


def find_qubits(
    qubits: tuple[int | Qubit, ...], circuit: QuantumCircuit, layout: Layout
) -> tuple[int, ...]:
    """Return where qubits are in the circuit.

    Args:
        qubits: What :func:`list_qubits` returned.
        circuit: The circuit.
        layout: Which qubits numbers refer to, and objects that are in both circuits.

    Raises:
        MeasurementError: If the circuit has no such qubit, or there are two that may be meant.
    """
    visible = visible_qubits(circuit, layout)
    found = []
    for qubit in qubits:
        if isinstance(qubit, Qubit):
            found.append(_find_object(qubit, circuit, visible, layout))
        elif qubit >= len(visible):
            raise MeasurementError(
                f"Expected qubits to be numbers from 0 to {len(visible) - 1}, as the circuit has "
                f"them; got {qubit}."
            )
        else:
            found.append(visible[qubit])
    places = tuple(found)
    refuse_doubled(places)
    return places


def _find_object(
    qubit: Qubit, circuit: QuantumCircuit, visible: tuple[int, ...], layout: Layout
) -> int:
    places: set[int] = set()
    if circuit.layout is not None and layout != "physical":
        number = circuit.layout.input_qubit_mapping.get(qubit, len(visible))
        places.update(visible[number : number + 1])  # none for those the transpiler added
    if (circuit.layout is None or layout != "virtual") and qubit in circuit.qubits:
        places.add(circuit.find_bit(qubit).index)
    if len(places) == 1:
        return places.pop()
    if not places:
        raise MeasurementError(
            f"Expected qubits of the circuit; got {shown(qubit)}, which it does not have. Give "
            "the qubit's number, or the object from circuit.qubits."
        )
    raise MeasurementError(
        f"Expected to be told which qubit is meant: {shown(qubit)} is one both before and after "
        "transpilation. Say so with observables_layout='virtual' or 'physical'."
    )
