"""Expected failures: a file that says which properties a candidate is known to violate, and why.

Knows names of operators, dtypes and properties; not what they mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

Key = tuple[str, str, str]
"""Operator, dtype, property."""


@dataclass(frozen=True)
class Entry:
    """A line of the file."""

    pattern: Key
    reason: str
    line: int

    def matches(self, key: Key) -> bool:
        """Whether the entry is about this operator, dtype and property."""
        return all(map(fnmatchcase, key, self.pattern))

    def __str__(self) -> str:
        return f"line {self.line}, {'/'.join(self.pattern)} ({self.reason})"


@dataclass(frozen=True)
class Expected:
    """The entries of a file of expected failures, one a line: `op/dtype/property  # reason`.

    Each part may have the wildcards `*`, `?` and `[...]` of the standard library's fnmatch. Blank lines and lines that
    are only a comment are left out. Where several entries match, the first one's reason counts.

    Examples
    --------
    >>> expected = Expected.parse("conv2d/float16/values  # accumulates in float16")
    >>> expected.reason("conv2d", "float16", "values")
    'accumulates in float16'
    >>> expected.reason("conv2d", "float32", "values")
    ''
    >>> expected.unmatched({("conv2d", "float16", "values"): False})
    ('line 1, conv2d/float16/values (accumulates in float16): expected to fail, but passes',)
    """

    entries: tuple[Entry, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> "Expected":
        """The entries of a file.

        Raises
        ------
        ValueError
            Naming the file and each line that is no entry, has no reason, or repeats another.
        """
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: must be text in UTF-8: {error}") from None

    @classmethod
    def parse(cls, text: str, name: str = "expected failures") -> "Expected":
        """The entries of a text; `name` says in errors where it comes from."""
        entries: dict[Key, Entry] = {}
        problems = []
        for number, line in enumerate(text.splitlines(), 1):
            pattern, _, reason = (part.strip() for part in line.partition("#"))
            if not pattern:
                continue
            parts = tuple(part.strip() for part in pattern.split("/"))
            if len(parts) != 3 or not all(parts):
                problems.append(f"line {number}: {line.strip()!r} must be op/dtype/property  # reason")
            elif not reason:
                problems.append(f"line {number}: {line.strip()!r} must end with its reason, after a #")
            elif parts in entries:
                problems.append(f"line {number}: {pattern!r} stands in line {entries[parts].line} already")
            else:
                entries[parts] = Entry(parts, reason, number)
        if problems:
            raise ValueError("\n".join(f"{name}, {problem}" for problem in problems))
        return cls(tuple(entries.values()))

    def reason(self, op: str, dtype: str, property_: str) -> str:
        """Why this may fail; empty if it may not."""
        return next((entry.reason for entry in self.entries if entry.matches((op, dtype, property_))), "")

    def unmatched(self, seen: Mapping[Key, bool]) -> tuple[str, ...]:
        """What to tell about the entries that no failure matches.

        Parameters
        ----------
        seen
            What was checked: (operator, dtype, property), and whether it failed.
        """
        notes = []
        for entry in self.entries:
            failed = [failure for key, failure in seen.items() if entry.matches(key)]
            if not failed:
                notes.append(f"{entry}: matches nothing that was checked")
            elif not any(failed):
                notes.append(f"{entry}: expected to fail, but passes")
        return tuple(notes)
