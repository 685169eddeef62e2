"""Everything that touches the Kubernetes API. Imported only where leader election is on."""
