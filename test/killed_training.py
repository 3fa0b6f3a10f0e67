# SPDX-License-Identifier: Apache-2.0
"""A training that is killed again and again: ``killed_training.py FOLDER KILLS SEED``.

One process imports everything and forks the trainings, which start fast that way. It prints what
the tests look at, as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from faults import Ledger, SamplerService, Service
from fingerprints import digests
from moments import Moments
from trainings import Training

from qiskit_torch_bridge import Probabilities
from qiskit_torch_bridge.jobs import (
    DispatchingEstimator,
    DispatchingSampler,
    Jobs,
    Journal,
    Retry,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

STEPS = 6
PLACES = ("services", "simulator", "samplers")
KINDS = ("any time", "checkpoint", "journal", "service")
"""What the processes are killed at, in turn: the last three while it is being written."""
MOST = 4
"""Kills of one training."""


def train(folder: Path, place: str, moments: Moments) -> None:
    """Train from the last checkpoint on; the services and their ledger outlive the process."""
    ledger, journal = Ledger(folder / "ledger"), Journal(folder / "journal")
    moments.around(ledger, "write", "service")
    checkpoint = folder / "checkpoint"
    resumes = checkpoint.exists()
    # What is drawn after resuming comes from the checkpoint, whatever the seeds here.
    seed = os.getpid() if resumes else 0
    kind = SamplerService if place == "samplers" else Service
    services = [kind(ledger, name=name, most_rows=20) for name in "ab"]
    jobs = Jobs(journal=journal, retry=Retry(lookup=0))  # the ledger shows every job at once
    options: dict[str, Any] = {} if place == "services" else {"shots": 40}
    if place == "samplers":
        options["observable"] = Probabilities([0, 1], interpret="parity")
        estimator: Any = DispatchingSampler(services, jobs)
    elif place == "simulator":
        estimator = DispatchingEstimator(BatchedStatevectorEstimator(seed=seed), jobs)
    else:
        estimator = DispatchingEstimator(services, jobs)
    training = Training(seed=seed, estimator=estimator, gradient="parameter-shift", **options)
    begun = training.load(checkpoint, journal=journal).step if resumes else 0
    for step in range(begun, STEPS):
        note(folder, str(step))
        training.step()
        with moments.of("checkpoint"):
            training.save(checkpoint, step=step + 1, journal=journal)
    journal.close()
    (folder / "moments").write_text(json.dumps(moments.counts))
    (folder / "done").write_text(json.dumps([float(w).hex() for w in training.weights()]))


def note(folder: Path, what: str) -> None:
    """Add a word to the story of a training; it is there even if the process is killed next."""
    with open(folder / "story", "a") as story:
        story.write(f"{what} ")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def forked(
    folder: Path, place: str, *, after: float = 0, at: tuple[str, int] | None = None
) -> bool:
    """Run a training in a process of its own; return whether it was killed.

    Args:
        folder: Where it goes on.
        place: Where its circuits run.
        after: Seconds after which it is killed; zero for never.
        at: The kind and the number of the moment at which it kills itself.
    """
    pid = os.fork()
    if not pid:
        code = 1
        try:
            train(folder, place, Moments(die, at or ("nothing", 0), halves=True))
            code = 0
        finally:
            os._exit(code)
    if after:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        note(folder, "killed")
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError("the training failed; see above")
    return False


def outcome(folder: Path, number: int, place: str, kills: list[str]) -> dict[str, Any]:
    ledger = Ledger(folder / "ledger")
    processes = (folder / "story").read_text().split("killed")
    return {
        "number": number,
        "place": place,
        "kills": kills,
        "processes": [[int(step) for step in steps.split()] for steps in processes],
        "weights": (folder / "done").read_text(),
        "jobs": len(ledger.jobs),
        "duplicates": ledger.duplicates(),
        "failed": len(ledger.failed),
    }


def killed(
    folder: Path, place: str, calm: Path, duration: float, kinds: list[str], rng: random.Random
) -> list[str]:
    """Kill a training again and again until it has ended; return at what it was.

    Args:
        folder: Its own.
        place: Where its circuits run.
        calm: The folder of the undisturbed training.
        duration: Seconds that it took.
        kinds: At what to kill it; what strikes is taken from the front, at most ``MOST``.
        rng: Chooses when.
    """
    moments, struck = json.loads((calm / "moments").read_text()), []
    while kinds and len(struck) < MOST:
        kind, when = kinds[0] if moments.get(kinds[0]) else KINDS[0], {}
        if kind != KINDS[0]:
            # Within a step and a half, so that many a training is killed in each of its steps.
            when["at"] = kind, rng.randrange(3 * moments[kind] // STEPS // 2)
        else:
            when["after"] = rng.uniform(0, duration)
        if not forked(folder, place, **when):
            return struck
        struck.append(kind)
        del kinds[0]
    forked(folder, place)
    return struck


def main(folder: Path, kills: int, seed: int) -> None:
    rng, outcomes, durations = random.Random(seed), [], {}
    for place in PLACES:
        warm, calm = folder / f"warm {place}", folder / f"calm {place}"
        for here in (warm, calm):
            here.mkdir()
        moments = Moments()
        train(warm, place, moments)  # loads and compiles for all that are forked
        moments.end()
        begin = time.monotonic()
        forked(calm, place)
        durations[place] = time.monotonic() - begin
        outcomes.append(outcome(calm, -1, place, []))
    kinds = list(itertools.islice(itertools.cycle(KINDS), kills))
    for number in itertools.count():
        here, place = folder / str(number), PLACES[number % len(PLACES)]
        here.mkdir()
        struck = killed(here, place, folder / f"calm {place}", durations[place], kinds, rng)
        outcomes.append(outcome(here, number, place, struck))
        if not struck:
            durations[place] *= 0.8  # less is going on beside it than at first
        if not kinds:
            break
    print(json.dumps({"digests": digests(), "outcomes": outcomes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
