# SPDX-License-Identifier: Apache-2.0
"""What to do about an error of a primitive: try again, wait on, ask for less, or give up.

Errors are told apart by the names of their classes and by their codes, so that the runtime need
not be installed; ``QiskitError`` is all that they have in common.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..arguments import (
    require_callable,
    require_choice,
    require_instance,
    require_real_number,
    require_whole_number,
)

Verdict = Literal["transient", "waiting", "too long", "permanent"]

TRANSIENT_CODES = frozenset({1006, 1008, 1010, 1011})
"""Codes of failed jobs that are the service's fault and pass (IBM Quantum's error codes)."""
TOO_LONG_CODE = 1305
ENDED = frozenset(
    {"RuntimeJobFailureError", "RuntimeJobMaxTimeoutError", "RuntimeInvalidStateError", "JobError"}
)
"""Errors that say that a job has ended, unless they are time-outs."""
LATE = frozenset({408, 425})
"""Answers that blame the way there, which the job may have come all the same."""
CHECKED = (ValueError, TypeError, ImportError, NotImplementedError)
CHECKED_NAMES = frozenset({"IBMInputValueError", "IBMRuntimeError"})
"""Of the runtime; the second one where no request is behind it, in a session that is closed."""
_NAMED_CODE = re.compile(r"\bcode:?\s*(\d{4})\b", re.IGNORECASE)
_CODE = re.compile(r"\b(1\d{3})\b")


def verdict_on(error: BaseException) -> Verdict:
    """Return what kind of failure an error is.

    * ``"transient"``: connection lost, too many requests, a fault of the service; submit again.
    * ``"waiting"``: the job goes on, only waiting for it was given up; wait for the same job.
    * ``"too long"``: the job exceeded its time; submit it in halves.
    * ``"permanent"``: everything else, such as wrong input or credentials.
    """
    require_instance(error, "error", BaseException, "an exception")
    return _judged(error)[0]


def leaves_job_running(error: BaseException) -> bool:
    """Whether an error met while waiting for a job says nothing of the job itself.

    Lost connections, refused requests and time-outs end the waiting, not the job; nor does it end
    where its result cannot be read. Only what a service says of the job does.
    """
    return not any(_names(link) & ENDED for link in _chain(error)) or _judged(error)[1]


def refuses(error: BaseException) -> bool:
    """Whether an error met while submitting says that no job was taken.

    It does where the service answered, and it was no, or where the error is of a kind that is
    raised before anything is sent. Otherwise the job may be there all the same: its answer was
    lost, or could not be read.
    """
    statuses = [status for link in _chain(error) if (status := _status(link)) is not None]
    if statuses:
        return all(400 <= status < 500 and status not in LATE for status in statuses)
    return all(map(_precedes_sending, _chain(error)))


def _precedes_sending(error: BaseException) -> bool:
    """Whether an error is of a kind that checks raise, and neither connections nor their answers.

    An answer that cannot be read is a ``ValueError``, too.
    """
    unread = isinstance(error, (OSError, UnicodeError, json.JSONDecodeError))
    return not unread and (isinstance(error, CHECKED) or bool(_names(error) & CHECKED_NAMES))


def _judged(error: BaseException) -> tuple[Verdict, bool]:
    for link in _chain(error):
        names = _names(link)
        if "RuntimeJobMaxTimeoutError" in names:
            return "too long", False
        if "JobTimeoutError" in names or isinstance(link, TimeoutError):
            return "waiting", True
        status = _status(link)
        if status is not None:
            passes = status in (-1, 429, *LATE) or status >= 500
            return "transient" if passes else "permanent", True
        if names & {"RuntimeJobFailureError", "JobError", "IBMRuntimeError", "IBMBackendApiError"}:
            codes = _codes(str(link))
            if TOO_LONG_CODE in codes:
                return "too long", False
            if codes & TRANSIENT_CODES:
                return "transient", False
    return "permanent", False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; the runtime hides the cause of its own errors as context."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        hidden = link.__context__ if "IBMError" in _names(link) else None
        link = link.__cause__ or hidden


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of a request that failed, -1 if it got no answer."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status
    if "IBMNotAuthorizedError" in _names(error):
        return 401
    # Timeout and another ConnectionError are those of requests.
    lost = isinstance(error, ConnectionError) or _names(error) & {"ConnectionError", "Timeout"}
    return -1 if lost else None


def _codes(message: str) -> set[int]:
    """Return the codes that a message names as such, or else all numbers that look like one."""
    return {int(code) for code in _NAMED_CODE.findall(message) or _CODE.findall(message)}


@dataclass(frozen=True)
class Retry:
    """How often and how long to try again, and what to do about a submission without an answer.

    Such a job may have been taken. Where a service can tell, it is looked for by its tag, at once
    and again after growing pauses, since services list new jobs some seconds late; it is submitted
    again when ``lookup`` has passed without it. Where nothing can tell, ``lost`` decides. Jobs of
    simulators in this process cost nothing, and are just run again.

    Attributes:
        attempts: The most submissions of one part of a request on one estimator.
        first_delay: Seconds before the second; each further delay is twice as long, and a random
            share between a half and all of it is waited, so that many clients spread.
        longest_delay: Seconds.
        deadline: Seconds after which nothing is tried again, or waited for, any more.
        lookup: Seconds for which a job without an answer is looked for.
        lost: ``"ask"`` raises :class:`.UnknownJobError` where nothing can tell whether a job was
            taken, ``"again"`` submits it again, and may pay for it twice.
        sleep: Waits; for tests.
        clock: Tells the time in seconds; for tests.

    Raises:
        InputError: If ``lookup`` is no number of seconds, or ``lost`` something else.
    """

    attempts: int = 10
    first_delay: float = 1.0
    longest_delay: float = 60.0
    deadline: float = 86_400.0
    lookup: float = 30.0
    lost: Literal["ask", "again"] = "ask"
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    rng: np.random.Generator = field(
        default_factory=np.random.default_rng, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_whole_number(self.attempts, "attempts", 1)
        for name in ("first_delay", "longest_delay", "deadline"):
            seconds = getattr(self, name)
            if not isinstance(seconds, float) or seconds != math.inf:  # without end is a choice
                require_real_number(seconds, name, zero=True)
        require_callable(self.sleep, "sleep", "a function of seconds")
        require_callable(self.clock, "clock", "a function that returns seconds")
        require_instance(self.rng, "rng", np.random.Generator, "a numpy.random.Generator")
        require_real_number(self.lookup, "lookup", zero=True, hint=" It is in seconds.")
        require_choice(
            self.lost,
            "lost",
            ("ask", "again"),
            hint=" The first raises an error; the second submits again, and perhaps pays twice.",
        )

    def pause(self, attempt: int) -> None:
        """Wait before the next attempt after ``attempt`` of them, counted from one."""
        doublings = min(max(attempt - 1, 0), 64)  # more would overflow
        delay = min(self.first_delay * 2.0**doublings, self.longest_delay)
        self.sleep(delay * float(self.rng.uniform(0.5, 1.0)))

    def looks(self) -> Iterator[None]:
        """Yield whenever a job is to be looked for: at once, and ever less often until the end."""
        yield
        if not self.lookup:
            return
        for halvings in (5, 5, 4, 3, 2, 1):  # which add up to the whole
            self.sleep(self.lookup / 2**halvings)
            yield
