"""Checks the project on a machine with a GPU and without network.

python -m benchmarks.gpu_check pack            # here, with a network: packages, up to 64 MiB
python -m benchmarks.gpu_check run             # there: parts by their worth, up to 9 minutes
python -m benchmarks.gpu_check run             # again: goes on with the parts that are left
python -m benchmarks.gpu_check report          # writes RESULTS.md
python -m benchmarks.gpu_check run --tiny      # rehearsal on any CPU: the same code, small
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.gpu_check.schedule import PARTS, run_parts

FOLDER = Path("build/gpu_check")
"""Holds ``wheels`` and ``results``. It is not tracked by git."""
PYTHON = "3.12"
PRESENT = Path(__file__).with_name("present.txt")


def main() -> None:
    options = arguments()
    try:
        do(options)
    except OSError as error:  # a full disk, or a folder that cannot be written
        sys.exit(f"error: {error}; give a folder that can be written with --folder")
    except KeyboardInterrupt:
        sys.exit("stopped; the next call goes on with the parts that are left")


def do(options: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    wheels = options.folder / "wheels"
    if options.command == "pack":
        from benchmarks.gpu_check.packing import PackingError, pack  # needs `packaging`

        try:
            size = pack(wheels, options.present, options.python)
        except PackingError as error:
            sys.exit(f"error: {error}")
        print(f"{len(list(wheels.glob('*.whl')))} wheels, {size / 2**20:.1f} MiB, in {wheels}")
        return
    results = options.folder / ("rehearsal" if options.tiny else "results")
    if options.command == "run":
        sys.exit(run_parts(results, wheels, options.only, options.minutes, options.tiny))
    from benchmarks.gpu_check.report import write_report  # needs the project's packages

    write_report(results, dry_run=options.tiny)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["pack", "run", "report"])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--minutes", type=float, default=9.0, help="of one call of run")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", default=[])
    parser.add_argument("--tiny", action="store_true", help="run: on the CPU, with small shapes")
    parser.add_argument(
        "--present",
        type=Path,
        default=PRESENT,
        help="pack: the packages of the machine, as `pip list --format freeze` prints them",
    )
    parser.add_argument("--python", default=PYTHON, help="pack: version of Python of the machine")
    return parser.parse_args()


if __name__ == "__main__":
    main()
