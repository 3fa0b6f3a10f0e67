# SPDX-License-Identifier: Apache-2.0
"""From a backend to the primitive that runs on it and the circuit that it takes."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple, Protocol

from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.transpiler import Layout, TranspilerError, generate_preset_pass_manager

from ..arguments import require_instance, require_seed, shown
from ..exceptions import BackendError, CircuitError
from ..primitives.capabilities import refuse_missing_steps
from ..primitives.families import Primitive
from ..program import CircuitProgram
from ..program.control_flow import find_steps_at_run_time
from .checks import (
    Check,
    TravelCheck,
    check_angles,
    check_isa,
    check_measured,
    check_travels,
    has_limited_angles,
)
from .fake_devices import make_simulator
from .make_primitive import classes_for, make_primitive
from .on_backend import Kind, OnBackend, Session


class PassManager(Protocol):
    """What transpiles a circuit: a pass manager of Qiskit's, or anything with its ``run``."""

    def run(self, circuits: QuantumCircuit, /) -> QuantumCircuit:
        """Return the transpiled circuit."""


class AlreadyTranspiled:
    """Takes the place of a pass manager where transpiling is done.

    Args:
        circuit: The circuit for the whole device.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.circuit = circuit

    def run(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the transpiled circuit."""
        return self.circuit


class Prepared(NamedTuple):
    """A program as a backend takes it, and what runs it there.

    Attributes:
        program: The program to submit.
        primitive: Runs it: an estimator if the program asks for expectation values, a sampler if
            for outcomes.
        isa_circuit: The circuit transpiled for the whole backend, with its layout.
        kind: What the backend is.
        backend: The backend.
    """

    program: CircuitProgram
    primitive: Primitive
    isa_circuit: QuantumCircuit
    kind: Kind
    backend: BackendV2


def prepare(
    program: CircuitProgram,
    on_backend: OnBackend | BackendV2 | Session,
    *,
    pass_manager: PassManager | None = None,
    seed: int | None = None,
) -> Prepared:
    """Transpile a program for a backend, once, and make what runs it there.

    Expectation values take an estimator, outcomes a sampler. The circuit is transpiled without
    measurements; a sampler's get theirs when they are submitted, on the qubits where the transpiler
    has left those that are asked for.

    Args:
        program: The program.
        on_backend: A backend, a session or batch, or an :class:`OnBackend`.
        pass_manager: Takes the place of the preset one.
        seed: Seeds local simulators; every job gets a seed of its own from it.

    Raises:
        BackendTypeError: If ``on_backend`` is something else.
        BackendError: If options or an extra package are missing or wrong.
        MeasurementError: If no backend can measure what the program asks for.
        CircuitError: If the transpiled circuit does not fit the backend, or cannot be sent to it.
        JournalError: If the journal cannot be opened.
    """
    require_instance(program, "program", CircuitProgram, "a CircuitProgram", error=CircuitError)
    on = OnBackend.coerce(on_backend)
    require_seed(seed)
    backend, kind, classes = on.device, on.kind, classes_for(program)
    steps = find_steps_at_run_time(program.circuit)
    refuse_missing_steps(steps, backend.target, backend.name)
    transpiler = _choose_transpiler(on, pass_manager, program.circuit.num_qubits)
    if kind in ("aer", "fake") or "box" not in backend.target.operation_names:
        program = program.without_boxes
    isa = program.rewritten(transpiler.run)
    transpiled = isa.circuit
    if kind == "aer":
        isa = isa.on_aer  # which has no layout any more
    else:
        check_isa(transpiled, backend)
        check_measured(isa.readout.measured, backend)
    simulator = None
    if kind == "fake":
        isa, kept = isa.without_idle_qubits()
        simulator = make_simulator(backend, kept)
    made = make_primitive(classes, on, seed, simulator, sampled=bool(steps))
    checks: list[Check] = []
    if kind == "runtime":
        check_travels(isa.circuit)
        checks.append(TravelCheck())
        if has_limited_angles(isa.circuit):
            checks.append(check_angles)
    if on.jobs is not None or kind in ("runtime", "device"):
        made = classes.dispatching(made, on.jobs, checks=checks)
    return Prepared(isa, made, transpiled, kind, backend)


def _choose_transpiler(
    on: OnBackend, pass_manager: PassManager | None, num_qubits: int
) -> PassManager:
    if pass_manager is None:
        return _make_preset_pass_manager(on, num_qubits)
    if on.transpiles_by and not isinstance(pass_manager, AlreadyTranspiled):
        raise BackendError(
            "pass_manager takes the place of the preset one that optimization_level, "
            "seed_transpiler, initial_layout and transpile_options are for. Leave out "
            f"{' and '.join(on.transpiles_by)}, or leave out pass_manager."
        )
    return check_pass_manager(pass_manager)


def check_pass_manager(pass_manager: PassManager) -> PassManager:
    """Return a pass manager, or raise :class:`.CircuitError` if something cannot transpile."""
    if isinstance(pass_manager, type) or not callable(getattr(pass_manager, "run", None)):
        raise CircuitError(
            f"Expected pass_manager to have a method run(circuit); got {shown(pass_manager)}. For "
            "example qiskit.transpiler.generate_preset_pass_manager(1, backend)."
        )
    return pass_manager


def _make_preset_pass_manager(on: OnBackend, num_qubits: int) -> PassManager:
    layout, seed = on.initial_layout, on.seed_transpiler
    if layout is not None and not isinstance(layout, Layout):
        if len(layout) != num_qubits:
            raise BackendError(
                f"Expected initial_layout to name a qubit for each of the circuit's {num_qubits}; "
                f"got {shown(layout)}."
            )
        layout = [int(qubit) for qubit in layout]
    if seed is None and on.jobs is not None and on.jobs.journal is not None:
        seed = 0
    given: dict[str, Any] = {
        "optimization_level": 1 if on.optimization_level is None else int(on.optimization_level),
        "backend": on.device,
        "seed_transpiler": seed,
        "initial_layout": layout,
        **(on.transpile_options or {}),
    }
    try:
        return generate_preset_pass_manager(**given)
    except TranspilerError as error:
        # A device names a plugin to translate with: that of runtime 0.44 does not load in Qiskit
        # 1.4. It is for circuits that are dynamic; what comes out is checked in any case.
        if "translation_method" not in given:
            with contextlib.suppress(TranspilerError):
                return generate_preset_pass_manager(**given, translation_method="translator")
        if not on.transpile_options:
            raise
        raise _refused_options(on, error) from error
    except (TypeError, ValueError) as error:
        raise _refused_options(on, error) from error


def _refused_options(on: OnBackend, error: Exception) -> BackendError:
    return BackendError(
        f"Qiskit's preset pass manager does not take these options: {error}. transpile_options is "
        f"{shown(on.transpile_options)}."
    )
