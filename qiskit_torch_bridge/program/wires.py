# SPDX-License-Identifier: Apache-2.0
r"""Which acts on which wires matter to what is read in the end.

Going backward, a wire is needed not at all, in the computational basis, or in any: in the picture
of Heisenberg, the operators that are read have become the identity on it, diagonal, or anything
else. What does not change them is left out; and an outcome whose wire is needed in the
computational basis only, and stays in it, is read from that wire itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from qiskit.circuit import ControlledGate, Operation

from .classical import Table
from .definitions import is_standard


class Act(NamedTuple):
    """A gate on wires.

    Attributes:
        operation: The gate.
        wires: Which it is on.
        when: Where it is done: a function of wires, as they are then.
        copies: Whether it copies one wire onto a fresh one.
    """

    operation: Operation
    wires: tuple[int, ...]
    when: Table
    copies: bool = False


_DIAGONAL = frozenset("id z s sdg t tdg rz p u1 cz ccz cs csdg cp cu1 crz rzz".split())  # noqa: SIM905
_PERMUTING = frozenset("x y cx cy ccx swap".split())  # noqa: SIM905


def letters_of(operation: Operation) -> str:
    """Return how a gate acts on each of its wires.

    ``Z`` stands for a wire on which it is diagonal. ``X`` are the others of a gate that permutes
    the states of the computational basis, up to phases; ``*`` those of any other.
    """
    count: int = operation.num_qubits
    if isinstance(operation, ControlledGate):
        inner = letters_of(operation.base_gate)
        return "Z" * (count - len(inner)) + inner
    if not is_standard(operation):
        return "*" * count
    name = operation.name
    return ("Z" if name in _DIAGONAL else "X" if name in _PERMUTING else "*") * count


_NOTHING, _BASIS, _ANY = range(3)
_NEEDS = {"Z": _BASIS, "*": _ANY}


def simplify(
    acts: list[Act], needs: Mapping[int, str], final: Iterable[int]
) -> tuple[list[Act], dict[int, int]]:
    """Leave out what does not matter, and read outcomes from the wires themselves where that does.

    Args:
        acts: All that is done, in order.
        needs: What is read in the end: ``"Z"`` for wires that are in the computational basis,
            ``"*"`` for those that are in any.
        final: The wires that are the circuit's qubits in the end.

    Returns:
        What is left, and other names for wires that are left out.
    """
    walk = _Backward({wire: _NEEDS[axis] for wire, axis in needs.items()}, set(needs))
    for act in reversed(acts):
        walk.take(act)
    names = {wire: walk.name_of(wire) for wire in walk.names}
    kept = [act._replace(when=act.when.renamed(names)) for act in reversed(walk.kept)]
    return kept, names


class _Backward:
    """A walk from the end to the beginning."""

    def __init__(self, need: dict[int, int], read: set[int]) -> None:
        self.need, self.read = need, read
        self.kept: list[Act] = []
        self.names: dict[int, int] = {}
        self.turned = set[int]()
        self.deciding: dict[int, set[int]] = {}  # on which other wires something is done for each

    def name_of(self, wire: int) -> int:
        while wire in self.names:
            wire = self.names[wire]
        return wire

    def take(self, act: Act) -> None:
        """Leave an act out, or keep it and note what it needs."""
        if act.when.is_constant and not act.when.values[0]:
            return
        need = self.need
        letters = letters_of(act.operation)
        of_targets = max((need.get(wire, _NOTHING) for wire in act.wires), default=_NOTHING)
        of_controls = max((need.get(wire, _NOTHING) for wire in act.when.wires), default=_NOTHING)
        most = max(of_targets, of_controls)
        if most < _ANY and (not of_targets or set(letters) <= {"Z"}):
            return
        if act.copies and self._take_for_source(act):
            return
        self.kept.append(act)
        stays = most < _ANY and "*" not in letters
        for wire, letter in zip(act.wires, letters, strict=True):
            if letter != "Z":
                self.turned.add(wire)
            least = _BASIS if stays or letter == "Z" else _ANY
            need[wire] = max(need.get(wire, _NOTHING), least)
        for wire in act.when.wires:
            need[wire] = max(need.get(wire, _NOTHING), _BASIS)
            self.deciding.setdefault(wire, set()).update(act.wires)

    def _take_for_source(self, act: Act) -> bool:
        """Read a copy from its source, where that stays what it is; return whether it does."""
        (copy,), (source,) = act.wires, act.when.wires
        need = self.need
        both = max(need.get(copy, _NOTHING), need.get(source, _NOTHING))
        if both > _BASIS or source in self.turned or {copy, source} <= self.read:
            return False
        decided = self.deciding.get(copy, set())
        if source in decided:
            return False  # a gate cannot be controlled by its own qubit
        self.deciding.setdefault(source, set()).update(decided)
        self.names[copy] = source
        need[source] = need.pop(copy)
        if copy in self.read:
            self.read.add(source)
        return True
