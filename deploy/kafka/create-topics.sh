#!/bin/bash
# Creates the service's three topics, and leaves those alone that are there.
#
# PARTITIONS bounds how many workers can share the work. A dead letter is an input message and its headers, so its topic
# takes messages 2048 bytes longer; the service checks that when it starts. Where there are replicas, two must have a message
# before it counts as written. COMMAND_CONFIG, where Kafka wants a log-in, is a file of client properties.
set -euo pipefail

create() { # topic, max.message.bytes, retention in days
  kafka-topics.sh --bootstrap-server "$BOOTSTRAP_SERVERS" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --create --if-not-exists --topic "$1" \
    --partitions "$PARTITIONS" --replication-factor "$REPLICATION" \
    --config min.insync.replicas=$((REPLICATION > 1 ? 2 : 1)) \
    --config cleanup.policy=delete --config max.message.bytes="$2" --config retention.ms=$(($3 * 86400000))
}

create "$INPUT_TOPIC" "$MAX_MESSAGE_BYTES" 7
create "$OUTPUT_TOPIC" 1048576 30
create "$DEAD_LETTER_TOPIC" $((MAX_MESSAGE_BYTES + 2048)) 30
