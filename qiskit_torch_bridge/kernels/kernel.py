# SPDX-License-Identifier: Apache-2.0
"""What quantum kernels share: a feature map with weights, a place to run, a Gram matrix."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from torch import Tensor, nn
from typing_extensions import Self, Unpack

from ..arguments import require_instance
from ..autograd import Node
from ..autograd.calls import double
from ..engines import make_engine
from ..exceptions import CircuitError, InputError, ParameterError
from ..execution import BackendChoice, Execution, ExecutionFields, HowFields
from ..initial_weights import WeightsChoice, initial_weights
from ..primitives.families import Primitive
from ..program import CircuitProgram
from ..program.measurements import Measurement
from ..program.observables import ObservablesLike
from ..program.program import Parameters, list_parameters
from ..state_dicts import MarkedModule
from .points import check_pair, read_points, require_room


class QuantumKernel(MarkedModule):
    r"""A kernel :math:`k(x, x')` made of what a circuit does with two points.

    :class:`FidelityKernel` and :class:`ProjectedKernel` are the kernels; this is what they share.
    A kernel is called with points and returns their Gram matrix. Tensors come out as tensors, with
    a graph; NumPy's arrays come out as arrays, so that ``sklearn.svm.SVC(kernel=kernel)`` works
    with the object itself.

    Attributes:
        weight: The trainable parameters of the feature map, shape ``(W,)``, radians.
        program: The feature map with the roles of its parameters.
    """

    weight: nn.Parameter

    def __init__(
        self,
        feature_map: QuantumCircuit,
        measurement: ObservablesLike | Measurement | None,
        input_params: Parameters | None,
        weight_params: Parameters | None,
        execution: Execution,
        weights: WeightsChoice | None,
    ) -> None:
        super().__init__()
        require_instance(
            feature_map, "feature_map", QuantumCircuit, "a QuantumCircuit", error=CircuitError
        )
        if input_params is None:
            known = list(feature_map.parameters)
            weight_params = list_parameters(weight_params, known, "weight_params")
            input_params = [p for p in known if p not in set(weight_params)]
        self.program = CircuitProgram(
            feature_map, measurement, input_params=input_params, weight_params=weight_params
        )
        if not self.program.input_params:
            raise ParameterError(
                "Expected a feature map with inputs, one for each feature of a point; got "
                f"{self.program!r}, which has none. Leave parameters out of weight_params."
            )
        self._deploy(execution)
        start = initial_weights(self.program, weights, execution.seed)
        self.weight = nn.Parameter(start, requires_grad=len(start) > 0)

    def _deploy(self, execution: Execution) -> None:
        """Make the engine of an execution."""
        self._execution = execution
        engine, place = make_engine(self._measured(), execution)
        self._node, self._place = Node(engine), place

    def _measured(self) -> CircuitProgram:
        """Return the program that is evaluated."""
        return self.program

    @overload
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor: ...

    @overload
    def forward(self, x: NDArray[Any], y: NDArray[Any] | None = None) -> NDArray[np.float64]: ...

    def forward(self, x: Any, y: Any = None) -> Any:
        """Return the Gram matrix of two sets of points.

        Args:
            x: Shape ``(*batch, N, F)``: a tensor, an array of NumPy, or lists of numbers.
            y: Shape ``(*batch, M, F)``, likewise; ``None``, or ``x`` itself, for the points of
                ``x`` among each other, which costs half, is exactly symmetric and has ones on its
                diagonal.

        Returns:
            Shape ``(*batch, N, M)``, in the dtype and on the device of ``x``.

        Raises:
            BridgeError: One of its subclasses for anything that is wrong, before a job is
                submitted.
        """
        points, others = self._read(x, y)
        if isinstance(x, Tensor) or isinstance(y, Tensor):
            return self._checked_gram(points, others)
        if others is not None and torch.equal(points, others):  # another array of the same points
            others = None
        with torch.no_grad():
            return self._checked_gram(points, others).numpy()

    def _read(self, x: Any, y: Any) -> tuple[Tensor, Tensor | None]:
        features = self.program.input_params
        points = read_points(x, "x", features)
        if y is None or y is x:
            return points, None
        return points, read_points(y, "y", features)

    def _checked_gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        if y is not None:
            check_pair(x, y)
        require_room(x, x if y is None else y)
        gram = self._gram(double(x), None if y is None else double(y), double(self.weight))
        return self._returned(gram, x)

    def diagonal(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the kernel of each row of ``x`` with the same row of ``y``.

        Args:
            x: Shape ``(*batch, N, F)``.
            y: Shape ``(*batch, N, F)``; ``None``, or ``x`` itself, for ones, which cost nothing.

        Returns:
            Shape ``(*batch, N)``.
        """
        x, others = self._read(x, y)
        if others is None:
            return self._returned(torch.ones(x.shape[:-1], dtype=torch.float64), x)
        check_pair(x, others, row_by_row=True)
        x, others = torch.broadcast_tensors(x, others)
        return self._returned(self._diagonal(double(x), double(others), double(self.weight)), x)

    @abstractmethod
    def _gram(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        """Return the Gram matrix ``(*batch, N, M)`` in double precision."""

    @abstractmethod
    def _diagonal(self, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return the kernel row by row, ``(*batch, N)``, in double precision."""

    def _returned(self, values: Tensor, like: Tensor) -> Tensor:
        dtype = like.dtype if like.is_floating_point() else self.weight.dtype
        return values.to(device=like.device, dtype=dtype)

    @property
    def execution(self) -> Execution:
        """Where and how circuits are evaluated, as it was chosen. Read-only."""
        return self._execution

    @property
    def estimator(self) -> Primitive | None:
        """The estimator or sampler that evaluates; ``None`` for the exact engine."""
        return self._place.primitive

    @property
    def circuit(self) -> QuantumCircuit:
        """The circuit as it is evaluated. Read-only."""
        return self._node.program.circuit

    def with_backend(
        self, backend: BackendChoice | None = None, **changes: Unpack[HowFields]
    ) -> Self:
        """Return a kernel of the same feature map and weights that runs elsewhere.

        Args:
            backend: As for the kernel; ``None`` with ``estimator=`` in the changes, or for the
                exact engine.
            **changes: Fields of :class:`.Execution`; what they do not name stays.

        Raises:
            BridgeError: One of its subclasses for anything that is wrong.
        """
        unknown = sorted(set(changes) - set(HowFields.__annotations__))
        if unknown:
            raise InputError(
                f"Expected changes of with_backend to be fields of an Execution; got {unknown}. It "
                f"takes {', '.join(sorted(HowFields.__annotations__))}."
            )
        fields: ExecutionFields = {"backend": backend, **changes}
        execution = self._execution.changed(fields)
        moved = copy.deepcopy(self)
        moved._deploy(execution)
        return moved

    def extra_repr(self) -> str:
        """Describe the kernel as ``print`` shows it."""
        told = self._execution.settings(self.estimator, self._node.engine.gradient_name)
        return ", ".join(
            (
                f"qubits={self.program.circuit.num_qubits}",
                f"features={len(self.program.input_params)}",
                f"weights={len(self.program.weight_params)}",
                *told,
            )
        )
