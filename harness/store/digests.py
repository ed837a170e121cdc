"""The digest of a configuration's sessions as the database holds them: equal digests, equal sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa

from harness.store.tables import CONFIGURATIONS, SESSIONS

_ROWS_AT_ONCE = 200  # whose raw samples are in memory
_OWN = ("configuration_id", "raw")  # the first differs between databases, the second is hashed apart


def sessions_digest(connection: sa.Connection, configuration_digest: str, purposes: Sequence[str]) -> str:
    """Return the SHA-256 of all columns of a configuration's sessions of some purposes, 64 hexadecimal characters.

    Raw samples are hashed as they are stored, without being unpacked: that is many times as fast as reading sessions.
    """
    columns = [column for column in SESSIONS.columns if column.name not in _OWN]
    query = (
        sa.select(SESSIONS.c.raw, *columns)
        .join(CONFIGURATIONS)
        .where(CONFIGURATIONS.c.digest == configuration_digest)
        .where(SESSIONS.c.purpose.in_(purposes))
        .order_by(SESSIONS.c.id)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    hasher = hashlib.sha256()
    for raw, *plain in connection.execute(query):
        hasher.update(hashlib.sha256(raw).digest())
        # Texts, numbers and None: repr is exact.
        hasher.update(f"{plain!r}\n".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
