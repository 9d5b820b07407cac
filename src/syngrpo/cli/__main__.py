"""``python -m syngrpo.cli``."""

from syngrpo.cli.main import main

if __name__ == "__main__":
    main()
