"""The one error that becomes an answer."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """Answer the current request with an error; the agent lives on.

    `kind` is a word of the protocol (docs/protocol.md), `message` names the thing, the value and the
    remedy, `details` are further fields of the error frame, such as the digest of a damaged part.
    """

    def __init__(self, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details

    def header(self) -> dict[str, Any]:
        """Return the fields of the error frame, less the request's id."""
        return {"type": "error", "kind": self.kind, "message": self.message, **self.details}
