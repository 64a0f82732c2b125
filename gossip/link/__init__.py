"""The post-quantum link: a handshake and a session, no sockets."""
