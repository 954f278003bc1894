"""The command line: arguments in, tables and exit codes out.

`app` has all commands; `verify` (with replay) and `mutants` are in files of their own, on the options of `options`.
`bench` (on `timing`), `tolerance` and `environment` compute what their commands print; `asv_suite` and `dashboard`
write files, from `templates`. Knows typer and rich, and imports what a command does when the command runs; only
`refconv.__main__`, the asv suite, and suites that `refconv bench --asv` wrote import it.
"""
