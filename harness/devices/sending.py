"""Sending the parts of models that a device lacks: in chunks that the link's rate sizes, from where a broken link left off."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from harness.errors import AgentError
from space.assembly import Assembly

DICTIONARY_BYTES = 1 << 15
MIN_CHUNK_BYTES = 1 << 13
FIRST_CHUNK_BYTES = 1 << 15
MAX_CHUNK_BYTES = 1 << 22
CHUNK_S = 1.5  # a chunk's aim, its answer included: so often progress is told and Ctrl-C is heeded
LEAST_BYTES_PER_S = 1000  # a link that is slower counts as broken
# A larger request was sized for a faster link: one that slowed down so much is opened again.
PATIENT_BYTES = 1 << 17
DIGESTS_AT_ONCE = 10_000  # a request's header holds some more
CORRECTIONS_A_PART = 2
AHEAD = 2  # chunks on the way at once: while one is answered the next one is sent
SMALL_AHEAD = 128  # small parts on the way at once, of as many bytes: their answers fit into any pipe

# What was sent of the parts that the device lacked, and their size, in bytes before compression.
Progress = Callable[[int, int], None]
# Small parts whose answers are not there yet: size, bytes of the payload, what waits for the answer.
_OnWay = deque[tuple[int, int, Callable[[], None]]]


def patience_s(size_bytes: int) -> float:
    """Return how long a link at the least rate takes for a request, besides the time of the answer itself."""
    return min(size_bytes, PATIENT_BYTES) / LEAST_BYTES_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part to be sent. `dictionary` is the preset dictionary of a skeleton's compression, None for other parts."""

    digest: str
    read: Callable[[], bytes] = field(repr=False)
    dictionary: str | None = None
    read_dictionary: Callable[[], bytes] | None = field(default=None, repr=False)


def parts_of(models: Iterable[Assembly]) -> dict[str, Part]:
    """Return the parts of models by digest, each once; dictionaries stand before the skeletons that need them."""
    parts: dict[str, Part] = {}
    for model in models:
        for digest in model.shared:
            if digest not in parts:
                parts[digest] = Part(digest=digest, read=partial(model.read_part, digest))
        if model.skeleton_digest not in parts:
            parts[model.skeleton_digest] = Part(
                digest=model.skeleton_digest,
                read=lambda model=model: model.skeleton,  # type: ignore[misc]
                dictionary=model.dictionary,
                read_dictionary=partial(model.read_part, model.dictionary) if model.dictionary else None,
            )
    return parts


class PartSender:
    """Sender of parts over one connection.

    `post` sends one request with a payload, and returns its size on the wire and what waits for its answer; answers are waited
    for in the order of the requests. `sent_bytes` counts those of which it is known that they came. `unanswered`: by part, how
    far the others would bring it, and their size; where the link broke, the next one's sender takes them over.
    """

    def __init__(
        self,
        post: Callable[..., tuple[int, Callable[[], None]]],
        clock_s: Callable[[], float] = time.monotonic,
        unanswered: dict[str, list[tuple[int, int]]] | None = None,
    ) -> None:
        self._post, self._clock_s = post, clock_s
        self._chunk_bytes = FIRST_CHUNK_BYTES
        self.unanswered = unanswered or {}
        self.sent_bytes = 0

    def settle(self, asked: Iterable[str], missing: Container[str], received: Mapping[str, int]) -> None:
        """Count what came though its answer did not, now that the device says which parts it lacks and how far it has those."""
        for digest in asked:
            for end, size in self.unanswered.pop(digest, ()):
                if digest not in missing or end <= received.get(digest, 0):
                    self.sent_bytes += size

    def send(self, parts: Sequence[Part], received: Mapping[str, int], on_progress: Progress) -> None:
        """Send parts in their order; `received` counts the bytes that the device has of each already.

        Raises: AgentError, LinkError; what the device has by then it keeps.
        """
        sizes = {part.digest: len(part.read()) for part in parts}
        there = {digest: min(received.get(digest, 0), size) for digest, size in sizes.items()}
        done, total = sum(there.values()), sum(sizes.values())
        small = {one for one, size in sizes.items() if not there[one] and size <= FIRST_CHUNK_BYTES}
        for is_small, alike in groupby(parts, lambda part: part.digest in small):
            if is_small:
                for size in self._send_small(alike):
                    done += size
                    on_progress(done, total)
                continue
            for part in alike:
                begun = there[part.digest]

                def tell(offset: int, before: int = done - begun) -> None:
                    on_progress(before + offset, total)

                self.send_part(part, begun, tell)
                done += sizes[part.digest] - begun
                on_progress(done, total)

    def _send_small(self, parts: Iterable[Part]) -> Iterator[int]:
        """Send parts whole, each before the answers to those before it; yield the size of each that was taken."""
        on_way = _OnWay()
        for part in parts:
            most_bytes = AHEAD * self._chunk_bytes
            while len(on_way) >= SMALL_AHEAD or sum(sent for _, sent, _ in on_way) >= most_bytes:
                yield _answered(on_way)
            data = part.read()
            on_way.append((len(data), *self._post_whole(part, data)))
        while on_way:
            yield _answered(on_way)

    def send_part(self, part: Part, received: int, on_offset: Callable[[int], None]) -> None:
        """Send a part from its byte `received` on; `on_offset` is told how far it is."""
        data = part.read()
        offset, corrections, since_s = received, 0, self._clock_s()
        on_way: deque[tuple[int, int, Callable[[], None]]] = deque()  # begin, end, what waits for the answer
        while True:
            while len(on_way) < AHEAD and (offset < len(data) or not on_way):
                end = min(offset + self._chunk_bytes, len(data))
                answered = self._post_chunk(part.digest, len(data), offset, data[offset:end])
                on_way.append((offset, end, answered))
                offset = end
            begin, end, answered = on_way.popleft()
            try:
                answered()
            except AgentError as error:
                for *_, answered in on_way:  # what came behind it is out of step, as a rule
                    with suppress(AgentError):
                        answered()
                on_way.clear()
                corrections += 1
                offset, since_s = _corrected(error, begin, len(data), corrections), self._clock_s()
                continue
            now_s = self._clock_s()
            self._chunk_bytes, since_s = _next_chunk(end - begin, now_s - since_s), now_s
            on_offset(end)
            if end >= len(data):
                return

    def _post_whole(self, part: Part, data: bytes) -> tuple[int, Callable[[], None]]:
        """Send a part in one request; return the bytes of its payload, and what waits for the answer."""
        dictionary, encoding = part.dictionary, "zlib"
        payload = compress(data, part.read_dictionary() if part.read_dictionary is not None else None)
        if len(payload) >= len(data):
            payload, encoding, dictionary = data, "raw", None
        fields = {
            "digest": part.digest,
            "size_bytes": len(data),
            "encoding": encoding,
            "dictionary": dictionary,
        }
        return len(payload), self._post_part(len(data), payload, fields)

    def _post_chunk(self, digest: str, size_bytes: int, offset: int, chunk: bytes) -> Callable[[], None]:
        payload, encoding = zlib.compress(chunk, 1), "zlib"
        if len(payload) >= len(chunk):
            payload, encoding = chunk, "raw"
        whole: dict[str, Any] = {"digest": digest, "size_bytes": size_bytes, "encoding": encoding}
        whole |= {"offset": offset, "chunk_bytes": len(chunk)}
        return self._post_part(offset + len(chunk), payload, whole)

    def _post_part(self, end: int, payload: bytes, fields: dict[str, Any]) -> Callable[[], None]:
        """Send what brings a part to its byte `end`; return what waits for the answer, and counts it."""
        digest: str = fields["digest"]
        size, wait = self._post("put", payload, **fields)
        waiting = self.unanswered.setdefault(digest, [])
        waiting.append((end, size))

        def answered() -> None:
            try:
                wait()
                self.sent_bytes += size
            except AgentError:
                waiting.remove((end, size))
                raise
            waiting.remove((end, size))

        return answered


def compress(data: bytes, dictionary: bytes | None) -> bytes:
    """Compress a skeleton with zlib level 9, with the end of `dictionary` as preset dictionary when there is one."""
    if dictionary is None:
        return zlib.compress(data, 9)
    packer = zlib.compressobj(9, zlib.DEFLATED, zdict=dictionary[-DICTIONARY_BYTES:])
    return packer.compress(data) + packer.flush()


def _answered(on_way: _OnWay) -> int:
    """Wait for the first answer, and return the part's size. Raises: AgentError, once all the others are answered."""
    size, _, answered = on_way.popleft()
    try:
        answered()
    except AgentError:
        for *_, answered in on_way:
            with suppress(AgentError):
                answered()
        raise
    return size


def _corrected(error: AgentError, offset: int, size_bytes: int, corrections: int) -> int:
    """Return where to go on after a chunk was refused. Raises: the error where nothing helps."""
    has = error.details.get("received_bytes")
    if corrections <= CORRECTIONS_A_PART:
        if error.kind == "out-of-step" and type(has) is int and 0 <= has <= size_bytes and has != offset:
            return has
        if error.kind == "damaged":  # what was there from before was: the device has removed it
            return 0
    raise error


def _next_chunk(size_bytes: int, took_s: float) -> int:
    """Return the bytes that take about `CHUNK_S` at the rate of the last chunk, at most four times as many."""
    wanted = size_bytes * min(4.0, CHUNK_S / max(took_s, 1e-6))
    return int(min(MAX_CHUNK_BYTES, max(MIN_CHUNK_BYTES, wanted)))
