//! The configuration in force while files change: what is taken, what is kept, what is told.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use expect_test::{Expect, expect};

use super::overrides_tests::inputs;
use super::*;
use crate::tenant::TenantId;

const MAIN: &str = "overrides: { file: overrides.yaml }\n";

/// Files that a test rewrites, and what is in force.
struct Bench {
    folder: tempfile::TempDir,
    current: Current,
}

impl Bench {
    fn new(overrides: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("overrides.yaml"), overrides).expect("a written file");
        let loaded = load(&inputs(&folder, MAIN)).unwrap_or_else(|problems| panic!("{problems}"));
        Self { folder, current: Current::new(loaded).expect("in order") }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("overrides.yaml")
    }

    fn write(&self, overrides: &str) {
        fs::write(self.file(), overrides).expect("a written file");
    }

    fn write_main(&self, main: &str) {
        fs::write(self.folder.path().join("main.yaml"), main).expect("a written file");
    }

    /// Looks until the file has settled.
    fn look(&mut self) -> Option<Result<Changes, String>> {
        match self.current.look() {
            Look::Unchanged => return None,
            Look::Unsettled => {}
            Look::Changed(_) => panic!("taken at the first look"),
        }
        match self.current.look() {
            Look::Changed(outcome) => Some(outcome.map_err(|problems| problems.to_string())),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn applied(&mut self, expected: &[&str]) {
        let changes = self.look().expect("it has changed").expect("it is in order");
        assert_eq!(changes.applied, expected);
    }

    fn generation(&self, id: &str) -> u64 {
        self.of(id).generation
    }

    fn of(&self, id: &str) -> &PerTenant {
        self.current.in_force().tenants.of(&TenantId::parse(id).expect("a tenant"))
    }

    fn max_edges(&self, id: &str) -> usize {
        self.of(id).rules.ledger.settings.limits.max_edges
    }

    #[track_caller]
    fn reloads(&mut self, expected: &Expect) {
        let told = match self.current.reload() {
            Ok(changes) => changes.to_string(),
            Err(problems) => {
                problems.to_string().replace(&format!("{}/", self.folder.path().display()), "")
            }
        };
        expected.assert_eq(&(told + "\n"));
    }
}

/// Law: a tenant's generation is another one if and only if something of it is another.
#[test]
fn a_generation_is_kept_while_the_settings_are_the_same() {
    let mut bench = Bench::new("tenants: { a: { limits: { max_edges: 5 } }, b: {} }");
    let first = ["a", "b", "x"].map(|id| bench.generation(id));
    assert_ne!(first[0], first[2]);
    assert_eq!(first[1], first[2], "nothing of its own");
    let epoch = bench.current.in_force().epoch;

    bench.write("tenants: { a: { limits: { max_edges: 5 } }, c: { limits: {} } } # other words");
    bench.applied(&[]);
    assert_eq!(["a", "b", "x"].map(|id| bench.generation(id)), first);
    assert_eq!(bench.current.in_force().epoch, epoch + 1);

    bench.write("tenants: { a: { limits: { max_edges: 5 } }, b: { limits: { max_edges: 6 } } }");
    bench.applied(&["tenants.b"]);
    let second = ["a", "b", "x"].map(|id| bench.generation(id));
    assert_eq!((second[0], second[2]), (first[0], first[2]));
    assert!(second[1] > first.into_iter().max().unwrap(), "{second:?} after {first:?}");
    assert_eq!((bench.max_edges("a"), bench.max_edges("b")), (5, 6));

    // Back to what it was, under everyone's generation.
    bench.write("tenants: {}");
    bench.applied(&["tenants.a", "tenants.b"]);
    assert_eq!(["a", "b", "x"].map(|id| bench.generation(id)), [first[2]; 3]);

    bench.write("tenants: { '*': { limits: { max_edges: 7 } } }");
    bench.applied(&["tenants.*"]);
    assert_eq!(bench.max_edges("whoever"), 7);
    assert_eq!(bench.of("a").rules.plan.generation(), bench.generation("a"));
    assert_eq!(bench.of("a").rules.ledger.generation, bench.generation("a"));
}

#[test]
fn twenty_broken_files_change_nothing_and_each_is_told_once() {
    let good = "tenants: { a: { limits: { max_edges: 5 } } }";
    let mut bench = Bench::new(good);
    let before = std::sync::Arc::clone(bench.current.in_force());
    for n in 0..20 {
        bench.write(&format!("tenants: {{ a: {{ limits: {{ max_edges: -{n} }} }} }}"));
        let told = bench.look().expect("another file").expect_err("a bad one");
        assert!(told.contains("tenants.a.limits.max_edges: found"), "{told}");
        assert!(bench.look().is_none(), "told once");
        assert!(std::sync::Arc::ptr_eq(bench.current.in_force(), &before));
    }
    bench.write(good);
    bench.applied(&[]);
    assert_eq!(bench.max_edges("a"), 5);
}

#[test]
fn a_file_that_is_being_written_is_not_taken() {
    let mut bench = Bench::new("tenants: { a: { limits: { max_edges: 5 } } }");
    // Each of them would be in order.
    for text in ["tenants: {}", "tenants: { a: {} }", "tenants: { b: {} }"] {
        bench.write(text);
        assert!(matches!(bench.current.look(), Look::Unsettled), "{text}");
        assert_eq!(bench.max_edges("a"), 5);
    }
    bench.write("tenants: { a: { limits: { max_edges: 5 } } }");
    assert!(matches!(bench.current.look(), Look::Unchanged), "as it was");
    bench.write("tenants: { b: {} }");
    bench.applied(&["tenants.a"]);
}

#[test]
fn a_file_that_goes_is_told_and_what_was_in_force_stays() {
    let mut bench = Bench::new("tenants: { a: { limits: { max_edges: 5 } } }");
    fs::remove_file(bench.file()).expect("it was there");
    let told = bench.look().expect("it is gone").expect_err("that is wrong");
    assert!(told.contains("can't be read: no such file"), "{told}");
    assert_eq!(bench.max_edges("a"), 5);
    assert!(bench.look().is_none());
    bench.write("tenants: { a: { limits: { max_edges: 5 } } }");
    bench.applied(&[]);
}

/// As Kubernetes mounts a ConfigMap: the file is a link through a link to a folder that is swapped.
#[test]
fn a_link_that_points_elsewhere_is_a_change_and_a_touched_file_is_none() {
    let mut bench = Bench::new("tenants: {}");
    let at = |name: &str| bench.folder.path().join(name);
    for (folder, n) in [("one", 5), ("two", 6)] {
        fs::create_dir(at(folder)).expect("a folder");
        let text = format!("tenants: {{ a: {{ limits: {{ max_edges: {n} }} }} }}");
        fs::write(at(folder).join("overrides.yaml"), text).expect("a written file");
    }
    symlink("one", at("data")).expect("a link");
    symlink("data/overrides.yaml", at("link")).expect("a link");
    fs::rename(at("link"), bench.file()).expect("replaced");
    bench.applied(&["tenants.a"]);
    assert_eq!(bench.max_edges("a"), 5);

    symlink("two", bench.folder.path().join("data.new")).expect("a link");
    let (new, data) = (bench.folder.path().join("data.new"), bench.folder.path().join("data"));
    fs::rename(new, data).expect("swapped");
    bench.applied(&["tenants.a"]);
    assert_eq!(bench.max_edges("a"), 6);

    let touched = fs::read(bench.file()).expect("it is there");
    fs::write(bench.file(), touched).expect("written again");
    assert!(bench.look().is_none());
}

#[test]
fn a_reload_tells_what_is_in_force_and_what_waits_for_the_next_start() {
    let mut bench = Bench::new("tenants: {}");
    bench.reloads(&expect![[r#"
        reloaded: nothing has changed
    "#]]);
    bench.write_main(
        "overrides: { file: overrides.yaml }
receivers: { otlp: { max_wire_bytes: 1MiB } }
registry: { collection_interval: 2s }
limits: { max_tenants: 5, max_edges: 9 }
remote_write: [{ url: http://h/w, headers: { X-Key: hunter2 } }]
multitenancy: { enabled: true }
",
    );
    bench.write("tenants: { a: { limits: { max_edges: 5 } } }");
    bench.reloads(&expect![[r#"
        reloaded: registry.collection_interval, limits.max_edges, tenants.a
        takes effect at the next start: receivers.otlp.max_wire_bytes, limits.max_tenants, remote_write, multitenancy.enabled
    "#]]);
    assert_eq!((bench.max_edges("a"), bench.max_edges("b")), (5, 9));
    let loaded = bench.current.loaded();
    assert_eq!(loaded.config.max_tenants, 100);
    assert!(
        loaded.config.remote_write.endpoints.is_empty() && !loaded.config.receiver.multitenancy
    );
    assert!(loaded.effective.contains("max_tenants: 100"), "what is shown is what is in force");
    assert!(!loaded.effective.contains("hunter2"));
    // They are named as long as they wait.
    bench.reloads(&expect![[r#"
        reloaded: nothing has changed
        takes effect at the next start: receivers.otlp.max_wire_bytes, limits.max_tenants, remote_write, multitenancy.enabled
    "#]]);
}

#[test]
fn a_configuration_with_a_mistake_changes_nothing_of_either_file() {
    let mut bench = Bench::new("tenants: {}");
    let before = std::sync::Arc::clone(bench.current.in_force());
    bench.write_main("overrides: { file: overrides.yaml }\nregistry: { stale_duratoin: 1m }\n");
    bench.write("tenants: { a: { limits: { max_edges: 5 } } }");
    bench.reloads(&expect![[r#"
        main.yaml:2:13: registry.stale_duratoin: unknown key, did you mean registry.stale_duration
    "#]]);
    assert!(std::sync::Arc::ptr_eq(bench.current.in_force(), &before));
    // What was asked for is done whole when the other file changes.
    let told = bench.look().expect("it has changed").expect_err("the configuration is still wrong");
    assert!(told.contains("stale_duratoin"), "{told}");
    bench.write_main("overrides: { file: overrides.yaml }\nregistry: { stale_duration: 1m }\n");
    bench.write("tenants: { a: { limits: { max_edges: 6 } } }");
    bench.applied(&["registry.stale_duration", "tenants.a"]);
    assert_eq!(bench.max_edges("a"), 6);
}

#[test]
fn the_configuration_is_not_read_because_the_overrides_have_changed() {
    let mut bench = Bench::new("tenants: {}");
    bench.write_main("overrides: { file: overrides.yaml }\nlimits: { max_edges: 9 }\n");
    bench.write("tenants: { a: { limits: { max_edges: 5 } } }");
    bench.applied(&["tenants.a"]);
    assert_eq!((bench.max_edges("a"), bench.max_edges("b")), (5, 10_000));
}

#[test]
fn what_shapes_series_is_taken_and_counted_so() {
    let mut bench = Bench::new("tenants: {}");
    bench.write(
        "tenants: { a: { registry: { external_labels: { x: y } },
          processors: { span_metrics: { histogram_buckets: [1] }, enabled: [span-metrics-latency] } } }",
    );
    let changes = bench.look().expect("it has changed").expect("in order");
    assert_eq!((changes.applied, changes.at_next_start), (vec!["tenants.a".to_owned()], vec![]));
    let a = &bench.of("a").rules.ledger;
    assert_eq!(a.bounds.span_metrics, [1.0]);
    assert_eq!(a.settings.series_per_set[0], 4, "two buckets, sum and count");
    assert_eq!(a.settings.naming.external_labels, [("x".to_owned(), "y".to_owned())]);
    bench.write("tenants: {}");
    bench.applied(&["tenants.a"]);
    assert_eq!(bench.of("a").rules.ledger.bounds.span_metrics.len(), 14);
}
