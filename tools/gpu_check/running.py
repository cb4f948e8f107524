"""Runs the parts one after another, each in a process of its own, and writes what they find as it comes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from gpu_check.parts import PARTS, Part


def check(arguments, missing: list[str], environment: dict[str, str], folder: Path) -> dict:
    """
    Args:
        arguments: of check_gpu.py: `parts`, `seconds`, `device`, `tiny`, `output`.
        missing: packages, for the JSON.
        environment: of the processes.
        folder: where parts may write.

    Returns:
        what stands in `output`: {"subject": "check_gpu", "device", "tiny", "missing", "seconds", "machine", "parts":
        {name: {"state", "error", "seconds", "figures", "comparisons", "notes"}}}. A `state` is "measured", "failed"
        (`error` says why, what was found before is there) or "not run", for want of time.
    """
    start = time.monotonic()
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    checked: dict = {"subject": "check_gpu", "device": arguments.device, "tiny": arguments.tiny, "missing": missing}
    checked |= {"seconds": 0.0, "machine": None, "parts": {}}
    for name in arguments.parts:
        left = arguments.seconds - (time.monotonic() - start)
        print(f"\n== {name}: {PARTS[name].heading} ({left:.0f} s left)", flush=True)
        found = run_part(name, PARTS[name], left, arguments, environment, folder)
        checked["machine"] = checked["machine"] or found.pop("machine", None)
        found.pop("machine", None)
        checked["parts"][name] = found
        checked["seconds"] = time.monotonic() - start
        write_json(output, checked)
        print(f"== {name}: {found['state']} {found['error'] or ''}, {found['seconds']:.0f} s", flush=True)
    return checked


def run_part(name: str, part: Part, left: float, arguments, environment: dict[str, str], folder: Path) -> dict:
    if left <= 0:
        return empty_findings() | {"state": "not run", "error": "no time was left", "seconds": 0.0}
    # A part's own limit is meant for a GPU.
    limit = min(part.limit, left) if arguments.device == "cuda" else left
    path, start = folder / f"{name}.json", time.monotonic()
    command = [sys.executable, "-m", "gpu_check.one_part", name, arguments.device, str(path)]
    process = subprocess.Popen([*command, *["--tiny"] * arguments.tiny], env=environment, start_new_session=True)
    state, error = "failed", None
    try:
        status = process.wait(timeout=limit)
        state = "measured" if status == 0 else "failed"
        if status < 0:
            error = f"ended by {signal.Signals(-status).name}"
        elif status:
            error = f"ended with status {status}"
    except subprocess.TimeoutExpired:
        error = f"ended after its {limit:.0f} s"
    finally:
        # With what it has started, such as data workers and compilers.
        end_process_group(process)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty_findings()
    found |= {"state": state, "error": found["error"] or error, "seconds": time.monotonic() - start}
    return found


def end_process_group(process: subprocess.Popen):
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def empty_findings() -> dict:
    return {"figures": {}, "comparisons": [], "notes": [], "error": None}


def write_json(path: Path, content: dict):
    """Whole or not at all: the reader may come at any time."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
