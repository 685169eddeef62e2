"""The part of librdkafka's public C interface (rdkafka.h) that is called without confluent_kafka."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import CDLL, POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from typing import Any


class _TopicPartition(ctypes.Structure):
    _fields_ = (
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("err", c_int),
        ("private", c_void_p),
    )


class _TopicPartitionList(ctypes.Structure):
    _fields_ = (("cnt", c_int), ("size", c_int), ("elems", POINTER(_TopicPartition)))


class Message(ctypes.Structure):
    """An rd_kafka_message_t: a record, or an error of a partition."""

    _fields_ = (
        ("err", c_int),
        ("topic", c_void_p),
        ("partition", c_int32),
        ("value", c_void_p),
        ("value_size", c_size_t),
        ("key", c_void_p),
        ("key_size", c_size_t),
        ("offset", c_int64),
        ("private", c_void_p),
    )


class _MemberInfo(ctypes.Structure):
    """An rd_kafka_group_member_info."""

    _fields_ = (
        ("member_id", c_char_p),
        ("client_id", c_char_p),
        ("client_host", c_char_p),
        ("member_metadata", c_void_p),
        ("member_metadata_size", c_int),
        ("member_assignment", c_void_p),
        ("member_assignment_size", c_int),
    )


class _GroupInfo(ctypes.Structure):
    """An rd_kafka_group_info, whose first three fields are an rd_kafka_metadata_broker."""

    _fields_ = (
        ("broker_id", c_int32),
        ("broker_host", c_char_p),
        ("broker_port", c_int),
        ("group", c_char_p),
        ("err", c_int),
        ("state", c_char_p),
        ("protocol_type", c_char_p),
        ("protocol", c_char_p),
        ("members", POINTER(_MemberInfo)),
        ("member_cnt", c_int),
    )


class GroupList(ctypes.Structure):
    """An rd_kafka_group_list."""

    _fields_ = (("groups", POINTER(_GroupInfo)), ("group_cnt", c_int))


_HANDLES = POINTER(c_void_p)
_MESSAGE = POINTER(Message)
_PARTITIONS = POINTER(_TopicPartitionList)

_SIGNATURES: Mapping[str, tuple[Any, ...]] = {
    # The type of the result, then those of the arguments.
    "conf_new": (c_void_p,),
    "conf_set": (c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
    "conf_get": (c_int, c_void_p, c_char_p, c_char_p, POINTER(c_size_t)),
    "conf_set_log_cb": (None, c_void_p, c_void_p),
    "set_log_queue": (c_int, c_void_p, c_void_p),
    "conf_enable_sasl_queue": (None, c_void_p, c_int),
    "conf_destroy": (None, c_void_p),
    "new": (c_void_p, c_int, c_void_p, c_char_p, c_size_t),
    "sasl_background_callbacks_enable": (c_void_p, c_void_p),
    "metadata": (c_int, c_void_p, c_int, c_void_p, POINTER(c_void_p), c_int),
    "metadata_destroy": (None, c_void_p),
    "destroy_flags": (None, c_void_p, c_int),
    "queue_new": (c_void_p, c_void_p),
    "queue_get_main": (c_void_p, c_void_p),
    "queue_poll": (c_void_p, c_void_p, c_int),
    "queue_destroy": (None, c_void_p),
    "queue_get_partition": (c_void_p, c_void_p, c_char_p, c_int32),
    "queue_forward": (None, c_void_p, c_void_p),
    "queue_io_event_enable": (None, c_void_p, c_int, c_char_p, c_size_t),
    "consume_queue": (_MESSAGE, c_void_p, c_int),
    "message_timestamp": (c_int64, _MESSAGE, POINTER(c_int)),
    "message_errstr": (c_char_p, _MESSAGE),
    "message_destroy": (None, _MESSAGE),
    "topic_partition_list_new": (_PARTITIONS, c_int),
    "topic_partition_list_add": (POINTER(_TopicPartition), _PARTITIONS, c_char_p, c_int32),
    "topic_partition_list_destroy": (None, _PARTITIONS),
    "incremental_assign": (c_void_p, c_void_p, _PARTITIONS),
    "incremental_unassign": (c_void_p, c_void_p, _PARTITIONS),
    "AdminOptions_new": (c_void_p, c_void_p, c_int),
    "AdminOptions_set_request_timeout": (c_int, c_void_p, c_int, c_char_p, c_size_t),
    "AdminOptions_set_opaque": (None, c_void_p, c_void_p),
    "AdminOptions_destroy": (None, c_void_p),
    "event_opaque": (c_void_p, c_void_p),
    "event_error": (c_int, c_void_p),
    "event_error_string": (c_char_p, c_void_p),
    "event_log": (c_int, c_void_p, POINTER(c_char_p), POINTER(c_char_p), POINTER(c_int)),
    "event_destroy": (None, c_void_p),
    "error_code": (c_int, c_void_p),
    "error_string": (c_char_p, c_void_p),
    "error_destroy": (None, c_void_p),
    "ListConsumerGroupOffsets_new": (c_void_p, c_char_p, c_void_p),
    "ListConsumerGroupOffsets": (None, c_void_p, _HANDLES, c_size_t, c_void_p, c_void_p),
    "ListConsumerGroupOffsets_destroy": (None, c_void_p),
    "event_ListConsumerGroupOffsets_result": (c_void_p, c_void_p),
    "ListConsumerGroupOffsets_result_groups": (_HANDLES, c_void_p, POINTER(c_size_t)),
    "group_result_error": (c_void_p, c_void_p),
    "group_result_partitions": (_PARTITIONS, c_void_p),
    "ListConsumerGroups": (None, c_void_p, c_void_p, c_void_p),
    "event_ListConsumerGroups_result": (c_void_p, c_void_p),
    "ListConsumerGroups_result_valid": (_HANDLES, c_void_p, POINTER(c_size_t)),
    "ListConsumerGroups_result_errors": (_HANDLES, c_void_p, POINTER(c_size_t)),
    "ConsumerGroupListing_group_id": (c_char_p, c_void_p),
    "ConsumerGroupListing_state": (c_int, c_void_p),
    "ConsumerGroupListing_type": (c_int, c_void_p),
    "list_groups": (c_int, c_void_p, c_char_p, POINTER(POINTER(GroupList)), c_int),
    "group_list_destroy": (None, POINTER(GroupList)),
    "DescribeConsumerGroups": (None, c_void_p, POINTER(c_char_p), c_size_t, c_void_p, c_void_p),
    "event_DescribeConsumerGroups_result": (c_void_p, c_void_p),
    "DescribeConsumerGroups_result_groups": (_HANDLES, c_void_p, POINTER(c_size_t)),
    "ConsumerGroupDescription_error": (c_void_p, c_void_p),
    "ConsumerGroupDescription_state": (c_int, c_void_p),
    "ConsumerGroupDescription_member_count": (c_size_t, c_void_p),
    "ConsumerGroupDescription_member": (c_void_p, c_void_p, c_size_t),
    "MemberDescription_consumer_id": (c_char_p, c_void_p),
    "MemberDescription_client_id": (c_char_p, c_void_p),
    "MemberDescription_host": (c_char_p, c_void_p),
    "MemberDescription_assignment": (c_void_p, c_void_p),
    "TopicCollection_of_topic_names": (c_void_p, POINTER(c_char_p), c_size_t),
    "TopicCollection_destroy": (None, c_void_p),
    "DescribeTopics": (None, c_void_p, c_void_p, c_void_p, c_void_p),
    "event_DescribeTopics_result": (c_void_p, c_void_p),
    "DescribeTopics_result_topics": (_HANDLES, c_void_p, POINTER(c_size_t)),
    "TopicDescription_name": (c_char_p, c_void_p),
    "TopicDescription_error": (c_void_p, c_void_p),
    "TopicDescription_topic_id": (c_void_p, c_void_p),
    "Uuid_base64str": (c_char_p, c_void_p),
    "MemberAssignment_partitions": (_PARTITIONS, c_void_p),
}


def load(path: str) -> CDLL:
    """librdkafka, by the path of an extension module that is linked to it and has loaded it already."""
    library = CDLL(path)
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library
