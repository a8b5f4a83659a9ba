"""Cases that schemathesis draws from a server's own document, with keys of every role and none."""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import sampled_from

PARTS = {"model": "press", "version": "1", "other": "1", "line": "L1"}
"""What stands in a path now and then, so that not every case is about a model that is not."""


def drawn(url: str, keys: dict[str, str], count: int, model: str) -> dict[str, Any]:
    """Ask ``count`` cases or a few more: statuses, and what was found wrong with answers."""
    import schemathesis

    schemathesis.checks.load_all_checks()
    checks = schemathesis.checks.CHECKS
    # Which values a route takes, its schema cannot say: rows of this model's sensors. That a wrong
    # key is refused is asked by `tests.api.test_access`, of every route.
    left_out = ("positive_data_acceptance", "unsupported_method", "ignored_auth")
    excluded = [checks.get_one(name) for name in left_out]
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    # Some routes take so little that there are not so many cases of them.
    each = max(1, -(-count * 4 // (3 * len(operations))))
    statuses, wrong = Counter[str](), list[str]()
    watcher = httpx.Client(headers={"authorization": f"Bearer {keys['operator']}"})

    def seq() -> int:
        found: int = watcher.get(f"{url}/v1/models/{model}").json()["seq"]
        return found

    def put(role: str, case: Any) -> None:
        for name, value in (case.path_parameters or {}).items():
            if zlib.crc32(str(value).encode()) % 4:
                case.path_parameters[name] = PARTS.get(name, value)
        before = seq()
        try:
            headers = {"authorization": f"Bearer {keys[role]}"} if keys[role] else {}
            response = case.call(headers=headers)
            statuses[str(response.status_code)] += 1
            case.validate_response(response, excluded_checks=excluded)
            if response.status_code >= 400 and seq() != before:
                wrong.append(f"{role} {case.method} {case.path}: refused, and learned")
        except Exception as error:
            wrong.append(f"{role} {case.method} {case.path}: {str(error)[:500]}")

    asked = settings(
        max_examples=each,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for operation in operations:
        drawing = given(role=sampled_from(sorted(keys)), case=operation.as_strategy())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked(drawing(put))()
    watcher.close()
    return {
        "cases": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "server_errors": sum(n for code, n in statuses.items() if code >= "500"),
        "wrong": len(wrong),
        "wrong_first": wrong[:20],
    }
