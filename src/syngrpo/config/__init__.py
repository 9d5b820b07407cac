"""The configuration: turns a YAML file and ``--set`` overrides into the options of a run.

No option is declared here. Each is declared once, by a frozen dataclass of the folder that uses it;
``workflow.run_options.RunOptions`` puts these together as the sections of the file.

1. ``reading`` reads the file and applies the overrides. Start reading there.
2. ``validation`` checks the values and returns ``RunOptions``. It reports every error in one line
   that names the key.

``explain`` describes keys, and writes a JSON schema for editors. The command line calls all three;
no folder below imports this one.
"""

from syngrpo.config.reading import dump_config, load_config
from syngrpo.config.validation import options_from

__all__ = ["dump_config", "load_config", "options_from"]
