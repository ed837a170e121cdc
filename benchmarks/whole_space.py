"""The whole space from 45 and from 90 measured networks, judged on 80 others; the time from nothing to the table; transfer.

    python benchmarks/whole_space.py [--format onnx] [--store FILE] [--no-segments]

On this machine, with fragments in the cache, for each format:
1. 90 networks (two Latin-square rounds), one quick session each, from an empty store to the table of all networks, timed;
2. 80 random networks, one session each, and the segments, for the rungs that need the sum of parts;
3. one campaign over the 170 networks in random order, one session each: from these the predictors are fitted and judged, so
   that both sides saw the same machine; with the former sessions they tell the repeatability.
Errors are against the mean of the two sessions of a held-out network, coverage is of the single ones of step 3. With two
formats, the first one's coefficients are the prior of the second's: 10 networks, drawn 20 times. With `--store` a second call
goes on where the first stood; what was timed by then is not printed again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from campaigns import run
from machine import describe_machine

from harness.campaign import Options
from harness.commands.prediction import Measured, load_measured, load_segments
from harness.levels import QUICK
from harness.store import Store
from search.latency.audit import audit, parts_sum, render
from search.latency.judging import Errors, judge, repeatability
from search.latency.ladder import fit_ladder
from search.latency.rungs import RUNGS
from space.sampling import select_models

DESIGN, HELD_OUT = "design:2@1", "sample:80@101"
TRANSFER_NETWORKS, TRANSFER_DRAWS = 10, 20
SPLITS = 20
HEADER = f"{'':<34}{'mean':>7}{'median':>8}{'in 5 %':>8}{'in 10 %':>9}{'Spearman':>10}{'Kendall':>9}{'coverage':>10}"


def main() -> None:
    """Measure, predict, judge and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--format", choices=["onnx", "tflite"], action="append", dest="formats")
    parser.add_argument("--store", help="keep what is measured in this file")
    parser.add_argument("--no-segments", action="store_true", help="leave out the sum of parts")
    arguments = parser.parse_args()
    print(describe_machine())
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(arguments.store or str(Path(folder) / "whole-space.sqlite"))
        for model_format in arguments.formats or ["onnx", "tflite"]:
            tables.append(_one_format(store, model_format, with_segments=not arguments.no_segments))
        store.close()
    for prior, target in pairwise(tables):
        _transfer(prior, target)
    print(
        "\ntargets on held-out networks: from 45 median <= 2 %, in 5 % >= 95 %, Spearman >= 0.98; from 90 median <= 1 %,"
        "\nin 5 % >= 98 %, Spearman >= 0.99; coverage 90 +- 4 %; from nothing to the table from 90 <= 5 minutes; transfer "
        "Spearman >= 0.95"
    )


def _one_format(store: Store, model_format: str, *, with_segments: bool) -> Measured:
    options = Options(formats=(model_format,), level=QUICK)
    start = time.perf_counter()
    design = run([DESIGN], store, options)
    (use,) = design.uses
    configuration = use.configuration
    measured = load_measured(store, configuration)
    ladder = fit_ladder(measured.indices, measured.ratios)
    everything = ladder.predict(np.arange(len(measured.config)))
    elapsed_s = time.perf_counter() - start
    print(f"\n{configuration.runtime} {configuration.runtime_version}")
    if design.measured:
        print(
            f"{design.measured} sessions measured and {len(everything.ratios):,} networks predicted in {elapsed_s:.0f} s "
            f"({design.elapsed_s:.0f} s measuring, {design.loop_s:.0f} s in timing loops)"
        )
    run([HELD_OUT], store, options)
    if with_segments:
        segments = run(["segments"], store, options)
        if segments.measured:
            print(f"{segments.measured} segments measured in {segments.elapsed_s:.0f} s")
    run([DESIGN, HELD_OUT], store, Options(formats=(model_format,), level=QUICK, sessions=2), seed=1)
    measured = load_measured(store, configuration)
    parts = load_segments(store, configuration)
    sums = parts_sum(parts, measured.config) if with_segments else None
    held_out = {a.index for a in select_models(HELD_OUT)}
    apart = np.isin(measured.indices, list(held_out))
    indices, truth = measured.indices[apart], measured.ratios[apart]
    firsts, lasts = (_sessions(measured, place) for place in (0, -1))
    last_of = dict(zip(measured.indices.tolist(), lasts.tolist(), strict=True))
    firsts, lasts = firsts[apart], lasts[apart]
    order = [a.index for a in select_models(DESIGN)]
    print(HEADER)
    print(f"{'repeatability, two sessions':<34}{_cells(repeatability(firsts, lasts))}")
    for count in (45, 90):
        chosen = [index for index in order[:count] if index not in held_out]
        ratios = np.array([last_of[index] for index in chosen])
        ladder = fit_ladder(np.array(chosen), ratios, parts_sum=sums)
        print(f"from {len(chosen)} networks")
        for rung in RUNGS:
            report = next(r for r in ladder.reports if r.name == rung.name)
            if report.errors is None:
                continue
            alone = fit_ladder(np.array(chosen), ratios, parts_sum=sums, rungs=[rung])
            predicted = alone.predict(indices)
            inside = ((predicted.low <= lasts) & (lasts <= predicted.high)).mean()
            mark = "*" if rung.name == ladder.chosen else " "
            cells = _cells(judge(predicted.ratios, truth))
            print(f" {mark} {rung.name:<31}{cells}{inside:10.1%}")
        shares = _coverages(measured.indices, _sessions(measured, -1), count, ladder.chosen, sums)
        print(f"   {ladder.chosen}, coverage over {SPLITS} random splits of all{np.mean(shares):46.1%}")
    print("* chosen by cross-validation; errors against all sessions of a network, coverage of single ones")
    if with_segments:
        print(
            render(audit(parts, measured.indices, measured.ratios, ceiling=repeatability(firsts, lasts).mape))
        )
    return measured


def _coverages(
    indices: np.ndarray, ratios: np.ndarray, count: int, name: str, sums: np.ndarray | None
) -> list[float]:
    """Return the share of networks inside their intervals for random splits into `count` fitted and the rest judged.

    One split of 80 judges tells a coverage of 90 % to 3.4 points only.
    """
    rung = next(rung for rung in RUNGS if rung.name == name)
    rng, shares = np.random.default_rng(0), []
    for _ in range(SPLITS):
        fitted, judged = np.split(rng.permutation(len(indices)), [count])
        ladder = fit_ladder(indices[fitted], ratios[fitted], parts_sum=sums, rungs=[rung])
        found = ladder.predict(indices[judged])
        shares.append(float(((found.low <= ratios[judged]) & (ratios[judged] <= found.high)).mean()))
    return shares


def _transfer(prior: Measured, target: Measured) -> None:
    """Judge 10 networks of a configuration with another's prediction as prior, beside the same networks without."""
    names = [measured.configuration.runtime for measured in (prior, target)]
    print(f"\n{names[0]} as prior of {names[1]}, {TRANSFER_NETWORKS} networks, {TRANSFER_DRAWS} draws")
    print(f"{'':<34}{'Spearman, median':>18}{'worst':>8}{'median error, median':>22}{'worst':>8}")
    held_out = [a.index for a in select_models(HELD_OUT)]
    apart = np.isin(target.indices, held_out)
    source = ~np.isin(prior.indices, held_out)
    whole = (
        fit_ladder(prior.indices[source], prior.ratios[source]).predict(np.arange(len(prior.config))).ratios
    )
    rng, lasts = np.random.default_rng(0), _sessions(target, -1)
    found: dict[str, list[Errors]] = {"transfer": [], "ridge": []}
    for _ in range(TRANSFER_DRAWS):
        picked = rng.choice(np.flatnonzero(~apart), TRANSFER_NETWORKS, replace=False)
        for name in found:
            rung = next(rung for rung in RUNGS if rung.name == name)
            ladder = fit_ladder(target.indices[picked], lasts[picked], prior=whole, rungs=[rung])
            predicted = ladder.predict(target.indices[apart])
            found[name].append(judge(predicted.ratios, target.ratios[apart]))
    for name, errors in found.items():
        ranks = [error.spearman or 0.0 for error in errors]
        off = [error.median_ape for error in errors]
        print(f"{name:<34}{np.median(ranks):18.3f}{min(ranks):8.3f}{np.median(off):22.2%}{max(off):8.2%}")


def _sessions(measured: Measured, place: int) -> np.ndarray:
    """Return the ratio of one session of each network: the first (0) or the last (-1)."""
    return np.array([row.session_medians[place] for row in measured.rows])


def _cells(errors: Errors) -> str:
    return (
        f"{errors.mape:7.2%}{errors.median_ape:8.2%}{errors.within_5:8.1%}{errors.within_10:9.1%}"
        f"{errors.spearman or 0:10.3f}{errors.kendall or 0:9.3f}"
    )


if __name__ == "__main__":
    main()
