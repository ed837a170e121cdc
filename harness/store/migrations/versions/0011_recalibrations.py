"""The recalibration before each session, by the order in which they were written, for clocks are set anew now and then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from harness.store.migrations import index_levels

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column, filled by the dates in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("recalibration_id", sa.Integer))
    op.execute(
        "UPDATE sessions SET recalibration_id = (SELECT MAX(recalibrations.id) FROM recalibrations "
        "WHERE recalibrations.configuration_id = sessions.configuration_id "
        "AND recalibrations.started_utc <= sessions.started_utc)"
    )
    index_levels("recalibration_id")
