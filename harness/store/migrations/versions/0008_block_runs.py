"""Runs of blocks: a device kept busy, and the energy of an inference."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "block_runs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("campaign_id", sa.String(36), sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column(
            "configuration_id", sa.Integer, sa.ForeignKey("configurations.id"), nullable=False, index=True
        ),
        sa.Column("graph_hash", sa.String(32), nullable=False),
        sa.Column("architecture", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("agent_digest", sa.String(64), nullable=False),
        sa.Column("started_utc", sa.Text, nullable=False),
        sa.Column("ended", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
