# SPDX-License-Identifier: Apache-2.0
"""In which order to contract networks, as cotengra finds it.

Reference: J. Gray and S. Kourtis, arXiv:2002.01935.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...exceptions import CircuitError
from ...lru_cache import LRUCache

FIRST_TRIALS, MOST_TRIALS = 4, 128
"""Orders that are tried for a network that costs nothing, and at most."""
MULTIPLICATIONS_PER_TRIAL = 2.0**18
"""Multiplications that take about as long as another order to be tried."""
HOPELESS = 2.0**45
"""Multiplications that nobody waits for: further orders are not tried."""
SEED = 2002
MAX_SLICES = 1 << 16
"""Contractions that one may be divided into."""


class MissingNetworksError(CircuitError, ImportError):
    """What searches for orders of contraction is not installed."""


class Order(NamedTuple):
    """How a network is contracted.

    Attributes:
        path: The pairs of tensors, in turn; each result is numbered next.
        sliced: The indices that are not summed within a contraction, but over contractions.
        multiplications: Of complex numbers, in all contractions.
        written: How many numbers all results of one contraction are.
    """

    path: tuple[tuple[int, ...], ...]
    sliced: tuple[int, ...]
    multiplications: float
    written: float


def load_cotengra() -> Any:
    """Return the package cotengra.

    Raises:
        MissingNetworksError: If it is not installed.
    """
    try:
        import cotengra
    except ImportError as error:
        raise MissingNetworksError(
            "The method 'network' needs cotengra, which searches for orders of contraction: "
            'pip install "qiskit-torch-bridge[networks]". Or choose another method.'
        ) from error
    return cotengra


_orders: LRUCache[Order] = LRUCache(1 << 12)


def find_order(inputs: Sequence[tuple[int, ...]], most: float = math.inf) -> Order:
    """Return an order of contraction to a number; all indices have two values.

    The same network gets the same order, in every process.

    Args:
        inputs: The indices of each tensor.
        most: The numbers that may be kept at once; if it were more, indices are sliced.

    Raises:
        MissingNetworksError: If cotengra is not installed.
    """
    return _orders((tuple(inputs), most), lambda: _search(inputs, most))


def _search(inputs: Sequence[tuple[int, ...]], most: float) -> Order:
    cotengra = load_cotengra()
    names = {i: cotengra.get_symbol(k) for k, i in enumerate({i: 0 for t in inputs for i in t})}
    tensors = [tuple([names[i] for i in tensor]) for tensor in inputs]
    sizes = dict.fromkeys(names.values(), 2)
    best: Any = None
    made, wanted = 0, FIRST_TRIALS
    while made < wanted:
        optimizer = cotengra.RandomGreedyOptimizer(
            max_repeats=wanted - made, seed=SEED + made, parallel=False
        )
        tree = optimizer.search(tensors, (), sizes)
        made = wanted
        if best is None or tree.contraction_cost() < best.contraction_cost():
            best = tree
        if best.contraction_cost() > HOPELESS:
            break
        trials = best.contraction_cost() / MULTIPLICATIONS_PER_TRIAL
        wanted = int(min(MOST_TRIALS, max(wanted, trials)))
    best = _slice(best, most)
    back = {name: i for i, name in names.items()}
    sliced = tuple(back[name] for name in best.sliced_inds)
    return Order(
        tuple(tuple(pair) for pair in best.get_ssa_path()),
        sliced,
        float(best.contraction_cost()),
        float(best.total_write()) / max(1, best.nslices),
    )


def _slice(tree: Any, most: float) -> Any:
    """Return an order that keeps at most so many numbers at once, if slices can bring that about.

    One after the other, that index of the largest result is sliced which adds the fewest
    multiplications. Each halves at most what is written, so that an order that writes too much for
    all slices is left as it is.
    """
    if tree.total_write() > most * MAX_SLICES:
        return tree
    while tree.total_write() / tree.nslices > most and tree.nslices < MAX_SLICES:
        largest = max((parent for parent, _, _ in tree.traverse()), key=tree.get_size)
        legs = list(tree.get_legs(largest))
        if not legs:
            break
        sliced = [tree.remove_ind(index) for index in legs]
        tree = min(sliced, key=lambda found: float(found.contraction_cost()))
    return tree
