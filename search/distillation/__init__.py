"""Distillation of blocks from a teacher's stages: the block library, and signatures (scores) of the blocks.

    distill.py        all blocks of a stage learn the output of the teacher's stage
    block_library.py  the teacher and its distilled stages, from which any network of the space is assembled
    signatures.py     scores of every block of every stage; block_scores.py computes them

Importing this package loads no torch.
"""
