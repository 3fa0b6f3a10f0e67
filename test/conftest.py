# SPDX-License-Identifier: Apache-2.0
"""Makes the tests' own modules importable and sets Hypothesis up.

``QTB_HYPOTHESIS_PROFILE`` chooses the profile: ``default`` (small) or ``full`` (2,000 examples).
Every run prints its Hypothesis seed; ``--hypothesis-seed`` repeats it.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("default", max_examples=30, **_COMMON)
settings.register_profile("full", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("QTB_HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Draw a Hypothesis seed unless one was given, early enough for its plugin to read it."""
    if getattr(config.option, "hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    """Show the profile and the seed that repeats this run."""
    profile = os.environ.get("QTB_HYPOTHESIS_PROFILE", "default")
    seed = config.option.hypothesis_seed
    return f"QTB_HYPOTHESIS_PROFILE={profile} --hypothesis-seed={seed}"
