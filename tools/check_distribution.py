# SPDX-License-Identifier: Apache-2.0
"""Build the package, install its wheel here, and check what arrived: check_distribution.py DIR.

The source distribution is built in DIR, the wheel is made of it, and pip installs the wheel with
its requirements into the environment that runs this file: an empty one, made by
"tox -e py311-wheel".
Then what both hold is looked at, and the first example of the front page is run.
"""

from __future__ import annotations

import doctest
import importlib
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import distribution
from pathlib import Path

NAME = "qiskit-torch-bridge"
ROOT = Path(__file__).resolve().parent.parent
IN_SDIST = (
    "CITATION.cff",
    "LICENSE.txt",
    "README.md",
    "constraints.txt",
    "docs/conf.py",
    "qiskit_torch_bridge/py.typed",
    "test/conftest.py",
    "tools/run.py",
    "tox.ini",
)
CACHED = (".pyc", ".nbi", ".nbc")


def main(directory: str) -> None:
    """Build, install and check; raise AssertionError for what is wrong, and say what was found."""
    shutil.rmtree(directory, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", directory, str(ROOT))
    (sdist,) = Path(directory).glob("*.tar.gz")
    (wheel,) = Path(directory).glob("*.whl")
    constraints = str(ROOT / "constraints.txt")
    install = (sys.executable, "-m", "pip", "install", "-c", constraints, str(wheel))
    run(*install)
    run(*install, "--force-reinstall", "--no-deps")  # one of this version may have been there
    importlib.invalidate_caches()
    check_contents(sdist)
    check_use()


def run(*command: str) -> None:
    """Run a command and raise if it fails."""
    subprocess.run(command, check=True, cwd=ROOT)


def check_contents(sdist: Path) -> None:
    """Look at what was installed, and at the source distribution."""
    installed = distribution(NAME)
    files = [str(path) for path in installed.files or ()]
    others = {path.split("/")[0] for path in files if not path.startswith("..")}
    assert "qiskit_torch_bridge/py.typed" in files
    assert any(path.endswith("LICENSE.txt") for path in files)
    assert others == {"qiskit_torch_bridge", f"qiskit_torch_bridge-{installed.version}.dist-info"}
    extras = set(installed.metadata.get_all("Provides-Extra") or ())
    assert {"demos", "networks", "runtime", "test", "docs"} <= extras, extras

    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in IN_SDIST if name not in held]
    assert not missing, f"The source distribution lacks {missing}."
    assert not [name for name in held if name.endswith(CACHED)], "It holds caches."


def check_use() -> None:
    """Import and call what was installed, and run the front page's first example."""
    import qiskit_torch_bridge

    installed = distribution(NAME)
    assert not Path(qiskit_torch_bridge.__file__).is_relative_to(ROOT / "qiskit_torch_bridge")
    command = Path(sys.executable).with_name(NAME)
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    versions = {installed.version, qiskit_torch_bridge.__version__, shown.stdout.split()[-1]}
    assert len(versions) == 1, versions

    example = first_example((ROOT / "README.md").read_text(encoding="utf-8"))
    parsed = doctest.DocTestParser().get_doctest(example, {}, "README.md", None, None)
    failed, tried = doctest.DocTestRunner().run(parsed)
    assert tried and not failed, "The first example of README.md fails."
    print(f"{NAME} {installed.version} was built and installed; {tried} lines of README.md ran.")


def first_example(text: str) -> str:
    """Return the first block of Python in a text, as a session at the prompt."""
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None, "README.md has no example."
    block = found[1]
    if ">>>" in block:
        return block
    statements = re.split(r"\n(?=\S)", block.strip("\n"))
    return "\n".join(">>> " + lines.replace("\n", "\n... ") for lines in statements) + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
