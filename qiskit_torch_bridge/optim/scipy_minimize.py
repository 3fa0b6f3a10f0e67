# SPDX-License-Identifier: Apache-2.0
"""The methods of ``scipy.optimize.minimize`` over the weights of modules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from ..algorithms.minimization import read_bounds
from ..arguments import is_options, require_whole_number, shown
from ..arrays import FloatArray
from ..exceptions import OptimizerError, OptimizerTypeError
from .quantum_optimizer import Closure, Params, QuantumOptimizer, check_number, to_array, to_tensor

VALUES_ONLY = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
GRADIENTS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "trust-constr")
PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov")
HESSIANS = ("dogleg", "trust-exact")
Bound = tuple[float | None, float | None]
METHODS = VALUES_ONLY + GRADIENTS + PRODUCTS + HESSIANS


class ScipyMinimize(QuantumOptimizer):
    """Any method of ``scipy.optimize.minimize`` as a torch optimizer.

    One ``step`` runs the method from the present weights for at most ``max_iter`` iterations, as
    ``LBFGS`` of torch does for its own; two steps start it twice.

    Args:
        params: Parameters of any module, or a module that contains :class:`.TorchQuantumModule`
            for the weights of these.
        method: A name that ``scipy.optimize.minimize`` knows. Methods that use second derivatives
            (``"Newton-CG"``, ``"trust-ncg"``, ``"trust-krylov"``, ``"trust-exact"``, ``"dogleg"``)
            get exact ones from the graph: Hessian-vector products, or columns of the Hessian.
        max_iter: The most iterations of one step.
        tolerance: Where to stop, with the meaning that the method gives to ``tol``.
        bounds: A pair for each entry of all parameters, in their order; ``None`` for no limit.
        options: More options of the method.

    Attributes:
        result: SciPy's result of the last step.

    Raises:
        OptimizerError: If the method is unknown, or needs a gradient that the closure does not
            allow to compute.
        ObjectiveError: If the loss is not finite; the weights are then those of the step's start.

    The closure returns the loss; it may call ``backward()``, as torch's own need, but then there
    are no second derivatives. Keep weights in double precision (``module.double()``) where the
    method must converge to many digits: SciPy computes in double precision.

    Cost:
        ``result.nfev`` values, and as many gradients for methods that use them. Second derivatives
        need one value and gradient more at each point, and one product per direction.

    Example:
        >>> import torch
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.optim import ScipyMinimize
        >>> theta = ParameterVector("theta", 2)
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(theta[0], 0), circuit.ry(theta[1], 0)
        >>> node = TorchQuantumModule(circuit, "Z", initial_weights=[0.5, 0.3]).double()
        >>> optimizer = ScipyMinimize(node, "L-BFGS-B")
        >>> round(optimizer.step(lambda: node().sum()), 6)
        -1.0
    """

    def __init__(
        self,
        params: Params,
        method: str = "L-BFGS-B",
        *,
        max_iter: int = 100,
        tolerance: float | None = None,
        bounds: Sequence[Bound] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        known = {name.lower(): name for name in METHODS}
        given: object = method
        if not isinstance(given, str) or given.lower() not in known:
            raise OptimizerError(
                f"Expected method to be one of {', '.join(METHODS)}; got {shown(method)}."
            )
        require_whole_number(max_iter, "max_iter", 1, error=OptimizerError)
        if tolerance is not None:
            check_number(tolerance, "tolerance")
        if options is not None and not is_options(options):
            raise OptimizerTypeError(
                f"Expected options to be a mapping of options of the method; got {shown(options)}."
            )
        super().__init__(params, {})
        self.method, self.max_iter, self.tolerance = known[method.lower()], max_iter, tolerance
        self.options = dict(options or {})
        size = sum(p.numel() for group in self.param_groups for p in group["params"])
        self.bounds = None if bounds is None else _check_bounds(bounds, size)
        self.result: Any = None

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float:  # type: ignore[override]
        """Run the method from the present weights, and leave the best ones it found.

        Args:
            closure: Returns the loss.

        Returns:
            The loss at the weights found.
        """
        calls = _FlatLoss(self, self._require_closure(closure))
        derivatives: dict[str, Any] = {}
        if self.method not in VALUES_ONLY:
            derivatives["jac"] = True
        if self.method in PRODUCTS:
            derivatives["hessp"] = calls.multiply_hessian
        if self.method in HESSIANS:
            derivatives["hess"] = calls.compute_hessian
        counted = "maxfun" if self.method == "TNC" else "maxiter"
        with self._restored_on_error() as start:
            self.result = scipy.optimize.minimize(  # type: ignore[call-overload]
                calls.evaluate if self.method in VALUES_ONLY else calls.differentiate,
                _flatten(start, start),
                method=self.method,
                tol=self.tolerance,
                bounds=self._list_bounds(),
                options={counted: self.max_iter, **self.options},
                **derivatives,
            )
        self._place(self.result.x)
        return float(self.result.fun)

    def _list_bounds(self) -> list[Bound] | None:
        """Return the bounds of what is not frozen."""
        if self.bounds is None:
            return None
        rest = iter(self.bounds)
        parameters = [p for group in self.param_groups for p in group["params"]]
        pairs = [(p, list(itertools.islice(rest, p.numel()))) for p in parameters]
        return [bound for p, its in pairs if p.requires_grad for bound in its]

    @torch.no_grad()
    def _place(self, x: FloatArray) -> None:
        at = 0
        for parameter, _ in self._parameters():
            parameter.copy_(to_tensor(x[at : at + parameter.numel()], parameter))
            at += parameter.numel()


class _FlatLoss:
    """The loss and its derivatives as functions of one flat array."""

    def __init__(self, optimizer: ScipyMinimize, closure: Closure) -> None:
        self._optimizer, self._closure = optimizer, closure
        self._tensors = [p for p, _ in optimizer._parameters()]
        self._graph: tuple[FloatArray, list[Tensor | None]] | None = None

    def evaluate(self, x: FloatArray) -> float:
        self._graph = None
        self._optimizer._place(x)
        return self._optimizer._evaluate(self._closure)

    def differentiate(self, x: FloatArray) -> tuple[float, FloatArray]:
        loss, gradients, averaged = self._run_closure(x, graph=False)
        value, gradient = self._optimizer._read_loss(loss), _flatten(gradients, self._tensors)
        return value, gradient if averaged else self._optimizer._replicas.mean(gradient)

    def multiply_hessian(self, x: FloatArray, vector: FloatArray) -> FloatArray:
        """Return the Hessian at ``x`` times a vector."""
        if self._graph is None or not np.array_equal(self._graph[0], x):
            self._graph = np.array(x), self._run_closure(x, graph=True)[1]
        return self._multiply(self._graph[1], np.asarray(vector, dtype=float)[None])[0]

    def compute_hessian(self, x: FloatArray) -> FloatArray:
        _, gradients, _ = self._run_closure(x, graph=True)
        found = self._multiply(gradients, np.eye(len(x)))
        return (found + found.T) / 2

    def _multiply(self, gradients: list[Tensor | None], vectors: FloatArray) -> FloatArray:
        # Where the loss is linear in a tensor, the gradient is constant.
        varying = {i: g for i, g in enumerate(gradients) if g is not None and g.requires_grad}
        outputs = list(varying.values())
        places = np.cumsum([t.numel() for t in self._tensors])[:-1]
        rows = []
        for vector in vectors:
            parts = np.split(vector, places)
            weights = [to_tensor(parts[i], g) for i, g in varying.items()]
            found: Sequence[Tensor | None] = [None] * len(self._tensors)
            if outputs:
                found = torch.autograd.grad(
                    outputs, self._tensors, weights, retain_graph=True, allow_unused=True
                )
            rows.append(_flatten(found, self._tensors))
        return self._optimizer._replicas.mean(np.array(rows))

    def _run_closure(
        self, x: FloatArray, graph: bool
    ) -> tuple[Tensor | float, list[Tensor | None], bool]:
        """Return the loss, its gradients, and whether processes that share a batch average them."""
        self._graph = None
        self._optimizer._place(x)
        for tensor in self._tensors:
            tensor.grad = None
        with torch.enable_grad(), self._optimizer._replicas.watched():
            loss = self._closure()
            if any(t.grad is not None for t in self._tensors) and not graph:
                return loss, [t.grad for t in self._tensors], True
            try:
                found = torch.autograd.grad(
                    loss,  # type: ignore[arg-type] # the error tells if it is no tensor
                    self._tensors,
                    create_graph=graph,
                    allow_unused=True,
                )
            except (RuntimeError, TypeError, AttributeError) as error:
                advice = (
                    "its closure must return the loss without calling backward(), and the loss "
                    "must be twice differentiable"
                    if graph
                    else "its closure must return the loss, one number that depends on the "
                    "parameters, or call backward()"
                )
                raise OptimizerError(
                    f"Method {self._optimizer.method} needs "
                    f"{'second derivatives' if graph else 'a gradient'}: {advice} ({error})."
                ) from error
        return loss, list(found), False


def _flatten(tensors: Sequence[Tensor | None], like: list[Tensor]) -> FloatArray:
    parts = [
        np.zeros(t.numel()) if g is None else to_array(g)
        for g, t in zip(tensors, like, strict=True)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _check_bounds(bounds: Sequence[Bound], size: int) -> list[Bound]:
    pairs = zip(*(bound.tolist() for bound in read_bounds(bounds, size)), strict=True)
    return [(None if math.isinf(a) else a, None if math.isinf(b) else b) for a, b in pairs]
