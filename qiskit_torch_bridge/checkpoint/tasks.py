# SPDX-License-Identifier: Apache-2.0
"""Setting many states, or none of them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from ..arguments import shown
from ..exceptions import CheckpointError
from .randomness import set_state, state_of


class Journal(Protocol):
    """What a checkpoint needs of a journal."""

    position: int


class Task(NamedTuple):
    """One state to set: how to read what is there, how to set another one, and this other one."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]
    state: Any


def carry_out(tasks: Sequence[Task], path: str | os.PathLike[str]) -> None:
    """Set all states; if one of them is refused, set back those before.

    Raises:
        CheckpointError: If one is refused, although everything was checked; what refused it is
            chained.
    """
    before = [copy.deepcopy(task.get()) for task in tasks]
    count = 0
    try:
        for count, task in enumerate(tasks, 1):  # noqa: B007
            task.put(task.state)
    except BaseException as error:  # an interrupt comes between two of them, too
        lost = _set_back(tasks[:count], before)
        if not isinstance(error, Exception):
            raise
        after = "Everything was set back to what it was."
        if lost:
            after = f"{lost} of {len(tasks)} states could not be set back: start anew."
        raise CheckpointError(
            f"The checkpoint {path} was refused: {type(error).__name__}: {error}. {after} "
            "Build everything as it was when it was saved."
        ) from error


def _set_back(tasks: Sequence[Task], before: Sequence[Any]) -> int:
    """Undo tasks, and return how many of them could not be undone."""
    lost = 0
    for task, old in zip(tasks, before, strict=False):
        try:
            task.put(old)
        except Exception:  # the others are to be set back all the same
            lost += 1
    return lost


def of_generator(generator: Any, state: Any) -> Task:
    """Return the task of setting a generator's state."""
    return Task(lambda: state_of(generator, ""), lambda s: set_state(generator, s), state)


def of_journal(journal: Journal, position: int) -> Task:
    """Return the task of moving a journal to a position."""

    def put(value: int) -> None:
        journal.position = value

    return Task(lambda: journal.position, put, position)


def position_of(journal: Journal) -> int:
    """Return where a journal is."""
    position = getattr(journal, "position", None)
    if not isinstance(position, int) or isinstance(position, bool):
        raise CheckpointError(
            f"Expected journal to have a whole number as its position; got {shown(journal)}."
        )
    return position
