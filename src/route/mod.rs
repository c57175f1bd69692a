//! From host, path, method, headers and query to a route.
//!
//! [`normalize`] gives every spelling of a path one form, before anything looks at it;
//! [`RouteTable`] then finds the most specific route that takes the request.

mod path;
mod precedence;
mod table;
mod tree;

pub use path::normalize;
pub use table::{Found, RouteTable};
