"""The reference's level and the worker process of each session, and when a reference latency was begun anew."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from harness.store.migrations import index_levels

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns, NULL in the rows that are there, and an index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("reference_ns", sa.Float))
    op.add_column("sessions", sa.Column("process", sa.Text))
    index_levels("process", is_new=True)
    op.create_table(
        "recalibrations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "configuration_id", sa.Integer, sa.ForeignKey("configurations.id"), nullable=False, index=True
        ),
        sa.Column("started_utc", sa.Text, nullable=False),
    )
