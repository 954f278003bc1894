"""Workers: a candidate examined in a process of its own, whose crash or endless loop is a finding like any other.

A worker gets recipes and answers one by one, over its standard streams; when it dies or takes too long, the case that
it was at is known, and another worker goes on after it. Knows processes; not what is examined, and nothing of reports.
"""

import contextlib
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Protocol

from refconv.cases.recipe import Recipe
from refconv.core.errors import BackendUnavailable
from refconv.judge.bounds import ErrorModel
from refconv.verification.candidate.candidate import Candidate, TargetError, load
from refconv.verification.examine import wrong_arguments
from refconv.verification.examine.examiner import Examination, Examiner, Finding
from refconv.verification.examine.property_names import DETERMINISTIC, RETURNS

ORPHANED = 30.0  # seconds more than its limit after which a worker ends itself
LOADING = 120.0  # seconds in which a worker must have imported the candidate
FIRST = 10  # so many times the limit for the first case of a worker: the candidate may compile
SHORTEST = 2.0  # seconds: no case gets less
IMPATIENCE = 20  # so many times as long as the slowest case, once one has taken too long
TAIL, MOST_SAID = 4000, 2**20  # bytes of what a dying worker said that are told, and kept
LOOK = 0.5  # seconds between two looks whether a worker still lives
MOST_CRASHES = 5  # in a chunk: more say nothing new


@dataclass(frozen=True)
class Spec:
    """All that a process must know to examine a candidate."""

    target: str
    arrays: str
    style: str
    op: str
    model: str | None = None
    deterministic: bool = False
    supported: str = ""  # where a function of a case is that says what is supported
    threads: int = 0  # that refconv may use in it; 0 for as many as it likes

    def examiner(self) -> Examiner:
        """The examiner, its candidate loaded.

        Raises
        ------
        TargetError
            If it can't be loaded here.
        """
        candidate = load(self.target, self.arrays, op=self.op, style=self.style)
        model = None if self.model is None else ErrorModel.parse(self.model)
        supported = load(self.supported, "numpy").function if self.supported else None
        return examiner(candidate, model, self.deterministic, supported)


def examiner(candidate: Candidate, model: ErrorModel | None, deterministic: bool, supports: Any = None) -> Examiner:
    """The examiner of a candidate, which may say itself what it supports."""
    own = getattr(candidate.function, "supports", None)
    return Examiner(candidate, model, deterministic, supports or (own if callable(own) else None))


class Examines(Protocol):
    """Whoever examines: this process, or another one."""

    def examine(self, recipe: Recipe | wrong_arguments.Wrong, wanted: str = "") -> Examination:
        """Look at one case."""

    def each(self, recipes: Sequence[Recipe | wrong_arguments.Wrong]) -> Iterator[Examination]:
        """Look at many, in order."""

    def call(self, recipe: Recipe) -> Any:
        """The candidate's result, None if there is none."""

    def impatient(self) -> contextlib.AbstractContextManager[None]:
        """While a crash or an endless loop is shrunk."""

    def forget(self) -> bool:
        """Make the candidate forget what it was called with; whether that is possible."""

    def close(self) -> None:
        """End."""


class Here:
    """Examines in this process: a crash is this process's."""

    def __init__(self, examiner: Examiner) -> None:
        self.examiner = examiner

    def examine(self, recipe: Recipe | wrong_arguments.Wrong, wanted: str = "") -> Examination:
        """Look at one case."""
        candidate = self.examiner.candidate
        try:
            if isinstance(recipe, wrong_arguments.Wrong):
                found = wrong_arguments.examine(candidate, recipe)
            else:
                found = self.examiner.examine(recipe, wanted)
        except Exception as error:
            if not candidate.is_stranded():
                raise
            text = f"the device can't be used any more: {type(error).__name__}: {error}"
            return Examination(True, (RETURNS,), (Finding(RETURNS, text, crash=True),))
        if found.findings and candidate.is_stranded():
            found = replace(found, findings=tuple(replace(each, crash=True) for each in found.findings))
        return found

    def each(self, recipes: Sequence[Recipe | wrong_arguments.Wrong]) -> Iterator[Examination]:
        """Look at many, in order."""
        return map(self.examine, recipes)

    def call(self, recipe: Recipe) -> Any:
        """The candidate's result, None if there is none."""
        return self.examiner.call(recipe, recipe.case())

    def impatient(self) -> contextlib.AbstractContextManager[None]:
        """As patient as ever: it could not interrupt itself."""
        return contextlib.nullcontext()

    def forget(self) -> bool:
        """It can't be made to."""
        return False

    def close(self) -> None:
        """Nothing is to be ended."""


class Isolated:
    """Examines in another process, started when it is needed, and again after a crash.

    Parameters
    ----------
    spec
        What it is to examine.
    limit : float
        Seconds that a case may take.
    """

    def __init__(self, spec: Spec, limit: float) -> None:
        self.spec, self.limit, self.asked = spec, limit, limit
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: Connection | None = None
        self._log: IO[bytes] | None = None
        self._timed_out = False
        self._slowest = 0.0  # seconds that a case took which came back
        self._sound: Any = None  # a question that was answered: the first one of the next process, which may compile
        self._ahead: Any = None  # a question that was asked, but whose answer nobody has waited for

    def examine(self, recipe: Recipe | wrong_arguments.Wrong, wanted: str = "") -> Examination:
        """Look at one case."""
        found: Examination = self._ask(("examine", recipe, wanted))
        return found

    def each(self, recipes: Sequence[Recipe | wrong_arguments.Wrong]) -> Iterator[Examination]:
        """Look at many, in order. Each is asked about before the answer to the one before it is here."""
        questions = [("examine", recipe, "") for recipe in recipes]
        for question, following in zip(questions, [*questions[1:], None], strict=True):
            yield self._ask(question, following)

    def call(self, recipe: Recipe) -> Any:
        """The candidate's result, None if there is none."""
        found = self._ask(("call", recipe, ""))
        return None if isinstance(found, Examination) else found[0]

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """While a crash or an endless loop is shrunk: a case may take some times as long as any that came back."""
        limit = self.limit
        self.limit = min(limit, max(SHORTEST, IMPATIENCE * self._slowest))
        try:
            yield
        finally:
            self.limit = limit

    def start(self) -> None:
        """Start the process, and wait until it has loaded the candidate.

        Raises
        ------
        TargetError
            If it can't be loaded there.
        """
        self.close()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        environment = os.environ | ({"NUMBA_NUM_THREADS": str(self.spec.threads)} if self.spec.threads else {})
        paths = os.pathsep.join(str(Path.cwd() / each) for each in sys.path)
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, on code of ours
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # so that what the candidate forks ends with it
            env=environment | {"PYTHONPATH": paths},
        )
        assert self._process.stdout is not None  # noqa: S101
        with self._process.stdout:  # whose buffer might hold an answer that nothing would tell of
            self._answers = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        answer = self._exchange(self.spec, LOADING)
        if answer != "ready":
            said = self._end()
            self.close()
            raise TargetError(answer if isinstance(answer, str) else f"a worker can't load {self.spec.target}: {said}")

    def forget(self) -> bool:
        """Another process: it has not been called yet."""
        self._sound = None
        self.close()
        return True

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            _kill(self._process)
            self._process.wait()
            for stream in (self._process.stdin, self._answers, self._log):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
        self._process = self._ahead = None

    def _ask(self, question: Any, following: Any = None) -> Any:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it died after its last answer
        if self._ahead is not None and self._ahead is not question:
            self._disregard()
        compiles = self._process is None
        if compiles:
            self.start()
            if self._sound is not None:
                compiles = self._exchange(self._sound, self.limit * FIRST) is None
            if self._process is None or self._process.poll() is not None:
                self.start()
        start, limit = time.monotonic(), self.limit * (FIRST if compiles else 1)
        answer = self._exchange(question, limit, following)
        if isinstance(answer, BaseException):
            raise answer  # refconv's own fault, not the candidate's
        if isinstance(answer, Examination) and any(each.crash for each in answer.findings):
            self.close()  # the device is of no use any more, but to another process
            return answer
        if answer is not None:
            self._sound = question
            self._slowest = max(self._slowest, 0 if compiles else time.monotonic() - start)
            return answer
        taken_too_long = self._timed_out
        said = self._end()
        self.close()
        text = f"it did not return within {limit:g} s" if taken_too_long else f"it ended its process: {said}"
        if taken_too_long:  # it will again: then there is no need to wait for so long
            self.limit = min(self.limit, max(SHORTEST, IMPATIENCE * self._slowest))
        return Examination(True, (RETURNS,), (Finding(RETURNS, text, crash=True),))

    def _disregard(self) -> None:
        """Wait for an answer that nobody wants any more."""
        try:
            self._answer(self.limit)
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
        self._ahead = None

    def _exchange(self, message: Any, limit: float, following: Any = None) -> Any:
        """The answer to a message; None if the process dies, or is killed after so many seconds.

        The message that is `following` is sent before the answer is here, so that the process never waits for it.
        """
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018
        questions = self._process.stdin
        self._timed_out = False
        try:
            for each in (message, following):
                if each is not None and each is not self._ahead:
                    pickle.dump((limit, each), questions)
            questions.flush()
            self._ahead = following
            answer = self._answer(limit)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        if self._log is not None and self._log.seek(0, os.SEEK_END) > MOST_SAID:
            self._log.truncate(0)
        return answer

    def _answer(self, limit: float) -> Any:
        """The next answer; EOFError if there is none: the process is dead then."""
        assert self._process is not None and self._answers is not None  # noqa: S101, PT018
        end = time.monotonic() + limit
        while not self._answers.poll(min(LOOK, max(0.0, end - time.monotonic()))):
            self._timed_out = time.monotonic() >= end
            if self._timed_out or self._process.poll() is not None:  # what it forked may hold the pipe open
                _kill(self._process)
                raise EOFError
        return self._answers.recv()

    def _end(self) -> str:
        """How the process ended, and what it said last."""
        assert self._process is not None and self._log is not None  # noqa: S101, PT018
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - TAIL))
        said = self._log.read().decode(errors="replace").strip()
        return f"exit status {self._process.returncode}" + (f"\n{said}" if said else "")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """With all that it has started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def serve() -> None:
    """What a worker does: answer until there are no more questions."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # what the candidate prints is no answer
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nor is a question what it reads
    faulthandler.enable()

    def answer(found: Any) -> None:
        faulthandler.cancel_dump_traceback_later()
        answers.send(found)

    def question() -> Any:
        limit, found = pickle.load(questions)  # noqa: S301 - our own process's
        # If nobody is there any more to end it: this does not need Python to run.
        faulthandler.dump_traceback_later(limit + ORPHANED, exit=True)
        return found

    spec: Spec = question()
    try:
        here = Here(spec.examiner())
    except (TargetError, ValueError, ModuleNotFoundError, BackendUnavailable) as error:
        answer(str(error))
        return
    answer("ready")
    while True:
        try:
            what, recipe, wanted = question()
        except EOFError:
            return
        try:
            answer(here.examine(recipe, wanted) if what == "examine" else (here.call(recipe),))
        except Exception as error:  # noqa: BLE001 - told to who asked, who raises it
            answer(RuntimeError("".join(traceback.format_exception(error))))


def work(spec: Spec, limit: float, recipes: Sequence[Recipe | wrong_arguments.Wrong]) -> list[Examination]:
    """Examine some cases, in whatever process this is called in: a worker of it is kept for the next ones."""
    global _worker  # noqa: PLW0603 - one for each process of an executor
    with _busy:
        if _worker is None or (_worker.spec, _worker.asked) != (spec, limit):
            if _worker is not None:
                _worker.close()
            _worker = Isolated(spec, limit)
        return list(some(_worker, recipes))


def some(examines: Examines, recipes: Sequence[Recipe | wrong_arguments.Wrong]) -> Iterator[Examination]:
    """Examine in order, until too many have crashed."""
    crashes = 0
    for found in examines.each(recipes):
        yield found
        crashes += any(finding.crash for finding in found.findings)
        if crashes >= MOST_CRASHES:
            return


_worker: Isolated | None = None
_busy = threading.Lock()


def examine(
    candidate: Candidate,
    recipe: Recipe | wrong_arguments.Wrong,
    property_: str,
    model: ErrorModel | None = None,
    *,
    deterministic: bool = False,
) -> Finding | None:
    """What is found about one property of a candidate on one case, in this process; None if it holds.

    With `deterministic` it says that the same call gives the same bits.

    Examples
    --------
    >>> import refconv
    >>> from refconv.core.geometry import convolution
    >>> recipe = Recipe(convolution((2, 1, 3, 3), (1, 1, 2, 2), None, 1, 0, 1, 1, "zeros"), (0, 0))
    >>> examine(Candidate(refconv.conv2d), recipe, "batch") is None
    True
    """
    claims = deterministic or property_ == DETERMINISTIC
    return Here(examiner(candidate, model, claims)).examine(recipe, property_).lacks(property_)
