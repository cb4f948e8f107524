"""Puts a model on the Hub: python examples/release.py outputs/mine lab/plvl-mine [FOLDER]

With FOLDER nothing is sent: what would be is written there.
"""

import sys

from plvl.scripts import publish

model, repository, *folder = sys.argv[1:]
publish.main(
    ["--model", model, "--repo", repository, "--with_code", "--license", "apache-2.0"]
    + [word for name in folder for word in ("--dry_run", name)]
)
