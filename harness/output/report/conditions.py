"""Provenance of a device's latencies, as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from device_agents.names import short_provider
from harness.output.sustained import summary
from harness.prediction.provenance import untold_text
from harness.store.configurations import configuration_id
from harness.store.database import hide
from space.text import counted

if TYPE_CHECKING:
    from harness.estimates.sustained import Sustained
    from harness.prediction.provenance import Provenance
    from harness.query.query import Query
    from harness.records import Configuration

CLOCK_TIERS = {
    "A": "A: clocks locked",
    "B": "B: governor performance",
    "F": "F: Android's fixed-performance mode",
    "C": "C: clocks free, or not known to be fixed",
}


def condition_lines(provenance: Provenance, under_load: Sequence[Sustained] = ()) -> list[tuple[str, str]]:
    """Return label and text of each known condition, and the summaries of runs under load."""
    lines: list[tuple[str, str]] = []
    if provenance.configuration is None:
        lines.append(("file", provenance.origin))
    else:
        lines += _configuration(provenance.configuration, provenance.conditions)
    lines.append(("networks", _networks(provenance)))
    if provenance.error is not None:
        lines.append(
            (
                "error of predictions",
                f"{provenance.error:.1%} on average, of networks that were not fitted on",
            )
        )
    if provenance.repeatability is not None:
        error, count = provenance.repeatability
        lines.append(
            ("repeatability", f"{error:.1%} on average between two sessions of {counted(count, 'network')}")
        )
    if any(provenance.grades.values()):
        lines.append(
            ("grades", ", ".join(f"{count:,} {grade}" for grade, count in provenance.grades.items() if count))
        )
    left_out = (("grade D", provenance.doubtful.graded_text), ("failed", provenance.doubtful.failed_text))
    lines += [(label, text) for label, text in left_out if text]
    if provenance.measured_utc:
        lines.append(("last measured", _minute(provenance.measured_utc)))
    lines += [("under load", f"{one.run.architecture}: {summary(one)[0]}") for one in under_load]
    return lines


def _configuration(configuration: Configuration, conditions: Mapping[str, Any]) -> list[tuple[str, str]]:
    c = configuration
    lines = [
        ("device", c.device),
        ("hardware", c.hardware),
        ("runtime", f"{c.runtime} {c.runtime_version}"),
        ("provider", short_provider(c.provider)),
        ("precision", f"{c.precision} model, {c.arithmetic or 'unknown'} arithmetic"),
        *([("batch", f"{c.batch} images a run")] * (c.batch > 1)),
        *([("provider options", c.provider_options)] * bool(c.provider_options)),
        *([("environment", c.environment)] * bool(c.environment)),
        ("threads", str(c.threads)),
        ("cores", ", ".join(map(str, c.cores)) or "any"),
        ("clock tier", CLOCK_TIERS.get(c.clock_tier, c.clock_tier)),
    ]
    governors = conditions.get("governors", {})
    if names := sorted({str(governors[key]) for key in map(str, c.cores) if key in governors}):
        lines.append(("governor", ", ".join(names)))
    lines += [
        (label, str(conditions[key]))
        for key, label in (
            ("os", "operating system"),
            ("android", "Android"),
            ("board", "board"),
            ("soc", "SoC"),
        )
        if conditions.get(key)
    ]
    return [*lines, ("configuration", configuration_id(c))]


def _networks(provenance: Provenance) -> str:
    if provenance.is_untold:
        return untold_text(provenance)
    text = f"{provenance.measured:,} measured"
    if provenance.predicted:
        text += f", {provenance.predicted:,} predicted"
        return f"{text} by {provenance.predictor}" if provenance.predictor else text
    return f"{text}, predictor {provenance.predictor}" if provenance.predictor else text


def _minute(utc: str) -> str:
    """Return a stored time to the minute, unchanged where it is no ISO 8601."""
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromisoformat(utc).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return utc


def query_options(query: Query, store_url: str) -> dict[str, object]:
    """Return the options that repeat a query in another command, by their names; defaults are empty.

    Devices, limits and confidence are left out: the page adds those that it shows.
    """
    source, latencies, choice = query.accuracies, query.latencies, query.latencies.choice
    return {
        "--accuracies": source.paths if source.is_of_files else "FILE",
        "--metric": source.metric,
        "--epoch": "" if source.epoch == "best" else source.epoch,
        "--training-seed": source.seeds,
        "--accuracy-sd": source.noise_sd,
        "--allow-pickle": source.allow_pickle,
        "--latencies": latencies.files,
        "--measured-only": latencies.measured_only,
        "--doubtful": latencies.doubtful,
        "--runtime": choice.runtime,
        "--threads": choice.threads,
        "--precision": choice.precision,
        "--batch": choice.batch,
        "--space": latencies.space or choice.space,
        "--store": store_url,
    }


def command_line(words: Sequence[str], options: Mapping[str, object]) -> str:
    """Return a command line with those of the options that were given; a list's option is repeated, True is a flag.

    A value that holds a password is left out.
    """
    import shlex

    line = list(words)
    for name, value in options.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is True:
                line.append(name)
            elif one not in (None, "") and one is not False and hide(str(one)) == str(one):  # 0 is a value
                line += [name, str(one)]
    return shlex.join(line)
