# SPDX-License-Identifier: Apache-2.0
"""qiskit-algorithms: ``ReverseEstimatorGradient``, the adjoint method on Qiskit's ``Statevector``.

https://qiskit-community.github.io/qiskit-algorithms/stubs/qiskit_algorithms.gradients.ReverseEstimatorGradient.html
The gradient is that of the sum of the observables; expectation values come from
``StatevectorEstimator``, one PUB for the whole batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qiskit.primitives import StatevectorEstimator
from qiskit_algorithms.gradients import ReverseEstimatorGradient
from workloads import Workload

from peers.candidate import Candidate, split
from peers.qiskit_form import circuit_of, observables_of, operator_of


def reverse(work: Workload) -> Candidate:
    """All rows in one call of the estimator and one of the gradient."""
    circuit, inputs, weights = circuit_of(work)
    parameters = [*inputs, *weights]
    order = [parameters.index(p) for p in circuit.parameters]
    observables = [[o] for o in observables_of(work)]
    total = operator_of(work, work.total)
    estimator, gradient = StatevectorEstimator(), ReverseEstimatorGradient()
    batch = len(work.x)
    rows = work.values[:, order].tolist()

    def step() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        bindings = {tuple(parameters): work.values}
        evs = estimator.run([(circuit, observables, bindings)]).result()[0].data.evs
        job = gradient.run([circuit] * batch, [total] * batch, rows)
        found = np.empty((batch, len(parameters)))
        found[:, order] = job.result().gradients
        return evs.T, found

    return Candidate(step, lambda result: split(work, *result))
