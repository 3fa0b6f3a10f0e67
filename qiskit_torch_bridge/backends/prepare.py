# SPDX-License-Identifier: Apache-2.0
"""From a backend to the estimator that runs on it and the circuit that it takes."""

from __future__ import annotations

import contextlib
import copy
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers import BackendV2
from qiskit.transpiler import Layout, TranspilerError, generate_preset_pass_manager

from ..arguments import (
    MOST_SEED,
    is_options,
    is_whole_number,
    require_choice,
    require_instance,
    require_seed,
    show_given,
    shown,
)
from ..exceptions import BackendError, BackendTypeError, CircuitError
from ..jobs import DispatchingEstimator, Jobs
from ..primitives.capabilities import is_from_aer, repeats_noise
from ..program import CircuitProgram
from ..program.lowering import is_box
from .angles import check_angles, has_limited_angles
from .fake_devices import simulator_of
from .seeds import FreshSeeds
from .travel import TravelCheck, check_travels

Kind = Literal["aer", "fake", "runtime", "device"]


@dataclass(frozen=True)
class OnBackend:
    """A backend, and how circuits are transpiled for it and run on it.

    Attributes:
        backend: An Aer simulator, a fake device, a device of IBM Quantum or any other
            ``BackendV2``; or an open ``Session`` or ``Batch`` of qiskit-ibm-runtime on one. None is
            ever opened here.
        options: Options of the estimator that runs there.
        optimization_level: Of the preset pass manager, from 0 to 3; default 1.
        seed_transpiler: Makes transpilation reproducible. Where jobs are written to a journal the
            default is 0, since a process that goes on with it must ask for the same circuit.
        initial_layout: The qubit of the device for each of the circuit's, or a Qiskit ``Layout``.
        transpile_options: Further arguments of Qiskit's ``generate_preset_pass_manager``, such as
            ``{"routing_method": "sabre"}``.
        jobs: The :class:`.Jobs`: how jobs are written down, limited and tried again.

    Raises:
        BackendTypeError: If ``backend`` is something else.
        BackendError: If options are wrong.

    Example:
        >>> from qiskit.providers.fake_provider import GenericBackendV2
        >>> from qiskit_torch_bridge.backends import OnBackend
        >>> OnBackend(GenericBackendV2(5, seed=1), initial_layout=[3, 4], optimization_level=3)
        OnBackend(generic_backend_5q, optimization_level=3, initial_layout=[3, 4])
    """

    backend: Any
    _: KW_ONLY
    options: Mapping[str, Any] | None = None
    optimization_level: int | None = None
    seed_transpiler: int | None = None
    initial_layout: Layout | Sequence[int] | None = None
    transpile_options: Mapping[str, Any] | None = None
    jobs: Jobs | None = None

    def __post_init__(self) -> None:
        _check_backend(self.backend)
        if self.options is not None and not is_options(self.options):
            raise BackendError(
                "Expected the backend's options to be a mapping of their names; got "
                f"{shown(self.options)}."
            )
        if self.optimization_level is not None:
            level = self.optimization_level
            level = int(level) if is_whole_number(level) else level
            require_choice(level, "optimization_level", (0, 1, 2, 3), error=BackendError)
        require_seed(self.seed_transpiler, "seed_transpiler", most=MOST_SEED // 2)
        _check_layout(self.initial_layout, self.device)
        _check_transpile_options(self.transpile_options)
        if self.jobs is not None:
            require_instance(
                self.jobs, "jobs", Jobs, "a jobs.Jobs, such as Jobs(journal='run.journal')"
            )

    @classmethod
    def coerce(cls, thing: Any) -> OnBackend:
        """Return ``thing`` if it is such a value, or the value of a plain backend or session.

        Raises:
            BackendTypeError: If it is something else.
        """
        return thing if isinstance(thing, OnBackend) else cls(thing)

    @property
    def device(self) -> BackendV2:
        """The backend, also if it is named by a session or batch on it."""
        backend: BackendV2 = self.backend if self.session is None else self.backend._backend
        return backend

    @property
    def session(self) -> Any:
        """The session or batch; ``None`` if there is none."""
        return None if isinstance(self.backend, BackendV2) else self.backend

    @property
    def kind(self) -> Kind:
        """What kind of estimator runs there."""
        return "runtime" if self.session is not None else _kind_of_device(self.device)

    @property
    def transpiles_by(self) -> list[str]:
        """The names of the fields that say how to transpile, as far as they are given."""
        return [name for name in TRANSPILING if getattr(self, name) is not None]

    def __deepcopy__(self, memo: dict[int, Any]) -> OnBackend:
        return self  # nothing in it changes, and what runs is not copied

    def __repr__(self) -> str:
        name = self.device.name
        if self.session is not None:
            name = f"{type(self.session).__name__} on {name}"
        return show_given(self, backend=name).replace("backend=", "", 1)


TRANSPILING = ("optimization_level", "seed_transpiler", "initial_layout", "transpile_options")


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
    on_backend: Any,
    *,
    pass_manager: Any = None,
    seed: int | None = None,
) -> Prepared:
    """Transpile a program for a backend, once, and make the estimator that runs it there.

    Args:
        program: The program.
        on_backend: A backend, a session or batch, or an :class:`OnBackend`.
        pass_manager: Takes the place of the preset one, and of what is said about it.
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
    transpiler = _transpiler(on, pass_manager, program.circuit.num_qubits)
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
            _backend_estimator(simulator_of(backend, kept), on.options), seed
        )
    else:
        made = _estimator(on, seed)
    checks: list[Callable[[EstimatorPub], None]] = []
    if kind == "runtime":
        check_travels(isa.circuit)
        checks.append(TravelCheck())
        if has_limited_angles(isa.circuit):
            checks.append(check_angles)
    if on.jobs is not None or kind in ("runtime", "device"):
        made = DispatchingEstimator(made, on.jobs, checks=checks)
    return Prepared(isa, made, transpiled, kind, backend)


def _transpiler(on: OnBackend, pass_manager: Any, num_qubits: int) -> Any:
    """Return what transpiles for a backend."""
    if pass_manager is None:
        return _preset(on, num_qubits)
    if on.transpiles_by and not isinstance(pass_manager, AlreadyTranspiled):
        raise BackendError(
            "pass_manager takes the place of the preset one that optimization_level, "
            "seed_transpiler, initial_layout and transpile_options are for. Leave out "
            f"{' and '.join(on.transpiles_by)}, or leave out pass_manager."
        )
    return check_pass_manager(pass_manager)


def check_pass_manager(pass_manager: Any) -> Any:
    """Return what can transpile, or raise :class:`.CircuitError`."""
    if isinstance(pass_manager, type) or not callable(getattr(pass_manager, "run", None)):
        raise CircuitError(
            f"Expected pass_manager to have a method run(circuit); got {shown(pass_manager)}. For "
            "example qiskit.transpiler.generate_preset_pass_manager(1, backend)."
        )
    return pass_manager


def _kind_of_device(backend: BackendV2) -> Kind:
    modules = {cls.__module__ for cls in type(backend).__mro__}
    if "qiskit_ibm_runtime.ibm_backend" in modules:
        return "runtime"
    if is_from_aer(backend):
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
    devices = all(_kind_of_device(b) == "runtime" for b in (one, other))
    # There may be several objects for a device, some with fractional gates.
    same_gates = set(one.target.operation_names) == set(other.target.operation_names)
    return devices and one.name == other.name and same_gates


def _check_backend(backend: Any) -> None:
    """Raise :class:`.BackendTypeError` unless something is a backend, or a session on one."""
    on_one = hasattr(backend, "session_id") and getattr(backend, "_backend", None)
    if isinstance(backend, BackendV2) or isinstance(on_one, BackendV2):
        return
    if isinstance(backend, type):
        name = backend.__name__
        how = f"{name}()." if issubclass(backend, BackendV2) else f"with {name}(backend=...) as it."
        raise BackendTypeError(
            f"Expected a backend, or an open Session or Batch; got the class {name}. Create it: "
            f"{how}"
        )
    if isinstance(backend, BaseEstimatorV2):
        raise BackendTypeError(
            f"Expected a backend; got the estimator {type(backend).__name__}. Give it as "
            "estimator=."
        )
    raise BackendTypeError(
        "Expected backend to be a BackendV2, such as AerSimulator() or service.backend('...'), or "
        f"an open Session or Batch of qiskit_ibm_runtime; got {shown(backend)}."
    )


def _check_layout(layout: Any, device: BackendV2) -> None:
    """Raise :class:`.BackendError` unless a layout names different qubits of a device."""
    if layout is None or isinstance(layout, Layout):
        return
    listed = isinstance(layout, (list, tuple, range)) and len(layout) > 0
    if not listed or not all(is_whole_number(q) and q >= 0 for q in layout):
        raise BackendError(
            "Expected initial_layout to be a qiskit.transpiler.Layout or a list of the device's "
            f"qubits, one for each of the circuit's, such as [3, 4]; got {shown(layout)}."
        )
    size = device.num_qubits
    if len(set(layout)) < len(layout) or (size is not None and max(layout) >= size):
        raise BackendError(
            f"Expected initial_layout to name different qubits of {device.name}, which has {size}, "
            f"counted from 0; got {shown(layout)}."
        )


def _check_transpile_options(options: Any) -> None:
    """Raise :class:`.BackendError` unless all options are the preset pass manager's."""
    if options is None:
        return
    if not is_options(options):
        raise BackendError(
            "Expected transpile_options to be a mapping of names, such as {'routing_method': "
            f"'sabre'}}; got {shown(options)}."
        )
    parameters = inspect.signature(generate_preset_pass_manager).parameters
    own = {"backend", "optimization_level", "seed_transpiler", "initial_layout"}
    known = [name for name in parameters if name not in own and not name.startswith("_")]
    for name in options:
        if name in own:
            raise BackendError(f"{name} is an argument of OnBackend itself. Give it there.")
        if name not in known:
            raise BackendError(
                f"Qiskit's preset pass manager has no option {name!r}. transpile_options takes "
                f"{', '.join(known)}."
            )


def _preset(on: OnBackend, num_qubits: int) -> Any:
    """Return the preset pass manager."""
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
    given = {
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
        raise _refused(on, error) from error
    except (TypeError, ValueError) as error:
        raise _refused(on, error) from error


def _refused(on: OnBackend, error: Exception) -> BackendError:
    return BackendError(
        f"Qiskit's preset pass manager does not take these options: {error}. transpile_options is "
        f"{shown(on.transpile_options)}."
    )


def _estimator(on: OnBackend, seed: int | None) -> BaseEstimatorV2:
    backend, options = on.device, on.options
    if on.kind == "runtime":
        return _runtime_estimator(on.backend, options)
    if on.kind == "aer":
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
