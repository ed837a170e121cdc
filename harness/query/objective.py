"""Objectives of a search without accuracies: a sum over blocks, by the name of a count or from a file of one's own.

    part,score
    site1:mb3_k3,0.31
    site1:skip,0

Such a file has a score for each candidate at each site, or for each cell of a stage, as `--models segments` names them; a
network's is their sum, and higher is better.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.query.cost_names import COUNTED, check_objective
from harness.query.properties import property_sums
from search.table.costs import BlockSums
from space import SpaceConfig
from space.errors import ConfigError, did_you_mean
from space.text import agreeing, counted
from space.text_files import read_text

SHOWN = 3  # parts that a message names
LARGEST = 1e12  # of a score: the sums of thousands still differ by what 16 digits tell
MAX_FILE_BYTES = 16 * 1024 * 1024
_PART = re.compile(r"(?:segment:)?(?P<kind>site|cell)(?P<number>[0-9]{1,4}):(?P<block>.+)")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objective:
    """A score of every network as a sum over blocks, higher is better; `origin` says where it is from."""

    name: str
    origin: str
    sums: BlockSums


def load_objective(text: str | Mapping[str, float], config: SpaceConfig) -> Objective:
    """Return one of `COUNTED`, or what a mapping or a CSV file says of each part.

    Raises: ConfigError where it is none of these, or parts of the space have no score.
    """
    if isinstance(text, Mapping):
        file = io.StringIO()
        csv.writer(file).writerows([("part", "score"), *text.items()])
        return _scored(Path("objective"), file.getvalue(), config)
    if text in COUNTED:
        cost = property_sums(text, config)
        return Objective(name=text, origin=cost.title, sums=cost.totals[0])
    check_objective(text)
    path = Path(text)
    content = read_text(path, error=ConfigError, remedy="check --objective", most=MAX_FILE_BYTES)
    return _scored(path, content, config)


def _scored(path: Path, content: str, config: SpaceConfig) -> Objective:
    """Return the objective of a file's content. Raises: ConfigError, see `load_objective`."""
    name, scores = _rows(path, content)
    wanted = dict(_parts(config))
    for part, (line, _) in scores.items():
        if part not in wanted:
            raise ConfigError(
                f"{path}, line {line}: part {part!r} is none that networks of space {config.name!r} choose"
                + (did_you_mean(part, wanted) or f"; they are such as {next(iter(wanted))}")
            )
    if missing := [part for part in wanted if part not in scores]:
        raise ConfigError(
            f"{path}: {len(missing)} of {len(wanted)} parts of space {config.name!r} "
            f"{agreeing(len(missing), 'has', 'have')} no score, such as {', '.join(missing[:SHOWN])}; give each one, 0 where "
            "it adds nothing"
        )
    blocks = np.zeros((config.stages, len(config.blocks)))
    for part, place in wanted.items():
        blocks[place] += scores[part][1]
    return Objective(name=name, origin=str(path), sums=BlockSums(blocks=blocks, constant=0.0))


def _parts(config: SpaceConfig) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each part that networks choose, with its stage and block; of a choice, those at every site that follows it."""
    for stage, blocks in enumerate(config.choices):
        for place, _ in config.layout.followers(stage):
            kind, number = config.layout.numbered(place)
            for block in blocks:
                yield f"{kind}{number}:{config.blocks[block]}", (stage, block)


def _rows(path: Path, content: str) -> tuple[str, dict[str, tuple[int, float]]]:
    """Return the title of the scores, and each part's with the line that it stands in."""
    reader = csv.reader(content.splitlines())
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}: {error}; write a part and its score, separated by a comma"
        ) from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if len(header) != 2 or header[0] != "part" or not header[1]:
        raise ConfigError(f"{path}, line 1: the columns are {','.join(header) or 'none'}; write part,score")
    found: dict[str, tuple[int, float]] = {}
    for line, row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        part, score = _row(path, line, row)
        if part in found:
            raise ConfigError(
                f"{path}, line {line}: part {part!r} has a score in line {found[part][0]}; drop one"
            )
        found[part] = line, score
    return header[1], found


def _row(path: Path, line: int, row: Sequence[str]) -> tuple[str, float]:
    if len(row) != 2:
        raise ConfigError(f"{path}, line {line}: {counted(len(row), 'cell')}; write a part and its score")
    match = _PART.fullmatch(row[0].strip())
    if match is None:
        raise ConfigError(
            f"{path}, line {line}: {row[0].strip()!r} names no part; write site0:CANDIDATE or cell0:BLOCK"
        )
    try:
        score = math.nan if "_" in row[1] else float(row[1])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise ConfigError(f"{path}, line {line}: score {row[1].strip()!r} is no finite number; write one")
    if abs(score) > LARGEST:
        raise ConfigError(
            f"{path}, line {line}: score {row[1].strip()!r} is beyond {LARGEST:g}, where sums lose the smaller scores; divide all"
        )
    return f"{match['kind']}{int(match['number'])}:{match['block']}", score
