"""Pages of a large cluster, and what they cost in a process of its own that is set as the program is.

`python -m tests.unit.services.large_pages ADDRESS` asks for one five times and prints a list for each: the
status, the bytes, and the seconds of CPU time. In the process of the tests their garbage, which the collector
looks through again and again, and whatever clients earlier tests have left would be part of it.
"""

from __future__ import annotations

import json
import sys
import time

import attrs
import trio
from tests.unit.exposition.pages.published import NOW, cluster, many_groups, one_group
from tests.unit.services.asgi import client_of
from tests.unit.services.publication import FakePublication, small_publication

from klag_trio import interpreter
from klag_trio.domain.history import History
from klag_trio.web.app import make_app

ADDRESSES = [
    "/",
    "/?page=80",
    "/?sort=margin&only=behind&find=group-00",
    "/group?cluster=main&group=group-000007",
    "/group?cluster=wide&group=wide&sort=time&page=10",
]


def large_cluster(minutes: int = 60) -> FakePublication:
    """4,000 groups of 8 partitions with so much history, and one of 1,000 partitions."""
    history = History()
    report = many_groups(4000, 8)
    for minute in range(60 - minutes, 60):
        history = history.add(attrs.evolve(report, now=NOW - 3600 + 60 * minute))
    publication = small_publication()
    publication.states = [
        cluster("main", report, history=history),
        cluster("wide", one_group(1000)),
    ]
    return publication


async def main(address: str) -> None:
    large = large_cluster()
    client = client_of(make_app(large))
    await client.get(address)  # loads the pages and compiles the template
    asked = []
    for cycle in range(5):
        # A cycle has ended since the last request, so that nothing is known of its report.
        first, wide = large.states
        assert first.report is not None
        report = attrs.evolve(first.report, now=NOW + cycle)
        large.states = [attrs.evolve(first, report=report), wide]
        # Of the process and all its threads: what it takes on a machine that has nothing else to do.
        start = time.process_time()
        response = await client.get(address, headers={"Accept-Encoding": "gzip"})
        took = time.process_time() - start
        asked.append((response.status_code, len(await response.get_data(as_text=False)), took))
    print(json.dumps(asked))  # noqa: T201


if __name__ == "__main__":
    interpreter.stay_responsive()
    trio.run(main, sys.argv[1])
