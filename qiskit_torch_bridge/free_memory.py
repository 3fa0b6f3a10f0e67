# SPDX-License-Identifier: Apache-2.0
"""How much memory can be taken."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 1 << 30


def available() -> int:
    """Return the bytes that can be taken without swapping, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 62  # unknown, on Windows: NumPy's own error will tell
