"""Time of a fixed piece of work during each session: whether something that the system does not tell slowed the core."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from harness.store.migrations import index_levels

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("pace_ns", sa.Float))
    op.add_column("sessions", sa.Column("paced_by", sa.Text))
    index_levels("paced_by")
