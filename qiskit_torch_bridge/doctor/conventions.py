# SPDX-License-Identifier: Apache-2.0
"""How dependencies read, write and refuse things: what the package was written for."""

from __future__ import annotations

import io
import pickle
import warnings

import numpy as np

from .findings import Finding

CHANGED = "The package was written for the other behaviour, and does not rely on it where it can."
REPORT = "If something looks wrong, report it together with this line."


def circuits_as_bytes() -> Finding:
    """QPY, by which circuits travel to a service and into files, keeps the circuits of gradients.

    Gradients displace angles in a circuit made from the given one; that one must arrive as well.
    """
    from qiskit import qpy
    from qiskit.circuit import Parameter, QuantumCircuit
    from qiskit.circuit.library import PauliEvolutionGate, RYGate, XXPlusYYGate
    from qiskit.quantum_info import SparsePauliOp

    from ..program import AnalysedCircuit
    from ..program.identity import same_circuit

    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(3)
    circuit.crx(2 * a, 0, 1)
    circuit.cp(a + b, 1, 2)
    circuit.append(XXPlusYYGate(a, 0.3), [0, 2])
    circuit.append(RYGate(b).control(2, ctrl_state=1, annotated=False), [0, 1, 2])
    circuit.append(PauliEvolutionGate(SparsePauliOp(["ZZI", "IZZ"]), time=b), [0, 1, 2])
    gradient = AnalysedCircuit(circuit).shift_form[0].circuit
    quotient = QuantumCircuit(1)
    quotient.rx(a / (2 + b * b), 0)
    lost = []
    for name, sent in (("controlled gates", gradient), ("quotients of parameters", quotient)):
        buffer = io.BytesIO()
        try:
            qpy.dump(sent, buffer)
            buffer.seek(0)
            (read,) = qpy.load(buffer)
            kept = same_circuit(sent, read, list(sent.parameters), list(read.parameters))
        except Exception:  # what QPY cannot write fails in many ways
            kept = False
        if not kept:
            lost.append(name)
    if "controlled gates" in lost:
        return Finding(
            "QPY",
            "fail",
            "circuits of gradients are not the same after writing and reading",
            "Gradients on a service would be those of another circuit.",
            "Use another version of qiskit, or simulate locally; report this.",
        )
    if lost:
        return Finding(
            "QPY",
            "warn",
            f"circuits with {lost[0]} are not the same after writing and reading",
            "State dicts of modules read back what they write, and store such circuits in another "
            "form. A service would run another circuit than yours.",
            'pip install "qiskit>=2.4", or keep expressions affine on remote devices.',
        )
    return Finding("QPY", "ok", "circuits of gradients are the same after writing and reading")


def library_blocks_on_aer() -> Finding:
    """Aer knows no blocks of the circuit library; modules decompose them for it."""
    import math

    from qiskit.circuit import Parameter, QuantumCircuit
    from qiskit.circuit.library import PauliEvolutionGate
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer.primitives import EstimatorV2

    from .. import TorchQuantumModule

    t = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.append(PauliEvolutionGate(SparsePauliOp("XX"), time=t), [0, 1])
    found = TorchQuantumModule(circuit, "IZ", estimator=EstimatorV2(), initial_weights=[0.25])()
    if abs(found.item() - math.cos(0.5)) > 1e-6:
        return Finding(
            "library blocks on Aer",
            "fail",
            f"a module gives {found.item():.6f}; right is {math.cos(0.5):.6f}",
            "Modules with library blocks compute wrong numbers on Aer.",
            "Use the exact engine (leave out estimator=), and report this.",
        )
    try:
        EstimatorV2().run([(circuit, "IZ", [0.25])]).result()
    except Exception:  # Aer's own kind
        return Finding(
            "library blocks on Aer",
            "ok",
            "Aer refuses them, modules decompose them",
            "In your own PUBs to Aer, use circuit.decompose().",
        )
    return Finding("library blocks on Aer", "ok", "Aer takes them")


def arrays_of_operators() -> Finding:
    """An array of operators falls apart into numbers; observables are given as nested lists."""
    from qiskit.quantum_info import SparsePauliOp

    try:
        shape = np.array([SparsePauliOp("ZZ"), SparsePauliOp("XX")], dtype=object).shape
    except Exception:  # NumPy may give up
        shape = ()
    return _convention(
        "arrays of operators",
        shape != (2,),
        "numpy.array([SparsePauliOp, ...], dtype=object) falls apart: give observables as lists",
        "numpy.array([SparsePauliOp, ...], dtype=object) keeps its operators now",
    )


def flat_bindings() -> Finding:
    """A column of values for one parameter is read as a row of points."""
    from qiskit.circuit import Parameter, QuantumCircuit
    from qiskit.primitives import StatevectorEstimator

    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("angle"), 0)
    job = StatevectorEstimator().run([(circuit, "Z", [[0.1], [0.2], [0.3]])])
    return _convention(
        "bindings of one parameter",
        job.result()[0].data.evs.shape == (3,),
        "[[a], [b], [c]] has shape (3,): in PUBs of your own, bind {parameters: array}",
        "[[a], [b], [c]] has no longer shape (3,)",
    )


def order_of_parameters() -> Finding:
    """Circuits sort their parameters by name: x10 comes before x2."""
    from qiskit.circuit import Parameter, QuantumCircuit

    circuit = QuantumCircuit(1)
    for name in ("x2", "x10"):
        circuit.rx(Parameter(name), 0)
    return _convention(
        "order of parameters",
        [p.name for p in circuit.parameters] == ["x10", "x2"],
        "circuit.parameters puts x10 before x2: bind by the parameters themselves, as modules do",
        "circuit.parameters is no longer sorted by name",
    )


def files_of_torch() -> Finding:
    """``torch.load`` executes nothing that is in a file."""
    import torch

    buffer = io.BytesIO()
    torch.save(_Stranger(), buffer)
    buffer.seek(0)
    try:
        with warnings.catch_warnings():  # PyTorch 2.5 warns of what is looked for here
            warnings.simplefilter("ignore", FutureWarning)
            torch.load(buffer)
    except pickle.UnpicklingError:
        return Finding("torch.load", "ok", "refuses files with anything but tensors and numbers")
    return Finding(
        "torch.load",
        "warn",
        "unpickles any object by default",
        "A state dict from a stranger could run code. Checkpoints of this package are read safely.",
        "Unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD and use PyTorch 2.6 or newer, or always pass "
        "weights_only=True.",
    )


class _Stranger:
    """An object that is no tensor."""


def _convention(name: str, as_known: bool, known: str, changed: str) -> Finding:
    if as_known:
        return Finding(name, "ok", known)
    return Finding(name, "warn", changed, CHANGED, REPORT)


CHECKS = (
    circuits_as_bytes, library_blocks_on_aer, arrays_of_operators, flat_bindings,
    order_of_parameters, files_of_torch,
)  # fmt: skip
