"""The reference's level of sessions of before schema 0003, whose latency older versions calibrated and kept apart."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from alembic import op

from harness.estimates.outputs import is_reference_wrong
from harness.store.rows import read_configuration, read_session

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Fill the levels by the raw times, NULL where these cannot be read, and drop the calibrated latencies."""
    from harness.estimates.reference import reference_level_ns  # late: it loads numpy

    connection = op.get_bind()
    known = sa.MetaData()
    known.reflect(
        connection, only=["sessions", "configurations"]
    )  # by type, raw times are bytes in any driver

    def row(name: str, key: object) -> Any:
        table = known.tables[name]
        found = connection.execute(sa.select(table).where(table.c.id == key)).mappings()
        return defaultdict(lambda: None, found.one())  # columns of later schemas are NULL

    of_before = sa.text(
        "SELECT id, configuration_id FROM sessions WHERE reference_ns IS NULL "
        "AND configuration_id IN (SELECT configuration_id FROM reference_latencies)"
    )
    for key, configuration_id in connection.execute(of_before).all():
        with suppress(TypeError, ValueError):
            session = read_session(
                row("sessions", key), read_configuration(row("configurations", configuration_id))
            )
            values = {
                "id": key,
                "level": None if is_reference_wrong(session) else reference_level_ns(session),
            }
            connection.execute(sa.text("UPDATE sessions SET reference_ns = :level WHERE id = :id"), values)
    op.drop_table("reference_latencies")
