"""Groups and clients whose names hold every kind of character, from a real broker to labels, log and page."""

from __future__ import annotations

import random
import subprocess
import unicodedata
import urllib.parse
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from tests.broker.waiting import unique, wait_until
from tests.program.program import config_text, running

from klag_trio.exposition.label_values import label_value

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka

SUM_LAG = "kafka_consumergroup_group_sum_lag"
LAG = "kafka_consumergroup_group_lag"
ODD = [
    '"quoted"',
    "back\\slash",
    "back\\\\n",
    "new\nline",
    "tab\tret\rurn",
    " space ",
    '{a="b"}',
    "# HELP x",
    "%s %d {0}",
    "<script>alert(1)</script>",
    "'onmouseover=x",
    "&lt;&amp;",
    "../../etc/passwd",
    "a/b?c=d#e",
    "%2e%2e%2f%00",
    "${HOME}",
    "\x1b[2J\x1b[31mred",
    "\x07\x08\x7f",
    "\x00",
    "\x85\u2028\u2029",
    "\u202eright-to-left",
    "\ufeffbom",
    "e\u0301\u0301",
    "привет",
    "日本語",
    "💥👩‍👩‍👧",
    "\U0010ffff",
    "x" * 3000,
    "{{ 7*7 }}",
    "$(id)`id`",
    "NaN",
    "null",
    "=1+1",
]


def random_names(count: int) -> list[str]:
    """Names of any characters that UTF-8 can spell."""
    chance = random.Random(5)
    names: list[str] = []
    while len(names) < count:
        ranges = [(0x0, 0xFF), (0x0, 0xFFFF), (0x0, 0x10FFFF)]
        codes = [chance.randint(*chance.choice(ranges)) for _ in range(chance.randint(1, 20))]
        names.append("".join(chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF) or "x")
    return names


def groups_on(text: str, name: str) -> set[str]:
    return {
        sample.labels["group"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_every_kind_of_character_arrives_in_labels_and_harms_neither_log_nor_page(
    kafka: Kafka, driver: KafkaDriver, tmp_path: Path
) -> None:
    prefix = unique("odd")
    topic = driver.create_topic(prefix, partitions=1)
    driver.produce(topic, 0, 3)
    # The C library that speaks to Kafka ends names at a NUL; such a group cannot be made with it.
    wanted = {f"{prefix}{name.replace(chr(0), '')}" for name in [*ODD, *random_names(150)]}
    labels = {label_value(name) for name in wanted}
    for group in sorted(wanted):
        driver.commit(group, {(topic, 0): 1})
    client_id = '<i>"client"\\\n\x1b[2J\u202e</i>'
    member_group = f"{prefix}-member"
    cluster = {
        "name": "main",
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic_whitelist": [f"^{topic}$"],
        "group_whitelist": [f"^{prefix}"],
        "labels": {"odd": '"\\\n<b>&\u202e'},
    }
    text = config_text([cluster])
    with driver.consuming(member_group, [topic], client_id=client_id):
        for form in ("json", "text"):
            with running(tmp_path, text, "--log-level", "trace", "--log-format", form) as program:
                if form == "json":
                    wait_until(
                        lambda: labels <= groups_on(program.metrics().text, SUM_LAG), "all groups are shown"
                    )
                    served = program.metrics().text
                    page = program.get("/")[1]
                    for group in random.Random(1).sample(sorted(wanted), 20):
                        asked = urllib.parse.urlencode({"cluster": "main", "group": group})
                        assert program.get(f"/group?{asked}")[0] == 200
                    assert program.get("/health") == (200, "ok")
                else:
                    wait_until(lambda: "serving" in program.output, "it runs")
                    wait_until(lambda: "cycle" in program.output, "a cycle is done")
                output = program.output
            shown = {c for c in output if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"}
            assert shown == set()
    assert groups_on(served, SUM_LAG) >= labels
    for family in text_string_to_metric_families(served):
        for sample in family.samples:
            if sample.name == LAG and sample.labels["group"] in labels:
                assert sample.value == 2
                assert sample.labels["odd"] == '"\\\n<b>&\u202e'
    # Another reader than the one above, Prometheus's own.
    said = subprocess.run(
        ["promtool", "check", "metrics"], input=served, capture_output=True, text=True, check=False
    )
    assert "error while linting" not in said.stderr
    for raw in ("<script>alert", "<i>", "<b>&", "'onmouseover=x"):
        assert raw not in page
