# SPDX-License-Identifier: Apache-2.0
"""A process that makes candidates and times them when it is asked, in its own environment.

It reads requests from standard input and answers on standard output, one JSON object a line.
Whatever the packages print goes to standard error.

    {"do": "load", "function": "qulacs_peer.backprop"}  -> {}
    {"do": "prepare", "function": "qulacs_peer.backprop", "spec": {...}}
        -> {"seconds": ..., "evs": ..., "by_inputs": ..., "by_weights": ...}
    {"do": "time", "function": ..., "spec": ..., "turn": 0.3} -> {"seconds": ..., "calls": ...}
    {"do": "forget"}                             -> {}
    {"do": "packages"}                           -> {"numpy": "2.4.6", ...}
    {"do": "machine"}                            -> {"flops": ..., "bandwidth": ..., ...}
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import distributions
from typing import Any

from peers.candidate import Candidate
from workloads import Spec, Workload, build


class Worker:
    """Holds the candidates that it made until it is told to forget them."""

    def __init__(self) -> None:
        self.candidates: dict[str, Any] = {}

    def load(self, function: str) -> dict[str, Any]:
        """Import what a candidate needs."""
        _function(function)
        return {}

    def prepare(self, function: str, spec: Spec) -> dict[str, Any]:
        """Make a candidate, take its first step and return how long both took and its numbers."""
        make = _function(function)
        work = build(spec)
        start = time.perf_counter()
        candidate = make(work)
        found = candidate.step()
        seconds = time.perf_counter() - start
        numbers = candidate.read(found)._asdict()
        self.candidates[_key(function, spec)] = candidate.step
        return {"seconds": seconds} | {name: array.tolist() for name, array in numbers.items()}

    def time(self, function: str, spec: Spec, turn: float) -> dict[str, Any]:
        """Step for about ``turn`` seconds; return the mean time of a call, and how many they were.

        One call before them is not counted: it wakes threads and caches after the other
        candidates' turns. It is left out where a single call fills the turn.
        """
        step = self.candidates[_key(function, spec)]
        first = _seconds(step)
        if first > turn:
            return {"seconds": first, "calls": 1}
        calls = max(1, round(turn / max(_seconds(step), 1e-6)))
        gc.collect()
        start = time.perf_counter()
        for _ in range(calls):
            step()
        return {"seconds": (time.perf_counter() - start) / calls, "calls": calls}

    def forget(self) -> dict[str, Any]:
        """Drop all candidates, and their memory."""
        self.candidates.clear()
        gc.collect()
        return {}

    def packages(self) -> dict[str, Any]:
        """Return the versions of all installed packages."""
        found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
        return {"Python": sys.version.split()[0], **dict(sorted(found.items()))}

    def machine(self) -> dict[str, Any]:
        """Return what the machine can do at most."""
        return importlib.import_module("machine").peak()


def _function(name: str) -> Callable[[Workload], Candidate]:
    module, _, function = name.partition(".")
    return getattr(importlib.import_module(f"peers.{module}"), function)


def _key(function: str, spec: Spec) -> str:
    return f"{function} {json.dumps(spec, sort_keys=True)}"


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # from here on, what anybody prints goes to standard error
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
            sys.excepthook(*sys.exc_info())
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
