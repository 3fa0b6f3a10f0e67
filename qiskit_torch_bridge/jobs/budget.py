# SPDX-License-Identifier: Apache-2.0
"""What may be used of devices, and what has been."""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import Any

from ..arguments import is_whole_number, require_instance, shown
from ..exceptions import BudgetError, InputError
from ..primitives.usage import Usage


class Budget:
    """Limits to what several estimators use together.

    Args:
        limits: The most shots, or a :class:`.Usage` whose nonzero numbers are limits; ``None`` for
            none.
        used: What was used before, by earlier processes for instance.

    Attributes:
        limits: The limits.
        used: The :class:`.Usage` so far.
        order: Held from asking whether there is room until it is used.

    Raises:
        InputError: If one of them is something else.
    """

    def __init__(self, limits: int | Usage | None = None, used: Usage | None = None) -> None:
        self.limits = _limits(limits)
        self.used = Usage() if used is None else require_instance(used, "used", Usage, "a Usage")
        self._begin()

    def _begin(self) -> None:
        self.order = threading.RLock()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.limits != Usage()

    def check(self, wanted: Usage, what: str = "This step") -> None:
        """Raise :class:`.BudgetError` if there is no room for what is to be submitted.

        Args:
            wanted: What it amounts to.
            what: What it is, as the error calls it.
        """
        require_instance(wanted, "wanted", Usage, "a Usage")
        require_instance(what, "what", str, "text")
        for name in (field.name for field in fields(Usage)):
            limit, used, more = (getattr(u, name) for u in (self.limits, self.used, wanted))
            if limit and used + more > limit:
                raise BudgetError(
                    f"{what} needs {more:,} {name}; {used:,} of the budget of {limit:,} are "
                    "used. Nothing was submitted. Raise the budget, or use fewer shots or rows."
                )

    def add(self, usage: Usage) -> None:
        """Count what was submitted."""
        with self.order:
            self.used += usage

    def give_back(self, usage: Usage) -> None:
        """Count no more what turned out not to be submitted."""
        with self.order:
            self.used -= usage

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


def _limits(limits: Any) -> Usage:
    if limits is None:
        return Usage()
    if isinstance(limits, Usage):
        return limits
    if not is_whole_number(limits) or limits < 1:
        raise InputError(
            f"Expected budget to be a Usage or a positive number of shots; got {shown(limits)}."
        )
    return Usage(shots=int(limits))
