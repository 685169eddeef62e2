"""In a process of its own, since a limit that was lowered stays so."""

from __future__ import annotations

import subprocess
import sys

_LIMITS = """
import resource
from klag_trio import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 64))
descriptors.take_what_is_used()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be() -> None:
    done = subprocess.run([sys.executable, "-c", _LIMITS], capture_output=True, text=True, check=True)
    assert "64 64\n" == done.stdout
