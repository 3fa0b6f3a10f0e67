# SPDX-License-Identifier: Apache-2.0
"""What runs on a backend: an estimator or a sampler, of whichever class it takes there.

Which of the two follows from what is read of the final state: operators take an estimator, outcomes
a sampler. Both are made in the same way, from one row of a table each.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit.providers import BackendV2

from ..exceptions import BackendError, MeasurementError
from ..jobs import DispatchingEstimator, DispatchingSampler
from ..primitives.capabilities import innermost, repeats_noise
from ..primitives.families import Primitive
from ..primitives.precision import precision_to_shots
from ..program import CircuitProgram
from ..program.control_flow import find_steps_at_run_time
from ..program.readouts import Expectations, Outcomes, Readout, RecordedBits
from .on_backend import Kind, OnBackend
from .simulators import FreshSeedsEstimator, FreshSeedsSampler


@dataclass(frozen=True)
class Classes:
    """The classes of estimators, or of samplers.

    Attributes:
        name: What qiskit-aer and qiskit-ibm-runtime call theirs.
        what: What it is, and what it is for.
        on_backends: Qiskit's own, for any backend.
        with_fresh_seeds: Gives each job of a simulator a seed of its own.
        dispatching: Sees jobs through.
    """

    name: str
    what: str
    on_backends: type[BackendEstimatorV2] | type[BackendSamplerV2]
    with_fresh_seeds: Callable[[Any, int | None], Primitive]
    dispatching: Callable[..., Primitive]

    @property
    def other(self) -> Classes:
        """The classes of the other primitives."""
        return SAMPLERS if self is ESTIMATORS else ESTIMATORS

    def of(self, package: str) -> Any:
        """Return the class that a package has."""
        return getattr(importlib.import_module(package), self.name)


ESTIMATORS = Classes(
    "EstimatorV2",
    "an estimator, which measures observables",
    BackendEstimatorV2,
    FreshSeedsEstimator,
    DispatchingEstimator,
)
SAMPLERS = Classes(
    "SamplerV2",
    "a sampler, which counts outcomes",
    BackendSamplerV2,
    FreshSeedsSampler,
    DispatchingSampler,
)


def classes_for(program: CircuitProgram) -> Classes:
    """Return the classes of what can run a program on a backend.

    Raises:
        MeasurementError: If nothing can.
    """
    return _classes_for(program.readout, program)


@functools.singledispatch
def _classes_for(readout: Readout, program: CircuitProgram) -> Classes:
    raise MeasurementError(
        f"{program.measurement!r} needs the amplitudes of the state, which no backend measures. "
        "Leave out backend: the exact engine computes them."
    )


@_classes_for.register
def _(readout: Expectations, program: CircuitProgram) -> Classes:
    return ESTIMATORS


@_classes_for.register(Outcomes)
@_classes_for.register(RecordedBits)
def _(readout: Readout, program: CircuitProgram) -> Classes:
    return SAMPLERS


def make_primitive(
    classes: Classes,
    on: OnBackend,
    seed: int | None,
    simulator: BackendV2 | None = None,
    *,
    sampled: bool = False,
) -> Primitive:
    """Return what runs on a backend, with the options that were given for it.

    Args:
        classes: Those of estimators or of samplers.
        on: The backend.
        seed: Seeds simulators; every job gets a seed of its own from it.
        simulator: What simulates a fake device in its place.
        sampled: Whether circuits measure before their end, so that each shot is a run of its own.
            Aer's estimator would average so many runs, whatever precision is asked for.

    Raises:
        BackendError: If it does not take these options.
    """
    sampling = sampled and on.kind == "aer" and classes is ESTIMATORS
    maker = _make_for_fake_device if sampling else _MAKERS[on.kind]
    return maker(classes, on, seed, simulator)


def _make_for_device(
    classes: Classes, on: OnBackend, seed: int | None, simulator: BackendV2 | None
) -> Primitive:
    made = _make_on_backend(classes, on.device, on.options)
    return made if seed is None else classes.with_fresh_seeds(made, seed)


def _make_for_fake_device(
    classes: Classes, on: OnBackend, seed: int | None, simulator: BackendV2 | None
) -> Primitive:
    made = _make_on_backend(classes, simulator or on.device, on.options)
    return classes.with_fresh_seeds(made, seed)


def _make_on_backend(
    classes: Classes, backend: BackendV2, options: Mapping[str, object] | None
) -> Primitive:
    def make(classes: Classes, **given: Any) -> Any:
        return classes.on_backends(backend=backend, **given)

    return _with_options(make, classes, options)


def _make_for_aer(
    classes: Classes, on: OnBackend, seed: int | None, simulator: BackendV2 | None
) -> Primitive:
    if getattr(on.device.options, "executor", None) is not None:
        warnings.warn(
            "Aer accepts executor= and makes no use of it. To run on a pool or a Dask cluster use "
            "qiskit_torch_bridge.backends.ExecutorEstimator, or ExecutorSampler.",
            stacklevel=6,  # whoever makes the module
        )

    def make(classes: Classes, **given: object) -> Any:
        return classes.of("qiskit_aer.primitives").from_backend(on.device, **given)

    made = _with_options(make, classes, on.options)
    seeded = seed is None and repeats_noise(made)  # by the user, who wants it so
    return made if seeded else classes.with_fresh_seeds(made, seed)


def _make_for_runtime(
    classes: Classes, on: OnBackend, seed: int | None, simulator: BackendV2 | None
) -> Primitive:
    def make(classes: Classes, **given: object) -> Any:
        with warnings.catch_warnings():
            # It announces a successor of the same interface.
            warnings.filterwarnings("ignore", f"The {classes.name} class is deprecated")
            return classes.of("qiskit_ibm_runtime")(mode=on.backend, **given)

    return _with_options(make, classes, on.options)


_MAKERS: dict[Kind, Callable[[Classes, OnBackend, int | None, BackendV2 | None], Primitive]] = {
    "aer": _make_for_aer,
    "fake": _make_for_fake_device,
    "runtime": _make_for_runtime,
    "device": _make_for_device,
}


# -- options -------------------------------------------------------------------------------------


def keep_shared_options(program: CircuitProgram, on: OnBackend) -> dict[str, object] | None:
    """Return the options of a backend that what runs a program there has, too.

    A default precision becomes as many shots.
    """
    if not on.options:
        return None
    sampled = bool(find_steps_at_run_time(program.circuit))
    plain = make_primitive(classes_for(program), replace(on, options=None), None, sampled=sampled)
    known = set.union(*_names_of(innermost(plain)))
    kept = {name: value for name, value in on.options.items() if name in known}
    precision = on.options.get("default_precision")
    if "default_shots" in known and isinstance(precision, float) and precision > 0:
        kept.setdefault("default_shots", precision_to_shots(precision))
    return kept


def _with_options(
    make: Callable[..., Any], classes: Classes, options: Mapping[str, object] | None
) -> Primitive:
    """Return what ``make(classes, **arguments)`` makes with options that it has.

    Raises:
        BackendError: If it does not have one of them, or does not take its value.
    """
    given = copy.deepcopy(dict(options or {}))  # seeds are written into some of them
    if not given:
        return cast(Primitive, make(classes))
    plain = make(classes)
    beside, known = _names_of(plain)
    who = f"{type(plain).__module__.partition('.')[0].replace('_', '-')}'s {type(plain).__name__}"
    for name in given.keys() - beside - known:
        others = set.union(*_names_of(make(classes.other)))
        hint = f" It is one of {classes.other.what}; here runs {classes.what}."
        raise BackendError(
            f"{who} has no option {name!r}.{hint if name in others else ''} Its options are: "
            f"{', '.join(sorted(beside | known))}."
        )
    arguments = {name: given.pop(name) for name in beside & given.keys()}
    try:
        return cast(Primitive, make(classes, options=given, **arguments))
    except (TypeError, ValueError) as error:
        raise BackendError(f"{who} does not take these options: {error}") from error


def _names_of(primitive: Any) -> tuple[set[str], set[str]]:
    """Return the names of what is set beside a primitive's options, and of these."""
    beside = set(inspect.signature(type(primitive)).parameters) - {"backend", "mode", "options"}
    return beside, {name for name in vars(primitive.options) if not name.startswith("_")}
