# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C gives a training back to its user at once, and costs nothing.

Within two seconds, whatever it was doing; what it had written down is whole, and it goes on from
there, in this process or another, as if nothing had been.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fcntl")  # elsewhere there is neither fork nor SIGINT for one process
from interrupted_training import COMPUTING, SHOTS, STEPS, WAITING

BOUND = 2.0
"""Seconds from the signal until the user's code goes on. This is what is promised.

It takes milliseconds, but for Aer, which cannot be interrupted for about half a second at a time.
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    seed = random.SystemRandom().randrange(2**32)
    print(f"interrupted_training.py seed: {seed}")
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parent), str(here), os.environ.get("PYTHONPATH", "")])
    script = str(here / "interrupted_training.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, str(tmp_path_factory.mktemp("all")), str(seed)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print({name: max(o["seconds"]) for name, o in found.items() if "seconds" in o})
    return found


@pytest.mark.parametrize("name", [*WAITING, *COMPUTING, "something else", "every moment"])
def test_control_returns_within_two_seconds(report: dict[str, Any], name: str) -> None:
    """Waiting would take a minute, and the computations many seconds."""
    assert max(report[name]["seconds"]) < BOUND


@pytest.mark.parametrize("name", WAITING)
def test_an_interrupted_training_goes_on(report: dict[str, Any], name: str) -> None:
    """Once in another process, once in the same one: to the last bit, and no job is made twice."""
    found, calm = report[name], report["calm device" if "simulator" in name else "calm service"]
    assert len(found["seconds"]) == 2
    assert found["weights"] == calm["weights"]
    assert found["duplicates"] == [] and found["jobs"] == calm["jobs"]
    assert calm["jobs"] == (0 if "simulator" in name else 2 * STEPS)


def test_interrupts_at_every_moment_of_writing(report: dict[str, Any]) -> None:
    """Before and after each step of writing journal, ledger and checkpoint, of one step's all.

    A job is two requests with three events each in the journal, of which each is written and
    synchronised; the ledger has a line for each of the two jobs.
    """
    found, calm = report["every moment"], report["every moment"]["calm"]
    assert found["counts"]["journal"] == 2 * 3 * 2 * 2 and found["counts"]["service"] == 2 * 2
    assert found["counts"]["checkpoint"] >= 2 * 5  # write, flush, synchronise, replace, the folder
    assert len(found["seconds"]) == calm["steps"] - 1 == found["counts"]["any"]
    assert found["weights"] == calm["weights"] and found["leftovers"] == 0
    assert found["duplicates"] == [] and found["jobs"] == calm["jobs"]


def test_interrupts_at_any_time(report: dict[str, Any]) -> None:
    """Twenty, of which each is caught by the user's code, which loads the checkpoint."""
    found, calm = report["any time"], report["any time"]["calm"]
    assert calm["steps"] > 0
    assert found["weights"] == calm["weights"]
    # It may have been interrupted after submitting jobs of a step that it did not make any more.
    assert found["duplicates"] == [] and 0 <= found["jobs"] - calm["jobs"] <= 2


def test_the_module_can_be_used_for_something_else(report: dict[str, Any]) -> None:
    """The next values are right, and they are in the journal; so it is that of another run now.

    This is told to who resumes with it. With a new one the interrupted step's job is paid for
    again, beside the job for something else.
    """
    found, calm = report["something else"], report["calm service"]
    assert found["difference"] < 1e-6  # single precision
    assert "Load the checkpoint with journal=, or start with a new file" in found["refused"]
    assert found["weights"] == calm["weights"]
    assert len(found["duplicates"]) == 1 and found["jobs"] == calm["jobs"] + 2


@pytest.mark.parametrize("name", COMPUTING)
def test_an_interrupted_computation_leaves_all_as_it_was(report: dict[str, Any], name: str) -> None:
    """The same values as before, and a step from the checkpoint leads to the same weights.

    On the simulator the values have other noise: two of them differ by less than six standard
    deviations, of which each has one over the square root of the shots.
    """
    found = report[name]
    bound = 6 * (2 / SHOTS) ** 0.5 if "simulator" in name else 0.0
    assert found["difference"] <= bound
    assert found["weights"] == report[f"calm {name.partition(',')[0]}"]["weights"]
