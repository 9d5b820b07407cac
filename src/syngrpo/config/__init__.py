"""The config of a run: one model per section, read from YAML, every error names its key."""

from syngrpo.config.loading import load_data, load_samples
from syngrpo.config.method import MethodConfig
from syngrpo.config.reading import dump_config, load_config
from syngrpo.config.sections import STARTER, Config
from syngrpo.config.source import Source

__all__ = [
    "STARTER",
    "Config",
    "MethodConfig",
    "Source",
    "dump_config",
    "load_config",
    "load_data",
    "load_samples",
]
