"""The entry point of the command line, and `python -m refconv`.

Imports nothing that the extra `verify` brings, so that it can say what is missing.
"""

import sys
from importlib.util import find_spec

NEEDED = ("rich", "typer")


def main() -> None:
    """Run the command line; exit with 2 and a message if what it needs is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"refconv: no {', '.join(missing)} here; install with: pip install 'refconv[verify]'\n")
        sys.exit(2)
    from refconv.cli.app import app

    app(prog_name="refconv")


if __name__ == "__main__":
    main()
