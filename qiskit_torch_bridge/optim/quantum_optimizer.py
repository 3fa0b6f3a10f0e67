# SPDX-License-Identifier: Apache-2.0
"""What the optimizers of this package share.

Quantum modules as parameters, closures, states that are kept exactly, and inputs that modules have
received.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..arguments import (
    MOST_SEED,
    UNREADABLE,
    is_options,
    require_callable,
    require_instance,
    require_real_number,
    require_seed,
    shown,
)
from ..arrays import FloatArray
from ..autograd.transforms import transformed
from ..exceptions import BridgeError, ObjectiveError, OptimizerError, OptimizerTypeError
from ..module import TorchQuantumModule
from .data_parallel import Replicas

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT

Closure: TypeAlias = Callable[[], "Tensor | float"]
Params: TypeAlias = "nn.Module | ParamsT"
Group: TypeAlias = dict[str, Any]
"""Parameters of an optimizer, under ``"params"``, with their options."""
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
        records_inputs: Whether the inputs that modules receive are needed in a step.
    """

    def __init__(
        self, params: Params, defaults: dict[str, Any], *, records_inputs: bool = False
    ) -> None:
        self._module_of: dict[Tensor, TorchQuantumModule] = {}
        self._replicas = Replicas(self)
        with _reword_errors(params):
            super().__init__(self._list_groups(params), defaults)
        self._recorder = InputRecorder(self._module_of.values() if records_inputs else ())

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters, which must be real, with options of their own."""
        what = "a dict with params"
        require_instance(param_group, "param_group", dict, what, error=OptimizerTypeError)
        with _reword_errors(param_group):
            super().add_param_group(dict(param_group))  # the caller's own stays as it is
        try:
            for parameter in self.param_groups[-1]["params"]:
                _check_real(parameter)
            self._prepare_group(self.param_groups[-1])
        except BaseException:
            self.param_groups.pop()
            raise

    def _prepare_group(self, group: Group) -> None:
        """Check the options of a new group, and find what its parameters need.

        Raises:
            BridgeError: If an option is out of range or something is missing; there is no such
                group then.
        """

    def _list_groups(self, params: Params) -> ParamsT:
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

    def _parameters(self) -> Iterator[tuple[Tensor, Group]]:
        """Go through the parameters that are not frozen, with their groups."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad:
                    _check_real(parameter)  # a module can be made complex at any time
                    yield parameter, group

    @contextlib.contextmanager
    def _restored_on_error(self) -> Iterator[list[Tensor]]:
        """Give copies of the parameters, and set them back if an error ends the block."""
        start = [p.detach().clone() for p, _ in self._parameters()]
        try:
            yield start
        except BaseException:
            self._restore(start)
            raise

    @torch.no_grad()
    def _restore(self, start: list[Tensor]) -> None:
        for (parameter, _), origin in zip(self._parameters(), start, strict=True):
            parameter.copy_(origin)

    def _require_closure(self, closure: Closure | None) -> Closure:
        """Return the closure, or say that it is missing or that there is nothing to train."""
        if closure is None:
            raise OptimizerError(
                f"{type(self).__name__}.step needs a closure that evaluates the model and returns "
                "the loss: optimizer.step(closure); got none."
            )
        require_callable(
            closure, "closure", "a function that returns the loss", error=OptimizerTypeError
        )
        if not any(p.requires_grad for group in self.param_groups for p in group["params"]):
            raise OptimizerError(
                "Expected parameters to train; all are frozen. Call requires_grad_() on those that "
                "are to be trained."
            )
        return closure

    def _evaluate(self, closure: Closure) -> float:
        """Return the loss, evaluated without a graph."""
        try:
            with torch.no_grad(), self._replicas.watched():
                return self._read_loss(closure())
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise OptimizerError(
                f"{type(self).__name__} needs no gradient: its closure must return the loss "
                "without calling backward()."
            ) from error

    def _read_loss(self, loss: Tensor | float | None) -> float:
        """Return a loss as a number, averaged over the processes that share a batch."""
        if loss is None:
            raise OptimizerError(
                f"{type(self).__name__} needs the loss: return it from the closure."
            )
        try:
            value = float(loss)
        except UNREADABLE as error:
            shape = ""
            if isinstance(loss, Tensor):
                shape = f" of shape {tuple(loss.shape)} and {loss.dtype}"
            raise OptimizerError(
                f"Expected the closure to return the loss, one real number; got "
                f"{type(loss).__name__}{shape} ({error}). Reduce it, for example by loss.mean()."
            ) from error
        # Averaged before it is checked, so that all processes raise where one has no finite loss.
        value = float(self._replicas.mean(np.array(value)))
        if not math.isfinite(value):
            raise ObjectiveError(
                f"The loss is {value}. The parameters are those at which the step began; lower the "
                "learning rate, or look at the loss."
            )
        return value

    def _inputs_of(self, parameter: Tensor) -> tuple[FloatArray, ...]:
        """Return the inputs that a weight's module has received, or nothing if it has none."""
        module = self._module_of.get(parameter)
        inputs = None if module is None else self._recorder.inputs(module)
        return () if inputs is None else (inputs,)

    def _weights_at(self, parameter: Tensor, numbers: FloatArray | None = None) -> FloatArray:
        """Return all weights of a parameter's module, those that are frozen among them.

        Args:
            parameter: The weights that are trained.
            numbers: Others for them, ``(T,)`` or ``(K, T)``; default: what they are.
        """
        array = to_array(parameter) if numbers is None else numbers
        module = self._module_of.get(parameter)
        if module is None or module.frozen_weight is None:
            return array
        frozen = to_array(module.frozen_weight)
        joined = np.concatenate(
            [array, np.broadcast_to(frozen, (*array.shape[:-1], len(frozen)))], -1
        )
        return np.asarray(joined[..., module.program.weight_placement])

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
        if not is_options(state_dict):
            raise OptimizerTypeError(
                f"Expected state_dict to be what state_dict() returned; got {shown(state_dict)}."
            )
        expected = set(self._own_state())
        own: Any = state_dict.get(OWN_STATE)
        found = set(own) if is_options(own) else set()
        if OWN_STATE not in state_dict or found != expected:
            raise OptimizerError(
                f"Expected the state dict of {type(self).__name__}, with {OWN_STATE!r} of "
                f"{sorted(expected)}; got {sorted(found)}. It belongs to another kind of "
                "optimizer: load it into one of the class it was saved from."
            )
        before = self._own_state()
        try:
            self._set_own_state(own)
            super().load_state_dict({k: v for k, v in state_dict.items() if k != OWN_STATE})
        except UNREADABLE as error:
            self._set_own_state(before)
            raise OptimizerError(
                f"Expected the state dict of {type(self).__name__} over parameters of the same "
                f"groups; got {shown(state_dict)}: {error}. Nothing was loaded."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        # PyTorch copies groups and state only, and a scheduler replaces step().
        left_out = ("step", "_replicas")
        own = {k: v for k, v in vars(self).items() if k not in left_out and "_hooks" not in k}
        return {**own, **super().__getstate__()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._replicas = Replicas(self)  # random states may differ between processes again


@contextlib.contextmanager
def _reword_errors(params: object) -> Iterator[None]:
    """Raise PyTorch's errors about parameters and groups as this package's."""
    try:
        yield
    except BridgeError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        kind = OptimizerTypeError if isinstance(error, TypeError) else OptimizerError
        raise kind(
            "Expected parameters to train, such as module.parameters(), or groups of them "
            f"({{'params': [...], 'lr': 0.1}}); got {shown(params)}: {error}"
        ) from error


def _check_real(parameter: Tensor) -> None:
    if parameter.is_complex():
        raise OptimizerTypeError(
            f"Expected real parameters; got one of {parameter.dtype} and shape "
            f"{tuple(parameter.shape)}. Keep its real and imaginary parts as a real parameter, "
            "nn.Parameter(torch.view_as_real(values)), and make the complex tensor of it in "
            "forward by torch.view_as_complex."
        )


class SignGenerator:
    """A random generator whose state can be put into a state dict."""

    def __init__(self, seed: int | None) -> None:
        number = require_seed(seed, most=MOST_SEED, error=OptimizerError)
        self._generator = torch.Generator()
        if number is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(number)

    def draw(self, like: Tensor) -> Tensor:
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


def check_number(value: Tensor | float, name: str, *, zero: bool = False) -> None:
    """Raise :class:`.OptimizerError` unless a number is finite and positive, or zero if allowed."""
    if isinstance(value, Tensor) and value.numel() == 1:  # torch allows it for lr
        value = value.item()
    require_real_number(value, name, zero=zero, error=OptimizerError)


def to_array(parameter: Tensor) -> FloatArray:
    """Return a parameter's numbers in double precision, flat."""
    array = parameter.detach().cpu().to(torch.float64).reshape(-1).numpy()
    return np.array(array)


def to_tensor(numbers: FloatArray, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the shape, dtype and device of another one."""
    return torch.from_numpy(np.ascontiguousarray(numbers)).reshape(like.shape).to(like)


class InputRecorder:
    """Remembers the inputs that modules have received since the last step.

    Metrics and fidelities are averaged over them: the states that a batch prepares differ. Calls
    without a graph, as in an evaluation, do not count unless ``active`` is set.
    """

    def __init__(self, modules: Iterable[TorchQuantumModule]) -> None:
        self.active = False
        self._seen: dict[TorchQuantumModule, list[Tensor]] = {
            module: [] for module in modules if module.program.input_params
        }
        self._listen()

    def _listen(self) -> None:
        for module in self._seen:
            handle = module.register_forward_pre_hook(_CallHook(self), with_kwargs=True)
            weakref.finalize(self, handle.remove).atexit = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._listen()  # a copy listens to copies of the modules

    def record(self, module: TorchQuantumModule, inputs: object) -> None:
        """Remember what a module was called with."""
        if not isinstance(inputs, Tensor) or not inputs.dim() or transformed():
            return
        if self.active or torch.is_grad_enabled():
            self._seen[module].append(inputs.detach().reshape(-1, inputs.shape[-1]))

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
        """Forget the inputs seen so far."""
        for rows in self._seen.values():
            rows.clear()


class _CallHook:
    """A hook that reports calls to a recorder while that exists; copies of a module have none."""

    def __init__(self, recorder: InputRecorder | None = None) -> None:
        self._recorder = None if recorder is None else weakref.ref(recorder)

    def __call__(
        self, module: TorchQuantumModule, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        recorder = None if self._recorder is None else self._recorder()
        if recorder is not None:
            recorder.record(module, arguments[0] if arguments else named.get("inputs"))

    def __reduce__(self) -> tuple[type[_CallHook], tuple[()]]:
        return _CallHook, ()
