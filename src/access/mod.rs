//! Access: may this caller use this route.
