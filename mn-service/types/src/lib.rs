//! mn-service-types
