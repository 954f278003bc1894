"""Expected failures: a file that says which properties a candidate is known to violate, and why.

Knows names of operators, dtypes, properties and causes; not what they mean.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from refconv import mutants

Key = tuple[str, str, str]
"""Operator, dtype, property."""

CRASH, EXCEPTION, UNKNOWN = "crash", "exception", "unknown"
CAUSES = (CRASH, EXCEPTION, UNKNOWN, *sorted({mutant.kind for mutant in mutants.all()}))


@dataclass(frozen=True)
class Entry:
    """A line of the file."""

    pattern: tuple[str, ...]
    reason: str
    line: int

    def matches(self, key: Key, cause: str = "") -> bool:
        """Whether the entry is about this operator, dtype and property, and about this cause if it names one."""
        return all(map(fnmatchcase, (*key, cause or UNKNOWN), self.pattern))

    def is_of(self, key: Key) -> bool:
        """Whether the entry is about this operator, dtype and property, whatever the cause."""
        return all(map(fnmatchcase, key, self.pattern))

    def __str__(self) -> str:
        return f"line {self.line}, {'/'.join(self.pattern)} ({self.reason})"


@dataclass(frozen=True)
class Expected:
    """The entries of a file of expected failures, one a line: `op/dtype/property  # reason`.

    A line may name the cause too, one of `CAUSES`: `op/dtype/property/cause  # reason`.

    Each part may have the wildcards `*`, `?` and `[...]` of the standard library's fnmatch. Blank lines and lines that
    are only a comment are left out. Where several entries match, the first one's reason counts.

    Examples
    --------
    >>> expected = Expected.parse("conv2d/float16/values  # accumulates in float16")
    >>> expected.reason("conv2d", "float16", "values")
    'accumulates in float16'
    >>> expected.reason("conv2d", "float32", "values")
    ''
    >>> expected.unmatched({("conv2d", "float16", "values"): ()})
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
        entries: dict[tuple[str, ...], Entry] = {}
        problems = []
        for number, line in enumerate(text.splitlines(), 1):
            pattern, _, reason = (part.strip() for part in line.partition("#"))
            if not pattern:
                continue
            parts = tuple(part.strip() for part in pattern.split("/"))
            if len(parts) not in (3, 4) or not all(parts):
                form = "op/dtype/property  # reason, perhaps with a /cause after the property"
                problems.append(f"line {number}: {line.strip()!r} must be {form}")
            elif not any(fnmatchcase(cause, parts[-1]) for cause in CAUSES) and len(parts) == 4:
                problems.append(f"line {number}: cause {parts[3]!r} must be one of {', '.join(CAUSES)}")
            elif not reason:
                problems.append(f"line {number}: {line.strip()!r} must end with its reason, after a #")
            elif parts in entries:
                problems.append(f"line {number}: {pattern!r} stands in line {entries[parts].line} already")
            else:
                entries[parts] = Entry(parts, reason, number)
        if problems:
            raise ValueError("\n".join(f"{name}, {problem}" for problem in problems))
        return cls(tuple(entries.values()))

    def reason(self, op: str, dtype: str, property_: str, cause: str = "") -> str:
        """Why this may fail; empty if it may not."""
        return next((entry.reason for entry in self.entries if entry.matches((op, dtype, property_), cause)), "")

    def may_be(self, op: str, dtype: str, property_: str, cause: str = "") -> bool:
        """Whether this may be expected: it is, or the cause is unknown as yet, and a line names one."""
        key = op, dtype, property_
        return any(entry.matches(key, cause) or (not cause and entry.is_of(key)) for entry in self.entries)

    def unmatched(self, seen: Mapping[Key, Collection[str]]) -> tuple[str, ...]:
        """What to tell about the entries that no failure matches.

        Parameters
        ----------
        seen
            What was checked: (operator, dtype, property), and of what causes it failed.
        """
        notes = []
        for entry in self.entries:
            checked = [key for key in seen if entry.is_of(key)]
            if not checked:
                notes.append(f"{entry}: matches nothing that was checked")
            elif not any(entry.matches(key, cause) for key in checked for cause in seen[key]):
                notes.append(f"{entry}: expected to fail, but passes")
        return tuple(notes)
