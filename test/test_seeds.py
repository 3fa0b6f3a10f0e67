# SPDX-License-Identifier: Apache-2.0
"""Every job of a simulator has noise of its own, and a seed repeats the whole sequence."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from circuits import rotation
from qiskit.primitives import BackendEstimatorV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator

from qiskit_torch_bridge.backends.seeds import FreshSeeds

CIRCUIT, THETA = rotation()
PUB = (CIRCUIT, "Z", {(THETA,): np.linspace(1, 2, 8)[:, None]})

MAKERS = {
    "aer": lambda: AerEstimator(options={"default_precision": 0.01}),
    "backend": lambda: BackendEstimatorV2(
        backend=AerSimulator(), options={"default_precision": 0.01}
    ),
    "generic": lambda: BackendEstimatorV2(
        backend=GenericBackendV2(2, seed=1), options={"default_precision": 0.01}
    ),
}


@pytest.fixture(params=["aer", "backend"])
def make(request):
    return MAKERS[request.param]


def sequence(estimator, jobs=4, **options):
    return [tuple(estimator.run([PUB], **options).result()[0].data.evs) for _ in range(jobs)]


def test_jobs_differ_and_the_sequence_repeats(make):
    first = sequence(FreshSeeds(make(), 5))
    assert len(set(first)) == 4
    assert sequence(FreshSeeds(make(), 5)) == first
    assert set(sequence(FreshSeeds(make(), 6))).isdisjoint(first)
    assert set(sequence(FreshSeeds(make(), None))).isdisjoint(first)


def test_a_fixed_seed_would_repeat_its_noise(make):
    """The trap that this avoids; if it is gone, the class is of no use any more."""
    estimator = make()
    if hasattr(estimator.options, "seed_simulator"):
        estimator.options.seed_simulator = 5
    else:
        estimator.options.run_options["seed_simulator"] = 5
    assert len(set(sequence(estimator))) == 1


def test_on_a_generic_backend():
    first = sequence(FreshSeeds(MAKERS["generic"](), 5), 2)
    assert len(set(first)) == 2 and sequence(FreshSeeds(MAKERS["generic"](), 5), 2) == first


def test_values_have_the_noise_asked_for(make):
    found = np.array(sequence(FreshSeeds(make(), 1), 8, precision=0.05))
    exact = np.cos(np.linspace(1, 2, 8))
    # 64 values of standard deviation at most 0.05 each; 5 standard deviations.
    assert np.abs(found - exact).max() < 5 * 0.05
    assert found.std(axis=0).min() > 0


def test_options_and_default_precision_are_the_estimators(make):
    estimator = make()
    fresh = FreshSeeds(estimator, 1)
    assert fresh.options is estimator.options and fresh.default_precision == 0.01


def test_threads_take_their_seeds_from_one_sequence(make):
    expected = sorted(sequence(FreshSeeds(make(), 9), 12))
    shared, found = FreshSeeds(make(), 9), []

    def work():
        found.extend(sequence(shared, 3))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(found) == expected


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_where_the_original_is(copied):
    estimator = FreshSeeds(MAKERS["aer"](), 3)
    sequence(estimator, 2)
    twin = copied(estimator)
    assert sequence(twin, 2) == sequence(estimator, 2)
