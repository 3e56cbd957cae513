"""Start of the package and of the command line, as multiples of a bare Python start.

    python benchmarks/start_up.py [--quick]

Every run is a process of its own, and the commands take turns. The floor is the bare interpreter.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median


def time_command(command: list[str]) -> float:
    """Return the wall time of a process in seconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    """Print a line for each command; return 1 where a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few runs, to see that it runs")
    runs = 3 if parser.parse_args().quick else 15
    installed = Path(sys.executable).with_name("sr-imaging")
    script = str(installed) if installed.exists() else shutil.which("sr-imaging") or "sr-imaging"
    commands = {
        "python -c pass": ([sys.executable, "-c", "pass"], None),
        "import sr_imaging": ([sys.executable, "-c", "import sr_imaging"], 0.3),
        "sr-imaging --help": ([script, "--help"], 0.4),
    }
    for command, _ in commands.values():
        time_command(command)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, (command, _) in commands.items():
            taken[name].append(time_command(command))
    bare = median(taken["python -c pass"])
    late = False
    for name, (_, limit) in commands.items():
        middle = median(taken[name])
        late |= limit is not None and middle > limit
        bound = "" if limit is None else f", limit {limit:g} s"
        print(f"{name:18} {middle / bare:5.2f} x bare Python ({middle * 1000:.0f} ms{bound})")
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
