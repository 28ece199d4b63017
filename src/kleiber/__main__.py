"""``python -m kleiber``: the command line."""

from kleiber.cli import main

if __name__ == "__main__":
    main()
