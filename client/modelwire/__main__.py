"""`python -m modelwire` is the command line."""

from modelwire.cli import main

if __name__ == "__main__":
    main()
