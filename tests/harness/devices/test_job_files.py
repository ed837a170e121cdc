"""The file of a packed job's results before anything of it is taken: what is no plain file, packed oddly, or named wrongly."""

from __future__ import annotations

import hashlib
import hmac
import json
import zipfile
from pathlib import Path

import pytest
from rigs.no_plain_files import KINDS, no_plain_file

from harness.devices.job_files import JobResults, KnownJob, open_results
from space.errors import ConfigError

KEY, JOB, RECORD = "0" * 64, b'{"job": "j"}', b'{"at": 0}\n'
MANIFEST = {
    "format": 1,
    "job": "00000000-0000-0000-0000-000000000000",
    "job_digest": hashlib.sha256(JOB).hexdigest(),
    "run": "0" * 32,
    "written_utc": "2026-01-01T00:00:00Z",
    "files": {"visit-0001.jsonl": hashlib.sha256(RECORD).hexdigest()},
}


def write_results(path: Path, packing: int = zipfile.ZIP_DEFLATED, name: str = "job.json") -> Path:
    manifest = json.dumps(MANIFEST).encode()
    files = {
        name: JOB,
        "visit-0001.jsonl": RECORD,
        "manifest.json": manifest,
        "manifest.mac": hmac.new(KEY.encode(), manifest, "sha256").hexdigest().encode(),
    }
    with zipfile.ZipFile(path, "w", packing) as archive:
        for one, data in files.items():
            archive.writestr(one, data)
    return path


def opened(path: Path) -> JobResults:
    return open_results(path, lambda job: KnownJob(job_digest=str(MANIFEST["job_digest"]), key=KEY))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = no_plain_file(kind, tmp_path / "job-results.zip")
    with pytest.raises(ConfigError, match=r"no plain file; name the job's -results\.zip"):
        opened(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_what_is_packed_as_no_job_packs_is_refused(packing: int, tmp_path: Path) -> None:
    assert opened(write_results(tmp_path / "right.zip")).visits == ("visit-0001.jsonl",)
    with pytest.raises(ConfigError, match="packed as none is"):
        opened(write_results(tmp_path / "other.zip", packing))


def test_a_name_that_is_no_text_is_told_with_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = write_results(tmp_path / "job-results.zip", name="j\u00f6b.json")
    path.write_bytes(path.read_bytes().replace("\u00f6".encode(), b"\xff\xff"))
    with pytest.raises(
        ConfigError, match=r"job-results\.zip: no whole results.* copy them from the device again"
    ):
        opened(path)
