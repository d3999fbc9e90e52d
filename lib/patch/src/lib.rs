//! How one object becomes another: JSON patch, merge patch, strategic merge patch, server-side apply.
