//! Templates by a table of names, and their laws on whatever a name may be.

use proptest::prelude::*;

use super::*;

fn templates_with(patterns: &[&str], max: usize) -> NameTemplates {
    let settings = SpanNames {
        sanitization: Sanitization::Enabled,
        patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
    };
    NameTemplates::new(&settings, max).expect("regexes")
}

fn templates() -> NameTemplates {
    templates_with(&[], 2048)
}

fn of(templates: &NameTemplates, name: &str) -> String {
    templates.template(name).unwrap_or_else(|| name.to_owned())
}

#[track_caller]
fn check_all(cases: &[(&str, &str)]) {
    let templates = templates();
    let wrong: Vec<_> = cases
        .iter()
        .map(|&(name, expected)| (name, of(&templates, name), expected))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for &(name, expected) in cases {
        assert_eq!(templates.template(name).is_some(), name != expected, "{name}");
    }
}

#[test]
fn ids_become_marks() {
    check_all(&[
        ("GET /users/7", "GET /users/<_>"),
        ("GET /users/123/orders/456", "GET /users/<_>/orders/<_>"),
        ("order-12345", "order-<_>"),
        ("user_42_orders", "user_<_>_orders"),
        ("order12345", "order<_>"),
        ("INV2024001 booked", "INV<_> booked"),
        ("job #7 of 9", "job #<_> of <_>"),
        ("took 3.14159 s", "took <_> s"),
        ("balance -5", "balance -<_>"),
        ("wait 1500ms", "wait <_>ms"),
        // hashes
        ("checkout d5cecad", "checkout <_>"),
        ("GET /blob/7f3a9c", "GET /blob/<_>"),
        ("obj 507f1f77bcf86cd799439011", "obj <_>"),
        ("sum DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", "sum <_>"),
        ("sum e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "sum <_>"),
        ("abcdefabcdef", "<_>"),
        ("at 0x7ffee4b and 0x1f", "at <_> and <_>"),
        ("i-0abcd1234ef567890", "i-<_>"),
        ("java.lang.Object@1b2c3d4e", "java.lang.Object@<_>"),
        // UUIDs
        ("GET /carts/550e8400-e29b-41d4-a716-446655440000/items", "GET /carts/<_>/items"),
        ("user-550e8400-e29b-41d4-a716-446655440000", "user-<_>"),
        ("{A50E8400-E29B-41D4-A716-446655440000}", "{<_>}"),
        ("f_a50e8400_e29b_41d4_a716_446655440000", "f_<_>"),
        ("urn:uuid:facadefa-cade-face-dead-beefdeadbeef", "urn:uuid:<_>"),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "<_>"),
        // e-mail addresses
        ("mail alice@example.com", "mail <_>"),
        ("GET /u/bob.smith+shop@mail.example.co.uk/orders", "GET /u/<_>/orders"),
        ("GET /u/bob%40example.com/orders", "GET /u/<_>/orders"),
        ("<carol-99@example.org>", "<<_>>"),
        ("a@b.example, c@d.example", "<_>"),
        ("send to m\u{fc}ller@example.com now", "send to <_> now"),
        // addresses
        ("connect 10.0.0.1", "connect <_>"),
        ("connect 10.0.0.1:5432", "connect <_>"),
        ("connect 10.0.0.0/24", "connect <_>/<_>"),
        ("ip-10-0-0-1.ec2.internal", "ip-<_>.ec2.internal"),
        ("connect [2001:db8::ff00:42:8329]:443", "connect [<_>]:<_>"),
        ("connect fe80::1", "connect <_>"),
        ("connect ::1", "connect <_>"),
        ("dhcp 00:1b:44:11:3a:b7", "dhcp <_>"),
        // dates and times
        ("report 2024-01-15", "report <_>"),
        ("GET /reports/2024/01/15", "GET /reports/<_>/<_>/<_>"),
        ("at 2024-01-15T10:30:00.123Z", "at <_>"),
        ("at 2024-01-15T10:30:00+02:00", "at <_>"),
        ("at 20240115T103000Z", "at <_>"),
        ("at 10:30:59", "at <_>"),
        ("backup-1705312200000", "backup-<_>"),
        // random tokens
        ("s/01ARZ3NDEKTSV4RRFFQ69G5FAV", "s/<_>"),
        ("s/cjld2cjxh0000qzrmn831i7rn", "s/<_>"),
        ("s/V1StGXR8_Z5jdHi6B-myT", "s/<_>"),
        ("watch dQw4w9WgXcQ", "watch <_>"),
        ("GET /dp/B08N5WRWNW", "GET /dp/<_>"),
        (
            "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpM",
            "token <_>",
        ),
        ("blob U3Bhbm1pbGwgMTIzNDU2Nzg5MA==", "blob <_>"),
        ("pod checkout-6d5f7c9b8", "pod checkout-<_>"),
        // what stands side by side is one
        ("call 555-0199", "call <_>"),
        ("SELECT * FROM t WHERE id IN (1, 2,3)", "SELECT * FROM t WHERE id IN (<_>)"),
        ("range 1..9", "range <_>"),
        ("<_>-<_>", "<_>"),
        ("seen <_> 5", "seen <_> <_>"),
        ("7", "<_>"),
    ]);
}

#[test]
fn ordinary_names_stay() {
    let names = [
        "",
        "GET /api/v1/users/{id}",
        "GET /api/v1beta1/users/:id",
        "GET /orders/<int:oid>",
        "GET /orders/{oid}/items/{item_id}",
        "GET /orders/{oid:[0-9]{3,9}}/x",
        "GET /api/products/[productId]",
        "GET /files/*",
        "SELECT accounts",
        "SELECT * FROM accounts WHERE id = ?",
        "INSERT INTO t VALUES ($a, :b)",
        "HTTP/1.1",
        "HTTP/2",
        "HTTP 404",
        "TLS 1.2",
        "v2",
        "api v1.2.3",
        "s3",
        "S3.PutObject",
        "k8s",
        "i18n.load",
        "oauth2",
        "ipv4",
        "IPv6 lookup",
        "md5",
        "MD5SUM",
        "base64",
        "base64_decode",
        "utf-8",
        "UTF-16",
        "sha256",
        "SHA-512 digest",
        "x86_64",
        "ISO-8601",
        "RFC 3339",
        "x509.verify",
        "ed25519 sign",
        "b2b2c",
        "h264 encode",
        "EC2.DescribeInstances",
        "Route53",
        "process-2xx",
        "4xx",
        "2fa",
        "publish orders.v2",
        "orders.v2 process",
        "UserService/GetUser",
        "shop.v1.Inventory/Reserve",
        "ListObjectsV2",
        "S3V2Client.send",
        "k8sV1Beta1Api",
        "Log4j2",
        "phase2 step1",
        "facade",
        "decade",
        "accede",
        "deadbeef",
        "effaced",
        "decade2",
        "db::add",
        "std::vector::push_back",
        "Foo@Bar",
        "@Transactional",
        "deploy@latest",
        "prepareOrderItemsAndShippingQuoteFromCart",
        "getURLForHTTPSAPICallByIDAndName",
        "org.springframework.web.servlet.DispatcherServlet",
        "foo%20bar%2Fbaz",
        "gr\u{f6}\u{df}e laden",
        "\u{6ce8}\u{6587} \u{78ba}\u{8a8d}",
        "I'm a server span",
        "store.orders -> placed send",
        "\u{fffd}\u{fffd}",
    ];
    check_all(&names.map(|name| (name, name)));
}

#[test]
fn patterns_come_first_and_see_the_name_as_it_came() {
    let cases: &[(&[&str], &str, &str)] = &[
        // without groups the whole match, with groups these alone
        (&["tenant-[a-z]+"], "GET /tenant-acme/users/7", "GET /<_>/users/<_>"),
        (&["tenant-([a-z]+)"], "GET /tenant-acme/users/7", "GET /tenant-<_>/users/<_>"),
        (&["/([a-z]+)/x/([a-z]+)"], "/ab/x/cd", "/<_>/x/<_>"),
        (&["((a)b)c"], "abc", "<_>c"),
        // a group that takes no part marks nothing
        (&["user (?:named (\\w+)|unnamed)"], "user unnamed", "user unnamed"),
        // they see digits, the rules would not leave them any
        (&["^batch ([0-9]+ of [0-9]+)$"], "batch 3 of 9", "batch <_>"),
        // one after the other, all matches
        (&["red|green", "blue"], "red, green and blue red", "<_> and <_> <_>"),
        // what they mark is no text, for none of them
        (&["_", "<", ">"], "a_b", "a<_>b"),
        (&["user-(.*)"], "user-7-bob", "user-<_>"),
        (&["(?i)BOB"], "Bob", "<_>"),
        (&["\u{fc}"], "m\u{fc}ller", "m<_>ller"),
        (&["nothing"], "GET /users", "GET /users"),
        (&[r"\bfoo"], "foofoo bar", "<_> bar"),
    ];
    for &(patterns, name, expected) in cases {
        let templates = templates_with(patterns, 2048);
        assert_eq!(of(&templates, name), expected, "{patterns:?} {name}");
        assert_eq!(of(&templates, expected), expected, "{patterns:?} {name}, again");
    }
}

#[test]
fn after_so_many_matches_the_rest_is_one_id() {
    let templates = templates_with(&["x"], 2048);
    let name = |n: usize| "x y ".repeat(n);
    assert_eq!(of(&templates, &name(MATCHES_MAX)), "<_> y ".repeat(MATCHES_MAX));
    let expected = "<_> y ".repeat(MATCHES_MAX) + MARK;
    assert_eq!(of(&templates, &name(MATCHES_MAX + 3)), expected);
}

#[test]
fn a_name_that_never_settles_is_one_id() {
    let templates = templates_with(&["([a-z])<"], 2048);
    assert_eq!(of(&templates, "abc 7"), "abc <_>");
    assert_eq!(of(&templates, "abcd7"), "abcd7");
    assert_eq!(of(&templates, "abcd777"), MARK);
    assert_eq!(of(&templates, &("z".repeat(PASSES_MAX + 2) + "777")), MARK);
}

#[test]
fn a_bad_pattern_is_told_by_its_index() {
    let settings =
        SpanNames { sanitization: Sanitization::Off, patterns: vec!["a".into(), "b(".into()] };
    let errors = NameTemplates::new(&settings, 0).expect_err("a regex that is none");
    let keys: Vec<&str> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["registry.span_name_patterns[1]"]);
}

#[test]
fn a_template_is_cut_in_front_of_a_mark_that_does_not_fit() {
    let at = |max| of(&templates_with(&[], max), "ab 1/2/3");
    assert_eq!(at(12), "ab <_>/<_>/<_>"[..11].to_owned());
    assert_eq!(at(14), "ab <_>/<_>/<_>");
    assert_eq!(at(6), "ab <_>");
    assert_eq!(at(5), "ab ");
    assert_eq!(of(&templates_with(&[], 2), "7"), "7", "no room for any mark");
    assert_eq!(of(&templates_with(&[], 0), "ab 1/2/3"), "ab <_>/<_>/<_>", "no limit");
}

#[test]
fn off_leaves_everything() {
    let settings = SpanNames { patterns: vec!["a".to_owned()], ..SpanNames::default() };
    let templates = NameTemplates::new(&settings, 0).expect("a regex");
    assert_eq!(templates.template("a 7"), None);
}

/// Pieces that rules look for, pieces that look like them, and anything.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "550e8400-e29b-41d4-a716-446655440000", "alice@example.com", "%40", "@", "::", "fe80::1",
            "10.0.0.1", "2024-01-15", "T10", "00Z", "1.1", "v1.2", "HTTP", "utf", "sha", "<_>", "<_",
            "_>", "{id:", "{", "}", "}}", "abcdefabcdef", "V1StGXR8_Z5jdHi6B-myT", "0x", "Z", "k8s",
            "00:1b:44:11:3a:b7", ", ", "\u{fc}", "\u{fffd}", "GET ", "users", "==",
        ]).prop_map(str::to_owned),
        2 => "[a-fA-F0-9]{1,14}",
        2 => "[a-zA-Z0-9]{1,9}",
        2 => "[-_.:,+/ @%<>{}]{1,2}",
        1 => "[0-9]{1,5}",
        1 => "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn some_patterns() -> impl Strategy<Value = &'static [&'static str]> {
    prop::sample::select(vec![
        &[][..],
        &["user-(.*)"],
        &["[a-f]+", "_"],
        &["(.)<", ">(.)"],
        &[r"\b[A-Z]\w*"],
        &["^.", ".$"],
    ])
}

/// The most bytes of a template: a mark for each byte that something stands beside.
fn len_max(len: usize) -> usize {
    2 * len + MARK.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// The template of a template is itself, it is no longer than what a label holds, nor much longer than
    /// the name; a name has one template.
    #[test]
    fn a_template_is_its_own_template(name in name(), patterns in some_patterns(), max in 0..80_usize) {
        let templates = templates_with(patterns, max);
        let max = max_bytes(max);
        let name = &name[..name.floor_char_boundary(max)];
        let template = of(&templates, name);
        prop_assert_eq!(&of(&templates, &template), &template);
        prop_assert!(template.len() <= max.min(len_max(name.len())), "{}", template);
        prop_assert_eq!(template.is_empty(), name.is_empty());
        prop_assert_eq!(of(&templates_with(patterns, max), name), template);
    }

    /// What the rules look at grows with the name and not faster, whatever the name repeats.
    #[test]
    fn the_rules_are_linear(unit in name(), n in 1..2000_usize) {
        let name = unit.repeat(n);
        let mut template = Template::default();
        name_rules::apply(&name, &mut template);
        // shapes at each token and each placeholder, of which there is one in two bytes at most
        let most = (150 / 2 + 128 / 2 + 12) * name.len() + 300;
        prop_assert!(template.n_looks <= most, "{} looks at {} bytes", template.n_looks, name.len());
        prop_assert!(template.text.len() <= len_max(name.len()));
    }

    /// The rules alone settle: a name is not given up.
    #[test]
    fn the_rules_settle_within_a_few_passes(name in name()) {
        let templates = templates();
        let mut last = name;
        for _ in 0..3 {
            match templates.pass(&last) {
                None => return Ok(()),
                Some(next) => last = next,
            }
        }
        prop_assert_eq!(templates.pass(&last), None);
    }

    /// One number more or less is not another template.
    #[test]
    fn numbers_and_uuids_make_one_template(
        a in 0..u64::MAX,
        b in 0..u64::MAX,
        uuids in any::<[u128; 2]>(),
    ) {
        let templates = templates();
        let uuid = |n: u128| {
            let hex = format!("{n:032x}");
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        };
        for form in ["GET /users/{}", "{} done", "a_{}_b", "(x={})"] {
            let with = |id: &str| of(&templates, &form.replace("{}", id));
            prop_assert_eq!(with(&a.to_string()), form.replace("{}", MARK));
            prop_assert_eq!(with(&b.to_string()), form.replace("{}", MARK));
            prop_assert_eq!(with(&uuid(uuids[0])), form.replace("{}", MARK));
            prop_assert_eq!(with(&uuid(uuids[1])), form.replace("{}", MARK));
        }
    }
}
