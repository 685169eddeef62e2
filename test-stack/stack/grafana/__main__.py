"""`python test-stack grafana` writes the dashboard."""

from __future__ import annotations

from stack.grafana.dashboard import TARGET, text

if __name__ == "__main__":
    TARGET.write_text(text())
