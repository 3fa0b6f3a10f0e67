# SPDX-License-Identifier: Apache-2.0
"""The recipes with other packages run, where those packages are installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "recipes"
# Each of these packages warns of its own affairs.
pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not FOLDER.exists(), reason="there are no pages beside the tests"),
]


def recipe(name: str, *packages: str) -> ModuleType:
    """The script of a recipe, if what it needs is there."""
    for package in packages:
        pytest.importorskip(package)
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_a_grid_is_searched():
    """Two moons are not separable by a line: half of them right would be chance."""
    found = recipe("skorch_grid_search", "skorch").search(epochs=10, folds=2)
    assert set(found.best_params_) == {
        "neuralnetclassifier__module__encoding",
        "neuralnetclassifier__module__layers",
    }
    assert found.best_score_ > 0.6


def test_lightning_trains_and_loads_its_checkpoint(tmp_path):
    script = recipe("lightning_training", "lightning")
    module, best = script.train(tmp_path, epochs=4)
    _, after_one = script.train(tmp_path / "short", epochs=1)
    assert best <= after_one and module.network[1].weight.isfinite().all()


def test_a_training_is_private():
    loss, epsilon = recipe("differentially_private", "opacus").train(epochs=1, rows=64)
    assert 0 < loss < 10 and 0 < epsilon < 20


def test_runs_are_logged_by_tensorboard(tmp_path):
    recipe("logging_runs", "tensorboard").log_to_tensorboard(tmp_path, steps=3)
    assert any(tmp_path.glob("events.out.tfevents.*"))


def test_runs_are_logged_by_mlflow(tmp_path):
    """All of it in the folder that was named, which need not be there."""
    script = recipe("logging_runs", "mlflow", "sqlalchemy")
    import mlflow

    folder = tmp_path / "runs"
    run = mlflow.get_run(script.log_to_mlflow(folder, steps=3))
    assert run.data.params["qubits"] == "2" and run.data.metrics["loss"] > 0
    assert len(list(folder.rglob("circuit.qasm"))) == 1
    script.log_to_mlflow(folder, steps=1)  # a second run in the same folder
    assert len(list(folder.rglob("circuit.qasm"))) == 2


def test_optuna_searches():
    found = recipe("optuna_search", "optuna").search(trials=3)
    assert len(found.trials) == 3 and found.best_value > 0


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_processes_agree(way):
    """Two processes print the same loss, since they have the same weights all along.

    The targets have a variance of 0.23: a constant does no better than that.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(FOLDER / "distributed.py"), way]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    losses = re.findall(r"loss (\d+\.\d{4})", done.stdout)  # both may come out on one line
    assert done.returncode == 0, done.stderr
    assert len(losses) == 2 and len(set(losses)) == 1
    assert float(losses[0]) < 0.02
