"""Latency between the cores of several threads during each session, which a host of virtual machines changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("core_to_core_ns", sa.Float))
    op.drop_index("ix_sessions_levels", "sessions")
    op.create_index(
        "ix_sessions_levels",
        "sessions",
        [
            *("configuration_id", "purpose", "started_utc", "reference_ns", "process", "others_busy"),
            *("pace_ns", "paced_by", "recalibration_id", "core_to_core_ns"),
        ],
    )


def downgrade() -> None:
    """Refuse: measured data is not thrown away."""
    raise RuntimeError("schema 0012 cannot be undone")
