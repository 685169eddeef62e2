"""Everything that touches confluent_kafka; its types never leave this folder."""
