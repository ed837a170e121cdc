"""The parts cache, through the agent and alone."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from rigs.agent_client import Client, sha256
from rigs.agent_jobs import QUICK_PLAN, send_job
from rigs.small_disk import small_disk

from device_agents.parts_cache import PartsCache
from device_agents.refusal import Refusal


@pytest.fixture
def client(one_agent: Client) -> Client:
    """Return the client of one agent, which holds no parts."""
    one_agent.ask("evict", max_bytes=0)
    return one_agent


def stored_names(root: Path) -> list[str]:
    """Return the names of all files below `parts`, half-written ones among them."""
    return sorted(path.name for path in (root / "parts").rglob("*") if path.is_file())


def store(cache: PartsCache, data: bytes, used_ns: int | None = None) -> str:
    digest = sha256(data)
    cache.put(digest, len(data), data, "raw", None)
    if used_ns is not None:
        path = cache.parts_dir / digest[:2] / digest
        os.utime(path, ns=(used_ns, used_ns))
    return digest


class TestPut:
    def test_stores_a_part_under_its_digest(self, client):
        digest = client.put(b"weights")
        assert (client.root / "parts" / digest[:2] / digest).read_bytes() == b"weights"
        assert client.ask("missing", digests=[digest, "0" * 64, "0" * 64])["missing"] == ["0" * 64]

    def test_takes_an_empty_part(self, client):
        client.put(b"")

    def test_inflates_with_a_dictionary_of_which_the_last_32_kib_count(self, client):
        dictionary = os.urandom(100000)
        dictionary_digest = client.put(dictionary)
        data = dictionary[-30000:] + b"end"
        deflater = zlib.compressobj(9, zdict=dictionary[-32768:])
        payload = deflater.compress(data) + deflater.flush()
        assert len(payload) < 1000
        fields = {"digest": sha256(data), "size_bytes": len(data), "encoding": "zlib"}
        answer = client.ask("put", payload, dictionary=dictionary_digest, **fields)
        assert answer["type"] == "result", answer
        assert client.ask("missing", digests=[sha256(data)])["missing"] == []
        answer = client.ask("put", payload, dictionary="0" * 64, **fields)
        assert (answer["kind"], answer["digests"]) == ("part-missing", ["0" * 64])
        answer = client.ask("put", payload, dictionary=None, **fields)
        assert answer["kind"] == "damaged"

    def test_removes_a_dictionary_that_is_damaged_so_that_it_can_be_sent_again(self, client):
        dictionary = client.put(b"dictionary")
        (client.root / "parts" / dictionary[:2] / dictionary).write_bytes(b"dictionarx")
        deflater = zlib.compressobj(9, zdict=b"dictionary")
        payload = deflater.compress(b"a dictionary") + deflater.flush()
        fields = {"digest": sha256(b"a dictionary"), "size_bytes": 12, "encoding": "zlib"}
        answer = client.ask("put", payload, dictionary=dictionary, **fields)
        assert (answer["kind"], answer["digest"]) == ("part-damaged", dictionary)
        assert client.ask("missing", digests=[dictionary])["missing"] == [dictionary]
        client.put(b"dictionary")
        assert client.ask("put", payload, dictionary=dictionary, **fields)["type"] == "result"

    @pytest.mark.parametrize(
        ("payload", "encoding", "words"),
        [
            (b"weighty", "raw", ["its digest is"]),
            (b"weight", "raw", ["6 bytes", "7"]),
            (b"weights", "zlib", ["header"]),
            (zlib.compress(b"weights")[:-1], "zlib", ["end"]),
            (zlib.compress(b"weights") + b"x", "zlib", ["end"]),
            (zlib.compress(b"weights" * 2), "zlib", ["more than 7 bytes"]),
        ],
    )
    def test_refuses_what_is_not_what_it_says(self, client, payload, encoding, words):
        digest = sha256(b"weights")
        answer = client.ask("put", payload, digest=digest, size_bytes=7, encoding=encoding, dictionary=None)
        assert (answer["kind"], answer["digest"]) == ("damaged", digest)
        for word in words:
            assert word in answer["message"]
        assert stored_names(client.root) == []

    def test_never_inflates_much_beyond_the_stated_size(self, agent, tmp_path):
        deflater = zlib.compressobj(1)
        first, again = (deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH) for _ in "12")
        bomb = first + 399 * again
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))  # noqa: E731
        with Client(agent, tmp_path / "root", preexec_fn=limit) as client:
            answer = client.ask(
                "put", bomb, digest="0" * 64, size_bytes=1000, encoding="zlib", dictionary=None
            )
            assert answer["kind"] == "damaged" and "more than 1000 bytes" in answer["message"]

    def test_refuses_a_part_over_the_caches_limit(self, agent, tmp_path):
        with Client(agent, tmp_path / "root", arguments=["--cache-bytes", "1000"]) as client:
            data = bytes(1001)
            answer = client.ask(
                "put", data, digest=sha256(data), size_bytes=1001, encoding="raw", dictionary=None
            )
            assert answer["kind"] == "too-large" and "1000" in answer["message"]

    def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_no_half_part(self, agent, tmp_path):
        with (
            small_disk(tmp_path / "root", 1 << 20) as disk,
            Client(agent, disk.folder, arguments=["--cache-bytes", "100000000"]) as client,
        ):
            small = client.put(os.urandom(300000))
            data = os.urandom(900000)
            answer = client.ask(
                "put", data, digest=sha256(data), size_bytes=len(data), encoding="raw", dictionary=None
            )
            assert answer["kind"] == "disk-full"
            assert "evict" in answer["message"] and sha256(data) in answer["message"]
            assert stored_names(disk.folder) == [small]
            client.put(os.urandom(300000))

    def test_a_limit_on_file_sizes_is_a_full_disk_too(self, agent, tmp_path):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))  # noqa: E731
        with Client(agent, tmp_path / "root", preexec_fn=limit) as client:
            data = os.urandom(200000)
            answer = client.ask(
                "put", data, digest=sha256(data), size_bytes=len(data), encoding="raw", dictionary=None
            )
            assert answer["kind"] == "disk-full"
            assert stored_names(tmp_path / "root") == []
            client.put(b"small")


class TestChunks:
    def chunk(self, client, data, offset, end):
        piece = data[offset:end]
        fields = {"digest": sha256(data), "size_bytes": len(data), "encoding": "raw"}
        fields |= {"offset": offset, "chunk_bytes": len(piece)}
        return client.ask("put", piece, **fields)

    def test_a_part_grows_and_outlives_its_agent_and_is_stored_when_it_is_whole(self, agent, tmp_path):
        data = os.urandom(1000)
        with Client(agent, tmp_path / "root") as client:
            answer = self.chunk(client, data, 0, 600)
            assert (answer["stored"], answer["received_bytes"]) == (False, 600)
            answer = client.ask("missing", digests=[sha256(data), "0" * 64])
            assert answer["missing"] == [sha256(data), "0" * 64]
            assert answer["received"] == {sha256(data): 600}
        with Client(agent, tmp_path / "root") as client:
            assert client.ask("missing", digests=[sha256(data)])["received"] == {sha256(data): 600}
            answer = self.chunk(client, data, 600, 1000)
            assert (answer["stored"], answer["received_bytes"]) == (True, 1000)
            assert client.ask("missing", digests=[sha256(data)])["missing"] == []
            assert stored_names(tmp_path / "root") == [sha256(data)]
            answer = self.chunk(client, data, 0, 600)
            assert (answer["stored"], answer["received_bytes"]) == (True, 1000), "it is here already"

    def test_a_chunk_may_be_compressed_and_its_size_is_checked(self, client):
        data = bytes(1000)
        fields = {"digest": sha256(data), "size_bytes": 1000, "encoding": "zlib", "offset": 0}
        for payload, chunk_bytes in ((zlib.compress(data), 999), (zlib.compress(data[1:]), 1000), (b"x", 1)):
            assert client.ask("put", payload, chunk_bytes=chunk_bytes, **fields)["kind"] == "damaged"
        assert client.ask("missing", digests=[sha256(data)])["received"] == {}
        assert client.ask("put", zlib.compress(data), chunk_bytes=1000, **fields)["stored"] is True

    @pytest.mark.parametrize("offset", [0, 599, 601, 1000])
    def test_a_chunk_from_elsewhere_is_told_where_to_go_on(self, client, offset):
        data = os.urandom(1000)
        self.chunk(client, data, 0, 600)
        answer = self.chunk(client, data, offset, offset + 1)
        assert (answer["kind"], answer["received_bytes"]) == ("out-of-step", 600)
        assert self.chunk(client, data, 600, 1000)["stored"] is True

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"offset": -1}, "put: offset"),
            ({"offset": 1001}, "put: offset"),
            ({"chunk_bytes": 1001}, "put: chunk_bytes"),
            ({"size_bytes": 1 << 40}, "put: size_bytes"),
            ({"digest": "../../x"}, "put: digest"),
        ],
    )
    def test_a_chunk_out_of_bounds_is_refused_by_field(self, client, changes, word):
        data = os.urandom(1000)
        fields = {
            "digest": sha256(data),
            "size_bytes": 1000,
            "encoding": "raw",
            "offset": 0,
            "chunk_bytes": 10,
        }
        answer = client.ask("put", data[:10], **{**fields, **changes})
        assert answer["kind"] == "bad-request" and word in answer["message"]

    def test_a_part_that_is_whole_and_not_what_it_was_called_is_removed(self, client):
        data = os.urandom(1000)
        self.chunk(client, data, 0, 600)
        path = client.root / "parts/unfinished" / sha256(data)
        path.write_bytes(bytes(600))
        answer = self.chunk(client, data, 600, 1000)
        assert (answer["kind"], answer["digest"]) == ("damaged", sha256(data))
        assert stored_names(client.root) == []

    def test_unfinished_parts_count_in_the_cache_and_go_like_others(self, tmp_path):
        cache = PartsCache(tmp_path, 1000)
        data = os.urandom(500)
        cache.put_chunk(sha256(data), 500, 0, 400, data[:400], "raw")
        assert PartsCache(tmp_path, 1000).evict(1000) == (0, 400)
        assert cache.evict(0) == (400, 0)
        assert cache.received([sha256(data)]) == {}
        with pytest.raises(Refusal) as caught:
            cache.put_chunk(sha256(data), 500, 400, 100, data[400:], "raw")
        assert caught.value.details["received_bytes"] == 0

    def test_unfinished_parts_that_nobody_went_on_with_are_swept(self, tmp_path):
        cache = PartsCache(tmp_path, 1000)
        for number in (1, 2):
            cache.put_chunk(f"{number}" * 64, 500, 0, 400, bytes(400), "raw")
        os.utime(tmp_path / "parts/unfinished" / ("1" * 64), (0, 0))
        PartsCache(tmp_path, 1000)
        assert stored_names(tmp_path) == ["2" * 64]

    def test_a_full_disk_keeps_what_was_there(self, agent, tmp_path):
        with (
            small_disk(tmp_path / "root", 1 << 20) as disk,
            Client(agent, disk.folder, arguments=["--cache-bytes", "100000000"]) as client,
        ):
            data = os.urandom(2 << 20)
            self.chunk(client, data, 0, 600000)
            answer = self.chunk(client, data, 600000, 1200000)
            assert answer["kind"] == "disk-full" and "evict" in answer["message"]
            assert client.ask("missing", digests=[sha256(data)])["received"] == {sha256(data): 600000}

    def test_a_disk_that_fills_up_at_a_parts_last_step_is_full_too(self, tmp_path, monkeypatch):
        def full(path: Path, to: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        cache, data = PartsCache(tmp_path, 1000), bytes(100)
        with monkeypatch.context() as patch, pytest.raises(Refusal) as caught:
            patch.setattr(Path, "replace", full)
            cache.put_chunk(sha256(data), 100, 0, 100, data, "raw")
        assert caught.value.kind == "disk-full"
        assert cache.put_chunk(sha256(data), 100, 100, 0, b"", "raw") == 100

    def test_a_full_disk_keeps_nobody_from_locking_the_device_and_making_room(self, agent, tmp_path):
        with (
            small_disk(tmp_path / "root", 1 << 20) as disk,
            Client(agent, disk.folder, arguments=["--cache-bytes", "100000000"]) as client,
        ):
            client.put(os.urandom(500000))
            disk.fill(leave_bytes=0)
            assert client.ask("lock", owner="me")["type"] == "result"
            assert client.ask("evict", max_bytes=0)["removed_bytes"] == 500000

    def test_two_agents_send_one_part_together(self, agent, tmp_path):
        data = os.urandom(1000)
        with Client(agent, tmp_path / "root") as first, Client(agent, tmp_path / "root") as second:
            self.chunk(first, data, 0, 300)
            self.chunk(second, data, 300, 700)
            assert self.chunk(first, data, 300, 600)["received_bytes"] == 700
            assert self.chunk(first, data, 700, 1000)["stored"] is True


class TestEviction:
    def test_takes_the_least_recently_used_first(self, tmp_path):
        cache = PartsCache(tmp_path, 1000)
        old, middle, new = (store(cache, bytes([n]) * 300, used_ns=n * 10**9) for n in (1, 2, 3))
        assert cache.missing([old]) == []  # asking is a use
        added = store(cache, b"x" * 300)
        assert cache.missing([old, middle, new, added]) == [middle]

    def test_answers_what_it_removed_and_kept(self, client):
        client.put(b"a" * 100)
        client.put(b"b" * 50)
        answer = client.ask("evict", max_bytes=60)
        assert (answer["removed_bytes"], answer["kept_bytes"]) == (100, 50)
        answer = client.ask("evict", max_bytes=0)
        assert (answer["removed_bytes"], answer["kept_bytes"]) == (50, 0)

    def test_never_takes_what_a_job_holds_not_even_by_another_agent(self, agent, tmp_path, models):
        with Client(agent, tmp_path / "root") as first, Client(agent, tmp_path / "root") as second:
            plan = {**QUICK_PLAN, "max_s": 60, "min_slices": 100000}
            job = send_job(first, models, "sleeping", plan=plan)
            idle = second.put(b"idle")
            first.send("run", job=job)
            first.await_event("started")
            answer = second.ask("evict", max_bytes=0)
            assert answer["removed_bytes"] == len(b"idle") and answer["kept_bytes"] > 0
            held = job["networks"][0]["parts"] + job["reference"]["parts"]
            assert second.ask("missing", digests=[*held, idle])["missing"] == [idle]

    def test_lets_go_of_what_a_finished_job_held(self, client, models):
        job = send_job(client, models, "sleeping")
        assert client.run(job)[1]["type"] == "result"
        assert client.ask("evict", max_bytes=0)["kept_bytes"] == 0

    def test_the_default_limit_is_a_third_of_what_is_free_and_at_most_1_gib(self, tmp_path, monkeypatch):
        from device_agents import parts_cache

        monkeypatch.setattr(parts_cache, "free_bytes", lambda path: 3000)
        assert PartsCache(tmp_path).limit_bytes == 1000
        monkeypatch.setattr(parts_cache, "free_bytes", lambda path: 1 << 50)
        assert PartsCache(tmp_path).limit_bytes == 1 << 30


def test_half_written_parts_of_dead_agents_are_swept_and_of_living_ones_kept(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    PartsCache(tmp_path, 1000)
    temp_dir = tmp_path / "parts/temp"
    (temp_dir / f"{int(done.stdout)}-dead").write_bytes(b"x")
    (temp_dir / f"{os.getpid()}-alive").write_bytes(b"x")
    PartsCache(tmp_path, 1000)
    assert [path.name for path in temp_dir.iterdir()] == [f"{os.getpid()}-alive"]


def test_an_agent_that_starts_waits_while_another_changes_the_cache(tmp_path):
    PartsCache(tmp_path, 1000)
    started = threading.Thread(target=PartsCache, args=(tmp_path, 1000), daemon=True)
    with (tmp_path / "cache.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started.start()
        started.join(0.3)
        assert started.is_alive()
    started.join(10)
    assert not started.is_alive()


def test_two_agents_fill_one_cache_at_once_and_keep_it_whole(tmp_path):
    text = (
        "import sys, hashlib, random\n"
        "from pathlib import Path\n"
        "from device_agents.parts_cache import PartsCache\n"
        "cache = PartsCache(Path(sys.argv[1]), 20000)\n"
        "chosen = random.Random(int(sys.argv[2]))\n"
        "for _ in range(150):\n"
        "    data = chosen.randrange(60).to_bytes(1, 'big') * 1000\n"
        "    cache.put(hashlib.sha256(data).hexdigest(), 1000, data, 'raw', None)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", text, str(tmp_path), str(seed)], stderr=subprocess.PIPE)
        for seed in (1, 2)
    ]
    for process in running:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr.decode()
    names = stored_names(tmp_path)
    assert 5 <= len(names) <= 40
    for name in names:
        assert sha256((tmp_path / "parts" / name[:2] / name).read_bytes()) == name
    cache = PartsCache(tmp_path, 20000)
    cache.evict(20000)
    assert len(stored_names(tmp_path)) <= 20


def test_a_part_of_another_length_or_content_is_refused_by_the_cache_itself(tmp_path):
    cache = PartsCache(tmp_path, 1000)
    with pytest.raises(Refusal) as caught:
        cache.put("0" * 64, 3, b"abc", "raw", None)
    assert caught.value.kind == "damaged"
