# SPDX-License-Identifier: Apache-2.0
"""From a backend to the estimator that runs on it and the circuit that it takes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers import BackendV2
from qiskit.transpiler import TranspilerError, generate_preset_pass_manager

from ..arguments import (
    MOST_SEED,
    is_options,
    is_whole_number,
    require_choice,
    require_instance,
    require_seed,
    shown,
)
from ..exceptions import BackendError, BackendTypeError, CircuitError
from ..primitives.kinds import is_of_aer, repeats_noise
from ..program import CircuitProgram
from ..program.definitions import is_box
from .angles import check_angles, has_limited_angles
from .fake_devices import simulator_of
from .seeds import FreshSeeds
from .travel import TravelCheck, check_travels

Kind = Literal["aer", "fake", "runtime", "device"]


class Prepared(NamedTuple):
    """A program as a backend takes it, and what runs it there.

    Attributes:
        program: The program to submit.
        estimator: Runs it.
        isa_circuit: The circuit transpiled for the whole backend, with its layout.
        kind: What the backend is.
        backend: The backend.
        checks: What every request must pass before it is submitted.
    """

    program: CircuitProgram
    estimator: BaseEstimatorV2
    isa_circuit: QuantumCircuit
    kind: Kind
    backend: BackendV2
    checks: Sequence[Callable[[EstimatorPub], None]] = ()


def prepare(
    program: CircuitProgram,
    backend: Any,
    *,
    mode: Any = None,
    options: Mapping[str, Any] | None = None,
    optimization_level: int | None = None,
    seed_transpiler: int | None = None,
    pass_manager: Any = None,
    seed: int | None = None,
) -> Prepared:
    """Transpile a program for a backend, once, and make the estimator that runs it there.

    Args:
        program: The program.
        backend: An Aer simulator, a fake device, a device of IBM Quantum, or any other
            ``BackendV2``; ``None`` for the backend of ``mode``.
        mode: An open ``Session`` or ``Batch`` of qiskit-ibm-runtime; none is ever opened here.
        options: Passed on to the estimator as its options.
        optimization_level: Of the preset pass manager; default 1.
        seed_transpiler: Makes transpilation reproducible.
        pass_manager: Takes the place of the preset one.
        seed: Seeds local simulators; every job gets a seed of its own from it.

    Raises:
        BackendTypeError: If ``backend`` or ``mode`` is something else.
        BackendError: If options or an extra package are missing or wrong.
        CircuitError: If the transpiled circuit does not fit the backend, or cannot be sent to it.
    """
    require_instance(program, "program", CircuitProgram, "a CircuitProgram", error=CircuitError)
    backend = backend_of(backend, mode)
    kind = kind_of(backend, mode)
    require_seed(seed)
    if options is not None and not is_options(options):
        raise BackendError(
            f"Expected the backend's options to be a mapping of their names; got {shown(options)}."
        )
    if pass_manager is None:
        pass_manager = _preset(backend, optimization_level, seed_transpiler)
    elif optimization_level is not None or seed_transpiler is not None:
        raise BackendError(
            "pass_manager takes the place of the preset one that optimization_level and "
            "seed_transpiler are for. Leave these out, or leave out pass_manager."
        )
    check_pass_manager(pass_manager)
    if kind in ("aer", "fake") or "box" not in backend.target.operation_names:
        program = program.without_boxes
    isa = program.rewritten(pass_manager.run)
    transpiled = isa.circuit
    if kind == "aer":
        isa = isa.on_aer  # which has no layout any more
    else:
        check_isa(transpiled, backend)
    if kind == "fake":
        submitted, kept = isa.without_idle_qubits()
        simulator = simulator_of(backend, kept)
        made = _backend_estimator(simulator, options)
        return Prepared(submitted, FreshSeeds(made, seed), transpiled, kind, backend)
    checks: list[Callable[[EstimatorPub], None]] = []
    if kind == "runtime":
        check_travels(isa.circuit)
        checks.append(TravelCheck())
        if has_limited_angles(isa.circuit):
            checks.append(check_angles)
    estimator = _estimator(kind, backend, mode, options, seed)
    return Prepared(isa, estimator, transpiled, kind, backend, checks)


def check_pass_manager(pass_manager: Any) -> None:
    """Raise :class:`.CircuitError` unless something can transpile."""
    if isinstance(pass_manager, type) or not callable(getattr(pass_manager, "run", None)):
        raise CircuitError(
            f"Expected pass_manager to have a method run(circuit); got {shown(pass_manager)}. For "
            "example qiskit.transpiler.generate_preset_pass_manager(1, backend)."
        )


def kind_of(backend: Any, mode: Any = None) -> Kind:
    """Return what a backend is.

    Raises:
        BackendTypeError: If ``backend`` or ``mode`` is something else.
    """
    backend = backend_of(backend, mode)
    modules = {cls.__module__ for cls in type(backend).__mro__}
    if mode is not None or "qiskit_ibm_runtime.ibm_backend" in modules:
        return "runtime"
    if is_of_aer(backend):
        return "aer"
    if any("fake_provider" in name for name in modules):
        return "fake"
    return "device"


def check_isa(circuit: QuantumCircuit, backend: BackendV2) -> None:
    """Raise :class:`CircuitError` if some instruction is none of the backend's."""
    if circuit.num_qubits > backend.num_qubits:
        raise CircuitError(
            f"The circuit has {circuit.num_qubits} qubits; {backend.name} has {backend.num_qubits}."
        )
    _check_gates(circuit, range(circuit.num_qubits), backend)


def _check_gates(circuit: QuantumCircuit, indices: Sequence[int], backend: BackendV2) -> None:
    target = backend.target
    place = dict(zip(circuit.qubits, indices, strict=True))
    for instruction in circuit.data:
        name = instruction.operation.name
        qubits = tuple(place[q] for q in instruction.qubits)
        if is_box(instruction.operation):
            _check_gates(instruction.operation.body, qubits, backend)
        if name != "barrier" and not target.instruction_supported(name, qubits):
            raise CircuitError(
                f"{backend.name} has no {name} on qubits {qubits}: the circuit is not transpiled "
                "for it. Leave out pass_manager, or give one made for this backend: "
                "generate_preset_pass_manager(1, backend)."
            )


def is_same_device(one: BackendV2, other: BackendV2) -> bool:
    """Whether two objects stand for the same device, so that what was transpiled for one fits."""
    if one is other:
        return True
    devices = all(kind_of(b) == "runtime" for b in (one, other))
    # There may be several objects for a device, some with fractional gates.
    same_gates = set(one.target.operation_names) == set(other.target.operation_names)
    return devices and one.name == other.name and same_gates


class Transpiled:
    """Takes the place of a pass manager where transpiling is done.

    Args:
        circuit: The circuit it led to.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.circuit = circuit

    def run(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the transpiled circuit."""
        return self.circuit


def backend_of(backend: Any, mode: Any = None) -> BackendV2:
    """Return the backend that is named by itself or by the session or batch on it.

    Raises:
        BackendTypeError: If one of them is something else.
    """
    if mode is not None:
        if isinstance(mode, BackendV2):
            raise BackendTypeError(
                f"Expected mode to be an open Session or Batch; got the backend {mode.name}. Give "
                "it as backend=: every pass is then a job of its own."
            )
        if isinstance(mode, type):
            raise BackendTypeError(
                f"Expected mode to be an open Session or Batch; got the class {mode.__name__}. "
                f"Open it: with {mode.__name__}(backend=...) as session."
            )
        if not all(hasattr(mode, name) for name in ("backend", "session_id")) and not hasattr(
            mode, "_backend"
        ):
            raise BackendTypeError(
                "Expected mode to be an open Session or Batch of qiskit_ibm_runtime; got "
                f"{type(mode).__name__}. Open it around the training: with Batch(backend=...) as "
                "batch."
            )
        own = getattr(mode, "_backend", None)
        if backend is None:
            backend = own
        elif (
            isinstance(backend, BackendV2) and own is not None and not is_same_device(backend, own)
        ):
            raise BackendError(
                f"backend is {backend.name}, and mode is open on {own.name}. Give one of them, or "
                "both on the same device."
            )
    if isinstance(backend, type):
        raise BackendTypeError(
            f"Expected a backend object; got the class {backend.__name__}. Create it: "
            f"{backend.__name__}()."
        )
    if isinstance(backend, BaseEstimatorV2):
        raise BackendTypeError(
            f"Expected a backend; got the estimator {type(backend).__name__}. Give it as "
            "estimator=."
        )
    if not isinstance(backend, BackendV2):
        raise BackendTypeError(
            "Expected backend to be a BackendV2, such as AerSimulator() or "
            f"service.backend('...'); got {shown(backend)}."
        )
    return backend


def _preset(backend: BackendV2, level: int | None, seed: int | None) -> Any:
    level = 1 if level is None else level
    level = int(level) if is_whole_number(level) else level
    require_choice(level, "optimization_level", (0, 1, 2, 3), error=BackendError)
    require_seed(seed, "seed_transpiler", most=MOST_SEED // 2)
    given = {"optimization_level": level, "backend": backend, "seed_transpiler": seed}
    try:
        return generate_preset_pass_manager(**given)
    except TranspilerError:
        # A device names a plugin to translate with: that of runtime 0.44 does not load in Qiskit
        # 1.4. It is for circuits that are dynamic; what comes out is checked in any case.
        return generate_preset_pass_manager(**given, translation_method="translator")


def _estimator(
    kind: Kind,
    backend: BackendV2,
    mode: Any,
    options: Mapping[str, Any] | None,
    seed: int | None,
) -> BaseEstimatorV2:
    if kind == "runtime":
        return _runtime_estimator(backend if mode is None else mode, options)
    if kind == "aer":
        from qiskit_aer.primitives import EstimatorV2

        if getattr(backend.options, "executor", None) is not None:
            warnings.warn(
                "Aer accepts executor= and makes no use of it. To run on a pool or a Dask cluster "
                "use qiskit_torch_bridge.backends.ExecutorEstimator.",
                stacklevel=6,  # whoever makes the module
            )
        estimator = EstimatorV2.from_backend(backend)
        _update(estimator.options, options, "qiskit_aer.primitives.EstimatorV2")
        seeded = seed is None and repeats_noise(estimator)  # as the user wants it
        return estimator if seeded else FreshSeeds(estimator, seed)
    made = _backend_estimator(backend, options)
    return made if seed is None else FreshSeeds(made, seed)


def _backend_estimator(backend: BackendV2, options: Mapping[str, Any] | None) -> BaseEstimatorV2:
    estimator = BackendEstimatorV2(backend=backend)
    _update(estimator.options, options, "BackendEstimatorV2")
    return estimator


def _runtime_estimator(mode: Any, options: Mapping[str, Any] | None) -> BaseEstimatorV2:
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


def _update(target: Any, options: Mapping[str, Any] | None, who: str) -> None:
    for name, value in (options or {}).items():
        if not hasattr(target, name):
            known = ", ".join(sorted(vars(target)))
            raise BackendError(f"{who} has no option {name!r}. Its options are: {known}.")
        setattr(target, name, copy.deepcopy(value))  # seeds are written into some of them
