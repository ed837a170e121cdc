"""The written history of the store's schema, run by Alembic."""

from __future__ import annotations

from alembic import op

_LEVELS = "ix_sessions_levels"
_COLUMNS = (
    *("configuration_id", "purpose", "started_utc", "reference_ns", "process", "others_busy"),
    *("pace_ns", "paced_by", "recalibration_id", "core_to_core_ns", "gpu_mhz"),
)


def index_levels(last: str, *, is_new: bool = False) -> None:
    """Have the index that holds all that pooling of reference latencies reads end with a column."""
    if not is_new:
        op.drop_index(_LEVELS, "sessions")
    op.create_index(_LEVELS, "sessions", list(_COLUMNS[: _COLUMNS.index(last) + 1]))
