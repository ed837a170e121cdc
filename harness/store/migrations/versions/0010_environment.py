"""Environment variables that change how fast models run, of a configuration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column, NULL in the rows that are there: not known."""
    op.add_column("configurations", sa.Column("environment", sa.Text))
