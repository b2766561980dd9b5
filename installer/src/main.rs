//! `zstack-installer`: puts the product on a machine.

fn main() {}
