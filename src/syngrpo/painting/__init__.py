"""Painting: from a description of new surroundings to a new image around the labelled objects.

A worker or inline synthesis (``data_server``) makes a ``Painter`` and gives it one request after
the other. For each, ``painter`` does the following; start reading there.

1. ``wishes`` reads what the description says about the view, the light and the camera; ``prompt``
   turns the rest into the prompt of an image generator.
2. ``frame`` places the labelled objects on the canvas of the new picture, and their labels with
   them.
3. ``compositing`` finds the pixels to keep and erases the background.
4. A generator (``generators/``) paints new surroundings.
5. ``compositing`` pastes the kept pixels into the painted picture.
6. ``light`` lets light and camera fall on the whole picture.
7. ``gate`` rejects the picture if its labels may no longer hold; the models that look at it are in
   ``judges/``.

``painting_request`` holds the plain data that go in and come out. ``describers/`` write random
descriptions, for the method that does not ask the policy for them.
"""
