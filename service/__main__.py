"""``python -m service``: builds the parts and joins them; nothing else does."""

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from service import classify
from service.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 if some input failed; 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m service", description="Classifies survey alerts.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    offline = commands.add_parser("classify", help="classify alert files", description=classify.__doc__)
    classify.add_arguments(offline)
    arguments = parser.parse_args(argv)
    try:
        settings = Settings()
    except ValidationError as error:
        parser.error("; ".join(f"{wrong['loc'][0]}: {wrong['msg']}" for wrong in error.errors()).upper())
    return classify.run(arguments, settings)


if __name__ == "__main__":
    sys.exit(main())
