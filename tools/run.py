# SPDX-License-Identifier: Apache-2.0
"""Run the package, its tests or tox from a clone, installing what they need on the first call.

    python tools/run.py demo mnist     # the package's command line, with everything the demos need
    python tools/run.py test -k shift  # the tests; arguments go to pytest
    python tools/run.py tox -e lint    # any tox environment

Uses the standard library only. The virtual environment is .venv in the clone; it is brought up to
date whenever pyproject.toml or the constraints change.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 10):  # checked before anything below needs a newer Python
    sys.exit(
        "Python 3.10 or newer is needed; this is {}.{} ({}). "
        "Call this file with a newer one, for example: python3.11 tools/run.py".format(
            *sys.version_info[:2], sys.executable
        )
    )

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PINS = (
    "pyproject.toml",
    "constraints.txt",
    "constraints-common.txt",
    "constraints-numerics.txt",
)
# By the first word of the command line: the extra to install and the arguments before the user's.
COMMANDS = {
    "test": ("test", ["-m", "pytest", "-n", "auto"]),
    "tox": ("dev", ["-m", "tox"]),
}


def main(arguments: list[str]) -> int:
    """Install what the command needs, run it and return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    environment = dict(os.environ)
    if arguments[0] in COMMANDS:
        extra, command = COMMANDS[arguments[0]]
        command = [*command, *arguments[1:]]
        directory = ROOT
    else:  # the package's own command line, so that paths given to it mean what the user sees
        extra, command = "demos", ["-m", "qiskit_torch_bridge", *arguments]
        directory = Path.cwd()
    if arguments[0] == "test":  # one process per core, so one computing thread per process
        environment.setdefault("OMP_NUM_THREADS", "1")
    try:
        install(extra)
        return subprocess.run([PYTHON, *command], cwd=directory, env=environment).returncode
    except subprocess.CalledProcessError as error:
        print(f"Setting up {VENV} failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def install(extra: str) -> None:
    """Put the package with ``extra`` into the virtual environment, unless it is there already."""
    state = f"{extra} {sys.version}".encode() + b"".join((ROOT / p).read_bytes() for p in PINS)
    digest = hashlib.sha256(state).hexdigest()
    stamp = VENV / f"installed-{extra}"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Setting up {VENV} for '{extra}'. The first time takes a few minutes.", flush=True)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    constraints = str(ROOT / "constraints.txt")
    subprocess.run([*pip, "-c", constraints, "-e", f"{ROOT}[{extra}]"], check=True)
    stamp.write_text(digest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
