"""Crews: who examines the cases of a campaign, one process or many, and in which order what they find comes back.

Knows examiners and executors; not what is examined, and nothing of reports.
"""

import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import TargetError, find
from refconv.verification.examine import in_process, worker
from refconv.verification.examine.examiner import Examination
from refconv.verification.examine.in_process import Examines, Here, Spec
from refconv.verification.examine.isolated import Isolated
from refconv.verification.settings import Settings

CHUNK = 25  # cases that are handed out at a time
AHEAD = 3  # chunks for each job that are handed out before the first comes back


class Log(Protocol):
    """What was done before, and what is done now."""

    def done(self, start: int, count: int) -> list[Examination] | None:
        """The examinations of a chunk, if they are known already."""

    def note(self, start: int, found: Sequence[Examination]) -> None:
        """Keep those of a chunk."""


class Crew:
    """Who examines the cases of a campaign.

    Attributes
    ----------
    one
        Who examines single cases, in shrinking for instance.
    notes
        What the reader of the report should know of it.
    """

    def __init__(self, one: Examines, executor: Executor | None = None, task: Any = None, jobs: int = 1) -> None:
        self.one = one
        self._executor, self._task, self._jobs = executor, task, jobs
        self.notes: list[str] = []
        self.stop = threading.Event()

    def examine(self, sources: Iterator[Any], log: Log) -> Iterator[tuple[Any, Examination]]:
        """Examine all, a chunk at a time; what was found comes back in order."""
        waiting: deque[tuple[int, list[Any], Future[list[Examination]] | list[Examination] | None]] = deque()
        try:
            yield from self._in_order(sources, log, waiting)
        finally:  # whoever has enough does not want the rest
            futures = [begun for *_, begun in waiting if isinstance(begun, Future)]
            self.stop.set()
            for each in futures:
                each.cancel()
            wait([each for each in futures if not each.cancelled()])
            self.stop.clear()

    def _in_order(self, sources: Iterator[Any], log: Log, waiting: deque[Any]) -> Iterator[tuple[Any, Examination]]:
        numbered = itertools.count(0, CHUNK)
        chunks = iter(lambda: list(itertools.islice(sources, CHUNK)), [])
        more = True
        while more or waiting:
            while more and len(waiting) < (AHEAD * self._jobs if self._executor else 1):
                chunk = next(chunks, None)
                if chunk is None:
                    more = False
                    break
                start = next(numbered)
                waiting.append((start, chunk, log.done(start, len(chunk)) or self._begin(chunk)))
            if not waiting:
                return
            start, chunk, begun = waiting.popleft()
            if isinstance(begun, list):
                yield from zip(chunk, begun, strict=True)
                continue
            found: list[Examination] = []
            # Fewer, where so many have crashed that the section ends.
            for source, each in zip(chunk, self._finish(chunk, begun), strict=False):
                found.append(each)
                yield source, each
            if len(found) == len(chunk):
                log.note(start, found)

    def _begin(self, chunk: list[Any]) -> Future[list[Examination]] | None:
        if self._executor is None:
            return None
        try:
            return self._executor.submit(self._task, chunk)
        except (BrokenExecutor, RuntimeError):
            return None  # it is broken: the chunk is done here

    def _finish(self, chunk: list[Any], begun: Future[list[Examination]] | None) -> Iterator[Examination]:
        if begun is None:
            return self.one.each(chunk)
        try:
            return iter(begun.result())
        except (BrokenExecutor, CancelledError) as error:
            return self._again(chunk, error)
        except Exception as error:
            # dask.distributed has errors of its own for a worker that was killed.
            if not type(error).__module__.startswith("distributed"):
                raise
            return self._again(chunk, error)

    def _again(self, chunk: list[Any], error: BaseException) -> Iterator[Examination]:
        """What a worker that was lost was to do is done here."""
        note = f"a worker of the executor was lost ({type(error).__name__}); its cases were examined by another one"
        if note not in self.notes:
            self.notes.append(note)
        return self.one.each(chunk)


class _Pool:
    """Workers of this process, each busy with one chunk at a time, until they are to stop."""

    def __init__(self, workers: Sequence[Isolated]) -> None:
        self.stop = threading.Event()
        self._free: queue.SimpleQueue[Isolated] = queue.SimpleQueue()
        for each in workers:
            self._free.put(each)

    def __call__(self, chunk: Sequence[Any]) -> list[Examination]:
        mine = self._free.get()
        try:
            return list(itertools.takewhile(lambda _: not self.stop.is_set(), worker.some(mine, chunk)))
        finally:
            self._free.put(mine)


def _unable(spec: Spec, supported: Any, first: Isolated) -> str:
    """Why another process can't examine the candidate; it has been started if it can."""
    own = getattr(supported, "__self__", None) is not None  # a method of the candidate, which comes with it
    if not spec.target or (supported is not None and not spec.supported and not own):
        return "another process can't load what no module has at its top level"
    try:
        first.start()
    except TargetError as error:
        return str(error)
    return ""


@contextmanager
def crew(candidate: Candidate, settings: Settings) -> Iterator[Crew]:
    """The crew that settings ask for; its processes end with it.

    Raises
    ------
    ValueError
        If processes are asked for that can't load the candidate.
    """
    spec = Spec(
        candidate.target, candidate.arrays, candidate.style, candidate.op,
        model=None if settings.model is None else str(settings.model),
        deterministic=settings.supports.deterministic,
        supported=find(settings.supported) if settings.supported else "",
        threads=1 if settings.jobs > 1 else 0,
    )  # fmt: skip
    here = Here(in_process.examiner(candidate, settings.model, settings.supports.deterministic, settings.supported))
    wants = settings.jobs > 1 or settings.executor is not None or settings.isolate
    # One more than there are jobs: shrinking must not ask who is busy with the next cases.
    apart = [Isolated(spec, settings.time_limit) for _ in range(settings.jobs + 1)]
    with contextlib.ExitStack() as stack:
        for each in apart:
            stack.callback(each.close)
        reason = "isolate=False" if settings.isolate is False else _unable(spec, settings.supported, apart[0])
        if not reason and settings.executor is not None:
            yield Crew(apart[0], settings.executor, partial(worker.work, spec, settings.time_limit), 8)
        elif not reason and settings.jobs > 1:
            threads = stack.enter_context(ThreadPoolExecutor(settings.jobs))
            pool = _Pool(apart[1:])
            found = Crew(apart[0], threads, pool, settings.jobs)
            pool.stop = found.stop
            yield found
        elif not reason:
            yield Crew(apart[0])
        elif wants:
            raise ValueError(f"jobs={settings.jobs}, executor={settings.executor}: {reason}")
        else:
            found = Crew(here)
            if settings.isolate is None:  # nobody has said that this is wanted
                found.notes.append(f"examined in this process, which a crash would end: {reason}")
            yield found
