"""Helm, the schemas of what the chart makes, and what is made from the chart."""
