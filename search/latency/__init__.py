"""Latency of the whole space from a fraction of it, for one configuration of a device.

    from search.latency.ladder import fit_ladder

    ladder = fit_ladder(indices, ratios)
    prediction = ladder.predict(range(len(BLOX)))

Everything here is a pure function of arrays; a network is its index in the canonical order, a latency its ratio to
the reference network's. No module here loads scikit-learn before something is fitted.
"""
