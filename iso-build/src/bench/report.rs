//! What people and programs are told.

use serde_json::{Map, Value, json};

use super::measure::Run;

/// What peers reach on the same class of machine (2 cores, load generator included), and what we want to reach.
const BESIDE: &[(&str, &str, &str)] = &[
    ("vm_get", "OpenStack Zed: 45/s, p99 1200 ms (50 clients)", "15000/s, p99 20 ms"),
    ("vm_list_100", "OpenStack Zed: 8.5/s (50 clients)", "2000/s"),
    ("vm_list_100_by_name", "", "2000/s"),
    ("vm_by_name", "OpenStack Zed: 10.8/s, p99 5500 ms (50 clients)", "2000/s"),
    ("vm_list_all", "CloudStack 4.20: 11800 ms for 25000", "p50 500 ms for 25000"),
    ("zone_create_delete", "", ""),
    ("log_in", "OpenStack Zed: 6.8/s", "1000/s"),
    ("vm_create_10_in_flight", "OpenStack Zed: 2.7/s", "500/s"),
    ("vm_create_50_in_flight", "OpenStack Zed: 1.3/s", "500/s"),
    ("vm_create_alone", "OpenStack Zed: p50 860 ms", "p50 50 ms"),
];

/// The control plane's memory of the same peer, in MB.
const PEER_MEMORY: &str = "OpenStack Zed: 3200 MB (1000 VMs)";

/// A table for people.
pub(super) fn table(run: &Run) -> String {
    let (word, hosts, vms, clients, seconds) = (run.kind.word(), run.hosts, run.vms, run.clients, run.seconds);
    let mut text = format!(
        "\n{word}: {hosts} simulated hosts, {vms} VMs, {clients} clients, {seconds} s each. \
         The load generator, the hosts and the database share the machine with the service.\n\n\
         {:<24} {:>9} {:>9} {:>9} {:>7} {:>7}  {:<48} {}\n",
        "", "per s", "p50 ms", "p99 ms", "cpu ms", "errors", "peer", "goal"
    );
    for (name, peer, goal) in BESIDE {
        if let Some(measured) = run.results.get(name) {
            let (figures, cpu) = (&measured.figures, measured.cpu_ms);
            text.push_str(&format!(
                "{name:<24} {:>9.1} {:>9.2} {:>9.2} {cpu:>7.2} {:>7}  {peer:<48} {goal}\n",
                figures.per_second, figures.p50_ms, figures.p99_ms, figures.errors
            ));
        }
    }
    let [filled, peak] = [run.memory_filled, run.memory_peak].map(|bytes| bytes as f64 / 1e6);
    text.push_str(&format!(
        "{:<24} {filled:>9.1} MB with {vms} VMs, {peak:.1} MB in the whole run  {PEER_MEMORY}\n{:<24} {:>9.0} ms\n",
        "memory, peak",
        "start to first answer",
        run.start_time.as_secs_f64() * 1000.0
    ));
    text
}

/// One object for one database, a list of them for several.
pub(super) fn json(runs: &[Run]) -> Value {
    json!({ "runs": runs.iter().map(object).collect::<Vec<Value>>() })
}

fn object(run: &Run) -> Value {
    let results: Map<String, Value> =
        run.results.iter().map(|(name, measured)| ((*name).to_owned(), json!(measured))).collect();
    json!({
        "database": run.kind.word(),
        "hosts": run.hosts,
        "vms": run.vms,
        "clients": run.clients,
        "seconds": run.seconds,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "load_generator": "on the same machine",
        "load_generator_optimised": !cfg!(debug_assertions),
        "results": results,
        "filled_memory_bytes": run.memory_filled,
        "peak_memory_bytes": run.memory_peak,
        "start_ms": (run.start_time.as_secs_f64() * 1000.0).round(),
        "passed": failures(run).is_empty(),
    })
}

/// A line for every measurement in which something failed, or in which nothing succeeded.
pub(super) fn failures(run: &Run) -> Vec<String> {
    let word = run.kind.word();
    let failed = run.results.iter().filter_map(|(name, measured)| {
        let figures = &measured.figures;
        match &figures.first_error {
            Some(first) => Some(format!("{word} {name}: {} failed, the first: {first}", figures.errors)),
            None if figures.count == 0 => Some(format!("{word} {name}: nothing was measured")),
            None => None,
        }
    });
    failed.collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::bench::{database::Kind, load::Figures, measure::Measured};

    fn run(errors: usize, count: usize) -> Run {
        let first_error = (errors > 0).then(|| "HTTP 500".to_owned());
        let figures = Figures { per_second: 12.5, p50_ms: 1.0, p99_ms: 2.0, count, errors, first_error };
        Run {
            kind: Kind::Sqlite,
            hosts: 3,
            vms: 10,
            clients: 4,
            seconds: 1,
            start_time: Duration::from_millis(250),
            results: BTreeMap::from([("vm_get", Measured { figures, cpu_ms: 0.5 })]),
            memory_filled: 20_000_000,
            memory_peak: 30_000_000,
        }
    }

    #[test]
    fn the_json_line_carries_what_it_promises() {
        let value = &json(&[run(0, 9)])["runs"][0];
        assert_eq!(value["results"]["vm_get"]["per_second"], 12.5);
        assert_eq!(value["results"]["vm_get"]["errors"], 0);
        assert_eq!((&value["database"], &value["peak_memory_bytes"]), (&json!("sqlite"), &json!(30_000_000)));
        assert_eq!((&value["start_ms"], &value["passed"]), (&json!(250.0), &json!(true)));
        assert_eq!(json(&[run(0, 9), run(0, 9)])["runs"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_failed_request_and_an_empty_measurement_are_failures() {
        assert_eq!(failures(&run(0, 9)), Vec::<String>::new());
        assert_eq!(failures(&run(2, 9)), ["sqlite vm_get: 2 failed, the first: HTTP 500"]);
        assert_eq!(failures(&run(0, 0)), ["sqlite vm_get: nothing was measured"]);
    }

    #[test]
    fn the_table_says_where_the_load_comes_from_and_names_the_peer() {
        let text = table(&run(0, 9));
        assert!(text.contains("share the machine") && text.contains("OpenStack Zed: 45/s"), "{text}");
        assert!(text.contains("12.5") && text.contains("250 ms"), "{text}");
    }
}
