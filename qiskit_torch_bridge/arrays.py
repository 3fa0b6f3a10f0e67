# SPDX-License-Identifier: Apache-2.0
"""The array types that annotations name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
