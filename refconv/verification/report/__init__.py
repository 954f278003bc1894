"""Reporting: results and failures as tables, JSON, a page and programs that run.

`results` holds what a campaign found, `coverage` counts which cases it took; `report` makes tables and JSON of them,
`page` HTML of the JSON, `text` words for both. `reproducer` writes programs, `saved_failures` and `expected_failures`
read files. Knows results; not how they were obtained.
"""
