"""Without vLLM there is nothing to collect here."""

import os
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("vllm") else ["*"]

# Some of vLLM's small functions would be compiled at their first call, for minutes on a CPU.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
