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


_FOR_CLUSTERS = """
import resource
from klag_trio import descriptors
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
for clusters in (1, 100, 300):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    descriptors.take_what_is_used()
    before = descriptors.limit()
    descriptors.take_for_clusters(clusters)
    print(clusters, descriptors.limit() - before, min(descriptors.limit(), hard) == hard)
"""


def test_very_many_clusters_raise_the_limit_further() -> None:
    command = ["prlimit", "--nofile=12000:12000", sys.executable, "-c", _FOR_CLUSTERS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ["1 0 False", "100 1952 False", "300 7904 True"] == done.stdout.splitlines()
