"""Two launchers with a process each, as on two hosts, on the loopback address."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from small_runs import random_model

pytestmark = pytest.mark.several_processes
TESTS = Path(__file__).parents[1]
# Between a host's death and the error: `ddp_timeout` of dying_host.py, and what ending takes on busy cores.
SECONDS = 8 + 60


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def launch(roots, output, end):
    """The two hosts, started."""
    port = free_port()
    paths = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    configuration = TESTS.parent / "configuration/accelerate/several_nodes.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    command += ["--num_processes=2", f"--main_process_port={port}"]
    program = [TESTS / "dying_host.py", roots["image_root"], roots["label_root"], output, end]
    return [
        subprocess.Popen(
            [*command, f"--machine_rank={rank}", *map(str, program)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in range(2)
    ]


def test_two_hosts_train_one_model(refshapes, tmp_path):
    for host in launch(refshapes, tmp_path, "none"):
        said, _ = host.communicate(timeout=600)
        assert host.returncode == 0, said[-3000:]
    first, second = (torch.load(tmp_path / f"weights_{rank}.pt") for rank in range(2))
    begun = torch.cat([parameter.detach().flatten() for parameter in random_model().parameters()])
    assert first.equal(second) and not first.equal(begun)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("SIGKILL", "dying_host: another process is gone: its connection was closed"),
        ("SIGSTOP", r"dying_host: another process did not answer within 8 seconds \(ddp_timeout\)"),
    ],
)
def test_a_host_that_dies_ends_the_others_in_a_bounded_time(refshapes, tmp_path, end, message):
    living, dying = launch(refshapes, tmp_path, end)
    try:
        died = wait_for_death(dying)
        said, _ = living.communicate(timeout=600)
        assert time.monotonic() - died < SECONDS
        assert living.returncode == 1
        assert re.search(message, said), said[-3000:]
    finally:
        if end == "SIGSTOP":  # stopped, it does not go with its launcher
            os.kill(int((tmp_path / "process_1").read_text(encoding="utf-8")), signal.SIGKILL)
        for host in (living, dying):
            host.kill()
        dying.communicate()


def wait_for_death(launcher):
    """When its launcher is killed, or stopped."""
    while launcher.poll() is None and "T" not in state_of(launcher.pid):
        time.sleep(0.1)
    return time.monotonic()


def state_of(process):
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
