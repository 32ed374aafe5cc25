"""A model of the configuration, written down for another server: `alaas export triton MODEL DIR`."""
