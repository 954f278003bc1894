"""Journals: what a campaign has done, in a file, so that it can go on where it was stopped.

Knows examinations; not who makes them.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from refconv.core.version import __version__
from refconv.verification.examine.examiner import Examination, Finding


class Journal:
    """A file with one line for each chunk of cases that is done.

    Parameters
    ----------
    path
        The file, which is made if it is not there; None for none.
    what
        All that the cases and what is found depend on. A file of something else is refused.

    Raises
    ------
    ValueError
        If the file is no such one, or of another campaign.
    """

    def __init__(self, path: Path | None, what: Any) -> None:
        self.path = path
        self.notes: list[str] = []
        self._known: dict[tuple[str, int], list[Examination]] = {}
        self._file: IO[str] | None = None
        self._head = {"refconv": __version__, "campaign": sha256(repr(what).encode()).hexdigest()}

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        if self.path.exists():
            self._read(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        if not self.path.stat().st_size:
            self._write(self._head)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def of(self, section: str, offset: int) -> "Page":
        """The part of a section that begins after so many cases."""
        return Page(self, section, offset)

    def _read(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").split("\n")
        if not lines[0]:
            return
        try:
            head = json.loads(lines[0])
        except ValueError:
            head = None
        if not isinstance(head, dict) or head.keys() != self._head.keys():
            raise ValueError(f"resume={str(path)!r}: must be a file that a campaign wrote")
        if head != self._head:
            raise ValueError(f"resume={str(path)!r}: is of another campaign: other target, options, seed or version")
        # After the last line feed stands what was being written when it was stopped.
        whole = "\n".join(lines[:-1]) + "\n"
        if lines[-1]:
            path.write_text(whole, encoding="utf-8")
        for number, line in enumerate(lines[1:-1], 2):
            try:
                section, start, found = json.loads(line)
                self._known[section, start] = [_examination(each) for each in found]
            except (ValueError, TypeError) as error:
                raise ValueError(f"resume={str(path)!r}: line {number} can't be read: {error}") from None
        self.notes.append(f"resumed: {sum(map(len, self._known.values()))} cases had been examined before")

    def _write(self, content: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps(content) + "\n")
            self._file.flush()


class Page:
    """What a journal has of one section."""

    def __init__(self, journal: Journal, section: str, offset: int) -> None:
        self.journal, self.section, self.offset = journal, section, offset

    def done(self, start: int, count: int) -> list[Examination] | None:
        """The examinations of a chunk, if they are known already."""
        found = self.journal._known.get((self.section, self.offset + start))  # noqa: SLF001 - a part of it
        return found if found is not None and len(found) == count else None

    def note(self, start: int, found: Sequence[Examination]) -> None:
        """Keep those of a chunk."""
        self.journal._write([self.section, self.offset + start, list(map(_plain, found))])  # noqa: SLF001


def _plain(found: Examination) -> list[Any]:
    findings = [[each.property, each.text, each.crash] for each in found.findings]
    return [found.supported, found.checked, findings, found.max_ulp, repr(found.max_bound_ratio)]


def _examination(plain: list[Any]) -> Examination:
    """Without comparisons: the failure that is reported is examined once more."""
    supported, checked, findings, ulp, ratio = plain
    found = tuple(Finding(property_, text, None, crash) for property_, text, crash in findings)
    return Examination(supported, tuple(checked), found, ulp, float(ratio))
