# SPDX-License-Identifier: Apache-2.0
"""Estimators and samplers alike: what tests need to ask the same of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from circuits import hybrid
from estimators import CountingEstimator, CountingSampler, QuantileSampler
from faults import SamplerService, Service
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qiskit_torch_bridge.exceptions import EstimatorTypeError, SamplerTypeError
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

SHOTS = 40
COLUMN = [["ZZ"], ["XX"]]


def measured() -> Any:
    """The circuit of :func:`hybrid`, read into two registers."""
    circuit = hybrid()
    circuit.measure_all()
    return circuit


class Family(NamedTuple):
    """What is done with estimators, or with samplers.

    Attributes:
        name: What they are called.
        sure: Makes one that gives each point the same values whatever it is asked with.
        counting: Makes one that counts, around ``sure``.
        usual: Makes one of Qiskit's.
        service: The service of :mod:`faults`.
        dispatching: The class under test.
        pub: Makes a PUB for points of a shape, of one seed.
        values: Returns what a result holds, as one array.
        error: What something else is refused with.
        others: Something that belongs to the other family.
    """

    name: str
    sure: Callable[[], Any]
    counting: Callable[..., Any]
    usual: Callable[..., Any]
    service: Any
    dispatching: Any
    pub: Callable[..., Any]
    values: Callable[[Any], np.ndarray]
    error: type[Exception]
    others: Callable[[], Any]

    def values_of(self, primitive: Any, *pubs: Any, **options: Any) -> list[np.ndarray]:
        """What a primitive gives for some PUBs."""
        return [self.values(result) for result in primitive.run(pubs, **options).result()]

    def truth(self, *pubs: Any) -> list[np.ndarray]:
        """What an undisturbed primitive gives."""
        return self.values_of(self.sure(), *pubs)


def _estimator_pub(shape: tuple[int, ...] = (4,), seed: int = 0) -> EstimatorPub:
    circuit = hybrid()
    values = np.random.default_rng(seed).uniform(-3, 3, (*shape, 5))
    return EstimatorPub.coerce((circuit, COLUMN, {tuple(circuit.parameters): values}))


def _sampler_pub(shape: tuple[int, ...] = (4,), seed: int = 0) -> SamplerPub:
    circuit = measured()
    values = np.random.default_rng(seed).uniform(-3, 3, (*shape, 5))
    return SamplerPub.coerce((circuit, {tuple(circuit.parameters): values}, SHOTS))


ESTIMATOR = Family(
    "estimator",
    BatchedStatevectorEstimator,
    CountingEstimator,
    StatevectorEstimator,
    Service,
    DispatchingEstimator,
    _estimator_pub,
    lambda result: np.asarray(result.data.evs),
    EstimatorTypeError,
    QuantileSampler,
)
SAMPLER = Family(
    "sampler",
    QuantileSampler,
    CountingSampler,
    StatevectorSampler,
    SamplerService,
    DispatchingSampler,
    _sampler_pub,
    lambda result: result.data.meas.array[..., 0],
    SamplerTypeError,
    BatchedStatevectorEstimator,
)
both = pytest.mark.parametrize("family", [ESTIMATOR, SAMPLER], ids=lambda f: f.name)
