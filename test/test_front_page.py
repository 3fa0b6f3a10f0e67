# SPDX-License-Identifier: Apache-2.0
"""The README says what was measured, and its badges what the project's own files say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
README = " ".join((ROOT / "README.md").read_text().split())
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks" / "results").exists(), reason="there are no results beside the tests"
)


def script(path: str) -> ModuleType:
    """A script of the documentation, as a module."""
    specification = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_numbers_are_those_of_the_results():
    """The README's three reasons, with every number put in where it stands."""
    numbers = script("docs/_ext/measured.py").read_numbers()
    for sentence in (
        "rows take {step} on one core; the fastest of five settings of other packages, "
        "{fastest-peer}, takes {fastest-peer-step}, {fastest-peer-ratio} times as long, "
        "and TensorFlow Quantum {tfq-step}.",
        "A step of 100 qubits in 3 layers, exact, takes {wide}.",
        "A step by parameter shift on Aer's estimator takes {shift-here}; qiskit-machine-learning "
        "takes {shift-there} on the same estimator, {shift-ratio} times as long.",
        "A product with the Hessian costs {second-order} gradients,",
    ):
        said = re.sub(r"\{([\w-]+)\}", lambda found: numbers[found[1]], sentence)
        assert said in README


def test_pages_name_numbers_that_there_are():
    used = set(re.findall(r"\|measured-([\w-]+)\|", (ROOT / "docs" / "index.rst").read_text()))
    assert used == set(script("docs/_ext/measured.py").read_numbers())


def test_badges_say_what_the_project_says():
    badges = script("docs/figures/badges.py")
    for name, text in badges.read_facts().items():
        path = f"docs/figures/badges/{name.lower()}.svg"
        assert (ROOT / path).read_text() == badges.draw_badge(name, text)
        assert path in README


def test_nothing_comes_from_another_host():
    """An image that a reader without a network sees as well, and no tracker."""
    assert not re.findall(r"(?:!\[[^]]*\]\(|src(?:set)?=\")https?://", README)
