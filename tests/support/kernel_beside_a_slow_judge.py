"""A candidate that is quick, in a worker process in which the oracle and the judge are not."""

import time

import refconv
from refconv.verification.candidate import clock
from refconv.verification.examine.examiner import Examiner

if clock._clock is not None:  # in a worker, not in the process of the tests
    judged = Examiner.judged

    def slowly(examiner, case, result):
        time.sleep(2)
        return judged(examiner, case, result)

    Examiner.judged = slowly


def conv2d(*arguments):
    return refconv.conv2d(*arguments)
