# SPDX-License-Identifier: Apache-2.0
"""The sampler that goes with an estimator, and the estimator that goes with a sampler.

Modules and algorithms are given one of the two, and what is to run besides needs the other: on the
same backend, with as many shots and the same noise model.
"""

from __future__ import annotations

import copy
import functools
import importlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2

from ..jobs import DispatchingEstimator, DispatchingSampler
from ..primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler, shots_to_precision
from ..primitives.families import Primitive
from ..primitives.precision import default_precision, default_shots, precision_to_shots
from ..program import CircuitProgram
from .make_primitive import keep_shared_options
from .on_backend import OnBackend
from .prepare import AlreadyTranspiled, Prepared, prepare
from .simulators import (
    ExecutorEstimator,
    ExecutorSampler,
    FreshSeeds,
    FreshSeedsEstimator,
    FreshSeedsSampler,
)

Maker: TypeAlias = Callable[[Any], Primitive | None]


def find_counterpart(primitive: Primitive) -> Primitive | None:
    """Return the sampler that goes with an estimator, or the estimator that goes with a sampler.

    Random numbers of the two are independent, but for a seed that gives every job the same noise:
    such a one is taken over as it is.

    Returns:
        A new primitive; ``None`` if nothing is known that matches this kind.
    """
    for kind in type(primitive).__mro__:
        make = _MAKERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if make is not None:
            return make(primitive)
    return None


def prepare_counterpart(
    program: CircuitProgram, on: OnBackend, isa_circuit: QuantumCircuit, seed: int | None = None
) -> Prepared:
    """Return what reads something else of a circuit that has been transpiled for a backend.

    Args:
        program: The circuit before it was transpiled, and what is to be read of it.
        on: The backend. Of its options those hold that what runs here has as well.
        isa_circuit: The transpiled circuit.
        seed: As for :func:`.prepare`. Estimators and samplers make different ones of it.
    """
    on = replace(on, options=keep_shared_options(program, on))
    return prepare(program, on, pass_manager=AlreadyTranspiled(isa_circuit), seed=seed)


# -- in this process -----------------------------------------------------------------------------


def _sample_states(estimator: Any) -> Primitive:
    seed = estimator.seed if isinstance(estimator.seed, int) else None
    return BatchedStatevectorSampler(seed=seed, **_shots_like(estimator))


def _estimate_states(sampler: Any) -> Primitive:
    seed = sampler.seed if isinstance(sampler.seed, int) else None
    return BatchedStatevectorEstimator(seed=seed, **_precision_like(sampler))


def _sample_batches(estimator: BatchedStatevectorEstimator) -> Primitive:
    (own,) = estimator._generator.spawn(1)
    return BatchedStatevectorSampler(seed=own, dtype=estimator.dtype, **_shots_like(estimator))


def _estimate_batches(sampler: BatchedStatevectorSampler) -> Primitive:
    (own,) = sampler._generator.spawn(1)
    return BatchedStatevectorEstimator(
        seed=own, dtype=sampler.dtype, noise="shots", **_precision_like(sampler)
    )


def _shots_like(estimator: Any) -> dict[str, Any]:
    """Return as many shots as an estimator takes; the sampler's own default if it is exact."""
    precision = default_precision(estimator)
    return {"default_shots": precision_to_shots(precision)} if precision else {}


def _precision_like(sampler: Any) -> dict[str, Any]:
    """Return the precision that an estimator has with the shots of a sampler."""
    shots = default_shots(sampler)
    return {"default_precision": shots_to_precision(shots)} if shots else {}


# -- on backends ---------------------------------------------------------------------------------


def _sample_on_backend(estimator: BackendEstimatorV2) -> Primitive:
    options = {"seed_simulator": estimator.options.seed_simulator, **_shots_like(estimator)}
    return BackendSamplerV2(backend=estimator.backend, options=options)


def _estimate_on_backend(sampler: BackendSamplerV2) -> Primitive:
    options = {"seed_simulator": sampler.options.seed_simulator, **_precision_like(sampler)}
    return BackendEstimatorV2(backend=sampler.backend, options=options)


def _sample_on_aer(estimator: Any) -> Primitive:
    from qiskit_aer.primitives import SamplerV2

    options = dict(estimator.options.run_options)
    seed = options.pop("seed_simulator", None)
    # The backend is not public; it may have been given to from_backend with its noise.
    made: Primitive = SamplerV2.from_backend(
        estimator._backend, seed=seed, options={"run_options": options}, **_shots_like(estimator)
    )
    return made


def _estimate_on_aer(sampler: Any) -> Primitive:
    from qiskit_aer.primitives import EstimatorV2

    seeded = {} if sampler.seed is None else {"seed_simulator": sampler.seed}
    options = {
        "backend_options": dict(sampler.options.backend_options),
        "run_options": {**sampler.options.run_options, **seeded},
        **_precision_like(sampler),
    }
    made: Primitive = EstimatorV2.from_backend(sampler._backend, options=options)
    return made


RUNTIME_OPTIONS = (
    "default_shots",
    "max_execution_time",
    "environment",
    "simulator",
    "dynamical_decoupling",
    "twirling",
)
"""What the runtime's estimators and samplers both do."""


def _make_on_runtime(primitive: Any, module: str, name: str) -> Primitive:
    with warnings.catch_warnings():
        # It announces a successor of the same interface.
        warnings.filterwarnings("ignore", f"The {name} class is deprecated")
        kind = getattr(importlib.import_module(module), name)
        made = kind(mode=primitive.mode if primitive.mode is not None else primitive.backend())
    for option in RUNTIME_OPTIONS:
        if hasattr(primitive.options, option):
            setattr(made.options, option, copy.deepcopy(getattr(primitive.options, option)))
    found: Primitive = made
    return found


# -- what holds others ---------------------------------------------------------------------------


def _with_fresh_seeds(
    holder: FreshSeeds, kind: Callable[[Any, int], Primitive]
) -> Primitive | None:
    inner = find_counterpart(holder.inner)
    return None if inner is None else kind(inner, holder.spawn_seed())


def _on_executor(holder: Any, kind: Any) -> Primitive | None:
    return _with_fresh_seeds(holder, lambda inner, seed: kind(holder.executor, inner, seed=seed))


def _dispatch(holder: Any, kind: Any) -> Primitive | None:
    held = [find_counterpart(each) for each in holder.primitives]
    return None if None in held else kind(held, holder.jobs, checks=holder.checks)


OURS, RUNTIME = "qiskit_torch_bridge", "qiskit_ibm_runtime"
_MAKERS: dict[tuple[str, str], Maker] = {
    ("qiskit", "StatevectorEstimator"): _sample_states,
    ("qiskit", "StatevectorSampler"): _estimate_states,
    (OURS, "BatchedStatevectorEstimator"): _sample_batches,
    (OURS, "BatchedStatevectorSampler"): _estimate_batches,
    ("qiskit", "BackendEstimatorV2"): _sample_on_backend,
    ("qiskit", "BackendSamplerV2"): _estimate_on_backend,
    ("qiskit_aer", "EstimatorV2"): _sample_on_aer,
    ("qiskit_aer", "SamplerV2"): _estimate_on_aer,
    **{
        (RUNTIME, old): functools.partial(_make_on_runtime, module=module, name=new)
        for old, module, new in (
            ("EstimatorV2", RUNTIME, "SamplerV2"),
            ("SamplerV2", RUNTIME, "EstimatorV2"),
            ("Estimator", f"{RUNTIME}.executor_sampler", "SamplerV2"),
            ("Sampler", f"{RUNTIME}.executor_estimator", "EstimatorV2"),
        )
    },
    (OURS, "SamplerEstimator"): lambda estimator: estimator.sampler,
    (OURS, "FreshSeedsEstimator"): functools.partial(_with_fresh_seeds, kind=FreshSeedsSampler),
    (OURS, "FreshSeedsSampler"): functools.partial(_with_fresh_seeds, kind=FreshSeedsEstimator),
    (OURS, "ExecutorEstimator"): functools.partial(_on_executor, kind=ExecutorSampler),
    (OURS, "ExecutorSampler"): functools.partial(_on_executor, kind=ExecutorEstimator),
    (OURS, "DispatchingEstimator"): functools.partial(_dispatch, kind=DispatchingSampler),
    (OURS, "DispatchingSampler"): functools.partial(_dispatch, kind=DispatchingEstimator),
}
"""What makes the counterpart of a kind of primitive, by package and name of its class."""
