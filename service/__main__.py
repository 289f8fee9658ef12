"""``python -m service``: dispatches to one subcommand a module."""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from service.errors import Misconfigured, ServiceError

_COMMANDS = {
    "serve": ("service.serve", "classify a Kafka stream, and answer over HTTP"),
    "classify": ("service.classify", "classify alert files"),
    "embed": ("service.embed", "represent alerts as vectors, to search for alike ones and for outliers"),
    "demo": ("service.demo", "a simulated night through the whole service, with no server to start"),
    "deadletters": ("service.deadletters", "list, show and requeue what could not be classified"),
    "reconcile": ("service.reconcile", "account for every message of a window"),
    "replay": ("service.replay", "publish alerts to a topic, from files or from a topic's past"),
}


_INTERRUPTED = 130
"""As a shell tells of a command that ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 if some input failed; 2 for wrong usage; 130 if interrupted."""
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt:  # while modules are loaded, too
        return _INTERRUPTED


def _run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m service", description="Classifies survey alerts.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, purpose) in _COMMANDS.items():
        subparser = commands.add_parser(name, help=purpose)
        if name in words[:1]:  # the others' packages need not even be installed
            try:
                command = importlib.import_module(module)
            except ModuleNotFoundError as error:
                parser.error(f"{name} needs {error.name}, which comes with one of this package's extras")
            subparser.description = (command.__doc__ or "").replace("``", "")
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    arguments = parser.parse_args(words)
    from service.settings import Settings  # noqa: PLC0415 - it takes seconds, during which ctrl-C is to end this

    try:
        code: int = arguments.run(arguments, Settings.from_env())
        sys.stdout.flush()
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line's own voice
        return 2 if isinstance(error, Misconfigured) else 1
    except BrokenPipeError:  # the reader, such as head, has seen enough; standard output must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: standard output: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
