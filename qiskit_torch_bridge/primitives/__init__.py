# SPDX-License-Identifier: Apache-2.0
"""Estimator primitives: how one is called and checked, and the one that is there by default."""

from .batched_estimator import BatchedStatevectorEstimator
from .batched_sampler import BatchedStatevectorSampler
from .capabilities import is_aer
from .evaluation import Evaluation, evaluate
from .precision import shots_to_precision, validate_precision
from .sampler_estimator import SamplerEstimator
from .usage import Tracker, Usage

__all__ = [
    "BatchedStatevectorEstimator",
    "BatchedStatevectorSampler",
    "Evaluation",
    "SamplerEstimator",
    "Tracker",
    "Usage",
    "evaluate",
    "is_aer",
    "shots_to_precision",
    "validate_precision",
]
