"""From reports to bytes: pure."""
