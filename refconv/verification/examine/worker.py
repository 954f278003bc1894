"""Workers: a candidate examined in a process of its own, whose crash or endless loop is a finding like any other.

A worker gets recipes and answers one by one, over its standard streams; when it dies or takes too long, the case that
it was at is known, and another worker goes on after it. Knows processes; not what is examined, and nothing of reports.
"""

import faulthandler
import os
import pickle
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from refconv.cases.recipe import Recipe
from refconv.core.errors import BackendUnavailable
from refconv.verification.candidate.loading import TargetError
from refconv.verification.examine import wrong_arguments
from refconv.verification.examine.examiner import Examination
from refconv.verification.examine.in_process import Examines, Here, Spec
from refconv.verification.examine.isolated import Isolated

ORPHANED = 30.0  # seconds more than its limit after which a worker ends itself
MOST_CRASHES = 5  # in a chunk: more say nothing new


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
