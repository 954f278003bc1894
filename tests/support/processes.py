"""Processes of this interpreter, for tests of what only a new one shows. No test."""

import subprocess
import sys


def python(*arguments, check=True, **options):
    """Run the interpreter with such arguments, its output captured as text; if it must succeed, a failure shows that.

    `options` are those of `subprocess.run`.
    """
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def run(program, **options):
    """Run the text of a program."""
    return python("-c", program, **options)


def run_file(program, folder, **options):
    """Run the text of a program from a file, as a user would, whether it fails or not."""
    return python(written(program, folder), check=False, **options)


def written(program, folder):
    """A file with a program."""
    path = folder / "shown.py"
    path.write_text(program)
    return str(path)
