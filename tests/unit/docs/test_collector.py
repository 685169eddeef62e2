"""The collector configuration in docs/opentelemetry.md."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def test_it_is_the_one_that_the_tests_run() -> None:
    page = (ROOT / "docs/opentelemetry.md").read_text()
    (documented,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    text = (ROOT / "test-stack/collector/collector.yaml").read_text()
    tested = yaml.safe_load(re.sub(r"\$\{env:\w+:-(.*?)\}", r"\1", text))
    # It lets somebody who tries things out see that something comes in.
    del tested["exporters"]["debug"]
    tested["service"]["pipelines"]["metrics"]["exporters"].remove("debug")
    assert tested == yaml.safe_load(documented)
