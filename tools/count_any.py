# SPDX-License-Identifier: Apache-2.0
"""Fail if a larger share of expressions has the type Any than may: count_any.py REPORT.

``mypy --any-exprs-report DIR`` writes the report. Nothing is checked of an expression whose type is
Any, so the limit below may only be lowered. It is a share, so that the package may grow.
"""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 6.1
"""Per cent of all expressions."""


def main(report: str) -> int:
    """Print the share, by module where the count is largest, and return the exit status."""
    counts: dict[str, tuple[int, int]] = {}
    for line in Path(report).read_text().splitlines():
        words = line.split()
        if len(words) == 4 and words[1].isdigit():
            counts[words[0]] = int(words[1]), int(words[2])
    untyped, total = counts.pop("Total")
    share = 100 * untyped / total
    print(f"{untyped} of {total} expressions are typed Any, {share:.2f} %; {LIMIT} % may be.")
    if share <= LIMIT:
        return 0
    for module, (count, _) in sorted(counts.items(), key=lambda entry: -entry[1][0])[:20]:
        print(f"{count:6} {module}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
