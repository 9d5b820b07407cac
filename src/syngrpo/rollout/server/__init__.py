"""The rollout server: an engine in a process of its own, for trainers that send it their weights.

``rollout_app.serve`` is the command ``syngrpo rollout-server``. Its main thread runs ``EngineLoop``
(``engine_loop.py``), the only one that calls the engine; a second thread runs the HTTP routes
(``rollout_app.py``), which check what arrives and hand it to the loop. ``model_outline.py`` is what
the server knows about the model before it gets weights. Start reading at ``rollout_app.serve``.
"""
