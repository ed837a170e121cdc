"""The report: accuracies and costs of a whole space as one page that opens in a browser, without a network."""
