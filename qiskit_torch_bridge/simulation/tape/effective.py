# SPDX-License-Identifier: Apache-2.0
"""Which operations of a tape have an effect on what is read of its state, and which are one.

Masks are Python's whole numbers, of any width. What is local stays cheap: each bit knows the
strings on it, so that a tape of layers on a thousand qubits takes time in proportion to its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ...arrays import IntArray
from ...program.operators import PauliSpan
from .operations import Angle, FixedMatrix, Preparation, Rotation
from .paulis import PauliString

LOCAL = 8
"""Letters up to which the bits of a string list it; longer ones are looked at one by one."""

NARROW = 64
"""Bits up to which strings are known by a basis of their span, which is small then."""

LOOKBACK = 256
"""How many operations that may not commute are looked at before a rotation stays where it is."""

_ALL_LETTERS = ((True, False), (True, True), (False, True))
_OTHERS = {own: tuple(other for other in _ALL_LETTERS if other != own) for own in _ALL_LETTERS}

_Letter = tuple[int, bool, bool]
"""A bit, whether X or Y is on it, and whether Z or Y is."""


def merge_rotations(
    operations: Sequence[Rotation | FixedMatrix], *, up_to_phase: bool = False
) -> list[Rotation | FixedMatrix]:
    """Return the operations with rotations about one string as one, where nothing is in between.

    A rotation joins the last one about the same string, or its negative, if it commutes with
    everything since, which a matrix is taken to do if it is on other bits. Angles add up; what is
    no turn, or adds up to none, vanishes.

    Args:
        operations: A tape's.
        up_to_phase: Let a whole turn vanish, which is minus one; else two of them alone do.

    Returns:
        The tape, each rotation at the place of the first one that it is made of.

    Cost:
        About in proportion to the number of letters; a rotation that would have to be compared with
        more than :data:`LOOKBACK` others stays where it is.

    Example:
        >>> x = PauliString(1, 0)
        >>> merge_rotations([Rotation(x, Angle(0.25)), Rotation(x.times_i(2), Angle(1.0))])
        [Rotation(pauli=PauliString(x=1, z=0, k=0), angle=Angle(offset=-0.75, terms=()))]
    """
    repeated = _repeated_strings(operations)
    merged: list[Rotation | FixedMatrix | None] = []
    past = _Past()
    last: dict[tuple[int, int], int] = {}
    for operation in operations:
        if isinstance(operation, FixedMatrix):
            past.add_matrix(len(merged), operation.bits)
            merged.append(operation)
            continue
        pauli, angle = operation
        key = pauli[:2]
        place = last.get(key)
        if place is not None and past.commutes_since(place, pauli, len(merged)):
            before = merged[place]
            assert isinstance(before, Rotation)
            sign = 1.0 if before.pauli.k == pauli.k else -1.0
            total = before.angle.plus(angle, sign)
            if _vanishes(total, up_to_phase):
                merged[place] = None
                past.remove(place)
                del last[key]
            else:
                merged[place] = Rotation(before.pauli, total)
            continue
        if _vanishes(angle, up_to_phase):
            continue
        past.add(len(merged), pauli)
        if key in repeated:
            last[key] = len(merged)
        merged.append(operation)
    return [operation for operation in merged if operation is not None]


def drop_ineffective(
    operations: Sequence[Rotation | FixedMatrix],
    preparations: Sequence[Preparation],
    masks: IntArray | Iterable[tuple[int, int]],
    num_bits: int,
) -> list[Rotation | FixedMatrix]:
    r"""Return the operations without those that have no effect on some expectation values.

    A rotation that commutes with all observables and with everything after it cancels from
    :math:`U^\dagger O U`. One that is diagonal and commutes with everything before it gives the
    initial state a phase. Matrices are taken to commute with what is on other bits.

    Args:
        operations: The tape.
        preparations: What its initial state holds beside zeros.
        masks: The masks ``x`` and ``z`` of all terms of the observables, shape ``(K, 2)``; on more
            than 63 bits pairs of Python's numbers.
        num_bits: The qubits that are simulated.
    """
    later = _Strings(num_bits)
    pairs: Iterable[tuple[int, int]] = masks.tolist() if isinstance(masks, np.ndarray) else masks
    for x, z in pairs:
        later.add(x, z)
        if later.is_full:
            break
    kept: list[Rotation | FixedMatrix] = []
    for operation in reversed(operations):
        if isinstance(operation, FixedMatrix):
            if later.touches(operation.bits):
                kept.append(operation)
                later.add_all_of(operation.bits)
            continue
        x, z, _ = operation.pauli
        if not later.commutes(x, z):
            kept.append(operation)
            later.add(x, z)
    kept.reverse()
    prepared = sum(1 << b for p in preparations for b in p.bits)
    earlier = _Strings(num_bits)
    result: list[Rotation | FixedMatrix] = []
    for position, operation in enumerate(kept):
        if earlier.is_full:
            result += kept[position:]
            break
        if isinstance(operation, FixedMatrix):
            earlier.add_all_of(operation.bits)
        else:
            x, z, _ = operation.pauli
            if not x and not z & prepared and earlier.commutes(x, z):
                continue
            earlier.add(x, z)
        result.append(operation)
    return result


def act_on_zeros(
    operations: Sequence[Rotation | FixedMatrix], preparations: Iterable[Preparation], num_bits: int
) -> list[Rotation | FixedMatrix]:
    """Return operations that do the same to zeros, without Z on bits that are zero still.

    Args:
        operations: The tape.
        preparations: What its initial state holds beside zeros.
        num_bits: The qubits that are simulated.
    """
    zeros = (1 << num_bits) - 1
    for preparation in preparations:
        zeros &= ~sum(1 << bit for bit in preparation.bits)
    found: list[Rotation | FixedMatrix] = []
    for position, operation in enumerate(operations):
        if not zeros:
            found += operations[position:]
            break
        if isinstance(operation, FixedMatrix):
            zeros &= ~sum(1 << bit for bit in operation.bits)
        else:
            x, z, k = operation.pauli
            zeros &= ~x
            if z & zeros:
                operation = Rotation(PauliString(x, z & ~zeros, k), operation.angle)
        found.append(operation)
    return found


def take_leading(
    operations: Sequence[Rotation | FixedMatrix], num_bits: int
) -> tuple[list[Rotation], list[Rotation | FixedMatrix]]:
    """Tell the rotations of single bits that can act before everything else from the rest.

    From zeros they prepare a product state.

    Args:
        operations: A tape's.
        num_bits: The qubits that are simulated.

    Returns:
        The rotations, bit by bit, with those that are phases; and what acts after them.
    """
    leading: list[Rotation] = []
    rest: list[Rotation | FixedMatrix] = []
    before = _Strings(num_bits)
    for operation in operations:
        if isinstance(operation, FixedMatrix):
            before.add_all_of(operation.bits)
            rest.append(operation)
            continue
        x, z, _ = operation.pauli
        support = x | z
        if support & (support - 1) or not before.commutes(x, z):
            before.add(x, z)
            rest.append(operation)
        else:
            leading.append(operation)
    return sorted(leading, key=lambda o: o.pauli.x | o.pauli.z), rest


def _letters(x: int, z: int) -> Iterator[_Letter]:
    """Yield the letters of a string, bit by bit."""
    support = x | z
    while support:
        low = support & -support
        yield low.bit_length() - 1, bool(x & low), bool(z & low)
        support ^= low


def _anticommute(x: int, z: int, other_x: int, other_z: int) -> int:
    return ((x & other_z).bit_count() + (z & other_x).bit_count()) & 1


def _repeated_strings(operations: Sequence[Rotation | FixedMatrix]) -> set[tuple[int, int]]:
    """Return the masks about which there is more than one rotation."""
    seen: set[tuple[int, int]] = set()
    repeated: set[tuple[int, int]] = set()
    for operation in operations:
        if isinstance(operation, Rotation):
            key = operation.pauli[:2]
            (repeated if key in seen else seen).add(key)
    return repeated


def _vanishes(angle: Angle, up_to_phase: bool) -> bool:
    """Whether a rotation by an angle is the identity, or its negative where phases do not count."""
    if not angle.is_fixed:
        return False
    turns = angle.offset / (2 * math.pi if up_to_phase else 4 * math.pi)
    return abs(turns - round(turns)) < 1e-15 * max(1.0, abs(turns))


class _Past:
    """The operations so far, by bit and letter, and those with many letters by themselves."""

    def __init__(self) -> None:
        self._strings: dict[int, tuple[int, int]] = {}  # by place; none for a matrix
        self._on: dict[_Letter, list[int]] = {}
        self._matrices: dict[int, int] = {}  # by bit: the place of the last one
        self._wide: list[int] = []

    def add(self, place: int, pauli: PauliString) -> None:
        x, z, _ = pauli
        self._strings[place] = (x, z)
        if (x | z).bit_count() > LOCAL:
            self._wide.append(place)
            return
        for letter in _letters(x, z):
            self._on.setdefault(letter, []).append(place)

    def add_matrix(self, place: int, bits: Iterable[int]) -> None:
        self._matrices.update(dict.fromkeys(bits, place))

    def remove(self, place: int) -> None:
        self._strings[place] = (0, 0)

    def commutes_since(self, place: int, pauli: PauliString, now: int) -> bool:
        """Whether a string commutes with all operations from after a place to now."""
        x, z, _ = pauli
        is_local = (x | z).bit_count() <= LOCAL
        if not is_local and now - place > LOOKBACK:
            return False
        candidates: list[Iterable[int]] = [
            reversed(self._wide) if is_local else range(now - 1, place, -1)
        ]
        for bit, has_x, has_z in _letters(x, z):
            if self._matrices.get(bit, -1) > place:
                return False
            if is_local:
                others = _OTHERS[has_x, has_z]
                candidates += [reversed(self._on.get((bit, *other), ())) for other in others]
        looked_at = 0
        for places in candidates:
            for other in places:
                if other <= place:
                    break
                string = self._strings.get(other)
                if string is not None and _anticommute(x, z, *string):
                    return False
                looked_at += 1
                if looked_at > LOOKBACK:
                    return False
        return True


class _Strings:
    """Strings and all their products, up to phases; on many bits local ones are found bit by bit.

    Of a bit on which two different letters are products, all are, and with them whatever is on such
    bits alone: these bits count no more.
    """

    def __init__(self, num_bits: int) -> None:
        self._all = (1 << num_bits) - 1
        self._full = 0
        self._touched = 0
        self._alone_x = self._alone_y = self._alone_z = 0  # bits on which one letter is a product
        self._known: set[tuple[int, int]] = set()
        self._on: dict[_Letter, list[tuple[int, int]]] = {}
        self._wide = PauliSpan(num_bits)
        self._is_narrow = num_bits <= NARROW

    @property
    def is_full(self) -> bool:
        """Whether every string is a product of them, so that the identity alone commutes."""
        return self._wide.is_full or self._full == self._all

    def touches(self, bits: Iterable[int]) -> bool:
        """Whether any string acts on one of some bits."""
        return any(self._touched >> bit & 1 for bit in bits)

    def add_all_of(self, bits: Iterable[int]) -> None:
        """Add all strings on some bits."""
        for bit in bits:
            self._touched |= 1 << bit
            self._full |= 1 << bit
            if self._is_narrow:
                self._wide.add(1 << bit, 0)
                self._wide.add(0, 1 << bit)

    def add(self, x: int, z: int) -> None:
        """Add a string."""
        self._touched |= x | z
        if self._is_narrow:
            self._wide.add(x, z)
            return
        x, z = x & ~self._full, z & ~self._full
        support = x | z
        if not support or (x, z) in self._known:
            return
        if not support & (support - 1):
            letters = (self._alone_x, self._alone_y, self._alone_z)
            own = 1 if x and z else 0 if x else 2
            if any(letters[other] & support for other in range(3) if other != own):
                self._full |= support
            elif own == 0:
                self._alone_x |= support
            elif own == 1:
                self._alone_y |= support
            else:
                self._alone_z |= support
            return
        if support.bit_count() > LOCAL:
            self._wide.add(x, z)
            return
        self._known.add((x, z))
        for letter in _letters(x, z):
            self._on.setdefault(letter, []).append((x, z))

    def commutes(self, x: int, z: int) -> bool:
        """Whether a string commutes with all of them."""
        if (x | z) & self._full:
            return False
        if z & self._alone_x or x & self._alone_z or (x ^ z) & self._alone_y:
            return False
        if self._on:
            for bit, has_x, has_z in _letters(x, z):
                for letter in _OTHERS[has_x, has_z]:
                    for other in self._on.get((bit, *letter), ()):
                        if _anticommute(x, z, *other):
                            return False
        return self._wide.commutes(x, z)
