"""The settings: a dataclass a stage, the layers that they come from, what they must fulfil, their
help texts."""
