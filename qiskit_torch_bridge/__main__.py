# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m qiskit_torch_bridge`` or ``qiskit-torch-bridge``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from . import __version__, demos, doctor
from .exceptions import BridgeError

COMMANDS: tuple[Callable[..., None], ...] = (demos.add_command, doctor.add_command)
"""Each adds one subcommand and sets its parser's default ``run``, called with the arguments.

What ``run`` returns is the exit status if it is a whole number.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all subcommands; it imports no optional dependency."""
    parser = argparse.ArgumentParser(
        prog="qiskit-torch-bridge",
        description="Parameterized quantum circuits as PyTorch modules.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add_command in COMMANDS:
        add_command(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 2 for anything wrong with what was asked."""
    options = build_parser().parse_args(arguments)
    try:
        status = options.run(options)
    except BridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
