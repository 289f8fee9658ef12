"""Offline jobs that make models: data, training, evaluation. Each is a subcommand of ``python -m training``."""
