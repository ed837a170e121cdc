"""Latency of the whole space from a fraction of it, for one configuration of a device.

    from search.latency.model_selection import select_predictor

    predictor = select_predictor(indices, ratios, config=BLOX)
    prediction = predictor.predict(range(len(BLOX)))

Everything here is a pure function of arrays; a network is its index in the canonical order, a latency its ratio to
the reference network's. No module here loads scikit-learn before something is fitted.
"""
