# SPDX-License-Identifier: Apache-2.0
"""A simulator that was copied, pickled, sent to a new process or forked gives the same numbers.

The same arithmetic runs everywhere, so the numbers agree to the last bit.
"""

from __future__ import annotations

import copy
import logging.handlers
import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext

import numpy as np
import pytest
from circuits import nonlinear
from test_statevector_lanes import Results, assert_close, circuit_of, everything, made, numbers
from test_statevector_threads import recorded

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator, simulator

GIVEN_UP = 180  # seconds
ROWS = 40
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
}


def non_affine() -> StatevectorSimulator:
    program = CircuitProgram(nonlinear(), ["ZI", "XY"])
    return StatevectorSimulator(
        program.analysed, program.readout, range(len(program.parameters)), ()
    )


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("used_before", [False, True])
def test_copies(how: str, used_before: bool) -> None:
    s, values = made(circuit_of(5, 2)), list(numbers(ROWS, own_weights=False))
    if used_before:
        everything(s, *values)
    other = COPIES[how](s)
    assert_close(everything(other, *values), everything(s, *values), 0)


def test_a_pickle_holds_no_working_memory() -> None:
    s = made(circuit_of(13))
    everything(s, *numbers(1, own_weights=False))
    one_state = 16 << 13
    assert len(pickle.dumps(s)) < one_state


@pytest.mark.parametrize("how", ["copy", "deepcopy"])  # pickle the program: expressions are code
def test_copies_of_a_simulator_with_functions(how: str) -> None:
    s = non_affine()
    other = COPIES[how](s)
    values = np.linspace(0.1, 1, 10).reshape(2, 5)
    none, ones = np.zeros((1, 0)), np.ones((2, 2))
    arguments = (values, none, ones, np.ones((2, 5)), none, ones)
    for method, count in (("evaluate", 2), ("vjp", 3), ("vjp_tangent", 6)):
        found, expected = (getattr(each, method)(*arguments[:count]) for each in (other, s))
        np.testing.assert_array_equal(found[0], expected[0])


def share_chunks() -> None:
    """Cut even little work in two, so that the pool of threads is used."""
    simulator.SMALL_WORK, simulator.CACHED_NUMBERS = 0, 1 << 8
    simulator.count_threads = lambda: 2


def _work(s: StatevectorSimulator, shares: bool) -> Results:
    if shares:
        share_chunks()
    return everything(s, *numbers(ROWS, own_weights=False))


def in_workers(context: BaseContext, *jobs: tuple[StatevectorSimulator, bool]) -> list[Results]:
    with ProcessPoolExecutor(len(jobs), context) as pool:
        futures = [pool.submit(_work, *job) for job in jobs]
        try:
            return [future.result(GIVEN_UP) for future in futures]
        except TimeoutError:
            for process in multiprocessing.active_children():
                process.kill()
            raise


def test_spawned_workers() -> None:
    s = made(circuit_of(5, 2))
    expected = _work(s, False)
    (found,) = in_workers(multiprocessing.get_context("spawn"), (s, True))
    assert_close(found, expected, 1e-12)  # summed in another order


def forked(target: Callable[[], None]) -> int | None:
    """Run a function in a fork of this process, as it is; its exit code, or None if it hangs."""
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(GIVEN_UP)
    code = process.exitcode
    process.kill()
    process.join()
    return code


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forks_of_a_process_that_has_used_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's threads stay behind in the parent: a fork must start its own."""
    for name in ("SMALL_WORK", "CACHED_NUMBERS", "count_threads"):
        monkeypatch.setattr(simulator, name, getattr(simulator, name))  # to be restored
    share_chunks()
    s, values = made(circuit_of(5, 2)), list(numbers(ROWS, own_weights=False))
    parts = recorded(monkeypatch)
    expected = everything(s, *values)
    assert set(parts) == {2}

    def child() -> None:
        for _ in range(2):
            assert_close(everything(s, *values), expected, 0)
        other = made(circuit_of(4))
        assert np.isfinite(everything(other, *values)[0]).all()

    assert [forked(child) for _ in range(2)] == [0, 0]
    assert_close(everything(s, *values), expected, 0)


def _announcements() -> int:
    """Do everything, and count how often the kernels said that they are being compiled."""
    records = logging.handlers.BufferingHandler(1000)
    logging.getLogger("qiskit_torch_bridge").addHandler(records)
    s = made(circuit_of(3))
    everything(s, *numbers(1, own_weights=False))
    return len(records.buffer)


def test_a_new_process_loads_what_an_earlier_one_compiled() -> None:
    _announcements()  # compiled by now, here or before
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(_announcements).result(GIVEN_UP) == 0
