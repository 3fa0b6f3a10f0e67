# SPDX-License-Identifier: Apache-2.0
"""Circuits as bytes and back, in Qiskit's format QPY.

Files hold version 13: the first in which expressions are data, and the newest that all supported
versions of Qiskit read; those of circuits with boxes, which Qiskit has from 2.0 on, version 14.
Whatever these cannot hold is expanded to gates before it is written. Pickles of programs, which are
code anyway, may also hold the newest version, and keep the circuit as it is.
"""

from __future__ import annotations

import functools
import io
import operator
import warnings
from collections.abc import Sequence

import qiskit
from qiskit import qpy
from qiskit.circuit import Parameter, ParameterVectorElement, QuantumCircuit

from ..exceptions import StateDictError
from .binding import write_without_quotients
from .definitions import Step
from .encodings import with_preparations
from .expressions import Angle, affine_form, expressions_of, is_free
from .identity import round_trip_agrees
from .lowering import accepts_aer, expand, has_boxes, rewrite
from .qpy_grammar import VERSION, VERSION_OF_BOXES, check_qpy, without_symengine
from .validation import leaf_expressions

UNLIMITED = 1 << 62


def circuit_to_bytes(
    circuit: QuantumCircuit, order: Sequence[Parameter], *, for_pickle: bool = False
) -> tuple[bytes, bool]:
    """Serialise to QPY.

    What is written is read back and compared, since QPY changes some circuits without an error:
    controlled gates with non-linear angles, and quotients on Qiskit 1.4 in version 13.

    Returns:
        The bytes, and whether they hold the circuit expanded to gates that QPY keeps.

    Raises:
        StateDictError: If Qiskit cannot write the circuit.
    """
    cause: Exception | None = None
    circuit = _without_calibrations(circuit)
    for expanded, form in (
        (False, lambda: circuit),
        (False, lambda: _with_sums(circuit)),
        (True, lambda: _with_sums(expand(circuit, accepts_aer))),
    ):
        for newest in (False, True) if for_pickle else (False,):
            try:
                written, buffer = form(), io.BytesIO()
                version = qpy.common.QPY_VERSION if newest else _oldest_version(written)
                qpy.dump(written, buffer, version=version, use_symengine=False)
                data = buffer.getvalue()
                read = read_circuit(data) if for_pickle else circuit_from_bytes(data, UNLIMITED)
                names = {p.name: p for p in read.parameters}
                meant = written if expanded else circuit
                agrees = round_trip_agrees(
                    read, meant, [names.get(p.name, p) for p in order], order
                )
                release_vectors(read)
                if agrees:
                    return data, expanded
            except Exception as error:  # QPY raises errors of many types for what it cannot hold
                cause = error
    raise StateDictError(
        f"Qiskit {qiskit.__version__} cannot write the circuit as QPY, so the state would not say "
        "which circuit its weights belong to. Replace custom Python gates by gates with a "
        "definition and quotients of parameters by other expressions, or save module.weight alone."
    ) from cause


def _oldest_version(circuit: QuantumCircuit) -> int:
    return VERSION_OF_BOXES if has_boxes(circuit) else VERSION


def circuit_from_bytes(data: bytes, max_bytes: int | None = None) -> QuantumCircuit:
    """Read a circuit back from QPY, after checking that this executes nothing.

    Args:
        data: From :func:`circuit_to_bytes`, or from a file that anyone may have made.
        max_bytes: What the circuit may take in memory; default: see :func:`.check_qpy`.

    Raises:
        StateDictError: If it is of another version, or anything else than
            :func:`circuit_to_bytes` writes for files.
    """
    check_qpy(data, max_bytes)
    return read_circuit(without_symengine(data))


def read_circuit(data: bytes) -> QuantumCircuit:
    """Read a circuit back from QPY unchecked, as in a pickle, which could execute anything itself.

    Raises:
        StateDictError: If Qiskit cannot read it.
    """
    try:
        with warnings.catch_warnings():
            # A circuit need not use all elements of a vector; they are matched by name here.
            warnings.filterwarnings("ignore", "The ParameterVector", UserWarning)
            # These versions are the same whichever release of Qiskit wrote it.
            warnings.filterwarnings("ignore", "The qiskit version used", UserWarning)
            circuit: QuantumCircuit = qpy.load(io.BytesIO(data))[0]
        circuit = with_preparations(circuit)
        # What is damaged may come to light when a gate is looked at.
        known, expressions = set(circuit.parameters), list(leaf_expressions(circuit))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of Qiskit's compiled reader is no Exception
        raise StateDictError(
            f"Qiskit {qiskit.__version__} cannot read the saved circuit: {type(error).__name__}: "
            f"{error}. It may use operations that only a newer Qiskit has: load it with the "
            "version that wrote it."
        ) from error
    for expression in expressions:
        if not known.issuperset(expression.parameters):
            raise StateDictError(
                f"Qiskit {qiskit.__version__} cannot read the saved circuit: a gate in it would "
                "have parameters that the circuit does not have. Restore the file from a copy; the "
                "weights can be loaded without the circuit."
            )
    return circuit


def release_vectors(circuit: QuantumCircuit) -> None:
    """Give up the vectors of a circuit that nobody is going to use any more.

    Qiskit 2.1 to 2.4 never frees a vector, as its elements refer to it where Python's garbage
    collector does not look: 0.8 kB for each element of each circuit that is read.
    """
    for vector in {p.vector for p in circuit.parameters if isinstance(p, ParameterVectorElement)}:
        vector.resize(0)


def _without_calibrations(circuit: QuantumCircuit) -> QuantumCircuit:
    """Leave out the pulses of Qiskit 1: QPY cannot hold them, and no value depends on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if getattr(circuit, "calibrations", None):
            circuit = circuit.copy()
            circuit.calibrations = {}
    return circuit


def _with_sums(circuit: QuantumCircuit) -> QuantumCircuit:
    """Write expressions as sums and products: QPY of Qiskit 2.2 inverts quotients and differences.

    Expressions in which all parameters cancel become numbers, as QPY cannot write them at all.
    """

    def write(step: Step) -> list[Step]:
        operation, qubits = step
        if expressions_of(operation):
            operation = operation.to_mutable()
            operation.params = [_sum_of_terms(p) for p in operation.params]
        return [(operation, qubits)]

    return rewrite(circuit, write)


def _sum_of_terms(angle: Angle) -> Angle:
    if not is_free(angle):
        return angle
    affine = affine_form(angle)
    if affine is None:
        return write_without_quotients(angle)
    offset, coefficients = affine
    # Neither one times a parameter nor zero added to it: those stay expressions, and break QPY. A
    # parameter by itself, and less of another one, it turns around.
    alone = len(coefficients) == 1
    terms: list[Angle] = [
        (p if alone else 3 * p) if c == 1 else c * p for p, c in coefficients.items()
    ]
    terms += [-2 * p for p, c in coefficients.items() if c == 1 and not alone]
    if offset or not terms:
        terms.append(offset)
    return functools.reduce(operator.add, terms)
