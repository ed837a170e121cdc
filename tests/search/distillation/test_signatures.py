"""Signatures: the same bits after a round trip, and a refusal that names what is wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from search.distillation.signatures import COLUMNS, Signatures
from space import MINI, SpaceConfig
from space.errors import ConfigError

SHAPE = (2, 45)


def made(seed: int = 0, config: SpaceConfig = MINI) -> Signatures:
    rng = np.random.default_rng(seed)
    shape = (config.stages, len(config.blocks))
    unknown = np.where(rng.random(shape) < 0.2, np.nan, rng.normal(0, 1e-7, shape))
    return Signatures(
        config=config,
        teacher="0" * 64,
        task="synthetic:0:20/5/20",
        columns={"nsr": rng.random(shape), "loss_change": unknown, "latency:pi 4, LiteRT": rng.random(shape)},
        notes={"made": "synthetic, by a test"},
    )


def assert_same(first: Signatures, second: Signatures) -> None:
    for name in ("config", "teacher", "task", "notes"):
        assert getattr(first, name) == getattr(second, name)
    assert list(sorted(first.columns)) == sorted(second.columns)
    for name, values in first.columns.items():
        assert values.tobytes() == second.columns[name].tobytes(), name  # bits; NaN too


def test_a_round_trip_through_json_a_file_and_pickle_keeps_every_bit(tmp_path: Path) -> None:
    odd = SpaceConfig(name="my own", ops=("conv", "other"), widths=(8, 16, 32), image_size=8, classes=3)
    for config in (MINI, odd):
        signatures = made(config=config)
        assert_same(signatures, Signatures.from_json(signatures.to_json()))
        signatures.save(tmp_path / "signatures.json")
        assert_same(signatures, Signatures.load(tmp_path / "signatures.json"))
        assert_same(signatures, pickle.loads(pickle.dumps(signatures)))  # noqa: S301
        assert [path.name for path in tmp_path.iterdir()] == ["signatures.json"]


def test_the_digest_names_the_content_whatever_the_order_of_columns() -> None:
    first = made()
    turned = dict(reversed(first.columns.items()))
    same = Signatures(
        config=MINI, teacher=first.teacher, task=first.task, columns=turned, notes=dict(first.notes)
    )
    assert first.digest == same.digest != made(seed=1).digest


def test_columns_are_copies_that_cannot_be_written_to() -> None:
    given = np.zeros(SHAPE)
    signatures = Signatures(config=MINI, teacher="t", task="digits", columns={"mse": given})
    given[0, 0] = 7
    assert signatures.column("mse")[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        signatures.column("mse")[0, 0] = 1


def test_a_device_s_latencies_are_added_without_touching_the_rest() -> None:
    first = made()
    second = first.with_columns({"latency:desk": np.ones(SHAPE)})
    assert "latency:desk" not in first.columns
    assert set(second.columns) == {*first.columns, "latency:desk"}
    assert second.columns["nsr"].tobytes() == first.columns["nsr"].tobytes()
    assert (second.with_columns({"nsr": np.ones(SHAPE)}).column("nsr") == 1).all()  # in place of the former


def test_an_unknown_column_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no column 'nrs'; did you mean 'nsr'"):
        made().column("nrs")
    for name in ("los_change", "latency:", "latency: ", "latency:x "):
        with pytest.raises(ConfigError, match="no column is named"):
            made().with_columns({name: np.zeros(SHAPE)})
    assert set(made().with_columns({name: np.zeros(SHAPE) for name in COLUMNS}).columns) >= set(COLUMNS)


def test_values_that_make_no_sense_are_refused_with_their_place() -> None:
    infinite = np.zeros(SHAPE)
    infinite[1, 4] = -np.inf
    with pytest.raises(ConfigError, match=rf"mse of {MINI.blocks[4]} in stage 1 is -inf".replace("+", r"\+")):
        made().with_columns({"mse": infinite})
    with pytest.raises(ConfigError, match=r"shape \(45, 2\).*2 stages of 45 blocks"):
        made().with_columns({"mse": np.zeros((45, 2))})
    with pytest.raises(ConfigError, match="name the teacher"):
        Signatures(config=MINI, teacher="", task="digits", columns={})
    with pytest.raises(ConfigError, match="give texts under names"):
        Signatures(config=MINI, teacher="t", task="digits", columns={}, notes={"epochs": 3})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "recipe"}, "is no blockwise-signatures"),
        ({"version": 2}, "version 2 cannot be read"),
        ({"teacher": None}, "name the teacher"),
        ({"columns": {"nsr": [[1.0], [2.0, 3.0]]}}, "'nsr' is no table"),
        ({"columns": {"nsr": [["1.0"] * 45] * 2}}, "'nsr' is no table"),
        ({"columns": {"nsr": [[True] * 45] * 2}}, "'nsr' is no table"),
        ({"columns": {"nsr": [[10**400] * 45] * 2}}, "'nsr' is no table"),
        ({"columns": {"nsr": 3}}, "'nsr' is no table"),
        ({"columns": []}, "cannot be used"),
        ({"space": {"name": "mini"}}, "cannot be used"),
        ({"space": None}, "cannot be used"),
    ],
)
def test_a_damaged_text_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Signatures.from_json(json.dumps(json.loads(made().to_json()) | change))


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "signatures.json"
    with pytest.raises(ConfigError, match=f"{path}: cannot be read: .*score a library first"):
        Signatures.load(path)
    for content in (b"", b"\xff\xfe", b"[]", made().to_json().encode()[:-20]):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=str(path)):
            Signatures.load(path)
    with pytest.raises(ConfigError, match="cannot be written"):
        made().save(path / "signatures.json")
