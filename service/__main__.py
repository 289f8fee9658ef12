"""``python -m service``: dispatches to one subcommand a module."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from service.errors import Misconfigured
from service.settings import Settings

_COMMANDS = {
    "serve": ("service.serve", "classify a Kafka stream, and answer over HTTP"),
    "classify": ("service.classify", "classify alert files"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 if some input failed; 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m service", description="Classifies survey alerts.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, purpose) in _COMMANDS.items():
        command = importlib.import_module(module)
        subparser = commands.add_parser(name, help=purpose, description=command.__doc__)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments, Settings.from_env())
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line's own voice
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
