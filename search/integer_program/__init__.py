"""Integer programs (ILP) that choose one block for each stage: the best sum of scores under limits on sums of costs."""
