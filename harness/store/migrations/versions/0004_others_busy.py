"""Load of the busiest other core during each session: whether the reference was ever seen on a quiet device."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from harness.store.migrations import index_levels

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("others_busy", sa.Float))
    index_levels("others_busy")
