# SPDX-License-Identifier: Apache-2.0
"""A process that trains with checkpoints and is killed, over and over.

    python crashing.py FOLDER KILLS SEED

imports everything once, and forks each training from there. It prints, as JSON, the number of
kills, how many of them hit while a checkpoint was written, the steps computed, and whether the
weights are those of a training that nothing disturbed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from trainings import Training

from qiskit_torch_bridge.checkpoint import files

_fsync = os.fsync


def slow_disk(descriptor):
    time.sleep(0.005)  # time to be killed before and after
    _fsync(descriptor)
    time.sleep(0.005)


def train(folder, steps):
    os.fsync = slow_disk
    training = Training(seed=os.getpid() if (folder / "run").exists() else 0)
    done = 0
    if (folder / "run").exists():
        done = training.load(folder / "run").step
    while done < steps:
        training.step()
        done += 1
        with open(folder / "steps", "a") as log:
            log.write(f"{done}\n")
        training.save(folder / "run", step=done)
    torch.save(training.weights(), folder / "weights")


def forked(folder, steps):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            train(folder, steps)
            status = 0
        finally:
            os._exit(status)
    return pid


def leftovers(folder):
    return len([*folder.glob(".run.*.tmp")])


def ended(pid):
    return os.waitpid(pid, os.WNOHANG) != (0, 0)


def main(folder, kills, seed):
    moments = random.Random(seed)
    calm, stormy = folder / "calm", folder / "stormy"
    calm.mkdir()
    stormy.mkdir()
    steps = 6 * kills + 4
    training = Training()
    with torch.no_grad():
        training.model(training.x)  # loads the kernels for all children
    begin = time.perf_counter()
    assert os.waitpid(forked(calm, steps), 0)[1] == 0
    span = 4 * (time.perf_counter() - begin) / steps
    killed = writing = 0
    for number in range(kills):
        before = leftovers(stormy)
        pid = forked(stormy, steps)
        alive = True
        if number % 2:
            while alive and leftovers(stormy) == before:
                time.sleep(0.0005)
                alive = not ended(pid)
            time.sleep(moments.uniform(0, 0.005))
        else:
            time.sleep(moments.uniform(0, span))
        if not alive or ended(pid):
            break
        os.kill(pid, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        killed += 1
        writing += leftovers(stormy) > before
    assert os.waitpid(forked(stormy, steps), 0)[1] == 0
    assert files.FORGOTTEN > 60  # what was left over is still there to be counted
    same = torch.equal(torch.load(calm / "weights"), torch.load(stormy / "weights"))
    computed = len((stormy / "steps").read_text().split())
    print(json.dumps({"killed": killed, "writing": writing, "steps": steps, "computed": computed,
                      "same": same}))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
