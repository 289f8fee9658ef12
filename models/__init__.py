"""What the classifiers are, from Avro bytes to class probabilities. No environment, network or Kafka in here."""
