# SPDX-License-Identifier: Apache-2.0
"""Whether a saved state fits what it is to be loaded into, found out before anything is changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..exceptions import CheckpointError, InputError, StateDictError
from ..module import TorchQuantumModule
from ..state_dicts import MARKS, check_program, check_weights, saved_program
from .randomness import check_global_states, check_state, state_of
from .tasks import Journal

UNCHANGED = "Nothing was loaded."


def check_is_model(model: Any) -> None:
    """Raise :class:`CheckpointError` unless there is a module to save or to load into."""
    if not isinstance(model, nn.Module):
        raise CheckpointError(
            f"Expected model to be a torch.nn.Module; got {type(model).__name__}."
        )


def saved_metadata(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return what PyTorch keeps beside a state dict: the versions of its parts."""
    return dict(getattr(weights, "_metadata", {}))


def saved_programs(model: nn.Module) -> dict[str, Any]:
    """Return the circuits, observables and roles of a model's quantum modules, by their names."""
    modules = _quantum_modules(model)
    return {name: saved_program(module.program) for name, module in modules.items()}


def _quantum_modules(model: nn.Module) -> dict[str, TorchQuantumModule]:
    modules = dict(model.named_modules())
    return {k: m for k, m in modules.items() if isinstance(m, TorchQuantumModule)}


def check_model(
    model: nn.Module, states: Mapping[str, Any], max_bytes: int | None
) -> OrderedDict[str, Any]:
    """Return a saved state dict, after checking that it fits a model, circuits included.

    Raises:
        CheckpointError: If it does not.
    """
    here, saved = model.state_dict(), states["model"]
    missing, foreign = [k for k in here if k not in saved], [k for k in saved if k not in here]
    if missing or foreign:
        raise CheckpointError(
            f"The checkpoint belongs to another model. Not in the checkpoint: {_few(missing)}; not "
            f"in the model: {_few(foreign)}. Build the model as it was when it was saved. "
            f"{UNCHANGED}"
        )
    for key, value in here.items():
        if isinstance(value, Tensor) and _form(saved[key]) != _form(value):
            raise CheckpointError(
                f"The checkpoint belongs to another model: {key} is {_form(value)} here and "
                f"{_form(saved[key])} in the checkpoint. Build the model as it was when it was "
                f"saved. {UNCHANGED}"
            )
    modules, programs = _quantum_modules(model), states["programs"]
    if set(modules) != set(programs):
        raise CheckpointError(
            f"The checkpoint belongs to another model: it has circuits for {sorted(programs)}, and "
            f"the model's are in {sorted(modules)}. Build the model as it was when it was saved. "
            f"{UNCHANGED}"
        )
    for name, module in modules.items():
        try:
            check_program(module.program, programs[name], max_bytes)
            check_weights(saved.get(f"{name}.weight" if name else "weight"))
        except (StateDictError, InputError) as error:
            raise CheckpointError(
                f"The checkpoint belongs to another model, in {name or 'the module'}: {error}"
            ) from error
    result = OrderedDict(saved)
    result._metadata = OrderedDict(  # type: ignore[attr-defined]
        (name, {k: v for k, v in dict(kept).items() if k != MARKS})  # they were checked above
        for name, kept in states["metadata"].items()
    )
    return result


def saved_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's state and what tells whether it fits another one."""
    return {**_named(optimizer), "shapes": _shapes(optimizer)}


def _check_optimizer(
    optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], where: str
) -> None:
    """Raise :class:`CheckpointError` unless a saved state fits an optimizer."""
    _check_class(optimizer, saved, where)
    shapes = _shapes(optimizer)
    if shapes != saved["shapes"]:
        raise CheckpointError(
            f"The checkpoint's {where} has parameters of the shapes {saved['shapes']}, one list "
            f"for each group; here they are {shapes}. Give it the parameters in the order in which "
            f"they were when it was saved. {UNCHANGED}"
        )


def saved_scheduler(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's state and its class."""
    return _named(scheduler)


def check_rest(
    states: Mapping[str, Any],
    optimizers: list[Any],
    schedulers: list[Any],
    own: Sequence[Any],
    noise: Mapping[str, Any],
    journal: Journal | None,
) -> None:
    """Raise :class:`CheckpointError` unless everything but the model fits."""
    _check_count("optimizers", optimizers, states["optimizers"])
    for i, (optimizer, saved) in enumerate(zip(optimizers, states["optimizers"], strict=True)):
        _check_optimizer(optimizer, saved, f"optimizer {i}")
    _check_count("schedulers", schedulers, states["schedulers"])
    for i, (scheduler, saved) in enumerate(zip(schedulers, states["schedulers"], strict=True)):
        _check_class(scheduler, saved, f"scheduler {i}")
    _check_count("generators", own, states["generators"])
    for i, (generator, saved) in enumerate(zip(own, states["generators"], strict=True)):
        state_of(generator, f"generators[{i}]")
        check_state(generator, saved, f"generators[{i}]")
    if set(noise) != set(states["noise"]):
        missing, foreign = set(noise) - set(states["noise"]), set(states["noise"]) - set(noise)
        raise CheckpointError(
            "The model's estimators hold other random generators than when it was saved. Only "
            f"here: {sorted(missing) or 'none'}; only in the checkpoint: "
            f"{sorted(foreign) or 'none'}. Give the module the same estimator or backend, with or "
            f"without a seed as before, or load with only_weights=True. {UNCHANGED}"
        )
    for place, saved in states["noise"].items():
        check_state(noise[place], saved, place)
    check_global_states(states["global_states"])
    if (journal is None) != (states["journal_position"] is None):
        without = "was saved without a journal, and one was given"
        lacking = "was saved with a journal, and none was given"
        raise CheckpointError(
            f"The checkpoint {lacking if journal is None else without}. Give journal= to both or "
            f"to neither of save_checkpoint and load_checkpoint. {UNCHANGED}"
        )


def _check_count(what: str, given: Sequence[Any], saved: Sequence[Any]) -> None:
    """Raise :class:`CheckpointError` unless as many things are given as were saved."""
    if len(given) != len(saved):
        raise CheckpointError(
            f"The checkpoint has the states of {len(saved)} {what}; {len(given)} were given. Give "
            "the same ones, in the same order, as to save_checkpoint, or only_weights=True for the "
            f"weights alone. {UNCHANGED}"
        )


def as_list(given: Any, what: str) -> list[Any]:
    """Return none, one or several optimizers or schedulers as a list."""
    listed = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    for item in listed:
        if not callable(getattr(item, "state_dict", None)) or isinstance(item, nn.Module):
            raise CheckpointError(
                f"Expected {what} to be one with state_dict() and load_state_dict(), or a list of "
                f"these; got {type(item).__name__}."
            )
    return listed


def _named(item: Any) -> dict[str, Any]:
    kind = f"{type(item).__module__}.{type(item).__qualname__}"
    return {"class": kind, "state": item.state_dict()}


def _check_class(item: Any, saved: Mapping[str, Any], where: str) -> None:
    if not isinstance(saved["state"], Mapping):
        raise CheckpointError(f"The checkpoint's {where} has no state. {UNCHANGED}")
    here = f"{type(item).__module__}.{type(item).__qualname__}"
    if here != saved["class"]:
        raise CheckpointError(
            f"The checkpoint's {where} is a {saved['class']}; here it is a {here}. Make it as when "
            f"it was saved. {UNCHANGED}"
        )


def _shapes(optimizer: torch.optim.Optimizer) -> list[list[list[int]]]:
    groups = getattr(optimizer, "param_groups", [])
    return [[list(p.shape) for p in group["params"]] for group in groups]


def _form(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5) or "nothing"
