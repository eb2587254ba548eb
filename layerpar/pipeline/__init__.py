"""Pipeline parallelism by `torch.distributed.pipelining`: schedules, stages, and the engine around them."""
