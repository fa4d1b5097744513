"""The dual encoder, its backbones and the layout of its inputs."""
