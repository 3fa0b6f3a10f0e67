# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Quantum: its C++ state-vector simulator with the adjoint differentiator.

Single precision only: ``float32`` values on ``complex64`` amplitudes, and the derivatives of gates
are differences with a step of 5e-3
(https://github.com/tensorflow/quantum/blob/master/tensorflow_quantum/core/src/adj_util.h), so its
gradients are good to about four digits. As in
https://www.tensorflow.org/quantum/tutorials/gradients the layer ``tfq.layers.Expectation`` has
``differentiator=tfq.differentiators.Adjoint()``; the step is a ``tf.function``, as in a Keras
training loop (https://www.tensorflow.org/guide/function).
"""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # https://www.tensorflow.org/quantum/install

import cirq
import numpy as np
import sympy
import tensorflow as tf
import tensorflow_quantum as tfq
from adjoint_reference import Step
from workloads import Observable, Workload

from peers.candidate import Candidate

ROTATIONS = {"rx": cirq.rx, "ry": cirq.ry, "rz": cirq.rz}
PAULIS = {"X": cirq.X, "Y": cirq.Y, "Z": cirq.Z}


def adjoint(work: Workload) -> Candidate:
    """Symbols and circuit are tensors made once; inputs and weights are what changes."""
    places = cirq.GridQubit.rect(1, work.qubits)
    names = [f"v{i:04d}" for i in range(work.values.shape[1])]
    symbols = sympy.symbols(names)
    circuit = cirq.Circuit(
        cirq.CNOT(*(places[q] for q in qubits))
        if parameter is None
        else ROTATIONS[name](symbols[parameter])(places[qubits[0]])
        for name, qubits, parameter, _ in work.gates
    )
    batch = len(work.x)
    circuits = tfq.convert_to_tensor([circuit] * batch)
    operators = tfq.convert_to_tensor([[_operator(o, places) for o in work.observables]] * batch)
    expectation = tfq.layers.Expectation(differentiator=tfq.differentiators.Adjoint())
    x = tf.Variable(work.x, dtype=tf.float32)
    w = tf.Variable(work.w, dtype=tf.float32)

    @tf.function
    def gradients() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            values = tf.concat([x, tf.tile(w[None], [batch, 1])], axis=1)
            evs = expectation(
                circuits, symbol_names=names, symbol_values=values, operators=operators
            )
            loss = tf.reduce_sum(evs)
        by_inputs, by_weights = tape.gradient(loss, (x, w))
        return evs, by_inputs, by_weights

    def step() -> tuple[np.ndarray, ...]:
        return tuple(tensor.numpy() for tensor in gradients())

    return Candidate(step, lambda arrays: Step(*(a.astype(float) for a in arrays)))


def _operator(observable: Observable, places: list[cirq.GridQubit]) -> cirq.PauliSum:
    return cirq.PauliSum.from_pauli_strings(
        [
            cirq.PauliString(
                coefficient,
                *(PAULIS[letter](places[q]) for letter, q in zip(word, qubits, strict=True)),
            )
            for word, qubits, coefficient in observable
        ]
    )
