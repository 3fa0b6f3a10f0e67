# SPDX-License-Identifier: Apache-2.0
"""Arguments checked at the door: what was expected, what arrived, in an error of this package.

Each function returns the argument in the form in which the code behind the door takes it. Which
error is raised is the caller's choice, since it says what the argument was about.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import os
import re
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .arrays import FloatArray
from .exceptions import BridgeError, InputError, InputTypeError

Error = type[BridgeError]
T = TypeVar("T")

DTYPES = ("complex128", "complex64")
"""What states can be computed in."""
NUMPYS_NAMES = {"complex": "complex128", "c16": "complex128", "c8": "complex64"}

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What Python, NumPy, PyTorch and Qiskit raise when they are to make something of anything."""

_brief = reprlib.Repr()
_brief.maxlevel = 4
_brief.maxlist = _brief.maxtuple = _brief.maxset = _brief.maxfrozenset = _brief.maxdict = 12
_brief.maxstring = _brief.maxother = _brief.maxlong = 200


LONGEST = 400
"""Characters that are shown of what arrived."""


def shown(value: object) -> str:
    """Return a short text for a value, whatever it is: deep, endless, or unable to show itself."""
    try:
        text = re.sub(r"\s*\n\s*", " ", _brief.repr(value))
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 53]}...{text[-50:]}"
    except Exception:  # Python refuses the digits of very long numbers
        return f"<{type(value).__name__}>"


def is_whole_number(value: object) -> bool:
    """Whether a value is a whole number, Python's or NumPy's; truth values are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def as_real(value: object) -> float:
    """Return a real number, Python's or NumPy's, as a float; ``nan`` for everything else."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return math.inf


def require_whole_number(
    value: Any,
    name: str,
    least: int = 0,
    most: int | None = None,
    *,
    error: Error = InputError,
    hint: str = "",
) -> int:
    """Return a whole number in a range."""
    if not is_whole_number(value) or value < least or (most is not None and value > most):
        span = f"from {least} up" if most is None else f"from {least} to {_number(most)}"
        raise error(f"Expected {name} to be a whole number {span}; got {shown(value)}.{hint}")
    return int(value)


def _number(limit: int) -> str:
    """Return a limit as people write it."""
    for number, text in ((limit, "2**{}"), (limit + 1, "2**{} - 1")):
        if number > 1 << 16 and number.bit_count() == 1:
            return text.format(number.bit_length() - 1)
    return str(limit)


def _either(choices: Collection[object]) -> str:
    *others, last = map(repr, choices)
    return f"{', '.join(others)} or {last}" if others else last


def require_real_number(
    value: Any, name: str, *, zero: bool = False, error: Error = InputError, hint: str = ""
) -> float:
    """Return a positive finite number, or zero where that is allowed."""
    number = as_real(value)
    if not (0 < number < math.inf or (zero and number == 0)):
        kind = "a finite number from 0 up" if zero else "a positive finite number"
        raise error(f"Expected {name} to be {kind}; got {shown(value)}.{hint}")
    return number


MOST_SEED = 2**64 - 1
"""The largest seed of torch's generators."""


def require_seed(
    value: Any, name: str = "seed", most: int | None = None, *, error: Error = InputTypeError
) -> int | None:
    """Return a seed, a whole number; ``None`` for another one each time."""
    return None if value is None else require_whole_number(value, name, 0, most, error=error)


def make_random_generator(seed: Any) -> np.random.Generator:
    """Return NumPy's generator for a seed, or the generator that is given in its place."""
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is not None and (not is_whole_number(seed) or seed < 0):
        raise InputTypeError(
            "Expected seed to be a whole number from 0 up or a numpy.random.Generator; got "
            f"{shown(seed)}."
        )
    return np.random.default_rng(seed)


def require_bool(value: Any, name: str, *, error: Error = InputTypeError) -> bool:
    """Return a truth value. Text, such as ``"False"``, and numbers are none."""
    if not isinstance(value, (bool, np.bool_)):
        raise error(f"Expected {name} to be True or False; got {shown(value)}.")
    return bool(value)


def require_choice(
    value: Any, name: str, choices: Collection[T], *, error: Error = InputError, hint: str = ""
) -> T:
    """Return the choice that a value is equal to."""
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    raise error(f"Expected {name} to be {_either(choices)}; got {shown(value)}.{hint}")


def require_instance(
    value: Any,
    name: str,
    kinds: type[T] | tuple[type[T], ...],
    what: str,
    *,
    error: Error = InputTypeError,
    hint: str = "",
) -> T:
    """Return an object of some class, which the error calls ``what``."""
    if isinstance(value, kinds):
        return value
    given = f"the class {value.__name__}" if isinstance(value, type) else shown(value)
    raise error(f"Expected {name} to be {what}; got {given}.{hint}")


def require_callable(value: Any, name: str, what: str, *, error: Error = InputTypeError) -> Any:
    """Return something that can be called, which the error calls ``what``."""
    if callable(value):
        return value
    raise error(f"Expected {name} to be {what}; got {shown(value)}.")


def is_options(value: object) -> bool:
    """Whether a value can be given as ``**options``: a mapping whose keys are text."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def copy_options(
    value: Any, name: str, what: str, *, error: Error = InputTypeError
) -> dict[str, Any] | None:
    """Return a copy of options, which may change where they come from; ``None`` for none."""
    if value is None:
        return None
    if not is_options(value):
        raise error(f"Expected {name} to be {what}; got {shown(value)}.")
    return dict(value)


def require_path(value: Any, name: str, *, error: Error, hint: str = "") -> Path:
    """Return the path of a file: text, or an object such as ``pathlib.Path``."""
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    named = isinstance(given, str) and given != "" and "\0" not in given
    if named:
        with contextlib.suppress(UnicodeError):  # as the system writes names, if it can
            return Path(os.fsdecode(os.fsencode(given)))
    raise error(
        f"Expected {name} to be the path of a file, text without NUL or a pathlib.Path; got "
        f"{shown(value)}.{hint}"
    )


def require_real_array(
    value: Any, name: str, shape: tuple[int | None, ...], *, error: Error = InputError
) -> FloatArray:
    """Return an array of real numbers, in which an axis of ``None`` may have any length."""
    array = np.asarray(math.nan)
    listed = isinstance(value, (list, tuple, np.ndarray)) or hasattr(value, "__array__")
    if listed:
        with contextlib.suppress(*UNREADABLE):  # ragged lists, tensors without data
            array = np.asarray(value)
    fits = array.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if array.dtype.kind not in "iuf" or not fits:
        axes = ", ".join("any" if n is None else str(n) for n in shape)
        kind = f"{array.dtype} of shape {array.shape}" if array.ndim else shown(value)
        raise error(
            f"Expected {name} to be real numbers of shape ({axes}{',' * (len(shape) == 1)}); got "
            f"{kind}."
        )
    return np.asarray(array, dtype=float)


def require_complex_dtype(value: Any, name: str = "dtype", *, error: Error = InputTypeError) -> str:
    """Return the name of a complex dtype: ``"complex128"`` or ``"complex64"``.

    NumPy's and torch's are accepted as well as names.
    """
    found = ""
    if type(value).__module__ == "torch":  # which this file does not import
        found = str(value).removeprefix("torch.")
    elif isinstance(value, str):
        found = value.removeprefix("torch.")
        found = NUMPYS_NAMES.get(found, found)
    elif isinstance(value, (type, np.dtype)):
        found = np.dtype(value).name
    if found not in DTYPES:
        raise error(
            f"Expected {name} to be {_either(DTYPES)}, as a name or as NumPy's or torch's; got "
            f"{shown(value)}."
        )
    return found


def show_given(value: Any, **instead: str) -> str:
    """Return a dataclass object as text, with the fields that differ from their defaults.

    Args:
        value: The object.
        **instead: What to show for a field instead of its own text.
    """
    texts = [
        f"{field.name}={instead.get(field.name, repr(content))}"
        for field in dataclasses.fields(value)
        if (content := getattr(value, field.name)) is not field.default and content != field.default
    ]
    return f"{type(value).__name__}({', '.join(texts)})"
