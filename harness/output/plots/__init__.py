"""Figures: regret of search methods on paper and on a page, and those of the study."""
