"""`harness search --method blockwise`: from a library of distilled blocks to a trained network within limits on a device."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.commands.blockwise_folder import check_output, write_answer
from harness.commands.blockwise_options import METHOD, Blockwise
from harness.commands.blockwise_setting import load_whole_library, prepare
from harness.commands.blockwise_work import Setting
from harness.commands.query_options import QueryOptions
from space.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from harness.commands.blockwise_answer import Answer
    from harness.commands.blockwise_round import Searched
    from harness.query.query import Query
    from search.blockwise.iterating import Iterated
    from search.blockwise.library import BlockLibrary


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user typed beside the options that other methods have too and those of this one alone."""

    show: tuple[str, ...]
    seed: int
    verify: int | None
    output: Path | None
    devices_file: Path | None
    store_url: str
    json_output: bool


def find_blockwise(
    options: QueryOptions, own: Blockwise, request: Request, say: Callable[[str], None]
) -> None:
    """Search a library, show the answer and write its folder; exit with 1 when no finished network is within the limits.

    Raises: ConfigError, before anything is trained, for whatever is missing or does not fit.
    """
    from harness.commands.blockwise_answer import answer_document
    from harness.commands.blockwise_text import print_blockwise
    from harness.output.tables import print_json

    folder = _check(own, request)
    query = options.query(request.show)
    library = load_whole_library(folder)
    setting = prepare(query, library, own, folder, request.seed, request.store_url, say)
    iterated, searched = search_rounds(library, setting, own)
    with tempfile.TemporaryDirectory(prefix="harness-blockwise-") as scratch:
        work = Path(scratch)
        answer, status = settle(iterated, searched, setting, query, request, folder, work)
        document = answer_document(answer)
        if request.output is not None:
            document = write_answer(request.output, answer, document, work / "fragments")
    if request.json_output:
        print_json(document)
    else:
        print_blockwise(answer)
    if request.output is not None:
        say(f"{request.output}: {', '.join([*document['files'], 'answer.json'])}")
    else:
        say(
            "the trained network is kept: the same command with --output FOLDER exports it, and trains nothing again"
        )
    if not answer.within and not status:
        say("none of the networks measured is within the limits; set a lower limit, or --confidence 0.95")
        status = 1
    if status:
        raise typer.Exit(status)


def search_rounds(
    library: BlockLibrary, setting: Setting, own: Blockwise
) -> tuple[Iterated | None, Searched]:
    """Return the rounds' history, None for a single one, and the round whose answer is the best by validation images."""
    from harness.commands.blockwise_round import search_round
    from harness.commands.blockwise_rounds import search_again
    from search.blockwise.iterating import Budget

    if own.rounds == 1 and own.max_flops is None:
        return None, search_round(library, setting)
    return search_again(library, setting, Budget(rounds=own.rounds, flops=own.max_flops))


def settle(
    iterated: Iterated | None,
    searched: Searched,
    setting: Setting,
    query: Query,
    request: Request,
    folder: Path,
    work: Path,
) -> tuple[Answer, int]:
    """Return the answer, measured where that was asked for, and the exit status of measuring."""
    from harness.commands.blockwise_answer import Answer
    from harness.commands.blockwise_verify import verify_students
    from harness.commands.options import open_store
    from harness.output.campaigns import print_outcome
    from harness.output.progress import ProgressView

    student, measured, within, status = searched.found.best, None, True, 0
    if request.verify is not None:
        quiet = request.json_output and not sys.stderr.isatty()
        with open_store(request.store_url) as store, ProgressView(quiet=quiet) as view:
            verdict = verify_students(
                searched.found.students[: request.verify],
                setting,
                query,
                work,
                store,
                view,
                devices_file=request.devices_file,
            )
        for outcome in verdict.outcomes:
            print_outcome(outcome)
        student, measured, within = verdict.student, verdict.measured, verdict.within
        status = max(outcome.exit_status for outcome in verdict.outcomes)
    answer = Answer(
        setting=setting,
        searched=searched,
        student=student,
        measured=measured,
        within=within,
        iterated=iterated,
        library=folder,
        argv=tuple(sys.argv[1:]),
    )
    return answer, status


def _check(own: Blockwise, request: Request) -> Path:
    """Check what can be without reading anything; return the library's folder."""
    from search.blockwise.predictors import PREDICTORS, SUM
    from search.blockwise.signatures import COLUMNS

    if own.library is None:
        raise ConfigError(
            f"--method {METHOD} searches a library of blocks: name it with --library; 'harness distill' makes one"
        )
    if request.output is not None:
        check_output(request.output)
    if own.predictor and own.predictor not in PREDICTORS:
        raise ConfigError(
            f"--predictor {own.predictor!r} is unknown{did_you_mean(own.predictor, PREDICTORS)} "
            f"(known: {', '.join(PREDICTORS)})"
        )
    columns = own.signature or []
    for name in columns:
        if name not in COLUMNS:
            raise ConfigError(
                f"--signature {name!r} is unknown{did_you_mean(name, COLUMNS)} (known: {', '.join(COLUMNS)})"
            )
    is_sum = (own.predictor or (SUM if own.trained is None else "")) == SUM
    if len(set(columns)) < len(columns) or (is_sum and len(columns) > 1):
        raise ConfigError(
            f"--signature {', '.join(columns)}: name each once, and one alone for --predictor {SUM}"
        )
    if own.predictor not in ("", SUM) and own.trained is None:
        raise ConfigError(
            f"--predictor {own.predictor} is fitted to accuracies: name some with --trained, or take --predictor sum"
        )
    if own.fine_tune == 0 and (own.rounds > 1 or own.max_flops is not None):
        raise ConfigError(
            "--rounds: the next teacher is a network that was fine-tuned; give --fine-tune 1 or more"
        )
    return own.library
