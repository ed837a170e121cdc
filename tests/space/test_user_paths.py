"""Paths as people write them, and a home folder that is none."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from space.errors import ConfigError
from space.user_paths import check_is_there, expand_user, home_folder, own_folder


def test_a_tilde_is_the_home_folder_at_the_beginning_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_user("~/a/b") == tmp_path / "a" / "b"
    assert expand_user("~") == home_folder() == tmp_path
    assert expand_user("a/~") == Path("a/~") and expand_user("") == Path()
    assert expand_user(f"~{pwd.getpwuid(os.getuid()).pw_name}") == Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_a_text_that_is_no_path_is_refused() -> None:
    for text in ("~a\0", "/a\0b", "$A\0", "~/\0"):
        with pytest.raises(ConfigError, match="holds a zero character, which no path does"):
            expand_user(text)


def test_a_user_whom_no_one_knows_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match="~no-such-user/x: there is no user 'no-such-user'; write the whole"
    ):
        expand_user("~no-such-user/x")


@pytest.mark.parametrize("home", ["", "relative", "/no/such/folder"])
def test_a_home_that_is_no_folder_is_refused_by_its_variable(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.chdir(tmp_path)
    for ask in (home_folder, lambda: expand_user("~/x")):
        with pytest.raises(ConfigError, match=rf"\$HOME is '{home}', which is no folder; set HOME to"):
            ask()


def test_without_the_variable_the_home_is_that_of_the_password_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOME")
    assert home_folder() == Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_a_folder_of_the_user_s_own_is_never_within_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_folder(f"{tmp_path}/.cache/x") == tmp_path / ".cache/x"
    with pytest.raises(
        ConfigError, match="the folder 'cache/x' is not absolute; set HOME, and XDG_DATA_HOME"
    ):
        own_folder("cache/x")
    monkeypatch.setenv("HOME", "/no/such/folder")
    assert own_folder("/data/x") == Path("/data/x"), "XDG_DATA_HOME names it"
    with pytest.raises(ConfigError, match="HOME is '/no/such/folder'"):
        own_folder("/no/such/folder/.cache/x")


def test_variables_are_expanded_unless_a_file_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "~/data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_user("$DATA/x") == expand_user("${DATA}/x") == tmp_path / "data" / "x"
    assert expand_user("$NOT_SET/x") == Path("$NOT_SET/x")
    Path("$DATA").mkdir()
    assert expand_user("$DATA") == Path("$DATA")


def test_a_user_without_a_home_uses_the_folders_that_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert own_folder("/data/x") == Path("/data/x")
    with pytest.raises(ConfigError, match="no home folder is known of this user; set HOME"):
        expand_user("~/x")


def test_a_name_of_nothing_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there.toml").touch()
    assert check_is_there(None) is None
    assert check_is_there(Path("~/there.toml")) == Path("~/there.toml")
    with pytest.raises(
        ConfigError, match=r"^~/gone.toml: cannot be read: No such file or directory; check the path$"
    ):
        check_is_there(Path("~/gone.toml"))
    with pytest.raises(ConfigError, match=r"Not a directory; check the path"):
        check_is_there(tmp_path / "there.toml" / "below")
