"""The pages in headless Chromium, of the real exporter on a real broker."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.broker.waiting import unique
from tests.program.program import Program, config_text, running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from playwright.sync_api import Locator, Page
    from tests.broker.driver import KafkaDriver
    from tests.browser.conftest import Visitor
    from tests.conftest import Kafka

HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(1)</script>/../%2F&amp; {{ 7*7 }} 'é\u202e"
REFRESH_MS = 30_000


def behind(driver: KafkaDriver, group: str, lags: Sequence[int], written: int = 100) -> str:
    """A topic with a partition for each lag, and a group that is so far behind; returns the topic."""
    topic = driver.create_topic(unique("topic"), partitions=len(lags))
    for partition in range(len(lags)):
        driver.produce(topic, partition, written)
    driver.commit(group, {(topic, p): written - lag for p, lag in enumerate(lags)})
    return topic


def seen(program: Program, *groups: str) -> None:
    """Wait until the exporter has seen the groups."""
    sums = "kafka_consumergroup_group_sum_lag"
    program.shows(
        [True] * len(groups),
        lambda page: [page.value(sums, cluster_name="main", group=group) is not None for group in groups],
    )


def row(page: Page, group: str) -> Locator:
    return page.locator("tr", has=page.get_by_role("link", name=group, exact=True))


def cell(page: Page, group: str, label: str) -> Locator:
    return row(page, group).locator(f'[data-label="{label}"]')


def names(page: Page) -> list[str]:
    return page.locator("tbody th.name a").all_inner_texts()


# Numbers


def test_the_list_shows_what_was_produced_and_committed(
    driver: KafkaDriver, exporter: Program, visitor: Visitor
) -> None:
    group = unique("billing")
    behind(driver, group, [60, 1174], written=2000)
    seen(exporter, group)
    page = visitor.open(exporter, f"/?find={group}")
    expect(cell(page, group, "Lag").locator(".total")).to_have_text("1,234")
    expect(cell(page, group, "State")).to_contain_text("Empty")
    expect(cell(page, group, "State")).to_contain_text("0 members")
    expect(cell(page, group, "Time lag")).to_have_text(re.compile(r"^[\d.]+ (s|ms|min)"))
    expect(cell(page, group, "Lost")).to_have_text("0")
    expect(row(page, group)).to_contain_text("main · 2 partitions")


def test_the_page_of_a_group_shows_its_partitions_and_members(
    driver: KafkaDriver, exporter: Program, visitor: Visitor
) -> None:
    group = unique("search")
    topic = driver.create_topic(unique("topic"), partitions=2)
    driver.produce(topic, 0, 100)
    driver.produce(topic, 1, 50)
    with driver.consuming(group, [topic], client_id="searcher") as member:
        member.commit({(topic, 0): 40, (topic, 1): 50})
        exporter.shows(
            1.0,
            lambda page: (
                page.value(
                    "kafka_consumergroup_group_lag",
                    group=group,
                    partition="1",
                    topic=topic,
                    cluster_name="main",
                )
                == 0
            ),
        )
        page = visitor.open(exporter, f"/?find={group}")
        page.get_by_role("link", name=group).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(group)
        first, second = page.locator("section[aria-labelledby=partitions] tbody tr").all()
        expect(first).to_contain_text(f"{topic} 0")
        expect(first.locator('[data-label="Lag"]')).to_have_text("6040 of 100")
        expect(first.locator('[data-label="Member"]')).to_contain_text("searcher")
        expect(second.locator('[data-label="Lag"]')).to_have_text("050 of 50")
        expect(page.locator(".lead")).to_contain_text("1 member")
        expect(page.locator(".tiles")).to_contain_text("60")


def test_records_that_were_lost_stand_out(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    group = unique("lossy")
    topic = behind(driver, group, [90])
    driver.delete_records(topic, 0, 35)
    exporter.shows(
        1.0,
        lambda page: sum(page.rows("kafka_consumergroup_group_messages_lost", group=group).values()) and 1.0,
    )
    page = visitor.open(exporter, f"/?only=loss&find={group}")
    expect(cell(page, group, "Lost").locator(".bad")).to_have_text("25")
    expect(cell(page, group, "Retention margin")).to_contain_text("overtaken by retention")


@pytest.mark.parametrize("granularity", ["topic", "partition"])
def test_the_pages_are_whole_at_either_granularity(
    kafka: Kafka, driver: KafkaDriver, visitor: Visitor, tmp_path: Path, granularity: str
) -> None:
    group = unique("either")
    topic = behind(driver, group, [7, 8])
    only = {"topic_whitelist": [f"^{topic}$"], "group_whitelist": [f"^{group}$"]}
    clusters = [{"name": "main", "bootstrap_servers": kafka.bootstrap_servers, **only}]
    with running(tmp_path, config_text(clusters, {"granularity": granularity})) as program:
        seen(program, group)
        page = visitor.open(program, "/")
        expect(cell(page, group, "Lag").locator(".total")).to_have_text("15")
        page.get_by_role("link", name=group).click()
        expect(page.locator('tbody [data-label="Lag"] .total')).to_have_text(["7", "8"])


def test_clusters_show_how_their_last_cycle_went(exporter: Program, visitor: Visitor) -> None:
    exporter.shows(1.0, lambda page: page.value("klag_cluster_up", cluster_name="main"))
    page = visitor.open(exporter, "/")
    main = page.locator(".card", has=page.get_by_role("link", name="main"))
    expect(main.locator(".badge")).to_have_text("up")
    for phase in ("topics", "groups", "committed", "latest", "report"):
        expect(main.get_by_role("list", name="Time of each phase")).to_contain_text(phase)
    assert main.locator(".bar rect").count() > 4
    page.get_by_role("link", name="nowhere").click()
    nowhere = page.locator(".card")
    expect(nowhere.locator(".badge")).to_have_text("never answered")
    expect(nowhere).to_contain_text("Errors in the last cycle")
    expect(page.locator(".nothing")).to_have_text(
        "There are no numbers to show now; the clusters above say why."
    )


# Finding one's way


def test_headings_sort_the_list(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    prefix = unique("sorted")
    for name, lag in (("a", 20), ("b", 10), ("c", 30)):
        behind(driver, f"{prefix}-{name}", [lag])
    groups = {name: f"{prefix}-{name}" for name in "abc"}
    seen(exporter, *groups.values())
    page = visitor.open(exporter, f"/?find={prefix}")
    for heading, order, expected in (
        ("Lag", "ascending", "bac"),
        ("Lag", "descending", "cab"),
        ("Group", "ascending", "abc"),
        ("Group", "descending", "cba"),
    ):
        page.get_by_role("link", name=heading, exact=True).click()
        expect(page.locator(f'th[aria-sort="{order}"]')).to_contain_text(heading)
        assert [groups[name] for name in expected] == names(page)


def test_the_form_filters_the_list(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    prefix = unique("filter")
    behind(driver, f"{prefix}-behind", [5])
    behind(driver, f"{prefix}-done", [0])
    seen(exporter, f"{prefix}-behind", f"{prefix}-done")
    page = visitor.open(exporter, "/")
    page.get_by_label("Group", exact=True).fill(prefix.upper())
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Show").select_option("with lag")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody th.name a")).to_have_text([f"{prefix}-behind"])
    expect(page.get_by_label("Group", exact=True)).to_have_value(prefix.upper())
    page.get_by_label("State").select_option("Stable")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".nothing")).to_have_text("No group matches these filters.")
    page.get_by_role("link", name="Clear").click()
    expect(page.get_by_label("Group", exact=True)).to_have_value("")


def test_a_long_list_is_turned_page_by_page(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    prefix = unique("paged")
    topic = driver.create_topic(unique("topic"))
    groups = [f"{prefix}-{number:02d}" for number in range(53)]
    for group in groups:
        driver.commit(group, {(topic, 0): 0})
    seen(exporter, *groups)
    page = visitor.open(exporter, f"/?find={prefix}&sort=group")
    expect(page.locator(".pages")).to_contain_text("1–50 of 53 groups")  # noqa: RUF001
    assert groups[:50] == names(page)
    page.get_by_role("link", name="Next").click()
    expect(page.locator(".pages")).to_contain_text("page 2 of 2")
    assert groups[50:] == names(page)
    page.get_by_role("link", name="Previous").click()
    expect(page.locator(".pages")).to_contain_text("page 1 of 2")


def test_a_keyboard_is_enough(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    group = unique("keys")
    behind(driver, group, [3])
    seen(exporter, group)
    page = visitor.open(exporter, f"/?find={group}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    link = page.get_by_role("link", name=group)
    for _ in range(40):
        page.keyboard.press("Tab")
        if link.evaluate("link => link === document.activeElement"):
            break
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(group)


# Refreshing


def test_a_page_follows_the_lag_without_a_reload(
    driver: KafkaDriver, exporter: Program, visitor: Visitor
) -> None:
    group = unique("moving")
    topic = behind(driver, group, [10])
    seen(exporter, group)
    page = visitor.open(exporter, f"/?find={group}")
    lag = cell(page, group, "Lag").locator(".total")
    expect(lag).to_have_text("10")
    trend = cell(page, group, "Trend").get_by_role("img")
    expect(trend).to_have_attribute("aria-label", re.compile("^level: from 10 to 10"), timeout=REFRESH_MS)
    page.evaluate("document.notReloaded = true")
    page.get_by_label("Group", exact=True).fill("half a wo")
    page.get_by_role("link", name=group).focus()
    driver.produce(topic, 0, 4000)
    expect(lag).to_have_text("4,010", timeout=REFRESH_MS)
    expect(trend).to_have_attribute("aria-label", re.compile("^rising: from 10 to 4,010"), timeout=REFRESH_MS)
    driver.commit(group, {(topic, 0): 4100})
    expect(lag).to_have_text("0", timeout=REFRESH_MS)
    assert page.evaluate("document.notReloaded")
    expect(page.get_by_role("link", name=group)).to_be_focused()
    expect(page.get_by_label("Group", exact=True)).to_have_value("half a wo")


def test_rows_come_go_and_change_places(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    prefix = unique("places")
    first, second, third = (f"{prefix}-{name}" for name in "abc")
    topic = behind(driver, first, [50])
    behind(driver, second, [20])
    seen(exporter, first, second)
    page = visitor.open(exporter, f"/?find={prefix}")
    assert [first, second] == names(page)
    page.get_by_role("link", name=first).focus()
    behind(driver, third, [40])
    driver.commit(first, {(topic, 0): 95})
    expect(page.locator("tbody th.name a")).to_have_text([third, second, first], timeout=REFRESH_MS)
    expect(page.get_by_role("link", name=first)).to_be_focused()
    driver.delete_group(second)
    expect(page.locator("tbody th.name a")).to_have_text([third, first], timeout=REFRESH_MS)


def test_refreshing_can_be_paused(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    group = unique("paused")
    topic = behind(driver, group, [10])
    seen(exporter, group)
    page = visitor.open(exporter, f"/?find={group}")
    expect(page.get_by_role("status")).to_contain_text("refreshes every 2 s")
    page.clock.install()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_contain_text("refresh is paused")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    driver.produce(topic, 0, 5)
    page.clock.run_for(60_000)
    assert [] == asked
    page.get_by_role("button", name="Resume").click()
    expect(cell(page, group, "Lag").locator(".total")).to_have_text("15", timeout=REFRESH_MS)


def test_a_page_says_when_the_exporter_is_gone(kafka: Kafka, visitor: Visitor, tmp_path: Path) -> None:
    clusters = [{"name": "main", "bootstrap_servers": kafka.bootstrap_servers}]
    with running(tmp_path, config_text(clusters)) as program:
        page = visitor.open(program, "/")
        expect(page.get_by_role("status")).to_contain_text("refreshes every 2 s")
        visitor.expected = "ERR_CONNECTION_REFUSED"
        program.stop(signal.SIGTERM)
        expect(page.get_by_role("status")).to_contain_text("does not answer", timeout=REFRESH_MS)
        expect(page.get_by_role("heading", level=1)).to_have_text("Consumer groups")


def test_without_javascript_all_is_there(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    group = unique("plain")
    behind(driver, group, [5])
    seen(exporter, group)
    page = visitor.open(exporter, "/", java_script_enabled=False)
    page.get_by_label("Group", exact=True).fill(group)
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name=group).click()
    assert group == page.get_by_role("heading", level=1).inner_text()
    assert not page.get_by_role("button", name="Pause").count()


# Whatever comes from outside


def test_a_hostile_group_id_is_only_text(driver: KafkaDriver, exporter: Program, visitor: Visitor) -> None:
    mark = unique("hostile")
    group = f"{mark}{HOSTILE}"
    behind(driver, group, [12])
    exporter.shows(
        1.0,
        lambda page: float(f"{mark}" in page.text),
    )
    page = visitor.open(exporter, f"/?find={mark}")
    link = page.locator("tbody th.name a")
    expect(link).to_have_text(group)
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(group)
    expect(page.locator(".tiles")).to_contain_text("12")
    assert 0 == page.locator("main script, main img").count()
    with page.expect_response(re.compile("/group")) as refreshed:
        pass
    assert refreshed.value.ok
    assert 0 == page.locator("main script, main img").count()


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/nope", 404, "There is no page /nope here."),
        ("/group?cluster=main&group=nobody", 404, "There is no group 'nobody' in cluster 'main'."),
        ("/group?cluster=nowhere&group=x", 503, "There are no numbers of cluster 'nowhere' now."),
        ("/?page=999", 404, "There is no page 999."),
        ("/?sort=size", 400, "sort is 'size'."),
        ("/?find=nobody-has-this-name", 200, "No group matches these filters."),
    ],
)
def test_what_cannot_be_shown_is_said_plainly(
    exporter: Program, visitor: Visitor, address: str, status: int, said: str
) -> None:
    # Before its first cycle has ended the main cluster has no numbers either.
    exporter.shows(1.0, lambda page: page.value("klag_cluster_up", cluster_name="main"))
    assert status == exporter.get(address)[0]
    visitor.expected = "" if status == 200 else f"status of {status}"
    page = visitor.open(exporter, address)
    expect(page.locator("main")).to_contain_text(said)
    expect(page.get_by_role("navigation", name="Endpoints")).to_be_visible()
    if status != 200:
        expect(page.get_by_role("link", name="All consumer groups")).to_be_visible()
