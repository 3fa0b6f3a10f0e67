# SPDX-License-Identifier: Apache-2.0
"""What primitives return, checked before anything is made of it: wrong numbers are an error."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BitArray, PubResult
from qiskit.result import QuasiDistribution

from ..arguments import shown
from ..arrays import FloatArray, read_real_numbers
from ..exceptions import ResultError

UNUSED = "Nothing was used; weights are unchanged."

QuasiArray: TypeAlias = NDArray[np.object_]
"""For each point a mapping from outcomes, whole numbers, to weights that add up to one."""

# -- of estimators -----------------------------------------------------------------------------


class Evaluation(NamedTuple):
    """Expectation values and, where the primitive tells, standard errors and precision aimed at."""

    evs: FloatArray
    stds: FloatArray | None
    precision: float | None = None


def check_result(result: PubResult, shape: tuple[int, ...], position: int, who: str) -> Evaluation:
    """Return the values of a PUB's result, or raise :class:`ResultError` if they cannot be used."""
    evs = _numbers(result, "evs", "expectation values", shape, position, who)
    metadata = getattr(result, "metadata", None)
    aimed = metadata.get("target_precision") if isinstance(metadata, Mapping) else None
    precision = float(aimed) if isinstance(aimed, numbers.Real) else None
    if getattr(result.data, "stds", None) is None:
        return Evaluation(evs, None, precision)
    stds = _numbers(result, "stds", "standard errors", shape, position, who)
    if (stds < 0).any():
        raise ResultError(
            f"{who} returned a negative standard error, {stds.min()}, for PUB {position}. {UNUSED}"
        )
    return Evaluation(evs, stds, precision)


def _numbers(
    result: PubResult, name: str, what: str, shape: tuple[int, ...], position: int, who: str
) -> FloatArray:
    try:
        found = read_real_numbers(getattr(result.data, name))
    except (AttributeError, ValueError) as error:
        raise ResultError(
            f"{who} returned {what} (data.{name}) that are no real numbers for PUB {position}: "
            f"{error}. {UNUSED}"
        ) from error
    if found.shape != shape:
        raise ResultError(
            f"{who} returned {what} of shape {found.shape} for PUB {position}; expected "
            f"{shape}. {UNUSED}"
        )
    if not np.isfinite(found).all():
        where = np.argwhere(~np.isfinite(found))[0].tolist()
        raise ResultError(
            f"{who} returned {found[tuple(where)]} for PUB {position} at index {where} of its "
            f"{what}. {UNUSED}"
        )
    return found


# -- of samplers -------------------------------------------------------------------------------

SUM_TOLERANCE = 1e-6
"""How far from one the weights of a quasi-probability distribution may add up to."""


@dataclass(frozen=True)
class Samples:
    """The outcomes of one PUB, with the bits of all classical registers joined in their order.

    Bit 0 of the first register is bit 0 of an outcome. There are shots, or there are
    quasi-probabilities, which error mitigation gives.

    Attributes:
        num_bits: The bits of an outcome.
        bits: The shots at the PUB's points, of their shape; ``None`` if there are none.
        weights: Quasi-probabilities at these; ``None`` if there are none.
    """

    num_bits: int
    bits: BitArray | None
    weights: QuasiArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the points."""
        found: Any = self.weights if self.bits is None else self.bits
        return tuple(found.shape)

    @property
    def shots(self) -> int | None:
        """The shots at each point; ``None`` where nothing says how many there were."""
        return None if self.bits is None else self.bits.num_shots


def read_samples(
    result: PubResult,
    circuit: QuantumCircuit,
    shape: tuple[int, ...],
    shots: int | None,
    position: int,
    who: str,
) -> Samples:
    """Return the outcomes of a sampler's result, or raise :class:`ResultError`.

    Args:
        result: The result of one PUB.
        circuit: The circuit of the PUB.
        shape: The shape of its points.
        shots: How many there are at least; ``None`` if none were asked for.
        position: The place of the PUB in the request.
        who: Who returned it, as errors call them.
    """
    found = list(check_registers(result, circuit, shape, shots, position, who).values())
    width = sum(register.size for register in circuit.cregs)
    if not found:
        raise ResultError(
            f"{who} returned no outcomes for PUB {position}, whose circuit has no classical bits. "
            f"{UNUSED} Measure it: circuit.measure_all()."
        )
    (first, *_), bits = found, [each for each in found if isinstance(each, BitArray)]
    if not isinstance(first, BitArray):
        return Samples(width, None, first)
    return Samples(width, bits[0] if len(bits) == 1 else BitArray.concatenate_bits(bits))


def pack_outcomes(weights: Mapping[int, float], width: int) -> NDArray[np.uint8]:
    """Return the outcomes of a quasi-probability distribution as a ``BitArray`` packs them."""
    length = max(1, -(-width // 8))
    data = b"".join(outcome.to_bytes(length, "big") for outcome in weights)
    return np.frombuffer(data, np.uint8).reshape(len(weights), length)


def take_last_bits(samples: Samples, width: int) -> Samples:
    """Return the outcomes of the last ``width`` bits, those of the circuit's last registers."""
    return take_bits(samples, range(samples.num_bits - width, samples.num_bits))


def take_bits(samples: Samples, places: Sequence[int]) -> Samples:
    """Return the outcomes of some bits: bit ``j`` of these is that of ``places[j]``."""
    if list(places) == list(range(samples.num_bits)):
        return samples
    width = len(places)
    if samples.bits is not None:
        return Samples(width, samples.bits.slice_bits(list(places)))
    assert samples.weights is not None
    marginal = np.empty(samples.weights.size, dtype=object)
    for row, weights in enumerate(samples.weights.ravel()):
        own: dict[int, float] = {}
        for outcome, weight in weights.items():
            chosen = sum((outcome >> place & 1) << j for j, place in enumerate(places))
            own[chosen] = own.get(chosen, 0.0) + weight
        marginal[row] = own
    return Samples(width, None, marginal.reshape(samples.weights.shape))


def check_registers(
    result: PubResult,
    circuit: QuantumCircuit,
    shape: tuple[int, ...],
    shots: int | None,
    position: int,
    who: str,
) -> dict[str, BitArray | QuasiArray]:
    """Return what was found for each classical register, the arguments as above.

    Quasi-probabilities are those of all registers together: there is one field, of any name.
    """
    registers = [register for register in circuit.cregs if register.size]
    data = getattr(result, "data", None)
    try:
        fields = dict(data.items())  # type: ignore[union-attr]
    except (AttributeError, TypeError, ValueError) as error:
        raise ResultError(
            f"{who} returned no data for PUB {position}: {shown(result)}. {UNUSED}"
        ) from error
    if len(fields) == 1 and registers:
        ((name, only),) = fields.items()
        if _holds_mappings(only):
            width = sum(register.size for register in registers)
            return {name: _read_weights(only, width, shape, position, who)}
    missing = [register.name for register in registers if register.name not in fields]
    if missing:
        raise ResultError(
            f"{who} returned the registers {sorted(fields)} for PUB {position}; expected "
            f"{[register.name for register in registers]}. {UNUSED}"
        )
    found: dict[str, BitArray | QuasiArray] = {}
    counts = set()
    for register in registers:
        bits = fields[register.name]
        _check_bits(bits, register.name, register.size, shape, position, who)
        counts.add(bits.num_shots)
        found[register.name] = bits
    # Twirling rounds the shots up; more of them are as good.
    if len(counts) > 1 or any(count < (shots or 1) for count in counts):
        wanted = "as many for each register" if shots is None else f"{shots} for each register"
        raise ResultError(
            f"{who} returned {sorted(counts)} shots for PUB {position}; expected {wanted}. {UNUSED}"
        )
    return found


def _check_bits(
    bits: Any, name: str, width: int, shape: tuple[int, ...], position: int, who: str
) -> None:
    if not isinstance(bits, BitArray):
        hint = ""
        if isinstance(bits, np.ndarray) and bits.dtype.kind in "fc":
            hint = " These are signals of the readout, not outcomes: set meas_level=2, its default."
        raise ResultError(
            f"{who} returned {_kind_of(bits)} for register {name!r} of PUB {position}; expected a "
            f"BitArray. {UNUSED}{hint}"
        )
    if bits.num_bits != width or bits.shape != shape:
        raise ResultError(
            f"{who} returned outcomes of {bits.num_bits} bits and shape {bits.shape} for register "
            f"{name!r} of PUB {position}; expected {width} bits and shape {shape}. {UNUSED}"
        )
    array = bits.array
    spare = width % 8
    damaged = array.dtype != np.uint8 or array.shape[-1] != -(-width // 8)
    if damaged or (spare and (array[..., 0] >> spare).any()):
        raise ResultError(
            f"{who} returned outcomes beyond {width} bits for register {name!r} of PUB {position}. "
            f"{UNUSED}"
        )


def _kind_of(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    return shown(value)


def _holds_mappings(field: object) -> bool:
    if isinstance(field, Mapping):
        return True
    if isinstance(field, np.ndarray):
        return field.dtype == object and all(isinstance(each, Mapping) for each in field.flat)
    return isinstance(field, list) and all(isinstance(each, Mapping) for each in field)


def _read_weights(
    field: Any, width: int, shape: tuple[int, ...], position: int, who: str
) -> QuasiArray:
    """Return quasi-probabilities with whole numbers as outcomes, in Qiskit's order of bits."""
    listed = [field] if isinstance(field, Mapping) else list(np.asarray(field, dtype=object).flat)
    given = () if isinstance(field, Mapping) else np.shape(field)
    if given != shape:
        raise ResultError(
            f"{who} returned quasi-probabilities of shape {given} for PUB {position}; expected "
            f"{shape}. {UNUSED}"
        )
    found = np.empty(len(listed), dtype=object)
    for row, weights in enumerate(listed):
        try:
            read = dict(QuasiDistribution(dict(weights)))  # which knows all forms of outcomes
            values = read_real_numbers(list(read.values()))
            outcomes_fit = all(0 <= outcome < 1 << width for outcome in read)
        except Exception as error:  # Qiskit's own, and whatever the keys raise
            raise ResultError(
                f"{who} returned quasi-probabilities that cannot be read for PUB {position}, row "
                f"{row}: {shown(weights)}: {error}. {UNUSED}"
            ) from error
        if not outcomes_fit or not abs(values.sum() - 1) <= SUM_TOLERANCE:
            raise ResultError(
                f"{who} returned quasi-probabilities for PUB {position}, row {row}, that add up to "
                f"{values.sum()} over outcomes up to {max(read, default=None)}; expected 1 over "
                f"outcomes of {width} bits. {UNUSED}"
            )
        found[row] = dict(zip(map(int, read), values.tolist(), strict=True))
    return found.reshape(shape)
