# SPDX-License-Identifier: Apache-2.0
"""The circuits of layers: features are encoded, and trainable layers of gates follow.

The trainable layers are Qiskit's ``n_local`` of RX and RY on each qubit and CZ between some: CZ
commutes with Z and undoes itself, and no angle is without effect, neither on basis states nor
before a measurement of Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import n_local, zz_feature_map

from ..arguments import is_whole_number, require_choice, shown
from ..exceptions import CircuitError
from ..program.amplitudes import MOST_QUBITS as MOST_PREPARED
from ..program.amplitudes import AmplitudePreparation

Pairs: TypeAlias = Sequence[tuple[int, int]]

ENTANGLEMENTS = ("linear", "reverse_linear", "pairwise", "circular", "sca", "full")
"""The names that Qiskit's library has for pairs of qubits."""
AXES = ("ry", "rx")
"""Rotations that encode features on one qubit, in turn: what is turned about Z, Z does not see."""
ROTATIONS = ("rx", "ry")
"""Rotations of each qubit in a trainable layer."""
IQP_REPS = 2
"""How often a feature map of type IQP is applied."""
MOST_QUBITS = 10
"""Qubits that a layer has by default where features can share them."""
MOST_GATES = 1 << 16
"""Gates of a circuit that takes seconds to make, not minutes."""


class Shape(NamedTuple):
    """The size of a layer's circuit.

    Attributes:
        features: How many features there are.
        qubits: How many qubits.
        layers: How many trainable layers.
        entanglement: Between which qubits: a name, or pairs.
        apart: Whether each upload of the features has inputs of its own.
    """

    features: int
    qubits: int
    layers: int
    entanglement: str | Pairs
    apart: bool


class Encoded(NamedTuple):
    """Features in a circuit.

    Attributes:
        uploads: What encodes them, before the first trainable layer, the second, and so on.
        inputs: The parameters that are features.
    """

    uploads: Sequence[QuantumCircuit]
    inputs: Sequence[Parameter]


class Encoding(NamedTuple):
    """A way for features into a circuit.

    Attributes:
        encode: Makes the circuits.
        default_qubits: The qubits for a number of features, if nothing is said.
        capacity: The most features that some qubits take.
        room: That in words.
        least: The fewest features.
        repeated: Whether features are encoded anew before each trainable layer.
    """

    encode: Callable[[Shape], Encoded]
    default_qubits: Callable[[int], int]
    capacity: Callable[[int], float]
    room: str
    least: int = 1
    repeated: bool = False


class LayerCircuit(NamedTuple):
    """The circuit of a layer, and which of its parameters are what.

    Attributes:
        circuit: The circuit.
        inputs: The parameters of the features.
        weights: The trainable ones: ``(layers + 1, 2, qubits)``, one after the other.
    """

    circuit: QuantumCircuit
    inputs: Sequence[Parameter]
    weights: Sequence[Parameter]


def build_circuit(encoding: Encoding, shape: Shape) -> LayerCircuit:
    """Return encoding and trainable layers as one circuit.

    With ``L`` layers there are ``L`` times rotations and CZ, and rotations once more at the end.
    """
    _check_size(encoding, shape)
    encoded = encoding.encode(shape)
    qubits, layers = shape.qubits, shape.layers
    trainable = n_local(
        qubits,
        list(ROTATIONS),
        "cz" if qubits > 1 else [],
        entanglement=shape.entanglement,
        reps=layers,
        parameter_prefix="w",
    )
    steps = list(trainable.data)
    length = (len(steps) - len(ROTATIONS) * qubits) // layers
    circuit = QuantumCircuit(qubits)
    for index, step in enumerate(steps):
        layer, position = divmod(index, length)
        if position == 0 and layer < min(layers, len(encoded.uploads)):
            circuit.compose(encoded.uploads[layer], inplace=True)
        circuit.append(step.operation, [trainable.find_bit(q).index for q in step.qubits])
    return LayerCircuit(circuit, encoded.inputs, list(trainable.parameters))


def check_entanglement(given: Any, qubits: int) -> str | Pairs:
    """Return a name of Qiskit's library, or pairs of different qubits that there are."""
    if isinstance(given, (list, tuple)):
        pairs = [tuple(pair) if isinstance(pair, (list, tuple)) else () for pair in given]
        for pair, entry in zip(pairs, given, strict=True):
            known = len(pair) == 2 and all(is_whole_number(q) and 0 <= q < qubits for q in pair)
            if not known or pair[0] == pair[1]:
                raise CircuitError(
                    f"Expected pairs of different qubits from 0 to {qubits - 1} in entanglement; "
                    f"got {shown(entry)}."
                )
        if pairs:
            return [(int(a), int(b)) for a, b in pairs]
    hint = " Or a list of pairs of qubits, such as [(0, 1), (1, 2)]."
    return require_choice(given, "entanglement", ENTANGLEMENTS, error=CircuitError, hint=hint)


def _check_size(encoding: Encoding, shape: Shape) -> None:
    """Raise :class:`.CircuitError` for more gates than anything could run."""
    pairs = len(shape.entanglement) if isinstance(shape.entanglement, list) else shape.qubits
    if shape.entanglement == "full":
        pairs = math.comb(shape.qubits, 2)
    uploads = shape.layers if encoding.repeated else 1
    gates = (shape.layers + 1) * (2 * shape.qubits + pairs) + uploads * shape.features
    if gates > MOST_GATES:
        raise CircuitError(
            f"Expected a circuit of at most {MOST_GATES} gates; got {shown(shape.layers)} layers "
            f"of {shown(shape.qubits)} qubits for {shown(shape.features)} features. Take fewer "
            "layers or fewer qubits."
        )


# -- the ways for features into a circuit ----------------------------------------------------------


def _turn(inputs: Sequence[Parameter], qubits: int) -> QuantumCircuit:
    """Turn one qubit after the other by a feature each, then about the other axis, and so on."""
    circuit = QuantumCircuit(qubits)
    for index, angle in enumerate(inputs):
        turns, qubit = divmod(index, qubits)
        getattr(circuit, AXES[turns % 2])(angle, qubit)
    return circuit


def _encode_angles(shape: Shape) -> Encoded:
    x = list(ParameterVector("x", shape.features))
    return Encoded([_turn(x, shape.qubits)], x)


def _encode_again(shape: Shape) -> Encoded:
    count = shape.features
    x = list(ParameterVector("x", count * shape.layers if shape.apart else count))
    starts = range(0, len(x), count) if shape.apart else [0] * shape.layers
    return Encoded([_turn(x[s : s + count], shape.qubits) for s in starts], x)


def _encode_products(shape: Shape) -> Encoded:
    count, entanglement = shape.features, shape.entanglement
    blocks: Any = entanglement
    if not isinstance(entanglement, str):  # of the qubits that have a feature
        pairs = [pair for pair in entanglement if max(pair) < count]
        blocks = {1: [(q,) for q in range(count)], 2: pairs}
    feature_map = zz_feature_map(count, reps=IQP_REPS, entanglement=blocks, parameter_prefix="x")
    circuit = QuantumCircuit(shape.qubits)
    circuit.compose(feature_map, range(count), inplace=True)
    return Encoded([circuit], list(feature_map.parameters))


def _encode_bits(shape: Shape) -> Encoded:
    x = list(ParameterVector("x", shape.features))
    circuit = QuantumCircuit(shape.qubits)
    for qubit, bit in enumerate(x):
        circuit.rx(math.pi * bit, qubit)
    return Encoded([circuit], x)


def _encode_amplitudes(shape: Shape) -> Encoded:
    x = list(ParameterVector("x", shape.features))
    prepared = _logarithm(len(x))  # the other qubits are in state zero
    circuit = QuantumCircuit(shape.qubits)
    padding = [0.0] * ((1 << prepared) - len(x))
    circuit.append(AmplitudePreparation([*x, *padding]), range(prepared))
    return Encoded([circuit], x)


def _some(features: int) -> int:
    return min(features, MOST_QUBITS)


def _as_many(features: int) -> int:
    return features


def _logarithm(features: int) -> int:
    return max(1, (features - 1).bit_length())


def _power(qubits: int) -> int:
    return 1 << min(qubits, MOST_PREPARED)


ENCODINGS = {
    "angle": Encoding(_encode_angles, _some, lambda qubits: math.inf, "any number of features"),
    "reuploading": Encoding(
        _encode_again, _some, lambda qubits: math.inf, "any number of features", repeated=True
    ),
    "iqp": Encoding(_encode_products, _as_many, _as_many, "one feature for each qubit", least=2),
    "amplitude": Encoding(
        _encode_amplitudes, _logarithm, _power, "at most 2**qubits features, on up to 20 qubits"
    ),
    "basis": Encoding(_encode_bits, _as_many, _as_many, "one feature for each qubit"),
}
"""The encodings that have a name."""
