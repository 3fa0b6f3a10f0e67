# SPDX-License-Identifier: Apache-2.0
"""Every random state that a training draws from, as tensors and numbers, and back."""

from __future__ import annotations

import copy
import functools
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit_algorithms.gradients import QFI, BaseEstimatorGradient, BaseQGT
from qiskit_algorithms.state_fidelities import BaseStateFidelity
from torch import nn

from ..arguments import shown
from ..autograd import Node
from ..exceptions import CheckpointError
from ..rules.difference_rules import SPSARule

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


@functools.cache
def _holders() -> tuple[type, ...]:
    """Return the kinds of objects in which generators are looked for."""
    from ..optim import FubiniStudyMetric, StateFidelity  # not while the package is imported

    return (
        BaseEstimatorV2,
        BaseSamplerV2,
        BaseEstimatorGradient,
        BaseStateFidelity,
        BaseQGT,
        QFI,
        FubiniStudyMetric,
        StateFidelity,
        SPSARule,
    )


def global_states() -> dict[str, Any]:
    """Return the states of torch, of NumPy's legacy functions and of Python's ``random``."""
    # Without a context on the devices, nothing was drawn there, and asking would make one.
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda else [],
        "numpy": _listed(np.random.get_state(legacy=False)),  # noqa: NPY002
        "python": _listed(random.getstate()),
    }


def check_global_states(states: Mapping[str, Any]) -> None:
    """Raise :class:`CheckpointError` unless :func:`set_global_states` will work."""
    torch.Generator().set_state(states["torch"])
    random.Random().setstate(_tuples(states["python"]))
    here: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    _check_kind("NumPy's legacy functions", states["numpy"]["bit_generator"], here["bit_generator"])
    scratch = np.random.RandomState(getattr(np.random, here["bit_generator"])())
    scratch.set_state(_unlisted(states["numpy"], here))
    if states["cuda"] and _cuda_count() != len(states["cuda"]):
        warnings.warn(
            f"The checkpoint has random states of {len(states['cuda'])} CUDA devices; here are "
            f"{_cuda_count()}. They are left out: numbers drawn on such devices will differ.",
            stacklevel=4,
        )


def set_global_states(states: Mapping[str, Any]) -> None:
    """Set what :func:`global_states` returned."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and _cuda_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
    here: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    np.random.set_state(_unlisted(states["numpy"], here))  # noqa: NPY002
    random.setstate(_tuples(states["python"]))


def noise_generators(model: nn.Module, optimizers: Sequence[Any] = ()) -> dict[str, Any]:
    """Return the generators that modules, estimators and gradients hold, by their place.

    Also those that estimators and samplers of optimizers' metrics and fidelities hold.

    They are found by their type, wherever an estimator keeps them; one that several share is listed
    where it is met first.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        for place, generator in _within(vars(module), name or "model", seen):
            found[place] = generator
    for i, optimizer in enumerate(optimizers):
        for place, generator in _within(vars(optimizer), f"optimizer {i}", seen):
            found[place] = generator
    return found


def _within(value: Any, place: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (*GENERATORS, *_holders(), Node, Mapping, list, tuple)):
        if id(value) in seen:
            return
        seen.add(id(value))
    if isinstance(value, GENERATORS):
        yield place, value
    elif isinstance(value, Node):
        for name, source in value.engine.random_sources().items():
            yield from _within(source, f"{place}.{name}", seen)
    elif isinstance(value, _holders()):
        # With its kind, since another one's stream would go on in another way.
        within = f"{place}({type(value).__name__})"
        yield from _within(getattr(value, "__dict__", {}), within, seen)
    elif isinstance(value, Mapping):
        for i, (key, item) in enumerate(value.items()):
            step = f".{key}" if isinstance(key, str) else f"[{i}]"
            yield from _within(item, f"{place}{step}", seen)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _within(item, f"{place}[{i}]", seen)


def state_of(generator: Any, where: str) -> dict[str, Any]:
    """Return the kind and state of one generator.

    Raises:
        CheckpointError: If it is none.
    """
    if isinstance(generator, torch.Generator):
        state: Any = generator.get_state()
    elif isinstance(generator, np.random.Generator):
        state = _listed(generator.bit_generator.state)
    elif isinstance(generator, np.random.RandomState):
        state = _listed(generator.get_state(legacy=False))
    elif isinstance(generator, random.Random):
        state = _listed(generator.getstate())
    else:
        raise CheckpointError(
            f"Expected {where} to be a torch.Generator, numpy.random.Generator, "
            f"numpy.random.RandomState or random.Random; got {type(generator).__name__}. The "
            "global generators of torch, NumPy and Python are saved without being named."
        )
    return {"kind": _kind(generator), "state": state}


def check_state(generator: Any, saved: Mapping[str, Any], where: str) -> None:
    """Raise unless :func:`set_state` will work."""
    _check_kind(where, saved["kind"], _kind(generator))
    if isinstance(generator, torch.Generator):
        torch.Generator(generator.device).set_state(saved["state"])
    else:
        set_state(copy.deepcopy(generator), saved)


def set_state(generator: Any, saved: Mapping[str, Any]) -> None:
    """Set what :func:`state_of` returned."""
    state = saved["state"]
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _unlisted(state, generator.bit_generator.state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_unlisted(state, generator.get_state(legacy=False)))
    else:
        generator.setstate(_tuples(state))


def as_generators(generators: Any) -> Sequence[Any]:
    """Return one or several generators as a sequence."""
    if isinstance(generators, GENERATORS):
        return [generators]
    if not isinstance(generators, (list, tuple)):
        raise CheckpointError(
            "Expected generators to be random generators of torch, NumPy or Python, in a list; got "
            f"{shown(generators)}."
        )
    for position, generator in enumerate(generators):
        state_of(generator, f"generators[{position}]")  # raises
    return generators


def _kind(generator: Any) -> str:
    if isinstance(generator, torch.Generator):
        return f"torch.Generator on {generator.device.type}"
    if isinstance(generator, np.random.Generator):
        return f"numpy.random.Generator of {type(generator.bit_generator).__name__}"
    if isinstance(generator, np.random.RandomState):
        name = generator.get_state(legacy=False)["bit_generator"]
        return f"numpy.random.RandomState of {name}"
    return type(generator).__name__


def _check_kind(where: str, saved: str, here: str) -> None:
    if saved != here:
        raise CheckpointError(
            f"The checkpoint has the state of a {saved} for {where}; here is a {here}. Make the "
            "same generators as when it was saved. Nothing was loaded."
        )


def _cuda_count() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _listed(state: Any) -> Any:
    """Return a state with arrays as lists of Python's integers, which have any size."""
    if isinstance(state, dict):
        return {key: _listed(item) for key, item in state.items()}
    if isinstance(state, (list, tuple)):
        return [_listed(item) for item in state]
    if isinstance(state, np.ndarray):
        return state.tolist()
    return state.item() if isinstance(state, np.generic) else state


def _unlisted(state: Any, like: Any) -> Any:
    """Return lists as arrays where ``like`` has arrays."""
    if isinstance(like, dict):
        return {key: _unlisted(state[key], item) for key, item in like.items()}
    if isinstance(like, np.ndarray):
        return np.array(state, dtype=like.dtype)
    return state


def _tuples(state: Any) -> Any:
    """Return lists as tuples, which Python's generator wants."""
    return tuple(_tuples(item) for item in state) if isinstance(state, list) else state
