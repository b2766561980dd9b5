//! node-manager-client
