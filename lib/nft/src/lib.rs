//! nftables over netlink: incremental transactions on tables that are ours.
