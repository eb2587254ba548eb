"""The environment variables by which a launcher tells workers where they are.

RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE, which torchrun sets too, say which of them each is.
"""

STARTED = "LAYERPAR_STARTED"
"""The Unix time at which the command was given."""

PARENT = "LAYERPAR_PARENT"
"""Set where a parent watches: the number of the process that starts the worker."""

STORE = "LAYERPAR_STORE"
"""Where workers meet: see `layerpar.rendezvous`."""

HOSTS = "LAYERPAR_HOSTS"
"""The hosts of a run of several, in order."""

NODE = "LAYERPAR_NODE"
"""Which of them this one is, from 0."""

INTERFACE = "LAYERPAR_INTERFACE"
"""`launcher.interface`, where it is set."""

CORES = "LAYERPAR_CORES"
"""Cores of this host that the run has a right to, where a scheduler says so."""
