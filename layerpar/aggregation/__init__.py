"""How the blocks' results become the next common weights: the rules, as functions of tensors."""

from layerpar.aggregation.rule import Aggregation, Alone, Blocks, Group, Rule

__all__ = ["Aggregation", "Alone", "Blocks", "Group", "Rule"]
