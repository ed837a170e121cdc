"""Load of the busiest other core during each session: whether the reference was ever seen on a quiet device."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("others_busy", sa.Float))
    op.drop_index("ix_sessions_levels", "sessions")
    op.create_index(
        "ix_sessions_levels",
        "sessions",
        ["configuration_id", "purpose", "started_utc", "reference_ns", "process", "others_busy"],
    )


def downgrade() -> None:
    """Refuse: measured data is not thrown away."""
    raise RuntimeError("schema 0004 cannot be undone")
