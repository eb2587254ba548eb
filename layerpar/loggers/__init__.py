"""Where the numbers of a run go beside `metrics.jsonl`: a file each."""
