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

_OVERTIME_MS = 200
_DESCRIBE_TOPICS = 19


def topic_ids(handle: Handle, topics: Sequence[str], timeout: float) -> dict[str, str | KafkaError]:
    """The id of each topic in base64, or why there is none; answers within `timeout` seconds."""
    lib = handle.lib
    names = (c_char_p * len(topics))(*[topic.encode() for topic in topics])
    collection = lib.rd_kafka_TopicCollection_of_topic_names(names, len(topics))
    options = lib.rd_kafka_AdminOptions_new(handle.handle, _DESCRIBE_TOPICS)
    queue = lib.rd_kafka_queue_new(handle.handle)
    event = None
    try:
        lib.rd_kafka_AdminOptions_set_request_timeout(options, max(1, int(timeout * 1000)), None, 0)
        lib.rd_kafka_DescribeTopics(handle.handle, collection, options, queue)
        # As with other calls, librdkafka may take longer than it was given.
        event = lib.rd_kafka_queue_poll(queue, max(1, int(timeout * 1000)) + _OVERTIME_MS)
        if not event:
            return dict.fromkeys(topics, KafkaError(KafkaError._TIMED_OUT))
        if code := lib.rd_kafka_event_error(event):
            return dict.fromkeys(topics, error_of(code, lib.rd_kafka_event_error_string(event)))
        return _read(lib, event)
    finally:
        if event:
            lib.rd_kafka_event_destroy(event)
        lib.rd_kafka_queue_destroy(queue)
        lib.rd_kafka_AdminOptions_destroy(options)
        lib.rd_kafka_TopicCollection_destroy(collection)


def _read(lib: CDLL, event: int) -> dict[str, str | KafkaError]:
    count = c_size_t()
    result = lib.rd_kafka_event_DescribeTopics_result(event)
    described = lib.rd_kafka_DescribeTopics_result_topics(result, byref(count))
    ids: dict[str, str | KafkaError] = {}
    for topic in described[: count.value]:
        name = lib.rd_kafka_TopicDescription_name(topic).decode()
        error = lib.rd_kafka_TopicDescription_error(topic)
        if error and (code := lib.rd_kafka_error_code(error)):
            ids[name] = error_of(code, lib.rd_kafka_error_string(error))
        else:
            identity = lib.rd_kafka_TopicDescription_topic_id(topic)
            ids[name] = lib.rd_kafka_Uuid_base64str(identity).decode()
    return ids
