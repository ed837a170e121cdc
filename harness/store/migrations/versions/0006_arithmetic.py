"""Arithmetic that each session's runtime reported."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column, NULL in the rows that are there."""
    op.add_column("sessions", sa.Column("arithmetic", sa.Text))
