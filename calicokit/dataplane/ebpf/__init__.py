"""What Calico's eBPF programs do with a packet: the services, the policies, and the marks that rules ask for."""
