# SPDX-License-Identifier: Apache-2.0
r"""Non-affine parameter expressions, as further columns of inputs and weights.

A simulator takes angles that are affine in inputs and weights. The values of the other expressions
:math:`F(x, w)` become columns of their own: those of weights alone beside the weights, so that rows
share them where they share the weights, and all others beside the inputs. The chain rule is that
of :math:`x' = (x, F(x, w))` and :math:`w' = (w, G(w))`, to second order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray
from ..exceptions import BridgeError, InputError
from ..program import AnalysedCircuit
from ..program.angle_map import AngleMap, Pullback

Pair = tuple[FloatArray, FloatArray]
"""An array for inputs ``(B, ...)`` and one for weights ``(1, ...)`` or ``(B, ...)``."""


class ExpressionColumns:
    """The columns that the non-affine angles of a map add to inputs and weights.

    Args:
        angle_map: The map from values to angles.
        inputs: The columns of the values that ``x`` holds.
        weights: Those that ``w`` holds.

    Attributes:
        of_angle: For each non-affine angle its place in ``x'`` followed by ``w'``.
        num_inputs: The number of columns of ``x'``.
        num_weights: The number of columns of ``w'``.
    """

    def __init__(self, angle_map: AngleMap, inputs: Sequence[int], weights: Sequence[int]) -> None:
        self._inputs, self._weights = list(inputs), list(weights)
        self._num_parameters = angle_map.num_parameters
        functions = angle_map.functions
        shared = [a for a, f in functions.items() if set(weights).issuperset(f.columns)]
        by_row = [a for a in functions if a not in shared]
        self._by_row, self._shared = map(angle_map.restricted, (by_row, shared))
        self.num_inputs = len(inputs) + len(by_row)
        self.num_weights = len(weights) + len(shared)
        self.of_angle = {a: len(inputs) + k for k, a in enumerate(by_row)}
        self.of_angle |= {a: self.num_inputs + len(weights) + k for k, a in enumerate(shared)}
        self._columns_by_row = [functions[a].columns for a in by_row]
        self._rules: dict[tuple[bool, bool], Pullback] = {}

    def wanted(self, wanted: tuple[bool, bool]) -> NDArray[np.bool_]:
        """Return the columns of ``x'`` and ``w'`` that derivatives pass through.

        Args:
            wanted: Whether derivatives with respect to inputs and to weights are wanted.
        """
        columns = set(self._inputs * wanted[0] + self._weights * wanted[1])
        by_row = [not columns.isdisjoint(read) for read in self._columns_by_row]
        parts = [wanted[0]] * len(self._inputs), by_row, [wanted[1]] * self.num_weights
        return np.array([*parts[0], *parts[1], *parts[2]], dtype=bool)

    def extend(self, x: FloatArray, w: FloatArray) -> Pair:
        """Return ``x'`` and ``w'``."""
        if self._by_row.num_angles:
            with np.errstate(all="ignore"):
                x = np.hstack([x, self._by_row.angles(self.place(x, w))])
        if self._shared.num_angles:
            with np.errstate(all="ignore"):
                w = np.hstack([w, self._shared.angles(self._place_weights(w))])
        return x, w

    def extend_tangents(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> Pair:
        """Return the tangents of ``x'`` and ``w'`` along ``dx`` and ``dw``.

        Raises:
            ExpressionError: If an expression that moves has no derivative there.
        """
        further_x, further_w = dx, dw
        if self._by_row.num_angles:
            rule = self._rule((True, True))
            both = np.hstack([dx, np.broadcast_to(dw, (len(dx), dw.shape[1]))])
            further_x = np.hstack([dx, rule.pushforward(self.place(x, w), both)])
        if self._shared.num_angles:
            further_w = np.hstack([dw, self._shared_rule.pushforward(self._place_weights(w), dw)])
        return further_x, further_w

    def pull_back(
        self, x: FloatArray, w: FloatArray, gradients: Pair, wanted: tuple[bool, bool]
    ) -> Pair:
        """Map gradients with respect to ``x'`` and ``w'`` to those with respect to ``x`` and ``w``.

        What is not wanted is zero. Where an expression has no derivative with respect to what is
        wanted, the gradient is not finite.
        """
        gx, gw = gradients
        if self.of_angle:
            gx, gw, by_row, shared = self._split(gradients)
            with np.errstate(all="ignore"):
                if self._by_row.num_angles:
                    found = self._rule(wanted)(self.place(x, w), by_row, check=False)
                    gx, gw = self._add(gx, gw, found, wanted)
                if self._shared.num_angles and wanted[1]:
                    gw = gw + self._shared_rule(self._place_weights(w), shared, check=False)
        return gx if wanted[0] else np.zeros_like(x), gw if wanted[1] else np.zeros_like(w)

    def pull_back_tangent(
        self, x: FloatArray, w: FloatArray, gradients: Callable[[], Pair], tangents: Pair,
        dgradients: Pair, wanted: tuple[bool, bool],
    ) -> Pair:  # fmt: skip
        """Return the derivative of :meth:`pull_back` along tangents.

        Args:
            x: Shape ``(B, I)``.
            w: Shape ``(1, W)`` or ``(B, W)``.
            gradients: Returns those with respect to ``x'`` and ``w'``. Where all expressions are
                affine it is not called.
            tangents: Of ``x`` and ``w``.
            dgradients: The derivatives of the gradients along the tangents.
            wanted: Whether derivatives with respect to inputs and to weights are wanted.
        """
        hx, hw = self.pull_back(x, w, dgradients, wanted)
        if not self.of_angle:
            return hx, hw
        _, _, by_row, shared = self._split(gradients())
        with np.errstate(all="ignore"):
            if self._by_row.num_angles:
                moved = self.place(*tangents)
                found = self._rule(wanted).tangent(self.place(x, w), by_row, moved)
                hx, hw = self._add(hx, hw, found, wanted)
            if self._shared.num_angles and wanted[1]:
                values, moved = map(self._place_weights, (w, tangents[1]))
                hw = hw + self._shared_rule.tangent(values, shared, moved)
        return hx, hw

    def check_derivatives(self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool]) -> None:
        """Raise :class:`ExpressionError` where a wanted derivative of an expression is singular."""
        if self._by_row.num_angles:
            self._rule(wanted).check(self.place(x, w))
        if self._shared.num_angles and wanted[1]:
            self._shared_rule.check(self._place_weights(w))

    def find_error(self, analysed: AnalysedCircuit, x: FloatArray, w: FloatArray) -> BridgeError:
        """Return the error for values at which an angle of a circuit is not finite."""
        try:
            analysed.check(self.place(x, w))
        except BridgeError as error:
            return error
        return InputError(
            "Expected angles that are finite numbers; the circuit's expressions exceed the range "
            "of double precision at these values. Scale the inputs."
        )

    def place(self, x: FloatArray, w: FloatArray) -> FloatArray:
        """Return the values ``(B, P)`` that inputs and weights are."""
        values = np.zeros((len(x), self._num_parameters))
        values[:, self._inputs] = x
        values[:, self._weights] = w
        return values

    def _place_weights(self, w: FloatArray) -> FloatArray:
        return self.place(np.zeros((len(w), len(self._inputs))), w)

    def _rule(self, wanted: tuple[bool, bool]) -> Pullback:
        """The chain rule of the expressions beside the inputs, to inputs and then weights."""
        rule = self._rules.get(wanted)
        if rule is None:
            columns = self._inputs * wanted[0] + self._weights * wanted[1]
            rule = self._by_row.pullback(range(self._by_row.num_angles), columns)
            self._rules[wanted] = rule
        return rule

    @property
    def _shared_rule(self) -> Pullback:
        return self._shared.pullback(range(self._shared.num_angles), self._weights)

    def _split(self, gradients: Pair) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Split into those of inputs and weights, and of the expressions beside either."""
        gx, gw = gradients
        num_x, num_w = len(self._inputs), len(self._weights)
        return gx[:, :num_x], gw[:, :num_w], gx[:, num_x:], gw[:, num_w:]

    def _add(
        self, gx: FloatArray, gw: FloatArray, found: FloatArray, wanted: tuple[bool, bool]
    ) -> Pair:
        """Add what ``found`` ``(B, C)`` holds for inputs and then weights, as far as wanted."""
        split = len(self._inputs) * wanted[0]
        if wanted[0]:
            gx = gx + found[:, :split]
        if wanted[1]:
            by_weights = found[:, split:]
            gw = gw + (by_weights.sum(0, keepdims=True) if len(gw) == 1 else by_weights)
        return gx, gw
