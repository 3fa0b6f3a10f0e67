# SPDX-License-Identifier: Apache-2.0
"""What the optimizers share: quantum modules as parameters, closures, and what they remember."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import FloatArray
from ..exact_autograd import transformed
from ..exceptions import ObjectiveError, OptimizerError, OptimizerTypeError
from ..module import TorchQuantumModule

Closure = Callable[[], Any]
OWN_STATE = "bridge_state"


class QuantumOptimizer(torch.optim.Optimizer):
    """A ``torch.optim.Optimizer`` that also takes modules, and keeps a state of its own exactly.

    PyTorch casts an optimizer's state to the parameters' dtype when it is loaded; what must not be
    cast, such as random states and running averages in double precision, is kept apart under a key
    of its own in ``state_dict()``.

    Args:
        params: As for any torch optimizer, or a module: then its quantum modules' weights, one
            parameter group each, are meant.
        defaults: Options of the groups.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._module_of: dict[Tensor, TorchQuantumModule] = {}
        super().__init__(self._groups(params), defaults)

    def _groups(self, params: Any) -> Any:
        if isinstance(params, nn.Module):
            modules = [m for m in params.modules() if isinstance(m, TorchQuantumModule)]
            if not modules:
                raise OptimizerTypeError(
                    f"Expected a module with a TorchQuantumModule in it; {type(params).__name__} "
                    "has none. Give parameters(), or an optimizer of torch.optim its weights."
                )
            self._module_of = {m.weight: m for m in modules}
            return [{"params": [m.weight]} for m in modules]
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            raise OptimizerTypeError(
                f"Expected params to be a module or an iterable of parameters; got "
                f"{type(params).__name__}. Give module, or module.parameters()."
            )
        return params

    def _parameters(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Go through all parameters with their groups."""
        for group in self.param_groups:
            for parameter in group["params"]:
                yield parameter, group

    def _own_state(self) -> dict[str, Any]:
        """Return what must be kept exactly."""
        return {}

    def _set_own_state(self, state: dict[str, Any]) -> None:
        """Set what :meth:`_own_state` returned."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state, from which a run goes on to the last bit."""
        return {**super().state_dict(), OWN_STATE: self._own_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the state that :meth:`state_dict` returned."""
        if OWN_STATE not in state_dict:
            raise OptimizerError(
                f"Expected the state dict of a {type(self).__name__}; it has no {OWN_STATE!r}. It "
                "belongs to another kind of optimizer."
            )
        super().load_state_dict({k: v for k, v in state_dict.items() if k != OWN_STATE})
        self._set_own_state(state_dict[OWN_STATE])


class Generator:
    """A random generator whose state can be put into a state dict."""

    def __init__(self, seed: int | None) -> None:
        self._generator = torch.Generator()
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def signs(self, like: Tensor) -> Tensor:
        """Return random signs in the shape of a tensor."""
        bits = torch.randint(0, 2, like.shape, generator=self._generator)
        return (2 * bits - 1).to(like)

    @property
    def state(self) -> Tensor:
        """The state of the generator."""
        return self._generator.get_state()

    @state.setter
    def state(self, state: Tensor) -> None:
        self._generator.set_state(state)


def value_of(closure: Closure, optimizer: torch.optim.Optimizer) -> float:
    """Return the loss, evaluated without a graph."""
    try:
        with torch.no_grad():
            return finite(closure(), optimizer)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        raise OptimizerError(
            f"{type(optimizer).__name__} needs no gradient: its closure must return the loss "
            "without calling backward()."
        ) from error


def finite(loss: Any, optimizer: torch.optim.Optimizer) -> float:
    """Return a loss as a number."""
    if loss is None:
        raise OptimizerError(
            f"{type(optimizer).__name__} needs the loss: return it from the closure."
        )
    value = float(loss)
    if not math.isfinite(value):
        raise ObjectiveError(
            f"The loss is {value}. The parameters are those at which the step began; lower the "
            "learning rate, or look at the loss."
        )
    return value


def required(closure: Closure | None, optimizer: torch.optim.Optimizer) -> Closure:
    """Return the closure, or say that it is missing."""
    if closure is None:
        raise OptimizerError(
            f"{type(optimizer).__name__}.step needs a closure that evaluates the model and returns "
            "the loss: optimizer.step(closure)."
        )
    return closure


def check_positive(*, zero: bool = False, **numbers_by_name: Any) -> None:
    """Raise unless numbers are finite and positive, or zero where that is allowed."""
    for name, value in numbers_by_name.items():
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if isinstance(value, Tensor) and value.numel() == 1:  # torch allows it for lr
            real, value = True, value.item()
        if not real or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
            least = "from 0 up" if zero else "above 0"
            raise OptimizerError(f"Expected {name} to be a number {least}; got {value!r}.")


def check_whole(least: int = 1, **numbers_by_name: Any) -> None:
    """Raise unless numbers are whole and not too small."""
    for name, value in numbers_by_name.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < least:
            raise OptimizerError(
                f"Expected {name} to be a whole number from {least} up; got {value!r}."
            )


def numbers_of(parameter: Tensor) -> FloatArray:
    """Return a parameter's numbers in double precision, flat."""
    array = parameter.detach().cpu().to(torch.float64).reshape(-1).numpy()
    return np.array(array)


def as_tensor(numbers_: FloatArray, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the shape, dtype and device of another one."""
    return torch.from_numpy(np.ascontiguousarray(numbers_)).reshape(like.shape).to(like)


class Recorder:
    """Remembers the inputs that modules have received since the last step.

    Metrics and fidelities are averaged over them: the states that a batch prepares differ. Calls
    without a graph, as in an evaluation, do not count unless ``active`` is set.
    """

    def __init__(self, modules: Iterable[TorchQuantumModule]) -> None:
        self.active = False
        self._seen: dict[TorchQuantumModule, list[Tensor]] = {}
        for module in modules:
            if module.program.input_params:
                self._seen[module] = []
                module.register_forward_pre_hook(self._record)

    def _record(self, module: Any, arguments: tuple[Any, ...]) -> None:
        inputs = arguments[0] if arguments else None
        plain = isinstance(inputs, Tensor) and inputs.dim() and not transformed()
        if plain and (self.active or torch.is_grad_enabled()):
            self._seen[module].append(inputs.detach().reshape(-1, inputs.shape[-1]))  # type: ignore[union-attr]

    def inputs(self, module: TorchQuantumModule) -> FloatArray | None:
        """Return the rows ``(B, I)`` seen, or ``None`` for a module without inputs."""
        if module not in self._seen:
            return None
        if not self._seen[module]:
            raise OptimizerError(
                "The metric of a module with inputs is an average over the batch; the module has "
                "not been called since the last step. Call step() after a forward pass."
            )
        rows = torch.cat([t.cpu().to(torch.float64) for t in self._seen[module]])
        return np.array(rows.numpy())

    def forget(self) -> None:
        """Start anew."""
        for rows in self._seen.values():
            rows.clear()
