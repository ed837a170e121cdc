"""Number of images in a run of a configuration, and its provider's options."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns, NULL in the rows that are there: batch 1, and no options."""
    op.add_column("configurations", sa.Column("batch", sa.Integer))
    op.add_column("configurations", sa.Column("provider_options", sa.Text))
