"""W3C Trace Context (https://www.w3.org/TR/trace-context/): by what trace a request came."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

import structlog

TRACE = "apical.trace"
"""In a request's scope: the id of its trace."""

PARENT = b"traceparent"
RESPONSE = b"traceresponse"
FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
"""Version, trace, span, flags. Later versions may have more behind it; what is not understood is
left alone, as the recommendation says."""


def trace_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The trace's id, 32 hexadecimal digits; None where there is none, or no valid one. Lines of
    the log that the request leads to bear it from here on."""
    said = headers.get(PARENT)
    found = FORM.match(said) if said is not None else None
    if found is None or (said is not None and said[:2] == b"00" and len(said) != 55):
        return None
    trace = found[1].decode()
    structlog.contextvars.bind_contextvars(trace=trace)
    return trace


def response(headers: Mapping[bytes, bytes], trace: str) -> tuple[bytes, bytes]:
    """The header of the reply that hands the trace on, under a span of this server's own."""
    flags = headers[PARENT][53:55]
    return RESPONSE, b"00-%s-%s-%s" % (trace.encode(), secrets.token_hex(8).encode(), flags)
