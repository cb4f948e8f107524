"""Gives the tests a home folder of their own, before a library finds the user's: imported first, for its effect."""

import atexit
import os
import shutil
import tempfile

HOME = tempfile.mkdtemp(prefix="plvl-tests-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ |= {"HOME": HOME, "XDG_CACHE_HOME": f"{HOME}/.cache", "HF_HOME": f"{HOME}/.cache/huggingface"}
