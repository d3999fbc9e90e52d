//! The API server as a client sees it, driven in process through `ApiServer::handle`. One binary: the crate is linked once.

mod aggregation;
mod api;
mod backend;
mod custom_resources;
mod oddities;
mod server;
mod webhooks;
