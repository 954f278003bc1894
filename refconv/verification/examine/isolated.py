"""Examining in a process of its own, whose crash or endless loop is a finding like any other.

A worker process gets recipes and answers one by one, over its standard streams; when it dies or takes too long, the
case that it was at is known, and another worker goes on with the next case. Knows processes; not what is examined.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from refconv.cases.huge import Huge
from refconv.cases.recipe import Recipe
from refconv.verification.candidate.clock import Clock
from refconv.verification.candidate.loading import TargetError
from refconv.verification.examine.examination import Examination, Finding
from refconv.verification.examine.in_process import Called, Spec
from refconv.verification.examine.property_names import RETURNS

WORKER = "refconv.verification.examine.worker"  # whose `serve` the process runs; `worker` imports this module
LOADING = 120.0  # seconds in which a worker must have imported the candidate
FIRST = 10  # the first case of a worker, which may compile, and a huge one may take so many times the limit
SHORTEST = 2.0  # seconds: no limit is lowered below
IMPATIENCE = 20  # a lowered limit is so many times as long as the slowest case
PATIENCE = 3  # times the limit that the first call which passes it gets, to see whether it ever ends
OURS = 600.0  # seconds in which everything but the candidate's calls must be done
TAIL = 4000  # bytes of a dying worker's last output that the finding tells
MOST_SAID = 2**20  # bytes of a worker's output that are kept
LOOK = 0.5  # seconds between two looks whether a worker still lives


class Isolated:
    """Examines in another process, which is started when it is needed, and again after a crash.

    Parameters
    ----------
    spec
        What the process is to examine.
    limit : float
        Seconds that a call of the candidate may take. What else a process does, compile and judge, is not its time.
    """

    def __init__(self, spec: Spec, limit: float) -> None:
        self.spec, self.limit, self.first_limit = spec, limit, limit
        self._clock: Clock | None = None  # of the process
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: Connection | None = None
        self._output: IO[bytes] | None = None  # what the process, and the candidate in it, print
        self._slow = ""  # why the last answer took too long; empty if it did not
        self._endless = False  # whether a call has shown that it does not end
        self._slowest, self._largest = 0.0, 0  # seconds of the slowest case that was answered, products of the largest
        self._sound: Any = None  # a question that was answered: the next process, which may compile, gets it first
        self._ahead: Any = None  # a question that was sent ahead; its answer is still to be received

    def examine(self, recipe: Called, further: str = "") -> Examination:
        """Examine one case, and one property more if it is named: see `Examiner.examine`."""
        examination: Examination = self._ask(("examine", recipe, further))
        return examination

    def examine_all(self, recipes: Sequence[Called]) -> Iterator[Examination]:
        """Examine many cases, in order. The next question is sent before the answer to the one before is here."""
        questions = [("examine", recipe, "") for recipe in recipes]
        for question, following in zip(questions, [*questions[1:], None], strict=True):
            yield self._ask(question, following)

    def call(self, recipe: Recipe) -> Any:
        """The candidate's result, None if there is none."""
        answer = self._ask(("call", recipe, ""))
        return None if isinstance(answer, Examination) else answer[0]  # an examination tells of a crash

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """Context in which the limit is lowered to `IMPATIENCE` times the slowest case, for shrinking crashes."""
        limit, endless = self.limit, self._endless
        self.limit, self._endless = min(limit, self._impatience), True
        try:
            yield
        finally:
            self.limit, self._endless = limit, endless

    @property
    def _impatience(self) -> float:
        return max(SHORTEST, IMPATIENCE * self._slowest)

    def start(self) -> None:
        """Start the process, and wait until it has loaded the candidate.

        Raises
        ------
        TargetError
            If the candidate can't be loaded there.
        """
        self.close()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        environment = os.environ | ({"NUMBA_NUM_THREADS": str(self.spec.threads)} if self.spec.threads else {})
        paths = os.pathsep.join(str(Path.cwd() / path) for path in sys.path)
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, on code of ours
            [sys.executable, "-c", f"from {WORKER} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            start_new_session=True,  # so that processes which the candidate forks end with this one
            env=environment | {"PYTHONPATH": paths},
        )
        assert self._process.stdout is not None  # noqa: S101
        with self._process.stdout:  # closed: its buffer might hold an answer that `poll` would not see
            self._answers = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._clock = Clock()
        answer = self._exchange((self.spec, self._clock.path), LOADING, begun=time.monotonic())
        if answer != "ready":
            said = self._end()
            self.close()
            raise TargetError(answer if isinstance(answer, str) else f"a worker can't load {self.spec.target}: {said}")
        self._clock.remove()

    def forget(self) -> bool:
        """Always True: the next case goes to a new process, in which the candidate has not been called yet."""
        self._sound = None
        self.close()
        return True

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            kill_with_children(self._process)
            self._process.wait()
            for stream in (self._process.stdin, self._answers, self._output, self._clock):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
        self._process = self._ahead = None

    def _ask(self, question: Any, following: Any = None) -> Any:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # the process died after its last answer
        if self._ahead is not None and self._ahead is not question:
            self._disregard()
        compiles = self._process is None
        if compiles:
            try:
                compiles = self._renew()
            except TargetError as error:
                return _crashed(f"a new process can't load it any more: {error}")
        compiles |= isinstance(question[1], Huge)
        start, limit = time.monotonic(), self._limit(question[1]) * (FIRST if compiles else 1)
        answer = self._exchange(question, limit, following)
        if isinstance(answer, BaseException):
            raise answer  # refconv's own fault, not the candidate's
        if answer is not None and self._slow:
            return _crashed(self._slow)
        if isinstance(answer, Examination) and any(finding.crash for finding in answer.findings):
            self.close()  # the device is of no use to this process any more, but to another one
            return answer
        if answer is not None:
            self._sound = question
            self._slowest = max(self._slowest, 0 if compiles else time.monotonic() - start)
            self._largest = max(self._largest, _products(question[1]))
            return answer
        slow, said = self._slow, self._end()
        self.close()
        return _crashed(slow or f"it ended its process: {said}")

    def _renew(self) -> bool:
        """Start a process, in which what was sound is asked for again; whether it may still have to compile."""
        self.start()
        compiles = self._sound is None or self._exchange(self._sound, self.limit * FIRST) is None
        if self._process is None or self._process.poll() is not None:
            self.start()
        return compiles

    def _limit(self, called: Called) -> float:
        """The limit of a call; once one did not end, a lower one for those no larger than what was quick before."""
        return min(self.limit, self._impatience) if self._endless and _products(called) <= self._largest else self.limit

    def _disregard(self) -> None:
        """Receive the answer to the question that was sent ahead, and drop it."""
        try:
            self._answer(self.limit)
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
        self._ahead = None

    def _exchange(self, message: Any, limit: float, following: Any = None, begun: float | None = None) -> Any:
        """The answer to a message; None if the process dies, or is killed, as `_answer` says.

        The `following` message is sent before the answer is here, so that the process need not wait for it.
        """
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018
        questions = self._process.stdin
        self._slow = ""
        try:
            for question in (message, following):
                if question is not None and question is not self._ahead:
                    pickle.dump((limit, question), questions)
            questions.flush()
            self._ahead = following
            answer = self._answer(limit, begun)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        if self._output is not None and self._output.seek(0, os.SEEK_END) > MOST_SAID:
            self._output.truncate(0)
        return answer

    def _answer(self, limit: float, begun: float | None = None) -> Any:
        """The next answer; EOFError if none comes, because a call takes longer than `limit`: the process is dead then.

        The first call that does so, unless its limit was long already, is waited for some time more: it may end. What
        was `begun` at a given time is no call: its time is what passes from then on.
        """
        assert self._process is not None and self._answers is not None and self._clock is not None  # noqa: S101, PT018
        end = time.monotonic() + OURS
        patient = begun is None and limit <= self.limit and not self._endless
        longest = PATIENCE * limit if patient else limit
        while not self._answers.poll(min(LOOK, limit)):
            running = (self._clock.running() if begun is None else time.monotonic() - begun) or 0.0
            end = time.monotonic() + OURS if running else end
            stuck = time.monotonic() > end
            if running > limit:
                self._slow = f"too slow: the call took longer than the {limit:g} s that it may take (--time-limit)"
            if stuck or running > longest or self._process.poll() is not None:
                kill_with_children(self._process)  # what it forked may hold the pipe open
                if stuck:
                    self.close()
                    raise RuntimeError(f"a worker did not answer within {OURS:g} s")
                if running > longest:
                    self._slow = f"{'endless, it seems: ' * patient}it did not return within {longest:g} s"
                    self._endless |= begun is None
                raise EOFError
        return self._answers.recv()

    def _end(self) -> str:
        """How the process ended, and what it printed last."""
        assert self._process is not None and self._output is not None  # noqa: S101, PT018
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - TAIL))
        said = self._output.read().decode(errors="replace").strip()
        return f"exit status {self._process.returncode}" + (f"\n{said}" if said else "")


def _crashed(text: str) -> Examination:
    return Examination(True, (RETURNS,), (Finding(RETURNS, text, crash=True),))


def _products(called: Called) -> int:
    """Products of a call; of one that must be refused none."""
    geometry = getattr(called, "geometry", None)
    return 0 if geometry is None else int(geometry.products)


def kill_with_children(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, and all processes that it has started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
