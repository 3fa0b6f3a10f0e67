# SPDX-License-Identifier: Apache-2.0
"""Projected kernels: how much alike the reduced states of a few qubits are at two points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor, nn
from typing_extensions import override

from ..arguments import require_bool, require_instance, require_real_number, require_whole_number
from ..backends.prepare import PassManager
from ..exceptions import CircuitError
from ..execution import BackendChoice, EstimatorChoice, Execution, GradientChoice, Shots
from ..functional import evaluate
from ..initial_weights import WeightsChoice
from ..primitives.families import Primitive
from ..program.observables import ObservablesLike
from ..program.program import Parameters
from .kernel import QuantumKernel
from .overlaps import mirrored


class ProjectedKernel(QuantumKernel):
    r"""A Gaussian of the distance between what is measured of two points.

    .. math:: k(x, x') = \exp\Bigl(-\gamma \sum_A
              \lVert \rho_A(x) - \rho_A(x') \rVert_F^2 \Bigr)

    with the reduced states :math:`\rho_A` of every qubit, or of every pair of qubits. They are
    known from expectation values of Pauli strings on them,

    .. math:: \lVert \rho_A(x) - \rho_A(x') \rVert_F^2 = 2^{-|A|} \sum_P
              (\langle P \rangle_x - \langle P \rangle_{x'})^2,

    so ``N + M`` points are evaluated wherever the kernel runs, never their pairs, and what few
    qubits tell is told apart where fidelities of many qubits all become small. Being a Gaussian of
    numbers, the Gram matrix of one set of points is positive semidefinite under shots and noise as
    well. With ``observables`` the distance is that of their expectation values instead,
    :math:`\sum_o (\langle O_o \rangle_x - \langle O_o \rangle_{x'})^2`.

    Args:
        feature_map: Any parameterized circuit of unitary gates.
        observables: As for :class:`.TorchQuantumModule`; default: those that tell the reduced
            states.
        subsystem_size: The qubits of each reduced state, 1 or 2, where no observables are given.
        gamma: The width :math:`\gamma`, positive.
        train_gamma: Whether it is trained, by way of its logarithm, the parameter ``log_gamma``.
        input_params: As for :class:`FidelityKernel`, like all that follow.
        weight_params: The trainable parameters.
        estimator: Where to run; any circuit that a module takes, also a wide one.
        backend: Where else to run.
        gradient: How to differentiate.
        shots: Shots for each point.
        precision: The standard error for each point instead.
        pass_manager: Transpiles the circuit, once, now.
        initial_weights: As for :class:`.TorchQuantumModule`.
        seed: Makes initial weights, and the shots of simulators, reproducible.

    Attributes:
        weight: The trainable parameters, shape ``(W,)``, radians.
        log_gamma: The logarithm of the width: a parameter if it is trained, else a buffer.
        program: The feature map, a :class:`.CircuitProgram`.

    Raises:
        BridgeError: One of its subclasses for anything wrong with the arguments.

    Cost:
        That of a module for ``N + M`` rows, of ``3 n`` or ``9 n (n - 1) / 2 + 3 n`` observables,
        and a product of ``N x O`` by ``O x M`` numbers.

    References:
        H.-Y. Huang et al., Nature Communications 12, 2631 (2021), arXiv:2011.01938.

    Example:
        >>> import torch
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.kernels import ProjectedKernel
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("x"), 0)
        >>> kernel = ProjectedKernel(circuit)
        >>> kernel(torch.tensor([[0.0], [0.5]]))  # exp(-2 sin(0.25)**2)
        tensor([[1.0000, 0.8848],
                [0.8848, 1.0000]])
    """

    log_gamma: Tensor

    def __init__(
        self,
        feature_map: QuantumCircuit,
        observables: ObservablesLike | None = None,
        *,
        subsystem_size: int = 1,
        gamma: float = 1.0,
        train_gamma: bool = False,
        input_params: Parameters | None = None,
        weight_params: Parameters | None = None,
        estimator: EstimatorChoice | Sequence[Primitive] | None = None,
        backend: BackendChoice | None = None,
        gradient: GradientChoice | None = None,
        shots: int | Shots | None = None,
        precision: float | None = None,
        pass_manager: PassManager | None = None,
        initial_weights: WeightsChoice | None = None,
        seed: int | None = None,
    ) -> None:
        require_instance(
            feature_map, "feature_map", QuantumCircuit, "a QuantumCircuit", error=CircuitError
        )
        require_whole_number(subsystem_size, "subsystem_size", 1, 2)
        gamma = require_real_number(gamma, "gamma")
        train_gamma = require_bool(train_gamma, "train_gamma")
        if observables is None:
            observables = _coordinates(feature_map.num_qubits, subsystem_size)
        execution = Execution(estimator, backend, gradient, shots, precision, pass_manager, seed)
        super().__init__(
            feature_map, observables, input_params, weight_params, execution, initial_weights
        )
        log_gamma = torch.tensor(math.log(gamma), dtype=torch.float64)
        if train_gamma:
            self.log_gamma = nn.Parameter(log_gamma)
        else:
            self.register_buffer("log_gamma", log_gamma)

    @property
    def gamma(self) -> float:
        r"""The width :math:`\gamma`."""
        return math.exp(self.log_gamma.item())

    @override
    def extra_repr(self) -> str:
        """Describe the kernel as ``print`` shows it."""
        return f"{super().extra_repr()}, gamma={self.gamma:.4g}"

    def features(self, x: Tensor) -> Tensor:
        """Return the coordinates of points, whose squared distances count.

        Args:
            x: Shape ``(*batch, N, F)``.

        Returns:
            Shape ``(*batch, N, O)``: expectation values, those of the reduced states weighted so
            that their distances are those of the states.
        """
        points, _ = self._read(x, None)
        return self._returned(self._coordinates_of(points, self.weight), points)

    def _coordinates_of(self, x: Tensor, weights: Tensor) -> Tensor:
        return evaluate(self._node, x, weights).flatten(x.dim() - 1)

    @override
    def _gram(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        left = self._coordinates_of(x, weights)
        right = left if y is None else self._coordinates_of(y, weights)
        gram = self._gaussian(_squared_distances(left, right))
        return mirrored(gram) if y is None else gram

    @override
    def _diagonal(self, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        difference = self._coordinates_of(x, weights) - self._coordinates_of(y, weights)
        return self._gaussian((difference**2).sum(-1))

    def _gaussian(self, squares: Tensor) -> Tensor:
        return torch.exp(-self.log_gamma.to(squares).exp() * squares)


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return ``(..., N, M)`` for coordinates ``(..., N, O)`` and ``(..., M, O)``.

    They are counted from the mean, which makes what is subtracted small.
    """
    centre = right.detach().mean(-2, keepdim=True)
    left, right = left - centre, right - centre
    squares = (left**2).sum(-1)[..., :, None] + (right**2).sum(-1)[..., None, :]
    return (squares - 2 * left @ right.mT).clamp(min=0)


def _coordinates(num_qubits: int, size: int) -> list[SparsePauliOp]:
    """Return Pauli strings whose differences tell those of all reduced states of so many qubits.

    Each is weighted by the root of what its squared difference counts for.
    """
    size = min(size, num_qubits)
    weights: dict[str, float] = {}
    for qubits in itertools.combinations(range(num_qubits), size):
        for letters in itertools.product("IXYZ", repeat=size):
            label = ["I"] * num_qubits
            for qubit, letter in zip(qubits, letters, strict=True):
                label[num_qubits - 1 - qubit] = letter
            text = "".join(label)
            if text.strip("I"):
                weights[text] = weights.get(text, 0.0) + 2.0**-size
    return [SparsePauliOp(text, [math.sqrt(weight)]) for text, weight in weights.items()]
