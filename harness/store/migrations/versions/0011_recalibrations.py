"""The recalibration before each session, by the order in which they were written, for clocks are set anew now and then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, filled by the dates in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("recalibration_id", sa.Integer))
    op.execute(
        "UPDATE sessions SET recalibration_id = (SELECT MAX(recalibrations.id) FROM recalibrations "
        "WHERE recalibrations.configuration_id = sessions.configuration_id "
        "AND recalibrations.started_utc <= sessions.started_utc)"
    )
    op.drop_index("ix_sessions_levels", "sessions")
    op.create_index(
        "ix_sessions_levels",
        "sessions",
        [
            *("configuration_id", "purpose", "started_utc", "reference_ns", "process", "others_busy"),
            *("pace_ns", "paced_by", "recalibration_id"),
        ],
    )


def downgrade() -> None:
    """Refuse: measured data is not thrown away."""
    raise RuntimeError("schema 0011 cannot be undone")
