"""Who is in the groups of the newer protocol (KIP-848), whatever becomes of them while they are asked.

Where a group is of that protocol no more, librdkafka's DescribeConsumerGroups goes on to the classic
protocol's DescribeGroups, and reads the answer with a parser that ends the process on a wrong byte
(`kafka/groups.py`). A client that joins with the newer protocol, leaves, and joins with the classic one in
time gets there. So librdkafka loses the connection as soon as it has sent such a request, and never sees the
answer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Mapping
from itertools import islice

import attrs
from confluent_kafka import KafkaError, KafkaException

from klag_trio.kafka.coordinators import DESCRIPTION, Coordinators, Described
from klag_trio.kafka.librdkafka import OnNew, OnRequestSent

_NAME = b"klag-trio"
_DESCRIBE_GROUPS = 15
"""The API key of the classic protocol's description; ConsumerGroupDescribe has another."""
_AT_ONCE = 200
_LOOK_SECONDS = 0.05
"""How soon it is noticed that a connection was closed."""


class ConsumerGroups(Coordinators):
    """A handle for describing groups of the newer protocol, and for nothing else."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        """Check the properties; nothing is asked yet.

        Raises:
            KafkaException: librdkafka refuses one of them, or no descriptor is left.

        """
        try:
            self._guard = _Guard()
        except OSError as exc:
            reason = f"no descriptor for describing groups: {exc.strerror}"
            raise KafkaException(KafkaError(KafkaError._CRIT_SYS_RESOURCE, reason)) from None
        try:
            super().__init__(properties)
        except BaseException:
            self._guard.close()
            raise

    def describe(
        self, groups: Collection[str], timeout: float, abandoned: Callable[[], bool]
    ) -> Descriptions:
        """Ask about each group, and wait at most `timeout` seconds for each."""
        answers: dict[str, Described | KafkaError] = {}
        waiting = iter(groups)
        with self.asking(DESCRIPTION) as asking:
            for group in islice(waiting, _AT_ONCE):
                asking.send(group, timeout)
            while asking.owed and not self._guard.fell_back and not abandoned():
                if (answered := asking.receive(_LOOK_SECONDS)) is not None:
                    answers.update([answered])
                    for group in islice(waiting, 1):
                        asking.send(group, timeout)
        if not self._guard.fell_back:
            return Descriptions(answers, fell_back=False)
        self.spent = True
        return Descriptions(
            {group: answer for group, answer in answers.items() if not _is_cut_off(answer)}, fell_back=True
        )

    def _prepare(self, conf: int) -> None:
        guard, lib = self._guard, self.lib

        def on_new(handle: int, *_: object) -> int:
            add = lib.rd_kafka_interceptor_add_on_request_sent
            return int(add(handle, _NAME, guard.on_request_sent, None))

        # It has to live as long as librdkafka may call it.
        self._on_new = OnNew(on_new)
        lib.rd_kafka_conf_interceptor_add_on_new(conf, _NAME, self._on_new, None)

    def destroy(self) -> None:
        """End it, and wait for its threads."""
        super().destroy()
        self._guard.close()


def _is_cut_off(answer: Described | KafkaError) -> bool:
    return isinstance(answer, KafkaError) and answer.code() == KafkaError._TRANSPORT


@attrs.frozen
class Descriptions:
    """What came back."""

    answers: Mapping[str, Described | KafkaError]
    fell_back: bool
    """Whether one of the groups without an answer is of the classic protocol by now.

    The handle is of no use then: librdkafka would try again, and lose the answers to other groups each time.
    """


class _Guard:
    """Closes a connection on which an answer to DescribeGroups would come.

    librdkafka calls it when the last byte of a request has been written, in the thread of the connection's
    broker, which is the one that would read the answer.
    """

    def __init__(self) -> None:
        self.fell_back = False
        self._closed, peer = socket.socketpair()
        self._closed.setblocking(False)
        peer.close()
        self.on_request_sent = OnRequestSent(self._sent)

    def _sent(self, _handle: int, descriptor: int, _broker: bytes, _id: int, api_key: int, *_: object) -> int:
        if api_key == _DESCRIBE_GROUPS:
            self.fell_back = True
            # In one step, so that librdkafka's descriptor is never free for another thread to open.
            os.dup2(self._closed.fileno(), descriptor, inheritable=False)
        return 0

    def close(self) -> None:
        """Give the descriptor back, once librdkafka's threads have ended."""
        self._closed.close()
