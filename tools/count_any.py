# SPDX-License-Identifier: Apache-2.0
"""Fail if more expressions have the type Any than there may be: python tools/count_any.py REPORT.

``mypy --any-exprs-report DIR`` writes the report. Nothing is checked of an expression whose type is
Any, so the limit below may only be lowered.
"""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 4_000


def main(report: str) -> int:
    """Print the count, by module where it is largest, and return the exit status."""
    counts: dict[str, int] = {}
    for line in Path(report).read_text().splitlines():
        words = line.split()
        if len(words) == 4 and words[1].isdigit():
            counts[words[0]] = int(words[1])
    total = counts.pop("Total")
    print(f"{total} expressions are typed Any; {LIMIT} may be.")
    if total <= LIMIT:
        return 0
    for module, count in sorted(counts.items(), key=lambda entry: -entry[1])[:20]:
        print(f"{count:6} {module}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
