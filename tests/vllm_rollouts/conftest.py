"""Collects the tests of this folder only where vLLM is installed (``make test-vllm``)."""

import os
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("vllm") else ["*"]

# Without this, vLLM compiles some small functions at their first call, for minutes on a CPU.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
