"""Campaigns as tests run them. No test."""

import functools

import refconv

# In this process: to start another one for each takes seconds. examine/test_worker.py has those that need one.
verify = functools.partial(refconv.verify, isolate=False)
