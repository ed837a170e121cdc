"""Clock of the GPU in each session, which `nvidia-smi -lgc` may have locked for a campaign and no command tells."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, NULL in the rows that are there, and to the index that holds all that pooling reads."""
    op.add_column("sessions", sa.Column("gpu_mhz", sa.Float))
    op.drop_index("ix_sessions_levels", "sessions")
    op.create_index(
        "ix_sessions_levels",
        "sessions",
        [
            *("configuration_id", "purpose", "started_utc", "reference_ns", "process", "others_busy"),
            *("pace_ns", "paced_by", "recalibration_id", "core_to_core_ns", "gpu_mhz"),
        ],
    )


def downgrade() -> None:
    """Refuse: measured data is not thrown away."""
    raise RuntimeError("schema 0013 cannot be undone")
