# SPDX-License-Identifier: Apache-2.0
"""The package imports alone, downward and lightly."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import qiskit_torch_bridge

ROOT = Path(qiskit_torch_bridge.__file__).parent
EXTRAS = ["matplotlib", "tqdm", "mlxtend", "qiskit_ibm_runtime", "pytest", "sphinx", "numba"]

# A room may import from itself and from the rooms listed for it.
ROOMS = {
    "arrays": set(),
    "arguments": {"exceptions"},
    "recent": set(),
    "exceptions": set(),
    "program": {"exceptions"},
    "rules": {"exceptions", "program"},
    "statevector": {"exceptions", "program"},
    "primitives": {"exceptions", "program", "statevector"},
    "backends": {"exceptions", "program", "primitives"},
    "gradients": {"exceptions", "program", "rules", "primitives", "statevector"},
    "engines": {
        "exceptions",
        "program",
        "rules",
        "primitives",
        "gradients",
        "statevector",
        "backends",
    },
    "transforms": set(),
    "operators": {"engines", "transforms"},
    "autograd": {"exceptions", "program", "rules", "engines", "operators", "transforms"},
    "exact_autograd": {"exceptions", "engines", "operators", "transforms"},
    "calls": {"exceptions", "program"},
    "functional": {
        "calls",
        "exceptions",
        "program",
        "engines",
        "autograd",
        "exact_autograd",
        "transforms",
    },
    "compiled": {"calls", "exceptions", "engines", "functional", "operators"},
    "algorithms": {"exceptions", "rules", "primitives"},
    "state_dicts": {"exceptions", "program"},
    "initial_weights": {"calls", "exceptions", "program"},
    "module": {
        "compiled",
        "state_dicts",
        "initial_weights",
        "exceptions",
        "program",
        "engines",
        "functional",
        "algorithms",
        "backends",
        "primitives",
        "rules",
    },
    "checkpoint": {"exceptions", "engines", "module", "optim", "rules", "state_dicts"},
    "doctor": {"program", "statevector", "TorchQuantumModule", "__file__", "__version__"},
    "optim": {"exceptions", "program", "statevector", "algorithms", "module", "transforms"},
}
TORCH_ROOMS = {
    "transforms",
    "operators",
    "autograd",
    "exact_autograd",
    "calls",
    "compiled",
    "state_dicts",
    "functional",
    "initial_weights",
    "module",
    "algorithms",
    "optim",
    "checkpoint",
    "doctor",
    "demos",
    "__init__",
    "__main__",
}


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


def imports_of(path: Path) -> tuple[set[str], bool]:
    """The package's own rooms that a file imports at run time, and whether it imports torch."""
    rooms: set[str] = set()
    torch = False
    depth = len(path.relative_to(ROOT).parts)
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            rooms |= {name.split(".")[0] for name in names}
        modules = (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        torch |= any(m.split(".")[0] == "torch" for m in modules)
    return rooms, torch


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    rooms, torch = imports_of(path)
    if room in ROOMS:
        allowed = ROOMS[room] | {room, "arguments", "arrays", "free_memory", "recent"}
        assert rooms <= allowed, f"{room} imports {rooms - allowed}"
    assert room in TORCH_ROOMS or not torch
