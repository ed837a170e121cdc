"""`harness audit`: test whether a network's latency on a device is the sum of its parts' latencies."""

from __future__ import annotations

from harness.commands.choice_options import ChoiceOptions, takes_choice
from harness.commands.options import JsonFlag, StoreOption, TakeDoubtful, open_store


@takes_choice
def audit(
    options: ChoiceOptions,
    doubtful: TakeDoubtful = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Compare networks with the sum of their stem, cells, reductions and head, each measured on its own.

    Shows the error of the sum, its sources (stage boundaries, wirings, ops), and whether an additive latency model holds here.
    """
    with open_store(store_url) as store:
        options.check(store)
        from harness.output.audit import print_audit
        from harness.prediction.audit import audit_configuration

        found = audit_configuration(store, options.choice(), doubtful=doubtful)
    print_audit(found, json_output=json_output)
