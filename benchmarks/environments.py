# SPDX-License-Identifier: Apache-2.0
"""Virtual environments of the candidates, whose requirements exclude each other.

The environment ``main`` is the one that runs this; each other one is made from
``requirements/NAME.txt`` in a folder, and made anew when that file changes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
FOLDER = Path(__file__).parent / ".environments"
OTHERS = ("jax", "tfq", "mindquantum", "qtm", "quimb", "qokit")
PYTHONS = {"qtm": "3.12"}  # the only one that it runs on


def python_of(name: str, folder: Path) -> Path | None:
    """Return the interpreter of an environment, or None if it has not been made."""
    if name == "main":
        return Path(sys.executable)
    python = folder / name / "bin" / "python"
    return python if python.exists() else None


def make(name: str, folder: Path) -> None:
    """Make an environment and install its requirements, unless that has been done already."""
    requirements = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = folder / name / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return
    print(f"Making the environment '{name}' in {folder}.", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    shutil.rmtree(folder / name, ignore_errors=True)
    subprocess.run([_base(name), "-m", "venv", folder / name], check=True)
    pip = [folder / name / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "-q"]
    try:
        subprocess.run([*pip, "install", "-r", requirements], check=True)
        FINISH.get(name, lambda _: None)(folder / name)
    except BaseException:
        shutil.rmtree(
            folder / name, ignore_errors=True
        )  # half an environment must not be taken for a whole one
        raise
    stamp.write_text(digest, encoding="utf-8")


def _base(name: str) -> str:
    version = PYTHONS.get(name)
    if version is None or sys.version.startswith(f"{version}."):
        return sys.executable
    command = shutil.which(f"python{version}")
    if command is None or subprocess.run([command, "--version"], capture_output=True).returncode:
        raise FileNotFoundError(f"the environment '{name}' needs python{version} on the path")
    return command


def _compile_qokit(environment: Path) -> None:
    """Compile QOKit's simulator in C, whose sources its package has without headers.

    Without it QOKit loops over amplitudes in Python. The files define before they use when they
    are one file, so that headers may be empty.
    """
    (folder,) = environment.glob("lib/*/site-packages/qokit/fur/c/csim")
    parts = ("diagonal", "fur", "qaoa_fur")
    source = "#include <stddef.h>\n" + "".join(f'#include "{part}.c"\n' for part in parts)
    compiler = ["cc", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-w"]
    with tempfile.TemporaryDirectory() as headers:
        for part in parts:
            (Path(headers) / f"{part}.h").touch()
        files = ["-I", headers, "-I", folder / "src", "-o", folder / "libcsim.so"]
        command = [*compiler, *files, "-x", "c", "-", "-lm"]
        subprocess.run(command, input=source, text=True, check=True)


FINISH: dict[str, Callable[[Path], None]] = {"qokit": _compile_qokit}
"""What is to be done when the requirements of an environment are installed."""
