# SPDX-License-Identifier: Apache-2.0
"""Saving a training, and continuing it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import nn

from ..arguments import (
    is_whole_number,
    require_bool,
    require_instance,
    require_path,
    require_whole_number,
    shown,
)
from ..exceptions import CheckpointError
from . import atomic_file, serialization
from .compatibility import (
    UNCHANGED,
    Stateful,
    check_model,
    check_rest,
    collect_executions,
    collect_optimizer,
    collect_programs,
    collect_scheduler,
    list_stateful,
)
from .random_states import (
    Generator,
    find_generators,
    get_global_states,
    get_state,
    require_generators,
    set_global_states,
    set_state,
)

PACKAGES = ("qiskit-torch-bridge", "qiskit", "torch", "numpy", "numba")
PARTS = {
    "model", "metadata", "programs", "optimizers", "schedulers", "global_states", "generators",
    "noise", "cursor", "extra", "step", "journal_position", "executions", "written_by",
}  # fmt: skip


class HasPosition(Protocol):
    """A journal, as far as a checkpoint is concerned."""

    position: int


class Checkpoint(NamedTuple):
    """What a checkpoint holds beside the states that were loaded.

    Attributes:
        cursor: Where the training was in its data, as it was given to :func:`save_checkpoint`.
        extra: As it was given.
        step: As it was given.
        journal_position: The journal's position when it was saved; ``None`` without a journal.
        executions: How each quantum module in the model was evaluated, ``module.execution`` as
            text, by the module's name. Nothing depends on it: a model may go on elsewhere.
        written_by: The versions of the packages that wrote it, by name. With other versions a run
            goes on, but not necessarily to the last bit.
    """

    cursor: Any
    extra: Any
    step: int | None
    journal_position: int | None
    executions: dict[str, str]
    written_by: dict[str, str]


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: nn.Module,
    optimizer: Stateful | Sequence[Stateful] | None = None,
    scheduler: Stateful | Sequence[Stateful] | None = None,
    cursor: object = None,
    generators: Generator | Sequence[Generator] = (),
    extra: object = None,
    step: int | None = None,
    journal: HasPosition | None = None,
) -> None:
    """Save a training, so that it goes on to the last bit after a crash.

    Everything is in one file, which replaces an older one in one step: whenever the process or the
    machine stops, there is the old checkpoint or the new one, whole. Call it between two steps,
    after those of optimizer and scheduler: gradients are not saved.

    Beside what is given, it saves the random states of torch (CUDA included), of NumPy's legacy
    functions and of Python's ``random``, and of every generator that the estimators and gradients
    in the model hold, so that the noise of shots goes on, too.

    Args:
        path: The file, in a folder that exists.
        model: Any module; its ``state_dict()`` is saved, and the circuits, observables and roles
            of the quantum modules in it.
        optimizer: One or a list of them.
        scheduler: One or a list of them.
        cursor: Where you are in your data: tensors, numbers, text, and lists, tuples and dicts of
            these. For example epoch, index of the batch, and the permutation of this epoch.
        generators: Your own ``torch.Generator``, ``numpy.random.Generator`` and
            ``random.Random`` objects, in an order of your choice.
        extra: Whatever else you need, of the same kinds as ``cursor``.
        step: The number of steps taken, for your own use.
        journal: An object with a whole number ``position``, which is saved.

    Raises:
        CheckpointError: If something cannot be saved or written, or the path is that of something
            other than a file; what was there is then unchanged.

    Cost:
        Twice the size of the states in memory, and their size on disk; no evaluation.

    Example:
        >>> import os, tempfile, torch
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule, load_checkpoint, save_checkpoint
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> model = TorchQuantumModule(circuit, "Z", initial_weights=[0.5], shots=100, seed=1)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        >>> path = os.path.join(tempfile.mkdtemp(), "run.ckpt")
        >>> save_checkpoint(path, model=model, optimizer=optimizer, cursor={"epoch": 3})
        >>> first = model().item()
        >>> load_checkpoint(path, model=model, optimizer=optimizer).cursor
        {'epoch': 3}
        >>> model().item() == first  # the same shots again
        True
    """
    path = require_path(path, "path", error=CheckpointError)
    require_instance(model, "model", nn.Module, "a torch.nn.Module", error=CheckpointError)
    if step is not None and not is_whole_number(step):
        raise CheckpointError(f"Expected step to be a whole number; got {shown(step)}.")
    optimizers = list_stateful(optimizer, "optimizer")
    schedulers = list_stateful(scheduler, "scheduler")
    given = require_generators(generators)
    weights = model.state_dict()
    states = {
        "model": weights,
        "metadata": dict(getattr(weights, "_metadata", {})),  # the versions of PyTorch's parts
        "programs": collect_programs(model),
        "optimizers": [collect_optimizer(o) for o in optimizers],
        "schedulers": [collect_scheduler(s) for s in schedulers],
        "global_states": get_global_states(),
        "generators": [get_state(g, f"generators[{i}]") for i, g in enumerate(given)],
        "noise": {
            place: get_state(g, place) for place, g in find_generators(model, optimizers).items()
        },
        "cursor": cursor,
        "extra": extra,
        "step": step,
        "journal_position": None if journal is None else _read_position(journal),
        "executions": collect_executions(model),
        "written_by": _collect_versions(),
    }
    atomic_file.write(path, serialization.pack(states))


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: nn.Module,
    optimizer: Stateful | Sequence[Stateful] | None = None,
    scheduler: Stateful | Sequence[Stateful] | None = None,
    generators: Generator | Sequence[Generator] = (),
    journal: HasPosition | None = None,
    only_weights: bool = False,
    max_bytes: int | None = None,
) -> Checkpoint:
    """Set everything to what it was when a checkpoint was saved.

    The whole file is checked first, and that it fits what is given: when this raises, nothing has
    been changed. Nothing in the file is executed.

    Args:
        path: The file.
        model: Built as it was: the same layers, circuits and estimators.
        optimizer: Those that were saved, of the same classes over the same parameters.
        scheduler: Likewise.
        generators: Likewise.
        journal: Its ``position`` is set.
        only_weights: Whether to load the model's weights and nothing else, not even random states:
            to evaluate a model, or to train it in another way or on another estimator.
        max_bytes: The most memory that what is in the file may take, which is known before any of
            it is taken. Default: 64 MiB more than it needs without tensors that were expanded;
            and for each circuit 256 MiB and 64 times the size of its QPY.

    Returns:
        Cursor, extra and so on, as they were saved.

    Raises:
        CheckpointError: If the file is missing, damaged or of another version, would take more
            than ``max_bytes``, or does not fit what is given.

    Cost:
        Three times the size of the states in memory; no evaluation.

    Example:
        >>> import os, tempfile, torch
        >>> from qiskit_torch_bridge import load_checkpoint, save_checkpoint
        >>> path = os.path.join(tempfile.mkdtemp(), "run.ckpt")
        >>> save_checkpoint(path, model=torch.nn.Linear(2, 1), cursor=[3, 4], step=10)
        >>> checkpoint = load_checkpoint(path, model=torch.nn.Linear(2, 1))
        >>> checkpoint.cursor, checkpoint.step
        ([3, 4], 10)
    """
    path = require_path(path, "path", error=CheckpointError)
    require_instance(model, "model", nn.Module, "a torch.nn.Module", error=CheckpointError)
    require_bool(only_weights, "only_weights", error=CheckpointError)
    if journal is not None:
        _read_position(journal)
    if max_bytes is not None:
        require_whole_number(max_bytes, "max_bytes", 1, error=CheckpointError)
    states = _read(path, max_bytes)
    optimizers = list_stateful(optimizer, "optimizer")
    schedulers = list_stateful(scheduler, "scheduler")
    own, noise = require_generators(generators), find_generators(model, optimizers)
    if only_weights and (optimizers or schedulers or own or journal is not None):
        raise CheckpointError(
            "only_weights=True loads nothing into optimizers, schedulers, generators and journals. "
            "Leave these out, or leave out only_weights."
        )
    try:
        weights = check_model(model, states, max_bytes)
        if not only_weights:
            check_rest(states, optimizers, schedulers, own, noise, journal is not None)
    except (CheckpointError, Warning):
        raise
    except Exception as error:
        raise CheckpointError(
            f"The checkpoint {path} does not fit: {type(error).__name__}: {error}. It may come "
            f"from other versions: it was written by {_list_versions(states)}. {UNCHANGED}"
        ) from error

    changes = [_Change(model.state_dict, model.load_state_dict, weights)]
    if not only_weights:
        saved = [*states["optimizers"], *states["schedulers"]]
        for part, kept in zip([*optimizers, *schedulers], saved, strict=True):
            changes.append(_Change(part.state_dict, part.load_state_dict, kept["state"]))
        changes += [_change_generator(g, s) for g, s in zip(own, states["generators"], strict=True)]
        changes += [_change_generator(noise[place], s) for place, s in states["noise"].items()]
        changes.append(_Change(get_global_states, set_global_states, states["global_states"]))
        if journal is not None:
            get, put = (partial(f, journal, "position") for f in (getattr, setattr))
            changes.append(_Change(get, put, states["journal_position"]))
    change_all(changes, path)
    return Checkpoint(**{name: states[name] for name in Checkpoint._fields})


def _read(path: Path, max_bytes: int | None) -> dict[str, Any]:
    payload = atomic_file.read(path)
    try:
        states = serialization.unpack(payload, max_bytes)
    except CheckpointError as error:
        raise CheckpointError(f"In {path}: {error}") from error
    told = states.get("executions")
    texts = [*told, *told.values()] if isinstance(told, dict) else [None]
    if set(states) != PARTS or not all(isinstance(text, str) for text in texts):
        raise CheckpointError(
            f"The checkpoint {path} has other parts than save_checkpoint writes. {UNCHANGED} "
            "Restore it from a copy."
        )
    return states


def _collect_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that was never installed
            continue
    return found


def _list_versions(states: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in states["written_by"].items())


class _Change(NamedTuple):
    """One state to set: how to read what is there, how to set another one, and this other one."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]
    state: Any


def change_all(changes: Sequence[_Change], path: Path) -> None:
    """Set all states; if one of them is refused, set back those before.

    Raises:
        CheckpointError: If one is refused, although everything was checked; what refused it is
            chained.
    """
    before = [copy.deepcopy(change.get()) for change in changes]
    count = 0
    try:
        for count, change in enumerate(changes, 1):  # noqa: B007
            change.put(change.state)
    except BaseException as error:  # an interrupt comes between two of them, too
        lost = _set_back(changes[:count], before)
        if not isinstance(error, Exception):
            raise
        after = "Everything was set back to what it was."
        if lost:
            after = f"{lost} of {len(changes)} states could not be set back: start anew."
        raise CheckpointError(
            f"The checkpoint {path} was refused: {type(error).__name__}: {error}. {after} "
            "Build everything as it was when it was saved."
        ) from error


def _set_back(changes: Sequence[_Change], before: Sequence[Any]) -> int:
    """Undo changes, and return how many could not be undone."""
    lost = 0
    for change, old in zip(changes, before, strict=False):
        try:
            change.put(old)
        except Exception:  # the others are to be set back all the same
            lost += 1
    return lost


def _change_generator(generator: Generator, state: Mapping[str, Any]) -> _Change:
    return _Change(lambda: get_state(generator, ""), lambda s: set_state(generator, s), state)


def _read_position(journal: HasPosition) -> int:
    position = getattr(journal, "position", None)
    if not isinstance(position, int) or isinstance(position, bool):
        raise CheckpointError(
            f"Expected journal to have a whole number as its position; got {shown(journal)}."
        )
    return position
