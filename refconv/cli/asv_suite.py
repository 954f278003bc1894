"""A suite for asv, written for a kernel: `refconv bench TARGET --asv DIR` makes it, its owner changes it.

Knows how a target is named, where it lies in its repository, and asv's configuration; not how anything is measured.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path

from refconv.cases.networks import Layer
from refconv.core.checks import choice
from refconv.core.optional import optional_module
from refconv.core.version import __version__
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.native import LIBRARIES

DTYPES = ("float32", "float64")
TEMPLATES = {"asv.conf.json": "asv.conf.json.jinja", "benchmarks/kernel.py": "kernel.py.jinja"}
INSTALLABLE = ("pyproject.toml", "setup.py")


class NoSuite(Exception):
    """A suite that can't be written: the message says why and what to do."""


def write(folder: Path, candidate: Candidate, layers: Sequence[Layer], dtypes: Sequence[str]) -> list[Path]:
    """Write a suite, and return its files.

    Parameters
    ----------
    folder : Path
        Where to: it must not exist, or be empty.
    candidate : Candidate
        What is measured: a function in a file, a module or a library of a git repository.
    layers : sequence of Layer
        The convolutions on which it is measured.
    dtypes : sequence of {"float32", "float64"}
        The types of the numbers.

    Raises
    ------
    NoSuite
        If the folder holds something, or git does not know the target.
    ValueError
        For another dtype.
    ModuleNotFoundError
        If jinja2 is not installed.
    """
    for dtype in dtypes:
        choice("dtype", dtype, DTYPES)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NoSuite(f"{folder}: must be a new or an empty folder, as nothing is overwritten")
    place, _, attribute = candidate.target.rpartition(":")
    is_file = place.endswith((".py", *LIBRARIES))
    source = Path(place if is_file else sys.modules[place].__file__ or "").resolve()
    is_library = place.endswith(LIBRARIES)
    repository = _repository(source, is_built=is_library)
    relative = source.relative_to(repository).as_posix()
    jinja2 = optional_module("jinja2", "a suite for asv")
    jinja = jinja2.Environment(  # not escaped: what is written is Python and JSON, not HTML
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    jinja.filters |= {"json": json.dumps, "repr": repr}
    values = {
        "target": candidate.target,
        "kernel": f"{relative}:{attribute}" if is_file else candidate.target,
        "is_file": is_file,
        "library": relative if is_library else None,
        "root": "" if is_file else _root_of(place, source).relative_to(repository).as_posix(),
        "arrays": candidate.arrays,
        "op": candidate.op,
        "layers": {f"{layer.network} {layer.name}": layer for layer in layers},
        "dtypes": list(dict.fromkeys(dtypes)),
        "project": repository.name,
        "repository": os.path.relpath(repository, folder.resolve()),
        "installable": any((repository / name).is_file() for name in INSTALLABLE),
        "requirements": _requirements(),
        "version": __version__,
    }
    contents = {".gitignore": "/env/\n/html/\n__pycache__/\n", "benchmarks/__init__.py": ""}
    for path, name in TEMPLATES.items():
        template = resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
        contents[path] = jinja.from_string(template).render(values)
    (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
    for path, text in contents.items():
        (folder / path).write_text(text, encoding="utf-8")
    return [folder / path for path in contents]


def _repository(source: Path, *, is_built: bool) -> Path:
    """The root of the git repository that holds a file: one of its own, or one that is built from them."""
    if not source.is_file():
        raise NoSuite(f"{source}: must be a file: asv measures commits of a git repository")
    git = ["git", "-C", str(source.parent)]
    try:
        root = _output([*git, "rev-parse", "--show-toplevel"])
        if not is_built:
            _output([*git, "ls-files", "--error-unmatch", source.name])
    except (OSError, subprocess.CalledProcessError):
        raise NoSuite(f"{source}: must be in a git repository, added with `git add`: asv measures commits") from None
    return Path(root).resolve()


def _output(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - git, on a folder
    return answer.stdout.strip()


def _root_of(module: str, source: Path) -> Path:
    """The folder from which a module is imported."""
    parts = module.count(".") + (source.name == "__init__.py")
    return source.parents[parts]


def _requirements() -> list[str]:
    """What asv's environments need besides the kernel: refconv as it was installed here, and the torch of here."""
    text = metadata.distribution("refconv").read_text("direct_url.json")
    source = f"=={__version__}"
    if text:  # not from an index; https://packaging.python.org/en/latest/specifications/direct-url/
        address = json.loads(text)
        version = address.get("vcs_info")
        source = f" @ {version['vcs']}+{address['url']}@{version['commit_id']}" if version else f" @ {address['url']}"
    requirements = [f"refconv[verify,bench]{source}"]
    with contextlib.suppress(metadata.PackageNotFoundError):
        requirements.append(f"torch=={metadata.version('torch').partition('+')[0]}")
    return requirements
