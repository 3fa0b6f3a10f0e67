# SPDX-License-Identifier: Apache-2.0
"""Trainings that are interrupted as by Ctrl-C: ``interrupted_training.py FOLDER SEED``.

One process imports everything and forks the others, which start fast that way. It prints what the
tests look at, as JSON.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from circuits import layered
from faults import Job, Ledger, Service
from moments import Moments
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from trainings import Training, node

from qiskit_torch_bridge import (
    Exact,
    OnBackend,
    TorchQuantumModule,
    load_checkpoint,
    save_checkpoint,
)
from qiskit_torch_bridge.exceptions import JournalError
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal, Retry

STEPS = 5
STRUCK = (1, 3)
"""The steps that are interrupted: one by process, the second one goes on by itself."""
INTERRUPTS = 20
"""Of one training, at any time."""
SHOTS = 10_000
LONG = 60.0
"""Seconds that it would take to go on without an interrupt."""


def fork(call: Callable[[], Any]) -> int:
    """Call in another process."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever was inherited
            call()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


def forked(call: Callable[[], Any]) -> None:
    if os.waitpid(fork(call), 0)[1]:
        raise RuntimeError("the training failed; see above")


class Child:
    """The side of the process that is interrupted."""

    def __init__(self, folder: Path, pipe: int) -> None:
        self.folder, self.pipe = folder, pipe

    def ready(self) -> None:
        """Say that the signal may come."""
        os.write(self.pipe, b".")

    def caught(self) -> None:
        """Say that the user's code goes on."""
        (self.folder / "caught").write_text(repr(time.monotonic()))


def interrupted(folder: Path, call: Callable[[Child], Any], after: float) -> float:
    """Call in another process and send it SIGINT.

    Args:
        folder: What the process and this one share.
        call: Says when it is ready, and when it has caught the interrupt.
        after: Seconds from then until the signal.

    Returns:
        The seconds from the signal until it was caught; infinite if it was not.
    """
    ours, theirs = os.pipe()
    pid = fork(lambda: call(Child(folder, theirs)))
    os.close(theirs)
    if not os.read(ours, 1):
        raise RuntimeError("the process never came to the point; see above")
    os.close(ours)
    time.sleep(after)
    sent = time.monotonic()
    os.kill(pid, signal.SIGINT)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
        if time.monotonic() - sent > LONG / 2 and not (folder / "caught").exists():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return math.inf
    caught = float((folder / "caught").read_text())
    (folder / "caught").unlink()
    return caught - sent


# -- trainings that wait -----------------------------------------------------------------------


class Point:
    """Where a training waits for a minute, at one call of one of its steps.

    Args:
        place: What it waits for.
        call: Which call of a step: 0 is forward, 1 backward.
        ready: Told when it is there.
    """

    def __init__(self, place: str, call: int, ready: Callable[[], None] | None = None) -> None:
        self.place, self.call, self.ready = place, call, ready
        self.calls = -1

    def begin(self, armed: bool) -> None:
        """Count the calls from here on."""
        self.calls = 0 if armed and self.ready is not None else -math.inf

    def is_here(self, place: str) -> bool:
        if place != self.place:
            return False
        self.calls += 1
        return self.calls == self.call + 1

    def __call__(self, place: str) -> None:
        if self.is_here(place):
            self.wait()

    def wait(self, seconds: float = LONG) -> None:
        self.ready()
        time.sleep(seconds)


class Slow(Service):
    """A service that keeps its users waiting."""

    def __init__(self, ledger: Ledger, point: Point) -> None:
        super().__init__(ledger)
        self.point = point

    def run(self, pubs: Any, *, precision: float | None = None) -> Job:
        if self.point.is_here("back-off"):
            raise ConnectionError("busy")
        self.point("intended")
        job = super().run(pubs, precision=precision)
        self.point("accepted")
        result = job.result
        job.result = lambda: (self.point("result"), result())[1]
        return job


def training_on(folder: Path, journal: Journal, point: Point, seed: int) -> Training:
    """Build the training, on a service or, for the place ``"device"``, on a fake device."""
    if point.place == "device":
        run = AerSimulator.run

        def slow(*args: Any, **options: Any) -> Any:
            point("device")
            return run(*args, **options)

        AerSimulator.run = slow
        device = OnBackend(GenericBackendV2(2, seed=1), jobs=Jobs(journal=journal))
        return Training(seed=seed, backend=device, shots=40)
    retry = Retry(first_delay=2 * LONG, longest_delay=2 * LONG, lookup=0, sleep=point.wait)
    service = Slow(Ledger(folder / "ledger"), point)
    estimator = DispatchingEstimator(service, Jobs(journal=journal, retry=retry))
    return Training(seed=seed, estimator=estimator, gradient="parameter-shift")


def train(
    folder: Path,
    point: Point,
    *,
    struck: int | None = None,
    caught: Callable[[Training], bool] | None = None,
    steps: int = STEPS,
    journal_name: str = "journal",
) -> None:
    """Train from the last checkpoint on.

    Args:
        folder: Where it goes on.
        point: Where it waits.
        struck: In which step.
        caught: Called when it was interrupted; returns whether to go on.
        steps: How many to make in all.
        journal_name: The name of the journal.
    """
    journal, checkpoint = Journal(folder / journal_name), folder / "checkpoint"
    resumes = checkpoint.exists()
    training = training_on(folder, journal, point, seed=os.getpid() if resumes else 0)
    step = training.load(checkpoint, journal=journal).step if resumes else 0
    while step < steps:
        point.begin(step == struck)
        try:
            training.step()
        except KeyboardInterrupt:
            if caught is None or not caught(training):
                return
            struck = None
            step = training.load(checkpoint, journal=journal).step
            continue
        step += 1
        training.save(checkpoint, step=step, journal=journal)
    journal.close()
    (folder / "done").write_text(weights_of(training))


def weights_of(training: Training) -> str:
    return " ".join(float(w).hex() for w in training.weights())


def outcome(folder: Path, **found: Any) -> dict[str, Any]:
    ledger = Ledger(folder / "ledger")
    return {
        "weights": (folder / "done").read_text(),
        "jobs": len(ledger.jobs),
        "duplicates": ledger.duplicates(),
        **found,
    }


def interrupted_twice(folder: Path, place: str, call: int, rng: random.Random) -> dict[str, Any]:
    """Interrupt a training and start it again; interrupt it again, and let it go on."""
    seconds = []
    for struck, goes_on in zip(STRUCK, (False, True), strict=True):

        def disturbed(child: Child, struck: int = struck, goes_on: bool = goes_on) -> None:
            point = Point(place, call, child.ready)
            train(folder, point, struck=struck, caught=lambda _: (child.caught(), goes_on)[1])

        seconds.append(interrupted(folder, disturbed, rng.uniform(0.05, 0.3)))
    return outcome(folder, seconds=seconds)


def left_for_something_else(folder: Path, rng: random.Random) -> dict[str, Any]:
    """Interrupt a training, use its module for something else, and resume with the same journal."""
    inputs = torch.linspace(-1, 1, 6).reshape(3, 2)

    def used(training: Training) -> bool:
        module = training.model[2]
        with torch.no_grad():
            values = module(inputs)
            exact = node(initial_weights=module.weight.detach())(inputs)
        difference = float((values - exact).abs().max())
        (folder / "used").write_text(json.dumps(difference))
        return False

    def disturbed(child: Child) -> None:
        point = Point("result", 0, child.ready)
        train(folder, point, struck=2, caught=lambda t: (child.caught(), used(t))[1])

    def resumed() -> None:
        try:
            train(folder, Point("result", 0))
        except JournalError as error:
            (folder / "refused").write_text(str(error))

    seconds = interrupted(folder, disturbed, rng.uniform(0.05, 0.3))
    forked(resumed)
    forked(lambda: train(folder, Point("result", 0), journal_name="another journal"))
    return outcome(
        folder,
        seconds=[seconds],
        difference=json.loads((folder / "used").read_text()),
        refused=(folder / "refused").read_text(),
    )


def at_any_time(folder: Path, of_step: float, rng: random.Random) -> None:
    """Interrupt a training again and again, wherever it is; it loads its checkpoint and goes on."""
    ours, theirs = os.pipe()

    def goes_on() -> None:
        journal, checkpoint = Journal(folder / "journal"), folder / "checkpoint"
        training = training_on(folder, journal, Point("service", 0), 0)
        training.save(checkpoint, step=0, journal=journal)
        caught = step = 0
        while caught < INTERRUPTS or step < STEPS:
            try:
                os.write(theirs, b".")
                step = training.load(checkpoint, journal=journal).step
                for done in itertools.count(step + 1):
                    training.step()
                    training.save(checkpoint, step=done, journal=journal)
            except KeyboardInterrupt:
                caught += 1
        step = training.load(checkpoint, journal=journal).step
        (folder / "done").write_text(weights_of(training))
        (folder / "steps").write_text(json.dumps(step))

    pid = fork(goes_on)
    os.close(theirs)
    # Python loses an interrupt that comes while an object is destroyed: then there is another one.
    sent = 0
    while not select.select([ours], [], [], LONG / 10)[0] or os.read(ours, 1):
        time.sleep(rng.uniform(0, of_step * (1 + sent / INTERRUPTS)))  # so that it comes to an end
        os.kill(pid, signal.SIGINT)
        sent += 1
    os.close(ours)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the training failed; see above")


# -- interrupts while something is written -----------------------------------------------------


def at_every_moment(folder: Path) -> None:
    """Interrupt each step at another moment of writing, until one comes to its end.

    After every other interrupt, everything is built anew as in another process.
    """
    folder.mkdir()
    struck_at, seconds, leftovers = [0.0], [], 0

    def strike() -> None:
        struck_at[0] = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    moments, point = Moments(strike), Point("service", 0)
    checkpoint = folder / "checkpoint"

    def begun(seed: int) -> tuple[Journal, Training]:
        journal = Journal(folder / "journal")
        training = training_on(folder, journal, point, seed)
        service = training.model[2].estimator.estimators[0]
        moments.around(service.ledger, "write", "service")
        return journal, training

    journal, training = begun(0)
    training.save(checkpoint, step=0, journal=journal)
    step = 0
    for number in itertools.count():
        moments.begin(("any", number))
        try:
            training.step()
            with moments.of("checkpoint"):
                training.save(checkpoint, step=step + 1, journal=journal)
        except KeyboardInterrupt:
            seconds.append(time.monotonic() - struck_at[0])
        else:
            counts = dict(moments.counts)
        moments.begin(("nothing", 0))
        if len(seconds) == number:
            break  # it was not interrupted any more
        leftovers += len([*folder.glob(".checkpoint.*")])
        if number % 2:
            journal.close()
            journal, training = begun(number)
        saved = training.load(checkpoint, journal=journal).step
        if saved == step:
            training.step()
            training.save(checkpoint, step=step + 1, journal=journal)
        step += 1
    (folder / "done").write_text(weights_of(training))
    (folder / "steps").write_text(json.dumps(step + 1))
    found = {"seconds": seconds, "leftovers": leftovers, "counts": counts}
    (folder / "found").write_text(json.dumps(found))


# -- interrupts of computations that take long -------------------------------------------------


def computing(folder: Path, place: str, call: int, child: Child | None) -> None:
    """Train a step, do something that takes long and is interrupted, and train another step."""
    torch.manual_seed(0)
    if place == "kernels":  # 20 qubits, and batches that take many seconds
        qubits, many = 20, (4000, 400)[call]
        options = {"estimator": Exact("statevector")}
    else:  # hundreds of circuits that Aer simulates with noise, for 10 ms each or more
        qubits, many = 2, (400, 25)[call]
        device = GenericBackendV2(2, seed=1)
        options = {"backend": device, "shots": SHOTS, "seed": 1, "gradient": "parameter-shift"}
    circuit, inputs, _ = layered(qubits, 2)
    model = TorchQuantumModule(circuit, "Z" * qubits, input_params=inputs, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x = torch.rand(many, qubits, generator=torch.Generator().manual_seed(1))

    def step() -> None:
        optimizer.zero_grad()
        model(x[:1]).sum().backward()
        optimizer.step()

    step()
    save_checkpoint(folder / "checkpoint", model=model, optimizer=optimizer)
    with torch.no_grad():
        before = model(x[:2])
    if child is not None:
        loss = model(x).sum() if call else None
        if place == "simulator":
            ready_when_it_runs(child)
        else:
            child.ready()
        try:
            model(x).sum() if loss is None else loss.backward()
        except KeyboardInterrupt:
            child.caught()
        else:
            raise RuntimeError("it was done before the signal came")
        with torch.no_grad():
            after = model(x[:2])
        difference = float((after - before).abs().max())
        (folder / "difference").write_text(json.dumps(difference))
    load_checkpoint(folder / "checkpoint", model=model, optimizer=optimizer)
    step()
    (folder / "done").write_text(" ".join(float(w).hex() for w in model.weight))


def ready_when_it_runs(child: Child) -> None:
    """Be ready when Aer is given circuits."""
    run, ready = AerSimulator.run, [child.ready]

    def watched(*args: Any, **options: Any) -> Any:
        if ready:
            ready.pop()()
        return run(*args, **options)

    AerSimulator.run = watched


def interrupted_computation(
    folder: Path, place: str, call: int, rng: random.Random
) -> dict[str, Any]:
    call_it = partial(computing, folder, place, call)
    # Aer is given its circuits in Python, which could be interrupted in any case.
    after = rng.uniform(1, 2) if place == "simulator" else rng.uniform(0.1, 0.5)
    return {
        "seconds": [interrupted(folder, call_it, after)],
        "weights": (folder / "done").read_text(),
        "difference": json.loads((folder / "difference").read_text()),
    }


WAITING = {
    "before a submission": ("intended", 0),
    "for the answer to a submission": ("accepted", 1),
    "for a job, forward": ("result", 0),
    "for a job, backward": ("result", 1),
    "for the next attempt": ("back-off", 1),
    "for a simulator, forward": ("device", 0),
    "for a simulator, backward": ("device", 1),
}
"""What a training waits for, as a place of :class:`Point`, and in which call of a step."""
COMPUTING = {
    f"{place}, {way}": (place, call)
    for place in ("kernels", "simulator")
    for call, way in enumerate(("forward", "backward"))
}


def as_long(disturbed: Path, folder: Path) -> dict[str, Any]:
    """Make as many steps as a disturbed training, and return the outcome."""
    steps = json.loads((disturbed / "steps").read_text())
    forked(lambda: train(folder, Point("service", 0), steps=steps))
    return outcome(folder, steps=steps)


def main(folder: Path, seed: int) -> None:
    rng, report = random.Random(seed), {}

    def fresh(name: str) -> Path:
        here = folder / name
        here.mkdir()
        return here

    train(fresh("warm"), Point("service", 0))  # loads and compiles for all that are forked
    begin = time.monotonic()
    train(fresh("warm, too"), Point("service", 0))
    of_step = (time.monotonic() - begin) / STEPS
    for place in ("service", "device"):
        here = fresh(f"calm {place}")
        forked(partial(train, here, Point(place, 0)))
        report[f"calm {place}"] = outcome(here)
    for name, (place, call) in WAITING.items():
        report[name] = interrupted_twice(fresh(name), place, call, rng)
    report["something else"] = left_for_something_else(fresh("something else"), rng)
    at_any_time(here := fresh("any time"), of_step, rng)
    report["any time"] = outcome(here, calm=as_long(here, fresh("calm any time")))
    forked(lambda: at_every_moment(folder / "every moment"))
    here = folder / "every moment"
    found = json.loads((here / "found").read_text())
    report["every moment"] = outcome(here, calm=as_long(here, fresh("calm every moment")), **found)
    for place in ("kernels", "simulator"):
        here = fresh(f"calm {place}")
        forked(partial(computing, here, place, 0, None))
        report[f"calm {place}"] = {"weights": (here / "done").read_text()}
    for name, (place, call) in COMPUTING.items():
        report[name] = interrupted_computation(fresh(name), place, call, rng)
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
