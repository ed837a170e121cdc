"""The store's tables as the present code reads and writes them; migrations/ holds how they came about."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

METADATA = sa.MetaData()

CONFIGURATIONS = sa.Table(
    "configurations",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64)),
    sa.Column("device", sa.Text),
    sa.Column("hardware", sa.Text),
    sa.Column("runtime", sa.Text),
    sa.Column("runtime_version", sa.Text),
    sa.Column("provider", sa.Text),
    sa.Column("format", sa.Text),
    sa.Column("precision", sa.Text),
    sa.Column("threads", sa.Integer),
    sa.Column("cores", sa.Text),
    sa.Column("space", sa.Text),
    sa.Column("weights", sa.Text),
    sa.Column("reference", sa.String(32)),
    sa.Column("clock_tier", sa.String(1)),
    sa.Column("batch", sa.Integer),  # NULL before schema 0007: 1
    sa.Column("provider_options", sa.Text),  # NULL before schema 0007: none
    sa.Column("environment", sa.Text),  # NULL before schema 0010: not known
)

MACHINE = "machine_id"  # the first key of a campaign's request, where the machine is known
CAMPAIGNS = sa.Table(
    "campaigns",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("device", sa.Text),
    sa.Column("started_utc", sa.Text),
    sa.Column("finished_utc", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("request", sa.Text),
)

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("campaign_id", sa.String(36), sa.ForeignKey("campaigns.id")),
    sa.Column("configuration_id", sa.Integer, sa.ForeignKey("configurations.id")),
    sa.Column("graph_hash", sa.String(32)),
    sa.Column("architecture", sa.Text),
    sa.Column("model_digest", sa.String(64)),
    sa.Column("started_utc", sa.Text),
    sa.Column("elapsed_s", sa.Float),
    sa.Column("loop_s", sa.Float),
    sa.Column("stop", sa.Text),
    sa.Column("agent_digest", sa.String(64)),
    sa.Column("purpose", sa.Text),
    sa.Column("raw", sa.LargeBinary),  # zlib of JSON: harness.store.documents
    # What pools the reference's latency without reading raw samples; NULL where nothing tells it.
    sa.Column("reference_ns", sa.Float),
    sa.Column("process", sa.Text),
    sa.Column("others_busy", sa.Float),  # NULL where not known, and before schema 0004
    sa.Column("pace_ns", sa.Float),  # device_agents.pace; NULL where not known, and before schema 0009
    sa.Column("paced_by", sa.Text),
    sa.Column("core_to_core_ns", sa.Float),  # NULL of one thread, where not known, and before schema 0012
    sa.Column("gpu_mhz", sa.Float),  # at work; NULL without a GPU, where not known, and before schema 0013
    sa.Column("arithmetic", sa.Text),  # NULL before schema 0006
    sa.Column("recalibration_id", sa.Integer),  # the last one before it, NULL without any
)


def _of_runs(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """Return the table of runs that are no sessions, with columns of its own behind those that all have."""
    return sa.Table(
        name,
        METADATA,
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("campaign_id", sa.String(36), sa.ForeignKey("campaigns.id")),
        sa.Column("configuration_id", sa.Integer, sa.ForeignKey("configurations.id")),
        sa.Column("graph_hash", sa.String(32)),
        sa.Column("architecture", sa.Text),
        sa.Column("purpose", sa.Text),
        sa.Column("model_digest", sa.String(64)),
        sa.Column("agent_digest", sa.String(64)),
        sa.Column("started_utc", sa.Text),
        *columns,
    )


FRESH_RUNS = _of_runs(
    "fresh_runs",
    *(sa.Column(name, sa.BigInteger) for name in ("model_bytes", "empty_bytes", "peak_bytes")),
    sa.Column("is_reset", sa.Boolean),
    *(sa.Column(name, sa.BigInteger) for name in ("load_ns", "first_run_ns")),
)
BLOCK_RUNS = _of_runs(
    "block_runs",
    sa.Column("ended", sa.Text),
    sa.Column("raw", sa.LargeBinary),  # zlib of JSON: harness.store.documents
)

RECALIBRATIONS = sa.Table(
    "recalibrations",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("configuration_id", sa.Integer, sa.ForeignKey("configurations.id")),
    sa.Column("started_utc", sa.Text),
)

FAILURES = sa.Table(
    "failures",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("campaign_id", sa.String(36), sa.ForeignKey("campaigns.id")),
    sa.Column("configuration_id", sa.Integer, sa.ForeignKey("configurations.id")),
    sa.Column("graph_hash", sa.String(32)),
    sa.Column("architecture", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("time_utc", sa.Text),
)
