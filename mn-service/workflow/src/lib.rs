//! mn-service-workflow
