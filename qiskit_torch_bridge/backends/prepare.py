# SPDX-License-Identifier: Apache-2.0
"""From a backend to the estimator that runs on it and the circuit that it takes."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers import BackendV2
from qiskit.transpiler import Layout, TranspilerError, generate_preset_pass_manager

from ..arguments import require_instance, require_seed, shown
from ..exceptions import BackendError, CircuitError
from ..jobs import DispatchingEstimator
from ..primitives.capabilities import repeats_noise
from ..program import CircuitProgram
from .checks import TravelCheck, check_angles, check_isa, check_travels, has_limited_angles
from .fake_devices import make_simulator
from .on_backend import Kind, OnBackend, Session
from .simulators import FreshSeeds


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
        estimator: Runs it.
        isa_circuit: The circuit transpiled for the whole backend, with its layout.
        kind: What the backend is.
        backend: The backend.
    """

    program: CircuitProgram
    estimator: BaseEstimatorV2
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
    """Transpile a program for a backend, once, and make the estimator that runs it there.

    Args:
        program: The program.
        on_backend: A backend, a session or batch, or an :class:`OnBackend`.
        pass_manager: Takes the place of the preset one.
        seed: Seeds local simulators; every job gets a seed of its own from it.

    Raises:
        BackendTypeError: If ``on_backend`` is something else.
        BackendError: If options or an extra package are missing or wrong.
        CircuitError: If the transpiled circuit does not fit the backend, or cannot be sent to it.
        JournalError: If the journal cannot be opened.
    """
    require_instance(program, "program", CircuitProgram, "a CircuitProgram", error=CircuitError)
    on = OnBackend.coerce(on_backend)
    require_seed(seed)
    backend, kind = on.device, on.kind
    transpiler = _choose_transpiler(on, pass_manager, program.circuit.num_qubits)
    if kind in ("aer", "fake") or "box" not in backend.target.operation_names:
        program = program.without_boxes
    isa = program.rewritten(transpiler.run)
    transpiled = isa.circuit
    if kind == "aer":
        isa = isa.on_aer  # which has no layout any more
    else:
        check_isa(transpiled, backend)
    if kind == "fake":
        isa, kept = isa.without_idle_qubits()
        made: BaseEstimatorV2 = FreshSeeds(
            _make_backend_estimator(make_simulator(backend, kept), on.options), seed
        )
    else:
        made = _make_estimator(on, seed)
    checks: list[Callable[[EstimatorPub], None]] = []
    if kind == "runtime":
        check_travels(isa.circuit)
        checks.append(TravelCheck())
        if has_limited_angles(isa.circuit):
            checks.append(check_angles)
    if on.jobs is not None or kind in ("runtime", "device"):
        made = DispatchingEstimator(made, on.jobs, checks=checks)
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


def _make_estimator(on: OnBackend, seed: int | None) -> BaseEstimatorV2:
    backend, options = on.device, on.options
    if on.kind == "runtime":
        return _make_runtime_estimator(on.backend, options)
    if on.kind == "aer":
        from qiskit_aer.primitives import EstimatorV2

        if getattr(backend.options, "executor", None) is not None:
            warnings.warn(
                "Aer accepts executor= and makes no use of it. To run on a pool or a Dask cluster "
                "use qiskit_torch_bridge.backends.ExecutorEstimator.",
                stacklevel=6,  # whoever makes the module
            )
        estimator = EstimatorV2.from_backend(backend)
        _set_options(estimator.options, options, "qiskit_aer.primitives.EstimatorV2")
        seeded = seed is None and repeats_noise(estimator)  # by the user, who wants it so
        return estimator if seeded else FreshSeeds(estimator, seed)
    made = _make_backend_estimator(backend, options)
    return made if seed is None else FreshSeeds(made, seed)


def _make_backend_estimator(
    backend: BackendV2, options: Mapping[str, object] | None
) -> BaseEstimatorV2:
    estimator = BackendEstimatorV2(backend=backend)
    _set_options(estimator.options, options, "BackendEstimatorV2")
    return estimator


def _make_runtime_estimator(
    mode: BackendV2 | Session, options: Mapping[str, object] | None
) -> BaseEstimatorV2:
    from qiskit_ibm_runtime import EstimatorV2

    with warnings.catch_warnings():
        # It announces a successor of the same interface.
        warnings.filterwarnings("ignore", "The EstimatorV2 class is deprecated")
        try:
            estimator: BaseEstimatorV2 = EstimatorV2(
                mode=mode, options=None if options is None else dict(options)
            )
        except (TypeError, ValueError) as error:
            raise BackendError(
                f"The runtime's EstimatorV2 does not take these options: {error}"
            ) from error
    return estimator


def _set_options(target: object, options: Mapping[str, object] | None, who: str) -> None:
    for name, value in (options or {}).items():
        if not hasattr(target, name):
            known = ", ".join(sorted(vars(target)))
            raise BackendError(f"{who} has no option {name!r}. Its options are: {known}.")
        setattr(target, name, copy.deepcopy(value))  # seeds are written into some of them
