"""Purpose of each session, and every reference latency that was measured: the last one is in use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; the sessions that reference latencies came from were calibrations."""
    op.add_column("sessions", sa.Column("purpose", sa.Text, nullable=False, server_default="network"))
    op.execute(
        "UPDATE sessions SET purpose = 'calibration' WHERE id IN (SELECT session_id FROM reference_latencies)"
    )
    op.rename_table("reference_latencies", "reference_latencies_before")
    op.create_table(
        "reference_latencies",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "configuration_id", sa.Integer, sa.ForeignKey("configurations.id"), nullable=False, index=True
        ),
        sa.Column("latency_ns", sa.Float, nullable=False),
        sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id"), nullable=False),
        sa.Column("measured_utc", sa.Text, nullable=False),
        sa.Column("sessions", sa.Integer, nullable=False),
        sa.Column("spread", sa.Float),
    )
    op.execute(
        "INSERT INTO reference_latencies (configuration_id, latency_ns, session_id, measured_utc, sessions) "
        "SELECT configuration_id, latency_ns, session_id, measured_utc, 1 FROM reference_latencies_before"
    )
    op.drop_table("reference_latencies_before")
