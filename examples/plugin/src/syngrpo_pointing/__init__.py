"""An example of a package that extends syngrpo. Each module is one extension, complete in itself.

``pyproject.toml`` makes them known by short names; ``pointing.yaml`` is a configuration that uses
them all. ``docs/extending.md`` of syngrpo explains each.
"""
