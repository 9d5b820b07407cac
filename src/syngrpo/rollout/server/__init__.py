"""The rollout server: an engine in a process of its own, for trainers that send it their weights.

``rollout_app.serve`` is the command ``syngrpo rollout-server``. Its main thread runs ``EngineLoop``
(``engine_loop.py``), which alone calls the engine. A second thread runs the HTTP routes
(``rollout_app.py``), which check every request and queue it for the loop. ``model_outline.py``
holds what the server knows about the model without its weights. ``rollout.server_engine`` is the
client. Start reading at ``rollout_app.serve``.
"""
