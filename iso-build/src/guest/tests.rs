use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::*;

#[test]
fn the_proof_is_the_last_complete_line() {
    let log = "SeaBIOS\r\nzstack-guest ready: ip=10.0.0.1/24\r\nreboot\r\n\
               zstack-guest ready: kernel=6.1.0 hostname=vm1 ip=10.0.0.5/24,10.1.0.7/16 dns=none mem=1 disks=vda:18M\r\nsh#";
    let proof = Proof::find(log).unwrap();
    assert_eq!(proof.addresses(), ["10.0.0.5", "10.1.0.7"]);
    assert_eq!((proof.get("hostname"), proof.get("dns"), proof.get("gateway")), (Some("vm1"), None, None));
    assert_eq!(Proof::find("zstack-guest ready: ip=10.0."), None);
    assert_eq!(Proof::find("nothing\n"), None);
}

/// A QEMU that dies with its owner.
struct Machine {
    qemu: Child,
    folder: tempfile::TempDir,
}

impl Machine {
    fn boot(image: &Path, extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        // An overlay of its own: the cached image stays untouched, which a later check relies on.
        let drive = format!("file={},if=virtio,snapshot=on", image.display());
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none", "-vga", "std", "-no-reboot"])
            .args(["-drive", &drive, "-serial", &format!("file:{}", at("serial"))])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp"))])
            .args(extra)
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86 is needed: cargo xtask test installs it");
        Self { qemu, folder }
    }

    fn serial(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("serial")).unwrap_or_default()).into_owned()
    }

    async fn eventually<T>(&mut self, what: &str, seconds: u64, check: impl Fn(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(found) = check(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not happen within {seconds} s; console:\n{}", self.serial());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn press_power_button(&self) {
        let mut stream = UnixStream::connect(self.folder.path().join("qmp")).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("QMP"));
        for command in ["qmp_capabilities", "system_powerdown"] {
            writeln!(stream, "{{\"execute\":\"{command}\"}}").unwrap();
            let answer = lines.next().unwrap().unwrap();
            assert!(!answer.contains("error"), "{answer}");
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only when QEMU is gone already, which is what we want.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Boots under pure emulation: the slowest machine the product supports.
#[tokio::test]
async fn the_guest_boots_reports_and_obeys_the_power_button() {
    let image = image(&Progress::quiet()).await.unwrap();
    let before = std::fs::read(&image).unwrap();
    assert!(before.len() < LARGEST, "{} bytes", before.len());

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.raw");
    std::fs::File::create(&data).unwrap().set_len(1 << 30).unwrap();
    let data = format!("file={},if=virtio,format=raw", data.display());

    let started = Instant::now();
    let mut machine = Machine::boot(&image, &["-drive", &data, "-nic", "none"]);
    let proof = machine.eventually("the guest's line", 60, |machine| Proof::find(&machine.serial())).await;
    eprintln!("booted under emulation in {:.1} s: {}", started.elapsed().as_secs_f64(), proof.line);

    assert!(proof.get("kernel").unwrap().ends_with("-cloud-amd64"), "{}", proof.line);
    assert_eq!((proof.get("ip"), proof.get("gateway"), proof.get("hostname")), (None, None, None), "{}", proof.line);
    assert!(proof.get("mem").unwrap().parse::<u64>().unwrap() > 150_000, "{}", proof.line);
    let disks = proof.get("disks").unwrap();
    assert!(disks.starts_with("vda:") && disks.ends_with("M,vdb:1G"), "{}", proof.line);

    machine.press_power_button();
    let status = machine.eventually("power off", 30, |machine| machine.qemu.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    assert!(machine.serial().contains("zstack-guest: power button"), "{}", machine.serial());
    assert!(std::fs::read(&image).unwrap() == before, "the cached image changed");
}

/// QEMU's own DHCP server stands in for ours: address, route and resolver must arrive.
#[tokio::test]
async fn the_guest_takes_address_route_and_resolver_from_dhcp() {
    let image = image(&Progress::quiet()).await.unwrap();
    let nic = "user,model=virtio-net-pci,net=10.77.0.0/24,host=10.77.0.1,dns=10.77.0.3,dhcpstart=10.77.0.40";
    let mut machine = Machine::boot(&image, &["-nic", nic]);
    let proof = machine.eventually("the guest's line", 90, |machine| Proof::find(&machine.serial())).await;
    assert_eq!(proof.get("ip"), Some("10.77.0.40/24"), "{}", proof.line);
    assert_eq!(proof.get("gateway"), Some("10.77.0.1"), "{}", proof.line);
    assert_eq!(proof.get("dns"), Some("10.77.0.3"), "{}", proof.line);
}
