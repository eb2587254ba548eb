"""The runs whose weights are compared: small ones, with given cuts, so that no measured time decides."""

from __future__ import annotations

from itertools import product

COMMON = (
    "dataset=digits dataset.train_limit=96 dataset.test_limit=32 batch_size=16 epochs=2 optimizer.lr=0.05 "
    "seed=3 device=cpu checkpoint_every=0"
)
MLP = "architecture=mlp architecture.width=32 architecture.depth=4 warmup_steps=0"
CNN = "architecture=cnn architecture.width=4 architecture.depth=4 warmup_steps=1"
LSTM = "architecture=rnn architecture.width=16 architecture.depth=3 warmup_steps=1"

OBJECTIVES = (
    "objective=local mode.exchange=activations",
    "objective=local mode.exchange=weights",
    "objective=delayed mode.exchange=activations",
    "objective=frozen mode.exchange=weights",
)
AGGREGATIONS = ("replace", "damped", "momentum", "average", "trust_region", "anderson", "ema")
EQUAL = "mode.partition=equal"

LAYERWISE = (
    *(
        f"mode.blocks=2 {EQUAL} workers={workers} {objective} aggregation={rule} aggregation.every=2"
        for objective, rule, workers in product(OBJECTIVES, AGGREGATIONS, (1, 2))
    ),
    *(
        f"{blocks} {objective} aggregation=damped aggregation.every=4"
        for objective in OBJECTIVES
        for blocks in (
            "mode.blocks=3 mode.partition=[1,3] workers=1",
            "mode.blocks=3 mode.partition=[1,3] workers=3",
            f"mode.blocks=layers {EQUAL} workers=2",
            f"mode.blocks=4 {EQUAL} workers=4",
        )
    ),
    *(
        f"{EQUAL} mode.replicas=2 workers={workers} {objective} aggregation={rule} aggregation.every=3"
        for objective, rule, workers in product(OBJECTIVES, ("replace", "momentum"), (2, 4))
    ),
    *(
        f"mode.blocks=3 {EQUAL} workers=3 {options}"
        for options in (
            "objective=delayed objective.link_delay=0",
            "objective=delayed objective.link_delay=1 mode.queue_depth=1",
            "objective=delayed objective.recompute=true objective.shrink=0.5",
            "objective=delayed optimizer=adamw optimizer.lr=0.002 dataset.augment.pad=1",
            "objective=local objective.head=mlp mode.queue_depth=1",
            "objective=local objective.similarity=0.5",
            "objective=local precision=bf16 trace_steps=2",
        )
    ),
)
OTHER_MODES = (
    "mode=serial workers=1",
    "mode=serial workers=1 optimizer=adam optimizer.lr=0.002",
    *(f"mode=data workers={workers} batch_size=12" for workers in (1, 2, 3)),
    *(f"mode=data workers=2 aggregation={rule} aggregation.every=4" for rule in AGGREGATIONS[1:]),
    *(f"mode=sequential {EQUAL} mode.blocks={blocks} workers=1" for blocks in (2, "layers")),
    f"mode=sequential {EQUAL} mode.blocks=3 workers=1 mode.shares=[2,1,1] mode.cache=false",
    *(
        f"mode=pipeline {EQUAL} mode.schedule={schedule} mode.microbatches=4 workers=2"
        for schedule in ("gpipe", "1f1b", "interleaved_1f1b", "zbv")
    ),
    "mode=pipeline mode.partition=[1,3] workers=3",
)
PHASES = (
    "experiment=hybrid epochs=3 phases.layerwise.epochs=1 phases.layerwise.mode.partition=equal workers=2",
    "experiment=hybrid epochs=3 phases.layerwise.epochs=1 phases.layerwise.mode.partition=[2] workers=2 "
    "mode@phases.finish.mode=serial optimizer=adam optimizer.lr=0.002",
)
OTHER_NETWORKS = (
    "mode=serial workers=1",
    "mode=data workers=2",
    f"mode=sequential {EQUAL} mode.blocks=2 workers=1",
    f"mode=pipeline {EQUAL} mode.microbatches=2 workers=2",
    *(
        f"mode=layerwise {EQUAL} mode.blocks=2 {objective} aggregation.every=3 workers={workers}"
        for objective, workers in product(OBJECTIVES, (1, 2))
    ),
)
CASES = (
    *(f"{MLP} mode=layerwise {case}" for case in LAYERWISE),
    *(f"{MLP} {case}" for case in (*OTHER_MODES, *PHASES)),
    *(f"{network} {case}" for network, case in product((CNN, LSTM), OTHER_NETWORKS)),
)
