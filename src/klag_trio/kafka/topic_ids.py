"""Topic ids, many in one request.

The AdminClient has a call for it, which also makes Python objects of every partition's leader and replicas:
for a thousand topics that takes five times as long as the question, in every cycle. So it is made through
librdkafka's C interface, as the questions to coordinators are.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import CDLL, byref, c_char_p, c_size_t

from confluent_kafka import KafkaError

from klag_trio.kafka.handle import Handle, error_of
from klag_trio.kafka.text import text

_DESCRIBE_TOPICS = 19


def topic_ids(handle: Handle, topics: Sequence[str], timeout: float) -> dict[str, str | KafkaError]:
    """The id of each topic in base64, or why there is none; answers within `timeout` seconds."""
    lib = handle.lib
    names = (c_char_p * len(topics))(*[topic.encode() for topic in topics])
    collection = lib.rd_kafka_TopicCollection_of_topic_names(names, len(topics))
    try:
        answer = handle.request(
            _DESCRIBE_TOPICS,
            lambda options, queue: lib.rd_kafka_DescribeTopics(handle.handle, collection, options, queue),
            lambda event: _read(lib, event),
            timeout,
        )
    finally:
        lib.rd_kafka_TopicCollection_destroy(collection)
    return dict.fromkeys(topics, answer) if isinstance(answer, KafkaError) else answer


def _read(lib: CDLL, event: int) -> dict[str, str | KafkaError]:
    count = c_size_t()
    result = lib.rd_kafka_event_DescribeTopics_result(event)
    described = lib.rd_kafka_DescribeTopics_result_topics(result, byref(count))
    ids: dict[str, str | KafkaError] = {}
    for topic in described[: count.value]:
        name = text(lib.rd_kafka_TopicDescription_name(topic))
        error = lib.rd_kafka_TopicDescription_error(topic)
        if error and (code := lib.rd_kafka_error_code(error)):
            ids[name] = error_of(code, lib.rd_kafka_error_string(error))
        else:
            identity = lib.rd_kafka_TopicDescription_topic_id(topic)
            ids[name] = text(lib.rd_kafka_Uuid_base64str(identity))
    return ids
