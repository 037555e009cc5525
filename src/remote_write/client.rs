//! One HTTP exchange with an endpoint.
