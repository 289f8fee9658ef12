"""Kafka: the one package that imports confluent_kafka."""
