"""Crews: distribute cases over processes, and yield the examinations in the order of the cases.

Knows examiners, journals and executors; not what is examined, and nothing of reports.
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
from typing import Any

from refconv.ops.epilogue import found_elsewhere
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import TargetError, find, targets_of
from refconv.verification.claim_text import is_known_elsewhere, text_of
from refconv.verification.examine import in_process, worker
from refconv.verification.examine.examination import Examination
from refconv.verification.examine.in_process import Examines, Here, Spec
from refconv.verification.examine.isolated import Isolated
from refconv.verification.examine.journal import SectionJournal
from refconv.verification.settings import Settings

CHUNK = 25  # cases that are handed out at a time
AHEAD = 3  # chunks for each job that are handed out before the first comes back
DISTANT_JOBS = 8  # for which chunks are handed out ahead to an executor: it does not say how many workers it has


class Crew:
    """Examines the cases of a campaign: in this process, in one of its own, or in those of an executor.

    Parameters
    ----------
    single_examiner
        Examines one case at a time, besides those that are handed out: in shrinking, for instance. Without an
        executor, it examines all.
    executor
        Who runs `task` on chunks of cases.
    task
        Called with a chunk, returns its examinations.
    jobs
        How many chunks the executor works on at the same time.

    Attributes
    ----------
    notes
        What the reader of the report should know of how the cases were examined.
    stop
        Set while chunks that were handed out are not wanted any more.
    """

    def __init__(
        self, single_examiner: Examines, executor: Executor | None = None, task: Any = None, jobs: int = 1
    ) -> None:
        self.single_examiner = single_examiner
        self._executor, self._task, self._jobs = executor, task, jobs
        self.notes: list[str] = []
        self.stop = threading.Event()

    def examine(self, sources: Iterator[Any], journal: SectionJournal) -> Iterator[tuple[Any, Examination]]:
        """Examine all cases, a chunk at a time; yield each case and its examination, in order."""
        waiting: deque[tuple[int, list[Any], Future[list[Examination]] | list[Examination] | None]] = deque()
        try:
            yield from self._in_order(sources, journal, waiting)
        finally:  # a caller that stops early does not want the rest
            futures = [begun for *_, begun in waiting if isinstance(begun, Future)]
            self.stop.set()
            for future in futures:
                future.cancel()
            wait([future for future in futures if not future.cancelled()])
            self.stop.clear()

    def _in_order(
        self, sources: Iterator[Any], journal: SectionJournal, waiting: deque[Any]
    ) -> Iterator[tuple[Any, Examination]]:
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
                waiting.append((start, chunk, journal.done(start, len(chunk)) or self._begin(chunk)))
            if not waiting:
                return
            start, chunk, begun = waiting.popleft()
            if isinstance(begun, list):
                yield from zip(chunk, begun, strict=True)
                continue
            examinations: list[Examination] = []
            for examination in self._finish(chunk, begun):
                examinations.append(examination)
                yield chunk[len(examinations) - 1], examination
            # A worker stops after so many crashes: who goes on nevertheless has expected them.
            if rest := chunk[len(examinations) :]:
                for source, examination in zip(rest, self.single_examiner.examine_all(rest), strict=True):
                    examinations.append(examination)
                    yield source, examination
            if not any(examination.fault for examination in examinations):  # which may be gone another time
                journal.note(start, examinations)

    def _begin(self, chunk: list[Any]) -> Future[list[Examination]] | None:
        """Hand a chunk to the executor; None if there is none, or if it is broken: `_finish` does the chunk then."""
        if self._executor is None:
            return None
        try:
            return self._executor.submit(self._task, chunk)
        except (BrokenExecutor, RuntimeError):
            return None

    def _finish(self, chunk: list[Any], begun: Future[list[Examination]] | None) -> Iterator[Examination]:
        if begun is None:
            return self.single_examiner.examine_all(chunk)
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
        """Examine here the chunk of a worker that was lost."""
        note = f"a worker of the executor was lost ({type(error).__name__}); its cases were examined by another one"
        if note not in self.notes:
            self.notes.append(note)
        return self.single_examiner.examine_all(chunk)


class _Pool:
    """The task of this process's threads: a chunk each, in a worker that is free, until `stop` is set."""

    def __init__(self, workers: Sequence[Isolated]) -> None:
        self.stop = threading.Event()
        self._free: queue.SimpleQueue[Isolated] = queue.SimpleQueue()
        for isolated in workers:
            self._free.put(isolated)

    def __call__(self, chunk: Sequence[Any]) -> list[Examination]:
        isolated = self._free.get()
        try:
            examinations = worker.until_crashed(isolated, chunk)
            return list(itertools.takewhile(lambda _: not self.stop.is_set(), examinations))
        finally:
            self._free.put(isolated)


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
        model=text_of(settings.model),
        claims=settings.claims,
        supported=find(settings.supported) if settings.supported else "",
        threads=1 if settings.jobs > 1 else 0,
        repeats=settings.repeats,
        allowed=settings.supports,
        arrange=targets_of(candidate),
    )  # fmt: skip
    here = Here(
        in_process.examiner(
            candidate, settings.model, settings.claims, settings.supported,
            repeats=settings.repeats, allowed=settings.supports,
        )
    )  # fmt: skip
    # One more than there are jobs: shrinking must not wait for a worker that is busy with the next cases.
    single_examiner, *workers = (Isolated(spec, settings.time_limit) for _ in range(settings.jobs + 1))
    with contextlib.ExitStack() as stack:
        for isolated in (single_examiner, *workers):
            stack.callback(isolated.close)
        reason = "isolate=False" if settings.isolate is False else _unable(spec, settings, single_examiner)
        if not reason and settings.executor is not None:
            task = partial(worker.work, spec, settings.time_limit)
            yield Crew(single_examiner, settings.executor, task, DISTANT_JOBS)
        elif not reason and settings.jobs > 1:
            threads = stack.enter_context(ThreadPoolExecutor(settings.jobs))
            pool = _Pool(workers)
            parallel = Crew(single_examiner, threads, pool, settings.jobs)
            pool.stop = parallel.stop
            yield parallel
        elif not reason:
            yield Crew(single_examiner)
        elif settings.jobs > 1 or settings.executor is not None or settings.isolate:
            raise ValueError(f"jobs={settings.jobs}, executor={settings.executor}: {reason}")
        else:
            in_this_process = Crew(here)
            if settings.isolate is None:  # isolate=False asks for this: then there is nothing to note
                in_this_process.notes.append(f"examined in this process, which a crash would end: {reason}")
            yield in_this_process


def _unable(spec: Spec, settings: Settings, isolated: Isolated) -> str:
    """Why another process can't examine the candidate; empty, and the process started, if it can."""
    supported = settings.supported
    own = getattr(supported, "__self__", None) is not None  # a method of the candidate, which comes with it
    supports = settings.supports
    known = is_known_elsewhere(settings.model) and all(spec.arrange) and found_elsewhere(supports.epilogue)
    known = known and not callable(supports.requantize)
    if not spec.target or not known or (supported is not None and not spec.supported and not own):
        rule = "; a rule that is a function is called here" * callable(settings.supports.requantize)
        return f"another process can't load what no module has at its top level{rule}"
    try:
        isolated.start()
    except TargetError as error:
        return str(error)
    return ""
