"""docs/metrics.md is what the declarations say."""

from __future__ import annotations

import runpy

from tests.deploy.expressions import DEPLOY, ROOT, declared


def test_the_committed_page_is_what_the_declarations_give():
    page = runpy.run_path(str(DEPLOY / "metrics_page.py"))["text"]()
    assert (ROOT / "docs/metrics.md").read_text("utf-8") == page


def test_every_declared_metric_is_on_the_page():
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    for name in declared():
        if name.startswith("apical_"):
            for end in ("_bucket", "_sum", "_count"):
                name = name.removesuffix(end)
            assert f"`{name}`" in page, name
