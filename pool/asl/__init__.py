"""One ASL study: outlined by a pool's members of trials, the one of the best expected Dice believed, with its flow."""
