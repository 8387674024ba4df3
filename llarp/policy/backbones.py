"""Every backbone by name."""

from llarp.config import PolicyConfig
from llarp.policy import decoder, minilm
from llarp.policy.backbone import Backbone


def load_backbone(config: PolicyConfig) -> Backbone:
    """The backbone that the parameters name; UserError when it is missing or has other weights than it should."""
    if config.backbone == minilm.NAME:
        return minilm.load(config)
    return decoder.load(config)
