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

import numpy as np
import torch
from circuits import X, hybrid
from faults import Ledger, Service
from fingerprints import digests

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.backends import DispatchingEstimator, Journal

STEPS = 6


def train(folder: Path) -> None:
    """Train from the last checkpoint on; the services and their ledger outlive the process."""
    ledger = Ledger(folder / "ledger")
    journal = Journal(folder / "journal")
    services = [Service(ledger, name=name, most_rows=20) for name in "ab"]
    module = TorchQuantumModule(
        hybrid(),
        ["ZZ", "XI"],
        input_params=X,
        estimator=DispatchingEstimator(services, journal=journal),
        gradient="parameter-shift",
        initial_weights=[0.3, -0.8, 1.1],
    ).double()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    begun, checkpoint = 0, folder / "checkpoint"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            module.weight.copy_(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        begun, journal.position = state["step"], state["position"]
    for step in range(begun, STEPS):
        x = torch.from_numpy(np.random.default_rng(step).uniform(-1, 1, (5, 2)))
        optimizer.zero_grad()
        module(x).square().sum().backward()
        optimizer.step()
        state = {
            "weights": module.weight.detach(),
            "optimizer": optimizer.state_dict(),
            "step": step + 1,
            "position": journal.position,
        }
        torch.save(state, folder / "checkpoint.new")
        os.replace(folder / "checkpoint.new", checkpoint)
    (folder / "done").write_text(json.dumps([float(w).hex() for w in module.weight]))


def forked(folder: Path, after: float | None) -> bool:
    """Run a training in a process of its own; return whether it was killed."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            train(folder)
            code = 0
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError("the training failed; see above")
    return False


def outcome(folder: Path, kills: int) -> dict[str, Any]:
    ledger = Ledger(folder / "ledger")
    return {
        "kills": kills,
        "weights": (folder / "done").read_text(),
        "jobs": len(ledger.jobs),
        "duplicates": ledger.duplicates(),
        "failed": len(ledger.failed),
    }


def main(folder: Path, kills: int, seed: int) -> None:
    rng, outcomes, duration = random.Random(seed), [], 0.0
    (folder / "warm").mkdir()
    train(folder / "warm")  # compiles and imports for all that are forked
    for number in itertools.count():
        here = folder / str(number)
        here.mkdir()
        struck, begun = 0, time.monotonic()
        while forked(here, rng.uniform(0, duration) if number and kills else None):
            kills, struck = kills - 1, struck + 1
        if not number:
            duration = time.monotonic() - begun
        elif not struck:
            duration *= 0.8  # less is going on beside it than at first
        outcomes.append(outcome(here, struck))
        if number and not kills:
            break
    print(json.dumps({"digests": digests(), "outcomes": outcomes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
