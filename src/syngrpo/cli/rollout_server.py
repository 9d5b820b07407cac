"""``syngrpo rollout-server``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def rollout_server(
    model: Annotated[
        str, typer.Option(help='The run\'s model.path: a directory or hub name; "starter".')
    ],
    host: Annotated[str, typer.Option(help="Address; others than this host's need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8421,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that requests must carry.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="The run's model.dtype.")
    ] = "float32",
    cache_gib: Annotated[
        float, typer.Option(min=0.01, help="Memory for keys and values, beside the weights.")
    ] = 4.0,
    max_length: Annotated[
        int, typer.Option(min=2, help="Tokens of a prompt and its response, at most.")
    ] = 8192,
) -> None:
    """Sample the responses of a training run by vLLM, elsewhere.

    The run sends its weights before every rollout; --model gives their
    shapes alone. For a host with two GPUs, where only the server needs vLLM:

    \b
    CUDA_VISIBLE_DEVICES=1 syngrpo rollout-server --model MODEL
    CUDA_VISIBLE_DEVICES=0 syngrpo train my.yaml \\
        --set rollout.server=http://127.0.0.1:8421

    For trainers on other hosts: --host 0.0.0.0 and a --token-file, which is
    their rollout.server_token_file. Stop it with Ctrl-C, or let it crash: the
    run waits until it is back (rollout.server_patience_s).
    """
    from syngrpo.serving.bearer_token import read_token, require_token_beyond_loopback

    token = read_token(token_file)
    require_token_beyond_loopback(host, token)

    import torch

    from syngrpo.config import STARTER
    from syngrpo.rollout.server.serve_rollouts import serve
    from syngrpo.rollout.vllm_engine import VllmEngine, require_vllm
    from syngrpo_rooms.starter import STARTER_DIR

    require_vllm()
    serve(
        STARTER_DIR if model == STARTER else model,
        dtype,
        "cuda" if torch.cuda.is_available() else "cpu",
        host,
        port,
        token,
        lambda blueprint: VllmEngine(blueprint, cache_gib, max_length),
    )
