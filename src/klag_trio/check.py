"""`klag-trio check`: what works in every cluster, what is missing, and what would mend it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import trio

from klag_trio.config import Config, Exporter
from klag_trio.connections import Connection, connect, reads_records
from klag_trio.domain.acls import (
    DESCRIBE_GROUP,
    DESCRIBE_TOPIC,
    Permission,
    command,
    known_as,
    permission,
    printable,
)
from klag_trio.domain.filters import NameFilter
from klag_trio.domain.mends import mend
from klag_trio.domain.offsets import ClusterSnapshot, ClusterUnavailable, Fault, TopicPartition
from klag_trio.kafka.record_reader import RecordReader
from klag_trio.services.collector import leaves
from klag_trio.services.faults import FaultLog
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.stopwatch import Stopwatch

_FEATURES = {
    "offset lag": ("topics", "groups", "earliest", "committed", "latest", "watermarks", "topic ids"),
    "member labels": ("members",),
    "time lag": ("timestamps",),
    "compaction and data loss flags": ("policies",),
}
_OWN_GROUPS = "klag-trio-"
_SHOWN = 10


@attrs.frozen
class Trouble:
    """What a cluster did not answer."""

    stage: str
    subject: str
    """The group, topic or partition that it is about; "" for all."""
    fault: Fault

    @property
    def missing(self) -> Permission | None:
        """The permission that would end it."""
        return permission(self.stage, self.fault.code)

    @property
    def name(self) -> str:
        """The name of the group or topic that the missing permission is about; `*` where it is not known."""
        if self.missing == DESCRIBE_GROUP:
            return self.subject or "*"
        # KIP-848 denies the description of a group because of a topic in it, which it does not name.
        if self.stage == "members":
            return "*"
        return re.sub(r"/\d+$", "", self.subject.rpartition(" ")[2]) or "*"


@attrs.define
class Findings:
    """What one cluster answered."""

    cluster: str
    bootstrap: str
    reached: str | None = None
    """How much passes the filters; None where the cluster was not reached."""
    untried: set[str] = attrs.field(factory=set)
    """Features that there was nothing to try on."""
    troubles: list[Trouble] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)

    def lines(self, stages: Iterable[str]) -> list[str]:
        """Tell what is amiss in these stages: permissions with the command that adds them, then the rest."""
        mine = [trouble for trouble in self.troubles if trouble.stage in stages]
        lines = []
        for missing in sorted({trouble.missing for trouble in mine if trouble.missing}):
            names = sorted({trouble.name for trouble in mine if trouble.missing == missing})
            lines.append(f"missing: {missing} {_some(names)}{_why(mine)}")
            lines.append("  " + command(self.bootstrap, missing, ["*"] if "*" in names else names))
        others = [trouble for trouble in mine if not trouble.missing]
        for trouble in others[:_SHOWN]:
            about = f" of {printable(trouble.subject)}" if trouble.subject else ""
            hint = f"; {found}" if (found := mend(trouble.stage, trouble.fault.code)) else ""
            lines.append(
                f"cannot read {trouble.stage}{about}: {trouble.fault.message} ({trouble.fault.code}){hint}"
            )
        if len(others) > _SHOWN:
            lines.append(f"and {len(others) - _SHOWN} more")
        return lines


async def check(config: Config, say: Callable[[str], object]) -> bool:
    """Ask every cluster once for all that a cycle may ask for; returns whether nothing is amiss.

    Raises:
        StartError: the configuration asks for what cannot be.
        HostError: the system does not give what it asks for.

    """
    fine = True
    for connection in await connect(config):
        try:
            findings = await _examine(connection, config.exporter)
        finally:
            with trio.CancelScope(shield=True):
                await connection.client.aclose()
        _tell(findings, connection.cluster.consumer_properties.reveal(), config.exporter, say)
        fine = fine and not findings.troubles
    return fine


async def _examine(connection: Connection, exporter: Exporter) -> Findings:
    cluster = connection.cluster
    findings = Findings(cluster.name, cluster.bootstrap_servers)
    faults = FaultLog(cluster.name)
    reader = SnapshotReader(
        connection.admin,
        cluster,
        exporter.performance,
        faults,
        keep_seconds=0,
        identify_topics=reads_records(exporter),
        wall_clock=time.time,
    )
    try:
        snapshot = await reader.snapshot(Stopwatch())
        topics = {tp.topic for tp in snapshot.partitions}
        groups = len(snapshot.groups) + len(snapshot.failed_groups)
        findings.reached = (
            f"reached; {len(topics)} topics with {len(snapshot.partitions)} partitions and "
            f"{groups} groups pass the filters"
        )
        wants_topic = NameFilter(cluster.topic_whitelist, cluster.topic_blacklist)
        findings.troubles += _hidden(snapshot, topics, wants_topic)
        # Without a commit nothing is ever asked about a topic but its offsets.
        asked = {tp.topic for group in snapshot.groups for tp in group.commits} & topics or topics
        if not asked:
            findings.untried |= {"time lag", "compaction and data loss flags"}
        if not any(group.state.has_members for group in snapshot.groups):
            findings.untried.add("member labels")
        await reader.policies.of(asked)
        if reads_records(exporter):
            findings.troubles += await _read_ends(connection, exporter, snapshot, asked)
        findings.troubles += await _made_up(connection, topics=not topics, groups=not groups)
        findings.notes += await _lookup(connection)
    except* ClusterUnavailable as group:
        findings.troubles.extend(Trouble(exc.stage, "", exc.fault) for exc in leaves(group))
    faults.end_cycle()
    findings.troubles += [Trouble(*lasting) for lasting in faults.lasting]
    return findings


def _hidden(snapshot: ClusterSnapshot, visible: set[str], wanted: NameFilter) -> list[Trouble]:
    """Topics that members of groups own and that the cluster does not show us: Kafka hides what is denied."""
    owned = {topic for group in snapshot.groups for topic in group.unknown_topics}
    unseen = Fault("TOPIC_AUTHORIZATION_FAILED", "a group consumes it, and it is not shown")
    return [Trouble("topics", topic, unseen) for topic in sorted(owned - visible) if wanted(topic)]


async def _read_ends(
    connection: Connection, exporter: Exporter, snapshot: ClusterSnapshot, topics: set[str]
) -> list[Trouble]:
    """Fetch at the end of one partition of each topic: that needs READ, and brings no record."""
    one_each: Mapping[str, TopicPartition] = {tp.topic: tp for tp in snapshot.latest if tp.topic in topics}
    sampling = exporter.timestamp_sampling
    records = RecordReader(connection.client, max_concurrent_fetches=1, fetch_timeout=sampling.fetch_timeout)
    try:
        ends = {tp: [snapshot.latest[tp]] for tp in one_each.values()}
        reading = await records.read(ends, within=exporter.performance.kafka_timeout)
    finally:
        with trio.CancelScope(shield=True):
            await records.aclose()
    return [Trouble("timestamps", tp.topic, fault) for (tp, _), fault in reading.faults.items()]


async def _made_up(connection: Connection, *, topics: bool, groups: bool) -> list[Trouble]:
    """Ask about a topic or group that nobody has where none is seen: Kafka hides what is denied."""
    name = f"{_OWN_GROUPS}{secrets.token_hex(8)}"
    troubles = []
    if topics:
        answer: object = (await connection.admin.topic_ids([name]))[name]
        if isinstance(answer, Fault) and permission("topics", answer.code) == DESCRIBE_TOPIC:
            troubles.append(Trouble("topics", "", answer))
    if groups:
        answer = (await connection.admin.commits([name]))[name]
        if isinstance(answer, Fault) and permission("groups", answer.code) == DESCRIBE_GROUP:
            troubles.append(Trouble("groups", "", answer))
    return troubles


async def _lookup(connection: Connection) -> list[str]:
    """What to say of the coordinator that librdkafka looks for in vain, for a group that nobody joins."""
    name = f"{_OWN_GROUPS}{secrets.token_hex(8)}"
    answer = (await connection.admin.commits([name]))[name]
    if not isinstance(answer, Fault) or permission("members", answer.code) != DESCRIBE_GROUP:
        return []
    bootstrap = connection.cluster.bootstrap_servers
    return [
        f"not needed, but brokers log a denied FindCoordinator again and again without it: {DESCRIBE_GROUP}",
        "  " + command(bootstrap, DESCRIBE_GROUP, [_OWN_GROUPS], prefixed=True),
    ]


def _tell(
    findings: Findings, properties: Mapping[str, str], exporter: Exporter, say: Callable[[str], object]
) -> None:
    if findings.reached is None:
        say(f"cluster {findings.cluster}: not reached")
        for line in findings.lines({trouble.stage for trouble in findings.troubles}):
            say(f"  {line}")
    else:
        say(f"cluster {findings.cluster}: {findings.reached}")
        for feature, stages in _FEATURES.items():
            if feature == "time lag" and not reads_records(exporter):
                continue
            lines = findings.lines(stages)
            works = "nothing to try it on" if feature in findings.untried else "works"
            say(f"  {feature}: {'not all of it works' if lines else works}")
            for line in lines:
                say(f"    {line}")
        for note in findings.notes:
            say(f"  {note}")
    if findings.notes or any(trouble.missing for trouble in findings.troubles):
        say(f'  PRINCIPAL is "User:" and {known_as(properties)}')


def _why(troubles: Sequence[Trouble]) -> str:
    """The groups that are meant where only an unnamed topic of theirs is denied."""
    groups = [t.subject for t in troubles if t.stage == "members" and t.name == "*" and t.subject]
    return f", those of {_some(sorted(groups))}" if groups else ""


def _some(names: Sequence[str]) -> str:
    """The names, or the first of them and how many there are."""
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
