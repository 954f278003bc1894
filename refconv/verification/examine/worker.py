"""Workers: the inside of a process that `isolated` starts, and what processes of an executor run.

Knows how questions come in and answers go out; not what is examined, and nothing of reports.
"""

import faulthandler
import os
import pickle
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from refconv.core.errors import BackendUnavailable
from refconv.verification.candidate import clock
from refconv.verification.candidate.loading import TargetError
from refconv.verification.examine.examination import Examination
from refconv.verification.examine.in_process import Called, Examines, Here, Spec
from refconv.verification.examine.isolated import FIRST, OURS, Isolated
from refconv.verification.faults import WrongUse

ORPHANED = 30.0  # seconds more than its limit after which a worker ends itself
MOST_CRASHES = 5  # in a chunk: more say nothing new


def serve() -> None:
    """Run a worker: load the candidate, then answer until there are no more questions."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # so that what the candidate prints is taken for no answer
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # so that the candidate reads no question
    faulthandler.enable()

    def answer(content: Any) -> None:
        faulthandler.cancel_dump_traceback_later()
        answers.send(content)

    def end_later(limit: float) -> None:
        # If nobody is there any more to end this process: this does not need Python to run.
        faulthandler.dump_traceback_later(max(OURS, FIRST * limit) + ORPHANED, exit=True)

    def question() -> Any:
        limit, content = pickle.load(questions)  # noqa: S301 - our own process's
        end_later(limit)
        clock.between(lambda: end_later(limit))
        return content

    spec: Spec
    spec, path = question()
    clock.share(path)
    try:
        here = Here(spec.examiner())
    except (TargetError, ValueError, ModuleNotFoundError, BackendUnavailable) as error:
        answer(str(error))
        return
    answer("ready")
    while True:
        try:
            what, recipe, further = question()
        except EOFError:
            return
        try:
            answer(here.examine(recipe, further) if what == "examine" else (here.call(recipe),))
        except WrongUse as error:
            answer(WrongUse(str(error)))
        except Exception as error:  # noqa: BLE001 - told to who asked, who raises it
            answer(RuntimeError("".join(traceback.format_exception(error))))


_worker: Isolated | None = None
_busy = threading.Lock()


def work(spec: Spec, limit: float, recipes: Sequence[Called]) -> list[Examination]:
    """Examine a chunk of cases, in whatever process this is called in, whose worker is kept for the next chunk."""
    global _worker  # noqa: PLW0603 - one for each process of an executor
    with _busy:
        if _worker is None or (_worker.spec, _worker.first_limit) != (spec, limit):
            if _worker is not None:
                _worker.close()
            _worker = Isolated(spec, limit)
        return list(until_crashed(_worker, recipes))


def until_crashed(examines: Examines, recipes: Sequence[Called]) -> Iterator[Examination]:
    """Examine in order, until `MOST_CRASHES` cases have crashed."""
    crashes = 0
    for examination in examines.examine_all(recipes):
        yield examination
        crashes += any(finding.crash for finding in examination.findings)
        if crashes >= MOST_CRASHES:
            return
