"""The one road from bytes to tensor, for training and service alike.

``avro`` → ``alert`` → ``light_curve`` (+ ``metadata``) → ``batch``.
"""
