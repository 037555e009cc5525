//! Each stage on real spans, beside a naive pipeline in the same run.
//!
//! `cargo bench --bench stages` prints criterion's figures and then a table of ns a span (or a sample)
//! measured in turns, so that what else the machine does falls on all alike. `SPANMILL_CORPUS` adds
//! the corpora of a folder.

#![expect(
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints its table, and stops where a corpus is missing"
)]

mod naive;
mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use spanmill::collect::{self, Catalog, Collected};
use spanmill::ledger::Tenant;
use spanmill::remote_write::Offline;
use spanmill::stage::{Plan, Sanitization, Stager};
use spanmill::tenant::TenantId;

use support::{Corpus, corpora, in_turns, settings};

const NOW: Duration = Duration::from_secs(1_800_000_000);
const MAX_SAMPLES_PER_SEND: usize = 2000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let corpora = corpora();
    for corpus in &corpora {
        stages(&mut criterion, corpus);
    }
    collect_and_encode(&mut criterion);
    criterion.final_summary();
    if !std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        table(&corpora);
    }
}

fn plan(dimensions: bool) -> Plan {
    Plan::new(&settings(dimensions), 1).expect("the settings are in order")
}

fn tenant() -> Tenant {
    let naming = support::naming().into();
    let ledger = spanmill::ledger::Settings { naming, ..Default::default() };
    Tenant::new(TenantId::single(), ledger, &settings(true).bounds(), [1, 2, 3, 4])
}

fn stage_all(stager: &mut Stager, plan: &Plan, corpus: &Corpus) -> u64 {
    let one =
        |body: &Vec<u8>| stager.stage(plan, body, NOW).expect("a real request").tallies.received;
    corpus.bodies.iter().map(one).sum()
}

fn naive_all(corpus: &Corpus) -> usize {
    let mut naive = naive::Naive::new(&settings(true));
    corpus.bodies.iter().for_each(|body| naive.take(body));
    naive.n_series()
}

fn apply_all(tenant: &Tenant, batches: &[spanmill::batch::Batch]) {
    batches.iter().for_each(|batch| tenant.apply(batch, NOW));
}

fn batches(plan: &Plan, corpus: &Corpus) -> Vec<spanmill::batch::Batch> {
    let mut stager = Stager::default();
    let stage = |body: &Vec<u8>| stager.stage(plan, body, NOW).expect("a real request").clone();
    corpus.bodies.iter().map(stage).collect()
}

fn stages(criterion: &mut Criterion, corpus: &Corpus) {
    let mut group = criterion.benchmark_group(&corpus.name);
    group.throughput(Throughput::Elements(corpus.n_spans)).sample_size(10);
    let (plan, mut stager) = (plan(true), Stager::default());
    group.bench_function("decode_and_stage/5_dimensions", |b| {
        b.iter(|| stage_all(&mut stager, &plan, black_box(corpus)));
    });
    group.bench_function("naive/5_dimensions", |b| b.iter(|| naive_all(black_box(corpus))));
    let (tenant, batches) = (tenant(), batches(&plan, corpus));
    apply_all(&tenant, &batches);
    group.bench_function("apply/5_dimensions", |b| {
        b.iter(|| apply_all(&tenant, black_box(&batches)));
    });
    group.finish();
}

/// 20,000 label sets of 19 series.
fn many_series() -> (Tenant, Catalog, Offline) {
    let tenant = tenant();
    let plan = plan(true);
    let mut stager = Stager::default();
    for body in support::many_label_sets(20_000) {
        tenant.apply(stager.stage(&plan, &body, NOW).expect("made in order"), NOW);
    }
    let catalog = Catalog::new(&collect::Settings::default(), &TenantId::single());
    (tenant, catalog, Offline::new(&[], MAX_SAMPLES_PER_SEND))
}

fn tick(tenant: &Tenant, catalog: &mut Catalog) -> Collected {
    catalog.collect(tenant.tick(NOW))
}

fn collect_and_encode(criterion: &mut Criterion) {
    let (tenant, mut catalog, mut offline) = many_series();
    let n_samples = offline.send(&tick(&tenant, &mut catalog), |_| {}).n_samples / 2;
    let mut group = criterion.benchmark_group("many_series");
    group.throughput(Throughput::Elements(n_samples as u64)).sample_size(10);
    group.bench_function("collect", |b| b.iter(|| tick(&tenant, &mut catalog)));
    group.bench_function("encode_and_compress_v1", |b| {
        b.iter_batched(
            || tick(&tenant, &mut catalog),
            |collected| {
                offline.send(&collected, |bytes| {
                    black_box(bytes);
                })
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The table for benches/README.md.
fn table(corpora: &[Corpus]) {
    println!("\n| what | ns a span | M spans/s a core | naive, ns a span | naive / spanmill |");
    println!("|---|---|---|---|---|");
    for corpus in corpora {
        for dimensions in [true, false] {
            let (plan, mut stager) = (plan(dimensions), Stager::default());
            let tenant = tenant();
            let staged = batches(&plan, corpus);
            let [stage, naive, apply] = in_turns([
                &mut || {
                    black_box(stage_all(&mut stager, &plan, corpus));
                },
                &mut || {
                    black_box(naive_all(corpus));
                },
                &mut || apply_all(&tenant, &staged),
            ])
            .map(|time| time.as_secs_f64() * 1e9 / corpus.n_spans as f64);
            let name = format!("{}, {} dimensions", corpus.name, if dimensions { 5 } else { 0 });
            let row = |what: &str, ns: f64, naive: f64| {
                let rate = 1e3 / ns;
                println!("| {what} | {ns:.0} | {rate:.1} | {naive:.0} | {:.1} |", naive / ns);
            };
            row(&format!("{name}: decode + stage"), stage, naive);
            row(&format!("{name}: decode + stage + apply"), stage + apply, naive);
        }
    }
    corpora.iter().for_each(with_the_graph);
    corpora.iter().for_each(|corpus| with_templates(&corpus.name, &corpus.bodies, corpus.n_spans));
    with_templates("20,000 names with a number", &support::many_label_sets(20_000), 20_000);
    let (tenant, mut catalog, mut offline) = many_series();
    let n_samples = offline.send(&tick(&tenant, &mut catalog), |_| {}).n_samples / 2;
    let collected = tick(&tenant, &mut catalog);
    let [collect, encode] =
        in_turns([&mut || drop(black_box(tick(&tenant, &mut catalog))), &mut || {
            black_box(offline.send(&collected, |_| {}));
        }])
        .map(|time| time.as_secs_f64() * 1e9 / n_samples as f64);
    println!("\n| what | ns a sample |\n|---|---|");
    println!("| collect: {n_samples} series copied under the lock, handed over | {collect:.1} |");
    println!("| encode + compress, remote write 1.0 | {encode:.0} |");
}

/// Decoded and staged with templates of span names off, as a dry run, enabled.
fn with_templates(name: &str, bodies: &[Vec<u8>], n_spans: u64) {
    let plan = |sanitization| {
        let mut settings = settings(true);
        settings.span_names.sanitization = sanitization;
        Plan::new(&settings, 1).expect("the settings are in order")
    };
    let plans = [Sanitization::Off, Sanitization::DryRun, Sanitization::Enabled].map(plan);
    let mut stagers: [Stager; 3] = Default::default();
    let stage = |stager: &mut Stager, plan: &Plan| {
        for body in bodies {
            black_box(stager.stage(plan, body, NOW).expect("a request"));
        }
    };
    let [off, dry_run, enabled] = {
        let [first, second, third] = &mut stagers;
        in_turns([&mut || stage(first, &plans[0]), &mut || stage(second, &plans[1]), &mut || {
            stage(third, &plans[2]);
        }])
    }
    .map(|time| time.as_secs_f64() * 1e9 / n_spans as f64);
    for (mode, ns) in [("off", off), ("dry_run", dry_run), ("enabled", enabled)] {
        let (rate, ratio) = (1e3 / ns, ns / off);
        println!(
            "| {name}, span names {mode}: decode + stage | {ns:.0} | {rate:.1} | | {ratio:.2} of off |"
        );
    }
}

/// Both processors, five dimensions each. Every round comes an hour later than the one before, so that
/// its spans are no copies.
fn with_the_graph(corpus: &Corpus) {
    let mut settings = settings(true);
    settings.processors.service_graphs = true;
    settings.service_graphs.dimensions = settings.span_metrics.dimensions.clone();
    let plan = Plan::new(&settings, 1).expect("the settings are in order");
    let (tenant, mut stager, mut now) = (tenant(), Stager::default(), NOW);
    let staged = batches(&plan, corpus);
    let [stage, apply] = in_turns([
        &mut || {
            black_box(stage_all(&mut stager, &plan, corpus));
        },
        &mut || {
            now += Duration::from_hours(1);
            staged.iter().for_each(|batch| tenant.apply(batch, now));
        },
    ])
    .map(|time| time.as_secs_f64() * 1e9 / corpus.n_spans as f64);
    let (name, both) = (format!("{}, and service graph", corpus.name), stage + apply);
    println!("| {name}: decode + stage | {stage:.0} | {:.1} | | |", 1e3 / stage);
    println!("| {name}: decode + stage + apply | {both:.0} | {:.1} | | |", 1e3 / both);
}
