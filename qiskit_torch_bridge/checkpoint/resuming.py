# SPDX-License-Identifier: Apache-2.0
"""Saving a training and going on with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ..arguments import is_whole_number, require_bool, require_path, require_whole_number, shown
from ..exceptions import CheckpointError
from . import content, files
from .fitting import (
    UNCHANGED,
    as_list,
    check_is_model,
    check_model,
    check_rest,
    saved_metadata,
    saved_optimizer,
    saved_programs,
    saved_scheduler,
)
from .randomness import (
    as_generators,
    global_states,
    noise_generators,
    set_global_states,
    state_of,
)
from .tasks import Journal, Task, carry_out, of_generator, of_journal, position_of

PACKAGES = ("qiskit-torch-bridge", "qiskit", "torch", "numpy", "numba")
PARTS = {
    "model", "metadata", "programs", "optimizers", "schedulers", "global_states", "generators",
    "noise", "cursor", "extra", "step", "journal_position", "written_by",
}  # fmt: skip


class Checkpoint(NamedTuple):
    """What a checkpoint holds beside the states that were loaded.

    Attributes:
        cursor: Where the training was in its data, as it was given to :func:`save_checkpoint`.
        extra: As it was given.
        step: As it was given.
        journal_position: The journal's position when it was saved; ``None`` without a journal.
        written_by: The versions of the packages that wrote it, by name. With other versions a run
            goes on, but not necessarily to the last bit.
    """

    cursor: Any
    extra: Any
    step: int | None
    journal_position: int | None
    written_by: dict[str, str]


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: nn.Module,
    optimizer: Any = None,
    scheduler: Any = None,
    cursor: Any = None,
    generators: Any = (),
    extra: Any = None,
    step: int | None = None,
    journal: Journal | None = None,
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
            else than a file; what was there is then unchanged.

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
    check_is_model(model)
    if step is not None and not is_whole_number(step):
        raise CheckpointError(f"Expected step to be a whole number; got {shown(step)}.")
    optimizers, schedulers = as_list(optimizer, "optimizer"), as_list(scheduler, "scheduler")
    given = as_generators(generators)
    weights = model.state_dict()
    states = {
        "model": weights,
        "metadata": saved_metadata(weights),
        "programs": saved_programs(model),
        "optimizers": [saved_optimizer(o) for o in optimizers],
        "schedulers": [saved_scheduler(s) for s in schedulers],
        "global_states": global_states(),
        "generators": [state_of(g, f"generators[{i}]") for i, g in enumerate(given)],
        "noise": {
            place: state_of(g, place) for place, g in noise_generators(model, optimizers).items()
        },
        "cursor": cursor,
        "extra": extra,
        "step": step,
        "journal_position": None if journal is None else position_of(journal),
        "written_by": _versions(),
    }
    files.write(path, content.packed(states))


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: nn.Module,
    optimizer: Any = None,
    scheduler: Any = None,
    generators: Any = (),
    journal: Journal | None = None,
    only_weights: bool = False,
    max_bytes: int | None = None,
) -> Checkpoint:
    """Set everything to what it was when a checkpoint was saved.

    The whole file and its fit to what is given are checked first: when this raises, nothing has
    been changed. Nothing in the file is executed.

    Args:
        path: The file.
        model: Built as it was: the same layers, circuits and estimators.
        optimizer: Those that were saved, of the same classes over the same parameters.
        scheduler: Likewise.
        generators: Likewise.
        journal: Its ``position`` is set.
        only_weights: Whether to load the model's weights and nothing else, random states included:
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
    check_is_model(model)
    require_bool(only_weights, "only_weights", error=CheckpointError)
    if journal is not None:
        position_of(journal)
    if max_bytes is not None:
        require_whole_number(max_bytes, "max_bytes", 1, error=CheckpointError)
    states = _read(path, max_bytes)
    optimizers, schedulers = as_list(optimizer, "optimizer"), as_list(scheduler, "scheduler")
    own, noise = as_generators(generators), noise_generators(model, optimizers)
    if only_weights and (optimizers or schedulers or own or journal is not None):
        raise CheckpointError(
            "only_weights=True loads nothing into optimizers, schedulers, generators and journals. "
            "Leave these out, or leave out only_weights."
        )
    try:
        weights = check_model(model, states, max_bytes)
        if not only_weights:
            check_rest(states, optimizers, schedulers, own, noise, journal)
    except (CheckpointError, Warning):
        raise
    except Exception as error:
        raise CheckpointError(
            f"The checkpoint {path} does not fit: {type(error).__name__}: {error}. It may come "
            f"from other versions: it was written by {_readable(states)}. {UNCHANGED}"
        ) from error

    tasks = [Task(model.state_dict, model.load_state_dict, weights)]
    if not only_weights:
        parts = zip(
            [*optimizers, *schedulers],
            [*states["optimizers"], *states["schedulers"]],
            strict=True,
        )
        tasks += [Task(p.state_dict, p.load_state_dict, saved["state"]) for p, saved in parts]
        tasks += [of_generator(g, s) for g, s in zip(own, states["generators"], strict=True)]
        tasks += [of_generator(noise[place], s) for place, s in states["noise"].items()]
        tasks.append(Task(global_states, set_global_states, states["global_states"]))
        if journal is not None:
            tasks.append(of_journal(journal, states["journal_position"]))
    carry_out(tasks, path)
    kept = ("cursor", "extra", "step", "journal_position", "written_by")
    return Checkpoint(**{name: states[name] for name in kept})


def _read(path: Path, max_bytes: int | None) -> dict[str, Any]:
    payload = files.read(path)
    try:
        states = content.unpacked(payload, max_bytes)
    except CheckpointError as error:
        raise CheckpointError(f"In {path}: {error}") from error
    if set(states) != PARTS:
        raise CheckpointError(
            f"The checkpoint {path} has other parts than save_checkpoint writes. {UNCHANGED} "
            "Restore it from a copy."
        )
    return states


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that was never installed
            continue
    return found


def _readable(states: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in states["written_by"].items())
