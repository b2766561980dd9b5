//! mn-service
