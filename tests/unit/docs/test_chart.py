"""What the Helm chart repeats of other files is what they say now; tests/helm looks at the rest."""

from __future__ import annotations

from stack.chart.derived import copies


def test_the_charts_rules_dashboard_and_readme_are_up_to_date() -> None:
    """`make chart` brings them up to date."""
    assert [] == [file.name for file, content in copies().items() if file.read_text() != content]
