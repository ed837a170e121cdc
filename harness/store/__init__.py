"""Measurement store: SQLite by default, any SQLAlchemy URL for a lab.

Raw samples go in, statistics are made on demand. Each session is one transaction: a killed harness leaves whole sessions
or nothing. The schema's version is Alembic's; a store of a newer version is refused, an older one migrated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from harness.errors import StoreError
from harness.records import Configuration, Failure, ReferenceLatency, SessionRecord
from harness.store.digests import sessions_digest
from harness.store.raw import pack_raw, unpack_raw
from harness.store.tables import (
    CAMPAIGNS,
    CONFIGURATIONS,
    FAILURES,
    RECALIBRATIONS,
    REFERENCE_LATENCIES,
    SESSIONS,
)
from space.user_paths import expand_user, own_folder

if TYPE_CHECKING:
    from harness.estimates.reference import ReferenceLevel

VERSION = "0004"  # of the schema: the newest of migrations/versions
BUSY_TIMEOUT_S = 30.0
# Of the sessions that determine the reference's latency.
LEVEL_PURPOSES = ("network", "segment", "trained", "calibration")
_HASHES_A_QUERY = 500  # below every database's limit of bound parameters
_SCHEMA_LOCK = 0x6861726E  # "harn": any number that all harnesses share


def default_url() -> str:
    """Return the URL of the user's own SQLite store. Raises: ConfigError when $HOME is no folder."""
    import platformdirs

    return f"sqlite:///{own_folder(platformdirs.user_data_dir('harness')) / 'harness.sqlite'}"


class Store:
    """An open store. Safe to use from several threads; each call is one transaction."""

    def __init__(self, url: str) -> None:
        """Open the store at `url` (a SQLAlchemy URL or a file path), creating or migrating it as needed.

        Raises: StoreError when it cannot be opened, is no store of harness, or was written by a newer version.
        """
        try:
            parsed = _parse_url(url)
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(parsed, **_engine_options(parsed))
            if parsed.get_backend_name() == "sqlite":
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            _migrate(self._engine, self.name)
        except (sa.exc.NoSuchModuleError, ImportError) as error:
            raise StoreError(
                f"store {_hide(url)}: its database driver is missing: {error}; pip install it"
            ) from error
        except (sa.exc.ArgumentError, ValueError) as error:  # ValueError: a port that is no number
            raise StoreError(
                f"store {_hide(url)}: not a URL; write e.g. sqlite:///lab.sqlite or a file path"
            ) from error
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise StoreError(f"store {_hide(url)}: cannot be opened: {_first_line(error)}") from error

    @property
    def name(self) -> str:
        """Return the store's URL without its password, for people."""
        return _hide(self._engine.url.render_as_string(hide_password=True))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def start_campaign(
        self, campaign_id: str, device: str, started_utc: str, request: Mapping[str, Any]
    ) -> None:
        """Note that a campaign began and what was asked for."""
        with self._begin() as connection:
            connection.execute(
                CAMPAIGNS.insert().values(
                    id=campaign_id, device=device, started_utc=started_utc, request=json.dumps(request)
                )
            )

    def finish_campaign(self, campaign_id: str, finished_utc: str, outcome: str) -> None:
        """Note how a campaign ended."""
        with self._begin() as connection:
            connection.execute(
                CAMPAIGNS.update()
                .where(CAMPAIGNS.c.id == campaign_id)
                .values(finished_utc=finished_utc, outcome=outcome)
            )

    def add_session(self, session: SessionRecord) -> None:
        """Keep a session whole."""
        with self._begin() as connection:
            _insert_session(connection, session)

    def start_recalibration(self, configuration: Configuration, started_utc: str) -> None:
        """Note that a configuration's reference latency is measured again: only sessions from now on determine it."""
        with self._begin() as connection:
            connection.execute(
                RECALIBRATIONS.insert().values(
                    configuration_id=_configuration_id(connection, configuration), started_utc=started_utc
                )
            )

    def add_failure(self, failure: Failure) -> None:
        """Keep a failure."""
        with self._begin() as connection:
            connection.execute(
                FAILURES.insert().values(
                    configuration_id=_configuration_id(connection, failure.configuration),
                    **{key: value for key, value in _shallow(failure).items() if key != "configuration"},
                )
            )

    def configurations(self, device: str | None = None) -> list[Configuration]:
        """Return the configurations measured so far, of one device or all."""
        query = sa.select(CONFIGURATIONS).order_by(CONFIGURATIONS.c.id)
        if device is not None:
            query = query.where(CONFIGURATIONS.c.device == device)
        with self._begin() as connection:
            return [_configuration(row) for row in connection.execute(query).mappings()]

    def session_counts(self, configuration: Configuration, purpose: str = "network") -> dict[str, int]:
        """Return the number of sessions by graph hash (of segments: by key) on a configuration, for one purpose."""
        query = (
            sa.select(SESSIONS.c.graph_hash, sa.func.count())
            .join(CONFIGURATIONS)
            .where(CONFIGURATIONS.c.digest == configuration.digest)
            .where(SESSIONS.c.purpose == purpose)
            .group_by(SESSIONS.c.graph_hash)
        )
        with self._begin() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def sessions(
        self,
        configuration: Configuration,
        graph_hashes: Sequence[str] | None = None,
        *,
        purpose: str = "network",
    ) -> list[SessionRecord]:
        """Return a configuration's sessions of one purpose with their raw samples, oldest first; of some networks or all."""
        base = (
            sa.select(SESSIONS)
            .join(CONFIGURATIONS)
            .where(CONFIGURATIONS.c.digest == configuration.digest)
            .where(SESSIONS.c.purpose == purpose)
        )
        queries = [base]
        if graph_hashes is not None:
            unique = list(dict.fromkeys(graph_hashes))
            queries = [
                base.where(SESSIONS.c.graph_hash.in_(unique[i : i + _HASHES_A_QUERY]))
                for i in range(0, len(unique), _HASHES_A_QUERY)
            ]
        with self._begin() as connection:
            found = [
                _session(row, configuration)
                for query in queries
                for row in connection.execute(query).mappings()
            ]
        return sorted(found, key=lambda session: (session.started_utc, session.session_id))

    def sessions_digest(self, configuration: Configuration, purposes: Sequence[str] = ("network",)) -> str:
        """Return a digest of all that is stored of a configuration's sessions of these purposes; equal ones, equal sessions."""
        with self._begin() as connection:
            return sessions_digest(connection, configuration.digest, purposes)

    def reference_levels(self, configuration: Configuration) -> list[ReferenceLevel]:
        """Return the reference's level in each session of a configuration since it was last recalibrated, oldest first.

        While nothing has been measured since, those of before count.
        """
        query = (
            sa.select(
                SESSIONS.c.reference_ns, SESSIONS.c.started_utc, SESSIONS.c.process, SESSIONS.c.others_busy
            )
            .join(CONFIGURATIONS)
            .where(CONFIGURATIONS.c.digest == configuration.digest)
            .where(SESSIONS.c.purpose.in_(LEVEL_PURPOSES))
            .where(SESSIONS.c.reference_ns.is_not(None))
            .order_by(SESSIONS.c.started_utc)
        )
        marks = (
            sa.select(RECALIBRATIONS.c.started_utc)
            .join(CONFIGURATIONS)
            .where(CONFIGURATIONS.c.digest == configuration.digest)
            .order_by(RECALIBRATIONS.c.started_utc.desc())
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
            starts = [row[0] for row in connection.execute(marks)]
        from harness.estimates.reference import ReferenceLevel  # late: it loads numpy

        levels = [
            ReferenceLevel(latency_ns=row[0], started_utc=row[1], process=row[2] or "", others_busy=row[3])
            for row in rows
        ]
        for start in starts:
            if later := [level for level in levels if level.started_utc >= start]:
                return later
        return levels

    def reference_latency(self, configuration: Configuration) -> ReferenceLatency | None:
        """Return the reference latency of a configuration, pooled from its sessions; None where none was measured.

        Of a store that older versions wrote, and nothing since: the one that they measured last.
        """
        from harness.estimates import reference as pooling  # late: it loads numpy

        levels = self.reference_levels(configuration)
        if levels:
            latency_ns, sd = pooling.pool_reference(levels)
            return ReferenceLatency(
                configuration=configuration,
                latency_ns=latency_ns,
                session_id="",
                measured_utc=levels[-1].started_utc,
                sessions=len(levels),
                sd=sd,
                never_quiet=pooling.were_never_quiet(levels),
            )
        query = (
            sa.select(REFERENCE_LATENCIES)
            .join(CONFIGURATIONS)
            .where(CONFIGURATIONS.c.digest == configuration.digest)
            .order_by(REFERENCE_LATENCIES.c.id.desc())
            .limit(1)
        )
        with self._begin() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        names = ("latency_ns", "session_id", "measured_utc", "sessions", "spread")
        return ReferenceLatency(
            configuration=configuration,
            sd=pooling.calibration_sd(row["spread"], row["sessions"]),
            **{name: row[name] for name in names},
        )

    def failures(self, device: str | None = None, campaign_id: str | None = None) -> list[Failure]:
        """Return failures, oldest first; of one device, one campaign, or all."""
        query = sa.select(FAILURES, CONFIGURATIONS).join(CONFIGURATIONS).order_by(FAILURES.c.id)
        if device is not None:
            query = query.where(CONFIGURATIONS.c.device == device)
        if campaign_id is not None:
            query = query.where(FAILURES.c.campaign_id == campaign_id)
        names = ("campaign_id", "architecture", "graph_hash", "kind", "message", "time_utc")
        with self._begin() as connection:
            return [
                Failure(configuration=_configuration(row), **{name: row[name] for name in names})
                for row in connection.execute(query).mappings()
            ]

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(
                f"store {self.name}: {_first_line(error)}; is its disk full, or another program holding it?"
            ) from error


def _migrate(engine: sa.Engine, name: str) -> None:
    """Bring the schema to the present version; refuse a newer one and a database that is not ours."""
    with engine.begin() as connection:
        if _version(connection) == VERSION:
            return
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        _lock_schema(connection)  # two harnesses that open a new store at once migrate it one after the other
        present = MigrationContext.configure(connection).get_current_revision()
        known = {revision.revision for revision in script.walk_revisions()}
        if present is not None and present not in known:
            raise StoreError(
                f"store {name}: written by a newer version of harness (schema {present}, this one knows up to "
                f"{script.get_current_head()}); upgrade harness, or name another store with --store"
            )
        tables = set(sa.inspect(connection).get_table_names())
        if present is None and tables:
            raise StoreError(
                f"store {name}: holds tables ({', '.join(sorted(tables)[:3])}) but is no store of harness; name "
                "another with --store"
            )
        if present != script.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _version(connection: sa.Connection) -> str | None:
    """Return the version of a store's schema as alembic wrote it, without the half second that importing alembic takes."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _lock_schema(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))


def _parse_url(url: str) -> sa.URL:
    """Parse a URL or a file path; `~` is the home folder in both."""
    if "://" not in url:
        return sa.URL.create("sqlite", database=str(expand_user(url)))
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return parsed.set(database=str(expand_user(parsed.database)))
    return parsed


def _engine_options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    return {"pool_pre_ping": True}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # what was reported as stored survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _configuration_id(connection: sa.Connection, configuration: Configuration) -> int:
    query = sa.select(CONFIGURATIONS.c.id).where(CONFIGURATIONS.c.digest == configuration.digest)
    found = connection.execute(query).scalar_one_or_none()
    if found is not None:
        return int(found)
    values = asdict(configuration) | {
        "digest": configuration.digest,
        "cores": ",".join(map(str, configuration.cores)),
    }
    try:
        with connection.begin_nested():
            connection.execute(CONFIGURATIONS.insert().values(**values))
    except sa.exc.IntegrityError:  # another thread or host was first: its row is the same
        pass
    return int(connection.execute(query).scalar_one())


def _insert_session(connection: sa.Connection, session: SessionRecord) -> None:
    configuration_id = _configuration_id(connection, session.configuration)
    from harness.devices.conditions import number
    from harness.estimates.reference import reference_level_ns  # late: it loads numpy

    columns = {column.name for column in SESSIONS.columns}
    values = {key: value for key, value in _shallow(session).items() if key in columns}
    connection.execute(
        SESSIONS.insert().values(
            id=session.session_id,
            configuration_id=configuration_id,
            raw=pack_raw(session),
            reference_ns=reference_level_ns(session),
            others_busy=number(session.scheduling.get("others_busy")),
            **values,
        )
    )


def _shallow(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def _configuration(row: sa.RowMapping) -> Configuration:
    values = {name: row[name] for name in Configuration.__slots__}
    values["cores"] = tuple(int(core) for core in row["cores"].split(",") if core)
    return Configuration(**values)


def _session(row: sa.RowMapping, configuration: Configuration) -> SessionRecord:
    names = [
        "campaign_id",
        "architecture",
        "graph_hash",
        "model_digest",
        "started_utc",
        "elapsed_s",
        "loop_s",
        "stop",
        "agent_digest",
        "purpose",
    ]
    try:
        return SessionRecord(
            session_id=row["id"],
            configuration=configuration,
            **{name: row[name] for name in names},
            **unpack_raw(row["raw"]),
        )
    except (TypeError, ValueError) as error:
        where = f"session {row['id']} of {row['architecture']}"
        raise StoreError(f"{where}: {error}; restore the store from a backup") from error


def _hide(url: str) -> str:
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(://[^:/]*:).*@", r"\1***@", url))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]
