"""The decoder under broken input: ``python -m tests.fuzz``, and a share of it in the tests."""
