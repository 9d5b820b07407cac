"""The embedded world: small rendered rooms with exact labels, their generator, and the starter
model.

It lets a user run the whole training loop of syngrpo without a download. The package is a plug-in:
syngrpo does not import it, but finds it by the entry points in ``pyproject.toml``, as it finds a
package of a user. It adds

- the format ``rooms``, which generates samples (``dataset``),
- the generator ``rooms``, which paints a described room around kept objects (``generator``),
- the describers ``rooms``, ``rooms-neutral`` and ``rooms-tuned``, which write random descriptions
  (``descriptions``),
- the model ``starter``, a small vision-language model (``starter``),
- the commands ``syngrpo rooms`` (``commands``).

``dataset`` makes a sample in five steps; start reading there.

1. ``scenes`` draws a scene: how the room looks (``surroundings``), and which labelled things stand
   where.
2. ``object_questions`` or ``closed_questions`` lists the questions that fit the scene, and one of
   them is drawn.
3. In a hard split, ``views`` moves the scene away, lets light fall on it and adds ``decoys``.
4. ``room_renderer`` renders the scene and returns the exact boxes and masks of the things. It draws
   with ``surface_patterns``, ``room_fixtures``, ``furnishings``, ``thing_shapes`` and ``palette``.
5. The task turns the answer into its ground truth.

During training the generator reads a description (``descriptions``), turns it into surroundings and
further things (``decoys``) and renders them with the same renderer. The folder ``starter`` holds
the recipe that made the bundled model, and ``starter_model/`` holds the model.
"""
