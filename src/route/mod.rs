//! From host, path, method, headers and query to a route.
