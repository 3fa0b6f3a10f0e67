# SPDX-License-Identifier: Apache-2.0
"""A backend and everything that is said about it, in one value: what ``backend=`` takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Protocol

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.providers import BackendV2
from qiskit.transpiler import Layout, generate_preset_pass_manager

from ..arguments import (
    MOST_SEED,
    copy_options,
    is_whole_number,
    require_choice,
    require_instance,
    require_seed,
    show_given,
    shown,
)
from ..exceptions import BackendError, BackendTypeError
from ..jobs import Jobs
from ..primitives.capabilities import is_from_aer

Kind = Literal["aer", "fake", "runtime", "device"]


class Session(Protocol):
    """An open ``Session`` or ``Batch`` of qiskit-ibm-runtime."""

    @property
    def session_id(self) -> str | None:
        """The id of the session at the service."""


@dataclass(frozen=True)
class OnBackend:
    """A backend, and how circuits are transpiled for it and run on it.

    Attributes:
        backend: An Aer simulator, a fake device, a device of IBM Quantum or any other
            ``BackendV2``; or an open ``Session`` or ``Batch`` of qiskit-ibm-runtime on one. None is
            ever opened here.
        options: Options of the estimator or the sampler that runs there.
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

    backend: BackendV2 | Session
    _: KW_ONLY
    options: Mapping[str, object] | None = None
    optimization_level: int | None = None
    seed_transpiler: int | None = None
    initial_layout: Layout | Sequence[int] | None = None
    transpile_options: Mapping[str, object] | None = None
    jobs: Jobs | None = None

    def __post_init__(self) -> None:
        _require_backend(self.backend)
        what = "a mapping of their names"
        options = copy_options(self.options, "the backend's options", what, error=BackendError)
        if self.optimization_level is not None:
            level = self.optimization_level
            level = int(level) if is_whole_number(level) else level
            require_choice(level, "optimization_level", (0, 1, 2, 3), error=BackendError)
        require_seed(self.seed_transpiler, "seed_transpiler", most=MOST_SEED // 2)
        _require_layout(self.initial_layout, self.device)
        object.__setattr__(self, "options", options)
        own = _read_transpile_options(self.transpile_options)
        object.__setattr__(self, "transpile_options", own)
        if self.jobs is not None:
            require_instance(
                self.jobs, "jobs", Jobs, "a jobs.Jobs, such as Jobs(journal='run.journal')"
            )

    @classmethod
    def coerce(cls, thing: OnBackend | BackendV2 | Session) -> OnBackend:
        """Return ``thing`` if it is such a value, or the value of a plain backend or session.

        Raises:
            BackendTypeError: If it is something else.
        """
        return thing if isinstance(thing, OnBackend) else cls(thing)

    @property
    def device(self) -> BackendV2:
        """The backend, also if it is named by a session or batch on it."""
        if isinstance(self.backend, BackendV2):
            return self.backend
        backend: BackendV2 = getattr(self.backend, "_backend")  # noqa: B009 - the runtime's
        return backend

    @property
    def session(self) -> Session | None:
        """The session or batch; ``None`` if there is none."""
        return None if isinstance(self.backend, BackendV2) else self.backend

    @property
    def kind(self) -> Kind:
        """What kind of backend it is, which decides what runs there."""
        return "runtime" if self.session is not None else _classify_device(self.device)

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


def is_same_device(one: BackendV2, other: BackendV2) -> bool:
    """Whether two objects stand for the same device, so that what was transpiled for one fits."""
    if one is other:
        return True
    devices = all(_classify_device(b) == "runtime" for b in (one, other))
    # There may be several objects for a device, some with fractional gates.
    same_gates = set(one.target.operation_names) == set(other.target.operation_names)
    return devices and one.name == other.name and same_gates


def _classify_device(backend: BackendV2) -> Kind:
    modules = {cls.__module__ for cls in type(backend).__mro__}
    if "qiskit_ibm_runtime.ibm_backend" in modules:
        return "runtime"
    if is_from_aer(backend):
        return "aer"
    if any("fake_provider" in name for name in modules):
        return "fake"
    return "device"


def _require_backend(backend: object) -> None:
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
    if isinstance(backend, (BaseEstimatorV2, BaseSamplerV2)):
        raise BackendTypeError(
            f"Expected a backend; got the primitive {type(backend).__name__}. Give it as "
            "estimator=."
        )
    raise BackendTypeError(
        "Expected backend to be a BackendV2, such as AerSimulator() or service.backend('...'), or "
        f"an open Session or Batch of qiskit_ibm_runtime; got {shown(backend)}."
    )


def _require_layout(layout: Any, device: BackendV2) -> None:
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


def _read_transpile_options(options: Mapping[str, object] | None) -> dict[str, object] | None:
    """Return a copy, or raise :class:`.BackendError` unless all are the preset pass manager's."""
    what = "a mapping of names, such as {'routing_method': 'sabre'}"
    found = copy_options(options, "transpile_options", what, error=BackendError)
    parameters = inspect.signature(generate_preset_pass_manager).parameters
    own = {"backend", "optimization_level", "seed_transpiler", "initial_layout"}
    known = [name for name in parameters if name not in own and not name.startswith("_")]
    for name in found or ():
        if name in own:
            raise BackendError(f"{name} is an argument of OnBackend itself. Give it there.")
        if name not in known:
            raise BackendError(
                f"Qiskit's preset pass manager has no option {name!r}. transpile_options takes "
                f"{', '.join(known)}."
            )
    return found
