"""The pytest plugin: `pytest --refconv module:function` turns each property of a candidate into a test.

pytest loads this module wherever refconv is installed: it stands beside the package, and imports nothing of it unless
`--refconv` is given. Knows pytest; of a campaign only how it is started and what its report holds.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from refconv.verification.candidate.candidate import Candidate
    from refconv.verification.report.expected_failures import Expected
    from refconv.verification.report.report import Report
    from refconv.verification.report.results import Failure
    from refconv.verification.settings import Settings

NAME = "refconv"  # the first part of the tests' ids


class Violation(Exception):
    """A property that does not hold: the message is all that the reader needs, a traceback would say nothing."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add = parser.getgroup(NAME, "verify a convolution kernel with refconv").addoption
    add(
        "--refconv",
        metavar="TARGET",
        help="Put TARGET, module:attribute or path/to/file.py:attribute, to the test: one test for each property and "
        "dtype. Unless paths are given too, no other tests run.",
    )
    add("--refconv-op", metavar="OP", action="append", help="What TARGET computes; repeat it for several. [conv2d]")
    add("--refconv-dtype", metavar="DTYPE", action="append", help="A dtype; repeat it for several. [float32]")
    add("--refconv-cases", metavar="N", type=int, default=1000, help="Generated cases for each dtype. [1000]")
    add("--refconv-seed", metavar="N", type=int, default=0, help="Another seed gives other cases. [0]")
    add("--refconv-supports", metavar="JSON", default="{}", help="What TARGET takes, as refconv.verify has it.")
    add("--refconv-model", metavar="MODEL", help="How TARGET sums: tf32, winograd:4,3, ... [directly, in float32]")
    add("--refconv-epilogue", metavar="STEPS", help="What TARGET does with its sums: residual,relu, ...")
    add("--refconv-rounded", metavar="WHEN", help="With an epilogue: when TARGET rounds, after or before. [after]")
    add("--refconv-expected", metavar="FILE", help="Expected failures, one a line: op/dtype/property  # reason")


def pytest_configure(config: pytest.Config) -> None:
    """Do nothing unless there is a target; then, without paths on the command line, collect its tests only."""
    if config.getoption("refconv"):
        config.pluginmanager.register(_Plugin(replace(_plan(config), config=config)), "refconv-tests")
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args.clear()


@dataclass(frozen=True)
class _Plan:
    """What the options say."""

    target: str
    dtypes: dict[str, tuple[str, ...]]  # of each operator
    settings: Settings
    supports: dict[str, Any]
    expected: Expected
    properties: tuple[str, ...]
    fused: dict[str, Any] = field(default_factory=dict)  # epilogue, and when results are rounded
    config: pytest.Config | None = None

    def candidate(self, op: str) -> Candidate:
        """The candidate, loaded."""
        from refconv.verification.candidate import loading

        return loading.load(self.target, op=op)

    def run(self, op: str, dtype: str) -> Report:
        """All cases of one operator and dtype."""
        from refconv.verification import asked, campaign

        candidate = self.candidate(op)
        limits, supported = asked.limits(candidate, self.supports, **self.fused)
        settings = replace(
            self.settings, supports=limits, supported=supported, progress=self._progress, tell=self._tell
        )
        return campaign.run(candidate, settings, [dtype])

    def _progress(self, label: str, done: int, total: int) -> None:
        """A line for each quarter of the cases: a campaign is a minute in which pytest shows nothing else."""
        from refconv.verification.report.text import progress_line

        if line := progress_line(label, done, total):
            self._tell(line)

    def _tell(self, line: str) -> None:
        """Show a line, where there is a terminal: a worker of pytest-xdist has none."""
        reporter = self.config and self.config.pluginmanager.getplugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            reporter.write_line(f"refconv: {line}")


def _plan(config: pytest.Config) -> _Plan:
    """The plan of the options, all of them checked and the target loaded: what is wrong is wrong usage."""
    from refconv.core import formats
    from refconv.core.checks import integer
    from refconv.core.errors import BackendUnavailable
    from refconv.judge.bounds import claimed
    from refconv.ops.family import OPERATORS
    from refconv.verification.asked import check_epilogue, limits
    from refconv.verification.candidate.loading import TargetError
    from refconv.verification.examine.property_names import PROPERTIES
    from refconv.verification.report.expected_failures import Expected
    from refconv.verification.settings import DEFAULT_DTYPES, LARGEST_SEED, Settings

    option = config.getoption
    try:
        settings = Settings(
            cases=integer("--refconv-cases", option("refconv_cases"), 1),
            seed=integer("--refconv-seed", option("refconv_seed"), 0, LARGEST_SEED),
            model=claimed(option("refconv_model") or None),
        )
        supports = json.loads(option("refconv_supports"))
        ops = _choices("--refconv-op", option("refconv_op") or ["conv2d"], OPERATORS)
        dtypes = _choices("--refconv-dtype", option("refconv_dtype") or [], tuple(map(str, formats.SUPPORTED)))
        plan = _Plan(
            target=option("refconv"),
            dtypes={op: dtypes or DEFAULT_DTYPES.get(op, ("float32",)) for op in ops},
            settings=settings,
            supports=supports,
            expected=Expected.read(option("refconv_expected")) if option("refconv_expected") else Expected(),
            properties=PROPERTIES,
            fused={"epilogue": option("refconv_epilogue"), "rounded": option("refconv_rounded")},
        )
        for op in ops:
            allowed, _ = limits(plan.candidate(op), supports, **plan.fused)
            check_epilogue(op, allowed, plan.dtypes[op])
    except (TargetError, ValueError, TypeError, OSError, ImportError, BackendUnavailable) as error:
        raise pytest.UsageError(f"--refconv: {error}") from error
    return plan


def _choices(name: str, values: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """The values, each once; wrong usage if one is not among those allowed."""
    from refconv.core.checks import choice

    return tuple(dict.fromkeys(choice(name, value, tuple(allowed)) for value in values))


class _Plugin:
    """What pytest calls while a target is put to the test."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan

    def pytest_report_header(self) -> list[str]:
        """What is verified, and which expected failures no test can match."""
        plan, settings = self.plan, self.plan.settings
        model = f", model {settings.model}" if settings.model else ""
        tests = [
            (op, dtype, name) for op, dtypes in plan.dtypes.items() for dtype in dtypes for name in plan.properties
        ]
        unknown = [entry for entry in plan.expected.entries if not any(map(entry.matches, tests))]
        return [
            f"refconv: {plan.target}, {settings.cases} cases, seed {settings.seed}{model}",
            *(f"refconv: {entry}: matches no test" for entry in unknown),
        ]

    @pytest.hookimpl(wrapper=True)  # before all others, which select
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Collect the tests."""
        root = Target.from_parent(session, name=NAME, nodeid=NAME, plan=self.plan)
        items.extend(session.genitems(root))
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was covered, and list what was not checked, whatever pytest's options: a skip is no evidence."""
        reports = [report for group in terminalreporter.stats.values() for report in group if hasattr(report, "nodeid")]
        said = [line for report in reports for name, line in getattr(report, "user_properties", ()) if name == NAME]
        if said:
            terminalreporter.section("refconv: campaigns")
        for line in dict.fromkeys(said):
            terminalreporter.write_line(line)
        skipped = [report for report in terminalreporter.getreports("skipped") if report.nodeid.startswith(f"{NAME}::")]
        if skipped:
            terminalreporter.section("refconv: not checked")
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.write_line(
                f"{report.nodeid.removeprefix(f'{NAME}::')}: {reason.removeprefix('Skipped: ')}"
            )


class Target(pytest.Collector):
    """All tests of a target."""

    def __init__(self, *, plan: _Plan, **options: Any) -> None:
        super().__init__(**options)
        self.plan = plan

    def collect(self) -> Iterator[pytest.Collector]:
        """The operators."""
        for op in self.plan.dtypes:
            yield Operator.from_parent(self, name=op, plan=self.plan)


class Operator(pytest.Collector):
    """The tests of one operator."""

    def __init__(self, *, plan: _Plan, **options: Any) -> None:
        super().__init__(**options)
        self.plan = plan

    def collect(self) -> Iterator[pytest.Item]:
        """A test for each dtype and property."""
        for dtype in self.plan.dtypes[self.name]:
            campaign = _Campaign(self.plan, self.name, dtype)
            for name in self.plan.properties:
                yield Property.from_parent(self, name=f"{name}[{dtype}]", property_=name, campaign=campaign)


@dataclass(frozen=True)
class _Campaign:
    """One operator and dtype, put to the test when the first of its tests runs: once in each worker that has one."""

    plan: _Plan
    op: str
    dtype: str

    @cached_property
    def outcome(self) -> Report | Exception:
        """The report; or the exception if refconv itself has failed: then no test runs the campaign again."""
        try:
            return self.plan.run(self.op, self.dtype)
        except Exception as error:  # noqa: BLE001 - raised by every test
            return error


class Property(pytest.Item):
    """The test of one property in one dtype."""

    def __init__(self, *, property_: str, campaign: _Campaign, **options: Any) -> None:
        super().__init__(**options)
        self.property, self.campaign = property_, campaign
        if reason := campaign.plan.expected.reason(campaign.op, campaign.dtype, property_):
            # Only this exception: a fault of refconv itself is never expected.
            self.add_marker(pytest.mark.xfail(reason=reason, raises=Violation))

    def runtest(self) -> None:
        """Look up the property in the campaign's report."""
        report = self.campaign.outcome
        if isinstance(report, Exception):
            raise report
        said = [*report.coverage_lines(), *report.notes]
        self.user_properties += [(NAME, f"{self.campaign.op}, {self.campaign.dtype}: {line}") for line in said]
        faults = [_text(failure) for failure in report.failures if failure.property == self.property]
        if self.property == "returns":
            faults += _unjudged(report)
        tally = report.properties.get(self.property, {}).get(self.campaign.dtype)
        if tally and tally.failed and not faults:
            faults = [f"{tally.failed} of {tally.checked} cases failed"]
        if faults:
            raise Violation("\n\n".join([*faults, *report.faults]))
        if report.faults:  # of refconv's own: then nothing is known for sure
            raise RuntimeError("\n".join(report.faults))
        if tally is None or not tally.checked:
            pytest.skip(tally.skipped if tally and tally.skipped else "not checked")
        self.user_properties.append(("cases", tally.checked))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        """The text to show: a violation's message without a traceback."""
        from refconv.verification.faults import WrongUse

        plain = isinstance(excinfo.value, Violation | WrongUse)
        return str(excinfo.value) if plain else super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[str, None, str]:
        """The location of a test that is in no file."""
        return NAME, None, f"{self.campaign.op}: {self.name}"


def _text(failure: Failure) -> str:
    """A failure and the program that shows it."""
    return f"{failure}\n\nprogram:\n{failure.snippet}"


def _unjudged(report: Report) -> list[str]:
    """Faults: sections in which nothing was judged although nothing was skipped."""
    return [
        f"{result.section}: nothing judged; the candidate refused {result.n_unsupported} cases"
        for result in report.results
        if not (result.n_cases or result.skipped)
    ]
