# SPDX-License-Identifier: Apache-2.0
"""The fidelity kernel: how much alike the states are that a feature map makes of two points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.exceptions import CircuitError as QiskitCircuitError
from torch import Tensor
from typing_extensions import Self, override

from ..arguments import require_choice
from ..backends.prepare import PassManager
from ..exceptions import CircuitError
from ..execution import BackendChoice, EstimatorChoice, Exact, Execution, GradientChoice, Shots
from ..functional import evaluate
from ..initial_weights import WeightsChoice
from ..primitives.families import Primitive
from ..program import CircuitProgram, State
from ..program.lowering import find_active_qubits
from ..program.program import Parameters
from .from_machine_learning import read_kernel
from .kernel import QuantumKernel
from .overlaps import Overlaps, mirrored
from .positive import PSD, nearest_psd


class FidelityKernel(QuantumKernel):
    r"""The fidelity of the states that a feature map makes of two points.

    .. math:: k(x, x') = |\langle \phi(x) | \phi(x') \rangle|^2, \qquad
              |\phi(x)\rangle = U(x, w) |0\rangle

    On the exact engine, ``N + M`` states are simulated and multiplied as matrices. Elsewhere each
    pair of points is measured: :math:`U(x')` followed by :math:`U(x)^\dagger`, and the probability
    of all zeros ("compute-uncompute"), in one job with a point for each pair. Of one set of points
    only the pairs above the diagonal are measured.

    Args:
        feature_map: Any parameterized circuit of unitary gates.
        input_params: The parameters that are the features of a point, in the order of its entries;
            a ``ParameterVector`` stands for its elements. Default: all that are not weights.
        weight_params: The trainable parameters. Default: all that are not inputs, or none if
            neither is given.
        estimator: As for :class:`.TorchQuantumModule`, and so are backend, gradient, shots,
            precision and pass_manager. Default: the exact engine, :class:`.Exact`; with
            ``Exact(dtype="complex64")`` states and their products are of single precision.
        backend: Where else to run.
        gradient: How to differentiate.
        shots: Shots for each pair of points.
        precision: The standard error for each pair instead.
        pass_manager: Transpiles the circuit of a pair, once, now.
        initial_weights: As for :class:`.TorchQuantumModule`.
        seed: Makes initial weights, and the shots of simulators, reproducible.
        psd: ``"clip"`` to return, for one set of points, the nearest positive semidefinite matrix;
            see :func:`nearest_psd`. Default: what was measured. Exact Gram matrices are positive
            semidefinite up to rounding.

    Attributes:
        weight: The trainable parameters, shape ``(W,)``, radians.
        program: The feature map with the roles of its parameters, a :class:`.CircuitProgram`.
        psd: As given; it can be set.

    Raises:
        BridgeError: One of its subclasses for anything wrong with the arguments.

    Cost:
        On the exact engine ``N + M`` sweeps over a state and ``4 N M 2**n`` multiplications (half
        of them for one set of points); a gradient takes two sweeps more for each state and twice
        the products. States of up to 1 GiB are kept; with more of them, they are simulated anew, in
        blocks, each as often as there are blocks of the other points; second derivatives then need
        all of them in memory. Elsewhere one job forward, of ``N M`` or ``N (N - 1) / 2`` points,
        and one backward, with as many for each shift.

    References:
        V. Havlicek et al., Nature 567, 209 (2019), arXiv:1804.11326.

    Example:
        >>> import torch
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge.kernels import FidelityKernel
        >>> x = ParameterVector("x", 2)
        >>> circuit = QuantumCircuit(2)
        >>> for q in range(2):
        ...     _ = circuit.ry(x[q], q)
        >>> kernel = FidelityKernel(circuit)
        >>> kernel(torch.tensor([[0.0, 0.0], [0.5, 0.0]]))  # cos(0.25)**2
        tensor([[1.0000, 0.9388],
                [0.9388, 1.0000]])
    """

    def __init__(
        self,
        feature_map: QuantumCircuit,
        *,
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
        psd: str | None = None,
    ) -> None:
        self.psd = None if psd is None else require_choice(psd, "psd", PSD)
        execution = Execution(estimator, backend, gradient, shots, precision, pass_manager, seed)
        super().__init__(
            feature_map, State(), input_params, weight_params, execution, initial_weights
        )

    @classmethod
    def from_quantum_kernel(cls, kernel: Any, **options: Any) -> Self:
        """Return the kernel with what one of qiskit-machine-learning holds.

        Feature map, sampler, training parameters with the values that they have, and
        ``enforce_psd`` are taken over. The exact engine takes the place of an exact simulator, of
        which every estimate would have shots.

        Args:
            kernel: A ``FidelityQuantumKernel``, ``TrainableFidelityQuantumKernel``,
                ``FidelityStatevectorKernel`` or ``TrainableFidelityStatevectorKernel``.
            **options: Arguments of this class that replace those of the kernel.

        Raises:
            AlgorithmTypeError: If it is something else.

        Example:
            >>> from qiskit.circuit.library import zz_feature_map
            >>> from qiskit_machine_learning.kernels import FidelityStatevectorKernel
            >>> from qiskit_torch_bridge.kernels import FidelityKernel
            >>> theirs = FidelityStatevectorKernel(feature_map=zz_feature_map(2))
            >>> FidelityKernel.from_quantum_kernel(theirs)
            FidelityKernel(qubits=2, features=2, weights=0, estimator=Exact(), gradient=adjoint)
        """
        return cls(**{**read_kernel(kernel, options), **options})

    @property
    def _overlaps(self) -> Overlaps | None:
        """What multiplies states, where they are simulated."""
        if not _computes_states(self._execution):
            return None
        exact = self._execution.exact or Exact()
        return Overlaps(self._node, getattr(torch, exact.dtype))

    @override
    def extra_repr(self) -> str:
        """Describe the kernel as ``print`` shows it."""
        psd = "" if self.psd is None else f", psd={self.psd!r}"
        return super().extra_repr() + psd

    @override
    def _measured(self) -> CircuitProgram:
        if _computes_states(self._execution):
            return self.program
        return _compute_and_uncompute(self.program)

    @override
    def _gram(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        if self._overlaps is not None:
            gram = self._overlaps.gram(x, y, weights).double()
        else:
            gram = self._measure_pairs(x, y, weights)
        return nearest_psd(gram) if self.psd is not None and y is None else gram

    @override
    def _diagonal(self, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        if self._overlaps is not None:
            return self._overlaps.diagonal(x, y, weights).double()
        return self._measure(x, y, weights)

    def _measure_pairs(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        """Measure all pairs of points, or those above the diagonal, as rows of one call."""
        count = x.shape[-2]
        if y is None:
            i, j = torch.triu_indices(count, count, 1)
            found = self._measure(x[..., i, :], x[..., j, :], weights)
            upper = torch.zeros(*x.shape[:-1], count, dtype=found.dtype)
            upper = upper.index_put((*_all_of(x.shape[:-2]), i, j), found)
            return mirrored(upper)
        shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), count, *y.shape[-2:])
        left, right = x[..., :, None, :].expand(shape), y[..., None, :, :].expand(shape)
        return self._measure(left, right, weights)

    def _measure(self, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return the fidelity of each row ``(*batch, F)`` of ``x`` with that of ``y``."""
        if not x[..., 0].numel():
            return torch.zeros(x.shape[:-1], dtype=x.dtype)
        program = self.program
        columns = _used(program.input_params, program.circuit)
        weights = weights[_used(program.weight_params, program.circuit)]
        pairs = torch.cat([x[..., columns], y[..., columns]], dim=-1)
        return evaluate(self._node, pairs, weights)[..., 0]


def _computes_states(execution: Execution) -> bool:
    """Whether an execution simulates states: exactly, in this process, and differentiates them."""
    elsewhere = execution.backend, execution.primitive, execution.maker
    adjoint = execution.gradient in (None, "adjoint")
    return adjoint and not execution.samples and all(place is None for place in elsewhere)


def _compute_and_uncompute(program: CircuitProgram) -> CircuitProgram:
    """Return the program whose value is the fidelity of two points.

    Its inputs are those of the one point, followed by those of the other. The circuit is the one of
    the program, in which evolutions by terms that do not commute are product formulas already: the
    inverse of such a formula has its factors in the other order, which that of an evolution has
    not.
    """
    circuit, inputs = program.circuit, program.input_params
    names, name = {p.name.partition("[")[0] for p in program.parameters}, "x'"
    while name in names:
        name += "'"
    others = ParameterVector(name, len(inputs))
    present = set(circuit.parameters)
    renamed = {p: o for p, o in zip(inputs, others, strict=True) if p in present}
    try:
        uncompute = circuit.inverse()
    except QiskitCircuitError as error:
        raise CircuitError(
            f"Expected a feature map of gates that have an inverse, to compute and uncompute the "
            f"states of two points; got one that has none: {error.message}"
        ) from error
    pair = circuit.assign_parameters(renamed).compose(uncompute)
    acted_on = set(find_active_qubits(circuit))
    zeros = "".join("0" if q in acted_on else "I" for q in reversed(range(circuit.num_qubits)))
    return CircuitProgram(
        pair,
        zeros,
        input_params=[*renamed, *renamed.values()],
        weight_params=[p for p in program.weight_params if p in present],
    )


def _used(params: Sequence[Parameter], circuit: QuantumCircuit) -> list[int]:
    """Return which of some parameters come up in a circuit; vectors may have further elements."""
    present = set(circuit.parameters)
    return [k for k, p in enumerate(params) if p in present]


def _all_of(shape: Sequence[int]) -> list[Tensor]:
    """Return indices that select all of the leading axes, beside two of one axis."""
    count = len(shape)
    return [torch.arange(size).reshape(-1, *[1] * (count - k)) for k, size in enumerate(shape)]
