"""Blockwise search: networks' accuracies predicted from the signatures of their blocks, finalists judged and fine-tuned.

    predictors.py  networks' accuracies from their blocks' signatures
    rounds.py      search of a library: finalists chosen, judged and fine-tuned, round by round, by the settings of setting.py

Importing this package loads no torch.
"""
