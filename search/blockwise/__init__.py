"""Blockwise search: networks' accuracies predicted from the signatures of their blocks, finalists judged and fine-tuned.

    predictors.py  networks' accuracies from their blocks' signatures
    rounds.py      a library searched: finalists chosen, judged and fine-tuned, round by round; setting.py is what it is given

Importing this package loads no torch.
"""
