"""What can go wrong while a cluster is started."""

from __future__ import annotations


class StackError(Exception):
    """The cluster cannot be started or did not do what was asked; the message says why and what to do."""
