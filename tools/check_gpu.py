"""Checks everything that only a GPU can show, in at most 8 minutes of one card: python tools/check_gpu.py [options]

It runs from a copied tree that nobody has installed and downloads nothing; docs/performance.md says what it needs.
Each part is a process of its own with a limit of time, so one that fails, hangs or breaks the card's context takes
nothing from the others. The JSON is written after each part, and what a part had found before it ended is in it.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

# Only what Python has: libraries that are missing here are what the parts say, each for itself.
from gpu_check.carried_wheels import install_wheels, missing_packages
from gpu_check.parts import PARTS, SECONDS
from gpu_check.running import check

ROOT = Path(__file__).resolve().parents[1]


def main(argv=None) -> int:
    """Gives the exit status: 1 where a part was not measured to its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="outputs/benchmarks/gpu_check.json", help="where the numbers go, as JSON")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these (default: all)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for all of it (default: {SECONDS})")
    parser.add_argument("--wheels", help="folder with wheels of what is not installed, for this run alone")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="default: cuda")
    parser.add_argument(
        "--tiny", action="store_true", help="small networks and few steps, to see whether the check itself works"
    )
    arguments = parser.parse_args(argv)
    sys.stdout.reconfigure(errors="backslashreplace")  # the page has a multiplication sign, and a terminal may not
    with tempfile.TemporaryDirectory(prefix="plvl-check-") as folder:
        # Spawned processes find the tree and the wheels by this.
        places = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests")]
        if arguments.wheels:
            places.insert(0, install_wheels(arguments.wheels, Path(folder, "wheels")))
        sys.path[:0] = places
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        missing = missing_packages(ROOT / "setup.cfg")
        if missing:
            print(f"missing: {', '.join(missing)}", flush=True)
        checked = check(arguments, missing, environment, Path(folder))
        from gpu_check.results import page  # the libraries may be among the wheels

        print(f"\n{page(checked)}\nwritten: {arguments.output}", flush=True)
    return int(any(part["state"] != "measured" for part in checked["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
