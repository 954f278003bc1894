"""Reporting: results and failures as tables, JSON, a page and programs that run.

Knows results; not how they were obtained.
"""
