# SPDX-License-Identifier: Apache-2.0
"""Strikes at chosen moments: while something is written, or before each line of a function."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qiskit_torch_bridge.checkpoint import atomic_file
from qiskit_torch_bridge.jobs import journal_file


class Moments:
    """Counts the moments before and after each step of writing, by what is written.

    What is written through the modules of journal and checkpoint belongs to the ``"journal"``,
    unless :meth:`of` says otherwise. They are watched until :meth:`end`.

    Attributes:
        counts: How many moments of each kind have passed, and how many of ``"any"``.
        strike: Called at one of them.
        where: At which: the kind or ``"any"``, and the number counted from zero.
        halves: Whether the middle of a write counts, too, with a half of it on disk.
    """

    def __init__(
        self,
        strike: Callable[[], None] | None = None,
        where: tuple[str, int] = ("nothing", 0),
        *,
        halves: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.strike, self.where, self.halves = strike, where, halves
        self._kind, self._patch = "journal", pytest.MonkeyPatch()
        for name in ("fsync", "replace"):
            self.around(os, name)
        # In which it is looked up before the builtin one.
        self._patch.setattr(atomic_file, "open", self._open, raising=False)
        self._put = journal_file.put
        self._patch.setattr(journal_file, "put", self._put_in_parts)

    def begin(self, where: tuple[str, int]) -> None:
        """Count from here on, and strike there."""
        self.counts.clear()
        self.where = where

    def end(self) -> None:
        self._patch.undo()

    @contextlib.contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Say what is being written."""
        before, self._kind = self._kind, kind
        try:
            yield
        finally:
            self._kind = before

    def around(self, owner: Any, name: str, kind: str | None = None) -> None:
        """Have a moment before and after each call of a function."""
        call = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            self.passes(kind)
            result = call(*args, **options)
            self.passes(kind)
            return result

        self._patch.setattr(owner, name, watched)

    def passes(self, kind: str | None = None) -> None:
        kind = self._kind if kind is None else kind
        here = {(name, self.counts[name]) for name in (kind, "any")}
        self.counts.update((kind, "any"))
        if self.strike is not None and self.where in here:
            self.strike()

    def _put_in_parts(self, descriptor: int, data: bytes) -> None:
        self.passes()
        half = len(data) // 2 if self.halves else 0
        if half:
            self._put(descriptor, data[:half])
            self.passes()
        self._put(descriptor, data[half:])
        self.passes()

    def _open(self, path: Any, mode: str) -> Any:
        class Watched(io.BufferedRandom if "+" in mode else io.BufferedWriter):
            def write(file, data: bytes) -> int:
                self.passes()
                done = 0
                if self.halves:
                    done = super().write(data[: len(data) // 2])
                    super().flush()
                    self.passes()
                done += super().write(data[done:])
                self.passes()
                return done

            def flush(file) -> None:
                self.passes()
                super().flush()
                self.passes()

        return Watched(io.FileIO(path, mode.replace("b", "")))


def interrupted_before_each_line(
    functions: list[Callable[..., Any]], prepare: Callable[[], Callable[[], Any]]
) -> Iterator[int]:
    """Call something again and again, each time interrupted before a later line of the functions.

    Args:
        functions: The functions.
        prepare: Returns what to call.

    Yields:
        The number of lines that came before the interrupt; ends when there was none any more.
    """
    codes = {function.__code__ for function in functions}  # type: ignore[attr-defined]
    for number in itertools.count():
        left = [number]

        def trace(frame: Any, event: str, argument: Any, left: list[int] = left) -> Any:
            if frame.f_code not in codes:
                return None
            if event == "line":
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
            return trace

        call, before = prepare(), sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
        finally:
            sys.settrace(before)
        if not interrupted:
            return
        yield number
