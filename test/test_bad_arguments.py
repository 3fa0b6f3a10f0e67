# SPDX-License-Identifier: Apache-2.0
"""Every public callable with every odd value for each argument: a typed error, or a right value.

The callables are read from the pages of the reference, so that a new one is covered the day it
appears there. ``argument_cases`` has a valid call of each, and says which odd values are right.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from argument_cases import (
    CASES,
    ESTIMATOR,
    NOT_RUN,
    NOTHING,
    RECORDS,
    Case,
    folder,
    module,
    node,
    program,
    square,
)
from public_callables import Public, public_callables
from wrong_values import WRONG, Silent

from qiskit_torch_bridge import (
    CircuitProgram,
    Execution,
    TorchQuantumModule,
    Tracker,
    optim,
    rules,
    save_checkpoint,
)
from qiskit_torch_bridge.arguments import shown
from qiskit_torch_bridge.autograd.nodes import node_named
from qiskit_torch_bridge.exceptions import (
    BridgeError,
    InputError,
    OptimizerError,
    StateDictError,
    TracingError,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator, Journal

PUBLIC = {public.name: public for public in public_callables()}
SECONDS = 10.0
"""Of the processor, however many others share it."""
ROOM = 3 << 30
"""Bytes that a call may take on top of what there is; valid ones need some megabytes."""
STATED = re.compile(
    r"xpect|\bneeds?\b|neither inputs nor weights|does not contain|belongs? to|has no option"
    r"|no place in the order|has the states of|Cannot read the checkpoint"
)
"""How messages say what would have been right."""
EMPTY = ["none", "alone", "missing", "neither", "empty", "no place", "[]", "(0,)", "nan"]
EMPTY += ["got 0", "int 0"]
"""How messages call what is empty or ``None``, or name the first of what can be gone through."""


def parameters_of(public: Public, case: Case | None) -> list[str]:
    """Return the names of all parameters, those that go through ``**options`` last."""
    names = [p.name for p in public.parameters()]
    return list(dict.fromkeys([*names, *(case.valid() if case else ())]))


def test_the_table_has_all_public_callables_and_no_others():
    missing = [
        f"{p.name}({', '.join(parameters_of(p, None))})"
        for p in PUBLIC.values()
        if p.parameters() and p.name not in CASES and p.name not in RECORDS
    ]
    assert not missing, (
        f"docs/reference lists {missing}, of which test/argument_cases.py has no valid call. Add "
        "Case(the callable, what makes its arguments, {parameter: right(why, values of "
        "wrong_values.py that are no mistake)}) to CASES there, under these names."
    )
    assert not set(CASES) - set(PUBLIC), "not in docs/reference any more"
    assert not set(RECORDS) - set(PUBLIC), "not in docs/reference any more"
    for name, case in CASES.items():
        known = set(parameters_of(PUBLIC[name], case))
        assert set(case.right) <= known and set(case.instead) <= known, name


@pytest.mark.parametrize("name", CASES)
def test_odd_arguments_are_right_or_refused_in_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public, case = PUBLIC[name], CASES[name]
    case.call(**case.valid())
    wrong = [
        f"{parameter}={label}: {what}"
        for parameter in parameters_of(public, case)
        for label in WRONG
        if (what := misconduct(public, case, parameter, label))
    ]
    assert not wrong, "\n".join([f"{len(wrong)} of {name}", *wrong])


def misconduct(public: Public, case: Case, parameter: str, label: str) -> str | None:
    """Return what is wrong with how one odd value is taken; ``None`` if nothing is."""
    if label in NOT_RUN.get((public.name, parameter), ()):
        return None
    expected = label in case.right.get(parameter, NOTHING).values
    optional = any(p.name == parameter and p.default is None for p in public.parameters())
    value = WRONG[label]()
    arguments = {**case.instead.get(parameter, case.valid)(), parameter: value}
    jobs, files = len(ESTIMATOR.runs), files_there()
    try:
        with bounded():
            case.call(**arguments)
    except BridgeError as error:
        if expected:
            return f"refused, though it is right: {error}"
        if len(ESTIMATOR.runs) > jobs:
            return f"refused after a job: {error}"
        if new_files(files):
            return f"refused after a file was written: {error}"
        return badly_worded(str(error), value)
    except Exception as error:
        return f"{type(error).__name__}, which is none of the package's"
    finally:
        for path in new_files(files):
            path.unlink()
    if not expected and not (optional and value is None):
        return "accepted, and the table does not say why"
    return None


def badly_worded(message: str, value: Any) -> str | None:
    """Return what a message lacks: what was expected, or what arrived."""
    if not STATED.search(message):
        return f"does not say what was expected: {message}"
    if not any(text in message for text in texts_of(value)):
        return f"does not say what arrived: {message}"
    return None


def texts_of(value: Any) -> Iterator[str]:
    """Yield texts of which a message about a value has one."""
    yield type(value).__name__
    if isinstance(value, type):
        yield value.__name__
    if isinstance(value, str):
        yield f"{value}:"  # a path before the system's own words
    if isinstance(value, (np.ndarray, torch.Tensor)):
        shape = tuple(value.shape)
        yield from (str(shape), str(shape[1:]), str(value.dtype), "meta tensor")
        yield from ("array(", "tensor(", "'a'")
    elif isinstance(value, (list, tuple, dict, bytes)):
        for item in value:  # or what was found in it
            yield from ("[[[[", "[0][0]") if isinstance(item, list) else texts_of(item)
    with contextlib.suppress(Exception):  # lists that are not of numbers
        yield str(np.shape(value))
    if isinstance(value, (Iterable, Sized)) or value is None:
        yield from EMPTY
    if callable(value):
        yield from ("NoneType", "got None", "loss")  # what it returned
    with contextlib.suppress(RuntimeError):
        yield repr(value).split("\n")[0][:40]


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Have a call raise that takes too long, or too much memory where the system can tell."""
    if sys.platform != "linux":
        yield
        return
    import resource

    def ring(*_: Any) -> None:
        raise TimeoutError(f"it took longer than {SECONDS} seconds")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGPROF, ring)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def files_there() -> set[Path]:
    """Return the files where calls are made, and where they are told to write."""
    return {path for place in (Path(), folder()) for path in place.iterdir()}


def new_files(before: set[Path]) -> set[Path]:
    """Return the files that were not there before."""
    return files_there() - before


def test_a_tracker_is_opened_and_closed_in_turns():
    tracker = Tracker()
    with pytest.raises(InputError, match="Expected a tracker that is open"):
        tracker.__exit__(None, None, None)
    with tracker, pytest.raises(InputError, match="Expected a tracker that is not open"):
        tracker.__enter__()
    with tracker:  # it can be used again
        pass


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "5", "null", '{"parameters": 5}', ""])
def test_text_of_a_state_that_is_damaged(text):
    """Python's reader of JSON calls itself for every level."""
    state = {**program().to_state(), "program": text}
    with pytest.raises(StateDictError, match="The saved program is damaged"):
        CircuitProgram.from_state(state)
    with pytest.raises(StateDictError, match="The saved program is damaged"):
        program().difference_from_state(state)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[1, 2]", "nothing"])
def test_names_of_engines_that_are_damaged(text):
    with pytest.raises(TracingError, match="damaged circuit"):
        node_named(f"exact:{text}")


def test_whatever_arrives_is_shown_in_short():
    assert shown(WRONG["a deep list"]()) == "[[[[[...]]]]]"
    assert shown("x" * 10_000).count("x") <= 200 and len(shown(10**10_000)) <= 200
    assert shown(Silent()).startswith("<Silent instance at")
    assert "\n" not in shown(np.eye(5)) and len(shown(list(range(10**6)))) < 100


def spsa_state(**changed: object) -> dict[str, object]:
    return {**optim.SPSA(node()).state_dict(), **changed}


THETA = node().program.weight_params[0]
BAD_STATE = {"steps": 1, "random_state": 5, "accepted_loss": None}
WITHIN = {  # what is wrong is inside of a value of the right kind
    "weights by text": lambda: TorchQuantumModule(node().circuit, initial_weights={THETA: "a"}),
    "weights by bytes": lambda: TorchQuantumModule(node().circuit, initial_weights=["1"]),
    "huge weights": lambda: TorchQuantumModule(node().circuit, initial_weights={THETA: 10**400}),
    "coefficients of text": lambda: CircuitProgram(node().circuit, {"Z": "a"}),
    "shots in evaluation": lambda: TorchQuantumModule(
        node().circuit, evaluation=Execution(shots="a")
    ),
    "one of several estimators": lambda: DispatchingEstimator([ESTIMATOR, 5]),
    "one of several checks": lambda: DispatchingEstimator(ESTIMATOR, checks=[5]),
    "values of a PUB": lambda: DispatchingEstimator(ESTIMATOR).run([(node().circuit, "Z", ["a"])]),
    "rate of a group": lambda: optim.SPSA([{"params": [square()], "lr": "a"}]),
    "width of a group": lambda: optim.SPSA([{"params": [square()], "perturbation": 0}]),
    "damping of a group": lambda: optim.QuantumNaturalGradient(
        [{"params": [square()], "damping": "a"}], metric=lambda w: np.eye(1)
    ),
    "text as a bound": lambda: optim.ScipyMinimize([square()], bounds=[("a", 1)]),
    "nan as a bound": lambda: optim.ScipyMinimize([square()], bounds=[(math.nan, 1)]),
    "random state": lambda: optim.SPSA(node()).load_state_dict(spsa_state(bridge_state=BAD_STATE)),
    "groups of a state": lambda: optim.SPSA(node()).load_state_dict(spsa_state(param_groups=5)),
    "descending frequencies": lambda: rules.frequency_shifts((2.0, 1.0)),
    "frequencies given twice": lambda: rules.frequency_shifts((1.0, 1.0)),
    "object in a cursor": lambda: save_checkpoint("run", model=node(), cursor=[{"a": object()}]),
    "name that cannot be written": lambda: save_checkpoint("\ud800", model=node()),
    "journal of such a name": lambda: Journal("\ud800"),
    "cost of too many rows": lambda: module().cost(10**9),
}


@pytest.mark.parametrize("call", WITHIN.values(), ids=WITHIN)
def test_what_is_wrong_inside_of_values_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = len(ESTIMATOR.runs)
    with bounded(), pytest.raises(BridgeError, match="xpected .*; got|damaged"):
        call()
    assert len(ESTIMATOR.runs) == jobs and not list(tmp_path.iterdir())


def test_a_state_that_is_refused_changes_nothing():
    optimizer = optim.SPSA(node(), seed=3)
    before = copy.deepcopy(optimizer.state_dict())
    for changed in ({"bridge_state": BAD_STATE}, {"param_groups": []}):
        with pytest.raises(OptimizerError, match="Nothing was loaded"):
            optimizer.load_state_dict(spsa_state(**changed))
    after = optimizer.state_dict()
    assert torch.equal(
        before["bridge_state"].pop("random_state"), after["bridge_state"].pop("random_state")
    )
    assert before == after
