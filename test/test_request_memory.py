# SPDX-License-Identifier: Apache-2.0
"""Requests whose circuits would not fit into memory are made in several calls, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import X, hybrid
from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator

from qiskit_torch_bridge import TorchQuantumModule, Tracker
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, cutting

OBSERVABLES = ["ZI", "XX"]  # in two bases
ROWS = 9
MAKERS = {
    "statevector": StatevectorEstimator,
    "aer": AerEstimator,
    "backend": lambda: BackendEstimatorV2(backend=AerSimulator()),
}


@pytest.fixture(params=MAKERS)
def estimator(request):
    return MAKERS[request.param]()


def module(estimator, **options):
    return TorchQuantumModule(
        hybrid(),
        OBSERVABLES,
        input_params=X,
        estimator=estimator,
        gradient="parameter-shift",
        initial_weights=[0.3, -0.6, 0.9],
        **options,
    )


def inputs():
    return torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2)


def pub_of(points, circuit):
    values = np.zeros((points, 5))
    pub = circuit, [[o] for o in OBSERVABLES], {tuple(circuit.parameters): values}
    return EstimatorPub.coerce(pub)


def bytes_of(estimator, pub):
    size = cutting.measure_memory(estimator, pub)
    return 0 if size is None else sum(size)


def limit_to(monkeypatch, estimator, points):
    """Let the circuits of so many points fit, and no more."""
    circuit = module(estimator).circuit  # for Aer some of its gates are decomposed
    pub = pub_of(points, circuit)
    limit = cutting.MEMORY._replace(most=bytes_of(estimator, pub))
    monkeypatch.setattr(cutting, "MEMORY", limit)


def watched(monkeypatch, estimator):
    """Note the points of each call, and whether all calls before it were done."""
    calls, jobs = [], []
    run = estimator.run

    def noted(pubs, **options):
        points = [EstimatorPub.coerce(p).parameter_values.size for p in pubs]
        calls.append((sum(points), all(job.done() for job in jobs)))
        jobs.append(run(pubs, **options))
        return jobs[-1]

    monkeypatch.setattr(estimator, "run", noted)
    return calls


@pytest.mark.parametrize("dispatching", [False, True])
def test_calls_have_the_points_that_fit_and_wait_for_each_other(
    monkeypatch, estimator, dispatching
):
    limit_to(monkeypatch, estimator, 4)
    calls = watched(monkeypatch, estimator)
    given = DispatchingEstimator(estimator) if dispatching else estimator
    node = module(given, precision=0.1)
    outputs = node(inputs())
    assert [c for c, _ in calls] == [3, 3, 3]
    calls.clear()
    outputs.sum().backward()
    # Two shifts of each of five angles at nine rows, of which four fit.
    assert sum(c for c, _ in calls) == node.cost(ROWS).usage.points - ROWS
    assert max(c for c, _ in calls) <= 4 and all(waited for _, waited in calls)


@pytest.mark.parametrize("dispatching", [False, True])
@pytest.mark.parametrize("make", [StatevectorEstimator, AerEstimator])
def test_values_and_gradients_are_put_together_in_order(monkeypatch, make, dispatching):
    """Exact estimators give exactly what the uncut request gives, up to rounding."""
    estimator = make()
    limit_to(monkeypatch, estimator, 4)
    node = module(DispatchingEstimator(estimator) if dispatching else estimator)
    exact = module(None)
    for m in (node, exact):
        m(inputs()).square().sum().backward()
    torch.testing.assert_close(node(inputs()), exact(inputs()), rtol=0, atol=1e-12)
    torch.testing.assert_close(node.weight.grad, exact.weight.grad, rtol=0, atol=1e-5)


def test_the_cost_counts_the_calls(monkeypatch, estimator):
    limit_to(monkeypatch, estimator, 4)
    node = module(estimator, precision=0.1)
    with Tracker() as tracker:
        node(inputs()).sum().backward()
    assert tracker.usage == node.cost(ROWS).usage
    assert tracker.usage.jobs > 2


def test_what_fits_is_one_call(monkeypatch, estimator):
    limit_to(monkeypatch, estimator, ROWS)
    calls = watched(monkeypatch, estimator)
    module(estimator, precision=0.1)(inputs())
    assert calls == [(ROWS, True)]


@pytest.mark.parametrize("dispatching", [False, True])
def test_a_fixed_seed_is_not_given_to_several_parts(monkeypatch, dispatching):
    """All parts would have the noise of the first, and differences between them none."""
    estimator = StatevectorEstimator(seed=5)
    limit_to(monkeypatch, estimator, 4)
    calls = watched(monkeypatch, estimator)
    given = DispatchingEstimator(estimator) if dispatching else estimator
    module(given, precision=0.1)(inputs())
    assert [c for c, _ in calls] == [ROWS]


def test_groups_count_where_an_estimator_measures():
    """Two bases, each with a circuit for every point."""
    measuring = BackendEstimatorV2(backend=AerSimulator())
    pub = pub_of(10, hybrid())
    computing = bytes_of(StatevectorEstimator(), pub)
    assert bytes_of(measuring, pub) == 2 * computing > 0
    assert bytes_of(BatchedStatevectorEstimator(), pub) == 0
