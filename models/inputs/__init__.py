"""The one road from bytes to tensor, for training and service alike.

``avro`` → ``alert`` → ``light_curve`` (+ ``metadata``) → ``batch``, and ``features`` beside it: ``band_statistics``,
``light_curve_features``, ``supernova_model`` and ``period`` are its families, ``feature_table`` says what each gives.
"""
