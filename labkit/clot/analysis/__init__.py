"""What a simulation says about its flow and its platelets."""
