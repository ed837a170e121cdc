"""Exported fragments on disk, content-addressed, safe under several processes.

    ROOT/entries/KEY.json      which blobs make up a fragment; written last, so that it never names a missing blob
    ROOT/blobs/AB/ABCD...      bytes named by their sha256

KEY is the sha256 of everything that the bytes depend on. A blob is verified by its name whenever it is read; a
fragment with an unreadable entry or blob counts as absent and is exported anew. Files appear by atomic rename,
so two processes that export the same fragment both leave a whole one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporters.errors import ConversionError
from space.atomic_files import write_whole
from space.system_errors import with_remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFragment:
    """Contribution of one fragment: its weight part, and a layout that only its format understands.

    `layout` is JSON text. A fragment without weights has no part.
    """

    part: bytes | None
    layout: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentCache:
    """Keep exported fragments below a folder."""

    root: Path

    def load(self, key: str) -> ExportedFragment | None:
        """Return a fragment, or None if it is absent or damaged in any way."""
        try:
            entry = json.loads(self._entry_path(key).read_bytes())
            part, layout = entry["part"], entry["layout"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        layout_bytes = self._load_blob(layout)
        part_bytes = None if part is None else self._load_blob(part)
        if layout_bytes is None or (part is not None and part_bytes is None):
            return None
        return ExportedFragment(part=part_bytes, layout=layout_bytes)

    def save(self, key: str, fragment: ExportedFragment) -> None:
        """Keep a fragment, replacing a damaged one.

        Raises:
            ConversionError: the folder cannot be written.
        """
        entry = {
            "layout": self._save_blob(fragment.layout),
            "part": None if fragment.part is None else self._save_blob(fragment.part),
        }
        self._write(self._entry_path(key), json.dumps(entry).encode())

    def _load_blob(self, digest: object) -> bytes | None:
        if not isinstance(digest, str) or len(digest) != 64 or not digest.isalnum():
            return None
        try:
            data = self._blob_path(digest).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def _save_blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if self._load_blob(digest) is None:
            self._write(self._blob_path(digest), data)
        return digest

    def _write(self, path: Path, data: bytes) -> None:
        try:
            write_whole(path, data)
        except OSError as error:
            raise ConversionError(
                f"fragment cache {self.root} cannot be written: {with_remedy(error, 'check the folder')}; "
                "HARNESS_CACHE names another folder"
            ) from error

    def _entry_path(self, key: str) -> Path:
        return self.root / "entries" / f"{key}.json"

    def _blob_path(self, digest: str) -> Path:
        return self.root / "blobs" / digest[:2] / digest


def cache_key(facts: Mapping[str, object]) -> str:
    """Return the key of a fragment: the sha256 of all facts that its bytes depend on, as sorted JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
