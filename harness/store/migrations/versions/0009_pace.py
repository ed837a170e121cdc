"""Time of a fixed piece of work during each session: whether something that the system does not tell slowed the core."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("pace_ns", sa.Float))
    op.add_column("sessions", sa.Column("paced_by", sa.Text))
    op.drop_index("ix_sessions_levels", "sessions")
    op.create_index(
        "ix_sessions_levels",
        "sessions",
        [
            *("configuration_id", "purpose", "started_utc", "reference_ns", "process", "others_busy"),
            *("pace_ns", "paced_by"),
        ],
    )


def downgrade() -> None:
    """Refuse: measured data is not thrown away."""
    raise RuntimeError("schema 0009 cannot be undone")
