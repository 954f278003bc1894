"""Journals: the examinations of a campaign in a file, so that a campaign that was stopped can go on.

Knows examinations; not who makes them.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from refconv.core.version import __version__
from refconv.verification.examine.examination import Examination, Finding


class Journal:
    """A file with one line for each chunk of cases that is done.

    Parameters
    ----------
    path
        The file, which is made if it is not there; None for no file.
    what
        All that the cases and their examinations depend on. The file of a campaign with other ones is refused.

    Raises
    ------
    ValueError
        If the file is no journal, or that of another campaign or version.
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

    def of(self, section: str, offset: int) -> "SectionJournal":
        """The part of a section that begins after so many cases."""
        return SectionJournal(self, section, offset)

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
        # After the last line feed stands a line that was being written when the campaign was stopped.
        whole = "\n".join(lines[:-1]) + "\n"
        if lines[-1]:
            path.write_text(whole, encoding="utf-8")
        for number, line in enumerate(lines[1:-1], 2):
            try:
                section, start, examinations = json.loads(line)
                self._known[section, start] = [_examination(plain) for plain in examinations]
            except (ValueError, TypeError) as error:
                raise ValueError(f"resume={str(path)!r}: line {number} can't be read: {error}") from None
        self.notes.append(f"resumed: {sum(map(len, self._known.values()))} cases had been examined before")

    def _write(self, content: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps(content) + "\n")
            self._file.flush()


class SectionJournal:
    """What a journal has of one section, from the case numbered `offset` on."""

    def __init__(self, journal: Journal, section: str, offset: int) -> None:
        self.journal, self.section, self.offset = journal, section, offset

    def done(self, start: int, count: int) -> list[Examination] | None:
        """The examinations of a chunk, if the journal has them already."""
        examinations = self.journal._known.get((self.section, self.offset + start))  # noqa: SLF001 - a part of it
        return examinations if examinations is not None and len(examinations) == count else None

    def note(self, start: int, examinations: Sequence[Examination]) -> None:
        """Keep the examinations of a chunk."""
        self.journal._write([self.section, self.offset + start, list(map(_plain, examinations))])  # noqa: SLF001


def _plain(examination: Examination) -> list[Any]:
    """For JSON."""
    findings = [[finding.property, finding.text, finding.crash] for finding in examination.findings]
    figures = [
        examination.max_ulp,
        repr(examination.max_bound_ratio),
        examination.seconds,
        examination.fault,
        examination.refusal,
    ]
    return [examination.supported, examination.checked, findings, *figures]


def _examination(plain: list[Any]) -> Examination:
    """The examination that `_plain` wrote; without comparisons: the failure that is reported is examined once more."""
    supported, checked, findings, ulp, ratio, *more = plain
    read = tuple(Finding(property_, text, None, crash) for property_, text, crash in findings)
    return Examination(supported, tuple(checked), read, ulp, float(ratio), *more)
