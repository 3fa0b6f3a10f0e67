# SPDX-License-Identifier: Apache-2.0
"""Backends: what a circuit becomes there, what runs it, and with which noise."""

from .on_backend import OnBackend
from .prepare import Prepared, prepare
from .simulators import ExecutorEstimator, ExecutorSampler

__all__ = ["ExecutorEstimator", "ExecutorSampler", "OnBackend", "Prepared", "prepare"]
