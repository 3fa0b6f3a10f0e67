# SPDX-License-Identifier: Apache-2.0
"""``benchmarks/gpu.py`` runs from end to end where there is no GPU, at a size that says nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


def test_parts_run_by_themselves_and_write_tables(tmp_path):
    """One of plain torch operations alone; the others take minutes by Triton's interpreter."""
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--only", "wide"]
    found = subprocess.run(
        [*command, "--budget", "400", "--output", str(tmp_path)],
        capture_output=True, text=True, timeout=450, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    facts = json.loads((tmp_path / "gpu.json").read_text())
    assert facts["parts_run"]["wide"].startswith("done"), found.stdout + found.stderr
    entries = facts["parts"]["wide"]["entries"]
    assert [e["candidate"] for e in entries] == 2 * ["device"] + 2 * ["processor"]
    assert all(e["median"] > 0 for e in entries)
    assert entries[2]["deviation"] < 1e-3 and entries[3]["deviation"] < 1e-8
    text = (tmp_path / "gpu.md").read_text()
    assert "## Wide circuits" in text and "processor / device" in text


@pytest.mark.parametrize("goal", ["3", "20", "0.5"])
def test_goals_stand_beside_the_ratios(goal, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from device import tables

    about = {"row": "n=24, L=3, B=1", "dtype": "complex64", "qubits": 24}
    times = {"bridge": 1.0, "bridge-processor": 25.0, "tensorcircuit": 2.0}
    steps = tables._steps([about | {"candidate": k, "median": t} for k, t in times.items()])
    sweeps = tables._bandwidth(
        [
            {"row": "copy", "median": 1.0, "rate": 4e12},
            about | {"row": "forward", "launches": 9, "seconds": 1.0, "rate": 3e12},
        ]
    )
    cells = [cell.strip() for cell in steps.splitlines()[-1].split("|")]
    assert cells[-5:-1] == ["2.00", "not met", "25.00", "met"]
    assert [cell.strip() for cell in sweeps.splitlines()[-1].split("|")][-3:-1] == ["0.75", "met"]
    assert f"goal {goal}" in steps + sweeps
