# SPDX-License-Identifier: Apache-2.0
"""Backends: what a circuit becomes there, what runs it, and with which noise."""

from .executor import ExecutorEstimator
from .prepare import OnBackend, Prepared, prepare

__all__ = ["ExecutorEstimator", "OnBackend", "Prepared", "prepare"]
