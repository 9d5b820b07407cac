"""``syngrpo rollout-server``: samples responses with vLLM for a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from syngrpo.cli.shared_options import Host, Port

ModelPath = Annotated[
    str, typer.Option(help="The run's model.path: a directory, hub name or short name.")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the token that requests must carry.")
]
WeightType = Annotated[Literal["float32", "bfloat16"], typer.Option(help="The run's model.dtype.")]
CacheSize = Annotated[float, typer.Option(min=0.01, help="GiB of memory for keys and values.")]
LengthLimit = Annotated[
    int, typer.Option(min=2, help="Most tokens of a prompt and its response together.")
]


def rollout_server(
    model: ModelPath,
    host: Host = "127.0.0.1",
    port: Port = 8421,
    token_file: TokenFile = None,
    dtype: WeightType = "float32",
    cache_gib: CacheSize = 4.0,
    max_length: LengthLimit = 8192,
) -> None:
    """Sample the responses of a training run with vLLM, in another process.

    The run sends its weights before every rollout; of --model only the shapes
    and the image processor are used. On a host with two GPUs, where only the
    server's environment needs vLLM:

    \b
    CUDA_VISIBLE_DEVICES=1 syngrpo rollout-server --model MODEL
    CUDA_VISIBLE_DEVICES=0 syngrpo train my.yaml \\
        --set rollout.server=http://127.0.0.1:8421

    For trainers on other hosts, give --host 0.0.0.0 and a --token-file, which
    is their rollout.server_token_file. Ctrl-C stops the server. A run waits
    for a stopped server to come back (rollout.server_patience_s).
    """
    from syngrpo.serving.bearer_token import read_token, require_token_beyond_loopback

    token = read_token(token_file)
    require_token_beyond_loopback(host, token)

    import torch

    from syngrpo.policy import model_directory
    from syngrpo.rollout import RolloutOptions
    from syngrpo.rollout.server.rollout_app import serve
    from syngrpo.rollout.vllm_engine import VllmEngine, require_vllm

    require_vllm()
    directory, _ = model_directory(model)
    options = RolloutOptions(vllm_cache_gib=cache_gib, vllm_max_length=max_length)
    serve(
        directory,
        dtype,
        "cuda" if torch.cuda.is_available() else "cpu",
        host,
        port,
        token,
        lambda outline: VllmEngine(outline, options),
    )
