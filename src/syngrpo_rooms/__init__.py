"""The embedded rooms world: scenes, pictures, questions, descriptions, and their generator."""
