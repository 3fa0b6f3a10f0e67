# SPDX-License-Identifier: Apache-2.0
"""The package imports alone, downward and lightly."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import qiskit_torch_bridge

ROOT = Path(qiskit_torch_bridge.__file__).parent
CLONE = ROOT.parent
EXTRAS = ["matplotlib", "tqdm", "mlxtend", "qiskit_ibm_runtime", "pytest", "sphinx", "numba"]


def test_importing_the_package_imports_no_extra_and_no_backend():
    code = (
        "import sys, torch, qiskit_algorithms.gradients\n"  # torch itself imports tqdm
        "before = set(sys.modules)\n"
        "import qiskit_torch_bridge\n"
        f"new = set(sys.modules) - before\n"
        f"print([m for m in {EXTRAS} + ['qiskit_aer', 'sympy'] if m in new])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(out.stdout) == []


def test_it_is_typed_and_versioned():
    assert files(qiskit_torch_bridge).joinpath("py.typed").is_file()
    assert qiskit_torch_bridge.__version__[0].isdigit()


@pytest.mark.skipif(not (CLONE / "CITATION.cff").is_file(), reason="not a clone")
def test_citations_name_the_version():
    cited = re.search(r"^version: (.*)$", (CLONE / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert cited[1] == qiskit_torch_bridge.__version__


def test_named_tuples_have_no_other_base():
    """Python 3.10 raises a TypeError when it comes to such a class."""
    found = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and len(node.bases) > 1:
                bases = [ast.unparse(base) for base in node.bases]
                found += [f"{path.name}: {node.name}"] if "NamedTuple" in bases else []
    assert found == []
