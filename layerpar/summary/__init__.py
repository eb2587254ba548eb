"""What a run has come to: gathered from all workers, the content of `summary.json`."""
