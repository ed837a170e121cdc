"""Predictors of accuracy from a network's graph, fitted to the accuracies of a few networks.

    from search.accuracy.gcn import GcnPredictor
    predictor = GcnPredictor(seed=0)
    predictor.fit(indices, scores)
    predictor.predict(np.arange(91_125))

Importing this package loads no torch: it is imported when a predictor is fitted.
"""
