# SPDX-License-Identifier: Apache-2.0
"""The estimator that is used when none is given: all points of a PUB in one simulation."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, PrimitiveJob, PrimitiveResult, PubResult
from qiskit.primitives.containers import DataBin, EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import (
    require_choice,
    require_instance,
    shown,
)
from ..exceptions import PrecisionError
from ..lru_cache import LRUCache
from ..program import AnalysedCircuit
from ..program.deferral import defer
from ..program.readouts import Expectations
from .batched import BatchedPrimitive, submit_plans
from .observable_sets import ObservableSet, ObservableSets
from .precision import MOST_SHOTS, precision_to_shots, validate_target_precision
from .pubs import AnalysedPub, check_pubs, read_pub, split_into_blocks
from .simulation import Plan

Noise = Literal["shots", "gaussian"]
EITHER = " Precision zero is exact with either."


class BatchedStatevectorEstimator(BatchedPrimitive, BaseEstimatorV2):
    r"""Evaluates PUBs in this process, all points at once: exactly, or with the noise of shots.

    .. math:: \langle O\rangle_i = \langle 0|U^\dagger(v_i)\, O\, U(v_i)|0\rangle
        \approx \sum_g \frac1m \sum_{s=1}^{m} o_g(b_{i,g,s})

    The left side is what precision zero gives. For precision :math:`\epsilon` and
    ``noise="shots"``, :math:`m = \lceil\epsilon^{-2}\rceil` outcomes :math:`b` are drawn for each
    point :math:`v_i` and each group :math:`g` of terms that commute qubit by qubit; all
    observables asked for at a point share its shots, as they do on a backend. ``stds`` are the
    standard errors estimated from the shots, zero for terms without any Pauli. With
    ``noise="gaussian"`` each value gets independent normal noise of standard deviation
    :math:`\epsilon`, as from Qiskit's ``StatevectorEstimator``, and ``stds`` are :math:`\epsilon`.

    A circuit is taken as it is: library blocks, controlled gates with parameters, transpiled
    circuits with idle qubits. Measurements, resets and control flow before its end are deferred,
    each to a qubit of its own where that is needed (:doc:`/how-tos/circuits-with-measurements`):
    values are averages over all outcomes, without any sampling at precision zero. Observables may
    name projectors, such as ``"0"`` and ``"+"``. Circuits and observables are compiled once and
    remembered. Parameter expressions are given the values that they have, also those that Qiskit
    2.1.0 to 2.5.1 bind to others, such as ``x**2 + y**2``.

    A ``PauliEvolutionGate`` whose terms do not commute is what it is to the installed Qiskit's
    ``StatevectorEstimator``: from Qiskit 2.2 on the exact exponential, before it the product
    formula of its definition. Decompose the circuit for the latter.

    Despite its name it holds a state vector only where that is the cheapest. Exact values come from
    the method that takes the least, as with ``Exact(method="automatic")``: a hundred qubits are no
    more than light cones, or columns, of circuits with few layers. Shots are drawn from state
    vectors of circuits of up to 20 qubits, so that a seed keeps its meaning, and above them from
    column networks, qubit by qubit, where these take less.

    Args:
        default_precision: Used where neither the PUB nor ``run`` names one; zero is exact.
        noise: ``"shots"`` or ``"gaussian"``: what a precision other than zero means.
        seed: Makes the noise of a sequence of runs reproducible. Every call, PUB, point and group
            has noise of its own all the same. A generator is drawn from once for each noisy call.
        dtype: ``"complex128"``, or ``"complex64"`` for half of the memory and time.

    Raises:
        PrecisionError: If ``default_precision`` is negative or not finite, or ``noise`` unknown.
        InputTypeError: If ``seed`` or ``dtype`` are of another kind.

    Cost:
        One simulation for each point, whatever the number of observables; with shots also one
        basis change and one drawing for each group: of ``n`` qubits with bonds of dimension ``D``
        between columns ``2 * n * D**2`` multiplications for each shot. Memory for the states under
        way: 64 MiB, or what one state needs, ``16 * 2**n`` bytes over the ``n`` qubits that gates
        act on, or ``96 * n * D**2`` bytes as columns. The exponential of terms on ``k`` qubits that
        do not commute takes the eigenvectors of a matrix of that size, once (two seconds for ten
        qubits), and up to ``2**k`` rotations for each point if its time is a parameter; terms that
        commute with all others count by themselves.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> pub = (circuit, [["Z"], ["X"]], [[0.0], [1.0]])
        >>> BatchedStatevectorEstimator().run([pub]).result()[0].data.evs.round(4).tolist()
        [[1.0, 0.5403], [0.0, 0.8415]]
        >>> shots = BatchedStatevectorEstimator(default_precision=0.1, seed=7)
        >>> shots.run([pub]).result()[0].metadata["shots"]
        100

    References:
        O. Crawford et al., Quantum 5, 385 (2021), on the standard errors of terms that are
        measured together.
    """

    def __init__(
        self,
        *,
        default_precision: float = 0.0,
        noise: Noise = "shots",
        seed: int | np.random.Generator | None = None,
        dtype: Any = "complex128",
    ) -> None:
        self.default_precision = validate_target_precision(default_precision)
        kinds = get_args(Noise)
        self.noise: Noise = require_choice(noise, "noise", kinds, error=PrecisionError, hint=EITHER)
        super().__init__(seed, dtype)
        self._observables = ObservableSets()
        self._deferred: LRUCache[tuple[AnalysedCircuit, ObservableSet]] = LRUCache(64)

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]:
        """Evaluate ``pubs``; see :meth:`qiskit.primitives.BaseEstimatorV2.run`.

        Raises:
            BridgeError: If something is wrong with a PUB; before any of them is evaluated. Its
                kind says with what: :class:`.CircuitError`, :class:`.ObservableError`,
                :class:`.InputError`, :class:`.ParameterError`, :class:`.PrecisionError` or
                :class:`.MemoryLimitError`.
        """
        wanted = validate_target_precision(
            self.default_precision if precision is None else precision
        )
        check_pubs(pubs)
        plans = [self._plan(read_pub(p, wanted, self._defer, self._observables)) for p in pubs]
        noisy = any(plan.request.precision for plan in plans)
        evaluate = functools.partial(_evaluate, self.noise)
        return submit_plans(plans, evaluate, self._draw_entropy() if noisy else [])

    def _defer(
        self, circuit: QuantumCircuit, observables: ObservableSet
    ) -> tuple[AnalysedCircuit, ObservableSet]:
        """Return the analysis of a circuit, its measurements deferred, and observables on that."""
        analysed = self._analysed(circuit)
        if not analysed.is_dynamic:
            return analysed, observables

        def make() -> tuple[AnalysedCircuit, ObservableSet]:
            deferred, readout = defer(analysed, Expectations(observables.operators))
            count = deferred.circuit.num_qubits
            return deferred, ObservableSet(readout.operators, observables.index, count)

        return self._deferred((analysed, observables), make)

    def _plan(self, pub: AnalysedPub) -> Plan:
        shots = 0
        if self.noise == "shots" and pub.precision:
            if pub.precision < MOST_SHOTS**-0.5:
                raise PrecisionError(
                    f"Expected a precision from 2**-26 (2**52 shots) up; got "
                    f"{shown(pub.precision)}. Use zero for exact values, or noise='gaussian'."
                )
            shots = precision_to_shots(pub.precision)
        observables = pub.observables
        blocks = split_into_blocks(pub.points_shape, observables.index, len(observables.operators))
        return self._simulators.plan(pub, blocks, shots)

    def skip_job(self, pub: EstimatorPub) -> None:
        """Go on as after running a PUB: for one that was answered from a journal."""
        require_instance(pub, "pub", EstimatorPub, "an EstimatorPub")
        if self.default_precision if pub.precision is None else pub.precision:
            self._draw_entropy()


def _evaluate(noise: Noise, plan: Plan, seeds: np.random.SeedSequence) -> PubResult:
    """Evaluate one PUB."""
    request = plan.request
    evs, stds = plan.run(seeds)
    metadata = {
        "target_precision": request.precision,
        "shots": plan.shots,
        "mode": noise if request.precision else "exact",
        "circuit_metadata": request.metadata,
    }
    return PubResult(DataBin(evs=evs, stds=stds, shape=request.shape), metadata=metadata)
