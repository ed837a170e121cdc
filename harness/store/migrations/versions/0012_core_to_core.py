"""Latency between the cores of several threads during each session, which a host of virtual machines changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from harness.store.migrations import index_levels

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("core_to_core_ns", sa.Float))
    index_levels("core_to_core_ns")
