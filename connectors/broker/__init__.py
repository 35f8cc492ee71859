"""The key broker: a process of its own that opens grants for attested nodes, and believes nothing the service says."""
