"""``python -m syngrpo``, for ``accelerate launch -m syngrpo train …``."""

from syngrpo.cli.main import main

if __name__ == "__main__":
    main()
