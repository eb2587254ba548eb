"""How tensors travel between blocks and workers: links, the grid of ranks, means over replicas."""
