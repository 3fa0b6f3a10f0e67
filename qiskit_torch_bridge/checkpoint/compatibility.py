# SPDX-License-Identifier: Apache-2.0
"""Whether a saved state fits what it is to be loaded into, found out before anything is changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from torch import Tensor, nn

from ..exceptions import CheckpointError, InputError, StateDictError
from ..module import TorchQuantumModule
from ..state_dicts import MARKS, check_program, check_weights, saved_program
from .random_states import Generator, check_global_states, check_state

UNCHANGED = "Nothing was loaded."
_T = TypeVar("_T")


class Stateful(Protocol):
    """An optimizer or a scheduler, as far as a checkpoint is concerned."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Set a state."""


def collect_programs(model: nn.Module) -> dict[str, Any]:
    """Return the circuits, observables and roles of a model's quantum modules, by their names."""
    modules = _find_quantum_modules(model)
    return {name: saved_program(module.program) for name, module in modules.items()}


def collect_executions(model: nn.Module) -> dict[str, str]:
    """Return how a model's quantum modules are evaluated, as text, by their names."""
    modules = _find_quantum_modules(model)
    return {name: repr(module.execution) for name, module in modules.items()}


def _find_quantum_modules(model: nn.Module) -> dict[str, TorchQuantumModule]:
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
        _refuse_model(
            f". Not in the checkpoint: {_list_few(missing)}; not in the model: {_list_few(foreign)}"
        )
    for key, value in here.items():
        kinds = _describe(value), _describe(saved[key])
        if isinstance(value, Tensor) and kinds[0] != kinds[1]:
            _refuse_model(f": {key} is {kinds[0]} here and {kinds[1]} in the checkpoint")
    modules, programs = _find_quantum_modules(model), states["programs"]
    if set(modules) != set(programs):
        _refuse_model(
            f": it has circuits for {sorted(programs)}, and the model's are in {sorted(modules)}"
        )
    for name, module in modules.items():
        try:
            check_program(module.program, programs[name], max_bytes)
            check_weights(saved, f"{name}." if name else "")
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


def _refuse_model(what: str) -> NoReturn:
    raise CheckpointError(
        f"The checkpoint belongs to another model{what}. Build the model as it was when it was "
        f"saved. {UNCHANGED}"
    )


def collect_optimizer(optimizer: Stateful) -> dict[str, Any]:
    """Return an optimizer's state and what tells whether it fits another one."""
    return {**collect_scheduler(optimizer), "shapes": _list_shapes(optimizer)}


def collect_scheduler(scheduler: Stateful) -> dict[str, Any]:
    """Return a scheduler's state and its class."""
    return {"class": _name_class(scheduler), "state": scheduler.state_dict()}


def check_rest(
    states: Mapping[str, Any],
    optimizers: list[Stateful],
    schedulers: list[Stateful],
    own: Sequence[Generator],
    noise: Mapping[str, Generator],
    has_journal: bool,
) -> None:
    """Raise :class:`CheckpointError` unless everything but the model fits."""
    for i, (optimizer, saved) in enumerate(_pair("optimizers", optimizers, states)):
        _check_class(optimizer, saved, f"optimizer {i}")
        shapes = _list_shapes(optimizer)
        if shapes != saved["shapes"]:
            raise CheckpointError(
                f"The checkpoint's optimizer {i} has parameters of the shapes {saved['shapes']}, "
                f"one list for each group; here they are {shapes}. Give it the parameters in the "
                f"order in which they were when it was saved. {UNCHANGED}"
            )
    for i, (scheduler, saved) in enumerate(_pair("schedulers", schedulers, states)):
        _check_class(scheduler, saved, f"scheduler {i}")
    for i, (generator, saved) in enumerate(_pair("generators", own, states)):
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
    if has_journal != (states["journal_position"] is not None):
        without = "was saved without a journal, and one was given"
        lacking = "was saved with a journal, and none was given"
        raise CheckpointError(
            f"The checkpoint {without if has_journal else lacking}. Give journal= to both or "
            f"to neither of save_checkpoint and load_checkpoint. {UNCHANGED}"
        )


def _pair(what: str, given: Sequence[_T], states: Mapping[str, Any]) -> Iterator[tuple[_T, Any]]:
    """Go through things that are given and their saved states, of which there are as many."""
    saved = states[what]
    if len(given) != len(saved):
        raise CheckpointError(
            f"The checkpoint has the states of {len(saved)} {what}; {len(given)} were given. Give "
            "the same ones, in the same order, as to save_checkpoint, or only_weights=True for the "
            f"weights alone. {UNCHANGED}"
        )
    return zip(given, saved, strict=True)


def list_stateful(given: Stateful | Sequence[Stateful] | None, what: str) -> list[Stateful]:
    """Return none, one or several optimizers or schedulers as a list."""
    listed: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    if given is None:
        listed = []
    for item in listed:
        if not callable(getattr(item, "state_dict", None)) or isinstance(item, nn.Module):
            raise CheckpointError(
                f"Expected {what} to be one with state_dict() and load_state_dict(), or a list of "
                f"these; got {type(item).__name__}."
            )
    return listed


def _name_class(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}"


def _check_class(item: object, saved: Mapping[str, Any], where: str) -> None:
    if not isinstance(saved["state"], Mapping):
        raise CheckpointError(f"The checkpoint's {where} has no state. {UNCHANGED}")
    here = _name_class(item)
    if here != saved["class"]:
        raise CheckpointError(
            f"The checkpoint's {where} is a {saved['class']}; here it is a {here}. Make it as when "
            f"it was saved. {UNCHANGED}"
        )


def _list_shapes(optimizer: object) -> list[list[list[int]]]:
    groups = getattr(optimizer, "param_groups", [])
    return [[list(p.shape) for p in group["params"]] for group in groups]


def _describe(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _list_few(names: list[str]) -> str:
    return ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5) or "nothing"
