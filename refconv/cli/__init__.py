"""The command line: arguments in, tables and exit codes out.

Knows typer and rich; what a command does is done elsewhere, and imported when the command runs.
"""
