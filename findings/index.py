"""The page docs/findings.md, made from the headers of findings/*.sh and from findings/in-words.md.

    python findings/index.py           # write the page
    python findings/index.py --check   # exit code 1 if the page is not what would be written

A header is the comment under a script's first line: a title, then fields, `Name: text`; further lines of a field are
indented. Knows headers; runs no script.
"""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "findings.md"
FIELDS = ("Behavior", "Expected", "Version", "Needs", "Source", "Seen")
OPTIONAL = {"Needs"}

INTRODUCTION = """# Findings

Surprises about other people's libraries that are no fault of refconv, found by `refconv verify`. Each is a script in
`findings/`: it installs the pinned versions into an environment of its own, runs a short program without refconv on
valid input, prints what is seen, and exits with another code than 0 if that has changed. `make findings` runs them all.

This page is written by `make findings-index`, from the headers of the scripts.
"""
IN_WORDS = """
## In words only

No input that crashes other people's software, or shows memory that was never written, stands in this repository. What
was found of that kind:

"""


def header(script: Path) -> tuple[str, dict[str, str]]:
    """The title and the fields of a script's header."""
    comments = re.match(r"#!.*\n((?:#.*\n)+)", script.read_text(encoding="utf-8"))
    if comments is None:
        raise SystemExit(f"{script}: no header under the first line")
    title, _, text = comments[1].replace("\n#   ", " ").partition("\n")
    fields = dict(line.removeprefix("# ").split(": ", 1) for line in text.splitlines() if line != "#")
    missing = [name for name in FIELDS if name not in fields and name not in OPTIONAL]
    unknown = [name for name in fields if name not in FIELDS]
    if missing or unknown:
        raise SystemExit(f"{script}: the header lacks {missing} and has the unknown fields {unknown}")
    return title.removeprefix("# "), fields


def wrapped(text: str, width: int = 120) -> str:
    """An item of a list, in lines of at most so many characters; whatever is code stays on one line."""
    lines = ["*"]
    for word in re.findall(r"(?:`[^`]*`|\S)+", text):
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(" ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


def section(script: Path) -> str:
    """What the page says of one script."""
    title, fields = header(script)
    items = [f"**Script:** `findings/{script.name}`"]
    items += [f"**{name}:** {fields[name]}" for name in FIELDS if name in fields]
    return "\n".join([f"\n## {title}\n", *map(wrapped, items), ""])


def page() -> str:
    """The whole page."""
    sections = map(section, sorted(FOLDER.glob("*.sh")))
    return "".join([INTRODUCTION, *sections, IN_WORDS, (FOLDER / "in-words.md").read_text(encoding="utf-8")])


def main(arguments: list[str]) -> None:
    """Write the page, or check it."""
    if arguments not in ([], ["--check"]):
        raise SystemExit(f"usage: {Path(__file__).name} [--check]")
    if not arguments:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        raise SystemExit(f"{PAGE} is not what the headers of findings/*.sh say: run `make findings-index`")


if __name__ == "__main__":
    main(sys.argv[1:])
