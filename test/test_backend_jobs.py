# SPDX-License-Identifier: Apache-2.0
"""What a training step submits: one job with one PUB each way, announced and transpiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from circuits import A, X, hybrid
from places import (
    COTANGENT,
    GRADIENTS,
    INPUTS,
    OWN,
    PLACES,
    aer,
    ideal_device,
    module,
)
from qiskit.passmanager import BasePassManager
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_torch_bridge import OnBackend, TorchQuantumModule, Tracker
from qiskit_torch_bridge.exceptions import GradientError
from qiskit_torch_bridge.primitives.usage import Usage

# The runtime's local mode tells of every option that has no effect there.
pytestmark = pytest.mark.filterwarnings("ignore:Options .* have no effect:UserWarning")

ROWS = len(INPUTS)
# Two for each of three gate angles, of five frequencies, of three parameters.
# To either side of one direction.
POINTS = {"parameter-shift": 6, "aqgd": 10, "finite-difference": 6, "spsa": 2}
# What the other package asks for, of each row in a PUB of its own: two for the same angles.
FOREIGN = {"ParamShiftEstimatorGradient": 6}


@pytest.fixture
def jobs_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], list[list[int]]]:
    """Notes the number of points of each PUB, for each call of an estimator class's ``run``."""

    def watch(estimator: type) -> list[list[int]]:
        jobs: list[list[int]] = []
        inner = estimator.run

        def run(self: Any, pubs: Any, **options: Any) -> Any:
            pubs = [EstimatorPub.coerce(pub, options.get("precision")) for pub in pubs]
            jobs.append([pub.parameter_values.size for pub in pubs])
            return inner(self, pubs, **options)

        monkeypatch.setattr(estimator, "run", run)
        return jobs

    return watch


def usage(jobs: list[list[int]]) -> Usage:
    """Jobs, PUBs and points of some jobs."""
    return Usage(len(jobs), sum(map(len, jobs)), sum(map(sum, jobs)))


def without_shots(tracked: Usage) -> Usage:
    return Usage(tracked.jobs, tracked.pubs, tracked.points)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("place", PLACES)
def test_jobs_and_pubs_of_a_step(place: str, gradient: str, jobs_of: Any) -> None:
    """Seen by the estimator itself, by a Tracker, and announced by ``cost``: three times the same.

    Exactly nothing on the exact engine. Another package's gradients ask for a PUB for each row;
    ``cost`` does not know of them, and the Tracker sees them where the jobs are dispatched.
    """
    m = module(place, 1, gradient, shots=16)
    jobs = jobs_of(PLACES[place].job())
    inputs = torch.tensor(INPUTS, requires_grad=True)
    with Tracker() as forward:
        outputs = m(inputs)
    seen_forward = jobs.copy()
    jobs.clear()
    with Tracker() as backward:
        outputs.backward(torch.from_numpy(COTANGENT))

    exact = place == "exact engine" and gradient == "adjoint"
    assert seen_forward == ([] if exact else [[ROWS]])
    assert without_shots(forward.usage) == usage(seen_forward)
    assert m.cost(ROWS, backward=False).usage == forward.usage
    if gradient in FOREIGN:
        points = FOREIGN[gradient]
        dispatched = place == "runtime, local"
        assert jobs == ([[points]] * ROWS if dispatched else [[points] * ROWS])
        assert without_shots(backward.usage) == (usage(jobs) if dispatched else Usage())
        with pytest.raises(GradientError, match="known to its own package"):
            m.cost(ROWS)
        return
    assert jobs == ([[ROWS * POINTS[gradient]]] if gradient in OWN else [])
    assert without_shots(backward.usage) == usage(jobs)
    assert m.cost(ROWS, input_gradients=True).usage == forward.usage + backward.usage


@pytest.fixture
def transpilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every pass manager's run, whoever made it."""
    runs: list[Any] = []
    inner = BasePassManager.run

    def run(self: Any, *arguments: Any, **options: Any) -> Any:
        runs.append(self)
        return inner(self, *arguments, **options)

    monkeypatch.setattr(BasePassManager, "run", run)
    return runs


class CountingManager:
    """A user's pass manager."""

    def __init__(self) -> None:
        self.calls = 0
        self.inner = generate_preset_pass_manager(1, ideal_device(), seed_transpiler=1)

    def run(self, circuit: Any) -> Any:
        self.calls += 1
        return self.inner.run(circuit)


@pytest.mark.parametrize("whose", ["the user's", "the backend's"])
@pytest.mark.parametrize("gradient", ["parameter-shift", "spsa", "adjoint"])
def test_transpiled_once_in_a_hundred_steps(
    whose: str, gradient: str, transpilations: list[Any]
) -> None:
    """One run of a pass manager when the module is made, and none from then on."""
    manager = CountingManager()
    place = {
        "the user's": {"pass_manager": manager},
        "the backend's": {"backend": OnBackend(aer(ideal_device), optimization_level=1)},
    }[whose]
    m = TorchQuantumModule(
        hybrid(),
        "ZI",
        input_params=X,
        weight_params=A,
        initial_weights=[0.3, -0.6, 0.9],
        gradient=gradient,
        **place,
    )
    assert len(transpilations) == 1
    optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
    weights = m.weight.detach().clone()
    for _ in range(100):
        optimizer.zero_grad()
        m(torch.tensor([[0.4, -0.2]])).sum().backward()
        optimizer.step()
    assert not torch.equal(m.weight, weights)
    assert len(transpilations) == 1
    assert manager.calls == (whose == "the user's")
