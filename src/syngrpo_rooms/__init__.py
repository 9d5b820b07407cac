"""The embedded world: small rendered rooms with exact labels, their generator, and the starter
model.

A plug-in of syngrpo: it uses only the extension points that a user's package has, by the entry
points in ``pyproject.toml``. The format ``rooms`` (``dataset``), the generator ``rooms``
(``generator``), the describer ``rooms`` (``descriptions``), the model ``starter`` (``starter``) and
the commands ``syngrpo rooms`` (``commands``).

A sample is made in this order: ``scenes`` places things in a room, ``surroundings`` chooses how the
room looks, ``object_questions`` and ``closed_questions`` ask about the scene, ``room_renderer``
paints it with the help of ``room_fixtures``, ``surface_patterns``, ``furnishings``,
``thing_shapes`` and ``palette``, and ``dataset`` puts all into a ``Sample``. Start reading there.

The generator turns a description back into surroundings (``descriptions``) and paints them with the
same renderer. The folder ``starter`` holds the recipe that made the bundled model;
``starter_model/`` is that model.
"""
