"""The configuration: a YAML file and overrides become the options of a run.

Nothing is declared here. Each option is declared once, by a frozen dataclass of the folder that
uses it, and ``workflow.run_options.RunOptions`` puts the sections together. ``reading`` reads the
file and applies ``--set``; ``validation`` turns the values into ``RunOptions`` and every error into
one line that names its key; ``explain`` prints defaults, the meaning of a key and a JSON schema.
The command line drives all three; nothing below this folder imports it. Start with ``reading``.
"""

from syngrpo.config.reading import dump_config, load_config
from syngrpo.config.validation import options_from

__all__ = ["dump_config", "load_config", "options_from"]
