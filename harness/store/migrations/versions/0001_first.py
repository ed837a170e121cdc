"""The first schema: configurations, campaigns, sessions with raw samples, reference latencies, failures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "configurations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("device", sa.Text, nullable=False, index=True),
        sa.Column("hardware", sa.Text, nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("runtime_version", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("precision", sa.Text, nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("cores", sa.Text, nullable=False),
        sa.Column("space", sa.Text, nullable=False),
        sa.Column("weights", sa.Text, nullable=False),
        sa.Column("reference", sa.String(32), nullable=False),
        sa.Column("clock_tier", sa.String(1), nullable=False),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("started_utc", sa.Text, nullable=False),
        sa.Column("finished_utc", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("request", sa.Text, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("campaign_id", sa.String(36), sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column(
            "configuration_id", sa.Integer, sa.ForeignKey("configurations.id"), nullable=False, index=True
        ),
        sa.Column("graph_hash", sa.String(32), nullable=False, index=True),
        sa.Column("architecture", sa.Text, nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("started_utc", sa.Text, nullable=False),
        sa.Column("elapsed_s", sa.Float, nullable=False),
        sa.Column("loop_s", sa.Float, nullable=False),
        sa.Column("stop", sa.Text, nullable=False),
        sa.Column("agent_digest", sa.String(64), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "reference_latencies",
        sa.Column("configuration_id", sa.Integer, sa.ForeignKey("configurations.id"), primary_key=True),
        sa.Column("latency_ns", sa.Float, nullable=False),
        sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id"), nullable=False),
        sa.Column("measured_utc", sa.Text, nullable=False),
    )
    op.create_table(
        "failures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("campaign_id", sa.String(36), sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("configuration_id", sa.Integer, sa.ForeignKey("configurations.id"), nullable=False),
        sa.Column("graph_hash", sa.String(32), nullable=False),
        sa.Column("architecture", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("time_utc", sa.Text, nullable=False),
    )
