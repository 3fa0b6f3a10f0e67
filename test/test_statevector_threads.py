# SPDX-License-Identifier: Apache-2.0
"""Threads share chunks or states, and several callers share one simulator: the numbers stay.

Where threads meet at barriers a mistake shows as a hang, so such tests run in a process of their
own that is given up after a while.
"""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from test_statevector_lanes import EXACT, assert_close, circuit_of, everything, made, numbers

from qiskit_torch_bridge import CircuitProgram, memory
from qiskit_torch_bridge.arrays import IntArray
from qiskit_torch_bridge.exceptions import InputError, MemoryLimitError
from qiskit_torch_bridge.simulation.kernels.tables import STOP
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator, simulator
from qiskit_torch_bridge.simulation.threads import count_threads

GIVEN_UP = 180  # seconds; the tests take a few, most of them to start a process

# Constants that lead to each way of sharing work, for six qubits.
WAYS = {
    "one thread for little work": {"SMALL_WORK": 1 << 60},
    "chunks of their own": {"SMALL_WORK": 0, "SHARED_STATE": 1 << 60, "CACHED_NUMBERS": 1 << 10},
    "one state together": {"SMALL_WORK": 0, "SHARED_STATE": 0, "CACHED_NUMBERS": 1 << 20},
}


@pytest.fixture
def torch_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_torch_says_how_many_threads(torch_threads: int) -> None:
    torch.set_num_threads(1)
    assert count_threads() == 1
    torch.set_num_threads(64)
    assert 1 <= count_threads() <= 64


def recorded(patch: pytest.MonkeyPatch) -> list[int]:
    """Into how many parts each call is cut from now on, of those that are."""
    parts_of_calls: list[int] = []

    def recording(share: Callable[..., bool | None]) -> Callable[..., bool | None]:
        def record(call: Callable[[int], bool], parts: int, signals: IntArray) -> bool | None:
            result = share(call, parts, signals)
            if result is not None:  # else others had the threads
                parts_of_calls.append(parts)
            return result

        return record

    for name in ("call_in_parallel", "call_together"):
        patch.setattr(simulator, name, recording(getattr(simulator, name)))
    return parts_of_calls


@pytest.mark.parametrize("rows", [1, 33, 70])
@pytest.mark.parametrize("threads_wanted", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same(
    way: str, threads_wanted: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit, values = circuit_of(6, 2), list(numbers(rows, own_weights=rows == 33))
    monkeypatch.setattr(simulator, "count_threads", lambda: 1)
    expected = everything(made(circuit), *values)
    for name, number in WAYS[way].items():
        monkeypatch.setattr(simulator, name, number)
    monkeypatch.setattr(simulator, "count_threads", lambda: threads_wanted)
    s, parts = made(circuit), recorded(monkeypatch)
    rows_t = s.evaluate(*values[:2], keep=True)[1].rows_t
    found = everything(s, *values)
    assert_close(found, expected, EXACT * 10)
    chunks = -(-rows // rows_t)
    together = way == "one state together" and chunks < threads_wanted
    several = way != "one thread for little work"
    expected_parts = threads_wanted if together else min(threads_wanted, chunks) if several else 1
    assert set(parts or [1]) == {expected_parts}
    assert_close(everything(s, *values), found, 0)  # to the last bit, however threads race


@pytest.mark.parametrize("rows", [1, 70])
def test_states_kept_or_prepared_again(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    s, (x, w, c, *_) = made(circuit_of(7, 2)), numbers(rows, own_weights=False)
    again = s.vjp(x, w, c)
    evs, kept = s.evaluate(x, w, keep=True)
    assert kept is not None
    for _ in range(2):  # what is kept stays as it is
        assert_close(s.vjp(x, w, c, kept), again, 0)
    monkeypatch.setattr(simulator, "KEPT_BYTES", 0)
    more, nothing = s.evaluate(x, w, keep=True)
    assert nothing is None
    np.testing.assert_array_equal(more, evs)
    assert_close(s.vjp(x, w, c), again, 0)


def fresh_processes() -> BaseContext:
    """Processes that have not loaded Numba; the other imports are made once where one can fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hypothesis", "pytest", "sympy", simulator.__name__])
    return context


def in_a_process(target: Callable[[], None]) -> None:
    """Run a function in a fresh process; fail if it fails or does not come to an end.

    Kernels are loaded there for the first time, and by several threads at once.
    """
    process = fresh_processes().Process(target=target)
    process.start()
    process.join(GIVEN_UP)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs
    assert process.exitcode == 0


def small(way: str) -> StatevectorSimulator:
    """A simulator that goes one of the ways with three threads, and meets at few barriers."""
    for name, number in WAYS[way].items():
        setattr(simulator, name, number)
    simulator.count_threads = lambda: 3
    t = ParameterVector("t", 2)
    circuit = QuantumCircuit(6)
    circuit.ry(t[0], 0)
    circuit.rxx(t[1], 0, 5)
    program = CircuitProgram(circuit, ["Z" * 6, "XIIIIX"], input_params=[t[0]])
    columns = (program.input_columns, program.weight_columns)
    return StatevectorSimulator(program.analysed, program.readout, *columns)


def _not_a_number() -> None:
    for way, places in (("one state together", [0]), ("chunks of their own", [0, 40, 69])):
        s = small(way)
        x = np.linspace(0, 1, 1 if places == [0] else 70)[:, None]
        w, c = np.ones((1, 1)), np.ones((len(x), 2))
        good, _ = s.evaluate(x, w)
        for place in places:
            for bad in (np.nan, np.inf):
                spoilt = x.copy()
                spoilt[place] = bad
                with pytest.raises(InputError, match="finite"):
                    s.evaluate(spoilt, w)
                with pytest.raises(InputError, match="finite"):
                    s.vjp(spoilt, w, c)
        np.testing.assert_array_equal(s.evaluate(x, w)[0], good)


def test_what_is_not_a_number_is_refused_by_all_threads() -> None:
    in_a_process(_not_a_number)


def _interrupted() -> None:
    """The first thread is interrupted where the others wait for it, and before they have begun."""
    for way in ("one state together", "chunks of their own"):
        s, kernel = small(way), simulator.kernel(False)
        x, w = np.linspace(0, 1, 1 if way == "one state together" else 70)[:, None], np.ones((1, 1))
        good, _ = s.evaluate(x, w)

        def struck(*arguments: Any) -> bool:
            first, last, part = arguments[1:4]
            if last and first == part == 0:
                raise KeyboardInterrupt
            return kernel(*arguments)  # noqa: B023 - called at once

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(simulator, "kernel", lambda tangent: struck)
            for _ in range(3):
                with pytest.raises(KeyboardInterrupt):
                    s.evaluate(x, w)
            parts = recorded(patch)
            patch.setattr(simulator, "kernel", lambda tangent: kernel)  # noqa: B023
            with ThreadPoolExecutor(1) as pool:  # nobody has kept the threads from others
                np.testing.assert_array_equal(pool.submit(s.evaluate, x, w).result()[0], good)
            assert parts == [3]


def test_an_interrupted_thread_is_not_waited_for() -> None:
    in_a_process(_interrupted)


def left_early(call: Callable[[], Any]) -> bool:
    """Whether a call takes less than half of its time if its kernels are told to leave."""
    begin = time.monotonic()
    call()
    whole = time.monotonic() - begin
    given: list[IntArray] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulator, "call_interruptibly", lambda run, s: (given.append(s), run())[1])
        begin = time.monotonic()
        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        while not given:
            time.sleep(1e-3)
        time.sleep(whole / 8)
        given[0][STOP] = 1
        caller.join()
    return time.monotonic() - begin < whole / 2


def _told_to_leave() -> None:
    """One row of many qubits: they leave in the middle of a sweep, and of a sum."""
    simulator.count_threads = lambda: 1
    t = ParameterVector("t", 1)
    layers, terms = QuantumCircuit(20), QuantumCircuit(20)
    for _ in range(12):
        layers.rx(t[0], range(20))
        for q in range(20):  # a group of diagonal rotations
            layers.rzz(t[0], q, (q + 1) % 20)
        for q in range(19):
            layers.ryy(t[0], q, q + 1)
    terms.rx(t[0], range(20))
    many = ["".join(letters) + "Z" * 14 for letters in itertools.product("XYZ", repeat=6)]
    x, w, c = np.ones((1, 1)), np.ones((1, 0)), np.ones((1, 1))
    for circuit, observable in ((layers, "Z" * 20), (terms, SparsePauliOp(many))):
        program = CircuitProgram(circuit, observable, input_params=t)
        s = StatevectorSimulator(program.analysed, program.readout, program.input_columns, ())
        s.evaluate(x, w)  # loads the kernels
        assert left_early(partial(s.evaluate, x, w))
        assert left_early(partial(s.vjp, x, w, c))


def test_kernels_leave_when_they_are_told_to() -> None:
    in_a_process(_told_to_leave)


def _first_callers() -> None:
    """Nobody has loaded Numba or the kernels when all of them call."""
    s, start, found = made(circuit_of(3)), threading.Barrier(6), []
    x, w, *_ = numbers(1, own_weights=False)

    def work() -> None:
        start.wait()
        found.append(s.evaluate(x, w)[0])

    callers = [threading.Thread(target=work, daemon=True) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 6
    assert all(np.array_equal(evs, found[0]) for evs in found)


def test_callers_who_are_the_first() -> None:
    in_a_process(_first_callers)


def _many_callers() -> None:
    """Callers hand in their parts at the same time, as slowly as it takes to interleave them."""
    s, submit = small("one state together"), ThreadPoolExecutor.submit

    def slowly(*args, **options):
        time.sleep(0.01)
        return submit(*args, **options)

    ThreadPoolExecutor.submit = slowly
    values = [(np.array([[0.1 * caller]]), np.array([[0.7]])) for caller in range(3)]
    expected = [s.evaluate(*mine)[0] for mine in values]
    found: list[object] = [None] * 3
    start = threading.Barrier(3)

    def work(caller: int) -> None:
        start.wait()
        found[caller] = s.evaluate(*values[caller])[0]

    callers = [threading.Thread(target=work, args=(caller,), daemon=True) for caller in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_callers_whose_threads_share_states() -> None:
    in_a_process(_many_callers)


def test_a_refused_call_leaves_the_threads_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in WAYS["one state together"].items():
        monkeypatch.setattr(simulator, name, number)
    monkeypatch.setattr(simulator, "count_threads", lambda: 2)
    s, (x, w, c, *_) = made(circuit_of(6)), numbers(1, own_weights=False)

    def require(needed: int, num_qubits: int) -> None:
        raise MemoryLimitError

    with monkeypatch.context() as patch, pytest.raises(MemoryLimitError):
        patch.setattr(memory, "require", require)
        s.vjp(x, w, c)
    parts = recorded(monkeypatch)
    s.vjp(x, w, c)
    assert parts == [2]


@pytest.mark.parametrize("way", ["one thread for little work", "chunks of their own"])
def test_many_callers(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in WAYS[way].items():
        monkeypatch.setattr(simulator, name, number)
    monkeypatch.setattr(simulator, "count_threads", lambda: 2)
    s = made(circuit_of(5))
    values = [list(numbers(1 + 7 * caller, own_weights=caller % 2 == 0)) for caller in range(6)]
    expected = [everything(made(circuit_of(5)), *mine) for mine in values]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            found = list(pool.map(lambda mine: everything(s, *mine), values))
            for mine, alone in zip(found, expected, strict=True):
                assert_close(mine, alone, EXACT)
