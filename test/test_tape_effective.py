# SPDX-License-Identifier: Apache-2.0
"""Tapes with fewer operations do what they did, as matrices of a few bits tell.

Products of some twenty unitary matrices of numbers up to one round to less than 1e-13.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_statevector_cases import CIRCUITS

from qiskit_torch_bridge.simulation.tape import effective
from qiskit_torch_bridge.simulation.tape.compress import compress, find_compression
from qiskit_torch_bridge.simulation.tape.effective import (
    act_on_zeros,
    drop_ineffective,
    merge_rotations,
    take_leading,
)
from qiskit_torch_bridge.simulation.tape.operations import (
    Angle,
    FixedMatrix,
    Preparation,
    Rotation,
)
from qiskit_torch_bridge.simulation.tape.paulis import PauliString, make_pauli_string

EXACT = 1e-12
SOURCES = (0.37, -1.21, 2.43)
"""What the angles that rotations refer to are here."""

Operations = Sequence[Rotation | FixedMatrix]


def matrix_of(pauli: PauliString, num_bits: int) -> np.ndarray:
    """The string by its definition: ``|i>`` becomes ``i**k (-1)**|i & z| |i ^ x>``."""
    i = np.arange(1 << num_bits)
    found = np.zeros((len(i), len(i)), dtype=complex)
    found[i ^ pauli.x, i] = 1j**pauli.k * (-1.0) ** np.bitwise_count(i & pauli.z)
    return found


def value_of(angle: Angle) -> float:
    return angle.offset + sum(scale * SOURCES[source] for source, scale in angle.terms)


def applied(operation: Rotation | FixedMatrix, num_bits: int) -> np.ndarray:
    """An operation as a matrix on all bits."""
    size = 1 << num_bits
    if isinstance(operation, Rotation):
        half = value_of(operation.angle) / 2
        return np.cos(half) * np.eye(size) - 1j * np.sin(half) * matrix_of(
            operation.pauli, num_bits
        )
    found = np.zeros((size, size), dtype=complex)
    i, mask = np.arange(size), sum(1 << bit for bit in operation.bits)
    column = sum((i >> bit & 1) << j for j, bit in enumerate(operation.bits))
    for row, entries in enumerate(operation.matrix):
        spread = sum((row >> j & 1) << bit for j, bit in enumerate(operation.bits))
        found[i & ~mask | spread, i] = entries[column]
    return found


def product_of(operations: Operations, num_bits: int) -> np.ndarray:
    found = np.eye(1 << num_bits, dtype=complex)
    for operation in operations:
        found = applied(operation, num_bits) @ found
    return found


def random_unitary(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size)))
    return q


@st.composite
def paulis(draw: st.DrawFn, num_bits: int) -> PauliString:
    masks = st.integers(0, (1 << num_bits) - 1)
    local = st.integers(0, num_bits - 1).map(lambda bit: 1 << bit)
    x, z = draw(st.sampled_from((local, masks))), draw(st.sampled_from((local, masks)))
    x, z = draw(x | st.just(0)), draw(z | st.just(0))
    return PauliString(x, z, ((x & z).bit_count() + 2 * draw(st.integers(0, 1))) % 4)


@st.composite
def tapes(draw: st.DrawFn, matrices: bool = True) -> tuple[list[Rotation | FixedMatrix], int]:
    """A tape of few different strings, some angles of which are quarter turns."""
    num_bits = draw(st.integers(1, 4))
    strings = draw(st.lists(paulis(num_bits), min_size=1, max_size=5))
    quarters = st.integers(-9, 9).map(lambda count: count * np.pi / 2)
    scales = st.sampled_from((-1.0, 0.5, 1.0, 2.0))
    terms = st.dictionaries(st.integers(0, len(SOURCES) - 1), scales, max_size=2)
    angles = st.builds(
        lambda offset, terms: Angle(offset, tuple(terms.items())),
        quarters | st.floats(-3, 3),
        st.just({}) | terms,
    )
    rotation = st.builds(
        lambda pauli, angle, flip: Rotation(pauli.times_i(2 * flip), angle),
        st.sampled_from(strings), angles, st.integers(0, 1),
    )  # fmt: skip
    matrix = st.builds(
        lambda bits, seed: FixedMatrix(tuple(bits), random_unitary(1 << len(bits), seed)),
        st.lists(st.integers(0, num_bits - 1), min_size=1, max_size=min(2, num_bits), unique=True),
        st.integers(0, 99),
    )
    kinds = (rotation,) * 7 + (matrix,) * matrices
    return draw(st.lists(st.sampled_from(kinds).flatmap(lambda k: k), max_size=20)), num_bits


@settings(max_examples=CIRCUITS)
@given(tapes())
def test_merged_tapes_are_the_same_matrix(tape: tuple[list[Rotation | FixedMatrix], int]) -> None:
    operations, num_bits = tape
    before = product_of(operations, num_bits)
    merged = merge_rotations(operations)
    np.testing.assert_allclose(product_of(merged, num_bits), before, atol=EXACT)
    up_to_phase = merge_rotations(operations, up_to_phase=True)
    after = product_of(up_to_phase, num_bits)
    sign = np.sign(np.vdot(before, after).real)
    np.testing.assert_allclose(sign * after, before, atol=EXACT)
    assert len(up_to_phase) <= len(merged) <= len(operations)


X, Y, Z = (make_pauli_string(letter, [0]) for letter in "XYZ")


def turns(*strings: PauliString, by: float = 0.1) -> list[Rotation | FixedMatrix]:
    return [Rotation(string, Angle(by)) for string in strings]


@pytest.mark.parametrize("halves", [[0, 1, 1], [1, 1, 0], [0], [2], [1], [1, 2], [3, 1]])
def test_turns_that_are_none_vanish_wherever_they_stand(halves: list[int]) -> None:
    """Two whole turns are none; one is minus one, which counts unless a phase does not."""
    operations = [Rotation(X, Angle(2 * np.pi * half)) for half in halves]
    assert len(merge_rotations(operations)) == sum(halves) % 2
    assert not merge_rotations(operations, up_to_phase=True)


def test_rotations_join_past_what_they_commute_with() -> None:
    xx, zz = make_pauli_string("XX", [0, 1]), make_pauli_string("ZZ", [0, 1])
    assert merge_rotations(turns(xx, zz, xx)) == [
        Rotation(xx, Angle(0.2)), Rotation(zz, Angle(0.1)),
    ]  # fmt: skip
    assert len(merge_rotations(turns(X, Z, X))) == 3


def test_matrices_stop_what_acts_on_their_bits_alone() -> None:
    matrix = FixedMatrix((0, 2), random_unitary(4, 0))
    other = make_pauli_string("X", [1])
    [first, *_], [second, *_] = (turns(string) for string in (X, other))
    assert len(merge_rotations([first, matrix, first])) == 3
    assert merge_rotations([second, matrix, second]) == [Rotation(other, Angle(0.2)), matrix]


def test_signs_and_sources_add_up() -> None:
    a, b = Angle(0.5, ((0, 1.0), (1, 2.0))), Angle(0.25, ((1, 2.0), (2, 3.0)))
    merged = merge_rotations([Rotation(X, a), Rotation(X.times_i(2), b)])
    assert merged == [Rotation(X, Angle(0.25, ((0, 1.0), (2, -3.0))))]


@pytest.mark.parametrize(("whole", "left", "left_up_to_phase"), [(1, 1, 0), (2, 0, 0)])
def test_a_whole_turn_is_minus_one(whole: int, left: int, left_up_to_phase: int) -> None:
    pair = turns(X, X, by=whole * np.pi)
    assert len(merge_rotations(pair)) == left
    assert len(merge_rotations(pair, up_to_phase=True)) == left_up_to_phase


def test_what_vanishes_makes_way() -> None:
    """The Z in the middle cancels; only then are the two X neighbours."""
    tape = [*turns(X), *turns(Z), *turns(Z.times_i(2)), *turns(X)]
    assert merge_rotations(tape) == [Rotation(X, Angle(0.2))]


def test_no_rotation_is_compared_with_more_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    zz = [make_pauli_string("XX", [0, bit]) for bit in range(1, 5)]
    between = [make_pauli_string("ZZ", [0, bit]) for bit in range(1, 5)]
    tape = turns(
        make_pauli_string("YY", [0, 1]), *zz[1:], between[0], make_pauli_string("YY", [0, 1])
    )
    assert len(merge_rotations(tape)) == 6
    commuting = turns(make_pauli_string("XX", [0, 1]), between[0], make_pauli_string("YY", [0, 1]))
    tape = [*commuting, *commuting]
    assert len(merge_rotations(tape)) == 3
    monkeypatch.setattr(effective, "LOOKBACK", 1)
    assert len(merge_rotations(tape)) > 3


@settings(max_examples=CIRCUITS)
@given(tapes(), st.data())
def test_what_is_dropped_has_no_effect(
    tape: tuple[list[Rotation | FixedMatrix], int], data: st.DataObject
) -> None:
    operations, num_bits = tape
    observables = data.draw(st.lists(paulis(num_bits), min_size=1, max_size=2))
    prepared: list[Preparation] = []
    initial = np.eye(1, 1 << num_bits, dtype=complex)[0]
    if data.draw(st.booleans()):
        amplitudes = random_unitary(2, 5)[0]
        prepared = [Preparation((0,), amplitudes)]
        initial[:2] = amplitudes
    pairs = [pauli[:2] for pauli in observables]
    fewer = drop_ineffective(operations, prepared, pairs, num_bits)
    masks = np.array(pairs, dtype=np.int64)
    assert drop_ineffective(operations, prepared, masks, num_bits) == fewer
    states = [product_of(some, num_bits) @ initial for some in (operations, fewer)]
    for pauli in observables:
        before, after = (np.vdot(psi, matrix_of(pauli, num_bits) @ psi) for psi in states)
        assert abs(before - after) < EXACT


@settings(max_examples=CIRCUITS)
@given(tapes())
def test_what_leads_acts_on_single_bits(tape: tuple[list[Rotation | FixedMatrix], int]) -> None:
    operations, num_bits = tape
    leading, rest = take_leading(operations, num_bits)
    assert len(leading) + len(rest) == len(operations)
    assert all((o.pauli.x | o.pauli.z).bit_count() <= 1 for o in leading)
    found = product_of([*leading, *rest], num_bits)
    np.testing.assert_allclose(found, product_of(operations, num_bits), atol=EXACT)


@settings(max_examples=CIRCUITS)
@given(tapes(), st.booleans())
def test_on_zeros_z_does_nothing(
    tape: tuple[list[Rotation | FixedMatrix], int], is_prepared: bool
) -> None:
    operations, num_bits = tape
    initial = np.eye(1, 1 << num_bits, dtype=complex)[0]
    prepared = []
    if is_prepared:
        prepared = [Preparation((num_bits - 1,), random_unitary(2, 3)[0])]
        initial[[0, 1 << num_bits - 1]] = prepared[0].amplitudes
    fewer = act_on_zeros(operations, prepared, num_bits)
    states = [product_of(some, num_bits) @ initial for some in (operations, fewer)]
    np.testing.assert_allclose(*states, atol=EXACT)


def test_z_stays_where_it_turns() -> None:
    """Z on a bit that an earlier string has moved, or its own X does."""
    tape = [make_pauli_string(letters, [0, 1, 2]) for letters in ("XZZ", "ZYZ", "ZZZ")]
    expected = [make_pauli_string(letters, [0, 1, 2]) for letters in ("XII", "ZYI", "ZZI")]
    assert act_on_zeros(turns(*tape), (), 3) == turns(*expected)


def test_what_commutes_leads() -> None:
    xx, other = make_pauli_string("XX", [0, 1]), make_pauli_string("X", [1])
    leading, rest = take_leading(turns(Z, xx, Z, other, X), 2)
    assert leading == turns(Z, other)
    assert rest == turns(xx, Z, X)
    matrix = FixedMatrix((0,), np.eye(2))
    assert take_leading([matrix, *turns(X, other)], 2) == (turns(other), [matrix, *turns(X)])


def commutes_with_all(pauli: PauliString, others: Sequence[PauliString]) -> bool:
    return all(pauli.commutes(other) for other in others)


@settings(max_examples=CIRCUITS)
@given(tapes(matrices=False), st.data())
def test_all_is_dropped_that_commutes_with_what_is_read(
    tape: tuple[list[Rotation | FixedMatrix], int], data: st.DataObject
) -> None:
    """The same as by comparing each string with each other one."""
    operations, num_bits = tape
    later = data.draw(st.lists(paulis(num_bits), min_size=1, max_size=3))
    masks = [pauli[:2] for pauli in later]
    expected: list[Rotation] = []
    for rotation in reversed(operations):
        assert isinstance(rotation, Rotation)
        if not commutes_with_all(rotation.pauli, later):
            later.append(rotation.pauli)
            expected.insert(0, rotation)
    earlier: list[PauliString] = []
    result: list[Rotation] = []
    for rotation in expected:
        if rotation.pauli.x or not commutes_with_all(rotation.pauli, earlier):
            earlier.append(rotation.pauli)
            result.append(rotation)
    assert drop_ineffective(operations, (), masks, num_bits) == result


def layered(num_bits: int, layers: int) -> list[Rotation | FixedMatrix]:
    """Two equal turns of each bit, and then turns of neighbours, layer by layer."""
    tape: list[Rotation | FixedMatrix] = []
    for _ in range(layers):
        for letter in "YYZ":
            tape += turns(*(make_pauli_string(letter, [bit]) for bit in range(num_bits)))
        pairs = ((bit, bit + 1) for bit in range(num_bits - 1))
        tape += turns(*(make_pauli_string("ZX", pair) for pair in pairs))
    return tape


def lines_of(function: Callable[[], Any]) -> int:
    """Return how many lines of Python a function takes, whatever the machine."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(("bits", "layers"), [(2, 1), (1, 2)])
def test_effort_grows_with_the_length_of_a_tape(bits: int, layers: int) -> None:
    """Twice the bits or twice the layers: twice the rotations, and twice the lines that are run."""

    def lines(num_bits: int, num_layers: int) -> int:
        tape = layered(num_bits, num_layers)
        read = [(0, 1 << bit) for bit in range(num_bits)]
        return lines_of(lambda: merge_rotations(drop_ineffective(tape, (), read, num_bits)))

    assert lines(100 * bits, 12 * layers) < 2.2 * lines(100, 12)


def test_long_tapes_on_many_bits() -> None:
    """A hundred thousand rotations of a thousand bits, of which one in a layer merges."""
    num_bits, layers = 1000, 25
    tape = layered(num_bits, layers)
    assert len(tape) > 99_000
    fewer = drop_ineffective(tape, (), [(0, 1 << bit) for bit in range(num_bits)], num_bits)
    merged = merge_rotations(fewer)
    assert len(fewer) > 0.9 * len(tape)
    assert len(fewer) - len(merged) == num_bits * layers


@settings(max_examples=CIRCUITS)
@given(tapes(), st.data())
def test_compressed_tapes_read_the_same(
    tape: tuple[list[Rotation | FixedMatrix], int], data: st.DataObject
) -> None:
    operations, num_bits = tape
    strings = data.draw(st.lists(paulis(num_bits), max_size=4))
    fewer, restricted, fewer_bits = compress(operations, strings)
    assert 1 <= fewer_bits <= num_bits
    psi = product_of(operations, num_bits)[:, 0]
    small = product_of(fewer, fewer_bits)[:, 0]
    for string, other in zip(strings, restricted, strict=True):
        expected = np.vdot(psi, matrix_of(string, num_bits) @ psi)
        found = 0.0
        if other is not None:
            found = np.vdot(small, matrix_of(other, fewer_bits) @ small)
        assert abs(found - expected) < EXACT


@settings(max_examples=CIRCUITS)
@given(tapes(), st.data())
def test_compressed_states_are_those_that_are_reached(
    tape: tuple[list[Rotation | FixedMatrix], int], data: st.DataObject
) -> None:
    operations, num_bits = tape
    initial = np.eye(1, 1 << num_bits, dtype=complex)[0]
    prepared = []
    if data.draw(st.booleans()):
        prepared = [Preparation((num_bits - 1,), random_unitary(2, 7)[0])]
        initial[[0, 1 << num_bits - 1]] = prepared[0].amplitudes
    others = data.draw(st.lists(st.integers(0, 2**num_bits - 1), max_size=2))
    found = find_compression(operations, prepared, others)
    (bit, *_) = found.preparations(prepared)[0].bits if prepared else (0,)
    start = np.eye(1, 1 << found.num_bits, dtype=complex)[0]
    if prepared:
        start[[0, 1 << bit]] = prepared[0].amplitudes
    small = product_of(found.operations(operations), found.num_bits) @ start
    psi = product_of(operations, num_bits) @ initial
    states = found.states(np.arange(1 << num_bits))
    assert sorted(states[states >= 0]) == list(range(1 << found.num_bits))
    expected = np.where(states < 0, 0, small[states])
    np.testing.assert_allclose(psi, expected, atol=EXACT)
    assert (found.states(np.array(others, dtype=np.int64)) >= 0).all()
    x, z, k = np.random.default_rng(0).integers(0, 1 << num_bits, (3, 20))
    *some, stay = found.strings(x, z, k % 4)
    one_by_one = [found.string(PauliString(*row)) for row in np.stack([x, z, k % 4], 1).tolist()]
    assert [one_by_one[row] for row in stay] == [PauliString(*row) for row in np.stack(some, 1)]
    assert all(row in stay for row, string in enumerate(one_by_one) if string is not None)


def test_bits_vanish_by_symmetry() -> None:
    """Turns of pairs about XX leave the parity, and those about Z do not move the third bit."""
    pairs = turns(make_pauli_string("XX", [0, 1]), make_pauli_string("XX", [1, 3]))
    tape = [*pairs, *turns(*(make_pauli_string("Z", [bit]) for bit in range(4)))]
    fewer, strings, num_bits = compress(tape, [make_pauli_string("Z", [2]), X])
    assert num_bits == 2
    assert strings == [PauliString(0, 0), None]
    assert all(not operation.pauli[0] for operation in fewer[2:])


def test_bits_that_are_turned_alone_stay_themselves() -> None:
    """Whatever else is turned: no sum of other masks replaces that of one bit."""
    wide = [PauliString(mask, 0) for mask in (0b1110, 0b0111, 0b1100)]
    alone = make_pauli_string("Y", [1])
    fewer, _, num_bits = compress(turns(*wide, alone))
    assert num_bits == 4 - 1
    assert (fewer[-1].pauli.x | fewer[-1].pauli.z).bit_count() == 1


def test_what_does_nothing_leaves_one_bit() -> None:
    assert compress([], [Z]) == ([], [Z], 1)
    assert compress(turns(make_pauli_string("ZZ", [3, 70])))[2] == 1


def test_many_bits_are_compressed() -> None:
    """As wide as Python's numbers: a ring of a thousand bits loses its parity."""
    ring = turns(*(make_pauli_string("XX", [bit, (bit + 1) % 1000]) for bit in range(1000)))
    _, strings, num_bits = compress(ring, [make_pauli_string("Z", [999])])
    assert num_bits == 999
    assert strings != [None]
