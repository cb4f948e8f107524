"""Runs transformers-mlinter, which knows how Transformers wants a model integration to be, over the rooms.

python tools/lint_modeling.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOMS = ("configuration", "modeling_plvl", "processing")
# Rules that are not followed; docs/architecture.md has the reasons.
LEFT_OUT = {"TRF019", "TRF036", "TRF057"}


def main():
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "findings.json")
        command = [sys.executable, "-m", "mlinter", "--no-progress", "--no-cache", "--output-json", report, *ROOMS]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
        if not report.is_file():
            sys.exit(f"transformers-mlinter ended with {ran.returncode}: {ran.stderr}")
        findings = json.loads(report.read_text(encoding="utf-8"))["findings"]
    left = [each for each in findings if each["rule"] not in LEFT_OUT]
    for each in left:
        print(f"{each['path']}:{each['line']}: {each['message']}")
    sys.exit(f"{len(left)} findings of transformers-mlinter" if left else 0)


if __name__ == "__main__":
    main()
