"""Measurement store: SQLite by default, any SQLAlchemy URL for a lab.

Raw samples go in, statistics are made on demand. Each session is one transaction: a killed harness leaves whole sessions
or nothing; what the database cannot take just now waits in a file (harness.store.spool). The schema's version is Alembic's; a
store of a newer version is refused, an older one migrated, or, to be read, a copy of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import sqlalchemy as sa

from harness.devices.conditions import clock_settings
from harness.errors import StoreError, Unstorable
from harness.estimates.outputs import is_reference_wrong
from harness.records import BlockRun, Configuration, Failure, FreshRun, ReferenceLatency, SessionRecord
from harness.store.database import (
    VERSION,
    first_line,
    hide,
    is_away,
    name_of,
    open_to_read,
    open_to_write,
    remedy_of,
    sqlite_path,
)
from harness.store.documents import document_of, pack_raw
from harness.store.rows import (
    is_level,
    read_block_run,
    read_configuration,
    read_failure,
    read_fresh_run,
    read_session,
    sessions_digest,
)
from harness.store.spool import Spool, spool_of
from harness.store.tables import (
    BLOCK_RUNS,
    CAMPAIGNS,
    CONFIGURATIONS,
    FAILURES,
    FRESH_RUNS,
    MACHINE,
    SESSIONS,
)
from harness.store.writing import READERS, WRITERS, check_session
from space.errors import ConfigError
from space.text import counted
from space.user_paths import own_folder

if TYPE_CHECKING:
    from harness.estimates.reference import ReferenceLevel

__all__ = ["LEVEL_PURPOSES", "VERSION", "Store", "default_url"]

# Of the sessions that determine the reference's latency.
LEVEL_COLUMNS = (
    *("reference_ns", "started_utc", "process", "others_busy", "pace_ns", "paced_by"),
    *("core_to_core_ns", "gpu_mhz"),
)
LEVEL_PURPOSES = ("network", "segment", "trained", "calibration")
READ_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)  # while a server does not answer
REPLAY_EVERY_S = 5.0  # while a store does not answer, so that a campaign loses no time
_MACHINE_CHARACTERS = 64
_BEGINS_WITH_MACHINE = re.compile(rf'\{{"{MACHINE}": "([0-9a-f]{{16}})"')
_HASHES_A_QUERY = 500  # below every database's limit of bound parameters

T = TypeVar("T")
Run = TypeVar("Run", FreshRun, BlockRun)


def default_url() -> str:
    """Return the URL of the user's own SQLite store. Raises: ConfigError when $HOME is no folder."""
    import platformdirs

    return f"sqlite:///{own_folder(platformdirs.user_data_dir('harness')) / 'harness.sqlite'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign as the store knows it: what was asked for, and how it ended."""

    device: str
    request: Mapping[str, Any]
    outcome: str


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


_open: weakref.WeakSet[Store] = weakref.WeakSet()


def _part_from_parent() -> None:
    """Have the stores of a forked process open connections of their own: SQLite's must not be used on both sides."""
    for store in _open:
        if store.engine.url.database not in (None, "", ":memory:"):
            store.engine.dispose(close=False)


os.register_at_fork(after_in_child=_part_from_parent)


class Store:
    """An open store. Safe to use from several threads; each call is one transaction.

    Rows that cannot be read are left out, and counted in `unreadable`: by what they are, the reason.
    """

    def __init__(self, url: str, *, read_only: bool = False, log: Callable[[str], None] = _warn) -> None:
        """Open the store at `url` (a SQLAlchemy URL or a file path), creating or migrating it as needed.

        `read_only`: nothing in it is changed, and it must be there. `log` is told at the end how many rows could not be read.
        Raises: StoreError when it cannot be opened, is no store of harness, or was written by a newer version.
        """
        self._database = open_to_read(url) if read_only else open_to_write(url)
        _open.add(self)
        self._engine = self._database.engine
        self._read_only, self._log = read_only, log
        self.unreadable: dict[str, str] = {}
        self._spool = spool_for(self._database.url)
        self._replay_at_s = 0.0
        self.trouble = ""  # why the store took nothing the last time
        self._refused: list[str] = []  # why it refused for good what had waited
        if not read_only:
            self._replay()

    @property
    def name(self) -> str:
        """Return the store's name for people: its file, else its URL without the password."""
        return name_of(self._database.url)

    @property
    def engine(self) -> sa.Engine:
        """Return the database's engine, for other modules of the store."""
        return self._engine

    def __repr__(self) -> str:
        return f"<Store {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            f"store {self.name}: is open in this process; have each process open it by harness.open_store"
        )

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; say how many rows could not be read."""
        self._database.release()
        if self.unreadable:
            unreadable, self.unreadable = self.unreadable, {}
            what, why = next(iter(unreadable.items()))
            rows = counted(len(unreadable), "row")
            self._log(
                f"store {self.name}: {rows} cannot be read and stayed out: {what}: {why}; see 'harness store check'"
            )

    @property
    def waiting(self) -> int:
        """Return how many sessions wait in a file for the store to answer."""
        return 0 if self._spool is None or self._spool.is_empty else self._spool.count("session")

    def settle(self) -> str:
        """Write the waiting records, with patience; return a sentence if some still wait or are refused, else an empty text."""
        if self._spool is None:
            return ""
        for wait_s in (*READ_WAITS_S, 0.0):
            if self._replay(at_once=True):
                return self._refusal()
            if self._is_sqlite:  # has had its patience
                break
            time.sleep(wait_s)
        count = self.waiting
        sessions = counted(count, "session waits", "sessions wait") if count else "notes of the campaign wait"
        return (
            f"store {self.name} takes nothing: {self.trouble}; {sessions} in {self._spool.path} "
            "for it, which the next command that it answers puts there"
        )

    def _refusal(self) -> str:
        """Return a sentence on what waited and was refused since the last word of it, empty where nothing was."""
        refused, self._refused = self._refused, []
        if not refused or self._spool is None:
            return ""
        records = counted(len(refused), "record")
        return f"store {self.name} refused {records} that waited for it ({refused[0]}); kept in {self._spool.refused}"

    def start_campaign(
        self, campaign_id: str, device: str, started_utc: str, request: Mapping[str, Any]
    ) -> None:
        """Note that a campaign began and what was asked for."""
        values = {
            "id": campaign_id,
            "device": device,
            "started_utc": started_utc,
            "request": json.dumps(request),
        }
        self._write("campaign", values)

    def finish_campaign(self, campaign_id: str, finished_utc: str, outcome: str) -> None:
        """Note how a campaign ended."""
        values = {"id": campaign_id, "finished_utc": finished_utc, "outcome": outcome}
        self._write("finished", values)

    def note_machine(self, campaign_id: str, machine_id: str) -> str:
        """Note which machine a campaign runs on, unless that is known; return the one that is noted then."""
        found = self.campaign(campaign_id)
        if found is not None and MACHINE in found.request:
            return str(found.request[MACHINE])
        values = {"id": campaign_id, MACHINE: machine_id}
        self._write("machine", values)
        return machine_id

    def campaign(self, campaign_id: str) -> Campaign | None:
        """Return a campaign's record, None of one that the store does not know."""
        query = sa.select(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id)
        row = self._read(lambda connection: connection.execute(query).mappings().one_or_none())
        if row is None:
            return None
        return Campaign(
            device=row["device"], request=json.loads(row["request"]), outcome=row["outcome"] or ""
        )

    def session_count(self, campaign_id: str) -> int:
        """Return the number of sessions of a campaign, without those that were measured again or are set apart."""
        query = (
            sa.select(sa.func.count())
            .where(SESSIONS.c.campaign_id == campaign_id)
            .where(SESSIONS.c.purpose.in_(LEVEL_PURPOSES))
        )
        return int(self._read(lambda connection: connection.execute(query).scalar_one()))

    def add_session(self, session: SessionRecord, *, again: bool = False) -> None:
        """Keep a session: in the store, or in the waiting file while the store takes nothing.

        `again`: one that is there already is left as it is. Raises: Unstorable for what could not be read back; StoreError when
        it can be kept nowhere.
        """
        try:
            check_session(session)
        except ValueError as error:
            raise Unstorable(f"session {session.session_id} of {session.architecture}: {error}") from error
        self._write("session", session, again)

    def set_apart(self, session_id: str) -> None:
        """Set a session apart, which may itself still wait for the store. Raises: StoreError when that can be kept nowhere."""
        self._write("apart", {"id": session_id})

    def add_fresh_run(self, run: FreshRun, *, again: bool = False) -> None:
        """Keep a network's costs alone in a fresh worker; `again`: they may be there already."""
        self._write("fresh-run", run, again)

    def fresh_runs(self, configuration: Configuration, purpose: str = "network") -> list[FreshRun]:
        """Return the fresh runs on a configuration for one purpose, oldest first, of the models that `model_digests` has."""
        rows = self._read(lambda connection: _runs(connection, FRESH_RUNS, configuration, purpose))
        found = (self._whole(f"fresh run {row['id']}", read_fresh_run, row, configuration) for row in rows)
        return self._of_models(configuration, [run for run in found if run is not None])

    def add_block_run(self, run: BlockRun, *, again: bool = False) -> None:
        """Keep a run of blocks whole; `again`: it may be there already.

        Raises: Unstorable for what could not be read back; StoreError as for a session.
        """
        try:
            pack_raw(run)
        except ValueError as error:
            raise Unstorable(f"run {run.run_id} of {run.architecture}: {error}") from error
        self._write("block-run", run, again)

    def block_runs(
        self, configuration: Configuration, purpose: str, graph_hashes: Sequence[str] | None = None
    ) -> list[BlockRun]:
        """Return the runs of blocks on a configuration for one purpose, oldest first; of some networks or all.

        Those of energy are of the models that `model_digests` has.
        """
        rows = self._read(lambda connection: _runs(connection, BLOCK_RUNS, configuration, purpose))
        wanted = None if graph_hashes is None else set(graph_hashes)
        found = (
            self._whole(f"run of blocks {row['id']}", read_block_run, row, configuration)
            for row in rows
            if wanted is None or row["graph_hash"] in wanted
        )
        runs = [run for run in found if run is not None]
        return self._of_models(configuration, runs) if purpose == "energy" else runs

    def model_digests(self, configuration: Configuration) -> dict[str, str]:
        """Return the digest of the model in the last session of each network (of segments: by key) on a configuration.

        A model may change under its name; what is known of another is not told beside its latency.
        """
        columns = (SESSIONS.c.graph_hash, SESSIONS.c.model_digest)
        query = _sessions_on(configuration, LEVEL_PURPOSES, *columns).order_by(
            SESSIONS.c.started_utc, SESSIONS.c.id
        )
        return self._read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})

    def _of_models(self, configuration: Configuration, runs: list[Run]) -> list[Run]:
        """Return the runs of the models in the last sessions of their networks; all of a network without a session."""
        digests = self.model_digests(configuration) if runs else {}
        return [run for run in runs if run.model_digest == digests.get(run.graph_hash, run.model_digest)]

    def start_recalibration(self, configuration: Configuration, started_utc: str) -> None:
        """Note that a configuration's reference latency is measured again: only sessions from now on determine it."""
        values = {"configuration": asdict(configuration), "started_utc": started_utc}
        self._write("recalibration", values)

    def add_failure(self, failure: Failure, *, again: bool = False) -> None:
        """Keep a failure; `again`: it may be there already."""
        self._write("failure", failure, again)

    def configurations(self, device: str | None = None) -> list[Configuration]:
        """Return the configurations measured so far, of one device or all."""
        query = sa.select(CONFIGURATIONS).order_by(CONFIGURATIONS.c.id)
        if device is not None:
            query = query.where(CONFIGURATIONS.c.device == device)
        rows = self._read(lambda connection: connection.execute(query).mappings().all())
        found = (self._whole(f"configuration {row['id']}", read_configuration, row) for row in rows)
        return [configuration for configuration in found if configuration is not None]

    def session_counts(self, configuration: Configuration, purpose: str = "network") -> dict[str, int]:
        """Return the number of sessions by graph hash (of segments: by key) on a configuration, for one purpose."""
        columns = (SESSIONS.c.graph_hash, sa.func.count())
        query = _sessions_on(configuration, [purpose], *columns).group_by(SESSIONS.c.graph_hash)
        return self._read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})

    def sessions(
        self,
        configuration: Configuration,
        graph_hashes: Sequence[str] | None = None,
        *,
        purpose: str = "network",
    ) -> list[SessionRecord]:
        """Return a configuration's sessions of one purpose with their raw samples, oldest first; of some networks or all."""
        base = _sessions_on(configuration, [purpose], SESSIONS)
        queries = [base]
        if graph_hashes is not None:
            unique = list(dict.fromkeys(graph_hashes))
            queries = [
                base.where(SESSIONS.c.graph_hash.in_(unique[i : i + _HASHES_A_QUERY]))
                for i in range(0, len(unique), _HASHES_A_QUERY)
            ]

        def read(connection: sa.Connection) -> list[SessionRecord]:
            found = []
            for query in queries:
                for row in connection.execute(query).mappings():
                    what = f"session {row['id']} of {row['architecture']}"
                    session = self._whole(what, read_session, row, configuration)
                    if session is not None:
                        found.append(session)
            return found

        return sorted(self._read(read), key=lambda session: (session.started_utc, session.session_id))

    def sessions_digest(self, configuration: Configuration, purposes: Sequence[str] = ("network",)) -> str:
        """Return a digest of all that is stored of a configuration's sessions of these purposes; equal ones, equal sessions."""
        return self._read(lambda connection: sessions_digest(connection, configuration.digest, purposes))

    def reference_levels(self, configuration: Configuration) -> list[ReferenceLevel]:
        """Return the reference's level in each session of a configuration since it was last recalibrated, oldest first.

        Until something is measured after that, earlier sessions count. The order in which they were stored tells what came after.
        Sessions whose reference gave a false output have none: what is computed instead may take any time.
        """
        columns = (SESSIONS.c[name] for name in ("recalibration_id", *LEVEL_COLUMNS))
        levels = _sessions_on(configuration, LEVEL_PURPOSES, *columns).where(
            SESSIONS.c.reference_ns.is_not(None)
        )
        query = levels.order_by(SESSIONS.c.started_utc)
        rows = self._read(lambda connection: connection.execute(query).all())
        from harness.estimates.reference import ReferenceLevel  # late: it loads numpy

        readable = [row for row in rows if self._is_level(row)]
        last = max((row.recalibration_id or 0 for row in readable), default=0)
        return [
            ReferenceLevel(
                latency_ns=row.reference_ns,
                started_utc=row.started_utc,
                process=row.process or "",
                others_busy=row.others_busy,
                pace_ns=row.pace_ns,
                paced_by=row.paced_by or "",
                core_to_core_ns=row.core_to_core_ns,
                gpu_mhz=row.gpu_mhz,
            )
            for row in readable
            if (row.recalibration_id or 0) == last
        ]

    def _false_levels(self, configuration: Configuration) -> list[ReferenceLevel]:
        """Return the reference's level in each session in which it gave a false output, oldest first: these have grade D."""
        from harness.estimates.reference import ReferenceLevel, reference_level_ns  # late: it loads numpy

        every = (one for purpose in LEVEL_PURPOSES for one in self.sessions(configuration, purpose=purpose))
        return [
            ReferenceLevel(latency_ns=level_ns, started_utc=one.started_utc, process=one.process)
            for one in sorted(every, key=lambda one: one.started_utc)
            if is_reference_wrong(one) and (level_ns := reference_level_ns(one)) is not None
        ]

    def _best_paces_ns(self, configuration: Configuration) -> dict[str, float]:
        """Return how long a fixed piece of work took at best on these cores, by what did it.

        In sessions of any configuration under which their clocks were set alike.
        """

        def cores_of(one: Configuration) -> tuple[object, ...]:
            return one.hardware, one.clock_tier, one.cores, clock_settings(one)

        alike = [
            one.digest
            for one in self.configurations(configuration.device)
            if cores_of(one) == cores_of(configuration)
        ]
        query = (
            sa.select(SESSIONS.c.paced_by, sa.func.min(SESSIONS.c.pace_ns))
            .join(CONFIGURATIONS)
            .where(CONFIGURATIONS.c.digest.in_(alike))
            .where(SESSIONS.c.purpose.in_(LEVEL_PURPOSES), SESSIONS.c.pace_ns > 0)
            .group_by(SESSIONS.c.paced_by)
        )
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows if isinstance(row[0], str) and is_level(row[1], None)}

    def machines(self, configuration: Configuration) -> frozenset[str]:
        """Return the ids of the machines that a configuration's sessions ran on, as far as their campaigns noted them."""
        of_configuration = _sessions_on(configuration, LEVEL_PURPOSES, SESSIONS.c.campaign_id)
        # A request goes on with the hashes of all its networks.
        begins = sa.func.substr(CAMPAIGNS.c.request, 1, _MACHINE_CHARACTERS)
        query = sa.select(begins).where(CAMPAIGNS.c.id.in_(of_configuration)).distinct()
        rows = self._read(lambda connection: connection.execute(query).all())
        return frozenset(found[1] for row in rows if (found := _BEGINS_WITH_MACHINE.match(str(row[0]))))

    def reference_latency(self, configuration: Configuration) -> ReferenceLatency | None:
        """Return the reference latency of a configuration, pooled from its sessions; None where none was measured.

        It is that of false outputs only where all sessions have such.
        """
        from harness.estimates import reference as pooling  # late: it loads numpy
        from harness.estimates.moved import near_levels, usual_core_to_core_ns, usual_gpu_mhz

        levels = self.reference_levels(configuration) or self._false_levels(configuration)
        if not levels:
            return None
        best_paces_ns = self._best_paces_ns(configuration) if configuration.feels_pace else {}
        fast, slowed = pooling.at_pace(levels, best_paces_ns)
        fast = pooling.beside_idle_cores(fast, best_paces_ns)
        quiet_ns = pooling.quiet_level_ns(fast)
        core_to_core_ns, gpu_mhz = usual_core_to_core_ns(fast, quiet_ns), usual_gpu_mhz(fast)
        fast = near_levels(fast, core_to_core_ns, gpu_mhz)
        pooled = pooling.pool_reference(fast)
        return ReferenceLatency(
            configuration=configuration,
            latency_ns=pooled.latency_ns,
            measured_utc=fast[-1].started_utc,
            sessions=len(fast),
            sd=pooled.sd,
            hour_sd=pooled.hour_sd,
            visits=pooled.visits,
            never_quiet=pooling.were_never_quiet(levels, best_paces_ns),
            slowed=slowed,
            best_paces_ns=best_paces_ns,
            core_to_core_ns=core_to_core_ns,
            gpu_mhz=gpu_mhz,
            machines=len(self.machines(configuration)),
        )

    def failures(self, configuration: Configuration | None = None) -> list[Failure]:
        """Return failures, oldest first; of one configuration, or all."""
        query = (
            sa.select(FAILURES.c.id.label("number"), FAILURES, CONFIGURATIONS)
            .join(CONFIGURATIONS)
            .order_by(FAILURES.c.id)
        )
        if configuration is not None:
            query = query.where(CONFIGURATIONS.c.digest == configuration.digest)
        rows = self._read(lambda connection: connection.execute(query).mappings().all())
        found = (
            self._whole(
                f"failure {row['number']}", lambda row: read_failure(row, read_configuration(row)), row
            )
            for row in rows
        )
        return [failure for failure in found if failure is not None]

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction. Raises: StoreError when the database does not answer or refuses something in it."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(self._said(error)) from error

    @property
    def _is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def _read(self, query: Callable[[sa.Connection], T]) -> T:
        """Return a query's result, after waits while a server does not answer. Raises: StoreError."""
        self._replay(at_once=True)
        for wait_s in () if self._is_sqlite else READ_WAITS_S:  # SQLite waits by itself
            try:
                with self._engine.begin() as connection:
                    return query(connection)
            except sa.exc.SQLAlchemyError as error:
                if not is_away(error):
                    raise StoreError(self._said(error)) from error
            time.sleep(wait_s)
            self._replay(at_once=True)
        with self.begin() as connection:
            return query(connection)

    def _whole(self, what: str, read: Callable[..., T], *arguments: Any) -> T | None:
        """Return a row's record, None where it cannot be read, which is noted."""
        try:
            return read(*arguments)
        except (TypeError, ValueError) as error:
            self.unreadable[what] = str(error)
            return None

    def _is_level(self, row: sa.Row[Any]) -> bool:
        texts = isinstance(row.started_utc, str) and isinstance(row.process, str | None)
        numbers = (row.others_busy, row.pace_ns, row.core_to_core_ns, row.gpu_mhz)
        if (
            texts
            and isinstance(row.paced_by, str | None)
            and all(is_level(row.reference_ns, one) for one in numbers)
        ):
            return True
        self.unreadable[f"session begun at {row.started_utc}"] = "the level of its reference is none"
        return False

    def _write(self, kind: str, record: Any, again: bool = False) -> None:
        """Write a record after those that wait already, or let it wait.

        Raises: StoreError for what the store refuses for good.
        """
        if self._read_only:
            raise StoreError(f"store {self.name}: opened to read; nothing is written to it")
        if self._spool is None or self._spool.is_empty:
            try:
                self._put(kind, record, again)
                return
            except (sa.exc.SQLAlchemyError, UnicodeError) as error:
                if self._spool is None or not is_away(error):
                    raise StoreError(self._said(error)) from error
                self._note_trouble(error)
        document = record if isinstance(record, dict) else document_of(record)
        self._spool.append({"kind": kind, "record": document})
        self._replay()

    def _replay(self, *, at_once: bool = False) -> bool:
        """Try to write the waiting records, not too often; return whether none waits any more."""
        if self._read_only or self._spool is None or self._spool.is_empty:
            return True
        if not at_once and time.monotonic() < self._replay_at_s:
            return False
        try:
            self._refused += self._spool.replay(self._write_again)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            self._note_trouble(error)
            return False
        return True

    def _write_again(self, entry: dict[str, Any]) -> None:
        """Write an entry that waited, unless it is there already. Raises: ValueError when it is none or is refused for good."""
        kind = entry["kind"]
        try:
            record = entry["record"]
            self._put(kind, READERS[kind](record) if kind in READERS else record, True)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record: {error}") from error
        except sa.exc.SQLAlchemyError as error:
            if is_away(error):
                raise
            raise ValueError(first_line(error)) from error

    def _put(self, kind: str, record: Any, again: bool) -> None:
        """Write a record in a transaction; `again`: unless it is there, also where another process puts it there meanwhile."""
        for is_last in (not again, True):
            try:
                with self._engine.begin() as connection:
                    WRITERS[kind](connection, record, again)
                return
            except sa.exc.IntegrityError:
                if is_last:
                    raise

    def _note_trouble(self, error: BaseException) -> None:
        self.trouble = f"{first_line(error)}; {remedy_of(error)}"
        self._replay_at_s = time.monotonic() + REPLAY_EVERY_S

    def _said(self, error: BaseException) -> str:
        waiting = ""
        if self._spool is not None and (count := self.waiting):
            waiting = (
                f"; sessions waiting for it: {count} in {self._spool.path}, the next command puts them there"
            )
        return f"store {self.name}: {first_line(error)}; {remedy_of(error)}{waiting}"


def _sessions_on(configuration: Configuration, purposes: Sequence[str], *columns: Any) -> sa.Select[Any]:
    """Return the query for columns of a configuration's sessions of some purposes."""
    query = sa.select(*columns).join(CONFIGURATIONS)
    return query.where(CONFIGURATIONS.c.digest == configuration.digest, SESSIONS.c.purpose.in_(purposes))


def _runs(
    connection: sa.Connection, table: sa.Table, configuration: Configuration, purpose: str
) -> Sequence[sa.RowMapping]:
    """Return the rows of fresh runs or runs of blocks on a configuration for one purpose, oldest first."""
    query = (
        sa.select(table)
        .join(CONFIGURATIONS)
        .where(CONFIGURATIONS.c.digest == configuration.digest)
        .where(table.c.purpose == purpose)
        .order_by(table.c.started_utc, table.c.id)
    )
    return connection.execute(query).mappings().all()


def spool_for(url: sa.URL) -> Spool | None:
    """Return the waiting file of a store; None for a store in memory, and for a user without a folder."""
    path = sqlite_path(url)
    if url.get_backend_name() == "sqlite" and path is None:
        return None
    with contextlib.suppress(ConfigError):
        resolved = url if path is None else url.set(database=str(path.absolute()))
        return spool_of(hide(resolved.render_as_string()))
    return None
