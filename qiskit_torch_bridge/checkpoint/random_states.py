# SPDX-License-Identifier: Apache-2.0
"""Every random state that a training draws from, as tensors and numbers, and back."""

from __future__ import annotations

import copy
import functools
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

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


class _Handler(NamedTuple):
    """What can be done with a kind of generator.

    Attributes:
        name: Returns what a checkpoint calls it; states fit generators of the same name only.
        get: Returns the state, as tensors, numbers and lists.
        set: Sets such a state.
    """

    name: Callable[[Any], str]
    get: Callable[[Any], Any]
    set: Callable[[Any, Any], None]


def _set_bit_generator(generator: np.random.Generator, state: Any) -> None:
    generator.bit_generator.state = _to_arrays(state, generator.bit_generator.state)


_HANDLERS: dict[type, _Handler] = {
    torch.Generator: _Handler(
        lambda g: f"torch.Generator on {g.device.type}",
        lambda g: g.get_state(),
        lambda g, state: g.set_state(state),
    ),
    np.random.Generator: _Handler(
        lambda g: f"numpy.random.Generator of {type(g.bit_generator).__name__}",
        lambda g: _to_lists(g.bit_generator.state),
        _set_bit_generator,
    ),
    np.random.RandomState: _Handler(
        lambda g: f"numpy.random.RandomState of {g.get_state(legacy=False)['bit_generator']}",
        lambda g: _to_lists(g.get_state(legacy=False)),
        lambda g, state: g.set_state(_to_arrays(state, g.get_state(legacy=False))),
    ),
    random.Random: _Handler(
        lambda g: type(g).__name__,
        lambda g: _to_lists(g.getstate()),
        lambda g, state: g.setstate(_to_tuples(state)),
    ),
}
_NUMPY, _PYTHON = _HANDLERS[np.random.RandomState], _HANDLERS[random.Random]
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
Generator: TypeAlias = torch.Generator | np.random.Generator | np.random.RandomState | random.Random


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


def get_global_states() -> dict[str, Any]:
    """Return the states of torch, of NumPy's legacy functions and of Python's ``random``."""
    # Without a context on the devices, nothing was drawn there, and asking would make one.
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda else [],
        "numpy": _NUMPY.get(np.random),  # whose functions are named as a generator's methods
        "python": _PYTHON.get(random),
    }


def check_global_states(states: Mapping[str, Any]) -> None:
    """Raise :class:`CheckpointError` unless :func:`set_global_states` will work."""
    torch.Generator().set_state(states["torch"])
    _PYTHON.set(random.Random(), states["python"])
    here = _NUMPY.get(np.random)["bit_generator"]
    _check_kind("NumPy's legacy functions", states["numpy"]["bit_generator"], here)
    _NUMPY.set(np.random.RandomState(getattr(np.random, here)()), states["numpy"])
    if states["cuda"] and _count_cuda_devices() != len(states["cuda"]):
        warnings.warn(
            f"The checkpoint has random states of {len(states['cuda'])} CUDA devices; here are "
            f"{_count_cuda_devices()}. They are left out: numbers drawn on such devices will "
            "differ.",
            stacklevel=4,
        )


def set_global_states(states: Mapping[str, Any]) -> None:
    """Set what :func:`get_global_states` returned."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and _count_cuda_devices() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
    _NUMPY.set(np.random, states["numpy"])
    _PYTHON.set(random, states["python"])


def find_generators(model: nn.Module, optimizers: Sequence[object] = ()) -> dict[str, Generator]:
    """Return the generators that modules, estimators and gradients hold, by their place.

    The estimators and samplers of optimizers' metrics and fidelities count as well. Generators are
    found by their type, wherever an estimator keeps them; one that several share is listed where it
    is met first.
    """
    holders: list[tuple[str, object]] = [(n or "model", m) for n, m in model.named_modules()]
    holders += [(f"optimizer {i}", optimizer) for i, optimizer in enumerate(optimizers)]
    seen: set[int] = set()
    return dict(found for name, held in holders for found in _within(vars(held), name, seen))


def _within(value: object, place: str, seen: set[int]) -> Iterator[tuple[str, Generator]]:
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
    elif isinstance(value, (Mapping, list, tuple)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for i, (key, item) in enumerate(items):
            step = f".{key}" if isinstance(key, str) else f"[{i}]"
            yield from _within(item, f"{place}{step}", seen)


def get_state(generator: Generator, where: str) -> dict[str, Any]:
    """Return the kind and state of one generator.

    Raises:
        CheckpointError: If it is none.
    """
    if not isinstance(generator, GENERATORS):
        raise CheckpointError(
            f"Expected {where} to be a torch.Generator, numpy.random.Generator, "
            f"numpy.random.RandomState or random.Random; got {type(generator).__name__}. The "
            "global generators of torch, NumPy and Python are saved without being named."
        )
    handler = _find_handler(generator)
    return {"kind": handler.name(generator), "state": handler.get(generator)}


def check_state(generator: Generator, saved: Mapping[str, Any], where: str) -> None:
    """Raise unless :func:`set_state` will work."""
    _check_kind(where, saved["kind"], get_state(generator, where)["kind"])
    if isinstance(generator, torch.Generator):  # which cannot be copied
        torch.Generator(generator.device).set_state(saved["state"])
    else:
        set_state(copy.deepcopy(generator), saved)


def set_state(generator: Generator, saved: Mapping[str, Any]) -> None:
    """Set what :func:`get_state` returned."""
    _find_handler(generator).set(generator, saved["state"])


def _find_handler(generator: Generator) -> _Handler:
    return next(h for kind, h in _HANDLERS.items() if isinstance(generator, kind))


def require_generators(generators: Generator | Sequence[Generator]) -> Sequence[Generator]:
    """Return one or several generators as a sequence."""
    if isinstance(generators, GENERATORS):
        return [generators]
    if not isinstance(generators, (list, tuple)):
        raise CheckpointError(
            "Expected generators to be random generators of torch, NumPy or Python, in a list; got "
            f"{shown(generators)}."
        )
    for position, generator in enumerate(generators):
        get_state(generator, f"generators[{position}]")  # raises
    return generators


def _check_kind(where: str, saved: str, here: str) -> None:
    if saved != here:
        raise CheckpointError(
            f"The checkpoint has the state of a {saved} for {where}; here is a {here}. Make the "
            "same generators as when it was saved. Nothing was loaded."
        )


def _count_cuda_devices() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _to_lists(state: Any) -> Any:
    """Return a state with arrays as lists of Python's integers, which have any size."""
    if isinstance(state, dict):
        return {key: _to_lists(item) for key, item in state.items()}
    if isinstance(state, (list, tuple)):
        return [_to_lists(item) for item in state]
    if isinstance(state, np.ndarray):
        return state.tolist()
    return state.item() if isinstance(state, np.generic) else state


def _to_arrays(state: Any, like: Any) -> Any:
    """Return lists as arrays where ``like`` has arrays."""
    if isinstance(like, dict):
        return {key: _to_arrays(state[key], item) for key, item in like.items()}
    if isinstance(like, np.ndarray):
        return np.array(state, dtype=like.dtype)
    return state


def _to_tuples(state: Any) -> Any:
    """Return lists as tuples, which Python's generator wants."""
    return tuple(_to_tuples(item) for item in state) if isinstance(state, list) else state
