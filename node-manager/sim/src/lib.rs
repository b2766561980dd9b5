//! node-manager-sim
