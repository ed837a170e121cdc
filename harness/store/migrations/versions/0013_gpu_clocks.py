"""Clock of the GPU in each session, which `nvidia-smi -lgc` may have locked for a campaign and no command tells."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from harness.store.migrations import index_levels

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("gpu_mhz", sa.Float))
    index_levels("gpu_mhz")
