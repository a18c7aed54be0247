//! The front end's wall, tried from inside: a process puts it up, and makes the calls that whoever took it over would make, and
//! those that it lives by.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::thread;

use crate::common::addresses::{name_server, with_file_at};
use crate::common::bank::{Bank, CHILD_CONFIG, config_of_child};
use crate::common::child_test;
use crate::common::proxy::Proxy;
use crate::common::system_call::{all_others_are_refused, refused};
use crate::system_call_arguments::{
    append, descriptors, is_refused, memory_and_threads, other_processes, sockets,
};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::signer::hardening::{end_with_parent, harden};
use hsm_mtls::internal::signer::sandbox::Sandbox;
use hsm_mtls::internal::signer::system_call_filter::SystemCallFilter;
use libc::{MAP_PRIVATE, PROT_EXEC, PROT_READ};

fn bank() -> Bank {
    let mut bank = Bank::new();
    Proxy::configure(&mut bank, "", "");
    bank
}

/// The whole wall of the front end, in the order in which it is put up.
fn enter_front_end(config: &Config) -> SystemCallFilter {
    harden(0);
    end_with_parent();
    Sandbox::of_front_end(config).unwrap().enter().unwrap();
    let filter = SystemCallFilter::front_end();
    let measure = filter.enter().unwrap();
    assert!(measure.in_force && measure.name == "system call filter");
    filter
}

#[test]
fn the_front_end_makes_no_call_that_is_not_listed() {
    bank().run_test(front_end_beyond_its_list, &[]);
}

#[test]
fn front_end_beyond_its_list() {
    let Some(config) = config_of_child() else {
        return;
    };
    let filter = enter_front_end(&config);
    all_others_are_refused(&filter.numbers());
    // Not only for the thread that entered.
    let numbers = filter.numbers();
    thread::spawn(move || all_others_are_refused(&numbers))
        .join()
        .unwrap();
    // Seccomp itself is not on the list: the filter is for good, and a second one cannot be had.
    let error = filter.enter().expect_err("it is entered");
    assert_eq!(error.exit_code() as u8, 2, "{error}");
    assert!(error.hint().contains("CONFIG_SECCOMP_FILTER"), "{error}");
}

#[test]
fn what_is_allowed_with_some_arguments_is_refused_with_others() {
    bank().run_test(front_end_arguments, &[]);
}

#[test]
fn front_end_arguments() {
    let Some(config) = config_of_child() else {
        return;
    };
    enter_front_end(&config);
    sockets();
    descriptors();
    memory_and_threads();
    other_processes();
    files(&config);
}

#[test]
fn names_are_asked_of_a_name_server() {
    let bank = bank();
    // An address of this run's own: port 53 is one for all.
    let [.., high, low] = std::process::id().to_be_bytes();
    let at = IpAddr::from([127, 53, high, low]);
    name_server(at, Ipv4Addr::new(127, 0, 0, 154));
    let resolv_conf = bank.write("resolv.conf", &format!("nameserver {at}\n"));
    let program = std::env::current_exe().unwrap();
    let mut command = with_file_at(&resolv_conf, "/etc/resolv.conf", &program);
    command
        .args(child_test::arguments(front_end_and_dns))
        .env(CHILD_CONFIG, bank.config_path());
    child_test::passed("front_end_and_dns", &command.output().unwrap());
}

#[test]
fn front_end_and_dns() {
    let Some(config) = config_of_child() else {
        return;
    };
    enter_front_end(&config);
    let found = ("hub.of-the-test.example", 443).to_socket_addrs().unwrap();
    assert_eq!(
        found.map(|found| found.to_string()).collect::<Vec<_>>(),
        ["127.0.0.154:443"]
    );
}

/// Another numbering of the calls is no way round the list.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_call_of_the_32_bit_interface_ends_the_process() {
    let bank = bank();
    let ended = child_test::command(front_end_and_32_bits)
        .env(CHILD_CONFIG, bank.config_path())
        .output()
        .unwrap();
    let signal = ended.status.signal();
    // SIGSEGV: this kernel has no such interface.
    assert!(
        [Some(libc::SIGSYS), Some(libc::SIGSEGV)].contains(&signal),
        "{ended:?}"
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
#[allow(
    unsafe_code,
    reason = "no library makes a call of the 32-bit interface"
)]
fn front_end_and_32_bits() {
    let Some(config) = config_of_child() else {
        return;
    };
    enter_front_end(&config);
    // getpid.
    // SAFETY: it has no arguments, and the kernel writes to the one register only.
    unsafe { std::arch::asm!("int 0x80", inout("eax") 20 => _) };
}

fn files(config: &Config) {
    let own = &config.trust.anchors;
    assert!(is_refused(fs::set_permissions(
        own,
        Permissions::from_mode(0o666)
    )));
    assert!(is_refused(File::open(own).and_then(|file| {
        file.set_modified(std::time::SystemTime::now())
    })));
    assert!(is_refused(std::os::unix::fs::chown(own, Some(1), None)));
    assert!(is_refused(fs::remove_file(own)));
    let log = config.log_folders()[0].join("access.jsonl");
    append(&log).unwrap().write_all(b"{}\n").unwrap();
    // As log rotation has it.
    append(&log).unwrap().write_all(b"{}\n").unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "{}\n{}\n");
    assert!(is_refused(File::create(&log)));
    assert!(is_refused(File::options().write(true).open(&log)));
    assert!(is_refused(
        File::options().read(true).append(true).open(&log)
    ));
    assert!(is_refused(append(&log).unwrap().set_len(0)));
    assert!(is_refused(fs::rename(&log, log.with_extension("1"))));
    // Landlock has where.
    let elsewhere = append(&own.with_file_name("elsewhere")).expect_err("not its folder");
    assert_eq!(elsewhere.raw_os_error(), Some(libc::EACCES));
    let program = File::open("/usr/lib/os-release").unwrap();
    let of_file = [
        0,
        4096,
        (PROT_READ | PROT_EXEC).into(),
        MAP_PRIVATE.into(),
        program.as_raw_fd().into(),
        0,
    ];
    refused("mmap of a file", libc::SYS_mmap, of_file);
    // A reload reads these; a name is in a file.
    assert!(fs::read_to_string(own).unwrap().contains("BEGIN"));
    assert!(fs::read_dir(own.parent().unwrap()).unwrap().count() > 1);
    let mut found = ("localhost", 80).to_socket_addrs().unwrap();
    assert!(found.all(|address| address.ip().is_loopback()));
}
