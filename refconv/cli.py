"""The entry point of the command line. Imports nothing that the extra `verify` brings, to be able to say so."""

import sys
from importlib.util import find_spec

NEEDED = ("rich", "typer")


def main() -> None:
    """Run the command line; exit with 2 and a message if what it needs is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"refconv: no {', '.join(missing)} here; install with: pip install 'refconv[verify]'\n")
        sys.exit(2)
    from refconv.commands import app

    app(prog_name="refconv")
