"""A search query and its answer: accuracies, latencies and other costs are joined, limits applied, finalists measured."""
