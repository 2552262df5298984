//! Free ports for tests, and the name of whoever holds a taken one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

/// Beyond the local stack's ports, and below those that the system gives to connections going out (from 32768 on, unless
/// it was told otherwise): one of these may take a port between its draw and its use.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// `N` different ports that were free a moment ago, and that this process gives to nobody else for a long time. Another
/// process may still take one before its user binds it; the servers of the test kit then start again on others.
///
/// # Errors
/// When the machine has none left.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    for port in &mut ports {
        let mut candidates = (0..RANGE.len()).map(|_| next_candidate());
        let free = candidates.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
        *port = free.context("no port is free")?;
    }
    Ok(ports)
}

/// All of the range in turn, from a place of this process's own.
fn next_candidate() -> u16 {
    static DRAWN: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random()));
    let width = RANGE.end - RANGE.start;
    RANGE.start + DRAWN.fetch_add(1, Ordering::Relaxed) % width
}

/// True when something accepts connections on the port.
#[must_use]
pub fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Who listens on `port`: `redis-server (pid 4711)`; the name is missing when the process belongs to
/// another user and we are not root.
#[must_use]
pub fn holder(port: u16) -> Option<String> {
    let inode = listening_inode("/proc/net/tcp", port)
        .or_else(|| listening_inode("/proc/net/tcp6", port))?;
    Some(process_with_socket(&inode).unwrap_or_else(|| "a process of another user".to_owned()))
}

/// The socket inode in the kernel's table of one protocol: columns are local address, remote, state (0A = listen).
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let text = std::fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
        let listening = *columns.get(3)? == "0A";
        let same = u16::from_str_radix(local_port, 16).ok()? == port;
        (listening && same).then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn process_with_socket(inode: &str) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let open = std::fs::read_dir(entry.path().join("fd")).ok()?;
        let holds = open.flatten().any(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&wanted))
        });
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        holds.then(|| format!("{} (pid {pid})", name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named_with_its_pid() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let holder = holder(port).unwrap();
        assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
        assert!(answers(port));
    }

    #[test]
    fn free_ports_differ() {
        let ports = free::<4>().unwrap();
        let distinct: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn ports_that_were_given_are_not_given_again_though_nobody_has_bound_them() {
        let drawn: Vec<u16> = (0..100).flat_map(|_| free::<2>().unwrap()).collect();
        let distinct: std::collections::BTreeSet<u16> = drawn.iter().copied().collect();
        assert_eq!(distinct.len(), drawn.len(), "{drawn:?}");
        assert!(drawn.iter().all(|port| RANGE.contains(port)), "{drawn:?}");
    }
}
