//! mn-service-db
