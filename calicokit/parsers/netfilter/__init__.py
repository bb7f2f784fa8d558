"""What iptables, nft, ipset and conntrack print."""
