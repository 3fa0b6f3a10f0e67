# SPDX-License-Identifier: Apache-2.0
"""A training that is killed and started again ends as if nothing had been, and pays once.

``QTB_KILLS`` says how often it is killed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fingerprints import digests

KILLS = int(os.environ.get("QTB_KILLS", "5"))


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
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_trainings_end_like_the_undisturbed_one(report):
    undisturbed, *killed = report["outcomes"]
    assert undisturbed["kills"] == 0 and undisturbed["failed"] > 0  # some jobs are cut in halves
    assert sum(outcome["kills"] for outcome in killed) == KILLS
    for outcome in killed:
        assert outcome["weights"] == undisturbed["weights"]
        assert outcome["duplicates"] == [] and outcome["jobs"] == undisturbed["jobs"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_digests_are_the_same_in_another_process(report):
    assert report["digests"] == digests() == digests()


def test_digests_depend_on_every_number():
    found = digests()
    repeated = {d for d, count in Counter(found.values()).items() if count > 1}
    assert [name for name, d in found.items() if d in repeated] == []
