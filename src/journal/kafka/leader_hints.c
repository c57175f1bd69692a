/* Stands in for a function of librdkafka by the linker's --wrap (build.rs).
 *
 * Brokers may say in an answer who leads a partition now (KIP-951). librdkafka up to 2.12 at least
 * counts answers that name no leader, but does not fill in their places, and then works on what
 * happens to lie there (github.com/confluentinc/librdkafka/issues/5280). That comes whenever a
 * broker starts and has not heard of its leaders yet; gateways were seen to end by SIGSEGV.
 *
 * The hints only save a question. Left alone, librdkafka asks for the leaders, as it does with
 * brokers that give none. Remove this when the bundled librdkafka has the mend. */
#define HANDLED 1 /* RD_KAFKA_OP_RES_HANDLED */

int __wrap_rd_kafka_metadata_update_op(void *client, void *hints);

int __wrap_rd_kafka_metadata_update_op(void *client, void *hints) {
  (void)client;
  (void)hints;
  return HANDLED;
}
