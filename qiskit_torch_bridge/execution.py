# SPDX-License-Identifier: Apache-2.0
"""How a circuit is evaluated: where, by which gradient, how precisely; one immutable value.

Whatever a user chooses is put into an :class:`Execution` at the door, checked there once, and
trusted afterwards. What is more than one choice has a value of its own in it: :class:`Exact` for
the engine in this process, :class:`.OnBackend` for a backend, :class:`.Jobs` for what is done about
jobs, :class:`Shots` where forward and backward passes differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, runtime_checkable

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.providers import BackendV2
from qiskit_algorithms.gradients import BaseEstimatorGradient, BaseSamplerGradient

from .arguments import (
    MOST_SEED,
    require_choice,
    require_complex_dtype,
    require_seed,
    require_whole_number,
    show_given,
    shown,
)
from .backends import OnBackend
from .backends.on_backend import Session
from .backends.prepare import PassManager, check_pass_manager
from .exceptions import BackendError, DeviceError, GradientError, InputError, PrecisionError
from .gradients.base import REAL_IN_TORCH, require_real
from .jobs import Dispatching, DispatchingEstimator, DispatchingSampler, Jobs
from .primitives import validate_precision
from .primitives.families import Primitive, validate_primitive
from .primitives.precision import MOST_SHOTS
from .program import CircuitProgram
from .rules import (
    FiniteDifference,
    MultiFrequencyRule,
    ParameterShiftRule,
    Rule,
    SimultaneousPerturbation,
)
from .rules.difference_rules import is_named_gradient
from .simulation.choice import AUTOMATIC, COLUMNS, METHODS, STATEVECTOR

if TYPE_CHECKING:
    from .engines import Engine

PROCESSOR = "cpu"
DEVICES = re.compile(r"automatic|cpu|mps|(cuda|xpu)(:(0|[1-9][0-9]{0,3}))?")
"""Where the exact engine computes."""
NUMBA, TRITON, TORCH = "numba", "triton", "torch"
KERNELS = (AUTOMATIC, NUMBA, TRITON, TORCH)
"""What the exact engine computes with."""
ON_DEVICES = (AUTOMATIC, STATEVECTOR, COLUMNS)
"""The methods of simulation that there are in tensors."""


@runtime_checkable
class EngineMaker(Protocol):
    """A place to run that is not of this package: see the page "Write an engine of your own"."""

    def make_engine(self, program: CircuitProgram, execution: Execution) -> Engine:
        """Return the engine that evaluates a program."""
        ...


GradientObject: TypeAlias = BaseEstimatorGradient | BaseSamplerGradient
GradientChoice: TypeAlias = str | FiniteDifference | SimultaneousPerturbation | GradientObject
EstimatorChoice: TypeAlias = "Exact | Primitive | EngineMaker"
BackendChoice: TypeAlias = BackendV2 | OnBackend | Session

RULES: dict[str, Callable[[float | None, int | None], Rule]] = {
    "parameter-shift": lambda precision, seed: ParameterShiftRule(),
    "aqgd": lambda precision, seed: MultiFrequencyRule(),
    "finite-difference": lambda precision, seed: FiniteDifference().rule(precision),
    "spsa": lambda precision, seed: SimultaneousPerturbation(seed=seed).rule(precision),
}
"""The rules that have a name, made for the precision of an evaluation and a seed."""
GRADIENTS = ("adjoint", *RULES)
"""The gradients that have a name; gradient objects of qiskit-algorithms work as well."""


@dataclass(frozen=True)
class Exact:
    """The exact engine in this process, as a place to run.

    Args:
        method: How circuits are simulated: by their ``"statevector"``, by the ``"light-cones"`` of
            the observables, as ``"columns"``, a matrix product whose bonds are as wide as the gates
            across them, or as a tensor ``"network"``, contracted in an order that is searched for.
            None of them truncates. ``"automatic"`` takes the one whose estimated cost is the least.
        dtype: ``"complex128"``, or ``"complex64"`` for single precision in half of the memory and
            time. Types of NumPy and PyTorch are accepted and kept by their names.
        device: Where: ``"automatic"`` follows the tensors, which are computed where they are if
            that is on CUDA or XPU, and on the processor otherwise. ``"cpu"`` is always the
            processor; ``"cuda"``, ``"cuda:1"``, ``"xpu"`` and ``"mps"`` are always there, wherever
            the tensors are: outputs come back to where the inputs were. A ``torch.device`` is
            accepted and kept by its name.
        kernels: What computes: ``"numba"`` on the processor alone, ``"triton"`` on CUDA, or
            ``"torch"``, operations of PyTorch on any device, with derivatives of any order.
            ``"automatic"`` is Numba on the processor, Triton on CUDA and PyTorch elsewhere.

    Raises:
        InputError: If one of them is something else.
        DeviceError: If one of them is not to be had with another: ``"numba"`` or
            ``"light-cones"`` on a device, or double precision on MPS, which has none.

    Example:
        >>> from qiskit_torch_bridge import Exact
        >>> Exact(dtype="complex64")
        Exact(dtype='complex64')
    """

    method: str = AUTOMATIC
    dtype: str = "complex128"
    device: str = AUTOMATIC
    kernels: str = AUTOMATIC

    def __post_init__(self) -> None:
        require_choice(self.method, "method", METHODS)
        object.__setattr__(self, "dtype", require_complex_dtype(self.dtype))
        object.__setattr__(self, "device", _require_device(self.device))
        require_choice(self.kernels, "kernels", KERNELS)
        self._check_device()

    def _check_device(self) -> None:
        """Raise if what is chosen does not go together."""
        where = f"device={self.device!r}" if self.is_on_device else f"kernels={self.kernels!r}"
        if self.is_on_device and self.kernels == NUMBA:
            raise DeviceError(
                f"Expected kernels that compute on a device with {where}; got 'numba', which "
                "computes on the processor. Leave kernels out, or use 'torch'."
            )
        if self.device in ("mps", "xpu") and self.kernels == TRITON:
            raise DeviceError(
                f"Expected kernels='torch' with {where}; got 'triton', whose kernels are for CUDA."
            )
        if self.device == "mps" and self.dtype == "complex128":
            raise DeviceError(
                "Expected dtype='complex64' with device='mps', which has no numbers in double "
                "precision; got dtype='complex128'."
            )
        if self.is_in_tensors and self.method not in ON_DEVICES:
            raise DeviceError(
                f"Expected method to be 'automatic', 'statevector' or 'columns' with {where}; got "
                f"{self.method!r}, which computes on the processor by Numba alone. Leave out "
                f"{where.partition('=')[0]}."
            )

    @property
    def is_on_device(self) -> bool:
        """Whether it computes on a device besides the processor, wherever tensors are."""
        return self.device not in (AUTOMATIC, PROCESSOR)

    @property
    def is_in_tensors(self) -> bool:
        """Whether it computes in tensors wherever they are, and never by Numba."""
        return self.is_on_device or self.kernels in (TRITON, TORCH)

    def __repr__(self) -> str:
        return show_given(self)


def _require_device(device: Any) -> str:
    """Return the name of a device, as PyTorch has them."""
    text = str(device) if type(device).__module__ == "torch" else device
    if isinstance(text, str) and DEVICES.fullmatch(text):
        return text
    raise InputError(
        "Expected device to be 'automatic', 'cpu', 'cuda', 'xpu' or 'mps', with a number as in "
        f"'cuda:1' where there are several; got {shown(device)}."
    )


@dataclass(frozen=True)
class Shots:
    """Shots of forward and backward passes, where they are not the same.

    Args:
        forward: Shots for each evaluation of a forward pass; ``None`` for the default of the
            estimator.
        gradient: Shots for each evaluation of a gradient; default: as many.

    Raises:
        PrecisionError: If they are not positive whole numbers, or none is given.

    Example:
        >>> from qiskit_torch_bridge import Shots
        >>> Shots(forward=1000, gradient=100)
        Shots(forward=1000, gradient=100)
    """

    forward: int | None = None
    gradient: int | None = None

    def __post_init__(self) -> None:
        given = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if not given:
            raise PrecisionError(
                "Expected shots of forward passes, of gradients or of both; got None for both."
            )
        for name in given:
            object.__setattr__(self, name, _whole_shots(getattr(self, name), name))

    def __repr__(self) -> str:
        return show_given(self)


class HowFields(TypedDict, total=False):
    """The fields of :class:`Execution` but for the backend, as far as they are to change."""

    estimator: EstimatorChoice | Sequence[Primitive] | None
    gradient: GradientChoice | None
    shots: int | Shots | None
    precision: float | None
    pass_manager: PassManager | None
    seed: int | None


class ExecutionFields(HowFields, total=False):
    """The fields of :class:`Execution`, as far as they are to change."""

    backend: BackendChoice | None


@dataclass(frozen=True)
class Execution:
    """Where and how a circuit is evaluated and differentiated.

    Args:
        estimator: Any V2 estimator or sampler; a list of either, which share the rows of every
            request; or :class:`Exact`. Default: exact simulation in this process, or shots sampled
            there if ``shots`` or ``precision`` is given.
        backend: A ``BackendV2``, an open ``Session`` or ``Batch``, or an :class:`.OnBackend`.
        gradient: A name, a :class:`.FiniteDifference` or :class:`.SimultaneousPerturbation`, or a
            ``BaseEstimatorGradient`` or ``BaseSamplerGradient`` instance. Default: ``"adjoint"``
            where values are exact, ``"parameter-shift"`` elsewhere.
        shots: Shots for every evaluation, or a :class:`Shots`.
        precision: The standard error for every evaluation instead.
        pass_manager: Transpiles the circuit, once.
        seed: Seeds simulators and random directions.

    Raises:
        BridgeError: One of its subclasses for anything that is wrong, when it is made.

    Example:
        >>> from qiskit_torch_bridge import Execution
        >>> Execution(shots=100, seed=7)
        Execution(shots=100, seed=7)
    """

    estimator: EstimatorChoice | Sequence[Primitive] | None = None
    backend: BackendChoice | None = None
    gradient: GradientChoice | None = None
    shots: int | Shots | None = None
    precision: float | None = None
    pass_manager: PassManager | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, coerce in _COERCIONS.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, coerce(getattr(self, name)))
        if self.estimator is not None and self.backend is not None:
            raise BackendError(
                f"Expected one place to run; got {_name(self.estimator)} and {self.backend!r}. A "
                "backend brings its own estimator; several backends are given as estimator=[...], "
                "an estimator for each."
            )
        _ = self.forward_precision  # one of shots and precision, and a number
        if self.exact is not None and self.samples:
            raise PrecisionError(
                f"{self.exact!r} computes exactly and measures nothing, so it takes neither "
                "shots nor precision. Leave out the estimator to sample shots in this process."
            )

    @property
    def exact(self) -> Exact | None:
        """The engine in this process, if it was named."""
        return self.estimator if isinstance(self.estimator, Exact) else None

    @property
    def primitive(self) -> Primitive | None:
        """The estimator or sampler, if one was given."""
        given = self.estimator
        return given if isinstance(given, (BaseEstimatorV2, BaseSamplerV2)) else None

    @property
    def maker(self) -> EngineMaker | None:
        """What makes an engine that is not of this package, if it was given."""
        return self.estimator if isinstance(self.estimator, EngineMaker) else None

    @property
    def on_backend(self) -> OnBackend | None:
        """The backend, and how circuits are transpiled for it and run on it."""
        return None if self.backend is None else OnBackend.coerce(self.backend)

    @property
    def samples(self) -> bool:
        """Whether shots or a precision are asked for."""
        return self.shots is not None or self.precision is not None

    @property
    def forward_shots(self) -> int | None:
        """The shots of a forward pass; ``None`` if none were asked for."""
        return self.shots.forward if isinstance(self.shots, Shots) else self.shots

    @property
    def forward_precision(self) -> float | None:
        """The precision to request in a forward pass; ``None`` for the estimator's default."""
        return validate_precision(self.forward_shots, self.precision)

    @property
    def gradient_precision(self) -> float | None:
        """The precision to request in a gradient, if it is not that of the forward pass."""
        return validate_precision(getattr(self.shots, "gradient", None), None)

    @property
    def gradient_object(self) -> GradientObject | None:
        """The gradient, if it was given as an object with a primitive of its own."""
        given = self.gradient
        return given if isinstance(given, (BaseEstimatorGradient, BaseSamplerGradient)) else None

    def named_rule(self, precision: float | None) -> Rule:
        """Return the rule of a gradient that is chosen by name, for evaluations of a precision."""
        choice: Any = self.gradient or "parameter-shift"
        if isinstance(choice, str):
            return RULES[choice](precision, self.seed)
        if isinstance(choice, SimultaneousPerturbation) and choice.seed is None:
            choice = replace(choice, seed=self.seed)
        rule: Rule = choice.rule(precision)
        return rule

    @property
    def jobs(self) -> Jobs | None:
        """What is done about jobs, wherever it was said."""
        if self.on_backend is not None:
            return self.on_backend.jobs
        primitive: Any = self.primitive
        return primitive.jobs if isinstance(primitive, Dispatching) else None

    def changed(self, changes: ExecutionFields) -> Execution:
        """Return the value with other choices, and what follows from them.

        Shots replace a precision and the other way round. Another place replaces the present one,
        with its pass manager and with a gradient object, which belongs to its own estimator; the
        adjoint gradient stays where values are exact; journal and budget go along to wherever jobs
        are run.
        """
        new: dict[str, Any] = {**changes}
        for name, other in (("shots", "precision"), ("precision", "shots")):
            if new.get(name) is not None:
                new.setdefault(other, None)
        if "estimator" in new or "backend" in new:
            self._follow(new)
        return replace(self, **new)

    def _follow(self, new: dict[str, Any]) -> None:
        """Complete the changes for a move to another place."""
        new.setdefault("estimator", None)
        new.setdefault("backend", None)
        new.setdefault("pass_manager", None)
        estimator, backend = new["estimator"], new["backend"]
        if isinstance(estimator, Exact):
            new.setdefault("shots", None)
            new.setdefault("precision", None)
        shots, precision = (new.get(n, getattr(self, n)) for n in ("shots", "precision"))
        nowhere = estimator is None and backend is None
        exact = isinstance(estimator, Exact) or (nowhere and shots is None and precision is None)
        if nowhere and exact and self.exact is not None:
            new["estimator"] = self.exact
        if not is_named_gradient(self.gradient) or (self.gradient == "adjoint" and not exact):
            new.setdefault("gradient", None)
        if self.jobs is None:
            return
        if backend is not None:
            on = OnBackend.coerce(backend)
            new["backend"] = on if on.jobs is not None else replace(on, jobs=self.jobs)
        elif estimator is not None and not isinstance(estimator, (Exact, Dispatching, EngineMaker)):
            new["estimator"] = dispatch(estimator, self.jobs)

    @property
    def given(self) -> ExecutionFields:
        """The fields that are not ``None``."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in chosen.items() if v is not None}  # type: ignore[return-value]

    def settings(
        self, primitive: Primitive | None, gradient: str, method: str | None = None
    ) -> list[str]:
        """Return what ``print`` shows of it, with what stands where nothing was chosen.

        Args:
            primitive: What evaluates; ``None`` for the exact engine.
            gradient: The name of the gradient in use.
            method: By which the exact engine simulates; ``None`` if it does not.
        """
        place = self.estimator if self.backend is None else self.backend
        if place is None:
            place = Exact() if primitive is None else primitive
        text = _name(place)
        if isinstance(place, Exact) and method is not None:
            chosen = replace(place, method=method.split("+")[0])
            text = show_given(chosen, method=repr(method))
        where = "estimator" if self.backend is None else "backend"
        told = [f"{where}={text}", f"gradient={gradient}"]
        told += [f"shots={self.shots}"] if self.shots is not None else []
        return told + ([f"precision={self.precision:.3g}"] if self.precision is not None else [])

    def __repr__(self) -> str:
        return show_given(self, **{name: _name(value) for name, value in self.given.items()})

    def __copy__(self) -> Execution:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Execution:
        return self  # estimators may stand for a device or a session, of which there is one


def _name(value: Any) -> str:
    """Return an object as text, by the name of its class if it has no better one."""
    text = repr(value)
    return f"{type(value).__name__}()" if " object at 0x" in text else text


def dispatch(
    primitives: Any, jobs: Jobs | None = None
) -> DispatchingEstimator | DispatchingSampler:
    """Return what runs requests on some estimators, or on some samplers."""
    first = primitives[0] if isinstance(primitives, (list, tuple)) and primitives else primitives
    if isinstance(first, BaseSamplerV2):
        return DispatchingSampler(primitives, jobs)
    return DispatchingEstimator(primitives, jobs)


def _coerce_estimator(estimator: Any) -> EstimatorChoice:
    if isinstance(estimator, (list, tuple)):
        return dispatch(estimator)
    if isinstance(estimator, type) or not isinstance(estimator, (Exact, EngineMaker)):
        return validate_primitive(estimator)
    return estimator


def _coerce_gradient(gradient: Any) -> GradientChoice:
    if (isinstance(gradient, str) and gradient in GRADIENTS) or (
        is_named_gradient(gradient) and not isinstance(gradient, str)
    ):
        return gradient
    if isinstance(gradient, BaseSamplerGradient):
        return gradient
    if isinstance(gradient, BaseEstimatorGradient):
        require_real(gradient, REAL_IN_TORCH)
        return gradient
    if isinstance(gradient, type) and issubclass(
        gradient, (BaseEstimatorGradient, BaseSamplerGradient)
    ):
        raise GradientError(
            f"Expected a gradient object; got the class {gradient.__name__}. Create it: "
            f"{gradient.__name__}(estimator)."
        )
    known = ", ".join(repr(name) for name in GRADIENTS)
    raise GradientError(
        f"Expected gradient to be one of {known}, a gradients.FiniteDifference or "
        "SimultaneousPerturbation for options of these, or a gradient object of qiskit-algorithms; "
        "got "
        f"{shown(gradient)}."
    )


def _coerce_shots(shots: Any) -> int | Shots:
    return shots if isinstance(shots, Shots) else _whole_shots(shots, "shots")


def _whole_shots(shots: Any, name: str) -> int:
    hint = " Leave it out for the estimator's own default."
    return require_whole_number(shots, name, 1, MOST_SHOTS, error=PrecisionError, hint=hint)


_COERCIONS: Mapping[str, Callable[[Any], Any]] = {
    "estimator": _coerce_estimator,
    "backend": OnBackend.coerce,
    "gradient": _coerce_gradient,
    "shots": _coerce_shots,
    "pass_manager": check_pass_manager,
    "seed": lambda seed: require_seed(seed, most=MOST_SEED),
}


def check_evaluation(evaluation: Any) -> Execution:
    """Return what is different in evaluation, or raise :class:`.InputError`."""
    if not isinstance(evaluation, Execution):
        raise InputError(
            "Expected evaluation to be an Execution with what is different in eval() mode, such as "
            f"Execution(shots=4000); got {shown(evaluation)}."
        )
    return evaluation


__all__ = ["Exact", "Execution", "Jobs", "OnBackend", "Shots"]
