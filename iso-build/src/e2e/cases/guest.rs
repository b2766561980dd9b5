//! The machines themselves: what every other case relies on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::e2e::{lab::Lab, wait::until};

/// Commands, files, power, moments and the screen of one machine.
pub(crate) async fn commands(lab: &Lab) -> Result<()> {
    let started = Instant::now();
    let node = lab.boot("node", &[None, None]).await?;
    let (seconds, processor) = (started.elapsed().as_secs_f64(), lab.processor_seconds());
    lab.note(format!("up after {seconds:.1} s, {processor:.1} s of a processor"));
    let output = node.run("echo out; echo err >&2; exit 7").await?;
    ensure!((output.code, &output.stdout[..], &output.stderr[..]) == (7, b"out\n", b"err\n"), "{output:?}");
    let slow = node.run_for(Duration::from_secs(1), "sleep 30").await?;
    ensure!(slow.code == 137, "a command that hangs is killed: {slow:?}");

    let bytes: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    node.write("/var/lib/zstack/some file", &bytes).await?;
    ensure!(node.read("/var/lib/zstack/some file").await? == bytes, "a file comes back as it was written");
    ensure!(node.read("/no/such/file").await.is_err(), "a file that is not there is an error");

    // What was not written out is lost with the power, and what was is not.
    node.ok("sync; echo kept >/var/lib/zstack/kept; sync /var/lib/zstack/kept; sync /var/lib/zstack").await?;
    node.ok("echo lost >/var/lib/zstack/lost; echo memory >/run/memory").await?;
    node.power_cycle().await?;
    ensure!(node.ok("cat /var/lib/zstack/kept").await? == "kept");
    let lost = node.run("cat /run/memory /var/lib/zstack/lost").await?;
    ensure!(lost.stdout.is_empty(), "what was only in memory is gone: {lost:?}");
    ensure!(node.nic(0).await? == "ens16" && node.nic(1).await? == "ens17", "udev names cards by their slots");

    node.save("now").await?;
    node.ok("rm -r /var/lib/zstack/kept; echo later >/run/later; sync").await?;
    node.restore("now").await?;
    ensure!(node.ok("cat /var/lib/zstack/kept; ls /run").await?.starts_with("kept\n"), "the disk is set back");
    ensure!(!node.ok("ls /run").await?.contains("later"), "memory is set back");

    node.ok("exec setsid sh <>/dev/tty1 >&0 2>&1 &").await?;
    node.press(&["t", "o", "u", "c", "h", "spc", "slash", "r", "u", "n", "slash", "k", "ret"]).await?;
    until("what was typed is done", Duration::from_secs(20), async || {
        Ok((node.run("test -e /run/k").await?.code == 0).then_some(()))
    })
    .await?;
    let picture = lab.logs().join("screen.png");
    node.screenshot(&picture).await?;
    let png = std::fs::read(&picture)?;
    ensure!(png.starts_with(b"\x89PNG\r\n") && png.len() > 1000, "the screen is a PNG: {} bytes", png.len());

    node.reboot().await?;
    ensure!(node.ok("cat /var/lib/zstack/kept").await? == "kept");
    Ok(())
}

/// A cable carries frames both ways; pulled, both sides lose their link.
pub(crate) async fn cables(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let (left, right) = lab.pair(["left", "right"], std::slice::from_ref(&cable)).await?;
    left.ok("ip addr add 10.9.0.1/24 dev ens16; ip link set ens16 up").await?;
    right.ok("ip addr add 10.9.0.2/24 dev ens16; ip link set ens16 up").await?;
    for (machine, other) in [(&left, "10.9.0.2"), (&right, "10.9.0.1")] {
        until("the other machine answers", Duration::from_secs(20), async || {
            Ok((machine.run(&format!("ping -c 1 -W 1 {other}")).await?.code == 0).then_some(()))
        })
        .await?;
    }
    cable.pull().await?;
    for machine in [&left, &right] {
        until("the link is lost", Duration::from_secs(20), async || {
            Ok((machine.ok("cat /sys/class/net/ens16/carrier").await? == "0").then_some(()))
        })
        .await?;
    }
    ensure!(left.run("ping -c 1 -W 1 10.9.0.2").await?.code != 0, "nobody answers over a pulled cable");
    cable.plug_in().await?;
    until("the other machine answers again", Duration::from_secs(20), async || {
        Ok((left.run("ping -c 1 -W 1 10.9.0.2").await?.code == 0).then_some(()))
    })
    .await
}
