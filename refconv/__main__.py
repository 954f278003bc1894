"""`python -m refconv`: the command line."""

from refconv.cli import main

if __name__ == "__main__":
    main()
