"""Everything on the pretend accelerator, in a process of its own

A device that is there changes what PyTorch does elsewhere (DataParallel moves models to it, autograd starts a thread
for it), so it must not be there in the process of the other tests. What is checked stands in device_checks.py.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_everything_on_the_pretend_device():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("device_checks.py")),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    summary = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 0 and " passed" in summary, done.stdout[-6000:] + done.stderr[-2000:]
