# SPDX-License-Identifier: Apache-2.0
"""What a part is told, and where it writes what it finds."""

from __future__ import annotations

import gc
import json
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

COMPLEX = {"complex64": torch.complex64, "complex128": torch.complex128}


class OutOfTime(Exception):
    """A part's time, or that of one measurement in it, is over."""


@dataclass
class Setting:
    """What a part is told.

    Attributes:
        part: Its name.
        device: The device of torch.
        size: ``"full"``, ``"small"`` or ``"tiny"``.
        folder: Where results go.
        seconds: What the part may take.
        entries: What it has found so far.
    """

    part: str
    device: torch.device
    size: str
    folder: Path
    seconds: float
    entries: list[dict[str, Any]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.seconds - (time.monotonic() - self.start)

    def record(self, **entry: Any) -> None:
        """Write down a finding, in a file that is whole at any time."""
        self.entries.append(entry)
        self.write()
        print(self.part, *(f"{k}={_short(v)}" for k, v in entry.items()), flush=True)

    def write(self) -> None:
        """Write all findings to the file."""
        path = self.folder / f"gpu_{self.part}.json"
        facts = {"part": self.part, "size": self.size, "seconds": self.seconds - self.left}
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps({**facts, "entries": self.entries}, indent=1) + "\n")
        beside.replace(path)

    def release(self) -> None:
        """Give back the device's memory that nothing holds any more."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def recorded(self, limit: float = math.inf, **about: Any) -> Iterator[dict[str, Any]]:
        """Record what is put into the dictionary, or why there is nothing.

        Whatever goes wrong stays within: the next measurement has a fair try.

        Args:
            limit: Seconds that it may take at full size, if the part has as many.
            about: What is measured.
        """
        limit = limit if self.size == "full" else math.inf
        found: dict[str, Any] = {}
        try:
            self.release()  # what failed before held it up to now
            if self.left <= 0:
                raise OutOfTime("no time was left")
            with _alarm(min(limit, self.left)):
                yield found
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            found = {**found, "why": message}
        finally:
            self.release()
        self.record(**about, **found)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(
        self,
        call: Callable[..., object],
        seconds: float = 1.0,
        prepare: Callable[[], object] | None = None,
    ) -> dict[str, Any]:
        """Time calls that have been made once: the median, quartiles and how many there were.

        Args:
            call: What is timed; it may leave the device busy.
            seconds: About how long to go on, with three calls at least, if one is not longer.
            prepare: What makes the argument of each call, which is not timed.
        """
        taken: list[float] = []
        while len(taken) < 3 or (sum(taken) < seconds and len(taken) < 30):
            given = () if prepare is None else (prepare(),)
            self.synchronize()
            start = time.perf_counter()
            call(*given)
            self.synchronize()
            taken.append(time.perf_counter() - start)
            if taken[0] > seconds:
                break
        low, _, high = statistics.quantiles([*taken, *taken], n=4)
        return {
            "median": statistics.median(taken),
            "low": low,
            "high": high,
            "calls": len(taken),
        }


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTime` in what takes longer, as soon as Python has its turn."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1) if seconds < 1e6 else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
