"""Choose one block for each stage by an integer program: the best sum of scores under limits on sums of costs."""
