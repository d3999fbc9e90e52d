//! Client, informers, work queues, events and leader election over two transports: HTTPS and in-process.
