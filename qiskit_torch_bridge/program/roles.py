# SPDX-License-Identifier: Apache-2.0
"""The roles of a circuit's parameters: which are inputs and which are weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from qiskit.circuit import Parameter, ParameterVector

from ..arguments import shown
from ..exceptions import ParameterError

Parameters: TypeAlias = Iterable[Parameter | ParameterVector] | Parameter | ParameterVector


def names_of(parameters: Iterable[Parameter]) -> list[str]:
    """Return the parameters' names, in order."""
    return [p.name for p in parameters]


def listed(
    given: Parameters | None, known: Sequence[Parameter], role: str
) -> tuple[Parameter, ...]:
    """Flatten a list of parameters and vectors, refusing what is foreign or doubled."""
    if given is None:
        return ()
    one = isinstance(given, (Parameter, ParameterVector, str, bytes, Mapping))
    single = one or not isinstance(given, Iterable)
    items: list[Any] = [given] if single else list(given)
    circuit_parameters = set(known)
    result: list[Parameter] = []
    for item in items:
        if isinstance(item, ParameterVector):
            # Elements that the circuit does not use are kept: their derivative is zero.
            if not circuit_parameters.intersection(item):
                raise _foreign(item.name, known, role)
            result += list(item)
        elif not isinstance(item, Parameter):
            raise ParameterError(
                f"Expected {role} to hold Parameter or ParameterVector objects; got "
                f"{type(item).__name__} {shown(item)}. Use the objects that the circuit was built "
                "with, or pick from circuit.parameters."
            )
        elif item not in circuit_parameters:
            raise _foreign(item.name, known, role)
        else:
            result.append(item)
    if len(set(result)) < len(result):
        doubled = sorted({p.name for p, count in Counter(result).items() if count > 1})
        raise ParameterError(f"{role} lists {', '.join(doubled)} more than once.")
    return tuple(result)


def _foreign(name: str, known: Sequence[Parameter], role: str) -> ParameterError:
    names = names_of(known)
    if name in names:
        hint = (
            "The circuit has another Parameter object of that name; parameters are matched by "
            "identity, so pass the circuit's own, from circuit.parameters."
        )
    else:
        hint = f"The circuit's parameters are {', '.join(names) or '(none)'}."
    return ParameterError(f"{role} lists {name}, which the circuit does not contain. {hint}")


def check_roles(
    known: Sequence[Parameter], inputs: Sequence[Parameter], weights: Sequence[Parameter]
) -> None:
    """Raise unless every parameter of the circuit has exactly one role."""
    both = sorted(p.name for p in set(inputs) & set(weights))
    if both:
        raise ParameterError(
            f"Parameters {', '.join(both)} are listed as inputs and as weights; each must have "
            "one role."
        )
    listed_once = set(inputs) | set(weights)
    unlisted = [p.name for p in known if p not in listed_once]
    if unlisted:
        raise ParameterError(
            f"Parameters {', '.join(unlisted)} are neither inputs nor weights. List them in "
            "input_params or weight_params, or leave weight_params out to train all that are "
            "not inputs."
        )
