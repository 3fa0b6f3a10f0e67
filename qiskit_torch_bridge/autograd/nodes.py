# SPDX-License-Identifier: Apache-2.0
"""Engines as torch refers to them: by name, with the standard errors of a thread's last passes."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import weakref
from typing import Any, Protocol

import torch
from torch import Tensor

from ..accelerators.choose import (
    chosen_device,
    common_device,
    find_device,
    make_tensor_simulator,
)
from ..arguments import UNREADABLE
from ..engines import Engine, make_engine, method_of, simulation_of
from ..engines.interface import Wanted
from ..exceptions import BridgeError, TracingError
from ..execution import Exact, Execution
from ..jobs.budget import Simulation
from ..program import CircuitProgram
from ..rules import Differentiation
from .tensor_engines import PROCESSOR, InTensors, OnArrays, StandardErrors, TensorEngine
from .transforms import undisturbed

EXACT = "exact:"
"""What the names of exact engines begin with that can be taken to another process."""

_names = map("#{}".format, itertools.count())
_living: weakref.WeakValueDictionary[str, Node] = weakref.WeakValueDictionary()


class Context(Protocol):
    """What autograd functions keep between passes, in the object that PyTorch hands them."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    node: Node
    name: str
    wanted: Wanted
    engine: TensorEngine
    kept: object

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward pass."""

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for forward mode."""

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether missing gradients become zeros."""


class Node:
    """An engine in a graph of torch's: what autograd functions and operators hold.

    Attributes:
        name: Text that stands for it in recorded programs of this process.
        program: The engine's program.
        last: Standard errors ``(B, O)`` of the last values, these values where more is made of
            them, and standard errors ``(W,)`` of the last gradient in this thread.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._begin()
        if self.exact is not None and self.exact.is_on_device:  # what it cannot do is refused now
            self.on(chosen_device(self.exact))

    def _begin(self) -> None:
        self.name = next(_names)
        _living[self.name] = self
        self.last = StandardErrors()
        self._on: dict[torch.device, TensorEngine] = {}
        self._places: dict[torch.device, torch.device] = {}
        self._displaced: dict[tuple[int, ...], tuple[Differentiation, Node]] = {}

    @property
    def program(self) -> CircuitProgram:
        """The program that is evaluated."""
        return self.engine.program

    @property
    def order(self) -> float:
        """How often the engine's values can be differentiated."""
        return self.engine.order

    @property
    def exact(self) -> Exact | None:
        """What was chosen of the exact engine; ``None`` if it is another one."""
        engine: Any = self.engine
        return engine.exact if engine.stands_alone else None

    @property
    def method(self) -> str | None:
        """The method by which the exact engine has simulated last, or would; else ``None``."""
        made = [engine.method for engine in self._on.values() if engine.method is not None]
        return made[-1] if made else method_of(self.engine)

    def simulation(self, rows: int) -> Simulation | None:
        """Return what of so many rows is simulated exactly, if anything is."""
        made = [engine.method for engine in self._on.values() if engine.method is not None]
        return simulation_of(self.engine, rows, made[-1] if made else None)

    def find_device(self, inputs: Tensor, weights: Tensor) -> torch.device:
        """Return where values are computed for these tensors, wherever they are.

        Raises:
            DeviceError: If they are on different devices, and it is to be computed on theirs.
        """
        if inputs.device.type == weights.device.type == "cpu" and not self._is_elsewhere:
            return PROCESSOR
        exact = self.exact
        return PROCESSOR if exact is None else self._look_up(exact, inputs, weights)

    @functools.cached_property
    def _is_elsewhere(self) -> bool:
        """Whether tensors of the processor are computed on another device."""
        return self.exact is not None and self.exact.is_on_device

    def _look_up(self, exact: Exact, inputs: Tensor, weights: Tensor) -> torch.device:
        device = common_device(exact, inputs, weights)
        if device not in self._places:
            self._places[device] = find_device(self.program, exact, device)
        return self._places[device]

    def on(self, device: torch.device) -> TensorEngine:
        """Return what computes on a device, made when it is first needed and kept."""
        engine = self._on.get(device)
        if engine is None:
            engine = self._on[device] = self._make(device)
        return engine

    def _make(self, device: torch.device) -> TensorEngine:
        exact = self.exact
        if exact is None or not (device.type != "cpu" or exact.is_in_tensors):
            return OnArrays(self.engine, self.last)
        with undisturbed():  # its tables are for later calls, too
            return InTensors(make_tensor_simulator(self.program, exact, device))

    def displaced(self, columns: tuple[int, ...]) -> tuple[Differentiation, Node]:
        """Return the plan for derivatives with respect to columns, and the node of its points."""
        if columns not in self._displaced:
            engine: Any = self.engine  # of an order that has it
            d, at_points = engine.differentiation(columns)
            self._displaced[columns] = d, Node(at_points)
        return self._displaced[columns]

    def set_precision(self, forward: float | None, gradient: float | None) -> None:
        """Ask for other precisions from now on, also in programs recorded already."""
        self.engine = self.engine.at_precision(forward, gradient)
        self._displaced.clear()
        self._on.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"engine": self.engine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        # An estimator may stand for a device or a session, of which there is one: it is shared.
        memo[id(self)] = twin = Node(self.engine)
        return twin


def node_named(name: str) -> Node:
    """Return the node that a name stands for.

    Raises:
        TracingError: If it has gone with its module, or lived in another process.
    """
    if name.startswith(EXACT):
        return _exact_node(name)
    node = _living.get(name)
    if node is None:
        raise TracingError(
            "The module that this program was recorded from is gone, or belongs to another "
            "process. Keep the module as long as the program, and compile or trace anew elsewhere; "
            "torch.export makes programs that stand alone, of modules on the exact engine."
        )
    return node


def portable_name(node: Node) -> str:
    """Return a name that says all there is to an exact engine, for any process with this package.

    Raises:
        TracingError: If the engine is not exact: estimators and devices cannot be written down.
    """
    engine: Any = node.engine
    if not engine.stands_alone:
        raise TracingError(
            "torch.export makes programs that stand alone, and estimators do not fit into one. "
            "Export module.with_backend(estimator=Exact(), gradient='adjoint'), which is exact, "
            "or take the circuit along as qiskit.qasm3.dumps(module.to_circuit()) and the weights "
            "as module.state_dict()."
        )
    state = engine.program.to_state()
    circuit = base64.b64encode(state["circuit"]).decode()
    exact: Exact = engine.exact
    chosen = [exact.method, exact.dtype, exact.device, exact.kernels]
    return EXACT + json.dumps([circuit, state["program"], *chosen])


@functools.lru_cache(maxsize=16)
def _exact_node(name: str) -> Node:
    try:
        circuit, program, *chosen = json.loads(name.removeprefix(EXACT))
        state = {"circuit": base64.b64decode(circuit, validate=True), "program": program}
        execution = Execution(estimator=Exact(*chosen))
        return Node(make_engine(CircuitProgram.from_state(state), execution)[0])
    except BridgeError:
        raise
    except UNREADABLE as error:  # text that is nested too deeply among them
        raise TracingError(f"The program holds a damaged circuit: {error}.") from error
