# SPDX-License-Identifier: Apache-2.0
"""Backends: what a circuit becomes there, what runs it, and with which noise."""

from .executor import ExecutorEstimator
from .prepare import Prepared, kind_of, prepare

__all__ = ["ExecutorEstimator", "Prepared", "kind_of", "prepare"]
