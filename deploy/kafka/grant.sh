#!/bin/bash
# Gives a user of Kafka's what the workers need, for a Kafka with an authorizer, and no more than that.
#
# TRANSACTIONAL_IDS begins every worker's KAFKA_TRANSACTIONAL_ID. With COMMANDS=yes the user may run `replay`,
# `deadletters` and `reconcile`, too. COMMAND_CONFIG is a file of client properties of somebody who may give rights.
set -euo pipefail

grant() {
  kafka-acls.sh --bootstrap-server "$BOOTSTRAP_SERVERS" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \
    --add --force --allow-principal "User:$KAFKA_USER" "$@"
}

# DescribeConfigs: the topics' own limits are then known, and retention and cleanup are checked at the start.
grant --operation Read --operation Describe --operation DescribeConfigs --topic "$INPUT_TOPIC"
grant --operation Write --operation Describe --operation DescribeConfigs --topic "$OUTPUT_TOPIC"
grant --operation Write --operation Describe --operation DescribeConfigs --topic "$DEAD_LETTER_TOPIC"
grant --operation Read --operation Describe --group "$GROUP_ID"
grant --operation Write --operation Describe --transactional-id "$TRANSACTIONAL_IDS" --resource-pattern-type prefixed

if [ "${COMMANDS:-no}" = yes ]; then
  grant --operation Write --topic "$INPUT_TOPIC"
  grant --operation Read --topic "$OUTPUT_TOPIC"
  grant --operation Read --topic "$DEAD_LETTER_TOPIC"
  grant --operation Write --operation Describe --transactional-id "$GROUP_ID-requeue"
fi
