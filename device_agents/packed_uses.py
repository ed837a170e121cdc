"""Choice of a device's runtimes and models for a packed job."""

from __future__ import annotations

import sys
from typing import Any

from device_agents import PROTOCOL
from device_agents.choices import old_version, wanted_runtimes
from device_agents.names import short_provider
from device_agents.pacing import Durations, Pace
from device_agents.packed_agent import AgentProcess, Answer, Stop

HELLO_S = 150.0  # importing a large runtime on a small board takes long


class Use:
    """A runtime of this device with a group of the job's models."""

    def __init__(
        self,
        runtime: Answer,
        provider: str,
        group_number: int,
        group: dict[str, Any],
        provider_options: dict[str, dict[str, str]],
    ) -> None:
        self.name = str(runtime["name"])
        self.provider = provider
        self.options: dict[str, Any] = {"provider": provider} if runtime.get("providers") else {}
        given = provider_options.get(short_provider(provider).partition("+")[0])
        if given and self.name == "onnxruntime":
            self.options["provider_options"] = given
        self.group = group
        self.key = {
            "runtime": self.name,
            "version": "%s %s" % (runtime["package"], runtime["version"]),
            "provider": provider,
            "group": group_number,
        }
        self.title = self.name if group["precision"] == "fp32" else "%s %s" % (self.name, group["precision"])
        self.title += " batch %d" % group["batch"] if group["batch"] > 1 else ""
        self.left = list(range(len(group["rounds"])))
        self.sensor: Answer | None = None  # of energy, once it was looked for
        self.failed_in_a_row = 0
        self.references: list[dict[str, Any]] = [group["reference"], *group.get("shorter", [])]
        self.reference = self.references[0]
        self.durations: Durations | None = None

    @property
    def is_open(self) -> bool:
        """Return whether the reference of a file is still to be chosen."""
        return "shorter" in self.group and self.durations is None

    @property
    def beside(self) -> dict[str, Any]:
        """Return the chosen references as records hold them; none of networks, whose reference the job names."""
        return {} if self.durations is None else {"beside": self.durations._asdict()}

    def choose(self, durations: Durations) -> None:
        """Have the model timed as its durations say."""
        self.durations = durations
        self.reference = next(one for one in self.references if one["graph_hash"] == durations.reference)

    def plan(self, number: int) -> dict[str, Any]:
        """Return how sessions of a round are timed."""
        found = Pace() if self.durations is None else Pace.of(*self.durations[:2])
        return found.applied(self.group["rounds"][number]["plan"])


def greet(agent: AgentProcess, job: dict[str, Any]) -> Answer:
    """Return the agent's answer to `hello`, about the runtimes that the job names; about all where it names or has none."""
    named = sorted({text.partition(":")[0] for text in job["runtimes"]})
    told = {"protocol": PROTOCOL, "harness": job["harness"], "environment": job["environment"]}
    told["vendor_libraries"] = job.get("vendor_libraries")
    hello = agent.ask("hello", HELLO_S, **told, runtimes=named or None)
    if named and hello.get("runtimes") == []:
        hello = agent.ask("hello", HELLO_S, **told)
    return hello


def choose_uses(job: dict[str, Any], hello: Answer) -> list[Use]:
    """Return the runtimes to measure in, each with its models, in the order of the harness. Raises: Stop."""
    found = {runtime["name"]: runtime for runtime in hello["runtimes"]}
    broken = "".join("; %s is broken: %s" % (one["name"], one["message"]) for one in hello["broken"])
    uses = []
    for text in wanted_runtimes(job["runtimes"], found):
        name, _, provider = text.partition(":")
        if name not in job["formats"]:
            continue
        if name not in found:
            raise Stop(
                "this Python (%s) has no runtime %s (found: %s)%s; install it there, or start the job with the Python that has it"
                % (sys.executable, name, ", ".join(found) or "none", broken)
            )
        chosen = choose_provider(found[name], provider)
        for number, group in enumerate(job["groups"]):
            if group["format"] == job["formats"][name]:
                uses.append(Use(found[name], chosen, number, group, job["provider_options"]))
    if not uses:
        raise Stop(
            "this Python (%s) has none of the runtimes %s%s; install one there, or start the job with the Python that has it"
            % (sys.executable, ", ".join(job["formats"]), broken)
        )
    run = {use.group["format"] for use in uses}
    for group in job["groups"]:
        kind = group["format"]
        if "shorter" in group and kind not in run:
            fitting = ", ".join(name for name, one in job["formats"].items() if one == kind)
            raise Stop(
                "this Python (%s) has no runtime for %s, a .%s file%s; install one of %s there, or start the job with the Python "
                "that has it" % (sys.executable, group["models"][0]["architecture"], kind, broken, fitting)
            )
    return uses


def choose_provider(runtime: Answer, asked: str) -> str:
    """Return the provider of a runtime that is asked for, by default the CPU's. Raises: Stop."""
    if too_old := old_version(runtime):
        raise Stop("%s; upgrade it there, or start the job with another Python" % too_old)
    providers = {short_provider(one): str(one) for one in runtime.get("providers", [])}
    if asked and short_provider(asked) not in providers:
        there = ", ".join(providers) or "none"
        raise Stop("%s has no provider %s (there: %s)" % (runtime["name"], asked, there))
    return providers.get(short_provider(asked or "cpu"), next(iter(providers.values()), "cpu"))
