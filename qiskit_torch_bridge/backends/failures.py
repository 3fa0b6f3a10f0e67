# SPDX-License-Identifier: Apache-2.0
"""What to do about an error of a primitive: try again, wait on, ask for less, or give up.

Errors are told apart by the names of their classes and by their codes, so that the runtime need
not be installed; ``QiskitError`` is all that they have in common.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Verdict = Literal["transient", "waiting", "too long", "permanent"]

TRANSIENT_CODES = frozenset({1006, 1008, 1010, 1011})
"""Codes of failed jobs that are the service's fault and pass (IBM Quantum's error codes)."""
TOO_LONG_CODE = 1305
_CODE = re.compile(r"\b(1\d{3})\b")


def verdict_on(error: BaseException) -> Verdict:
    """Return what kind of failure an error is.

    * ``"transient"``: connection lost, too many requests, a fault of the service; submit again.
    * ``"waiting"``: the job goes on, only waiting for it was given up; wait for the same job.
    * ``"too long"``: the job exceeded its time; submit it in halves.
    * ``"permanent"``: everything else, such as wrong input or credentials.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if "RuntimeJobMaxTimeoutError" in names:
        return "too long"
    if "JobTimeoutError" in names or isinstance(error, TimeoutError):
        return "waiting"
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return "transient" if status == -1 or status == 429 or status >= 500 else "permanent"
    if isinstance(error, ConnectionError):
        return "transient"
    if names & {"RuntimeJobFailureError", "JobError", "IBMRuntimeError", "IBMBackendApiError"}:
        codes = {int(code) for code in _CODE.findall(str(error))}
        if TOO_LONG_CODE in codes:
            return "too long"
        if codes & TRANSIENT_CODES:
            return "transient"
    cause = error.__cause__
    return "permanent" if cause is None else verdict_on(cause)


@dataclass
class Retry:
    """How often and how long to try again.

    Attributes:
        attempts: The most submissions of one part of a request on one estimator.
        first_delay: Seconds before the second; each further delay is twice as long, and a random
            share between a half and all of it is waited, so that many clients spread.
        longest_delay: Seconds.
        deadline: Seconds after which nothing is tried again, or waited for, any more.
        sleep: Waits; for tests.
        clock: Tells the time in seconds; for tests.
    """

    attempts: int = 5
    first_delay: float = 1.0
    longest_delay: float = 60.0
    deadline: float = 86_400.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    rng: np.random.Generator = field(default_factory=np.random.default_rng, repr=False)

    def pause(self, attempt: int) -> None:
        """Wait before the next attempt after ``attempt`` of them, counted from one."""
        delay = min(self.first_delay * 2 ** (attempt - 1), self.longest_delay)
        self.sleep(delay * float(self.rng.uniform(0.5, 1.0)))
