# SPDX-License-Identifier: Apache-2.0
"""Makes the tests' own modules importable and sets Hypothesis up.

``QTB_HYPOTHESIS_PROFILE`` chooses the profile: ``default`` (small) or ``full`` (2,000 examples).
Every run prints its Hypothesis seed; ``--hypothesis-seed`` repeats it.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

OWN_NUMERICS = (
    "test_bad_arguments.py",
    "test_checkpoint.py",
    "test_columns.py",
    "test_data_parallel.py",
    "test_demo_*.py",
    "test_demos.py",
    "test_diagnostics_*.py",
    "test_interrupt*.py",
    "test_journal_*.py",
    "test_kernel*.py",
    "test_kills.py",
    "test_light_cones.py",
    "test_metric*.py",
    "test_networks.py",
    "test_optim_*.py",
    "test_statevector_[cdlprst]*.py",
    "test_trigonometry.py",
    "test_wide_*.py",
)
"""Files of which what holds on one version of Qiskit holds on another: they are about what the
package computes once a circuit is read, about files, processes and arguments."""
READING = (
    "test_statevector_library.py",
    "test_statevector_paulis.py",
    "test_statevector_refusals.py",
)
"""Such as are not among them, since they are about what Qiskit's circuits hold."""

sys.path.insert(0, str(Path(__file__).parent))

# Triton's kernels are run by its interpreter; read when it is imported, and when they are defined.
os.environ.setdefault("TRITON_INTERPRET", "1")

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what need not be run for every version of Qiskit."""
    for item in items:
        name = item.path.name
        if name not in READING and any(fnmatch(name, pattern) for pattern in OWN_NUMERICS):
            item.add_marker("own_numerics")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what has been imported, and most of its searches for the rest.

    A full collection goes through millions of objects of PyTorch and Qiskit, for nothing, and takes
    a fifth of the time of tests that make many small objects. Tests that need one ask for it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 100)


@pytest.fixture
def synchronised_path(tmp_path: Path) -> Iterator[Path]:
    """A folder for files that are synchronised thousands of times: in memory, where there is one.

    Disks take most of a millisecond each time, which adds up to more than all else.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect garbage as often as Python does, for tests that measure what is left in memory."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def pytest_runtest_teardown() -> None:
    """Close the figures of a test, of which pyplot keeps all, and warns when they are many."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:  # nor is it where a test has it missing
        pyplot.close("all")


def pytest_report_header(config: pytest.Config) -> str:
    """Show the profile and the seed that repeats this run."""
    profile = os.environ.get("QTB_HYPOTHESIS_PROFILE", "default")
    seed = config.option.hypothesis_seed
    return f"QTB_HYPOTHESIS_PROFILE={profile} --hypothesis-seed={seed}"
