"""The image, made from the Dockerfile without an engine: folders stand in for its stages."""
