//! Where the daemon of the service has its sockets for operators.

/// The default path of the control socket.
pub const CONTROL_PATH: &str = "/run/wschat/control.sock";

/// The default path of the socket for monitoring. Its directory has the group that may connect.
pub const MONITOR_PATH: &str = "/run/wschat-monitor/control.sock";
