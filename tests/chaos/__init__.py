"""The kill test: real workers between a real Kafka and a real Valkey, faults drawn by a seed, and a check that counts.

``python -m tests.chaos`` runs it in full, ``python -m tests.chaos.soak`` is the long steady run, and ``test_chaos.py``
a shorter form of the first, with workers that are wrong on purpose and must be caught.
"""
