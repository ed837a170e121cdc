"""Blockwise search: blocks distilled from a teacher's stages, their signatures, and networks' accuracies predicted from them.

    signatures.py  what is known of every block of every stage
    predictors.py  networks' accuracies from their blocks' signatures
    rounds.py      a library searched: finalists chosen, judged and fine-tuned, round by round; setting.py is what it is given

Importing this package loads no torch.
"""
