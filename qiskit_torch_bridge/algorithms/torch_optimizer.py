# SPDX-License-Identifier: Apache-2.0
"""Any optimizer of ``torch.optim`` where qiskit-algorithms expects one of its own."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit_algorithms.optimizers import Optimizer, OptimizerResult, OptimizerSupportLevel
from torch import Tensor

from ..arguments import (
    MOST_SEED,
    UNREADABLE,
    require_bool,
    require_callable,
    require_real_number,
    require_seed,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray
from ..exceptions import OptimizerError, OptimizerTypeError
from .minimization import (
    Bounds,
    Function,
    History,
    MinimizedFunction,
    Numerical,
    StoppingRule,
    read_bounds,
    read_numerical_gradient,
    read_point,
)

Callback: TypeAlias = Callable[[int, FloatArray, float, "FloatArray | None"], "bool | None"]
Scheduler: TypeAlias = "torch.optim.lr_scheduler.LRScheduler"
MakeScheduler: TypeAlias = Callable[[torch.optim.Optimizer], Scheduler]


@dataclass(frozen=True)
class _Settings:
    """What a run is made with besides the torch optimizer, checked."""

    maxiter: int
    gradient: Numerical
    epsilon: float | None
    scheduler: MakeScheduler | None
    clip_norm: float | None
    tol: float | None
    gradient_tol: float | None
    patience: int | None
    min_improvement: float
    callback: Callback | None
    progress: bool
    seed: int | None

    def __post_init__(self) -> None:
        read_numerical_gradient(self.gradient, self.epsilon)
        require_whole_number(self.maxiter, "maxiter", error=OptimizerError)
        require_seed(self.seed, most=MOST_SEED, error=OptimizerError)
        if self.patience is not None:
            require_whole_number(self.patience, "patience", 1, error=OptimizerError)
        for name in ("tol", "gradient_tol", "clip_norm"):
            if getattr(self, name) is not None:
                zero = name != "clip_norm"
                require_real_number(getattr(self, name), name, zero=zero, error=OptimizerError)
        require_real_number(
            self.min_improvement, "min_improvement", zero=True, error=OptimizerError
        )
        require_bool(self.progress, "progress", error=OptimizerTypeError)
        if self.callback is not None and not callable(self.callback):
            raise OptimizerTypeError(
                "Expected callback to be a function of step, parameters, value and gradient; got "
                f"{type(self.callback).__name__}."
            )


class TorchOptimizer(Optimizer):
    r"""Any ``torch.optim`` class as an optimizer of qiskit-algorithms.

    It goes wherever qiskit-algorithms takes an optimizer (``VQE``, ``SamplingVQE``, ``QAOA``,
    ``AdaptVQE``, ``VQD``), and, being a callable that follows its ``Minimizer`` protocol, into
    qiskit-machine-learning and qiskit-optimization as well.

    Args:
        optimizer: A class of ``torch.optim`` or of :mod:`qiskit_torch_bridge.optim`, or any other
            subclass of ``torch.optim.Optimizer`` whose ``step`` takes a closure.
        maxiter: The most steps.
        gradient: How to make a gradient if the algorithm gives none: ``"finite-difference"``
            (central, two evaluations per parameter) or ``"spsa"`` (two evaluations, random
            directions), or a :class:`.FiniteDifference` or :class:`.SimultaneousPerturbation` for
            options of these. All points of a gradient go into one call of the objective if
            ``max_evals_grouped`` allows.
        epsilon: The step of that gradient in radians; default 1e-4, good for exact values only,
            and 0.1 for SPSA. :func:`~qiskit_torch_bridge.rules.recommended_epsilon` gives one that
            suits a shot noise.
        max_evals_grouped: The most points handed to the objective at once, as ``(K, P)``. The
            objectives of qiskit-algorithms accept it. Default: one at a time.
        scheduler: Called with the torch optimizer, returns a scheduler of
            ``torch.optim.lr_scheduler``; it steps once after each step, ``ReduceLROnPlateau`` with
            the value. For example ``lambda o: torch.optim.lr_scheduler.StepLR(o, 50)``.
        clip_norm: Scale gradients down to this Euclidean norm.
        tol: Stop when the value changes by at most this from one step to the next.
        gradient_tol: Stop when no component of the gradient is larger.
        patience: Stop after this many steps without a new best value, better by more than
            ``min_improvement``.
        min_improvement: See ``patience``.
        callback: Called after each step as ``callback(step, parameters, value, gradient)`` with
            where the step started from, all parameters ``(P,)``; returning ``True`` stops.
        progress: Show a tqdm bar.
        seed: Seeds the directions of SPSA, and the optimizer itself if it takes a seed.
        **options: Keywords of the optimizer class: ``lr``, ``momentum``, ``betas`` and so on.

    Attributes:
        history: The :class:`History` of the last run.

    Raises:
        OptimizerTypeError: If ``optimizer`` is not a class of torch optimizers.
        OptimizerError: If it does not take the keywords, or one of the settings is out of range.
        InputError: In a run, if the initial point or the bounds are wrong.
        ObjectiveError: In a run, if a value or gradient is not finite or has the wrong shape; the
            best point before is the error's ``best_point``.

    The best point *seen* is returned, not the last one: with noisy values its value is on average
    too low. ``bounds`` are kept by projection after each step; a step may look beyond them. The
    parameters are in double precision.

    Cost:
        One value and one gradient per step (more for ``LBFGS``, which asks several times), and one
        value at the end. Optimizers that need no gradient, such as
        :class:`~qiskit_torch_bridge.optim.SPSA`, are given none.

    Example:
        >>> import torch
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_algorithms import VQE
        >>> from qiskit_torch_bridge.algorithms import TorchOptimizer
        >>> from qiskit_torch_bridge.gradients import AdjointEstimatorGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> theta = ParameterVector("theta", 4)
        >>> ansatz = QuantumCircuit(2)
        >>> for q in range(2):
        ...     _ = ansatz.ry(theta[q], q)
        >>> _ = ansatz.cx(0, 1)
        >>> for q in range(2):
        ...     _ = ansatz.ry(theta[2 + q], q)
        >>> optimizer = TorchOptimizer(torch.optim.Adam, maxiter=300, lr=0.1)
        >>> estimator = BatchedStatevectorEstimator()
        >>> vqe = VQE(
        ...     estimator, ansatz, optimizer, gradient=AdjointEstimatorGradient(estimator),
        ...     initial_point=[0.1, 0.2, 0.3, 0.4],
        ... )
        >>> operator = SparsePauliOp.from_list([("ZZ", 1.0), ("XI", 0.5), ("IX", 0.5)])
        >>> round(vqe.compute_minimum_eigenvalue(operator).eigenvalue, 6)  # -sqrt(2)
        -1.414214
    """

    def __init__(
        self,
        optimizer: type[torch.optim.Optimizer] = torch.optim.Adam,
        maxiter: int = 100,
        *,
        gradient: Numerical = "finite-difference",
        epsilon: float | None = None,
        max_evals_grouped: int | None = None,
        scheduler: MakeScheduler | None = None,
        clip_norm: float | None = None,
        tol: float | None = None,
        gradient_tol: float | None = None,
        patience: int | None = None,
        min_improvement: float = 0.0,
        callback: Callback | None = None,
        progress: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._class = _require_class(optimizer)
        if options.get("maximize"):
            raise OptimizerError(
                "maximize=True climbs, where an algorithm minimises. Leave it out; to maximise, "
                "minimise the negative operator."
            )
        self._own = _Settings(
            maxiter=maxiter,
            gradient=gradient,
            epsilon=epsilon,
            scheduler=scheduler,
            clip_norm=clip_norm,
            tol=tol,
            gradient_tol=gradient_tol,
            patience=patience,
            min_improvement=min_improvement,
            callback=callback,
            progress=progress,
            seed=seed,
        )
        self._torch_options = options
        self.set_max_evals_grouped(max_evals_grouped)
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self._make_scheduler(self._make_optimizer(parameter))
        if progress:
            _import_tqdm()
        self.history = History()

    def get_support_level(self) -> dict[str, OptimizerSupportLevel]:
        """Return what of gradient, bounds and initial point is used."""
        return {
            "gradient": OptimizerSupportLevel.supported,
            "bounds": OptimizerSupportLevel.supported,
            "initial_point": OptimizerSupportLevel.required,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The keywords that make this optimizer again: ``TorchOptimizer(**settings)``."""
        return {
            "optimizer": self._class,
            **vars(self._own),
            "max_evals_grouped": self._max_evals_grouped,
            **self._torch_options,
        }

    def set_options(self, **kwargs: Any) -> None:
        """Change settings; they are checked as when the optimizer was made."""
        changed = TorchOptimizer(**{**self.settings, **kwargs})
        changed.history = self.history
        self.__dict__.update(changed.__dict__)

    def set_max_evals_grouped(self, limit: int | None) -> None:
        """Set the most points handed to the objective at once."""
        if limit is not None:
            require_whole_number(limit, "max_evals_grouped", 1, error=OptimizerError)
        super().set_max_evals_grouped(limit)

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self._torch_options.items())
        return f"TorchOptimizer({self._class.__name__}, maxiter={self._own.maxiter}{options})"

    def __call__(
        self,
        fun: Function,
        x0: ArrayLike,
        jac: Function | None = None,
        bounds: Bounds | None = None,
    ) -> OptimizerResult:
        """Minimise, as the ``Minimizer`` protocol has it; the same as :meth:`minimize`."""
        return self.minimize(fun, x0, jac, bounds)

    def minimize(
        self,
        fun: Function,
        x0: ArrayLike,
        jac: Function | None = None,
        bounds: Bounds | None = None,
    ) -> OptimizerResult:
        """Minimise ``fun`` from ``x0`` and return the best point seen.

        Args:
            fun: Takes ``(P,)`` and returns a number; ``(K, P)`` and ``K`` numbers if
                ``max_evals_grouped`` is set.
            x0: The initial point ``(P,)``; a number for one parameter, which ``fun`` takes as
                ``(1,)``, as SciPy has it.
            jac: The gradient ``(P,)``; made from values if it is ``None``.
            bounds: A pair for each parameter; ``None`` in it for no limit.

        Returns:
            ``x`` and ``fun``, the best point and its value; ``jac`` if it is known there; ``nfev``
            points evaluated, ``njev`` gradients and ``nit`` steps.
        """
        require_callable(fun, "fun", "a function of a point", error=OptimizerTypeError)
        if jac is not None:
            require_callable(jac, "jac", "a function of a point, or None", error=OptimizerTypeError)
        start = read_point(x0)
        low, high = read_bounds(bounds, len(start))
        own = self._own
        how = read_numerical_gradient(own.gradient, own.epsilon)
        seed = getattr(how, "seed", None)
        objective = MinimizedFunction(
            fun,
            jac,
            numerical=how,
            grouped=self._max_evals_grouped,
            rng=np.random.default_rng(own.seed if seed is None else seed),
            bounds=(low, high),
        )
        parameter = torch.nn.Parameter(torch.from_numpy(np.clip(start, low, high)))
        optimizer = self._make_optimizer(parameter)
        scheduler = self._make_scheduler(optimizer)
        history = self.history = History()
        stop = StoppingRule(own.tol, own.gradient_tol, own.patience, own.min_improvement)
        steps = 0
        bar = _import_tqdm()(total=own.maxiter, unit="step") if own.progress else None
        with contextlib.nullcontext() if bar is None else contextlib.closing(bar):
            while steps < own.maxiter:
                begin = parameter.detach().numpy().copy()
                rate = float(optimizer.param_groups[0].get("lr", math.nan))
                value, gradient = self._take_step(optimizer, parameter, objective)
                with torch.no_grad():
                    parameter.copy_(torch.from_numpy(np.clip(parameter.numpy(), low, high)))
                steps += 1
                history.add(begin, value, gradient, rate, objective.nfev)
                if bar is not None:
                    bar.set_postfix(value=f"{value:.6g}", refresh=False)
                    bar.update()
                is_asked = self._call_back(steps, begin, value, gradient)
                if stop(value, gradient) or is_asked:
                    break
                if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    scheduler.step(value)
                elif scheduler is not None:
                    scheduler.step()
            objective.evaluate(parameter.detach().numpy().copy())  # where the last step has led
        result = OptimizerResult()
        result.x, result.fun = objective.best_point, objective.best_value
        result.jac = objective.best_gradient
        result.nfev, result.njev, result.nit = objective.nfev, objective.njev, steps
        return result

    def _take_step(
        self,
        optimizer: torch.optim.Optimizer,
        parameter: torch.nn.Parameter,
        objective: MinimizedFunction,
    ) -> tuple[float, FloatArray | None]:
        """Take one step, and return value and gradient where it started from."""
        start = parameter.detach().numpy().copy()
        seen: list[tuple[FloatArray, float, FloatArray | None]] = []

        def closure() -> Tensor:
            x = parameter.detach().numpy().copy()
            gradient = None
            if torch.is_grad_enabled():
                value, gradient = objective.differentiate(x)
                parameter.grad = torch.from_numpy(_clip(gradient, self._own.clip_norm))
            else:  # the optimizer wants values only
                value = objective.evaluate(x)
            seen.append((x, value, gradient))
            return torch.tensor(value, dtype=torch.float64)

        returned = optimizer.step(closure)  # type: ignore[arg-type] # which torch takes for a float
        if not seen:
            raise OptimizerTypeError(
                f"Expected {self._class.__name__}.step(closure) to call the closure, as torch's "
                "optimizers do; it did not."
            )
        at_start = [(v, g) for x, v, g in seen if np.array_equal(x, start)]
        return at_start[0] if at_start else (float(returned), None)

    def _call_back(
        self, step: int, start: FloatArray, value: float, gradient: FloatArray | None
    ) -> bool:
        """Tell the callback of a step, and return whether it asks to stop."""
        if self._own.callback is None:
            return False
        copied = None if gradient is None else gradient.copy()
        asked = self._own.callback(step, start.copy(), value, copied)
        return isinstance(asked, (bool, np.bool_)) and bool(asked)

    def _make_optimizer(self, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
        # A learning rate may be a tensor, which schedulers change in place.
        options: dict[str, Any] = {
            k: v.clone() if isinstance(v, torch.Tensor) else v
            for k, v in self._torch_options.items()
        }
        accepted = inspect.signature(self._class).parameters
        if self._own.seed is not None and "seed" in accepted:
            options["seed"] = self._own.seed
        try:
            return self._class([parameter], **options)
        except UNREADABLE as error:
            names = ", ".join(name for name in accepted if name != "params")
            known = f" It takes: {names}." if isinstance(error, TypeError) else ""
            why = str(error).rstrip(".")
            raise OptimizerError(
                f"Expected options that {self._class.__name__} can be made with; got "
                f"{shown(options)}: {why}.{known}"
            ) from error

    def _make_scheduler(self, optimizer: torch.optim.Optimizer) -> Scheduler | None:
        make = self._own.scheduler
        if make is None:
            return None
        expected = (
            "Expected scheduler to be a function that takes the torch optimizer and returns a "
            "scheduler, such as lambda o: torch.optim.lr_scheduler.StepLR(o, 50)"
        )
        if not callable(make):
            raise OptimizerTypeError(f"{expected}; got {type(make).__name__}.")
        try:
            scheduler = make(optimizer)
        except UNREADABLE as error:
            raise OptimizerTypeError(
                f"{expected}; given {self._class.__name__} it raised {error!r}."
            ) from error
        if not hasattr(scheduler, "step"):
            raise OptimizerTypeError(f"{expected}; it returned {type(scheduler).__name__}.")
        return scheduler


def _require_class(optimizer: object) -> type[torch.optim.Optimizer]:
    """Return ``optimizer`` if it is a class of torch optimizers, or say what to give instead."""
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return optimizer
    if isinstance(optimizer, torch.optim.Optimizer):
        name = type(optimizer).__name__
        raise OptimizerTypeError(
            f"Expected a class of torch optimizers; got an object of {name}, which is bound to "
            f"parameters of its own. Give the class and its keywords: TorchOptimizer({name}, ...)."
        )
    raise OptimizerTypeError(
        f"Expected a class of torch optimizers, such as torch.optim.Adam; got {shown(optimizer)}."
    )


def _clip(gradient: FloatArray, norm: float | None) -> FloatArray:
    length = math.hypot(*gradient)  # without overflow, where a run diverges
    return gradient * (norm / length) if norm is not None and length > norm else gradient.copy()


def _import_tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise OptimizerError(
            "progress=True needs tqdm, which is not installed: pip install tqdm."
        ) from error
    return tqdm
