# SPDX-License-Identifier: Apache-2.0
"""A training that is killed and started again ends as if nothing had been, and pays once.

It saves a checkpoint after each step and writes a journal, as users do. A quarter of the kills
comes at any time; the others while a checkpoint, the journal or the service's own ledger is being
written: before or after a write, a flush, a synchronisation or a replacement, or in the middle of a
write.

``QTB_KILLS`` says how often it is killed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from fingerprints import digests

KILLS = int(os.environ.get("QTB_KILLS", "10"))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    seed = random.SystemRandom().randrange(2**32)
    print(f"killed_training.py seed: {seed}")
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parent), str(here), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", str(here / "killed_training.py")]
    done = subprocess.run(
        [*command, str(tmp_path_factory.mktemp("kills")), str(KILLS), str(seed)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        timeout=300 + 10 * KILLS,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(Counter(kind for outcome in found["outcomes"] for kind in outcome["kills"]))
    return found


@pytest.fixture(scope="module")
def killed(report):
    """Killed trainings, each with the undisturbed one on the same place."""
    calm = {o["place"]: o for o in report["outcomes"] if o["number"] < 0}
    return [(o, calm[o["place"]]) for o in report["outcomes"] if o["number"] >= 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_trainings_end_with_the_same_weights(killed):
    """To the last bit, on services, with a simulator's noise, and with the outcomes of samplers."""
    assert all(outcome["weights"] == calm["weights"] for outcome, calm in killed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_kills_come_when_something_is_written(killed):
    """Four kinds in turn, so a quarter each; a simulator has no ledger, and is killed at any time.

    A training is killed four times at most, and the next one has another place.
    """
    kinds = Counter(kind for outcome, _ in killed for kind in outcome["kills"])
    assert kinds.total() == KILLS
    assert all(kinds[kind] >= KILLS // 4 for kind in ("checkpoint", "journal"))
    assert {o["place"] for o, _ in killed} == {"services", "simulator", "samplers"} or KILLS <= 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_at_most_the_step_under_way_is_made_again(killed):
    """A process goes on with the last step that was begun, or with the next one if it was saved.

    So no step is begun more than once more than it was struck.
    """
    for outcome, calm in killed:
        assert len(outcome["processes"]) == len(outcome["kills"]) + 1
        begun = [steps for steps in outcome["processes"] if steps]  # some did not come as far
        for steps in begun:
            assert steps == list(range(steps[0], steps[-1] + 1))
        for before, after in pairwise(begun):
            assert after[0] - before[-1] in (0, 1)
        assert [begun[0][0]] + [begun[-1][-1]] == [calm["processes"][0][k] for k in (0, -1)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_no_job_is_submitted_twice(killed):
    """Some jobs are over their time limit and are submitted again in halves; these count, too."""
    for outcome, calm in killed:
        assert outcome["duplicates"] == [] and outcome["jobs"] == calm["jobs"]
        assert (outcome["jobs"] > calm["failed"] > 0) == (outcome["place"] != "simulator")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_digests_are_the_same_in_another_process(report):
    assert report["digests"] == digests() == digests()


def test_digests_depend_on_every_number():
    found = digests()
    repeated = {d for d, count in Counter(found.values()).items() if count > 1}
    assert [name for name, d in found.items() if d in repeated] == []
