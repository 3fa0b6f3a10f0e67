# SPDX-License-Identifier: Apache-2.0
"""What is known of each kind of estimator, alone and inside others."""

from __future__ import annotations

import pytest
from estimators import CountingEstimator
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2, StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator

from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, capabilities


class Remote(BaseEstimatorV2):
    def run(self, pubs, *, precision=None): ...


class Fetching(StatevectorEstimator):
    def retrieve_job(self, name): ...


def on_a_device() -> BackendEstimatorV2:
    estimator = BackendEstimatorV2(backend=AerSimulator())
    estimator._backend = object()
    return estimator


MAKE = {
    "batched with shots": BatchedStatevectorEstimator,
    "batched": lambda: BatchedStatevectorEstimator(noise="gaussian"),
    "statevector": StatevectorEstimator,
    "Aer": AerEstimator,
    "simulated backend": lambda: BackendEstimatorV2(backend=GenericBackendV2(2)),
    "backend": on_a_device,
    "unknown": Remote,
}
HOLDS = {
    "takes_projectors": {"batched with shots", "batched"},
    "binds_rightly": {"batched with shots", "batched"},
    "runs_boxes": {"batched with shots", "batched", "backend", "unknown"},
    "measures": {"batched with shots", "simulated backend", "backend", "unknown"},
    "binds_here": {"statevector", "Aer", "simulated backend", "backend"},
    "costs_nothing": {"batched with shots", "batched", "statevector", "Aer", "simulated backend"},
    "is_aer": {"Aer"},
}


@pytest.mark.parametrize("fact", HOLDS)
def test_facts_of_each_kind_alone_and_held_by_another(fact):
    holds = getattr(capabilities, fact)
    for name, make in MAKE.items():
        assert holds(make()) == (name in HOLDS[fact]), name
        assert holds(FreshSeedsEstimator(make(), 1)) == (name in HOLDS[fact]), name
        assert holds(CountingEstimator(make())) == (name in HOLDS[fact]), name


@pytest.mark.parametrize("fact", ["takes_projectors", "binds_rightly", "runs_boxes"])
def test_several_do_what_all_of_them_do(fact):
    holds = getattr(capabilities, fact)
    for first in MAKE:
        for second in MAKE:
            both = DispatchingEstimator([MAKE[first](), MAKE[second]()])
            assert holds(both) == ({first, second} <= HOLDS[fact]), (first, second)


def test_one_that_fetches_jobs_is_not_done_with_the_process():
    assert not capabilities.costs_nothing(Fetching())
    assert not capabilities.costs_nothing(DispatchingEstimator(Fetching()))


@pytest.mark.parametrize("name", MAKE)
def test_evolutions_are_exponentials_on_state_vectors_only(name):
    exact = name in ("batched with shots", "batched", "statevector")
    estimator = MAKE[name]()
    assert capabilities.evolutions_on(estimator) == ("simulated" if exact else "definition")
    assert capabilities.evolutions_on(estimator, transpiler=object()) == "definition"


def test_an_unknown_one_on_a_simulator_runs_no_boxes():
    estimator = Remote()
    estimator.backend = AerSimulator()
    assert not capabilities.runs_boxes(estimator) and not capabilities.costs_nothing(estimator)
