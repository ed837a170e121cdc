"""Remedies follow from what the system said, the right one each."""

from __future__ import annotations

import errno
import os

import pytest

from space.system_errors import remedy_for


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "share of the disk is used up"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "the whole system"),
        (errno.EROFS, "on that file system"),
        (errno.EACCES, "may not"),
        (errno.EPERM, "may not"),
        (errno.ENOMEM, "too little memory"),
        (errno.EAGAIN, "too many processes"),
        (errno.EIO, "dmesg"),
        (errno.ENAMETOOLONG, "a shorter name"),
    ],
)
def test_each_refusal_of_a_system_has_its_own_remedy(number: int, words: str) -> None:
    error = OSError(number, os.strerror(number), "/x")
    assert words in remedy_for(error, "check the path")
    assert remedy_for(error) == remedy_for(f"the device's system refused: {error}"), (
        "as a device tells it, too"
    )


def test_what_is_not_known_has_the_remedy_of_who_asks() -> None:
    assert (
        remedy_for(FileNotFoundError(errno.ENOENT, "No such file or directory"), "check the path")
        == "check the path"
    )
    assert remedy_for("no trouble at all") == ""
